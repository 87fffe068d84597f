//! Everything that the admin listener shows of a tenant: the JSON interface's lists under each filter, its details, and the
//! dashboard's pages.

use std::collections::BTreeMap;

use hookweir_model::Timestamp;
use hookweir_tests::Admin;
use serde_json::Value;

use crate::history::{BUSY, DAY, RARE_TYPE, SPARSE};

/// How many places of the history the deep pages and the details are taken from.
const PLACES: u32 = 10;

/// What is aimed at depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ListOrDetail,
    Overview,
}

/// One page, or several of a kind that are asked for in turn.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) paths: Vec<String>,
}

const EVENT_FILTERS: [&str; 9] = [
    "",
    "event_type=order.*",
    "event_type={rare}",
    "event_type=none.such",
    "since={early}",
    "until={late}",
    "since={early}&until={late}",
    "id=none",
    "limit=500",
];

const DELIVERY_FILTERS: [&str; 33] = [
    "",
    "endpoint=hook",
    "endpoint=flaky",
    "endpoint=off",
    "status=pending",
    "status=delivered",
    "status=filtered",
    "status=exhausted",
    "status=failed",
    "status=cancelled",
    "endpoint=flaky&status=pending",
    "endpoint=flaky&status=delivered",
    "event_type=order.*",
    "event_type={rare}",
    "event_type=none.such",
    "status=exhausted&event_type={rare}",
    "outcome=delivered",
    "outcome=retry",
    "outcome=rejected",
    "outcome=unknown",
    "outcome=blocked",
    "endpoint=hook&outcome=rejected",
    "endpoint=flaky&outcome=unknown",
    "code=200",
    "code=503",
    "code=404",
    "code=302",
    "status=failed&code=404",
    "since={early}",
    "until={late}",
    "since={early}&until={late}",
    "id=none",
    "limit=500",
];

/// What the forms of the dashboard ask for.
const SHOWN_EVENTS: [&str; 3] = ["", "event_type=order.*", "event_type={rare}"];
const SHOWN_DELIVERIES: [&str; 5] =
    ["", "endpoint=flaky", "status=exhausted", "event_type={rare}", "since={early}&until={late}"];

pub(crate) async fn gather(admin: &Admin) -> Vec<Page> {
    let now = Timestamp::now();
    let places: Vec<String> = (1..=PLACES)
        .map(|place| now.before(DAY.mul_f64(f64::from(place) / f64::from(PLACES + 1))).to_string())
        .collect();
    let mut gathered = Gathered { admin, places, pages: Vec::new() };
    for (list, filters) in [("events", &EVENT_FILTERS[..]), ("deliveries", &DELIVERY_FILTERS[..])] {
        for filter in filters {
            gathered.list("api", BUSY, list, filter).await;
        }
        for filter in ["", "event_type={rare}", "event_type=none.such"] {
            gathered.list("api", SPARSE, list, filter).await;
        }
    }
    gathered.details().await;
    for (list, filters) in [("events", &SHOWN_EVENTS[..]), ("deliveries", &SHOWN_DELIVERIES[..])] {
        for filter in filters {
            gathered.list("page", BUSY, list, filter).await;
        }
        gathered.list("page", SPARSE, list, "").await;
    }
    gathered.pages
}

struct Gathered<'a> {
    admin: &'a Admin,
    /// Times of the history.
    places: Vec<String>,
    pages: Vec<Page>,
}

