//! A gateway with something to see: endpoints that are well and one that fails, plugins, and events of each fate.

use hookweir_tests::{Browser, Config, Gateway, KEY, Receiver, Reply, endpoint, plugin, tenant};

/// What the failing receiver says.
pub(super) const WHY: &str = r#"{"error":"relation \"invoices\" does not exist","trace_id":"7f31c9"}"#;

pub(super) struct Scene {
    pub receiver: Receiver,
    pub gateway: Gateway,
}

impl Scene {
    /// `/billing` of the receiver fails, all else is taken.
    pub(super) async fn start() -> Self {
        let receiver = Receiver::start(|_, request| match request.path.as_str() {
            "/billing" => {
                Reply::Whole(500, vec![("content-type", "application/json".to_owned())], WHY.into())
            }
            _ => Reply::Whole(200, Vec::new(), r#"{"ok":true}"#.into()),
        })
        .await;
        let gateway = Gateway::start(Config::new(tenants(&receiver))).await;
        let scene = Self { receiver, gateway };
        for name in ["keep-above", "to-slack"] {
            let component = std::fs::read(plugin(name)).expect("a shipped plugin");
            let admin = scene.gateway.admin();
            admin.put(&format!("/v1/tenants/acme/plugins/{name}"), component).await.expect(200);
        }
        scene
    }

    /// An event of each fate, and what the failed one is called.
    pub(super) async fn filled(&self) -> String {
        let (sender, admin) = (self.gateway.sender(), self.gateway.admin());
        for total in [20, 120, 340, 95, 1200] {
            let data = format!(
                r#"{{"order":{{"id":"A-{total}","total":{total},"customer":{{"name":"Ada Lovelace","email":"ada@example.com"}}}},"currency":"EUR"}}"#
            );
            let body = format!(r#"{{"type":"order.created","subject":"A-{total}","data":{data}}}"#);
            let sent = sender.post(&[], body).await.expect(202).json();
            let event = sent["id"].as_str().expect("an id").to_owned();
            let status = if total < 100 { "filtered" } else { "delivered" };
            admin.delivery("acme", &event, "chat", status).await;
            admin.delivery("acme", &event, "archive", "delivered").await;
        }
        let failed = self.failed().await;
        admin.delivery("acme", &failed, "archive", "delivered").await;
        failed
    }

    /// Sends an event whose delivery to `billing` fails, and waits until it has.
    pub(super) async fn failed(&self) -> String {
        let event = self.gateway.sender().event("invoice.paid", r#"{"invoice":"I-7","amount":250}"#).await;
        self.gateway.admin().delivery("acme", &event, "billing", "exhausted").await;
        event
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.admin_address())
    }

    /// Opens a page of it, which stays the same page until something loads it anew.
    pub(super) async fn open(&self, browser: &Browser, path: &str) {
        browser.open(&self.url(path)).await;
        mark(browser).await;
        browser.shows("#live", "live").await;
    }
}

/// Marks the page that is shown, so that one that was loaded anew is told from it.
pub(super) async fn mark(browser: &Browser) {
    browser.script("window.isMarked = true", serde_json::json!([])).await;
}

pub(super) async fn was_not_loaded_anew(browser: &Browser) {
    let marked = browser.script("return window.isMarked === true", serde_json::json!([])).await;
    assert_eq!(marked, true, "the page was loaded anew");
}

fn tenants(receiver: &Receiver) -> String {
    tenant("acme", KEY)
        + "[tenants.acme.plugins.keep-above]\nconfig = { field = \"order.total\", minimum = 100 }\n\
           [tenants.acme.plugins.to-slack]\nconfig = { title = \"New order {subject}\", fields = [\"order.total\"] }\n"
        + &endpoint("acme", "archive", &receiver.url("/archive"), "")
        + &endpoint(
            "acme",
            "billing",
            &receiver.url("/billing"),
            "event_types = [\"invoice.*\"]\nretry = { waits = [\"100ms\"] }",
        )
        + &endpoint(
            "acme",
            "chat",
            &receiver.url("/chat"),
            "event_types = [\"order.*\"]\nfilters = [\"keep-above\"]\ntransformers = [\"to-slack\"]",
        )
}
