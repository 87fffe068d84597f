//! Uploads: what is taken is in force and stays, what is refused changes nothing.

use hookweir_tests::{Gateway, KEY, Receiver, Reply, endpoint, plugin as shipped, tenant};
use serde_json::Value;

use super::{PLUGIN, acme, detail, digest, drops, keeps, plugin, post, put, says, uploaded};

const OTHER_KEY: &str = "key-of-the-other-tenant-0123456789";

#[tokio::test]
async fn deliveries_wait_for_the_first_upload_and_an_upload_outlives_a_kill() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut gateway = Gateway::start(acme(&receiver.url("/"), "transformers = [\"p\"]")).await;
    let waiting = gateway.sender().event("a.b", "1").await;
    let admin = gateway.admin();
    let before = plugin(&admin).await;
    assert_eq!((&before["digest"], &before["source"]), (&Value::Null, &"upload".into()), "{before}");
    assert_eq!(before["waits"], "nothing was uploaded for it yet");
    let hook = admin.json("/v1/tenants/acme/endpoints/hook").await;
    let waits = hook["waits"].as_str().expect("a reason to wait");
    assert!(waits.contains("plugin p has no component"), "{waits}");
    let pending = admin.delivery("acme", &waiting, "hook", "pending").await;
    assert_eq!(pending["attempts"], serde_json::json!([]));

    let host = says("host");
    let taken = put(&admin, &host).await.expect(200).json();
    assert_eq!(taken["digest"], digest(&host));
    assert_eq!(taken["exports"], serde_json::json!(["transformer"]));
    let delivered = admin.delivery("acme", &waiting, "hook", "delivered").await;
    assert_eq!(delivered["attempts"][0]["plugins"][0]["digest"], digest(&host));
    assert_eq!(receiver.wait_for_event(&waiting).await.body, "host", "the event waited for its plugin");

    gateway.kill9().await;
    gateway.start_again().await;
    let after = plugin(&gateway.admin()).await;
    assert_eq!(after, taken, "nothing of it is lost");
    let event = gateway.sender().event("a.b", "2").await;
    assert_eq!(receiver.wait_for_event(&event).await.body, "host");
}

#[tokio::test]
async fn a_refused_upload_leaves_the_old_component_in_force() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(acme(&receiver.url("/"), "filters = [\"p\"]")).await;
    let admin = gateway.admin();
    let old = keeps(1);
    put(&admin, &old).await.expect(200);
    let wat = |text: &str| wat::parse_str(text).expect("WebAssembly text");
    let mut huge = b"\0asm\x0d\0\x01\0".to_vec();
    huge.resize((24 << 20) + 1, 0);
    for (what, wasm, status, words) in [
        ("empty", Vec::new(), 422, "empty"),
        ("text", b"(component)".to_vec(), 422, "WebAssembly text"),
        ("core module", wat("(module)"), 422, "core WebAssembly module"),
        (
            "import",
            wat(r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance)))"#),
            422,
            "wasi:clocks/monotonic-clock@0.2.0",
        ),
        ("role", says("host"), 422, "endpoint hook uses it as a filter, and it exports no filter"),
        ("trap", super::filter("(unreachable)"), 422, "it failed as a filter on all "),
        ("loop", super::filter("(loop $on (br $on)) (unreachable)"), 422, "50 ms of processor time"),
        ("size", huge, 413, "25165824 bytes"),
    ] {
        let refused = put(&admin, &wasm).await;
        assert_eq!(refused.status, status, "{what}: {refused}");
        let sentence = detail(&refused);
        println!("{what}: {sentence}");
        assert!(sentence.contains(words), "{what}: {sentence}");
        let now = plugin(&admin).await;
        assert_eq!((&now["digest"], &now["previous"]), (&digest(&old).into(), &Value::Null), "{what}");
        let event = gateway.sender().event("a.b", "1").await;
        let delivered = admin.delivery("acme", &event, "hook", "delivered").await;
        assert_eq!(delivered["attempts"][0]["plugins"][0]["digest"], digest(&old), "{what}");
    }
}

