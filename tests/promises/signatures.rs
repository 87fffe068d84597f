//! Receivers verify deliveries with the libraries they have: the official ones of Standard Webhooks for Python,
//! JavaScript and Rust, before, during and after a rotation of the secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_tests::{Gateway, Receiver, Reply, Request, eventually, one_endpoint, peer, peers};
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
