//! Words of commands that messages suggest.

use std::fmt;

/// A word of a command, in quotes where a shell would read it otherwise: the ids of events are their senders' choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word<'a>(pub &'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
        if !self.0.is_empty() && self.0.bytes().all(plain) {
            return f.write_str(self.0);
        }
        write!(f, "'{}'", self.0.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_reads_otherwise_is_quoted() {
        for (word, shown) in [
            ("evt_0198c1d2", "evt_0198c1d2"),
            ("", "''"),
            ("a;b", "'a;b'"),
            ("$(x)", "'$(x)'"),
            ("it's", r"'it'\''s'"),
            ("~", "'~'"),
        ] {
            assert_eq!(Word(word).to_string(), shown);
        }
    }
}
