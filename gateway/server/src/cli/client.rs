//! The client of the gateway's two listeners, as the commands use it.
//!
//! It stands outside the gateway and speaks only HTTP; `look.rs` is the one other way. It follows no redirect and asks no
//! proxy, since both would carry the token to somewhere that nobody named.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use thiserror::Error;
use url::Url;

use crate::api::Problem;

/// Long enough for a recovery of many deliveries, short enough for a script to notice a gateway that hangs.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A year.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer holds at most a page of a list or one event with its data.
const MOST: usize = 64 << 20;

/// How to reach the admin listener.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AdminArgs {
    /// Where the gateway's admin listener is
    #[arg(long, value_name = "URL", env = "HOOKWEIR_ADMIN", default_value = "http://127.0.0.1:9080", value_parser = address)]
    admin: Url,
    /// The admin token, or a tenant's key to see that tenant alone; better given as HOOKWEIR_TOKEN, since other users
    /// of the machine can read a command's arguments
    #[arg(long, env = "HOOKWEIR_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// Print what the gateway answered, as JSON
    #[arg(long)]
    pub json: bool,
}

/// How to reach the accept listener.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AcceptArgs {
    /// Where the gateway's accept listener is
    #[arg(long, value_name = "URL", env = "HOOKWEIR_ACCEPT", default_value = "http://127.0.0.1:8080", value_parser = address)]
    to: Url,
    /// The tenant's API key; better given as HOOKWEIR_KEY, since other users of the machine can read a command's
    /// arguments
    #[arg(long, env = "HOOKWEIR_KEY", hide_env_values = true)]
    key: Option<SecretString>,
    /// Print what the gateway answered, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads the address of a listener.
fn address(text: &str) -> Result<Url, String> {
    let wanted = "give a URL such as http://127.0.0.1:9080";
    let url = Url::parse(text).map_err(|_| format!("this is no URL: {wanted}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
        return Err(format!("it must start with http:// or https://: {wanted}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a name or password in it is not used: leave it out and give the token or key by its own option"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("it must end before any '?' or '#': {wanted}"));
    }
    Ok(url)
}

/// One of the two ways to reach a gateway, with what differs between them in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Admin,
    Accept,
}

impl Listener {
    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Accept => "accept",
        }
    }

    /// What to do when nobody answers there.
    const fn advice(self) -> &'static str {
        match self {
            Self::Admin => {
                "start a gateway with `hookweir serve`, or say where it is with --admin URL or HOOKWEIR_ADMIN"
            }
            Self::Accept => {
                "start a gateway with `hookweir serve`, or say where it is with --to URL or HOOKWEIR_ACCEPT"
            }
        }
    }

    /// Which option names who is asking.
    const fn credential(self) -> &'static str {
        match self {
            Self::Admin => "--token or HOOKWEIR_TOKEN",
            Self::Accept => "--key or HOOKWEIR_KEY",
        }
    }
}

/// A request had no success.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("can't reach a gateway's {listener} listener at {url}: {advice}")]
    Unreachable { listener: &'static str, url: String, advice: &'static str, source: reqwest::Error },
    #[error("the gateway at {url} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout { url: String },
    #[error("the gateway at {url} broke off its answer")]
    Broken { url: String, source: reqwest::Error },
    #[error("the answer of the gateway at {url} is longer than {} MiB", MOST >> 20)]
    TooLong { url: String },
    /// The gateway understood and said no.
    #[error("the gateway answered {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
    #[error(
        "what answered {status} at {url} does not speak as a hookweir {listener} listener does: check the address"
    )]
    Foreign { listener: &'static str, url: String, status: StatusCode },
    #[error("{option} holds characters that a header can't carry")]
    Credential { option: &'static str },
}

/// A client of one listener.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    listener: Listener,
    base: Url,
    authorization: Option<HeaderValue>,
}

impl Client {
    pub(crate) fn admin(args: &AdminArgs) -> anyhow::Result<Self> {
        Self::new(Listener::Admin, &args.admin, args.token.as_ref())
    }

    pub(crate) fn accept(args: &AcceptArgs) -> anyhow::Result<Self> {
        Self::new(Listener::Accept, &args.to, args.key.as_ref())
    }

