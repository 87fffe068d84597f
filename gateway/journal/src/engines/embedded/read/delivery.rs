//! Deliveries, one and in lists, with their attempts and counts.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::ControlFlow;

use hookweir_model::{
    Answer, Attempt, Delivery, DeliveryKey, EndpointId, EventId, Outcome, Status, TenantId, Timestamp,
};
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::de::DeserializeOwned;

use super::blocks::{Blocks, Next};
use super::due::{Shape, shaped};
use super::event::{below, bounds, seq_of};
use super::newest::{Newest, Source};
use super::patience::Patience;
use crate::engines::embedded::fault::Fault;
use crate::engines::embedded::present::of_tenant;
use crate::engines::embedded::record::{self, Summary, head_columns};
use crate::engines::embedded::writer::{LOST, LOST_DELIVERY, outcome_from_code};
use crate::{Counts, Cursor, DeliveryFilter, Made, Page, REMOVED, Seq};

/// Deliveries to list, in numbers.
#[derive(Debug)]
pub(in crate::engines::embedded) struct DeliveryQuery {
    pub(in crate::engines::embedded) filter: DeliveryFilter,
    /// The tenant's.
    pub(in crate::engines::embedded) number: i64,
    /// Whose deliveries are wanted, by endpoint: all of the tenant's, or one.
    pub(in crate::engines::embedded) lanes: Vec<(EndpointId, i64)>,
    pub(in crate::engines::embedded) after: Option<(i64, Option<EndpointId>)>,
    pub(in crate::engines::embedded) limit: usize,
}

/// A row of `delivery`, or of `fresh`.
struct Stored {
    seq: i64,
    status: Status,
    due: i64,
    attempts: u32,
    reason: Option<String>,
    /// Whether its first attempt, which delivered, lies in the row, and the status of the answer to that.
    has_first: bool,
    answer: Option<u16>,
}

/// The columns of `delivery` that [`Stored::read`] takes.
macro_rules! stored_columns {
    () => {
        "seq, status, due, attempts, reason, started IS NOT NULL, answer"
    };
}

/// What stands for them in `fresh`.
macro_rules! fresh_columns {
    () => {
        "seq, 0, 0, 0, NULL, 0, NULL"
    };
}

/// Where the columns after [`stored_columns`] start.
const AFTER_STORED: usize = 7;

impl Stored {
    /// A row that is damaged is shown as one that failed: so it ends as soon as the sweep meets it.
    fn read(row: &Row<'_>) -> Result<Self, Fault> {
        let seq = row.get(0)?;
        let whole = || {
            Some(Self {
                seq,
                status: Status::from_code(row.get(1).ok()?)?,
                due: row.get(2).ok()?,
                attempts: row.get(3).ok()?,
                reason: row.get(4).ok()?,
                has_first: row.get(5).ok()?,
                answer: row.get(6).ok()?,
            })
        };
        Ok(whole().unwrap_or_else(|| Self {
            seq,
            status: Status::Failed,
            due: 0,
            attempts: 0,
            reason: Some(LOST_DELIVERY.to_owned()),
            has_first: false,
            answer: None,
        }))
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
    let Some(seq) = seq_of(connection, tenant, id)? else { return Ok(None) };
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        head_columns!(),
        ", lanes FROM event WHERE seq = ?1"
    ))?;
    let read = |row: &Row<'_>| {
        let lanes = record::optional_text(row, record::AFTER_HEAD).flatten();
        // A list that is damaged is made up by the sweep.
        let lanes = record::lanes(lanes).unwrap_or_default();
        Ok(Found { seq, event: record::summary_at_least(seq, row), lanes })
    };
    Ok(statement.query_row((seq,), read).optional()?)
}

fn stored(connection: &Connection, lane: i64, seq: i64) -> Result<Option<Stored>, Fault> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        stored_columns!(),
        " FROM delivery WHERE lane = ?1 AND seq = ?2 UNION ALL SELECT ",
        fresh_columns!(),
        " FROM fresh WHERE lane = ?1 AND seq = ?2"
    ))?;
    let mut rows = statement.query((lane, seq))?;
    rows.next()?.map(Stored::read).transpose()
}

