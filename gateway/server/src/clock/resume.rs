//! How the clock goes on in another process: a pure function of what was kept and what the machine says.

use std::time::Duration;

use hookweir_journal::KeptClock;
use hookweir_model::Timestamp;

/// The longest that the gateway is taken to have been away where only the wall clock tells it. No wait is longer, and where
/// that clock was wrong, what is shown is wrong by no more.
pub(super) const LONGEST_AWAY: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the readings of two processes may be apart by their rounding to milliseconds. It is taken off: a time that a
/// consumer was told for a hidden message must not come a millisecond sooner after a restart.
const ROUNDING: Duration = Duration::from_millis(2);

/// What the machine's clocks say at the start.
#[derive(Debug)]
pub(super) struct Readings<'a> {
    pub wall: Timestamp,
    /// How long the machine is up, its sleep included, and which start of it that was.
    pub uptime: Duration,
    pub boot: &'a str,
}

/// Where the clock goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resumed {
    pub time: Timestamp,
    pub running: Duration,
}

/// The gateway's own time goes on by how long it was away, which the machine's uptime tells exactly as long as it was not
/// restarted. After that the wall clock has to be believed, within bounds and never backwards: a wait that ends early
/// costs an attempt, one that never ends a delivery. The running time goes on where it was.
pub(super) fn resume(kept: Option<&KeptClock>, now: &Readings<'_>) -> Resumed {
    let Some(kept) = kept else { return Resumed { time: now.wall, running: Duration::ZERO } };
    let since_then = now.uptime.checked_sub(kept.uptime);
    let away = match since_then {
        Some(away) if !now.boot.is_empty() && kept.boot == now.boot => away,
        _ => now.wall.since(kept.wall).min(LONGEST_AWAY),
    };
    Resumed { time: kept.time.after(away.saturating_sub(ROUNDING)), running: kept.running }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;
    const NOON: i64 = 1_700_000_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_first_start_takes_the_wall_clock() {
        let now = Readings { wall: at(NOON), uptime: Duration::from_secs(9), boot: "a" };
        assert_eq!(resume(None, &now), Resumed { time: at(NOON), running: Duration::ZERO });
    }

    #[test]
    fn a_restart_goes_on_by_uptime_and_after_that_by_the_wall_clock_within_bounds() {
        let kept = KeptClock {
            running: Duration::from_secs(500),
            time: at(NOON + 3 * DAY),
            wall: at(NOON),
            uptime: Duration::from_secs(100),
            boot: "a".to_owned(),
        };
        for (boot, uptime, wall, away, what) in [
            ("a", 160, NOON + 60_000, 60_000, "an ordinary restart"),
            ("a", 160, NOON + 10 * DAY, 60_000, "the clock was set forward meanwhile"),
            ("a", 160, 1000, 60_000, "the clock was set to 1970 meanwhile"),
            ("a", 99, NOON + 60_000, 60_000, "an uptime that went back tells nothing"),
            ("b", 5, NOON + 60_000, 60_000, "the machine was restarted"),
            ("b", 500, NOON + 60_000, 60_000, "another machine's uptime tells nothing"),
            ("b", 5, NOON - DAY, 0, "its clock is behind"),
            ("b", 5, 1000, 0, "it has no clock"),
            ("b", 5, NOON + 20_000 * DAY, 7 * DAY, "it had none before"),
            ("", 160, NOON + 60_000, 60_000, "it does not tell its starts apart"),
        ] {
            let now = Readings { wall: at(wall), uptime: Duration::from_secs(uptime), boot };
            let resumed = resume(Some(&kept), &now);
            let away: i64 = (away - 2).max(0);
            assert_eq!(resumed.time, at(NOON + 3 * DAY + away), "{what}");
            assert_eq!(resumed.running, kept.running, "a stop is no running time: {what}");
        }
    }
}
