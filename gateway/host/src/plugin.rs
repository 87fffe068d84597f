//! A plugin that is loaded: compiled, mapped, its imports resolved and its exports found.

use std::fmt;

use hookweir_model::Digest;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower,
};
use wasmtime::{Engine, Store};

use crate::bindings::{Event, Failure, filter, transformer};
use crate::error::LoadError;
use crate::inspect::Exports;
use crate::instance::{Guest, Linker};

/// A plugin that is loaded and can be called.
pub struct Plugin {
    digest: Digest,
    size: usize,
    pre: InstancePre<Guest>,
    filter: Option<filter::GuestIndices>,
    transformer: Option<transformer::GuestIndices>,
}

impl Plugin {
    /// Binds a mapped component to what it may import, and checks the types of what it exports, so that no call finds
    /// out later that it was built against another interface.
    pub(crate) fn bind(
        linker: &Linker,
        component: &Component,
        digest: Digest,
        size: usize,
        exports: Exports,
    ) -> Result<Self, LoadError> {
        let contract = |error: wasmtime::Error| LoadError::Contract(format!("{error:#}"));
        let pre = linker.instantiate_pre(component).map_err(contract)?;
        Ok(Self {
            digest,
            size,
            filter: exports.filter.then(|| bind_filter(&pre)).transpose().map_err(contract)?,
            transformer: exports.transformer.then(|| bind_transformer(&pre)).transpose().map_err(contract)?,
            pre,
        })
    }

    /// The SHA-256 of the component, by which it is known everywhere.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The component's bytes, as they were given.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn exports(&self) -> Exports {
        Exports { filter: self.filter.is_some(), transformer: self.transformer.is_some() }
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    pub(crate) fn filter(&self) -> Option<&filter::GuestIndices> {
        self.filter.as_ref()
    }

    pub(crate) fn transformer(&self) -> Option<&transformer::GuestIndices> {
        self.transformer.as_ref()
    }

    pub(crate) fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Instance> {
        self.pre.instantiate(store)
    }
}

fn bind_filter(pre: &InstancePre<Guest>) -> wasmtime::Result<filter::GuestIndices> {
    check_type::<(Event<'_>,), (Result<filter::Verdict, Failure>,)>(pre, "filter", "filter")?;
    filter::GuestIndices::new(pre)
}

fn bind_transformer(pre: &InstancePre<Guest>) -> wasmtime::Result<transformer::GuestIndices> {
    check_type::<(Event<'_>,), (Result<transformer::Outgoing, Failure>,)>(pre, "transformer", "transform")?;
    transformer::GuestIndices::new(pre)
}

/// Compares the type of an exported function with the one that `wit/` states. The bindings do so too, but only once
/// there is an instance.
fn check_type<Params, Return>(
    pre: &InstancePre<Guest>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<()>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    let interface = format!("hookweir:plugin/{interface}@0.1.0");
    let missing = || wasmtime::Error::msg(format!("it exports no function `{function}` in `{interface}`"));
    let component = pre.component();
    let found: Option<(ComponentItem, ComponentExportIndex)> = component
        .get_export(None, &interface)
        .and_then(|(_, index)| component.get_export(Some(&index), function));
    match found {
        Some((ComponentItem::ComponentFunc(exported), _)) => exported
            .typecheck::<Params, Return>(&pre.instance_type())
            .map_err(|error| error.context(format!("its `{function}` differs from `{interface}`"))),
        _ => Err(missing()),
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("digest", &self.digest)
            .field("size", &self.size)
            .field("exports", &self.exports())
            .finish_non_exhaustive()
    }
}
