//! The guest's side of `wit/`, as types. They stay inside this crate: outside it speaks of [`crate::contract`] and of
//! the model.

mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "plugin",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub(crate) use generated::Plugin as World;
pub(crate) use generated::exports::hookweir::plugin::{filter, transformer};
pub(crate) use generated::hookweir::plugin::host::{Host as HostImports, Level};
pub(crate) use generated::hookweir::plugin::types::{Event, Failure, Host as TypesImports};
