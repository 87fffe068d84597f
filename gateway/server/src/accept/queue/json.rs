//! Queues in JSON, for whoever holds a key of the tenant.

use std::time::Duration;

use bytes::Bytes;
use hookweir_journal::{Answered, Look, Message, Receipt, Verdict};
use hookweir_model::EndpointKey;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{ANSWER_BYTES, MOST};
use crate::accept::{Accept, tenant};
use crate::api::{
    AnswerRequest, AnswerResult, AnswerView, Answers, LookRequest, MessageView, Messages, QueueView,
    ReceiveRequest, RedriveRequest, Redriven,
};
use crate::config::{Destination, Pull, VISIBILITY};
use crate::json_text;
use crate::listen::{self, Peer, Share};
use crate::numbers::is_shown;
use crate::problem::{Problem, json};
use crate::pull::{Batch, Wanted, receipt_from_text, receipt_text};

/// A request holds receipts and numbers, never a message.
const BODY: usize = 64 << 10;
/// The longest that a message can be given back for.
const LONGEST_DELAY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is asked of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::accept) enum Action {
    Receive,
    Ack,
    Nack,
    Extend,
    Peek,
    Dead,
    Redrive,
    Stats,
}

impl Action {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "receive" => Self::Receive,
            "ack" => Self::Ack,
            "nack" => Self::Nack,
            "extend" => Self::Extend,
            "peek" => Self::Peek,
            "dead" => Self::Dead,
            "redrive" => Self::Redrive,
            "stats" => Self::Stats,
            _ => return None,
        })
    }
}

impl Accept {
    pub(super) async fn json_queue(
        &self,
        tenant_id: &str,
        queue: &str,
        action: Action,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let (head, body) = request.into_parts();
        let endpoint = {
            let live = self.live.load();
            let tenant = tenant(&live, tenant_id, &head.headers)?;
            peer.known(Some(&tenant.id));
            tenant.endpoints.get(queue).cloned().ok_or(Problem::NotFound("queue"))?
        };
        let Destination::Pull(settings) = &endpoint.settings.target else {
            return Err(Problem::NotFound("queue"));
        };
        if head.method != Method::POST {
            return Err(Problem::Method(Some("POST")));
        }
        let key = &endpoint.key;
        let body = self.read(&head.headers, body, BODY, &key.tenant).await?;
        match action {
            Action::Receive => self.receive(key, settings, parse(&body)?).await,
            Action::Ack | Action::Nack | Action::Extend => {
                self.answer_for(key, settings, action, parse(&body)?).await
            }
            Action::Peek | Action::Dead => self.look(key, action, parse(&body)?).await,
            Action::Redrive => {
                let RedriveRequest { numbers } = parse(&body)?;
                if numbers.as_ref().is_some_and(|numbers| numbers.len() > MOST) {
                    return Err(malformed(format!("name at most {MOST} numbers, or none for all")));
                }
                Ok(ok(&Redriven { messages: self.queues.redrive(key, numbers).await? }))
            }
            Action::Stats => {
                let (stats, oldest) = self.queues.stats(key).await?;
                Ok(ok(&QueueView::new(stats, oldest, self.queues.waiting(key))))
            }
        }
    }

    async fn receive(
        &self,
        key: &EndpointKey,
        settings: &Pull,
        request: ReceiveRequest,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let wanted = Wanted {
            limit: count(request.max, 1)?,
            bytes: ANSWER_BYTES,
            wait: span("wait", request.wait.as_deref(), (Duration::ZERO, settings.max_wait))?
                .unwrap_or(Duration::ZERO),
            hidden: span("visibility_timeout", request.visibility_timeout.as_deref(), VISIBILITY)?
                .unwrap_or(settings.visibility_timeout),
        };
        let mut room = self.answer_room(key);
        let batch = self.queues.receive(key, settings, wanted, &mut room).await?;
        let view = |(receipt, message): (Receipt, &Message)| {
            MessageView::new(Some(receipt_text(&receipt)), message.clone())
        };
        let messages = batch.iter().flat_map(Batch::messages).map(view).collect();
        let answer = held(&Messages { messages, next: None }, room)?;
        batch.into_iter().for_each(Batch::hand_over);
        Ok(answer)
    }

    async fn answer_for(
        &self,
        key: &EndpointKey,
        settings: &Pull,
        action: Action,
        request: AnswerRequest,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        if !(1..=MOST).contains(&request.receipts.len()) {
            return Err(malformed(format!("name 1 to {MOST} receipts")));
        }
        let delay = span("delay", request.delay.as_deref(), (Duration::ZERO, LONGEST_DELAY))?;
        let hidden = span("visibility_timeout", request.visibility_timeout.as_deref(), VISIBILITY)?;
        if (delay.is_some() && action != Action::Nack) || (hidden.is_some() && action != Action::Extend) {
            return Err(malformed(
                "`delay` belongs to nack alone, and `visibility_timeout` to extend".to_owned(),
            ));
        }
        let now = self.queues.now();
        let verdict = match action {
            Action::Nack => Verdict::Nack {
                visible: now.after(delay.unwrap_or_default()),
                max_receives: settings.max_receives,
            },
            Action::Extend => {
                Verdict::Extend { until: now.after(hidden.unwrap_or(settings.visibility_timeout)) }
            }
            _ => Verdict::Ack,
        };
        let receipts: Vec<_> = request.receipts.iter().map(|text| receipt_from_text(text)).collect();
        let verdicts = receipts.iter().flatten().map(|receipt| (*receipt, verdict)).collect();
        let mut answered = self.queues.answer(key, verdicts).await?.into_iter();
        let results = request
            .receipts
            .into_iter()
            .zip(receipts)
            .map(|(text, receipt)| view(text, receipt.and_then(|_| answered.next())));
        Ok(ok(&Answers { results: results.collect() }))
    }

