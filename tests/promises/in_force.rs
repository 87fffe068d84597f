//! What is sent is sent by the configuration that is in force then: a delivery that waits, for a plugin or for a name, does
//! not go out by the one that it began with.

use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hookweir_tests::{Config, Gateway, KEY, NameServer, Receiver, Reply, endpoint, eventually, tenant};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::plugins::guests::{filter, install, transformer};

/// Enough that most still wait for the plugin when some have arrived.
const EVENTS: usize = 300;

/// Requests that may be between the plugin and the socket when the change comes in force: one for each plugin thread, and
/// as many that were handed over and not yet read by the receiver.
const BETWEEN: usize = 8;

/// Half of the deadline that these plugins have, which is the longest that there is.
const CALL: Duration = Duration::from_millis(50);

/// A guest's loop of so many turns.
fn spin(turns: u32) -> String {
    format!(
        "(local $n i32) (local.set $n (i32.const {turns})) \
         (loop $more (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $more (local.get $n)))"
    )
}

/// A guest's loop that takes about [`CALL`] on this machine.
async fn wait() -> String {
    const TURNS: u32 = 5_000_000;
    static MEASURED: OnceCell<u32> = OnceCell::const_new();
    let turns = MEASURED.get_or_init(async || {
        let receiver = Receiver::always(Reply::Status(200)).await;
        let folder = tempfile::tempdir().expect("a folder");
        let guest = filter(&format!("{} (i32.const 1040)", spin(TURNS)));
        let plugins = install(folder.path(), "acme", "p", &guest);
        let gateway = Gateway::start(config(&plugins, &receiver.url("/"), "filters = [\"p\"]")).await;
        let mut fastest = u64::MAX;
        // Whatever else the machine does makes a call longer, and none shorter.
        for _ in 0..10 {
            let event = gateway.sender().event("a.b", "1").await;
            let detail = gateway.admin().delivery("acme", &event, "hook", "delivered").await;
            let micros = detail["attempts"][0]["plugins"][0]["micros"].as_u64();
            fastest = fastest.min(micros.unwrap_or_else(|| panic!("no call of the plugin in {detail}")));
        }
        let turns = u128::from(TURNS) * CALL.as_micros() / u128::from(fastest.max(1));
        u32::try_from(turns).expect("a number of turns")
    });
    spin(*turns.await)
}

/// Keeps every event, and takes its time.
async fn slow() -> Vec<u8> {
    filter(&format!("{} (i32.const 1040)", wait().await))
}

/// Makes the same body of everything, `host` or `elsewhere`, and takes its time.
async fn slow_and_says(at: u32, length: u32) -> Vec<u8> {
    let wait = wait().await;
    transformer(&format!(
        "{wait} (i32.store (i32.const 1028) (i32.const 512)) (i32.store (i32.const 1032) (i32.const 16)) \
         (i32.store (i32.const 1044) (i32.const {at})) (i32.store (i32.const 1048) (i32.const {length})) \
         (i32.const 1024)"
    ))
}

fn config(plugins: &str, url: &str, lines: &str) -> Config {
    let hook = endpoint("acme", "hook", url, &format!("concurrency = {EVENTS}\n{lines}"));
    Config {
        plugins: "deadline = \"100ms\"".to_owned(),
        ..Config::new(tenant("acme", KEY) + plugins + &hook)
    }
}

/// Sends the events, and waits until some have arrived.
async fn begin(gateway: &Gateway, receiver: &Receiver) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..EVENTS {
        events.push(gateway.sender().event("a.b", "1").await);
    }
    receiver.wait_for(1).await;
    events
}

