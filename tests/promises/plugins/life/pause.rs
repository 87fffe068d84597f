//! A plugin that fails again and again is not called any more; what needs it waits and is not lost.

use hookweir_tests::{Admin, Gateway, KEY, Receiver, Reply, endpoint, eventually, tenant};
use serde_json::{Value, json};

use super::{digest, keeps, picky, plugin, post, put, uploaded};

/// An endpoint with the plugin, one that hears of operational events, and one of all other events.
fn config(receiver: &Receiver) -> String {
    tenant("acme", KEY)
        + &uploaded("p", "")
        + &endpoint("acme", "hook", &receiver.url("/hook"), "filters = [\"p\"]\nevent_types = [\"a.b\"]")
        + &endpoint("acme", "alerts", &receiver.url("/alerts"), "event_types = [\"hookweir.**\"]")
        + &endpoint("acme", "all", &receiver.url("/all"), "")
}

async fn counts(admin: &Admin) -> Value {
    admin.json("/v1/tenants/acme/endpoints/hook").await["deliveries"].clone()
}

async fn counted(admin: &Admin, failed: u64, pending: u64, delivered: u64) {
    eventually(&format!("{failed} failed, {pending} pending, {delivered} delivered"), async || {
        let now = counts(admin).await;
        let found = [&now["failed"], &now["pending"], &now["delivered"]];
        if found == [&json!(failed), &json!(pending), &json!(delivered)] {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn five_failures_in_a_row_pause_a_plugin_and_the_rest_waits_for_it() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut gateway = Gateway::start(config(&receiver)).await;
    put(&gateway.admin(), &picky()).await.expect(200);

    // Four failures, a success, four failures: never five in a row.
    for data in ["0", "0", "0", "0", "1", "0", "0", "0", "0", "1"] {
        let event = gateway.sender().event("a.b", data).await;
        let status = if data == "0" { "failed" } else { "delivered" };
        gateway.admin().delivery("acme", &event, "hook", status).await;
    }
    assert_eq!(plugin(&gateway.admin()).await["paused"], Value::Null);

    // Many at once: five of them fail, whatever is in flight when the pause comes.
    for _ in 0..40 {
        gateway.sender().event("a.b", "0").await;
    }
    for _ in 0..10 {
        gateway.sender().event("a.b", "1").await;
    }
    let admin = gateway.admin();
    counted(&admin, 8 + 5, 35 + 10, 2).await;
    let paused = plugin(&admin).await;
    assert_eq!(paused["paused"]["failures"], 5, "{paused}");
    let reason = paused["paused"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("5 calls in a row failed; the last time it gave up"), "{reason}");
    let hook = admin.json("/v1/tenants/acme/endpoints/hook").await;
    assert_eq!(hook["waits"], format!("plugin p is paused: {reason}"));
    assert_eq!(hook["enabled"], true);
    let metrics = admin.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("hookweir_plugin_paused{tenant=\"acme\",plugin=\"p\"} 1"), "{metrics}");

    // The tenant was told, once, where it asked to be.
    let told = eventually("the operational event", async || {
        let found = receiver.requests().into_iter().find(|request| request.path == "/alerts");
        found.ok_or_else(|| "nothing yet".to_owned())
    })
    .await;
    let event: Value = serde_json::from_slice(&told.body).expect("JSON");
    let wanted = json!({ "plugin": "p", "digest": digest(&picky()), "reason": reason, "failures": 5 });
    assert_eq!(event, wanted);
    let stored = admin.list("/v1/tenants/acme/events?event_type=hookweir.**").await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!(
        (&stored[0]["type"], &stored[0]["source"]),
        (&json!("hookweir.plugin.paused"), &json!("hookweir"))
    );

    gateway.kill9().await;
    gateway.start_again().await;
    let admin = gateway.admin();
    assert_eq!(plugin(&admin).await["paused"], paused["paused"], "a pause outlives the process");
    counted(&admin, 13, 45, 2).await;

    // Another component is not paused: what waited is delivered, and the failed ones can be had again.
    put(&admin, &keeps(1)).await.expect(200);
    counted(&admin, 13, 0, 47).await;
    assert_eq!(plugin(&admin).await["paused"], Value::Null);
    let recovered = admin
        .post("/v1/tenants/acme/endpoints/hook/recover", r#"{"since":"2020-01-01T00:00:00Z"}"#)
        .await
        .expect(200)
        .json();
    assert_eq!(recovered["deliveries"], 13);
    counted(&admin, 0, 0, 60).await;
    assert!(
        receiver.requests().iter().all(|request| request.path != "/all" || !request.body.starts_with(b"{")),
        "an endpoint of all events hears of no operational ones"
    );
}

#[tokio::test]
async fn an_operators_pause_holds_deliveries_until_they_are_resumed() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut gateway = Gateway::start(config(&receiver)).await;
    put(&gateway.admin(), &keeps(1)).await.expect(200);
    let paused = post(&gateway.admin(), "pause").await.expect(200).json();
    assert_eq!(
        (&paused["paused"]["reason"], &paused["paused"]["failures"]),
        (&json!("paused by an operator"), &json!(0))
    );
    for _ in 0..20 {
        gateway.sender().event("a.b", "1").await;
    }
    counted(&gateway.admin(), 0, 20, 0).await;
    gateway.kill9().await;
    gateway.start_again().await;
    counted(&gateway.admin(), 0, 20, 0).await;
    // Endpoints that do not need it are not held up.
    eventually("the events at the other endpoint", async || {
        let count = receiver.requests().iter().filter(|request| request.path == "/all").count();
        if count >= 20 { Ok(()) } else { Err(format!("{count}")) }
    })
    .await;
    post(&gateway.admin(), "resume").await.expect(200);
    counted(&gateway.admin(), 0, 0, 20).await;
    let stored = gateway.admin().list("/v1/tenants/acme/events?event_type=hookweir.**").await;
    assert!(stored.is_empty(), "what an operator does is no news: {stored:?}");
}

#[tokio::test]
async fn a_file_that_has_changed_is_tried_and_then_called_whatever_was_said_of_the_old_one() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let folder = tempfile::tempdir().expect("a folder for plugins");
    let install = |wasm: &[u8]| super::super::guests::install(folder.path(), "acme", "p", wasm);
    let gateway = Gateway::start(
        tenant("acme", KEY)
            + &install(&picky())
            + &endpoint("acme", "hook", &receiver.url("/hook"), "filters = [\"p\"]"),
    )
    .await;
    let admin = gateway.admin();
    let reloaded = async |wasm: &[u8]| {
        install(wasm);
        gateway.reload();
        eventually("the file to be in force", async || {
            let now = plugin(&admin).await;
            if now["digest"] == digest(wasm) { Ok(now) } else { Err(now.to_string()) }
        })
        .await
    };
    for _ in 0..5 {
        gateway.sender().event("a.b", "0").await;
    }
    counted(&admin, 5, 0, 0).await;
    assert_eq!(plugin(&admin).await["paused"]["failures"], 5);
    gateway.sender().event("a.b", "1").await;
    counted(&admin, 5, 1, 0).await;

    // It is tried on what was sent last, and the old one stays, paused as it is.
    install(&super::filter("(unreachable)"));
    gateway.reload();
    gateway
        .logged(&[
            "on a trial (as endpoint hook would run it) it failed as a filter on all 6 stored events",
            "stays in force",
        ])
        .await;
    assert_eq!(plugin(&admin).await["digest"], digest(&picky()));
    counted(&admin, 5, 1, 0).await;

    let now = reloaded(&keeps(1)).await;
    assert_eq!((&now["source"], &now["paused"]), (&json!("file"), &Value::Null));
    counted(&admin, 5, 0, 1).await;
    let now = reloaded(&picky()).await;
    assert_eq!(now["paused"], Value::Null, "its pause went with it");
}

#[tokio::test]
async fn words_about_an_event_pause_nothing() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(config(&receiver)).await;
    // It answers `invalid("elsewhere")`.
    let invalid = super::filter(
        "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 0)) \
         (i32.store (i32.const 1032) (i32.const 552)) (i32.store (i32.const 1036) (i32.const 9)) (i32.const 1024)",
    );
    put(&gateway.admin(), &invalid).await.expect(200);
    for _ in 0..12 {
        gateway.sender().event("a.b", "1").await;
    }
    counted(&gateway.admin(), 12, 0, 0).await;
    assert_eq!(plugin(&gateway.admin()).await["paused"], Value::Null);
}

#[tokio::test]
async fn the_tenant_is_told_of_an_endpoint_that_is_gone() {
    let receiver = Receiver::start(|_, request| match request.path.as_str() {
        "/hook" => Reply::Status(410),
        _ => Reply::Status(200),
    })
    .await;
    let gateway = Gateway::start(config(&receiver)).await;
    put(&gateway.admin(), &keeps(1)).await.expect(200);
    gateway.sender().event("a.b", "1").await;
    let told = eventually("the operational event", async || {
        let found = receiver.requests().into_iter().find(|request| request.path == "/alerts");
        found.ok_or_else(|| "nothing yet".to_owned())
    })
    .await;
    let event: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(event, json!({ "endpoint": "hook", "reason": "the receiver answered 410 Gone" }));
}
