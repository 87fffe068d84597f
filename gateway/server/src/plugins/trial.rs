//! Trying a component on one event before it comes in force.

use std::sync::Arc;

use hookweir_host::{FaultKind, Host, Job, Plugin, Verdict};
use hookweir_model::{Event, PluginId, PluginRole};

use super::slot::{fits, step, tried};
use crate::config;

/// How much a trial asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A result: the event is the tenant's own sample.
    Result,
    /// An answer: nobody said that the plugin has to take this event. Only what is the plugin's own fault refuses it.
    Answer,
}

/// Runs the component on `event` as filter and as transformer, each as far as it exports that, under the plugin's
/// configuration and limits. The error is a sentence about the component.
pub(crate) async fn trial(
    host: &Host,
    id: &PluginId,
    settings: &config::Plugin,
    plugin: &Arc<Plugin>,
    event: &Arc<Event>,
    asked: Asked,
) -> Result<(), String> {
    for role in [PluginRole::Filter, PluginRole::Transformer] {
        if !fits(plugin.exports(), role) {
            continue;
        }
        let job = Job {
            tenant: event.tenant.clone(),
            event: Arc::clone(event),
            steps: [tried(step(id, role, settings, plugin))].into(),
        };
        if let Verdict::Fault(fault) = host.run(job).await.verdict
            && refuses(fault.kind, asked)
        {
            let what = match asked {
                Asked::Result => "its sample",
                Asked::Answer => "a trial",
            };
            let (role, kind) = (role.as_str(), event.event_type.as_str());
            return Err(format!(
                "on {what} (an event of type {kind}) it failed as a {role}: {}",
                fault.message
            ));
        }
    }
    Ok(())
}

const fn refuses(kind: FaultKind, asked: Asked) -> bool {
    match asked {
        Asked::Result => true,
        Asked::Answer => kind.is_plugins_own(),
    }
}
