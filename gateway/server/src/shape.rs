//! From an event to what its endpoint is sent: filters, then transformers, then the format.
//!
//! It runs before the first attempt only; retries send the kept bytes. It decides nothing about retries.

use std::sync::Arc;

use hookweir_host::{Fault, FaultKind, Host, Job, Verdict};
use hookweir_model::{Event, PluginCall, Shaped, Timestamp};

use crate::format;
use crate::live::Endpoint;
use crate::metrics::Metrics;
use crate::plugins::{Heard, Watch};

/// What shaping made of an event, with the plugin calls that it took.
#[derive(Debug)]
pub(crate) struct Shaping {
    pub result: Shape,
    pub calls: Vec<PluginCall>,
    /// The plugin that this event's fault was one too many of: it is paused from now on.
    pub paused: Option<Arc<Watch>>,
}

#[derive(Debug)]
pub(crate) enum Shape {
    Ready(Shaped),
    /// A filter dropped it: the reason names the plugin and its digest.
    Filtered(String),
    /// It can never be sent as it is.
    Failed(String),
    /// A plugin asked to be called again later.
    Unavailable(String),
    /// A plugin that was paused meanwhile failed on it: it waits, as those do that were not tried.
    Waits,
}

pub(crate) async fn shape(
    host: &Host,
    metrics: &Metrics,
    endpoint: &Endpoint,
    event: &Arc<Event>,
) -> Shaping {
    let (verdict, calls) = run(host, endpoint, event).await;
    for call in &calls {
        metrics.plugin(&event.tenant, &call.plugin, call.micros);
    }
    if let Verdict::Fault(fault) = &verdict {
        metrics.plugin_failed(&event.tenant, &fault.plugin, fault.kind);
    }
    let (heard, paused) = hear(endpoint, &calls, &verdict);
    let result = if heard == Some(Heard::Late) { Shape::Waits } else { result(endpoint, event, verdict) };
    Shaping { result, calls, paused }
}

/// What an event would become. Nobody is told how the plugins fared.
pub(crate) async fn preview(
    host: &Host,
    endpoint: &Endpoint,
    event: &Arc<Event>,
) -> (Shape, Vec<PluginCall>) {
    let (verdict, calls) = run(host, endpoint, event).await;
    (result(endpoint, event, verdict), calls)
}

async fn run(host: &Host, endpoint: &Endpoint, event: &Arc<Event>) -> (Verdict, Vec<PluginCall>) {
    if endpoint.chain.steps.is_empty() {
        return (Verdict::Keep(None), Vec::new());
    }
    let job = Job {
        tenant: event.tenant.clone(),
        event: Arc::clone(event),
        steps: Arc::clone(&endpoint.chain.steps),
    };
    let ran = host.run(job).await;
    (ran.verdict, ran.calls)
}

fn result(endpoint: &Endpoint, event: &Event, verdict: Verdict) -> Shape {
    let content = match verdict {
        Verdict::Keep(Some(made)) => {
            Shaped { content_type: made.content_type, headers: made.headers, body: made.data }
        }
        Verdict::Keep(None) => {
            Shaped { content_type: event.content_type.clone(), headers: Vec::new(), body: event.data.clone() }
        }
        Verdict::Drop { plugin, digest, reason } => {
            return Shape::Filtered(format!("{plugin} (sha256 {}): {reason}", digest.short()));
        }
        Verdict::Fault(fault) => return failed(&fault),
    };
    match format::wrap(endpoint.settings.format, event, content) {
        Ok(shaped) => Shape::Ready(shaped),
        Err(error) => Shape::Failed(error.to_string()),
    }
}

/// Tells each plugin's watch how its calls went: what it says of the fault, if there was one, and whether the plugin
/// is paused for it.
fn hear(endpoint: &Endpoint, calls: &[PluginCall], verdict: &Verdict) -> (Option<Heard>, Option<Arc<Watch>>) {
    let fault = match verdict {
        Verdict::Fault(fault) => Some(fault),
        Verdict::Keep(_) | Verdict::Drop { .. } => None,
    };
    for call in calls {
        // The call that failed is judged below. A plugin that is a filter and a transformer has given one answer too.
        if fault.is_none_or(|fault| fault.plugin != call.plugin)
            && let Some(watch) = endpoint.chain.watch(&call.plugin)
        {
            watch.answered();
        }
    }
    let Some(fault) = fault else { return (None, None) };
    let Some(watch) = endpoint.chain.watch(&fault.plugin) else { return (None, None) };
    if fault.kind.is_plugins_own() {
        let heard = watch.failed(&fault.message, Timestamp::now());
        (Some(heard), (heard == Heard::Pauses).then(|| Arc::clone(watch)))
    } else {
        if fault.kind != FaultKind::Host {
            watch.answered();
        }
        (None, None)
    }
}

fn failed(fault: &Fault) -> Shape {
    let reason = format!("plugin {} (sha256 {}): {}", fault.plugin, fault.digest.short(), fault.message);
    // A fault of the host itself says nothing about the event, so it is tried again too.
    match fault.kind {
        FaultKind::Unavailable | FaultKind::Host => Shape::Unavailable(reason),
        _ => Shape::Failed(reason),
    }
}
