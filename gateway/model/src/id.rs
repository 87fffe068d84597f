//! Names that the configuration gives (tenants, endpoints, plugins, sources) and the ids of events.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::Timestamp;

/// A name from the configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name:?} is not a name: use 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit")]
pub struct InvalidName {
    name: String,
}

fn is_name(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        ///
        /// Cheap to clone: the text is shared.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "schema", schema(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$"))]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes a name that keeps the rule of [`InvalidName`].
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidName { name: text.to_owned() }) }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A customer of the gateway.
    TenantId
}
name! {
    /// Where a tenant's events go. Unique within its tenant only: see [`crate::EndpointKey`].
    EndpointId
}
name! {
    /// A filter or transformer of a tenant.
    PluginId
}
name! {
    /// A named way in.
    SourceId
}

/// The id of an event, `webhook-id` on the wire. Unique within its tenant.
///
/// It is `evt_` and the 32 hex digits of a UUIDv7, unless the sender gives one. A dot is refused, since the
/// Standard Webhooks signature joins id, timestamp and body with dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String, pattern = "^[!-\\-/-~]{1,128}$"))]
pub struct EventId(Arc<str>);

/// A sender's event id can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an event id is 1 to 128 visible ASCII characters without '.'")]
pub struct InvalidEventId;

/// Starts the ids of events that have lost their own.
const DAMAGED: &str = "damaged~";

impl EventId {
    pub fn new(text: &str) -> Result<Self, InvalidEventId> {
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
        if (1..=128).contains(&text.len()) && text.bytes().all(visible) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidEventId)
        }
    }

    /// What an event is called whose own id can't be read any more.
    pub fn of_damaged(number: u64) -> Self {
        Self(format!("{DAMAGED}{number}").into())
    }

    /// The number in such an id.
    pub fn number_of_damaged(&self) -> Option<u64> {
        self.0.strip_prefix(DAMAGED)?.parse().ok()
    }

    /// A fresh id that sorts by time of creation.
    pub fn generate(now: Timestamp) -> Self {
        let millis = now.as_millis().unsigned_abs();
        let seconds = millis / 1000;
        let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
        let uuid = Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::timestamp::context::ContextV7::new(),
            seconds,
            nanos,
        ));
        let mut text = [0_u8; 36];
        text[..4].copy_from_slice(b"evt_");
        uuid.simple().encode_lower(&mut text[4..]);
        Self(String::from_utf8_lossy(&text).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventId {
    type Error = InvalidEventId;

    fn try_from(text: String) -> Result<Self, InvalidEventId> {
        Self::new(&text)
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl std::str::FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        Self::new(text)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rule() {
        for good in ["a", "acme", "acme-2", "0x", "large_only", &"a".repeat(63)] {
            assert!(TenantId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "Acme", "a.b", "a b", "a/b", "é", &"a".repeat(64)] {
            assert!(TenantId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn event_ids_keep_their_rule() {
        for good in ["evt_1", "a:b/c", "order#7", &"x".repeat(128)] {
            assert!(EventId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a b", "a\n", "é", &"x".repeat(129)] {
            assert!(EventId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn generated_ids_have_the_documented_shape_and_sort_by_time() {
        let early = EventId::generate(Timestamp::from_millis(1_700_000_000_000));
        let late = EventId::generate(Timestamp::from_millis(1_700_000_000_001));
        assert_eq!(early.as_str().len(), 36);
        assert!(early.as_str().starts_with("evt_"));
        assert!(early.as_str()[4..].bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        assert_eq!(early.as_str().as_bytes()[16], b'7', "version 7 of RFC 9562");
        assert!(early < late);
        assert!(EventId::new(early.as_str()).is_ok());
    }
}
