//! Mistakes that are made in plugins, and what has to be said of each.

/// One mistake, as code of a function that is given `event`.
pub(super) struct Mistake {
    pub code: &'static str,
    /// The sentence.
    told: &'static str,
    /// Whether its own line follows; or else it is said of the role's function.
    placed: bool,
}

const fn placed(code: &'static str, told: &'static str) -> Mistake {
    Mistake { code, told, placed: true }
}

/// A wrong answer, which is said of the role's own function.
const fn answered(code: &'static str, told: &'static str) -> Mistake {
    Mistake { code, told, placed: false }
}

/// A language with what goes wrong in its plugins.
pub(super) struct Language {
    pub name: &'static str,
    /// The file with the plugin's own code.
    pub file: &'static str,
    pub filter: &'static [Mistake],
    pub transformer: &'static [Mistake],
    /// What the log has of all that `{"role": "writes"}` has the filter write.
    pub written: &'static str,
    /// What stands before the functions, a line each, and after them.
    head: &'static str,
    tail: &'static str,
    /// What the line of the filter has alone, and that of the transformer.
    functions: [&'static str; 2],
    /// A function by its name, and its code.
    function: fn(&str, &str) -> String,
}

impl Language {
    /// The plugin's own code: each mistake in a line of its own.
    pub(super) fn source(&self) -> String {
        let of = |role: &str, mistakes: &[Mistake]| -> String {
            let function = |(number, mistake): (usize, &Mistake)| {
                (self.function)(&format!("{role}_{number}"), mistake.code)
            };
            mistakes.iter().enumerate().map(function).collect()
        };
        [self.head, &of("filter", self.filter), &of("transformer", self.transformer), self.tail].concat()
    }

