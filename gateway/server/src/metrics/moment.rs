//! What is so at the moment of a scrape, told of the configuration in force and of nothing that was removed from it.

use std::fmt;

use hookweir_host::FaultKind;
use hookweir_journal::{DamageSummary, Health};
use hookweir_model::{EndpointKey, Outcome, PluginKey, Status, TenantId, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{EndpointCounters, Metrics, PREFIX, signed};
use crate::clock::Steps;
use crate::dispatch::BreakerState;

/// What a scrape shows beside what was counted.
#[derive(Debug)]
pub(crate) struct Moment {
    /// By the wall clock, as all times here.
    pub now: Timestamp,
    pub started: Timestamp,
    pub steps: Steps,
    pub oldest_pending: Option<Timestamp>,
    pub health: Health,
    /// What was found damaged and nobody has acknowledged.
    pub damage: DamageSummary,
    /// The most that the journal may take on disk.
    pub journal_limit: u64,
    /// Bytes of data that wait, by tenant.
    pub pending_bytes: Vec<(TenantId, u64)>,
    pub listeners: Listeners,
    pub endpoints: Vec<EndpointMoment>,
    pub plugins: Vec<PluginMoment>,
    /// What deliveries hold of the memory, and what they may, in bytes.
    pub memory: (usize, usize),
}

/// What callers have open, and what is held for them.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Of each listener: its connections, and those that gave way to others so far.
    pub connections: Vec<(&'static str, usize, u64)>,
    /// Bytes of bodies that are not whole, and of answers that are not read.
    pub held: Vec<(&'static str, usize)>,
}

#[derive(Debug)]
pub(crate) struct EndpointMoment {
    pub key: EndpointKey,
    pub counters: EndpointCounters,
    /// Switched on, by the configuration and by the gateway.
    pub enabled: bool,
    pub breaker: BreakerState,
    /// The first failure since the last success.
    pub failing_since: Option<Timestamp>,
    pub pending: u64,
    pub oldest_pending: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct PluginMoment {
    pub key: PluginKey,
    pub is_paused: bool,
}

#[derive(Debug, EncodeLabelSet)]
struct OfListener {
    listener: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct OfTenant {
    tenant: String,
}

#[derive(Debug, EncodeLabelSet)]
struct OfStep {
    direction: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct OfEndpoint {
    tenant: String,
    endpoint: String,
}

impl OfEndpoint {
    fn new(key: &EndpointKey) -> Self {
        Self { tenant: key.tenant.to_string(), endpoint: key.endpoint.to_string() }
    }
}

#[derive(Debug, EncodeLabelSet)]
struct OfDelivery {
    tenant: String,
    endpoint: String,
    status: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct OfAttempt {
    tenant: String,
    endpoint: String,
    outcome: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct OfPlugin {
    tenant: String,
    plugin: String,
}

impl OfPlugin {
    fn new(key: &PluginKey) -> Self {
        Self { tenant: key.tenant.to_string(), plugin: key.plugin.to_string() }
    }
}

#[derive(Debug, EncodeLabelSet)]
struct OfFault {
    tenant: String,
    plugin: String,
    reason: &'static str,
}

/// A metric with a row for each set of labels.
#[derive(Debug)]
struct Rows<L, M> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    rows: Vec<(L, M)>,
}

impl<L, M> Collector for Rows<L, M>
where
    L: EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
    M: EncodeMetric + fmt::Debug + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), self.kind)?;
        for (labels, value) in &self.rows {
            value.encode(metric.encode_family(labels)?)?;
        }
        Ok(())
    }
}

fn gauges<L>(
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    rows: impl Iterator<Item = (L, i64)>,
) -> Box<dyn Collector>
where
    L: EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
{
    let rows = rows.map(|(labels, value)| (labels, ConstGauge::new(value))).collect();
    Box::new(Rows { name, help, unit, kind: MetricType::Gauge, rows })
}

fn counters<L>(
    name: &'static str,
    help: &'static str,
    rows: impl Iterator<Item = (L, Counter)>,
) -> Box<dyn Collector>
where
    L: EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
{
    Box::new(Rows { name, help, unit: None, kind: MetricType::Counter, rows: rows.collect() })
}

impl Metrics {
    /// A registry for this one scrape, so that two that come together do not meet.
    pub(super) fn of_moment(&self, moment: &Moment) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        gateway(&mut registry, moment);
        self.configuration(&mut registry);
        listeners(&mut registry, &moment.listeners);
        endpoints(&mut registry, moment);
        self.plugins(&mut registry, &moment.plugins);
        registry
    }

    fn configuration(&self, registry: &mut Registry) {
        let problems = self.taken.problems().len();
        let help = "Problems of the configuration that was read last";
        registry.register(
            "config_problems",
            help,
            ConstGauge::new(i64::try_from(problems).unwrap_or(i64::MAX)),
        );
        let help = "Whether the configuration that was read last is in force, all of it";
        registry.register("config_reload_success", help, ConstGauge::new(i64::from(problems == 0)));
    }

    fn plugins(&self, registry: &mut Registry, plugins: &[PluginMoment]) {
        let seconds: Vec<(OfPlugin, Histogram)> = plugins
            .iter()
            .map(|plugin| (OfPlugin::new(&plugin.key), self.plugin_seconds.get_or_create_owned(&plugin.key)))
            .collect();
        registry.register_collector(Box::new(Rows {
            name: "plugin",
            help: "Duration of plugin calls",
            unit: Some(Unit::Seconds),
            kind: MetricType::Histogram,
            rows: seconds,
        }));
        let failures = plugins.iter().flat_map(|plugin| {
            FaultKind::ALL.map(|kind| {
                let OfPlugin { tenant, plugin: name } = OfPlugin::new(&plugin.key);
                let labels = OfFault { tenant, plugin: name, reason: kind.as_str() };
                (labels, self.plugin_failures.get_or_create_owned(&(plugin.key.clone(), kind)))
            })
        });
        registry.register_collector(counters(
            "plugin_failures",
            "Plugin calls that gave no result",
            failures,
        ));
        let paused = plugins.iter().map(|plugin| (OfPlugin::new(&plugin.key), i64::from(plugin.is_paused)));
        registry.register_collector(gauges("plugin_paused", "Whether the plugin is paused", None, paused));
    }
}

/// What is so of the gateway and of whole tenants.
fn gateway(registry: &mut Registry, moment: &Moment) {
    let Moment {
        now,
        started,
        steps,
        oldest_pending,
        health,
        damage,
        journal_limit,
        pending_bytes,
        memory,
        ..
    } = moment;
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: i64| match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, ConstGauge::new(value)),
        None => registry.register(name, help, ConstGauge::new(value)),
    };
    let help = "When the gateway was started, in Unix time";
    gauge("start_time", help, Some(Unit::Seconds), started.as_seconds());
    gauge("pending_deliveries", "Deliveries that are pending", None, signed(health.pending));
    let help = "Age of the oldest event with a pending delivery";
    gauge("oldest_pending", help, Some(Unit::Seconds), age(*now, *oldest_pending));
    let bytes = || Some(Unit::Bytes);
    gauge("journal", "Bytes that the journal takes on disk", bytes(), signed(health.bytes));
    gauge("journal_max", "Bytes that the journal may take on disk", bytes(), signed(*journal_limit));
    if let Some(free) = health.free_bytes {
        gauge("journal_free", "Bytes that are free on the journal's disk", bytes(), signed(free));
    }
    let help = "Whether the journal takes events";
    gauge("journal_writable", help, None, i64::from(health.writable.is_ok()));
    let help = "Records of damage in the journal that nobody has acknowledged";
    gauge("journal_damage_records", help, None, signed(damage.records));
    let help = "Event numbers in the ranges of these records";
    gauge("journal_damage_events", help, None, signed(damage.events));
    let [held, most] = [memory.0, memory.1].map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    gauge("dispatch_memory", "Bytes of memory that deliveries hold", bytes(), held);
    gauge("dispatch_memory_max", "Bytes of memory that deliveries may hold", bytes(), most);
    let rows =
        pending_bytes.iter().map(|(tenant, bytes)| (OfTenant { tenant: tenant.to_string() }, signed(*bytes)));
    let of_direction = |direction, count| {
        let counter = Counter::default();
        counter.inc_by(count);
        (OfStep { direction }, counter)
    };
    let seen = [of_direction("forward", steps.forward), of_direction("back", steps.back)];
    registry.register_collector(counters(
        "clock_steps",
        "Times that the wall clock was set",
        seen.into_iter(),
    ));
    let help = "Bytes of data that wait for the tenant's endpoints";
    registry.register_collector(gauges("tenant_pending", help, bytes(), rows));
}

