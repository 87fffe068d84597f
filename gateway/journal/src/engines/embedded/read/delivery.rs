//! Deliveries, one and in lists, with their attempts and counts.
//!
//! A list over a tenant is a merge of its lanes, each read newest first, a few rows at a time: no index has to order
//! all deliveries of a tenant.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use hookweir_model::{
    Answer, Attempt, Delivery, DeliveryKey, EndpointId, EventId, PluginCall, Status, TenantId, Timestamp,
    TypePattern,
};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::LOOKED_AT;
use super::event::bounds;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::record::{self, Summary, head_columns};
use crate::engines::embedded::writer::outcome_from_code;
use crate::{Counts, Cursor, Page, Seq};

/// Deliveries to list, in numbers.
#[derive(Debug)]
pub(in crate::engines::embedded) struct DeliveryQuery {
    pub(in crate::engines::embedded) tenant: TenantId,
    /// By endpoint.
    pub(in crate::engines::embedded) lanes: Vec<(EndpointId, i64)>,
    pub(in crate::engines::embedded) status: Option<Status>,
    pub(in crate::engines::embedded) event_type: Option<TypePattern>,
    pub(in crate::engines::embedded) since: Option<Timestamp>,
    pub(in crate::engines::embedded) until: Option<Timestamp>,
    pub(in crate::engines::embedded) after: Option<(i64, Option<EndpointId>)>,
    pub(in crate::engines::embedded) limit: usize,
}

impl DeliveryQuery {
    fn wants(&self, status: Status, event: &Summary) -> bool {
        self.status.is_none_or(|wanted| wanted == status)
            && self.event_type.as_ref().is_none_or(|pattern| pattern.matches(&event.event_type))
            && self.since.is_none_or(|since| event.received >= since)
            && self.until.is_none_or(|until| event.received < until)
    }
}

/// A row of `delivery`.
struct Stored {
    seq: i64,
    status: Status,
    due: i64,
    attempts: u32,
    reason: Option<String>,
}

impl Stored {
    /// Reads seq, status, due, attempts, reason.
    fn read(row: &Row<'_>) -> Result<Self, Fault> {
        let status = Status::from_code(row.get(1)?).ok_or_else(|| Fault::damaged("a delivery's status"))?;
        Ok(Self { seq: row.get(0)?, status, due: row.get(2)?, attempts: row.get(3)?, reason: row.get(4)? })
    }

    fn shown(self, tenant: &TenantId, endpoint: &EndpointId, event: &Summary) -> Delivery {
        let due = match self.due {
            0 => event.received,
            due => Timestamp::from_millis(due),
        };
        Delivery {
            key: DeliveryKey { tenant: tenant.clone(), endpoint: endpoint.clone(), event: event.id.clone() },
            event_type: event.event_type.clone(),
            received: event.received,
            status: self.status,
            attempts: self.attempts,
            due: (self.status == Status::Pending).then_some(due),
            reason: self.reason,
        }
    }
}

/// Where an event is and what a list shows of it.
struct Found {
    seq: i64,
    event: Summary,
    lanes: Vec<i64>,
}

fn find(connection: &Connection, tenant: i64, id: &EventId) -> Result<Option<Found>, Fault> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        head_columns!(),
        ", seq, lanes FROM event WHERE tenant = ?1 AND id = ?2"
    ))?;
    let mut rows = statement.query((tenant, id.as_str()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let event = record::summary(row).ok_or_else(|| Fault::damaged(format!("event {id}")))?;
    let lanes: Option<String> = row.get(record::AFTER_HEAD + 1)?;
    Ok(Some(Found { seq: row.get(record::AFTER_HEAD)?, event, lanes: record::lanes(lanes.as_deref())? }))
}

fn stored(connection: &Connection, lane: i64, seq: i64) -> Result<Option<Stored>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, status, due, attempts, reason FROM delivery WHERE lane = ?1 AND seq = ?2 \
         UNION ALL SELECT seq, 0, 0, 0, NULL FROM fresh WHERE lane = ?1 AND seq = ?2",
    )?;
    let mut rows = statement.query((lane, seq))?;
    rows.next()?.map(Stored::read).transpose()
}

pub(in crate::engines::embedded) fn delivery(
    connection: &Connection,
    tenant: i64,
    lane: i64,
    key: &DeliveryKey,
) -> Result<Option<Delivery>, Fault> {
    let Some(found) = find(connection, tenant, &key.event)? else { return Ok(None) };
    let stored = stored(connection, lane, found.seq)?;
    Ok(stored.map(|stored| stored.shown(&key.tenant, &key.endpoint, &found.event)))
}

