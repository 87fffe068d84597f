//! The bodies of SMQ: messages to send, and what is answered.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;
use thiserror::Error;

/// The namespace that all of its bodies are in.
pub const NAMESPACE: &str = "http://mns.aliyuncs.com/doc/v1/";

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>";

/// An answer has a handful of levels, whatever it is about.
const DEEPEST: usize = 16;

/// One message, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Text that XML can hold.
    pub body: String,
    /// Seconds until it may be received; absent: what the queue says.
    pub delay: Option<u32>,
    /// 1 (first) to 16; absent: 8.
    pub priority: Option<u8>,
    /// Properties of type STRING.
    pub properties: Vec<(String, String)>,
}

impl Message {
    /// What the message takes of a request: its inner XML.
    pub fn xml(&self) -> String {
        let mut xml = format!("<MessageBody>{}</MessageBody>", escape(&self.body));
        if let Some(delay) = self.delay {
            let _ = write!(xml, "<DelaySeconds>{delay}</DelaySeconds>");
        }
        if let Some(priority) = self.priority {
            let _ = write!(xml, "<Priority>{priority}</Priority>");
        }
        if !self.properties.is_empty() {
            xml.push_str("<UserProperties>");
            for (name, value) in &self.properties {
                let (name, value) = (escape(name), escape(value));
                let _ = write!(
                    xml,
                    "<PropertyValue><Name>{name}</Name><Value>{value}</Value><Type>STRING</Type></PropertyValue>"
                );
            }
            xml.push_str("</UserProperties>");
        }
        xml
    }
}

/// The body of SendMessage, from a message's inner XML.
pub fn send_message(message: &str) -> String {
    format!("{HEAD}<Message xmlns=\"{NAMESPACE}\">{message}</Message>")
}

/// The body of BatchSendMessage.
pub fn batch_send_message<'a>(messages: impl Iterator<Item = &'a str>) -> String {
    let mut xml = format!("{HEAD}<Messages xmlns=\"{NAMESPACE}\">");
    for message in messages {
        let _ = write!(xml, "<Message>{message}</Message>");
    }
    xml.push_str("</Messages>");
    xml
}

/// A body is not one of SMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the body is not XML of this protocol")]
pub struct Malformed;

/// An element with its text and what is in it. Names are without their namespace, attributes are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a whole body. It expands no entity but XML's own five and characters by their number.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(body).map_err(|_| Malformed)?;
        let mut reader = Reader::from_str(text);
        // The elements that are open; the first one holds the root.
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().map_err(|_| Malformed)? {
                Event::Start(start) => {
                    if open.len() > DEEPEST {
                        return Err(Malformed);
                    }
                    open.push(Self::named(start.local_name().as_ref()));
                }
                Event::Empty(empty) => {
                    let element = Self::named(empty.local_name().as_ref());
                    open.last_mut().ok_or(Malformed)?.children.push(element);
                }
                Event::End(_) => {
                    let closed = open.pop().ok_or(Malformed)?;
                    open.last_mut().ok_or(Malformed)?.children.push(closed);
                }
                Event::Text(text) => {
                    open.last_mut().ok_or(Malformed)?.text.push_str(&text.xml10_content());
                }
                Event::CData(data) => {
                    open.last_mut().ok_or(Malformed)?.text.push_str(&data.xml10_content());
                }
                Event::GeneralRef(reference) => {
                    let text = if let Some(character) = reference.resolve_char_ref().map_err(|_| Malformed)? {
                        character.to_string()
                    } else {
                        quick_xml::escape::resolve_predefined_entity(&reference).ok_or(Malformed)?.to_owned()
                    };
                    open.last_mut().ok_or(Malformed)?.text.push_str(&text);
                }
                // Whatever it declares, nothing of this protocol needs it.
                Event::DocType(_) => return Err(Malformed),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof => break,
            }
        }
        match open.as_mut_slice() {
            [outside] if outside.children.len() == 1 => outside.children.pop().ok_or(Malformed),
            _ => Err(Malformed),
        }
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The text of the first child of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }

    /// The children of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the official SDK for Python 1.3.0 sends, byte for byte.
    #[test]
    fn bodies_are_those_of_the_official_sdk() {
        let event = "eyJFdmVudFR5cGUiOiJGaWxlVXBsb2FkQ29tcGxldGUifQ==";
        let plain = Message { body: event.to_owned(), delay: None, priority: None, properties: Vec::new() };
        let body = send_message(&plain.xml());
        assert_eq!(
            body,
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><Message xmlns=\"http://mns.aliyuncs.com/doc/v1/\">\
                 <MessageBody>{event}</MessageBody></Message>"
            )
        );
        assert_eq!(body.len(), 172);
        let urgent = Message { delay: Some(5), priority: Some(1), ..plain.clone() };
        assert_eq!(send_message(&urgent.xml()).len(), 224);
        let batch = ["YQ==", "Yg=="].map(|body| Message { body: body.to_owned(), ..plain.clone() }.xml());
        assert_eq!(batch_send_message(batch.iter().map(String::as_str)).len(), 199);
    }

    #[test]
    fn what_is_written_reads_back() {
        let message = Message {
            body: "a < b & \"c\" ]]> ü".to_owned(),
            delay: Some(1),
            priority: None,
            properties: vec![("webhook-id".to_owned(), "evt_1".to_owned())],
        };
        let read = Element::parse(send_message(&message.xml()).as_bytes()).unwrap();
        assert_eq!(read.name, "Message");
        assert_eq!(read.get("MessageBody"), Some(message.body.as_str()));
        assert_eq!(read.get("DelaySeconds"), Some("1"));
        let properties = read.all("UserProperties").next().unwrap();
        let property = properties.all("PropertyValue").next().unwrap();
        assert_eq!((property.get("Name"), property.get("Value")), (Some("webhook-id"), Some("evt_1")));
    }

    #[test]
    fn answers_are_read_in_all_their_spellings() {
        let read = Element::parse(
            b"<?xml version='1.0'?>\n<!-- c --><m:Error xmlns:m='http://mns.aliyuncs.com/doc/v1/'>\n \
              <m:Code>QueueNotExist</m:Code><Message>a&#32;&lt;b&gt;<![CDATA[ <c>]]></Message><Empty/></m:Error>\n",
        )
        .unwrap();
        assert_eq!((read.name.as_str(), read.get("Code")), ("Error", Some("QueueNotExist")));
        assert_eq!((read.get("Message"), read.get("Empty")), (Some("a <b> <c>"), Some("")));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = "<a>".repeat(100) + &"</a>".repeat(100);
        for body in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<a>&x;</a>",
            "<a>&#xFFFFFFF;</a>",
            &deep,
        ] {
            assert_eq!(Element::parse(body.as_bytes()), Err(Malformed), "{body}");
        }
        assert_eq!(Element::parse(b"<a>\xff</a>"), Err(Malformed));
    }
}
