//! What must not vanish by accident: tenants whose files are not found any more.

use super::checked::Include;

/// The patterns that match nothing where they matched before: their tenants would be gone, by a disk that is not mounted
/// or a folder that was renamed more likely than by intent. A folder with nothing in it at all is taken as meant.
pub(crate) fn vanished<'a>(
    before: &'a [Include],
    now: &'a [Include],
) -> impl Iterator<Item = anyhow::Error> + 'a {
    now.iter().filter(|include| include.matched == 0 && !include.is_empty).filter_map(|include| {
        let before = before.iter().find(|before| before.pattern == include.pattern)?;
        let count = Some(before.matched).filter(|matched| *matched > 0)?;
        Some(anyhow::anyhow!(
            "the pattern {:?} of `include` matches no file, and matched {count} before: put the files back, remove the \
             pattern, or leave its folder empty",
            include.pattern,
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn include(pattern: &str, matched: usize, is_empty: bool) -> Include {
        Include { pattern: pattern.to_owned(), matched, is_empty }
    }

    #[test]
    fn a_pattern_that_matched_must_match_or_be_left_out() {
        for (before, now, is_refused) in [
            (vec![include("a/*", 3, false)], vec![include("a/*", 0, false)], true),
            (vec![include("a/*", 3, false)], vec![include("a/*", 0, true)], false),
            (vec![include("a/*", 3, false)], vec![include("a/*", 1, false)], false),
            (vec![include("a/*", 3, false)], vec![], false),
            (vec![include("a/*", 0, false)], vec![include("a/*", 0, false)], false),
            (vec![include("a/*", 3, false)], vec![include("b/*", 0, false)], false),
        ] {
            assert_eq!(vanished(&before, &now).count() > 0, is_refused, "{before:?} {now:?}");
        }
    }
}
