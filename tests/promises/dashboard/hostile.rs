//! Whatever is shown comes from senders, receivers and plugins, and none of it is ever more than text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hookweir_tests::{Browser, Config, Gateway, KEY, Receiver, Reply, endpoint, eventually, tenant};
use serde_json::{Value, json};

use super::strings::{NAUGHTY, SCRIPTS, long};
use crate::plugins::guests::{dropping, install, refusing};

/// What a plugin's reason and log hold of a text.
const TOLD: usize = 900;

/// Pages that were looked at, and what was wrong with them.
struct Watch<'a> {
    browser: &'a Browser,
    origin: String,
    pages: usize,
    requests: usize,
}

impl Watch<'_> {
    /// Opens a page, waits until its scripts run, and fails on anything but a page that shows text. Answers its text.
    async fn look(&mut self, path: &str) -> String {
        self.browser.open(&format!("{}{path}", self.origin)).await;
        self.browser.until("the page's scripts", "return !document.querySelector('#main').dataset.live || document.querySelector('#live').dataset.state === 'live'", json!([])).await;
        self.check(path).await;
        self.browser.text("main").await
    }

    async fn check(&mut self, path: &str) {
        // A dialog that is open fails every script.
        let seen = self.browser.script(FOREIGN, json!([])).await;
        assert_eq!(seen, json!([]), "{path} holds elements that no template has");
        assert_eq!(self.browser.violations().await, [""; 0], "{path}");
        let heard = self.browser.heard().await;
        assert!(heard.dialogs.is_empty() && heard.errors.is_empty(), "{path}: {heard:?}");
        // A field for a date draws its own sign, from an address that holds it.
        let is_outside = |url: &&String| !url.starts_with(&self.origin) && !url.starts_with("data:");
        let outside: Vec<_> = heard.requests.iter().filter(is_outside).collect();
        assert!(outside.is_empty(), "{path} asked for {outside:?}");
        self.pages += 1;
        self.requests += heard.requests.len();
    }
}

