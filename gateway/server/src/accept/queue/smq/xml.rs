//! The XML of the protocol: elements with text, and nothing else of XML.

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesStart, Event};

use super::error::Fault;

/// Elements in each other; the protocol needs five.
const DEEPEST: usize = 8;
/// Elements of one request: sixteen messages with their properties are far fewer.
const MOST: usize = 4000;
/// The namespace of every root.
const NAMESPACE: &str = "http://mns.aliyuncs.com/doc/v1/";

/// An element: its name without a prefix, its own text, and what stands in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the child of this name.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }
}

/// Reads a document. Attributes are passed over, since the protocol has none that matters.
pub(super) fn parse(document: &[u8]) -> Result<Element, Fault> {
    let text = std::str::from_utf8(document).map_err(|_| malformed("it is not UTF-8"))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut count = 0;
    loop {
        let event = reader.read_event().map_err(|error| malformed(&error.to_string()))?;
        match event {
            Event::Start(start) => {
                count += 1;
                if open.len() == DEEPEST || count > MOST || (open.is_empty() && root.is_some()) {
                    return Err(malformed("it has more elements than any request needs"));
                }
                open.push(element(&start));
            }
            Event::Empty(start) => {
                count += 1;
                if count > MOST {
                    return Err(malformed("it has more elements than any request needs"));
                }
                close(element(&start), &mut open, &mut root)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or_else(|| malformed("an element ends that was not open"))?;
                close(element, &mut open, &mut root)?;
            }
            Event::Text(found) => add(&mut open, &found.xml10_content())?,
            Event::CData(found) => add(&mut open, &found.xml10_content())?,
            Event::GeneralRef(found) => {
                // Only what XML itself defines: a document's own entities would need a DTD, which is refused.
                let character = found.resolve_char_ref().map_err(|error| malformed(&error.to_string()))?;
                match (character, resolve_predefined_entity(&found)) {
                    (Some(character), _) => add(&mut open, character.encode_utf8(&mut [0; 4]))?,
                    (None, Some(text)) => add(&mut open, text)?,
                    (None, None) => return Err(malformed("it uses an entity that XML does not define")),
                }
            }
            Event::DocType(_) => return Err(malformed("it has a document type")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(malformed("it is not one whole element")),
    }
}

fn malformed(why: &str) -> Fault {
    Fault::malformed_xml(format!("the body can't be read as XML: {why}"))
}

fn element(start: &BytesStart<'_>) -> Element {
    Element { name: start.local_name().as_ref().to_owned(), ..Element::default() }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), Fault> {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None if root.is_none() => *root = Some(element),
        None => return Err(malformed("it has two roots")),
    }
    Ok(())
}

fn add(open: &mut [Element], text: &str) -> Result<(), Fault> {
    if !text.chars().all(is_allowed) {
        return Err(malformed("it holds a character that XML does not allow"));
    }
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(malformed("there is text outside of its element")),
    }
    Ok(())
}

/// Whether XML 1.0 allows it.
const fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
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
            text.chars().map(|character| if is_allowed(character) { character } else { '?' }).collect();
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
    fn a_document_is_read_with_its_text() {
        let root = parse(
            b"\xef\xbb\xbf<?xml version=\"1.0\"?><!-- c --><m:Message xmlns:m=\"x\" a='1'>\n <MessageBody>a&lt;&#x62;<![CDATA[<&]]>\n</MessageBody><Priority/></m:Message>\n",
        )
        .unwrap();
        assert_eq!(root.name, "Message");
        assert_eq!(root.text_of("MessageBody"), Some("a<b<&\n"));
        assert_eq!(root.text_of("Priority"), Some(""));
        assert_eq!(root.child("Other"), None);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(9), "</a>".repeat(9));
        let many = format!("<a>{}</a>", "<b/>".repeat(4001));
        for bad in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<a></a>x",
            "<a>&bomb;</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a>&#1;</a>",
            "<a>&#xD800;</a>",
            "<a>\u{1}</a>",
            &deep,
            &many,
        ] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().code, "MalformedXML", "{bad}");
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
        assert_eq!(root.text_of("MessageBody"), Some("a<b>&\"'?é"));
        assert_eq!(root.child("Inner").unwrap().text_of("Number"), Some("7"));
    }
}
