//! Text that a guest made, made fit to be kept and shown: it can't move a terminal's cursor, start a line that looks
//! like the gateway's own, or be longer than its place.

/// How much of a guest's reason is kept with an attempt.
const REASON_BYTES: usize = 1 << 10;

/// Stands where text was cut.
const CUT: char = '…';

/// A reason that a guest gave, for the attempt's record.
pub(crate) fn reason(text: &str) -> String {
    let mut kept = String::new();
    if !push_escaped(&mut kept, text, REASON_BYTES) {
        mark_cut(&mut kept, REASON_BYTES);
    }
    kept
}

/// Appends `text` with its control characters escaped, as long as `out` has at most `limit` bytes. Answers whether
/// all of it had room. It reads no further than it writes, so a huge text costs no more than the limit.
pub(crate) fn push_escaped(out: &mut String, text: &str, limit: usize) -> bool {
    for letter in text.chars() {
        let before = out.len();
        match letter {
            '\t' => out.push(letter),
            letter if is_deceptive(letter) => out.extend(letter.escape_default()),
            letter => out.push(letter),
        }
        if out.len() > limit {
            out.truncate(before);
            return false;
        }
    }
    true
}

/// Ends `out` with the sign that something is missing, within `limit` bytes.
pub(crate) fn mark_cut(out: &mut String, limit: usize) {
    let room = limit.saturating_sub(CUT.len_utf8());
    if limit < CUT.len_utf8() {
        return;
    }
    let mut end = out.len().min(room);
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
    out.push(CUT);
}

/// Control characters, line separators, and the marks that turn the direction of the text around them.
fn is_deceptive(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelt_out() {
        for (text, kept) in [
            ("plain é 日本 😀", "plain é 日本 😀"),
            ("a\tb", "a\tb"),
            ("a\nb\r", "a\\nb\\r"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\0\u{7f}\u{9b}", "\\u{0}\\u{7f}\\u{9b}"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("\u{2028}", "\\u{2028}"),
            ("</script>", "</script>"),
            ("C:\\new", "C:\\new"),
        ] {
            assert_eq!(reason(text), kept, "{text:?}");
        }
    }

    #[test]
    fn cuts_at_a_letter_and_says_so() {
        for (text, limit, kept, whole) in [
            ("abc", 3, "abc", true),
            ("abcd", 3, "abc", false),
            ("aéé", 4, "aé", false),
            ("ab\u{1b}", 5, "ab", false),
            ("a", 0, "", false),
        ] {
            let mut out = String::new();
            assert_eq!(push_escaped(&mut out, text, limit), whole, "{text:?}");
            assert_eq!(out, kept, "{text:?}");
        }
        for (text, limit, kept) in [("abcdef", 6, "abc…"), ("éé", 6, "é…"), ("abc", 2, "abc"), ("", 9, "…")]
        {
            let mut out = text.to_owned();
            mark_cut(&mut out, limit);
            assert_eq!(out, kept, "{text:?}");
        }
        let long = reason(&"x".repeat(5_000));
        assert_eq!(long.len(), REASON_BYTES);
        assert!(long.ends_with("x…"));
    }
}
