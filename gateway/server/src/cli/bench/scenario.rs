//! The scenarios, and the configuration that the gateway gets for each.

use std::fmt;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// The tenant that all events belong to, and the type of those that are measured.
pub(super) const TENANT: &str = "bench";
pub(super) const MEASURED: &str = "bench.event";
/// The type of the events that pile up at the dead endpoint.
pub(super) const DEAD: &str = "bench.dead";
/// How many of them do, and how many are drained of a backlog.
pub(super) const PENDING: u64 = 50_000;
/// A measured endpoint's name begins with this; its number follows.
pub(super) const MEASURED_ENDPOINT: &str = "measured";
/// The endpoint that is a queue.
pub(super) const QUEUE: &str = "inbox";
/// Their configuration, by name.
const CONFIGS: [(&str, &str); 2] = [
    ("keep-above", r#"{ field = "amount", minimum = 100 }"#),
    ("to-slack", r#"{ title = "New order {id}", fields = ["order.id", "amount"] }"#),
];
const OWN_CONFIG: [(&str, &str); 1] = [(OWN_NAME, "{ minimum = 100 }")];

/// The plugin of a component that was given.
const OWN_NAME: &str = "own";
/// The file of a component that was given.
pub(super) const OWN: &str = "own.wasm";
/// Below this path the receiver refuses every tenth first attempt.
pub(super) const FLAKY: &str = "/flaky";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Scenario {
    /// Durable; no signature, no plugin.
    PassThrough,
    /// Durable and signed.
    Signed,
    /// Signed, and a filter that keeps every event.
    Filter,
    /// The same, and a transformer behind the filter.
    FilterTransform,
    /// The same, each plugin with an instance that is used again.
    FilterTransformReuse,
    /// Signed, for five endpoints, beside a gateway with one of them.
    #[value(name = "fan-out-5")]
    FanOut,
    /// Signed, from 1,000 tenants with an endpoint each.
    #[value(name = "tenants-1000")]
    Tenants,
    /// Signed, with ten times the data.
    #[value(name = "payload-10k")]
    Large,
    /// Signed, to a receiver that answers every tenth first attempt with 503.
    FailingReceiver,
    /// Signed, beside an endpoint that never answers and has 50,000 deliveries pending.
    DeadEndpoint,
    /// 50,000 events that were accepted while the endpoint was switched off.
    BacklogDrain,
    /// Into a queue inside the gateway, and out of it over HTTP.
    PullQueue,
}

impl Scenario {
    pub(super) const ALL: [Self; 12] = [
        Self::PassThrough,
        Self::Signed,
        Self::Filter,
        Self::FilterTransform,
        Self::FilterTransformReuse,
        Self::FanOut,
        Self::Tenants,
        Self::Large,
        Self::FailingReceiver,
        Self::DeadEndpoint,
        Self::BacklogDrain,
        Self::PullQueue,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::Signed => "signed",
            Self::Filter => "filter",
            Self::FilterTransform => "filter-transform",
            Self::FilterTransformReuse => "filter-transform-reuse",
            Self::FanOut => "fan-out-5",
            Self::Tenants => "tenants-1000",
            Self::Large => "payload-10k",
            Self::FailingReceiver => "failing-receiver",
            Self::DeadEndpoint => "dead-endpoint",
            Self::BacklogDrain => "backlog-drain",
            Self::PullQueue => "pull-queue",
        }
    }

    pub(super) const fn tenants(self) -> usize {
        if matches!(self, Self::Tenants) { 1000 } else { 1 }
    }

    /// How many deliveries an event has.
    pub(super) const fn fan_out(self) -> usize {
        if matches!(self, Self::FanOut) { 5 } else { 1 }
    }

    /// Bytes of a request's body, where the usual one has this many.
    pub(super) const fn payload(self, usual: usize) -> usize {
        if matches!(self, Self::Large) { 10 * usual } else { usual }
    }

    /// What the second gateway, which the first is compared with, is told from it by.
    pub(super) const fn beside(self) -> Option<&'static str> {
        match self {
            Self::FanOut => Some("with one endpoint"),
            Self::DeadEndpoint => Some("without it"),
            _ => None,
        }
    }

    /// The filter and the transformer of an endpoint, as far as it has them. A component that was given is both.
    const fn chain(self, is_given: bool) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Self::Filter => (Some("keep-above"), None),
            Self::FilterTransform | Self::FilterTransformReuse if is_given => {
                (Some(OWN_NAME), Some(OWN_NAME))
            }
            Self::FilterTransform | Self::FilterTransformReuse => (Some("keep-above"), Some("to-slack")),
            _ => (None, None),
        }
    }

    /// What else stands at an endpoint beside its address.
    const fn endpoint(self) -> &'static str {
        match self {
            Self::FailingReceiver => "retry = { waits = [\"1s\", \"1s\", \"1s\"], jitter = 0 }\n",
            Self::PassThrough => "sign = \"none\"\n",
            _ => "",
        }
    }

    /// Where at the receiver an endpoint's deliveries go.
    const fn path(self) -> &'static str {
        if matches!(self, Self::FailingReceiver) { FLAKY } else { "/hook" }
    }
}

