//! What of a log can be had, given the mark and the main file: a pure decision.
//!
//! What was answered must be there: the frames up to the mark's, and those up to the last transaction that another one
//! follows. A frame of these that is damaged costs nothing where a later one holds the same page, or where the main file
//! has its page already. Where it costs something, the journal goes back to the last transaction before it, whole,
//! unless the main file is ahead of that: then a part of a later state is there already, and all else of that state that
//! is left goes with it.

use std::collections::BTreeMap;

use super::mark::{End, Slot};
use super::scan::{Frame, Log, sum_of};

/// What the main file holds.
pub(super) trait Main {
    /// A page of it; `None` where it is shorter.
    fn page(&mut self, number: u32) -> Option<Vec<u8>>;
    /// How many pages it has.
    fn pages(&mut self) -> u32;
}

/// What follows from a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// SQLite reads it right: at most an end is torn that nobody was answered for.
    Whole,
    /// It is replaced by one that holds these pages, with the frames that they are in; the journal has `size` pages.
    Rewrite { pages: BTreeMap<u32, usize>, size: u32, harm: Harm },
    /// There is nothing to repair, and something that was answered is missing.
    Missing { why: &'static str },
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Harm {
    /// The first bad frame, counted from 0; `None`: the header.
    pub(super) at: Option<usize>,
    /// How many frames were answered, and are bad or missing.
    pub(super) bad: usize,
    /// Whether anything that was answered is lost. What that is begins with the transaction in this frame.
    pub(super) lost_from: Option<usize>,
    /// Whether pages of different states are mixed.
    pub(super) is_mixed: bool,
}

/// How the log that was found is related to the one that the mark is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// The mark says nothing of a log, or there is no mark.
    Unmarked,
    Same,
    /// The log was begun anew since, which happens only when the main file has all that was in it before.
    Later,
    /// The log is of an earlier generation.
    Earlier,
    /// There is no log, or another one.
    Other,
}

/// Decides what to do with a log.
pub(super) fn plan(log: &Log, mark: Option<&Slot>, main: &mut dyn Main) -> Plan {
    let end = mark.map(|slot| slot.end).filter(|end| end.frames > 0);
    let relation = end.map_or(Relation::Unmarked, |end| relation(log, &end));
    match (relation, end) {
        (Relation::Other, Some(end)) if end.moved < end.frames && !has_last(&end, main) => {
            Plan::Missing { why: "the write-ahead log is gone, or it is not the one that was written" }
        }
        (Relation::Earlier, Some(end)) => {
            // All that it holds was moved to the main file before it was begun anew.
            let is_lost = end.moved < end.frames && !has_last(&end, main);
            let harm = Harm {
                at: Some(0),
                bad: end.frames as usize,
                lost_from: is_lost.then_some(0),
                is_mixed: false,
            };
            Plan::Rewrite { pages: BTreeMap::new(), size: 0, harm }
        }
        (Relation::Same, Some(end)) => {
            of_frames(log, end.frames as usize, end.moved as usize, Some(&end), main)
        }
        _ => of_frames(log, 0, 0, None, main),
    }
}

fn relation(log: &Log, end: &End) -> Relation {
    if log.salts == Some(end.salts) {
        return Relation::Same;
    }
    // The mark knows the salts where a damaged header has none.
    let Some(header) = log.header else { return Relation::Other };
    let later = header.salts[0].wrapping_sub(end.salts[0]);
    match later == header.sequence.wrapping_sub(end.sequence) {
        true if later.cast_signed() > 0 => Relation::Later,
        true => Relation::Earlier,
        false => Relation::Other,
    }
}

/// Whether the main file has the page of the last frame that was answered, as it stood there.
fn has_last(end: &End, main: &mut dyn Main) -> bool {
    main.page(end.page).is_some_and(|content| sum_of(end.before, end.page, end.size, &content) == end.sum)
}

