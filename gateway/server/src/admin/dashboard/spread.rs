//! How long things took: the middle, the slowest, and how they are spread.

use serde::Serialize;

/// Upper bounds of the columns of a histogram, in milliseconds.
const BOUNDS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 15_000];

/// Times of one unit, summed up.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Spread {
    pub count: usize,
    pub middle: u64,
    pub slowest: u64,
}

impl Spread {
    /// `None` where there are no times.
    pub(super) fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        let slowest = *times.last()?;
        Some(Self { count: times.len(), middle: times[times.len() / 2], slowest })
    }
}

/// One column of a histogram.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Column {
    /// It counts what took less; `None`: what took longer than all bounds.
    pub below_ms: Option<u64>,
    pub count: usize,
}

/// The columns from the first that counts something to the last, with the empty ones between them.
pub(super) fn histogram(millis: &[u64]) -> Vec<Column> {
    let mut counts = [0; BOUNDS.len() + 1];
    for time in millis {
        counts[BOUNDS.partition_point(|bound| bound <= time)] += 1;
    }
    let bounds = BOUNDS.into_iter().map(Some).chain([None]);
    let columns: Vec<Column> =
        bounds.zip(counts).map(|(below_ms, count)| Column { below_ms, count }).collect();
    let first = columns.iter().position(|column| column.count > 0).unwrap_or(columns.len());
    let last = columns.iter().rposition(|column| column.count > 0).unwrap_or(0);
    columns.into_iter().take(last + 1).skip(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up() {
        assert_eq!(Spread::of(Vec::new()), None);
        assert_eq!(Spread::of(vec![9, 1, 4]), Some(Spread { count: 3, middle: 4, slowest: 9 }));
    }

    #[test]
    fn a_histogram_begins_and_ends_with_what_it_counts() {
        let column = |below_ms, count| Column { below_ms, count };
        for (millis, wanted) in [
            (&[][..], vec![]),
            (&[0, 4], vec![column(Some(5), 2)]),
            (&[5, 30, 30], vec![column(Some(10), 1), column(Some(25), 0), column(Some(50), 2)]),
            (&[14_999, 15_000], vec![column(Some(15_000), 1), column(None, 1)]),
        ] {
            assert_eq!(histogram(millis), wanted, "{millis:?}");
        }
    }
}
