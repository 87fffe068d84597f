//! Why bytes are no JSON text, told apart from what a parser says: it would name what it expected, and not what came.

use crate::problem::Problem;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Refuses what does not begin as an object does. `wanted` says what to send, `many` what of an array is not taken.
pub(crate) fn object(body: &[u8], wanted: &str, many: &str) -> Result<(), Problem> {
    let wrong = |what: &str| Err(Problem::Malformed(format!("{wanted}; {what}")));
    if let Some(what) = foreign_beginning(body) {
        return wrong(&format!("the body {what}"));
    }
    match body.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        Some(b'[') => wrong(&format!("an array of {many} is not taken")),
        Some(_) => wrong("the body is no object"),
        None => wrong("the body is empty"),
    }
}

/// What a text begins with that no JSON text does, and what to do about it.
fn foreign_beginning(text: &[u8]) -> Option<&'static str> {
    if text.starts_with(BYTE_ORDER_MARK) {
        return Some("begins with a byte order mark (EF BB BF): it has to be UTF-8 without one");
    }
    let is_wide = text.starts_with(b"\xff\xfe")
        || text.starts_with(b"\xfe\xff")
        || text.get(..2).is_some_and(|two| two.contains(&0));
    is_wide.then_some("is UTF-16 or UTF-32, or begins with zero bytes: it has to be UTF-8")
}

/// What is wrong with the encoding of a text that should be JSON, of which `what` is the name.
pub(crate) fn encoding(text: &[u8], what: &str) -> Option<String> {
    match foreign_beginning(text) {
        Some(wrong) => Some(format!("{what} {wrong}")),
        None => not_utf8(text, what),
    }
}

fn not_utf8(text: &[u8], what: &str) -> Option<String> {
    let valid = std::str::from_utf8(text).err()?.valid_up_to();
    let before = text.get(..valid).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let byte = text.get(valid).copied().unwrap_or_default();
    Some(format!(
        "{what} is not UTF-8: line {line} has the byte {byte:02X} where no character begins with it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_named() {
        for (body, wanted) in [
            (&b"{}"[..], None),
            (b" \r\n\t{", None),
            (b"", Some("send X; the body is empty")),
            (b" \n", Some("send X; the body is empty")),
            (b"[1]", Some("send X; an array of events is not taken")),
            (b"  [", Some("send X; an array of events is not taken")),
            (b"hello", Some("send X; the body is no object")),
            (b"\xef\xbb\xbf{}", Some("byte order mark (EF BB BF)")),
            (b"\xff\xfe{\0}\0", Some("UTF-16")),
            (b"{\0}\0", Some("UTF-16")),
            (b"\0\0\0{", Some("begins with zero bytes")),
        ] {
            let found = object(body, "send X", "events").err().map(|problem| problem.detail());
            match (&found, wanted) {
                (None, None) => {}
                (Some(found), Some(wanted)) => assert!(found.contains(wanted), "{body:?}: {found}"),
                _ => panic!("{body:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_utf8_is_placed() {
        let encoding = |text: &[u8]| encoding(text, "data.json");
        assert_eq!(encoding("{\"ü\":1}".as_bytes()), None);
        let found = encoding(b"{\n\"a\":\n\"\xfcber\"}").unwrap();
        assert!(found.starts_with("data.json is not UTF-8: line 3 has the byte FC"), "{found}");
        assert!(encoding(b"\"\xc3").is_some());
        assert!(encoding(b"\xef\xbb\xbf1").unwrap().starts_with("data.json begins with a byte order mark"));
    }
}
