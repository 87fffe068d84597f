//! The admin listener: lists and their cursors and filters, retry, recover, replay, who may see what, and metrics.

use hookweir_tests::{
    Config, Gateway, KEY, Receiver, Reply, endpoint, eventually, one_endpoint, raw, tenant,
};
use serde_json::Value;

const TOKEN: &str = "admin-token-of-the-test-0123456789";
const OTHER_KEY: &str = "key-of-the-other-tenant-0123456789";

fn ids(entries: &[Value], member: &str) -> Vec<String> {
    entries
        .iter()
        .map(|entry| entry[member].as_str().unwrap_or_else(|| panic!("no {member} in {entry}")).to_owned())
        .collect()
}

/// Reads a list page by page.
async fn pages(gateway: &Gateway, path: &str) -> Vec<Vec<Value>> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = gateway.admin().json(&format!("{path}{separator}limit=3{cursor}")).await;
        pages.push(page["data"].as_array().unwrap_or_else(|| panic!("no list in {page}")).clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_filtered() {
    let (good, bad) =
        (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Status(500)).await);
    let config = tenant("acme", KEY)
        + &endpoint("acme", "good", &good.url("/"), "event_types = [\"order.*\"]")
        + &endpoint("acme", "bad", &bad.url("/"), "retry = { waits = [] }");
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin();
    let mut sent = Vec::new();
    for number in 0..7 {
        let event_type = if number % 2 == 0 { "order.created" } else { "invoice.paid" };
        sent.push(gateway.sender().event(event_type, &number.to_string()).await);
    }
    for (number, event) in sent.iter().enumerate() {
        if number % 2 == 0 {
            admin.delivery("acme", event, "good", "delivered").await;
        }
        admin.delivery("acme", event, "bad", "exhausted").await;
    }
    sent.reverse();

    let events = pages(&gateway, "/v1/tenants/acme/events").await;
    assert_eq!(events.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(ids(&events.concat(), "id"), sent);
    let orders = pages(&gateway, "/v1/tenants/acme/events?event_type=order.*").await.concat();
    assert_eq!(orders.len(), 4);
    assert!(orders.iter().all(|event| event["type"] == "order.created"), "{orders:?}");

    let deliveries = pages(&gateway, "/v1/tenants/acme/deliveries").await.concat();
    assert_eq!(deliveries.len(), 11);
    let mut keys: Vec<(String, String)> =
        ids(&deliveries, "event").into_iter().zip(ids(&deliveries, "endpoint")).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 11, "no delivery is listed twice");
    for (filter, wanted) in [
        ("status=exhausted", 7),
        ("status=delivered", 4),
        ("status=pending", 0),
        ("endpoint=good", 4),
        ("endpoint=bad&status=delivered", 0),
        ("endpoint=bad&event_type=invoice.*", 3),
        ("since=2020-01-01T00:00:00Z", 11),
        ("until=2020-01-01T00:00:00Z", 0),
    ] {
        let found = pages(&gateway, &format!("/v1/tenants/acme/deliveries?{filter}")).await.concat();
        assert_eq!(found.len(), wanted, "{filter}: {found:?}");
    }
    for query in [
        "limit=0",
        "limit=x",
        "limit=100000",
        "cursor=x",
        "status=done",
        "since=noon",
        "event_type=a.**.b",
        "colour=red",
    ] {
        let answer = admin.get(&format!("/v1/tenants/acme/deliveries?{query}")).await.expect(400);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{query}");
    }

    let event = admin.json(&format!("/v1/tenants/acme/events/{}", sent[0])).await;
    assert_eq!((&event["event"]["type"], &event["data"]), (&"order.created".into(), &"6".into()), "{event}");
    assert_eq!(event["deliveries"].as_array().map(Vec::len), Some(2), "{event}");
    let tenants = admin.list("/v1/tenants").await;
    assert_eq!(ids(&tenants, "id"), ["acme"]);
    let endpoints = admin.list("/v1/tenants/acme/endpoints").await;
    assert_eq!(ids(&endpoints, "id"), ["bad", "good"]);
    assert_eq!(endpoints[0]["deliveries"]["exhausted"], 7, "{endpoints:?}");
    for (query, names, next) in [
        ("?limit=1", &["bad"][..], Some("bad")),
        ("?limit=1&cursor=bad", &["good"], None),
        ("?id=oo", &["good"], None),
    ] {
        let page = admin.json(&format!("/v1/tenants/acme/endpoints{query}")).await;
        assert_eq!(ids(page["data"].as_array().expect("a list"), "id"), names, "{query}");
        assert_eq!(page["next"].as_str(), next, "{query}");
    }
    for list in ["endpoints", "plugins"] {
        admin.get(&format!("/v1/tenants/acme/{list}?limit=0")).await.expect(400);
    }
    assert!(
        endpoints[0]["failing_since"].is_string() && endpoints[1]["failing_since"].is_null(),
        "{endpoints:?}"
    );
    for path in
        ["/v1/tenants/nobody", "/v1/tenants/acme/events/evt_none", "/v1/tenants/acme/endpoints/none", "/none"]
    {
        let answer = admin.get(path).await.expect(404);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
}

#[tokio::test]
async fn a_delivery_is_retried_when_asked_and_not_before() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let config = tenant("acme", KEY)
        + &endpoint("acme", "patient", &receiver.url("/patient"), "retry = { waits = [\"1h\"] }")
        + &endpoint("acme", "spent", &receiver.url("/spent"), "retry = { waits = [] }");
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin();
    let event = gateway.sender().event("a.b", "1").await;
    let path = |endpoint: &str| format!("/v1/tenants/acme/events/{event}/deliveries/{endpoint}");
    admin.delivery("acme", &event, "spent", "exhausted").await;
    eventually("the first attempt of the patient one", async || {
        let detail = admin.json(&path("patient")).await;
        if detail["delivery"]["attempts"] == 1 { Ok(()) } else { Err(detail.to_string()) }
    })
    .await;
    receiver.follow(|_, _| Reply::Status(200));
    for endpoint in ["patient", "spent"] {
        let answer = admin.post(&format!("{}/retry", path(endpoint)), "").await.expect(200).json();
        assert_eq!(answer["deliveries"], 1, "{answer}");
        let detail = admin.delivery("acme", &event, endpoint, "delivered").await;
        let attempts = detail["attempts"].as_array().expect("attempts");
        let numbers: Vec<&Value> = attempts.iter().map(|attempt| &attempt["number"]).collect();
        assert_eq!(numbers, [&Value::from(1), &Value::from(2)], "{detail}");
    }
    assert_eq!(receiver.count(), 4);
    admin.post(&format!("/v1/tenants/acme/events/{event}/deliveries/none/retry"), "").await.expect(404);
}

