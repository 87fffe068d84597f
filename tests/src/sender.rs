//! A sender: what stands before the accept listener.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::Method;

use crate::eventually::within;
use crate::http::{Answer, Client};

/// The API key that tests give their first tenant.
pub const KEY: &str = "key-of-the-first-tenant-0123456789";

/// Sends events of one tenant over keep-alive connections.
#[derive(Debug, Clone)]
pub struct Sender {
    client: Client,
    path: String,
    authorization: String,
}

impl Sender {
    pub fn new(accept: SocketAddr, tenant: &str, key: &str) -> Self {
        Self {
            client: Client::new(accept),
            path: format!("/v1/tenants/{tenant}/events"),
            authorization: format!("Bearer {key}"),
        }
    }

    /// Sends a request body as it is, with more headers; the error says why there was no whole answer.
    pub async fn try_post(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Answer, String> {
        let mut all = vec![("authorization", self.authorization.as_str())];
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            all.push(("content-type", "application/json"));
        }
        all.extend_from_slice(headers);
        self.client.call(Method::POST, &self.path, &all, body.into()).await
    }

    /// Sends a request body as it is, with more headers.
    pub async fn post(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        within("an answer to a sent event", self.try_post(headers, body))
            .await
            .unwrap_or_else(|error| panic!("an event could not be sent: {error}"))
    }

    /// Sends an event in the native form, its data as the given JSON text, and answers its id: it must be accepted.
    pub async fn event(&self, event_type: &str, data: &str) -> String {
        let body = format!(r#"{{"type":"{event_type}","data":{data}}}"#);
        let accepted = self.post(&[], body).await.expect(202).json();
        accepted["id"].as_str().unwrap_or_else(|| panic!("no id in {accepted}")).to_owned()
    }
}
