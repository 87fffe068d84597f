//! Every metric that is documented is exposed, and the other way round, with its type, labels and unit.

use std::collections::{BTreeMap, BTreeSet};

use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, eventually, plugin, run, tenant};
use tokio::process::Command;

use super::{table, words};

/// What is known of a metric.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    unit: String,
}

/// The metrics of an exposition by the name that queries use.
fn exposed(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut infinite = BTreeSet::new();
    let (mut name, mut family) = (String::new(), String::new());
    for line in text.lines() {
        if let Some((told, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            name = match kind {
                "counter" => format!("{told}_total"),
                "info" => format!("{told}_info"),
                _ => told.to_owned(),
            };
            family = told.to_owned();
            let metric = Metric { kind: kind.to_owned(), ..Metric::default() };
            let before = metrics.insert(name.clone(), metric);
            assert!(before.is_none(), "{name} stands there twice");
        } else if let Some((told, unit)) = line.strip_prefix("# UNIT ").and_then(|rest| rest.split_once(' '))
        {
            assert_eq!(told, family);
            metrics.get_mut(&name).expect("a type before the unit").unit = unit.to_owned();
        } else if !line.starts_with('#') {
            let metric = metrics.get_mut(&name).expect("a type before the values");
            assert!(line.starts_with(&family), "{line} stands under {family}");
            let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            if line.contains("le=\"+Inf\"") {
                infinite.insert(name.clone());
            }
            // No label of ours has a comma or an equals sign in its value.
            let labels = labels.map(|(labels, _)| labels).unwrap_or_default().split(',');
            let keys = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            metric.labels.extend(keys.filter(|key| key != "le"));
        }
    }
    // Without it Prometheus computes no quantile.
    let histograms: BTreeSet<_> = metrics
        .iter()
        .filter(|(_, metric)| metric.kind == "histogram")
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(infinite, histograms, "the last bucket of a histogram has no bound");
    metrics
}

fn documented() -> BTreeMap<String, Metric> {
    let metric = |cells: Vec<String>| {
        let [name, kind, labels, unit, meaning] = <[String; 5]>::try_from(cells).expect("five cells");
        assert!(!meaning.is_empty(), "{name} has no meaning");
        let metric = Metric { kind, labels: words(&labels).into_iter().collect(), unit };
        (words(&name).concat(), metric)
    };
    table("name").into_iter().map(metric).collect()
}

fn tenants(url: &str) -> String {
    let filter = format!(
        "[tenants.acme.plugins.large-only]\nfile = {:?}\nconfig = {{ field = \"total\", minimum = 100 }}\n",
        plugin("keep-above")
    );
    tenant("acme", KEY) + &filter + &endpoint("acme", "hook", url, "filters = [\"large-only\"]")
}

#[tokio::test]
async fn the_table_is_what_a_gateway_exposes() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(tenants(&receiver.url("/hook"))).await;
    let event = gateway.sender().event("a.b", r#"{"total":200}"#).await;
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    gateway.sender().post(&[], "hello").await.expect(400);
    let text = gateway.admin().get_as("/metrics", "application/openmetrics-text").await.expect(200).text();
    let (exposed, documented) = (exposed(&text), documented());
    assert!(documented.len() > 20, "the table is there: {documented:?}");
    let names = |metrics: &BTreeMap<String, Metric>| metrics.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&exposed), names(&documented));
    for (name, metric) in &documented {
        assert_eq!(&exposed[name], metric, "{name}");
    }
}

