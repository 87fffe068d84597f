//! Deliveries, one and in lists, with their attempts and counts.

use hookweir_model::{
    Answer, Attempt, Delivery, DeliveryKey, EndpointId, EventId, PluginCall, Status, TenantId, Timestamp,
    TypePattern,
};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::LOOKED_AT;
use super::event::bounds;
use super::newest::{Newest, Source};
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

/// The newest deliveries of a lane, whether they were tried or not.
pub(in crate::engines::embedded) const ANY_STATUS: &str = "SELECT seq, status, due, attempts, reason FROM delivery \
    WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 UNION ALL SELECT seq, 0, 0, 0, NULL FROM fresh \
    WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4";

pub(in crate::engines::embedded) fn list(
    connection: &Connection,
    query: &DeliveryQuery,
) -> Result<Page<Delivery>, Fault> {
    let (from, to) = bounds(connection, query.since, query.until, None)?;
    // Of one event, by endpoint, which is the order of the lanes.
    let lanes = query.lanes.iter().map(|(endpoint, id)| {
        let lane = Lane { connection, endpoint, id: *id, status: query.status };
        (lane, query.highest(endpoint, to))
    });
    let mut newest = Newest::of(lanes, from)?;
    let mut page = Page { items: Vec::new(), next: None };
    let (mut looked_at, mut last) = (0, None);
    while let Some((lane, stored)) = newest.next()? {
        if page.items.len() == query.limit || looked_at == LOOKED_AT {
            page.next = last;
            break;
        }
        looked_at += 1;
        last = Some(Cursor { seq: Seq(stored.seq.unsigned_abs()), endpoint: Some(lane.endpoint.clone()) });
        if let Some(event) = summary(connection, stored.seq)?
            && query.wants(stored.status, &event)
        {
            page.items.push(stored.shown(&query.tenant, lane.endpoint, &event));
        }
    }
    Ok(page)
}

impl DeliveryQuery {
    /// The highest number that a page may have of an endpoint.
    fn highest(&self, endpoint: &EndpointId, to: i64) -> i64 {
        match &self.after {
            Some((seq, Some(last))) if endpoint > last => to.min(*seq),
            Some((seq, _)) => to.min(seq.saturating_sub(1)),
            None => to,
        }
    }
}

/// The deliveries of a lane that may have a status.
struct Lane<'q> {
    connection: &'q Connection,
    endpoint: &'q EndpointId,
    id: i64,
    status: Option<Status>,
}

impl Source for Lane<'_> {
    type Row = Stored;

    fn read(&self, from: i64, to: i64, limit: u32) -> Result<Vec<Stored>, Fault> {
        // Of almost all lanes almost all deliveries are delivered, so that status has no index: its lists read all
        // rows. Those that were tried and are pending are indexed by due time; their newest are found among them alone.
        let sql = match self.status {
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
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = match self.status.filter(|status| status.code() > Status::Delivered.code()) {
            Some(status) => statement.query((self.id, from, to, limit, status.code()))?,
            None => statement.query((self.id, from, to, limit))?,
        };
        let mut stored = Vec::new();
        while let Some(row) = rows.next()? {
            stored.push(Stored::read(row)?);
        }
        Ok(stored)
    }

    fn seq(row: &Stored) -> i64 {
        row.seq
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
