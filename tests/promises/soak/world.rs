//! The gateway of the soak, its senders, and all that it delivers to.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hookweir_tests::broker::PASSWORD;
use hookweir_tests::{
    Admin, Clock, Config, Consumer, Gateway, KEY, Stderr, endpoint, eventually, eventually_by, plugin, tenant,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::events::{Endpoint, GLOBEX, NEWS, Tenant, Which, is_news};
use super::outside::{Crowd, QUEUES, Site, Store, Trouble};
use crate::disk::Disk;
use crate::ledger::{Ledger, Persistent};

const DISK_MIB: u32 = 768;
/// Senders of each tenant.
const SENDERS: [usize; 2] = [8, 2];
/// Consumers of each queue.
const CONSUMERS: usize = 2;
/// Attempts that may be under way to one endpoint.
pub(super) const CONCURRENCY: usize = 8;
/// The stream of the broker.
pub(super) const STREAM: &str = "soak";
const STOP: Duration = Duration::from_secs(10);
/// For what waits at the end of a long soak.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct World {
    pub seed: u64,
    pub gateway: Gateway,
    /// It goes after the gateway, whose folder it holds.
    pub disk: Disk,
    pub clock: Clock,
    address: watch::Sender<SocketAddr>,
    pub ledger: Arc<Ledger>,
    /// Senders go on until this is set.
    is_over: Arc<AtomicBool>,
    senders: Vec<Persistent>,
    /// The next number of each tenant.
    next: [u32; 2],
    pub good: Site,
    pub fickle: Site,
    pub hook: Site,
    pub store: Store,
    pub crowd: Option<Crowd>,
    pub accounts: Accounts,
}

/// What the test notes while faults come.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// How often each kind of fault came.
    pub faults: BTreeMap<&'static str, usize>,
    pub kills: usize,
    /// The longest time from SIGTERM to the end.
    pub longest_stop: Duration,
    /// Deliveries that somebody asked to cancel.
    pub cancelled: HashSet<(Endpoint, Which)>,
    /// Events that were removed to make room, as the gateway counted them, ...
    pub removed: u64,
    /// ... those of the present life that are in this number, ...
    removed_in_life: u64,
    /// ... and the ids that are missing since a gateway was killed before it could tell.
    pub removed_untold: u64,
}

impl World {
    pub(super) async fn begin(seed: u64) -> Self {
        let (disk, clock) = (Disk::mount(DISK_MIB), Clock::new());
        let store = Store::start().await;
        let (good, fickle, hook) = (Site::start().await, Site::start().await, Site::start().await);
        let folder = TempDir::new_in(disk.path()).expect("a folder for the gateway");
        fs::create_dir(folder.path().join("tenants.d")).expect("a folder for the tenants");
        let acme = acme(&good, &fickle, &store);
        for (name, text) in
            [("hookweir.toml", main_file()), ("tenants.d/acme.toml", acme), (GLOBEX_FILE, globex(&hook))]
        {
            fs::write(folder.path().join(name), text).expect("the configuration to be written");
        }
        let gateway = Gateway::start_prepared(folder, &clock, Stderr::Read).await;
        let (address, _) = watch::channel(gateway.accept_address());
        let mut world = Self {
            seed,
            disk,
            clock,
            gateway,
            ledger: Arc::default(),
            is_over: Arc::default(),
            senders: Vec::new(),
            next: [0; 2],
            good,
            fickle,
            hook,
            store,
            crowd: Some(Crowd::start(&address.subscribe(), CONSUMERS)),
            address,
            accounts: Accounts::default(),
        };
        assert_eq!(world.metric("hookweir_config_problems").await, 0, "{}", world.gateway.log());
        world.send(u32::MAX);
        world
    }

    /// Sends up to so many more events of each tenant, until [`Self::all_sent`].
    pub(super) fn send(&mut self, most: u32) {
        self.is_over = Arc::default();
        for ((tenant, senders), next) in Tenant::ALL.into_iter().zip(SENDERS).zip(self.next) {
            let (seed, is_over) = (self.seed, Arc::clone(&self.is_over));
            let address = self.address.subscribe();
            let senders = Persistent::start(&address, senders, &self.ledger, move |number| {
                let number = u32::try_from(number).expect("fewer events");
                let goes_on = number < most && !is_over.load(Ordering::SeqCst);
                goes_on.then(|| Which(tenant, next + number).make(seed))
            });
            self.senders.push(senders);
        }
    }

