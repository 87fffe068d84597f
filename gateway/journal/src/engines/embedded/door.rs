//! Whether appends are let in, and if not, why.
//!
//! Appends alone are refused: settling, sending again and expiring go on as long as writing is possible at all.

use std::sync::{PoisonError, RwLock};

use super::options::Options;
use crate::Error;

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Open,
    /// Too little room. Looked at again all the time; opens by itself.
    NoRoom(String),
    /// The file is damaged and could not be rebuilt. A 202 for an event in such a file would promise too much.
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
            State::NoRoom(why) => Err(Error::Full(why)),
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

    /// The damaged file was replaced.
    pub(super) fn mended(&self) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Damaged(_)) {
            tracing::info!(target: "hookweir::journal", "the journal takes events again");
            *state = State::Open;
        }
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
            State::NoRoom(why) => tracing::warn!(
                target: "hookweir::journal",
                "the journal refuses events: {why}"
            ),
            State::Damaged(why) | State::Poisoned(why) => {
                tracing::error!(target: "hookweir::journal", "the journal refuses events: {why}");
            }
            State::Open => tracing::info!(target: "hookweir::journal", "the journal takes events again"),
            State::Closed => {}
        }
        *state = to;
    }
}

pub(super) fn closed() -> Error {
    Error::Failed("the journal is closed".to_owned())
}

/// What the journal takes and what is left for it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// What the content takes. Pages that removed events left behind are not counted, since new events fill them first.
    pub used: u64,
    /// Those pages.
    pub unused: u64,
    /// What the disk has left, where the system tells.
    pub free: Option<u64>,
}

/// How near the journal is to its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// So many bytes of finished events should go, before there is none.
    Little(u64),
    /// So many bytes would have to go; why, in a sentence.
    None(u64, String),
}

/// Decides whether there is room for more events.
pub(super) fn judge_room(options: &Options, space: Space) -> Room {
    let Space { used, unused, free } = space;
    // What the content may grow by is written before it is measured again.
    let mut little = 0;
    if let Some(max) = options.max_size {
        let margin = (max / 16).clamp(256 << 10, 64 << 20);
        little = used.saturating_sub(max.saturating_sub(margin));
        if used >= max {
            return Room::None(
                little,
                format!("its content takes {used} bytes, and `journal.max_size` is {max}"),
            );
        }
    }
    if let Some(free) = free {
        let reserve = options.reserve();
        // Unused pages take new events, but the write-ahead log needs room outside of the file.
        let left = free.saturating_add(unused);
        little = little.max((reserve + reserve / 4).saturating_sub(left));
        if left < reserve || free < reserve / 2 {
            return Room::None(
                little,
                format!(
                    "the disk has {free} bytes left, and {reserve} are kept for deliveries (`journal.reserve`)"
                ),
            );
        }
    }
    if little == 0 { Room::Enough } else { Room::Little(little) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_by_content_and_by_disk() {
        const MIB: u64 = 1 << 20;
        let options = |max_size| Options { max_size, reserve: Some(256 * MIB), ..Options::default() };
        for (max, used, unused, free, wanted) in [
            (None, 0, 0, None, "enough"),
            (None, u64::MAX, 0, Some(320), "enough"),
            (None, 0, 0, Some(319), "little"),
            (None, 0, 0, Some(256), "little"),
            (None, 0, 0, Some(255), "the disk has 267386880 bytes left"),
            (None, 0, 65, Some(255), "enough"),
            (None, 0, 65, Some(127), "the disk has 133169152 bytes left"),
            (Some(16), 15 * MIB, 0, Some(1024), "enough"),
            (Some(16), 15 * MIB + 1, 0, Some(1024), "little"),
            (
                Some(16),
                16 * MIB,
                0,
                Some(1024),
                "its content takes 16777216 bytes, and `journal.max_size` is 16777216",
            ),
            (Some(16), 0, 0, Some(0), "the disk has 0 bytes left"),
        ] {
            let space = Space { used, unused: unused * MIB, free: free.map(|free| free * MIB) };
            let found = match judge_room(&options(max.map(|max| max * MIB)), space) {
                Room::Enough => "enough".to_owned(),
                Room::Little(wanted) if wanted > 0 => "little".to_owned(),
                Room::Little(_) => "nothing".to_owned(),
                Room::None(wanted, why) if wanted > 0 => why,
                Room::None(..) => "nothing".to_owned(),
            };
            assert!(found.starts_with(wanted), "{max:?} {used} {unused} {free:?}: {found}");
        }
    }

    #[test]
    fn worse_states_stay() {
        let door = Door::new();
        door.room(Err("full".to_owned()));
        assert!(matches!(door.admit(), Err(Error::Full(_))));
        assert!(door.admit_upkeep().is_ok());
        door.room(Ok(()));
        assert!(door.admit().is_ok());
        door.damaged("page".to_owned());
        door.room(Ok(()));
        assert!(matches!(door.admit(), Err(Error::Corrupt(_))), "room mends nothing");
        door.mended();
        assert!(door.admit().is_ok());
        door.poison("sync".to_owned());
        door.mended();
        door.room(Ok(()));
        door.damaged("page".to_owned());
        assert!(matches!(door.admit(), Err(Error::Unknown(_))));
        assert!(matches!(door.admit_upkeep(), Err(Error::Unknown(_))));
        assert_eq!(door.writable(), Err("sync".to_owned()));
        door.close();
        assert!(matches!(door.admit(), Err(Error::Failed(_))));
    }
}
