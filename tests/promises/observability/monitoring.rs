//! `examples/observability` against a real Prometheus that scrapes a gateway under load: each query of the dashboard and of
//! the alert rules yields data, and alerts fire for whom they should.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hookweir_tests::{
    Gateway, KEY, Prometheus, Receiver, Reply, endpoint, eventually, plugin, repository, run, tenant,
};
use serde_json::Value;
use tokio::process::Command;

const QUOTA_KEY: &str = "key-of-a-tenant-with-a-quota-0123456789";

fn folder() -> PathBuf {
    repository().join("examples").join("observability")
}

fn file(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A gateway with all that there are queries for: deliveries that arrive, fail and are filtered, and a quota.
struct Scene {
    gateway: Gateway,
    _receiver: Receiver,
}

impl Scene {
    async fn start() -> Self {
        let receiver =
            Receiver::start(|_, request| Reply::Status(if request.path == "/broken" { 500 } else { 200 }))
                .await;
        let filter = format!(
            "[tenants.acme.plugins.large-only]\nfile = {:?}\nconfig = {{ field = \"total\", minimum = 100 }}\n",
            plugin("keep-above")
        );
        let tenants = tenant("acme", KEY)
            + &filter
            + &endpoint("acme", "well", &receiver.url("/well"), "")
            + &endpoint("acme", "large", &receiver.url("/large"), "filters = [\"large-only\"]")
            + &endpoint(
                "acme",
                "broken",
                &receiver.url("/broken"),
                "breaker = false\nretry = { waits = [\"1s\"] }",
            )
            + &tenant("frugal", QUOTA_KEY)
            + "quota = { events_per_second = 1 }\n";
        Self { gateway: Gateway::start(tenants).await, _receiver: receiver }
    }

    /// One event of each sort.
    async fn load(&self) {
        let sender = self.gateway.sender();
        for total in [20, 200] {
            sender.event("order.created", &format!("{{\"total\":{total}}}")).await;
        }
        sender.post(&[], "hello").await.expect(400);
        let frugal = self.gateway.sender_of("frugal", QUOTA_KEY);
        // One of the two is refused, whenever they come.
        for _ in 0..2 {
            frugal.post(&[], r#"{"type":"a.b","data":1}"#).await;
        }
    }

    /// Prometheus with the files of the example, which looks more often and lets alerts fire at once.
    async fn prometheus(&self) -> Prometheus {
        let soon = |text: String| text.replace("15s", "200ms");
        let config =
            soon(file("prometheus.yml")).replace("127.0.0.1:9080", &self.gateway.admin_address().to_string());
        let rules = file("alerts.yml").lines().fold(String::new(), |text, line| {
            match line.trim_start().starts_with("for: ") {
                true => text + "        for: 0s\n",
                false => text + line + "\n",
            }
        });
        Prometheus::start(&[("prometheus.yml", config), ("alerts.yml", rules)]).await
    }
}

/// The panels of the dashboard that show something.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("a dashboard in JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    panels.into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// A query of the dashboard as Grafana sends it.
fn filled(query: &str) -> String {
    let filled = query
        .replace("$__rate_interval", "1m")
        .replace("$job", "hookweir")
        .replace("$tenant", ".*")
        .replace("$endpoint", ".*");
    assert!(!filled.contains('$'), "an unknown variable: {query}");
    filled
}

/// The query of an alert without what it is compared with, which yields data whether or not the alert fires.
fn uncompared(query: &str) -> String {
    let mut words = query.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if ["==", "<", ">"].contains(&word) {
            let bound = words.next().expect("a number to compare with");
            assert!(bound.parse::<f64>().is_ok(), "{query}");
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

fn has_data(result: &[Value]) -> bool {
    let number = |sample: &Value| sample["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
    result.iter().filter_map(number).any(|number| !number.is_nan())
}

#[tokio::test]
async fn every_query_yields_data_and_alerts_fire_for_whom_they_should() {
    let mut scene = Scene::start().await;
    let prometheus = scene.prometheus().await;
    let mut queries: BTreeSet<String> = panels()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets").clone())
        .map(|target| filled(target["expr"].as_str().expect("a query")))
        .collect();
    let rules = prometheus.rules().await;
    queries.extend(rules.iter().map(|rule| uncompared(rule["query"].as_str().expect("a query"))));
    assert!(queries.len() > 40, "{queries:?}");
    eventually("every query to yield data", async || {
        scene.load().await;
        let mut empty = Vec::new();
        for query in &queries {
            let result = prometheus.query(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
            if !has_data(&result) {
                empty.push(query);
            }
        }
        if empty.is_empty() { Ok(()) } else { Err(format!("nothing for {empty:#?}")) }
    })
    .await;

    let admin = scene.gateway.admin();
    admin.post("/v1/tenants/acme/plugins/large-only/pause", "").await.expect(200);
    admin.post("/v1/tenants/acme/endpoints/well/disable", "").await.expect(200);
    let firing = async |wanted: &[(&str, &str, &str)]| {
        eventually(&format!("alerts {wanted:?}"), async || {
            let alerts = prometheus.alerts().await?;
            let is_there = |(name, label, value): &(&str, &str, &str)| {
                alerts.iter().any(|alert| {
                    let labels = &alert["labels"];
                    alert["state"] == "firing" && labels["alertname"] == *name && labels[label] == *value
                })
            };
            if wanted.iter().all(is_there) { Ok(alerts) } else { Err(format!("{alerts:#?}")) }
        })
        .await
    };
    scene.load().await;
    let alerts = firing(&[
        ("HookweirEndpointErrors", "endpoint", "broken"),
        ("HookweirDeliveriesGivenUp", "endpoint", "broken"),
        ("HookweirRefusingEvents", "reason", "quota"),
        ("HookweirPluginPaused", "plugin", "large-only"),
        ("HookweirEndpointOffWithBacklog", "endpoint", "well"),
    ])
    .await;
    let blamed = |name: &str| -> BTreeSet<String> {
        let named = alerts.iter().filter(|alert| alert["labels"]["alertname"] == name);
        named.filter_map(|alert| Some(alert["labels"]["endpoint"].as_str()?.to_owned())).collect()
    };
    assert_eq!(blamed("HookweirEndpointErrors"), BTreeSet::from(["broken".to_owned()]));
    assert_eq!(blamed("HookweirEndpointOffWithBacklog"), BTreeSet::from(["well".to_owned()]));
    let errors = alerts.iter().find(|alert| alert["labels"]["alertname"] == "HookweirEndpointErrors");
    let summary = errors.and_then(|alert| alert["annotations"]["summary"].as_str());
    assert_eq!(summary, Some("100% of the attempts at acme/broken fail."));

    scene.gateway.kill9().await;
    firing(&[("HookweirDown", "job", "hookweir")]).await;
}

#[tokio::test]
async fn the_rules_are_sound_each_says_what_to_do_and_each_is_fired_by_a_test() {
    for (arguments, words) in [
        (["check", "config", "prometheus.yml"], "SUCCESS"),
        (["check", "rules", "alerts.yml"], "SUCCESS"),
        (["test", "rules", "alerts.test.yml"], "SUCCESS"),
    ] {
        let output = run(Command::new("promtool").args(arguments).current_dir(folder()), b"").await.expect(0);
        assert!(output.stdout.contains(words), "{}", output.stdout);
    }
    let quiet = ("prometheus.yml", "rule_files: [alerts.yml]\n".to_owned());
    let prometheus = Prometheus::start(&[quiet, ("alerts.yml", file("alerts.yml"))]).await;
    let rules = eventually("the rules to be read", async || match prometheus.rules().await {
        rules if rules.is_empty() => Err("none".to_owned()),
        rules => Ok(rules),
    })
    .await;
    let tests = file("alerts.test.yml");
    for rule in &rules {
        let name = rule["name"].as_str().expect("a name");
        for annotation in ["summary", "description"] {
            let text = rule["annotations"][annotation].as_str().unwrap_or_default();
            assert!(text.ends_with('.') && text.len() > 20, "{name} has no {annotation}: {text}");
        }
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        let fired =
            format!("labels: ALERTS{{alertname=\"{name}\", alertstate=\"firing\", severity=\"{severity}\"");
        assert!(tests.contains(&fired), "{name} is fired by no test");
    }
}

#[test]
fn the_dashboard_can_be_imported_and_says_what_each_panel_shows() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("a dashboard in JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert_eq!((&variables[0]["type"], &variables[0]["query"]), (&"datasource".into(), &"prometheus".into()));
    let panels = panels();
    assert!(panels.len() > 25, "{} panels", panels.len());
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in &panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(titles.insert(title), "two panels {title}");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title} has the id of another");
        assert!(
            panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{title} says nothing"
        );
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(unit.is_some_and(|unit| !unit.is_empty()), "{title} has no unit");
        for target in panel["targets"].as_array().expect("targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(target["legendFormat"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        }
        let place = ["x", "w"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        assert!(place[0] + place[1] <= 24, "{title} is off the grid");
    }
}
