//! Damage in the journal's tables costs what lies there: the gateway starts, its neighbours' events go on, and what was
//! damaged is listed.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use hookweir_tests::{Gateway, KEY, Output, Receiver, Reply, binary, endpoint, eventually, run, tenant};
use rusqlite::Connection;
use serde_json::Value;
use tokio::process::Command;

const PAGE: u64 = 4096;
const OTHER_KEY: &str = "key-of-the-other-tenant-0123456789";
const EVENTS: usize = 30;

fn journal(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("data")
}

/// The pages of a table or index of a journal that nobody has open, counted from 0.
fn pages(journal: &Path, name: &str) -> Vec<u64> {
    let connection = Connection::open(journal.join("journal.db")).expect("the journal's file");
    let mut statement = connection.prepare("SELECT pageno FROM dbstat WHERE name = ?1").expect("dbstat");
    let pages = statement.query_map((name,), |row| row.get::<_, i64>(0)).expect("rows");
    pages.map(|page| page.expect("a row").unsigned_abs() - 1).collect()
}

/// Overwrites a page, as a dying disk may.
fn spoil(journal: &Path, page: u64, byte: u8) {
    let file = OpenOptions::new().write(true).open(journal.join("journal.db")).expect("the journal's file");
    file.write_all_at(&[byte; PAGE as usize], page * PAGE).expect("written");
}

/// Changes a byte of the one place where `marker` stands in the file.
fn turn(journal: &Path, marker: &str) {
    let path = journal.join("journal.db");
    let mut bytes = fs::read(&path).expect("the journal's file");
    let places: Vec<usize> =
        (0..bytes.len() - marker.len()).filter(|at| bytes[*at..].starts_with(marker.as_bytes())).collect();
    assert_eq!(places.len(), 1, "{marker} stands in the file once");
    bytes[places[0]] ^= 0x01;
    fs::write(path, bytes).expect("written");
}

/// Two tenants. The first has an endpoint that always fails and one that is switched off, so that its deliveries wait
/// in both tables.
async fn waiting(good: &Receiver, bad: &Receiver) -> (Gateway, Vec<String>) {
    let config = tenant("acme", KEY)
        + &endpoint("acme", "bad", &bad.url("/"), "retry = { waits = [\"1h\"] }\nbreaker = false")
        + &endpoint("acme", "off", &bad.url("/"), "enabled = false")
        + &tenant("other", OTHER_KEY)
        + &endpoint("other", "good", &good.url("/"), "");
    let gateway = Gateway::start(config).await;
    let mut events = Vec::new();
    for number in 0..EVENTS {
        events.push(gateway.sender().event("order.created", &number.to_string()).await);
    }
    eventually("each event to have failed once", async || match bad.requests().len() {
        requests if requests >= EVENTS => Ok(()),
        requests => Err(format!("{requests} requests")),
    })
    .await;
    for event in &events {
        eventually("its retry to be kept", async || {
            let path = format!("/v1/tenants/acme/events/{event}/deliveries/bad");
            let detail = gateway.admin().json(&path).await;
            if detail["delivery"]["attempts"] == 1 { Ok(()) } else { Err(detail.to_string()) }
        })
        .await;
    }
    (gateway, events)
}

/// Each delivery still waits, or says that it is damaged.
async fn told(gateway: &Gateway, events: &[String]) -> usize {
    let mut damaged = 0;
    for event in events {
        for endpoint in ["bad", "off"] {
            let path = format!("/v1/tenants/acme/events/{event}/deliveries/{endpoint}");
            let delivery = gateway.admin().json(&path).await["delivery"].clone();
            match delivery["status"].as_str() {
                Some("pending") => {}
                Some("failed") if delivery["reason"].as_str().is_some_and(|why| why.contains("damaged")) => {
                    damaged += 1;
                }
                _ => panic!("{delivery}"),
            }
        }
    }
    damaged
}

