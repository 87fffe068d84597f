//! Guests that are hostile by their size: they are made, since a file of them would be large.

use bytes::Bytes;

use crate::guest::{KEEP, filter, nested};

/// Case 14: a function of more than a megabyte in which every value depends on many others and lives long. It holds
/// the compiler for half a minute.
pub(super) fn one_function() -> Bytes {
    const LOCALS: usize = 4_000;
    const STATEMENTS: usize = 60_000;
    let mut text = String::from("(func $bomb (param i32) (local ");
    text.extend(std::iter::repeat_n("i32 ", LOCALS));
    text.push(')');
    for number in 0..STATEMENTS {
        let (to, one, other) =
            (number % LOCALS + 1, number * 7_919 % LOCALS + 1, number * 104_729 % LOCALS + 1);
        text.push_str(&format!(
            "(block (br_if 0 (local.get {one})) (local.set {to} (i32.add (local.get {one}) (local.get {other}))))"
        ));
    }
    text.push(')');
    filter(&text, KEEP)
}

/// Case 14: many small functions.
pub(super) fn many_functions() -> Bytes {
    let functions: String = (0..50_000)
        .map(|number| format!("(func (param i32) (result i32) (i32.add (local.get 0) (i32.const {number})))"))
        .collect();
    filter(&functions, KEEP)
}

/// Case 15: a function with more variables than the specification's limit for engines.
pub(super) fn many_locals() -> Bytes {
    filter(&format!("(func (local {}))", "i32 ".repeat(100_000)), KEEP)
}

/// Case 15: blocks within blocks.
pub(super) fn deep_blocks() -> Bytes {
    const DEEP: usize = 1_000;
    filter("", &format!("{}{}{KEEP}", "(block ".repeat(DEEP), ")".repeat(DEEP)))
}

/// Case 16: modules of a few bytes, each with a byte at both ends of almost 16 MiB of memory. Compiled, each is an image of all
/// of its memory.
pub(super) fn zeros() -> Bytes {
    let unused = r#"(core module (memory 256) (data (i32.const 0) "a") (data (i32.const 16700000) "z"))"#;
    nested(&filter("", KEEP), &wat::parse_str(format!("(component {})", unused.repeat(20))).unwrap())
}
