//! What a consumer may send that makes no sense: it is refused as its fault, and the queue goes on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hookweir_tests::{Gateway, KEY, raw, tenant};
use serde_json::json;
use sha1::Sha1;

use super::pull::queue;

async fn gateway() -> Gateway {
    let queue = queue("acme", "inbox", "access = [{ id = \"testid\", secret = \"testsecret\" }]");
    let mut config = hookweir_tests::Config::new(tenant("acme", KEY) + &queue);
    config.accept = "max_body = \"64KiB\"".to_owned();
    Gateway::start(config).await
}

#[tokio::test]
async fn json_that_makes_no_sense_is_refused() {
    let gateway = gateway().await;
    let consumer = gateway.consumer("inbox");
    let many: Vec<u64> = (0..101).collect();
    let receipts: Vec<String> = many.iter().map(u64::to_string).collect();
    for (action, body) in [
        ("receive", "{".to_owned()),
        ("receive", "[]".to_owned()),
        ("receive", "\"text\"".to_owned()),
        ("receive", r#"{"max": 0}"#.to_owned()),
        ("receive", r#"{"max": 101}"#.to_owned()),
        ("receive", r#"{"max": 18446744073709551616}"#.to_owned()),
        ("receive", r#"{"max": -1}"#.to_owned()),
        ("receive", r#"{"max": 1e3}"#.to_owned()),
        ("receive", r#"{"wait": "-1s"}"#.to_owned()),
        ("receive", r#"{"wait": "1h"}"#.to_owned()),
        ("receive", r#"{"wait": "99999999999999999999s"}"#.to_owned()),
        ("receive", r#"{"wait": 5}"#.to_owned()),
        ("receive", r#"{"visibility_timeout": "0s"}"#.to_owned()),
        ("receive", r#"{"visibility_timeout": "13h"}"#.to_owned()),
        ("receive", r#"{"more": 1}"#.to_owned()),
        ("receive", r#"[1, "0s", null]"#.to_owned()),
        ("ack", r#"[["a"], null, null]"#.to_owned()),
        ("nack", r#"[["a"], "1s", null]"#.to_owned()),
        ("peek", "[10, null]".to_owned()),
        ("redrive", "[null]".to_owned()),
        ("receive", "\u{feff}{}".to_owned()),
        ("ack", "{}".to_owned()),
        ("ack", r#"{"receipts": []}"#.to_owned()),
        ("ack", r#"{"receipts": "a"}"#.to_owned()),
        ("ack", r#"{"receipts": ["a"], "delay": "1s"}"#.to_owned()),
        ("ack", json!({ "receipts": receipts }).to_string()),
        ("nack", r#"{"receipts": ["a"], "delay": "-1s"}"#.to_owned()),
        ("nack", r#"{"receipts": ["a"], "delay": "8d"}"#.to_owned()),
        ("extend", r#"{"receipts": ["a"], "visibility_timeout": "0s"}"#.to_owned()),
        ("peek", r#"{"max": 101}"#.to_owned()),
        ("peek", r#"{"after": 1}"#.to_owned()),
        ("dead", r#"{"after": -1}"#.to_owned()),
        ("dead", r#"{"after": 17}"#.to_owned()),
        ("redrive", json!({ "numbers": many }).to_string()),
        ("redrive", r#"{"numbers": [1.5]}"#.to_owned()),
    ] {
        let answer = consumer.try_ask(action, body.clone()).await.expect("an answer");
        assert_eq!(answer.status, 400, "{action} {body}: {answer}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{action} {body}");
        assert!(!answer.text().contains("struct"), "{action} {body}: {answer}");
    }
    let long = format!("{{\"receipts\": [\"{}\"]}}", "x".repeat(70_000));
    assert_eq!(consumer.try_ask("ack", long).await.expect("an answer").status, 413);
    assert_eq!(consumer.try_ask("everything", "{}").await.expect("an answer").status, 404);

    gateway.sender().event("a.b", "1").await;
    assert_eq!(consumer.receive(json!({ "wait": "30s" })).await.len(), 1);
}

/// A request in SMQ's protocol, signed as its documents say.
fn signed(method: &str, target: &str, headers: &[(&str, &str)], body: &str, secret: &str) -> String {
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let header = |name| headers.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| *value);
    let text = format!("{method}\n{}\n{}\n{date}\n{target}", header("content-md5"), header("content-type"));
    let mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key").chain_update(text);
    let signature = BASE64.encode(mac.finalize().into_bytes());
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: gateway\r\ndate: {date}\r\nauthorization: MNS testid:{signature}\r\n\
         content-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn requests_in_smqs_protocol_that_make_no_sense_are_refused() {
    let gateway = gateway().await;
    let message = |inner: &str| format!("<Message><MessageBody>YQ==</MessageBody>{inner}</Message>");
    let messages = "/queues/inbox/messages";
    let large = message(&format!("<X>{}</X>", "x".repeat(70_000)));
    let many = format!("<Messages>{}</Messages>", message("").repeat(17));
    let deep = format!("{}{}", "<a>".repeat(1000), "</a>".repeat(1000));
    let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;\">]><Message><MessageBody>&c;</MessageBody></Message>";
    for (method, target, body, status, code) in [
        ("POST", messages, "", 400, "MalformedXML"),
        ("POST", messages, "text", 400, "MalformedXML"),
        ("POST", messages, "<Message>", 400, "MalformedXML"),
        ("POST", messages, "<Message></Other>", 400, "MalformedXML"),
        ("POST", messages, "<Other/>", 400, "MalformedXML"),
        ("POST", messages, bomb, 400, "MalformedXML"),
        ("POST", messages, &deep, 400, "MalformedXML"),
        ("POST", messages, "<Message/>", 400, "InvalidArgument"),
        ("POST", messages, "<Messages/>", 400, "InvalidArgument"),
        ("POST", messages, &many, 400, "InvalidArgument"),
        ("POST", messages, &message("<DelaySeconds>-1</DelaySeconds>"), 400, "InvalidArgument"),
        ("POST", messages, &message("<Priority>0</Priority>"), 400, "InvalidArgument"),
        ("POST", messages, &large, 413, "InvalidArgument"),
        ("GET", "/queues/inbox/messages?waitseconds=-1", "", 400, "InvalidQueryString"),
        ("GET", "/queues/inbox/messages?waitseconds=31", "", 400, "InvalidQueryString"),
        ("GET", "/queues/inbox/messages?waitseconds=x", "", 400, "InvalidQueryString"),
        ("GET", "/queues/inbox/messages?numOfMessages=0", "", 400, "InvalidQueryString"),
        ("GET", "/queues/inbox/messages?numOfMessages=4294967297", "", 400, "InvalidQueryString"),
        ("GET", "/queues/inbox/messages", "", 404, "MessageNotExist"),
        ("DELETE", "/queues/inbox/messages?ReceiptHandle=", "", 400, "ReceiptHandleError"),
        ("DELETE", "/queues/inbox/messages?ReceiptHandle=%00%ff", "", 400, "ReceiptHandleError"),
        ("DELETE", messages, "<ReceiptHandles/>", 400, "InvalidArgument"),
        ("PUT", "/queues/inbox/messages?receiptHandle=x", "", 400, "InvalidQueryString"),
        (
            "PUT",
            "/queues/inbox/messages?receiptHandle=x&visibilityTimeout=43201",
            "",
            400,
            "InvalidQueryString",
        ),
        ("PUT", "/queues/inbox?metaoverride=true", "<Queue", 400, "MalformedXML"),
        ("PUT", "/queues/new", "<Queue/>", 403, "AccessDenied"),
        ("DELETE", "/queues/inbox", "", 403, "AccessDenied"),
        ("GET", "/queues/nothing/messages", "", 404, "QueueNotExist"),
        ("GET", "/queues/inbox/other", "", 400, "InvalidRequestURL"),
        ("PATCH", messages, "", 400, "InvalidRequestURL"),
    ] {
        let request = signed(method, target, &[], body, "testsecret");
        let answer = raw::exchange(gateway.accept_address(), request.as_bytes()).await.text;
        let shown = body.get(..80).unwrap_or(body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {target} {shown}: {answer}");
        assert!(answer.contains(&format!("<Code>{code}</Code>")), "{method} {target} {shown}: {answer}");
        assert!(answer.contains("x-mns-request-id: "), "{answer}");
    }
    for (request, code) in [
        (signed("GET", messages, &[], "", "wrong"), "SignatureDoesNotMatch"),
        (signed("GET", messages, &[("x-mns-version", "1")], "", "testsecret"), "SignatureDoesNotMatch"),
        (
            signed(
                "POST",
                messages,
                &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
                "<Message/>",
                "testsecret",
            ),
            "InvalidDegist",
        ),
        (
            format!("GET {messages} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n"),
            "MissingAuthorizationHeader",
        ),
        (
            format!(
                "GET {messages} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\r\n"
            ),
            "InvalidAuthorizationHeader",
        ),
        (
            format!(
                "GET {messages} HTTP/1.1\r\nhost: gateway\r\nauthorization: MNS testid:AAAA\r\nconnection: close\r\n\r\n"
            ),
            "MissingDateHeader",
        ),
        (
            format!(
                "GET {messages} HTTP/1.1\r\nhost: gateway\r\nauthorization: MNS nobody:AAAA\r\nconnection: close\r\n\r\n"
            ),
            "InvalidAccessKeyId",
        ),
        (
            format!(
                "GET {messages} HTTP/1.1\r\nhost: gateway\r\nauthorization: MNS testid:AAAA\r\ndate: Thu, 09 Jul 2015 03:01:34 GMT\r\nconnection: close\r\n\r\n"
            ),
            "TimeExpired",
        ),
    ] {
        let answer = raw::exchange(gateway.accept_address(), request.as_bytes()).await.text;
        assert!(
            answer.starts_with("HTTP/1.1 4") && answer.contains(&format!("<Code>{code}</Code>")),
            "{answer}"
        );
        assert!(!answer.contains("testsecret"), "{answer}");
    }
    let good = signed("POST", messages, &[("content-type", "text/xml")], &message(""), "testsecret");
    assert!(raw::exchange(gateway.accept_address(), good.as_bytes()).await.text.starts_with("HTTP/1.1 201 "));
    let taken = gateway.consumer("inbox").receive(json!({})).await;
    assert_eq!(taken[0]["data"], "a", "the queue goes on");
    assert!(!gateway.log().contains("testsecret"));
}
