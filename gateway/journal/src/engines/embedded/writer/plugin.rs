//! The states of plugins, and the blobs that they name.

use hookweir_model::{Digest, PluginId, PluginState};

use super::statements::Statements;
use crate::Error;
use crate::engines::embedded::fault::Fault;

/// A plugin's state as its row has it.
#[derive(Debug)]
pub(in crate::engines::embedded) struct PluginRecord {
    tenant: i64,
    plugin: PluginId,
    current: Option<Digest>,
    previous: Option<Digest>,
    uploaded: Option<i64>,
    /// JSON.
    paused: Option<String>,
}

impl PluginRecord {
    pub(in crate::engines::embedded) fn new(
        tenant: i64,
        plugin: &PluginId,
        state: &PluginState,
    ) -> Result<Self, Error> {
        let paused = state.paused.as_ref().map(serde_json::to_string).transpose();
        let upload = state.upload.as_ref();
        Ok(Self {
            tenant,
            plugin: plugin.clone(),
            current: upload.map(|upload| upload.current),
            previous: upload.and_then(|upload| upload.previous),
            uploaded: upload.map(|upload| upload.at.as_millis()),
            paused: paused.map_err(|error| Error::Failed(error.to_string()))?,
        })
    }
}

/// Keeps a state and removes the blobs that none names any more. A refusal changes nothing, so it need not undo the
/// group that it is in.
pub(super) fn keep(
    statements: &mut Statements<'_>,
    record: &PluginRecord,
) -> Result<Result<(), Error>, Fault> {
    for digest in record.current.iter().chain(&record.previous) {
        if !statements.has_blob.exists((digest.as_bytes(),))? {
            return Ok(Err(Error::NotFound("blob")));
        }
    }
    let digest = |digest: &Option<Digest>| digest.map(|digest| *digest.as_bytes());
    statements.put_plugin.execute((
        record.tenant,
        record.plugin.as_str(),
        digest(&record.current),
        digest(&record.previous),
        record.uploaded,
        &record.paused,
    ))?;
    statements.drop_blobs.execute([])?;
    Ok(Ok(()))
}
