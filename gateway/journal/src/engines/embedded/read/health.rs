//! What is pending overall, and the endpoints' kept states.

use hookweir_model::{EndpointState, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use crate::engines::embedded::fault::Fault;

/// How many deliveries are pending, and when the oldest event that waits was received. `lanes` are all there are.
pub(in crate::engines::embedded) fn pending(
    connection: &Connection,
    lanes: &[i64],
) -> Result<(u64, Option<Timestamp>), Fault> {
    let mut count = connection.prepare_cached("SELECT pending FROM counts WHERE lane = ?1")?;
    let mut received = connection.prepare_cached("SELECT received FROM event WHERE seq = ?1")?;
    let mut oldest_of_lane = connection.prepare_cached(
        "SELECT min(seq) FROM (SELECT min(seq) AS seq FROM fresh WHERE lane = ?1 UNION ALL \
         SELECT min(seq) FROM delivery INDEXED BY delivery_pending WHERE lane = ?1 AND status = 0)",
    )?;
    let (mut pending, mut oldest) = (0, None);
    for lane in lanes {
        let n: Option<i64> = count.query_row((lane,), |row| row.get(0)).optional()?;
        let n = n.unwrap_or(0).unsigned_abs();
        if n > 0 {
            pending += n;
            let seq: Option<i64> = oldest_of_lane.query_row((lane,), |row| row.get(0))?;
            oldest = oldest.into_iter().chain(seq).min();
        }
    }
    let Some(seq) = oldest else { return Ok((pending, None)) };
    let at: Option<i64> = received.query_row((seq,), |row| row.get(0)).optional()?;
    Ok((pending, at.map(Timestamp::from_millis)))
}

pub(in crate::engines::embedded) fn endpoint_states(
    connection: &Connection,
) -> Result<Vec<(i64, EndpointState)>, Fault> {
    let mut statement = connection.prepare_cached("SELECT lane, state FROM endpoint_state")?;
    let mut rows = statement.query([])?;
    let mut states = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        let state = serde_json::from_str(&text).map_err(|_| Fault::damaged("an endpoint's state"))?;
        states.push((row.get(0)?, state));
    }
    Ok(states)
}
