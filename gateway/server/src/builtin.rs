//! The plugins that are in the binary, so that a configuration can name one with no file to fetch. Their sources are in
//! `plugins/`, their settings in `plugins/README.md`.

use bytes::Bytes;

/// A plugin of the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Builtin {
    pub name: &'static str,
    wasm: &'static [u8],
}

impl Builtin {
    /// The component's bytes.
    pub(crate) const fn wasm(self) -> Bytes {
        Bytes::from_static(self.wasm)
    }
}

/// A filter that keeps an event whose number in one field is at least a minimum.
pub(crate) const KEEP_ABOVE: Builtin =
    Builtin { name: "keep-above", wasm: include_bytes!("../../../plugins/dist/keep-above.wasm") };

/// A transformer that makes a chat message of chosen fields.
pub(crate) const TO_SLACK: Builtin =
    Builtin { name: "to-slack", wasm: include_bytes!("../../../plugins/dist/to-slack.wasm") };

/// All plugins of the binary.
pub(crate) const ALL: [Builtin; 2] = [KEEP_ABOVE, TO_SLACK];

/// The plugin of a name.
pub(crate) fn find(name: &str) -> Option<Builtin> {
    ALL.into_iter().find(|builtin| builtin.name == name)
}
