//! Who may see it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookweir_tests::{Browser, Config, Gateway, KEY, Receiver, Reply, endpoint, raw, tenant, within};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TOKEN: &str = "admin-token;of,the\"test=0123456789";
const OTHER_KEY: &str = "key-of-the-other-tenant-0123456789";

async fn gateway(receiver: &Receiver) -> Gateway {
    let tenants = tenant("acme", KEY)
        + &endpoint("acme", "hook", &receiver.url("/hook"), "")
        + &tenant("globex", OTHER_KEY)
        + &endpoint("globex", "stock", &receiver.url("/stock"), "");
    let token = TOKEN.replace('"', "\\\"");
    Gateway::start(Config { admin: format!("token = \"{token}\""), ..Config::new(tenants) }).await
}

#[tokio::test]
async fn the_token_sees_all_and_a_key_its_own_tenant() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let (gateway, browser) = (gateway(&receiver).await, Browser::start().await);
    let url = |path: &str| format!("http://{}{path}", gateway.admin_address());
    let enter = async |token: &str| {
        browser.write("#login [name=token]", token).await;
        browser.click("#login button").await;
    };

    browser.open(&url("/")).await;
    browser.shows("h1", "Log in").await;
    enter("a-token-that-nobody-has").await;
    browser.shows("#wrong", "knows no such").await;
    browser.script("document.querySelector('[name=token]').value = ''", json!([])).await;
    enter(TOKEN).await;
    browser.shows("h1", "Overview").await;
    let all = browser.text("main").await;
    assert!(all.contains("acme") && all.contains("globex"), "{all}");
    assert_eq!(browser.script("return document.cookie", json!([])).await, "", "no script reads the cookie");
    browser.shows("#live", "live").await;
    browser.open(&url("/t/globex/endpoints/stock")).await;
    browser.click("#switch").await;
    browser.shows("h1", "disabled").await;

    browser.click("[action='/logout'] button").await;
    browser.shows("h1", "Log in").await;
    browser.open(&url("/t/globex")).await;
    browser.shows("h1", "Log in").await;
    enter(KEY).await;
    // The page that was asked for is another's: to this key it is not there.
    browser.shows("h1", "Not Found").await;
    browser.open(&url("/")).await;
    browser.shows("h1", "acme").await;
    let own = browser.script("return document.documentElement.outerHTML", json!([])).await.to_string();
    assert!(!own.contains("globex"), "{own}");
    for secret in [TOKEN, KEY, OTHER_KEY] {
        assert!(!own.contains(secret) && !gateway.log().contains(secret), "{secret} is shown or logged");
    }
    browser.open(&url("/t/acme/endpoints/hook")).await;
    browser.click("#switch").await;
    browser.shows("h1", "disabled").await;
    for (caller, path) in [
        ("operator", "/v1/tenants/globex/endpoints/stock"),
        ("tenant acme", "/v1/tenants/acme/endpoints/hook"),
    ] {
        let caller = format!("\"caller\":\"{caller}\"");
        gateway.logged(&["hookweir::audit", &caller, &format!("{path}/disable"), "\"status\":200"]).await;
    }
}

/// A form of the login page works without any script, and its cookie is one that other sites' pages can't use.
#[tokio::test]
async fn a_session_changes_something_only_for_the_listeners_own_pages() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = gateway(&receiver).await;
    let host = gateway.admin_address();
    let own = format!("http://{host}");
    let send = async |method: &str, path: &str, headers: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len(),
        );
        raw::exchange(host, request.as_bytes()).await
    };
    let form = format!("token={KEY}");
    for headers in [
        "",
        "Origin: https://evil.example.com\r\n",
        "Origin: null\r\n",
        "Origin: null\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        assert_eq!(send("POST", "/login", headers, &form).await.status(), 403, "{headers:?}");
    }
    assert_eq!(send("POST", "/login", &format!("Origin: {own}\r\n"), "token=nobodys").await.status(), 401);
    let entered = send("POST", "/login", "Origin: null\r\nSec-Fetch-Site: same-origin\r\n", &form).await;
    assert_eq!(entered.status(), 303, "{entered:?}");
    let text = &entered.text;
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(text.contains(attribute), "{text}");
    }
    let cookie =
        text.split_once("hookweir-session=").and_then(|(_, rest)| rest.split(';').next()).expect("a cookie");
    let cookie = format!("Cookie: theme=dark; hookweir-session={cookie}\r\n");

    let disable = "/v1/tenants/acme/endpoints/hook/disable";
    for (headers, wanted) in [
        (String::new(), 401),
        (cookie.clone(), 403),
        (format!("{cookie}Origin: https://evil.example.com\r\n"), 403),
        (format!("{cookie}Origin: null\r\nSec-Fetch-Site: same-origin\r\n"), 403),
        (format!("{cookie}Origin: http://127.0.0.1:1\r\nSec-Fetch-Site: same-site\r\n"), 403),
        (format!("Origin: {own}\r\n"), 401),
        (format!("{cookie}Origin: {own}\r\nSec-Fetch-Site: same-origin\r\n"), 200),
    ] {
        assert_eq!(send("POST", disable, &headers, "").await.status(), wanted, "{headers:?}");
    }
    for (path, wanted) in [
        ("/v1/tenants/acme/events", 200),
        ("/t/acme", 200),
        ("/v1/tenants/globex/events", 404),
        ("/t/globex", 404),
        ("/metrics", 404),
    ] {
        assert_eq!(send("GET", path, &cookie, "").await.status(), wanted, "{path}");
    }
    let elsewhere = send("GET", "/t/acme", &format!("{cookie}Sec-Fetch-Site: same-site\r\n"), "").await;
    assert_eq!(elsewhere.status(), 401);
    assert!(elsewhere.text.contains("You come from another site"), "{elsewhere:?}");
}

