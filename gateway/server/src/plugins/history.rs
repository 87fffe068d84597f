//! The stored events that a plugin has to do with, newest first.

use std::collections::VecDeque;

use hookweir_journal::{Cursor, Error, EventFilter, Journal};
use hookweir_model::{Event, PluginId};

use crate::config;
use crate::live::named;
use crate::operational;

/// Events that one page brings, each with its data.
const PAGE: usize = 20;

/// Walks a tenant's events and passes over those that no endpoint with the plugin wants. It looks at no more than
/// `look` of them, so that a plugin of rare events does not read the whole journal.
pub(crate) struct History<'a> {
    journal: &'a dyn Journal,
    filter: EventFilter,
    tenant: &'a config::Tenant,
    plugin: &'a PluginId,
    look: usize,
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
        look: usize,
    ) -> Self {
        Self { journal, filter, tenant, plugin, look, page: VecDeque::new(), next: None }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        while self.look > 0 {
            match self.page.pop_front() {
                Some(event) => {
                    self.look -= 1;
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

    /// Whether it stopped before the end, having looked at as many events as it may.
    pub(crate) fn gave_up(&self) -> bool {
        self.look == 0
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
