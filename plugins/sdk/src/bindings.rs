//! What `wit-bindgen` makes of the gateway's WIT package: a module for the world of filters and one for that of
//! transformers, sharing their types.
//!
//! The world that does both has no module of its own. A component whose code exports both worlds is of that one, since
//! the linker merges them; generated next to the other two, its macros would bear the same names as theirs.

pub use filter_plugin::hookweir::plugin::host::{self, Level};
pub use filter_plugin::hookweir::plugin::types::{Event, Failure};

pub mod filter_plugin {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "filter-plugin",
        pub_export_macro: true,
        export_macro_name: "export_filter",
        additional_derives: [PartialEq, Eq],
    });
}

pub mod transformer_plugin {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "transformer-plugin",
        pub_export_macro: true,
        export_macro_name: "export_transformer",
        with: {
            "hookweir:plugin/host@0.1.0": super::filter_plugin::hookweir::plugin::host,
            "hookweir:plugin/types@0.1.0": super::filter_plugin::hookweir::plugin::types,
        },
        additional_derives: [PartialEq, Eq],
    });
}
