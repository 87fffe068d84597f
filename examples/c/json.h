// A small JSON reader and writer: strict RFC 8259 with UTF-8, whole numbers up to 2^53 - 1, and texts.
#pragma once

#include "hookweir.h"

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_TEXT, JSON_LIST, JSON_OBJECT } json_kind;

// A value. The items of a list and the members of an object are chained by `next`.
typedef struct json {
  json_kind kind;
  bool whole;     // of a number: whether it is a whole one that fits `number`
  int64_t number;
  hw_text text;
  hw_text key;    // of a member of an object
  size_t count;   // of a list or object
  struct json *first, *next;
} json;

#define JSON_SAFE ((int64_t)9007199254740991)
// Deeper values are refused: each level takes some of the stack.
#define JSON_DEPTH 512

typedef struct {
  const char *at, *end;
  int depth;
} json_reader;

static void json_skip_blanks(json_reader *in) {
  while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) in->at++;
}

static bool json_takes(json_reader *in, char wanted) {
  if (in->at == in->end || *in->at != wanted) return false;
  in->at++;
  return true;
}

static bool json_word(json_reader *in, hw_text word) {
  if ((size_t)(in->end - in->at) < word.size || memcmp(in->at, word.at, word.size) != 0) return false;
  in->at += word.size;
  return true;
}

static bool json_is_digit(json_reader *in) { return in->at < in->end && *in->at >= '0' && *in->at <= '9'; }

// Reads a number. A whole one may be written as 1.0 or 1e3, too.
static bool json_number(json_reader *in, json *value) {
  bool negative = json_takes(in, '-');
  const char *digits = in->at;
  if (!json_is_digit(in)) return false;
  if (!json_takes(in, '0')) {
    while (json_is_digit(in)) in->at++;
  }
  const char *point = in->at;
  const char *end = point;
  if (json_takes(in, '.')) {
    if (!json_is_digit(in)) return false;
    while (json_is_digit(in)) in->at++;
    end = in->at;
  }
  int32_t exponent = 0;
  if (json_takes(in, 'e') || json_takes(in, 'E')) {
    bool down = json_takes(in, '-');
    if (!down) json_takes(in, '+');
    if (!json_is_digit(in)) return false;
    for (; json_is_digit(in); in->at++) {
      if (exponent < 100000) exponent = exponent * 10 + (*in->at - '0');
    }
    if (down) exponent = -exponent;
  }
  value->kind = JSON_NUMBER;
  // The digits without the point, of which `point` says where it stands; then moved by the exponent.
  int32_t before_point = (int32_t)(point - digits) + exponent;
  int64_t number = 0;
  int32_t place = 0;
  bool whole = true;
  for (const char *digit = digits; digit < end; digit++) {
    if (*digit == '.') continue;
    if (place >= before_point) {
      whole = whole && *digit == '0';
    } else if (number > JSON_SAFE) {
      whole = false;
    } else {
      number = number * 10 + (*digit - '0');
    }
    place++;
  }
  for (; number != 0 && place < before_point; place++) {
    if (number > JSON_SAFE) break;
    number *= 10;
  }
  value->whole = whole && number <= JSON_SAFE;
  value->number = negative ? -number : number;
  return true;
}

static int json_hex(json_reader *in) {
  int code = 0;
  for (int index = 0; index < 4; index++) {
    if (in->at == in->end) return -1;
    char digit = *in->at++;
    int value = digit >= '0' && digit <= '9'   ? digit - '0'
                : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                               : -1;
    if (value < 0) return -1;
    code = code << 4 | value;
  }
  return code;
}

