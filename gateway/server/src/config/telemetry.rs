//! Where traces and logs are sent, beside the log on standard error.

use http::{HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use url::Url;

use super::authority::authority;
use super::check::Surroundings;
use super::checked::Otlp;
use super::problem::{Fault, Report};
use super::secret::secret;
use super::written::{Table, Value};

const OTLP: &str = "write { endpoint = \"http://127.0.0.1:4318\" }";
const ENDPOINT: &str = "write the collector's base URL in quotes, such as \"http://127.0.0.1:4318\": /v1/traces and /v1/logs are added to it";
const HEADERS: &str =
    "write a table of headers and their secrets, such as { authorization = { env = \"NAME\" } }";

/// Reads `[telemetry]`. `None` where nothing is sent.
pub(super) fn otlp(
    table: Option<Table<'_>>,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Otlp> {
    let table = table?;
    table.allow(&["otlp"], report);
    let value = table.get("otlp")?;
    if !cfg!(feature = "otlp") {
        let help = "remove it, or take a build with the feature `otlp`";
        value.refuse_key(Fault::new("this build sends no traces and logs", help), report);
        return None;
    }
    let table = value.table(OTLP, report)?;
    table.allow(&["endpoint", "headers", "sample", "service", "traces", "logs", "ca"], report);
    let endpoint = table.need("endpoint", OTLP, report).and_then(|value| endpoint(&value, report));
    let speaks_tls = endpoint.as_ref().is_none_or(|url| url.scheme() == "https");
    let ca = authority(&table, speaks_tls, outside, report);
    let headers = table.get("headers").map(|value| headers(&value, outside, report)).unwrap_or_default();
    let sample = table.get("sample").and_then(|value| value.number(0.0..=1.0, report)).unwrap_or(1.0);
    let service = table.get("service").and_then(|value| service(&value, report));
    let switch = |key: &str, report: &mut Report| {
        table.get(key).and_then(|value| value.boolean(report)).unwrap_or(true)
    };
    let (traces, logs) = (switch("traces", report), switch("logs", report));
    if !traces && !logs {
        let help = "remove `otlp`, or leave one of `traces` and `logs` on";
        value.refuse_key(Fault::new("neither traces nor logs are sent", help), report);
    }
    let service = service.unwrap_or_else(|| "hookweir".to_owned());
    Some(Otlp { endpoint: endpoint?, ca, headers, sample, service, traces, logs })
}

fn endpoint(value: &Value<'_>, report: &mut Report) -> Option<Url> {
    let text = value.text(ENDPOINT, report)?;
    // What stands before an '@' may be a password.
    if text.contains('@') {
        report.hide(value.place());
    }
    value.take(base(text), report)
}

fn base(text: &str) -> Result<Url, Fault> {
    let fault = |what: String| Fault::new(what, ENDPOINT);
    let url = Url::parse(text).map_err(|error| fault(format!("this is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(fault("OTLP goes over http or https here".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let help = "name the credentials under `headers`, such as { authorization = { env = \"NAME\" } }";
        return Err(Fault::new("a URL with credentials is not taken", help));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fault("the base URL of a collector has no query and no fragment".to_owned()));
    }
    if ["/v1/traces", "/v1/logs"].iter().any(|path| url.path().trim_end_matches('/').ends_with(path)) {
        return Err(fault("this is the URL of one signal, not the collector's base URL".to_owned()));
    }
    Ok(url)
}

fn headers(
    value: &Value<'_>,
    outside: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<(HeaderName, secrecy::SecretString)> {
    let Some(table) = value.table(HEADERS, report) else { return Vec::new() };
    let mut headers = Vec::new();
    for (key, value) in table.entries() {
        // Read first, so that a secret is hidden whatever is wrong with its name.
        let content = secret(&value, outside, report);
        let Ok(name) = HeaderName::try_from(key.text) else {
            let fault = Fault::new(
                format!("{:?} is not the name of a header", key.text),
                "use letters, digits and '-'",
            );
            report.add(&key.name, &key.place, fault);
            continue;
        };
        let Some(content) = content else { continue };
        if HeaderValue::from_str(content.expose_secret()).is_err() {
            let help = "a header holds visible characters alone";
            value.refuse(Fault::new("this can't be the content of a header", help), report);
            continue;
        }
        headers.push((name, content));
    }
    headers
}

fn service(value: &Value<'_>, report: &mut Report) -> Option<String> {
    let name = |text: &str| {
        let fits = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        let help = "write 1 to 255 characters, such as \"hookweir\"";
        if fits { Ok(text.to_owned()) } else { Err(Fault::new("this can't be the name of a service", help)) }
    };
    value.parsed(name, "write the service's name in quotes, such as \"hookweir\"", report)
}
