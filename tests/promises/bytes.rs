//! The delivered bytes are the sent bytes, or the event is refused before it is acknowledged. Nothing is parsed and
//! written anew on the way: number forms, duplicate keys, escapes and white space all survive.

use std::fmt::Write as _;

use hookweir_tests::{Gateway, Receiver, Reply, one_endpoint};
use sha2::{Digest as _, Sha256};

/// What must become of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    Refused,
    /// A limit of the parser may refuse it; if it does not, the bytes must arrive.
    ArrivesOrRefused,
}
use Fate::{Arrives, ArrivesOrRefused, Refused};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The largest request body that the gateway takes by default.
const MAX_BODY: usize = 1 << 20;

fn native(data: &[u8]) -> Vec<u8> {
    [br#"{"type":"bytes.sent","data":"#.as_slice(), data, b"}"].concat()
}

/// A JSON string that makes the request body exactly `size` bytes.
fn filling(size: usize) -> Vec<u8> {
    let fill = size - native(b"\"\"").len();
    [b"\"".as_slice(), &vec![b'x'; fill], b"\""].concat()
}

/// The awkward texts, each as the value of `data`.
fn bodies() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    let mut bodies: Vec<(&'static str, Vec<u8>, Fate)> = [
        ("null", "null", Arrives),
        ("false", "false", Arrives),
        ("an empty string", "\"\"", Arrives),
        ("an empty object", "{}", Arrives),
        ("an empty array with white space", "[ \t\r\n ]", Arrives),
        ("white space everywhere", "{ \"a\" :\t[ 1 ,\r\n2 ] }", Arrives),
        ("zero with a sign", "-0", Arrives),
        ("a float that is an integer", "1.0", Arrives),
        ("trailing zeros", "1.50000", Arrives),
        ("an exponent with a plus", "1E+2", Arrives),
        ("an exponent with zeros", "1e-0005", Arrives),
        ("an integer beyond 2^53", "9007199254740993", Arrives),
        ("an integer beyond 64 bits", "123456789012345678901234567890", Arrives),
        ("a negative integer beyond 64 bits", "-98765432109876543210987654321", Arrives),
        ("more digits than a float has", "3.14159265358979323846264338327950288419716939937510", Arrives),
        ("an underflow", "1e-999", Arrives),
        ("an overflow", "1e999", ArrivesOrRefused),
        ("duplicate keys", r#"{"a":1,"a":2,"a":{"a":3,"a":4}}"#, Arrives),
        ("keys out of order", r#"{"z":1,"a":2,"m":3}"#, Arrives),
        ("an empty key", r#"{"":0}"#, Arrives),
        ("keys with trailing blanks", r#"{"SourceURL ":"http://a","ErrorCode ":""}"#, Arrives),
        ("a key that looks like ours", r#"{"type":"x","data":{"data":1},"id":"y"}"#, Arrives),
        ("short escapes", r#""\b\f\n\r\t\"\\\/""#, Arrives),
        ("an escaped solidus and a plain one", r#""<\/script></script>""#, Arrives),
        ("escaped ASCII", "\"\\u0041\\u0000\\u007f\"", Arrives),
        ("escapes in both cases", r#""\u00e9\u00E9""#, Arrives),
        ("a surrogate pair", r#""\ud83d\ude00""#, Arrives),
        ("a lone surrogate", r#""\ud800""#, ArrivesOrRefused),
        ("raw characters of every length", "\"aé€😀\"", Arrives),
        ("line separators", "\"\u{2028}\u{2029}\u{85}\"", Arrives),
        ("a byte order mark in a string", "\"\u{feff}\"", Arrives),
        ("characters that are not assigned", "\"\u{e000}\u{10ffff}\u{fffe}\"", Arrives),
        ("JSON in a string", r#""{\"DynamicImageJobInfo\":\"{}\"}""#, Arrives),
        ("mixed numbers and strings", r#"{"Size":"5510872","Duration":15,"Fps":"30"}"#, Arrives),
        ("a byte order mark before the value", "\u{feff}{}", Refused),
        ("a leading zero", "01", Refused),
        ("a plus", "+1", Refused),
        ("a bare point", ".5", Refused),
        ("hexadecimal", "0x10", Refused),
        ("not a number", "NaN", Refused),
        ("single quotes", "'a'", Refused),
        ("a trailing comma", "[1,]", Refused),
        ("a comment", "1/* one */", Refused),
        ("a raw control character", "\"a\u{1}b\"", Refused),
        ("a raw line end in a string", "\"a\nb\"", Refused),
        ("a bad escape", r#""\x41""#, Refused),
        ("nothing", "", Refused),
        ("a word", "hello", Refused),
        ("XML", "<a/>", Refused),
        ("an unclosed string", "\"", Refused),
    ]
    .map(|(name, text, fate)| (name, text.as_bytes().to_vec(), fate))
    .into();
    bodies.extend([
        ("a hundred open arrays", nested(100), Arrives),
        ("ten thousand open arrays", nested(10_000), ArrivesOrRefused),
        ("half a mebibyte of open arrays", vec![b'['; MAX_BODY / 2], Refused),
        ("invalid UTF-8", b"\"\xff\xfe\"".to_vec(), Refused),
        ("an overlong encoding", b"\"\xc0\xaf\"".to_vec(), Refused),
        ("an encoded surrogate", b"\"\xed\xa0\x80\"".to_vec(), Refused),
        ("exactly the largest body", filling(MAX_BODY), Arrives),
    ]);
    bodies
}

#[tokio::test]
async fn awkward_bodies_arrive_as_sent_or_are_refused() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "")).await;
    let sender = gateway.sender();
    let mut arrived = 0;
    let bodies = bodies();
    for (name, data, fate) in &bodies {
        let answer = sender.post(&[], native(data)).await;
        match answer.status {
            202 if *fate != Refused => {
                let id = answer.json()["id"].as_str().expect("an id").to_owned();
                let request = receiver.wait_for_event(&id).await;
                assert_eq!(sha256(&request.body), sha256(data), "{name}: other bytes arrived");
                assert_eq!(request.header("content-type"), "application/json", "{name}");
                if data.len() < 1024 {
                    let kept = gateway.admin().json(&format!("/v1/tenants/acme/events/{id}")).await;
                    let text = std::str::from_utf8(data).expect("accepted JSON is UTF-8");
                    assert_eq!(kept["data"], text, "{name}: other bytes are kept");
                }
                arrived += 1;
            }
            400 if *fate != Arrives => {
                assert_eq!(
                    answer.header("content-type"),
                    Some("application/problem+json"),
                    "{name}: {answer}"
                );
            }
            _ => panic!("{name}: {fate:?} was expected, got {answer}"),
        }
    }
    assert_eq!(receiver.count(), arrived, "what was refused did not arrive");
    println!("{arrived} of {} bodies arrived byte for byte, the others were refused with 400", bodies.len());
}

#[tokio::test]
async fn a_retry_after_a_restart_sends_the_same_bytes() {
    let receiver = Receiver::sequence(vec![Reply::Status(503), Reply::Status(200)]).await;
    let lines = "retry = { waits = [\"2s\"], jitter = 0.0 }";
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), lines)).await;
    let data = "{ \"n\": 1.0, \"n\": 1e2, \"s\": \"\\u00e9é\" }";
    let event = gateway.sender().event("bytes.sent", data).await;
    receiver.wait_for(1).await;
    gateway.kill9().await;
    gateway.start_again().await;
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    for request in receiver.requests() {
        assert_eq!(String::from_utf8_lossy(&request.body), data);
        assert_eq!(request.event(), event);
    }
}
