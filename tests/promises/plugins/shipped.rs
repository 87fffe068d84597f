//! The shipped plugins in a gateway: events are kept, dropped with a reason, and transformed.

use hookweir_tests::{Gateway, KEY, Receiver, Reply, binary, endpoint, plugin, run, tenant};
use serde_json::Value;
use tokio::process::Command;

fn plugins() -> String {
    let (keep_above, to_slack) = (plugin("keep-above"), plugin("to-slack"));
    format!(
        "[tenants.acme.plugins.keep-above]\nfile = \"{}\"\nconfig = {{ field = \"order.total\", minimum = 100 }}\n\
         [tenants.acme.plugins.to-slack]\nfile = \"{}\"\nconfig = {{ title = \"New order {{subject}}\", fields = [\"order.total\"] }}\n",
        keep_above.display(),
        to_slack.display()
    )
}

#[tokio::test]
async fn events_are_kept_dropped_and_transformed() {
    let receiver = Receiver::sequence(vec![Reply::Status(500), Reply::Status(200)]).await;
    let lines = "filters = [\"keep-above\"]\ntransformers = [\"to-slack\"]\nretry = { waits = [\"1s\"] }";
    let config = tenant("acme", KEY) + &plugins() + &endpoint("acme", "chat", &receiver.url("/chat"), lines);
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin();
    let send = async |subject: &str, data: &str| {
        let body = format!(r#"{{"type":"order.created","subject":"{subject}","data":{data}}}"#);
        let accepted = gateway.sender().post(&[], body).await.expect(202).json();
        accepted["id"].as_str().expect("an id").to_owned()
    };

    let kept = send("A-1 <&>", r#"{"order":{"total":100.5}}"#).await;
    let detail = admin.delivery("acme", &kept, "chat", "delivered").await;
    let calls = detail["attempts"][0]["plugins"].as_array().expect("the calls of the first attempt");
    let roles: Vec<(&Value, &Value)> = calls.iter().map(|call| (&call["plugin"], &call["role"])).collect();
    assert_eq!(
        roles,
        [(&"keep-above".into(), &"filter".into()), (&"to-slack".into(), &"transformer".into())]
    );
    assert!(
        detail["attempts"][1]["plugins"].as_array().is_none_or(Vec::is_empty),
        "a retry runs no plugin: {detail}"
    );
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body, "a retry sends the bytes of the first attempt");
    assert_eq!(requests[0].header("content-type"), "application/json");
    let message: Value = serde_json::from_slice(&requests[0].body).expect("a Slack message");
    let text = message.to_string();
    assert!(message["blocks"].is_array() && message["text"].is_string(), "{message}");
    assert!(text.contains("New order A-1") && text.contains("100.5"), "{message}");

    for (what, data, words) in [
        ("below the minimum", r#"{"order":{"total":99.999}}"#, vec!["99.999", "100"]),
        ("absent", r#"{"order":{}}"#, vec!["order.total"]),
        ("not a number", r#"{"order":{"total":"250"}}"#, vec!["order.total"]),
    ] {
        let dropped = send("A-2", data).await;
        let detail = admin.delivery("acme", &dropped, "chat", "filtered").await;
        let reason =
            detail["delivery"]["reason"].as_str().unwrap_or_else(|| panic!("{what}: no reason in {detail}"));
        for word in words.iter().chain(&["keep-above"]) {
            assert!(reason.contains(word), "{what}: no {word} in {reason}");
        }
    }
    assert_eq!(receiver.count(), 2, "what a filter drops is not sent");
}

#[tokio::test]
async fn a_sample_goes_the_way_of_an_event_and_leaves_no_trace() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let lines = "event_types = [\"order.*\"]\nfilters = [\"keep-above\"]\ntransformers = [\"to-slack\"]";
    let config = tenant("acme", KEY)
        + &plugins()
        + &format!(
            "[tenants.acme.plugins.misled]\nfile = \"{}\"\nconfig = {{ field = \"\", minimum = 1 }}\n",
            plugin("keep-above").display()
        )
        + &endpoint("acme", "misled", &receiver.url("/misled"), "filters = [\"misled\"]")
        + &endpoint("acme", "slack", &receiver.url("/slack"), lines)
        + &endpoint("acme", "broken", "http://127.0.0.1:1/", "enabled = false");
    let gateway = Gateway::start(config).await;
    let url = format!("http://{}", gateway.admin_address());
    let test = async |endpoint: &str, more: &[&str]| {
        let mut command = Command::new(binary());
        let args = ["endpoint", "test", "--tenant", "acme", "--admin", &url, endpoint];
        run(command.env_clear().args(args).args(more), b"").await
    };

    let data = r#"{"order": {"total": 120}}"#;
    let sent = test("slack", &["--data", data, "--json"]).await.expect(0);
    let probe: Value = serde_json::from_str(&sent.stdout).expect("JSON");
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!((&probe["result"], &probe["type"]), (&"sent".into(), &"order.sample".into()), "{probe}");
    assert_eq!(probe["attempt"]["answer"]["status"], 200, "{probe}");
    assert_eq!(probe["attempt"]["plugins"].as_array().map(Vec::len), Some(2), "{probe}");
    assert_eq!(probe["content"]["data"].as_str().map(str::as_bytes), Some(&request.body[..]), "{probe}");
    assert_eq!(probe["id"], request.event());

    let dropped = test("slack", &["--data", r#"{"order": {"total": 1}}"#]).await.expect(1);
    assert!(dropped.stdout.contains("result    filtered\n    keep-above"), "{dropped:?}");
    let failed = test("misled", &["--type", "user.created"]).await.expect(1);
    assert!(failed.stdout.contains("result    failed\n    plugin misled"), "{failed:?}");
    let refused = test("broken", &[]).await.expect(1);
    assert!(refused.stdout.contains("result    retry\n    connection refused"), "{refused:?}");

    let admin = gateway.admin();
    assert_eq!(receiver.count(), 1);
    assert!(admin.list("/v1/tenants/acme/events").await.is_empty(), "the journal knows of no sample");
    for endpoint in admin.list("/v1/tenants/acme/endpoints").await {
        assert!(endpoint["failing_since"].is_null(), "{endpoint}");
    }
    let test = "/v1/tenants/acme/endpoints/slack/test";
    for body in ["[]", r#"{"type": "a..b"}"#, r#"{"typ": "a.b"}"#, "{"] {
        admin.post(test, body).await.expect(400);
    }
    admin.post("/v1/tenants/acme/endpoints/none/test", "").await.expect(404);
}

#[tokio::test]
async fn the_chain_of_one_endpoint_is_not_that_of_another() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = tenant("acme", KEY)
        + &plugins()
        + &endpoint("acme", "plain", &receiver.url("/plain"), "")
        + &endpoint("acme", "filtered", &receiver.url("/filtered"), "filters = [\"keep-above\"]")
        + &endpoint(
            "acme",
            "enveloped",
            &receiver.url("/enveloped"),
            "transformers = [\"to-slack\"]\nformat = \"envelope\"",
        );
    let gateway = Gateway::start(config).await;
    let data = r#"{ "order": { "total": 1 } }"#;
    let event = gateway.sender().event("order.created", data).await;
    for (endpoint, status) in [("plain", "delivered"), ("filtered", "filtered"), ("enveloped", "delivered")] {
        gateway.admin().delivery("acme", &event, endpoint, status).await;
    }
    for request in receiver.requests() {
        match request.path.as_str() {
            "/plain" => assert_eq!(request.body, data),
            "/enveloped" => {
                let envelope: Value = serde_json::from_slice(&request.body).expect("an envelope");
                assert_eq!(envelope["type"], "order.created");
                assert!(envelope["data"]["blocks"].is_array(), "{envelope}");
            }
            path => panic!("nothing should come to {path}"),
        }
    }
}