    fn new(listener: Listener, base: &Url, credential: Option<&SecretString>) -> anyhow::Result<Self> {
        // A variable that is set to nothing, as scripts do, names nobody.
        let credential = credential.filter(|secret| !secret.expose_secret().is_empty());
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("hookweir/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("can't set up an HTTP client")?;
        let bearer = |secret: &SecretString| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", secret.expose_secret()))
                .map_err(|_| Error::Credential { option: listener.credential() })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        Ok(Self { http, listener, base: base.clone(), authorization: credential.map(bearer).transpose()? })
    }

    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Answer, Error> {
        self.send(self.http.request(Method::GET, self.route(path, query))).await
    }

    /// Asks for something to be done. The headers name the body's type.
    pub(crate) async fn post(
        &self,
        path: &[&str],
        headers: HeaderMap,
        body: Option<String>,
    ) -> Result<Answer, Error> {
        let request = self.http.request(Method::POST, joined(&self.base, path)).headers(headers);
        self.send(request.body(body.unwrap_or_default())).await
    }

    /// Sends bytes: a component.
    pub(crate) async fn send_bytes(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<Answer, Error> {
        let wasm = HeaderValue::from_static("application/wasm");
        let request = self.http.request(method, self.route(path, query)).header(CONTENT_TYPE, wasm);
        self.send(request.body(body)).await
    }

    /// Begins to read server-sent events.
    pub(crate) async fn watch(&self, path: &[&str], query: &[(&str, String)]) -> Result<Events<'_>, Error> {
        // The stream has no end; how long nothing may come is seen to where it is read.
        let request = self.http.request(Method::GET, self.route(path, query)).timeout(NEVER);
        let mut answer = self.ask(request).await?;
        let status = answer.status();
        if !status.is_success() {
            let body = self.body(&mut answer).await?;
            return Err(self.judge(status, &body).err().unwrap_or_else(|| self.foreign(status)));
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            return Err(self.foreign(status));
        }
        Ok(Events { client: self, answer, read: Vec::new() })
    }

    fn foreign(&self, status: StatusCode) -> Error {
        Error::Foreign { listener: self.listener.name(), url: self.place(), status }
    }

    fn route(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = joined(&self.base, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, Error> {
        let mut response = self.ask(request).await?;
        let body = self.body(&mut response).await?;
        self.judge(response.status(), &body)
    }

    /// Makes a request, as whoever asks.
    async fn ask(&self, mut request: reqwest::RequestBuilder) -> Result<reqwest::Response, Error> {
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.send().await.map_err(|error| self.unanswered(error))
    }

    async fn body(&self, response: &mut reqwest::Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > MOST => {
                    return Err(Error::TooLong { url: self.place() });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) if error.is_timeout() => return Err(Error::Timeout { url: self.place() }),
                Err(error) => {
                    return Err(Error::Broken { url: self.place(), source: error.without_url() });
                }
            }
        }
    }

    /// The listener's address for an error's text.
    fn place(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    fn unanswered(&self, error: reqwest::Error) -> Error {
        let url = self.place();
        if error.is_timeout() && !error.is_connect() {
            Error::Timeout { url }
        } else if error.is_connect() {
            let (listener, advice) = (self.listener.name(), self.listener.advice());
            Error::Unreachable { listener, url, advice, source: error.without_url() }
        } else {
            Error::Broken { url, source: error.without_url() }
        }
    }

    /// Tells an answer from a refusal, and both from what some other server says.
    fn judge(&self, status: StatusCode, body: &[u8]) -> Result<Answer, Error> {
        let foreign = || self.foreign(status);
        if status.is_success() {
            let text = std::str::from_utf8(body).map_err(|_| foreign())?;
            // Nothing to say is an answer too.
            let json = if text.trim().is_empty() { "{}" } else { text };
            serde_json::from_str::<IgnoredAny>(json).map_err(|_| foreign())?;
            return Ok(Answer(json.to_owned()));
        }
        let problem: Problem = serde_json::from_slice(body).map_err(|_| foreign())?;
        let mut detail = problem.detail;
        if status == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            detail.push_str(&format!(" (give {})", self.listener.credential()));
        }
        Err(Error::Refused { status, detail })
    }
}

/// Server-sent events, as they come.
#[derive(Debug)]
pub(crate) struct Events<'c> {
    client: &'c Client,
    answer: reqwest::Response,
    /// What came and was not handed on.
    read: Vec<u8>,
}

