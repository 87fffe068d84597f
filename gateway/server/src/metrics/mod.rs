//! What the gateway counts and measures, in Prometheus' text form at `/metrics`. docs/observability.md tells each name.
//!
//! Label values are bounded: what is told of tenants, endpoints and plugins is told of those in the configuration in
//! force ([`Moment`]), the rest are words of this program. Handles are looked up once and kept by those who count on the
//! event's path.

mod form;
mod moment;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hookweir_host::FaultKind;
use hookweir_journal::engines::embedded;
use hookweir_model::{Outcome, PluginId, PluginKey, Status, TenantId};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::log;

pub(crate) use self::form::Form;
pub(crate) use self::moment::{EndpointMoment, Listeners, Moment, PluginMoment};

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
    attempt_seconds: Histogram,
    plugin_seconds: HistogramFamily<PluginKey>,
    plugin_failures: Family<(PluginKey, FaultKind), Counter>,
    stages: [Histogram; Stage::ALL.len()],
    pub taken: Taken,
}

/// What came of reading the configuration last.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    problems: ArcSwap<Vec<String>>,
}

impl Taken {
    /// Notes the problems of the configuration that was read last, a line each.
    pub(crate) fn note(&self, problems: Vec<String>) {
        self.problems.store(Arc::new(problems));
    }

    pub(crate) fn problems(&self) -> Arc<Vec<String>> {
        self.problems.load_full()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// `stats` reads the journal's own record of itself, when the metrics are asked for.
    pub(crate) fn new(stats: impl Fn() -> embedded::Stats + Send + Sync + 'static) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the gateway", version);
        let accepted = Counter::default();
        registry.register("events_accepted", "Events answered 202 for the first time", accepted.clone());
        let rejected = Family::default();
        registry.register("events_rejected", "Requests to send an event that were refused", rejected.clone());
        let attempt_seconds = seconds();
        registry.register_with_unit(
            "attempt",
            "Duration of attempts",
            Unit::Seconds,
            attempt_seconds.clone(),
        );
        registry.register_collector(Box::new(JournalStats(Box::new(stats))));
        registry.register_collector(Box::new(LogStats));
        let stage_seconds: HistogramFamily<StageLabel> = Family::new_with_constructor(seconds);
        let help = "Time that events spend in each stage of their way";
        registry.register_with_unit("stage", help, Unit::Seconds, stage_seconds.clone());
        let stages =
            Stage::ALL.map(|stage| stage_seconds.get_or_create_owned(&StageLabel { stage: stage.as_str() }));
        Self {
            registry,
            accepted,
            rejected,
            attempt_seconds,
            plugin_seconds: Family::new_with_constructor(seconds),
            plugin_failures: Family::default(),
            stages,
            taken: Taken::default(),
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

    pub(crate) fn plugin(&self, tenant: &TenantId, plugin: &PluginId, micros: u64) {
        let key = PluginKey::new(tenant.clone(), plugin.clone());
        let took = Duration::from_micros(micros);
        self.plugin_seconds.get_or_create(&key).observe(took.as_secs_f64());
    }

    pub(crate) fn plugin_failed(&self, tenant: &TenantId, plugin: &PluginId, kind: FaultKind) {
        let key = PluginKey::new(tenant.clone(), plugin.clone());
        self.plugin_failures.get_or_create(&(key, kind)).inc();
    }

    /// Calls of a plugin that gave no result, by the reason, where there were any.
    pub(crate) fn plugin_failures(&self, key: &PluginKey) -> BTreeMap<String, u64> {
        let counted = FaultKind::ALL.into_iter().filter_map(|kind| {
            let counter = self.plugin_failures.get(&(key.clone(), kind))?;
            Some((kind.as_str().to_owned(), counter.get()))
        });
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// The text at `/metrics`: what was counted, and what is so at this moment.
    pub(crate) fn render(&self, moment: &Moment, form: Form) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &self.of_moment(moment));
        let _ = encode_eof(&mut text);
        form.of(text)
    }
}

const PREFIX: &str = "hookweir";

/// The journal measures itself; this only shows what it measured.
struct JournalStats(Box<dyn Fn() -> embedded::Stats + Send + Sync>);

impl fmt::Debug for JournalStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournalStats")
    }
}

