//! The gateway is no way into the network that it stands in: addresses that are private, or become private by DNS,
//! are refused, and no packet is sent to them.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;

use hookweir_tests::{
    Config, Gateway, KEY, NameServer, Receiver, Reply, authority, binary, endpoint, eventually, one_endpoint,
    run, tenant,
};
use tokio::process::Command;

/// A configuration that allows no special address, with a name server of the test's own.
fn strict(name_server: &NameServer, tenants: String) -> Config {
    let egress = format!("allow_ports = []\nnameservers = [\"{}\"]", name_server.address());
    Config { egress, ..Config::new(tenants) }
}

/// The same with loopback allowed.
fn loopback_allowed(name_server: &NameServer, tenants: String) -> Config {
    let config = strict(name_server, tenants);
    Config { egress: format!("allow_cidrs = [\"127.0.0.0/8\"]\n{}", config.egress), ..config }
}

#[tokio::test]
async fn literal_private_addresses_are_refused_by_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hookweir.toml");
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "10.1.2.3",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
    ] {
        let config = Config {
            egress: String::new(),
            ..Config::new(tenant("acme", KEY) + &endpoint("acme", "hook", &format!("http://{host}/"), ""))
        };
        std::fs::write(&path, config.text()).expect("the configuration to be written");
        let output =
            run(Command::new(binary()).arg("check").arg("--config").arg(&path), b"").await.expect(78);
        assert!(output.stderr.contains(host), "{host}: {}", output.stderr);
    }
}

#[tokio::test]
async fn names_that_resolve_to_private_addresses_are_blocked_without_a_packet() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let name_server = NameServer::start(|name| {
        let addresses: &[&str] = match name.split('.').next() {
            Some("private") => &["127.0.0.1"],
            // A public address of a documentation range would be refused for itself: these are not.
            Some("mixed") => &["93.184.215.14", "127.0.0.1"],
            Some("mixed-families") => &["93.184.215.14", "::1"],
            Some("mapped") => &["::ffff:127.0.0.1"],
            Some("unique-local") => &["fd00::1"],
            Some("translated") => &["64:ff9b::7f00:1"],
            Some("metadata") => &["169.254.169.254"],
            _ => &[],
        };
        addresses.iter().map(|address| address.parse::<IpAddr>().expect("an address")).collect()
    })
    .await;
    let names = ["private", "mixed", "mixed-families", "mapped", "unique-local", "translated", "metadata"];
    let mut config = tenant("acme", KEY);
    for name in names {
        let url = format!("http://{name}.example.com:{}/hook", receiver.port());
        config += &endpoint("acme", name, &url, "retry = { waits = [], timeout = \"60s\" }");
    }
    let gateway = Gateway::start(strict(&name_server, config)).await;
    let event = gateway.sender().event("a.b", "1").await;
    for name in names {
        let detail = gateway.admin().delivery("acme", &event, name, "exhausted").await;
        let attempt = &detail["attempts"][0];
        assert_eq!(attempt["outcome"], "blocked", "{name}: {detail}");
        assert_eq!(
            attempt["reason"], "blocked address",
            "{name}: the tenant does not learn the address: {detail}"
        );
    }
    assert!(name_server.queries() >= names.len(), "every name was asked for");
    assert_eq!(receiver.connections(), 0, "no connection was opened");
}