static char *json_put_code(char *out, uint32_t code) {
  if (code < 0x80) {
    *out++ = (char)code;
  } else if (code < 0x800) {
    *out++ = (char)(0xc0 | code >> 6);
    *out++ = (char)(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *out++ = (char)(0xe0 | code >> 12);
    *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    *out++ = (char)(0x80 | (code & 0x3f));
  } else {
    *out++ = (char)(0xf0 | code >> 18);
    *out++ = (char)(0x80 | (code >> 12 & 0x3f));
    *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    *out++ = (char)(0x80 | (code & 0x3f));
  }
  return out;
}

// Copies one letter of UTF-8 if it is in order.
static bool json_letter(json_reader *in, char **out) {
  unsigned char first = (unsigned char)*in->at;
  int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0x80 ? 1 : 0;
  uint32_t code = more == 0 ? first : first & (0x3f >> more);
  if ((more > 0 && first < 0xc2) || first > 0xf4 || in->end - in->at <= more) return false;
  for (int index = 1; index <= more; index++) {
    unsigned char next = (unsigned char)in->at[index];
    if ((next & 0xc0) != 0x80) return false;
    code = code << 6 | (next & 0x3f);
  }
  static const uint32_t shortest[] = {0, 0x80, 0x800, 0x10000};
  if (code < shortest[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
  for (int index = 0; index <= more; index++) *(*out)++ = *in->at++;
  return true;
}

static bool json_escape(json_reader *in, char **out) {
  if (in->at == in->end) return false;
  char letter = *in->at++;
  switch (letter) {
    case '"': case '\\': case '/': *(*out)++ = letter; return true;
    case 'b': *(*out)++ = '\b'; return true;
    case 'f': *(*out)++ = '\f'; return true;
    case 'n': *(*out)++ = '\n'; return true;
    case 'r': *(*out)++ = '\r'; return true;
    case 't': *(*out)++ = '\t'; return true;
    case 'u': break;
    default: return false;
  }
  int code = json_hex(in);
  if (code < 0 || (code >= 0xdc00 && code < 0xe000)) return false;
  uint32_t whole = (uint32_t)code;
  if (code >= 0xd800 && code < 0xdc00) {
    if (!json_takes(in, '\\') || !json_takes(in, 'u')) return false;
    int low = json_hex(in);
    if (low < 0xdc00 || low >= 0xe000) return false;
    whole = 0x10000 + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
  }
  *out = json_put_code(*out, whole);
  return true;
}

static bool json_text(json_reader *in, hw_text *text) {
  if (!json_takes(in, '"')) return false;
  const char *close = in->at;
  while (close < in->end && *close != '"') close += *close == '\\' ? 2 : 1;
  if (close >= in->end) return false;
  // What is read is never longer than how it was written.
  text->at = hw_alloc((size_t)(close - in->at));
  char *out = text->at;
  while (!json_takes(in, '"')) {
    if (in->at == in->end || (unsigned char)*in->at < 0x20) return false;
    if (json_takes(in, '\\') ? !json_escape(in, &out) : !json_letter(in, &out)) return false;
  }
  text->size = (size_t)(out - text->at);
  return true;
}

static json *json_value(json_reader *in);

// The rest of a list or object, whose bracket has been read.
static bool json_rest(json_reader *in, json *value, char close) {
  json **last = &value->first;
  json_skip_blanks(in);
  if (json_takes(in, close)) return true;
  do {
    hw_text key = {0};
    json_skip_blanks(in);
    if (close == '}') {
      if (!json_text(in, &key)) return false;
      json_skip_blanks(in);
      if (!json_takes(in, ':')) return false;
    }
    json *item = json_value(in);
    if (!item) return false;
    item->key = key;
    *last = item;
    last = &item->next;
    value->count++;
    json_skip_blanks(in);
  } while (json_takes(in, ','));
  return json_takes(in, close);
}

static json *json_value(json_reader *in) {
  json *value = hw_alloc(sizeof *value);
  *value = (json){.kind = JSON_NULL};
  json_skip_blanks(in);
  if (in->at == in->end || ++in->depth > JSON_DEPTH) return NULL;
  bool good;
  switch (*in->at) {
    case '{': in->at++; value->kind = JSON_OBJECT; good = json_rest(in, value, '}'); break;
    case '[': in->at++; value->kind = JSON_LIST; good = json_rest(in, value, ']'); break;
    case '"': value->kind = JSON_TEXT; good = json_text(in, &value->text); break;
    case 't': value->kind = JSON_BOOL; good = json_word(in, HW_TEXT("true")); break;
    case 'f': value->kind = JSON_BOOL; good = json_word(in, HW_TEXT("false")); break;
    case 'n': good = json_word(in, HW_TEXT("null")); break;
    default: good = json_number(in, value);
  }
  in->depth--;
  return good ? value : NULL;
}

// Reads one value; NULL where the text is not JSON.
static json *json_read(hw_text text) {
  json_reader in = {text.at, text.at + text.size, 0};
  json *value = json_value(&in);
  json_skip_blanks(&in);
  return in.at == in.end ? value : NULL;
}

// The member of an object; of several with the same key, the last. NULL where there is none.
static json *json_member(const json *object, hw_text key) {
  json *found = NULL;
  for (json *member = object->kind == JSON_OBJECT ? object->first : NULL; member; member = member->next) {
    if (member->key.size == key.size && memcmp(member->key.at, key.at, key.size) == 0) found = member;
  }
  return found;
}

static bool json_is_whole(const json *value) { return value && value->kind == JSON_NUMBER && value->whole; }

// --- Writing --------------------------------------------------------------------------------------------------------

typedef struct {
  hw_text text;
  size_t room;
} json_writer;

static void json_raw(json_writer *out, hw_text text) {
  if (out->room - out->text.size < text.size) {
    out->room = (out->text.size + text.size) * 2;
    char *larger = hw_alloc(out->room);
    memcpy(larger, out->text.at, out->text.size);
    out->text.at = larger;
  }
  memcpy(out->text.at + out->text.size, text.at, text.size);
  out->text.size += text.size;
}

static void json_whole(json_writer *out, int64_t number) {
  char digits[20];
  char *first = digits + sizeof digits;
  uint64_t rest = number < 0 ? (uint64_t)-number : (uint64_t)number;
  do *--first = (char)('0' + rest % 10);
  while (rest /= 10);
  if (number < 0) *--first = '-';
  json_raw(out, (hw_text){first, (size_t)(digits + sizeof digits - first)});
}

// A text in quotes, with no more escaped than must be.
static void json_quoted(json_writer *out, hw_text text) {
  json_raw(out, HW_TEXT("\""));
  for (size_t index = 0; index < text.size; index++) {
    unsigned char letter = (unsigned char)text.at[index];
    switch (letter) {
      case '"': json_raw(out, HW_TEXT("\\\"")); break;
      case '\\': json_raw(out, HW_TEXT("\\\\")); break;
      case '\b': json_raw(out, HW_TEXT("\\b")); break;
      case '\f': json_raw(out, HW_TEXT("\\f")); break;
      case '\n': json_raw(out, HW_TEXT("\\n")); break;
      case '\r': json_raw(out, HW_TEXT("\\r")); break;
      case '\t': json_raw(out, HW_TEXT("\\t")); break;
      default:
        if (letter < 0x20) {
          char code[] = {'\\', 'u', '0', '0', (char)('0' + (letter >> 4)), "0123456789abcdef"[letter & 15]};
          json_raw(out, (hw_text){code, sizeof code});
        } else {
          json_raw(out, (hw_text){text.at + index, 1});
        }
    }
  }
  json_raw(out, HW_TEXT("\""));
}