impl Collector for JournalStats {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let embedded::Stats { sync_seconds: read, damaged, removed_early, .. } = (self.0)();
        let help = "Duration of the journal's synced commits";
        encoder
            .encode_descriptor("journal_sync", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(read.sum, read.count, &read.buckets, None)?;
        let help = "Stored events and requests that were found damaged";
        let damage = encoder.encode_descriptor("journal_damaged", help, None, MetricType::Counter)?;
        ConstCounter::new(damaged).encode(damage)?;
        let help = "Finished events that were removed before their retention, to make room";
        let removed = encoder.encode_descriptor("journal_removed_early", help, None, MetricType::Counter)?;
        ConstCounter::new(removed_early).encode(removed)
    }
}

/// The log counts what it had no room for.
#[derive(Debug)]
struct LogStats;

impl Collector for LogStats {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Lines of the log that were dropped: it is not read, or can't be written";
        let lost = encoder.encode_descriptor("log_lines_dropped", help, None, MetricType::Counter)?;
        ConstCounter::new(log::lost()).encode(lost)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Counts the attempts of one endpoint by outcome, and its final deliveries by status. Kept by its lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndpointCounters {
    attempts: [Counter; Outcome::ALL.len()],
    deliveries: [Counter; Status::ALL.len()],
}

impl EndpointCounters {
    /// A request to the receiver has ended.
    pub(crate) fn attempted(&self, outcome: Outcome) {
        // The enum's order is that of `ALL`.
        self.attempts[outcome as usize].inc();
    }

