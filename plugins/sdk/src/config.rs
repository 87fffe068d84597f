//! The plugin's `config` table, as a type of the plugin's own.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::{Failure, host};

/// The plugin's `config` table from the gateway's configuration.
///
/// Give `T` the attribute `#[serde(deny_unknown_fields)]`, so that a misspelt key is reported, and
/// `#[serde(default)]` on what may be left out.
///
/// # Errors
/// A table that is no `T` is [`Failure::Invalid`], with a text that names the key.
pub fn config<T: DeserializeOwned>() -> Result<T, Failure> {
    parse(&host::config())
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    // Read as bytes, as event data is: two readers of JSON would make the component a tenth larger.
    let mut reader = serde_json::Deserializer::from_slice(text.as_bytes());
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let key = error.path().to_string();
        let error = error.into_inner();
        if error.classify() != Category::Data {
            return Failure::invalid(format!("config is not JSON: {error}"));
        }
        let text = without_position(&error);
        Failure::invalid(if key == "." {
            format!("config: {text}")
        } else {
            format!("config key `{key}`: {text}")
        })
    })
}

/// The error's text without its line and column, which would mean nothing to whoever wrote the table as TOML.
fn without_position(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    if text.ends_with(&position) {
        text.truncate(text.len() - position.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        minimum: u32,
        #[serde(default)]
        names: Vec<String>,
    }

    #[test]
    fn a_good_table_is_the_type() {
        let limits = parse(r#"{"minimum": 5}"#);
        assert_eq!(limits, Ok(Limits { minimum: 5, names: vec![] }));
    }

    #[test]
    fn a_bad_table_is_invalid_and_names_the_key() {
        for (text, expected) in [
            ("{}", "config: missing field `minimum`"),
            (r#"{"minimum": "5"}"#, r#"config key `minimum`: invalid type: string "5", expected u32"#),
            (
                r#"{"minimum": 5, "names": ["a", 1]}"#,
                "config key `names[1]`: invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"minimum": 5, "nmaes": []}"#,
                "config key `nmaes`: unknown field `nmaes`, expected `minimum` or `names`",
            ),
            ("nothing", "config is not JSON: expected ident at line 1 column 2"),
        ] {
            assert_eq!(parse::<Limits>(text), Err(Failure::invalid(expected)), "{text}");
        }
    }
}
