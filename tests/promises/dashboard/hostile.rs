//! Whatever is shown comes from senders, receivers and plugins, and none of it is ever more than text.

use std::collections::HashMap;
use std::path::Path;

use hookweir_tests::{Admin, Browser, Config, Gateway, KEY, Receiver, Reply, endpoint, eventually, tenant};
use serde_json::{Value, json};

use super::sent::{Sent, Taken, runs};
use super::strings::{NAUGHTY, SCRIPTS, big_list, long};
use super::watch::Watch;
use crate::plugins::guests::{dropping, install, keeping, refusing};

/// Each endpoint of the scene, and what becomes of its deliveries.
const ENDS: [(&str, &str); 3] = [("echo", "exhausted"), ("drop", "filtered"), ("refuse", "failed")];

#[tokio::test]
async fn hostile_text_stays_text_wherever_it_is_shown() {
    let public = big_list();
    let count = public.len();
    let own = SCRIPTS.iter().chain(&NAUGHTY).map(ToString::to_string).chain([long()]);
    let texts: Vec<String> = own.chain(public).collect();
    let sent: Vec<Sent> = texts
        .iter()
        .cloned()
        .chain(runs(&texts))
        .enumerate()
        .map(|(number, text)| Sent::new(number, text))
        .collect();
    let (alone, in_runs) = sent.split_at(texts.len());
    let taken = Taken::count(alone);
    assert!(taken.free.iter().all(|(_, whole)| texts.len() - whole < 32), "{}", taken.ledger());
    assert!(taken.ruled.iter().all(|(_, whole)| *whole > 50), "{}", taken.ledger());

    let folder = tempfile::tempdir().expect("a folder for plugins");
    let receiver = receiver(&sent).await;
    let config = Config {
        plugins: "log = \"4KiB\"".to_owned(),
        ..Config::new(config(&sent, &receiver, folder.path()))
    };
    let gateway = Gateway::start(config).await;
    let (admin, browser) = (gateway.admin(), Browser::start().await);
    let mut watch = Watch::new(&browser, format!("http://{}", gateway.admin_address()));

    // The overview watches while all of it happens.
    watch.look("/", "return null").await;
    for one in &sent {
        gateway.sender().post(&[], one.body()).await.expect(202);
    }
    settled(&admin, sent.len()).await;
    browser.shows("#failed", "exhausted").await;
    watch.check("the overview, meanwhile").await;
    // What is told of a retry goes through a script.
    browser.click("#failed button[data-post]").await;
    browser.shows("#notes", "Not delivered").await;
    watch.check("the overview, after a retry").await;

    for path in ["/", "/t/acme", "/t/acme/endpoints/echo", "/t/acme/plugins/drop"] {
        watch.look(path, "return null").await;
    }
    lists(&mut watch, &sent).await;
    let (scripts, others) = alone.split_at(SCRIPTS.len());
    let one_in = if std::env::var_os("HOOKWEIR_LONG").is_some() { 1 } else { 5 };
    let opened: Vec<&Sent> = in_runs.iter().chain(scripts).chain(others.iter().step_by(one_in)).collect();
    details(&mut watch, &opened).await;
    trials(&mut watch, scripts).await;
    dry_run(&mut watch, &sent, folder.path()).await;
    watch.hear("all pages", |_| false).await;
    questions(&mut watch).await;
    println!(
        "{} strings ({count} of the Big List of Naughty Strings, {} that are scripts, {} more), whole in: {}; each in the lists, \
         {} on pages of their own and all in {} runs of several: {}",
        texts.len(),
        SCRIPTS.len(),
        texts.len() - count - SCRIPTS.len(),
        taken.ledger(),
        opened.len() - in_runs.len(),
        in_runs.len(),
        watch.ledger(),
    );
}

/// A receiver that says of each event what its sender said.
async fn receiver(sent: &[Sent]) -> Receiver {
    let answers: HashMap<String, String> =
        sent.iter().map(|one| (one.id.clone(), one.text.clone())).collect();
    Receiver::start(move |_, request| {
        let said = answers.get(request.event()).cloned().unwrap_or_default();
        Reply::Whole(500, vec![("content-type", "text/html".to_owned())], said.into())
    })
    .await
}