#[tokio::test]
async fn what_an_endpoint_missed_is_recovered_since_a_time() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "retry = { waits = [] }")).await;
    let admin = gateway.admin();
    let mut events = Vec::new();
    for number in 0..3 {
        let event = gateway.sender().event("a.b", &number.to_string()).await;
        admin.delivery("acme", &event, "hook", "exhausted").await;
        events.push(event);
    }
    receiver.follow(|_, _| Reply::Status(200));
    let fine = gateway.sender().event("a.b", "3").await;
    admin.delivery("acme", &fine, "hook", "delivered").await;

    let since =
        admin.json(&format!("/v1/tenants/acme/events/{}", events[1])).await["event"]["received"].clone();
    let recover = "/v1/tenants/acme/endpoints/hook/recover";
    let dry_run = format!("{{\"since\":{since},\"dry_run\":true}}");
    for _ in 0..2 {
        let answer = admin.post(recover, &dry_run).await.expect(200).json();
        assert_eq!(answer["deliveries"], 2, "it is counted and nothing is sent: {answer}");
    }
    let answer = admin.post(recover, &format!("{{\"since\":{since}}}")).await.expect(200).json();
    assert_eq!(answer["deliveries"], 2, "{answer}");
    for event in &events[1..] {
        admin.delivery("acme", event, "hook", "delivered").await;
    }
    admin.delivery("acme", &events[0], "hook", "exhausted").await;
    assert_eq!(receiver.count(), 6, "what was delivered is not sent again");
    for body in ["", "{}", r#"{"since":"noon"}"#, r#"{"since":"2020-01-01T00:00:00Z","until":"x"}"#] {
        admin.post(recover, body).await.expect(400);
    }
}

