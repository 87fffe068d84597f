//! What the program may assume: the configuration after every check has passed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hookweir_delivery::{EgressPolicy, Target};
use hookweir_host::Limits;
use hookweir_journal::engines::embedded::OnDamage;
use hookweir_model::{Digest, EndpointId, Event, PacePolicy, PluginId, RetryPolicy, TenantId, TypePattern};
use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::problem::Warning;
use crate::builtin::Builtin;
use crate::role::Role;

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub accept: Accept,
    pub admin: Admin,
    pub journal: Journal,
    pub dispatch: Dispatch,
    pub egress: EgressPolicy,
    /// Where traces and logs are sent; none are where there is no such place.
    pub otlp: Option<Otlp>,
    pub tenants: BTreeMap<TenantId, Tenant>,
    /// The patterns of `include`.
    pub includes: Vec<Include>,
    /// What may be a mistake, or is done otherwise than it is written.
    pub warnings: Vec<Warning>,
    /// The included files that can't be used as they are.
    pub broken: Vec<Broken>,
    /// What is wrong with them, a line each.
    pub problems: Vec<String>,
}

impl Config {
    /// Whether a receiver is met by https for whose certificate this machine's authorities have to vouch.
    pub(crate) fn trusts_the_machine(&self) -> bool {
        let by_machine = |endpoint: &Endpoint| match &endpoint.target {
            Destination::Outside(target) => target.trusts_the_machine(),
            Destination::Pull(_) => false,
        };
        self.egress.ca.as_ref().is_none_or(|ca| ca.and_system)
            && self.tenants.values().flat_map(|tenant| tenant.endpoints.values()).any(by_machine)
    }
}

/// An included file that can't be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub path: PathBuf,
    /// The tenants that stand in it; `None` where that can't be told.
    pub tenants: Option<Vec<String>>,
}

/// A pattern of `include`, and what it stood for when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Include {
    pub pattern: String,
    /// How many files it matches.
    pub matched: usize,
    /// Whether the folder that it begins with has nothing in it at all.
    pub is_empty: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accept {
    pub listen: SocketAddr,
    pub max_body: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub listen: SocketAddr,
    /// Always set where `listen` is not a loopback address.
    pub token: Option<SecretString>,
    /// Further tokens, by their role.
    pub keys: Vec<ApiKey>,
    /// What browsers call the listener, where a proxy stands before it.
    pub origin: Option<url::Origin>,
}

/// A bearer key.
#[derive(Debug, Clone)]
pub(crate) struct ApiKey {
    pub secret: SecretString,
    pub role: Role,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Journal {
    pub path: PathBuf,
    pub retention: Duration,
    pub max_size: u64,
    /// For how long deliveries wait whose endpoint has left the configuration, before they are cancelled.
    pub keep_removed: Duration,
    /// What the disk must have left for an event to be taken; `None`: by the size of the disk.
    pub reserve: Option<u64>,
    /// What a start does that finds less than was answered.
    pub on_damage: OnDamage,
}

/// How deliveries are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dispatch {
    /// Bytes of memory that deliveries may hold, over all endpoints, if the machine has that much; `None`: what is usual.
    pub memory: Option<u64>,
}

/// A collector that takes OTLP over HTTP, and what it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Otlp {
    /// What the path of each signal is added to.
    pub endpoint: Url,
    /// The authorities that its certificate must come from, as PEM; `None`: those of the system.
    pub ca: Option<Arc<[u8]>>,
    pub headers: Vec<(HeaderName, SecretString)>,
    /// The share of events whose traces are recorded, from 0 to 1.
    pub sample: f64,
    /// By what name the gateway is known there.
    pub service: String,
    pub traces: bool,
    pub logs: bool,
}

impl Otlp {
    /// Where a signal is sent: its path stands behind that of the endpoint.
    #[cfg(feature = "otlp")]
    pub(crate) fn url(&self, signal: &str) -> String {
        format!("{}/{signal}", self.endpoint.as_str().trim_end_matches('/'))
    }
}

