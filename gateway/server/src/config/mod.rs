//! The configuration, in two steps: `file` and `written` hold what the user wrote, `checked` what the program may
//! assume, and `check` leads from the one to the other. All problems are reported at once, by `problem`.

mod authority;
mod check;
mod checked;
mod endpoint;
mod env;
mod file;
mod folder;
mod include;
mod kind;
mod limits;
mod near;
mod pace;
mod plugin;
mod problem;
mod quantity;
mod retry;
mod secret;
mod source;
mod telemetry;
mod tenant;
mod unreadable;
mod written;

pub(crate) use check::{Unusable, load, load_inspecting};
pub(crate) use checked::{
    Config, Destination, Endpoint, Format, Otlp, Plugin, PluginSource, Pull, Quota, Tenant,
};
pub(crate) use env::{Env, StdEnv, Unreadable};
pub(crate) use folder::{LANGUAGES, PLUGIN_TOML, PluginFolder, load_plugin_folder};
pub(crate) use include::vanished;
pub(crate) use kind::VISIBILITY;
pub(crate) use plugin::{MAX_PLUGIN_SIZE, read_component};
pub(crate) use problem::{Problems, Severity, Warning};
