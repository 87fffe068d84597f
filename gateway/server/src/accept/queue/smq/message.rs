//! Messages in the protocol's XML, and back.
//!
//! What an event became is handed out in base64, as the protocol's documents ask. A body that was sent in base64 is
//! kept as the bytes that it stands for, so that both faces and every kind of sender agree on what a message holds; one
//! that was sent as plain text is kept and handed out as that text.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hookweir_delivery::smq::{Element, body_md5};
use hookweir_journal::{Content, Message, NewMessage, Receipt};
use hookweir_model::{EventId, EventType, Shaped, Timestamp};

use super::error::Fault;
use super::xml::{Writer, is_writable};
use crate::pull::receipt_text;

const LONGEST_DELAY: u64 = 604_800;
/// Properties of one message, as in SMQ's limits of metadata.
const PROPERTIES: usize = 64;
/// The name of the property that carries the event's id.
const ID: &str = "webhook-id";
const TYPE: &str = "webhook-type";
const CONTENT_TYPE: &str = "content-type";
/// The type of what comes without one.
const SENT: &str = "smq.message";
/// Marks a body that was sent as plain text. No header of an event or plugin can have this name.
const PLAIN: &str = "hookweir-plain-body";

/// A message's number as its id in the protocol.
pub(super) fn message_id(number: u64) -> String {
    format!("{number:016X}")
}

/// The body as it stands in XML.
fn body_text(shaped: &Shaped) -> String {
    let is_plain = shaped.headers.iter().any(|(name, _)| name == PLAIN);
    match std::str::from_utf8(&shaped.body) {
        Ok(text) if is_plain => text.to_owned(),
        _ => BASE64.encode(&shaped.body),
    }
}

/// Writes a message; without a receipt, as one that was only looked at.
pub(super) fn write(writer: &mut Writer, message: &Message, receipt: Option<&Receipt>) {
    let content = &message.content;
    let body = body_text(&content.shaped);
    writer.text("MessageId", &message_id(message.number));
    writer.text("MessageBodyMD5", &body_md5(&body));
    writer.text("MessageBody", &body);
    if let Some(receipt) = receipt {
        writer.text("ReceiptHandle", &receipt_text(receipt));
        writer.number("NextVisibleTime", message.visible.as_millis());
    }
    writer.number("EnqueueTime", message.enqueued.as_millis());
    writer.number("FirstDequeueTime", message.first_received.unwrap_or_default().as_millis());
    writer.number("DequeueCount", message.receives);
    writer.number("Priority", 8_u32);
    writer.element("UserProperties", |properties| {
        let headers = content.shaped.headers.iter().filter(|(name, _)| name != PLAIN);
        let own = [
            (ID, content.id.as_str()),
            (TYPE, content.event_type.as_str()),
            (CONTENT_TYPE, content.shaped.content_type.as_str()),
        ];
        let all = own.into_iter().chain(headers.map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in all {
            properties.element("PropertyValue", |property| {
                property.text("Name", name);
                property.text("Value", value);
                property.text("Type", "STRING");
            });
        }
    });
}

/// A message that was sent, with the digest of its body as it was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub message: NewMessage,
    pub md5: String,
    pub is_delayed: bool,
}

/// When a message is sent: by the wall clock, and by the gateway's own time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub wall: Timestamp,
    pub own: Timestamp,
}

/// Reads a `<Message>` that is sent. Its id is that of its property `webhook-id`, or a fresh one.
pub(super) fn read(element: &Element, source: &str, now: Now) -> Result<Sent, Fault> {
    if element.name != "Message" {
        return Err(Fault::malformed_xml("send a <Message>, or <Messages> with one or more of them"));
    }
    let text = element.get("MessageBody").unwrap_or_default();
    if text.is_empty() {
        return Err(Fault::invalid("a <Message> needs a <MessageBody>"));
    }
    if !is_writable(text) {
        return Err(Fault::invalid(
            "the <MessageBody> holds a character that XML does not allow: send it in base64",
        ));
    }
    let delay = number(element, "DelaySeconds", 0..=LONGEST_DELAY)?.unwrap_or(0);
    // Taken as SMQ takes it, though messages of one queue come in the order of their times.
    number(element, "Priority", 1..=16)?;
    let mut properties = properties(element)?;
    let mut take = |wanted: &str| {
        let place = properties.iter().position(|(name, _)| name == wanted)?;
        Some(properties.remove(place).1)
    };
    let id = take(ID).and_then(|id| EventId::new(&id).ok()).unwrap_or_else(|| EventId::generate(now.wall));
    let named = take(TYPE).and_then(|name| EventType::new(&name).ok());
    let event_type = named.map_or_else(|| EventType::new(SENT), Ok);
    let content_type = take(CONTENT_TYPE).unwrap_or_else(|| "application/octet-stream".to_owned());
    // Base64 that would not be written as it was sent is taken as plain text, so that it comes back as it was.
    let decoded = BASE64.decode(text).ok().filter(|bytes| BASE64.encode(bytes) == text);
    let body = match decoded {
        Some(bytes) => Bytes::from(bytes),
        None => {
            properties.push((PLAIN.to_owned(), "1".to_owned()));
            Bytes::copy_from_slice(text.as_bytes())
        }
    };
    let content = Content {
        id,
        event_type: event_type.map_err(|error| Fault::invalid(error.to_string()))?,
        source: source.to_owned(),
        subject: None,
        time: now.wall.to_string(),
        shaped: Shaped { content_type, headers: properties, body },
    };
    let visible = now.own.after(Duration::from_secs(delay));
    let message = NewMessage { content, enqueued: now.wall, visible };
    Ok(Sent { message, md5: body_md5(text), is_delayed: delay > 0 })
}