#[tokio::test]
async fn a_damaged_page_costs_its_own_deliveries_and_no_start() {
    for (table, orderly) in [("fresh", true), ("fresh", false), ("delivery", true), ("delivery", false)] {
        let good = Receiver::always(Reply::Status(200)).await;
        let bad = Receiver::always(Reply::Status(503)).await;
        let (mut gateway, events) = waiting(&good, &bad).await;
        // All is in the main file after an orderly stop; the next start and kill leave it there.
        assert!(gateway.terminate().await.success());
        if !orderly {
            gateway.start_again().await;
            gateway.kill9().await;
        }
        let journal = journal(&gateway);
        for page in pages(&journal, table) {
            spoil(&journal, page, 0x5a);
        }
        for start in 1..=2 {
            gateway.start_again().await;
            // The neighbour goes on.
            let event = gateway.sender_of("other", OTHER_KEY).event("order.created", "1").await;
            gateway.admin().delivery("other", &event, "good", "delivered").await;
            let place = format!("{table}, orderly: {orderly}, start {start}");
            eventually(&format!("the damage to be told ({place})"), async || {
                let records = gateway.admin().json("/v1/damage?limit=200").await;
                let kinds: Vec<_> = records["data"].as_array().into_iter().flatten().collect();
                let is = |kind: &str| kinds.iter().filter(|record| record["kind"] == kind).count();
                if is("file") == 1 && is("delivery") >= EVENTS { Ok(()) } else { Err(records.to_string()) }
            })
            .await;
            assert_eq!(
                told(&gateway, &events).await,
                EVENTS,
                "{place}: all of one table, and none of the other"
            );
            // So does the tenant itself, and a delivery that failed so can be sent again.
            gateway.sender().event("order.created", "1").await;
            gateway.admin().json("/v1/tenants/acme/deliveries?status=failed").await;
            assert!(gateway.terminate().await.success(), "{place}");
        }
        let checked = check(&journal, &[]).await;
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}

#[tokio::test]
async fn a_damaged_event_is_listed_and_has_its_pages() {
    let good = Receiver::always(Reply::Status(200)).await;
    let config = tenant("acme", KEY) + &endpoint("acme", "good", &good.url("/"), "");
    let mut gateway = Gateway::start(config).await;
    let first = gateway.sender().event("order.created", "\"DATA-OF-THE-FIRST\"").await;
    let second = gateway.sender().event("order.created", "2").await;
    for event in [&first, &second] {
        gateway.admin().delivery("acme", event, "good", "delivered").await;
    }
    assert!(gateway.terminate().await.success());
    turn(&journal(&gateway), "DATA-OF-THE-FIRST");
    gateway.start_again().await;
    let admin = gateway.admin();
    let listed = admin.list("/v1/tenants/acme/events").await;
    let ids: Vec<_> =
        listed.iter().map(|event| (event["id"].as_str(), event["damaged"].is_string())).collect();
    assert_eq!(ids, [(Some(second.as_str()), false), (Some(first.as_str()), true)]);
    let detail = admin.json(&format!("/v1/tenants/acme/events/{first}")).await;
    assert!(detail["event"]["damaged"].is_string(), "{detail}");
    assert_eq!(detail["data"], "", "bytes that are not the sender's are shown to nobody");
    assert_eq!(detail["deliveries"][0]["status"], "delivered");
    for page in [
        "events".to_owned(),
        format!("events/{first}"),
        format!("deliveries/{first}/good"),
        format!("try?event={first}"),
    ] {
        let answer = admin.get(&format!("/t/acme/{page}")).await;
        assert_eq!(answer.status, 200, "{page}: {answer}");
    }
    let page = admin.get(&format!("/t/acme/events/{first}")).await.text();
    assert!(page.contains("Damaged:"), "{page}");
    let refused = admin.post(&format!("/v1/tenants/acme/events/{first}/replay"), "").await;
    assert_eq!(refused.status, 409, "{refused}");
    assert!(refused.text().contains("damaged"), "{refused}");
    eventually("the sweep to record it", async || {
        let records = admin.json("/v1/damage").await;
        if records["data"][0]["event"] == first.as_str() { Ok(()) } else { Err(records.to_string()) }
    })
    .await;
}

async fn check(journal: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.env_clear().args(["db", "check", "--data"]).arg(journal).args(more);
    run(&mut command, b"").await
}

#[tokio::test]
async fn the_journal_of_a_stopped_gateway_is_checked() {
    let good = Receiver::always(Reply::Status(200)).await;
    let config = tenant("acme", KEY) + &endpoint("acme", "good", &good.url("/"), "");
    let mut gateway = Gateway::start(config).await;
    let event = gateway.sender().event("order.created", "\"DATA-OF-THE-FIRST\"").await;
    gateway.admin().delivery("acme", &event, "good", "delivered").await;
    let journal = journal(&gateway);
    let refused = check(&journal, &[]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("a gateway is at work on the journal in"), "{}", refused.stderr);
    assert!(refused.stderr.contains("stop it first"), "{}", refused.stderr);
    // After a kill there is a log beside the file.
    gateway.kill9().await;
    let whole = check(&journal, &[]).await;
    assert_eq!(
        (whole.code, whole.stdout.as_str()),
        (Some(0), "the journal is whole: 1 events\n"),
        "{whole:?}"
    );
    gateway.start_again().await;
    assert!(gateway.terminate().await.success());

    turn(&journal, "DATA-OF-THE-FIRST");
    let before = fs::read(journal.join("journal.db")).expect("the file");
    let found = check(&journal, &[]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(
        found.stdout.starts_with(&format!("event acme {event} (number 1): the stored event is damaged\n")),
        "{}",
        found.stdout
    );
    let json = check(&journal, &["--json"]).await;
    let found: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(found["events"], 1);
    assert_eq!(
        (&found["damage"][0]["kind"], &found["damage"][0]["event"]),
        (&"event".into(), &event.as_str().into())
    );
    assert_eq!(fs::read(journal.join("journal.db")).expect("the file"), before, "nothing was changed");

    for page in pages(&journal, "event_id") {
        spoil(&journal, page, 0);
    }
    let found = check(&journal, &[]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains("file: "), "{}", found.stdout);
    let nowhere = check(Path::new("/nowhere"), &[]).await;
    assert!(nowhere.stderr.contains("there is no journal in /nowhere"), "{nowhere:?}");
}
