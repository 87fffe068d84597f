//! An event that has a text wherever its sender may put one, and what is shown of it.

use hookweir_model::{EventId, EventType};
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Sent {
    pub text: String,
    /// Its number among all, so that guests know it again, and what may stand in an id.
    pub id: String,
    /// The text where it is a type.
    pub event_type: String,
    /// Control characters are refused in attributes.
    pub attribute: Option<String>,
}

impl Sent {
    pub(super) fn new(number: usize, text: String) -> Self {
        let visible: String =
            text.chars().filter(|sign| sign.is_ascii_graphic() && *sign != '.').take(100).collect();
        let printable: String = text.chars().filter(|sign| !sign.is_control()).collect();
        let event_type = if EventType::new(&text).is_ok() { text.clone() } else { "a.b".to_owned() };
        let whole = format!("{number}-{text}");
        Self {
            id: if EventId::new(&whole).is_ok() { whole } else { format!("{number}-{visible}") },
            event_type,
            attribute: Some(printable).filter(|printable| !printable.is_empty()),
            text,
        }
    }

    /// As value and name of members, and deeper.
    fn data(&self) -> Value {
        let text = self.text.as_str();
        json!({"text": text, text: [text, {text: 1}]})
    }

    pub(super) fn body(&self) -> String {
        let mut body = json!({"type": self.event_type, "id": self.id, "data": self.data()});
        if let Some(attribute) = &self.attribute {
            for member in ["source", "subject", "ordering_key"] {
                body[member] = attribute.as_str().into();
            }
        }
        body.to_string()
    }

    /// As the reason or log of a plugin has it, which can't move a terminal's cursor or turn the text around it.
    pub(super) fn spelt(&self) -> String {
        let is_deceptive = |sign: char| {
            sign.is_control() && sign != '\t'
                || matches!(sign, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        self.text.chars().fold(String::new(), |mut spelt, sign| {
            match is_deceptive(sign) {
                true => spelt.extend(sign.escape_default()),
                false => spelt.push(sign),
            }
            spelt
        })
    }

    /// What the row of a list of events shows of it: type, id, subject and source.
    pub(super) fn row(&self) -> Value {
        json!([self.event_type, self.id, self.attribute.as_deref().unwrap_or("–"), self.source()])
    }

    /// What its page shows of it.
    pub(super) fn page(&self) -> Value {
        let mut page = json!({"type": self.event_type, "Id": self.id, "Source": self.source(), "data": spread(&self.data())});
        if let Some(attribute) = &self.attribute {
            page["Subject"] = attribute.as_str().into();
            page["Ordering key"] = attribute.as_str().into();
        }
        page
    }

    /// What the page of its delivery shows of it, where a filter logged the text and the receiver answered it.
    pub(super) fn delivery(&self) -> Value {
        let mut page = json!({"Id": self.id, "Type": self.event_type, "Source": self.source(), "data": spread(&self.data())});
        page["log"] = format!("warn: {}", self.spelt()).into();
        if let Some(attribute) = &self.attribute {
            page["Subject"] = attribute.as_str().into();
        }
        if !self.text.is_empty() {
            page["answer"] = self.text.as_str().into();
        }
        page
    }

    fn source(&self) -> &str {
        self.attribute.as_deref().unwrap_or("/tenants/acme")
    }
}

fn spread(data: &Value) -> String {
    serde_json::to_string_pretty(data).expect("a text of JSON")
}

/// All texts in runs that fit every field.
pub(super) fn runs(texts: &[String]) -> Vec<String> {
    let mut runs = vec![String::new()];
    for text in texts {
        if runs.last().is_some_and(|run| run.len() + 1 + text.len() > RUN) {
            runs.push(String::new());
        }
        if let Some(run) = runs.last_mut() {
            run.push(' ');
            run.push_str(text);
        }
    }
    runs
}

/// A run is no longer than this, so that it fits a reason too, in which some signs are spelt out; a text that is longer is a
/// run by itself.
const RUN: usize = 700;

/// How many texts each field took as they are; it had what it permits of the others.
pub(super) struct Taken {
    /// Those that any text may be in, but for signs that can't be seen.
    pub free: [(&'static str, usize); 7],
    /// Those that follow a rule of their own.
    pub ruled: [(&'static str, usize); 2],
}

impl Taken {
    pub(super) fn count(sent: &[Sent]) -> Self {
        let count = |is_whole: &dyn Fn(&Sent) -> bool| sent.iter().filter(|one| is_whole(one)).count();
        let in_attributes = count(&|one| one.attribute.as_deref() == Some(&one.text));
        let said = count(&|one| !one.text.is_empty() && one.spelt() == one.text);
        let is_id =
            |one: &Sent| !one.text.is_empty() && one.id.split_once('-').is_some_and(|(_, id)| id == one.text);
        Self {
            free: [
                ("data", sent.len()),
                ("subjects", in_attributes),
                ("sources", in_attributes),
                ("ordering keys", in_attributes),
                ("answers", count(&|one| !one.text.is_empty())),
                ("reasons", said),
                ("logs", said),
            ],
            ruled: [("ids", count(&is_id)), ("types", count(&|one| one.event_type == one.text))],
        }
    }

    pub(super) fn ledger(&self) -> String {
        let told = self.free.iter().chain(&self.ruled).map(|(field, count)| format!("{field} {count}"));
        told.collect::<Vec<_>>().join(", ")
    }
}