/// Where a delivery is, if there is one.
pub(in crate::engines::embedded) fn place(
    connection: &Connection,
    tenant: i64,
    lane: i64,
    event: &EventId,
) -> Result<Option<Seq>, Fault> {
    let Some(found) = find(connection, tenant, event)? else { return Ok(None) };
    Ok(stored(connection, lane, found.seq)?.map(|stored| Seq(stored.seq.unsigned_abs())))
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
        "SELECT 1, started, duration, 0, NULL, answer, body, plugins, NULL FROM delivery \
         WHERE lane = ?1 AND seq = ?2 AND started IS NOT NULL UNION ALL \
         SELECT n, started, duration, outcome, reason, answer, body, plugins, exchange FROM attempt \
         WHERE lane = ?1 AND seq = ?2 ORDER BY 1",
    )?;
    let mut rows = statement.query((lane, found.seq))?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        // One that is damaged is history that is lost, and hides no other.
        attempts.extend(attempt(row).ok());
    }
    Ok(attempts)
}

/// How the last attempt that has a row of its own ended, with the status of the answer.
fn last_attempt(
    connection: &Connection,
    lane: i64,
    seq: i64,
) -> Result<Option<(Outcome, Option<u16>)>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT outcome, answer FROM attempt WHERE lane = ?1 AND seq = ?2 ORDER BY n DESC LIMIT 1",
    )?;
    let read = |row: &Row<'_>| Ok(row.get(0).ok().zip(row.get(1).ok()));
    let last = statement.query_row((lane, seq), read).optional()?;
    Ok(last.flatten().and_then(|(code, answer)| Some((outcome_from_code(code)?, answer))))
}

fn attempt(row: &Row<'_>) -> Result<Attempt, Fault> {
    let outcome = outcome_from_code(row.get(3)?).ok_or_else(|| Fault::damaged("an attempt's outcome"))?;
    let status: Option<u16> = row.get(5)?;
    let body: Option<String> = row.get(6)?;
    Ok(Attempt {
        number: row.get(0)?,
        started: Timestamp::from_millis(row.get(1)?),
        duration_ms: row.get::<_, i64>(2)?.unsigned_abs(),
        outcome,
        reason: row.get(4)?,
        answer: (status.is_some() || body.is_some())
            .then(|| Answer { status, body: body.unwrap_or_default() }),
        plugins: json(row.get(7)?, "a plugin's call")?.unwrap_or_default(),
        exchange: json(row.get(8)?, "an attempt's exchange")?,
    })
}

fn json<T: DeserializeOwned>(text: Option<String>, what: &str) -> Result<Option<T>, Fault> {
    text.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| Fault::damaged(what))
}

/// What is kept of what was made for a delivery.
pub(in crate::engines::embedded) fn made(
    connection: &Connection,
    tenant: i64,
    lane: i64,
    event: &EventId,
) -> Result<Made, Fault> {
    let Some(found) = find(connection, tenant, event)? else { return Ok(Made::default()) };
    let mut statement = connection
        .prepare_cached("SELECT calls FROM delivery WHERE lane = ?1 AND seq = ?2 AND status = ?3")?;
    let filtered = (lane, found.seq, Status::Filtered.code());
    let calls: Option<String> =
        statement.query_row(filtered, |row| Ok(row.get(0).ok().flatten())).optional()?.flatten();
    let shaped = match shaped(connection, lane, found.seq)? {
        Shape::None => None,
        Shape::Whole(shaped) => Some(shaped),
        // It was never sent so, and is shown to nobody.
        Shape::Damaged => None,
    };
    Ok(Made { shaped, calls: json(calls, "a plugin's call").ok().flatten().unwrap_or_default() })
}

