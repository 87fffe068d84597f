//! The stored events that a plugin has to do with, newest first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hookweir_journal::{Cursor, Error, EventFilter, Journal};
use hookweir_model::{Event, PluginId};

use crate::config;
use crate::live::named;
use crate::operational;

/// Events that one page brings, each with its data.
const PAGE: usize = 20;

/// How much of the stored events is looked at, so that a plugin of rare events does not read the whole journal. What no
/// endpoint wants counts too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub events: usize,
    /// Of data.
    pub bytes: usize,
    /// From the making of the history on. A page that is being read is read to its end.
    pub time: Duration,
}

/// Walks a tenant's events within bounds and passes over those that no endpoint with the plugin wants.
pub(crate) struct History<'a> {
    journal: &'a dyn Journal,
    filter: EventFilter,
    tenant: &'a config::Tenant,
    plugin: &'a PluginId,
    left: Bounds,
    since: Instant,
    page: VecDeque<Event>,
    /// `None` before the first page.
    next: Option<Option<Cursor>>,
}

impl<'a> History<'a> {
    pub(crate) fn new(
        journal: &'a dyn Journal,
        filter: EventFilter,
        tenant: &'a config::Tenant,
        plugin: &'a PluginId,
        left: Bounds,
    ) -> Self {
        let (since, page) = (Instant::now(), VecDeque::new());
        Self { journal, filter, tenant, plugin, left, since, page, next: None }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        while !self.gave_up() {
            match self.page.pop_front() {
                Some(event) => {
                    self.left.events -= 1;
                    self.left.bytes = self.left.bytes.saturating_sub(event.data.len());
                    if concerns(self.tenant, self.plugin, &event) {
                        return Ok(Some(event));
                    }
                }
                None if !self.turn().await? => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }

    /// Whether it stopped at a bound, maybe before the end.
    pub(crate) fn gave_up(&self) -> bool {
        self.left.events == 0 || self.left.bytes == 0 || self.since.elapsed() > self.left.time
    }

    /// Reads the next page; says whether there was one. A page may be empty before the end.
    async fn turn(&mut self) -> Result<bool, Error> {
        let after = match &self.next {
            None => None,
            Some(None) => return Ok(false),
            Some(Some(cursor)) => Some(cursor),
        };
        let page = self.journal.events(&self.filter, after, PAGE).await?;
        // A plugin is tried on what was sent, and on nothing else.
        self.page = page
            .items
            .into_iter()
            .filter(|stored| stored.damage.is_none())
            .map(|stored| stored.event)
            .collect();
        self.next = Some(page.next);
        Ok(true)
    }
}

/// Whether an endpoint that names the plugin is sent this event. A plugin that none names is tried on any event.
fn concerns(tenant: &config::Tenant, plugin: &PluginId, event: &Event) -> bool {
    let mut users = users(tenant, plugin).peekable();
    users.peek().is_none()
        || users.any(|(_, endpoint)| operational::wants(&endpoint.event_types, &event.event_type))
}

/// The endpoints that name the plugin.
pub(crate) fn users<'a>(
    tenant: &'a config::Tenant,
    plugin: &PluginId,
) -> impl Iterator<Item = (&'a hookweir_model::EndpointId, &'a config::Endpoint)> {
    tenant.endpoints.iter().filter(move |(_, endpoint)| named(endpoint).any(|(name, _)| name == plugin))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use hookweir_journal::NewEvent;
    use hookweir_journal::engines::memory::Memory;
    use hookweir_model::{Digest, EventId, EventType, TenantId, Timestamp};

    use super::*;

    fn event(number: usize) -> NewEvent {
        let event = Event {
            tenant: TenantId::new("acme").unwrap(),
            id: EventId::new(&number.to_string()).unwrap(),
            event_type: EventType::new("a.b").unwrap(),
            source: "/s".to_owned(),
            subject: None,
            time: "2026-01-31T12:00:00Z".to_owned(),
            received: Timestamp::from_millis(1),
            content_type: "application/json".to_owned(),
            attributes: Vec::new(),
            ordering_key: None,
            data: Bytes::from_static(b"0123456789"),
        };
        let fingerprint = Digest::of(event.id.as_str().as_bytes());
        NewEvent { event: Arc::new(event), fingerprint, idempotency_key: None, endpoints: Vec::new() }
    }

    #[tokio::test]
    async fn it_ends_at_each_of_its_bounds() {
        let journal = Memory::new();
        journal.append((0..50).map(event).collect()).await.unwrap();
        let long = Duration::from_secs(3600);
        let bounds = |events, bytes, time| Bounds { events, bytes, time };
        let (tenant, plugin) = (config::Tenant::default(), PluginId::new("p").unwrap());
        for (bounds, wanted, gave_up) in [
            (bounds(100, 1000, long), 50, false),
            (bounds(50, 1000, long), 50, true),
            (bounds(30, 1000, long), 30, true),
            (bounds(100, 205, long), 21, true),
            (bounds(100, 1000, Duration::ZERO), 0, true),
        ] {
            let filter = EventFilter::of(TenantId::new("acme").unwrap());
            let mut history = History::new(&journal, filter, &tenant, &plugin, bounds);
            let mut met = Vec::new();
            while let Some(event) = history.next().await.unwrap() {
                met.push(event.id.as_str().to_owned());
            }
            let newest_first: Vec<_> = (0..50).rev().map(|number| number.to_string()).take(wanted).collect();
            assert_eq!((met, history.gave_up()), (newest_first, gave_up), "{bounds:?}");
        }
    }
}
