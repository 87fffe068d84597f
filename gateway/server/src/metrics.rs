//! What the gateway counts and measures, in Prometheus' text form at `/metrics`.
//!
//! Label values are bounded: tenants, endpoints and plugins come from the configuration, the rest are words of this
//! program. Handles are looked up once and kept by those who count on the event's path.

use std::fmt;
use std::time::Duration;

use hookweir_journal::Health;
use hookweir_journal::engines::embedded;
use hookweir_model::{EndpointKey, PluginId, Status, TenantId, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The stages of an event's way, for the share of time that each takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Head and body read, key checked, event parsed and matched.
    Accept,
    /// Waiting for the sync that covers the event.
    Journal,
    /// From the sync to the start of the first attempt.
    Queue,
    /// In filters and transformers, their queue included.
    Plugins,
    /// The HTTP request, to the end of the answer.
    Attempt,
    /// From the answer to the record of it.
    Settle,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Accept, Self::Journal, Self::Queue, Self::Plugins, Self::Attempt, Self::Settle];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Journal => "journal",
            Self::Queue => "queue",
            Self::Plugins => "plugins",
            Self::Attempt => "attempt",
            Self::Settle => "settle",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    tenant: String,
    endpoint: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    tenant: String,
    plugin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    tenant: String,
    plugin: String,
    reason: &'static str,
}

/// From 50 us to half a minute, each bound about three times the last.
const SECONDS: [f64; 13] =
    [0.00005, 0.00015, 0.0005, 0.0015, 0.005, 0.015, 0.05, 0.15, 0.5, 1.5, 5.0, 15.0, 30.0];

type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

pub(crate) struct Metrics {
    registry: Registry,
    accepted: Counter,
    rejected: Family<ReasonLabel, Counter>,
    deliveries: Family<DeliveryLabels, Counter>,
    attempt_seconds: Histogram,
    plugin_seconds: HistogramFamily<PluginLabels>,
    plugin_failures: Family<FaultLabels, Counter>,
    plugin_paused: Family<PluginLabels, Gauge>,
    pending: Gauge,
    oldest_pending: Gauge,
    journal_bytes: Gauge,
    stages: [Histogram; Stage::ALL.len()],
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// `syncs` reads the journal's own record of its commits, when the metrics are asked for.
    pub(crate) fn new(syncs: impl Fn() -> embedded::Histogram + Send + Sync + 'static) -> Self {
        let mut registry = Registry::with_prefix("hookweir");
        let accepted = Counter::default();
        registry.register("events_accepted", "Events answered 202 for the first time", accepted.clone());
        let rejected = Family::default();
        registry.register("events_rejected", "Requests to send an event that were refused", rejected.clone());
        let deliveries = Family::default();
        registry.register("deliveries", "Deliveries that reached a final status", deliveries.clone());
        let attempt_seconds = seconds();
        registry.register_with_unit(
            "attempt",
            "Duration of attempts",
            Unit::Seconds,
            attempt_seconds.clone(),
        );
        let plugin_seconds: HistogramFamily<PluginLabels> = Family::new_with_constructor(seconds);
        registry.register_with_unit(
            "plugin",
            "Duration of plugin calls",
            Unit::Seconds,
            plugin_seconds.clone(),
        );
        let plugin_failures = Family::default();
        registry.register("plugin_failures", "Plugin calls that gave no result", plugin_failures.clone());
        let plugin_paused: Family<PluginLabels, Gauge> = Family::default();
        registry.register("plugin_paused", "Whether the plugin is paused", plugin_paused.clone());
        let pending = Gauge::default();
        registry.register("pending_deliveries", "Deliveries that are pending", pending.clone());
        let oldest_pending = Gauge::default();
        let help = "Age of the oldest event with a pending delivery";
        registry.register_with_unit("oldest_pending", help, Unit::Seconds, oldest_pending.clone());
        let journal_bytes = Gauge::default();
        registry.register("journal_bytes", "Bytes that the journal takes on disk", journal_bytes.clone());
        registry.register_collector(Box::new(Syncs(Box::new(syncs))));
        let stage_seconds: HistogramFamily<StageLabel> = Family::new_with_constructor(seconds);
        let help = "Time that events spend in each stage of their way";
        registry.register_with_unit("stage", help, Unit::Seconds, stage_seconds.clone());
        let stages =
            Stage::ALL.map(|stage| stage_seconds.get_or_create_owned(&StageLabel { stage: stage.as_str() }));
        Self {
            registry,
            accepted,
            rejected,
            deliveries,
            attempt_seconds,
            plugin_seconds,
            plugin_failures,
            plugin_paused,
            pending,
            oldest_pending,
            journal_bytes,
            stages,
        }
    }

    pub(crate) fn accepted(&self) {
        self.accepted.inc();
    }

    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn stage(&self, stage: Stage, took: Duration) {
        // The enum's order is that of `ALL`.
        self.stages[stage as usize].observe(took.as_secs_f64());
    }

