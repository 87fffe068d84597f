//! A dry run: the tenant's stored events through its endpoints' plugins, once as they are and once with another
//! component. Nothing is sent and nothing is kept.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hookweir_host::{Fault, Outgoing, Step, Verdict};
use hookweir_journal::EventFilter;
use hookweir_model::{Event, PluginId, PluginKey};

use super::chain::{self, Chain};
use super::history::{Bounds, History};
use super::registry::{Plugins, Refused, inspect};
use super::slot::misfits;
use crate::api::{DryRun, DryRunContent, DryRunEvent, DryRunResult};

/// How far it looks for stored events to run. No dry run takes longer, so that a client that waits for its answer gets one.
const BOUNDS: Bounds = Bounds { events: 10_000, bytes: 1 << 30, time: Duration::from_secs(20) };
/// Data that the whole answer may show.
const SHOWN: usize = 16 << 20;
/// Data that one result may show.
const SHOWN_OF_ONE: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct DryRunRequest {
    pub filter: EventFilter,
    pub limit: usize,
    /// `None`: the component that is in force.
    pub wasm: Option<Bytes>,
}

/// Runs stored events, newest first. Each call is one of the tenant's own, and there is one at a time, so that the
/// host's fair queue serves everybody's deliveries beside it.
pub(crate) async fn dry_run(
    plugins: &Plugins,
    key: &PluginKey,
    request: DryRunRequest,
) -> Result<DryRun, Refused> {
    let live = plugins.live.load_full();
    let slot = live.slot(key).ok_or(Refused::NotConfigured)?;
    let current = slot.component.as_ref().ok().map(|component| Arc::clone(&component.plugin));
    let tenant = live.config.tenants.get(&key.tenant).ok_or(Refused::NotConfigured)?;
    let new = match (request.wasm, &slot.component) {
        (Some(wasm), _) => {
            let found = inspect(wasm.clone()).await?;
            let misfits = misfits(tenant, &key.plugin, found.exports);
            if !misfits.is_empty() {
                return Err(Refused::Unusable(misfits.join("; ")));
            }
            plugins.host.load(wasm, slot.settings.compile_deadline).await?
        }
        (None, Ok(component)) => Arc::clone(&component.plugin),
        (None, Err(reason)) => {
            return Err(Refused::Conflict(format!("send a component: the plugin has none ({reason})")));
        }
    };
    let loaded = live.tenant(key.tenant.as_str()).ok_or(Refused::NotConfigured)?;
    let chains = Chain::all(tenant, &key.plugin);
    let compared = |chain| {
        let steps = |new| Chain::steps(chain, loaded, &key.plugin, new);
        Compared { chain, before: steps(None), after: steps(Some(&new)) }
    };
    let chains: Vec<_> = chains.iter().map(compared).collect();
    let mut history = History::new(&*plugins.journal, request.filter, tenant, &key.plugin, BOUNDS);
    let mut run = DryRun {
        before: current.map(|plugin| plugin.digest()),
        after: new.digest(),
        events: 0,
        same: 0,
        changed: 0,
        cut: false,
        data: Vec::new(),
    };
    let mut shown = 0;
    while run.events < request.limit {
        if shown > SHOWN {
            run.cut = true;
            break;
        }
        let Some(event) = history.next().await? else {
            run.cut = history.gave_up();
            break;
        };
        let event = Arc::new(event);
        run.events += 1;
        for Compared { chain, before, after } in chains.iter().filter(|compared| compared.chain.wants(&event))
        {
            let before = result(plugins, &event, before).await;
            let after = result(plugins, &event, after).await;
            let same = before == after;
            if same {
                run.same += 1;
            } else {
                run.changed += 1;
            }
            let mut view = |ended| view(ended, same, &mut shown);
            run.data.push(DryRunEvent {
                event: event.id.clone(),
                event_type: event.event_type.clone(),
                endpoint: chain.endpoint().cloned(),
                same,
                before: view(before),
                after: view(after),
            });
        }
    }
    Ok(run)
}

/// An endpoint's plugins as they are and as they would be. The error is why they can't be run.
struct Compared<'a> {
    chain: &'a Chain<'a>,
    before: Result<Arc<[Step]>, String>,
    after: Result<Arc<[Step]>, String>,
}

/// What an event came to, with all that can differ.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Send(Outgoing),
    Drop { plugin: PluginId, reason: String },
    Fail { plugin: PluginId, kind: &'static str, reason: String },
    Wait(String),
}

async fn result(plugins: &Plugins, event: &Arc<Event>, steps: &Result<Arc<[Step]>, String>) -> Ended {
    let steps = match steps {
        Ok(steps) => steps,
        Err(reason) => return Ended::Wait(reason.clone()),
    };
    match chain::run(&plugins.host, event, steps).await.verdict {
        Verdict::Keep(Some(made)) => Ended::Send(made),
        Verdict::Keep(None) => Ended::Send(Outgoing {
            content_type: event.content_type.clone(),
            headers: Vec::new(),
            data: event.data.clone(),
        }),
        Verdict::Drop { plugin, reason, .. } => Ended::Drop { plugin, reason },
        Verdict::Fault(Fault { plugin, kind, message, .. }) => {
            Ended::Fail { plugin, kind: kind.as_str(), reason: message }
        }
    }
}

fn view(ended: Ended, same: bool, shown: &mut usize) -> DryRunResult {
    match ended {
        Ended::Send(made) => {
            let (data, data_base64) = if same { (None, None) } else { excerpt(&made.data) };
            *shown += data.as_ref().or(data_base64.as_ref()).map_or(0, String::len);
            DryRunResult::Send(DryRunContent {
                content_type: made.content_type,
                headers: made.headers,
                size: made.data.len(),
                data,
                data_base64,
            })
        }
        Ended::Drop { plugin, reason } => DryRunResult::Drop { plugin, reason },
        Ended::Fail { plugin, kind, reason } => DryRunResult::Fail { plugin, kind: kind.to_owned(), reason },
        Ended::Wait(reason) => DryRunResult::Wait { reason },
    }
}

/// The start of the data: as text, or as Base64 where it is none.
fn excerpt(data: &[u8]) -> (Option<String>, Option<String>) {
    let cut = &data[..data.len().min(SHOWN_OF_ONE)];
    match std::str::from_utf8(data) {
        Ok(text) => (Some(text[..text.floor_char_boundary(SHOWN_OF_ONE)].to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(cut))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_data_is_bounded() {
        let long = "é".repeat(SHOWN_OF_ONE);
        let (text, none) = excerpt(long.as_bytes());
        assert_eq!((text.map(|text| text.len()), none), (Some(SHOWN_OF_ONE), None));
        let (none, base64) = excerpt(&vec![0xff; SHOWN_OF_ONE + 1]);
        assert_eq!((none, base64.map(|text| text.len())), (None, Some(SHOWN_OF_ONE.div_ceil(3) * 4)));
    }

    #[test]
    fn what_is_the_same_shows_no_data() {
        let made = || Outgoing {
            content_type: "text/plain".to_owned(),
            headers: Vec::new(),
            data: Bytes::from_static(b"data"),
        };
        let mut shown = 0;
        let content = |ended| match ended {
            DryRunResult::Send(content) => (content.size, content.data),
            other => panic!("{other:?}"),
        };
        assert_eq!(content(view(Ended::Send(made()), true, &mut shown)), (4, None));
        assert_eq!(shown, 0);
        assert_eq!(content(view(Ended::Send(made()), false, &mut shown)), (4, Some("data".to_owned())));
        assert_eq!(shown, 4);
    }
}