impl Gathered<'_> {
    fn add(&mut self, name: impl Into<String>, kind: Kind, paths: Vec<String>) {
        self.pages.push(Page { name: name.into(), kind, paths });
    }

    fn filled(&self, filter: &str) -> String {
        // The deepest place lies next to the beginning.
        let (early, late) = (&self.places[self.places.len() * 2 / 3], &self.places[self.places.len() / 3]);
        filter.replace("{rare}", RARE_TYPE).replace("{early}", early).replace("{late}", late)
    }

    /// A list's first page, and pages from the midst of it.
    async fn list(&mut self, face: &str, tenant: &str, list: &str, filter: &str) {
        let filled = self.filled(filter);
        let query = if filled.is_empty() { String::new() } else { format!("{filled}&") };
        let short = filter.replace("{rare}", RARE_TYPE).replace(['{', '}'], "");
        let of = if tenant == SPARSE { ", few" } else { "" };
        let name = format!("{face} {list}{}{short}{of}", if short.is_empty() { "" } else { "?" });
        let base = match face {
            "api" => format!("/v1/tenants/{tenant}/{list}"),
            _ => format!("/t/{tenant}/{list}"),
        };
        let mut deep = Vec::new();
        for place in self.places.clone() {
            // A cursor tells a place in a list, whatever the filters: it is taken from the list as it was at a time.
            let at = format!("/v1/tenants/{tenant}/{list}?until={place}&limit=1");
            let page = self.admin.json(&at).await;
            if let Some(cursor) = page["next"].as_str() {
                deep.push(format!("{base}?{query}cursor={cursor}"));
            }
        }
        self.add(name.clone(), Kind::ListOrDetail, vec![format!("{base}?{filled}")]);
        if !deep.is_empty() {
            self.add(format!("{name}, deep"), Kind::ListOrDetail, deep);
        }
    }

    /// Pages of one thing, and of a tenant.
    async fn details(&mut self) {
        let (mut events, mut deliveries) = (Vec::new(), BTreeMap::<String, Vec<(String, String)>>::new());
        for place in self.places.clone() {
            let page = self.admin.json(&format!("/v1/tenants/{BUSY}/events?until={place}&limit=5")).await;
            let found = page["data"].as_array().expect("a list").iter();
            events.extend(found.map(|event| text(&event["id"])));
            for (what, query) in [
                ("delivered", "endpoint=hook&status=delivered"),
                ("exhausted", "status=exhausted"),
                ("waiting", "endpoint=flaky&status=pending"),
                ("filtered", "status=filtered"),
            ] {
                let list = format!("/v1/tenants/{BUSY}/deliveries?{query}&until={place}&limit=5");
                let page = self.admin.json(&list).await;
                let found = page["data"].as_array().expect("a list").iter();
                let key = |delivery: &Value| (text(&delivery["event"]), text(&delivery["endpoint"]));
                deliveries.entry(what.to_owned()).or_default().extend(found.map(key));
            }
        }
        let path = |start: &str, rest: &[&str]| {
            let ends = if rest.is_empty() { &[""][..] } else { rest };
            ends.iter().map(|end| format!("{start}{end}")).collect::<Vec<_>>()
        };
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let endpoints = ["hook", "billing", "large", "flaky", "off"];
        let api = format!("/v1/tenants/{BUSY}");
        let shown = format!("/t/{BUSY}");
        self.add("api event", Kind::ListOrDetail, path(&format!("{api}/events/"), &events));
        for (what, keys) in &deliveries {
            let paths =
                keys.iter().map(|(event, endpoint)| format!("{api}/events/{event}/deliveries/{endpoint}"));
            self.add(format!("api delivery, {what}"), Kind::ListOrDetail, paths.collect());
        }
        self.add("api tenants", Kind::ListOrDetail, path("/v1/tenants", &[]));
        self.add("api endpoints", Kind::ListOrDetail, path(&format!("{api}/endpoints"), &[]));
        self.add("api endpoint", Kind::ListOrDetail, path(&format!("{api}/endpoints/"), &endpoints));
        self.add("api plugins", Kind::ListOrDetail, path(&format!("{api}/plugins"), &[]));
        self.add("api plugin", Kind::ListOrDetail, path(&format!("{api}/plugins/large-only"), &[]));
        self.add("page overview", Kind::Overview, path("/", &[]));
        self.add("page overview of a tenant", Kind::Overview, path(&shown, &[]));
        self.add("page event", Kind::ListOrDetail, path(&format!("{shown}/events/"), &events));
        for (what, keys) in &deliveries {
            let paths = keys.iter().map(|(event, endpoint)| format!("{shown}/deliveries/{event}/{endpoint}"));
            self.add(format!("page delivery, {what}"), Kind::ListOrDetail, paths.collect());
        }
        for endpoint in endpoints {
            let paths = path(&format!("{shown}/endpoints/{endpoint}"), &[]);
            self.add(format!("page endpoint, {endpoint}"), Kind::ListOrDetail, paths);
        }
        self.add("page plugin", Kind::ListOrDetail, path(&format!("{shown}/plugins/large-only"), &[]));
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
