//! The two text forms of metrics: OpenMetrics 1.0, and Prometheus' own 0.0.4, which every scraper and agent reads.

use http::HeaderMap;
use http::header::ACCEPT;

/// In which form metrics are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    OpenMetrics,
}

impl Form {
    /// OpenMetrics where it is named and the plain text is not liked better; else the plain text.
    pub(crate) fn asked_for(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<(String, f32)> =
            values.flat_map(|value| value.split(',')).filter_map(range).collect();
        let liked = |names: &[&str]| {
            let weights = ranges.iter().filter(|(name, _)| names.contains(&name.as_str()));
            weights.map(|(_, weight)| *weight).fold(0.0, f32::max)
        };
        let open = liked(&["application/openmetrics-text"]);
        if open > 0.0 && open >= liked(&["text/plain"]) { Self::OpenMetrics } else { Self::Text }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Metrics in this form, from OpenMetrics.
    pub(super) fn of(self, open: String) -> String {
        match self {
            Self::Text => plain(&open),
            Self::OpenMetrics => open,
        }
    }
}

/// A media range with its weight.
fn range(written: &str) -> Option<(String, f32)> {
    let mut parts = written.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, weight.map_or(Some(1.0), |weight| weight.parse().ok())?))
}

/// The plain text: there a family is named as its rows are, has no unit, and a build is a gauge.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    // Kept back until the type tells the family's name.
    let mut help = None;
    for family in open.lines() {
        if let Some(rest) = family.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            family.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            let told = help.take().filter(|(of, _)| *of == name).map(|(_, told)| told);
            write_family(&mut text, &format!("{name}{suffix}"), told, kind);
        } else if !family.starts_with('#') {
            text.push_str(family);
            text.push('\n');
        }
    }
    text
}

fn write_family(text: &mut String, name: &str, help: Option<&str>, kind: &str) {
    if let Some(help) = help {
        // It escapes a quote, which the plain text's help does not know.
        let help = help.replace("\\\"", "\"");
        text.push_str(&format!("# HELP {name} {help}\n"));
    }
    text.push_str(&format!("# TYPE {name} {kind}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_that_is_asked_for() {
        use Form::{OpenMetrics, Text};
        const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, wanted) in [
            (None, Text),
            (Some(""), Text),
            (Some("*/*"), Text),
            (Some("text/plain;version=0.0.4"), Text),
            (Some("text/html, */*;q=0.8"), Text),
            (Some("application/openmetrics-text"), OpenMetrics),
            (Some("Application/OpenMetrics-Text; version=1.0.0"), OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Text),
            (Some("application/openmetrics-text;q=0.4, text/plain"), Text),
            (Some("application/openmetrics-text;q=high, text/plain"), Text),
            (Some(PROMETHEUS), OpenMetrics),
        ] {
            let headers = accept.map(|accept| (ACCEPT, accept.parse().unwrap())).into_iter().collect();
            assert_eq!(Form::asked_for(&headers), wanted, "{accept:?}");
        }
    }

    #[test]
    fn the_plain_text_is_what_0_0_4_says() {
        let open = "# HELP a_build The \\\"version\\\".\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
             # HELP a_events Events.\n# TYPE a_events counter\na_events_total 3\n\
             # HELP a_wait_seconds Time.\n# TYPE a_wait_seconds histogram\n# UNIT a_wait_seconds seconds\n\
             a_wait_seconds_sum 0.5\na_wait_seconds_count 1\na_wait_seconds_bucket{le=\"+Inf\"} 1\n\
             # TYPE a_size_bytes gauge\n# UNIT a_size_bytes bytes\na_size_bytes 7\n\
             # TYPE a_thing unknown\na_thing 1\n# EOF\n";
        let plain = "# HELP a_build_info The \"version\".\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
             # HELP a_events_total Events.\n# TYPE a_events_total counter\na_events_total 3\n\
             # HELP a_wait_seconds Time.\n# TYPE a_wait_seconds histogram\n\
             a_wait_seconds_sum 0.5\na_wait_seconds_count 1\na_wait_seconds_bucket{le=\"+Inf\"} 1\n\
             # TYPE a_size_bytes gauge\na_size_bytes 7\n\
             # TYPE a_thing untyped\na_thing 1\n";
        assert_eq!(Form::Text.of(open.to_owned()), plain);
        assert_eq!(Form::OpenMetrics.of(open.to_owned()), open);
    }
}
