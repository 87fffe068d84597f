//! Looks at pages, and fails on anything but pages that show text.

use hookweir_tests::Browser;
use serde_json::{Value, json};

pub(super) struct Watch<'a> {
    pub browser: &'a Browser,
    origin: String,
    pages: usize,
    requests: usize,
}

impl<'a> Watch<'a> {
    pub(super) const fn new(browser: &'a Browser, origin: String) -> Self {
        Self { browser, origin, pages: 0, requests: 0 }
    }

    /// Opens a page, waits until its scripts run, and answers what `read`, the body of a function, finds on it.
    pub(super) async fn look(&mut self, path: &str, read: &str) -> Value {
        self.browser.open(&format!("{}{path}", self.origin)).await;
        self.seen(path, LIVE, read).await
    }

    /// Has the page's scripts read it anew, and answers what is found on what they made of it.
    pub(super) async fn look_anew(&mut self, path: &str, read: &str) -> Value {
        self.seen(path, ANEW, read).await
    }

    /// The page as it is.
    pub(super) async fn check(&mut self, what: &str) {
        self.seen(what, "then();", "return null").await;
        self.hear(what, |_| false).await;
    }

    /// A dialog that is open fails every script.
    async fn seen(&mut self, what: &str, ready: &str, read: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; const read = () => {{ {read} }}; const foreign = () => {{ {FOREIGN} }}; \
             const then = () => done([foreign(), window.violations, read()]); {ready}"
        );
        let mut seen = self.browser.script_async(&script, json!([])).await;
        assert_eq!(seen[0], json!([]), "{what} holds elements that no template has");
        assert_eq!(seen[1], json!([]), "{what} tried what its policy forbids");
        self.pages += 1;
        seen[2].take()
    }

    /// What the browser said since it was last asked: no dialog, no request to anywhere else, and no error but those
    /// that the caller knows of.
    pub(super) async fn hear(&mut self, what: &str, is_known: impl Fn(&str) -> bool) {
        let heard = self.browser.heard().await;
        assert!(heard.dialogs.is_empty(), "{what}: {:?}", heard.dialogs);
        let unknown: Vec<_> = heard.errors.iter().filter(|error| !is_known(error)).collect();
        assert!(unknown.is_empty(), "{what}: {unknown:?}");
        // A field for a date draws its own sign, from an address that holds it.
        let is_outside = |url: &&String| !url.starts_with(&self.origin) && !url.starts_with("data:");
        let outside: Vec<_> = heard.requests.iter().filter(is_outside).collect();
        assert!(outside.is_empty(), "{what} asked for {outside:?}");
        self.requests += heard.requests.len();
    }

    /// What all of it came to, in the words of the ledger; what is said to be none was asserted of each page.
    pub(super) fn ledger(&self) -> String {
        format!(
            "{} pages, {} requests, 0 dialogs, 0 outside requests, 0 violations",
            self.pages, self.requests
        )
    }
}

/// Goes on once the page hears the gateway, or at once where it does not listen.
const LIVE: &str = r"
    const [main, live] = [document.querySelector('#main'), document.querySelector('#live')];
    const isReady = () => !main.dataset.live || live.dataset.state === 'live';
    if (isReady()) then();
    else new MutationObserver((_, observer) => {
        if (isReady()) { observer.disconnect(); then(); }
    }).observe(live, { attributes: true });";

/// Asks for the page to be read anew, and goes on once it was: then its times were written again.
const ANEW: &str = r"
    new MutationObserver((all, observer) => {
        if (all.some(({ target }) => target.closest?.('time') || target.parentElement?.closest('time'))) {
            observer.disconnect(); then();
        }
    }).observe(document.querySelector('#main'), { childList: true, characterData: true, subtree: true });
    document.dispatchEvent(new Event('hookweir:changed'));";

/// Elements and attributes that no page of ours has.
const FOREIGN: &str = r"
    const names = new Set(`html head meta title link script body a header div span svg path circle polyline rect button form
        main footer nav h1 h2 h3 h4 p section aside dl dt dd table caption thead tbody tr th td time code small strong label progress
        input select option textarea pre ins del details summary ol li`.split(/\s+/));
    const leads = /^(href|src|action|formaction|data|xlink:href)$/i;
    const isForeign = (attribute) => /^(on|style$)/i.test(attribute.name)
        || (leads.test(attribute.name) && !/^([/#?]|$|http:\/\/127)/i.test(attribute.value));
    return [...document.querySelectorAll('*')]
        .filter((e) => !names.has(e.localName) || e.style.length > 0 || [...e.attributes].some(isForeign)
            || (e.tagName === 'SCRIPT' && !/^\/assets\/[a-z]+\.js$/.test(e.getAttribute('src'))))
        .map((e) => e.outerHTML.slice(0, 200))";
