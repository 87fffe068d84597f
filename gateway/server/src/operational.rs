//! Events about the gateway itself, sent to the tenant that they concern.
//!
//! They are kept and delivered as any event of that tenant, with one difference: only endpoints that ask for them by
//! name get them. An endpoint of all events would else hear, in a form that its receiver does not expect, of things
//! that none of its senders sent.

use bytes::Bytes;
use hookweir_model::{
    Attempt, Disabled, EndpointKey, Event, EventId, EventType, InvalidEventType, Paused, PluginKey, TenantId,
    Timestamp, TypePattern,
};
use serde_json::json;

/// What the types of operational events start with. Senders can't use it.
pub(crate) const PREFIX: &str = "hookweir.";

/// Whether only endpoints that name [`PREFIX`] are sent events of this type.
pub(crate) fn is_operational(event_type: &EventType) -> bool {
    event_type.as_str().starts_with(PREFIX)
}

/// Whether an endpoint with these patterns is sent events of this type.
pub(crate) fn wants(patterns: &[TypePattern], event_type: &EventType) -> bool {
    let is_operational = is_operational(event_type);
    patterns.iter().any(|pattern| {
        pattern.matches(event_type) && (!is_operational || pattern.as_str().starts_with(PREFIX))
    })
}

/// A plugin failed too often in a row and is not called any more.
pub(crate) fn plugin_paused(key: &PluginKey, paused: &Paused) -> Result<Event, InvalidEventType> {
    let data = json!({
        "plugin": key.plugin,
        "digest": paused.digest,
        "reason": paused.reason,
        "failures": paused.failures,
    });
    event(&key.tenant, "plugin.paused", key.plugin.as_str(), &data, paused.since)
}

/// An endpoint was switched off by its own answers.
pub(crate) fn endpoint_disabled(key: &EndpointKey, disabled: &Disabled) -> Result<Event, InvalidEventType> {
    let data = json!({ "endpoint": key.endpoint, "reason": disabled.reason });
    event(&key.tenant, "endpoint.disabled", key.endpoint.as_str(), &data, disabled.at)
}

/// An endpoint that only failed for a while takes deliveries again.
pub(crate) fn endpoint_recovered(
    key: &EndpointKey,
    failing_since: Timestamp,
    now: Timestamp,
) -> Result<Event, InvalidEventType> {
    let data = json!({ "endpoint": key.endpoint, "failing_since": failing_since.to_string() });
    event(&key.tenant, "endpoint.recovered", key.endpoint.as_str(), &data, now)
}

/// A delivery has used up its attempts. It can be recovered.
pub(crate) fn delivery_exhausted(
    key: &EndpointKey,
    of: &Event,
    last: &Attempt,
    now: Timestamp,
) -> Result<Event, InvalidEventType> {
    let data = json!({
        "endpoint": key.endpoint,
        "event": of.id,
        "type": of.event_type,
        "attempt": {
            "number": last.number,
            "started": last.started.to_string(),
            "outcome": last.outcome,
            "reason": last.reason,
            "status": last.answer.as_ref().and_then(|answer| answer.status),
        },
    });
    event(&key.tenant, "delivery.exhausted", key.endpoint.as_str(), &data, now)
}

/// A tenant's event was refused, since a quota was used up.
pub(crate) fn quota_reached(
    tenant: &TenantId,
    quota: &str,
    limit: u64,
    now: Timestamp,
) -> Result<Event, InvalidEventType> {
    event(tenant, "quota.reached", quota, &json!({ "quota": quota, "limit": limit }), now)
}

/// Much waits for a tenant's endpoints: four fifths of its quota.
pub(crate) fn tenant_backlog(
    tenant: &TenantId,
    pending_bytes: u64,
    limit: u64,
    now: Timestamp,
) -> Result<Event, InvalidEventType> {
    let data = json!({ "pending_bytes": pending_bytes, "limit": limit });
    event(tenant, "tenant.backlog", tenant.as_str(), &data, now)
}

fn event(
    tenant: &TenantId,
    name: &str,
    subject: &str,
    data: &serde_json::Value,
    at: Timestamp,
) -> Result<Event, InvalidEventType> {
    Ok(Event {
        tenant: tenant.clone(),
        id: EventId::generate(at),
        event_type: EventType::new(&format!("{PREFIX}{name}"))?,
        source: "hookweir".to_owned(),
        subject: Some(subject.to_owned()),
        time: at.to_string(),
        received: at,
        content_type: "application/json".to_owned(),
        attributes: Vec::new(),
        ordering_key: None,
        data: Bytes::from(data.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hookweir_model::{Digest, PluginId};

    #[test]
    fn operational_events_are_for_those_who_ask_by_name() {
        for (patterns, event_type, wanted) in [
            (&["**"][..], "order.created", true),
            (&["**"], "hookweir.plugin.paused", false),
            (&["*"], "hookweir.plugin.paused", false),
            (&["*.*.*"], "hookweir.plugin.paused", false),
            (&["*.plugin.paused"], "hookweir.plugin.paused", false),
            (&["hookweir.plugin.paused"], "hookweir.plugin.paused", true),
            (&["hookweir.plugin.*"], "hookweir.plugin.paused", true),
            (&["hookweir.**"], "hookweir.endpoint.disabled", true),
            (&["hookweir.**"], "order.created", false),
            (&["**", "hookweir.**"], "hookweir.endpoint.disabled", true),
            (&["order.*", "hookweir.endpoint.*"], "hookweir.plugin.paused", false),
            (&["*.created"], "hookweirs.created", true),
            (&["*"], "hookweir", true),
        ] {
            let patterns: Vec<_> = patterns.iter().map(|text| TypePattern::parse(text).unwrap()).collect();
            assert_eq!(
                wants(&patterns, &EventType::new(event_type).unwrap()),
                wanted,
                "{patterns:?} {event_type}"
            );
        }
    }

    #[test]
    fn a_pause_is_told_whole() {
        let key = PluginKey::new(TenantId::new("acme").unwrap(), PluginId::new("large-only").unwrap());
        let paused = Paused {
            digest: Digest::of(b"wasm"),
            since: Timestamp::from_millis(1_700_000_000_000),
            reason: "it trapped".to_owned(),
            failures: 5,
        };
        let event = plugin_paused(&key, &paused).unwrap();
        assert_eq!(
            (event.event_type.as_str(), event.source.as_str()),
            ("hookweir.plugin.paused", "hookweir")
        );
        let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
        let digest = paused.digest.to_string();
        assert_eq!(
            data,
            json!({ "plugin": "large-only", "digest": digest, "reason": "it trapped", "failures": 5 })
        );
    }
}
