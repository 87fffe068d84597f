//! The table of hostile guests, and what must become of each. Their numbers are those of RELIABILITY.md.

use bytes::Bytes;
use hookweir_host::FaultKind::{self, Deadline, InvalidOutput, Memory, Output, Stack, Trap};

use super::bombs;
use crate::guest;

pub(super) struct Case {
    pub number: u8,
    pub guest: Guest,
    pub end: End,
    /// The limits that the shell sets before the compiler runs, where its own would take too long to meet.
    pub compiler: Option<&'static str>,
}

pub(super) enum Guest {
    /// The name of a file in `tests/fixtures/hostile`, without `.wat`.
    File(&'static str),
    /// A name, and what makes the guest of it.
    Made(&'static str, fn() -> Bytes),
}

/// What must become of a case. Texts are how a sentence starts, but where it says otherwise.
pub(super) enum End {
    /// It is not loaded; this is said somewhere in the sentence.
    Refused(&'static str),
    /// A call fails.
    Fails(FaultKind, &'static str),
    /// A call keeps the event, and logs this.
    Keeps(&'static str),
    /// A call drops the event for this reason.
    Drops(&'static str),
    /// A call makes data of so many bytes, which the host doesn't look into.
    Makes(usize),
}

impl Guest {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::File(name) | Self::Made(name, _) => name,
        }
    }

    pub(super) fn component(&self) -> Bytes {
        match self {
            Self::File(name) => guest::hostile(name),
            Self::Made(_, make) => make(),
        }
    }
}

const fn case(number: u8, name: &'static str, end: End) -> Case {
    Case { number, guest: Guest::File(name), end, compiler: None }
}

const fn made(
    number: u8,
    name: &'static str,
    make: fn() -> Bytes,
    compiler: Option<&'static str>,
    end: End,
) -> Case {
    Case { number, guest: Guest::Made(name, make), end, compiler }
}

const TIME: End = End::Fails(Deadline, "it used more than its 10 ms of processor time");
const DEEP: End = End::Fails(Stack, "it used up its stack");
const GAVE_UP: End = End::Fails(Trap, "it gave up");
const UNREADABLE: End = End::Fails(InvalidOutput, "what it handed over can't be read: ");
const TOO_MUCH: End = End::Fails(Output, "it handed over more than 2097152 bytes");
const NOT_THE_INTERFACE: End =
    End::Refused("it does not fit the plugin interface of this gateway (hookweir:plugin 0.1): ");

pub(super) const CASES: &[Case] = &[
    case(1, "01-endless-loop", TIME),
    case(1, "01-endless-loop-of-a-transformer", TIME),
    case(1, "01-endless-loop-in-the-allocator", TIME),
    case(2, "02-loop-with-stores", TIME),
    case(3, "03-recursion", DEEP),
    case(4, "04-mutual-recursion", DEEP),
    case(5, "05-unreachable", GAVE_UP),
    case(5, "05-unreachable-at-the-start", GAVE_UP),
    case(6, "06-division-by-zero", End::Fails(Trap, "it trapped: wasm trap: integer divide by zero")),
    case(7, "07-load-outside-memory", End::Fails(Trap, "it trapped: wasm trap: out of bounds memory access")),
    case(7, "07-indirect-call-to-nothing", End::Fails(Trap, "it trapped: wasm trap: uninitialized element")),
    case(
        8,
        "08-four-gigabytes-at-once",
        End::Fails(Memory, "it wanted 4294967296 bytes of memory; its limit is"),
    ),
    case(
        9,
        "09-memory-by-the-page",
        End::Fails(Memory, "it wanted 16842752 bytes of memory; its limit is 16777216"),
    ),
    case(
        9,
        "09-memory-by-the-page-touched",
        End::Fails(Memory, "it wanted 16842752 bytes of memory; its limit is"),
    ),
    case(
        10,
        "10-initial-memory-of-65536-pages",
        End::Refused(
            "it wants 4294967296 bytes of memory at its start; the most that any plugin may have is 67108864",
        ),
    ),
    case(10, "10-initial-memory-over-the-limit", End::Fails(Memory, "it wanted 16842752 bytes of memory")),
    case(
        11,
        "11-a-billion-table-elements",
        End::Fails(Memory, "it wanted a table of 1000000001 elements; the limit is 20000"),
    ),
    case(
        11,
        "11-table-by-steps",
        End::Fails(Memory, "it wanted a table of 20001 elements; the limit is 20000"),
    ),
    case(12, "12-fills-in-a-row", TIME),
    case(12, "12-memory-fill", TIME),
    case(12, "12-memory-copy", TIME),
    case(12, "12-table-fill", TIME),
    case(13, "13-loop-at-the-start", TIME),
    made(
        14,
        "14 one function of a megabyte",
        bombs::one_function,
        Some("-t 2"),
        End::Refused("it takes too long to compile"),
    ),
    made(
        14,
        "14 fifty thousand functions",
        bombs::many_functions,
        Some("-v 110000"),
        End::Refused("compiling it takes more than 2147483648 bytes of memory"),
    ),
    made(
        15,
        "15 a hundred thousand locals",
        bombs::many_locals,
        None,
        End::Refused("too many locals: locals exceed maximum"),
    ),
    made(15, "15 a thousand blocks deep", bombs::deep_blocks, None, End::Keeps("")),
    made(
        16,
        "16 modules of zeros",
        bombs::zeros,
        None,
        End::Refused("it compiles to more than 268435456 bytes"),
    ),
    case(
        17,
        "17-imports-fd-write",
        End::Refused("it is a core WebAssembly module (it imports `wasi_snapshot_preview1.fd_write`)"),
    ),
    case(
        17,
        "17-imports-sock-open",
        End::Refused("it is a core WebAssembly module (it imports `wasi_snapshot_preview1.sock_open`)"),
    ),
    case(17, "17-imports-env-foo", End::Refused("it is a core WebAssembly module (it imports `env.foo`)")),
    case(
        17,
        "17-imports-wasi-filesystem",
        End::Refused("it imports `wasi:filesystem/types@0.2.6`, which this gateway does not grant"),
    ),
    case(18, "18-import-of-another-type", NOT_THE_INTERFACE),
    case(19, "19-no-export", End::Refused("it exports neither `hookweir:plugin/filter@0.1.0` nor")),
    case(19, "19-export-without-function", NOT_THE_INTERFACE),
    case(19, "19-export-of-another-type", NOT_THE_INTERFACE),
    case(20, "20-data-beyond-the-end", UNREADABLE),
    case(20, "20-data-of-negative-length", UNREADABLE),
    case(20, "20-data-at-a-negative-address", UNREADABLE),
    case(20, "20-headers-not-aligned", UNREADABLE),
    case(20, "20-everything-overlaps", End::Makes(530)),
    case(
        20,
        "20-everything-zero",
        End::Fails(InvalidOutput, "its headers can't be sent: the content type is empty"),
    ),
    case(20, "20-result-beyond-the-end", UNREADABLE),
    case(20, "20-result-not-aligned", UNREADABLE),
    case(20, "20-result-neither-ok-nor-error", UNREADABLE),
    case(20, "20-verdict-neither-keep-nor-drop", UNREADABLE),
    case(21, "21-output-of-a-hundred-mebibytes", UNREADABLE),
    case(21, "21-output-of-all-memory", TOO_MUCH),
    case(21, "21-a-byte-too-many", TOO_MUCH),
    case(21, "21-a-million-headers", TOO_MUCH),
    case(21, "21-a-reason-of-all-memory", TOO_MUCH),
    case(22, "22-not-utf-8", UNREADABLE),
    case(22, "22-reason-not-utf-8", UNREADABLE),
    // Data is bytes here; the formats that embed it refuse what is not JSON.
    case(23, "23-not-json", End::Makes(8)),
    case(23, "23-ten-thousand-deep", End::Makes(10_000)),
    case(24, "24-allocator-same-address", End::Keeps("")),
    case(24, "24-allocator-outside", UNREADABLE),
    case(24, "24-allocator-not-aligned", UNREADABLE),
    case(
        25,
        "25-host-call-in-the-allocator",
        End::Fails(Trap, "it trapped: wasm trap: cannot leave component instance"),
    ),
    case(26, "26-log-flood", TIME),
    case(26, "26-short-log-lines", End::Keeps("warn: line\nwarn: line\n")),
    case(26, "26-one-huge-log-line", TOO_MUCH),
    case(26, "26-config-flood", TIME),
    case(27, "27-log-with-escapes", End::Keeps("warn: a\\u{1b}[31m\\nerror: forged</script>")),
    case(
        28,
        "28-signature-header",
        End::Fails(
            InvalidOutput,
            "its headers can't be sent: header \"webhook-signature\" is set by the gateway, by HTTP or by a broker",
        ),
    ),
    case(
        29,
        "29-header-with-line-break",
        End::Fails(
            InvalidOutput,
            "its headers can't be sent: the value of header \"x-a\" may only hold visible",
        ),
    ),
    case(31, "31-counter", End::Drops("11")),
    case(
        32,
        "32-imports-random",
        End::Refused("it imports `wasi:random/random@0.2.6`, which this gateway does not grant"),
    ),
    case(
        32,
        "32-imports-clock",
        End::Refused("it imports `wasi:clocks/wall-clock@0.2.6`, which this gateway does not grant"),
    ),
    case(
        32,
        "32-imports-monotonic-clock",
        End::Refused("it imports `wasi:clocks/monotonic-clock@0.2.6`, which this gateway does not grant"),
    ),
    case(33, "33-drops-everything", End::Drops("not wanted")),
];

/// Cases, and fixtures, that have tests of their own: `headers`, `canary` and `crowd`.
pub(super) const ELSEWHERE: &[(u8, Option<&str>)] =
    &[(29, Some("29-attributes-as-headers")), (30, Some("30-canary")), (34, None)];
