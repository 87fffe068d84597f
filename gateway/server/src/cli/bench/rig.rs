//! The rig: one load, one receiver, one bare relay, and a gateway for each scenario, all processes of their own.
//!
//! Runs of the relay and of the gateway alternate, and each gateway run is compared with the relay run just before it:
//! on a machine that others use too, only neighbours in time are comparable.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::control::Servant;
use super::gateway::Gateway;
use super::latency::Quantiles;
use super::load::{Access, Outcome, Plan, Until};
use super::process::Watch;
use super::receiver::{Answer, Command, Report};
use super::relay::RelayTo;
use super::scenario::{self, DEAD, MEASURED, MEASURED_ENDPOINT, PENDING, QUEUE, Scenario, Setup, TENANT};
use super::spread::ratio;
use super::stages::StageTimes;
use super::tally::{Tally, lost};
use super::{Role, Settings, disk, process};
use crate::cli::progress::Progress;

/// For a command that is answered at once.
const AT_ONCE: Duration = Duration::from_secs(30);
/// Beyond the time of a run, for the answers that are still under way when it ends.
const GRACE: Duration = Duration::from_secs(120);
/// To pile up the pending deliveries of the dead endpoint.
const PILE_UP: Duration = Duration::from_secs(600);
/// Without a new arrival for so long, what is missing is lost. It is more than the first wait of a retry.
const SILENCE: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(600);
/// To open connections, fill pools and touch memory, before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// In an open loop there is always a free sender, unless answers take very long.
const OPEN_CONNECTIONS: usize = 512;
/// As many fetch messages from a queue at once.
const CONSUMERS: usize = 16;

/// One measured run of the relay or the gateway.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    pub(super) accepted_per_s: f64,
    pub(super) delivered_per_s: f64,
    /// To the answer.
    pub(super) accept: Quantiles,
    /// To the arrival at the receiver.
    pub(super) delivered: Quantiles,
    /// For each delivery.
    pub(super) cpu_ms_per_event: f64,
    pub(super) rss_mib: f64,
    /// Bytes written to the disk for each byte of the accepted requests' bodies.
    pub(super) written_per_byte: f64,
    pub(super) accepted: u64,
    pub(super) lost: u64,
    pub(super) duplicates: u64,
    pub(super) refused: u64,
    /// The part of the machine that processes outside the rig took during the run.
    pub(super) others_share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
}

/// Runs that are compared with each other.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Round {
    pub(super) relay: Run,
    pub(super) gateway: Run,
    /// The gateway that the scenario's own is compared with, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) beside: Option<Run>,
    /// The median time of a sync of 4 KiB before the round.
    pub(super) sync_ms: f64,
}

impl Round {
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        [&self.relay, &self.gateway].into_iter().chain(&self.beside)
    }

    /// What others took at most in any of its runs.
    pub(super) fn others_share(&self) -> f64 {
        self.runs().map(|run| run.others_share).fold(0.0, f64::max)
    }
}

/// What was measured in a scenario.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) scenario: Scenario,
    pub(super) rounds: Vec<Round>,
    pub(super) stages: StageTimes,
    /// Deliveries that the gateway says are pending after the last round.
    pub(super) pending: Option<f64>,
    pub(super) journal_in_memory: bool,
}

/// One rate of the open loop.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Events a second.
    pub(super) rate: u32,
    pub(super) rounds: Vec<Round>,
}

/// Who is measured, and with what.
struct Subject {
    pid: u32,
    address: SocketAddr,
    senders: Vec<Access>,
    fan_out: usize,
    payload: usize,
    /// Where its messages are fetched, for a queue.
    queue: Option<Access>,
}

impl Subject {
    fn gateway(
        gateway: &Gateway,
        scenario: Scenario,
        fan_out: usize,
        payload: usize,
    ) -> anyhow::Result<Self> {
        let sender = |tenant| Access {
            path: format!("/v1/tenants/{}/events", scenario::tenant(tenant)),
            key: gateway.secrets.key(tenant),
        };
        let queue =
            Access { path: format!("/v1/tenants/{TENANT}/queues/{QUEUE}"), key: gateway.secrets.key(0) };
        Ok(Self {
            pid: gateway.pid()?,
            address: gateway.accept,
            senders: (0..scenario.tenants()).map(sender).collect(),
            fan_out,
            payload,
            queue: (scenario == Scenario::PullQueue).then_some(queue),
        })
    }
}

