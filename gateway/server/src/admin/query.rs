//! Filters and cursors of lists.

use axum::extract::{FromRequestParts, Query};
use hookweir_journal::{Cursor, Page, Seq};
use hookweir_model::{EndpointId, Status, Timestamp, TypePattern};
use http::request::Parts;
use serde::Deserialize;

use crate::api;
use crate::problem::Problem;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// The query of a list. Which of the fields a list takes is its own matter.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    endpoint: Option<String>,
    status: Option<String>,
    event_type: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A query whose every field has been checked.
#[derive(Debug)]
pub(super) struct ListQuery {
    pub endpoint: Option<EndpointId>,
    pub status: Option<Status>,
    pub event_type: Option<TypePattern>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub limit: usize,
    pub cursor: Option<Cursor>,
}

impl<S: Send + Sync> FromRequestParts<S> for ListQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<Written>::from_request_parts(parts, state).await;
        check(query.map_err(|error| Problem::Malformed(error.body_text()))?.0)
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

fn check(written: Written) -> Result<ListQuery, Problem> {
    let limit = written.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(malformed("limit", &format!("give a number from 1 to {MAX_LIMIT}")));
    }
    let cursor = |text: String| {
        read_cursor(&text).ok_or_else(|| malformed("cursor", "give what a list answered as 'next'"))
    };
    Ok(ListQuery {
        endpoint: endpoint(written.endpoint)?,
        status: status(written.status)?,
        event_type: event_type(written.event_type)?,
        since: time("since", written.since)?,
        until: time("until", written.until)?,
        limit,
        cursor: written.cursor.map(cursor).transpose()?,
    })
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let (seq, endpoint) = match text.split_once('~') {
        Some((seq, endpoint)) => (seq, Some(EndpointId::new(endpoint).ok()?)),
        None => (text, None),
    };
    Some(Cursor { seq: Seq(seq.parse().ok()?), endpoint })
}

fn cursor_text(cursor: &Cursor) -> String {
    match &cursor.endpoint {
        Some(endpoint) => format!("{}~{endpoint}", cursor.seq.0),
        None => cursor.seq.0.to_string(),
    }
}

/// A page of the journal as the API answers it.
pub(super) fn list<T, U>(page: Page<T>, view: impl FnMut(T) -> U) -> api::List<U> {
    api::List { next: page.next.as_ref().map(cursor_text), data: page.items.into_iter().map(view).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back() {
        for text in ["7", "7~billing"] {
            assert_eq!(read_cursor(text).map(|cursor| cursor_text(&cursor)).as_deref(), Some(text));
        }
        for bad in ["", "x", "7~", "7~A", "-1", "~a"] {
            assert_eq!(read_cursor(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn bad_queries_name_the_field() {
        let with = |change: fn(&mut Written)| {
            let mut written = Written::default();
            change(&mut written);
            check(written)
        };
        for (change, field) in [
            ((|w| w.status = Some("done".into())) as fn(&mut Written), "status: "),
            (|w| w.endpoint = Some("A".into()), "endpoint: "),
            (|w| w.event_type = Some("a.**.b".into()), "event_type: "),
            (|w| w.since = Some("noon".into()), "since: "),
            (|w| w.until = Some("noon".into()), "until: "),
            (|w| w.limit = Some(0), "limit: "),
            (|w| w.limit = Some(501), "limit: "),
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