    /// A delivery has reached a final status.
    pub(crate) fn count(&self, status: Status) {
        self.deliveries[usize::from(status.code())].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Steps;
    use crate::dispatch::BreakerState;
    use hookweir_journal::{DamageSummary, Health};
    use hookweir_model::{EndpointId, EndpointKey, Epoch, Timestamp};

    fn stats() -> embedded::Stats {
        let sync_seconds =
            embedded::Histogram { sum: 0.008, count: 1, buckets: vec![(0.01, 1), (f64::INFINITY, 0)] };
        embedded::Stats { commits: 1, calls: 1, damaged: 2, removed_early: 3, sync_seconds }
    }

    #[test]
    fn what_is_counted_and_what_is_so_stands_in_the_text() {
        let metrics = Metrics::new(stats);
        metrics.accepted();
        metrics.rejected("unauthorized");
        let tenant = TenantId::new("acme").unwrap();
        let plugin = PluginId::new("large-only").unwrap();
        metrics.plugin(&tenant, &plugin, 25);
        metrics.plugin_failed(&tenant, &plugin, FaultKind::Deadline);
        metrics.plugin(&tenant, &PluginId::new("removed").unwrap(), 25);
        metrics.attempt(Duration::from_millis(3));
        let counters = EndpointCounters::default();
        counters.attempted(Outcome::Unknown);
        counters.attempted(Outcome::Delivered);
        counters.count(Status::Delivered);
        let endpoint = EndpointMoment {
            key: EndpointKey::new(tenant.clone(), EndpointId::new("billing").unwrap()),
            counters,
            enabled: true,
            breaker: BreakerState::Open(Duration::from_secs(1)),
            failing_since: Some(Timestamp::from_millis(31_000)),
            pending: 5,
            oldest_pending: Some(Timestamp::from_millis(1_000)),
        };
        let health = Health {
            writable: Ok(()),
            power_safe: true,
            bytes: 4096,
            free_bytes: Some(8192),
            epoch: Epoch(1),
            pending: 7,
            oldest_pending: None,
        };
        let failures = metrics.plugin_failures(&PluginKey::new(tenant.clone(), plugin.clone()));
        assert_eq!(failures, BTreeMap::from([("deadline".to_owned(), 1)]));
        let mut moment = Moment {
            now: Timestamp::from_millis(61_000),
            started: Timestamp::from_millis(41_000),
            steps: Steps { forward: 2, back: 1 },
            oldest_pending: Some(Timestamp::from_millis(1_000)),
            health,
            damage: DamageSummary { records: 2, events: 31, ..DamageSummary::default() },
            journal_limit: 1 << 20,
            pending_bytes: vec![(tenant.clone(), 123)],
            listeners: Listeners {
                connections: vec![("accept", 3, 4)],
                held: vec![("requests", 5), ("answers", 6)],
            },
            endpoints: vec![endpoint],
            plugins: vec![PluginMoment { key: PluginKey::new(tenant, plugin), is_paused: true }],
            memory: (5, 9),
        };
        let text = metrics.render(&moment, Form::OpenMetrics);
        for line in [
            concat!("hookweir_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "hookweir_start_time_seconds 41",
            "hookweir_clock_steps_total{direction=\"forward\"} 2",
            "hookweir_clock_steps_total{direction=\"back\"} 1",
            "hookweir_events_accepted_total 1",
            "hookweir_events_rejected_total{reason=\"unauthorized\"} 1",
            "hookweir_deliveries_total{tenant=\"acme\",endpoint=\"billing\",status=\"delivered\"} 1",
            "hookweir_deliveries_total{tenant=\"acme\",endpoint=\"billing\",status=\"exhausted\"} 0",
            "hookweir_attempts_total{tenant=\"acme\",endpoint=\"billing\",outcome=\"unknown\"} 1",
            "hookweir_attempts_total{tenant=\"acme\",endpoint=\"billing\",outcome=\"blocked\"} 0",
            "hookweir_attempt_seconds_count 1",
            "hookweir_breaker_state{tenant=\"acme\",endpoint=\"billing\"} 2",
            "hookweir_endpoint_enabled{tenant=\"acme\",endpoint=\"billing\"} 1",
            "hookweir_endpoint_failing_seconds{tenant=\"acme\",endpoint=\"billing\"} 30",
            "hookweir_endpoint_pending_deliveries{tenant=\"acme\",endpoint=\"billing\"} 5",
            "hookweir_endpoint_oldest_pending_seconds{tenant=\"acme\",endpoint=\"billing\"} 60",
            "hookweir_tenant_pending_bytes{tenant=\"acme\"} 123",
            "hookweir_plugin_seconds_count{tenant=\"acme\",plugin=\"large-only\"} 1",
            "hookweir_plugin_failures_total{tenant=\"acme\",plugin=\"large-only\",reason=\"deadline\"} 1",
            "hookweir_plugin_failures_total{tenant=\"acme\",plugin=\"large-only\",reason=\"trap\"} 0",
            "hookweir_plugin_paused{tenant=\"acme\",plugin=\"large-only\"} 1",
            "hookweir_listener_connections{listener=\"accept\"} 3",
            "hookweir_listener_evicted_total{listener=\"accept\"} 4",
            "hookweir_listener_bytes{kind=\"requests\"} 5",
            "hookweir_listener_bytes{kind=\"answers\"} 6",
            "hookweir_pending_deliveries 7",
            "hookweir_oldest_pending_seconds 60",
            "hookweir_journal_sync_seconds_count 1",
            "hookweir_journal_sync_seconds_bucket{le=\"+Inf\"} 1",
            "hookweir_journal_bytes 4096",
            "hookweir_dispatch_memory_bytes 5",
            "hookweir_dispatch_memory_max_bytes 9",
            "hookweir_journal_max_bytes 1048576",
            "hookweir_journal_free_bytes 8192",
            "hookweir_journal_writable 1",
            "hookweir_journal_damaged_total 2",
            "hookweir_journal_damage_records 2",
            "hookweir_journal_damage_events 31",
            "hookweir_log_lines_dropped_total 0",
            "hookweir_journal_removed_early_total 3",
            "hookweir_stage_seconds_count{stage=\"attempt\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("\"removed\"") && !text.contains("status=\"pending\""), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");

        moment.health.free_bytes = None;
        let text = metrics.render(&moment, Form::OpenMetrics);
        assert!(!text.contains("hookweir_journal_free_bytes "), "what is not known is not told: {text}");
    }
}
