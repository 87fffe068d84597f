//! Reads what `/metrics` shows of this moment: from the journal, the configuration in force and the lanes.

use std::collections::HashMap;

use hookweir_journal::{Error, Journal};
use hookweir_model::PluginKey;

use crate::clock::Clock;
use crate::dispatch::Dispatcher;
use crate::listen::Listening;
use crate::live::Live;
use crate::metrics::{EndpointMoment, Listeners, Moment, PluginMoment};

fn of(Listening { accept, admin, budgets }: &Listening) -> Listeners {
    let connections = [("accept", accept), ("admin", admin)];
    Listeners {
        connections: connections.map(|(name, all)| (name, all.count(), all.evicted())).into(),
        held: vec![("requests", budgets.requests.held()), ("answers", budgets.answers.held())],
    }
}

pub(crate) async fn moment(
    journal: &dyn Journal,
    live: &Live,
    dispatcher: &Dispatcher,
    clock: &Clock,
    listeners: &Listening,
) -> Result<Moment, Error> {
    clock.look();
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
                failing_since: dispatcher.failing_since(&state),
                pending,
                oldest_pending: oldest_pending.map(|oldest| clock.came(oldest)),
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
    let (damage, memory) = (journal.damage_summary(), dispatcher.memory());
    let now = clock.wall(clock.now());
    let oldest_pending = health.oldest_pending.map(|oldest| clock.came(oldest));
    let (started, steps) = (clock.began(), clock.steps());
    Ok(Moment {
        now,
        started,
        steps,
        oldest_pending,
        health,
        damage,
        journal_limit,
        pending_bytes,
        listeners: of(listeners),
        endpoints,
        plugins,
        memory,
    })
}
