"""order-digest: keeps orders of at least a minimum, and sends a short digest of each.

The interpreter has no clock, files, network or environment: `log` and `config` are all that a plugin may ask for.
"""

import json
from typing import Any, NoReturn

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.filter import Verdict, Verdict_Drop, Verdict_Keep
from wit_world.exports.transformer import Outgoing
from wit_world.imports import host
from wit_world.imports.host import Level
from wit_world.imports.types import Event, Failure_Invalid

# What a JSON number can hold exactly in every language.
SAFE = 2**53 - 1


class Filter(exports.Filter):
    def filter(self, event: Event) -> Verdict:
        minimum = integer(json.loads(host.config()).get("minimum"))
        if minimum is None:
            invalid("config key `minimum` is not an integer")
        given = order(event)
        if "total" not in given:
            return Verdict_Drop("`total` is absent")
        total = integer(given["total"])
        if total is None:
            return Verdict_Drop("`total` is not an integer")
        if total < minimum:
            return Verdict_Drop(f"`total` is {total}, below the minimum of {minimum}")
        return Verdict_Keep()


class Transformer(exports.Transformer):
    def transform(self, event: Event) -> Outgoing:
        given = order(event)
        id, customer, items = given.get("id"), given.get("customer"), given.get("items")
        if not isinstance(id, str):
            invalid("`id` is not a text")
        if not (customer is None or isinstance(customer, str)):
            invalid("`customer` is not a text")
        if not (isinstance(items, list) and all(is_item(item) for item in items)):
            invalid("`items` is not a list of objects with `sku`, `quantity` and `price`")
        amounts = [integer(item["quantity"]) * integer(item["price"]) for item in items]
        subtotal = 0
        for amount in amounts:
            subtotal += amount
            if abs(amount) > SAFE or abs(subtotal) > SAFE:
                invalid("the amounts are too large")
        host.log(Level.INFO, f"order {id}: {len(items)} items")
        digest = {
            "count": len(items),
            "customer": customer,
            "id": id,
            "items": [{"quantity": integer(item["quantity"]), "sku": item["sku"]} for item in items],
            "subtotal": subtotal,
        }
        # Keys in the order of the alphabet and no blanks, so that the bytes are the same in every language.
        text = json.dumps(digest, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return Outgoing("application/json", [("x-item-count", str(len(items)))], text.encode())


def order(event: Event) -> dict[str, Any]:
    try:
        given = json.loads(event.data.decode(), parse_constant=not_json)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        invalid("the event's data is not a JSON object")
    return given


def not_json(name: str) -> NoReturn:
    """Python reads NaN and Infinity, which JSON has not."""
    raise ValueError(name)


def is_item(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("sku"), str)
        and integer(item.get("quantity")) is not None
        and integer(item.get("price")) is not None
    )


def integer(value: Any) -> int | None:
    """The value, if it is a whole number that JSON holds exactly; 1.0 and 1e3 are whole too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > SAFE:
        return None
    return value


def invalid(message: str) -> NoReturn:
    raise Err(Failure_Invalid(message))
