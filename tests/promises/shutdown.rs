//! SIGTERM: what is in flight ends or stays in the journal, the process ends with 0, and nothing acknowledged is lost.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookweir_tests::{
    Config, Gateway, KEY, Receiver, Reply, binary, children_of, endpoint, eventually, has_ended,
    one_endpoint, pid_of, tenant, within,
};
use rustix::process::{Pid, Signal, getpriority_process, kill_process};
use tokio::process::Command;

use crate::disk::fill;
use crate::ledger::{Ledger, Load, arrivals, drained};
use crate::plugins::guests;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_repeated_when_it_ends_under_load() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "")).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(gateway.accept_address(), 16, &ledger);
    ledger.wait_for(500).await;
    let asked = Instant::now();
    let status = gateway.terminate().await;
    println!("ended under load with {status} after {:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0));
    load.ended().await;

    gateway.start_again().await;
    drained(&gateway.admin(), "hook").await;
    let arrivals = arrivals(&receiver);
    let acknowledged = ledger.acknowledged();
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !arrivals.contains_key(*id)).collect();
    assert!(lost.is_empty(), "acknowledged and not delivered: {lost:?}");
    let repeated: Vec<_> = arrivals.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "an orderly end repeats nothing: {repeated:?}");
}

#[tokio::test]
async fn an_attempt_in_flight_may_end() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let receiver = Receiver::always(Reply::Once(gate, 200)).await;
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), "")).await;
    let event = gateway.sender().event("a.b", "1").await;
    receiver.wait_for(1).await;
    gateway.signal(Signal::TERM);
    open.send_replace(true);
    assert_eq!(gateway.exited().await.code(), Some(0));
    gateway.start_again().await;
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_hold_up_the_end() {
    let receiver = Receiver::always(Reply::Hang).await;
    let lines = "retry = { waits = [], timeout = \"5m\" }";
    let mut gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), lines)).await;
    let event = gateway.sender().event("a.b", "1").await;
    receiver.wait_for(1).await;
    let asked = Instant::now();
    let status = gateway.terminate().await;
    println!("ended with {status} after {:?} beside a receiver that never answers", asked.elapsed());
    assert_eq!(status.code(), Some(0));

    receiver.follow(|_, _| Reply::Status(200));
    gateway.start_again().await;
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    assert_eq!(receiver.count(), 2);
}

/// What a gateway may take to end.
const STOP: Duration = Duration::from_secs(10);

#[tokio::test]
async fn results_that_the_disk_has_no_room_for_do_not_hold_up_the_end() {
    /// The requests of failed attempts are kept: these take more than the journal's log has left.
    const EVENTS: usize = 16;
    let (open, gate) = tokio::sync::watch::channel(false);
    let receiver = Receiver::always(Reply::Once(gate, 500)).await;
    let mut gateway = Gateway::start_on_small_disk(one_endpoint(&receiver.url("/hook"), ""), 64).await;
    gateway.ready().await;
    let large = format!("\"{}\"", "x".repeat(500_000));
    for _ in 0..EVENTS {
        gateway.sender().event("a.b", &large).await;
    }
    receiver.wait_for(EVENTS).await;
    // The file system is in the gateway's own namespace.
    let root = PathBuf::from(format!("/proc/{}/root", gateway.id()));
    fill(&root.join(gateway.folder().strip_prefix("/").expect("an absolute path")).join("data"));
    open.send_replace(true);
    let failed = "hookweir_attempts_total{tenant=\"acme\",endpoint=\"hook\",outcome=\"retry\"} 16";
    eventually("all attempts to have failed", async || {
        let metrics = gateway.admin().try_get("/metrics").await?.text();
        if metrics.contains(failed) { Ok(()) } else { Err(metrics) }
    })
    .await;
    let asked = Instant::now();
    assert_eq!(gateway.terminate().await.code(), Some(0), "{}", gateway.log());
    let took = asked.elapsed();
    assert!(took < STOP, "it took {took:?}");
    assert!(gateway.log().contains("results of attempts can't be written down"), "{}", gateway.log());
}

/// A configuration whose plugin takes the compiler minutes.
fn slow(folder: &Path, receiver: &Receiver) -> String {
    let plugin = guests::install(folder, "acme", "slow", &guests::slow_to_compile());
    tenant("acme", KEY) + &plugin + &endpoint("acme", "hook", &receiver.url("/hook"), "filters = [\"slow\"]")
}

