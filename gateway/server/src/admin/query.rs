//! Filters and cursors of lists.

use std::borrow::Borrow;

use axum::extract::{FromRequestParts, Query};
use hookweir_journal::{Cursor, DeliveryFilter, EventFilter, Page, Seq};
use hookweir_model::{EndpointId, Outcome, Status, TenantId, Timestamp, TypePattern};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::Admin;
use super::access::Tenant;
use crate::api;
use crate::numbers::{Hidden, NEWEST, Numbers, SHOWN_DIGITS, is_shown};
use crate::problem::Problem;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// Which events to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// A part of the id.
    id: Option<String>,
    #[param(value_type = Option<TypePattern>)]
    event_type: Option<String>,
    /// Received then or later, in RFC 3339.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Received before, in RFC 3339.
    #[param(format = DateTime)]
    until: Option<String>,
    /// How many at most; 50 if not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// What the page before answered as `next`.
    #[param(pattern = "^[0-9]{16}(~[a-z0-9][a-z0-9_-]{0,62})?$")]
    cursor: Option<String>,
}

/// Which deliveries to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    #[param(value_type = Option<EndpointId>)]
    endpoint: Option<String>,
    #[param(value_type = Option<Status>)]
    status: Option<String>,
    /// How the last attempt ended.
    #[param(value_type = Option<Outcome>)]
    outcome: Option<String>,
    /// The status of the HTTP answer to the last attempt.
    #[param(minimum = 100, maximum = 599)]
    code: Option<u16>,
    /// A part of the event's id.
    id: Option<String>,
    #[param(value_type = Option<TypePattern>)]
    event_type: Option<String>,
    /// Received then or later, in RFC 3339.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Received before, in RFC 3339.
    #[param(format = DateTime)]
    until: Option<String>,
    /// How many at most; 50 if not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// What the page before answered as `next`.
    #[param(pattern = "^[0-9]{16}(~[a-z0-9][a-z0-9_-]{0,62})?$")]
    cursor: Option<String>,
}

/// Which of a tenant's endpoints or plugins to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NamesQuery {
    /// A part of the id.
    id: Option<String>,
    /// How many at most; 50 if not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// What the page before answered as `next`.
    #[param(pattern = "^[a-z0-9][a-z0-9_-]{0,62}$")]
    cursor: Option<String>,
}

/// Which records to list that have numbers.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NumbersQuery {
    /// How many at most; 50 if not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// What the page before answered as `next`.
    #[param(pattern = "^[0-9]{1,19}$")]
    cursor: Option<String>,
}

impl NumbersQuery {
    /// The number that those of the page are below, and how many there may be.
    pub(super) fn check(self) -> Result<(Option<u64>, usize), Problem> {
        let parse = |text: String| {
            text.parse().map_err(|_| malformed("cursor", "give what a list answered as 'next'"))
        };
        Ok((self.cursor.map(parse).transpose()?, limit(self.limit)?))
    }
}

impl FromRequestParts<Admin> for NumbersQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        written(parts, admin).await
    }
}

impl NamesQuery {
    /// The names of the page, in order, and the cursor of the next one.
    pub(super) fn page<'a, N: Ord + Borrow<str>>(
        self,
        names: impl Iterator<Item = &'a N>,
    ) -> Result<(Vec<&'a N>, Option<String>), Problem> {
        let limit = limit(self.limit)?;
        // Endpoints and plugins are named by the same rule.
        if self.cursor.as_deref().is_some_and(|cursor| EndpointId::new(cursor).is_err()) {
            return Err(malformed("cursor", "give what a list answered as 'next'"));
        }
        let (part, after) = (self.id.unwrap_or_default(), self.cursor.unwrap_or_default());
        let mut names: Vec<&N> =
            names.filter(|name| text(*name) > after.as_str() && text(*name).contains(&part)).collect();
        names.sort_unstable();
        let is_more = names.len() > limit;
        names.truncate(limit);
        let last = names.last().map(|name| text(*name).to_owned());
        Ok((names, last.filter(|_| is_more)))
    }
}

/// A page of a list to read, of a query whose every field has been checked.
#[derive(Debug)]
pub(super) struct ListQuery<F> {
    pub filter: F,
    pub limit: usize,
    pub cursor: Option<Cursor>,
    /// How the list's tenant sees the numbers that cursors hold.
    pub hidden: Hidden,
}

fn text<N: Borrow<str>>(name: &N) -> &str {
    name.borrow()
}

/// The query of a request, taken apart by `serde`.
pub(super) async fn written<T: DeserializeOwned, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<T, Problem> {
    let query = Query::<T>::from_request_parts(parts, state).await;
    Ok(query.map_err(|error| Problem::Malformed(error.body_text()))?.0)
}

