// What `hookweir plugin build` puts around plugin.js, so that a mistake says what and where. An uncaught exception ends
// the call, and the engine ends it without a word: here it is written to the plugin's log first, from where the gateway
// takes the delivery's reason. What the engine would end the call for without an exception is checked before it comes to that.

const LEVELS = ["debug", "info", "warn", "error"];
const OWN = "/.hookweir/";
// A longer line counts against what the call may hand over, and the gateway keeps less of it anyway.
const LONGEST = 16384;

let host;
let runs = false;

// The engine freezes the object behind the module `hookweir:plugin/host` with the global `Object.freeze`, just before the
// plugin can import it. Only then can its `log` be replaced, which ends the call where the level is none.
const { freeze } = Object;
Object.freeze = (object) => {
  if (typeof object?.log === "function" && typeof object.config === "function") {
    host ??= { log: object.log };
    object.log = log;
  }
  return freeze(object);
};

function log(level, message) {
  if (!LEVELS.includes(level)) {
    throw new TypeError(`host.log has no level ${short(level)}: it is "debug", "info", "warn" or "error"`);
  }
  if (!runs) throw new Error("there is no log while the plugin is built, which is when the top level of its script runs");
  host.log(level, whole(text(message).slice(0, LONGEST)));
}

// Half a letter has no place in a text that the gateway takes: the engine would end the call.
const whole = (text) => text.toWellFormed();

/** A value as `console` writes it. */
function text(value) {
  if (typeof value === "string") return value;
  return value instanceof Error ? told(value) : shown(value);
}

function shown(value) {
  if (typeof value === "function") return "a function";
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof Promise) return "a Promise";
  if (value instanceof Uint8Array) return `a Uint8Array of ${value.length} bytes`;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** A value in a sentence. */
function short(value) {
  const all = shown(value);
  return all.length > 200 ? `${all.slice(0, 200)}…` : all;
}

/** An error with the lines of the plugin's files that it went through, the innermost first. */
function told(error) {
  const places = [];
  for (const line of String(error.stack ?? "").split("\n")) {
    const [, file, number] = /([^\s()]+):(\d+):\d+\)?$/.exec(line) ?? [];
    const place = `${file?.slice(1)}:${number}`;
    if (file?.startsWith("/") && !file.startsWith(OWN) && places.at(-1) !== place && places.length < 5) places.push(place);
  }
  let said;
  try {
    said = String(error);
  } catch {
    said = "an error without a text";
  }
  said = said.slice(0, LONGEST / 2);
  return places.length === 0 ? said : `${said} at ${places.join(", called at ")}`;
}

const isFailure = (thrown) =>
  (thrown?.tag === "invalid" || thrown?.tag === "unavailable") && typeof thrown.val === "string";

const FAILURES = 'throw { tag: "invalid", val: "why" } or { tag: "unavailable", val: "why" }';
const VERDICTS = 'return { tag: "keep" } or { tag: "drop", val: "why" }';

/** Why an answer is none, after who gave it. */
class Refused {
  constructor(sentence) {
    this.sentence = sentence;
  }
}

function refuse(what, value, instead) {
  throw new Refused(`returned ${what}${short(value)}: ${instead}`);
}

/** The answer as the gateway takes it. */
function checked(role, answer) {
  if (typeof answer?.then === "function") {
    throw new Refused("returned a Promise, and nothing can be awaited: write it without `async`");
  }
  return role === "filter" ? verdict(answer) : outgoing(answer);
}

function verdict(answer) {
  if (answer?.tag === "keep") return answer;
  if (answer?.tag !== "drop") refuse("", answer, VERDICTS);
  if (typeof answer.val !== "string") refuse('{ tag: "drop" } with the `val` ', answer.val, VERDICTS);
  return { tag: "drop", val: whole(answer.val) };
}

function outgoing(answer) {
  if (answer === null || typeof answer !== "object" || Array.isArray(answer)) {
    refuse("", answer, "return { contentType, headers, data }");
  }
  const { contentType, headers, data } = answer;
  if (typeof contentType !== "string") refuse("the `contentType` ", contentType, "it is a text");
  if (!Array.isArray(headers)) refuse("the `headers` ", headers, 'they are [["name", "value"]], or []');
  for (const header of headers) {
    if (!Array.isArray(header) || header.length !== 2 || header.some((part) => typeof part !== "string")) {
      refuse("the header ", header, 'each is ["name", "value"], two texts');
    }
  }
  if (!isBytes(data)) {
    const instead = typeof data === "string" ? "new TextEncoder().encode(text) makes bytes of a text" : "it is a Uint8Array";
    refuse("the `data` ", data, instead);
  }
  return { contentType: whole(contentType), headers: headers.map((header) => header.map(whole)), data };
}

const isBytes = (data) =>
  data instanceof Uint8Array ||
  (Array.isArray(data) && data.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255));

/** Why the call of this function has no answer. */
function mistake(who, thrown) {
  if (thrown instanceof Error) return told(thrown);
  if (thrown instanceof Refused) return `${who} ${thrown.sentence}`;
  return `${who} threw ${short(thrown)}, which is neither an Error nor a failure: ${FAILURES}`;
}

