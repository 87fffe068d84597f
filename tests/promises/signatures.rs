//! Receivers verify deliveries with the libraries they have: the official ones of Standard Webhooks for Python,
//! JavaScript and Rust, before, during and after a rotation of the secret.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_tests::{
    Clock, Config, Gateway, KEY, Receiver, Reply, Request, endpoint, eventually, one_endpoint, peer, peers,
    tenant,
};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

/// Deliveries of each phase; with the third, a thousand in all.
const PER_PHASE: usize = 334;

fn secret() -> String {
    let bytes: Vec<u8> = (0..32).map(|_| fastrand::u8(..)).collect();
    format!("whsec_{}", BASE64.encode(bytes))
}

/// A JSON text of random shape and size. It may hold any character, escaped or as it is.
fn random_json(depth: u32) -> String {
    match fastrand::u32(0..if depth == 0 { 4 } else { 6 }) {
        0 => format!("{}.{:03}e{}", fastrand::i64(..), fastrand::u32(0..1000), fastrand::i32(-9..9)),
        1 => json!(fastrand::bool()).to_string(),
        2 => json!((0..fastrand::usize(0..40)).map(|_| fastrand::char(..)).collect::<String>()).to_string(),
        3 => format!("\"\\u{:04x}\\n\"", fastrand::u16(0..0xd800)),
        4 => {
            let entries: Vec<String> = (0..fastrand::usize(0..5)).map(|_| random_json(depth - 1)).collect();
            format!("[{}]", entries.join(" , "))
        }
        _ => {
            let entries: Vec<String> = (0..fastrand::usize(0..5))
                .map(|_| format!("\"{}\" :{}", fastrand::u32(..), random_json(depth - 1)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

/// What a verifying library is asked.
fn question(secret: &str, request: &Request, body: &str) -> Value {
    json!({
        "secret": secret,
        "id": request.header("webhook-id"),
        "timestamp": request.header("webhook-timestamp"),
        "signature": request.header("webhook-signature"),
        "body": body,
    })
}

/// The body with one bit of one of its ASCII characters flipped: still text, so that the signature alone can tell.
fn flipped(body: &str) -> String {
    let mut bytes = body.as_bytes().to_vec();
    let ascii: Vec<usize> = (0..bytes.len()).filter(|index| bytes[*index].is_ascii()).collect();
    let index = *fastrand::choice(&ascii).expect("JSON has an ASCII character");
    bytes[index] ^= 1 << fastrand::u32(0..7);
    String::from_utf8(bytes).expect("a flipped ASCII character is one")
}

/// The same questions, put to the crate.
fn crate_verdicts(questions: &[Value]) -> Vec<Value> {
    let text = |question: &Value, member: &str| question[member].as_str().unwrap_or_default().to_owned();
    let verify = |question: &Value| {
        let webhook = Webhook::new(&text(question, "secret")).expect("a secret");
        let mut headers = hyper::HeaderMap::new();
        for name in ["id", "timestamp", "signature"] {
            let value = text(question, name).parse().expect("a header's value");
            headers.insert(
                hyper::header::HeaderName::try_from(format!("webhook-{name}")).expect("a name"),
                value,
            );
        }
        Value::Bool(webhook.verify(text(question, "body").as_bytes(), &headers).is_ok())
    };
    questions.iter().map(verify).collect()
}

/// Puts the questions to all three libraries; each must answer `wanted` to every one.
async fn ask_all(questions: &[Value], wanted: bool, phase: &str) {
    let python = peers().join("venv").join("bin").join("python");
    for (library, verdicts) in [
        ("Python", peer(python, "verify.py", questions).await),
        ("JavaScript", peer("node", "verify.cjs", questions).await),
        ("Rust", crate_verdicts(questions)),
    ] {
        for (question, verdict) in questions.iter().zip(&verdicts) {
            assert_eq!(*verdict, wanted, "{phase}: the {library} library on {question}");
        }
    }
}

#[tokio::test]
async fn a_thousand_deliveries_verify_with_every_official_library_through_a_rotation() {
    let (old, new) = (secret(), secret());
    let receiver = Receiver::always(Reply::Status(200)).await;
    let config = |secrets: &[&String]| {
        let list: Vec<String> = secrets.iter().map(|secret| format!("\"{secret}\"")).collect();
        one_endpoint(
            &receiver.url("/hook"),
            &format!("secret = [{}]\nevent_types = [\"random.*\"]", list.join(", ")),
        )
    };
    let gateway = Gateway::start(config(&[&old])).await;
    let phases: [(&str, Vec<&String>, Vec<&String>); 3] = [
        ("before the rotation", vec![&old], vec![&new]),
        ("during the rotation", vec![&old, &new], vec![]),
        ("after the rotation", vec![&new], vec![&old]),
    ];
    let mut verified = 0;
    for (phase, signing, others) in phases {
        gateway.reconfigure(config(&signing));
        gateway.reload();
        let probe = format!("deliveries signed by the secrets of the phase {phase}");
        eventually(&probe, async || {
            let event = gateway.sender().event("random.probe", "{}").await;
            let request = receiver.wait_for_event(&event).await;
            let questions: Vec<Value> =
                signing.iter().map(|secret| question(secret, &request, "{}")).collect();
            let signatures = request.header("webhook-signature").split(' ').count();
            if signatures == signing.len()
                && crate_verdicts(&questions).iter().all(|verdict| *verdict == true)
            {
                Ok(())
            } else {
                Err(format!("{signatures} signatures on {request:?}"))
            }
        })
        .await;

        let mut good = Vec::new();
        let mut bad = Vec::new();
        for _ in 0..PER_PHASE {
            let data = random_json(3);
            let event = gateway.sender().event("random.body", &data).await;
            let request = receiver.wait_for_event(&event).await;
            assert_eq!(String::from_utf8_lossy(&request.body), data);
            good.extend(signing.iter().map(|secret| question(secret, &request, &data)));
            bad.extend(others.iter().map(|secret| question(secret, &request, &data)));
            bad.extend(signing.iter().map(|secret| question(secret, &request, &flipped(&data))));
        }
        ask_all(&good, true, phase).await;
        ask_all(&bad, false, phase).await;
        verified += PER_PHASE;
    }
    println!(
        "{verified} deliveries verified by the Python, JavaScript and Rust libraries; no flipped bit did"
    );
}

#[tokio::test]
async fn every_attempt_is_signed_with_its_own_time_and_the_same_id() {
    let secret = secret();
    let receiver = Receiver::sequence(vec![Reply::Status(500), Reply::Status(200)]).await;
    let lines = format!("secret = \"{secret}\"\nretry = {{ waits = [\"1100ms\"], jitter = 0.0 }}");
    let gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), &lines)).await;
    let event = gateway.sender().event("order.created", "[1]").await;
    let requests = receiver.wait_for(2).await;
    let questions: Vec<Value> = requests.iter().map(|request| question(&secret, request, "[1]")).collect();
    assert_eq!(crate_verdicts(&questions), [true, true]);
    for (request, attempt) in requests.iter().zip(["1", "2"]) {
        assert_eq!(request.event(), event);
        assert_eq!(request.header("hookweir-attempt"), attempt);
        assert!(request.header("user-agent").starts_with("hookweir/"), "{request:?}");
    }
    let timestamps: Vec<u64> = requests
        .iter()
        .map(|request| request.header("webhook-timestamp").parse().expect("a number"))
        .collect();
    assert!(timestamps[1] > timestamps[0], "{timestamps:?}");
}

const ROTATE: &str = "/v1/tenants/acme/endpoints/hook/rotate-secret";

#[tokio::test]
async fn the_gateway_rotates_a_secret_in_its_file_and_the_old_one_signs_on() {
    let first = secret();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, format!("{first}\n")).expect("a secret");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let receiver = Receiver::always(Reply::Status(200)).await;
    let from_file = format!("secret = {{ file = {path:?} }}");
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), &from_file)).await;
    let rotate =
        async |gateway: &Gateway, body: &str| gateway.admin().post(ROTATE, body).await.expect(200).json();
    let send = async |gateway: &Gateway| {
        let event = gateway.sender().event("order.created", "[1]").await;
        receiver.wait_for_event(&event).await
    };
    let signed_by = async |request: &Request, wanted: &[&str], others: &[&str], phase: &str| {
        let signatures = request.header("webhook-signature").split(' ').count();
        assert_eq!(signatures, wanted.len(), "{phase}: {request:?}");
        let ask = |secrets: &[&str]| {
            secrets.iter().map(|secret| question(secret, request, "[1]")).collect::<Vec<_>>()
        };
        ask_all(&ask(wanted), true, phase).await;
        ask_all(&ask(others), false, phase).await;
    };

    let made = rotate(&gateway, "").await;
    let second = made["secret"].as_str().expect("a secret").to_owned();
    signed_by(&send(&gateway).await, &[&second, &first], &[], "after a rotation").await;
    gateway.terminate().await;
    gateway.start_again().await;
    signed_by(&send(&gateway).await, &[&second, &first], &[], "after another start").await;

    // One of the caller's own, and those before it end at once.
    let third = secret();
    let taken = rotate(&gateway, &json!({ "secret": third, "keep_seconds": 0 }).to_string()).await;
    assert_eq!((&taken["secret"], &taken["public_key"]), (&Value::Null, &Value::Null), "{taken}");
    signed_by(&send(&gateway).await, &[&third], &[&first, &second], "after a leak").await;
    gateway.reload();
    gateway.logged(&["the new configuration is in force"]).await;
    signed_by(&send(&gateway).await, &[&third], &[&first, &second], "after a reload").await;

    assert_eq!(std::fs::read_to_string(&path).expect("the file"), format!("{third}\n"));
    assert_eq!(std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
    let log = gateway.log();
    assert!([&first, &second, &third].iter().all(|secret| !log.contains(secret.as_str())), "{log}");
}

