//! Who may do what on the two listeners, and what becomes of one who guesses.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hookweir_tests::{Config, Gateway, KEY, Receiver, Reply, endpoint, one_endpoint, raw, tenant};
use hyper::Method;
use tempfile::NamedTempFile;

const TOKEN: &str = "admin-token-of-the-test-0123456789";

/// A file that holds a key and that nobody else can read.
fn key_file(key: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file for a key");
    file.write_all(key.as_bytes()).expect("a key in its file");
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).expect("a mode");
    file
}

fn item(file: &NamedTempFile, role: &str) -> String {
    format!("{{ file = {:?}, role = \"{role}\" }}", file.path())
}

#[tokio::test]
async fn a_key_does_what_its_role_says_and_no_more() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let roles = ["send", "read", "operate", "admin"];
    let key = |whose: &str, role: &str| format!("key-of-{whose}-to-{role}-0123456789");
    let of_tenant = roles.map(|role| (role, key_file(&key("acme", role))));
    let of_operator = roles[1..].iter().map(|role| (*role, key_file(&key("us", role)))).collect::<Vec<_>>();
    let list = |files: &[(&str, NamedTempFile)]| {
        files.iter().map(|(role, file)| item(file, role)).collect::<Vec<_>>().join(", ")
    };
    let tenants = format!("[tenants.acme]\nkeys = [{}]\n[tenants.acme.plugins.p]\n", list(&of_tenant))
        + &endpoint("acme", "hook", &receiver.url("/"), "")
        + &tenant("other", KEY);
    let admin = format!("token = \"{TOKEN}\"\nkeys = [{}]", list(&of_operator));
    let gateway = Gateway::start(Config { admin, ..Config::new(tenants) }).await;

    let endpoint = "/v1/tenants/acme/endpoints/hook";
    for (whose, role) in
        roles.iter().map(|role| ("acme", *role)).chain(roles[1..].iter().map(|role| ("us", *role)))
    {
        let caller = gateway.admin().with_token(&key(whose, role));
        let may = |roles: &[&str], granted: u16| if roles.contains(&role) { granted } else { 403 };
        let read = may(&["read", "operate", "admin"], 200);
        let operate = may(&["operate", "admin"], 200);
        for path in ["/v1/tenants", endpoint, "/v1/tenants/acme/events"] {
            caller.get(path).await.expect(read);
        }
        caller.post(&format!("{endpoint}/disable"), "").await.expect(operate);
        caller.post(&format!("{endpoint}/enable"), "").await.expect(operate);
        // What is sent is no component, which only one hears who may send one.
        let upload = caller.send(Method::PUT, "/v1/tenants/acme/plugins/p", "no component").await;
        upload.expect(may(&["admin"], 422));
        let metrics = if whose == "us" { 200 } else { may(&["read", "operate", "admin"], 404) };
        caller.get("/metrics").await.expect(metrics);
        let other = if whose == "us" { 200 } else { 404 };
        caller.get("/v1/tenants/other/endpoints").await.expect(other);

        let sent = gateway.sender_of("acme", &key(whose, role)).post(&[], r#"{"type":"a.b","data":1}"#).await;
        sent.expect(if whose == "us" { 401 } else { may(&["send", "admin"], 202) });
    }
    let refused =
        gateway.admin().with_token(&key("acme", "read")).post(&format!("{endpoint}/disable"), "").await;
    assert_eq!(
        refused.json()["detail"],
        "this key's role is \"read\", and this takes \"operate\" or \"admin\"",
        "{refused}"
    );
}