/// Loopback stands for a public address here: it is allowed at first, and then, while a connection to it is kept, it is
/// not any more. To the gateway that is the same as a name whose address has changed.
#[tokio::test]
async fn an_address_that_is_no_longer_allowed_is_blocked_also_on_a_kept_connection() {
    let receiver = Receiver::sequence(vec![Reply::Status(500), Reply::Status(200)]).await;
    let name_server = NameServer::start(|_| vec![IpAddr::from([127, 0, 0, 1])]).await;
    let url = format!("http://rebound.example.com:{}/hook", receiver.port());
    let tenants = tenant("acme", KEY) + &endpoint("acme", "hook", &url, "retry = { waits = [\"1h\"] }");
    let gateway = Gateway::start(loopback_allowed(&name_server, tenants.clone())).await;
    let first = gateway.sender().event("a.b", "1").await;
    let second = gateway.sender().event("a.b", "2").await;
    receiver.wait_for(2).await;

    gateway.reconfigure(strict(&name_server, tenants));
    gateway.reload();
    let outcome = async |event: &str, attempt: usize| {
        let path = format!("/v1/tenants/acme/events/{event}/deliveries/hook");
        eventually(&format!("attempt {} of {event}", attempt + 1), async || {
            let detail = gateway.admin().json(&path).await;
            match &detail["attempts"][attempt]["outcome"] {
                serde_json::Value::String(outcome) => Ok(outcome.clone()),
                _ => Err(detail.to_string()),
            }
        })
        .await
    };
    eventually("the new policy to be in force", async || {
        let probe = gateway.sender().event("a.b", "3").await;
        match outcome(&probe, 0).await.as_str() {
            "blocked" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    let before = (receiver.count(), receiver.connections());
    let last = gateway.sender().event("a.b", "4").await;
    assert_eq!(outcome(&last, 0).await, "blocked");
    for event in [&first, &second] {
        let retry = format!("/v1/tenants/acme/events/{event}/deliveries/hook/retry");
        gateway.admin().post(&retry, "").await.expect(200);
    }
    let failed = if receiver.requests()[0].event() == first { &first } else { &second };
    assert_eq!(outcome(failed, 1).await, "blocked", "a retry is judged anew");
    assert_eq!(
        (receiver.count(), receiver.connections()),
        before,
        "nothing is sent over a connection from before"
    );
}

#[tokio::test]
async fn a_name_that_is_allowed_is_dialled_at_the_address_that_was_judged() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let name_server = NameServer::start(|_| vec![IpAddr::from([127, 0, 0, 1])]).await;
    let url = format!("http://hooks.example.com:{}/hook", receiver.port());
    let config = tenant("acme", KEY) + &endpoint("acme", "hook", &url, "");
    let gateway = Gateway::start(loopback_allowed(&name_server, config)).await;
    let event = gateway.sender().event("a.b", "1").await;
    let request = receiver.wait_for_event(&event).await;
    assert_eq!(request.header("host"), format!("hooks.example.com:{}", receiver.port()));
}

/// A credential for a receiver is a secret as everywhere: it goes out, and is shown to nobody.
#[tokio::test]
async fn a_header_may_be_a_secret() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "Bearer t0ken-of-the-receiver\n").expect("a secret in its file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let lines = format!(
        "record = \"all\"\nheaders = {{ x-team = \"billing\", Authorization = {{ file = {path:?} }} }}"
    );
    let gateway = Gateway::start(one_endpoint(&receiver.url("/"), &lines)).await;
    let event = gateway.sender().event("a.b", "1").await;
    let request = receiver.wait_for_event(&event).await;
    assert_eq!(request.header("authorization"), "Bearer t0ken-of-the-receiver");
    assert_eq!(request.header("x-team"), "billing");
    let detail = gateway.admin().delivery("acme", &event, "hook", "delivered").await.to_string();
    assert!(detail.contains("authorization") && !detail.contains("t0ken"), "{detail}");
    assert!(!gateway.log().contains("t0ken"));
}

/// A machine without authorities says so when the gateway starts, and what to do.
#[tokio::test]
async fn a_machine_without_authorities_says_so() {
    let gateway =
        Gateway::start_with_etc(one_endpoint("https://hooks.example.com/", ""), &[("hosts", "")]).await;
    gateway.logged(&["WARN", "certificate authorit", "`ca` in [egress]"]).await;
    let ready = gateway.admin().json("/readyz").await;
    let trust = ready["trust"].as_str().expect("what is trusted");
    assert!(trust.contains("certificate authorit") && ready["ready"] == true, "{ready}");
}

/// That nothing is trusted is seen from outside; authorities that are installed meanwhile count from the next reload on.
#[tokio::test]
async fn what_no_authority_vouches_for_is_told_by_readyz_until_there_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let environment = [("SSL_CERT_FILE", ca.to_str().expect("a path")), ("SSL_CERT_DIR", "/nowhere")];
    let config = one_endpoint("https://127.0.0.1:9/", "");
    let gateway = Gateway::start_with_environment(config, &environment).await;
    let admin = gateway.admin();
    let ready = admin.json("/readyz").await;
    let trust = ready["trust"].as_str().expect("why nothing is trusted");
    assert!(trust.contains("no certificate authority is trusted") && trust.contains("and reload"), "{trust}");
    assert_eq!(ready["ready"], true, "events are taken all the same");
    std::fs::write(&ca, authority()).expect("an authority");
    gateway.reload();
    gateway.logged(&["the new configuration is in force"]).await;
    assert_eq!(admin.json("/readyz").await["trust"], serde_json::Value::Null);

    // Whom nothing that is met by https depends on.
    let gateway =
        Gateway::start_with_environment(one_endpoint("http://127.0.0.1:9/", ""), &environment).await;
    assert_eq!(gateway.admin().json("/readyz").await["trust"], serde_json::Value::Null);
}

