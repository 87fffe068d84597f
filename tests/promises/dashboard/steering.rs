//! Finding what failed, and steering.

use std::time::{Duration, Instant};

use hookweir_tests::{Browser, Reply};
use serde_json::json;

use super::scene::{Scene, mark, was_not_loaded_anew};
use crate::plugins::guests;

#[tokio::test]
async fn a_failed_delivery_is_found_understood_and_mended_without_loading_a_page_anew() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    let event = scene.filled().await;
    scene.open(&browser, "/").await;
    browser.shows("#failed", "500").await;

    // The one click from the overview.
    browser.click("#failed a.row").await;
    let path = format!("/t/acme/deliveries/{event}/billing");
    browser.until("the delivery's page", "return location.pathname === arguments[0]", json!([path])).await;
    mark(&browser).await;
    browser.shows("#live", "live").await;
    browser.shows("#verdict", "Given up: all 2 attempts failed").await;
    let way = browser.shows(".way", "HTTP 500").await;
    for words in ["Accepted", "Attempt 1", "Attempt 2", "does not exist", "7f31c9", "Given up"] {
        assert!(way.contains(words), "no {words:?} in {way}");
    }
    assert!(browser.text("#reason").await.contains("500"), "the reason is told first");

    // A retry that fails says so, one that arrives too.
    browser.click("#retry").await;
    browser.shows(".way", "Attempt 3").await;
    browser.shows("#notes", "Not delivered: invoice.paid to billing").await;
    scene.receiver.follow(|_, _| Reply::Status(200));
    scene.gateway.admin().delivery("acme", &event, "billing", "exhausted").await;
    browser.click("#retry").await;
    browser.shows("#verdict", "Delivered after").await;
    browser.shows("#notes", "Delivered: invoice.paid to billing").await;
    was_not_loaded_anew(&browser).await;
    assert_eq!(browser.violations().await, [""; 0]);
}

#[tokio::test]
async fn the_overview_shows_what_happens_within_a_second_and_retries_in_place() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    scene.open(&browser, "/").await;
    browser.shows(".empty.good", "Nothing failed").await;
    let sent = Instant::now();
    scene.gateway.sender().event("invoice.paid", "1").await;
    browser.shows("#e-acme-archive [data-count=delivered]", "1").await;
    let seen = sent.elapsed();
    println!("an event was on the overview {seen:?} after it was sent");
    assert!(seen < Duration::from_secs(1), "{seen:?}");
    browser.shows("#e-acme-billing [data-count=failed]", "1").await;
    browser.shows("#failed", "exhausted").await;

    scene.receiver.follow(|_, _| Reply::Status(200));
    browser.click("#failed button[data-post]").await;
    browser.shows("#notes", "Delivered: invoice.paid to billing").await;
    browser
        .until("the failed one to leave the list", "return !document.querySelector('#failed')", json!([]))
        .await;
    browser.shows("#e-acme-billing .pill", "healthy").await;
    was_not_loaded_anew(&browser).await;
}

#[tokio::test]
async fn an_endpoint_is_disabled_enabled_tested_and_recovered() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    let admin = scene.gateway.admin();
    let enabled = async |endpoint: &str| {
        admin.json(&format!("/v1/tenants/acme/endpoints/{endpoint}")).await["enabled"].clone()
    };
    scene.open(&browser, "/t/acme/endpoints/archive").await;
    browser.shows("h1", "healthy").await;
    browser.click("#switch").await;
    browser.shows("h1", "disabled").await;
    browser.shows("#switch", "Enable").await;
    assert_eq!(enabled("archive").await, false);
    let event = scene.gateway.sender().event("order.paid", "1").await;
    browser.shows("main", "order.paid").await;
    browser.click("#switch").await;
    browser.shows("#switch", "Disable").await;
    assert_eq!(enabled("archive").await, true);
    admin.delivery("acme", &event, "archive", "delivered").await;
    browser.shows(".list .pill", "delivered").await;

    browser.click("#test").await;
    browser.shows("#tested", "HTTP 200").await;
    was_not_loaded_anew(&browser).await;

    let lost = scene.failed().await;
    scene.open(&browser, "/t/acme/endpoints/billing").await;
    browser.click("#recovery button[type=submit]").await;
    browser.shows("#recover-count", "1 delivery would be sent again").await;
    scene.receiver.follow(|_, _| Reply::Status(200));
    browser.click("#recover-now").await;
    admin.delivery("acme", &lost, "billing", "delivered").await;
    browser.shows(".list .pill", "delivered").await;
    was_not_loaded_anew(&browser).await;
}

