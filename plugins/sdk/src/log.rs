//! The plugin's log, kept with the attempt for its tenant to read.

use crate::{Level, host};

/// Writes a line to the plugin's log; what goes over the call's limit is cut. The macros [`debug!`](crate::debug),
/// [`info!`](crate::info), [`warn!`](crate::warn) and [`error!`](crate::error) take a format string.
pub fn log(level: Level, message: &str) {
    host::log(level, message);
}

/// Writes a formatted line to the plugin's log at the level `debug`.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log($crate::Level::Debug, &::std::format!($($message)+)) };
}

/// Writes a formatted line to the plugin's log at the level `info`.
///
/// ```
/// let orders = 3;
/// hookweir_plugin::info!("{orders} orders seen");
/// ```
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log($crate::Level::Info, &::std::format!($($message)+)) };
}

/// Writes a formatted line to the plugin's log at the level `warn`.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log($crate::Level::Warn, &::std::format!($($message)+)) };
}

/// Writes a formatted line to the plugin's log at the level `error`.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log($crate::Level::Error, &::std::format!($($message)+)) };
}
