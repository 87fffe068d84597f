// The world `plugin` of wit/ in C: what a plugin is given, what it answers, and the canonical ABI between.
//
// Include it in one file and define `filter` and `transform`. There is no C library here: memory comes from `hw_alloc`
// and is given back, all of it, when the call is over.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// UTF-8, or any bytes, of a given length. There is no zero at the end.
typedef struct {
  char *at;
  size_t size;
} hw_text;

typedef struct {
  hw_text name, value;
} hw_pair;

// One event of the plugin's own tenant. The order of the members is that of the record `event` in types.wit.
typedef struct {
  hw_text id;
  hw_text type;
  hw_text source;
  bool has_subject;
  hw_text subject;
  hw_text time;
  hw_text content_type;
  struct {
    hw_pair *at;
    size_t size;
  } attributes;
  hw_text data;
} hw_event;

typedef enum { HW_INVALID = 0, HW_UNAVAILABLE = 1 } hw_kind;

// What `filter` answers: `result<verdict, failure>`. Make it with the functions below.
typedef struct {
  uint8_t failed;
  struct {
    uint8_t which;
    hw_text text;
  } value;
} hw_verdict;

// What is sent in the event's place.
typedef struct {
  hw_text content_type;
  struct {
    hw_pair *at;
    size_t size;
  } headers;
  hw_text data;
} hw_outgoing;

// What `transform` answers: `result<outgoing, failure>`.
typedef struct {
  uint8_t failed;
  union {
    hw_outgoing outgoing;
    struct {
      uint8_t which;
      hw_text text;
    } failure;
  } value;
} hw_transformed;

// What the plugin defines.
hw_verdict filter(const hw_event *event);
hw_transformed transform(const hw_event *event);

// A text in quotes.
#define HW_TEXT(literal) ((hw_text){(char *)(literal), sizeof(literal) - 1})

static inline hw_verdict hw_keep(void) { return (hw_verdict){.failed = 0, .value = {.which = 0}}; }

static inline hw_verdict hw_drop(hw_text reason) { return (hw_verdict){.failed = 0, .value = {.which = 1, .text = reason}}; }

static inline hw_verdict hw_filter_fails(hw_kind kind, hw_text why) {
  return (hw_verdict){.failed = 1, .value = {.which = (uint8_t)kind, .text = why}};
}

static inline hw_transformed hw_send(hw_outgoing outgoing) {
  return (hw_transformed){.failed = 0, .value = {.outgoing = outgoing}};
}

static inline hw_transformed hw_transform_fails(hw_kind kind, hw_text why) {
  return (hw_transformed){.failed = 1, .value = {.failure = {.which = (uint8_t)kind, .text = why}}};
}

// --- What the compiler expects of a C library -----------------------------------------------------------------------

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  char *target = to;
  for (const char *source = from; size > 0; size--) *target++ = *source++;
  return to;
}

void *memset(void *to, int byte, size_t size) {
  for (char *target = to; size > 0; size--) *target++ = (char)byte;
  return to;
}

int memcmp(const void *one, const void *other, size_t size) {
  const unsigned char *a = one, *b = other;
  for (; size > 0; size--, a++, b++) {
    if (*a != *b) return *a < *b ? -1 : 1;
  }
  return 0;
}

// --- Memory: it only goes up, and starts anew with each call --------------------------------------------------------

extern unsigned char __heap_base;
static uintptr_t hw_top;

static void *hw_alloc(size_t size) {
  enum { PAGE = 65536, ALIGN = 8 };
  if (hw_top == 0) hw_top = (uintptr_t)&__heap_base;
  uintptr_t at = (hw_top + (ALIGN - 1)) & ~(uintptr_t)(ALIGN - 1);
  uintptr_t end = at + size;
  uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE;
  // The gateway ends the call itself where its memory limit is reached; all that is left to check is the address space.
  if (end < at) __builtin_trap();
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + PAGE - 1) / PAGE) == (size_t)-1) __builtin_trap();
  hw_top = end;
  return (void *)at;
}

__attribute__((export_name("cabi_realloc"))) void *hw_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)align;  // never more than 8 in this interface
  void *at = hw_alloc(size);
  if (old_size > 0) memcpy(at, old, old_size < size ? old_size : size);
  return at;
}

// --- The host's functions -------------------------------------------------------------------------------------------

typedef enum { HW_DEBUG, HW_INFO, HW_WARN, HW_ERROR } hw_level;

__attribute__((import_module("hookweir:plugin/host@0.1.0"), import_name("log"))) void hw_log_raw(int level, const char *at, size_t size);
__attribute__((import_module("hookweir:plugin/host@0.1.0"), import_name("config"))) void hw_config_raw(hw_text *result);

// Writes a line to the plugin's log, kept with the attempt.
static inline void hw_log(hw_level level, hw_text message) { hw_log_raw((int)level, message.at, message.size); }

// The plugin's `config` table as JSON text, `{}` where there is none.
static inline hw_text hw_config(void) {
  hw_text text;
  hw_config_raw(&text);
  return text;
}

// --- The exports, as the canonical ABI has them ---------------------------------------------------------------------

__attribute__((export_name("hookweir:plugin/filter@0.1.0#filter"))) hw_verdict *hw_export_filter(hw_event *event) {
  static hw_verdict result;
  result = filter(event);
  return &result;
}

__attribute__((export_name("hookweir:plugin/transformer@0.1.0#transform"))) hw_transformed *hw_export_transform(hw_event *event) {
  static hw_transformed result;
  result = transform(event);
  return &result;
}

// Called when the gateway has read the result: nothing of the call is needed any more.
__attribute__((export_name("cabi_post_hookweir:plugin/filter@0.1.0#filter"))) void hw_filter_done(hw_verdict *result) {
  (void)result;
  hw_top = 0;
}

__attribute__((export_name("cabi_post_hookweir:plugin/transformer@0.1.0#transform"))) void hw_transform_done(hw_transformed *result) {
  (void)result;
  hw_top = 0;
}

// Pointers have four bytes here, and the members lie where the canonical ABI wants them.
_Static_assert(offsetof(hw_event, subject) == 28 && offsetof(hw_event, data) == 60, "the layout of the record `event`");
_Static_assert(offsetof(hw_verdict, value.text) == 8, "the layout of result<verdict, failure>");
_Static_assert(offsetof(hw_transformed, value.outgoing.data) == 20, "the layout of result<outgoing, failure>");
_Static_assert(offsetof(hw_transformed, value.failure.text) == 8, "the layout of result<outgoing, failure>");