fn number(element: &Element, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
    let Some(text) = element.get(name) else { return Ok(None) };
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    let wrong = || Fault::invalid(format!("<{name}> is a number from {} to {}", range.start(), range.end()));
    number.map(Some).ok_or_else(wrong)
}

fn properties(element: &Element) -> Result<Vec<(String, String)>, Fault> {
    let Some(list) = element.all("UserProperties").next() else { return Ok(Vec::new()) };
    if list.children.len() > PROPERTIES {
        return Err(Fault::invalid(format!("a message has at most {PROPERTIES} properties")));
    }
    let property = |property: &Element| {
        let name = property.get("Name").filter(|name| !name.is_empty() && *name != PLAIN)?;
        Some((name.to_owned(), property.get("Value").unwrap_or_default().to_owned()))
    };
    let wrong = || Fault::invalid("a property has a <Name> and a <Value>");
    list.children.iter().map(|child| property(child).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::queue::smq::xml::parse;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn sent(inner: &str) -> Result<Sent, Fault> {
        read(&parse(format!("<Message>{inner}</Message>").as_bytes())?, "/smq", Now { wall: NOW, own: NOW })
    }

    fn written(message: NewMessage) -> Element {
        let NewMessage { content, enqueued, visible } = message;
        let message = Message { number: 17, content, enqueued, visible, receives: 1, first_received: None };
        let receipt = Receipt { number: 17, token: [1; 16] };
        parse(Writer::document("Message", |writer| write(writer, &message, Some(&receipt))).as_bytes())
            .unwrap()
    }

    #[test]
    fn a_body_comes_back_as_it_was_sent() {
        for (text, bytes) in [
            ("eyJhIjoxfQ==", &b"{\"a\":1}"[..]),
            ("plain text", b"plain text"),
            ("{\"a\": 1}", b"{\"a\": 1}"),
            ("abcd", &[0x69, 0xb7, 0x1d]),
            ("abc", b"abc"),
            ("YQ=", b"YQ="),
            ("YR==", b"YR=="),
            (" eyJhIjoxfQ==", b" eyJhIjoxfQ=="),
            ("é\n", "é\n".as_bytes()),
        ] {
            let sent = sent(&format!("<MessageBody>{text}</MessageBody>")).unwrap();
            assert_eq!(sent.message.content.shaped.body, bytes, "{text}");
            let element = written(sent.message);
            assert_eq!(element.get("MessageBody"), Some(text));
            assert_eq!(element.get("MessageBodyMD5"), Some(sent.md5.as_str()));
            assert!(!format!("{element:?}").contains(PLAIN));
        }
    }

    #[test]
    fn properties_name_the_message_and_come_back() {
        let property = |name: &str, value: &str| {
            format!(
                "<PropertyValue><Name>{name}</Name><Value>{value}</Value><Type>STRING</Type></PropertyValue>"
            )
        };
        let all = property("webhook-id", "evt_7")
            + &property("webhook-type", "order.created")
            + &property("content-type", "text/plain")
            + &property("x-a", "1&amp;2");
        let sent = sent(&format!(
            "<MessageBody>YQ==</MessageBody><UserProperties>{all}</UserProperties><DelaySeconds>5</DelaySeconds><Priority>1</Priority>"
        ))
        .unwrap();
        let content = &sent.message.content;
        assert_eq!((content.id.as_str(), content.event_type.as_str()), ("evt_7", "order.created"));
        assert_eq!(content.shaped.content_type, "text/plain");
        assert_eq!(content.shaped.headers, [("x-a".to_owned(), "1&2".to_owned())]);
        assert_eq!(sent.message.visible, NOW.after(Duration::from_secs(5)));
        let element = written(sent.message);
        let names: Vec<_> = element
            .all("UserProperties")
            .next()
            .unwrap()
            .children
            .iter()
            .map(|property| property.get("Name").unwrap().to_owned())
            .collect();
        assert_eq!(names, ["webhook-id", "webhook-type", "content-type", "x-a"]);
    }

    #[test]
    fn what_can_not_be_a_message_is_refused() {
        for (inner, code) in [
            ("", "InvalidArgument"),
            ("<MessageBody/>", "InvalidArgument"),
            ("<MessageBody>a&#1;</MessageBody>", "InvalidArgument"),
            ("<MessageBody>a</MessageBody><DelaySeconds>-1</DelaySeconds>", "InvalidArgument"),
            ("<MessageBody>a</MessageBody><DelaySeconds>604801</DelaySeconds>", "InvalidArgument"),
            ("<MessageBody>a</MessageBody><Priority>17</Priority>", "InvalidArgument"),
            ("<MessageBody>a</MessageBody><UserProperties><P/></UserProperties>", "InvalidArgument"),
        ] {
            assert_eq!(sent(inner).unwrap_err().code, code, "{inner}");
        }
        let other = parse(b"<Other><MessageBody>a</MessageBody></Other>").unwrap();
        assert_eq!(read(&other, "/smq", Now { wall: NOW, own: NOW }).unwrap_err().code, "MalformedXML");
        assert!(
            sent("<MessageBody>a</MessageBody>").unwrap().message.content.id.as_str().starts_with("evt_")
        );
    }
}
