//! A distribution of times as bars on a terminal.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Bars of the longest row.
const WIDTH: u64 = 40;
/// Each row's times reach this much further than those of the row above.
const STEP: f64 = 1.3;
/// Rows that hold less than this part of all are left out at both ends: their times are in the percentiles.
const TAIL: f64 = 0.001;

/// Rows of nanoseconds: up to which time, how many, a bar.
pub(super) fn drawn(times: &Histogram<u64>) -> String {
    let low = times.value_at_quantile(TAIL).max(1);
    let high = times.value_at_quantile(1.0 - TAIL).max(low);
    let mut rows = Vec::new();
    let (mut from, mut to) = (low, low as f64 * STEP);
    while from <= high {
        let end = (to as u64).max(from);
        rows.push((end, times.count_between(from, end)));
        from = end + 1;
        to *= STEP;
    }
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    rows.iter().fold(String::new(), |mut text, (end, count)| {
        let bar = "#".repeat(usize::try_from(count * WIDTH / most).unwrap_or(0));
        let _ = writeln!(text, "  {:>10} {count:>8} {bar}", format!("<= {}", micros(*end)));
        text
    })
}

/// Microseconds, with as many digits as say something.
pub(super) fn micros(nanos: u64) -> String {
    let micros = nanos as f64 / 1e3;
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_cover_what_was_recorded() {
        let mut times = Histogram::new(3).unwrap();
        times.record_n(1_000, 100).unwrap();
        times.record_n(2_000, 50).unwrap();
        let text = drawn(&times);
        let counts: u64 =
            text.lines().map(|line| line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(counts, 150, "{text}");
        assert_eq!(text.lines().next().unwrap().matches('#').count(), 40, "{text}");
        assert_eq!(text.lines().last().unwrap().matches('#').count(), 20, "{text}");
        assert_eq!((micros(1_234).as_str(), micros(1_234_567).as_str()), ("1.2", "1235"));
    }

    #[test]
    fn one_time_is_one_row() {
        let mut times = Histogram::new(3).unwrap();
        times.record_n(5, 7).unwrap();
        assert_eq!(drawn(&times).lines().count(), 1);
    }
}
