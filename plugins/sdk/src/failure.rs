//! Making failures.

use crate::Failure;

impl Failure {
    /// The event can never be handled: the delivery ends as `failed`, with this text.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// The event may be handled later: the delivery is retried by the endpoint's schedule.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::Unavailable(text.into())
    }
}