impl EventsQuery {
    pub(super) fn check(
        self,
        tenant: TenantId,
        numbers: &Numbers,
    ) -> Result<ListQuery<EventFilter>, Problem> {
        let hidden = numbers.of(&tenant);
        Ok(ListQuery {
            filter: EventFilter {
                tenant,
                id_part: self.id,
                event_type: event_type(self.event_type)?,
                since: time("since", self.since)?,
                until: time("until", self.until)?,
            },
            limit: limit(self.limit)?,
            cursor: cursor(self.cursor, &hidden)?,
            hidden,
        })
    }
}

impl DeliveriesQuery {
    pub(super) fn check(
        self,
        tenant: TenantId,
        numbers: &Numbers,
    ) -> Result<ListQuery<DeliveryFilter>, Problem> {
        let Self {
            endpoint: of,
            status: is,
            outcome: ended,
            code,
            id,
            event_type,
            since,
            until,
            limit,
            cursor,
        } = self;
        let events = EventsQuery { id, event_type, since, until, limit, cursor };
        let events = events.check(tenant, numbers)?;
        let filter = DeliveryFilter {
            events: events.filter,
            endpoint: endpoint(of)?,
            status: status(is)?,
            outcome: outcome(ended)?,
            code: code.map(http_status).transpose()?,
        };
        Ok(ListQuery { filter, limit: events.limit, cursor: events.cursor, hidden: events.hidden })
    }
}

impl FromRequestParts<Admin> for NamesQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        written(parts, admin).await
    }
}

/// The list that a request asks for, of the tenant of its path.
impl FromRequestParts<Admin> for ListQuery<EventFilter> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let Tenant(tenant) = Tenant::from_request_parts(parts, admin).await?;
        written::<EventsQuery, _>(parts, admin).await?.check(tenant, &admin.numbers)
    }
}

impl FromRequestParts<Admin> for ListQuery<DeliveryFilter> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let Tenant(tenant) = Tenant::from_request_parts(parts, admin).await?;
        written::<DeliveriesQuery, _>(parts, admin).await?.check(tenant, &admin.numbers)
    }
}

/// The refusal of a field, with what it wants.
pub(super) fn malformed(name: &str, wanted: &str) -> Problem {
    Problem::Malformed(format!("{name}: {wanted}"))
}

pub(super) fn time(name: &str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    let parse = |text: String| {
        Timestamp::parse(&text)
            .ok_or_else(|| malformed(name, "give a time in RFC 3339, as 2026-01-31T12:00:00Z"))
    };
    text.map(parse).transpose()
}

pub(super) fn endpoint(text: Option<String>) -> Result<Option<EndpointId>, Problem> {
    let parse =
        |text: String| EndpointId::new(&text).map_err(|error| malformed("endpoint", &error.to_string()));
    text.map(parse).transpose()
}

pub(super) fn status(text: Option<String>) -> Result<Option<Status>, Problem> {
    let parse = |text: String| {
        let known = Status::ALL.map(Status::as_str).join(", ");
        Status::parse(&text).ok_or_else(|| malformed("status", &format!("give one of {known}")))
    };
    text.map(parse).transpose()
}

pub(super) fn event_type(text: Option<String>) -> Result<Option<TypePattern>, Problem> {
    let parse =
        |text: String| TypePattern::parse(&text).map_err(|error| malformed("event_type", &error.to_string()));
    text.map(parse).transpose()
}

fn outcome(text: Option<String>) -> Result<Option<Outcome>, Problem> {
    let parse = |text: String| {
        let known = Outcome::ALL.map(Outcome::as_str).join(", ");
        Outcome::parse(&text).ok_or_else(|| malformed("outcome", &format!("give one of {known}")))
    };
    text.map(parse).transpose()
}

fn http_status(code: u16) -> Result<u16, Problem> {
    let is_status = (100..=599).contains(&code);
    is_status
        .then_some(code)
        .ok_or_else(|| malformed("code", "give the status of an HTTP answer, from 100 to 599"))
}

/// A JSON object. Where one is wanted, `serde` would take a list of its members too.
pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let read = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body);
    let is_object = read.map_err(|error| error.to_string());
    is_object.and_then(|_| serde_json::from_slice(body).map_err(|error| error.to_string()))
}

/// The same, where nothing or null stands for an object without members.
pub(super) fn object_or_nothing<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, String> {
    match body.trim_ascii() {
        b"" | b"null" => Ok(T::default()),
        body => object(body),
    }
}

fn limit(written: Option<usize>) -> Result<usize, Problem> {
    let limit = written.unwrap_or(DEFAULT_LIMIT);
    let is_fit = (1..=MAX_LIMIT).contains(&limit);
    is_fit.then_some(limit).ok_or_else(|| malformed("limit", &format!("give a number from 1 to {MAX_LIMIT}")))
}

