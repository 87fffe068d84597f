//! Medians with their spread, the only figures that the bench compares.

use serde::Serialize;

/// The median of a few runs, with the lowest and the highest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// None where there are no values.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }
}

/// `value` over `base`; zero over a base of nothing, so that a run that measured nothing is never the best one.
pub(super) fn ratio(value: f64, base: f64) -> f64 {
    if base > 0.0 { value / base } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_the_ends() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some((3.0, 3.0, 3.0))),
            (vec![4.0, 1.0], Some((2.5, 1.0, 4.0))),
            (vec![9.0, 1.0, 5.0], Some((5.0, 1.0, 9.0))),
            (vec![0.5, 0.7, 0.1, 0.9], Some((0.6, 0.1, 0.9))),
        ] {
            let spread = Spread::of(values.clone());
            let expected = expected.map(|(median, min, max)| Spread { median, min, max });
            assert_eq!(spread, expected, "{values:?}");
        }
    }

    #[test]
    fn a_ratio_to_nothing_is_zero() {
        for (value, base, expected) in [(3.0, 6.0, 0.5), (3.0, 0.0, 0.0), (0.0, 2.0, 0.0)] {
            assert_eq!(ratio(value, base), expected);
        }
    }
}
