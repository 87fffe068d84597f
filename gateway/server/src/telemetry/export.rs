//! To a collector, by OTLP over HTTP: spans and log records are gathered in queues of a bounded size and sent in batches
//! by threads of their own. What finds its queue full is dropped: nothing on an event's path waits for a collector.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{LogExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor as _};
use reqwest::Certificate;
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::config::Otlp;

/// A batch that has not arrived by then is dropped.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Takes the spans, where the configuration wants them sent.
pub(super) fn spans(config: &Otlp) -> Result<BatchSpanProcessor> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(config.url("v1/traces"))
        .with_timeout(TIMEOUT)
        .with_headers(headers(config))
        .with_http_client(Collector::new("traces", config)?)
        .build()
        .context("failed to set up the export of traces")?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&resource(config));
    Ok(processor)
}

/// Takes the log records, where the configuration wants them sent.
pub(super) fn logs(config: &Otlp) -> Result<SdkLoggerProvider> {
    let exporter = LogExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(config.url("v1/logs"))
        .with_timeout(TIMEOUT)
        .with_headers(headers(config))
        .with_http_client(Collector::new("logs", config)?)
        .build()
        .context("failed to set up the export of logs")?;
    Ok(SdkLoggerProvider::builder().with_resource(resource(config)).with_batch_exporter(exporter).build())
}

fn headers(config: &Otlp) -> HashMap<String, String> {
    let shown = |(name, value): &(http::HeaderName, secrecy::SecretString)| {
        (name.to_string(), value.expose_secret().to_owned())
    };
    config.headers.iter().map(shown).collect()
}

fn resource(config: &Otlp) -> Resource {
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder().with_service_name(config.service.clone()).with_attribute(version).build()
}

/// The way to the collector. The threads that send have no runtime, so the gateway's does the work.
#[derive(Debug)]
struct Collector {
    what: &'static str,
    client: reqwest::Client,
    runtime: Handle,
    fails: AtomicBool,
}

impl Collector {
    fn new(what: &'static str, config: &Otlp) -> Result<Self> {
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT);
        if let Some(pem) = &config.ca {
            let authorities = Certificate::from_pem_bundle(pem).context("failed to read `ca`")?;
            client = client.tls_certs_only(authorities);
        }
        let client = client.build().context("failed to set up the client for the collector")?;
        Ok(Self { what, client, runtime: Handle::current(), fails: AtomicBool::new(false) })
    }

    /// One line in the log when it begins to fail, and one when that is over.
    fn note(&self, fault: Option<&str>) {
        let failed = self.fails.swap(fault.is_some(), Ordering::Relaxed);
        match fault {
            Some(error) if !failed => {
                warn!(
                    target: "hookweir::telemetry",
                    what = self.what,
                    error,
                    "the collector takes no telemetry: it is dropped meanwhile"
                );
            }
            None if failed => info!(
                target: "hookweir::telemetry",
                what = self.what,
                "the collector takes telemetry again"
            ),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = answer.bytes().await?;
            Ok::<_, reqwest::Error>(response)
        });
        let answered = match sent.await {
            Ok(answered) => answered.map_err(HttpError::from),
            // The runtime is at its end.
            Err(error) => Err(error.into()),
        };
        match &answered {
            Ok(response) if response.status().is_success() => self.note(None),
            Ok(response) => self.note(Some(&format!("it answered {}", response.status()))),
            Err(error) => self.note(Some(&chain(&**error))),
        }
        answered
    }
}

/// An error with its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
