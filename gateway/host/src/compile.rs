//! Compiles a component in a child process, under limits of time and memory.
//!
//! A megabyte of WebAssembly can hold the compiler for half a minute and can't be interrupted, so the gateway's own
//! process never compiles. The child gets the component on standard input and writes machine code to standard
//! output, which is a file of the cache. It sets its limits itself, before it reads a byte.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::cache::Draft;
use crate::error::{HostError, LoadError};
use crate::text;

/// Processor time that a component may take to compile where nothing else is said. The largest known guests, a
/// JavaScript engine of 12 MB and a Python of 18 MB, take 10 to 30 seconds by machine.
pub const COMPILE_DEADLINE: Duration = Duration::from_secs(60);

/// The most that anybody may give a component: for a slow machine, or for who waits for a component of their own.
pub const LONGEST_COMPILE: Duration = Duration::from_secs(600);

/// How many times its processor time a child may take from start to end. It steps back behind everything else, so on a
/// busy machine a good plugin waits many times longer than it computes; only a child that hangs should meet this.
pub(crate) const PATIENCE: u32 = 10;

/// Tells the child how many seconds of processor time it has.
const SECONDS: &str = "COMPILE_SECONDS";

/// Bytes of address space. A hundred thousand functions take a quarter of it.
pub(crate) const MEMORY: u64 = 2 << 30;

/// Bytes of machine code. The largest known guest compiles to 37 MB.
pub(crate) const OUTPUT: u64 = 256 << 20;

/// The child's threads. Each reserves address space for its own allocations, so their number is bounded.
const THREADS: usize = 4;

/// How far the child steps back behind all else that the machine does.
const NICE: i32 = 10;

/// The child's exit code for a component that is not valid; the reason is on its standard error.
const INVALID: u8 = 65;

/// How much of the child's standard error is read.
const STDERR_BYTES: u64 = 4 << 10;

/// How the compile child is started.
///
/// The program must do nothing but answer with [`compile_child`]; the gateway's own binary does so for a hidden
/// subcommand.
#[derive(Debug, Clone)]
pub struct Compiler {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

impl Compiler {
    /// Compiles `wasm` into the draft, in so much processor time. The child is dead and reaped when this returns, and is
    /// killed if it is dropped.
    pub(crate) async fn compile(
        &self,
        wasm: &[u8],
        draft: &Draft,
        deadline: Duration,
    ) -> Result<(), LoadError> {
        if cfg!(not(feature = "compiler")) {
            return Err(LoadError::NoCompiler);
        }
        let mut child = self.spawn(draft, deadline).map_err(HostError::Compiler)?;
        let waited = tokio::time::timeout(deadline.saturating_mul(PATIENCE), talk(&mut child, wasm)).await;
        let Ok(ended) = waited else {
            child.kill().await.map_err(HostError::Compiler)?;
            return Err(LoadError::CompileTime { deadline });
        };
        let (status, stderr) = ended.map_err(HostError::Compiler)?;
        judge(status, &stderr, deadline).inspect_err(|error| {
            // Where the compiler broke is for whoever runs the gateway; the tenant's sentence names no inside.
            tracing::warn!(
                target: "hookweir::plugin",
                %status,
                %error,
                stderr = %text::reason(stderr.trim()),
                "a plugin was not compiled"
            );
        })
    }

    fn spawn(&self, draft: &Draft, deadline: Duration) -> io::Result<Child> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Command::new(&self.program)
            .args(&self.args)
            // The environment may hold secrets, which have no business in a process that reads a tenant's bytes.
            .env_clear()
            .env("RAYON_NUM_THREADS", cores.min(THREADS).to_string())
            .env(SECONDS, whole_seconds(deadline).to_string())
            .stdin(Stdio::piped())
            .stdout(draft.output()?)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

/// Hands the component over and waits for the child's end.
async fn talk(child: &mut Child, wasm: &[u8]) -> io::Result<(ExitStatus, String)> {
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A child that ends before it has read everything says why by its status.
            let written = stdin.write_all(wasm).await;
            written.or_else(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            })?;
        }
        io::Result::Ok(())
    };
    let read = async {
        let mut bytes = Vec::new();
        if let Some(stderr) = stderr {
            stderr.take(STDERR_BYTES).read_to_end(&mut bytes).await?;
        }
        io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let ((), stderr) = tokio::try_join!(write, read)?;
    Ok((child.wait().await?, stderr))
}