/// `endpoints` are the tenant's lanes, by endpoint.
pub(in crate::engines::embedded) fn deliveries_of(
    connection: &Connection,
    tenant: i64,
    name: &TenantId,
    endpoints: &[(EndpointId, i64)],
    id: &EventId,
) -> Result<Vec<Delivery>, Fault> {
    let Some(found) = find(connection, tenant, id)? else { return Ok(Vec::new()) };
    let mut deliveries = Vec::with_capacity(found.lanes.len());
    for (endpoint, lane) in endpoints.iter().filter(|(_, lane)| found.lanes.contains(lane)) {
        if let Some(stored) = stored(connection, *lane, found.seq)? {
            deliveries.push(stored.shown(name, endpoint, &found.event));
        }
    }
    Ok(deliveries)
}

pub(in crate::engines::embedded) fn attempts(
    connection: &Connection,
    tenant: i64,
    lane: i64,
    event: &EventId,
) -> Result<Vec<Attempt>, Fault> {
    let Some(found) = find(connection, tenant, event)? else { return Ok(Vec::new()) };
    // A first attempt in the delivery's own row delivered, which is outcome 0.
    let mut statement = connection.prepare_cached(
        "SELECT 1, started, duration, 0, NULL, answer, body, plugins FROM delivery \
         WHERE lane = ?1 AND seq = ?2 AND started IS NOT NULL UNION ALL \
         SELECT n, started, duration, outcome, reason, answer, body, plugins FROM attempt \
         WHERE lane = ?1 AND seq = ?2 ORDER BY 1",
    )?;
    let mut rows = statement.query((lane, found.seq))?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(attempt(row)?);
    }
    Ok(attempts)
}

fn attempt(row: &Row<'_>) -> Result<Attempt, Fault> {
    let outcome = outcome_from_code(row.get(3)?).ok_or_else(|| Fault::damaged("an attempt's outcome"))?;
    let status: Option<u16> = row.get(5)?;
    let body: Option<String> = row.get(6)?;
    let plugins: Option<String> = row.get(7)?;
    let plugins: Option<Vec<PluginCall>> = plugins
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|_| Fault::damaged("a plugin's call"))?;
    Ok(Attempt {
        number: row.get(0)?,
        started: Timestamp::from_millis(row.get(1)?),
        duration_ms: row.get::<_, i64>(2)?.unsigned_abs(),
        outcome,
        reason: row.get(4)?,
        answer: (status.is_some() || body.is_some())
            .then(|| Answer { status, body: body.unwrap_or_default() }),
        plugins: plugins.unwrap_or_default(),
    })
}

pub(in crate::engines::embedded) fn counts(connection: &Connection, lane: i64) -> Result<Counts, Fault> {
    // In the order of the statuses' codes.
    let mut statement = connection.prepare_cached(
        "SELECT pending, delivered, filtered, exhausted, failed, cancelled, expired FROM counts WHERE lane = ?1",
    )?;
    let mut rows = statement.query((lane,))?;
    let mut counts = Counts::default();
    if let Some(row) = rows.next()? {
        for (column, count) in counts.0.iter_mut().enumerate() {
            *count = row.get::<_, i64>(column)?.unsigned_abs();
        }
    }
    Ok(counts)
}

/// One lane of a merge: rows read ahead, newest first, and where the next ones start.
struct Lane<'q> {
    endpoint: &'q EndpointId,
    id: i64,
    ahead: VecDeque<Stored>,
    /// The highest number that was not read yet.
    to: i64,
    /// How many rows to read next: few at first, since most lanes of a large tenant give a page a row or none.
    batch: u32,
}

/// The newest deliveries of a lane, whether they were tried or not.
pub(in crate::engines::embedded) const ANY_STATUS: &str = "SELECT seq, status, due, attempts, reason FROM delivery \
    WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 UNION ALL SELECT seq, 0, 0, 0, NULL FROM fresh \
    WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4";

const FIRST_BATCH: u32 = 4;
const LARGEST_BATCH: u32 = 256;

