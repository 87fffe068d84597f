//! The rig: one load, one receiver, one bare relay, and a gateway for each scenario, all processes of their own.
//!
//! Runs of the relay and of the gateway alternate, and each gateway run is compared with the relay run just before it:
//! on a machine that others use too, only neighbours in time are comparable.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::control::Servant;
use super::gateway::{Destinations, Gateway};
use super::load::{Outcome, Plan, Until};
use super::process::Watch;
use super::progress::Progress;
use super::receiver::{Answer, Command, Report};
use super::relay::RelayTo;
use super::scenario::{DEAD, MEASURED, PENDING, Scenario, TENANT};
use super::spread::ratio;
use super::stages::StageTimes;
use super::tally::{Tally, lost};
use super::{Role, Settings, disk, process};

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

/// One measured run of the relay or the gateway.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    pub(super) accepted_per_s: f64,
    pub(super) delivered_per_s: f64,
    pub(super) accept_p50_ms: f64,
    pub(super) accept_p99_ms: f64,
    pub(super) cpu_ms_per_event: f64,
    pub(super) rss_mib: f64,
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
    /// The gateway without the dead endpoint, where the scenario has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) undisturbed: Option<Run>,
    /// The median time of a sync of 4 KiB before the round.
    pub(super) sync_ms: f64,
}

impl Round {
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        [&self.relay, &self.gateway].into_iter().chain(&self.undisturbed)
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

/// Who is measured.
struct Subject {
    pid: u32,
    address: SocketAddr,
    key: String,
}

impl Subject {
    fn gateway(gateway: &Gateway) -> anyhow::Result<Self> {
        Ok(Self { pid: gateway.pid()?, address: gateway.accept, key: gateway.secrets.key.clone() })
    }
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
}

impl Rig {
    pub(super) async fn start(settings: Settings) -> anyhow::Result<Self> {
        let mut receiver = Servant::start(Role::Receiver)?;
        let Answer::Addresses { answering, silent } = receiver.ask(&Command::Addresses, AT_ONCE).await?
        else {
            bail!("the receiver has no addresses");
        };
        let mut relay = Servant::start(Role::Relay)?;
        let relay_address = relay.ask(&RelayTo(answering), AT_ONCE).await?;
        let load = Servant::start(Role::Load)?;
        Ok(Self { load, receiver, relay, relay_address, answering, silent, settings })
    }

    /// Measures one scenario with a gateway of its own.
    pub(super) async fn measure(
        &mut self,
        scenario: Scenario,
        progress: &Progress,
    ) -> anyhow::Result<Measured> {
        progress.doing(format!("{scenario}: starting the gateway"));
        let connections = self.settings.connections;
        let quiet = Destinations { answering: self.answering, silent: None };
        let (gateway, undisturbed) = if scenario == Scenario::DeadEndpoint {
            let beside = Destinations { silent: Some(self.silent), ..quiet };
            let gateway = Gateway::start(scenario, connections, beside).await?;
            let undisturbed = Gateway::start(scenario, connections, quiet).await?;
            progress.doing(format!("{scenario}: {PENDING} events for the dead endpoint"));
            self.pile_up(&gateway).await?;
            (gateway, Some(undisturbed))
        } else {
            (Gateway::start(scenario, connections, quiet).await?, None)
        };
        let measured = self.rounds(scenario, &gateway, undisturbed.as_ref(), progress).await;
        let measured =
            measured.with_context(|| format!("{scenario}; the gateway's log ends:\n{}", gateway.log()))?;
        gateway.stop().await?;
        if let Some(undisturbed) = undisturbed {
            undisturbed.stop().await?;
        }
        Ok(measured)
    }

    async fn rounds(
        &mut self,
        scenario: Scenario,
        gateway: &Gateway,
        undisturbed: Option<&Gateway>,
        progress: &Progress,
    ) -> anyhow::Result<Measured> {
        let relay =
            Subject { pid: self.relay.pid()?, address: self.relay_address, key: gateway.secrets.key.clone() };
        let subject = Subject::gateway(gateway)?;
        let other = undisturbed.map(Subject::gateway).transpose()?;
        progress.doing(format!("{scenario}: warming up"));
        for subject in [&relay, &subject].into_iter().chain(&other) {
            self.run(subject, WARM_UP).await?;
        }
        let time = self.settings.time;
        let mut rounds = Vec::new();
        let mut stages = StageTimes::default();
        for number in 1..=self.settings.rounds {
            progress.doing(format!("{scenario}: round {number}, relay"));
            let sync_ms = disk::sync_ms(gateway.directory())?;
            let relay = self.run(&relay, time).await?;
            progress.doing(format!("{scenario}: round {number}, gateway"));
            let (gateway, undisturbed) = match &other {
                None => (self.observe(gateway, &subject, &mut stages).await?, None),
                // Which of the two goes first alternates, so that a drift of the machine favours neither.
                Some(other) if number % 2 == 1 => {
                    let undisturbed = self.run(other, time).await?;
                    (self.observe(gateway, &subject, &mut stages).await?, Some(undisturbed))
                }
                Some(other) => {
                    let disturbed = self.observe(gateway, &subject, &mut stages).await?;
                    (disturbed, Some(self.run(other, time).await?))
                }
            };
            let round = Round { relay, gateway, undisturbed, sync_ms };
            progress.done(&round_line(scenario, number, &round));
            rounds.push(round);
        }
        let pending = gateway.read_metrics().await?.pending;
        let journal_in_memory = disk::is_in_memory(gateway.directory())?;
        Ok(Measured { scenario, rounds, stages, pending, journal_in_memory })
    }

