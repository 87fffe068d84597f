//! Trying a component before it comes in force: on its sample, or else on what its tenant's events were last.

use std::sync::Arc;
use std::time::Duration;

use hookweir_host::{Host, Plugin, Step, Verdict};
use hookweir_journal::{EventFilter, Journal};
use hookweir_model::{Event, EventType, PluginId, PluginKey, PluginRole, Timestamp};

use super::chain::{self, Chain, tried};
use super::history::{Bounds, History, users};
use super::registry::Refused;
use super::slot::{fits, step};
use super::tally::{Tally, failed_in, own_fault};
use crate::case::Case;
use crate::config;
use crate::live::Live;

/// How many stored events are looked at, and for how long a component is tried on them.
const BOUNDS: Bounds = Bounds { events: 200, bytes: 64 << 20, time: Duration::from_secs(5) };

/// What a component is tried with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial<'a> {
    pub journal: &'a dyn Journal,
    pub host: &'a Host,
    pub live: &'a Live,
    pub key: &'a PluginKey,
    pub plugin: &'a Arc<Plugin>,
}

/// A chain with the component in it.
type With<'a> = (Chain<'a>, Arc<[Step]>);

impl Trial<'_> {
    /// Tries a component on the plugin's sample, else on stored events that are its business, else on one that is made up.
    pub(super) async fn run(self, settings: &config::Plugin) -> Result<(), Refused> {
        let Self { live, key, .. } = self;
        let tenant = live.config.tenants.get(&key.tenant).ok_or(Refused::NotConfigured)?;
        let Some(sample) = &settings.sample else { return self.on_stored(tenant).await };
        let sample = Arc::new(of_tenant(key, Event::clone(sample)));
        let roles: Vec<_> =
            Chain::all(tenant, &key.plugin).iter().flat_map(|chain| chain.roles(&key.plugin)).collect();
        let tried = try_sample(self.host, &key.plugin, settings, self.plugin, &sample, &roles).await;
        tried.map_err(Refused::Unusable)
    }

    /// Runs it on stored events that endpoints with the plugin are sent, as those endpoints would with their other plugins.
    /// It is refused where all that it was tried on of one type were faults of its own: it may well say of an event that it
    /// can't be handled, and one odd event is no reason to refuse what handles the others.
    async fn on_stored(self, tenant: &config::Tenant) -> Result<(), Refused> {
        let plugin = &self.key.plugin;
        let chains = self.chains(tenant)?;
        let filter = EventFilter::of(self.key.tenant.clone());
        let mut history = History::new(self.journal, filter, tenant, plugin, BOUNDS);
        let mut tally = Tally::default();
        let mut met = false;
        while let Some(event) = history.next().await? {
            met = true;
            let event = Arc::new(event);
            for (number, (chain, steps)) in chains.iter().enumerate() {
                let settled = tally.is_settled(number, &event.event_type, chain.roles(plugin));
                if chain.wants(&event) && !settled && !history.gave_up() {
                    tally.note(number, &event, plugin, &chain::run(self.host, &event, steps).await);
                }
            }
            if tally.has_enough() {
                break;
            }
        }
        if !met {
            return self.on_made_up(tenant, &chains).await;
        }
        let refused = tally.refusal().and_then(|group| Some((group, &chains.get(group.chain)?.0)));
        refused
            .map_or(Ok(()), |(group, chain)| Err(Refused::Unusable(group.told(chain.endpoint(), self.key))))
    }

    /// The chains that the component would be called in. Those of endpoints with the same plugins do the same, and are one.
    fn chains<'a>(&'a self, tenant: &'a config::Tenant) -> Result<Vec<With<'a>>, Refused> {
        let (live, plugin) = (self.live, &self.key.plugin);
        let loaded = live.tenant(self.key.tenant.as_str()).ok_or(Refused::NotConfigured)?;
        let mut chains: Vec<With<'_>> = Vec::new();
        for chain in Chain::all(tenant, plugin) {
            let chain = chain.up_to(plugin);
            if let Some((same, _)) = chains.iter_mut().find(|(other, _)| other.is_same(&chain)) {
                same.join(chain);
            } else if let Ok(steps) = chain.steps(loaded, plugin, Some(self.plugin)) {
                // Where a plugin before it is not there, no event comes to it yet.
                chains.push((chain, steps));
            }
        }
        Ok(chains)
    }

    /// Runs it on an event that nobody has sent: of a type that an endpoint wants, with no data.
    async fn on_made_up(self, tenant: &config::Tenant, chains: &[With<'_>]) -> Result<(), Refused> {
        let event = made_up(self.key, tenant).map_err(|error| {
            tracing::error!(
                target: "hookweir::plugin",
                %error,
                "failed to make up an event to try a plugin on"
            );
            Refused::Host
        })?;
        let event = Arc::new(event);
        for (_, steps) in chains.iter().filter(|(chain, _)| chain.wants(&event)) {
            let ran = chain::run(self.host, &event, steps).await;
            if let Some(fault) = own_fault(&self.key.plugin, &ran) {
                let (role, kind) = (failed_in(&ran).as_str(), event.event_type.as_str());
                return Err(Refused::Unusable(format!(
                    "no stored event is for it, so it was tried on one that was made up, of type {kind} with the \
                     data {{}}, and it failed as a {role}: {}; let it take such an event, or send one that it is for, \
                     which waits for it, and try again",
                    fault.message
                )));
            }
        }
        Ok(())
    }
}

