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
/// How many of them do.
pub(super) const PENDING: u64 = 50_000;

/// The plugins that the scenarios run. They are part of this executable, so that the bench needs nothing beside it.
pub(super) const PLUGINS: [(&str, &[u8]); 2] = [
    ("keep-above.wasm", include_bytes!("../../../../../plugins/dist/keep-above.wasm")),
    ("to-slack.wasm", include_bytes!("../../../../../plugins/dist/to-slack.wasm")),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Scenario {
    /// Durable and signed, no plugin.
    PassThrough,
    /// The same, and a filter that keeps every event.
    Filter,
    /// The same, and a transformer behind the filter.
    FilterTransform,
    /// Pass-through beside an endpoint that never answers and has 50,000 deliveries pending.
    DeadEndpoint,
}

impl Scenario {
    pub(super) const ALL: [Self; 4] =
        [Self::PassThrough, Self::Filter, Self::FilterTransform, Self::DeadEndpoint];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::Filter => "filter",
            Self::FilterTransform => "filter-transform",
            Self::DeadEndpoint => "dead-endpoint",
        }
    }

    /// What stands at the measured endpoint beside its address and secret.
    const fn plugins(self) -> &'static str {
        match self {
            Self::PassThrough | Self::DeadEndpoint => "",
            Self::Filter => "filters = [\"keep-above\"]\n",
            Self::FilterTransform => "filters = [\"keep-above\"]\ntransformers = [\"to-slack\"]\n",
        }
    }
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
    pub(super) key: String,
    signing: String,
}

impl Secrets {
    pub(super) fn random() -> Self {
        let bytes: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
        let key = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        Self { key, signing: format!("whsec_{}", BASE64.encode(bytes)) }
    }
}

/// The gateway's configuration. Plugins and journal lie beside the file; ports are the system's choice.
pub(super) fn configuration(
    scenario: Scenario,
    secrets: &Secrets,
    connections: usize,
    receiver: SocketAddr,
    silent: Option<SocketAddr>,
) -> String {
    let Secrets { key, signing } = secrets;
    let plugins = scenario.plugins();
    let mut text = format!(
        r#"allow_inline_secrets = true

[accept]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"

[journal]
path = "journal"

[egress]
allow_cidrs = ["127.0.0.0/8"]
allow_ports = []

[tenants.{TENANT}]
keys = ["{key}"]

[tenants.{TENANT}.plugins.keep-above]
file = "keep-above.wasm"
config = {{ field = "amount", minimum = 100 }}

[tenants.{TENANT}.plugins.to-slack]
file = "to-slack.wasm"
config = {{ title = "New order {{id}}", fields = ["order.id", "amount"] }}

[tenants.{TENANT}.endpoints.measured]
url = "http://{receiver}/hook"
event_types = ["{MEASURED}"]
secret = "{signing}"
concurrency = {connections}
{plugins}"#
    );
    if let Some(silent) = silent {
        text.push_str(&format!(
            r#"
[tenants.{TENANT}.endpoints.dead]
url = "http://{silent}/hook"
event_types = ["{DEAD}"]
secret = "{signing}"
"#
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(scenario: Scenario, silent: Option<SocketAddr>) -> toml::Table {
        let receiver = SocketAddr::from(([127, 0, 0, 1], 4000));
        configuration(scenario, &Secrets::random(), 64, receiver, silent).parse().unwrap()
    }

    #[test]
    fn each_scenario_has_its_plugins() {
        for (scenario, filters, transformers) in [
            (Scenario::PassThrough, None, None),
            (Scenario::Filter, Some("keep-above"), None),
            (Scenario::FilterTransform, Some("keep-above"), Some("to-slack")),
            (Scenario::DeadEndpoint, None, None),
        ] {
            let table = parsed(scenario, None);
            let endpoints = table["tenants"][TENANT]["endpoints"].as_table().unwrap();
            assert_eq!(endpoints.len(), 1, "{scenario}");
            let measured = &endpoints["measured"];
            assert_eq!(measured["url"].as_str(), Some("http://127.0.0.1:4000/hook"));
            for (key, expected) in [("filters", filters), ("transformers", transformers)] {
                let first = measured.get(key).map(|list| list[0].as_str().unwrap());
                assert_eq!(first, expected, "{scenario} {key}");
            }
        }
    }

    #[test]
    fn the_dead_endpoint_takes_events_of_its_own() {
        let table = parsed(Scenario::DeadEndpoint, Some(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let endpoints = &table["tenants"][TENANT]["endpoints"];
        assert_eq!(endpoints["dead"]["url"].as_str(), Some("http://127.0.0.1:5000/hook"));
        assert_ne!(endpoints["dead"]["event_types"], endpoints["measured"]["event_types"]);
    }

    #[test]
    fn names_on_the_command_line_are_the_names_of_the_report() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::from_str(scenario.as_str(), false), Ok(scenario));
        }
        assert_eq!(Scenario::value_variants(), Scenario::ALL);
    }
}
