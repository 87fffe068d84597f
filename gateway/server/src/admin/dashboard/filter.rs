//! From a form's fields to a list's query: what was left empty is no filter, and a browser's times have no zone.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::Uri;
use http::uri::PathAndQuery;
use serde::Serialize;
use url::form_urlencoded;

use super::text;

/// Lets a list read its query as the JSON interface does.
pub(super) async fn tidy(mut request: Request, next: Next) -> Response {
    let tidied = request.uri().query().and_then(|query| with_query(request.uri(), &tidied(query)));
    if let Some(uri) = tidied {
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

fn with_query(uri: &Uri, query: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{}?{query}", uri.path())).ok()?);
    Uri::from_parts(parts).ok()
}

fn tidied(query: &str) -> String {
    let mut made = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        match (&*name, value.len()) {
            // What a field for date and time gives, to the minute or the second: taken as UTC, which the form says.
            ("since" | "until", 16) => made.append_pair(&name, &format!("{value}:00Z")),
            ("since" | "until", 19) => made.append_pair(&name, &format!("{value}Z")),
            _ => made.append_pair(&name, value),
        };
    }
    made.finish()
}

/// What a list was asked for, to fill its form again.
#[derive(Debug, Default, Serialize)]
pub(super) struct Asked {
    pub endpoint: String,
    pub status: String,
    pub outcome: String,
    pub code: String,
    pub id: String,
    pub event_type: String,
    pub since: String,
    pub until: String,
    /// Whether a page after the first is shown.
    pub later: bool,
    /// Whether anything is filtered.
    pub any: bool,
}

impl Asked {
    pub(super) fn read(query: Option<&str>) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let field = match &*name {
                "endpoint" => &mut asked.endpoint,
                "status" => &mut asked.status,
                "outcome" => &mut asked.outcome,
                "code" => &mut asked.code,
                "id" => &mut asked.id,
                "event_type" => &mut asked.event_type,
                "since" => &mut asked.since,
                "until" => &mut asked.until,
                "cursor" => {
                    asked.later = true;
                    continue;
                }
                _ => continue,
            };
            // A field for date and time takes no zone.
            *field = match &*name {
                "since" | "until" => value.trim_end_matches('Z').to_owned(),
                _ => value.into_owned(),
            };
            asked.any = true;
        }
        asked
    }

    /// The query of the page that goes on at `cursor`, under the same filters.
    pub(super) fn next(query: Option<&str>, cursor: &str) -> String {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let mut made = String::from("?");
        for (name, value) in pairs.filter(|(name, _)| name != "cursor") {
            made.push_str(&format!("{}={}&", text::segment(&name), text::segment(&value)));
        }
        made + "cursor=" + &text::segment(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_no_filters_and_times_are_utc() {
        let query = "endpoint=&status=failed&event_type=+order.*+&since=2026-01-31T12%3A00&until=2026-01-31T12:00:05&x=1";
        let wanted = "status=failed&event_type=order.*&since=2026-01-31T12%3A00%3A00Z&until=2026-01-31T12%3A00%3A05Z&x=1";
        assert_eq!(tidied(query), wanted);
        assert_eq!(tidied("since=2026-01-31T12:00:00Z"), "since=2026-01-31T12%3A00%3A00Z");
    }

    #[test]
    fn the_next_page_keeps_the_filters() {
        let query = Some("status=failed&cursor=7&event_type=a.*");
        assert_eq!(Asked::next(query, "5~hook"), "?status=failed&event_type=a.%2A&cursor=5~hook");
        let asked = Asked::read(query);
        assert_eq!(
            (asked.status.as_str(), asked.event_type.as_str(), asked.later, asked.any),
            ("failed", "a.*", true, true)
        );
        assert!(!Asked::read(None).any);
    }
}
