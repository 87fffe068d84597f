//! What the user wrote: TOML tables and values that know their full name and where they stand.
//!
//! Every reading function reports what is wrong and answers `None`, so that the walk goes on to the next problem.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::near;
use super::problem::{Fault, Place, Report};
use super::source::FileId;

/// A table of the configuration.
#[derive(Debug, Clone)]
pub(super) struct Table<'a> {
    /// Empty for a whole file.
    name: String,
    /// Where its name stands.
    place: Place,
    entries: &'a DeTable<'a>,
}

/// A value with the key that it stands under.
#[derive(Debug, Clone)]
pub(super) struct Value<'a> {
    name: String,
    key: Place,
    place: Place,
    raw: &'a DeValue<'a>,
}

/// A key that the user chose: a tenant's, plugin's or endpoint's id.
#[derive(Debug, Clone)]
pub(super) struct Key<'a> {
    pub text: &'a str,
    /// The full name of what stands under it.
    pub name: String,
    pub place: Place,
}

impl<'a> Table<'a> {
    /// The outermost table of a file.
    pub(super) fn whole(file: FileId, entries: &'a DeTable<'a>) -> Self {
        Self { name: String::new(), place: Place { file, span: 0..0 }, entries }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reports every key that is not one of these.
    pub(super) fn allow(&self, known: &[&str], report: &mut Report) {
        for (key, value) in self.entries {
            let text = key.get_ref().as_ref();
            if known.contains(&text) {
                continue;
            }
            let guess = near::nearest(text, known);
            let help = match guess {
                Some(guess) => format!("did you mean `{guess}`?"),
                None if self.name.is_empty() => format!("the keys here are {}", quoted_list(known, "and")),
                None => format!("the keys of `{}` are {}", self.name, quoted_list(known, "and")),
            };
            // A mistyped key may well hold what its right spelling would. (The place of a table with a header of its
            // own is that header, which holds nothing but names.)
            if guess.map_or_else(|| names_secret(text), names_secret) && value.span().start >= key.span().end
            {
                report.hide(&self.at(value.span()));
            }
            report.add(&self.full_name(text), &self.at(key.span()), Fault::new("there is no such key", help));
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        let (written, value) = self.entries.get_key_value(key)?;
        Some(self.value(written, value))
    }

    /// The value of a key that has to be there.
    pub(super) fn need(&self, key: &str, help: &str, report: &mut Report) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            let fault = Fault::new(format!("the key `{key}` is missing"), help);
            report.add(&self.name, &self.place, fault);
        }
        value
    }

    /// All entries, of a table whose keys the user chooses.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Key<'a>, Value<'a>)> {
        self.entries.iter().map(|(key, value)| {
            let name = self.full_name(key.get_ref());
            (Key { text: key.get_ref(), name, place: self.at(key.span()) }, self.value(key, value))
        })
    }

    fn value(&self, key: &'a Spanned<DeString<'a>>, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value {
            name: self.full_name(key.get_ref()),
            key: self.at(key.span()),
            place: self.at(value.span()),
            raw: value.get_ref(),
        }
    }

    fn at(&self, span: Range<usize>) -> Place {
        Place { file: self.place.file, span }
    }

    fn full_name(&self, key: &str) -> String {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let key = if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { format!("{key:?}") };
        if self.name.is_empty() { key } else { format!("{}.{key}", self.name) }
    }
}