/// A webhook's URL is often all that its sender has to show, and the addresses behind a name are the operator's network.
#[tokio::test]
async fn who_may_only_look_sees_no_url_and_no_tenant_sees_addresses() {
    // Nobody listens at either address: each is refused.
    let port = hookweir_tests::Port::reserve();
    let name_server = hookweir_tests::NameServer::start(|_| {
        ["127.0.0.1", "127.0.0.2"].iter().map(|address| address.parse().expect("an address")).collect()
    })
    .await;
    let url =
        format!("{}?token=t0ken-2", port.url("/services/t0ken-1").replace("127.0.0.1", "hooks.example.com"));
    // A receiver that has moved, and says where to.
    let place = "https://new.example.com/services/t0ken-3".to_owned();
    let moved = Receiver::always(Reply::Whole(308, vec![("location", place)], Bytes::new())).await;
    let (reader, operator) = ("key-of-acme-to-read-0123456789", "key-of-acme-to-operate-0123456789");
    let (of_reader, of_operator) = (key_file(reader), key_file(operator));
    let keys = [item(&of_reader, "read"), item(&of_operator, "operate"), format!("\"{KEY}\"")].join(", ");
    let tenants = format!("[tenants.acme]\nkeys = [{keys}]\n")
        + &endpoint("acme", "hook", &url, "retry = { waits = [] }")
        + &endpoint("acme", "moved", &moved.url("/"), "retry = { waits = [] }");
    let config = Config::new(tenants);
    let egress = format!("{}\nnameservers = [\"{}\"]", config.egress, name_server.address());
    let config = Config { admin: format!("token = \"{TOKEN}\""), egress, ..config };
    let gateway = Gateway::start(config).await;
    let event = gateway.sender().event("a.b", "1").await;
    let admin = gateway.admin().with_token(TOKEN);
    admin.delivery("acme", &event, "hook", "exhausted").await;
    admin.delivery("acme", &event, "moved", "exhausted").await;
    let pages = [
        "/v1/tenants/acme/endpoints".to_owned(),
        "/v1/tenants/acme/endpoints/hook".to_owned(),
        "/t/acme/endpoints/hook".to_owned(),
        "/t/acme".to_owned(),
        format!("/v1/tenants/acme/events/{event}/deliveries/hook"),
        format!("/t/acme/deliveries/{event}/hook"),
        format!("/v1/tenants/acme/events/{event}/deliveries/moved"),
        format!("/t/acme/deliveries/{event}/moved"),
        "/v1/tenants/acme/deliveries".to_owned(),
    ];
    for (key, sees_url, sees_addresses) in
        [(TOKEN, true, true), (operator, true, false), (reader, false, false)]
    {
        let caller = gateway.admin().with_token(key);
        let mut all = String::new();
        for path in &pages {
            all += &caller.get(path).await.expect(200).text();
        }
        assert_eq!(all.contains("t0ken-1") && all.contains("t0ken-2"), sees_url, "{key}");
        assert_eq!(all.contains("t0ken"), sees_url, "{key}");
        assert_eq!(all.contains("127.0.0.2"), sees_addresses, "{key}");
        assert_eq!(all.contains("t0ken-3"), sees_url, "{key}: where a redirect leads");
        for host in ["hooks.example.com", "it leads to https://new.example.com/***"] {
            assert!(all.contains(host), "{key}: the host is shown to all");
        }
    }
    assert!(!gateway.log().contains("t0ken-3"), "{}", gateway.log());
}

fn guarded() -> Config {
    let tenants = one_endpoint("http://127.0.0.1:9/", "");
    Config { admin: format!("token = \"{TOKEN}\""), ..Config::new(tenants) }
}

#[tokio::test]
async fn who_guesses_waits_and_a_right_key_is_let_in() {
    let gateway = Gateway::start(guarded()).await;
    let path = "/v1/tenants/acme/endpoints/hook";
    for number in 0..10 {
        let guess = gateway.admin().with_token(&format!("guess-{number}"));
        // A change is looked at twice, by the log and by what it asks for, and counts once.
        let answer = if number % 2 == 0 {
            guess.get(path).await
        } else {
            guess.post(&format!("{path}/disable"), "").await
        };
        answer.expect(401);
    }
    for _ in 0..20 {
        let refused = gateway.admin().with_token("one-more-guess").get(path).await.expect(429);
        let wait: u64 =
            refused.header("retry-after").and_then(|value| value.parse().ok()).expect("a time to wait");
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(refused.json()["type"], "urn:hookweir:problem:guesses", "{refused}");
    }
    // Behind a proxy all of them have the address from which the guesses came.
    let right = gateway.admin().with_token(TOKEN);
    right.get(path).await.expect(200);
    right.get("/metrics").await.expect(200);
    right.post(&format!("{path}/disable"), "").await.expect(200);
    gateway.admin().with_token(KEY).get(path).await.expect(200);
    // What takes no key is answered as before, and so are senders.
    gateway.admin().get("/healthz").await.expect(200);
    gateway.sender().event("a.b", "1").await;
}

