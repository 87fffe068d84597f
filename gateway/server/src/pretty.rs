//! JSON for people: its own text with a line for each member and item.

use serde_json::value::RawValue;

/// What nests deeper is not set further in.
pub(crate) const DEEPEST: usize = 32;

#[derive(Debug)]
pub(crate) struct Pretty {
    pub text: String,
    /// How deep it nests.
    pub depth: usize,
}

/// JSON text with line breaks and indentation; `None` where it isn't JSON. It works on the text, so that numbers, the order
/// of keys and duplicate keys are shown as they were sent.
pub(crate) fn json(json: &str) -> Option<Pretty> {
    let json = serde_json::from_str::<&RawValue>(json).ok()?.get();
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut in_string = false;
    let mut after_backslash = false;
    let mut chars = json.chars().filter(|c| !matches!(c, '\n' | '\r' | '\t')).peekable();
    while let Some(c) = chars.next() {
        if in_string {
            text.push(c);
            in_string = after_backslash || c != '"';
            after_backslash = !after_backslash && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                text.push(c);
            }
            '{' | '[' => {
                while chars.next_if_eq(&' ').is_some() {}
                text.push(c);
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(close);
                } else {
                    depth += 1;
                    deepest = deepest.max(depth);
                    new_line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            ' ' => {}
            c => text.push(c),
        }
    }
    Some(Pretty { text, depth: deepest })
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth.min(DEEPEST)));
}