#[tokio::test]
async fn a_replay_sends_an_event_to_all_its_endpoints_again() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = tenant("acme", KEY)
        + &endpoint("acme", "one", &receiver.url("/one"), "")
        + &endpoint("acme", "two", &receiver.url("/two"), "")
        + &endpoint("acme", "other", &receiver.url("/other"), "event_types = [\"user.*\"]");
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin();
    let event = gateway.sender().event("a.b", "{ \"n\": 1.0 }").await;
    for endpoint in ["one", "two"] {
        admin.delivery("acme", &event, endpoint, "delivered").await;
    }
    let answer = admin.post(&format!("/v1/tenants/acme/events/{event}/replay"), "").await.expect(200).json();
    assert_eq!(answer["deliveries"], 2, "{answer}");
    let requests = receiver.wait_for(4).await;
    for endpoint in ["one", "two"] {
        let path = format!("/{endpoint}");
        let sent: Vec<_> = requests.iter().filter(|request| request.path == path).collect();
        assert_eq!(sent.len(), 2, "{endpoint}");
        assert!(
            sent.iter().all(|request| request.event() == event && request.body == "{ \"n\": 1.0 }"),
            "{sent:?}"
        );
        let detail = admin.delivery("acme", &event, endpoint, "delivered").await;
        assert_eq!(detail["delivery"]["attempts"], 2, "{detail}");
    }
    admin.post("/v1/tenants/acme/events/evt_none/replay", "").await.expect(404);
}

#[tokio::test]
async fn a_tenants_key_sees_its_own_tenant_alone() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let tenants = one_endpoint(&receiver.url("/hook"), "")
        + &tenant("globex", OTHER_KEY)
        + &endpoint("globex", "hook", &receiver.url("/globex"), "");
    let config = Config { admin: format!("token = \"{TOKEN}\""), ..Config::new(tenants) };
    let gateway = Gateway::start(config).await;
    let event = gateway.sender().event("a.b", "1").await;
    let (everything, own) = (gateway.admin().with_token(TOKEN), gateway.admin().with_token(KEY));
    everything.delivery("acme", &event, "hook", "delivered").await;
    own.delivery("acme", &event, "hook", "delivered").await;
    assert_eq!(ids(&everything.list("/v1/tenants").await, "id"), ["acme", "globex"]);
    assert_eq!(ids(&own.list("/v1/tenants").await, "id"), ["acme"]);

    let paths = [
        String::new(),
        "/events".to_owned(),
        format!("/events/{event}"),
        format!("/events/{event}/deliveries/hook"),
        "/deliveries".to_owned(),
        "/endpoints".to_owned(),
        "/endpoints/hook".to_owned(),
    ];
    let posts = [
        format!("/events/{event}/replay"),
        format!("/events/{event}/deliveries/hook/retry"),
        "/endpoints/hook/enable".to_owned(),
        "/endpoints/hook/disable".to_owned(),
        "/endpoints/hook/recover".to_owned(),
    ];
    let (nobody, wrong) = (gateway.admin(), gateway.admin().with_token("a-wrong-token-0123456789"));
    for path in paths.iter().filter(|path| !path.is_empty()) {
        nobody.get(&format!("/v1/tenants/acme{path}")).await.expect(401);
        wrong.get(&format!("/v1/tenants/acme{path}")).await.expect(401);
        let others = own.get(&format!("/v1/tenants/globex{path}")).await.expect(404);
        let none = own.get(&format!("/v1/tenants/initech{path}")).await.expect(404);
        assert_eq!(others.text(), none.text(), "{path}: another tenant looks as one that is not there");
    }
    for path in &posts {
        nobody.post(&format!("/v1/tenants/acme{path}"), "").await.expect(401);
        own.post(&format!("/v1/tenants/globex{path}"), "").await.expect(404);
    }
    let globex = everything.json("/v1/tenants/globex/endpoints/hook").await;
    assert_eq!(globex["enabled"], true, "nothing was done to the other tenant: {globex}");
    own.get("/metrics").await.expect(404);
    nobody.get("/metrics").await.expect(401);
    for path in ["/healthz", "/readyz"] {
        nobody.get(path).await.expect(200);
    }
}

