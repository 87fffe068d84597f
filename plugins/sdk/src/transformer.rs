//! The half of a plugin that decides what is sent.

use serde::Serialize;

use crate::{Event, Failure};

/// Reshapes an event for an endpoint.
///
/// It is called once for each delivery, before its first attempt, and a retry sends the same bytes without calling it
/// again. A panic, or a call that goes over a limit, ends the delivery as `failed`: the untransformed event is not sent
/// in its place.
pub trait Transformer {
    /// What is to be sent in the event's place.
    ///
    /// # Errors
    /// [`Failure`] says whether trying again later could help.
    fn transform(event: &Event) -> Result<Outgoing, Failure>;
}

/// What is to be sent. The gateway signs it; a plugin never sees a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The media type of `data`.
    pub content_type: String,
    /// Headers to add to the request, none of those that the gateway or HTTP owns.
    pub headers: Vec<(String, String)>,
    /// The body's exact bytes.
    pub data: Vec<u8>,
}

impl Outgoing {
    /// These bytes, of this media type.
    pub fn new(content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self { content_type: content_type.into(), headers: Vec::new(), data: data.into() }
    }

    /// A value as JSON, of the type `application/json`.
    ///
    /// # Errors
    /// A value that JSON can't hold, such as a map whose keys are not strings, is [`Failure::Invalid`].
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Failure> {
        match serde_json::to_vec(value) {
            Ok(data) => Ok(Self::new("application/json", data)),
            Err(error) => Err(Failure::invalid(format!("the result can't be written as JSON: {error}"))),
        }
    }

    /// Text, of the type `text/plain; charset=utf-8`.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new("text/plain; charset=utf-8", text.into())
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_constructor_says_its_type() {
        assert_eq!(
            Outgoing::json(&["a"]).map(|json| json.with_header("x-a", "1").with_header("x-a", "2")),
            Ok(Outgoing {
                content_type: "application/json".into(),
                headers: vec![("x-a".into(), "1".into()), ("x-a".into(), "2".into())],
                data: br#"["a"]"#.to_vec(),
            })
        );
        assert_eq!(Outgoing::text("é"), Outgoing::new("text/plain; charset=utf-8", [0xc3, 0xa9]));
    }

    #[test]
    fn what_json_cannot_hold_is_invalid() {
        let keyed_by_list = BTreeMap::from([(vec![1], 2)]);
        assert!(matches!(Outgoing::json(&keyed_by_list), Err(Failure::Invalid(_))));
    }
}
