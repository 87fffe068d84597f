//! `hookweir queue`: fetches messages from a queue of the gateway's own, answers for them, and shows how it fares.
//!
//! A client of the accept listener, as any other consumer is.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hookweir_model::EndpointId;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;

use super::client::{AcceptArgs, Answer, Client};
use super::{Exit, TenantArg, show};
use crate::api::{
    AnswerRequest, AnswerResult, AnswerView, Answers, LookRequest, MessageView, Messages, QueueView,
    ReceiveRequest, RedriveRequest, Redriven,
};
use crate::log;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Receive messages, and hide them from other consumers for a while
    #[command(after_help = "\
Examples:
  hookweir queue receive --tenant acme inbox --wait 20s
  hookweir queue receive --tenant acme inbox --max 10 --ack

A message that is not acknowledged in time can be received again.")]
    Receive(ReceiveArgs),
    /// Acknowledge messages: they are removed
    Ack(ReceiptArgs),
    /// Give messages back, at once or for later
    Nack(NackArgs),
    /// Show what waits in a queue, and change nothing
    Peek(PeekArgs),
    /// Show how many messages a queue holds, and how they are
    Stats(QueueArgs),
    /// Put dead letters back into their queue
    #[command(after_help = "\
Examples:
  hookweir queue peek --tenant acme inbox --dead
  hookweir queue redrive --tenant acme inbox 6755399441055744 5001234567890123
  hookweir queue redrive --tenant acme inbox             all of them")]
    Redrive(RedriveArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct QueueArgs {
    #[command(flatten)]
    tenant: TenantArg,
    /// The queue: an endpoint of kind "pull"
    queue: EndpointId,
    #[command(flatten)]
    accept: AcceptArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReceiveArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// How many to receive at most
    #[arg(long, value_name = "N", default_value_t = 1)]
    max: u64,
    /// How long to wait for one, such as 20s [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// How long they are hidden from others [default: what the queue has]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    visibility_timeout: Option<Duration>,
    /// Acknowledge them once they are printed
    #[arg(long)]
    ack: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReceiptArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// What `receive` gave for each message
    #[arg(required = true)]
    receipts: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NackArgs {
    #[command(flatten)]
    of: ReceiptArgs,
    /// How long they stay hidden [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PeekArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Show dead letters: what was received too often
    #[arg(long)]
    dead: bool,
    /// How many to show at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    max: u64,
    /// Dead letters alone: go on after this number
    #[arg(long, value_name = "NUMBER", requires = "dead")]
    after: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RedriveArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// The numbers that `peek --dead` shows [default: all dead letters]
    numbers: Vec<u64>,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Receive(args) => receive(args).await,
        Command::Ack(args) => {
            let request = AnswerRequest { receipts: args.receipts, ..AnswerRequest::default() };
            answer_for(&args.queue, "ack", &request).await
        }
        Command::Nack(args) => {
            let delay = args.delay.map(text);
            let request = AnswerRequest { receipts: args.of.receipts, delay, visibility_timeout: None };
            answer_for(&args.of.queue, "nack", &request).await
        }
        Command::Peek(args) => peek(args).await,
        Command::Stats(args) => stats(args).await,
        Command::Redrive(args) => redrive(args).await,
    }
}

impl QueueArgs {
    async fn ask(&self, action: &str, request: &impl Serialize) -> anyhow::Result<Answer> {
        let body = serde_json::to_string(request).context("can't write the request")?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let path = ["v1", "tenants", self.tenant.as_str(), "queues", self.queue.as_str(), action];
        Ok(Client::accept(&self.accept)?.post(&path, headers, Some(body)).await?)
    }
}

/// A duration as the gateway reads it.
fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

async fn receive(args: ReceiveArgs) -> anyhow::Result<Exit> {
    let request = ReceiveRequest {
        max: Some(args.max),
        wait: args.wait.map(text),
        visibility_timeout: args.visibility_timeout.map(text),
    };
    let answer = args.queue.ask("receive", &request).await?;
    let received: Messages = answer.read()?;
    if args.queue.accept.json {
        show::print(&show::json_line(answer.json()))?;
    } else if received.messages.is_empty() {
        show::print("no message\n")?;
    } else {
        let shown = received.messages.iter().map(whole).collect::<anyhow::Result<Vec<_>>>()?;
        show::print(&shown.join("\n"))?;
    }
    if !args.ack || received.messages.is_empty() {
        return Ok(Exit::Done);
    }
    let receipts = received.messages.into_iter().filter_map(|message| message.receipt).collect();
    let request = AnswerRequest { receipts, ..AnswerRequest::default() };
    let acknowledged: Answers = args.queue.ask("ack", &request).await?.read()?;
    let refused: Vec<&AnswerView> = acknowledged.results.iter().filter(|result| !is_done(result)).collect();
    if refused.is_empty() {
        return Ok(Exit::Done);
    }
    anyhow::bail!("{} of the messages were not acknowledged: {}", refused.len(), reason(refused[0]))
}

async fn answer_for(queue: &QueueArgs, action: &str, request: &AnswerRequest) -> anyhow::Result<Exit> {
    let answer = queue.ask(action, request).await?;
    let answers: Answers = answer.read()?;
    if queue.accept.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        show::print(&results(&answers.results))?;
    }
    Ok(if answers.results.iter().all(is_done) { Exit::Done } else { Exit::Failed })
}

