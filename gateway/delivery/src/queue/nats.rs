//! `kind = "nats"`: messages for a stream of NATS JetStream.
//!
//! Delivered means that the stream has stored the message: its acknowledgement names the stream and the sequence. The
//! event's id is the message id, so that a stream drops a repetition within its duplicate window and says so, which is
//! as good as stored.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{ConnectErrorKind, ConnectOptions, Event, HeaderMap};
use hookweir_model::{TenantId, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::pool::{Pool, Pooled};
use super::{Fault, Progress, SERVER_PATIENCE, Template, attempt, fingerprint, last_fault};
use crate::dial::race;
use crate::network::Network;
use crate::{Backend, HttpClient, Report, Request, Server};

/// A stream's subject, and how its servers are met.
#[derive(Debug, Clone)]
pub struct NatsTarget {
    /// Of one cluster: each may stand in for the others. Never empty.
    pub servers: Vec<Server>,
    pub login: NatsLogin,
    pub subject: Template,
    /// Where set, the message is stored in this stream or not at all.
    pub stream: Option<String>,
    /// The whole attempt.
    pub timeout: Duration,
}

/// Who the gateway is to the servers.
#[derive(Debug, Clone)]
pub enum NatsLogin {
    Nobody,
    User {
        user: SecretString,
        password: SecretString,
    },
    Token(SecretString),
    /// The text of a `.creds` file: a JWT and its seed.
    Credentials(SecretString),
    /// The seed of an NKey.
    Seed(SecretString),
}

/// The way out to NATS.
#[derive(Debug)]
pub(crate) struct Nats {
    network: Network,
    pool: Pool<Key, Line>,
}

/// Endpoints of a tenant that say the same of their servers and of themselves share a connection.
type Key = (TenantId, Vec<Server>, [u8; 32]);

/// A connection. It is given up when it breaks: the library would dial an address again that was judged long ago.
#[derive(Clone)]
struct Line {
    context: jetstream::Context,
    broken: CancellationToken,
}

impl Pooled for Line {
    fn is_usable(&self) -> bool {
        !self.broken.is_cancelled()
    }
}

impl Nats {
    pub(crate) fn over(http: &HttpClient) -> Self {
        Self { network: http.network().clone(), pool: Pool::new() }
    }

    async fn publish(
        &self,
        target: &NatsTarget,
        request: Request<'_>,
        progress: &Progress,
    ) -> Result<String, Fault> {
        let key = (request.tenant.clone(), target.servers.clone(), target.login.fingerprint());
        let line =
            self.pool.get(&key, async || connect(&self.network, target, progress.deadline()).await).await?;
        let message = message(target, request)?;
        progress.hand_over()?;
        let publishing = async {
            let acknowledged = line.context.send_publish(target.subject.fill(&request), message).await?;
            acknowledged.await
        };
        let acknowledged = tokio::select! {
            acknowledged = publishing => acknowledged,
            () = line.broken.cancelled() => return Err(Fault::lost()),
        };
        acknowledged
            .map(|stored| {
                let known = if stored.duplicate { ", which has it already" } else { "" };
                format!("stream {}, sequence {}{known}", stored.stream, stored.sequence)
            })
            .map_err(|error| refusal(&error, target))
    }
}

/// Tries the servers, each for a while before the next is tried too. What the last one that answered said is told.
async fn connect(network: &Network, target: &NatsTarget, deadline: Instant) -> Result<Line, Fault> {
    let attempt = |server: Server| {
        let (network, target) = (network.clone(), target.clone());
        async move {
            // A server is met by the first of its addresses that answers.
            let addresses = network.addresses(&server).await?;
            let meet = |address: SocketAddr| {
                let (network, target, server) = (network.clone(), target.clone(), server.clone());
                async move { connect_to(&network, &target, &server, &address.to_string()).await }
            };
            race(addresses, SERVER_PATIENCE, deadline, meet).await.map_err(last_fault)
        }
    };
    race(target.servers.clone(), SERVER_PATIENCE, deadline, attempt).await.map_err(last_fault)
}

/// The library dials by itself, so it is given an address that was judged, and a certificate is checked against the name
/// that was configured.
async fn connect_to(
    network: &Network,
    target: &NatsTarget,
    server: &Server,
    address: &str,
) -> Result<Line, Fault> {
    let broken = CancellationToken::new();
    let noticed = broken.clone();
    let mut options = target
        .login
        .options()?
        .name("hookweir")
        // A server of its own choice might be one that the egress policy forbids.
        .ignore_discovered_servers()
        .max_reconnects(1)
        .connection_timeout(target.timeout)
        .event_callback(move |event| {
            let noticed = noticed.clone();
            async move {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    noticed.cancel();
                }
            }
        });
    if let Some(config) = network.client_config_for_name(server)? {
        options = options.require_tls(true).tls_client_config(config);
    }
    match options.connect(address).await {
        Ok(client) => {
            Ok(Line { context: ContextBuilder::new().timeout(target.timeout).build(client), broken })
        }
        Err(error) => {
            debug!(
                target: "hookweir::delivery",
                error = &error as &dyn std::error::Error,
                "no connection to NATS"
            );
            Err(match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    Fault::retry("the broker refused the credentials")
                }
                ConnectErrorKind::TimedOut => Fault::retry("the broker did not answer"),
                ConnectErrorKind::Tls => Fault::retry("TLS: handshake failed"),
                _ => Fault::caused_by(&error),
            })
        }
    }
}

