//! Logs: for people on a terminal, JSON lines for programs. They go to standard error, and to a collector where the
//! configuration names one.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
#[cfg(feature = "otlp")]
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging at the level in `HOOKWEIR_LOG`, else at `default`, in the words of `tracing`'s filters.
pub(crate) fn start(default: &str) {
    let filter = EnvFilter::try_from_env("HOOKWEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as in tests, keeps the first.
    let _ = if std::io::stderr().is_terminal() {
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