fn listeners(registry: &mut Registry, Listeners { connections, held }: &Listeners) {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let rows = connections.iter().map(|(listener, open, _)| (OfListener { listener }, count(*open)));
    registry.register_collector(gauges("listener_connections", "Connections that are open", None, rows));
    let rows = connections.iter().map(|(listener, _, evicted)| {
        let counter = Counter::default();
        counter.inc_by(*evicted);
        (OfListener { listener }, counter)
    });
    let help = "Connections that gave way to others";
    registry.register_collector(counters("listener_evicted", help, rows));
    let rows = held.iter().map(|(kind, bytes)| (OfKind { kind }, count(*bytes)));
    let help = "Bytes that are held of requests that are not whole and of answers that are not read";
    registry.register_collector(gauges("listener", help, Some(Unit::Bytes), rows));
}

fn endpoints(registry: &mut Registry, Moment { now, endpoints, .. }: &Moment) {
    let deliveries = endpoints.iter().flat_map(|endpoint| {
        Status::ALL.into_iter().filter(|status| *status != Status::Pending).map(|status| {
            let OfEndpoint { tenant, endpoint: name } = OfEndpoint::new(&endpoint.key);
            let labels = OfDelivery { tenant, endpoint: name, status: status.as_str() };
            (labels, endpoint.counters.deliveries[usize::from(status.code())].clone())
        })
    });
    registry.register_collector(counters("deliveries", "Deliveries that reached a final status", deliveries));
    let attempts = endpoints.iter().flat_map(|endpoint| {
        Outcome::ALL.map(|outcome| {
            let OfEndpoint { tenant, endpoint: name } = OfEndpoint::new(&endpoint.key);
            let labels = OfAttempt { tenant, endpoint: name, outcome: outcome.as_str() };
            (labels, endpoint.counters.attempts[outcome as usize].clone())
        })
    });
    registry.register_collector(counters("attempts", "Requests to receivers, by how they ended", attempts));
    let mut gauge = |name, help, unit, value: &dyn Fn(&EndpointMoment) -> i64| {
        let rows = endpoints.iter().map(|endpoint| (OfEndpoint::new(&endpoint.key), value(endpoint)));
        registry.register_collector(gauges(name, help, unit, rows));
    };
    gauge("breaker_state", "The endpoint's breaker: 0 closed, 1 half-open, 2 open", None, &|endpoint| {
        match endpoint.breaker {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open(_) => 2,
        }
    });
    gauge("endpoint_enabled", "Whether the endpoint is switched on", None, &|endpoint| {
        i64::from(endpoint.enabled)
    });
    let help = "Time since the first failure after the last success, 0 while it does not fail";
    gauge("endpoint_failing", help, Some(Unit::Seconds), &|endpoint| age(*now, endpoint.failing_since));
    let help = "Deliveries to the endpoint that are pending";
    gauge("endpoint_pending_deliveries", help, None, &|endpoint| signed(endpoint.pending));
    let help = "Age of the oldest event with a pending delivery to the endpoint";
    gauge("endpoint_oldest_pending", help, Some(Unit::Seconds), &|endpoint| {
        age(*now, endpoint.oldest_pending)
    });
}

/// Whole seconds since then; 0 where there is no such time.
fn age(now: Timestamp, since: Option<Timestamp>) -> i64 {
    since.map_or(0, |since| signed(now.since(since).as_secs()))
}
