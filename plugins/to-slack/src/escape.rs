//! Text as Slack takes it: its control characters escaped, its length within a limit.

/// What shows that a text was cut.
const ELLIPSIS: char = '…';

/// Escapes `&`, `<` and `>`, which Slack reads as the marks of links and mentions, and cuts the result to `limit`.
///
/// The length is counted after escaping and in UTF-16 units, the larger of the ways in which Slack could count
/// characters; an escape is never cut in two.
pub(crate) fn escape_within(text: &str, limit: usize) -> String {
    let mut escaped = String::new();
    let mut length = 0;
    // Where to cut, should the rest turn out not to fit: the last place that leaves room for the ellipsis.
    let mut cut = 0;
    for character in text.chars() {
        if length + ELLIPSIS.len_utf16() <= limit {
            cut = escaped.len();
        }
        match character {
            '&' => push(&mut escaped, &mut length, "&amp;"),
            '<' => push(&mut escaped, &mut length, "&lt;"),
            '>' => push(&mut escaped, &mut length, "&gt;"),
            other => push(&mut escaped, &mut length, other.encode_utf8(&mut [0; 4])),
        }
        if length > limit {
            escaped.truncate(cut);
            if limit >= ELLIPSIS.len_utf16() {
                escaped.push(ELLIPSIS);
            }
            break;
        }
    }
    escaped
}

fn push(escaped: &mut String, length: &mut usize, piece: &str) {
    escaped.push_str(piece);
    *length += length_of(piece);
}

/// A text's length as the limits count it.
pub(crate) fn length_of(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_cuts() {
        for (text, limit, expected) in [
            ("", 5, ""),
            ("abcde", 5, "abcde"),
            ("abcdef", 5, "abcd…"),
            ("a<b", 6, "a&lt;b"),
            ("a<b", 5, "a…"),
            ("<!channel> & co", 100, "&lt;!channel&gt; &amp; co"),
            ("&amp;", 100, "&amp;amp;"),
            ("&&", 9, "&amp;…"),
            ("&&", 10, "&amp;&amp;"),
            ("\u{1f980}\u{1f980}", 4, "\u{1f980}\u{1f980}"),
            ("\u{1f980}\u{1f980}", 3, "\u{1f980}…"),
            ("\u{1f980}\u{1f980}", 2, "…"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
        ] {
            let escaped = escape_within(text, limit);
            assert_eq!(escaped, expected, "{text} within {limit}");
            assert!(length_of(&escaped) <= limit);
        }
    }
}