#[tokio::test]
async fn a_component_is_tried_on_the_sample_or_on_what_was_sent_last() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = |lines: &str| {
        tenant("acme", KEY)
            + &uploaded("p", lines)
            + &endpoint("acme", "hook", &receiver.url("/"), "filters = [\"p\"]")
    };
    let gateway = Gateway::start(config("config = { field = \"amount\", minimum = 100 }")).await;
    let admin = gateway.admin();
    // It says of the event that is made up that it is invalid: that is an answer, and no fault of its own.
    let keep_above = std::fs::read(shipped("keep-above")).expect("the shipped plugin");
    put(&admin, &keep_above).await.expect(200);

    // A component that traps on zeros is refused while all that was sent are zeros, and taken once there is a one.
    let zeros = [gateway.sender().event("a.b", "0").await, gateway.sender().event("a.b", "0").await];
    for event in &zeros {
        admin.delivery("acme", event, "hook", "filtered").await;
    }
    let refused = put(&admin, &super::picky()).await.expect(422);
    let newest = &zeros[1];
    for part in [
        "on a trial (as endpoint hook would run it) it failed as a filter on all 2 stored events of type a.b",
        &format!("on {newest}: it gave up"),
        &format!("`hookweir event get --tenant acme {newest}` shows that event"),
        "`hookweir plugin test FILE --tenant acme --plugin p --event-type a.b`",
    ] {
        assert!(detail(&refused).contains(part), "{part}: {refused}");
    }
    let one = gateway.sender().event("a.b", "1").await;
    admin.delivery("acme", &one, "hook", "filtered").await;
    let zero = gateway.sender().event("a.b", "0").await;
    admin.delivery("acme", &zero, "hook", "filtered").await;
    put(&admin, &super::picky()).await.expect(200);

    let sample = gateway.folder().join("sample.json");
    std::fs::write(&sample, r#"{"event":{"type":"a.b","data":"no object"}}"#).expect("a sample");
    gateway.reconfigure(config("config = { field = \"amount\" }\nsample = \"sample.json\""));
    gateway.reload();
    gateway.logged(&["the new configuration is in force"]).await;
    let refused = put(&admin, &keep_above).await.expect(422);
    assert!(
        detail(&refused).contains("on its sample (an event of type a.b) it failed as a filter"),
        "{refused}"
    );
}

/// A transformer that traps on `SMALL` and makes "host" of all else.
fn traps_on_small() -> Vec<u8> {
    let traps = "(if (i32.eq (i32.load8_u offset=11 (i32.load offset=60 (local.get $event))) (i32.const 125)) \
                 (then (unreachable)))";
    super::transformer(&format!("{traps} {}", super::making("host")))
}

const SMALL: &str = r#"{"amount":1}"#;

/// A tenant with a plugin that is uploaded, a filter that refuses `SMALL`, and these endpoints.
fn with_a_filter(endpoints: &str) -> String {
    let above = format!(
        "[tenants.acme.plugins.above]\nfile = \"{}\"\nconfig = {{ field = \"amount\", minimum = 100 }}\n",
        shipped("keep-above").display()
    );
    tenant("acme", KEY) + &uploaded("p", "") + &above + endpoints
}

/// What an endpoint's filter keeps from a component says nothing of it.
#[tokio::test]
async fn a_component_is_tried_as_its_endpoint_would_run_it() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let hook = endpoint("acme", "hook", &receiver.url("/"), "filters = [\"above\"]\ntransformers = [\"p\"]");
    let gateway = Gateway::start(with_a_filter(&hook)).await;
    let admin = gateway.admin();
    put(&admin, &says("elsewhere")).await.expect(200);
    let event = gateway.sender().event("a.b", SMALL).await;
    admin.delivery("acme", &event, "hook", "filtered").await;
    put(&admin, &traps_on_small()).await.expect(200);
    let event = gateway.sender().event("a.b", r#"{"amount":1000}"#).await;
    assert_eq!(receiver.wait_for_event(&event).await.body, "host", "it is in force");
}

