//! The admin listener, as an operator's script sees it.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use crate::eventually::{eventually, within};
use crate::http::{Answer, Client, Stream};

#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
    token: Option<String>,
}

impl Admin {
    pub fn new(admin: SocketAddr) -> Self {
        Self { client: Client::new(admin), token: None }
    }

    /// The same listener, asked with a bearer token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { client: self.client.clone(), token: Some(token.to_owned()) }
    }

    pub async fn try_get(&self, path: &str) -> Result<Answer, String> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// What `path` answers to one who accepts this form of it.
    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let bearer = self.bearer();
        let mut headers = vec![("accept", accept)];
        headers.extend(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        let answer = within(path, self.client.call(Method::GET, path, &headers, Bytes::new())).await;
        answer.unwrap_or_else(|error| panic!("GET {path} failed: {error}"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        within(path, self.try_get(path)).await.unwrap_or_else(|error| panic!("GET {path} failed: {error}"))
    }

    /// The JSON at `path`, which must be there.
    pub async fn json(&self, path: &str) -> Value {
        self.get(path).await.expect(200).json()
    }

    /// The entries of the list at `path`, which must fit one page.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let page = self.json(path).await;
        assert_eq!(page["next"], Value::Null, "{path} has a second page");
        page["data"].as_array().unwrap_or_else(|| panic!("no list in {page}")).clone()
    }

    /// Server-sent events from `path`.
    pub async fn watch(&self, path: &str) -> Stream {
        let bearer = self.bearer();
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let opened = within(path, self.client.open(path, &headers)).await;
        opened.unwrap_or_else(|error| panic!("GET {path} failed: {error}"))
    }

    /// Posts a JSON text; an empty one sends no body.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        let answer = self.call(Method::POST, path, Bytes::copy_from_slice(body.as_bytes()));
        within(path, answer).await.unwrap_or_else(|error| panic!("POST {path} failed: {error}"))
    }

    /// Sends bytes, such as a component.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let answer = self.call(method.clone(), path, body.into());
        within(path, answer).await.unwrap_or_else(|error| panic!("{method} {path} failed: {error}"))
    }

    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    /// One delivery with its attempts, once it has `status`.
    pub async fn delivery(&self, tenant: &str, event: &str, endpoint: &str, status: &str) -> Value {
        let path = format!("/v1/tenants/{tenant}/events/{event}/deliveries/{endpoint}");
        eventually(&format!("{event} for {endpoint} to be {status}"), async || {
            let detail = self.try_get(&path).await?;
            if detail.status != 200 {
                return Err(detail.to_string());
            }
            let detail = detail.json();
            if detail["delivery"]["status"] == status { Ok(detail) } else { Err(detail.to_string()) }
        })
        .await
    }

    /// How many deliveries of an endpoint have `status`.
    pub async fn count(&self, tenant: &str, endpoint: &str, status: &str) -> u64 {
        let endpoint = self.json(&format!("/v1/tenants/{tenant}/endpoints/{endpoint}")).await;
        endpoint["deliveries"][status].as_u64().unwrap_or(0)
    }

    /// A number of `/metrics`, by the metric's name with its labels, if it has any.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.expect(200).text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    fn bearer(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, String> {
        let bearer = self.bearer();
        let mut headers = Vec::new();
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer.as_str()));
        }
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        self.client.call(method, path, &headers, body).await
    }
}