#[tokio::test]
async fn guesses_by_cookie_count_and_a_right_token_still_logs_in() {
    let gateway = Gateway::start(guarded()).await;
    let host = gateway.admin_address();
    let send = async |method: &str, path: &str, headers: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len(),
        );
        raw::exchange(host, request.as_bytes()).await
    };
    let cookie = |token: &str| format!("Cookie: hookweir-session={}\r\n", URL_SAFE_NO_PAD.encode(token));
    let path = "/v1/tenants/acme/endpoints/hook";
    for number in 0..10 {
        let guessed = send("GET", path, &cookie(&format!("guess-{number}")), "").await;
        assert_eq!(guessed.status(), 401, "{guessed:?}");
    }
    let refused = send("GET", path, &cookie("one-more-guess"), "").await;
    assert_eq!(refused.status(), 429, "{refused:?}");
    assert!(refused.text.contains("urn:hookweir:problem:guesses"), "{refused:?}");
    gateway.admin().with_token("a-guess-by-bearer").get(path).await.expect(429);

    assert_eq!(send("GET", path, &cookie(TOKEN), "").await.status(), 200);
    // A browser with the cookie of another gateway on this machine is shown where to log in, and can.
    let page = send("GET", "/", &cookie("of-another-gateway"), "").await;
    assert!(page.status() == 429 && page.text.contains("id=\"login\""), "{page:?}");
    let own = format!("{}Origin: http://{host}\r\n", cookie("of-another-gateway"));
    assert_eq!(send("POST", "/login", &own, &format!("token={TOKEN}")).await.status(), 303);
    assert_eq!(send("POST", "/login", &own, "token=nobodys").await.status(), 429);
}

/// With a tenant's key, nothing of another tenant can be told from what was never there.
#[tokio::test]
async fn ten_thousand_foreign_ids_tell_nothing() {
    const OTHER: &str = "key-of-the-other-tenant-0123456789";
    let receiver = Receiver::always(Reply::Status(200)).await;
    let tenants = tenant("acme", KEY)
        + &endpoint("acme", "hook", &receiver.url("/"), "")
        + &tenant("other", OTHER)
        + &endpoint("other", "secret", &receiver.url("/"), "");
    let config = Config { admin: format!("token = \"{TOKEN}\""), ..Config::new(tenants) };
    let gateway = Gateway::start(config).await;
    let mut theirs = Vec::new();
    for number in 0..20 {
        let sender = gateway.sender_of("other", OTHER);
        theirs.push(sender.event("a.b", &number.to_string()).await);
    }
    let own = gateway.admin().with_token(KEY);
    let mut asked = 0;
    for number in 0..250 {
        let (event, unknown) = (&theirs[number % theirs.len()], format!("evt_{number:032}"));
        for (tenant, event) in
            [("other", event.as_str()), ("acme", event), ("other", &unknown), ("acme", &unknown)]
        {
            for path in [
                format!("/v1/tenants/{tenant}/events/{event}"),
                format!("/v1/tenants/{tenant}/events/{event}/deliveries/secret"),
                format!("/v1/tenants/{tenant}/events/{event}/deliveries/hook"),
                format!("/v1/tenants/{tenant}/endpoints/secret"),
            ] {
                let answer = own.get(&path).await.expect(404);
                let what = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
                let wanted = match tenant {
                    "other" => "there is no such tenant",
                    _ if path.contains("/deliveries/") => "there is no such delivery",
                    _ if path.contains("/events/") => "there is no such event",
                    _ => "there is no such endpoint",
                };
                assert_eq!(what, wanted, "{path}");
                asked += 1;
            }
            for path in ["replay", "deliveries/secret/retry", "deliveries/hook/retry"] {
                own.post(&format!("/v1/tenants/{tenant}/events/{event}/{path}"), "").await.expect(404);
                asked += 1;
            }
            for path in ["enable", "disable", "test"] {
                own.post(&format!("/v1/tenants/{tenant}/endpoints/secret/{path}"), "").await.expect(404);
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 10_000);
    let listed = own.list("/v1/tenants").await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    println!("{asked} requests for what is another tenant's, or nobody's: each is missing");
}