#[tokio::test]
async fn a_component_is_compared_on_stored_events_and_put_in_force() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    scene.filled().await;
    let folder = tempfile::tempdir().expect("a folder for components");
    let component = folder.path().join("other.wasm");
    std::fs::write(&component, guests::dropping(&["not on a Sunday"])).expect("the component to be written");
    let component = component.to_str().expect("a path that is text");
    let digest =
        async || scene.gateway.admin().json("/v1/tenants/acme/plugins/keep-above").await["digest"].clone();
    let before = digest().await;

    scene.open(&browser, "/t/acme/plugins/keep-above").await;
    browser.write("#upload input[type=file]", component).await;
    browser.click("#dry").await;
    browser.shows("#result", "5 stored events: 5 results would change, 0 would not").await;
    let removed = browser.shows("#result details[open] del", "application/json").await;
    let whole = browser.text("#result details[open] .diff").await;
    assert!(whole.contains("not on a Sunday") && whole.contains("New order"), "{removed}: {whole}");
    assert_eq!(digest().await, before, "a dry run changes nothing");

    browser.click("#force").await;
    browser.shows("#notes", "In force").await;
    let after = digest().await;
    assert_ne!(after, before);
    browser.shows("aside .copy", after.as_str().expect("a digest")).await;
    let event = scene.gateway.sender().event("order.created", r#"{"order":{"total":500}}"#).await;
    scene.gateway.admin().delivery("acme", &event, "chat", "filtered").await;
    browser.click("[data-post$=rollback]").await;
    browser.shows("aside .copy", before.as_str().expect("a digest")).await;
    browser.click("[data-post$=pause]").await;
    browser.shows("h1", "paused").await;
    browser.click("[data-post$=resume]").await;
    browser.shows("h1", "active").await;
    was_not_loaded_anew(&browser).await;
}

#[tokio::test]
async fn a_chain_is_tried_on_a_stored_event_and_a_list_is_filtered() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    scene.filled().await;
    scene.open(&browser, "/t/acme/deliveries").await;
    browser.script("document.querySelector('[name=status]').value = 'filtered'", json!([])).await;
    browser.click(".filters button").await;
    browser
        .until("two of them", "return document.querySelectorAll('.list tbody tr').length === 2", json!([]))
        .await;
    browser.click(".list a.row").await;
    browser.shows(".way", "Dropped by a filter").await;
    browser.click(".actions a").await;
    browser
        .until(
            "the stored event",
            "return document.querySelector('[name=endpoint]')?.value === 'chat'",
            json!([]),
        )
        .await;
    browser.click("#try button.main").await;
    browser.shows("#made", "A filter drops it").await;
    browser.script("const f = document.querySelector('[name=data]'); f.value = f.value.replace('\"total\": 95', '\"total\": 950')", json!([])).await;
    browser.click("#try button.main").await;
    browser.shows("#made", "It would be sent").await;
    browser.shows("#made .diff", "New order A-95").await;
    let calls = scene.receiver.count();
    assert_eq!(calls, 3 + 5 + 1 + 2, "nothing of it was sent");
}

