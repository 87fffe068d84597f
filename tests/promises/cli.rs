//! The command line keeps its word towards scripts and people: exit codes, sentences on standard error, what stands on
//! standard output. A scripted server stands in for the gateway where only the words matter.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use hookweir_tests::{Gateway, Output, Receiver, Reply, binary, one_endpoint, pid_of, raw, run, within};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdout, Command};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The vectors of Standard Webhooks: secret, verifying key, id, timestamp, body, signature.
const VECTORS: [[&str; 6]; 3] = [
    [
        OTHER_SECRET,
        OTHER_SECRET,
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        "1649367553",
        r#"{"email":"test@example.com","username":"test_user"}"#,
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ],
    [
        SECRET,
        SECRET,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ],
    [
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        r#"{"test": 2432232314}"#,
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    ],
];

/// The binary with these arguments, and nothing in its environment that could lend it an option.
fn hookweir(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().args(args);
    command
}

async fn ran(args: &[&str]) -> Output {
    run(&mut hookweir(args), b"").await
}

/// What `hookweir verify` says of a body, a century being as good as five minutes.
async fn verified(key: &str, id: &str, timestamp: &str, signature: &str, body: &[u8]) -> Output {
    let args =
        ["verify", "--id", id, "--timestamp", timestamp, "--signature", signature, "--tolerance", "100y"];
    run(hookweir(&args).env("HOOKWEIR_SECRET", key), body).await
}

#[tokio::test]
async fn the_vectors_of_the_specification_are_signed_and_verified() {
    for [secret, key, id, timestamp, body, signature] in VECTORS {
        let args = ["sign", "--secret", secret, "--id", id, "--timestamp", timestamp];
        let signed = run(&mut hookweir(&args), body.as_bytes()).await.expect(0);
        assert_eq!(
            signed.stdout,
            format!("webhook-id: {id}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}\n")
        );
        let right = verified(key, id, timestamp, signature, body.as_bytes()).await.expect(0);
        assert_eq!(right.stdout, "the signature is right\n");

        let changed = body.replacen('2', "3", 1).replacen("email", "Email", 1);
        for (id, timestamp, body) in
            [(id, timestamp, changed.as_str()), ("msg_other", timestamp, body), (id, "1614265331", body)]
        {
            let wrong = verified(key, id, timestamp, signature, body.as_bytes()).await.expect(1);
            assert!(
                wrong.stdout.starts_with("the signature is wrong: no signature matches"),
                "{}",
                wrong.stdout
            );
            assert_eq!(wrong.stderr, "");
        }
    }
}

#[tokio::test]
async fn an_old_signature_is_wrong_by_default() {
    let [secret, _, id, timestamp, body, signature] = VECTORS[1];
    let args = [
        "verify",
        "--secret",
        secret,
        "--id",
        id,
        "--timestamp",
        timestamp,
        "--signature",
        signature,
        "--json",
    ];
    let old = run(&mut hookweir(&args), body.as_bytes()).await.expect(1);
    let verdict: Value = serde_json::from_str(&old.stdout).expect("a verdict in JSON");
    assert_eq!(verdict, json!({"valid": false, "reason": "the timestamp is more than 300 s in the past"}));
}

#[tokio::test]
async fn a_secret_file_signs_with_each_of_its_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = folder.path().join("secrets");
    let body = folder.path().join("body");
    std::fs::write(&secrets, format!("{SECRET}\n{OTHER_SECRET}\n")).expect("a file of secrets");
    std::fs::write(&body, b"\xff\x00\n").expect("a file");
    let (secrets, body) = (secrets.to_str().expect("a path"), body.to_str().expect("a path"));
    let args =
        ["sign", "--secret-file", secrets, "--id", "evt_1", "--timestamp", "1", "--file", body, "--json"];
    let signed: Value = serde_json::from_str(&ran(&args).await.expect(0).stdout).expect("headers in JSON");
    let signature = signed["webhook-signature"].as_str().expect("a signature");
    assert_eq!(signature.split(' ').count(), 2, "{signature}");
    for key in [SECRET, OTHER_SECRET] {
        verified(key, "evt_1", "1", signature, b"\xff\x00\n").await.expect(0);
    }
}