/// The name of a tenant; the first is the only one in most scenarios.
pub(super) fn tenant(number: usize) -> String {
    if number == 0 { TENANT.to_owned() } else { format!("{TENANT}-{number}") }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Scenario {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Made anew for each bench; nothing outside it takes them. No `Debug`, as they are secrets all the same.
pub(super) struct Secrets {
    key: String,
    signing: String,
}

impl Secrets {
    pub(super) fn random() -> Self {
        let bytes: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
        let key = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        Self { key, signing: format!("whsec_{}", BASE64.encode(bytes)) }
    }

    /// A tenant's key.
    pub(super) fn key(&self, tenant: usize) -> String {
        format!("{}-{tenant}", self.key)
    }
}

/// What a gateway is configured for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup<'a> {
    pub(super) scenario: Scenario,
    /// Endpoints of each tenant, each of which gets every event.
    pub(super) endpoints: usize,
    /// Senders. An endpoint may have twice as many attempts under way, since one that is answered holds its place until the
    /// journal has the answer.
    pub(super) connections: usize,
    pub(super) receiver: SocketAddr,
    /// Where the dead endpoint is, if there is one.
    pub(super) silent: Option<SocketAddr>,
    /// A component that was given, to be both filter and transformer.
    pub(super) own: Option<&'a [u8]>,
}

/// The gateway's configuration. The journal and a component that was given lie beside the file; ports are the system's choice.
pub(super) fn configuration(setup: &Setup<'_>, secrets: &Secrets) -> String {
    let Setup { scenario, endpoints, connections, receiver, silent, own } = *setup;
    let signing = &secrets.signing;
    let mut text = r#"allow_inline_secrets = true

[accept]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"

[journal]
path = "journal"

[egress]
allow_cidrs = ["127.0.0.0/8"]
allow_ports = []
"#
    .to_owned();
    let secret = if scenario == Scenario::PassThrough { "" } else { &format!("secret = \"{signing}\"\n") };
    let reuse = scenario == Scenario::FilterTransformReuse;
    let (filter, transformer) = scenario.chain(own.is_some());
    let plugins = match filter {
        None => &[][..],
        Some(OWN_NAME) => &OWN_CONFIG,
        Some(_) => &CONFIGS,
    };
    let mut more = scenario.endpoint().to_owned();
    for (list, name) in [("filters", filter), ("transformers", transformer)] {
        more.extend(name.map(|name| format!("{list} = [\"{name}\"]\n")));
    }
    for number in 0..scenario.tenants() {
        let (name, key) = (tenant(number), secrets.key(number));
        text.push_str(&format!(
            r#"
[tenants.{name}]
keys = ["{key}"]
"#
        ));
        for (plugin, config) in plugins {
            let component = if *plugin == OWN_NAME {
                format!("file = \"{OWN}\"")
            } else {
                format!("builtin = \"{plugin}\"")
            };
            text.push_str(&format!(
                "\n[tenants.{name}.plugins.{plugin}]\n{component}\nreuse = {reuse}\nconfig = {config}\n"
            ));
        }
        if scenario == Scenario::PullQueue {
            text.push_str(&format!(
                "\n[tenants.{name}.endpoints.{QUEUE}]\nkind = \"pull\"\nevent_types = [\"{MEASURED}\"]\n"
            ));
            continue;
        }
        for endpoint in 0..endpoints {
            text.push_str(&format!(
                r#"
[tenants.{name}.endpoints.{MEASURED_ENDPOINT}-{endpoint}]
url = "http://{receiver}{path}/{endpoint}"
event_types = ["{MEASURED}"]
concurrency = {concurrency}
{secret}{more}"#,
                concurrency = 2 * connections,
                path = scenario.path(),
            ));
        }
    }
    if let Some(silent) = silent {
        text.push_str(&format!(
            r#"
[tenants.{TENANT}.endpoints.dead]
url = "http://{silent}/hook"
event_types = ["{DEAD}"]
{secret}"#
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(scenario: Scenario, silent: Option<SocketAddr>) -> toml::Table {
        let receiver = SocketAddr::from(([127, 0, 0, 1], 4000));
        let setup =
            Setup { scenario, endpoints: scenario.fan_out(), connections: 64, receiver, silent, own: None };
        configuration(&setup, &Secrets::random()).parse().unwrap()
    }

    #[test]
    fn each_scenario_has_its_plugins() {
        for (scenario, filters, transformers) in [
            (Scenario::PassThrough, None, None),
            (Scenario::Signed, None, None),
            (Scenario::Filter, Some("keep-above"), None),
            (Scenario::FilterTransform, Some("keep-above"), Some("to-slack")),
            (Scenario::FilterTransformReuse, Some("keep-above"), Some("to-slack")),
            (Scenario::DeadEndpoint, None, None),
        ] {
            let table = parsed(scenario, None);
            let tenant = &table["tenants"][TENANT];
            let measured = &tenant["endpoints"]["measured-0"];
            assert_eq!(measured["url"].as_str(), Some("http://127.0.0.1:4000/hook/0"));
            assert_eq!(measured.get("secret").is_some(), scenario != Scenario::PassThrough, "{scenario}");
            for (key, expected) in [("filters", filters), ("transformers", transformers)] {
                let first = measured.get(key).map(|list| list[0].as_str().unwrap());
                assert_eq!(first, expected, "{scenario} {key}");
            }
            let reuse = tenant.get("plugins").and_then(|plugins| plugins["to-slack"]["reuse"].as_bool());
            assert_eq!(reuse == Some(true), scenario == Scenario::FilterTransformReuse, "{scenario}");
            assert_eq!(reuse.is_some(), filters.is_some(), "{scenario}");
        }
    }

    #[test]
    fn a_component_that_was_given_takes_both_places() {
        let receiver = SocketAddr::from(([127, 0, 0, 1], 4000));
        for (scenario, expected) in
            [(Scenario::FilterTransformReuse, "own"), (Scenario::Filter, "keep-above")]
        {
            let setup =
                Setup { scenario, endpoints: 1, connections: 64, receiver, silent: None, own: Some(b"") };
            let table: toml::Table = configuration(&setup, &Secrets::random()).parse().unwrap();
            let tenant = &table["tenants"][TENANT];
            assert_eq!(tenant["endpoints"]["measured-0"]["filters"][0].as_str(), Some(expected));
            assert!(tenant["plugins"].get(expected).is_some(), "{scenario}");
        }
    }

    #[test]
    fn each_scenario_has_its_tenants_and_endpoints() {
        for (scenario, tenants, endpoints, name) in [
            (Scenario::Signed, 1, 1, "measured-0"),
            (Scenario::FanOut, 1, 5, "measured-4"),
            (Scenario::Tenants, 1000, 1, "measured-0"),
            (Scenario::PullQueue, 1, 1, "inbox"),
        ] {
            let table = parsed(scenario, None);
            let all = table["tenants"].as_table().unwrap();
            assert_eq!(all.len(), tenants, "{scenario}");
            for tenant in all.values() {
                let found = tenant["endpoints"].as_table().unwrap();
                assert!(found.len() == endpoints && found.contains_key(name), "{scenario}: {found:?}");
            }
        }
    }

    #[test]
    fn the_dead_endpoint_takes_events_of_its_own() {
        let table = parsed(Scenario::DeadEndpoint, Some(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let endpoints = &table["tenants"][TENANT]["endpoints"];
        assert_eq!(endpoints["dead"]["url"].as_str(), Some("http://127.0.0.1:5000/hook"));
        assert_ne!(endpoints["dead"]["event_types"], endpoints["measured-0"]["event_types"]);
    }

    #[test]
    fn names_on_the_command_line_are_the_names_of_the_report() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::from_str(scenario.as_str(), false), Ok(scenario));
        }
        assert_eq!(Scenario::value_variants(), Scenario::ALL);
    }
}