#[tokio::test]
async fn what_is_typed_into_a_filter_stays_while_the_list_goes_on() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    scene.filled().await;
    for (page, row) in [("events", "v-"), ("deliveries", "d-")] {
        scene.open(&browser, &format!("/t/acme/{page}")).await;
        browser.write("[name=id]", "evt_0").await;
        let event = scene.gateway.sender().event("order.paid", "1").await;
        browser.shows(&format!("[id^='{row}{event}']"), "order.paid").await;
        let kept = "const field = document.querySelector('[name=id]'); return [field.value, field === document.activeElement]";
        assert_eq!(browser.script(kept, json!([])).await, json!(["evt_0", true]), "{page}");
    }
}

#[tokio::test]
async fn a_delivery_shows_what_came_in_beside_what_went_out_and_is_cancelled() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    scene.receiver.follow(|_, _| Reply::Status(503));
    let event = scene.gateway.sender().event("order.created", r#"{"order":{"total":500}}"#).await;
    let path = format!("/t/acme/deliveries/{event}/chat");
    scene.receiver.wait_for(1).await;
    scene.open(&browser, &path).await;
    browser.shows("#verdict", "1 attempt failed").await;
    browser.shows("#went-out", "New order").await;
    assert!(!browser.text("[aria-label='Data as it came in']").await.contains("New order"));
    browser.click("section[aria-labelledby=sent] summary").await;
    assert!(browser.text(".diff ins").await.contains("+"), "{}", browser.text(".diff").await);
    browser.shows(".timings", "first byte").await;
    browser.click(".way details:last-of-type summary").await;
    browser.shows(".way .headers", "webhook-id").await;

    browser.click("#cancel").await;
    browser.shows("#verdict", "Cancelled: no further attempt is made").await;
    was_not_loaded_anew(&browser).await;
    let detail = scene.gateway.admin().delivery("acme", &event, "chat", "cancelled").await;
    assert_eq!(detail["delivery"]["reason"], "cancelled by hand");
    assert_eq!(browser.violations().await, [""; 0]);
}

#[tokio::test]
async fn pages_of_an_endpoint_and_a_plugin_tell_how_the_last_calls_went() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    scene.filled().await;
    scene.open(&browser, "/t/acme/endpoints/archive").await;
    browser.shows("#times", "How long the last 6 took").await;
    let counted = "return [...document.querySelectorAll('.bars td.num')].reduce((sum, cell) => sum + Number(cell.textContent), 0)";
    assert_eq!(browser.script(counted, json!([])).await, 6);

    let calls = "[aria-labelledby=calls] tbody";
    for (plugin, row) in [("keep-above", "filter"), ("to-slack", "transformer")] {
        scene.open(&browser, &format!("/t/acme/plugins/{plugin}")).await;
        let text = browser.shows(calls, row).await;
        let wanted = if plugin == "keep-above" { "5" } else { "3" };
        assert!(text.contains(wanted) && text.contains("µs") && text.contains("MiB"), "{plugin}: {text}");
        assert_eq!(
            browser.script("return document.querySelector('#failures')", json!([])).await,
            json!(null)
        );
    }
    let admin = scene.gateway.admin();
    for (plugin, component) in [
        ("keep-above", guests::keeping(&["of <b>Sunday</b>"])),
        ("to-slack", guests::refusing(&["no order"])),
    ] {
        admin.put(&format!("/v1/tenants/acme/plugins/{plugin}"), component).await.expect(200);
    }
    let event = scene.gateway.sender().event("order.created", r#"{"order":{"total":500}}"#).await;
    admin.delivery("acme", &event, "chat", "failed").await;
    scene.open(&browser, "/t/acme/plugins/keep-above").await;
    browser.shows("pre.log", "of <b>Sunday</b>").await;
    scene.open(&browser, "/t/acme/plugins/to-slack").await;
    browser.shows("#failures", "1 invalid").await;
    browser.shows("pre.log", "no order").await;
    assert_eq!(browser.violations().await, [""; 0]);
}