/// Waits until a gateway has its compiler at work, and has that stand still, so that it does not end by itself.
async fn compiler_of(gateway: u32) -> Pid {
    let compiler = eventually("the compiler to run", async || {
        let child = children_of(gateway).first().copied().ok_or_else(|| "there is no child".to_owned())?;
        // It has set its limits once it steps back behind all else.
        match getpriority_process(Some(child)) {
            Ok(10) => Ok(child),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    kill_process(compiler, Signal::STOP).expect("the compiler to take a signal");
    compiler
}

async fn ended(compiler: Pid) {
    eventually("the compiler to end", async || match has_ended(compiler) {
        true => Ok(()),
        false => Err("it runs".to_owned()),
    })
    .await;
}

#[tokio::test]
async fn an_end_is_heard_while_a_start_compiles() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::new(slow(folder.path(), &receiver)).text();
    std::fs::write(folder.path().join("hookweir.toml"), config).expect("the configuration to be written");
    for (signal, code) in [(Signal::TERM, Some(0)), (Signal::INT, Some(0)), (Signal::KILL, None)] {
        let mut command = Command::new(binary());
        command.arg("serve").current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        let mut gateway = command.stdout(Stdio::null()).spawn().expect("the gateway to run");
        let compiler = compiler_of(gateway.id().expect("a number")).await;
        kill_process(pid_of(&gateway).expect("a number"), signal).expect("it to take a signal");
        let status = within("the gateway to end", gateway.wait()).await.expect("its exit status");
        assert_eq!(status.code(), code);
        ended(compiler).await;
    }
}

#[tokio::test]
async fn an_end_is_heard_while_a_reload_or_an_upload_compiles() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let before = one_endpoint(&receiver.url("/hook"), "") + "[tenants.acme.plugins.sent]\n";
    for reload in [true, false] {
        let mut gateway = Gateway::start(before.clone()).await;
        if reload {
            gateway.reconfigure(slow(&gateway.folder(), &receiver));
            gateway.reload();
        } else {
            let admin = gateway.admin();
            // Its answer does not come, or says that it was cut.
            tokio::spawn(async move {
                admin.put("/v1/tenants/acme/plugins/sent", guests::slow_to_compile()).await
            });
        }
        let compiler = compiler_of(gateway.id()).await;
        let event = gateway.sender().event("a.b", "1").await;
        gateway.admin().delivery("acme", &event, "hook", "delivered").await;
        let asked = Instant::now();
        let status = gateway.terminate().await;
        println!("ended with {status} after {:?} beside a compiler at work", asked.elapsed());
        assert_eq!(status.code(), Some(0));
        ended(compiler).await;
    }
}

/// A load balancer sees it coming: for a moment there is an answer, and it is no.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_connections_are_refused_new_requests_are_answered_503() {
    let mut gateway = Gateway::start(hookweir_tests::tenant("acme", hookweir_tests::KEY)).await;
    let (accept, admin) = (gateway.accept_address(), gateway.admin());
    let body = r#"{"type":"a.b","data":1}"#;
    let event = format!(
        "POST /v1/tenants/acme/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        hookweir_tests::KEY,
        body.len()
    );
    let health = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_owned();
    let asking = tokio::spawn(async move {
        let mut refused = [false; 3];
        while refused.contains(&false) {
            for (place, request) in [(0, &event), (1, &health)] {
                let patience = std::time::Duration::from_millis(50);
                let Ok(answer) = hookweir_tests::raw::try_read(accept, request.as_bytes(), patience).await
                else {
                    return refused;
                };
                // Each such answer ends its connection.
                refused[place] |= answer.status() == 503
                    && answer.closed
                    && answer.text.to_lowercase().contains("connection: close");
            }
            let Ok(ready) = admin.try_get("/readyz").await else { return refused };
            refused[2] |= ready.status == 503 && ready.text().contains("stopping");
        }
        refused
    });
    let asked = Instant::now();
    let status = gateway.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(asking.await.expect("an answer"), [true; 3], "an event, health and readiness");
    assert!(asked.elapsed() < std::time::Duration::from_secs(10), "{:?}", asked.elapsed());
}