/// How a run is loaded.
#[derive(Debug, Clone, Copy)]
struct Load {
    time: Duration,
    connections: usize,
    rate: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Rig {
    load: Servant,
    receiver: Servant,
    relay: Servant,
    relay_address: SocketAddr,
    answering: SocketAddr,
    silent: SocketAddr,
    settings: Settings,
    /// A component that is both filter and transformer.
    own: Option<Vec<u8>>,
}

impl Rig {
    pub(super) async fn start(settings: Settings, own: Option<Vec<u8>>) -> anyhow::Result<Self> {
        let mut receiver = Servant::start(Role::Receiver)?;
        let Answer::Addresses { answering, silent } = receiver.ask(&Command::Addresses, AT_ONCE).await?
        else {
            bail!("the receiver has no addresses");
        };
        let mut relay = Servant::start(Role::Relay)?;
        let relay_address = relay.ask(&RelayTo(answering), AT_ONCE).await?;
        let load = Servant::start(Role::Load)?;
        Ok(Self { load, receiver, relay, relay_address, answering, silent, settings, own })
    }

    fn setup(&self, scenario: Scenario) -> Setup<'_> {
        Setup {
            scenario,
            endpoints: scenario.fan_out(),
            connections: self.settings.connections,
            receiver: self.answering,
            silent: None,
            own: self.own.as_deref(),
        }
    }

    /// Measures one scenario with a gateway of its own.
    pub(super) async fn measure(
        &mut self,
        scenario: Scenario,
        progress: &Progress,
    ) -> anyhow::Result<Measured> {
        progress.doing(format!("{scenario}: starting the gateway"));
        let setup = self.setup(scenario);
        let silent = (scenario == Scenario::DeadEndpoint).then_some(self.silent);
        let gateway = Gateway::start(&Setup { silent, ..setup }).await?;
        let beside = match scenario.beside() {
            Some(_) => Some(Gateway::start(&Setup { endpoints: 1, ..setup }).await?),
            None => None,
        };
        if scenario == Scenario::DeadEndpoint {
            progress.doing(format!("{scenario}: {PENDING} events for the dead endpoint"));
            self.pile_up(&gateway).await?;
        }
        let measured = self.rounds(scenario, &gateway, beside.as_ref(), progress).await;
        let measured =
            measured.with_context(|| format!("{scenario}; the gateway's log ends:\n{}", gateway.log()))?;
        gateway.stop().await?;
        if let Some(beside) = beside {
            beside.stop().await?;
        }
        Ok(measured)
    }

    /// The relay, loaded as the gateway is.
    fn relay(&self, gateway: &Subject) -> anyhow::Result<Subject> {
        let senders = gateway.senders.clone();
        let (pid, address) = (self.relay.pid()?, self.relay_address);
        Ok(Subject { pid, address, senders, fan_out: 1, payload: gateway.payload, queue: None })
    }

