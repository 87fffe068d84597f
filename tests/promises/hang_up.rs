//! A caller that hangs up: what it asked for is done all the same, with all that follows from it.

use std::net::SocketAddr;
use std::time::Duration;

use hookweir_tests::raw::Begun;
use hookweir_tests::{
    Admin, Config, Gateway, KEY, Receiver, Reply, Sender, endpoint, eventually, one_endpoint, plugin, tenant,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const HOOK: &str = "/v1/tenants/acme/endpoints/hook";
/// How often each kind of request is cut off: at another moment each time.
const ROUNDS: usize = 20;

fn post(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Posts and hangs up, again until `begun` says that the gateway has begun with it: a reset may overtake its request.
async fn cut_off(address: SocketAddr, path: &str, body: &str, begun: impl AsyncFn() -> Result<bool, String>) {
    eventually(&format!("POST {path} to be begun"), async || {
        let request = Begun::send(address, &post(address, path, body)).await;
        // Within the time that a write to the journal takes, so that what follows the write is cut off now and then.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(200..4000))).await;
        request.hang_up();
        for _ in 0..50 {
            if begun().await? {
                return Ok(());
            }
        }
        Err("it is not".to_owned())
    })
    .await;
}

/// Sends so many events, and waits until each of them has failed.
async fn failed(gateway: &Gateway, count: usize) {
    let mut senders = JoinSet::new();
    for part in 0..16 {
        let sender = Sender::new(gateway.accept_address(), "acme", KEY);
        let share = count / 16 + usize::from(part < count % 16);
        senders.spawn(async move {
            for _ in 0..share {
                sender.event("a.b", "1").await;
            }
        });
    }
    senders.join_all().await;
    eventually("all to have failed", async || {
        match gateway.admin().count("acme", "hook", "exhausted").await {
            found if found == count as u64 => Ok(()),
            found => Err(format!("{found} of {count}")),
        }
    })
    .await;
}

async fn arrived(receiver: &Receiver, wanted: usize) {
    eventually(&format!("{wanted} requests"), async || match receiver.count() {
        count if count >= wanted => Ok(()),
        count => Err(format!("{count} came")),
    })
    .await;
}

const ONCE: &str = "retry = { waits = [] }\nbreaker = false\nconcurrency = 64";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_of_thousands_goes_to_its_end() {
    const EVENTS: usize = 5000;
    let receiver = Receiver::always(Reply::Status(500)).await;
    let gateway = Gateway::start(one_endpoint(&receiver.url("/hook"), ONCE)).await;
    failed(&gateway, EVENTS).await;
    receiver.follow(|_, _| Reply::Status(200));
    let admin = gateway.admin();
    let before = receiver.count();
    let begun = async || Ok::<_, String>(admin.count("acme", "hook", "exhausted").await < EVENTS as u64);
    let body = json!({ "since": "2020-01-01T00:00:00Z" }).to_string();
    cut_off(gateway.admin_address(), &format!("{HOOK}/recover"), &body, begun).await;
    arrived(&receiver, before + EVENTS).await;
    eventually("all to be delivered", async || match admin.count("acme", "hook", "delivered").await {
        count if count == EVENTS as u64 => Ok(()),
        count => Err(format!("{count} of {EVENTS}")),
    })
    .await;
    assert_eq!(receiver.count(), before + EVENTS, "none is sent twice");
    gateway.logged(&["hookweir::audit", "/recover", "\"status\":200"]).await;
}

#[tokio::test]
async fn what_is_switched_on_resumed_or_sent_again_goes_on() {
    let receiver = Receiver::always(Reply::Status(200)).await;
    let plugin = format!(
        "[tenants.acme.plugins.large]\nfile = {:?}\nconfig = {{ field = \"total\", minimum = 1 }}\n",
        plugin("keep-above")
    );
    let tenants = tenant("acme", KEY)
        + &plugin
        + &endpoint("acme", "hook", &receiver.url("/hook"), "filters = [\"large\"]\nretry = { waits = [] }");
    let gateway = Gateway::start(tenants).await;
    let (admin, address) = (gateway.admin(), gateway.admin_address());
    let event = async || gateway.sender().event("a.b", r#"{"total":2}"#).await;
    let is = async |admin: &Admin, path: &str, key: &str, wanted: Value| {
        Ok::<_, String>(admin.try_get(path).await?.json()[key] == wanted)
    };
    let plugin = "/v1/tenants/acme/plugins/large";
    for round in 0..ROUNDS {
        // An endpoint is switched on.
        admin.post(&format!("{HOOK}/disable"), "").await.expect(200);
        let waiting = event().await;
        cut_off(address, &format!("{HOOK}/enable"), "", async || {
            is(&admin, HOOK, "enabled", json!(true)).await
        })
        .await;
        admin.delivery("acme", &waiting, "hook", "delivered").await;

        // A plugin is resumed.
        admin.post(&format!("{plugin}/pause"), "").await.expect(200);
        let waiting = event().await;
        cut_off(address, &format!("{plugin}/resume"), "", async || {
            is(&admin, plugin, "paused", json!(null)).await
        })
        .await;
        admin.delivery("acme", &waiting, "hook", "delivered").await;

        // A delivery is tried again, and an event sent once more.
        let path = format!("/v1/tenants/acme/events/{waiting}");
        for path in [format!("{path}/deliveries/hook/retry"), format!("{path}/replay")] {
            let before = receiver.count();
            // Whoever hangs up before it has begun has asked for nothing: then it is asked again.
            eventually("it to be sent again", async || {
                let begun = async || Ok::<_, String>(true);
                cut_off(address, &path, "", begun).await;
                for _ in 0..200 {
                    if receiver.count() > before {
                        return Ok(());
                    }
                    let detail =
                        admin.json(&format!("/v1/tenants/acme/events/{waiting}/deliveries/hook")).await;
                    if detail["delivery"]["status"] == "pending" {
                        arrived(&receiver, before + 1).await;
                        return Ok(());
                    }
                }
                Err(format!("it was not begun in round {round}"))
            })
            .await;
            admin.delivery("acme", &waiting, "hook", "delivered").await;
        }
    }
}

/// Tells a consumer that waits of what another one gives back and does not wait for.
#[tokio::test]
async fn what_is_given_back_to_a_queue_goes_to_the_next_who_waits() {
    let queue =
        "[tenants.acme.endpoints.inbox]\nkind = \"pull\"\nmax_wait = \"50s\"\nvisibility_timeout = \"1h\"\n";
    let gateway = Gateway::start(Config::new(tenant("acme", KEY) + queue)).await;
    let (consumer, address) = (gateway.consumer("inbox"), gateway.accept_address());
    for _ in 0..ROUNDS {
        let event = gateway.sender().event("a.b", "1").await;
        let held = consumer.receive(json!({ "wait": "30s" })).await.remove(0);
        assert_eq!(held["id"], event.as_str());
        let waiting = tokio::spawn({
            let consumer = consumer.clone();
            async move { consumer.receive(json!({ "wait": "50s" })).await }
        });
        eventually("a consumer to wait", async || match consumer.waiting().await {
            1 => Ok(()),
            count => Err(format!("{count} wait")),
        })
        .await;
        let body = json!({ "receipts": [held["receipt"]] }).to_string();
        let is_free =
            async || Ok::<_, String>(consumer.stats().await[1] == 0 || consumer.waiting().await == 0);
        cut_off(address, "/v1/tenants/acme/queues/inbox/nack", &body, is_free).await;
        let received = waiting.await.expect("messages");
        let [again] = received.as_slice() else { panic!("nobody was told: {received:?}") };
        assert_eq!(again["id"], event.as_str());
        assert_eq!(consumer.answer("ack", &[&again["receipt"]], json!({})).await, ["done"]);
    }
}

/// A consumer that is gone when its message comes has not received it.
#[tokio::test]
async fn a_message_for_a_consumer_that_has_hung_up_goes_to_the_next() {
    let queue =
        "[tenants.acme.endpoints.inbox]\nkind = \"pull\"\nmax_wait = \"50s\"\nvisibility_timeout = \"1h\"\n";
    let gateway = Gateway::start(Config::new(tenant("acme", KEY) + queue)).await;
    let (consumer, address) = (gateway.consumer("inbox"), gateway.accept_address());
    for _ in 0..ROUNDS {
        let body = json!({ "wait": "50s" }).to_string();
        let gone = Begun::send(address, &post(address, "/v1/tenants/acme/queues/inbox/receive", &body)).await;
        eventually("the consumer to wait", async || match consumer.waiting().await {
            1 => Ok(()),
            count => Err(format!("{count} wait")),
        })
        .await;
        gone.hang_up();
        let event = gateway.sender().event("a.b", "1").await;
        let received = consumer.receive(json!({ "wait": "50s" })).await;
        assert_eq!(received.len(), 1, "it is hidden for an hour");
        assert_eq!(received[0]["id"], event.as_str());
        consumer.answer("ack", &[&received[0]["receipt"]], json!({})).await;
    }
}
