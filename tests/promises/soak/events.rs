//! The events of the soak, each by its number, and what must come of them.

use std::time::Duration;

use hookweir_tests::KEY;

use crate::ledger::Event;

pub(super) const GLOBEX: &str = "key-of-the-other-tenant-0123456789";

/// An endpoint of the soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Endpoint {
    /// A receiver without a fault.
    Good,
    /// One that has every fault.
    Fickle,
    /// A good receiver behind a filter.
    Chosen,
    /// A queue whose consumers crash.
    Inbox,
    /// A broker that goes away.
    Stream,
    /// Switched off: its deliveries wait for ever.
    Parked,
    /// A receiver with every fault, of the tenant whose file is broken now and then.
    Hook,
    /// A queue of that tenant.
    Mail,
}

impl Endpoint {
    pub(super) const ALL: [Self; 8] = [
        Self::Good,
        Self::Fickle,
        Self::Chosen,
        Self::Inbox,
        Self::Stream,
        Self::Parked,
        Self::Hook,
        Self::Mail,
    ];

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fickle => "fickle",
            Self::Chosen => "chosen",
            Self::Inbox => "inbox",
            Self::Stream => "stream",
            Self::Parked => "parked",
            Self::Hook => "hook",
            Self::Mail => "mail",
        }
    }

    pub(super) fn of(id: &str) -> Self {
        let found = Self::ALL.into_iter().find(|endpoint| endpoint.id() == id);
        found.unwrap_or_else(|| panic!("no endpoint {id}"))
    }

    pub(super) fn tenant(self) -> &'static str {
        if matches!(self, Self::Hook | Self::Mail) { Tenant::Globex.id() } else { Tenant::Acme.id() }
    }

    pub(super) fn path(self) -> String {
        format!("/v1/tenants/{}/endpoints/{}", self.tenant(), self.id())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tenant {
    Acme,
    Globex,
}

impl Tenant {
    pub(super) const ALL: [Self; 2] = [Self::Acme, Self::Globex];

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Globex => "globex",
        }
    }

    /// What the ids of its events begin with.
    fn letter(self) -> char {
        match self {
            Self::Acme => 'a',
            Self::Globex => 'g',
        }
    }
}

/// An event: its tenant and its number among that tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Which(pub Tenant, pub u32);

/// The queue of each tenant that takes the gateway's own events, so that they are known, and nothing else.
pub(super) const NEWS: &str = "news";

/// Whether the gateway itself has made an event of this id.
pub(super) fn is_news(id: &str) -> bool {
    id.starts_with("evt_")
}

impl Which {
    pub(super) fn of(id: &str) -> Self {
        let tenant = Tenant::ALL.into_iter().find(|tenant| id.starts_with(tenant.letter()));
        let number = id.get(1..).and_then(|number| number.parse().ok());
        let (Some(tenant), Some(number)) = (tenant, number) else { panic!("nobody sent {id}") };
        Self(tenant, number)
    }

    pub(super) fn id(self) -> String {
        format!("{}{}", self.0.letter(), self.1)
    }

    fn random(self, seed: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(seed ^ (u64::from(self.1) << 8) ^ self.0 as u64)
    }

    /// Whether the filter before [`Endpoint::Chosen`] drops it.
    pub(super) fn is_dropped(self) -> bool {
        self.1 % 10 == 3
    }

    fn is_rare(self) -> bool {
        self.1 % 20 == 7
    }

    /// The endpoints that it goes to.
    pub(super) fn endpoints(self) -> Vec<Endpoint> {
        let of_tenant = Endpoint::ALL.into_iter().filter(|endpoint| endpoint.tenant() == self.0.id());
        of_tenant.filter(|endpoint| *endpoint != Endpoint::Parked || self.is_rare()).collect()
    }

    /// The event, and the pause before it is sent.
    pub(super) fn make(self, seed: u64) -> (Event, Duration) {
        let mut random = self.random(seed);
        let (tenant, key, pause) = match self.0 {
            Tenant::Acme => ("acme", KEY, 60..240),
            Tenant::Globex => ("globex", GLOBEX, 100..500),
        };
        let kind = if self.is_rare() { "soak.rare" } else { "soak.often" };
        let n = if self.is_dropped() { random.u32(..100) } else { random.u32(100..) };
        let text = "x".repeat(random.usize(..1000));
        let id = self.id();
        let body = format!(r#"{{"id":"{id}","type":"{kind}","data":{{"n":{n},"text":"{text}"}}}}"#);
        (Event { tenant, key, id, body }, Duration::from_millis(random.u64(pause)))
    }
}