/// How many deliveries are lost, of events received since then.
pub(in crate::engines::embedded) fn recoverable(
    connection: &Connection,
    lane: i64,
    since: Timestamp,
) -> Result<u64, Fault> {
    let (from, to) = bounds(connection, Some(since), None, None)?;
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM delivery d INDEXED BY delivery_ended JOIN event e ON e.seq = d.seq \
         WHERE d.lane = ?1 AND d.status = ?2 AND d.status > 1 AND d.seq BETWEEN ?3 AND ?4 AND e.received >= ?5 \
         AND (d.status <> ?6 OR d.reason = ?7)",
    )?;
    let mut all = 0;
    for status in LOST {
        let cancelled = Status::Cancelled.code();
        let bounds = (lane, status.code(), from, to, since.as_millis(), cancelled, REMOVED);
        let count: i64 = statement.query_row(bounds, |row| row.get(0))?;
        all += count.unsigned_abs();
    }
    Ok(all)
}

/// How many deliveries wait for the time of their next attempt.
pub(in crate::engines::embedded) fn waiting(connection: &Connection, lane: i64) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM delivery INDEXED BY delivery_pending WHERE lane = ?1 AND status = 0 AND due > 0",
    )?;
    let count: i64 = statement.query_row((lane,), |row| row.get(0))?;
    Ok(count.unsigned_abs())
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

pub(in crate::engines::embedded) fn list(
    connection: &Connection,
    query: &DeliveryQuery,
) -> Result<Page<Delivery>, Fault> {
    let (from, to) = bounds(connection, query.filter.events.since, query.filter.events.until, None)?;
    let page = Page { items: Vec::new(), next: None };
    let mut listing = Listing { connection, query, page, patience: Patience::new(), last: None };
    match (query.filter.status, query.lanes.as_slice()) {
        (_, []) => {}
        // Of almost all lanes almost all deliveries are delivered, so that status has no index: its lists read all.
        (None | Some(Status::Delivered), [(endpoint, lane)]) => {
            listing.of_lane(endpoint, *lane, from, query.highest(endpoint, to))?;
        }
        (None | Some(Status::Delivered), _) if query.filter.asks_for_attempt() => {
            listing.of_tried(from, to)?;
        }
        (None | Some(Status::Delivered), _) => listing.of_tenant(from, to)?,
        (Some(status), _) => listing.of_status(status, from, to)?,
    }
    Ok(listing.page)
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

/// A page in the making. It is given deliveries newest first; of one event, by endpoint.
struct Listing<'q> {
    connection: &'q Connection,
    query: &'q DeliveryQuery,
    page: Page<Delivery>,
    patience: Patience,
    last: Option<Cursor>,
}

impl<'q> Listing<'q> {
    /// Says whether the page has room for the delivery that comes next.
    fn goes_on_to(&mut self, endpoint: &EndpointId, seq: i64) -> ControlFlow<()> {
        let is_over = self.last.is_some() && self.patience.is_over();
        if self.page.items.len() == self.query.limit || is_over {
            self.page.next = self.last.take();
            return ControlFlow::Break(());
        }
        self.last = Some(Cursor { seq: Seq(seq.unsigned_abs()), endpoint: Some(endpoint.clone()) });
        ControlFlow::Continue(())
    }

