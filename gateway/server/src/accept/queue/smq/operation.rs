//! The operations of the protocol that a queue of the gateway knows.

use std::time::Duration;

use hookweir_journal::{Answered, Look, Receipt, Verdict};
use hookweir_model::Timestamp;
use http::{HeaderMap, Method, StatusCode};

use super::error::Fault;
use super::message::{self, BATCH, message_id};
use super::xml::{self, Writer};
use super::{Answer, Open};
use crate::accept::Accept;
use crate::accept::queue::ANSWER_BYTES;
use crate::pull::{Batch, Wanted, receipt_from_text, receipt_text};

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
        Ok(self.number("numofmessages", 1..=BATCH as u64)?.and_then(|count| usize::try_from(count).ok()))
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
    fn queue(&self) -> Option<&str> {
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

impl Accept {
    /// Does what a request asks of the queue that its key opens.
    pub(super) async fn operate(
        &self,
        open: &Open,
        operation: Operation,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, Fault> {
        if operation.queue().is_some_and(|queue| queue != open.endpoint.key.endpoint.as_str()) {
            return Err(match operation {
                Operation::Create(_) => Fault::denied(
                    "queues are made by the gateway's configuration: add an endpoint of kind \"pull\"",
                ),
                _ => Fault::no_queue(),
            });
        }
        match operation {
            Operation::List => self.list(open, headers).await,
            Operation::Create(_) => Ok(Answer { location: Some(open.url()), ..Answer::empty() }),
            Operation::SetAttributes(_) => set_attributes(open, body),
            Operation::Attributes(_) => {
                let attributes = self.attributes(open).await?;
                let write = |queue: &mut Writer| write_attributes(queue, &attributes);
                Ok(Answer::xml(StatusCode::OK, Writer::document("Queue", write)))
            }
            Operation::Delete(_) => {
                Err(Fault::denied("queues are removed by the gateway's configuration alone"))
            }
            Operation::Send(_) => self.send(open, body).await,
            Operation::Receive { wait, batch, .. } => self.smq_receive(open, wait, batch).await,
            Operation::Peek { batch, .. } => self.smq_peek(open, batch).await,
            Operation::DeleteMessage { receipt, .. } => self.delete(open, &receipt).await,
            Operation::DeleteMessages(_) => self.delete_all(open, body).await,
            Operation::ChangeVisibility { receipt, seconds, .. } => {
                self.change_visibility(open, &receipt, seconds).await
            }
        }
    }

    async fn list(&self, open: &Open, headers: &HeaderMap) -> Result<Answer, Fault> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let name = open.endpoint.key.endpoint.as_str();
        // There is one at most, so that whatever comes after a marker is nothing.
        let is_wanted = header("x-mns-prefix")
            .is_none_or(|prefix| prefix == "undefined" || name.starts_with(prefix))
            && header("x-mns-marker").is_none_or(str::is_empty);
        let with_meta = header("x-mns-with-meta").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let attributes = if with_meta { self.attributes(open).await? } else { Vec::new() };
        let body = Writer::document("Queues", |queues| {
            if is_wanted {
                queues.element("Queue", |queue| {
                    queue.text("QueueURL", &open.url());
                    write_attributes(queue, &attributes);
                });
            }
        });
        Ok(Answer::xml(StatusCode::OK, body))
    }

    async fn attributes(&self, open: &Open) -> Result<Vec<(&'static str, String)>, Fault> {
        let stats = self.journal.queue_stats(&open.endpoint.key, Timestamp::now()).await?;
        let max_body = self.live.load().config.accept.max_body;
        let mut attributes = configured(open, self.live.load().config.journal.retention)?;
        attributes.extend([
            ("MaximumMessageSize", max_body.to_string()),
            ("QueueName", open.endpoint.key.endpoint.to_string()),
            // When it was configured first is not known.
            ("CreateTime", "0".to_owned()),
            ("LastModifyTime", "0".to_owned()),
            ("ActiveMessages", stats.visible.to_string()),
            ("InactiveMessages", stats.in_flight.to_string()),
            ("DelayMessages", stats.delayed.to_string()),
            ("LoggingEnabled", "False".to_owned()),
        ]);
        Ok(attributes)
    }

    async fn send(&self, open: &Open, body: &[u8]) -> Result<Answer, Fault> {
        let root = xml::parse(body)?;
        let is_batch = root.name == "Messages";
        let elements = if is_batch { root.children } else { vec![root] };
        if !(1..=BATCH).contains(&elements.len()) {
            return Err(Fault::invalid(format!("send 1 to {BATCH} messages at a time")));
        }
        let now = Timestamp::now();
        let source = format!("/queues/{}", open.endpoint.key.endpoint);
        let sent = elements.iter().map(|element| message::read(element, &source, now));
        let sent = sent.collect::<Result<Vec<_>, _>>()?;
        let (messages, told): (Vec<_>, Vec<_>) =
            sent.into_iter().map(|sent| (sent.message, (sent.md5, sent.is_delayed))).unzip();
        let numbers = self.queues.put(&open.endpoint.key, messages).await?;
        let write = |message: &mut Writer, number: u64, md5: &str| {
            message.text("MessageId", &message_id(number));
            message.text("MessageBodyMD5", md5);
        };
        let told = numbers.into_iter().zip(told);
        let body = if is_batch {
            Writer::document("Messages", |all| {
                told.for_each(|(number, (md5, _))| all.element("Message", |one| write(one, number, &md5)));
            })
        } else {
            Writer::document("Message", |one| told.for_each(|(number, (md5, _))| write(one, number, &md5)))
        };
        Ok(Answer::xml(StatusCode::CREATED, body))
    }

    async fn smq_receive(&self, open: &Open, wait: u64, batch: Option<usize>) -> Result<Answer, Fault> {
        let settings = open.settings()?;
        let wanted = Wanted {
            limit: batch.unwrap_or(1),
            bytes: ANSWER_BYTES,
            wait: Duration::from_secs(wait).min(settings.max_wait),
            hidden: settings.visibility_timeout,
        };
        let found = self.queues.receive(&open.endpoint.key, settings, wanted).await?;
        let messages = found.map(Batch::hand_over).unwrap_or_default();
        if messages.is_empty() {
            return Err(Fault::no_message());
        }
        Ok(Answer::xml(
            StatusCode::OK,
            written(batch.is_some(), messages.iter(), |one, (receipt, message)| {
                message::write(one, message, Some(receipt));
            }),
        ))
    }

    async fn smq_peek(&self, open: &Open, batch: Option<usize>) -> Result<Answer, Fault> {
        let look = Look::Visible { now: Timestamp::now() };
        let messages = self.journal.messages(&open.endpoint.key, look, batch.unwrap_or(1)).await?;
        if messages.is_empty() {
            return Err(Fault::no_message());
        }
        Ok(Answer::xml(
            StatusCode::OK,
            written(batch.is_some(), messages.iter(), |one, message| {
                message::write(one, message, None);
            }),
        ))
    }

    async fn delete(&self, open: &Open, receipt: &str) -> Result<Answer, Fault> {
        self.say(open, receipt, Verdict::Ack).await.map(|_| Answer::empty())
    }

    async fn delete_all(&self, open: &Open, body: &[u8]) -> Result<Answer, Fault> {
        let root = xml::parse(body)?;
        let handles: Vec<&str> = root.children.iter().map(|child| child.text.trim()).collect();
        if root.name != "ReceiptHandles" || !(1..=BATCH).contains(&handles.len()) {
            return Err(Fault::invalid(format!("send <ReceiptHandles> with 1 to {BATCH} of them")));
        }
        let receipts: Vec<_> = handles.iter().map(|handle| receipt_from_text(handle)).collect();
        let verdicts = receipts.iter().flatten().map(|receipt| (*receipt, Verdict::Ack)).collect();
        let mut answered = self.queues.answer(&open.endpoint.key, verdicts).await?.into_iter();
        let results = receipts.iter().map(|receipt| match receipt {
            Some(_) => answered.next().map_or_else(|| Err(no_receipt()), judge),
            None => Err(no_receipt()),
        });
        let refused: Vec<_> = handles
            .iter()
            .zip(results)
            .filter_map(|(handle, result)| result.err().map(|fault| (handle, fault)))
            .collect();
        if refused.is_empty() {
            return Ok(Answer::empty());
        }
        let body = Writer::document("Errors", |errors| {
            for (handle, fault) in &refused {
                errors.element("Error", |error| {
                    error.text("ErrorCode", fault.code);
                    error.text("ErrorMessage", &fault.message);
                    error.text("ReceiptHandle", handle);
                });
            }
        });
        Ok(Answer::xml(StatusCode::NOT_FOUND, body))
    }

    async fn change_visibility(&self, open: &Open, handle: &str, seconds: u64) -> Result<Answer, Fault> {
        let until = Timestamp::now().after(Duration::from_secs(seconds));
        let receipt = self.say(open, handle, Verdict::Extend { until }).await?;
        let body = Writer::document("ChangeVisibility", |change| {
            change.text("ReceiptHandle", &receipt_text(&receipt));
            change.number("NextVisibleTime", until.as_millis());
        });
        Ok(Answer::xml(StatusCode::OK, body))
    }

    async fn say(&self, open: &Open, handle: &str, verdict: Verdict) -> Result<Receipt, Fault> {
        let receipt = receipt_from_text(handle).ok_or_else(no_receipt)?;
        let answered = self.queues.answer(&open.endpoint.key, vec![(receipt, verdict)]).await?;
        answered.into_iter().next().map_or_else(|| Err(no_receipt()), judge).map(|()| receipt)
    }
}

fn no_receipt() -> Fault {
    Fault::receipt("this is no receipt handle: give it as it was received")
}

fn judge(answered: Answered) -> Result<(), Fault> {
    match answered {
        Answered::Done | Answered::Dead => Ok(()),
        Answered::Stale => Err(Fault::receipt("the message was received again or given back since")),
        Answered::Gone => Err(Fault::no_message()),
    }
}

/// One message, or a batch of them.
fn written<T>(is_batch: bool, messages: impl Iterator<Item = T>, write: impl Fn(&mut Writer, T)) -> String {
    if is_batch {
        Writer::document("Messages", |all| {
            messages.for_each(|message| all.element("Message", |one| write(one, message)));
        })
    } else {
        Writer::document("Message", |one| messages.for_each(|message| write(one, message)))
    }
}

/// The attributes that the configuration decides.
fn configured(open: &Open, retention: Duration) -> Result<Vec<(&'static str, String)>, Fault> {
    let settings = open.settings()?;
    Ok(vec![
        ("VisibilityTimeout", settings.visibility_timeout.as_secs().to_string()),
        ("MessageRetentionPeriod", settings.retention.unwrap_or(retention).as_secs().to_string()),
        ("DelaySeconds", "0".to_owned()),
        ("PollingWaitSeconds", "0".to_owned()),
    ])
}

fn write_attributes(queue: &mut Writer, attributes: &[(&'static str, String)]) {
    attributes.iter().for_each(|(name, value)| queue.text(name, value));
}

/// Takes attributes that are as they were asked to be, and refuses to change any.
fn set_attributes(open: &Open, body: &[u8]) -> Result<Answer, Fault> {
    let root = xml::parse(body)?;
    let visibility = open.settings()?.visibility_timeout.as_secs().to_string();
    let is = |name: &str, value: &str| root.get(name).is_none_or(|asked| asked.trim() == value);
    if is("VisibilityTimeout", &visibility) && is("DelaySeconds", "0") && is("PollingWaitSeconds", "0") {
        Ok(Answer::empty())
    } else {
        Err(Fault::denied("a queue's attributes are set in the gateway's configuration"))
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