/// Scrapers and agents that know nothing of OpenMetrics ask for the plain text, or for nothing in particular.
#[tokio::test]
async fn the_form_is_the_one_that_is_accepted() {
    let gateway = Gateway::start(tenants("http://127.0.0.1:9/hook")).await;
    let admin = gateway.admin();
    let plain = [admin.get("/metrics").await, admin.get_as("/metrics", "text/plain;version=0.0.4").await];
    for answer in plain {
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = answer.expect(200).text();
        for line in [
            "# TYPE hookweir_events_accepted_total counter",
            "# HELP hookweir_events_accepted_total Events answered 202 for the first time.",
            "# TYPE hookweir_build_info gauge",
            "# TYPE hookweir_stage_seconds histogram",
            "hookweir_events_accepted_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
        // A parser of that form, which complains of names too: counters end in `_total`, nothing else does.
        let mut check = Command::new("promtool");
        let judged = run(check.args(["check", "metrics"]), text.as_bytes()).await;
        assert_eq!((judged.code, judged.stdout.as_str(), judged.stderr.as_str()), (Some(0), "", ""));
    }
    let open =
        admin.get_as("/metrics", "application/openmetrics-text; version=1.0.0, text/plain;q=0.5").await;
    let wanted = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(wanted));
    let text = open.expect(200).text();
    assert!(text.contains("# TYPE hookweir_events_accepted counter") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn what_is_removed_from_the_configuration_is_told_no_more_and_counts_on_when_it_is_back() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let whole = tenants(&receiver.url("/hook"));
    let gateway = Gateway::start(whole.clone()).await;
    let admin = gateway.admin();
    let event = gateway.sender().event("a.b", r#"{"total":200}"#).await;
    admin.delivery("acme", &event, "hook", "delivered").await;
    let counted = [
        r#"hookweir_deliveries_total{tenant="acme",endpoint="hook",status="delivered"} 1"#,
        r#"hookweir_attempts_total{tenant="acme",endpoint="hook",outcome="delivered"} 1"#,
        r#"hookweir_plugin_seconds_count{tenant="acme",plugin="large-only"} 1"#,
    ];
    let shown = async |wanted: &dyn Fn(&str) -> bool| {
        eventually("the metrics to follow the configuration", async || {
            let text = admin.try_get("/metrics").await?.text();
            if wanted(&text) { Ok(()) } else { Err(text) }
        })
        .await;
    };
    let all = |text: &str| counted.iter().all(|line| text.lines().any(|found| found == *line));
    shown(&all).await;
    gateway.reconfigure(tenant("acme", KEY));
    gateway.reload();
    shown(&|text| !text.contains("hook\"") && !text.contains("large-only")).await;
    gateway.reconfigure(whole);
    gateway.reload();
    shown(&all).await;
}

#[tokio::test]
async fn an_endpoint_in_trouble_is_told_by_its_gauges() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let lines = "retry = { waits = [\"1h\"] }\nbreaker = { failures = 2, pause = \"5m\" }";
    let tenants = tenant("acme", KEY)
        + &endpoint("acme", "hook", &receiver.url("/hook"), lines)
        + &endpoint("acme", "off", &receiver.url("/off"), "enabled = false");
    let gateway = Gateway::start(tenants).await;
    for _ in 0..2 {
        gateway.sender().event("a.b", "[]").await;
    }
    let value = |text: &str, name: &str, endpoint: &str| {
        let start = format!("hookweir_{name}{{tenant=\"acme\",endpoint=\"{endpoint}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
    };
    eventually("the gauges to tell of it", async || {
        let text = gateway.admin().try_get("/metrics").await?.text();
        let is = |name: &str, endpoint: &str, wanted: &str| {
            value(&text, name, endpoint).is_some_and(|found| found == wanted)
        };
        let told = is("breaker_state", "hook", "2")
            && is("breaker_state", "off", "0")
            && is("endpoint_enabled", "hook", "1")
            && is("endpoint_enabled", "off", "0")
            && is("endpoint_pending_deliveries", "hook", "2")
            && is("endpoint_pending_deliveries", "off", "2")
            && is("endpoint_failing_seconds", "off", "0")
            // They are whole seconds: a moment later they are there.
            && value(&text, "endpoint_failing_seconds", "hook").is_some_and(|seconds| seconds != "0")
            && value(&text, "endpoint_oldest_pending_seconds", "off").is_some_and(|seconds| seconds != "0")
            && text.lines().any(|line| line == "hookweir_tenant_pending_bytes{tenant=\"acme\"} 8")
            && text.lines().any(|line| line == "hookweir_journal_writable 1");
        if told { Ok(()) } else { Err(text) }
    })
    .await;
}