/// Runs a component on its sample, in these roles as far as it exports them: as a transformer where it did not drop the
/// event as a filter. The sample is of the tenant's own making, so it asks for a result. The error is a sentence about the
/// component.
pub(crate) async fn try_sample(
    host: &Host,
    id: &PluginId,
    settings: &config::Plugin,
    plugin: &Arc<Plugin>,
    sample: &Arc<Event>,
    roles: &[PluginRole],
) -> Result<(), String> {
    let used = [PluginRole::Filter, PluginRole::Transformer].into_iter().filter(|role| roles.contains(role));
    let steps: Arc<[Step]> = used
        .filter(|role| fits(plugin.exports(), *role))
        .map(|role| tried(step(id, role, settings, plugin)))
        .collect();
    let ran = chain::run(host, sample, &steps).await;
    let Verdict::Fault(fault) = &ran.verdict else { return Ok(()) };
    let (role, kind) = (failed_in(&ran).as_str(), sample.event_type.as_str());
    Err(format!("on its sample (an event of type {kind}) it failed as a {role}: {}", fault.message))
}

/// An event of a type that an endpoint with the plugin is sent.
fn made_up(key: &PluginKey, tenant: &config::Tenant) -> anyhow::Result<Event> {
    let event = of_tenant(key, Case::made_up(&key.tenant)?);
    let patterns = users(tenant, &key.plugin).flat_map(|(_, endpoint)| &endpoint.event_types);
    let event_type = patterns.filter_map(|pattern| a_type(pattern.as_str())).next();
    Ok(Event { event_type: event_type.unwrap_or_else(|| event.event_type.clone()), ..event })
}

fn of_tenant(key: &PluginKey, event: Event) -> Event {
    Event { tenant: key.tenant.clone(), received: Timestamp::now(), ..event }
}

/// A type that a pattern matches.
fn a_type(pattern: &str) -> Option<EventType> {
    let segments = pattern.split('.').map(|segment| if segment.contains('*') { "sample" } else { segment });
    EventType::new(&segments.collect::<Vec<_>>().join(".")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hookweir_model::TypePattern;

    #[test]
    fn a_made_up_type_is_one_that_its_pattern_matches() {
        for pattern in ["order.created", "order.*", "order.**", "*.created", "*", "**"] {
            let event_type = a_type(pattern).unwrap();
            assert!(TypePattern::parse(pattern).unwrap().matches(&event_type), "{pattern}: {event_type}");
        }
    }
}