impl Backend for Nats {
    type Target = NatsTarget;

    const KIND: &'static str = "nats";

    fn address(target: &NatsTarget) -> String {
        format!("{} {}", list(&target.servers), target.subject.as_str())
    }

    async fn send(&self, target: &NatsTarget, request: Request<'_>, _now: Timestamp) -> Report {
        attempt(target.timeout, request.in_force, async |progress| {
            self.publish(target, request, progress).await
        })
        .await
    }

    async fn close(&self) {
        self.pool.clear();
    }
}

fn list(servers: &[Server]) -> String {
    servers.iter().map(Server::to_string).collect::<Vec<_>>().join(",")
}

impl NatsLogin {
    fn options(&self) -> Result<ConnectOptions, Fault> {
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        Ok(match self {
            Self::Nobody => ConnectOptions::new(),
            Self::User { user, password } => {
                ConnectOptions::with_user_and_password(text(user), text(password))
            }
            Self::Token(token) => ConnectOptions::with_token(text(token)),
            Self::Seed(seed) => ConnectOptions::with_nkey(text(seed)),
            Self::Credentials(file) => ConnectOptions::with_credentials(file.expose_secret())
                .map_err(|_| Fault::retry("the credentials are no `.creds` file"))?,
        })
    }

    fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::Nobody => fingerprint("nobody", &[]),
            Self::User { user, password } => fingerprint("user", &[user, password]),
            Self::Token(token) => fingerprint("token", &[token]),
            Self::Credentials(file) => fingerprint("credentials", &[file]),
            Self::Seed(seed) => fingerprint("seed", &[seed]),
        }
    }
}

/// The message with its headers: those of the shaped event, then the gateway's own.
fn message(target: &NatsTarget, request: Request<'_>) -> Result<PublishMessage, Fault> {
    let mut headers = HeaderMap::new();
    for (name, value) in request.message_headers() {
        let name = name
            .parse::<async_nats::HeaderName>()
            .map_err(|_| Fault::rejected(format!("{name:?} can't be the name of a header in NATS")))?;
        let value = value
            .parse::<async_nats::HeaderValue>()
            .map_err(|_| Fault::rejected(format!("the value of the header {name} can't be sent in NATS")))?;
        headers.insert(name, value);
    }
    let message = PublishMessage::build()
        .payload(request.shaped.body.clone())
        .headers(headers)
        .message_id(request.event.as_str());
    Ok(match &target.stream {
        Some(stream) => message.expected_stream(stream),
        None => message,
    })
}

fn refusal(error: &jetstream::context::PublishError, target: &NatsTarget) -> Fault {
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            Fault::retry("no stream takes messages of this subject: create one, or correct `subject`")
        }
        PublishErrorKind::MaxPayloadExceeded => {
            Fault::rejected("the message is larger than the broker takes (its max_payload)")
        }
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Fault::lost(),
        PublishErrorKind::MaxAckPending => Fault::retry("too many messages wait for their acknowledgement"),
        _ => {
            let source = std::error::Error::source(error);
            match source.and_then(|source| source.downcast_ref::<jetstream::Error>()) {
                Some(said) if said.error_code() == ErrorCode::STREAM_NOT_MATCH => {
                    let stream = target.stream.as_deref().unwrap_or_default();
                    Fault::retry(format!("the subject belongs to another stream than {stream:?}"))
                }
                Some(said) if said.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
                    Fault::rejected("the message is larger than the stream takes (its max_msg_size)")
                }
                Some(said) => Fault::retry(format!("the stream refused it: {said}")),
                None => Fault::retry("the stream's answer is not one of JetStream"),
            }
        }
    }
}