    /// What has to be said of a mistake.
    pub(super) fn told(&self, role: &str, number: usize) -> String {
        let (mistakes, before) =
            if role == "filter" { (self.filter, 0) } else { (self.transformer, self.filter.len()) };
        let mistake = &mistakes[number];
        let line = self.head.lines().count() + before + number + 1;
        let file = self.file;
        if mistake.placed {
            return format!("{} at {file}:{line}", mistake.told);
        }
        let of_function =
            self.source().lines().position(|line| line.contains(self.functions[usize::from(before > 0)]));
        let line = of_function.expect("the role's function") + 1;
        format!("the {role} at {file}:{line} {}", mistake.told)
    }
}

pub(super) const JAVASCRIPT: Language = Language {
    name: "javascript",
    file: "plugin.js",
    filter: &[
        placed("event.detail.payments", "TypeError: cannot read property 'payments' of undefined"),
        placed(
            "JSON.parse('{x')",
            "SyntaxError: Expected property name or '}' in JSON at position 1 (line 1 column 2)",
        ),
        placed("throw new Error('two\\nlines \\x1b[31m')", "Error: two\\nlines \\u{1b}[31m"),
        placed("missing()", "ReferenceError: missing is not defined"),
        placed(
            "Date.now()",
            "Error: a plugin has no clock: use the event's time, as in new Date(event.time)",
        ),
        placed(
            "new Date()",
            "Error: a plugin has no clock: use the event's time, as in new Date(event.time)",
        ),
        placed("Date()", "Error: a plugin has no clock: use the event's time, as in new Date(event.time)"),
        placed(
            "performance.now()",
            "Error: a plugin has no clock: use the event's time, as in new Date(event.time)",
        ),
        placed(
            "Math.random()",
            "Error: a plugin has no randomness: make what has to differ of the event's id",
        ),
        placed(
            "crypto.randomUUID()",
            "Error: a plugin has no randomness: make what has to differ of the event's id",
        ),
        placed(
            "fetch('http://127.0.0.1/')",
            "Error: a plugin has no network: what it needs comes with the event or its config",
        ),
        placed(
            "setTimeout(() => 1, 10)",
            "Error: a plugin has no timers: it answers at once, or throws a failure with the tag `unavailable` to be called again",
        ),
        placed(
            "host.log('warning', 'x')",
            "TypeError: host.log has no level \"warning\": it is \"debug\", \"info\", \"warn\" or \"error\"",
        ),
        placed(
            "log('x')",
            "TypeError: host.log has no level \"x\": it is \"debug\", \"info\", \"warn\" or \"error\"",
        ),
        placed(
            "new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xed, 0xa0, 0x80]))",
            "TypeError: the bytes are not UTF-8",
        ),
        answered(
            "return 'keep'",
            "returned \"keep\": return { tag: \"keep\" } or { tag: \"drop\", val: \"why\" }",
        ),
        answered(
            "return { tag: 'kept' }",
            "returned {\"tag\":\"kept\"}: return { tag: \"keep\" } or { tag: \"drop\", val: \"why\" }",
        ),
        answered(
            "return { tag: 'drop' }",
            "returned { tag: \"drop\" } with the `val` undefined: return { tag: \"keep\" }",
        ),
        answered("return undefined", "returned undefined: return { tag: \"keep\" }"),
        answered(
            "return (async () => ({ tag: 'keep' }))()",
            "returned a Promise, and nothing can be awaited: write it without `async`",
        ),
        answered(
            "throw { tag: 'wrong', val: 'x' }",
            "threw {\"tag\":\"wrong\",\"val\":\"x\"}, which is neither an Error nor a failure: throw { tag: \"invalid\", val: \"why\" }",
        ),
        answered(
            "throw { tag: 'invalid' }",
            "threw {\"tag\":\"invalid\"}, which is neither an Error nor a failure",
        ),
        answered("throw 'a text'", "threw \"a text\", which is neither an Error nor a failure"),
    ],
    transformer: &[
        placed("event.detail.payments", "TypeError: cannot read property 'payments' of undefined"),
        answered("return 'a text'", "returned \"a text\": return { contentType, headers, data }"),
        answered(
            "return { headers: [], data: event.data }",
            "returned the `contentType` undefined: it is a text",
        ),
        answered(
            "return { contentType: 'a/b', headers: { a: 'b' }, data: event.data }",
            "returned the `headers` {\"a\":\"b\"}: they are [[\"name\", \"value\"]], or []",
        ),
        answered(
            "return { contentType: 'a/b', headers: [['a', 1]], data: event.data }",
            "returned the header [\"a\",1]: each is [\"name\", \"value\"], two texts",
        ),
        answered(
            "return { contentType: 'a/b', headers: [], data: '{}' }",
            "returned the `data` \"{}\": new TextEncoder().encode(text) makes bytes of a text",
        ),
    ],
    written: "info: a 1 null {\"b\":[2]}\nwarn: w\nerror: e\nerror: assertion failed sum\n\
              debug: 2026-01-02T03:04:05.000Z 2020 true\ninfo: half \u{fffd} aé日😀 �A",
    head: "import host, { log } from 'hookweir:plugin/host@0.1.0';\n\
           const writes = () => { console.log('a', 1, null, { b: [2] }); console.warn('w');\n\
             console.error('e'); console.assert(1 === 2, 'sum');\n\
             console.debug(new Date('2026-01-02T03:04:05Z').toISOString(), new Date(2020, 1).getFullYear(), new Date(5) instanceof Date);\n\
             host.log('info', 'half \\ud800 ' + new TextDecoder().decode(new TextEncoder().encode('aé日😀')) + ' ' + new TextDecoder().decode(new Uint8Array([0xe2, 0x82, 0x41]))); };\n\
           const mistakes = {\n",
    functions: ["export const filter = ", "export const transformer = "],
    function: |name, code| format!("  {name}: (event) => {{ {code}; }},\n"),
    tail: "};\n\
           const asked = (event, role) => {\n\
             const { role: wanted, number } = JSON.parse(new TextDecoder().decode(event.data));\n\
             if (wanted === 'writes' && role === 'filter') writes();\n\
             if (wanted === 'long') throw new Error('x'.repeat(5000));\n\
             return wanted === role && Number.isInteger(number) ? mistakes[`${role}_${number}`] : undefined;\n\
           };\n\
           export const filter = { filter(event) {\n\
             const mistake = asked(event, 'filter');\n\
             return mistake ? mistake(event) : { tag: 'keep' };\n\
           } };\n\
           export const transformer = { transform(event) {\n\
             const mistake = asked(event, 'transformer');\n\
             return mistake ? mistake(event) : { contentType: 'application/json', headers: [], data: event.data };\n\
           } };\n",
};

const NO_CLOCK: &str =
    "RuntimeError: a plugin has no clock: use the event's time, as in datetime.fromisoformat(event.time)";
const NO_RANDOM: &str =
    "RuntimeError: a plugin has no randomness: seed it by the event, as in random.Random(event.id)";
const NO_NETWORK: &str =
    "RuntimeError: a plugin has no network: what it needs comes with the event or its config";
const NO_FILES: &str = "RuntimeError: a plugin has no files when it runs: read them at the top level of app.py, \
                        which runs when the plugin is built";

pub(super) const PYTHON: Language = Language {
    name: "python",
    file: "app.py",
    filter: &[
        placed("{}['payments']", "KeyError: 'payments'"),
        placed("event.detail.payments", "AttributeError: 'Event' object has no attribute 'detail'"),
        placed(
            "json.loads('{x')",
            "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        placed("raise ValueError('two\\nlines \\x1b[31m')", "ValueError: two\\nlines \\u{1b}[31m"),
        placed("sys.exit(1)", "SystemExit: 1"),
        placed("time.time()", NO_CLOCK),
        placed("time.sleep(1)", NO_CLOCK),
        placed("time.localtime()", NO_CLOCK),
        placed("datetime.now()", NO_CLOCK),
        placed("date.today()", NO_CLOCK),
        placed("random.random()", NO_RANDOM),
        placed("randint(1, 6)", NO_RANDOM),
        placed("random.Random()", NO_RANDOM),
        placed("uuid.uuid4()", NO_RANDOM),
        placed("os.urandom(8)", NO_RANDOM),
        placed("socket.create_connection(('127.0.0.1', 80))", NO_NETWORK),
        placed("urllib.request.urlopen('http://127.0.0.1/')", NO_NETWORK),
        placed(
            "import requests",
            "ImportError: can't import requests: a plugin has no network: what it needs comes with the event or its config",
        ),
        placed(
            "import decimal",
            "ImportError: can't import decimal: there are no files when the plugin runs: import it at the top level of app.py, \
             which runs when the plugin is built",
        ),
        placed("open('/etc/hostname')", NO_FILES),
        placed("os.path.exists('/etc/hostname')", NO_FILES),
        placed(
            "host.log('info', 'x')",
            "TypeError: host.log has no level 'info': it is Level.DEBUG, Level.INFO, Level.WARN or Level.ERROR",
        ),
        placed("log(Level.INFO, 5)", "TypeError: host.log writes a text, not 5"),
        answered("return 'keep'", "returned 'keep': return Verdict_Keep() or Verdict_Drop(\"why\")"),
        answered("return None", "returned None: return Verdict_Keep() or Verdict_Drop(\"why\")"),
        answered(
            "return Verdict_Drop(5)",
            "returned Verdict_Drop(value=5): return Verdict_Keep() or Verdict_Drop(\"why\")",
        ),
        answered("return waited()", "is an `async def`, and nothing can be awaited: write it as a `def`"),
        answered(
            "raise Err('x')",
            "raised Err('x'): raise Err(Failure_Invalid(\"why\")) or Err(Failure_Unavailable(\"why\"))",
        ),
    ],
    transformer: &[
        placed("{}['payments']", "KeyError: 'payments'"),
        answered("return 'a text'", "returned 'a text': return Outgoing(content_type, headers, data)"),
        answered("return Outgoing(None, [], b'')", "returned the content_type None: it is a text"),
        answered(
            "return Outgoing('a/b', {'a': 'b'}, b'')",
            "returned the headers {'a': 'b'}: they are [(\"name\", \"value\")], or []",
        ),
        answered(
            "return Outgoing('a/b', [('a', 1)], b'')",
            "returned the header ('a', 1): each is (\"name\", \"value\"), two texts",
        ),
        answered(
            "return Outgoing('a/b', [], '{}')",
            "returned the data '{}': text.encode() makes bytes of a text",
        ),
    ],
    written: "info: a 1 None\nwarn: WARNING:root:w\nerror: ERROR:p:e\nerror: to standard error\n\
              debug: 2026-01-02 03:04:05+00:00 2020-01-01 00:00:00 1970\ninfo: half \u{fffd}\ninfo: 0.13436424411240122 0.13436424411240122\ninfo: no end",
    head: "import json, logging, os, random, socket, sys, time, urllib.request, uuid\n\
           from datetime import date, datetime\n\
           from random import randint\n\
           from componentize_py_types import Err\n\
           from wit_world import exports\n\
           from wit_world.exports.filter import Verdict_Drop, Verdict_Keep\n\
           from wit_world.exports.transformer import Outgoing\n\
           from wit_world.imports import host\n\
           from wit_world.imports.host import Level, log\n",
    functions: ["def filter(self", "def transform(self"],
    function: |name, code| format!("def {name}(event): {code}\n"),
    tail: "async def waited(): return Verdict_Keep()\n\
           def writes():\n\
           \x20   print('a', 1, None)\n\
           \x20   logging.warning('w'); logging.getLogger('p').error('e'); logging.info('not asked for')\n\
           \x20   print('to standard error', file=sys.stderr)\n\
           \x20   log(Level.DEBUG, f\"{datetime.fromisoformat('2026-01-02T03:04:05Z')} {datetime.strptime('2020', '%Y')} {time.gmtime(0).tm_year}\")\n\
           \x20   host.log(Level.INFO, 'half \\ud800')\n\
           \x20   random.seed(1); print(random.Random(1).random(), random.random())\n\
           \x20   print('no end', end='')\n\
           def asked(event, role):\n\
           \x20   given = json.loads(event.data)\n\
           \x20   if given['role'] == 'writes' and role == 'filter': writes()\n\
           \x20   if given['role'] == 'long': raise ValueError('x' * 5000)\n\
           \x20   return globals()[f\"{role}_{given['number']}\"] if given['role'] == role and given['number'] is not None else None\n\
           class Filter(exports.Filter):\n\
           \x20   def filter(self, event):\n\
           \x20       mistake = asked(event, 'filter')\n\
           \x20       return mistake(event) if mistake else Verdict_Keep()\n\
           class Transformer(exports.Transformer):\n\
           \x20   def transform(self, event):\n\
           \x20       mistake = asked(event, 'transformer')\n\
           \x20       return mistake(event) if mistake else Outgoing('application/json', [], event.data)\n",
};
