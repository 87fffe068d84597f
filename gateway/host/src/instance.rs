//! One instance of one plugin, in a store of its own.
//!
//! It lives for one event, or for several of one tenant where that was chosen. After any error it must be dropped: a
//! guest that trapped may have left anything behind.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::HasSelf;
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::bindings::{self, Event, Failure, filter, transformer};
use crate::contract::{FaultKind, Limits, Step};
use crate::fault::{Cause, Stage, cause};
use crate::limits::{Clock, Space};
use crate::log::CallLog;
use crate::plugin::Plugin;

/// What a guest may hand over beyond the output limit before the copy itself is refused: the bookkeeping of a list of
/// headers, and an ordinary log line where the output limit is tiny. The exact limit is checked afterwards.
const COPY_ALLOWANCE: usize = 64 << 10;

/// The host's side of a store: what the guest's imports and limits look at.
#[derive(Debug)]
pub(crate) struct Guest {
    config: Arc<str>,
    log: CallLog,
    space: Space,
    clock: Clock,
}

impl bindings::HostImports for Guest {
    fn log(&mut self, level: bindings::Level, message: String) {
        self.log.push(level, &message);
    }

    fn config(&mut self) -> String {
        self.config.as_ref().to_owned()
    }
}

impl bindings::TypesImports for Guest {}

/// All that a plugin may import.
pub(crate) type Linker = wasmtime::component::Linker<Guest>;

pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker> {
    let mut linker = Linker::new(engine);
    bindings::World::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

pub(crate) struct Instance {
    plugin: Arc<Plugin>,
    limits: Limits,
    store: Store<Guest>,
    /// Set once the start functions have run.
    started: Option<wasmtime::component::Instance>,
    /// Events that it was made or taken for.
    events: u32,
}

impl Instance {
    /// Makes the store. No code of the guest runs before the first call.
    pub(crate) fn new(step: &Step) -> Self {
        let guest = Guest {
            config: Arc::clone(&step.config),
            log: CallLog::new(step.limits.log),
            space: Space::new(&step.limits),
            clock: Clock::stopped(&step.limits),
        };
        let mut store = Store::new(step.plugin.engine(), guest);
        store.limiter(|guest| &mut guest.space);
        store.set_hostcall_fuel(step.limits.output.saturating_add(COPY_ALLOWANCE));
        store.epoch_deadline_callback(|store| {
            store.data().clock.check()?;
            Ok(UpdateDeadline::Continue(1))
        });
        Self { plugin: Arc::clone(&step.plugin), limits: step.limits, store, started: None, events: 1 }
    }

    pub(crate) fn filter(&mut self, event: Event<'_>) -> Result<Result<filter::Verdict, Failure>, Cause> {
        let instance = self.begin()?;
        let Some(indices) = self.plugin.filter() else {
            return Err(Cause::new(FaultKind::Host, "it is configured as a filter, which it is not"));
        };
        indices
            .load(&mut self.store, &instance)
            .and_then(|guest| guest.call_filter(&mut self.store, event))
            .map_err(|error| self.cause(&error, Stage::Call))
    }

    pub(crate) fn transform(
        &mut self,
        event: Event<'_>,
    ) -> Result<Result<transformer::Outgoing, Failure>, Cause> {
        let instance = self.begin()?;
        let Some(indices) = self.plugin.transformer() else {
            return Err(Cause::new(FaultKind::Host, "it is configured as a transformer, which it is not"));
        };
        indices
            .load(&mut self.store, &instance)
            .and_then(|guest| guest.call_transform(&mut self.store, event))
            .map_err(|error| self.cause(&error, Stage::Call))
    }

    fn cause(&self, error: &wasmtime::Error, stage: Stage) -> Cause {
        cause(error, stage, &self.limits, self.store.data().log.error())
    }

    /// Whether it has seen an earlier event.
    pub(crate) fn is_warm(&self) -> bool {
        self.events > 1
    }

    /// Counts one more event, and answers whether the instance may still see it.
    pub(crate) fn may_see_another(&mut self, most: u32) -> bool {
        self.events = self.events.saturating_add(1);
        self.events <= most
    }

    /// Processor time since the last call began.
    pub(crate) fn processor(&self) -> Duration {
        self.store.data().clock.processor()
    }

    /// Bytes of linear memory that it has.
    pub(crate) fn memory(&self) -> usize {
        self.store.data().space.memory()
    }

    /// Takes what was logged since the last call of this.
    pub(crate) fn take_log(&mut self) -> String {
        let fresh = CallLog::new(self.limits.log);
        std::mem::replace(&mut self.store.data_mut().log, fresh).into_lines()
    }

    /// Gives the coming call its time, and starts the instance if it has not been.
    fn begin(&mut self) -> Result<wasmtime::component::Instance, Cause> {
        self.store.data_mut().clock = Clock::start(&self.limits);
        self.store.set_epoch_deadline(1);
        match self.started {
            Some(instance) => Ok(instance),
            None => {
                let instance = self
                    .plugin
                    .instantiate(&mut self.store)
                    .map_err(|error| self.cause(&error, Stage::Start))?;
                self.started = Some(instance);
                Ok(instance)
            }
        }
    }
}
