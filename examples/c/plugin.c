// order-digest: keeps orders of at least a minimum, and sends a short digest of each.

#include "hookweir.h"
#include "json.h"

static const hw_text NO_OBJECT = HW_TEXT("the event's data is not a JSON object");
static const hw_text NO_ITEMS = HW_TEXT("`items` is not a list of objects with `sku`, `quantity` and `price`");

// The event's data; NULL where it is no object.
static json *order(const hw_event *event) {
  json *order = json_read(event->data);
  return order && order->kind == JSON_OBJECT ? order : NULL;
}

hw_verdict filter(const hw_event *event) {
  json *config = json_read(hw_config());
  json *minimum = config ? json_member(config, HW_TEXT("minimum")) : NULL;
  if (!json_is_whole(minimum)) {
    return hw_filter_fails(HW_INVALID, HW_TEXT("config key `minimum` is not an integer"));
  }
  json *given = order(event);
  if (!given) return hw_filter_fails(HW_INVALID, NO_OBJECT);
  json *total = json_member(given, HW_TEXT("total"));
  if (!total) return hw_drop(HW_TEXT("`total` is absent"));
  if (!json_is_whole(total)) return hw_drop(HW_TEXT("`total` is not an integer"));
  if (total->number >= minimum->number) return hw_keep();

  json_writer reason = {0};
  json_raw(&reason, HW_TEXT("`total` is "));
  json_whole(&reason, total->number);
  json_raw(&reason, HW_TEXT(", below the minimum of "));
  json_whole(&reason, minimum->number);
  return hw_drop(reason.text);
}

static bool is_item(const json *item) {
  json *sku = json_member(item, HW_TEXT("sku"));
  return sku && sku->kind == JSON_TEXT && json_is_whole(json_member(item, HW_TEXT("quantity"))) &&
         json_is_whole(json_member(item, HW_TEXT("price")));
}

static int64_t size(int64_t number) { return number < 0 ? -number : number; }

// Adds the price of the items up; false where an amount is too large.
static bool add_up(const json *items, int64_t *subtotal) {
  *subtotal = 0;
  for (const json *item = items->first; item; item = item->next) {
    int64_t quantity = json_member(item, HW_TEXT("quantity"))->number;
    int64_t price = json_member(item, HW_TEXT("price"))->number;
    if (price != 0 && size(quantity) > JSON_SAFE / size(price)) return false;
    *subtotal += quantity * price;
    if (size(*subtotal) > JSON_SAFE) return false;
  }
  return true;
}

// The digest. Keys in the order of the alphabet and no blanks, so that the bytes are the same in every language.
static hw_text digest(const json *id, const json *customer, const json *items, int64_t subtotal) {
  json_writer out = {0};
  json_raw(&out, HW_TEXT("{\"count\":"));
  json_whole(&out, (int64_t)items->count);
  json_raw(&out, HW_TEXT(",\"customer\":"));
  if (customer && customer->kind == JSON_TEXT) {
    json_quoted(&out, customer->text);
  } else {
    json_raw(&out, HW_TEXT("null"));
  }
  json_raw(&out, HW_TEXT(",\"id\":"));
  json_quoted(&out, id->text);
  json_raw(&out, HW_TEXT(",\"items\":["));
  for (const json *item = items->first; item; item = item->next) {
    json_raw(&out, HW_TEXT("{\"quantity\":"));
    json_whole(&out, json_member(item, HW_TEXT("quantity"))->number);
    json_raw(&out, HW_TEXT(",\"sku\":"));
    json_quoted(&out, json_member(item, HW_TEXT("sku"))->text);
    json_raw(&out, item->next ? HW_TEXT("},") : HW_TEXT("}"));
  }
  json_raw(&out, HW_TEXT("],\"subtotal\":"));
  json_whole(&out, subtotal);
  json_raw(&out, HW_TEXT("}"));
  return out.text;
}

hw_transformed transform(const hw_event *event) {
  json *given = order(event);
  if (!given) return hw_transform_fails(HW_INVALID, NO_OBJECT);
  json *id = json_member(given, HW_TEXT("id"));
  json *customer = json_member(given, HW_TEXT("customer"));
  json *items = json_member(given, HW_TEXT("items"));
  if (!id || id->kind != JSON_TEXT) return hw_transform_fails(HW_INVALID, HW_TEXT("`id` is not a text"));
  if (customer && customer->kind != JSON_TEXT && customer->kind != JSON_NULL) {
    return hw_transform_fails(HW_INVALID, HW_TEXT("`customer` is not a text"));
  }
  if (!items || items->kind != JSON_LIST) return hw_transform_fails(HW_INVALID, NO_ITEMS);
  for (const json *item = items->first; item; item = item->next) {
    if (!is_item(item)) return hw_transform_fails(HW_INVALID, NO_ITEMS);
  }
  int64_t subtotal;
  if (!add_up(items, &subtotal)) return hw_transform_fails(HW_INVALID, HW_TEXT("the amounts are too large"));

  json_writer count = {0}, line = {0};
  json_whole(&count, (int64_t)items->count);
  json_raw(&line, HW_TEXT("order "));
  json_raw(&line, id->text);
  json_raw(&line, HW_TEXT(": "));
  json_raw(&line, count.text);
  json_raw(&line, HW_TEXT(" items"));
  hw_log(HW_INFO, line.text);

  hw_pair *header = hw_alloc(sizeof *header);
  *header = (hw_pair){HW_TEXT("x-item-count"), count.text};
  return hw_send((hw_outgoing){
      .content_type = HW_TEXT("application/json"),
      .headers = {header, 1},
      .data = digest(id, customer, items, subtotal),
  });
}