/// Endpoints that every event goes to: one answers its text after a filter has logged it, one drops it and one refuses it
/// with its text as the reason.
fn config(sent: &[Sent], receiver: &Receiver, folder: &Path) -> String {
    let texts: Vec<&str> = sent.iter().map(|one| one.text.as_str()).collect();
    let url = receiver.url("/echo?<script>alert(1)</script>");
    let once = "retry = { waits = [] }\nbreaker = false";
    let uses = |name, role: &str| endpoint("acme", name, &url, &format!("{role}\n{once}"));
    tenant("acme", KEY)
        + &install(folder, "acme", "keep", &keeping(&texts))
        + &install(folder, "acme", "drop", &dropping(&texts))
        + &install(folder, "acme", "refuse", &refusing(&texts))
        + &uses("echo", "filters = [\"keep\"]")
        + &uses("drop", "filters = [\"drop\"]")
        + &uses("refuse", "transformers = [\"refuse\"]")
}

async fn settled(admin: &Admin, count: usize) {
    for (endpoint, status) in ENDS {
        eventually(&format!("all deliveries to {endpoint} to be {status}"), async || {
            match admin.count("acme", endpoint, status).await {
                ended if ended == count as u64 => Ok(()),
                ended => Err(ended.to_string()),
            }
        })
        .await;
    }
}

/// Each list shows each text as it is, and still does so where scripts have read it anew.
async fn lists(watch: &mut Watch<'_>, sent: &[Sent]) {
    let mut rows: Vec<Value> = sent.iter().map(Sent::row).collect();
    rows.reverse();
    assert_eq!(listed(watch, "/t/acme/events?limit=500", EVENTS).await, rows);
    for (endpoint, _) in &ENDS[1..] {
        let path = format!("/t/acme/deliveries?endpoint={endpoint}&limit=500");
        let rows = listed(watch, &path, DELIVERIES).await;
        let reasons: HashMap<_, _> = rows.iter().map(|row| (row[0].as_str(), &row[1])).collect();
        assert_eq!((rows.len(), reasons.len()), (sent.len(), sent.len()));
        for one in sent {
            ends(reasons[&Some(one.id.as_str())], &one.spelt());
        }
    }
    listed(watch, "/t/acme/deliveries?limit=500", DELIVERIES).await;
}

/// The rows of all pages of a list.
async fn listed(watch: &mut Watch<'_>, path: &str, rows: &str) -> Vec<Value> {
    let read = format!(
        "{rows}; const next = document.querySelector('nav.pages a'); return [rows, next && next.pathname + next.search]"
    );
    let (mut next, mut all) = (Some(path.to_owned()), Vec::new());
    while let Some(path) = next {
        let seen = watch.look(&path, &read).await;
        assert_eq!(
            watch.look_anew(&path, &read).await,
            seen,
            "{path} is another page once scripts have read it anew"
        );
        next = seen[1].as_str().map(str::to_owned);
        all.extend(seen[0].as_array().expect("rows").iter().cloned());
    }
    all
}

/// The page of an event, and of the delivery that has most to tell, shows each text as it is.
async fn details(watch: &mut Watch<'_>, sent: &[&Sent]) {
    for some in sent.chunks(25) {
        for one in some {
            let event = segment(&one.id);
            let mut shown = watch.look(&format!("/t/acme/events/{event}"), EVENT).await;
            for (endpoint, _) in &ENDS[1..] {
                ends(&shown["reasons"][endpoint], &one.spelt());
            }
            shown.as_object_mut().expect("a page").remove("reasons");
            assert_eq!(shown, one.page());
            let shown = watch.look(&format!("/t/acme/deliveries/{event}/echo"), DELIVERY).await;
            assert_eq!(shown, one.delivery());
        }
        watch.hear("events and deliveries", |_| false).await;
    }
    // The other ends of the same way.
    for one in sent.iter().step_by(10) {
        for (endpoint, _) in &ENDS[1..] {
            let path = format!("/t/acme/deliveries/{}/{endpoint}", segment(&one.id));
            let reason = watch.look(&path, "return document.querySelector('#reason').textContent").await;
            ends(&reason, &one.spelt());
        }
    }
}

