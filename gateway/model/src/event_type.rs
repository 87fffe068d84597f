//! Event types and the patterns that endpoints subscribe with.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A dotted name such as `order.created`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String, max_length = 255, pattern = "^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$"))]
pub struct EventType(Arc<str>);

/// An event type can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an event type is 1 to 255 characters: segments of a-z, A-Z, 0-9, '_' and '-', joined by '.'")]
pub struct InvalidEventType;

fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

impl EventType {
    pub fn new(text: &str) -> Result<Self, InvalidEventType> {
        if text.len() <= 255 && text.split('.').all(is_segment) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidEventType)
        }
    }

    /// The type of an event whose own can't be read any more.
    pub fn of_damaged() -> Self {
        Self("damaged".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventType {
    type Error = InvalidEventType;

    fn try_from(text: String) -> Result<Self, InvalidEventType> {
        Self::new(&text)
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> String {
        event_type.0.as_ref().to_owned()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an endpoint subscribes to. Whole segments match: `order.*` any one segment after `order`, `order.**` one
/// or more, `*` or `**` alone every type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypePattern {
    text: String,
    segments: Vec<Segment>,
}

#[cfg(feature = "schema")]
mod schema {
    use utoipa::openapi::RefOr;
    use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

    /// Its text.
    impl utoipa::PartialSchema for super::TypePattern {
        fn schema() -> RefOr<Schema> {
            const PATTERN: &str = "^([*][*]|([A-Za-z0-9_-]+|[*])([.]([A-Za-z0-9_-]+|[*]))*([.][*][*])?)$";
            let text = ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
            let text = text.description(Some("A pattern of event types: `order.*`, `order.**`, `*`"));
            text.pattern(Some(PATTERN)).max_length(Some(255)).into()
        }
    }

    impl utoipa::ToSchema for super::TypePattern {}
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(String),
    One,
    Rest,
}

/// A pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPattern {
    #[error("'**' stands for the rest of the name, so it can only be the last segment")]
    RestNotLast,
    #[error("'*' stands for a whole segment: write \"order.*\", not \"order.cre*\"")]
    PartOfSegment,
    #[error("a pattern is an event type in which a whole segment may be '*' and the last one '**'")]
    NotAType,
}

impl TypePattern {
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        // A lone star would, by the rule for segments, leave out every dotted name: nobody who writes it wants that.
        let wanted = if text == "*" { "**" } else { text };
        let parts: Vec<&str> = wanted.split('.').collect();
        let mut segments = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            segments.push(match *part {
                "*" => Segment::One,
                "**" if index + 1 == parts.len() => Segment::Rest,
                "**" => return Err(InvalidPattern::RestNotLast),
                part if is_segment(part) => Segment::Exact(part.to_owned()),
                part if part.contains('*') => return Err(InvalidPattern::PartOfSegment),
                _ => return Err(InvalidPattern::NotAType),
            });
        }
        if text.len() > 255 {
            Err(InvalidPattern::NotAType)
        } else {
            Ok(Self { text: text.to_owned(), segments })
        }
    }

    /// The pattern of all types, `**`.
    pub fn everything() -> Self {
        Self { text: "**".to_owned(), segments: vec![Segment::Rest] }
    }

    pub fn matches(&self, event_type: &EventType) -> bool {
        let mut names = event_type.as_str().split('.');
        for segment in &self.segments {
            match (segment, names.next()) {
                (Segment::Rest, Some(_)) => return true,
                (Segment::One, Some(_)) => {}
                (Segment::Exact(wanted), Some(name)) if wanted == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// The first segment, unless it is a star.
    pub(crate) fn first(&self) -> Option<&str> {
        match self.segments.first() {
            Some(Segment::Exact(name)) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn has_star(&self) -> bool {
        self.segments.iter().any(|segment| !matches!(segment, Segment::Exact(_)))
    }

    /// A type that it matches, with a word in place of each star.
    pub fn example(&self) -> EventType {
        let named = |word: &str| {
            let name = |segment: &Segment| match segment {
                Segment::Exact(name) => name.clone(),
                Segment::One | Segment::Rest => word.to_owned(),
            };
            self.segments.iter().map(name).collect::<Vec<_>>().join(".")
        };
        // No longer than the pattern, so that it is a type.
        EventType::new(&named("sample")).unwrap_or_else(|_| EventType(named("x").into()))
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_keep_their_rule() {
        for good in ["a", "order.created", "FileUploadComplete", "com.github.pull_request", "a-b.c_d", "v1.0"]
        {
            assert!(EventType::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "é", &"a".repeat(256)] {
            assert!(EventType::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_whole_segments() {
        for (pattern, name, wanted) in [
            ("order.created", "order.created", true),
            ("order.created", "order.created.eu", false),
            ("order.created", "order", false),
            ("order.*", "order.created", true),
            ("order.*", "order", false),
            ("order.*", "order.item.added", false),
            ("order.*", "orders.created", false),
            ("order.**", "order.created", true),
            ("order.**", "order.item.added", true),
            ("order.**", "order", false),
            ("*.created", "order.created", true),
            ("*.created", "created", false),
            ("*.*", "order.created", true),
            ("*.*", "order", false),
            ("*", "order", true),
            ("*", "order.item.added", true),
            ("**", "order.item.added", true),
        ] {
            let matched = TypePattern::parse(pattern).unwrap().matches(&EventType::new(name).unwrap());
            assert_eq!(matched, wanted, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_pattern_has_an_example_that_it_matches() {
        let long = format!("{}*", "a.".repeat(127));
        for (pattern, wanted) in [
            ("order.created", "order.created"),
            ("order.*", "order.sample"),
            ("*.created", "sample.created"),
            ("order.**", "order.sample"),
            ("*", "sample"),
            (&long, &long.replace('*', "x")),
        ] {
            let pattern = TypePattern::parse(pattern).unwrap();
            let example = pattern.example();
            assert_eq!(example.as_str(), wanted);
            assert!(pattern.matches(&example) && EventType::new(wanted).is_ok(), "{wanted}");
        }
    }

    #[test]
    fn bad_patterns_say_why() {
        for (pattern, wanted) in [
            ("a.**.b", InvalidPattern::RestNotLast),
            ("order.cre*", InvalidPattern::PartOfSegment),
            ("***", InvalidPattern::PartOfSegment),
            ("", InvalidPattern::NotAType),
            ("a..b", InvalidPattern::NotAType),
            ("a b", InvalidPattern::NotAType),
        ] {
            assert_eq!(TypePattern::parse(pattern), Err(wanted), "{pattern}");
        }
    }
}
