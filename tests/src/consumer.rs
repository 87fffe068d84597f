//! A consumer: what fetches messages from a queue of the gateway's own.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::eventually::within;
use crate::http::{Answer, Client};

/// Consumes from one queue over keep-alive connections.
#[derive(Debug, Clone)]
pub struct Consumer {
    client: Client,
    path: String,
    authorization: String,
}

impl Consumer {
    pub fn new(accept: SocketAddr, tenant: &str, key: &str, queue: &str) -> Self {
        Self {
            client: Client::new(accept),
            path: format!("/v1/tenants/{tenant}/queues/{queue}"),
            authorization: format!("Bearer {key}"),
        }
    }

    /// Sends a request as it is; the error says why there was no whole answer.
    pub async fn try_ask(&self, action: &str, body: impl Into<Bytes>) -> Result<Answer, String> {
        let headers = [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
        self.client.call(Method::POST, &format!("{}/{action}", self.path), &headers, body.into()).await
    }

    /// Asks something of the queue.
    pub async fn ask(&self, action: &str, body: Value) -> Answer {
        let answer = within(action, self.try_ask(action, body.to_string())).await;
        answer.unwrap_or_else(|error| panic!("{action} failed: {error}"))
    }

    /// Receives messages.
    pub async fn receive(&self, body: Value) -> Vec<Value> {
        let answer = self.ask("receive", body).await.expect(200).json();
        answer["messages"].as_array().unwrap_or_else(|| panic!("no messages in {answer}")).clone()
    }

    /// Answers for receipts, and tells what became of each.
    pub async fn answer(&self, action: &str, receipts: &[&Value], more: Value) -> Vec<String> {
        let mut body = json!({ "receipts": receipts });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let answer = self.ask(action, body).await.expect(200).json();
        let results = answer["results"].as_array().unwrap_or_else(|| panic!("no results in {answer}"));
        results.iter().map(|result| result["result"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How many consumers wait for a message.
    pub async fn waiting(&self) -> u64 {
        let stats = self.ask("stats", json!({})).await.expect(200).json();
        stats["waiting"].as_u64().unwrap_or_else(|| panic!("no waiting in {stats}"))
    }

    /// How many messages are visible, in flight, delayed and dead.
    pub async fn stats(&self) -> [u64; 4] {
        let stats = self.ask("stats", json!({})).await.expect(200).json();
        ["visible", "in_flight", "delayed", "dead"]
            .map(|key| stats[key].as_u64().unwrap_or_else(|| panic!("no {key} in {stats}")))
    }
}