#[tokio::test]
async fn a_page_in_a_browser_does_not_reach_the_listener_by_a_name_of_its_own() {
    let gateway = Gateway::start(tenant("acme", KEY)).await;
    for (host, wanted) in [("127.0.0.1", 200), ("localhost:9080", 200), ("rebound.example.com", 403)] {
        let request = format!("GET /v1/tenants HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(gateway.admin_address(), request.as_bytes()).await;
        assert_eq!(answer.status(), wanted, "{host}: {answer:?}");
    }
}

#[tokio::test]
async fn every_change_is_in_the_log_with_who_made_it() {
    let tenants = one_endpoint("http://127.0.0.1:9/", "");
    let config = Config { admin: format!("token = \"{TOKEN}\""), ..Config::new(tenants) };
    let gateway = Gateway::start(config).await;
    let path = "/v1/tenants/acme/endpoints/hook/disable";
    for (token, status, caller) in
        [(TOKEN, 200, "operator"), (KEY, 200, "tenant acme"), ("a-key-that-nobody-has", 401, "nobody")]
    {
        gateway.admin().with_token(token).post(path, "").await.expect(status);
        let (caller, status) = (format!("\"caller\":\"{caller}\""), format!("\"status\":{status}"));
        let words = ["hookweir::audit", &caller, "\"method\":\"POST\"", path, &status];
        let line = gateway.logged(&words).await;
        assert!(!line.contains(token), "{line}");
    }
    gateway.admin().with_token(TOKEN).get("/v1/tenants/acme/endpoints/hook").await.expect(200);
    assert_eq!(gateway.log().matches("hookweir::audit").count(), 3, "reading changes nothing");
    let path = "/v1/tenants/acme/plugins/none";
    gateway.admin().with_token(TOKEN).put(path, "no component").await.expect(404);
    gateway.logged(&["hookweir::audit", &format!("\"path\":\"{path}\""), "\"status\":404"]).await;
}

/// A browser that is on the gateway's machine reaches it by its address too, and sends what any page asks it to send.
#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let gateway = Gateway::start(one_endpoint("http://127.0.0.1:9/", "")).await;
    let own = format!("http://{}", gateway.admin_address());
    let enabled = async || gateway.admin().json("/v1/tenants/acme/endpoints/hook").await["enabled"].clone();
    for (headers, wanted) in [
        ("Origin: https://evil.example.com\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 401),
        (&format!("Origin: {own}\r\nSec-Fetch-Site: same-origin\r\n"), 200),
    ] {
        assert_eq!(enabled().await, true, "before {headers:?}");
        let request = format!(
            "POST /v1/tenants/acme/endpoints/hook/disable HTTP/1.1\r\nHost: {}\r\n{headers}Content-Type: text/plain\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n",
            gateway.admin_address(),
        );
        let answer = raw::exchange(gateway.admin_address(), request.as_bytes()).await;
        assert_eq!(answer.status(), wanted, "{headers:?}: {answer:?}");
    }
    assert_eq!(enabled().await, false, "the listener's own page may");
}

#[tokio::test]
async fn metrics_have_the_names_of_the_contract() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "")).await;
    let admin = gateway.admin();
    let event = gateway.sender().event("a.b", "1").await;
    admin.delivery("acme", &event, "hook", "delivered").await;
    gateway.sender().post(&[], "hello").await.expect(400);
    let wanted = [
        "hookweir_events_accepted_total 1",
        "hookweir_events_rejected_total{reason=\"malformed\"} 1",
        "hookweir_deliveries_total{tenant=\"acme\",endpoint=\"hook\",status=\"delivered\"} 1",
        "hookweir_attempt_seconds_count 1",
        "hookweir_pending_deliveries 0",
        "hookweir_oldest_pending_seconds 0",
    ];
    eventually(&format!("metrics to be {wanted:?}"), async || {
        let text = admin.try_get("/metrics").await?.text();
        if wanted.iter().all(|line| text.lines().any(|found| found == *line)) { Ok(()) } else { Err(text) }
    })
    .await;
    let answer = admin.get_as("/metrics", "application/openmetrics-text").await.expect(200);
    let text = answer.text();
    for name in ["hookweir_journal_sync_seconds_count", "hookweir_journal_bytes"] {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(text.trim_end().ends_with("# EOF"), "the text is whole");
}

#[tokio::test]
async fn health_says_whether_events_are_taken() {
    let gateway = Gateway::start(tenant("acme", KEY)).await;
    gateway.admin().get("/healthz").await.expect(200);
    let ready = gateway.admin().json("/readyz").await;
    assert_eq!(
        (&ready["ready"], &ready["engine"], &ready["power_safe"]),
        (&true.into(), &"embedded".into(), &true.into())
    );
}
