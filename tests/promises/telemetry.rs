//! Traces and logs by OTLP: one trace an event, whole, over all attempts, from the sender's span to the receiver's.

use std::collections::{BTreeMap, BTreeSet};

use hookweir_tests::{
    Collector, Gateway, KEY, Receiver, Reply, endpoint, eventually, free_port, one_endpoint, plugin, tenant,
};
use serde_json::Value;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDER: &str = "b7ad6b7169203331";

fn telemetry(url: &str, more: &str) -> String {
    format!("[telemetry]\notlp = {{ endpoint = \"{url}\"{more} }}\n\n")
}

fn text<'a>(span: &'a Value, key: &str) -> &'a str {
    span[key].as_str().unwrap_or_else(|| panic!("no {key} in {span}"))
}

/// The spans of a trace as a tree.
struct Tree(Vec<Value>);

impl Tree {
    fn named(&self, name: &str) -> Vec<&Value> {
        self.0.iter().filter(|span| span["span"] == name).collect()
    }

    fn one(&self, name: &str) -> &Value {
        let found = self.named(name);
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        found[0]
    }

    fn children(&self, of: &Value) -> Vec<&Value> {
        self.0.iter().filter(|span| span["parent"] == of["id"]).collect()
    }

    /// The deliveries to an endpoint, by the number of the attempt.
    fn deliveries(&self, endpoint: &str) -> Vec<&Value> {
        let mut deliveries = self.named("delivery");
        deliveries.retain(|span| span["attributes"]["hookweir.endpoint"] == endpoint);
        deliveries.sort_by_key(|span| span["attributes"]["hookweir.attempt"].as_i64());
        deliveries
    }

    /// What must be so of any trace: one root, no span without its parent, and children within their parents' time.
    fn is_sound(&self, sender: &str) {
        let ids: BTreeMap<&str, &Value> = self.0.iter().map(|span| (text(span, "id"), span)).collect();
        assert_eq!(ids.len(), self.0.len(), "ids are unique");
        let root = self.one("accept");
        assert_eq!((text(root, "parent"), text(root, "kind")), (sender, "SPAN_KIND_SERVER"));
        for span in self.0.iter().filter(|span| span["span"] != "accept") {
            let parent = ids.get(text(span, "parent")).unwrap_or_else(|| panic!("no parent of {span}"));
            let time = |span: &Value, key: &str| span[key].as_u64().expect("a time");
            assert!(time(span, "start") <= time(span, "end"), "{span}");
            if span["span"] == "delivery" {
                assert_eq!(text(span, "parent"), text(root, "id"));
                continue;
            }
            // Durations are measured by a clock that is never set, so the two may differ by a little.
            const SLACK: u64 = 20_000_000;
            assert!(time(parent, "start") <= time(span, "start") + SLACK, "{span} begins before {parent}");
            assert!(time(span, "end") <= time(parent, "end") + SLACK, "{span} ends after {parent}");
        }
        assert_eq!(text(self.one("journal"), "parent"), text(root, "id"));
    }
}

fn traceparent(of: &str, attempt: &Value) -> String {
    format!("00-{of}-{}-01", text(attempt, "id"))
}

