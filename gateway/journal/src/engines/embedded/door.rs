//! Whether appends are let in, and if not, why.
//!
//! Appends alone are refused: settling, sending again and expiring go on as long as writing is possible at all.

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use super::options::Options;
use crate::Error;

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Open,
    /// Too little room. Looked at again all the time; opens by itself.
    NoRoom(String),
    /// A check found damage in the file. A 202 for an event in a damaged file would promise too much.
    Damaged(String),
    /// A write or sync failed. Stays so: see [`Error::Unknown`].
    Poisoned(String),
    Closed,
}

impl State {
    /// Worse states stay: room that comes back does not mend a failed sync.
    fn rank(&self) -> u8 {
        match self {
            Self::Open | Self::NoRoom(_) => 0,
            Self::Damaged(_) => 1,
            Self::Poisoned(_) => 2,
            Self::Closed => 3,
        }
    }
}

#[derive(Debug)]
pub(super) struct Door(RwLock<State>);

impl Door {
    pub(super) fn new() -> Self {
        Self(RwLock::new(State::Open))
    }

    /// Whether an append may come in.
    pub(super) fn admit(&self) -> Result<(), Error> {
        match self.state() {
            State::Open => Ok(()),
            State::NoRoom(_) => Err(Error::Full),
            State::Damaged(why) => Err(Error::Corrupt(why)),
            State::Poisoned(why) => Err(Error::Unknown(why)),
            State::Closed => Err(closed()),
        }
    }

    /// Whether any write may come in.
    pub(super) fn admit_upkeep(&self) -> Result<(), Error> {
        match self.state() {
            State::Open | State::NoRoom(_) | State::Damaged(_) => Ok(()),
            State::Poisoned(why) => Err(Error::Unknown(why)),
            State::Closed => Err(closed()),
        }
    }

    /// For [`Health`](crate::Health): why appends are refused.
    pub(super) fn writable(&self) -> Result<(), String> {
        match self.state() {
            State::Open => Ok(()),
            State::NoRoom(why) | State::Damaged(why) | State::Poisoned(why) => Err(why),
            State::Closed => Err("the journal is closed".to_owned()),
        }
    }

    pub(super) fn lacks_room(&self) -> bool {
        matches!(*self.0.read().unwrap_or_else(PoisonError::into_inner), State::NoRoom(_))
    }

    pub(super) fn room(&self, room: Result<(), String>) {
        self.change(room.map_or_else(State::NoRoom, |()| State::Open));
    }

    pub(super) fn damaged(&self, why: String) {
        self.change(State::Damaged(why));
    }

    pub(super) fn poison(&self, why: String) {
        self.change(State::Poisoned(why));
    }

    pub(super) fn close(&self) {
        self.change(State::Closed);
    }

    fn state(&self) -> State {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, to: State) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if to.rank() < state.rank() || *state == to {
            return;
        }
        match &to {
            // The figures in the reason change all the time; that there is no room is said once.
            State::NoRoom(_) if matches!(*state, State::NoRoom(_)) => {}
            State::NoRoom(why) => tracing::warn!("the journal refuses events: {why}"),
            State::Damaged(why) | State::Poisoned(why) => {
                tracing::error!("the journal refuses events: {why}");
            }
            State::Open => tracing::info!("the journal takes events again"),
            State::Closed => {}
        }
        *state = to;
    }
}

pub(super) fn closed() -> Error {
    Error::Failed("the journal is closed".to_owned())
}

/// Decides whether there is room for more events. `used` is what the content takes; pages that expired events left
/// behind are not counted, since new events fill them first.
pub(super) fn judge_room(options: &Options, used: u64, free: Option<u64>) -> Result<(), String> {
    if let Some(max) = options.max_size.filter(|max| used >= *max) {
        return Err(format!("its content takes {used} bytes and may take {max}"));
    }
    let reserve = options.reserve();
    match free {
        Some(free) if free < reserve => {
            Err(format!("the disk has {free} bytes left and {reserve} are kept for deliveries"))
        }
        _ => Ok(()),
    }
}

/// What is left on the disk under `path`, where the system tells.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_by_content_and_by_disk() {
        const MIB: u64 = 1 << 20;
        let options = |max_size| Options { max_size, reserve: 256 * MIB, ..Options::default() };
        for (max, used, free, wanted) in [
            (None, 0, None, true),
            (None, u64::MAX, Some(256 * MIB), true),
            (None, 0, Some(256 * MIB - 1), false),
            (Some(100), 99, Some(u64::MAX), true),
            (Some(100), 100, Some(u64::MAX), false),
            (Some(100), 0, Some(0), false),
        ] {
            assert_eq!(judge_room(&options(max), used, free).is_ok(), wanted, "{max:?} {used} {free:?}");
        }
        let small = Options { reserve: 0, ..Options::default() };
        assert!(judge_room(&small, 0, Some(127 * MIB)).is_err(), "the write-ahead log needs its room");
    }

    #[test]
    fn worse_states_stay() {
        let door = Door::new();
        door.room(Err("full".to_owned()));
        assert!(matches!(door.admit(), Err(Error::Full)));
        assert!(door.admit_upkeep().is_ok());
        door.room(Ok(()));
        assert!(door.admit().is_ok());
        door.poison("sync".to_owned());
        door.room(Ok(()));
        door.damaged("page".to_owned());
        assert!(matches!(door.admit(), Err(Error::Unknown(_))));
        assert!(matches!(door.admit_upkeep(), Err(Error::Unknown(_))));
        assert_eq!(door.writable(), Err("sync".to_owned()));
        door.close();
        assert!(matches!(door.admit(), Err(Error::Failed(_))));
    }
}
