//! Whether the wall clock was set, and what can be believed of what it said: pure functions.

use hookweir_model::Timestamp;

/// What is less, in milliseconds, is no step: clocks are read one after the other, and set right by little all the time.
pub(super) const LEAST: i64 = 1000;

/// The wall clock, read between two readings of the gateway's own time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub before: Timestamp,
    pub wall: Timestamp,
    pub after: Timestamp,
}

/// How far the wall clock is ahead of the gateway's own time, in milliseconds, where that is no longer what it was.
/// `None` too where the process stood still between the readings: then the next look tells.
pub(super) fn step(look: Look, ahead: i64) -> Option<i64> {
    let between = look.after.as_millis().saturating_sub(look.before.as_millis());
    let now = look.wall.as_millis().saturating_sub(look.after.as_millis());
    let by = now.saturating_sub(ahead);
    (between < LEAST / 4 && by.saturating_abs() >= LEAST).then_some(now)
}

/// When something came: as the wall clock said then, unless that is not between the times at which it is known to have been
/// absent and present. All but `received` are of the wall clock as it is now.
pub(super) fn came(
    received: Timestamp,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    let latest = before.unwrap_or(now).min(now);
    // What was there when the clock was kept first may be of any age.
    let earliest = after.unwrap_or(Timestamp::from_millis(i64::MIN));
    let slack = |time: Timestamp, by: i64| Timestamp::from_millis(time.as_millis().saturating_add(by));
    if received < slack(earliest, -LEAST) {
        earliest
    } else if received > slack(latest, LEAST) {
        latest
    } else {
        received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_700_000_000_000;
    const MINUTE: i64 = 60_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_step_is_what_can_be_no_slip_of_the_reading() {
        for (before, wall, after, ahead, wanted) in [
            (NOON, NOON, NOON, 0, None),
            (NOON, NOON + 999, NOON, 0, None),
            (NOON, NOON + 1000, NOON, 0, Some(1000)),
            (NOON, NOON - 30 * MINUTE, NOON, 0, Some(-30 * MINUTE)),
            (NOON, NOON - 30 * MINUTE, NOON, -30 * MINUTE, None),
            (NOON, NOON, NOON, -30 * MINUTE, Some(0)),
            (1000, NOON, 1000, 0, Some(NOON - 1000)),
            (NOON, NOON, NOON + 5000, 0, None),
        ] {
            let look = Look { before: at(before), wall: at(wall), after: at(after) };
            assert_eq!(step(look, ahead), wanted, "{look:?}, {ahead} ms ahead");
        }
    }

    #[test]
    fn a_time_of_receipt_is_believed_as_far_as_it_can_be() {
        let now = at(NOON);
        for (received, after, before, wanted, what) in [
            (-90_000, Some(-120_000), Some(-60_000), -90_000, "as it was said"),
            (-90_000, Some(-120_000), None, -90_000, "and not noted since"),
            (-121_000, Some(-120_000), Some(-60_000), -121_000, "a slip of the reading"),
            (-NOON, Some(-120_000), Some(-60_000), -120_000, "there was no clock"),
            (-30 * MINUTE, Some(-120_000), None, -120_000, "the clock was behind"),
            (30 * MINUTE, Some(-120_000), Some(-60_000), -60_000, "the clock was ahead"),
            (30 * MINUTE, Some(-120_000), None, 0, "the clock was ahead a moment ago"),
            (-30 * MINUTE, None, Some(-60_000), -30 * MINUTE, "it was there before the first note"),
            (-30 * MINUTE, None, None, -30 * MINUTE, "nothing was noted"),
            (30 * MINUTE, None, None, 0, "nothing comes from the future"),
        ] {
            let [after, before] = [after, before].map(|time: Option<i64>| time.map(|time| at(NOON + time)));
            assert_eq!(came(at(NOON + received), after, before, now), at(NOON + wanted), "{what}");
        }
    }
}
