//! `kind = "rabbitmq"`: persistent messages for an exchange of RabbitMQ, or another broker that speaks AMQP 0-9-1 with its
//! confirms.
//!
//! Delivered means that the broker has confirmed the message and returned nothing: it lies in at least one queue, and where
//! that is durable, on disk. A message that no queue is bound for would be confirmed too, and dropped; `mandatory` makes
//! the broker return it first, which counts as a failure. The broker drops no repetition: readers do, by the message id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_rs::TokioRuntime;
use async_rs::traits::Reactor as _;
use hookweir_model::{TenantId, Timestamp};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::RustlsConnector;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{AsyncTcpStream, BasicProperties, Channel, Confirmation, ConnectionProperties, ErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

use super::pool::{Pool, Pooled};
use super::{Fault, Progress, Template, attempt, fingerprint, lock};
use crate::dial::dial_by;
use crate::network::{Network, NoConnection};
use crate::{Backend, HttpClient, Report, Request, Server};

/// `delivery_mode` of a message that outlives a restart of the broker.
const PERSISTENT: u8 = 2;

/// An exchange, and how its broker is met.
#[derive(Debug, Clone)]
pub struct RabbitMqTarget {
    pub server: Server,
    pub vhost: String,
    pub user: SecretString,
    pub password: SecretString,
    /// Empty: the default exchange, which takes a queue's name as routing key.
    pub exchange: String,
    pub routing_key: Template,
    /// The whole attempt.
    pub timeout: Duration,
}

/// The way out to RabbitMQ.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    network: Network,
    pool: Pool<Key, Line>,
}

/// Tenant, server, virtual host and user.
type Key = (TenantId, Server, String, [u8; 32]);

/// A connection with a channel for each exchange: a channel ends at its first fault, and whoever used it with it.
#[derive(Clone)]
struct Line {
    connection: Arc<lapin::Connection>,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Pooled for Line {
    fn is_usable(&self) -> bool {
        self.connection.status().connected()
    }
}

impl Line {
    /// The channel of an exchange, which confirms what is published on it.
    async fn channel(&self, exchange: &str) -> Result<Channel, lapin::Error> {
        let mut channels = self.channels.lock().await;
        if let Some(channel) = channels.get(exchange).filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        channels.insert(exchange.to_owned(), channel.clone());
        Ok(channel)
    }
}

impl RabbitMq {
    pub(crate) fn over(http: &HttpClient) -> Self {
        Self { network: http.network().clone(), pool: Pool::new() }
    }

    async fn publish(
        &self,
        target: &RabbitMqTarget,
        request: Request<'_>,
        progress: &Progress,
    ) -> Result<String, Fault> {
        let login = fingerprint("rabbitmq", &[&target.user, &target.password]);
        let key = (request.tenant.clone(), target.server.clone(), target.vhost.clone(), login);
        let connect = async || self.connect(target, progress.deadline()).await;
        let line = self.pool.get(&key, connect).await?;
        if line.connection.status().blocked() {
            return Err(Fault::retry("the broker takes no messages: it is out of memory or disk (an alarm)"));
        }
        let routing_key = target.routing_key.fill(&request);
        let properties = properties(request)?;
        let channel = line.channel(&target.exchange).await.map_err(|error| greeting(&error, target))?;
        progress.hand_over()?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let confirmation = async {
            let exchange = ShortString::from(target.exchange.as_str());
            let key = short(&routing_key, "the routing key")?;
            let body = &request.shaped.body[..];
            let published = channel.basic_publish(exchange, key, options, body, properties).await;
            let published = published.map_err(|error| refusal(&error, target, body.len()))?;
            published.await.map_err(|error| refusal(&error, target, body.len()))
        };
        match confirmation.await? {
            Confirmation::Ack(None) => Ok(format!("confirmed by {}", target.server)),
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                Err(Fault::retry(format!(
                    "no queue takes messages of {} with the routing key {routing_key:?} ({} {})",
                    exchange(target),
                    returned.reply_code,
                    returned.reply_text
                )))
            }
            Confirmation::Nack(None) => Err(Fault::retry("the broker could not store the message (nack)")),
            // Confirms are on, so that this can't be; it is not a confirmation.
            Confirmation::NotRequested => Err(Fault::unknown("the broker did not confirm the message")),
        }
    }