    /// One run of the gateway, with the time that its events spend in each stage.
    async fn observe(
        &mut self,
        gateway: &Gateway,
        subject: &Subject,
        stages: &mut StageTimes,
    ) -> anyhow::Result<Run> {
        let before = gateway.read_metrics().await?;
        let run = self.run(subject, self.settings.time).await?;
        stages.add(&before, &gateway.read_metrics().await?);
        Ok(run)
    }

    /// One run, its drain included.
    async fn run(&mut self, subject: &Subject, time: Duration) -> anyhow::Result<Run> {
        self.receiver.ask::<_, Answer>(&Command::Begin, AT_ONCE).await?;
        let watch = Watch::start(self.pids(subject)?)?;
        let before = process::processor_time(subject.pid)?;
        let plan = self.plan(subject, MEASURED, Until::Elapsed(time));
        let outcome: Outcome = self.load.ask(&plan, time + GRACE).await?;
        let report = self.drain(outcome.accepted).await?;
        let others_share = watch.others_share()?;
        let processor = quiet(subject.pid).await?.saturating_sub(before);
        let resident = process::resident_bytes(subject.pid)?;
        Ok(combine(outcome, report, Usage { processor, resident, others_share }))
    }

    /// All processes that have work to do while this one is measured.
    fn pids(&self, subject: &Subject) -> anyhow::Result<Vec<u32>> {
        Ok(vec![std::process::id(), self.load.pid()?, self.receiver.pid()?, subject.pid])
    }

    /// Waits until every accepted event has arrived, or until nothing arrives any more.
    async fn drain(&mut self, accepted: Tally) -> anyhow::Result<Report> {
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
            if count >= accepted.count || now - since >= SILENCE || now >= end {
                return Ok(report);
            }
        }
    }

    async fn pile_up(&mut self, gateway: &Gateway) -> anyhow::Result<()> {
        let plan = self.plan(&Subject::gateway(gateway)?, DEAD, Until::Sent(PENDING));
        let outcome: Outcome = self.load.ask(&plan, PILE_UP).await?;
        ensure!(
            outcome.accepted.count == PENDING,
            "the gateway refused {} of the {PENDING} events for the dead endpoint: {:?}",
            outcome.refused,
            outcome.refusal,
        );
        Ok(())
    }

    fn plan(&self, subject: &Subject, event_type: &str, until: Until) -> Plan {
        Plan {
            address: subject.address,
            path: format!("/v1/tenants/{TENANT}/events"),
            key: subject.key.clone(),
            event_type: event_type.to_owned(),
            payload: self.settings.payload,
            connections: self.settings.connections,
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
    others_share: f64,
}

fn combine(outcome: Outcome, report: Report, usage: Usage) -> Run {
    let count = |number: u64| number as f64;
    Run {
        accepted_per_s: ratio(count(outcome.accepted.count), outcome.seconds),
        delivered_per_s: ratio(count(report.arrived.count), report.seconds),
        accept_p50_ms: outcome.p50_ms,
        accept_p99_ms: outcome.p99_ms,
        cpu_ms_per_event: ratio(usage.processor.as_secs_f64() * 1e3, count(report.arrived.count)),
        rss_mib: count(usage.resident) / (1024.0 * 1024.0),
        accepted: outcome.accepted.count,
        lost: lost(outcome.accepted, report.arrived),
        duplicates: report.duplicates,
        refused: outcome.refused,
        others_share: usage.others_share,
        refusal: outcome.refusal,
    }
}

fn round_line(scenario: Scenario, number: u32, round: &Round) -> String {
    let Round { relay, gateway, undisturbed, sync_ms } = round;
    let mut line = format!(
        "{scenario} {number}: relay {:.0}/s, gateway {:.0}/s accepted and {:.0}/s delivered ({:.2} of the relay), \
         sync {sync_ms:.2} ms, {:.0} % of the machine for others",
        relay.delivered_per_s,
        gateway.accepted_per_s,
        gateway.delivered_per_s,
        ratio(gateway.delivered_per_s, relay.delivered_per_s),
        round.others_share() * 100.0,
    );
    if let Some(undisturbed) = undisturbed {
        let part = ratio(gateway.delivered_per_s, undisturbed.delivered_per_s);
        line.push_str(&format!(
            ", {part:.2} of {:.0}/s without the dead endpoint",
            undisturbed.delivered_per_s
        ));
    }
    line
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
        let outcome = Outcome {
            accepted: tally(1_000),
            refused: 3,
            refusal: Some("503".to_owned()),
            seconds: 2.0,
            p50_ms: 1.0,
            p99_ms: 4.0,
        };
        let report = Report { arrived: tally(900), duplicates: 2, seconds: 3.0 };
        let usage = Usage { processor: Duration::from_millis(90), resident: 5 << 20, others_share: 0.25 };
        let run = combine(outcome, report, usage);
        assert_eq!(
            (run.accepted_per_s, run.delivered_per_s, run.cpu_ms_per_event, run.rss_mib),
            (500.0, 300.0, 0.1, 5.0)
        );
        assert_eq!(run.others_share, 0.25);
        assert_eq!((run.accepted, run.lost, run.duplicates, run.refused), (1_000, 100, 2, 3));
    }
}
