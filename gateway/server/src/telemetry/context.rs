//! Which trace an event belongs to, as W3C's Trace Context has it.
//!
//! It is computed from the event alone, so that every attempt, on any day and after any restart, finds the same trace
//! and the same parent, and nothing has to be kept for it.

use hookweir_model::{Digest, Event};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(pub [u8; 16]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanId(pub [u8; 8]);

impl SpanId {
    pub(super) fn random() -> Self {
        Self(fastrand::u64(1..).to_be_bytes())
    }
}

/// An event's place among the traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    /// The sender's, or one of its own.
    pub trace: TraceId,
    /// The span that took the event: the parent of all that becomes of it.
    pub accept: SpanId,
    /// The sender's span.
    pub sender: Option<SpanId>,
    /// Not what the sender wants recorded: it has said so.
    pub unwanted: bool,
}

impl Context {
    pub(super) fn of(event: &Event) -> Self {
        let name = format!("{}\0{}", event.tenant, event.id);
        let hash = *Digest::of(name.as_bytes()).as_bytes();
        let accept = SpanId(nonzero(part(&hash, 16)));
        let given = event.attributes.iter().find(|(name, _)| name == "traceparent");
        match given.and_then(|(_, value)| parse(value)) {
            Some((trace, sender, flags)) => {
                Self { trace, accept, sender: Some(sender), unwanted: flags & SAMPLED == 0 }
            }
            None => Self { trace: TraceId(nonzero(part(&hash, 0))), accept, sender: None, unwanted: false },
        }
    }

    /// Whether it is among the share of traces that are recorded. Others who know the trace decide alike.
    pub(super) fn is_sampled(&self, share: Share) -> bool {
        !self.unwanted && u64::from_be_bytes(part(&self.trace.0, 8)) >> 1 < share.0
    }

    /// The `traceparent` for what `span` asks of others.
    pub(super) fn traceparent(&self, span: SpanId) -> String {
        let (trace, span) = (u128::from_be_bytes(self.trace.0), u64::from_be_bytes(span.0));
        format!("00-{trace:032x}-{span:016x}-{SAMPLED:02x}")
    }
}

const SAMPLED: u8 = 1;

/// A share of all traces, as a bound of what stands in the second half of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share(u64);

impl Share {
    /// From 0 to 1.
    pub(super) fn new(share: f64) -> Self {
        const WHOLE: u64 = 1 << 63;
        // A float beyond the bounds becomes the nearer one.
        Self(((share * WHOLE as f64) as u64).min(WHOLE))
    }
}

/// The parts of a `traceparent`. None where an id is nothing but zeros, which the standard calls invalid.
fn parse(value: &str) -> Option<(TraceId, SpanId, u8)> {
    let mut parts = value.split('-');
    let version = parts.next()?;
    let trace = u128::from_str_radix(parts.next()?, 16).ok().filter(|id| *id != 0)?;
    let span = u64::from_str_radix(parts.next()?, 16).ok().filter(|id| *id != 0)?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    (version != "ff").then_some((TraceId(trace.to_be_bytes()), SpanId(span.to_be_bytes()), flags))
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[from + index])
}

/// An id of nothing but zeros stands for none.
fn nonzero<const N: usize>(mut id: [u8; N]) -> [u8; N] {
    if id == [0; N] {
        id[N - 1] = 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hookweir_model::{EventId, EventType, TenantId, Timestamp};

    fn event(id: &str, traceparent: Option<&str>) -> Event {
        Event {
            tenant: TenantId::new("acme").unwrap(),
            id: EventId::new(id).unwrap(),
            event_type: EventType::new("a.b").unwrap(),
            source: "/tenants/acme".to_owned(),
            subject: None,
            time: "2026-01-31T12:00:00Z".to_owned(),
            received: Timestamp::from_millis(0),
            content_type: "application/json".to_owned(),
            attributes: traceparent
                .map(|value| ("traceparent".to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
            ordering_key: None,
            data: Bytes::from_static(b"1"),
        }
    }

    #[test]
    fn an_event_without_a_trace_has_always_the_same_one_of_its_own() {
        let (one, again, other) =
            (Context::of(&event("a", None)), Context::of(&event("a", None)), Context::of(&event("b", None)));
        assert_eq!(one, again);
        assert!(one.trace != other.trace && one.accept != other.accept);
        assert_eq!((one.sender, one.unwanted), (None, false));
    }

    #[test]
    fn a_senders_trace_goes_on() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = Context::of(&event("a", Some(given)));
        assert_eq!(context.traceparent(context.sender.unwrap()), given);
        assert_eq!(context.accept, Context::of(&event("a", None)).accept);
        assert!(context.is_sampled(Share::new(1.0)));
        let unwanted = Context::of(&event("a", Some(&given.replace("-01", "-00"))));
        assert!(!unwanted.is_sampled(Share::new(1.0)));
    }

    #[test]
    fn what_the_standard_calls_invalid_is_none() {
        let own = Context::of(&event("a", None));
        for invalid in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Context::of(&event("a", Some(invalid))), own, "{invalid}");
        }
    }

    #[test]
    fn a_share_of_events_is_sampled() {
        let contexts: Vec<_> = (0..10_000).map(|id| Context::of(&event(&id.to_string(), None))).collect();
        for (share, wanted) in [(0.0, 0..=0), (0.25, 2_200..=2_800), (1.0, 10_000..=10_000)] {
            let sampled = contexts.iter().filter(|context| context.is_sampled(Share::new(share))).count();
            assert!(wanted.contains(&sampled), "{share}: {sampled}");
        }
    }
}
