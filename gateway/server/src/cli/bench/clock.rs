//! When an event was sent, told by its id, so that the receiver of a delivery knows it whatever a transformer made of
//! the body. All processes of the rig read the same clock.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What an id is made of: this, when the event was to be sent in nanoseconds, and a random number.
const PREFIX: &str = "evt_";
const DIGITS: usize = 16;
pub(super) const ID_LENGTH: usize = PREFIX.len() + 2 * DIGITS;

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The id of an event that is sent at this time.
pub(super) fn id(at: u64) -> String {
    let mut id = String::with_capacity(ID_LENGTH);
    // A string takes all that is written to it.
    let _ = write!(id, "{PREFIX}{at:016x}{:016x}", fastrand::u64(..));
    id
}

/// How long ago the event was sent that has this id.
pub(super) fn age(id: &str, now: u64) -> Option<Duration> {
    let at = u64::from_str_radix(id.strip_prefix(PREFIX)?.get(..DIGITS)?, 16).ok()?;
    Some(Duration::from_nanos(now.saturating_sub(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_sent() {
        let id = id(1_000_000);
        assert_eq!(id.len(), ID_LENGTH);
        assert_eq!(age(&id, 3_500_000), Some(Duration::from_micros(2_500)));
        assert_eq!(age(&id, 0), Some(Duration::ZERO), "a clock that went back");
        for other in ["", "evt_", "evt_xyz", "msg_00000000000f4240"] {
            assert_eq!(age(other, 0), None, "{other}");
        }
    }
}
