//! A dry run shows what a component would change, on what was really sent, and sends nothing.

use hookweir_tests::{Gateway, KEY, Receiver, Reply, binary, endpoint, plugin as shipped, run, tenant};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{PLUGIN, acme, detail, digest, drops, keeps, plugin, put, says, uploaded};

async fn dry_run(gateway: &Gateway, query: &str, wasm: Vec<u8>) -> Value {
    let path = format!("{PLUGIN}/test{query}");
    gateway.admin().send(hyper::Method::POST, &path, wasm).await.expect(200).json()
}

#[tokio::test]
async fn a_dry_run_compares_on_stored_events_and_sends_nothing() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = acme(&receiver.url("/"), "transformers = [\"p\"]\nevent_types = [\"a.*\"]");
    let gateway = Gateway::start(config).await;
    let admin = gateway.admin();
    put(&admin, &says("host")).await.expect(200);
    let mut sent = Vec::new();
    for number in 0..25 {
        sent.push(gateway.sender().event("a.b", &number.to_string()).await);
        gateway.sender().event("other.type", "1").await;
    }
    receiver.wait_for(sent.len()).await;
    let before = plugin(&admin).await;

    let changed = dry_run(&gateway, "", says("elsewhere")).await;
    assert_eq!(
        (&changed["before"], &changed["after"]),
        (&json!(digest(&says("host"))), &json!(digest(&says("elsewhere"))))
    );
    assert_eq!(
        (&changed["events"], &changed["changed"], &changed["same"]),
        (&json!(25), &json!(25), &json!(0))
    );
    let newest_first: Vec<&str> = changed["data"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|entry| entry["event"].as_str())
        .collect();
    let wanted: Vec<&str> = sent.iter().rev().map(String::as_str).collect();
    assert_eq!(newest_first, wanted, "those that its endpoint wants, newest first");
    let first = &changed["data"][0];
    assert_eq!((&first["before"]["data"], &first["after"]["data"]), (&json!("host"), &json!("elsewhere")));
    assert_eq!((&first["endpoint"], &first["after"]["verdict"]), (&json!("hook"), &json!("send")));

    let same = dry_run(&gateway, "?limit=3", Vec::new()).await;
    assert_eq!((&same["events"], &same["same"], &same["changed"]), (&json!(3), &json!(3), &json!(0)));
    let none = dry_run(&gateway, "?since=2999-01-01T00:00:00Z", says("elsewhere")).await;
    assert_eq!(none["events"], 0);
    let fails = dry_run(&gateway, "?limit=6", super::transformer("(unreachable)")).await;
    assert_eq!(
        (&fails["data"][5]["after"]["verdict"], &fails["data"][5]["after"]["kind"]),
        (&json!("fail"), &json!("trap"))
    );
    let wrong =
        gateway.admin().send(hyper::Method::POST, &format!("{PLUGIN}/test"), keeps(1)).await.expect(422);
    assert!(detail(&wrong).contains("endpoint hook uses it as a transformer"), "{wrong}");
    for query in ["?limit=0", "?limit=1001", "?since=noon", "?event_type=a.**.b", "?typo=1"] {
        gateway
            .admin()
            .send(hyper::Method::POST, &format!("{PLUGIN}/test{query}"), Vec::new())
            .await
            .expect(400);
    }

    assert_eq!(plugin(&admin).await, before, "neither the component nor its pause has changed");
    assert_eq!(receiver.count(), sent.len(), "nothing is sent");
    assert_eq!(admin.count("acme", "hook", "delivered").await, 25);
}

/// The whole chain is run, so that what is compared is what the endpoint would be sent.
#[tokio::test]
async fn a_dry_run_goes_through_the_endpoints_other_plugins() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = tenant("acme", KEY)
        + &uploaded("p", "")
        + &format!("[tenants.acme.plugins.to-slack]\nfile = \"{}\"\n", shipped("to-slack").display())
        + &endpoint("acme", "hook", &receiver.url("/"), "filters = [\"p\"]\ntransformers = [\"to-slack\"]");
    let gateway = Gateway::start(config).await;
    gateway.sender().event("a.b", r#"{"amount":1}"#).await;
    let first = dry_run(&gateway, "", drops()).await;
    let entry = &first["data"][0];
    assert_eq!((&first["before"], &entry["before"]["verdict"]), (&Value::Null, &json!("wait")), "{entry}");
    assert_eq!(entry["after"], json!({ "verdict": "drop", "plugin": "p", "reason": "elsewhere" }));
    let kept = dry_run(&gateway, "", keeps(1)).await;
    let body = kept["data"][0]["after"]["data"].as_str().expect("the message");
    assert!(body.contains("blocks"), "{body}");
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn the_command_line_manages_a_plugin() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(acme(&receiver.url("/"), "transformers = [\"p\"]")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let hookweir = async |args: &[&str]| {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("HOOKWEIR_ADMIN", format!("http://{}", gateway.admin_address()))
            .env("HOOKWEIR_TENANT", "acme")
            .current_dir(folder.path())
            .arg("plugin")
            .args(args);
        run(&mut command, b"").await
    };
    for (name, wasm) in [("p.wasm", says("host")), ("next.wasm", says("elsewhere")), ("bad.wasm", keeps(1))] {
        std::fs::write(folder.path().join(name), wasm).expect("a component");
    }
    let pushed = hookweir(&["push", "p.wasm"]).await.expect(0);
    assert_eq!(pushed.stdout, format!("p is {} now\n", digest(&says("host"))));
    gateway.sender().event("a.b", "1").await;

    let shown = hookweir(&["test", "next.wasm", "--tenant", "acme", "--plugin", "p", "--since", "1h"])
        .await
        .expect(0);
    assert!(shown.stdout.contains("\n-host\n+elsewhere\n"), "{}", shown.stdout);
    assert!(shown.stdout.ends_with("1 event run, 0 same, 1 changed; nothing was sent\n"), "{}", shown.stdout);
    assert_eq!(plugin(&gateway.admin()).await["digest"], digest(&says("host")));

    let refused = hookweir(&["push", "bad.wasm", "--plugin", "p"]).await.expect(1);
    assert!(refused.stderr.contains("endpoint hook uses it as a transformer"), "{}", refused.stderr);
    hookweir(&["push", "next.wasm", "--plugin", "p"]).await.expect(0);
    let back = hookweir(&["rollback", "p"]).await.expect(0);
    assert!(back.stdout.starts_with(&format!("p is {} now", digest(&says("host")))), "{}", back.stdout);
    hookweir(&["pause", "p"]).await.expect(0);
    let listed = hookweir(&["list"]).await.expect(0);
    assert!(listed.stdout.contains("paused since"), "{}", listed.stdout);
    hookweir(&["resume", "p"]).await.expect(0);
    let got = hookweir(&["get", "p"]).await.expect(0);
    assert!(got.stdout.contains("state      in force"), "{}", got.stdout);
    let json: Value =
        serde_json::from_str(&hookweir(&["get", "p", "--json"]).await.expect(0).stdout).expect("JSON");
    assert_eq!(json["digest"], digest(&says("host")));
    hookweir(&["test", "p.wasm", "--since", "1h"]).await.expect(2);
}
