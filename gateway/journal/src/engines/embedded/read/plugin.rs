//! The kept states of plugins.

use hookweir_model::{Digest, PluginId, PluginState, Timestamp, Upload};
use rusqlite::{Connection, Row};

use crate::engines::embedded::fault::Fault;

/// Every row: the tenant's number, the plugin, its state.
pub(in crate::engines::embedded) fn states(
    connection: &Connection,
) -> Result<Vec<(i64, PluginId, PluginState)>, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT tenant, plugin, current, previous, uploaded, paused FROM plugin_state")?;
    let mut rows = statement.query([])?;
    let mut states = Vec::new();
    while let Some(row) = rows.next()? {
        let plugin = row.get_ref(1)?.as_str().ok().and_then(|name| PluginId::new(name).ok());
        let state = state(row).ok().flatten();
        match plugin.zip(state) {
            Some((plugin, state)) => states.push((row.get(0)?, plugin, state)),
            // The gateway must start all the same. Without a component the deliveries that need it wait.
            None => tracing::error!(
                target: "hookweir::journal",
                "the kept state of a plugin is damaged: upload the plugin again"
            ),
        }
    }
    Ok(states)
}

/// `None` where the columns don't make a state.
fn state(row: &Row<'_>) -> Result<Option<PluginState>, Fault> {
    let digest = |column| row.get::<_, Option<[u8; 32]>>(column).map(|bytes| bytes.map(Digest::from_bytes));
    let (current, previous) = (digest(2)?, digest(3)?);
    let uploaded: Option<i64> = row.get(4)?;
    let paused: Option<String> = row.get(5)?;
    let upload = match (current, uploaded) {
        (Some(current), Some(at)) => Some(Upload { current, previous, at: Timestamp::from_millis(at) }),
        (None, None) => None,
        _ => return Ok(None),
    };
    let Ok(paused) = paused.map(|text| serde_json::from_str(&text)).transpose() else { return Ok(None) };
    Ok(Some(PluginState { upload, paused }))
}
