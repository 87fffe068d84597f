//! The XML of the protocol: what is read comes from the module that sends it, what is answered is written here.

use hookweir_delivery::smq::{Element, NAMESPACE};
use hookweir_delivery::text::is_xml;
use quick_xml::escape::escape;

use super::error::Fault;

/// Tags of one request: sixteen messages with all their properties have fewer. Each takes memory of its own.
const MOST_TAGS: usize = 20_000;

/// Reads a body.
pub(super) fn parse(body: &[u8]) -> Result<Element, Fault> {
    if body.iter().filter(|byte| **byte == b'<').count() > MOST_TAGS {
        return Err(Fault::malformed_xml("the body has more elements than any request needs"));
    }
    Element::parse(body).map_err(|error| Fault::malformed_xml(error.to_string()))
}

/// Whether a text can be written as it is.
pub(super) fn is_writable(text: &str) -> bool {
    text.chars().all(is_xml)
}

/// Writes a document.
#[derive(Debug)]
pub(super) struct Writer(String);

impl Writer {
    /// A document with this root, which `content` fills.
    pub(super) fn document(root: &str, content: impl FnOnce(&mut Self)) -> String {
        let mut writer =
            Self(format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<{root} xmlns=\"{NAMESPACE}\">"));
        content(&mut writer);
        writer.0.push_str(&format!("</{root}>"));
        writer.0
    }

    pub(super) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.0.push_str(&format!("<{name}>"));
        content(self);
        self.0.push_str(&format!("</{name}>"));
    }

    /// An element that holds text. What XML does not allow becomes a question mark: a reader would refuse all else.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        let text: String =
            text.chars().map(|character| if is_xml(character) { character } else { '?' }).collect();
        self.0.push_str(&format!("<{name}>{}</{name}>", escape(text.as_str())));
    }

    pub(super) fn number(&mut self, name: &str, number: impl Into<i128>) {
        self.text(name, &number.into().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_document_is_refused() {
        let many = format!("<a>{}</a>", "<b/>".repeat(MOST_TAGS));
        for bad in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a>&bomb;</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            &many,
        ] {
            assert_eq!(
                parse(bad.as_bytes()).unwrap_err().code,
                "MalformedXML",
                "{}",
                &bad[..bad.len().min(80)]
            );
        }
        assert!(parse(b"<a>\xff</a>").is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = Writer::document("Message", |message| {
            message.text("MessageBody", "a<b>&\"'\u{1}é");
            message.element("Inner", |inner| inner.number("Number", 7_u64));
        });
        let root = parse(text.as_bytes()).unwrap();
        assert_eq!(root.get("MessageBody"), Some("a<b>&\"'?é"));
        assert_eq!(root.all("Inner").next().unwrap().get("Number"), Some("7"));
        assert!(is_writable("a\tb\u{1f980}") && !is_writable("\u{1}") && !is_writable("\u{ffff}"));
    }
}