/// What scripts show of a trial: the form has what is kept of an event, and the result what was typed.
async fn trials(watch: &mut Watch<'_>, sent: &[Sent]) {
    for one in sent.iter().step_by(4) {
        let path = format!("/t/acme/try?event={}&endpoint=refuse", segment(&one.id));
        let subject = watch.look(&path, "return document.querySelector('[name=subject]').value").await;
        assert_eq!(subject, one.text);
        watch.browser.click("#try button.main").await;
        watch.browser.shows("#made", "It could not be sent").await;
        watch.check("a trial").await;
    }
    for text in SCRIPTS {
        let typed = "document.querySelector('[name=data]').value = arguments[0]; document.querySelector('[name=endpoint]').value = 'echo'; \
            document.querySelector('#made').replaceChildren()";
        let text = Value::from(text).to_string();
        watch.browser.script(typed, json!([text])).await;
        watch.browser.click("#try button.main").await;
        watch.browser.shows("#made .diff", &text).await;
    }
    watch.check("trials of all scripts").await;
}

/// What scripts show of a dry run: the reasons of the component in force, and of one that has them in another order.
async fn dry_run(watch: &mut Watch<'_>, sent: &[Sent], folder: &Path) {
    let texts: Vec<&str> = sent.iter().rev().map(|one| one.text.as_str()).collect();
    let component = folder.join("refuse-again.wasm");
    std::fs::write(&component, refusing(&texts)).expect("a component");
    watch.look("/t/acme/plugins/refuse", "return null").await;
    watch.browser.write("#upload input[type=file]", component.to_str().expect("a path that is text")).await;
    watch.browser.script("document.querySelector('#upload [name=limit]').value = 1000", json!([])).await;
    watch.browser.click("#dry").await;
    watch.browser.shows("#result", "results would change").await;
    watch.check("a dry run").await;
}

/// Queries and paths are shown again too.
async fn questions(watch: &mut Watch<'_>) {
    for text in SCRIPTS {
        let text = segment(text);
        for path in [
            format!("/t/acme/events?event_type={text}"),
            format!("/t/{text}"),
            format!("/t/acme/try?event={text}&endpoint={text}"),
        ] {
            watch.look(&path, "return null").await;
        }
    }
    watch.hear("queries and paths", |error| error.contains("status of 40")).await;
}

/// The gateway says before a plugin's words whose they are.
fn ends(shown: &Value, said: &str) {
    assert!(shown.as_str().is_some_and(|shown| shown.ends_with(said)), "{shown} does not end with {said:?}");
}

const EVENTS: &str = r"
    const rows = [...document.querySelectorAll('main tbody tr')].map((row) =>
        ['a.row', '.first .sub', '[data-label=Subject] .clip', '[data-label=Source] .clip']
            .map((css) => row.querySelector(css)?.textContent ?? row.outerHTML))";

const DELIVERIES: &str = r"
    const rows = [...document.querySelectorAll('main tbody tr')].map((row) =>
        [decodeURIComponent(row.querySelector('a.row').getAttribute('href').split('/')[4]), row.querySelector('.why .clip').textContent])";

const EVENT: &str = r"
    const shown = { type: document.querySelector('h1').textContent, data: document.querySelector('pre.data').textContent, reasons: {} };
    for (const row of document.querySelectorAll('tbody tr'))
        shown.reasons[row.querySelector('a.row').textContent] = row.querySelector('.why .clip').textContent;
    for (const name of document.querySelectorAll('dl.facts dt')) {
        const value = name.nextElementSibling;
        if (!['Received', 'Time'].includes(name.textContent)) shown[name.textContent] = (value.querySelector('code') ?? value).textContent;
    }
    return shown";

const DELIVERY: &str = r"
    const shown = {};
    for (const part of ['data', 'log', 'answer']) {
        const found = document.querySelector(`pre.${part}`);
        if (found) shown[part] = found.textContent;
    }
    for (const name of document.querySelectorAll('dl.facts:not(.headers) dt')) {
        const value = name.nextElementSibling;
        if (name.textContent !== 'Destination') shown[name.textContent] = (value.querySelector('code') ?? value).textContent;
    }
    return shown";

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
