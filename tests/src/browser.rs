//! A real browser: headless Chromium, driven through chromedriver by the protocol of WebDriver.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::Method;
use rustix::process::{Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::eventually::{DEADLINE, eventually, try_eventually, within};
use crate::free_port;
use crate::http::Client;
use crate::process::pid_of;

/// By what WebDriver names an element in its JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Where the window is and what it shows, for whoever waited in vain.
const PAGE: &str = "return `${location.href}: ${document.body?.innerText.slice(0, 600)}`";

/// Listens for what a page's policy forbade, before any script of the page runs.
const LISTEN: &str = "window.violations = []; addEventListener('securitypolicyviolation', (event) => \
    violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));";

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

impl Theme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// What the browser said about the pages that it has shown since it was last asked.
#[derive(Debug, Default)]
pub struct Heard {
    /// Errors in its console: what a policy forbade, what a script threw, what could not be loaded.
    pub errors: Vec<String>,
    /// The addresses that it asked for.
    pub requests: Vec<String>,
    /// Dialogs that were opened.
    pub dialogs: Vec<String>,
}

/// A browser with one window. It ends, with all its processes, when it is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    client: Client,
    session: String,
    /// Gone with the browser: its profile, and what it keeps elsewhere.
    folder: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the browser");
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromedriver can't be run ({error}): `tests/run` installs it, or apt-get install chromium chromium-driver")
            });
        let client = Client::new(([127, 0, 0, 1], port).into());
        let mut browser = Self { driver, client, session: String::new(), folder };
        eventually("chromedriver to be ready", async || {
            let status = browser.client.call(Method::GET, "/status", &[], Bytes::new()).await?;
            if status.json()["value"]["ready"] == true { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        let profile = format!("--user-data-dir={}", browser.folder.path().join("profile").display());
        let options = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            // A dialog is left open, so that it is found.
            "unhandledPromptBehavior": "ignore",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb", profile,
            ]},
        }}});
        let session = browser.call(Method::POST, "/session", &options).await;
        let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("no session in {session}"));
        browser.session = format!("/session/{id}");
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": LISTEN})).await;
        // What the browser's own first page asked for is nobody's fault.
        browser.open("about:blank").await;
        browser.heard().await;
        browser
    }

    /// Goes to an address, and waits until the page and what it names are loaded.
    pub async fn open(&self, url: &str) {
        self.post("/url", json!({"url": url})).await;
    }

    /// Forgets who has logged in.
    pub async fn forget(&self) {
        let path = format!("{}/cookie", self.session);
        self.call(Method::DELETE, &path, &Value::Null).await;
    }

    /// Sets the width of the window and the theme that pages are asked for.
    pub async fn look(&self, width: u32, theme: Theme) {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let feature = json!({"name": "prefers-color-scheme", "value": theme.as_str()});
        self.devtools("Emulation.setEmulatedMedia", json!({"features": [feature]})).await;
    }

    /// Runs a script's text in the page, and answers what it returns.
    pub async fn script(&self, script: &str, args: Value) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": args})).await
    }

    /// The same, for a script that ends by calling its last argument.
    pub async fn script_async(&self, script: &str, args: Value) -> Value {
        self.post("/execute/async", json!({"script": script, "args": args})).await
    }

    /// Clicks on what a selector finds first, once it is there and can be clicked.
    pub async fn click(&self, css: &str) {
        self.act(css, "/click", json!({})).await;
    }

    /// Types into a field as a person does; into a field for files, the path of one.
    pub async fn write(&self, css: &str, text: &str) {
        self.act(css, "/value", json!({"text": text})).await;
    }

    /// Presses a key wherever the focus is.
    pub async fn press(&self, key: char) {
        let press = json!([{"type": "keyDown", "value": key.to_string()}, {"type": "keyUp", "value": key.to_string()}]);
        self.post("/actions", json!({"actions": [{"type": "key", "id": "keys", "actions": press}]})).await;
    }

    /// The visible text of what a selector finds first; empty where it finds nothing.
    pub async fn text(&self, css: &str) -> String {
        let text =
            self.script("return document.querySelector(arguments[0])?.innerText ?? ''", json!([css])).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the visible text of what a selector finds holds `wanted`, and answers it.
    pub async fn shows(&self, css: &str, wanted: &str) -> String {
        eventually(&format!("{css} to show {wanted:?}"), async || {
            let text = self.text(css).await;
            if text.contains(wanted) { Ok(text) } else { Err(format!("{text:?}")) }
        })
        .await
    }

    /// Waits until a script's text answers true.
    pub async fn until(&self, what: &str, script: &str, args: Value) {
        let came = try_eventually(DEADLINE, async || match self.script(script, args.clone()).await {
            Value::Bool(true) => Ok(()),
            other => Err(other),
        });
        if let Err(seen) = came.await {
            let page = self.script(PAGE, json!([])).await;
            panic!("waited {DEADLINE:?} for {what}; last seen: {seen} at {page}");
        }
    }

    /// Where the window is, as the page sees it.
    pub async fn path(&self) -> String {
        let path = self.script("return location.pathname", json!([])).await;
        path.as_str().unwrap_or_default().to_owned()
    }

    /// A picture of the whole page.
    pub async fn picture(&self, file: &Path) {
        let size = self.script("return [innerWidth, document.documentElement.scrollHeight]", json!([])).await;
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1});
        let picture = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = self.devtools("Page.captureScreenshot", picture).await;
        let data = picture["data"].as_str().and_then(|data| BASE64.decode(data).ok()).expect("a picture");
        std::fs::write(file, data).expect("the picture to be written");
    }

    /// What the policies of the page that is shown have forbidden.
    pub async fn violations(&self) -> Vec<String> {
        let found = self.script("return window.violations", json!([])).await;
        serde_json::from_value(found).expect("the page's violations")
    }

    /// What was said since it was last asked.
    pub async fn heard(&self) -> Heard {
        let mut heard = Heard::default();
        for entry in self.log("browser").await {
            if entry["level"] == "SEVERE" {
                heard.errors.push(entry["message"].to_string());
            }
        }
        for entry in self.log("performance").await {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default())
                .expect("an event of the browser");
            let (method, params) = (&message["message"]["method"], &message["message"]["params"]);
            match method.as_str() {
                Some("Network.requestWillBeSent") => {
                    heard.requests.push(params["request"]["url"].as_str().unwrap_or_default().to_owned());
                }
                Some("Page.javascriptDialogOpening") => heard.dialogs.push(params.to_string()),
                _ => {}
            }
        }
        heard
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.post("/se/log", json!({"type": kind})).await;
        log.as_array().unwrap_or_else(|| panic!("no log in {log}")).clone()
    }

    /// A command of the browser's own protocol.
    async fn devtools(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": params})).await
    }

    /// Does something with what a selector finds. An element may be replaced while it is looked for, or be covered for a
    /// moment: then it is tried again.
    async fn act(&self, css: &str, action: &str, body: Value) {
        eventually(&format!("{css} to take {action}"), async || {
            let found = self.try_post("/element", json!({"using": "css selector", "value": css})).await?;
            let element = found[ELEMENT].as_str().ok_or_else(|| found.to_string())?;
            self.try_post(&format!("/element/{element}{action}"), body.clone()).await
        })
        .await;
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        within(path, self.try_post(path, body)).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_post(&self, path: &str, body: Value) -> Result<Value, String> {
        self.try_call(Method::POST, &format!("{}{path}", self.session), &body).await
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        within(path, self.try_call(method, path, body))
            .await
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_call(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = self.client.call(method, path, &[("content-type", "application/json")], body).await?;
        if answer.status == 200 { Ok(answer.json()["value"].take()) } else { Err(answer.to_string()) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = pid_of(&self.driver) {
            // The browser is in the driver's group; one that has ended already is no fault.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The source of axe-core, which `tests/run` installs.
pub fn axe() -> String {
    let path: PathBuf = crate::peers().join("node/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{} can't be read ({error}): `tests/run peers` installs it", path.display())
    })
}