    async fn connect(&self, target: &RabbitMqTarget, deadline: Instant) -> Result<Line, Fault> {
        let addresses = self.network.addresses(&target.server).await?;
        let tls = self.network.client_config(&target.server)?;
        let name = target.server.host.to_string().trim_matches(['[', ']']).to_owned();
        // The library asks for a stream, so that the one it gets goes to an address that was judged.
        let unreached: Arc<std::sync::Mutex<Option<Fault>>> = Arc::default();
        let told = Arc::clone(&unreached);
        let dial = async move |_: AMQPUri, runtime: TokioRuntime| {
            let made = dial_by(&addresses, deadline, |address| runtime.tcp_connect_addr(address)).await;
            let stream = made.map_err(|unreached| {
                *lock(&told) = Some(NoConnection::Unreached(unreached).into());
                lapin::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
            })?;
            let stream = AsyncTcpStream::Plain(stream);
            Ok(match &tls {
                None => stream,
                Some(config) => stream.into_rustls(&RustlsConnector::from(Arc::clone(config)), &name).await?,
            })
        };
        let properties = ConnectionProperties::default().with_connection_name(LongString::from("hookweir"));
        let made =
            lapin::Connection::connector(uri(target), TokioRuntime::tokio_current(), dial, properties).await;
        match made {
            Ok(connection) => Ok(Line { connection: Arc::new(connection), channels: Arc::default() }),
            Err(error) => {
                debug!(
                    target: "hookweir::delivery",
                    error = &error as &dyn std::error::Error,
                    "no connection to RabbitMQ"
                );
                let unreached = lock(&unreached).take();
                Err(unreached.unwrap_or_else(|| greeting(&error, target)))
            }
        }
    }
}

impl Backend for RabbitMq {
    type Target = RabbitMqTarget;

    const KIND: &'static str = "rabbitmq";

    fn address(target: &RabbitMqTarget) -> String {
        format!("{} {} {}", target.server, target.exchange, target.routing_key.as_str())
    }

    async fn send(&self, target: &RabbitMqTarget, request: Request<'_>, _now: Timestamp) -> Report {
        attempt(target.timeout, request.in_force, async |progress| {
            self.publish(target, request, progress).await
        })
        .await
    }

    async fn close(&self) {
        self.pool.clear();
    }
}

/// Only the credentials and the virtual host are read from it: the address was dialled by us.
fn uri(target: &RabbitMqTarget) -> AMQPUri {
    AMQPUri {
        scheme: if target.server.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: target.user.expose_secret().to_owned(),
                password: target.password.expose_secret().to_owned(),
            },
            host: target.server.host.to_string(),
            port: target.server.port,
        },
        vhost: target.vhost.clone(),
        query: AMQPQueryString::default(),
    }
}

fn properties(request: Request<'_>) -> Result<BasicProperties, Fault> {
    let mut headers = FieldTable::default();
    for (name, value) in request.message_headers() {
        headers.insert(short(name, "the name of a header")?, AMQPValue::LongString(LongString::from(value)));
    }
    Ok(BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short(request.event.as_str(), "the event's id")?)
        .with_type(short(request.event_type.as_str(), "the event's type")?)
        .with_content_type(short(&request.shaped.content_type, "the content type")?)
        .with_headers(headers))
}

/// AMQP's short strings hold 255 bytes.
fn short(text: &str, what: &str) -> Result<ShortString, Fault> {
    ShortString::try_new(text)
        .map_err(|_| Fault::rejected(format!("{what} has {} bytes, and AMQP takes at most 255", text.len())))
}

fn exchange(target: &RabbitMqTarget) -> String {
    if target.exchange.is_empty() {
        "the default exchange".to_owned()
    } else {
        format!("the exchange {:?}", target.exchange)
    }
}

/// A connection or channel that could not be opened.
fn greeting(error: &lapin::Error, target: &RabbitMqTarget) -> Fault {
    match error.kind() {
        ErrorKind::ProtocolError(said) => match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                Fault::retry("the broker refused the credentials")
            }
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Fault::retry(format!(
                "there is no virtual host {:?}, or the user may not use it",
                target.vhost
            )),
            _ => Fault::retry(format!("the broker refused the connection ({said})")),
        },
        ErrorKind::IOError(error) => Fault::caused_by(&**error),
        _ => Fault::retry("the connection was closed before the broker answered"),
    }
}

/// A message that was not confirmed.
fn refusal(error: &lapin::Error, target: &RabbitMqTarget, size: usize) -> Fault {
    let ErrorKind::ProtocolError(said) = error.kind() else { return Fault::lost() };
    match said.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => {
            Fault::retry(format!("the broker has not {}", exchange(target)))
        }
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            Fault::retry(format!("the user may not publish to {}", exchange(target)))
        }
        // The channel ends for all whose messages are on it: the size tells whose fault it is.
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
            if said.get_message().as_str().contains(&format!("message size {size} ")) =>
        {
            Fault::rejected("the message is larger than the broker takes (its max_message_size)")
        }
        _ => Fault::unknown(format!("the broker closed the channel before it confirmed ({said})")),
    }
}
