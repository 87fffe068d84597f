//! From an event to what its endpoint is sent: filters, then transformers, then the format.
//!
//! It runs before the first attempt only; retries send the kept bytes. It decides nothing about retries.

use std::sync::Arc;

use hookweir_host::{Fault, FaultKind, Host, Job, Verdict};
use hookweir_model::{Event, PluginCall, Shaped};

use crate::format;
use crate::live::Endpoint;
use crate::metrics::Metrics;

/// What shaping made of an event, with the plugin calls that it took.
#[derive(Debug)]
pub(crate) struct Shaping {
    pub result: Shape,
    pub calls: Vec<PluginCall>,
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
}

pub(crate) async fn shape(
    host: &Host,
    metrics: &Metrics,
    endpoint: &Endpoint,
    event: &Arc<Event>,
) -> Shaping {
    let (verdict, calls) = if endpoint.chain.is_empty() {
        (Verdict::Keep(None), Vec::new())
    } else {
        let job = Job {
            tenant: event.tenant.clone(),
            event: Arc::clone(event),
            steps: Arc::clone(&endpoint.chain),
        };
        let ran = host.run(job).await;
        (ran.verdict, ran.calls)
    };
    for call in &calls {
        metrics.plugin(&event.tenant, &call.plugin, call.micros);
    }
    let content = match verdict {
        Verdict::Keep(Some(made)) => {
            Shaped { content_type: made.content_type, headers: made.headers, body: made.data }
        }
        Verdict::Keep(None) => {
            Shaped { content_type: event.content_type.clone(), headers: Vec::new(), body: event.data.clone() }
        }
        Verdict::Drop { plugin, digest, reason } => {
            let reason = format!("{plugin} (sha256 {}): {reason}", digest.short());
            return Shaping { result: Shape::Filtered(reason), calls };
        }
        Verdict::Fault(fault) => {
            metrics.plugin_failed(&event.tenant, &fault.plugin, fault.kind.as_str());
            return Shaping { result: failed(&fault), calls };
        }
    };
    let result = match format::wrap(endpoint.settings.format, event, content) {
        Ok(shaped) => Shape::Ready(shaped),
        Err(error) => Shape::Failed(error.to_string()),
    };
    Shaping { result, calls }
}

fn failed(fault: &Fault) -> Shape {
    let reason = format!("plugin {} (sha256 {}): {}", fault.plugin, fault.digest.short(), fault.message);
    // A fault of the host itself says nothing about the event, so it is tried again too.
    match fault.kind {
        FaultKind::Unavailable | FaultKind::Host => Shape::Unavailable(reason),
        _ => Shape::Failed(reason),
    }
}