fn cursor(text: Option<String>, hidden: &Hidden) -> Result<Option<Cursor>, Problem> {
    let parse = |text: String| {
        read_cursor(&text, hidden).ok_or_else(|| malformed("cursor", "give what a list answered as 'next'"))
    };
    text.map(parse).transpose()
}

fn read_cursor(text: &str, hidden: &Hidden) -> Option<Cursor> {
    let (seq, endpoint) = match text.split_once('~') {
        Some((seq, endpoint)) => (seq, Some(EndpointId::new(endpoint).ok()?)),
        None => (text, None),
    };
    let is_written_so = seq.len() == SHOWN_DIGITS && seq.bytes().all(|digit| digit.is_ascii_digit());
    let shown = seq.parse().ok().filter(|_| is_written_so)?;
    // What no list has given begins with the newest.
    let number = if is_shown(shown) { hidden.reveal(shown) } else { NEWEST };
    Some(Cursor { seq: Seq(number), endpoint })
}

fn cursor_text(cursor: &Cursor, hidden: &Hidden) -> String {
    let seq = hidden.hide(cursor.seq.0);
    match &cursor.endpoint {
        Some(endpoint) => format!("{seq}~{endpoint}"),
        None => seq.to_string(),
    }
}

/// A page of the journal as the API answers it.
pub(super) fn list<T, U>(page: Page<T>, hidden: &Hidden, view: impl FnMut(T) -> U) -> api::List<U> {
    let next = page.next.as_ref().map(|cursor| cursor_text(cursor, hidden));
    api::List { next, data: page.items.into_iter().map(view).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back() {
        let hidden = Numbers::look(std::path::Path::new("nowhere")).of(&TenantId::new("acme").unwrap());
        for text in ["4503599627370503", "4503599627370503~billing"] {
            let read = read_cursor(text, &hidden).unwrap();
            assert_ne!(read.seq, Seq(7), "it is hidden");
            assert_eq!(cursor_text(&read, &hidden), text);
        }
        for bad in ["", "x", "7", "7~a", "4503599627370503~", "4503599627370503~A", "-1", "~a"] {
            assert_eq!(read_cursor(bad, &hidden), None, "{bad:?}");
        }
    }

    #[test]
    fn names_are_listed_page_by_page() {
        let names = ["billing", "audit", "archive", "bills"].map(|name| EndpointId::new(name).unwrap());
        let page = |id: Option<&str>, limit, cursor: Option<&str>| {
            let query = NamesQuery { id: id.map(str::to_owned), limit, cursor: cursor.map(str::to_owned) };
            let (page, next) = query.page(names.iter()).unwrap();
            (page.into_iter().map(EndpointId::as_str).collect::<Vec<_>>().join(" "), next)
        };
        for (id, limit, cursor, wanted, next) in [
            (None, None, None, "archive audit billing bills", None),
            (None, Some(4), None, "archive audit billing bills", None),
            (None, Some(3), None, "archive audit billing", Some("billing")),
            (None, Some(3), Some("billing"), "bills", None),
            // A name that is gone by now is a place all the same.
            (None, Some(1), Some("b"), "billing", Some("billing")),
            (Some("ill"), Some(1), None, "billing", Some("billing")),
            (Some("ill"), Some(1), Some("billing"), "bills", None),
            (Some("x"), None, None, "", None),
        ] {
            assert_eq!(page(id, limit, cursor), (wanted.to_owned(), next.map(str::to_owned)));
        }
        let refused = NamesQuery { limit: Some(501), ..NamesQuery::default() }.page(names.iter());
        assert_eq!(refused.unwrap_err(), malformed("limit", "give a number from 1 to 500"));
    }

    #[test]
    fn bad_queries_name_the_field() {
        let with = |change: fn(&mut DeliveriesQuery)| {
            let mut written = DeliveriesQuery::default();
            change(&mut written);
            written.check(TenantId::new("acme").unwrap(), &Numbers::look(std::path::Path::new("nowhere")))
        };
        for (change, field) in [
            ((|w| w.status = Some("done".into())) as fn(&mut DeliveriesQuery), "status: "),
            (|w| w.outcome = Some("503".into()), "outcome: "),
            (|w| w.endpoint = Some("A".into()), "endpoint: "),
            (|w| w.event_type = Some("a.**.b".into()), "event_type: "),
            (|w| w.since = Some("noon".into()), "since: "),
            (|w| w.until = Some("noon".into()), "until: "),
            (|w| w.limit = Some(0), "limit: "),
            (|w| w.limit = Some(501), "limit: "),
            (|w| w.code = Some(99), "code: "),
            (|w| w.cursor = Some("x".into()), "cursor: "),
        ] {
            match with(change) {
                Err(Problem::Malformed(detail)) => assert!(detail.starts_with(field), "{detail}"),
                other => panic!("{field}{other:?}"),
            }
        }
        assert_eq!(with(|_| {}).unwrap().limit, DEFAULT_LIMIT);
    }
}