/// How long the secret of before signs on is a span of time, whatever the wall clock does meanwhile.
#[tokio::test]
async fn the_wall_clock_ends_no_secret_that_was_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, secret()).expect("a secret");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let receiver = Receiver::always(Reply::Status(200)).await;
    let clock = Clock::new();
    let from_file = format!("secret = {{ file = {path:?} }}");
    let gateway = Gateway::start_by(&clock, one_endpoint(&receiver.url("/hook"), &from_file)).await;
    let signatures = async || {
        let event = gateway.sender().event("order.created", "[1]").await;
        receiver.wait_for_event(&event).await.header("webhook-signature").split(' ').count()
    };
    let rotate = async |keep: u32| {
        let body = json!({ "keep_seconds": keep }).to_string();
        gateway.admin().post(ROTATE, &body).await.expect(200);
    };
    let hour = Duration::from_secs(3600);
    rotate(3600).await;
    assert_eq!(signatures().await, 2);
    clock.forward(24 * hour);
    assert_eq!(signatures().await, 2, "a day ahead");
    gateway.reload();
    gateway.logged(&["the new configuration is in force"]).await;
    assert_eq!(signatures().await, 2, "and read again");
    rotate(7200).await;
    assert_eq!(signatures().await, 3, "and rotated once more");
    clock.back(48 * hour);
    assert_eq!(signatures().await, 3, "a day behind");
    clock.pass(hour);
    assert_eq!(signatures().await, 2, "an hour later by all clocks");
    clock.pass(hour);
    assert_eq!(signatures().await, 1, "two hours later");
    clock.set_right();
    assert_eq!(signatures().await, 1, "it does not sign again");
}