#[tokio::test]
async fn a_component_is_not_tried_as_what_no_endpoint_uses_it() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(acme(&receiver.url("/"), "filters = [\"p\"]")).await;
    let event = gateway.sender().event("a.b", "1").await;
    put(&gateway.admin(), &super::keeps_and_traps()).await.expect(200);
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;

    // The same for its sample, and for what `check` says of it.
    let folder = tempfile::tempdir().expect("a folder");
    let sample = folder.path().join("sample.json");
    std::fs::write(&sample, r#"{"event":{"type":"a.b","data":1}}"#).expect("a sample");
    let install = super::super::guests::install(folder.path(), "acme", "p", &super::keeps_and_traps());
    let config = |lines: &str| {
        tenant("acme", KEY)
            + &install
            + &format!("sample = \"{}\"\n", sample.display())
            + &endpoint("acme", "hook", &receiver.url("/"), lines)
    };
    let used = Gateway::start(config("filters = [\"p\"]")).await;
    let mut check = tokio::process::Command::new(hookweir_tests::binary());
    check.args(["check", "--config"]).arg(used.folder().join("hookweir.toml"));
    hookweir_tests::run(&mut check, b"").await.expect(0);
    used.reconfigure(config("filters = [\"p\"]\ntransformers = [\"p\"]"));
    let refused = hookweir_tests::run(&mut check, b"").await.expect(78);
    let sentence = "on its sample (an event of type a.b) it failed as a transformer";
    assert!(refused.stderr.contains(sentence), "{}", refused.stderr);
}

#[tokio::test]
async fn a_component_that_fails_for_one_of_its_endpoints_is_refused_for_it() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let url = receiver.url("/");
    let endpoints = endpoint("acme", "aside", &url, "transformers = [\"p\"]\nevent_types = [\"c.d\"]")
        + &endpoint("acme", "hook", &url, "filters = [\"above\"]\ntransformers = [\"p\"]");
    let gateway = Gateway::start(with_a_filter(&endpoints)).await;
    let admin = gateway.admin();
    put(&admin, &says("elsewhere")).await.expect(200);
    let event = gateway.sender().event("c.d", SMALL).await;
    admin.delivery("acme", &event, "aside", "delivered").await;
    for _ in 0..3 {
        let other = gateway.sender().event("a.b", SMALL).await;
        admin.delivery("acme", &other, "hook", "filtered").await;
    }
    let refused = put(&admin, &traps_on_small()).await.expect(422);
    let sentence =
        "(as endpoint aside would run it) it failed as a transformer on the stored event of type c.d";
    assert!(detail(&refused).contains(sentence), "{refused}");
    assert!(detail(&refused).contains(&format!("on {event}: it gave up")), "{refused}");
}

/// Nobody has sent what a component of a new tenant is tried on, and the refusal says how to go on.
#[tokio::test]
async fn without_a_stored_event_one_is_made_up() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway =
        Gateway::start(acme(&receiver.url("/"), "filters = [\"p\"]\nevent_types = [\"order.*\"]")).await;
    let admin = gateway.admin();
    // It traps on `{}`, whose first byte is 123.
    let traps_on_objects = super::filter(
        "(if (i32.eq (i32.load8_u (i32.load offset=60 (local.get $event))) (i32.const 123)) (then (unreachable))) \
         (i32.const 1040)",
    );
    let refused = put(&admin, &traps_on_objects).await.expect(422);
    for part in [
        "no stored event is for it",
        "made up, of type order.sample with the data {}",
        "send one that it is for",
    ] {
        assert!(detail(&refused).contains(part), "{part}: {refused}");
    }
    let event = gateway.sender().event("order.created", "1").await;
    put(&admin, &traps_on_objects).await.expect(200);
    admin.delivery("acme", &event, "hook", "delivered").await;
}