impl PartialEq for Otlp {
    fn eq(&self, other: &Self) -> bool {
        let shown = |otlp: &Self| -> Vec<_> {
            let header =
                |(name, value): &(HeaderName, SecretString)| (name.clone(), value.expose_secret().to_owned());
            otlp.headers.iter().map(header).collect()
        };
        let Self { endpoint, ca, headers: _, sample, service, traces, logs } = self;
        (endpoint, ca, sample, service, traces, logs)
            == (&other.endpoint, &other.ca, &other.sample, &other.service, &other.traces, &other.logs)
            && shown(self) == shown(other)
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Tenant {
    /// The included file that it stands in; `None`: the main one.
    pub file: Option<PathBuf>,
    pub keys: Vec<ApiKey>,
    pub quota: Quota,
    pub plugins: BTreeMap<PluginId, Plugin>,
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
}

/// What a tenant may send; `None`: as much as there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Quota {
    /// Bytes of data that its pending deliveries may have, an event's counted for each endpoint that it waits for.
    pub pending_size: Option<u64>,
    pub events_per_second: Option<u32>,
}

#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    pub source: PluginSource,
    /// JSON text, `{}` where none is configured.
    pub config: Arc<str>,
    pub limits: Limits,
    /// Processor time that a component of it may take to compile.
    pub compile_deadline: Duration,
    /// Whether an instance serves many events.
    pub reuse: bool,
    /// What a new component has to give a result for before it comes in force.
    /// Its tenant is none: whoever runs it says whose it is.
    pub sample: Option<Arc<Event>>,
}

/// Where a plugin's component comes from.
#[derive(Debug, Clone)]
pub(crate) enum PluginSource {
    /// A file, which had this digest when it was checked. Its bytes are read again when it is loaded: a thousand
    /// plugins are not held in memory for that.
    File { path: PathBuf, digest: Digest },
    /// This binary, which holds the component.
    Builtin { builtin: Builtin, digest: Digest },
    /// The admin listener, which takes the pinned component alone where there is a pin.
    Upload { pin: Option<Digest> },
}

impl PluginSource {
    /// Whether the component comes from the admin listener.
    pub(crate) const fn is_upload(&self) -> bool {
        matches!(self, Self::Upload { .. })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub target: Destination,
    pub event_types: Vec<TypePattern>,
    pub filters: Vec<PluginId>,
    pub transformers: Vec<PluginId>,
    pub format: Format,
    pub retry: RetryPolicy,
    pub pace: PacePolicy,
    /// Whether headers, timings and the shaped body are kept of what was delivered too.
    pub keeps_all: bool,
    /// The file that all of its signing secrets are from, where that is one.
    pub secret_file: Option<PathBuf>,
    pub enabled: bool,
}

/// Where an endpoint's events end up.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    /// With a receiver of another kind, over the network.
    Outside(Box<Target>),
    /// In a queue of the gateway's own, which is named as the endpoint is.
    Pull(Pull),
}

impl Destination {
    /// The endpoint's `kind`, as the configuration names it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Outside(target) => target.kind(),
            Self::Pull(_) => "pull",
        }
    }

    /// What a person recognises the receiver by.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Outside(target) => target.address(),
            Self::Pull(_) => "a queue in the gateway".to_owned(),
        }
    }

    /// The same for those who may only look.
    pub(crate) fn masked_address(&self) -> String {
        match self {
            Self::Outside(target) => target.masked_address(),
            Self::Pull(_) => self.address(),
        }
    }
}

/// A queue that consumers fetch from.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    /// Who may speak SMQ's protocol with it. The JSON face takes the tenant's keys.
    pub access: Vec<Access>,
    /// How long a received message is hidden, unless its consumer asks for another time.
    pub visibility_timeout: Duration,
    /// After how many receives a message is a dead letter; `None`: never.
    pub max_receives: Option<u32>,
    /// How long a message is kept; `None`: as long as the journal keeps events.
    pub retention: Option<Duration>,
    /// How long a consumer may wait for a message.
    pub max_wait: Duration,
}

/// A key of SMQ's kind.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub id: String,
    pub secret: SecretString,
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The event's exact bytes, or the last transformer's.
    Data,
    /// `{"type": ..., "timestamp": ..., "data": ...}` of Standard Webhooks.
    Envelope,
    /// `{"EventType", "UserId", "EventTime", "MessageBody"}` of Alibaba's IMS callbacks.
    Ims { user_id: u64 },
}
