//! The protocol of Alibaba's Simple Message Queue, formerly MNS: what a request is signed with, and its XML. The kind
//! `smq` sends with it, and the gateway's own queues answer in it.

#[cfg(feature = "smq")]
mod error;
#[cfg(feature = "smq")]
pub(crate) mod outlet;
mod sign;
mod xml;

use md5::{Digest as _, Md5};

pub use self::sign::Signed;
pub use self::xml::{Element, Malformed, Message, NAMESPACE, batch_send_message, send_message};
use crate::text::hex;

/// The most that one request may hold, and one message: after base64.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// Messages of one batch.
pub const MAX_BATCH: usize = 16;
/// What the protocol is called in its header.
pub const VERSION: &str = "2015-06-06";

/// The digest by which a queue tells which body it has: of the body as it was sent, in upper-case hex.
pub fn body_md5(body: &str) -> String {
    hex(&Md5::digest(body)).to_uppercase()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_digest_of_a_body_is_in_upper_case() {
        assert_eq!(super::body_md5("YQ=="), "7733B38137DA5E163C45FE67A4472932");
    }
}
