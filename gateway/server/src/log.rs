//! Logs: for people on a terminal, JSON lines for programs. They go to standard error, and to a collector where the
//! configuration names one.
//!
//! Whoever logs only adds to a bounded queue; a thread of its own writes. A log that is not read, or a full disk under it,
//! costs lines, which are counted, and never stops or ends the gateway.

mod queue;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
#[cfg(feature = "otlp")]
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::queue::Queue;

/// Bytes of lines that wait to be written.
const WAITING: usize = 256 << 10;
/// How long the end of the process waits for the lines that are not written yet.
const PATIENCE: Duration = Duration::from_secs(1);

static LINES: Queue = Queue::new(WAITING);
static LOST: AtomicU64 = AtomicU64::new(0);
static STARTED: OnceLock<()> = OnceLock::new();

/// Starts logging at the level in `HOOKWEIR_LOG`, else at `default`, in the words of `tracing`'s filters.
pub(crate) fn start(default: &str) -> io::Result<()> {
    if STARTED.set(()).is_err() {
        // A second start, as in tests, keeps the first.
        return Ok(());
    }
    writer::start(&LINES, &LOST)?;
    let filter = EnvFilter::try_from_env("HOOKWEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // The library's own word about a failed write is an `eprintln!`, which panics where it fails.
    let builder = fmt().with_env_filter(filter).with_writer(|| Line).log_internal_errors(false);
    let _ = if io::stderr().is_terminal() {
        let lines = builder.with_target(false).finish();
        #[cfg(feature = "otlp")]
        let lines = lines.with(collector::Late);
        lines.try_init()
    } else {
        let lines =
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish();
        #[cfg(feature = "otlp")]
        let lines = lines.with(collector::Late);
        lines.try_init()
    };
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

/// Writes text to standard error as it is: in its order among the lines of the log where that was started, else at once.
/// That it can't be written is no failure.
pub(crate) fn say(text: &str) {
    if STARTED.get().is_some() {
        add(text.as_bytes());
    } else {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Waits for what was logged to be written, for a second at most: whoever should read it may be gone.
pub(crate) fn flush() {
    if STARTED.get().is_some() {
        LINES.drain(PATIENCE);
    }
}

/// How many lines were lost so far: dropped since too much waited, or not taken by standard error.
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

fn add(line: &[u8]) {
    if !writer::keep_own(line) && !LINES.push(line) {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes one line in one piece, as the subscriber writes it.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs a panic. The library's own hook would write it to standard error from the thread that panicked.
fn panicked(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let said = info.payload_as_str().unwrap_or("it gave no text");
    tracing::error!(
        target: "hookweir::process",
        panic = said,
        place,
        thread = thread.name(),
        backtrace,
        "a thread or task panicked"
    );
    if thread.name() == Some("main") {
        // Nobody else waits for the line: the process ends.
        flush();
    }
}

#[cfg(feature = "otlp")]
pub(crate) use self::collector::send_to;

#[cfg(feature = "otlp")]
mod collector {
    use std::sync::OnceLock;

    use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
    use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::Context;
    use tracing_subscriber::registry::LookupSpan;

    static BRIDGE: OnceLock<OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>> = OnceLock::new();

    /// From now on what is logged goes to this provider too. The first has it for good.
    pub(crate) fn send_to(provider: &SdkLoggerProvider) {
        // Another gateway in the same process, as in tests, has no collector of its own.
        let _ = BRIDGE.set(OpenTelemetryTracingBridge::new(provider));
    }

    /// The place for the way to a collector, which is known only after the configuration was read.
    pub(super) struct Late;

    impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Late {
        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            // What libraries say is left out: the one that sends the records would speak of each time that it does.
            if let Some(bridge) = BRIDGE.get()
                && event.metadata().target().starts_with("hookweir")
            {
                bridge.on_event(event, context);
            }
        }
    }
}