    async fn rounds(
        &mut self,
        scenario: Scenario,
        gateway: &Gateway,
        beside: Option<&Gateway>,
        progress: &Progress,
    ) -> anyhow::Result<Measured> {
        let Settings { time, connections, payload, .. } = self.settings;
        let payload = scenario.payload(payload);
        let subject = Subject::gateway(gateway, scenario, scenario.fan_out(), payload)?;
        let beside = beside.map(|beside| Subject::gateway(beside, scenario, 1, payload)).transpose()?;
        let relay = self.relay(&subject)?;
        progress.doing(format!("{scenario}: warming up"));
        let load = Load { time, connections, rate: None };
        for subject in [&relay, &subject].into_iter().chain(&beside) {
            self.run(subject, Load { time: WARM_UP, ..load }).await?;
        }
        let mut rounds = Vec::new();
        let mut stages = StageTimes::default();
        for number in 1..=self.settings.rounds {
            progress.doing(format!("{scenario}: round {number}, relay"));
            let sync_ms = disk::sync_ms(gateway.directory())?;
            let relay = self.run(&relay, load).await?;
            progress.doing(format!("{scenario}: round {number}, gateway"));
            let (gateway, beside) = match &beside {
                None if scenario == Scenario::BacklogDrain => {
                    (self.drain_backlog(gateway, &subject, load).await?, None)
                }
                None => (self.observe(gateway, &subject, load, &mut stages).await?, None),
                // Which of the two goes first alternates, so that a drift of the machine favours neither.
                Some(other) if number % 2 == 1 => {
                    let beside = self.run(other, load).await?;
                    (self.observe(gateway, &subject, load, &mut stages).await?, Some(beside))
                }
                Some(other) => {
                    let run = self.observe(gateway, &subject, load, &mut stages).await?;
                    (run, Some(self.run(other, load).await?))
                }
            };
            let round = Round { relay, gateway, beside, sync_ms };
            progress.done(&round_line(scenario, number, &round));
            rounds.push(round);
        }
        let pending = gateway.read_metrics().await?.pending;
        let journal_in_memory = disk::is_in_memory(gateway.directory())?;
        Ok(Measured { scenario, rounds, stages, pending, journal_in_memory })
    }

    /// Loads relay and gateway at fixed rates, whatever they answer: the signed scenario, with a gateway of its own.
    /// `rates` is asked for them once the most is known that the gateway delivers in a closed loop.
    pub(super) async fn open_loop(
        &mut self,
        rates: impl FnOnce(f64) -> Vec<u32>,
        progress: &Progress,
    ) -> anyhow::Result<(f64, Vec<Step>)> {
        let scenario = Scenario::Signed;
        progress.doing("open loop: starting the gateway".to_owned());
        let Settings { time, connections, payload, rounds, .. } = self.settings;
        let gateway = Gateway::start(&self.setup(scenario)).await?;
        let subject = Subject::gateway(&gateway, scenario, 1, payload)?;
        let relay = self.relay(&subject)?;
        progress.doing("open loop: looking for the gateway's most".to_owned());
        let closed = Load { time, connections, rate: None };
        self.run(&subject, Load { time: WARM_UP, ..closed }).await?;
        let most = self.run(&subject, closed).await?.delivered_per_s;
        let mut steps = Vec::new();
        for rate in rates(most) {
            let load = Load { time, connections: OPEN_CONNECTIONS, rate: Some(rate) };
            let mut step = Step { rate, rounds: Vec::new() };
            for number in 1..=rounds {
                progress.doing(format!("open loop at {rate}/s: round {number}"));
                let sync_ms = disk::sync_ms(gateway.directory())?;
                let relay = self.run(&relay, load).await?;
                let gateway = self.run(&subject, load).await?;
                let round = Round { relay, gateway, beside: None, sync_ms };
                progress.done(&open_line(rate, number, &round));
                step.rounds.push(round);
            }
            steps.push(step);
        }
        gateway.stop().await?;
        Ok((most, steps))
    }

    /// One run of the gateway, with the time that its events spend in each stage.
    async fn observe(
        &mut self,
        gateway: &Gateway,
        subject: &Subject,
        load: Load,
        stages: &mut StageTimes,
    ) -> anyhow::Result<Run> {
        let before = gateway.read_metrics().await?;
        let run = self.run(subject, load).await?;
        stages.add(&before, &gateway.read_metrics().await?);
        Ok(run)
    }

    /// One run, its drain included.
    async fn run(&mut self, subject: &Subject, load: Load) -> anyhow::Result<Run> {
        self.receiver.ask::<_, Answer>(&Command::Begin, AT_ONCE).await?;
        if let Some(queue) = &subject.queue {
            let (address, queue) = (subject.address, queue.clone());
            let consume = Command::Consume { address, queue, consumers: CONSUMERS };
            self.receiver.ask::<_, Answer>(&consume, AT_ONCE).await?;
        }
        let meter = Meter::start(subject.pid, self.pids(subject)?)?;
        let plan = self.plan(subject, MEASURED, Until::Elapsed(load.time), load);
        let outcome: Outcome = self.load.ask(&plan, load.time + GRACE).await?;
        let report = self.drain(outcome.expected).await?;
        if subject.queue.is_some() {
            self.receiver.ask::<_, Answer>(&Command::Stop, AT_ONCE).await?;
        }
        let usage = meter.stop().await?;
        Ok(combine(&outcome, &report, usage, subject.payload))
    }