/// The system counts processor time in whole seconds.
fn whole_seconds(deadline: Duration) -> u64 {
    deadline.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// What the child's end says about the component.
fn judge(status: ExitStatus, stderr: &str, deadline: Duration) -> Result<(), LoadError> {
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(i32::from(INVALID)) {
        return Err(LoadError::Invalid(text::reason(stderr.trim())));
    }
    let signal = status.signal().and_then(Signal::from_named_raw);
    // Rust's allocator says so before it aborts; the text only chooses the sentence.
    let starved = stderr.contains("memory allocation of");
    Err(match signal {
        Some(Signal::XCPU) => LoadError::CompileTime { deadline },
        Some(Signal::XFSZ) => LoadError::CompileSize,
        Some(Signal::ABORT) if starved => LoadError::CompileMemory,
        // The end by its own patience does not come here: so it was the kernel.
        Some(Signal::KILL) => LoadError::CompilerKilled,
        _ => LoadError::CompilerFailed(status.to_string()),
    })
}

/// The whole life of a compile child: reads a component from standard input and writes its compiled form to standard
/// output. A program calls this instead of anything else that it does.
pub fn compile_child() -> ExitCode {
    match limit_this_process().and_then(|()| compile()) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(invalid)) => {
            // What can't be said here is missing from the tenant's sentence and no more.
            drop(write!(io::stderr(), "{invalid:#}"));
            ExitCode::from(INVALID)
        }
        Err(error) => {
            drop(write!(io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(feature = "compiler"))]
fn compile() -> io::Result<wasmtime::Result<()>> {
    Err(io::Error::other("this hookweir was built without the compiler"))
}

/// The outer result is about the child, the inner one about the component.
#[cfg(feature = "compiler")]
fn compile() -> io::Result<wasmtime::Result<()>> {
    use std::io::Read as _;

    use crate::bulk;

    let engine = crate::engine::for_compiling().map_err(|error| io::Error::other(format!("{error:#}")))?;
    let mut wasm = Vec::new();
    io::stdin().lock().read_to_end(&mut wasm)?;
    let compiled = bulk::interruptible(&wasm).and_then(|wasm| engine.precompile_component(&wasm));
    let code = match compiled {
        Ok(code) => code,
        // An offset in the compiler's sentence must be one of the component that its author knows.
        Err(invalid) => return Ok(Err(engine.precompile_component(&wasm).err().unwrap_or(invalid))),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&code)?;
    stdout.flush()?;
    Ok(Ok(()))
}

fn limit_this_process() -> io::Result<()> {
    // Nobody else is left to end it where the gateway was killed.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    lower(Resource::Core, 0)?;
    let seconds = std::env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    lower(Resource::Cpu, seconds.ok_or_else(|| io::Error::other(format!("{SECONDS} is not set")))?)?;
    lower(Resource::As, MEMORY)?;
    lower(Resource::Fsize, OUTPUT)?;
    nice(NICE)?;
    Ok(())
}

/// Sets a limit, unless a stricter one is there already. For processor time the hard limit lies a second higher, so
/// that the end by it has a signal of its own.
fn lower(resource: Resource, limit: u64) -> io::Result<()> {
    let before = getrlimit(resource);
    let hard = if resource == Resource::Cpu { limit + 1 } else { limit };
    let stricter = |set: Option<u64>, ours: u64| Some(set.map_or(ours, |set| set.min(ours)));
    let after = Rlimit { current: stricter(before.current, limit), maximum: stricter(before.maximum, hard) };
    Ok(setrlimit(resource, after)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_A_MINUTE: Duration = Duration::from_secs(30);

    #[test]
    fn the_system_counts_whole_seconds() {
        for (millis, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (60_000, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    #[test]
    fn the_childs_end_becomes_a_sentence() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let killed = |signal: Signal| ExitStatus::from_raw(signal.as_raw());
        for (status, stderr, sentence) in [
            (
                exit(65),
                "type mismatch (at offset 0x10)\n",
                "it is not a valid component: type mismatch (at offset 0x10)",
            ),
            (
                killed(Signal::XCPU),
                "",
                "it takes too long to compile: more than 30 s of processor time, or 300 s in all; make it smaller, or \
                 have `compile_deadline` in `[plugins]` of the gateway raised",
            ),
            (
                killed(Signal::ABORT),
                "memory allocation of 1024 bytes failed",
                "compiling it takes more than 2147483648 bytes of memory",
            ),
            (killed(Signal::XFSZ), "", "it compiles to more than 268435456 bytes"),
            (exit(101), "thread 'main' panicked\nat x", "the compiler failed on it (exit status: 101)"),
            (
                killed(Signal::KILL),
                "",
                "the compiler was killed, most likely since the machine is out of memory: give it more, or compile the \
                 component on a larger one, with `hookweir plugin compile FILE --data DIR`, and copy DIR/plugins into \
                 this gateway's data directory",
            ),
        ] {
            assert_eq!(judge(status, stderr, HALF_A_MINUTE).unwrap_err().to_string(), sentence);
        }
        assert!(judge(exit(0), "a warning", HALF_A_MINUTE).is_ok());
    }
}