#[tokio::test]
async fn a_secret_that_can_not_be_rotated_stays_and_the_answer_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, mode| {
        let path = folder.path().join(name);
        std::fs::write(&path, secret()).expect("a secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        format!("secret = {{ file = {path:?} }}")
    };
    let (own, shared) = (file("own", 0o600), file("shared", 0o600));
    let lists = format!("secret = [{:?}, {:?}]", secret(), secret());
    let tenants = tenant("acme", KEY)
        + &[("own", &*own), ("listed", &*lists), ("unsigned", ""), ("shared", &*shared)]
            .map(|(name, lines)| endpoint("acme", name, "http://127.0.0.1:9/", lines))
            .concat()
        + &tenant("other", "another-key-of-the-test")
        + &endpoint("other", "shared", "http://127.0.0.1:9/", &shared);
    let gateway = Gateway::start(Config::new(tenants)).await;
    let admin = gateway.admin();
    let before = std::fs::read_to_string(folder.path().join("own")).expect("a secret");
    for (name, body, status, wanted) in [
        ("listed", "", 409, "from no file of its own"),
        ("unsigned", "", 409, "not signed as Standard Webhooks has it"),
        ("shared", "", 409, "another tenant's endpoint has the same file"),
        ("own", r#"{"secret": "hush-hush"}"#, 400, "a signing secret starts with whsec_"),
        ("own", r#"{"keep_seconds": 2592001}"#, 400, "keep_seconds: give at most 2592000, which is 30 days"),
        ("own", r#"{"sekret": "hush-hush"}"#, 400, "send {\"secret\": TEXT, \"keep_seconds\": NUMBER}"),
        ("missing", "", 404, "there is no such endpoint"),
    ] {
        let path = format!("/v1/tenants/acme/endpoints/{name}/rotate-secret");
        let refused = admin.post(&path, body).await.expect(status);
        let detail = refused.json()["detail"].to_string();
        assert!(detail.contains(wanted.replace('"', "\\\"").as_str()), "{name} {body}: {detail}");
        assert!(!detail.contains("hush-hush"), "{detail}");
    }
    // A file that was opened to everybody meanwhile, and a folder that is gone.
    let own = folder.path().join("own");
    let path = "/v1/tenants/acme/endpoints/own/rotate-secret";
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let refused = admin.post(path, "").await.expect(409);
    assert!(refused.text().contains("opens it to every user"), "{refused}");
    assert_eq!(std::fs::read_to_string(&own).expect("the file"), before);
    std::fs::remove_file(&own).expect("the file");
    admin.post(path, "").await.expect(409);
    assert!(!own.exists());
}