    /// Accepts events while the endpoint is switched off, and measures from when it is on again.
    async fn drain_backlog(
        &mut self,
        gateway: &Gateway,
        subject: &Subject,
        load: Load,
    ) -> anyhow::Result<Run> {
        let endpoint = format!("{MEASURED_ENDPOINT}-0");
        gateway.switch(TENANT, &endpoint, false).await?;
        let plan = self.plan(subject, MEASURED, Until::Sent(PENDING), load);
        let outcome: Outcome = self.load.ask(&plan, PILE_UP).await?;
        quiet(subject.pid).await?;
        self.receiver.ask::<_, Answer>(&Command::Begin, AT_ONCE).await?;
        let meter = Meter::start(subject.pid, self.pids(subject)?)?;
        gateway.switch(TENANT, &endpoint, true).await?;
        let report = self.drain(outcome.expected).await?;
        Ok(combine(&outcome, &report, meter.stop().await?, subject.payload))
    }

    /// All processes that have work to do while this one is measured.
    fn pids(&self, subject: &Subject) -> anyhow::Result<Vec<u32>> {
        Ok(vec![std::process::id(), self.load.pid()?, self.receiver.pid()?, subject.pid])
    }

    /// Waits until every expected delivery has arrived, or until nothing arrives any more.
    async fn drain(&mut self, expected: Tally) -> anyhow::Result<Report> {
        let end = Instant::now() + DRAIN;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let (mut count, mut since) = (0, Instant::now());
        loop {
            poll.tick().await;
            let Answer::Report(report) = self.receiver.ask(&Command::Report, AT_ONCE).await? else {
                bail!("the receiver has no report");
            };
            let now = Instant::now();
            if report.arrived.count > count {
                (count, since) = (report.arrived.count, now);
            }
            if count >= expected.count || now - since >= SILENCE || now >= end {
                return Ok(report);
            }
        }
    }

    async fn pile_up(&mut self, gateway: &Gateway) -> anyhow::Result<()> {
        let Settings { time, connections, payload, .. } = self.settings;
        let subject = Subject::gateway(gateway, Scenario::DeadEndpoint, 1, payload)?;
        let load = Load { time, connections, rate: None };
        let plan = self.plan(&subject, DEAD, Until::Sent(PENDING), load);
        let outcome: Outcome = self.load.ask(&plan, PILE_UP).await?;
        ensure!(
            outcome.accepted == PENDING,
            "the gateway refused {} of the {PENDING} events for the dead endpoint: {:?}",
            outcome.refused,
            outcome.refusal,
        );
        Ok(())
    }

    fn plan(&self, subject: &Subject, event_type: &str, until: Until, load: Load) -> Plan {
        Plan {
            address: subject.address,
            tenants: subject.senders.clone(),
            event_type: event_type.to_owned(),
            payload: subject.payload,
            connections: load.connections,
            fan_out: subject.fan_out,
            rate: load.rate,
            until,
        }
    }
}

