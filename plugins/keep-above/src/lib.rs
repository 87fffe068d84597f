//! A filter that keeps the events whose number in a field reaches a minimum.
//!
//! Its `config` table is `{ field = "order.total", minimum = 100 }`. An event whose field is absent or is no number is
//! dropped with a reason that says so; one whose data is not JSON fails. It never rounds: numbers are compared by their
//! digits, as the sender wrote them.

mod decimal;

use decimal::Decimal;
use hookweir_plugin::{Event, Failure, Filter, Verdict, config, field};
use serde::Deserialize;
use serde_json::{Number, Value};

/// What the tenant configures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    field: String,
    minimum: Number,
}

/// The filter.
#[derive(Debug)]
pub struct KeepAbove;

impl Filter for KeepAbove {
    fn filter(event: &Event) -> Result<Verdict, Failure> {
        let config: Config = config()?;
        if config.field.is_empty() {
            return Err(Failure::invalid(
                "config key `field` is empty; it names a field, such as `order.total`",
            ));
        }
        Ok(judge(&config, &event.json_part(&[&config.field])?))
    }
}

hookweir_plugin::export!(filter: KeepAbove);

fn judge(Config { field: name, minimum }: &Config, data: &Value) -> Verdict {
    let value = match field(data, name) {
        None => return Verdict::drop(format!("`{name}` is absent")),
        Some(Value::Number(value)) => value.as_str(),
        Some(other) => return Verdict::drop(format!("`{name}` is {}, not a number", kind(other))),
    };
    let minimum = minimum.as_str();
    Verdict::keep_if(Decimal::of(value) >= Decimal::of(minimum), || {
        format!("`{name}` is {}, below the minimum of {}", shown(value), shown(minimum))
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A number for the reason: a sender may write one of a million digits, which nobody wants to read.
fn shown(number: &str) -> String {
    const READABLE: usize = 40;
    match number.get(..READABLE) {
        Some(start) if number.len() > READABLE => format!("{start}... ({} characters)", number.len()),
        _ => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hookweir_plugin::testing;
    use serde_json::json;

    use super::*;

    #[test]
    fn expected_results() {
        testing::check_filter::<KeepAbove>(env!("CARGO_MANIFEST_DIR"), &json!({}));
    }

    #[test]
    fn a_long_number_is_cut_in_the_reason() {
        assert_eq!(shown(&"1".repeat(40)), "1".repeat(40));
        assert_eq!(shown(&"1".repeat(41)), format!("{}... (41 characters)", "1".repeat(40)));
    }
}
