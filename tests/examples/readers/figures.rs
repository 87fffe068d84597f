//! What was measured, as it is printed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::pages::{Kind, Page};

/// The aims: medians in milliseconds, and p99 of accept with readers over that without.
const LIST_OR_DETAIL: f64 = 20.0;
const OVERVIEW: f64 = 100.0;
const ACCEPT: f64 = 1.2;

/// One run of the load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Events accepted in a second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Pages that were answered meanwhile.
    pub(crate) reads: usize,
}

/// Two runs that are neighbours in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) alone: Run,
    pub(crate) beside: Run,
}

pub(crate) const ROUNDS: &str = "
accept, in ms from when an event was due
           without readers             with readers
 events/s     p50      p99   events/s     p50      p99   pages  p99 with / without";

impl Round {
    fn ratio(&self) -> f64 {
        self.beside.p99 / self.alone.p99
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alone, beside } = self;
        write!(f, "{alone}  {beside}  {:6}  {:18.2}", beside.reads, self.ratio())
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:9.0}  {:6.2}  {:7.2}", self.rate, self.p50, self.p99)
    }
}

pub(crate) fn unpaused(run: &Run) -> String {
    format!("a reader without a pause:    {run}  {:6}", run.reads)
}

/// How long each page took, in all runs.
#[derive(Debug)]
pub(crate) struct Asked {
    pages: Arc<[Page]>,
    took: Vec<Vec<Duration>>,
}

impl Asked {
    pub(crate) fn new(pages: &Arc<[Page]>) -> Self {
        Self { pages: pages.clone(), took: vec![Vec::new(); pages.len()] }
    }

    pub(crate) fn note(&mut self, page: usize, took: Duration) {
        self.took[page].push(took);
    }

    /// How many pages were answered.
    pub(crate) fn calls(&self) -> usize {
        self.took.iter().map(Vec::len).sum()
    }

    /// The page of this kind with the worst median, and that median.
    fn worst(&self, kind: Kind) -> (&str, f64) {
        let of_kind = self.pages.iter().zip(&self.took).filter(|(page, _)| page.kind == kind);
        let medians = of_kind.map(|(page, took)| (page.name.as_str(), quantile(took, 0.5)));
        medians.max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap_or(("none", f64::NAN))
    }

    /// How many pages of a kind have a median that misses the aim.
    fn above(&self, kind: Kind, aim: f64) -> usize {
        let of_kind = self.pages.iter().zip(&self.took).filter(|(page, _)| page.kind == kind);
        of_kind.filter(|(_, took)| quantile(took, 0.5) >= aim).count()
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |page: &Page| page.name.chars().count();
        let width = self.pages.iter().map(name).max().unwrap_or(0);
        writeln!(f, "{:width$}  calls  median ms   p99 ms", "page")?;
        for (Page { name, .. }, took) in self.pages.iter().zip(&self.took) {
            let (median, p99) = (quantile(took, 0.5), quantile(took, 0.99));
            writeln!(f, "{name:width$}  {:5}  {median:9.2}  {p99:7.2}", took.len())?;
        }
        Ok(())
    }
}

/// In milliseconds.
fn quantile(took: &[Duration], share: f64) -> f64 {
    let mut sorted: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    at(&mut sorted, share)
}

fn at(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    // The smallest figure that is not below so great a share of them.
    let place = (figures.len() as f64 * share).ceil() as usize;
    figures.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The aims, beside what was measured.
pub(crate) fn judge(rounds: &[Round], asked: &Asked) -> [String; 3] {
    let word = |is_met| if is_met { "met" } else { "missed" };
    let mut ratios: Vec<f64> = rounds.iter().map(Round::ratio).collect();
    let (median, low, high) = (at(&mut ratios, 0.5), at(&mut ratios, 0.0), at(&mut ratios, 1.0));
    let (list, lists) = asked.worst(Kind::ListOrDetail);
    let (overview, overviews) = asked.worst(Kind::Overview);
    let above = asked.above(Kind::ListOrDetail, LIST_OR_DETAIL);
    [
        format!(
            "lists and details: worst median {lists:.2} ms ({list}), {above} not under {LIST_OR_DETAIL} ms: {}",
            word(lists < LIST_OR_DETAIL)
        ),
        format!(
            "overview: worst median {overviews:.2} ms ({overview}), aim under {OVERVIEW} ms: {}",
            word(overviews < OVERVIEW)
        ),
        format!(
            "accept: p99 with readers {median:.2} ({low:.2}..{high:.2}) of that without, aim {ACCEPT}: {}",
            word(median <= ACCEPT)
        ),
    ]
}
