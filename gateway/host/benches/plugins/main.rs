//! What plugins cost, in one run: calls in each language beside the same work done natively, memory and start with a
//! thousand tenants, and what a tenant's stuck plugins cost its neighbour.
//!
//! `cargo bench --workspace --bench plugins -- [calls|tenants|neighbour] [--quick] [--only LANGUAGE]`
//!
//! `tests/run languages` and `plugins/build` put the components where this looks for them, `target/plugins`. Figures are
//! medians; compare the ratios within a run.

mod calls;
mod neighbour;
mod rig;
mod tenants;

use std::error::Error;
use std::process::ExitCode;

use hookweir_host::compile_child;

/// The arguments of this program's own children.
const COMPILE: &str = "compile-plugin";
const TENANTS: &str = "tenants-child";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match arguments.as_slice() {
        [COMPILE] => return compile_child(),
        [TENANTS, folder, count, digests] => tenants::child(folder, count, digests),
        _ => run(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let (mut named, mut quick, mut only) = (Vec::new(), false, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match *argument {
            "--quick" => quick = true,
            "--only" => only = Some(*arguments.next().ok_or("--only names a language, such as Rust")?),
            "calls" | "tenants" | "neighbour" => named.push(*argument),
            unknown => {
                return Err(format!("there is no part {unknown}: name calls, tenants or neighbour").into());
            }
        }
    }
    let wanted = |name| named.is_empty() || named.contains(&name);
    if wanted("calls") {
        calls::run(quick, only)?;
    }
    if wanted("tenants") {
        tenants::run(quick)?;
    }
    if wanted("neighbour") {
        neighbour::run(quick)?;
    }
    Ok(())
}
