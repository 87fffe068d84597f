//! Cases 28 and 29: what a transformer may not name as a header. The rules are those of `hookweir_model::check_headers`;
//! here they are seen to hold for what a real guest returns.

use std::sync::Arc;

use hookweir_host::{FaultKind, Job, Outgoing, Verdict};
use hookweir_model::PluginRole::Transformer;
use hookweir_model::TenantId;

use crate::guest;
use crate::setup::{Setup, event, step};

type Headers = Vec<(String, String)>;

fn headers(list: &[(&str, &str)]) -> Headers {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn one(name: &str, value: &str) -> Headers {
    headers(&[(name, value)])
}

/// What the guest's headers become: themselves, or the sentence that refuses them.
async fn returned(setup: &Setup, list: &Headers) -> Result<Headers, String> {
    let plugin = setup.load(guest::hostile("29-attributes-as-headers")).await;
    let tenant = TenantId::new("evil").unwrap();
    let mut event = Arc::unwrap_or_clone(event(&tenant, b"{}"));
    event.attributes = list.clone();
    let steps = vec![step("headers", Transformer, &plugin)].into();
    let ran = setup.host.run(Job { event: Arc::new(event), tenant, steps }).await;
    match ran.verdict {
        Verdict::Keep(Some(Outgoing { headers, .. })) => Ok(headers),
        Verdict::Fault(fault) if fault.kind == FaultKind::InvalidOutput => Err(fault.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ordinary_headers_are_returned_as_they_are() {
    let setup = Setup::new(1).await;
    let full: Headers = (0..64).map(|number| (format!("x-{number}"), String::new())).collect();
    let value = "v".repeat((16 << 10) - 3);
    for list in [
        Vec::new(),
        headers(&[("x-team", "billing"), ("Authorization", "Bearer a\tb"), ("x-empty", "")]),
        // Not names that belong to the gateway, though they look like it.
        headers(&[
            ("tenant", "other"),
            ("event-id", "evt_2"),
            ("location", "http://127.0.0.1/"),
            ("date", "now"),
        ]),
        full,
        one("x-a", &value),
    ] {
        assert_eq!(returned(&setup, &list).await.as_ref(), Ok(&list));
    }
}

#[tokio::test]
async fn every_rule_holds_for_what_a_guest_returns() {
    let setup = Setup::new(1).await;
    let owned = |names: &[&str]| -> Vec<(Headers, String)> {
        names
            .iter()
            .map(|name| {
                (one(name, "v"), format!("header {name:?} is set by the gateway, by HTTP or by a broker"))
            })
            .collect()
    };
    let not_a_name = |names: &[&str]| -> Vec<(Headers, String)> {
        names.iter().map(|name| (one(name, "v"), format!("{name:?} is not a header name"))).collect()
    };
    let bad_value = |values: &[&str]| -> Vec<(Headers, String)> {
        let sentence = "the value of header \"x-a\" may only hold visible ASCII";
        values.iter().map(|value| (one("x-a", value), sentence.to_owned())).collect()
    };
    let many: Headers = (0..65).map(|number| (format!("x-{number}"), "v".to_owned())).collect();
    let long = one("x-a", &"v".repeat((16 << 10) - 2));
    let rules = [
        ("1 names are tokens", not_a_name(&["", "a b", "a:b", "a/b", "é", "\"q\""])),
        ("2 no line break or NUL in a name", not_a_name(&["x\na", "x\r\nhost", "x\0"])),
        ("3 no line break or NUL in a value", bad_value(&["1\r\nhost: b", "1\n", "1\r", "1\0"])),
        ("4 values are visible ASCII", bad_value(&["é", "\u{7f}", "\u{1b}[31m", "\u{80}"])),
        ("5 where the message goes", owned(&["Host", "HOST", "Forwarded", "X-Forwarded-For", "Via"])),
        ("6 where the message ends", owned(&["Content-Length", "transfer-encoding", "Trailer", "TE"])),
        ("7 what the connection does", owned(&["Connection", "Keep-Alive", "Upgrade", "Expect"])),
        ("8 what a proxy reads", owned(&["Proxy-Authorization", "proxy-connection"])),
        (
            "9 the signature and what it covers",
            owned(&[
                "webhook-id",
                "Webhook-Timestamp",
                "webhook-signature",
                "X-ICE-SIGNATURE",
                "content-type",
            ]),
        ),
        (
            "10 the gateway's own",
            owned(&["hookweir-attempt", "Hookweir-Tenant", "user-agent", "traceparent"]),
        ),
        (
            "10 what receivers behind CGI read as such a name",
            [
                "webhook_id",
                "Webhook_Signature",
                "content_length",
                "x_forwarded_for",
                "hookweir.attempt",
                "user_agent",
            ]
            .map(|name| (one(name, "v"), format!("header {name:?} can't be given: receivers behind CGI")))
            .to_vec(),
        ),
        ("10 what a broker takes for an order", owned(&["Nats-Rollup", "CC", "bcc"])),
        (
            "11 64 headers, 16 KiB",
            vec![
                (many, "there are 65 headers; at most 64".to_owned()),
                (long, "the headers have 16385 bytes; at most 16384".to_owned()),
            ],
        ),
        (
            "12 no name twice, in any case",
            vec![(headers(&[("x-a", "1"), ("X-A", "2")]), "header \"X-A\" is given twice".to_owned())],
        ),
    ];
    for (rule, refused) in rules {
        for (list, sentence) in refused {
            let said = returned(&setup, &list).await.unwrap_err();
            // Control characters are spelt out in the fault, as they are by `{:?}` here.
            let wanted = format!("its headers can't be sent: {sentence}");
            assert!(said.starts_with(&wanted), "{rule}: {said}\n{wanted}");
        }
        setup.assert_still_serves().await;
    }
}