pub(in crate::engines::embedded) fn list(
    connection: &Connection,
    query: &DeliveryQuery,
) -> Result<Page<Delivery>, Fault> {
    let (from, to) = bounds(connection, query.since, query.until, None)?;
    let mut lanes: Vec<Lane<'_>> =
        query.lanes.iter().map(|(endpoint, id)| query.lane(endpoint, *id, to)).collect();
    // The newest first; of one event, by endpoint, which is the order of the lanes.
    let mut heads = BinaryHeap::with_capacity(lanes.len());
    for (index, lane) in lanes.iter_mut().enumerate() {
        if let Some(seq) = lane.peek(connection, query.status, from)? {
            heads.push((seq, Reverse(index)));
        }
    }
    let mut page = Page { items: Vec::new(), next: None };
    let (mut looked_at, mut last) = (0, None);
    while let Some((seq, Reverse(index))) = heads.pop() {
        if page.items.len() == query.limit || looked_at == LOOKED_AT {
            page.next = last;
            break;
        }
        looked_at += 1;
        let Some(lane) = lanes.get_mut(index) else { break };
        last = Some(Cursor { seq: Seq(seq.unsigned_abs()), endpoint: Some(lane.endpoint.clone()) });
        if let Some(stored) = lane.ahead.pop_front()
            && let Some(event) = summary(connection, stored.seq)?
            && query.wants(stored.status, &event)
        {
            page.items.push(stored.shown(&query.tenant, lane.endpoint, &event));
        }
        if let Some(seq) = lane.peek(connection, query.status, from)? {
            heads.push((seq, Reverse(index)));
        }
    }
    Ok(page)
}

impl DeliveryQuery {
    fn lane<'q>(&self, endpoint: &'q EndpointId, id: i64, to: i64) -> Lane<'q> {
        let to = match &self.after {
            Some((seq, Some(last))) if endpoint > last => to.min(*seq),
            Some((seq, _)) => to.min(seq.saturating_sub(1)),
            None => to,
        };
        Lane { endpoint, id, ahead: VecDeque::new(), to, batch: FIRST_BATCH }
    }
}

impl Lane<'_> {
    /// The number of the next row, if there is one.
    fn peek(
        &mut self,
        connection: &Connection,
        status: Option<Status>,
        from: i64,
    ) -> Result<Option<i64>, Fault> {
        if self.ahead.is_empty() && self.to >= from {
            self.read_ahead(connection, status, from)?;
        }
        Ok(self.ahead.front().map(|stored| stored.seq))
    }

    fn read_ahead(
        &mut self,
        connection: &Connection,
        status: Option<Status>,
        from: i64,
    ) -> Result<(), Fault> {
        // Of almost all lanes almost all deliveries are delivered, so that status has no index: its lists read all
        // rows. Those that were tried and are pending are indexed by due time; their newest are found among them alone.
        let sql = match status {
            None => ANY_STATUS,
            Some(Status::Delivered) => {
                "SELECT seq, status, due, attempts, reason FROM delivery \
                 WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4"
            }
            Some(Status::Pending) => {
                "SELECT p.seq, 0, coalesce(d.due, 0), coalesce(d.attempts, 0), d.reason FROM ( \
                   SELECT seq FROM fresh WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 UNION ALL \
                   SELECT seq FROM delivery INDEXED BY delivery_pending \
                   WHERE lane = ?1 AND status = 0 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4 \
                 ) AS p LEFT JOIN delivery d ON d.lane = ?1 AND d.seq = p.seq ORDER BY p.seq DESC"
            }
            Some(_) => {
                "SELECT seq, status, due, attempts, reason FROM delivery INDEXED BY delivery_ended \
                 WHERE lane = ?1 AND status = ?5 AND status > 1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4"
            }
        };
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = match status.filter(|status| status.code() > Status::Delivered.code()) {
            Some(status) => statement.query((self.id, from, self.to, self.batch, status.code()))?,
            None => statement.query((self.id, from, self.to, self.batch))?,
        };
        while let Some(row) = rows.next()? {
            self.ahead.push_back(Stored::read(row)?);
        }
        self.to = match self.ahead.back() {
            Some(stored) if self.ahead.len() == self.batch as usize => stored.seq - 1,
            _ => from - 1,
        };
        self.batch = (self.batch * 2).min(LARGEST_BATCH);
        Ok(())
    }
}

/// The summary of an event; one that is damaged is left out of lists, and logged.
fn summary(connection: &Connection, seq: i64) -> Result<Option<Summary>, Fault> {
    let mut statement =
        connection.prepare_cached(concat!("SELECT ", head_columns!(), " FROM event WHERE seq = ?1"))?;
    let summary = statement.query_row((seq,), |row| Ok(record::summary(row))).optional()?.flatten();
    if summary.is_none() {
        tracing::error!(seq, "a delivery of a damaged event is left out of a list");
    }
    Ok(summary)
}
