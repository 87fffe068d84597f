//! The share of time in each stage of an event's way, from two readings of the gateway's `/metrics`.

use std::collections::BTreeMap;

use serde::Serialize;

/// In the order of the event's way; the gateway's `stage` label has these words.
pub(super) const STAGES: [&str; 6] = ["accept", "journal", "queue", "plugins", "attempt", "settle"];

/// The series of the journal's synced commits, and the one of pending deliveries.
const SYNC: &str = "hookweir_journal_sync_seconds";
const PENDING: &str = "hookweir_pending_deliveries";

/// A sum of seconds over a number of times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Total {
    seconds: f64,
    times: f64,
}

impl Total {
    fn since(self, earlier: Self) -> Self {
        Self { seconds: self.seconds - earlier.seconds, times: self.times - earlier.times }
    }

    fn plus(self, other: Self) -> Self {
        Self { seconds: self.seconds + other.seconds, times: self.times + other.times }
    }

    fn mean_us(self) -> f64 {
        if self.times > 0.0 { self.seconds / self.times * 1e6 } else { 0.0 }
    }
}

/// What one reading of `/metrics` says that the bench wants to know.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    stages: BTreeMap<&'static str, Total>,
    sync: Total,
    pub(super) pending: Option<f64>,
}

impl Reading {
    pub(super) fn parse(text: &str) -> Self {
        let mut reading = Self::default();
        for (series, labels, value) in text.lines().filter_map(sample) {
            if series == PENDING {
                reading.pending = Some(value);
            } else if let Some(series) = series.strip_prefix(SYNC) {
                note(&mut reading.sync, series, value);
            } else if let Some(series) = series.strip_prefix("hookweir_stage_seconds")
                && let Some(stage) = STAGES.into_iter().find(|stage| labels == format!("stage=\"{stage}\""))
            {
                note(reading.stages.entry(stage).or_default(), series, value);
            }
        }
        reading
    }
}

fn note(total: &mut Total, series: &str, value: f64) {
    match series {
        "_sum" => total.seconds = value,
        "_count" => total.times = value,
        _ => {}
    }
}

/// `name{labels} value` of a line in Prometheus' text form; what may follow the value is not looked at. None of the
/// labels that are read here holds a brace.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = rest.split_once('}')?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, "", rest)
        }
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

/// The time of the runs of one scenario, by stage.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StageTimes {
    stages: BTreeMap<&'static str, Total>,
    sync: Total,
}

impl StageTimes {
    /// Adds what passed between two readings.
    pub(super) fn add(&mut self, before: &Reading, after: &Reading) {
        for (stage, total) in &after.stages {
            let earlier = before.stages.get(stage).copied().unwrap_or_default();
            let sum = self.stages.entry(stage).or_default();
            *sum = sum.plus(total.since(earlier));
        }
        self.sync = self.sync.plus(after.sync.since(before.sync));
    }

    /// Mean and share of each stage, in the order of the way; stages that nothing passed are left out.
    pub(super) fn shares(&self) -> Vec<StageShare> {
        let whole: f64 = self.stages.values().map(|total| total.seconds).sum();
        STAGES
            .into_iter()
            .filter_map(|stage| Some((stage, *self.stages.get(stage)?)))
            .filter(|(_, total)| total.times > 0.0)
            .map(|(stage, total)| StageShare {
                stage,
                mean_us: total.mean_us(),
                share: if whole > 0.0 { total.seconds / whole } else { 0.0 },
            })
            .collect()
    }

    /// Mean time of a synced commit of the journal; none where there was none.
    pub(super) fn sync_mean_us(&self) -> Option<f64> {
        (self.sync.times > 0.0).then(|| self.sync.mean_us())
    }
}

/// The time that events spent in one stage, waiting included.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StageShare {
    pub(super) stage: &'static str,
    pub(super) mean_us: f64,
    /// Of the sum over all stages.
    pub(super) share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# HELP hookweir_stage_seconds Time that events spend in each stage of their way.
# TYPE hookweir_stage_seconds histogram
hookweir_stage_seconds_sum{stage=\"accept\"} 1.0
hookweir_stage_seconds_count{stage=\"accept\"} 10
hookweir_stage_seconds_bucket{le=\"0.5\",stage=\"accept\"} 10
hookweir_journal_sync_seconds_sum 0.5
hookweir_journal_sync_seconds_count 5
hookweir_pending_deliveries 7
";
    const AFTER: &str = "\
hookweir_stage_seconds_sum{stage=\"accept\"} 1.3
hookweir_stage_seconds_count{stage=\"accept\"} 40 1700000000
hookweir_stage_seconds_sum{stage=\"attempt\"} 0.9
hookweir_stage_seconds_count{stage=\"attempt\"} 30
hookweir_stage_seconds_sum{stage=\"plugins\"} 0.0
hookweir_stage_seconds_count{stage=\"plugins\"} 0
hookweir_stage_seconds_sum{stage=\"unheard\"} 9.0
hookweir_journal_sync_seconds_sum 0.7
hookweir_journal_sync_seconds_count 15
hookweir_pending_deliveries 0
# EOF
";

    #[test]
    fn lines_are_told_apart() {
        for (line, expected) in [
            ("a_total 3", Some(("a_total", "", 3.0))),
            ("a{x=\"1\"} 0.25 1700000000", Some(("a", "x=\"1\"", 0.25))),
            ("a_bucket{le=\"+Inf\"} 3 # {id=\"9\"} 0.1", Some(("a_bucket", "le=\"+Inf\"", 3.0))),
            ("a{x=\"1\" 3", None),
            ("a three", None),
            ("# TYPE a counter", None),
            ("", None),
        ] {
            assert_eq!(sample(line), expected, "{line}");
        }
    }

    #[test]
    fn shares_are_of_what_passed_between_the_readings() {
        let (before, after) = (Reading::parse(BEFORE), Reading::parse(AFTER));
        assert_eq!((before.pending, after.pending), (Some(7.0), Some(0.0)));
        let mut times = StageTimes::default();
        times.add(&before, &after);
        let shares = times.shares();
        let words: Vec<_> = shares.iter().map(|share| share.stage).collect();
        assert_eq!(
            words,
            ["accept", "attempt"],
            "stages that nothing passed, and unheard ones, are left out"
        );
        for (share, (mean, part)) in shares.iter().zip([(10_000.0, 0.25), (30_000.0, 0.75)]) {
            assert!((share.mean_us - mean).abs() < 1e-6 && (share.share - part).abs() < 1e-9, "{share:?}");
        }
        assert!((times.sync_mean_us().unwrap() - 20_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_gateway_without_these_series_has_no_shares() {
        let reading = Reading::parse("process_cpu_seconds_total 3\n");
        let mut times = StageTimes::default();
        times.add(&reading, &reading);
        assert!(times.shares().is_empty());
        assert_eq!(times.sync_mean_us(), None);
        assert_eq!(reading.pending, None);
    }
}