    /// Takes the next delivery, whose event has not been looked at.
    fn offer(&mut self, endpoint: &EndpointId, lane: i64, stored: Stored) -> Result<ControlFlow<()>, Fault> {
        if self.goes_on_to(endpoint, stored.seq).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        // What lies in the delivery's own row is asked first: most are told by it.
        let filter = &self.query.filter;
        if filter.status.is_none_or(|status| status == stored.status)
            && self.wants_last(lane, &stored)?
            && let Some(event) = summary(self.connection, stored.seq)?
            && filter.events.wants(&event.id, &event.event_type, event.received)
        {
            self.page.items.push(stored.shown(&filter.events.tenant, endpoint, &event));
        } else {
            self.patience.looked_in_vain();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn wants_last(&self, lane: i64, stored: &Stored) -> Result<bool, Fault> {
        let filter = &self.query.filter;
        if !filter.asks_for_attempt() {
            return Ok(true);
        }
        // A first attempt in the delivery's row delivered.
        let last = match stored {
            Stored { attempts: 0, .. } => None,
            Stored { attempts: 1, has_first: true, answer, .. } => Some((Outcome::Delivered, *answer)),
            Stored { seq, .. } => last_attempt(self.connection, lane, *seq)?,
        };
        Ok(filter.wants_last(last))
    }

    /// The next numbers to look at; `None` where the page is done.
    fn next_at(&mut self, blocks: &mut Blocks<'_>) -> Result<Option<(i64, i64)>, Fault> {
        match blocks.next(&mut self.patience)? {
            Next::At(low, high) => return Ok(Some((low, high))),
            Next::Below(seq) => self.page.next = Some(below(seq)),
            Next::End => {}
        }
        Ok(None)
    }

    /// All deliveries of one lane.
    fn of_lane(&mut self, endpoint: &EndpointId, lane: i64, from: i64, to: i64) -> Result<(), Fault> {
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT ",
            stored_columns!(),
            " FROM delivery WHERE seq BETWEEN ?2 AND ?3 AND lane = ?1 UNION ALL SELECT ",
            fresh_columns!(),
            " FROM fresh WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC"
        ))?;
        let mut blocks = Blocks::new(self.connection, lane, from, to)?;
        while let Some((low, high)) = self.next_at(&mut blocks)? {
            let mut rows = statement.query((lane, low, high))?;
            while let Some(row) = rows.next()? {
                if self.offer(endpoint, lane, Stored::read(row)?)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The tenant's endpoints by lane.
    fn endpoints(&self) -> HashMap<i64, &'q EndpointId> {
        self.query.lanes.iter().map(|(endpoint, lane)| (*lane, endpoint)).collect()
    }

    /// All deliveries of the tenant, found by its events.
    fn of_tenant(&mut self, from: i64, to: i64) -> Result<(), Fault> {
        let (connection, query, lanes) = (self.connection, self.query, self.endpoints());
        let filter = &query.filter;
        let mut statement = connection.prepare_cached(concat!(
            "SELECT ",
            head_columns!(),
            ", seq, lanes FROM event WHERE seq BETWEEN ?2 AND ?3 AND tenant = ?1 ORDER BY seq DESC"
        ))?;
        let to = query.after.as_ref().map_or(to, |(seq, _)| to.min(*seq));
        let mut blocks = Blocks::new(connection, of_tenant(query.number), from, to)?;
        while let Some((low, high)) = self.next_at(&mut blocks)? {
            let mut rows = statement.query((query.number, low, high))?;
            while let Some(row) = rows.next()? {
                let seq: i64 = row.get(record::AFTER_HEAD)?;
                let text = record::optional_text(row, record::AFTER_HEAD + 1).flatten();
                let wanted = Some(record::summary_at_least(seq, row))
                    .filter(|event| filter.events.wants(&event.id, &event.event_type, event.received));
                let of_event = record::lanes(text).unwrap_or_default();
                let mut endpoints: Vec<(&EndpointId, i64)> = of_event
                    .iter()
                    .filter_map(|lane| Some((*lanes.get(lane)?, *lane)))
                    .filter(|(endpoint, _)| query.highest(endpoint, seq) == seq)
                    .collect();
                endpoints.sort_unstable();
                for (endpoint, lane) in endpoints {
                    if self.goes_on_to(endpoint, seq).is_break() {
                        return Ok(());
                    }
                    if let Some(event) = &wanted
                        && let Some(stored) = stored(connection, lane, seq)?
                        && filter.status.is_none_or(|status| status == stored.status)
                    {
                        self.page.items.push(stored.shown(&filter.events.tenant, endpoint, event));
                    } else {
                        self.patience.looked_in_vain();
                    }
                }
            }
        }
        Ok(())
    }

    /// The deliveries of the tenant that were tried, found among those of all tenants: that is less to read than its events
    /// are. It is asked where the last attempt has to be looked at.
    fn of_tried(&mut self, from: i64, to: i64) -> Result<(), Fault> {
        let (connection, query, lanes) = (self.connection, self.query, self.endpoints());
        let mut statement = connection.prepare_cached(concat!(
            "SELECT ",
            stored_columns!(),
            ", lane FROM delivery WHERE seq BETWEEN ?1 AND ?2 AND attempts > 0 ORDER BY seq DESC"
        ))?;
        let to = query.after.as_ref().map_or(to, |(seq, _)| to.min(*seq));
        let mut blocks = Blocks::new(connection, of_tenant(query.number), from, to)?;
        while let Some((low, high)) = self.next_at(&mut blocks)? {
            let mut found: Vec<(Reverse<i64>, &EndpointId, i64, Stored)> = Vec::new();
            let mut rows = statement.query((low, high))?;
            while let Some(row) = rows.next()? {
                let lane: i64 = row.get(AFTER_STORED)?;
                let Some(endpoint) = lanes.get(&lane) else {
                    self.patience.looked_in_vain();
                    continue;
                };
                let stored = Stored::read(row)?;
                if query.highest(endpoint, stored.seq) == stored.seq {
                    found.push((Reverse(stored.seq), *endpoint, lane, stored));
                }
            }
            // The rows of an event come by lane.
            found.sort_by(|(seq, endpoint, ..), (other, its, ..)| (seq, endpoint).cmp(&(other, its)));
            for (_, endpoint, lane, stored) in found {
                if self.offer(endpoint, lane, stored)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The deliveries of a status that has an index, merged from those of the lanes.
    fn of_status(&mut self, status: Status, from: i64, to: i64) -> Result<(), Fault> {
        let (connection, query) = (self.connection, self.query);
        let lanes = query.lanes.iter().map(|(endpoint, id)| {
            let lane = Lane { connection, endpoint, id: *id, status };
            (lane, query.highest(endpoint, to))
        });
        let mut newest = Newest::of(lanes, from)?;
        while let Some((lane, stored)) = newest.next()? {
            if self.offer(lane.endpoint, lane.id, stored)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The deliveries of a lane that have a status: pending, or ended otherwise than delivered.
struct Lane<'q> {
    connection: &'q Connection,
    endpoint: &'q EndpointId,
    id: i64,
    status: Status,
}

impl Source for Lane<'_> {
    type Row = Stored;

    fn read(&self, from: i64, to: i64, limit: u32) -> Result<Vec<Stored>, Fault> {
        // Those that were tried and are pending are indexed by due time; their newest are found among them alone.
        let sql = match self.status {
            Status::Pending => {
                "SELECT p.seq, 0, coalesce(d.due, 0), coalesce(d.attempts, 0), d.reason, \
                   d.started IS NOT NULL, d.answer FROM ( \
                   SELECT seq FROM fresh WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3 UNION ALL \
                   SELECT seq FROM delivery INDEXED BY delivery_pending \
                   WHERE lane = ?1 AND status = 0 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4 \
                 ) AS p LEFT JOIN delivery d ON d.seq = p.seq AND d.lane = ?1 ORDER BY p.seq DESC"
            }
            _ => concat!(
                "SELECT ",
                stored_columns!(),
                " FROM delivery INDEXED BY delivery_ended WHERE lane = ?1 AND status = ?5 AND status > 1 \
                 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC LIMIT ?4"
            ),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = match self.status {
            Status::Pending => statement.query((self.id, from, to, limit))?,
            status => statement.query((self.id, from, to, limit, status.code()))?,
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

/// The summary of an event, damaged or not.
fn summary(connection: &Connection, seq: i64) -> Result<Option<Summary>, Fault> {
    let mut statement =
        connection.prepare_cached(concat!("SELECT ", head_columns!(), " FROM event WHERE seq = ?1"))?;
    Ok(statement.query_row((seq,), |row| Ok(record::summary_at_least(seq, row))).optional()?)
}
