//! What [`export!`](crate::export) stands on: the generated traits, answered by the plugin's own.

use std::marker::PhantomData;

use crate::bindings::filter_plugin::exports::hookweir::plugin::filter as filter_bindings;
use crate::bindings::transformer_plugin::exports::hookweir::plugin::transformer as transformer_bindings;
use crate::{Event, Failure, Filter, Outgoing, Transformer, Verdict};

/// Exports a plugin: `export!(filter: F)`, `export!(transformer: T)` or `export!(filter: F, transformer: T)`, where `F`
/// is a [`Filter`](crate::Filter) and `T` a [`Transformer`](crate::Transformer); they may be the same type. It is
/// called once in a crate.
#[macro_export]
macro_rules! export {
    (filter: $filter:ty $(,)?) => {
        const _: () = {
            type Exported = $crate::glue::FilterExport<$filter>;
            const _: () = $crate::glue::FilterExport::<$filter>::IMPLEMENTED;
            #[cfg(target_family = "wasm")]
            $crate::bindings::filter_plugin::export_filter!(
                Exported with_types_in $crate::bindings::filter_plugin
            );
        };
    };
    (transformer: $transformer:ty $(,)?) => {
        const _: () = {
            type Exported = $crate::glue::TransformerExport<$transformer>;
            const _: () = $crate::glue::TransformerExport::<$transformer>::IMPLEMENTED;
            #[cfg(target_family = "wasm")]
            $crate::bindings::transformer_plugin::export_transformer!(
                Exported with_types_in $crate::bindings::transformer_plugin
            );
        };
    };
    (filter: $filter:ty, transformer: $transformer:ty $(,)?) => {
        $crate::export!(filter: $filter);
        $crate::export!(transformer: $transformer);
    };
}

/// A filter as the component exports it.
#[derive(Debug)]
pub struct FilterExport<F>(PhantomData<F>);

impl<F: Filter> FilterExport<F> {
    /// Fails to compile where `F` is no filter, on targets without the exported functions too.
    pub const IMPLEMENTED: () = ();
}

impl<F: Filter> filter_bindings::Guest for FilterExport<F> {
    fn filter(event: Event) -> Result<filter_bindings::Verdict, Failure> {
        log_panics();
        F::filter(&event).map(|verdict| match verdict {
            Verdict::Keep => filter_bindings::Verdict::Keep,
            Verdict::Drop(reason) => filter_bindings::Verdict::Drop(reason),
        })
    }
}

/// A transformer as the component exports it.
#[derive(Debug)]
pub struct TransformerExport<T>(PhantomData<T>);

impl<T: Transformer> TransformerExport<T> {
    /// Fails to compile where `T` is no transformer, on targets without the exported functions too.
    pub const IMPLEMENTED: () = ();
}

impl<T: Transformer> transformer_bindings::Guest for TransformerExport<T> {
    fn transform(event: Event) -> Result<transformer_bindings::Outgoing, Failure> {
        log_panics();
        T::transform(&event).map(|Outgoing { content_type, headers, data }| transformer_bindings::Outgoing {
            content_type,
            headers,
            data,
        })
    }
}

/// A panic reaches the gateway as a bare trap; its message and place go to the plugin's log before that, as one line.
fn log_panics() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| crate::error!("{}", panic.to_string().replacen(":\n", ": ", 1))));
}