#[tokio::test]
async fn a_rollback_puts_the_earlier_component_in_force_and_another_goes_forward_again() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut gateway = Gateway::start(acme(&receiver.url("/"), "transformers = [\"p\"]")).await;
    let refused = post(&gateway.admin(), "rollback").await.expect(409);
    assert_eq!(detail(&refused), "there is no earlier component to go back to");
    let (host, elsewhere) = (says("host"), says("elsewhere"));
    put(&gateway.admin(), &host).await.expect(200);
    put(&gateway.admin(), &elsewhere).await.expect(200);
    for (said, was, restart) in [("host", "elsewhere", true), ("elsewhere", "host", false)] {
        let now = post(&gateway.admin(), "rollback").await.expect(200).json();
        assert_eq!(
            (&now["digest"], &now["previous"]),
            (&digest(&says(said)).into(), &digest(&says(was)).into())
        );
        if restart {
            gateway.kill9().await;
            gateway.start_again().await;
            assert_eq!(plugin(&gateway.admin()).await, now);
        }
        let event = gateway.sender().event("a.b", "1").await;
        assert_eq!(receiver.wait_for_event(&event).await.body, said);
    }
    // The same component again changes nothing: the earlier one is still the one to go back to.
    let again = put(&gateway.admin(), &elsewhere).await.expect(200).json();
    assert_eq!(again["previous"], digest(&host));
}

#[tokio::test]
async fn the_configuration_says_who_decides_on_a_component() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let (wanted, other) = (keeps(1), keeps(2));
    let folder = tempfile::tempdir().expect("a folder for plugins");
    let with = |tables: &str| {
        tenant("acme", KEY) + tables + &endpoint("acme", "hook", &receiver.url("/"), "filters = [\"p\"]")
    };
    let pinned = uploaded("p", &format!("sha256 = \"{}\"", digest(&wanted)));
    let gateway = Gateway::start(with(&pinned)).await;
    let admin = gateway.admin();
    let refused = put(&admin, &other).await.expect(409);
    assert!(detail(&refused).contains(&digest(&wanted)), "{refused}");
    put(&admin, &wanted).await.expect(200);

    // Another pin: what was uploaded is not what the configuration vouches for, so it is not called.
    gateway.reconfigure(with(&uploaded("p", &format!("sha256 = \"{}\"", digest(&other)))));
    gateway.reload();
    gateway.logged(&["the new configuration is in force"]).await;
    let event = gateway.sender().event("a.b", "1").await;
    let now = plugin(&admin).await;
    assert!(now["waits"].as_str().is_some_and(|reason| reason.contains("pins it to")), "{now}");
    admin.delivery("acme", &event, "hook", "pending").await;
    put(&admin, &other).await.expect(200);
    admin.delivery("acme", &event, "hook", "delivered").await;

    let unknown = admin.put("/v1/tenants/acme/plugins/q", other.clone()).await.expect(404);
    assert!(detail(&unknown).contains("add a table [tenants.acme.plugins.q]"), "{unknown}");

    gateway.reconfigure(with(&super::super::guests::install(folder.path(), "acme", "p", &wanted)));
    gateway.reload();
    gateway.logged(&["the new configuration is in force", "the new configuration is in force"]).await;
    hookweir_tests::eventually("the file to be in force", async || {
        let now = admin.json(PLUGIN).await;
        if now["source"] == "file" { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let refused = put(&admin, &other).await.expect(409);
    assert_eq!(
        detail(&refused),
        "its component comes from the configuration's file: remove `file` to manage it by upload"
    );
}

#[tokio::test]
async fn a_tenant_manages_its_own_plugins_alone() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = acme(&receiver.url("/"), "filters = [\"p\"]") + &tenant("globex", OTHER_KEY);
    let gateway = Gateway::start(config).await;
    let own = gateway.admin().with_token(KEY);
    put(&own, &keeps(1)).await.expect(200);
    assert_eq!(own.list("/v1/tenants/acme/plugins").await.len(), 1);
    let other = gateway.admin().with_token(OTHER_KEY);
    put(&other, &drops()).await.expect(404);
    other.get(PLUGIN).await.expect(404);
    for verb in ["rollback", "pause", "resume", "test"] {
        post(&other, verb).await.expect(404);
    }
    let now = plugin(&own).await;
    assert_eq!((&now["digest"], &now["paused"]), (&digest(&keeps(1)).into(), &Value::Null));
}
