//! Reads what `/metrics` shows of this moment: from the journal, the configuration in force and the lanes.

use std::collections::HashMap;

use hookweir_journal::{Error, Journal};
use hookweir_model::{PluginKey, Timestamp};

use crate::dispatch::Dispatcher;
use crate::listen::Listening;
use crate::live::Live;
use crate::metrics::{EndpointMoment, Form, Listeners, Metrics, Moment, PluginMoment};

/// The text at `/metrics`.
pub(crate) async fn text(
    metrics: &Metrics,
    journal: &dyn Journal,
    live: &Live,
    dispatcher: &Dispatcher,
    listeners: &Listening,
    form: Form,
) -> Result<String, Error> {
    let moment = moment(journal, live, dispatcher).await?;
    Ok(metrics.render(&Moment { listeners: of(listeners), ..moment }, form))
}

fn of(Listening { accept, admin, budgets }: &Listening) -> Listeners {
    let connections = [("accept", accept), ("admin", admin)];
    Listeners {
        connections: connections.map(|(name, all)| (name, all.count(), all.evicted())).into(),
        held: vec![("requests", budgets.requests.held()), ("answers", budgets.answers.held())],
    }
}

async fn moment(journal: &dyn Journal, live: &Live, dispatcher: &Dispatcher) -> Result<Moment, Error> {
    let health = journal.health().await?;
    let mut backlogs: HashMap<_, _> = journal
        .backlogs()
        .await?
        .into_iter()
        .map(|lane| (lane.endpoint, (lane.pending, lane.oldest)))
        .collect();
    let (mut pending_bytes, mut endpoints, mut plugins) = (Vec::new(), Vec::new(), Vec::new());
    for tenant in live.tenants() {
        pending_bytes.push((tenant.id.clone(), journal.pending_bytes(&tenant.id).await?));
        for endpoint in tenant.endpoints.values() {
            let state = dispatcher.state(&endpoint.key);
            let (pending, oldest_pending) = backlogs.remove(&endpoint.key).unwrap_or_default();
            endpoints.push(EndpointMoment {
                key: endpoint.key.clone(),
                counters: dispatcher.counters(&endpoint.key),
                enabled: endpoint.settings.enabled && state.disabled.is_none(),
                breaker: dispatcher.breaker(&endpoint.key),
                failing_since: state.failing_since,
                pending,
                oldest_pending,
            });
        }
        plugins.extend(tenant.plugins.iter().map(|(plugin, slot)| PluginMoment {
            key: PluginKey::new(tenant.id.clone(), plugin.clone()),
            is_paused: slot.is_paused(),
        }));
    }
    // The order of a hash table is another one after each start; this one is not.
    pending_bytes.sort_by(|(a, _), (b, _)| a.cmp(b));
    endpoints.sort_by(|a, b| a.key.cmp(&b.key));
    plugins.sort_by(|a, b| a.key.cmp(&b.key));
    let journal_limit = live.config.journal.max_size;
    let (now, damage, memory) = (Timestamp::now(), journal.damage_summary(), dispatcher.memory());
    let listeners = Listeners::default();
    Ok(Moment { now, health, damage, journal_limit, pending_bytes, listeners, endpoints, plugins, memory })
}