#[tokio::test]
async fn a_key_pair_that_was_made_signs_and_its_public_half_verifies() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pair");
    let path = file.to_str().expect("text");
    let made = ran(&["secret", "new", "--ed25519", "--file", path, "--json"]).await.expect(0);
    assert!(!made.stdout.contains("whsk_"), "the secret stays in its file: {}", made.stdout);
    let made: Value = serde_json::from_str(&made.stdout).expect("JSON");
    let mode = fs::metadata(&file).expect("the file").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "only its owner may read it");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs().to_string();
    let sign = ["sign", "--id", "evt_1", "--timestamp", &now, "--secret-file", path];
    let signed = run(&mut hookweir(&sign), b"{}").await.expect(0).stdout;
    let signature =
        signed.lines().find_map(|line| line.strip_prefix("webhook-signature: ")).expect("a signature");
    let public = made["public"].as_str().expect("the public half");
    verified(public, "evt_1", &now, signature, b"{}").await.expect(0);
}

#[tokio::test]
async fn a_folder_that_is_in_use_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let taken = folder.path().join("secrets");
    fs::create_dir(&taken).expect("a folder");
    fs::write(taken.join("acme.key"), "a key").expect("a file");
    let refused = ran(&["init", path]).await.expect(1);
    assert!(refused.stderr.contains("acme.key exists already: nothing was written"), "{}", refused.stderr);
    assert!(!folder.path().join("hookweir.toml").exists());
    assert_eq!(fs::read_to_string(taken.join("acme.key")).expect("the file"), "a key");

    let other = folder.path().join("a/new/one");
    ran(&["init", other.to_str().expect("text")]).await.expect(0);
    for secret in ["acme.key", "billing.secret"] {
        let mode = fs::metadata(other.join("secrets").join(secret)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    for ports in [["--accept-port", "0"], ["--accept-port", "9080"], ["--receiver-port", "9080"]] {
        let refused = ran(&[&["init", path][..], &ports].concat()).await.expect(2);
        assert!(refused.stderr.contains("three different ports"), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn what_can_not_be_meant_exits_2() {
    for args in [
        &[][..],
        &["sreve"],
        &["event"],
        &["event", "send", "--tenant", "acme", "--type", "a"],
        &["event", "send", "--tenant", "acme", "--type", "a", "--data", "1", "-"],
        &["event", "send", "--tenant", "acme", "--type", "a", "--data", "hello"],
        &["event", "send", "--tenant", "acme", "--type", "a b", "--data", "1"],
        &["event", "send", "--tenant", "Acme!", "--type", "a", "--data", "1"],
        &["event", "list"],
        &["event", "get", "--tenant", "acme", "a.b"],
        &["event", "list", "--tenant", "acme", "--admin", "localhost:9080"],
        &["event", "list", "--tenant", "acme", "--since", "yesterday"],
        &["delivery", "list", "--tenant", "acme", "--status", "lost"],
        &["recover", "--tenant", "acme", "billing"],
        &["sign", "--id", "evt_1"],
        &["sign", "--id", "a.b", "--secret", SECRET],
        &[
            "verify",
            "--secret",
            SECRET,
            "--id",
            "a",
            "--timestamp",
            "1",
            "--signature",
            "v1,",
            "--tolerance",
            "5",
        ],
        &["listen", "--status", "100"],
        &["listen", "--port", "70000"],
    ] {
        let output = ran(args).await;
        assert_eq!(output.code, Some(2), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
        assert_ne!(output.stderr, "", "{args:?}");
    }
    let help = ran(&["event", "send", "--help"]).await.expect(0);
    assert!(help.stdout.contains("Examples:"), "{}", help.stdout);
}

#[tokio::test]
async fn a_bad_secret_fails_without_being_repeated() {
    let output =
        run(hookweir(&["sign", "--id", "evt_1"]).env("HOOKWEIR_SECRET", "hush-hush"), b"").await.expect(1);
    assert_eq!(
        output.stderr,
        "error: secret 1 can't be used\n  1: a signing secret starts with whsec_ (HMAC-SHA256) or whsk_ (Ed25519)\n"
    );
}

#[tokio::test]
async fn where_no_gateway_is_the_command_says_what_to_do() {
    // Bound, so that nobody else gets the port, and not listening.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));
    for (args, option) in [
        (&["event", "list", "--tenant", "acme", "--admin", &url][..], "--admin URL or HOOKWEIR_ADMIN"),
        (
            &["endpoint", "disable", "--tenant", "acme", "billing", "--admin", &url],
            "--admin URL or HOOKWEIR_ADMIN",
        ),
        (
            &["event", "send", "--tenant", "acme", "--type", "a", "--data", "1", "--to", &url],
            "--to URL or HOOKWEIR_ACCEPT",
        ),
    ] {
        let output = ran(args).await.expect(1);
        let mut lines = output.stderr.lines();
        let sentence = lines.next().expect("a sentence");
        assert!(sentence.starts_with("error: can't reach a gateway's "), "{sentence}");
        assert!(sentence.contains("start a gateway with `hookweir serve`"), "{sentence}");
        assert!(sentence.ends_with(option), "{sentence}");
        let causes: Vec<&str> = lines.collect();
        assert!(causes.iter().any(|cause| cause.contains("Connection refused")), "{causes:?}");
        assert!(causes[0].starts_with("  1: "), "{causes:?}");
        assert_eq!(output.stdout, "");
    }
}

fn answers(status: u16, content_type: &str, body: impl Into<String>) -> Reply {
    Reply::Whole(status, vec![("content-type", content_type.to_owned())], body.into().into())
}

#[tokio::test]
async fn an_event_is_sent_with_its_data_as_it_was_written() {
    let gateway = Receiver::always(answers(
        202,
        "application/json",
        r#"{"id":"evt_1","duplicate":false,"deliveries":2}"#,
    ))
    .await;
    let data = "{\"b\": 1.500, \"b\" :1e400,\n \"a\":\"\\u0041\"}";
    let args = [
        "event",
        "send",
        "--tenant",
        "acme",
        "--type",
        "order.created",
        "--id",
        "evt_1",
        "--source",
        "/shop",
        "--subject",
        "order/1",
        "--idempotency-key",
        "once",
        "-",
    ];
    let mut command = hookweir(&args);
    command.env("HOOKWEIR_ACCEPT", gateway.url("")).env("HOOKWEIR_KEY", "the-key");
    // A proxy would be told the key.
    command.env("http_proxy", "http://127.0.0.1:1").env("HTTP_PROXY", "http://127.0.0.1:1");
    let output = run(&mut command, data.as_bytes()).await.expect(0);
    assert_eq!(output.stdout, "evt_1 accepted for 2 endpoints\n");

    let request = &gateway.wait_for(1).await[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/tenants/acme/events"));
    assert_eq!(request.header("authorization"), "Bearer the-key");
    assert_eq!(request.header("idempotency-key"), "once");
    assert_eq!(request.header("content-type"), "application/json");
    let head = r#"{"type":"order.created","id":"evt_1","source":"/shop","subject":"order/1","data":"#;
    assert_eq!(request.body, format!("{head}{data}}}"));
}

#[tokio::test]
async fn a_list_is_a_table_or_the_json_that_was_answered_and_never_steers_the_terminal() {
    // Control characters of the second kind may stand in JSON as they are.
    let body = "{\"data\":[{\"event\":\"evt_1\",\"endpoint\":\"billing\",\"event_type\":\"order.created\",\
                \"received\":\"2026-01-31T12:00:00.000Z\",\"status\":\"failed\",\"attempts\":1,\"due\":null,\
                \"reason\":\"\\u001b[2J \u{9b}31m gone\"}],\n\"next\":\"c/2\"}";
    let gateway = Receiver::always(answers(200, "application/json", body)).await;
    let url = gateway.url("");
    let args = [
        "delivery",
        "list",
        "--tenant",
        "acme",
        "--admin",
        &url,
        "--token",
        "t",
        "--status",
        "failed",
        "--endpoint",
        "billing",
        "--event-type",
        "order.*",
        "--since",
        "2026-01-31T12:00:00Z",
        "--limit",
        "1",
        "--cursor",
        "c/1",
    ];
    let table = ran(&args).await.expect(0);
    let lines: Vec<Vec<&str>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["EVENT", "ENDPOINT", "TYPE", "STATUS", "ATTEMPTS", "RECEIVED", "DUE", "REASON"]);
    assert_eq!(
        lines[1],
        [
            "evt_1",
            "billing",
            "order.created",
            "failed",
            "1",
            "2026-01-31T12:00:00.000Z",
            "\\u{1b}[2J",
            "\\u{9b}31m",
            "gone"
        ]
    );
    assert_eq!(table.stderr, "there are more deliveries: add --cursor c/2\n");
    let request = &gateway.wait_for(1).await[0];
    assert_eq!(
        request.path,
        "/v1/tenants/acme/deliveries?limit=1&cursor=c%2F1&endpoint=billing&status=failed&event_type=order.*\
         &since=2026-01-31T12%3A00%3A00.000Z"
    );
    assert_eq!(request.header("authorization"), "Bearer t");

    let json = ran(&[&args[..], &["--json"]].concat()).await.expect(0);
    assert_eq!(json.stdout.lines().count(), 1, "{}", json.stdout);
    assert!(!json.stdout.trim_end().contains(char::is_control), "{:?}", json.stdout);
    let (printed, answered): (Value, Value) =
        (serde_json::from_str(&json.stdout).expect("JSON"), serde_json::from_str(body).expect("JSON"));
    assert_eq!(printed, answered);
    assert_eq!(json.stderr, "");
}

#[tokio::test]
async fn a_refusal_is_one_sentence_and_a_stranger_is_told_from_a_gateway() {
    let problem = json!({"type": "not-found", "title": "Not found", "status": 404, "detail": "no event\u{1b}[2J evt_1"});
    for (reply, wanted) in [
        (
            answers(404, "application/problem+json", problem.to_string()),
            "error: the gateway answered 404 Not Found: no event\\u{1b}[2J evt_1\n".to_owned(),
        ),
        (answers(200, "text/html", "<html>"), "what answered 200 OK at ".to_owned()),
        (Reply::Status(502), "what answered 502 Bad Gateway at ".to_owned()),
        (
            Reply::Whole(302, vec![("location", "/elsewhere".to_owned())], "".into()),
            "what answered 302 Found at ".to_owned(),
        ),
        (Reply::Close, "broke off its answer".to_owned()),
    ] {
        let gateway = Receiver::always(reply.clone()).await;
        let url = gateway.url("");
        let output = ran(&["replay", "--tenant", "acme", "evt/1", "--admin", &url]).await.expect(1);
        assert!(output.stderr.contains(&wanted), "{reply:?}: {}", output.stderr);
        assert_eq!(output.stdout, "");
        for request in gateway.requests() {
            assert_eq!(request.path, "/v1/tenants/acme/events/evt%2F1/replay", "no redirect is followed");
        }
    }
}

/// A running `hookweir listen --json`.
struct Listening {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Listening {
    async fn start(args: &[&str], secret: &str) -> Self {
        let mut command = hookweir(&[&["listen", "--port", "0", "--json"], args].concat());
        command.env("HOOKWEIR_SECRET", secret).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("a receiver");
        let mut lines = BufReader::new(child.stdout.take().expect("a piped standard output")).lines();
        let greeting = line(&mut lines).await;
        let url = greeting["listening"].as_str().expect("an address");
        let address = url.strip_prefix("http://").expect("a URL").parse().expect("an address");
        Self { child, lines, address }
    }

    /// Posts a webhook and answers the status it got and the line that was printed.
    async fn post(&mut self, headers: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "POST /hooks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        let status = raw::exchange(self.address, request.as_bytes()).await.status();
        (status, line(&mut self.lines).await)
    }
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line =
        within("a line of `hookweir listen`", lines.next_line()).await.expect("its output").expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is not JSON: {error}"))
}

#[tokio::test]
async fn listen_tells_a_right_signature_from_a_wrong_one() {
    let mut receiver = Listening::start(&["--status", "503"], &format!("{OTHER_SECRET},{SECRET}")).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
    let body = r#"{"type":"order.created","data":{"total":1.50}}"#;
    let signature = Webhook::new(SECRET)
        .and_then(|webhook| webhook.sign("evt_1", now.cast_signed(), body.as_bytes()))
        .expect("a signature of the official library");
    let headers = format!(
        "webhook-id: evt_1\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\nhookweir-attempt: 3\r\n"
    );

    let (status, right) = receiver.post(&headers, body).await;
    assert_eq!(status, 503);
    assert_eq!(right["signature"], json!({"verdict": "valid"}));
    assert_eq!(
        (&right["number"], &right["id"], &right["type"], &right["attempt"], &right["path"], &right["body"]),
        (&json!(1), &json!("evt_1"), &json!("order.created"), &json!(3), &json!("/hooks"), &json!(body))
    );

    let (_, wrong) = receiver.post(&headers, &body.replace("1.50", "1.51")).await;
    assert_eq!(wrong["signature"]["verdict"], "invalid");
    assert!(
        wrong["signature"]["reason"].as_str().is_some_and(|reason| reason.contains("no signature matches"))
    );
    let (_, missing) = receiver.post("", body).await;
    assert_eq!(missing["signature"], json!({"verdict": "missing"}));
}

#[tokio::test]
async fn listen_ends_well_when_it_is_interrupted_or_not_read_any_more() {
    let mut interrupted = Listening::start(&[], "").await;
    let (status, line) = interrupted.post("webhook-signature: v1,x\r\n", "").await;
    assert_eq!((status, &line["signature"]), (200, &json!({"verdict": "unchecked"})));
    let pid = pid_of(&interrupted.child).expect("its process id");
    kill_process(pid, Signal::INT).expect("a signal");
    assert_eq!(
        within("the receiver to end", interrupted.child.wait()).await.expect("its end").code(),
        Some(0)
    );

    let mut unread = Listening::start(&[], "").await;
    drop(unread.lines);
    raw::exchange(unread.address, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert_eq!(within("the receiver to end", unread.child.wait()).await.expect("its end").code(), Some(0));
}

#[tokio::test]
async fn a_recovery_tells_how_far_it_is_on_a_terminal_and_nowhere_else() {
    let receiver = Receiver::always(Reply::Status(500)).await;
    let gateway = Gateway::start(one_endpoint(&receiver.url("/"), "retry = { waits = [] }")).await;
    for _ in 0..3 {
        let event = gateway.sender().event("a.b", "1").await;
        gateway.admin().delivery("acme", &event, "hook", "exhausted").await;
    }
    let admin = format!("http://{}", gateway.admin_address());
    let recover = ["recover", "--tenant", "acme", "hook", "--since", "1h", "--admin", &admin];

    // `script` runs a command on a terminal of its own.
    let line = format!("{} {}", binary().display(), recover.join(" "));
    let mut terminal = Command::new("script");
    let shown =
        run(terminal.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm"), b"").await.expect(0).stdout;
    assert!(shown.contains("0 of 3 sent again"), "{shown:?}");
    assert!(shown.contains("3 deliveries are sent to hook again"), "{shown:?}");

    receiver.wait_for(6).await;
    for item in gateway.admin().list("/v1/tenants/acme/deliveries").await {
        let event = item["event"].as_str().expect("an id").to_owned();
        gateway.admin().delivery("acme", &event, "hook", "exhausted").await;
    }
    let quiet = ran(&recover).await.expect(0);
    assert_eq!((&*quiet.stdout, &*quiet.stderr), ("3 deliveries are sent to hook again\n", ""));
}
