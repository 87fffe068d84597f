//! Comparing numbers by their digits: a float would take 9007199254740993 for 9007199254740992.

use std::cmp::Ordering;

/// A number as JSON writes it. Its magnitude is 0.DIGITS times ten to the power of `exponent`, where the first digit is
/// not zero; zero has no digits.
#[derive(Debug)]
pub(crate) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Reads a number that a JSON parser has found to be one.
    pub(crate) fn of(number: &str) -> Self {
        let (negative, magnitude) = match number.strip_prefix('-') {
            Some(magnitude) => (true, magnitude),
            None => (false, number),
        };
        let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading_zeros = all.iter().take_while(|&&digit| digit == b'0').count();
        let trailing_zeros = all.iter().rev().take_while(|&&digit| digit == b'0').count();
        let digits = all.get(leading_zeros..all.len() - trailing_zeros).unwrap_or_default().to_vec();

        // A text's length fits in an i64; an exponent beyond that stands for any power that is out of reach.
        let shift =
            i64::try_from(whole.len()).unwrap_or(i64::MAX) - i64::try_from(leading_zeros).unwrap_or(i64::MAX);
        let exponent =
            exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
        Self { negative: negative && !digits.is_empty(), digits, exponent: shift.saturating_add(exponent) }
    }

    fn magnitude_cmp(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            // Digits after the point compare as text does: "12" is less than "121", and trailing zeros are gone.
            (false, false) => self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude_cmp(other),
            (true, true) => other.magnitude_cmp(self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Decimal {}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        // Ascending; the numbers of one row are equal.
        let rows: &[&[&str]] = &[
            &["-1e99999999999999999999"],
            &["-1e400"],
            &["-12.5", "-125e-1", "-0.125E+2"],
            &["-12.4"],
            &["-0.001", "-1e-3"],
            &["-1e-99999999999999999999"],
            &["0", "-0", "0.0", "0e5", "-0.00E-7", "0e99999999999999999999"],
            &["1e-99999999999999999999"],
            &["1e-400"],
            &["0.1", "0.10", "1e-1", "100e-3"],
            &["0.10000000000000000000000001"],
            &["0.3"],
            &["9.99"],
            &["10", "1e1", "10.000", "0.1e2", "1E+1"],
            &["99"],
            &["100", "1e2"],
            &["101"],
            &["9007199254740992", "9007199254740992.0"],
            &["9007199254740993"],
            &["18446744073709551616"],
            &["123456789012345678901234567890"],
            &["123456789012345678901234567891"],
            &["1e400", "10e399"],
            &["1e99999999999999999999"],
        ];
        for (i, left_row) in rows.iter().enumerate() {
            for (j, right_row) in rows.iter().enumerate() {
                for left in *left_row {
                    for right in *right_row {
                        assert_eq!(
                            Decimal::of(left).cmp(&Decimal::of(right)),
                            i.cmp(&j),
                            "{left} and {right}"
                        );
                    }
                }
            }
        }
    }
}
