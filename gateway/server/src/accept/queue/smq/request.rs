//! Which operation of the protocol a request asks for, told by its method, path and query.

use hookweir_delivery::smq::MAX_BATCH;
use http::Method;

use super::error::Fault;

/// The longest wait that a request may ask for, as in SMQ.
const LONGEST_WAIT: u64 = 30;
/// The longest that a message can be hidden, as in SMQ.
const LONGEST_HIDDEN: u64 = 43_200;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Queues,
    Queue(&'a str),
    Messages(&'a str),
}

impl<'a> Target<'a> {
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        match parts[..] {
            ["", "queues"] => Some(Self::Queues),
            ["", "queues", queue] => Some(Self::Queue(queue)),
            ["", "queues", queue, "messages"] => Some(Self::Messages(queue)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    List,
    Create(String),
    SetAttributes(String),
    Attributes(String),
    Delete(String),
    Send(String),
    Receive { queue: String, wait: u64, batch: Option<usize> },
    Peek { queue: String, batch: Option<usize> },
    DeleteMessage { queue: String, receipt: String },
    DeleteMessages(String),
    ChangeVisibility { queue: String, receipt: String, seconds: u64 },
}

/// The parameters of a query, by name in lower case.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Self(pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let wrong = || Fault::query(format!("{name} is a number from {} to {}", range.start(), range.end()));
        number.map(Some).ok_or_else(wrong)
    }

    fn batch(&self) -> Result<Option<usize>, Fault> {
        Ok(self.number("numofmessages", 1..=MAX_BATCH as u64)?.and_then(|count| usize::try_from(count).ok()))
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl Operation {
    pub(super) fn of(method: &Method, target: Target<'_>, query: &str) -> Result<Self, Fault> {
        let query = Query::parse(query);
        let named = |queue: &str| queue.to_owned();
        Ok(match (method, target) {
            (&Method::GET, Target::Queues) => Self::List,
            (&Method::GET, Target::Queue(queue)) => Self::Attributes(named(queue)),
            (&Method::PUT, Target::Queue(queue)) if query.is_true("metaoverride") => {
                Self::SetAttributes(named(queue))
            }
            (&Method::PUT, Target::Queue(queue)) => Self::Create(named(queue)),
            (&Method::DELETE, Target::Queue(queue)) => Self::Delete(named(queue)),
            (&Method::POST, Target::Messages(queue)) => Self::Send(named(queue)),
            (&Method::GET, Target::Messages(queue)) if query.is_true("peekonly") => {
                Self::Peek { queue: named(queue), batch: query.batch()? }
            }
            (&Method::GET, Target::Messages(queue)) => Self::Receive {
                queue: named(queue),
                wait: query.number("waitseconds", 0..=LONGEST_WAIT)?.unwrap_or(0),
                batch: query.batch()?,
            },
            (&Method::DELETE, Target::Messages(queue)) => match query.get("receipthandle") {
                Some(receipt) => Self::DeleteMessage { queue: named(queue), receipt: receipt.to_owned() },
                None => Self::DeleteMessages(named(queue)),
            },
            (&Method::PUT, Target::Messages(queue)) => {
                let missing = |name| Fault::query(format!("{name} is missing"));
                let receipt = query.get("receipthandle").ok_or_else(|| missing("receiptHandle"))?;
                let seconds = query.number("visibilitytimeout", 0..=LONGEST_HIDDEN)?;
                Self::ChangeVisibility {
                    queue: named(queue),
                    receipt: receipt.to_owned(),
                    seconds: seconds.ok_or_else(|| missing("visibilityTimeout"))?,
                }
            }
            _ => return Err(Fault::url()),
        })
    }

    /// The queue that is named, if one is.
    pub(super) fn queue(&self) -> Option<&str> {
        match self {
            Self::List => None,
            Self::Create(queue)
            | Self::SetAttributes(queue)
            | Self::Attributes(queue)
            | Self::Delete(queue)
            | Self::Send(queue)
            | Self::Receive { queue, .. }
            | Self::Peek { queue, .. }
            | Self::DeleteMessage { queue, .. }
            | Self::DeleteMessages(queue)
            | Self::ChangeVisibility { queue, .. } => Some(queue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> Result<Operation, &'static str> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let target = Target::of(path).ok_or("InvalidRequestURL")?;
        Operation::of(&method, target, query).map_err(|fault| fault.code)
    }

    #[test]
    fn requests_are_told_apart() {
        let queue = || "q".to_owned();
        let receipt = || "r-_".to_owned();
        for (method, path, wanted) in [
            ("GET", "/queues", Ok(Operation::List)),
            ("PUT", "/queues/q", Ok(Operation::Create(queue()))),
            ("PUT", "/queues/q?metaoverride=true", Ok(Operation::SetAttributes(queue()))),
            ("GET", "/queues/q", Ok(Operation::Attributes(queue()))),
            ("DELETE", "/queues/q", Ok(Operation::Delete(queue()))),
            ("POST", "/queues/q/messages", Ok(Operation::Send(queue()))),
            (
                "GET",
                "/queues/q/messages?waitseconds=30&numOfMessages=16",
                Ok(Operation::Receive { queue: queue(), wait: 30, batch: Some(16) }),
            ),
            ("GET", "/queues/q/messages", Ok(Operation::Receive { queue: queue(), wait: 0, batch: None })),
            (
                "GET",
                "/queues/q/messages?peekonly=true&numOfMessages=2",
                Ok(Operation::Peek { queue: queue(), batch: Some(2) }),
            ),
            (
                "DELETE",
                "/queues/q/messages?ReceiptHandle=r-_",
                Ok(Operation::DeleteMessage { queue: queue(), receipt: receipt() }),
            ),
            ("DELETE", "/queues/q/messages", Ok(Operation::DeleteMessages(queue()))),
            (
                "PUT",
                "/queues/q/messages?receiptHandle=r-_&visibilityTimeout=43200",
                Ok(Operation::ChangeVisibility { queue: queue(), receipt: receipt(), seconds: 43_200 }),
            ),
            ("GET", "/queues/q/messages?waitseconds=-1", Err("InvalidQueryString")),
            ("GET", "/queues/q/messages?waitseconds=31", Err("InvalidQueryString")),
            ("GET", "/queues/q/messages?numOfMessages=0", Err("InvalidQueryString")),
            ("GET", "/queues/q/messages?numOfMessages=17", Err("InvalidQueryString")),
            ("PUT", "/queues/q/messages", Err("InvalidQueryString")),
            ("PUT", "/queues/q/messages?receiptHandle=r&visibilityTimeout=43201", Err("InvalidQueryString")),
            ("POST", "/queues/q", Err("InvalidRequestURL")),
            ("GET", "/queues/q/other", Err("InvalidRequestURL")),
            ("GET", "/topics", Err("InvalidRequestURL")),
            ("PATCH", "/queues", Err("InvalidRequestURL")),
        ] {
            assert_eq!(of(method, path), wanted, "{method} {path}");
        }
    }
}
