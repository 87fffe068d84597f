//! `kind = "redis"`: entries of a Redis stream.
//!
//! Delivered means that `XADD` has answered with the entry's id, and where `wait_replicas` is set, that so many replicas
//! have it too. Whether the server's memory is on its disk by then is the server's own setting (`appendfsync`). Redis
//! drops no repetition: readers do, by the field `id`.

use std::time::Duration;

use hookweir_model::{TenantId, Timestamp};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, ServerErrorKind, cmd};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pool::{Pool, Pooled};
use super::{Fault, Progress, Template, attempt, fingerprint};
use crate::network::Network;
use crate::{Backend, HttpClient, Report, Request, Server};

/// A stream in Redis.
#[derive(Debug, Clone)]
pub struct RedisTarget {
    pub server: Server,
    pub database: u32,
    /// The name may be absent, as of the default user.
    pub user: Option<SecretString>,
    pub password: Option<SecretString>,
    pub stream: Template,
    /// Older entries are cut off when there are about so many more.
    pub max_length: Option<u64>,
    /// Replicas that must have the entry too.
    pub wait_replicas: u32,
    /// The whole attempt.
    pub timeout: Duration,
}

/// The way out to Redis.
#[derive(Debug)]
pub(crate) struct Redis {
    network: Network,
    pool: Pool<Key, Line>,
}

/// Tenant, server, database and login.
type Key = (TenantId, Server, u32, [u8; 32]);

#[derive(Clone)]
struct Line {
    connection: MultiplexedConnection,
    broken: CancellationToken,
}

impl Pooled for Line {
    fn is_usable(&self) -> bool {
        !self.broken.is_cancelled()
    }
}

impl Redis {
    pub(crate) fn over(http: &HttpClient) -> Self {
        Self { network: http.network().clone(), pool: Pool::new() }
    }

    async fn add(
        &self,
        target: &RedisTarget,
        request: Request<'_>,
        progress: &Progress,
    ) -> Result<String, Fault> {
        let secrets: Vec<&SecretString> = target.user.iter().chain(&target.password).collect();
        let login = fingerprint("redis", &secrets);
        let key = (request.tenant.clone(), target.server.clone(), target.database, login);
        let connect = async || self.connect(target, progress.deadline()).await;
        let Line { mut connection, broken } = self.pool.get(&key, connect).await?;
        progress.hand_over()?;
        let entry: String = entry(target, request)
            .query_async(&mut connection)
            .await
            .map_err(|error| refusal(&error, &broken, target))?;
        if target.wait_replicas == 0 {
            return Ok(format!("entry {entry}"));
        }
        // The server waits no longer than the attempt, and 0 would mean for ever.
        let patience = u64::try_from(target.timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let have: u32 =
            cmd("WAIT").arg(target.wait_replicas).arg(patience).query_async(&mut connection).await.map_err(
                |_| Fault::unknown("the entry is in the stream; whether replicas have it was not told"),
            )?;
        if have < target.wait_replicas {
            return Err(Fault::unknown(format!(
                "the entry is in the stream, and {have} of {} replicas have it",
                target.wait_replicas
            )));
        }
        Ok(format!("entry {entry}, on {have} replicas"))
    }

    async fn connect(&self, target: &RedisTarget, deadline: Instant) -> Result<Line, Fault> {
        let stream = self.network.connect(&target.server, deadline).await?.stream;
        let mut info = RedisConnectionInfo::default().set_db(target.database.into());
        if let Some(user) = &target.user {
            info = info.set_username(user.expose_secret());
        }
        if let Some(password) = &target.password {
            info = info.set_password(password.expose_secret());
        }
        // The attempt has a time limit of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (mut connection, driver) = made.map_err(|error| greeting(&error))?;
        let broken = CancellationToken::new();
        let noticed = broken.clone().drop_guard();
        tokio::spawn(async move {
            driver.await;
            drop(noticed);
        });
        // A server that asks for a password closes on a stranger's longer commands, so it is asked with a short one.
        cmd("PING").query_async::<()>(&mut connection).await.map_err(|error| greeting(&error))?;
        Ok(Line { connection, broken })
    }
}

impl Backend for Redis {
    type Target = RedisTarget;

    const KIND: &'static str = "redis";

    fn address(target: &RedisTarget) -> String {
        format!("{} {}", target.server, target.stream.as_str())
    }

    async fn send(&self, target: &RedisTarget, request: Request<'_>, _now: Timestamp) -> Report {
        attempt(target.timeout, request.in_force, async |progress| self.add(target, request, progress).await)
            .await
    }

    async fn close(&self) {
        self.pool.clear();
    }
}

/// The fields of an entry. Those of the shaped event's headers start with `header:`, since their names are not ours.
fn entry(target: &RedisTarget, request: Request<'_>) -> Cmd {
    let mut add = cmd("XADD");
    add.arg(target.stream.fill(&request));
    if let Some(most) = target.max_length {
        add.arg("MAXLEN").arg("~").arg(most);
    }
    add.arg("*")
        .arg(&[("id", request.event.as_str()), ("type", request.event_type.as_str())])
        .arg(&[("content-type", request.shaped.content_type.as_str())])
        .arg("data")
        .arg(&request.shaped.body[..]);
    if let Some(parent) = request.traceparent {
        add.arg(&[("traceparent", parent)]);
    }
    for (name, value) in &request.shaped.headers {
        add.arg(format!("header:{name}")).arg(value);
    }
    add
}

/// A connection that was made, and not let in.
fn greeting(error: &RedisError) -> Fault {
    match error.kind() {
        ErrorKind::AuthenticationFailed => Fault::retry("the broker refused the credentials"),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => {
            Fault::retry("the broker is still reading its data")
        }
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Fault::retry("the broker refused the credentials"),
            Some(code) => Fault::retry(format!("the broker refused the connection ({code})")),
            None => Fault::caused_by(error),
        },
    }
}

fn refusal(error: &RedisError, broken: &CancellationToken, target: &RedisTarget) -> Fault {
    let stream = target.stream.as_str();
    match (error.kind(), error.code()) {
        (_, Some("NOAUTH" | "WRONGPASS")) => Fault::retry("the broker asks for credentials"),
        (_, Some("NOPERM")) => Fault::retry(format!("the user may not add to the stream {stream}")),
        (_, Some("WRONGTYPE")) => Fault::retry(format!("{stream} is a key that holds no stream")),
        (_, Some("OOM")) => Fault::retry("the broker's memory is full (its maxmemory)"),
        (_, Some("MISCONF")) => Fault::retry("the broker can't write to its disk"),
        (_, Some("NOREPLICAS")) => {
            Fault::retry("the broker has too few replicas (its min-replicas-to-write)")
        }
        (_, Some("READONLY")) => Fault::retry("the broker is a replica: name the primary in `url`"),
        (_, Some("MOVED" | "ASK" | "CLUSTERDOWN")) => {
            Fault::retry("the broker is part of a cluster, which is not supported")
        }
        (_, Some("LOADING")) => Fault::retry("the broker is still reading its data"),
        (_, Some(code)) => Fault::retry(format!("the broker refused it ({code})")),
        (_, None) => {
            // Whatever went wrong on it, its answers can't be told apart any more.
            broken.cancel();
            Fault::lost()
        }
    }
}