impl<'a> Value<'a> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn raw(&self) -> &'a DeValue<'a> {
        self.raw
    }

    /// Reports that the value can't be used.
    pub(super) fn refuse(&self, fault: Fault, report: &mut Report) {
        report.add(&self.name, &self.place, fault);
    }

    /// Reports that the key itself can't stand here.
    pub(super) fn refuse_key(&self, fault: Fault, report: &mut Report) {
        report.add(&self.name, &self.key, fault);
    }

    /// Takes what a check made of the value, or reports why it refused.
    pub(super) fn take<T>(&self, checked: Result<T, Fault>, report: &mut Report) -> Option<T> {
        checked.map_err(|fault| self.refuse(fault, report)).ok()
    }

    pub(super) fn text(&self, help: &str, report: &mut Report) -> Option<&'a str> {
        match self.raw {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type("a text in quotes", help, report),
        }
    }

    /// Reads a text and takes what `parse` makes of it.
    pub(super) fn parsed<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
        help: &str,
        report: &mut Report,
    ) -> Option<T> {
        let text = self.text(help, report)?;
        self.take(parse(text), report)
    }

    /// Reads one of a few words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)], report: &mut Report) -> Option<T> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let choices: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
        let choices = format!("write {}", near::list_of(&choices, "or"));
        let text = self.text(&choices, report)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let help = match near::nearest(text, &known) {
            Some(guess) => format!("did you mean {guess:?}?"),
            None => choices,
        };
        self.refuse(Fault::new(format!("{text:?} is not one of its values"), help), report);
        None
    }

    pub(super) fn boolean(&self, report: &mut Report) -> Option<bool> {
        match self.raw {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("true or false", "write true or false, without quotes", report),
        }
    }

    /// Reads a whole number from a range.
    pub(super) fn whole_number(
        &self,
        range: std::ops::RangeInclusive<u64>,
        report: &mut Report,
    ) -> Option<u64> {
        let help = match (range.start(), range.end()) {
            (0, &u64::MAX) => "write a whole number, without quotes".to_owned(),
            (lowest, highest) => format!("write a whole number from {lowest} to {highest}"),
        };
        let DeValue::Integer(digits) = self.raw else {
            return self.wrong_type("a whole number", &help, report);
        };
        match u64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.refuse(Fault::new(format!("{digits} is out of range"), help), report);
                None
            }
        }
    }

    /// Reads a number from a range.
    pub(super) fn number(&self, range: std::ops::RangeInclusive<f64>, report: &mut Report) -> Option<f64> {
        let help = format!("write a number from {:.1} to {:.1}", range.start(), range.end());
        let number = match self.raw {
            DeValue::Float(digits) => digits.as_str().parse::<f64>().ok(),
            DeValue::Integer(digits) => {
                i32::from_str_radix(digits.as_str(), digits.radix()).ok().map(f64::from)
            }
            _ => return self.wrong_type("a number", &help, report),
        };
        if number.is_none_or(|number| !range.contains(&number)) {
            self.refuse(Fault::new("the number is out of range", help), report);
            return None;
        }
        number
    }

    pub(super) fn list(&self, help: &str, report: &mut Report) -> Option<Vec<Value<'a>>> {
        match self.raw {
            DeValue::Array(items) => Some(self.items(items)),
            _ => self.wrong_type("a list", help, report),
        }
    }

    pub(super) fn table(&self, help: &str, report: &mut Report) -> Option<Table<'a>> {
        match self.as_table() {
            Some(table) => Some(table),
            None => self.wrong_type("a table", help, report),
        }
    }

    /// The value as a table, where it may be something else.
    pub(super) fn as_table(&self) -> Option<Table<'a>> {
        match self.raw {
            DeValue::Table(entries) => {
                Some(Table { name: self.name.clone(), place: self.key.clone(), entries })
            }
            _ => None,
        }
    }

    /// The value's items, where it may be something else than a list.
    pub(super) fn as_list(&self) -> Option<Vec<Value<'a>>> {
        match self.raw {
            DeValue::Array(items) => Some(self.items(items)),
            _ => None,
        }
    }

    fn items(&self, items: &'a DeArray<'a>) -> Vec<Value<'a>> {
        let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
            let place = Place { file: self.place.file, span: item.span() };
            Value { name: format!("{}[{index}]", self.name), key: place.clone(), place, raw: item.get_ref() }
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Reports a value of another type than the one that was wanted.
    pub(super) fn wrong_type<T>(&self, wanted: &str, help: &str, report: &mut Report) -> Option<T> {
        let found = match self.raw {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(true) => "true",
            DeValue::Boolean(false) => "false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.refuse(Fault::new(format!("{wanted} is wanted here, and this is {found}"), help), report);
        None
    }
}

/// Whether a key's name says that its value may be a secret.
pub(super) fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "key", "token", "password", "auth", "cookie"].iter().any(|word| key.contains(word))
}

fn quoted_list(words: &[&str], last: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
    near::list_of(&quoted, last)
}