#[tokio::test]
async fn an_event_is_a_whole_trace_from_its_sender_to_its_receivers() {
    let collector = Collector::start().await;
    let well = Receiver::always(Reply::Status(200)).await;
    let flaky = Receiver::sequence(vec![Reply::Status(500), Reply::Status(200)]).await;
    let plugins = format!(
        "[tenants.acme.plugins.large-only]\nfile = {:?}\nconfig = {{ field = \"total\", minimum = 100 }}\n\
         [tenants.acme.plugins.to-slack]\nfile = {:?}\nconfig = {{ title = \"Order\", fields = [\"total\"] }}\n",
        plugin("keep-above"),
        plugin("to-slack"),
    );
    let config = telemetry(collector.url(), "")
        + &tenant("acme", KEY)
        + &plugins
        + &endpoint("acme", "flaky", &flaky.url("/"), "retry = { waits = [\"10ms\"] }")
        + &endpoint(
            "acme",
            "large",
            &well.url("/"),
            "filters = [\"large-only\"]\ntransformers = [\"to-slack\"]",
        );
    let gateway = Gateway::start(config).await;
    let given = format!("00-{TRACE}-{SENDER}-01");
    let sent = gateway
        .sender()
        .post(&[("traceparent", &given)], r#"{"type":"a.b","data":{"total":200}}"#)
        .await
        .expect(202)
        .json();

    // Accepted and kept; two attempts at the one endpoint; both plugins and one attempt at the other.
    let tree = Tree(collector.trace(TRACE, 2 + 4 + 4).await);
    assert_eq!(tree.0.len(), 10, "{:#?}", tree.0);
    tree.is_sound(SENDER);
    let accept = tree.one("accept");
    assert_eq!(accept["attributes"]["hookweir.event.id"], sent["id"]);
    assert_eq!(
        (&accept["attributes"]["hookweir.tenant"], &accept["attributes"]["hookweir.deliveries"]),
        (&"acme".into(), &2.into())
    );
    assert_eq!(accept["resource"]["service.name"], "hookweir");

    let [first, second] = tree.deliveries("flaky")[..] else { panic!("{:#?}", tree.0) };
    let results =
        [first, second].map(|span| (text(&span["attributes"], "hookweir.result"), text(span, "status")));
    assert_eq!(results, [("retry", "STATUS_CODE_ERROR"), ("delivered", "STATUS_CODE_UNSET")]);
    let requests = flaky.wait_for(2).await;
    for (delivery, request) in [first, second].into_iter().zip(&requests) {
        let [attempt] = tree.children(delivery)[..] else { panic!("{:#?}", tree.0) };
        assert_eq!((text(attempt, "span"), text(attempt, "kind")), ("attempt", "SPAN_KIND_CLIENT"));
        assert_eq!(request.header("traceparent"), traceparent(TRACE, attempt));
    }
    let codes: Vec<_> = [first, second]
        .iter()
        .map(|delivery| tree.children(delivery)[0]["attributes"]["http.response.status_code"].clone())
        .collect();
    assert_eq!(codes, [500, 200]);

    let [large] = tree.deliveries("large")[..] else { panic!("{:#?}", tree.0) };
    let mut steps = tree.children(large);
    steps.sort_by_key(|span| span["start"].as_u64());
    let names: Vec<_> = steps.iter().map(|span| text(span, "span")).collect();
    assert_eq!(names, ["filter", "transform", "attempt"]);
    assert_eq!(steps[0]["attributes"]["hookweir.plugin"], "large-only");
    assert_eq!(steps[1]["attributes"]["hookweir.plugin"], "to-slack");
    assert_eq!(well.wait_for(1).await[0].header("traceparent"), traceparent(TRACE, steps[2]));

    // An event whose sender gives no trace has one of its own; where a filter drops it, there is no attempt.
    gateway.sender().event("a.b", r#"{"total":20}"#).await;
    let request = &flaky.wait_for(3).await[2];
    let own = request.header("traceparent").split('-').nth(1).expect("a trace").to_owned();
    assert_ne!(own, TRACE);
    let tree = Tree(collector.trace(&own, 2 + 2 + 2).await);
    tree.is_sound("");
    let [dropped] = tree.deliveries("large")[..] else { panic!("{:#?}", tree.0) };
    assert_eq!(dropped["attributes"]["hookweir.result"], "filtered");
    assert!(text(&dropped["attributes"], "hookweir.reason").contains("large-only"), "{dropped}");
    let [filter] = tree.children(dropped)[..] else { panic!("{:#?}", tree.0) };
    assert_eq!(filter["span"], "filter");
}

#[tokio::test]
async fn a_trace_goes_on_after_a_restart() {
    let collector = Collector::start().await;
    let receiver = Receiver::sequence(vec![Reply::Status(500), Reply::Status(200)]).await;
    let lines = "retry = { waits = [\"2s\"] }";
    let mut gateway =
        Gateway::start(telemetry(collector.url(), "") + &one_endpoint(&receiver.url("/"), lines)).await;
    gateway.sender().event("a.b", "1").await;
    receiver.wait_for(1).await;
    // What is in the queues is sent before the gateway ends.
    assert!(gateway.terminate().await.success());
    gateway.start_again().await;
    let requests = receiver.wait_for(2).await;
    let trace = |nth: usize| requests[nth].header("traceparent").split('-').nth(1).expect("a trace");
    assert_eq!(trace(0), trace(1));
    let tree = Tree(collector.trace(trace(0), 2 + 2 + 2).await);
    tree.is_sound("");
    assert_eq!(tree.named("attempt").len(), 2);
}

#[tokio::test]
async fn what_is_not_sampled_is_not_recorded_and_the_senders_trace_is_passed_on_as_it_is() {
    let collector = Collector::start().await;
    let receiver = Receiver::always(Reply::Status(200)).await;
    let endpoint = one_endpoint(&receiver.url("/"), "");
    let gateway = Gateway::start(telemetry(collector.url(), ", sample = 0.0") + &endpoint).await;
    let whole = Gateway::start(telemetry(collector.url(), "") + &endpoint).await;
    let body = r#"{"type":"a.b","data":1}"#;
    let (wanted, unwanted) = (format!("00-{TRACE}-{SENDER}-01"), format!("00-{TRACE}-{SENDER}-00"));
    let mut passed_on = Vec::new();
    for (gateway, given) in [(&gateway, Some(&wanted)), (&whole, Some(&unwanted)), (&gateway, None)] {
        let headers: Vec<_> = given.iter().map(|given| ("traceparent", given.as_str())).collect();
        let id = gateway.sender().post(&headers, body).await.expect(202).json()["id"].clone();
        let request = receiver.wait_for_event(id.as_str().expect("an id")).await;
        passed_on
            .push(request.headers.get("traceparent").map(|value| value.to_str().expect("text").to_owned()));
    }
    assert_eq!(passed_on, [Some(wanted), Some(unwanted), None]);
    // Of this one there are spans, and they come after all that would have come of the others.
    let last = whole.sender().event("a.b", "1").await;
    let request = receiver.wait_for_event(&last).await;
    let own = request.header("traceparent").split('-').nth(1).expect("a trace").to_owned();
    collector.trace(&own, 4).await;
    let lines = collector.lines();
    let traces: BTreeSet<_> = lines.iter().filter_map(|line| line["trace"].as_str()).collect();
    assert_eq!(traces, BTreeSet::from([own.as_str()]));
}

#[tokio::test]
async fn log_records_go_to_the_collector_too_with_its_headers() {
    let collector = Collector::start().await;
    let more = ", service = \"hooks\", headers = { authorization = \"Bearer of-the-collector\" }";
    let gateway = Gateway::start(telemetry(collector.url(), more) + &tenant("acme", KEY)).await;
    gateway.admin().post("/v1/tenants/acme/endpoints/none/disable", "").await.expect(404);
    let record = collector.log("steered").await;
    assert_eq!(
        (&record["severity"], &record["target"], &record["resource"]["service.name"]),
        (&"INFO".into(), &"hookweir::audit".into(), &"hooks".into())
    );
    assert_eq!(
        (&record["attributes"]["caller"], &record["attributes"]["status"]),
        (&"local".into(), &404.into())
    );
    assert_eq!(record["headers"]["authorization"], "Bearer of-the-collector");
    assert!(!gateway.log().contains("of-the-collector"), "{}", gateway.log());
}

#[tokio::test]
async fn a_collector_that_is_down_holds_up_nothing_and_is_told_of_once() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let url = format!("http://127.0.0.1:{}", free_port());
    let gateway =
        Gateway::start(telemetry(&url, ", logs = false") + &one_endpoint(&receiver.url("/"), "")).await;
    for _ in 0..100 {
        gateway.sender().event("a.b", "1").await;
    }
    receiver.wait_for(100).await;
    let said = gateway.logged(&["the collector takes no telemetry"]).await;
    assert!(said.contains("traces"), "{said}");
    gateway.sender().event("a.b", "1").await;
    receiver.wait_for(101).await;
    let times = |gateway: &Gateway| gateway.log().matches("the collector takes no telemetry").count();
    assert_eq!(times(&gateway), 1);
    let mut gateway = gateway;
    assert!(gateway.terminate().await.success(), "{}", gateway.log());
    eventually("the log's end", async || match gateway.log().contains("stopped") {
        true => Ok(()),
        false => Err(gateway.log()),
    })
    .await;
    assert_eq!(times(&gateway), 1);
}

#[tokio::test]
async fn a_collector_that_speaks_tls_is_believed_by_its_authority_alone() {
    let folder = tempfile::tempdir().expect("a folder for certificates");
    let collector = Collector::start_with_tls(folder.path()).await;
    let stranger = Gateway::start(telemetry(collector.url(), "") + &tenant("acme", KEY)).await;
    let steer = async |gateway: &Gateway| {
        gateway.admin().post("/v1/tenants/acme/endpoints/none/disable", "").await.expect(404);
    };
    steer(&stranger).await;
    let said = stranger.logged(&["the collector takes no telemetry", "logs"]).await;
    assert!(said.contains("certificate"), "{said}");

    let ca = format!(", service = \"known\", ca = {:?}", folder.path().join("ca.pem"));
    let known = Gateway::start(telemetry(collector.url(), &ca) + &tenant("acme", KEY)).await;
    steer(&known).await;
    assert_eq!(collector.log("steered").await["resource"]["service.name"], "known");
    assert!(!known.log().contains("the collector takes no telemetry"), "{}", known.log());
}
