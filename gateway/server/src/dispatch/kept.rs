//! The events that are held in memory: one copy for all lanes that hold a delivery of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hookweir_journal::Seq;
use hookweir_model::Event;

use super::budget::Room;

/// Smaller events are kept once a lane where they come from memory: looking for them costs more than they take.
const WORTH_SHARING: usize = 4096;

/// What an event takes beside its data, about.
const OVERHEAD: usize = 256;

/// What an event counts for.
pub(super) fn bytes(event: &Event) -> usize {
    let Event { source, subject, time, content_type, attributes, ordering_key, data, .. } = event;
    let texts = [Some(source), subject.as_ref(), Some(time), Some(content_type), ordering_key.as_ref()];
    let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
    let pairs = attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    OVERHEAD + data.len() + texts + pairs
}

/// An event in memory, with the room that it has there.
#[derive(Debug)]
pub(super) struct Kept {
    pub event: Arc<Event>,
    /// Where it is found by other lanes.
    found_in: Option<(Events, Seq)>,
    /// Given back when the last lane lets go of the event.
    _room: Room,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((events, seq)) = &self.found_in {
            let mut map = events.lock();
            // Another copy may have taken the place meanwhile.
            if map.get(seq).is_some_and(|kept| kept.strong_count() == 0) {
                map.remove(seq);
            }
        }
    }
}

/// Where lanes find the events that others hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Events(Arc<Mutex<HashMap<Seq, Weak<Kept>>>>);

impl Events {
    /// Holds an event that has just come in, for a number of lanes.
    pub(super) fn fresh(&self, seq: Seq, event: &Arc<Event>, lanes: usize, room: Room) -> Arc<Kept> {
        let is_shared = lanes > 1 && event.data.len() >= WORTH_SHARING;
        let found_in = is_shared.then(|| (self.clone(), seq));
        let kept = Arc::new(Kept { event: Arc::clone(event), found_in, _room: room });
        if is_shared {
            self.lock().insert(seq, Arc::downgrade(&kept));
        }
        kept
    }

    /// Holds an event that was read from disk, or answers the copy that is held already. `room` is asked for where it is not.
    pub(super) fn read(&self, seq: Seq, event: Event, room: impl FnOnce(usize) -> Room) -> Arc<Kept> {
        let mut map = self.lock();
        if let Some(kept) = map.get(&seq).and_then(Weak::upgrade) {
            drop(map);
            return kept;
        }
        let room = room(bytes(&event));
        let kept =
            Arc::new(Kept { event: Arc::new(event), found_in: Some((self.clone(), seq)), _room: room });
        map.insert(seq, Arc::downgrade(&kept));
        kept
    }

    /// No [`Kept`] may be dropped while it is locked.
    fn lock(&self) -> MutexGuard<'_, HashMap<Seq, Weak<Kept>>> {
        // Entries are put in and taken out whole, so the map is right after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hookweir_model::{EventId, EventType, TenantId, Timestamp};

    use super::super::budget::{Account, Budget};
    use super::*;

    fn event(size: usize) -> Event {
        Event {
            tenant: TenantId::new("acme").unwrap(),
            id: EventId::new("1").unwrap(),
            event_type: EventType::new("a.b").unwrap(),
            source: "/s".to_owned(),
            subject: None,
            time: String::new(),
            received: Timestamp::from_millis(0),
            content_type: String::new(),
            attributes: vec![("abc".to_owned(), "de".to_owned())],
            ordering_key: Some("key".to_owned()),
            data: Bytes::from(vec![0; size]),
        }
    }

    #[test]
    fn an_event_that_several_lanes_hold_is_there_once() {
        let budget = Budget::new(1 << 20);
        let account = Account::new(&budget);
        let events = Events::default();
        let room = |bytes| account.try_take(bytes).unwrap();
        let size = bytes(&event(5000));
        assert_eq!(size, OVERHEAD + 5000 + 2 + 5 + 3);

        let fresh = events.fresh(Seq(1), &Arc::new(event(5000)), 2, room(size));
        let again = events.read(Seq(1), event(5000), |_| panic!("it is held already"));
        assert!(Arc::ptr_eq(&fresh, &again));
        assert_eq!(budget.held(), size);
        drop((fresh, again));
        assert_eq!((budget.held(), events.lock().len()), (0, 0));

        let read = events.read(Seq(1), event(5000), room);
        assert!(Arc::ptr_eq(&read, &events.read(Seq(1), event(5000), |_| panic!("it is held already"))));
        let other = events.read(Seq(2), event(10), room);
        assert_eq!(budget.held(), size + bytes(&event(10)));
        drop((read, other));
        assert_eq!((budget.held(), events.lock().len()), (0, 0));
    }

    #[test]
    fn small_events_and_those_of_one_lane_are_not_looked_for() {
        let budget = Budget::new(1 << 20);
        let account = Account::new(&budget);
        let events = Events::default();
        for (size, lanes) in [(10, 9), (5000, 1)] {
            let kept = events.fresh(Seq(1), &Arc::new(event(size)), lanes, account.try_take(size).unwrap());
            assert!(events.lock().is_empty(), "{size} bytes for {lanes}");
            drop(kept);
        }
    }
}
