//! Names become numbers on the caller's task, before anything reaches the writer. Those that are new are kept first.

use hookweir_model::{EndpointId, EndpointKey};

use super::Embedded;
use super::directory::Directory;
use super::record::EventRecord;
use super::writer::{Name, Op};
use crate::{Error, NewEvent};

impl Embedded {
    /// Turns events into records. Names that are new are kept first.
    pub(super) async fn records(&self, batch: Vec<NewEvent>) -> Result<Vec<EventRecord>, Error> {
        let unknown: Vec<Name> =
            self.shared.names(|names| batch.iter().flat_map(|new| unknown(names, new)).collect());
        if !unknown.is_empty() {
            self.ask(unknown, Op::Register).await?;
        }
        let resolve = |names: &Directory, new: NewEvent| {
            let mut lanes = Vec::with_capacity(new.endpoints.len());
            for endpoint in &new.endpoints {
                let lane = names.lane(&new.event.tenant, endpoint)?;
                if !lanes.contains(&lane) {
                    lanes.push(lane);
                }
            }
            Some((names.tenant(&new.event.tenant)?, lanes, new))
        };
        let resolved: Option<Vec<_>> =
            self.shared.names(|names| batch.into_iter().map(|new| resolve(names, new)).collect());
        let resolved =
            resolved.ok_or_else(|| Error::Failed("a name was kept but is not known".to_owned()))?;
        Ok(resolved.into_iter().map(|(tenant, lanes, new)| EventRecord::new(tenant, lanes, new)).collect())
    }

    /// The number of a lane, which is kept first if it is new.
    pub(super) async fn lane(&self, key: &EndpointKey) -> Result<i64, Error> {
        if let Some(lane) = self.shared.names(|names| names.lane_of(key)) {
            return Ok(lane);
        }
        self.ask(vec![Name::Lane(key.clone())], Op::Register).await?;
        let lane = self.shared.names(|names| names.lane_of(key));
        lane.ok_or_else(|| Error::Failed("a name was kept but is not known".to_owned()))
    }
}

fn unknown(names: &Directory, new: &NewEvent) -> Vec<Name> {
    let tenant = &new.event.tenant;
    let is_new = |endpoint: &&EndpointId| names.lane(tenant, endpoint).is_none();
    let lanes = new
        .endpoints
        .iter()
        .filter(is_new)
        .map(|endpoint| Name::Lane(EndpointKey::new(tenant.clone(), endpoint.clone())));
    let tenant = names.tenant(tenant).is_none().then(|| Name::Tenant(tenant.clone()));
    tenant.into_iter().chain(lanes).collect()
}
