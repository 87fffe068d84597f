//! Blocks of numbers, and fours of them, by which lists find what is a tenant's or a lane's.

/// How many numbers a block has. The tables were made with it.
pub(super) const BLOCK: i64 = 256;

/// How many of them share a bit, of which a block has 64.
const FOUR: i64 = BLOCK / 64;

/// What is present anywhere in a block.
pub(super) const ALL: i64 = -1;

pub(super) const fn block(seq: i64) -> i64 {
    seq.div_euclid(BLOCK)
}

/// The bit of the four in which a number lies.
pub(super) const fn bit(seq: i64) -> i64 {
    1 << (seq.rem_euclid(BLOCK) / FOUR)
}

/// Takes the highest run of fours out of `fours`: its lowest and its highest number.
pub(super) fn take_run(block: i64, fours: &mut u64) -> Option<(i64, i64)> {
    if *fours == 0 {
        return None;
    }
    let end = 64 - fours.leading_zeros();
    // What lies below the run is below the highest four that is not set; where the run reaches the bottom, nothing does.
    let length = (*fours << (64 - end)).leading_ones();
    let start = end - length;
    *fours &= (1 << start) - 1;
    let first = block * BLOCK;
    Some((first + i64::from(start) * FOUR, first + i64::from(end) * FOUR - 1))
}

/// What stands for a tenant where lanes have their own numbers.
pub(super) const fn of_tenant(tenant: i64) -> i64 {
    -tenant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_fours_are_taken_from_the_highest_on() {
        for (seqs, wanted) in [
            (vec![], vec![]),
            (vec![512], vec![(512, 515)]),
            (vec![767], vec![(764, 767)]),
            (vec![513, 515, 518, 600], vec![(600, 603), (512, 519)]),
            (vec![512, 767], vec![(764, 767), (512, 515)]),
            ((512..768).collect(), vec![(512, 767)]),
        ] {
            let mut fours = seqs.iter().fold(0, |fours, seq| fours | bit(*seq)).cast_unsigned();
            let mut runs = Vec::new();
            while let Some(run) = take_run(2, &mut fours) {
                runs.push(run);
            }
            assert_eq!(runs, wanted, "{seqs:?}");
        }
        assert_eq!(take_run(0, &mut ALL.cast_unsigned()), Some((0, BLOCK - 1)));
    }
}
