//! Every page in both themes, on a desk and on a phone: pictures in `target/screenshots`, no fault that axe-core calls
//! serious, nothing wider than the window; and all of it by keyboard.

use hookweir_tests::{Browser, Config, Gateway, KEY, Theme, axe, target, tenant};
use serde_json::{Value, json};

use super::scene::Scene;
use super::strings::long;
use crate::plugins::guests;

/// Rules of WCAG 2.2 to AA, and what is good practice.
const RUN: &str = "const done = arguments[arguments.length - 1]; \
    axe.run(document, {resultTypes: ['violations'], preload: false}).then((found) => done(found.violations\
    .filter((v) => v.impact === 'serious' || v.impact === 'critical')\
    .map((v) => `${v.id}: ${v.nodes.map((n) => n.html + ' ' + n.failureSummary).join(' | ')}`)), (error) => done([String(error)]))";

const ENTER: char = '\u{e007}';
const TAB: char = '\u{e004}';

struct Looks<'a> {
    browser: &'a Browser,
    axe: String,
    /// A file with a component to compare with the one in force.
    component: String,
}

impl Looks<'_> {
    /// Looks at a page in each width and theme. `ready` is a selector and what it shows once the page is whole; `prepare` is
    /// asked until it answers true.
    async fn at(&self, name: &str, url: &str, ready: (&str, &str), prepare: &str) {
        let folder = target().join("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        for theme in [Theme::Light, Theme::Dark] {
            for width in [1280, 360] {
                let what = format!("{name}-{width}-{}", theme.as_str());
                self.browser.look(width, theme).await;
                self.browser.open(url).await;
                self.browser.shows(ready.0, ready.1).await;
                if prepare.contains("#dry") {
                    self.browser.write("#upload input[type=file]", &self.component).await;
                }
                if !prepare.is_empty() {
                    self.browser.until("the page to be ready", prepare, json!([])).await;
                }
                self.browser.picture(&folder.join(format!("{what}.png"))).await;
                // A scroll bar at the side may take its part of the window.
                let wide = "const page = document.documentElement; return [innerWidth, page.scrollWidth - page.clientWidth]";
                let wide = self.browser.script(wide, json!([])).await;
                assert_eq!(wide, json!([width, 0]), "{what} is wider than its window");
                assert_eq!(self.browser.violations().await, [""; 0], "{what}");
                self.browser.script(&self.axe, json!([])).await;
                assert_eq!(self.browser.script_async(RUN, json!([])).await, json!([]), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn every_page_can_be_used_by_everybody() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    let failed = scene.filled().await;
    let sender = scene.gateway.sender();
    let wide = json!({"type": format!("a.{}", "b".repeat(200)), "subject": long(), "source": long(), "data": {"wide": long()}});
    let wide = sender.post(&[], wide.to_string()).await.expect(202).json();
    let wide = wide["id"].as_str().expect("an id").to_owned();
    scene.gateway.admin().delivery("acme", &wide, "archive", "delivered").await;
    scene.gateway.admin().post("/v1/tenants/acme/plugins/to-slack/pause", "").await.expect(200);
    let waiting = sender.event("order.created", r#"{"order":{"total":170}}"#).await;
    let list = scene.gateway.admin().json("/v1/tenants/acme/deliveries?endpoint=chat&status=delivered").await;
    let delivered = list["data"][0]["event"].as_str().expect("a delivered one").to_owned();
    let dropped = scene.gateway.admin().json("/v1/tenants/acme/deliveries?status=filtered").await;
    let dropped = dropped["data"][0]["event"].as_str().expect("a filtered one").to_owned();

    let folder = tempfile::tempdir().expect("a folder for components");
    let component = folder.path().join("other.wasm");
    std::fs::write(&component, guests::dropping(&["orders rest on Sundays"])).expect("a component");
    let component = component.to_str().expect("a path that is text").to_owned();
    let looks = Looks { browser: &browser, axe: format!("{}; window.axe = axe", axe()), component };
    let run = "const made = document.querySelector('#made .diff, #made .callout'); \
        if (!made && !window.asked) { window.asked = true; document.querySelector('[name=endpoint]').value = 'archive'; \
        document.querySelector('#try').requestSubmit(); } return !!made";
    let dry = "const made = document.querySelector('#result .callout'); \
        if (!made && !window.asked) { window.asked = true; document.querySelector('#dry').click(); } return !!made";
    let settled = "return document.querySelector('#live').dataset.state === 'live'";
    for (name, path, ready, prepare) in [
        ("overview", "/".to_owned(), ("#failed", "500"), settled),
        ("tenant", "/t/acme".to_owned(), ("h1", "acme"), settled),
        ("events", "/t/acme/events".to_owned(), ("h1", "Events"), settled),
        ("event", format!("/t/acme/events/{failed}"), ("main", "billing"), settled),
        ("event-wide", format!("/t/acme/events/{wide}"), ("main", "archive"), settled),
        ("delivery-wide", format!("/t/acme/deliveries/{wide}/archive"), ("#verdict", "Delivered"), settled),
        ("deliveries", "/t/acme/deliveries".to_owned(), ("h1", "Deliveries"), settled),
        (
            "deliveries-none",
            "/t/acme/deliveries?status=expired".to_owned(),
            ("main", "No deliveries here"),
            settled,
        ),
        (
            "delivery-failed",
            format!("/t/acme/deliveries/{failed}/billing"),
            ("#verdict", "Given up"),
            settled,
        ),
        (
            "delivery-delivered",
            format!("/t/acme/deliveries/{delivered}/chat"),
            ("#verdict", "Delivered"),
            settled,
        ),
        (
            "delivery-filtered",
            format!("/t/acme/deliveries/{dropped}/chat"),
            ("#verdict", "A filter dropped it"),
            settled,
        ),
        (
            "delivery-waiting",
            format!("/t/acme/deliveries/{waiting}/chat"),
            ("#verdict", "It waits for a plugin"),
            settled,
        ),
        ("endpoint", "/t/acme/endpoints/billing".to_owned(), ("h1", "billing"), settled),
        ("endpoint-answers", "/t/acme/endpoints/archive".to_owned(), ("h1", "archive"), settled),
        ("plugin", "/t/acme/plugins/keep-above".to_owned(), ("h1", "keep-above"), dry),
        ("plugin-paused", "/t/acme/plugins/to-slack".to_owned(), ("h1", "paused"), settled),
        ("try", format!("/t/acme/try?event={delivered}"), ("h1", "Try"), run),
        ("not-found", "/t/acme/events/none".to_owned(), ("h1", "Not Found"), ""),
    ] {
        looks.at(name, &scene.url(&path), ready, prepare).await;
    }
    let closed = Gateway::start(Config {
        admin: "token = \"a-token-that-nobody-types\"".to_owned(),
        ..Config::new(tenant("acme", KEY))
    })
    .await;
    looks.at("login", &format!("http://{}/", closed.admin_address()), ("h1", "Log in"), "").await;
}

#[tokio::test]
async fn the_keyboard_is_enough_and_the_theme_can_be_chosen() {
    let (scene, browser) = (Scene::start().await, Browser::start().await);
    let failed = scene.failed().await;
    browser.look(1280, Theme::Light).await;
    scene.open(&browser, "/").await;
    let focused = async || {
        browser
            .script("return document.activeElement.innerText || document.activeElement.id", json!([]))
            .await
    };
    browser.press(TAB).await;
    assert_eq!(focused().await, "Skip to the content");
    // To the failed delivery, and from there to its retry.
    tab_to(&browser, "#failed a.row").await;
    let ring =
        "const s = getComputedStyle(document.activeElement); return s.outlineStyle + ' ' + s.outlineWidth";
    assert_eq!(browser.script(ring, json!([])).await, "solid 2px", "what has the focus is seen");
    browser.press(ENTER).await;
    browser.shows("#verdict", "Given up").await;
    browser.shows("#live", "live").await;
    tab_to(&browser, "#retry").await;
    browser.press(ENTER).await;
    browser.shows(".way", "Attempt 3").await;
    let kept = browser.script("return document.activeElement.id", json!([])).await;
    assert_eq!(kept, "retry", "what changes around it leaves the focus where it is");
    scene.gateway.admin().delivery("acme", &failed, "billing", "exhausted").await;

    let paper =
        async || browser.script("return getComputedStyle(document.body).backgroundColor", json!([])).await;
    let light = paper().await;
    browser.click("#theme").await;
    let dark = paper().await;
    assert_ne!(light, dark);
    scene.open(&browser, "/t/acme").await;
    assert_eq!(paper().await, dark, "it is kept");
    browser.look(1280, Theme::Dark).await;
    browser.click("#theme").await;
    assert_eq!(paper().await, light, "and stronger than the system's");
}

async fn tab_to(browser: &Browser, css: &str) {
    for _ in 0..40 {
        browser.press(TAB).await;
        let there = "return document.activeElement === document.querySelector(arguments[0])";
        if browser.script(there, json!([css])).await == Value::Bool(true) {
            return;
        }
    }
    panic!("{css} can't be reached by the tab key");
}