    async fn look(
        &self,
        key: &EndpointKey,
        action: Action,
        request: LookRequest,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let limit = count(request.max, 10)?;
        let look = match action {
            Action::Dead if request.after.is_some_and(|after| !is_shown(after)) => {
                return Err(malformed("`after` is a number that `dead` has shown".to_owned()));
            }
            Action::Dead => Look::Dead { after: request.after.unwrap_or(0) },
            _ if request.after.is_some() => {
                return Err(malformed("`after` belongs to dead letters alone".to_owned()));
            }
            _ => Look::Visible { now: self.queues.now() },
        };
        let mut room = self.answer_room(key);
        let looked = self.queues.look(key, look, (limit, ANSWER_BYTES), &mut room).await?;
        let next = looked.next.filter(|_| action == Action::Dead);
        let messages = looked.messages.into_iter().map(|message| MessageView::new(None, message)).collect();
        held(&Messages { messages, next }, room)
    }
}

/// A 200 with messages, which count until their consumer has read them.
fn held(body: &Messages, room: Share) -> Result<Response<Full<Bytes>>, Problem> {
    // Our own types always serialize.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let bytes = listen::hold(Bytes::from(bytes), room).map_err(Problem::answers)?;
    let mut response = Response::new(Full::new(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(listen::Held);
    Ok(response)
}

fn ok(body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    json(StatusCode::OK, body)
}

fn malformed(detail: String) -> Problem {
    Problem::Malformed(detail)
}

/// Reads a request; nothing at all asks for what is usual.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() {
        return serde_json::from_slice(b"{}")
            .map_err(|error| malformed(format!("send a JSON object: {error}")));
    }
    json_text::object(body, "send a JSON object, or nothing for what is usual", "values")?;
    serde_json::from_slice(body).map_err(|error| {
        malformed(
            json_text::encoding(body, "the body").unwrap_or_else(|| format!("send a JSON object: {error}")),
        )
    })
}

fn count(asked: Option<u64>, usual: usize) -> Result<usize, Problem> {
    let asked = asked.map_or(Ok(usual), usize::try_from).unwrap_or(usize::MAX);
    if (1..=MOST).contains(&asked) {
        Ok(asked)
    } else {
        Err(malformed(format!("`max` is a number from 1 to {MOST}")))
    }
}

/// Reads a duration within bounds.
fn span(
    name: &str,
    text: Option<&str>,
    (lowest, highest): (Duration, Duration),
) -> Result<Option<Duration>, Problem> {
    let Some(text) = text else { return Ok(None) };
    match humantime::parse_duration(text) {
        Ok(span) if (lowest..=highest).contains(&span) => Ok(Some(span)),
        _ => Err(malformed(format!(
            "`{name}` is a duration such as \"20s\", from {} to {}",
            humantime::format_duration(lowest),
            humantime::format_duration(highest)
        ))),
    }
}

/// What became of one receipt; `None` for what is none.
fn view(receipt: String, answered: Option<Answered>) -> AnswerView {
    let (result, status, detail) = match answered {
        Some(Answered::Done) => (AnswerResult::Done, StatusCode::OK, None),
        Some(Answered::Dead) => (AnswerResult::Dead, StatusCode::OK, None),
        Some(Answered::Stale) => {
            let detail = "the message was received again or given back since: let it be";
            (AnswerResult::Stale, StatusCode::CONFLICT, Some(detail))
        }
        Some(Answered::Gone) => {
            let detail = "the queue has no such message any more";
            (AnswerResult::Gone, StatusCode::GONE, Some(detail))
        }
        None => {
            let detail = "this is no receipt: give it as it was received";
            (AnswerResult::Malformed, StatusCode::BAD_REQUEST, Some(detail))
        }
    };
    AnswerView { receipt, result, status: status.as_u16(), detail: detail.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_spans_keep_their_bounds() {
        for (asked, wanted) in
            [(None, Some(7)), (Some(1), Some(1)), (Some(100), Some(100)), (Some(0), None), (Some(101), None)]
        {
            assert_eq!(count(asked, 7).ok(), wanted);
        }
        assert!(count(Some(u64::MAX), 7).is_err());
        let bounds = (Duration::from_secs(1), Duration::from_secs(30));
        for (text, wanted) in [
            (Some("1s"), Some(Some(1))),
            (Some("30s"), Some(Some(30))),
            (None, Some(None)),
            (Some("999ms"), None),
            (Some("31s"), None),
            (Some("-1s"), None),
            (Some("soon"), None),
            (Some(""), None),
        ] {
            let found = span("wait", text, bounds).ok();
            assert_eq!(found, wanted.map(|wanted| wanted.map(Duration::from_secs)), "{text:?}");
        }
    }

    #[test]
    fn a_request_may_be_empty_and_holds_nothing_unknown() {
        assert_eq!(parse::<ReceiveRequest>(b" \n").unwrap(), ReceiveRequest::default());
        assert_eq!(parse::<ReceiveRequest>(b"{\"max\": 3}").unwrap().max, Some(3));
        for bad in [
            "{",
            "[]",
            "[1,\"0s\",null]",
            "\u{feff}{}",
            "{\"max\": -1}",
            "{\"max\": 1.5}",
            "{\"much\": 1}",
            "{\"wait\": 5}",
        ] {
            assert!(parse::<ReceiveRequest>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