/// What may be a mistake is told by `check`, and costs nothing: a credential in the open, a place that nothing fills, and
/// a machine that trusts nobody.
#[tokio::test]
async fn check_warns_of_what_will_not_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let headers =
        "headers = { Authorization = \"Bearer 0123\", x-token = \"${TOKEN}\", x-team = \"billing\" }";
    let text = format!(
        "[tenants.acme]\nkeys = []\n{}",
        endpoint("acme", "hook", "https://hooks.example.com/", headers)
    );
    std::fs::write(folder.path().join("hookweir.toml"), text).expect("the configuration to be written");
    let mut check = Command::new(binary());
    check.arg("check").current_dir(folder.path()).env("SSL_CERT_FILE", "/nowhere").env_remove("SSL_CERT_DIR");
    let told = run(&mut check, b"").await.expect(0).stderr;
    for words in [
        "headers.Authorization: this may be a credential",
        "headers.x-token: the text is sent as it stands",
        "no certificate authority is trusted",
        "every https delivery will fail",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(told.matches("warning: ").count(), 3, "{told}");
    assert!(!told.contains("0123"), "{told}");
}

/// Where the URL that requests go to is not the text that is configured, `check` says so, and nothing of a path that may be a secret.
#[tokio::test]
async fn check_tells_what_goes_out_otherwise_than_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let endpoints = [
        ("plain", "https://hooks.example.com:8443/a?b=c"),
        ("port", "https://hooks.example.com:443/SECRET"),
        ("host", "https://b\u{fc}cher.example/SECRET"),
        ("dots", "https://hooks.example.com/a/../SECRET"),
    ];
    let endpoints = endpoints.map(|(name, url)| endpoint("acme", name, url, "")).concat();
    let text = format!("[tenants.acme]\nkeys = []\n{endpoints}");
    std::fs::write(folder.path().join("hookweir.toml"), text).expect("the configuration to be written");
    let mut check = Command::new(binary());
    let told = run(check.arg("check").current_dir(folder.path()), b"").await.expect(0).stderr;
    let notes: Vec<&str> = told.lines().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(notes.len(), 3, "{told}");
    for (name, words) in [
        ("port", "the port 443 is the scheme's own and is left out"),
        ("host", "the host goes out as \"xn--bcher-kva.example\""),
        ("dots", "the path goes out in another form (`.` and `..` are resolved"),
    ] {
        let key = format!("tenants.acme.endpoints.{name}.url: ");
        assert!(notes.iter().any(|line| line.contains(&key) && line.contains(words)), "{name}: {told}");
    }
    assert!(!told.contains("SECRET"), "{told}");
}

/// A file that the gateway's user may not read is told with whose it is; so is one that is no UTF-8, with the line.
#[tokio::test]
async fn check_says_who_may_not_read_what() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let mode = |name: &str, mode| {
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(mode))
            .expect("a mode");
    };
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    let check = async || {
        let mut command = Command::new(binary());
        // Root may read everything.
        command.arg("check").current_dir(folder.path()).uid(65_534).gid(65_534);
        run(&mut command, b"").await.expect(78).stderr
    };
    mode("", 0o755);
    std::fs::create_dir(folder.path().join("closed")).expect("a folder");
    write("secret", b"key-of-acme-0123456789");
    write("marked", b"\xef\xbb\xbfkey-of-acme-0123456789");
    write("open", b"key-of-acme-0123456789");
    mode("marked", 0o640);
    std::os::unix::fs::chown(folder.path().join("marked"), Some(65_534), None).expect("another owner");
    mode("secret", 0o600);
    mode("open", 0o644);
    mode("closed", 0o700);
    let keys = ["secret", "closed/secret", "open", "marked"].map(|name| format!("{{ file = \"{name}\" }}"));
    write("hookweir.toml", format!("[tenants.acme]\nkeys = [{}]\n", keys.join(", ")).as_bytes());
    let told = check().await;
    for words in [
        "secret can't be read: the gateway's user, 65534, may not read it; it belongs to user 0 and group 0, with mode 0600",
        "closed/secret can't be read: the gateway's user, 65534, may not look into the folder closed",
        "let that user read it, by chown, chmod or a group",
        "open is not kept secret: its mode 644 opens it to every user",
        "chmod o-rwx open; of a mounted secret, set `defaultMode: 0400` in Kubernetes",
        "marked can't be used: it begins with a byte order mark",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    mode("hookweir.toml", 0o600);
    let told = check().await;
    assert!(
        told.contains("the configuration can't be read: the gateway's user, 65534, may not read it"),
        "{told}"
    );
    mode("hookweir.toml", 0o644);
    write("hookweir.toml", b"[tenants.acme]\nkeys = []\n# caf\xe9\n");
    let told = check().await;
    assert!(told.contains("it is not UTF-8: line 3 has the byte E9"), "{told}");
    write("hookweir.toml", b"\xff\xfe[\0");
    let told = check().await;
    assert!(told.contains("it is UTF-16 or UTF-32"), "{told}");
}