fn is_done(result: &AnswerView) -> bool {
    matches!(result.result, AnswerResult::Done | AnswerResult::Dead)
}

fn reason(result: &AnswerView) -> &str {
    result.detail.as_deref().unwrap_or("the gateway does not say why")
}

fn results(results: &[AnswerView]) -> String {
    let mut text = String::new();
    for result in results {
        let said = match result.result {
            AnswerResult::Done => "done",
            AnswerResult::Dead => "done; it was its last chance, and the message is a dead letter now",
            _ => reason(result),
        };
        let _ = writeln!(text, "{}  {}", show::escaped(&result.receipt), show::escaped(said));
    }
    text
}

async fn peek(args: PeekArgs) -> anyhow::Result<Exit> {
    let request = LookRequest { max: Some(args.max), after: args.after };
    let answer = args.queue.ask(if args.dead { "dead" } else { "peek" }, &request).await?;
    if args.queue.accept.json {
        show::print(&show::json_line(answer.json()))?;
        return Ok(Exit::Done);
    }
    let found: Messages = answer.read()?;
    show::print(&table(&found.messages)?.render(show::Look::of_stdout()))?;
    if let Some(next) = found.next {
        log::say(&format!("there may be more dead letters: add --after {next}\n"));
    }
    Ok(Exit::Done)
}

async fn stats(args: QueueArgs) -> anyhow::Result<Exit> {
    let answer = args.ask("stats", &serde_json::json!({})).await?;
    if args.accept.json {
        show::print(&show::json_line(answer.json()))?;
        return Ok(Exit::Done);
    }
    let QueueView { visible, in_flight, delayed, dead, oldest, waiting } = answer.read()?;
    let mut rows =
        show::Rows::new(&["QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED", "DEAD", "WAITING", "OLDEST"]);
    rows.push([
        args.queue.as_str(),
        &visible.to_string(),
        &in_flight.to_string(),
        &delayed.to_string(),
        &dead.to_string(),
        &waiting.to_string(),
        &oldest.unwrap_or_default(),
    ]);
    show::print(&rows.render(show::Look::of_stdout()))?;
    Ok(Exit::Done)
}

async fn redrive(args: RedriveArgs) -> anyhow::Result<Exit> {
    let request = RedriveRequest { numbers: (!args.numbers.is_empty()).then_some(args.numbers) };
    let answer = args.queue.ask("redrive", &request).await?;
    if args.queue.accept.json {
        show::print(&show::json_line(answer.json()))?;
    } else {
        let Redriven { messages } = answer.read()?;
        let what = if messages == 1 { "1 dead letter is" } else { &format!("{messages} dead letters are") };
        show::print(&format!("{what} back in {}\n", args.queue.queue))?;
    }
    Ok(Exit::Done)
}