/// Puts a configuration in force: what the admin listener shows of the endpoint says so.
async fn change(gateway: &Gateway, config: Config, is_new: impl Fn(&Value) -> bool) {
    gateway.reconfigure(config);
    gateway.reload();
    eventually("the new configuration to be in force", async || {
        let shown = gateway.admin().json("/v1/tenants/acme/endpoints/hook").await;
        if is_new(&shown) { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
}

async fn all(gateway: &Gateway, events: &[String], status: &str) {
    for event in events {
        gateway.admin().delivery("acme", event, "hook", status).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_was_changed_gets_nothing_more() {
    let (old, new) = (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Status(200)).await);
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = install(folder.path(), "acme", "p", &slow().await);
    let gateway = Gateway::start(config(&plugins, &old.url("/old"), "filters = [\"p\"]")).await;
    let events = begin(&gateway, &old).await;
    let changed = config(&plugins, &new.url("/new"), "filters = [\"p\"]");
    change(&gateway, changed, |shown| shown.to_string().contains("/new")).await;
    let at_old = old.count();
    assert!(at_old + 2 * BETWEEN < EVENTS, "{at_old} had arrived: too few waited for the plugin");
    all(&gateway, &events, "delivered").await;
    assert!(old.count() <= at_old + BETWEEN, "{} came to the old URL after {at_old}", old.count() - at_old);
    assert_eq!(old.count() + new.count(), EVENTS, "none is lost, and none sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_was_closed_gets_nothing_more() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = install(folder.path(), "acme", "p", &slow().await);
    // By name: a literal address would be refused by the configuration that closes its range.
    let name_server = NameServer::start(|_| vec![IpAddr::from([127, 0, 0, 1])]).await;
    let url = format!("http://hooks.example.com:{}/hook", receiver.port());
    let with = |cidrs: &str, lines: &str| {
        let config = config(&plugins, &url, &format!("filters = [\"p\"]\nretry = {{ waits = [] }}\n{lines}"));
        let egress = format!(
            "allow_cidrs = [{cidrs}]\nallow_ports = []\nnameservers = [\"{}\"]",
            name_server.address()
        );
        Config { egress, ..config }
    };
    let gateway = Gateway::start(with("\"127.0.0.0/8\"", "")).await;
    let events = begin(&gateway, &receiver).await;
    change(&gateway, with("", "rate = { per_second = 100000 }"), |shown| {
        shown.to_string().contains("100000")
    })
    .await;
    let before = receiver.count();
    assert!(before + 2 * BETWEEN < EVENTS, "{before} had arrived: too few waited for the plugin");
    let mut blocked = 0;
    for event in &events {
        let path = format!("/v1/tenants/acme/events/{event}/deliveries/hook");
        let ended = eventually("the delivery to end", async || {
            let detail = gateway.admin().json(&path).await;
            if detail["delivery"]["status"] == "pending" { Err(detail.to_string()) } else { Ok(detail) }
        })
        .await;
        blocked += usize::from(ended["attempts"][0]["outcome"] == "blocked");
    }
    assert!(receiver.count() <= before + BETWEEN, "{} came after {before}", receiver.count() - before);
    assert_eq!(blocked + receiver.count(), EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_was_switched_off_gets_nothing_more() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = install(folder.path(), "acme", "p", &slow().await);
    let gateway = Gateway::start(config(&plugins, &receiver.url("/"), "filters = [\"p\"]")).await;
    let events = begin(&gateway, &receiver).await;
    let admin = gateway.admin();
    admin.post("/v1/tenants/acme/endpoints/hook/disable", "").await.expect(200);
    let before = receiver.count();
    assert!(before + 2 * BETWEEN < EVENTS, "{before} had arrived: too few waited for the plugin");
    // Each delivery that was under way is settled, or is as it was before: nothing is under way any more.
    let pending = eventually("what is under way to end", async || {
        let pending = admin.count("acme", "hook", "pending").await;
        let delivered = admin.count("acme", "hook", "delivered").await;
        let (arrived, all) = (receiver.count() as u64, EVENTS as u64);
        if delivered == arrived && pending + delivered == all {
            Ok(pending)
        } else {
            Err(format!("{pending}"))
        }
    })
    .await;
    assert!(receiver.count() <= before + BETWEEN, "{} came after {before}", receiver.count() - before);
    assert!(pending > 0);
    admin.post("/v1/tenants/acme/endpoints/hook/enable", "").await.expect(200);
    all(&gateway, &events, "delivered").await;
    assert_eq!(receiver.count(), EVENTS, "none is lost, and none sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_plugin_made_is_made_again() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = install(folder.path(), "acme", "p", &slow_and_says(544, 4).await)
        + &install(folder.path(), "acme", "q", &slow_and_says(552, 9).await);
    let with = |plugin: &str, version: &str| {
        let lines = format!("transformers = [\"{plugin}\"]\nheaders = {{ x-version = \"{version}\" }}");
        config(&plugins, &receiver.url(&format!("/{version}")), &lines)
    };
    let gateway = Gateway::start(with("p", "one")).await;
    let events = begin(&gateway, &receiver).await;
    change(&gateway, with("q", "two"), |shown| shown.to_string().contains("/two")).await;
    let before = receiver.count();
    assert!(before + 2 * BETWEEN < EVENTS, "{before} had arrived: too few waited for the plugin");
    all(&gateway, &events, "delivered").await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), EVENTS, "none is lost, and none sent twice");
    let mut of_old = 0;
    for request in &requests {
        let (version, body) = (request.header("x-version"), String::from_utf8_lossy(&request.body));
        let made = (version, request.path.as_str(), &*body);
        assert!(matches!(made, ("one", "/one", "host") | ("two", "/two", "elsewhere")), "{made:?}");
        of_old += usize::from(version == "one");
    }
    assert!(of_old <= before + BETWEEN, "{} came by the old one after {before}", of_old - before);
}

/// One delivery is cancelled while it waits for a plugin; it can be sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_was_cancelled_is_not_sent_by_an_attempt_that_waits() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = install(folder.path(), "acme", "p", &slow().await);
    let gateway = Gateway::start(config(&plugins, &receiver.url("/"), "filters = [\"p\"]")).await;
    let events = begin(&gateway, &receiver).await;
    let admin = gateway.admin();
    // The last one waits behind all others.
    let last = events.last().expect("an event");
    let path = format!("/v1/tenants/acme/events/{last}/deliveries/hook");
    let cancelled = admin.post(&format!("{path}/cancel"), "").await.expect(200).json();
    assert_eq!(cancelled["deliveries"], 1, "it was pending");
    all(&gateway, &events[..EVENTS - 1], "delivered").await;
    admin.delivery("acme", last, "hook", "cancelled").await;
    assert!(receiver.requests().iter().all(|request| request.event() != last));
    admin.post(&format!("{path}/retry"), "").await.expect(200);
    admin.delivery("acme", last, "hook", "delivered").await;
    assert_eq!(receiver.count(), EVENTS);
}

/// A secret is ended while a delivery waits for its receiver's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_name_is_no_way_past_a_change() {
    let (old, new) = (Receiver::always(Reply::Status(200)).await, Receiver::always(Reply::Status(200)).await);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let closed = Arc::clone(&gate);
    let name_server = NameServer::start(move |_| {
        tokio::task::block_in_place(|| {
            let (is_open, opened) = &*closed;
            drop(opened.wait_while(is_open.lock().expect("the gate"), |is_open| !*is_open));
        });
        vec![IpAddr::from([127, 0, 0, 1])]
    })
    .await;
    let with = |path: &str, port: u16| {
        let url = format!("http://hooks.example.com:{port}{path}");
        let config = config("", &url, "retry = { waits = [\"1s\", \"1s\", \"1s\"] }");
        let egress = format!("{}\nnameservers = [\"{}\"]", config.egress, name_server.address());
        Config { egress, ..config }
    };
    let gateway = Gateway::start(with("/old", old.port())).await;
    let event = gateway.sender().event("a.b", "1").await;
    eventually("the name to be asked for", async || match name_server.queries() {
        0 => Err("no question".to_owned()),
        _ => Ok(()),
    })
    .await;
    change(&gateway, with("/new", new.port()), |shown| shown.to_string().contains("/new")).await;
    *gate.0.lock().expect("the gate") = true;
    gate.1.notify_all();
    gateway.admin().delivery("acme", &event, "hook", "delivered").await;
    assert_eq!((old.count(), new.count()), (0, 1));
}
