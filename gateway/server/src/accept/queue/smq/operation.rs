//! What the operations of the protocol do with a queue.

use std::time::Duration;

use hookweir_delivery::smq::MAX_BATCH;
use hookweir_journal::{Answered, Look, Receipt, Verdict};
use hookweir_model::Timestamp;
use http::{HeaderMap, StatusCode};

use super::error::Fault;
use super::message::{self, Now, message_id};
use super::request::Operation;
use super::xml::{self, Writer};
use super::{Answer, Open};
use crate::accept::Accept;
use crate::accept::queue::ANSWER_BYTES;
use crate::pull::{Wanted, receipt_from_text, receipt_text};

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
        let (stats, _) = self.queues.stats(&open.endpoint.key).await?;
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
        if !(1..=MAX_BATCH).contains(&elements.len()) {
            return Err(Fault::invalid(format!("send 1 to {MAX_BATCH} messages at a time")));
        }
        let now = Now { wall: Timestamp::now(), own: self.queues.now() };
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
        let mut room = self.answer_room(&open.endpoint.key);
        let found = self.queues.receive(&open.endpoint.key, settings, wanted, &mut room).await?;
        let Some(found) = found else { return Err(Fault::no_message()) };
        let body = written(batch.is_some(), found.messages(), |one, (receipt, message)| {
            message::write(one, message, Some(&receipt));
        });
        let answer = Answer::held(body, room)?;
        found.hand_over();
        Ok(answer)
    }

    async fn smq_peek(&self, open: &Open, batch: Option<usize>) -> Result<Answer, Fault> {
        let look = Look::Visible { now: self.queues.now() };
        let mut room = self.answer_room(&open.endpoint.key);
        let wanted = (batch.unwrap_or(1), ANSWER_BYTES);
        let messages = self.queues.look(&open.endpoint.key, look, wanted, &mut room).await?.messages;
        if messages.is_empty() {
            return Err(Fault::no_message());
        }
        let body =
            written(batch.is_some(), messages.iter(), |one, message| message::write(one, message, None));
        Answer::held(body, room)
    }

    async fn delete(&self, open: &Open, receipt: &str) -> Result<Answer, Fault> {
        self.say(open, receipt, Verdict::Ack).await.map(|_| Answer::empty())
    }

    async fn delete_all(&self, open: &Open, body: &[u8]) -> Result<Answer, Fault> {
        let root = xml::parse(body)?;
        let handles: Vec<&str> = root.children.iter().map(|child| child.text.trim()).collect();
        if root.name != "ReceiptHandles" || !(1..=MAX_BATCH).contains(&handles.len()) {
            return Err(Fault::invalid(format!("send <ReceiptHandles> with 1 to {MAX_BATCH} of them")));
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
        let until = self.queues.now().after(Duration::from_secs(seconds));
        let receipt = self.say(open, handle, Verdict::Extend { until }).await?;
        let body = Writer::document("ChangeVisibility", |change| {
            change.text("ReceiptHandle", &receipt_text(&receipt));
            change.number("NextVisibleTime", self.queues.wall(until).as_millis());
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
