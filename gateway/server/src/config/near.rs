//! "Did you mean ...?": which of the known words is near a mistyped one.

/// The known word that `typed` most likely stands for, if one is near enough to be worth a guess.
pub(super) fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let typed = plain(typed);
    known
        .iter()
        .map(|word| (strsim::osa_distance(&typed, &plain(word)), *word))
        // One slip for every three letters: beyond that a guess misleads more often than it helps.
        .filter(|(distance, word)| {
            *distance <= (word.len().max(typed.len()) / 3).max(1) && *distance < word.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Writes words as a list for a sentence: `a`, `b` or `c`.
pub(super) fn list_of(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_near() {
        let known = ["url", "event_types", "filters", "transformers", "secret", "retry", "rate", "kind"];
        for (typed, expected) in [
            ("ulr", Some("url")),
            ("uri", Some("url")),
            ("URL", Some("url")),
            ("event-types", Some("event_types")),
            ("event_type", Some("event_types")),
            ("filter", Some("filters")),
            ("secrets", Some("secret")),
            ("retrys", Some("retry")),
            // Too far: the list of all keys helps more.
            ("retries", None),
            ("timeout", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), expected, "{typed}");
        }
        assert_eq!(nearest("anything", &[]), None);
    }

    #[test]
    fn lists_read_like_prose() {
        assert_eq!(list_of(&[], "or"), "");
        assert_eq!(list_of(&["a"], "or"), "a");
        assert_eq!(list_of(&["a", "b"], "or"), "a or b");
        assert_eq!(list_of(&["a", "b", "c"], "and"), "a, b and c");
    }
}
