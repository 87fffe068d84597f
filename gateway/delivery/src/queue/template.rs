//! Texts with places for an event's attributes, such as the subject `hooks.{tenant}.{type}`. Pure.

use std::fmt;

use thiserror::Error;

use crate::Request;

/// A subject, key or topic that may differ from event to event.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    written: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Type,
    Id,
    Subject,
}

/// A text is no template. Each sentence says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidTemplate {
    #[error(
        "{{{0}}} is no place that can be filled: use {{tenant}}, {{endpoint}}, {{type}}, {{id}} or {{subject}}"
    )]
    Unknown(String),
    #[error("a '{{' without its '}}': close it, or leave it out")]
    Open,
    #[error("a '}}' without its '{{': leave it out")]
    Close,
    #[error("the text is empty")]
    Empty,
}

impl Template {
    /// Reads a template for one endpoint, whose tenant and name are filled in at once.
    pub fn parse(text: &str, tenant: &str, endpoint: &str) -> Result<Self, InvalidTemplate> {
        if text.is_empty() {
            return Err(InvalidTemplate::Empty);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            if rest[at..].starts_with('}') {
                return Err(InvalidTemplate::Close);
            }
            let (name, after) = rest[at + 1..].split_once('}').ok_or(InvalidTemplate::Open)?;
            let part = match name {
                "tenant" => Part::Text(tenant.to_owned()),
                "endpoint" => Part::Text(endpoint.to_owned()),
                "type" => Part::Type,
                "id" => Part::Id,
                "subject" => Part::Subject,
                other => return Err(InvalidTemplate::Unknown(other.to_owned())),
            };
            if let Part::Text(filled) = part {
                literal.push_str(&filled);
            } else {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(part);
            }
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { written: text.to_owned(), parts })
    }

    /// The text for one event. A subject that the event does not have leaves its place empty.
    pub fn fill(&self, request: &Request<'_>) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text,
                Part::Type => request.event_type.as_str(),
                Part::Id => request.event.as_str(),
                Part::Subject => request.subject.unwrap_or_default(),
            })
            .collect()
    }

    /// The text with a word in each place, by which its form can be judged.
    pub fn sample(&self) -> String {
        let word = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Type | Part::Id | Part::Subject => "x".to_owned(),
        };
        self.parts.iter().map(word).collect()
    }

    /// As it was configured.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether the senders' own free text, an event's subject, is part of it.
    pub fn has_subject(&self) -> bool {
        self.parts.contains(&Part::Subject)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hookweir_model::{EventId, EventType, Shaped, TenantId};

    use super::*;
    use crate::InForce;

    fn parse(text: &str) -> Result<Template, InvalidTemplate> {
        Template::parse(text, "acme", "inbox")
    }

    fn filled(text: &str) -> String {
        let (event, event_type) = (EventId::new("evt_1").unwrap(), EventType::new("order.created").unwrap());
        let shaped = Shaped { content_type: String::new(), headers: Vec::new(), body: Bytes::new() };
        let request = Request {
            tenant: &TenantId::new("acme").unwrap(),
            event: &event,
            event_type: &event_type,
            subject: Some("A-1"),
            attempt: 1,
            shaped: &shaped,
            traceparent: None,
            in_full: false,
            in_force: &InForce::always(),
        };
        parse(text).unwrap().fill(&request)
    }

    #[test]
    fn places_are_filled() {
        for (text, wanted) in [
            ("hooks", "hooks"),
            ("hooks.{tenant}.{type}", "hooks.acme.order.created"),
            ("{type}", "order.created"),
            ("{id}{subject}{endpoint}", "evt_1A-1inbox"),
            ("{tenant}/{endpoint}/x", "acme/inbox/x"),
        ] {
            assert_eq!(filled(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        assert_eq!(parse(""), Err(InvalidTemplate::Empty));
        assert_eq!(parse("a{b"), Err(InvalidTemplate::Open));
        assert_eq!(parse("a}b"), Err(InvalidTemplate::Close));
        assert_eq!(parse("{Type}"), Err(InvalidTemplate::Unknown("Type".to_owned())));
        assert_eq!(
            parse("{Type}").unwrap_err().to_string(),
            "{Type} is no place that can be filled: use {tenant}, {endpoint}, {type}, {id} or {subject}"
        );
    }
}