#[tokio::test]
async fn a_key_that_may_only_read_sees_no_buttons_that_change_something() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let reader = "key-that-may-only-read-0123456789";
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), reader).expect("a key");
    let keys = format!("[tenants.acme]\nkeys = [{KEY:?}, {{ file = {:?}, role = \"read\" }}]\n", file.path());
    let tenants = keys + &endpoint("acme", "hook", &receiver.url("/hook"), "");
    let admin = format!("token = {TOKEN:?}");
    let gateway = Gateway::start(Config { admin, ..Config::new(tenants) }).await;
    let event = gateway.sender().event("a.b", "1").await;
    receiver.wait_for(1).await;
    let browser = Browser::start().await;
    let url = |path: &str| format!("http://{}{path}", gateway.admin_address());
    const SHOWN: &str = "return [...document.querySelectorAll('[data-post], [data-recover]')]\
        .filter((button) => button.checkVisibility()).length";
    for (key, wanted) in [(reader, false), (KEY, true)] {
        browser.open(&url("/")).await;
        browser.write("#login [name=token]", key).await;
        browser.click("#login button").await;
        browser.shows("h1", "acme").await;
        for page in [format!("/t/acme/deliveries/{event}/hook"), "/t/acme/endpoints/hook".to_owned()] {
            browser.open(&url(&page)).await;
            browser.shows("main", "hook").await;
            let shown = browser.script(SHOWN, json!([])).await;
            assert_eq!(shown != json!(0), wanted, "{key} on {page}: {shown}");
        }
        browser.click("[action='/logout'] button").await;
        browser.shows("h1", "Log in").await;
    }
}

/// What a proxy before the listener passes on decides whether its pages are the listener's own.
#[tokio::test]
async fn an_origin_that_does_not_fit_is_told_as_such() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = gateway(&receiver).await;
    let send = async |path: &str, host: &str, headers: &str, body: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len(),
        );
        raw::exchange(gateway.admin_address(), request.as_bytes()).await
    };
    let (form, disable) = (format!("token={KEY}"), "/v1/tenants/acme/endpoints/hook/disable");
    let cookie = format!("Cookie: hookweir-session={}\r\n", URL_SAFE_NO_PAD.encode(KEY));
    let (ops, inside) = ("https://ops.example.com", "10.0.0.5:9080");
    for (host, origin, fits) in [
        (inside, ops, false),
        ("ops.example.com", ops, true),
        ("ops.example.com:443", ops, true),
        ("Ops.Example.com", ops, true),
        ("ops.example.com", "https://ops.example.com:8443", false),
        ("ops.example.com:8443", "https://ops.example.com:8443", true),
        ("ops.example.com:80", ops, false),
        ("", ops, false),
    ] {
        let headers = format!("{cookie}Origin: {origin}\r\n");
        let entered = send("/login", host, &headers, &form).await;
        let changed = send(disable, host, &headers, "").await;
        let wanted = if fits { (303, 200) } else { (403, 403) };
        assert_eq!(
            (entered.status(), changed.status()),
            wanted,
            "{origin} at {host:?}: {entered:?} {changed:?}"
        );
        if !fits && !host.is_empty() {
            let words = format!(
                "the page came from {origin}, and this listener was asked as {host}: let the proxy pass Host"
            );
            for refused in [entered, changed] {
                assert!(refused.text.contains("urn:hookweir:problem:origin"), "{refused:?}");
                assert!(refused.text.contains(&words), "{refused:?}");
            }
        }
    }

    // Where the proxy can't pass Host on, the configuration says what browsers call the listener.
    let text = std::fs::read_to_string(gateway.folder().join("hookweir.toml")).expect("the configuration");
    let named = text.replacen("[admin]", &format!("[admin]\norigin = {ops:?}"), 1);
    std::fs::write(gateway.folder().join("hookweir.toml"), named).expect("another configuration");
    gateway.reload();
    gateway.logged(&["the new configuration is in force"]).await;
    let headers = format!("{cookie}Origin: {ops}\r\n");
    let entered = send("/login", inside, &headers, &form).await;
    assert!(entered.status() == 303 && entered.text.contains("; Secure"), "{entered:?}");
    assert_eq!(send(disable, inside, &headers, "").await.status(), 200);
    let evil = format!("{cookie}Origin: https://evil.example.com\r\n");
    assert_eq!(send(disable, inside, &evil, "").await.status(), 403);
}

#[tokio::test]
async fn proxies_are_told_to_pass_events_at_once() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway = gateway(&receiver).await;
    let request = format!(
        "GET /v1/live HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        gateway.admin_address(),
        TOKEN
    );
    let mut stream = tokio::net::TcpStream::connect(gateway.admin_address()).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut head = vec![0; 4096];
    let read = within("the head of a stream", stream.read(&mut head)).await.expect("a head");
    let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("x-accel-buffering: no\r\n"), "{head}");
}
