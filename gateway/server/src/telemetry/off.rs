//! What stands in for telemetry in a build without the feature `otlp`: it takes everything and does nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hookweir_journal::Settlement;
use hookweir_model::{Answer, EndpointKey, Event, EventId, Outcome, PluginCall};

use crate::config::Otlp;

#[derive(Debug)]
pub(crate) struct Telemetry;

impl Telemetry {
    /// The check of the configuration has refused to ask for it.
    pub(crate) fn start(_: Option<&Otlp>) -> Result<Self> {
        Ok(Self)
    }

    pub(crate) fn traces(&self) -> Traces {
        Traces
    }

    pub(crate) async fn stop(self) {}
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Traces;

impl Traces {
    pub(crate) fn accepted(&self, _: &Event, _: Option<&EventId>, _: Instant, _: Duration, _: usize) {}

    pub(crate) fn announced(&self, _: &Event, _: Instant) {}

    pub(crate) fn delivery(&self, _: &Arc<Event>) -> Option<Box<Trail>> {
        None
    }
}

/// There is none.
#[derive(Debug)]
pub(crate) struct Trail(Infallible);

impl Trail {
    pub(crate) fn traceparent(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn shaped(&mut self, _: &[PluginCall]) {
        match self.0 {}
    }

    pub(crate) fn sent(&mut self, _: Duration, _: Outcome, _: Option<&Answer>, _: Option<&str>) {
        match self.0 {}
    }

    pub(crate) fn end(self, _: &EndpointKey, _: u32, _: &Settlement) {
        match self.0 {}
    }
}