    /// Waits until all that was begun is acknowledged.
    pub(super) async fn all_sent(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        for senders in self.senders.drain(..) {
            senders.ended().await;
        }
        for id in self.ledger.acknowledged() {
            let Which(tenant, number) = Which::of(&id);
            let next = &mut self.next[tenant as usize];
            *next = (*next).max(number + 1);
        }
    }

    pub(super) fn admin(&self) -> Admin {
        self.gateway.admin()
    }

    pub(super) async fn kill(&mut self) {
        self.gateway.kill9().await;
        self.accounts.kills += 1;
    }

    /// SIGTERM, which ends it in order and in time.
    pub(super) async fn stop(&mut self) {
        self.note_removed().await;
        let asked = Instant::now();
        let status = self.gateway.terminate().await;
        let took = asked.elapsed();
        assert_eq!(status.code(), Some(0), "{}", self.gateway.log());
        assert!(took < STOP, "it took {took:?} to end");
        self.accounts.longest_stop = self.accounts.longest_stop.max(took);
    }

    pub(super) async fn start(&mut self) {
        self.gateway.try_listen_again().await.expect("the gateway to start");
        self.begins().await;
    }

    /// Starts it while the disk is full, which it is no more after that.
    pub(super) async fn start_while_full(&mut self) {
        self.disk.start_while_full(&mut self.gateway).await;
        self.begins().await;
    }

    async fn begins(&mut self) {
        self.accounts.removed_in_life = 0;
        self.address.send_replace(self.gateway.accept_address());
        self.gateway.ready().await;
    }

    /// Waits until so many more events were acknowledged, or requests refused.
    pub(super) async fn acknowledged(&self, more: usize) {
        self.ledger.wait_for(self.ledger.count() + more).await;
    }

    pub(super) async fn refused(&self, more: usize) {
        let refused = || self.ledger.refused().get(&503).copied().unwrap_or(0);
        let wanted = refused() + more;
        eventually("events to be refused", async || {
            if refused() >= wanted { Ok(()) } else { Err(format!("{:?}", self.ledger.refused())) }
        })
        .await;
    }

    /// Takes over what the gateway has removed to make room, by its own count.
    pub(super) async fn note_removed(&mut self) {
        let removed = self.metric("hookweir_journal_removed_early_total").await;
        self.accounts.removed += removed - self.accounts.removed_in_life;
        self.accounts.removed_in_life = removed;
    }

    pub(super) async fn metric(&self, name: &str) -> u64 {
        self.admin().metric(name).await
    }

    /// An endpoint as the gateway tells of it; nothing while its tenant is off.
    pub(super) async fn endpoint(&self, endpoint: Endpoint) -> Value {
        self.admin().json(&endpoint.path()).await
    }

