//! The newest rows of several ordered sources, as one list: a merge of them, each read newest first, a few rows at a
//! time. No index has to order all rows of a tenant.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::engines::embedded::fault::Fault;

/// How many rows of a source to read first: few, since most sources of a large tenant give a page a row or none.
const FIRST_BATCH: u32 = 4;
const LARGEST_BATCH: u32 = 256;

/// Where rows come from.
pub(super) trait Source {
    type Row;

    /// Reads the newest rows whose numbers lie between the two, at most `limit` of them.
    fn read(&self, from: i64, to: i64, limit: u32) -> Result<Vec<Self::Row>, Fault>;

    fn seq(row: &Self::Row) -> i64;
}

/// A source, with the rows that were read ahead.
struct Line<S: Source> {
    source: S,
    ahead: VecDeque<S::Row>,
    /// The highest number that was not read yet.
    to: i64,
    batch: u32,
}

impl<S: Source> Line<S> {
    /// The number of the next row, if there is one.
    fn peek(&mut self, from: i64) -> Result<Option<i64>, Fault> {
        if self.ahead.is_empty() && self.to >= from {
            self.ahead = self.source.read(from, self.to, self.batch)?.into();
            self.to = match self.ahead.back() {
                Some(last) if self.ahead.len() == self.batch as usize => S::seq(last) - 1,
                _ => from - 1,
            };
            self.batch = (self.batch * 2).min(LARGEST_BATCH);
        }
        Ok(self.ahead.front().map(S::seq))
    }
}

/// Rows of all sources, the highest number first; of one number, in the order of the sources.
pub(super) struct Newest<S: Source> {
    lines: Vec<Line<S>>,
    heads: BinaryHeap<(i64, Reverse<usize>)>,
    from: i64,
}

impl<S: Source> Newest<S> {
    /// `sources` with the highest number that is wanted of each; `from` is the lowest of all.
    pub(super) fn of(sources: impl IntoIterator<Item = (S, i64)>, from: i64) -> Result<Self, Fault> {
        let line = |(source, to)| Line { source, ahead: VecDeque::new(), to, batch: FIRST_BATCH };
        let mut newest =
            Self { lines: sources.into_iter().map(line).collect(), heads: BinaryHeap::new(), from };
        for index in 0..newest.lines.len() {
            newest.look_at(index)?;
        }
        Ok(newest)
    }

    /// Takes the next row, with its source.
    pub(super) fn next(&mut self) -> Result<Option<(&S, S::Row)>, Fault> {
        let Some((_, Reverse(index))) = self.heads.pop() else { return Ok(None) };
        let row = self.lines.get_mut(index).and_then(|line| line.ahead.pop_front());
        self.look_at(index)?;
        Ok(self.lines.get(index).zip(row).map(|(line, row)| (&line.source, row)))
    }

    fn look_at(&mut self, index: usize) -> Result<(), Fault> {
        if let Some(line) = self.lines.get_mut(index)
            && let Some(seq) = line.peek(self.from)?
        {
            self.heads.push((seq, Reverse(index)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(&'static [i64]);

    impl Source for Numbers {
        type Row = i64;

        fn read(&self, from: i64, to: i64, limit: u32) -> Result<Vec<i64>, Fault> {
            let wanted = self.0.iter().rev().filter(|seq| (from..=to).contains(*seq));
            Ok(wanted.take(limit as usize).copied().collect())
        }

        fn seq(row: &i64) -> i64 {
            *row
        }
    }

    #[test]
    fn all_rows_come_newest_first() {
        let many: &[i64] = &[1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16];
        for (sources, from, wanted) in [
            (vec![], 1, vec![]),
            (vec![(&[][..], 9)], 1, vec![]),
            (vec![(&[2, 4][..], 9), (&[1, 4, 10][..], 9)], 1, vec![(0, 4), (1, 4), (0, 2), (1, 1)]),
            (vec![(&[2, 4][..], 3), (&[1, 4, 10][..], 99)], 2, vec![(1, 10), (1, 4), (0, 2)]),
            (vec![(many, 99)], 1, many.iter().rev().map(|seq| (0, *seq)).collect()),
        ] {
            let sources: Vec<_> = sources.into_iter().map(|(seqs, to)| (Numbers(seqs), to)).collect();
            let places: Vec<_> = sources.iter().map(|(numbers, _)| numbers.0.as_ptr()).collect();
            let mut newest = Newest::of(sources, from).unwrap();
            let mut rows = Vec::new();
            while let Some((source, seq)) = newest.next().unwrap() {
                let index = places.iter().position(|place| *place == source.0.as_ptr()).unwrap();
                rows.push((index, seq));
            }
            assert_eq!(rows, wanted);
        }
    }
}