fn body(message: &MessageView) -> anyhow::Result<Vec<u8>> {
    match (&message.data, &message.data_base64) {
        (Some(data), _) => Ok(data.clone().into_bytes()),
        (None, Some(data)) => BASE64.decode(data).context("the gateway's answer holds broken base64"),
        (None, None) => Ok(Vec::new()),
    }
}

/// One message for a person.
fn whole(message: &MessageView) -> anyhow::Result<String> {
    let mut text = format!("{}\n", show::escaped(message.id.as_str()));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12}  {}", show::escaped(value));
    };
    if let Some(receipt) = &message.receipt {
        line("receipt", receipt);
    }
    line("type", message.event_type.as_str());
    line("source", &message.source);
    if let Some(subject) = &message.subject {
        line("subject", subject);
    }
    line("time", &message.time);
    line("content type", &message.content_type);
    for (name, value) in &message.headers {
        line(&show::escaped(name), value);
    }
    line("receives", &message.receives.to_string());
    line("hidden until", &message.visible);
    let data = body(message)?;
    let _ = write!(text, "\ndata ({} bytes)\n{}", data.len(), show::data(&data, "  "));
    Ok(text)
}

fn table(messages: &[MessageView]) -> anyhow::Result<show::Rows> {
    let mut rows = show::Rows::new(&["NUMBER", "EVENT", "TYPE", "RECEIVES", "CAME", "DATA"]);
    for message in messages {
        let data = body(message)?;
        let excerpt = match std::str::from_utf8(&data) {
            Ok(text) => show::excerpt(text, 60),
            Err(_) => format!("({} bytes that are no text)", data.len()),
        };
        rows.push([
            &message.number.to_string(),
            message.id.as_str(),
            message.event_type.as_str(),
            &message.receives.to_string(),
            &message.enqueued,
            &excerpt,
        ]);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use hookweir_model::{EventId, EventType};

    use super::*;

    fn message(data: Option<&str>, data_base64: Option<&str>) -> MessageView {
        MessageView {
            receipt: Some("AAAA".to_owned()),
            number: 17,
            id: EventId::new("evt_1").unwrap(),
            event_type: EventType::new("invoice.paid").unwrap(),
            source: "/shop".to_owned(),
            subject: None,
            time: "2026-01-31T12:00:00Z".to_owned(),
            content_type: "application/json".to_owned(),
            headers: vec![("x-team".to_owned(), "a\nb".to_owned())],
            data: data.map(str::to_owned),
            data_base64: data_base64.map(str::to_owned),
            receives: 2,
            enqueued: "2026-01-31T12:00:01.000Z".to_owned(),
            first_received: None,
            visible: "2026-01-31T12:00:31.000Z".to_owned(),
        }
    }

    #[test]
    fn a_message_is_shown_with_its_receipt_and_data() {
        let text = whole(&message(Some("{\"a\":1}"), None)).unwrap();
        for wanted in
            ["evt_1\n", "  receipt       AAAA\n", "  x-team        a\\nb\n", "data (7 bytes)\n  {\n"]
        {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        let text = whole(&message(None, Some("//4="))).unwrap();
        assert!(text.contains("data (2 bytes)\n  (2 bytes that are no text)"), "{text}");
        assert!(whole(&message(None, Some("?"))).is_err());
    }

    #[test]
    fn a_table_has_a_line_a_message() {
        let rows = table(&[message(Some("two\nlines"), None), message(None, Some("//4="))]).unwrap();
        let text = rows.render(show::Look::Plain);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("two\\nlines") && text.contains("(2 bytes that are no text)"), "{text}");
    }

    #[test]
    fn each_receipt_is_told_its_end() {
        let view = |result, detail: Option<&str>| AnswerView {
            receipt: "AAAA".to_owned(),
            result,
            status: 200,
            detail: detail.map(str::to_owned),
        };
        let text = results(&[
            view(AnswerResult::Done, None),
            view(AnswerResult::Dead, None),
            view(AnswerResult::Gone, Some("it is gone")),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), ("AAAA  done", "AAAA  it is gone"));
        assert!(lines[1].contains("dead letter"));
    }
}
