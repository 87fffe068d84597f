//! What an endpoint is sent for an event, after filters, transformers and format.

use bytes::Bytes;

/// A body with its headers, ready to be signed and sent. It is kept with the first failed attempt, so that every
/// retry sends the same bytes and no plugin runs twice for one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shaped {
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}