/** What the gateway calls, made of what the plugin exports under this name. */
export function guarded(plugin, role, method) {
  const own = plugin[role];
  if (typeof own?.[method] !== "function") {
    throw new Error(
      `plugin.js has no \`export const ${role} = { ${method}(event) { ... } }\`: ` +
        "write it, or set the `world` in plugin.toml that does without",
    );
  }
  // The engine's own properties of a function.
  const { fileName, lineNumber } = own[method];
  const who = `the ${role}${typeof fileName === "string" ? ` at ${fileName.slice(1)}:${lineNumber}` : ""}`;
  return {
    [method](event) {
      runs = true;
      try {
        return checked(role, own[method](event));
      } catch (thrown) {
        if (isFailure(thrown)) throw { tag: thrown.tag, val: whole(thrown.val) };
        const said = whole(mistake(who, thrown).slice(0, LONGEST));
        host.log("error", said);
        // It ends the call, which is no answer of the plugin's: the gateway counts it as a fault.
        throw new Error(said);
      }
    },
  };
}

/** Ends what is done before the plugin's own script has run. */
export function start(found) {
  Object.freeze = freeze;
  host ??= found;
}

// What JavaScript has elsewhere and a plugin has not.

function refusing(what, instead) {
  return () => {
    throw new Error(`a plugin has no ${what}: ${instead}`);
  };
}
const noClock = refusing("clock", "use the event's time, as in new Date(event.time)");
const noTimer = refusing("timers", "it answers at once, or throws a failure with the tag `unavailable` to be called again");
const noRandom = refusing("randomness", "make what has to differ of the event's id");
const noNetwork = refusing("network", "what it needs comes with the event or its config");

const EngineDate = Date;
function ClocklessDate(...given) {
  if (new.target === undefined || given.length === 0) noClock();
  return Reflect.construct(EngineDate, given, new.target);
}
ClocklessDate.prototype = EngineDate.prototype;
ClocklessDate.prototype.constructor = ClocklessDate;
Object.defineProperty(ClocklessDate, "name", { value: "Date" });
Object.assign(ClocklessDate, { UTC: EngineDate.UTC, parse: EngineDate.parse, now: noClock });

const writing =
  (level) =>
  (...values) =>
    log(level, values.map(text).join(" "));
const console = {
  trace: writing("debug"),
  debug: writing("debug"),
  log: writing("info"),
  info: writing("info"),
  dir: (value) => log("info", text(value)),
  warn: writing("warn"),
  error: writing("error"),
  assert: (holds, ...values) => holds || log("error", ["assertion failed", ...values.map(text)].join(" ")),
};

// TextDecoder and TextEncoder for UTF-8, by what the engine does natively: in the interpreter, a loop over the bytes of an
// ordinary event takes longer than a call may.

class TextDecoder {
  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!/^\s*(unicode-1-1-)?utf-?8\s*$/i.test(label)) throw new RangeError(`TextDecoder has no ${short(label)}, only "utf-8"`);
    Object.assign(this, { encoding: "utf-8", fatal: Boolean(fatal), ignoreBOM: Boolean(ignoreBOM) });
  }

  decode(given = new Uint8Array(), { stream = false } = {}) {
    if (stream) throw new TypeError("TextDecoder has no `stream` here: give it all of the data at once");
    let bytes = bytesOf(given);
    if (!this.ignoreBOM && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) bytes = bytes.subarray(3);
    const latin = atob(bytes.toBase64());
    if (isAscii(bytes)) return latin;
    try {
      return decodeURIComponent(escape(latin));
    } catch {
      if (this.fatal) throw new TypeError("the bytes are not UTF-8");
      return latin.replace(LETTERS, (letter, broken) => (broken === undefined ? decodeURIComponent(escape(letter)) : "\ufffd"));
    }
  }
}

function bytesOf(given) {
  if (given instanceof Uint8Array) return given;
  if (ArrayBuffer.isView(given)) return new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
  if (given instanceof ArrayBuffer) return new Uint8Array(given);
  throw new TypeError(`TextDecoder decodes a Uint8Array, not ${short(given)}`);
}

/** Sixteen bytes at a time. */
function isAscii(bytes) {
  const padded = new Uint8Array((bytes.length + 15) & ~15);
  padded.set(bytes);
  const words = new Int32Array(padded.buffer);
  let all = 0;
  for (let at = 0; at < words.length; at += 4) all |= words[at] | words[at + 1] | words[at + 2] | words[at + 3];
  return (all & 0x80808080) === 0;
}

// A letter of more than one byte, or, as the group, the longest beginning of one that does not go on, which counts as one.
const LETTERS = new RegExp(
  [
    "[\\xc2-\\xdf][\\x80-\\xbf]",
    "(?:\\xe0[\\xa0-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]|\\xed[\\x80-\\x9f])[\\x80-\\xbf]",
    "(?:\\xf0[\\x90-\\xbf]|[\\xf1-\\xf3][\\x80-\\xbf]|\\xf4[\\x80-\\x8f])[\\x80-\\xbf]{2}",
    "(\\xe0[\\xa0-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]|\\xed[\\x80-\\x9f]|" +
      "(?:\\xf0[\\x90-\\xbf]|[\\xf1-\\xf3][\\x80-\\xbf]|\\xf4[\\x80-\\x8f])[\\x80-\\xbf]?|[\\x80-\\xff])",
  ].join("|"),
  "g",
);

class TextEncoder {
  encoding = "utf-8";

  encode(given = "") {
    return Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(whole(String(given))))));
  }
}

Object.assign(globalThis, {
  Date: ClocklessDate,
  performance: { now: noClock },
  setTimeout: noTimer,
  setInterval: noTimer,
  setImmediate: noTimer,
  queueMicrotask: noTimer,
  fetch: noNetwork,
  XMLHttpRequest: noNetwork,
  WebSocket: noNetwork,
  crypto: { getRandomValues: noRandom, randomUUID: noRandom },
  console,
  TextDecoder,
  TextEncoder,
});
Math.random = noRandom;