/// `marked` frames were answered by the mark's word, of which `moved` are in the main file.
fn of_frames(log: &Log, marked: usize, moved: usize, end: Option<&End>, main: &mut dyn Main) -> Plan {
    let answered = marked.max(log.synced());
    // The mark knows the checksum of its last frame: another log with the same salts has another.
    let is_other = |at: usize, frame: &Frame| end.is_some_and(|end| at + 1 == marked && end.sum != frame.sum);
    let is_good = |at: usize| log.frames.get(at).is_some_and(|frame| frame.is_whole && !is_other(at, frame));
    let bad: Vec<usize> = (0..answered).filter(|at| !is_good(*at)).collect();
    let is_headless = log.header.is_none() && answered > 0;
    let Some(first) = bad.first().copied().or(is_headless.then_some(0)) else { return Plan::Whole };
    let all = answered.max(log.committed(log.frames.len()));
    let is_lost = |at: &usize| *at >= moved && !is_elsewhere(log, *at, all, &is_good, main);
    let lost = bad.iter().copied().find(is_lost);
    let mut harm = Harm {
        at: (!is_headless).then_some(first),
        bad: bad.len(),
        lost_from: lost.map(|at| log.committed(at).max(moved)),
        is_mixed: false,
    };
    let mut until = all;
    if let Some(from) = harm.lost_from {
        // Bad frames before that were made good by later ones, which are no part of the earlier state.
        let until_good =
            bad.iter().copied().find(|at| *at >= moved && !in_main(log, *at, main)).unwrap_or(from);
        until = log.committed(until_good).max(moved).min(from);
        harm.lost_from = Some(until);
        harm.is_mixed = is_ahead(log, until, main);
        if harm.is_mixed {
            until = all;
        }
    }
    let pages = pages(log, moved, until, &is_good);
    let size = size(log, until, &pages, main);
    Plan::Rewrite { pages, size, harm }
}

/// Whether the page of a bad frame is to be had elsewhere.
fn is_elsewhere(
    log: &Log,
    at: usize,
    all: usize,
    is_good: &dyn Fn(usize) -> bool,
    main: &mut dyn Main,
) -> bool {
    let Some(bad) = named(log, at) else { return false };
    let is_later = |later: usize| is_good(later) && log.frames[later].page == bad.page;
    (at + 1..all.min(log.frames.len())).any(is_later) || in_main(log, at, main)
}

/// A bad frame whose header still tells its page.
fn named(log: &Log, at: usize) -> Option<&Frame> {
    let frame = log.frames.get(at).filter(|frame| frame.is_present)?;
    let whole = log.frames.iter().filter(|frame| frame.is_whole);
    let largest = whole.map(|frame| frame.size.max(frame.page)).max().unwrap_or(0);
    (1..=largest).contains(&frame.page).then_some(frame)
}

/// Whether the main file holds the very page that a bad frame held, by the checksums around it.
fn in_main(log: &Log, at: usize, main: &mut dyn Main) -> bool {
    let Some(bad) = named(log, at) else { return false };
    let before = match at {
        0 => log.start,
        _ => log.frames[at - 1].sum,
    };
    main.page(bad.page).is_some_and(|content| sum_of(before, bad.page, bad.size, &content) == bad.sum)
}

/// Whether the main file has pages as they were after the first `frames`, and differ from before.
fn is_ahead(log: &Log, frames: usize, main: &mut dyn Main) -> bool {
    let mut older: BTreeMap<u32, u32> = BTreeMap::new();
    let (before, after) = log.frames.split_at(frames.min(log.frames.len()));
    for frame in before.iter().filter(|frame| frame.is_whole) {
        older.insert(frame.page, frame.content);
    }
    let mut newer: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for frame in after.iter().filter(|frame| frame.is_whole) {
        if older.get(&frame.page) != Some(&frame.content) {
            newer.entry(frame.page).or_default().push(frame.content);
        }
    }
    newer.into_iter().any(|(page, contents)| {
        main.page(page).is_some_and(|content| contents.contains(&crc32fast::hash(&content)))
    })
}

/// The pages that the main file needs for the state after `until` frames, by the frames that hold them.
fn pages(log: &Log, moved: usize, until: usize, is_good: &dyn Fn(usize) -> bool) -> BTreeMap<u32, usize> {
    let mut pages = BTreeMap::new();
    for (at, frame) in log.frames.iter().enumerate().take(until).skip(moved) {
        if is_good(at) {
            pages.insert(frame.page, at);
        } else if let Some(bad) = named(log, at) {
            // An older one would undo what the main file has.
            pages.remove(&bad.page);
        }
    }
    pages
}

/// How many pages the journal has after `until` frames.
fn size(log: &Log, until: usize, pages: &BTreeMap<u32, usize>, main: &mut dyn Main) -> u32 {
    let before = log.frames.get(..until).unwrap_or(&log.frames);
    let committed = before.iter().rev().find(|frame| frame.is_whole && frame.size != 0);
    let last = pages.last_key_value().map_or(0, |(page, _)| *page);
    committed.map_or_else(|| main.pages(), |frame| frame.size).max(last)
}
