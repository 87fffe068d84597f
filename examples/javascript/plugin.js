// order-digest: keeps orders of at least a minimum, and sends a short digest of each.
//
// The runtime is QuickJS without a clock, files or a network: the event, its config and a log are all that there is.
import host from "hookweir:plugin/host@0.1.0";

/** @typedef {import("./hookweir").Event} Event */

// A byte order mark is kept, since JSON has none: no language takes it then.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const invalid = (message) => ({ tag: "invalid", val: message });

/** @type {import("./hookweir").Filter} */
export const filter = {
  filter(event) {
    const { minimum } = JSON.parse(host.config());
    if (!Number.isSafeInteger(minimum)) throw invalid("config key `minimum` is not an integer");
    const total = order(event).total;
    /** @returns {import("./hookweir").Verdict} */
    const drop = (reason) => ({ tag: "drop", val: reason });
    if (total === undefined) return drop("`total` is absent");
    if (!Number.isSafeInteger(total)) return drop("`total` is not an integer");
    if (total < minimum) return drop(`\`total\` is ${total}, below the minimum of ${minimum}`);
    return { tag: "keep" };
  },
};

/** @type {import("./hookweir").Transformer} */
export const transformer = {
  transform(event) {
    const { id, customer = null, items } = order(event);
    if (typeof id !== "string") throw invalid("`id` is not a text");
    if (customer !== null && typeof customer !== "string") throw invalid("`customer` is not a text");
    if (!Array.isArray(items) || !items.every(isItem)) {
      throw invalid("`items` is not a list of objects with `sku`, `quantity` and `price`");
    }
    let subtotal = 0;
    for (const { quantity, price } of items) {
      const amount = quantity * price;
      subtotal += amount;
      if (!Number.isSafeInteger(amount) || !Number.isSafeInteger(subtotal)) throw invalid("the amounts are too large");
    }
    host.log("info", `order ${id}: ${items.length} items`);
    // Keys in the order of the alphabet, so that the bytes are the same in every language.
    const digest = {
      count: items.length,
      customer,
      id,
      items: items.map(({ quantity, sku }) => ({ quantity, sku })),
      subtotal: subtotal + 0, // no negative zero
    };
    return {
      contentType: "application/json",
      headers: [["x-item-count", String(items.length)]],
      data: new TextEncoder().encode(JSON.stringify(digest)),
    };
  },
};

/** @param {Event} event */
function order(event) {
  let order;
  try {
    order = JSON.parse(utf8.decode(event.data));
  } catch {
    order = null;
  }
  if (order === null || typeof order !== "object" || Array.isArray(order)) {
    throw invalid("the event's data is not a JSON object");
  }
  return order;
}

function isItem(item) {
  return (
    item !== null &&
    typeof item === "object" &&
    typeof item.sku === "string" &&
    Number.isSafeInteger(item.quantity) &&
    Number.isSafeInteger(item.price)
  );
}