    /// All entries of a list.
    pub(super) async fn list(&self, path: &str) -> Vec<Value> {
        let (admin, mut all, mut cursor) = (self.admin(), Vec::new(), String::new());
        loop {
            let page = admin.json(&format!("{path}{}limit=500{cursor}", separator(path))).await;
            all.extend(page["data"].as_array().expect("a list").iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// The events that the gateway has, and the ids of those that are its own.
    pub(super) async fn listed(&self) -> (HashSet<Which>, HashSet<String>) {
        let (mut listed, mut news) = (HashSet::new(), HashSet::new());
        for tenant in Tenant::ALL {
            for event in self.list(&format!("/v1/tenants/{}/events", tenant.id())).await {
                assert_eq!(event["damaged"], Value::Null, "{event}");
                let id = event["id"].as_str().expect("an id");
                let is_first =
                    if is_news(id) { news.insert(id.to_owned()) } else { listed.insert(Which::of(id)) };
                assert!(is_first, "twice: {event}");
            }
        }
        (listed, news)
    }

    pub(super) fn accepted(&self) -> HashSet<Which> {
        self.ledger.acknowledged().iter().map(|id| Which::of(id)).collect()
    }

    pub(super) fn write_globex(&self, text: &str) {
        fs::write(self.gateway.folder().join(GLOBEX_FILE), text).expect("the file to be written");
    }

    pub(super) fn write_main(&self, text: &str) {
        fs::write(self.gateway.folder().join("hookweir.toml"), text).expect("the file to be written");
    }

    /// All faults are over: files, clock, receivers and broker are as they were, and what was given up is left to be so.
    pub(super) async fn heal(&mut self) {
        self.clock.set_right();
        self.write_globex(&globex(&self.hook));
        self.write_main(&main_file());
        self.gateway.reload();
        eventually("the whole configuration to be in force", async || {
            match self.metric("hookweir_config_reload_success").await {
                1 => Ok(()),
                _ => Err(self.gateway.log()),
            }
        })
        .await;
        for site in [&self.fickle, &self.hook] {
            site.suffer(Trouble::Nothing);
        }
        self.store.mend().await;
        self.all_sent().await;
        let admin = self.admin();
        for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Parked) {
            admin.post(&format!("{}/enable", endpoint.path()), "").await.expect(200);
        }
        for endpoint in [Endpoint::Good, Endpoint::Fickle, Endpoint::Chosen, Endpoint::Hook, Endpoint::Stream]
        {
            let body = json!({ "pending": true }).to_string();
            admin.post(&format!("{}/recover", endpoint.path()), &body).await.expect(200);
        }
        self.all_ended().await;
    }

    /// Waits until nothing is pending but what waits for the endpoint that is switched off, and the queues are empty.
    pub(super) async fn all_ended(&self) {
        eventually_by(PATIENCE, "nothing to be pending", async || {
            let pending = self.metric("hookweir_pending_deliveries").await;
            let parked =
                self.admin().count(Endpoint::Parked.tenant(), Endpoint::Parked.id(), "pending").await;
            if pending == parked { Ok(()) } else { Err(format!("{pending}, {parked} of them parked")) }
        })
        .await;
        let accept = self.gateway.accept_address();
        for (tenant, key, queue) in QUEUES {
            let consumer = Consumer::new(accept, tenant, key, queue);
            eventually("the queue to be empty", async || match consumer.stats().await {
                [0, 0, 0, 0] => Ok(()),
                stats => Err(format!("{stats:?}")),
            })
            .await;
        }
    }
}

fn separator(path: &str) -> char {
    if path.contains('?') { '&' } else { '?' }
}

const GLOBEX_FILE: &str = "tenants.d/globex.toml";

pub(super) fn main_file() -> String {
    let mut config = Config::new("");
    config.dispatch = "memory = \"16MiB\"".to_owned();
    format!("include = [\"tenants.d/*.toml\"]\n{}", config.text())
}

/// Waits and a breaker of some seconds, so that all of it happens in a soak.
fn quick(waits: &[&str], breaker: &str) -> String {
    format!(
        "concurrency = {CONCURRENCY}\nbreaker = {breaker}\n\
         retry = {{ waits = {waits:?}, jitter = 0.2, timeout = \"2s\", connect_timeout = \"1s\" }}\n"
    )
}

/// What is tried for some minutes is never given up.
fn patient() -> String {
    quick(&[["1s"; 25], ["5s"; 25]].concat(), "{ failures = 20, pause = \"200ms\" }")
}

fn acme(good: &Site, fickle: &Site, store: &Store) -> String {
    let lines = |lines: &str| format!("concurrency = {CONCURRENCY}\n{lines}");
    let http = |id: Endpoint, site: &Site, more: &str| endpoint("acme", id.id(), &site.url(id), more);
    tenant("acme", KEY)
        + &format!(
            "[tenants.acme.plugins.large]\nfile = {:?}\nconfig = {{ field = \"n\", minimum = 100 }}\n",
            plugin("keep-above")
        )
        + &http(Endpoint::Good, good, &lines(""))
        + &http(Endpoint::Fickle, fickle, &patient())
        + &http(Endpoint::Chosen, good, &lines("filters = [\"large\"]"))
        + &http(Endpoint::Parked, good, "event_types = [\"soak.rare\"]\nenabled = false")
        + &pull("acme", Endpoint::Inbox.id(), "")
        + &pull("acme", NEWS, OWN)
        + &format!(
            "[tenants.acme.endpoints.{}]\nkind = \"redis\"\nurl = \"redis://{}/0\"\nstream = \"{STREAM}\"\n\
             password = \"{PASSWORD}\"\n{}",
            Endpoint::Stream.id(),
            store.address(),
            patient()
        )
}

/// What this tenant's receiver refuses four times is given up. A breaker would keep it from being asked so often.
pub(super) fn globex(hook: &Site) -> String {
    let lines = quick(&["200ms", "500ms", "1s"], "false");
    tenant("globex", GLOBEX)
        + &endpoint("globex", Endpoint::Hook.id(), &hook.url(Endpoint::Hook), &lines)
        + &pull("globex", Endpoint::Mail.id(), "")
        + &pull("globex", NEWS, OWN)
}

/// What the gateway tells of endpoints.
const OWN: &str = "event_types = [\"hookweir.endpoint.*\"]\n";

fn pull(tenant: &str, queue: &str, lines: &str) -> String {
    format!(
        "[tenants.{tenant}.endpoints.{queue}]\nkind = \"pull\"\nmax_receives = 0\nvisibility_timeout = \"2s\"\n{lines}"
    )
}