    pub(crate) fn attempt(&self, took: Duration) {
        self.attempt_seconds.observe(took.as_secs_f64());
        self.stage(Stage::Attempt, took);
    }

    /// The counters of one endpoint's final deliveries, to be kept by its lane.
    pub(crate) fn endpoint(&self, key: &EndpointKey) -> EndpointCounters {
        let counter = |status: Status| {
            self.deliveries.get_or_create_owned(&DeliveryLabels {
                tenant: key.tenant.to_string(),
                endpoint: key.endpoint.to_string(),
                status: status.as_str(),
            })
        };
        EndpointCounters(Status::ALL.map(counter))
    }

    pub(crate) fn plugin(&self, tenant: &TenantId, plugin: &PluginId, micros: u64) {
        let labels = PluginLabels { tenant: tenant.to_string(), plugin: plugin.to_string() };
        let took = Duration::from_micros(micros);
        self.plugin_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn plugin_failed(&self, tenant: &TenantId, plugin: &PluginId, reason: &'static str) {
        let labels = FaultLabels { tenant: tenant.to_string(), plugin: plugin.to_string(), reason };
        self.plugin_failures.get_or_create(&labels).inc();
    }

    /// Says of every plugin that there is whether it is paused.
    pub(crate) fn plugins_paused<'a>(
        &self,
        plugins: impl Iterator<Item = (&'a TenantId, &'a PluginId, bool)>,
    ) {
        self.plugin_paused.clear();
        for (tenant, plugin, is_paused) in plugins {
            let labels = PluginLabels { tenant: tenant.to_string(), plugin: plugin.to_string() };
            self.plugin_paused.get_or_create(&labels).set(i64::from(is_paused));
        }
    }

    /// The text at `/metrics`; the gauges are read from the journal's health at this moment.
    pub(crate) fn render(&self, health: &Health, now: Timestamp) -> String {
        self.pending.set(signed(health.pending));
        self.journal_bytes.set(signed(health.bytes));
        let age = health.oldest_pending.map_or(Duration::ZERO, |oldest| now.since(oldest));
        self.oldest_pending.set(signed(age.as_secs()));
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The journal measures its commits itself; this only shows what it measured.
struct Syncs(Box<dyn Fn() -> embedded::Histogram + Send + Sync>);

impl fmt::Debug for Syncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Syncs")
    }
}

impl Collector for Syncs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let read = (self.0)();
        let help = "Duration of the journal's synced commits";
        encoder
            .encode_descriptor("journal_sync", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(read.sum, read.count, &read.buckets, None)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Counts the final deliveries of one endpoint by status.
#[derive(Debug)]
pub(crate) struct EndpointCounters([Counter; Status::ALL.len()]);

impl EndpointCounters {
    pub(crate) fn count(&self, status: Status) {
        self.0[usize::from(status.code())].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hookweir_model::{EndpointId, Epoch};

    #[test]
    fn names_are_those_of_the_contract() {
        let read = embedded::Histogram { sum: 0.008, count: 1, buckets: vec![(0.01, 1), (f64::MAX, 0)] };
        let metrics = Metrics::new(move || read.clone());
        metrics.accepted();
        metrics.rejected("unauthorized");
        let tenant = TenantId::new("acme").unwrap();
        let plugin = PluginId::new("large-only").unwrap();
        metrics.plugin(&tenant, &plugin, 25);
        metrics.plugin_failed(&tenant, &plugin, "deadline");
        let other = PluginId::new("removed").unwrap();
        metrics.plugins_paused([(&tenant, &other, true)].into_iter());
        metrics.plugins_paused([(&tenant, &plugin, true)].into_iter());
        metrics.attempt(Duration::from_millis(3));
        metrics
            .endpoint(&EndpointKey::new(tenant, EndpointId::new("billing").unwrap()))
            .count(Status::Delivered);
        let health = Health {
            writable: Ok(()),
            power_safe: true,
            bytes: 4096,
            free_bytes: None,
            epoch: Epoch(1),
            pending: 7,
            oldest_pending: Some(Timestamp::from_millis(1_000)),
        };
        let text = metrics.render(&health, Timestamp::from_millis(61_000));
        for line in [
            "hookweir_events_accepted_total 1",
            "hookweir_events_rejected_total{reason=\"unauthorized\"} 1",
            "hookweir_deliveries_total{tenant=\"acme\",endpoint=\"billing\",status=\"delivered\"} 1",
            "hookweir_attempt_seconds_count 1",
            "hookweir_plugin_seconds_count{tenant=\"acme\",plugin=\"large-only\"} 1",
            "hookweir_plugin_failures_total{tenant=\"acme\",plugin=\"large-only\",reason=\"deadline\"} 1",
            "hookweir_plugin_paused{tenant=\"acme\",plugin=\"large-only\"} 1",
            "hookweir_pending_deliveries 7",
            "hookweir_oldest_pending_seconds 60",
            "hookweir_journal_sync_seconds_count 1",
            "hookweir_journal_bytes 4096",
            "hookweir_stage_seconds_count{stage=\"attempt\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("removed"), "{text}");
    }
}