/// The processor time of the process once it has come to rest: what it does after the last delivery, such as recording
/// it, is part of the price. A process that never rests is not waited for long.
async fn quiet(pid: u32) -> anyhow::Result<Duration> {
    // Shorter than this is not seen: the kernel counts in ticks of 10 ms.
    const REST: Duration = Duration::from_millis(10);
    let mut poll = tokio::time::interval(Duration::from_millis(100));
    poll.tick().await;
    let mut last = process::processor_time(pid)?;
    for _ in 0..30 {
        poll.tick().await;
        let now = process::processor_time(pid)?;
        if now.saturating_sub(last) <= REST {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// What the kernel says about a run.
#[derive(Debug, Clone, Copy)]
struct Usage {
    processor: Duration,
    /// In bytes.
    resident: u64,
    written: u64,
    others_share: f64,
}

/// Reads that from its start on.
struct Meter {
    pid: u32,
    watch: Watch,
    processor: Duration,
    written: u64,
}

impl Meter {
    fn start(pid: u32, rig: Vec<u32>) -> anyhow::Result<Self> {
        let watch = Watch::start(rig)?;
        let (processor, written) = (process::processor_time(pid)?, process::written_bytes(pid)?);
        Ok(Self { pid, watch, processor, written })
    }

    async fn stop(self) -> anyhow::Result<Usage> {
        let Self { pid, watch, processor, written } = self;
        let others_share = watch.others_share()?;
        Ok(Usage {
            processor: quiet(pid).await?.saturating_sub(processor),
            resident: process::resident_bytes(pid)?,
            written: process::written_bytes(pid)?.saturating_sub(written),
            others_share,
        })
    }
}

fn combine(outcome: &Outcome, report: &Report, usage: Usage, payload: usize) -> Run {
    let count = |number: u64| number as f64;
    Run {
        accepted_per_s: ratio(count(outcome.accepted), outcome.seconds),
        delivered_per_s: ratio(count(report.arrived.count), report.seconds),
        accept: outcome.latency,
        delivered: report.latency,
        cpu_ms_per_event: ratio(usage.processor.as_secs_f64() * 1e3, count(report.arrived.count)),
        rss_mib: count(usage.resident) / (1024.0 * 1024.0),
        written_per_byte: ratio(count(usage.written), count(outcome.accepted) * payload as f64),
        accepted: outcome.accepted,
        lost: lost(outcome.expected, report.arrived),
        duplicates: report.duplicates,
        refused: outcome.refused,
        others_share: usage.others_share,
        refusal: outcome.refusal.clone(),
    }
}

fn round_line(scenario: Scenario, number: u32, round: &Round) -> String {
    let Round { relay, gateway, beside, sync_ms } = round;
    let mut line = format!(
        "{scenario} {number}: relay {:.0}/s, gateway {:.0}/s accepted and {:.0}/s delivered ({:.2} of the relay), \
         sync {sync_ms:.2} ms, {:.0} % of the machine for others",
        relay.delivered_per_s,
        gateway.accepted_per_s,
        gateway.delivered_per_s,
        ratio(gateway.delivered_per_s, relay.delivered_per_s),
        round.others_share() * 100.0,
    );
    if let (Some(run), Some(name)) = (beside, scenario.beside()) {
        let part = ratio(gateway.delivered_per_s, run.delivered_per_s);
        line.push_str(&format!(", {part:.2} of {:.0}/s {name}", run.delivered_per_s));
    }
    line
}

fn open_line(rate: u32, number: u32, round: &Round) -> String {
    let Round { relay, gateway, sync_ms, .. } = round;
    format!(
        "open loop at {rate}/s {number}: p99 to the answer {:.2} ms, relay {:.2} ms; {:.0}/s delivered, p50 {:.2} ms; sync \
         {sync_ms:.2} ms",
        gateway.accept.p99_ms, relay.accept.p99_ms, gateway.delivered_per_s, gateway.delivered.p50_ms,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_counted_at_the_receiver() {
        let tally = |count| {
            let mut tally = Tally::default();
            (0..count).for_each(|id| tally.add(Some(id)));
            tally
        };
        let latency = Quantiles { p50_ms: 1.0, p99_ms: 4.0, p999_ms: 5.0 };
        let outcome = Outcome {
            accepted: 500,
            expected: tally(1_000),
            refused: 3,
            refusal: Some("503".to_owned()),
            seconds: 2.0,
            latency,
        };
        let report = Report { arrived: tally(900), duplicates: 2, seconds: 3.0, latency };
        let usage = Usage {
            processor: Duration::from_millis(90),
            resident: 5 << 20,
            written: 1_024_000,
            others_share: 0.25,
        };
        let run = combine(&outcome, &report, usage, 1024);
        assert_eq!(
            (run.accepted_per_s, run.delivered_per_s, run.cpu_ms_per_event, run.rss_mib),
            (250.0, 300.0, 0.1, 5.0)
        );
        assert_eq!((run.others_share, run.written_per_byte), (0.25, 2.0));
        assert_eq!((run.accepted, run.lost, run.duplicates, run.refused), (500, 100, 2, 3));
    }
}