impl Events<'_> {
    /// The name and data of the next event; none when the gateway has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<(String, String)>, Error> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.read.drain(..end + 2).collect();
                let event = String::from_utf8_lossy(&event);
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                // What has no name is a comment, by which the gateway shows that it is there.
                if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                    return Ok(Some((name.to_owned(), data.to_owned())));
                }
                continue;
            }
            if self.read.len() > MOST {
                return Err(Error::TooLong { url: self.client.place() });
            }
            let chunk = tokio::time::timeout(TIMEOUT, self.answer.chunk()).await;
            let chunk = chunk.map_err(|_| Error::Timeout { url: self.client.place() })?;
            match chunk.map_err(|error| self.client.unanswered(error))? {
                Some(bytes) => self.read.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

/// The URL of a route: each part is one segment, whatever characters it has.
fn joined(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // `address` let only URLs pass that have a path.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// What the gateway answered: JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer(String);

impl Answer {
    pub(crate) const fn new(json: String) -> Self {
        Self(json)
    }

    pub(crate) fn json(&self) -> &str {
        &self.0
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_str(&self.0)
            .context("the gateway's answer is not what this version of the command line reads")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(credential: Option<&str>) -> Client {
        try_client(credential).unwrap()
    }

    fn try_client(credential: Option<&str>) -> anyhow::Result<Client> {
        // The process does this at its start; here every test is a start.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let secret = credential.map(SecretString::from);
        let base = Url::parse("http://127.0.0.1:9080")?;
        Client::new(Listener::Admin, &base, secret.as_ref())
    }

    #[test]
    fn addresses_are_those_of_a_server() {
        for good in ["http://127.0.0.1:9080", "https://hooks.example.com/admin/", "http://[::1]:1"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:9080",
            "localhost:9080",
            "ftp://example.com",
            "unix:/run/x",
            "http://",
            "http://user@example.com",
            "http://:secret@example.com",
            "http://example.com?x",
            "http://example.com#x",
        ] {
            let fault = address(bad).expect_err(bad);
            assert!(!fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn each_part_of_a_route_is_one_segment() {
        for (base, wanted) in [
            ("http://h:1", "http://h:1/v1/tenants/acme/events/a%2Fb%3F%23%25"),
            ("http://h:1/", "http://h:1/v1/tenants/acme/events/a%2Fb%3F%23%25"),
            ("http://h:1/gate/", "http://h:1/gate/v1/tenants/acme/events/a%2Fb%3F%23%25"),
        ] {
            let url = joined(&Url::parse(base).unwrap(), &["v1", "tenants", "acme", "events", "a/b?#%"]);
            assert_eq!(url.as_str(), wanted);
        }
    }

    #[test]
    fn answers_refusals_and_strangers_are_told_apart() {
        let problem =
            br#"{"type":"about:blank","title":"Not found","status":404,"detail":"there is no event x"}"#;
        for (status, body, wanted) in [
            (200, b"{\"data\":[]}".as_slice(), Ok("{\"data\":[]}")),
            (204, b"", Ok("{}")),
            (404, problem, Err("the gateway answered 404 Not Found: there is no event x")),
            (
                200,
                b"<html>",
                Err(
                    "what answered 200 OK at http://127.0.0.1:9080 does not speak as a hookweir admin listener \
                     does: check the address",
                ),
            ),
            (
                502,
                b"",
                Err(
                    "what answered 502 Bad Gateway at http://127.0.0.1:9080 does not speak as a hookweir admin \
                     listener does: check the address",
                ),
            ),
            (
                302,
                b"",
                Err(
                    "what answered 302 Found at http://127.0.0.1:9080 does not speak as a hookweir admin listener \
                     does: check the address",
                ),
            ),
        ] {
            let judged = client(None).judge(StatusCode::from_u16(status).unwrap(), body);
            let judged = judged.as_ref().map(Answer::json).map_err(ToString::to_string);
            assert_eq!(judged, wanted.map_err(str::to_owned));
        }
    }

    #[test]
    fn a_missing_token_is_named_only_where_none_was_given() {
        let problem = br#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"who are you"}"#;
        let said = |client: &Client| client.judge(StatusCode::UNAUTHORIZED, problem).unwrap_err().to_string();
        for nobody in [None, Some("")] {
            assert!(said(&client(nobody)).ends_with("who are you (give --token or HOOKWEIR_TOKEN)"));
        }
        assert!(said(&client(Some("wrong"))).ends_with("who are you"));
    }

    #[test]
    fn a_token_shows_up_in_no_debug_text() {
        let text = format!("{:?}", client(Some("very-secret")));
        assert!(!text.contains("very-secret"), "{text}");
        let broken = try_client(Some("very-secret\n"));
        assert_eq!(
            broken.unwrap_err().to_string(),
            "--token or HOOKWEIR_TOKEN holds characters that a header can't carry"
        );
    }
}
