//! What happens right now, as server-sent events.

use std::process::Stdio;
use std::time::Instant;

use hookweir_tests::{Gateway, KEY, Receiver, Reply, binary, endpoint, tenant, within};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

#[tokio::test]
async fn a_watcher_is_told_of_each_event_and_what_becomes_of_it() {
    let (good, bad) =
        (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Status(500)).await);
    let tenants = tenant("acme", KEY)
        + &endpoint("acme", "good", &good.url("/"), "event_types = [\"order.*\"]")
        + &endpoint("acme", "bad", &bad.url("/"), "retry = { waits = [] }")
        + &tenant("other", "key-of-the-other-tenant-0123456789")
        + &endpoint("other", "hook", &good.url("/"), "");
    let mut gateway = Gateway::start(tenants).await;
    let mut all = gateway.admin().watch("/v1/live").await;
    let mut failures = gateway.admin().watch("/v1/tenants/acme/live?status=exhausted").await;
    let mut of_other = gateway.admin().watch("/v1/tenants/other/live").await;
    let mut of_good = gateway.admin().watch("/v1/live?endpoint=good&event_type=order.*").await;

    let started = Instant::now();
    let event = gateway.sender().event("order.created", "1").await;
    let (name, told) = all.next().await.expect("an event");
    println!("a watcher saw an event {:.1?} after it was sent", started.elapsed());
    assert_eq!(
        (name.as_str(), &told["tenant"], &told["what"]),
        ("accepted", &"acme".into(), &"accepted".into()),
        "{told}"
    );
    assert_eq!(told["event"]["id"], event.as_str(), "{told}");
    assert_eq!(told["endpoints"], serde_json::json!(["bad", "good"]), "{told}");
    let mut handled = Vec::new();
    for _ in 0..2 {
        let (name, told) = all.next().await.expect("an event");
        assert_eq!(name, "handled", "{told}");
        let outcome = told["attempt"]["outcome"].as_str().unwrap_or_default().to_owned();
        let status = told["delivery"]["status"].as_str().unwrap_or_default().to_owned();
        handled.push((told["delivery"]["endpoint"].as_str().unwrap_or_default().to_owned(), status, outcome));
    }
    handled.sort();
    let wanted = [("bad", "exhausted", "retry"), ("good", "delivered", "delivered")];
    assert_eq!(handled, wanted.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    // What is told is in the journal already.
    let detail = gateway.admin().json(&format!("/v1/tenants/acme/events/{event}/deliveries/bad")).await;
    assert_eq!(detail["delivery"]["status"], "exhausted", "{detail}");

    let other = gateway.sender_of("other", "key-of-the-other-tenant-0123456789").event("a.b", "2").await;
    let (_, told) = of_other.next().await.expect("an event");
    assert_eq!(told["event"]["id"], other.as_str(), "another tenant's watcher is told of its own: {told}");
    let (_, told) = failures.next().await.expect("an event");
    assert_eq!(told["delivery"]["endpoint"], "bad", "{told}");
    gateway.sender().event("invoice.paid", "3").await;
    let second = gateway.sender().event("order.paid", "4").await;
    let (_, first) = of_good.next().await.expect("an event");
    assert_eq!(first["event"]["id"], event.as_str(), "{first}");
    let (_, delivered) = of_good.next().await.expect("an event");
    assert_eq!(delivered["delivery"]["status"], "delivered", "{delivered}");
    let (_, next) = of_good.next().await.expect("an event");
    assert_eq!(next["event"]["id"], second.as_str(), "of what was sent between it is not told: {next}");

    for query in ["status=done", "endpoint=A", "event_type=a.**.b", "colour=red"] {
        gateway.admin().get(&format!("/v1/live?{query}")).await.expect(400);
    }
    gateway.terminate().await;
    while all.next().await.is_some() {}
}

/// A command that goes on until it is killed, with the lines that it prints.
fn follow(gateway: &Gateway, args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(binary())
        .env_clear()
        .args(args)
        .args(["--admin", &format!("http://{}", gateway.admin_address())])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a command that starts");
    let stdout = child.stdout.take().expect("a piped standard output");
    (child, BufReader::new(stdout).lines())
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    within("a line", lines.next_line()).await.expect("text").expect("a line before the end")
}

#[tokio::test]
async fn tail_and_watch_show_an_event_as_it_comes() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let gateway =
        Gateway::start(tenant("acme", KEY) + &endpoint("acme", "hook", &receiver.url("/"), "")).await;
    // Each shows this first event once it watches; what follows is then shown as it comes.
    let first = gateway.sender().event("order.created", "0").await;
    gateway.admin().delivery("acme", &first, "hook", "delivered").await;
    let (_watching, mut watched) =
        follow(&gateway, &["delivery", "list", "--tenant", "acme", "--watch", "--json"]);
    let page = line(&mut watched).await;
    assert!(page.contains(&first), "{page}");
    let (_tailing, mut tailed) = follow(&gateway, &["tail", "--tenant", "acme"]);
    let admin = gateway.admin();
    // It is known to follow once it shows one of the events that are sent until then.
    let mut sent = Vec::new();
    let shown = loop {
        let event = gateway.sender().event("order.paid", "1").await;
        sent.push(event.clone());
        tokio::select! {
            shown = line(&mut tailed) => break shown,
            _ = admin.delivery("acme", &event, "hook", "delivered") => {}
        }
    };
    assert!(sent.iter().any(|event| shown.contains(event)), "{shown}");
    let started = Instant::now();
    let event = gateway.sender().event("order.shipped", "2").await;
    let (mut accepted, mut delivered) = (false, false);
    while !(accepted && delivered) {
        let shown = line(&mut tailed).await;
        if shown.contains(&event) {
            accepted |= shown.contains("  accepted   acme  ") && shown.ends_with("  order.shipped  to hook");
            delivered |= shown.contains("  delivered  acme  ") && shown.contains("to hook, #1 in ");
        }
    }
    println!("tail showed an event and its delivery {:.1?} after it was sent", started.elapsed());
    loop {
        let page = line(&mut watched).await;
        if page.contains(&event) {
            break;
        }
    }
    println!("--watch showed it {:.1?} after it was sent", started.elapsed());
}
