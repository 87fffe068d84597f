//! order-digest: keeps orders of at least a minimum, and sends a short digest of each.

use hookweir_plugin::{Event, Failure, Filter, Outgoing, Transformer, Verdict, config, info};
use serde::Serialize;
use serde_json::{Map, Value};

/// What a JSON number holds exactly in every language.
const SAFE: i64 = (1 << 53) - 1;

struct OrderDigest;

impl Filter for OrderDigest {
    fn filter(event: &Event) -> Result<Verdict, Failure> {
        let config: Value = config()?;
        let minimum = config.get("minimum").and_then(integer);
        let minimum = minimum.ok_or_else(|| Failure::invalid("config key `minimum` is not an integer"))?;
        let order = order(event, &["total"])?;
        let Some(total) = order.get("total") else { return Ok(Verdict::drop("`total` is absent")) };
        let Some(total) = integer(total) else { return Ok(Verdict::drop("`total` is not an integer")) };
        Ok(Verdict::keep_if(total >= minimum, || {
            format!("`total` is {total}, below the minimum of {minimum}")
        }))
    }
}

/// Keys in the order of the alphabet, so that the bytes are the same in every language.
#[derive(Serialize)]
struct Digest<'a> {
    count: usize,
    customer: Option<&'a str>,
    id: &'a str,
    items: Vec<Item<'a>>,
    subtotal: i64,
}

#[derive(Serialize)]
struct Item<'a> {
    quantity: i64,
    sku: &'a str,
    #[serde(skip)]
    price: i64,
}

impl Transformer for OrderDigest {
    fn transform(event: &Event) -> Result<Outgoing, Failure> {
        let order = order(event, &["id", "customer", "items"])?;
        let id = order.get("id").and_then(Value::as_str);
        let id = id.ok_or_else(|| Failure::invalid("`id` is not a text"))?;
        let customer = match order.get("customer") {
            None | Some(Value::Null) => None,
            Some(Value::String(customer)) => Some(customer.as_str()),
            Some(_) => return Err(Failure::invalid("`customer` is not a text")),
        };
        let items = order.get("items").and_then(Value::as_array);
        let items: Option<Vec<Item<'_>>> = items.and_then(|items| items.iter().map(item).collect());
        let items = items.ok_or_else(|| {
            Failure::invalid("`items` is not a list of objects with `sku`, `quantity` and `price`")
        })?;
        let subtotal = add_up(&items).ok_or_else(|| Failure::invalid("the amounts are too large"))?;
        info!("order {id}: {} items", items.len());
        let count = items.len();
        let digest = Outgoing::json(&Digest { count, customer, id, items, subtotal })?;
        Ok(digest.with_header("x-item-count", count.to_string()))
    }
}

hookweir_plugin::export!(filter: OrderDigest, transformer: OrderDigest);

/// These fields of the order: reading the others as well would cost time.
fn order(event: &Event, fields: &[&str]) -> Result<Map<String, Value>, Failure> {
    match event.json_part(fields) {
        Ok(Value::Object(order)) => Ok(order),
        _ => Err(Failure::invalid("the event's data is not a JSON object")),
    }
}

fn item(value: &Value) -> Option<Item<'_>> {
    Some(Item {
        quantity: integer(value.get("quantity")?)?,
        sku: value.get("sku")?.as_str()?,
        price: integer(value.get("price")?)?,
    })
}

fn add_up(items: &[Item<'_>]) -> Option<i64> {
    items.iter().try_fold(0, |sum: i64, item| {
        let amount = item.quantity.checked_mul(item.price).filter(is_safe)?;
        sum.checked_add(amount).filter(is_safe)
    })
}

/// The value, if it is a whole number that JSON holds exactly; 1.0 and 1e3 are whole too.
fn integer(value: &Value) -> Option<i64> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() <= SAFE as f64).then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(whole)).filter(is_safe)
}

fn is_safe(number: &i64) -> bool {
    number.unsigned_abs() <= SAFE.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::OrderDigest;
    use hookweir_plugin::testing;
    use serde_json::json;

    #[test]
    fn expected_results() {
        testing::check_both::<OrderDigest, OrderDigest>(
            env!("CARGO_MANIFEST_DIR"),
            &json!({"minimum": 10000}),
        );
    }
}