/// Elements and attributes that no page of ours has.
const FOREIGN: &str = r"
    const names = new Set(`html head meta title link script body a header div span svg path circle polyline rect button form
        main footer nav h1 h2 h3 p section aside dl dt dd table caption thead tbody tr th td time code small strong label
        input select option textarea pre ins del details summary ol li`.split(/\s+/));
    const leads = /^(href|src|action|formaction|data|xlink:href)$/i;
    const isForeign = (attribute) => /^(on|style$)/i.test(attribute.name)
        || (leads.test(attribute.name) && !/^([/#?]|$|http:\/\/127)/i.test(attribute.value));
    return [...document.querySelectorAll('*')]
        .filter((e) => !names.has(e.localName) || e.style.length > 0 || [...e.attributes].some(isForeign)
            || (e.tagName === 'SCRIPT' && !/^\/assets\/[a-z]+\.js$/.test(e.getAttribute('src'))))
        .map((e) => e.outerHTML.slice(0, 200))";

#[tokio::test]
async fn hostile_text_stays_text_wherever_it_is_shown() {
    let strings: Vec<String> =
        SCRIPTS.iter().chain(&NAUGHTY).map(ToString::to_string).chain([long()]).collect();
    let folder = tempfile::tempdir().expect("a folder for plugins");
    // The receiver says of each event what its sender said.
    let answers: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let receiver = Receiver::start({
        let answers = Arc::clone(&answers);
        move |_, request| {
            let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            let said = answers.get(request.event()).cloned().unwrap_or_default();
            Reply::Whole(500, vec![("content-type", "text/html".to_owned())], said.into())
        }
    })
    .await;
    let mut config = tenant("acme", KEY)
        + &endpoint(
            "acme",
            "echo",
            &receiver.url("/echo?<script>alert(1)</script>"),
            "event_types = [\"a.*\"]\nretry = { waits = [] }\nbreaker = false",
        );
    let told = told(&strings);
    for (number, text) in told.iter().enumerate() {
        for (name, wasm, role) in
            [("drop", dropping(text), "filters"), ("refuse", refusing(text), "transformers")]
        {
            let name = format!("{name}-{number}");
            config += &install(folder.path(), "acme", &name, &wasm);
            config += &endpoint(
                "acme",
                &name,
                &receiver.url("/"),
                &format!("event_types = [\"plugin.told\"]\n{role} = [\"{name}\"]\nretry = {{ waits = [] }}"),
            );
        }
    }
    let gateway =
        Gateway::start(Config { plugins: "log = \"4KiB\"".to_owned(), ..Config::new(config) }).await;
    let (admin, browser) = (gateway.admin(), Browser::start().await);
    let origin = format!("http://{}", gateway.admin_address());
    let mut watch = Watch { browser: &browser, origin: origin.clone(), pages: 0, requests: 0 };
    // The overview watches while all of it happens.
    watch.look("/").await;

    let mut events = Vec::new();
    for (number, text) in strings.iter().enumerate() {
        let body = event(number, text);
        let id = body["id"].as_str().map_or_else(|| format!("evt-{number}"), str::to_owned);
        let mut body = body;
        body["id"] = id.as_str().into();
        answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), format!("{text}\n{{\"said\": {}}}", Value::from(text.as_str())));
        gateway.sender().post(&[], body.to_string()).await.expect(202);
        events.push(id);
    }
    let plugin_event = gateway.sender().event("plugin.told", "1").await;
    for (number, _) in told.iter().enumerate() {
        admin.delivery("acme", &plugin_event, &format!("drop-{number}"), "filtered").await;
        admin.delivery("acme", &plugin_event, &format!("refuse-{number}"), "failed").await;
    }
    eventually("all deliveries to be given up", async || {
        match admin.count("acme", "echo", "exhausted").await {
            count if count == strings.len() as u64 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    browser.shows("#failed", "exhausted").await;
    watch.check("the overview, meanwhile").await;
    // What is told of a retry goes through a script.
    browser.click("#failed button[data-post]").await;
    browser.shows("#notes", "Not delivered").await;
    watch.check("the overview, after a retry").await;

    for path in [
        "/",
        "/t/acme",
        "/t/acme/events?limit=500",
        "/t/acme/deliveries?limit=500",
        "/t/acme/endpoints/echo",
        "/t/acme/plugins/drop-0",
    ] {
        watch.look(path).await;
    }
    for (id, text) in events.iter().zip(&strings) {
        let segment = segment(id);
        let shown = watch.look(&format!("/t/acme/events/{segment}")).await;
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            assert!(
                shown.replace('\n', "").contains(&Value::from(text.as_str()).to_string()),
                "{text} is not shown as it is: {shown}"
            );
        }
        let shown = watch.look(&format!("/t/acme/deliveries/{segment}/echo")).await;
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            assert!(shown.replace('\n', "").contains(text), "{text} is not shown as it is: {shown}");
        }
    }
    for (number, event) in events.iter().enumerate().take(told.len()) {
        for name in ["drop", "refuse"] {
            watch.look(&format!("/t/acme/deliveries/{}/{name}-{number}", segment(&plugin_event))).await;
        }
        // What scripts show: a trial and a dry run.
        watch.look(&format!("/t/acme/try?event={}&endpoint=refuse-{number}", segment(event))).await;
        browser.click("#try button.main").await;
        browser.shows("#made", "It could not be sent").await;
        watch.check("a trial").await;
    }
    for text in SCRIPTS {
        let typed = "document.querySelector('[name=data]').value = arguments[0]; document.querySelector('[name=endpoint]').value = 'echo'; \
            document.querySelector('#made').replaceChildren()";
        browser.script(typed, json!([Value::from(text).to_string()])).await;
        browser.click("#try button.main").await;
        browser.shows("#made .diff", &Value::from(text).to_string()).await;
    }
    watch.check("trials of all scripts").await;
    watch.look("/t/acme/plugins/refuse-0").await;
    let component = folder.path().join("drop-again.wasm");
    std::fs::write(&component, refusing(&told[1])).expect("a component");
    browser.write("#upload input[type=file]", component.to_str().expect("a path that is text")).await;
    browser.click("#dry").await;
    browser.shows("#result", "1 result would change").await;
    watch.check("a dry run").await;
    // Queries and paths are shown again too.
    for text in SCRIPTS {
        let text = segment(text);
        for path in [
            format!("/t/acme/events?event_type={text}"),
            format!("/t/{text}"),
            format!("/t/acme/try?event={text}&endpoint={text}"),
        ] {
            watch.browser.open(&format!("{origin}{path}")).await;
            assert_eq!(watch.browser.violations().await, [""; 0], "{path}");
            assert_eq!(watch.browser.script(FOREIGN, json!([])).await, json!([]), "{path}");
        }
    }
    let heard = browser.heard().await;
    assert!(heard.dialogs.is_empty(), "{heard:?}");
    assert!(heard.errors.iter().all(|error| error.contains("status of 40")), "{heard:?}");
    assert!(
        heard.requests.iter().all(|url| url.starts_with(&origin) || url.starts_with("data:")),
        "{heard:?}"
    );
    println!(
        "{} strings in ids, subjects, sources, ordering keys, data, answers, reasons and logs: {} pages, {} requests, \
         0 dialogs, 0 outside requests, 0 violations",
        strings.len(),
        watch.pages,
        watch.requests + heard.requests.len(),
    );
}

/// An event that has a text wherever its sender may put one.
fn event(number: usize, text: &str) -> Value {
    let id: String = text.chars().filter(|sign| sign.is_ascii_graphic() && *sign != '.').take(100).collect();
    let mut event = json!({"type": "a.b", "data": {"text": text, text: [text, {text: 1}]}});
    event["id"] = format!("{number}{id}").into();
    // Control characters are refused there.
    let printable: String = text.chars().filter(|sign| !sign.is_control()).collect();
    if !printable.is_empty() {
        for member in ["source", "subject", "ordering_key"] {
            event[member] = printable.as_str().into();
        }
    }
    event
}

/// All texts, in as many pieces as plugins are needed to tell them.
fn told(strings: &[String]) -> Vec<String> {
    let mut told = vec![String::new()];
    for text in strings {
        if told.last().is_some_and(|last| last.len() + text.len() > TOLD) {
            told.push(String::new());
        }
        if let Some(last) = told.last_mut() {
            last.push_str(text);
            last.push(' ');
        }
    }
    told
}

fn segment(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
