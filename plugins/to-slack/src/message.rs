//! The message as Slack's incoming webhooks take it, with the limits of its parts.

use serde::Serialize;

use crate::escape::{escape_within, length_of};

// The limits of Slack's Block Kit reference and of `chat.postMessage`.
const TEXT: usize = 40_000;
const HEADER: usize = 150;
const SECTION: usize = 3_000;
const FIELD: usize = 2_000;
const FIELDS_PER_SECTION: usize = 10;
const BLOCKS: usize = 50;

/// How many fields one message can show: all blocks but the header and the line under the message.
pub(crate) const FIELDS_PER_MESSAGE: usize = (BLOCKS - 2) * FIELDS_PER_SECTION;

/// A field's name is the tenant's own and short; this keeps room for the value all the same.
const FIELD_NAME: usize = 200;

/// What stands between the title and the line under the message.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    /// Names and values.
    Fields(Vec<(&'a str, String)>),
    /// The event's data as it is.
    Data(String),
}

/// The whole message. The order of the fields is the order in the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Message {
    /// What notifications and screen readers use, since they don't show blocks.
    text: String,
    blocks: Vec<Block>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Header {
        text: Text,
    },
    Section {
        text: Text,
    },
    #[serde(rename = "section")]
    FieldSection {
        fields: Vec<Text>,
    },
    Context {
        elements: [Text; 1],
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Text {
    PlainText {
        text: String,
    },
    /// `verbatim` keeps Slack from making links and mentions out of what an event says.
    Mrkdwn {
        text: String,
        verbatim: bool,
    },
}

impl Text {
    fn mrkdwn(text: String) -> Self {
        Self::Mrkdwn { text, verbatim: true }
    }
}

impl Message {
    pub(crate) fn new(title: &str, body: &Body<'_>, origin: &str) -> Self {
        let mut blocks = vec![Block::Header { text: Text::PlainText { text: escape_within(title, HEADER) } }];
        let mut text = title.to_owned();
        match body {
            Body::Fields(fields) => {
                for (name, value) in fields {
                    text.push_str(&format!("\n{name}: {value}"));
                }
                for chunk in fields.chunks(FIELDS_PER_SECTION) {
                    let fields = chunk.iter().map(|(name, value)| field(name, value)).collect();
                    blocks.push(Block::FieldSection { fields });
                }
            }
            Body::Data(data) if data.is_empty() => {}
            Body::Data(data) => {
                text.push_str(&format!("\n{data}"));
                blocks.push(Block::Section { text: Text::mrkdwn(preformatted(data)) });
            }
        }
        blocks.push(Block::Context { elements: [Text::mrkdwn(escape_within(origin, SECTION))] });
        Self { text: escape_within(&text, TEXT), blocks }
    }
}

fn field(name: &str, value: &str) -> Text {
    let name = escape_within(name, FIELD_NAME);
    let around = length_of(&name) + length_of("**\n");
    Text::mrkdwn(format!("*{name}*\n{}", escape_within(value, FIELD - around)))
}

/// A code block that its content can't close: a zero-width space parts each backtick from the next one.
fn preformatted(data: &str) -> String {
    let mut parted = String::new();
    for character in data.chars() {
        if character == '`' && parted.ends_with('`') {
            parted.push('\u{200b}');
        }
        parted.push(character);
    }
    if parted.ends_with('`') {
        parted.push('\u{200b}');
    }
    let content = escape_within(&parted, SECTION - length_of("``````"));
    format!("```{content}```")
}
