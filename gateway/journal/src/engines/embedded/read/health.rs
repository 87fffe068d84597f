//! What is pending, overall and by endpoint, and the endpoints' kept states.

use hookweir_model::EndpointState;
use rusqlite::{Connection, OptionalExtension as _};

use super::clock;
use crate::Oldest;
use crate::engines::embedded::fault::Fault;

/// How many deliveries are pending, and the oldest event that waits. `lanes` are all there are.
pub(in crate::engines::embedded) fn pending(
    connection: &Connection,
    lanes: &[i64],
) -> Result<(u64, Option<Oldest>), Fault> {
    let waiting = waiting(connection, lanes)?;
    let oldest = waiting.iter().filter_map(|lane| lane.oldest).min();
    Ok((waiting.iter().map(|lane| lane.pending).sum(), received(connection, oldest)?))
}

/// Of each of these lanes that has pending deliveries: how many, and the event of the oldest.
pub(in crate::engines::embedded) fn backlogs(
    connection: &Connection,
    lanes: &[i64],
) -> Result<Vec<(i64, u64, Option<Oldest>)>, Fault> {
    let waiting = waiting(connection, lanes)?.into_iter();
    waiting.map(|lane| Ok((lane.lane, lane.pending, received(connection, lane.oldest)?))).collect()
}

/// A lane with pending deliveries, at least one.
struct Waiting {
    lane: i64,
    pending: u64,
    oldest: Option<i64>,
}

fn waiting(connection: &Connection, lanes: &[i64]) -> Result<Vec<Waiting>, Fault> {
    let mut count = connection.prepare_cached("SELECT pending FROM counts WHERE lane = ?1")?;
    let mut oldest_of_lane = connection.prepare_cached(
        "SELECT min(seq) FROM (SELECT min(seq) AS seq FROM fresh WHERE lane = ?1 UNION ALL \
         SELECT min(seq) FROM delivery INDEXED BY delivery_pending WHERE lane = ?1 AND status = 0)",
    )?;
    let mut waiting = Vec::new();
    for &lane in lanes {
        let pending: Option<i64> = count.query_row((lane,), |row| row.get(0)).optional()?;
        let pending = pending.unwrap_or(0).unsigned_abs();
        if pending > 0 {
            let oldest = oldest_of_lane.query_row((lane,), |row| row.get(0))?;
            waiting.push(Waiting { lane, pending, oldest });
        }
    }
    Ok(waiting)
}

fn received(connection: &Connection, seq: Option<i64>) -> Result<Option<Oldest>, Fault> {
    let Some(seq) = seq else { return Ok(None) };
    let mut received = connection.prepare_cached("SELECT received FROM event WHERE seq = ?1")?;
    let at: Option<i64> = received.query_row((seq,), |row| Ok(row.get(0).ok())).optional()?.flatten();
    at.map(|at| clock::oldest(connection, clock::EVENT, seq, at)).transpose()
}

pub(in crate::engines::embedded) fn endpoint_states(
    connection: &Connection,
) -> Result<Vec<(i64, EndpointState)>, Fault> {
    let mut statement = connection.prepare_cached("SELECT lane, state FROM endpoint_state")?;
    let mut rows = statement.query([])?;
    let mut states = Vec::new();
    while let Some(row) = rows.next()? {
        let lane: i64 = row.get(0)?;
        let state = row.get_ref(1)?.as_str().ok().and_then(|text| serde_json::from_str(text).ok());
        match state {
            Some(state) => states.push((lane, state)),
            // The gateway must start all the same, and the endpoint's next failures make it a new one.
            None => tracing::error!(
                target: "hookweir::journal",
                lane,
                "the kept state of an endpoint is damaged: it counts as healthy"
            ),
        }
    }
    Ok(states)
}
