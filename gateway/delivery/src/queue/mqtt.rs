//! `kind = "mqtt"`: messages for a topic of a broker that speaks MQTT 5.
//!
//! Delivered means that the broker has acknowledged the message (QoS 1) and has not said that it refused it. A broker with
//! no subscriber for the topic acknowledges and drops; it may say so, and where `require_subscriber` is set, that counts as
//! a failure. Whether the broker's memory is on its disk by then is its own affair. Nothing in MQTT drops a repetition:
//! readers do, by the user property `webhook-id`.

mod session;

use std::time::Duration;

use bytes::Bytes;
use hookweir_model::{TenantId, Timestamp};
use mqtt_protocol_core::mqtt::packet::v5_0::Connect;
use mqtt_protocol_core::mqtt::packet::{ContentType, Property, UserProperty};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::session::{Publication, Session};
use super::pool::Pool;
use super::wire::{Line, Wire};
use super::{Fault, Progress, Template, attempt, fingerprint};
use crate::network::Network;
use crate::{Backend, HttpClient, Report, Request, Server};

/// Seconds of silence after which the broker is asked whether it is still there.
const KEEP_ALIVE: u16 = 30;

/// A topic, and how its broker is met.
#[derive(Debug, Clone)]
pub struct MqttTarget {
    pub server: Server,
    /// Absent: the broker gives one.
    pub client_id: Option<String>,
    pub login: Option<MqttLogin>,
    pub topic: Template,
    /// The broker keeps the last message of each topic for those who subscribe later.
    pub retain: bool,
    /// A message that no subscriber gets is a failure.
    pub require_subscriber: bool,
    /// The whole attempt.
    pub timeout: Duration,
}

/// Who the gateway is to the broker.
#[derive(Debug, Clone)]
pub struct MqttLogin {
    pub user: SecretString,
    pub password: SecretString,
}

/// The way out to MQTT.
#[derive(Debug)]
pub(crate) struct Mqtt {
    network: Network,
    pool: Pool<Key, Line<Publication>>,
}

/// Tenant, server, client id and login.
type Key = (TenantId, Server, Option<String>, [u8; 32]);

impl Mqtt {
    pub(crate) fn over(http: &HttpClient) -> Self {
        Self { network: http.network().clone(), pool: Pool::new() }
    }

    async fn publish(
        &self,
        target: &MqttTarget,
        request: Request<'_>,
        progress: &Progress,
    ) -> Result<String, Fault> {
        let secrets: Vec<&SecretString> =
            target.login.iter().flat_map(|login| [&login.user, &login.password]).collect();
        let login = fingerprint("mqtt", &secrets);
        let key = (request.tenant.clone(), target.server.clone(), target.client_id.clone(), login);
        let connect = async || self.connect(target, progress.deadline()).await;
        let line = self.pool.get(&key, connect).await?;
        let (ended, end) = oneshot::channel();
        let publication = Publication {
            topic: target.topic.fill(&request),
            payload: Bytes::clone(&request.shaped.body),
            properties: properties(&request)?,
            retain: target.retain,
            in_force: request.in_force.clone(),
            ended,
        };
        line.order(publication).await?;
        progress.handed_over();
        let has_subscriber = end.await.unwrap_or_else(|_| Err(Fault::lost()))?;
        if !has_subscriber && target.require_subscriber {
            return Err(Fault::retry(
                "nobody subscribes to the topic, and the broker has dropped the message",
            ));
        }
        Ok(format!(
            "acknowledged by {}{}",
            target.server,
            if has_subscriber { "" } else { "; nobody subscribes to the topic" }
        ))
    }

    async fn connect(&self, target: &MqttTarget, deadline: Instant) -> Result<Line<Publication>, Fault> {
        let mut wire = Wire::new(self.network.connect(&target.server, deadline).await?.stream);
        let session = Session::greet(&mut wire, connect(target).map_err(|_| unsayable())?).await?;
        Ok(Line::open(wire, session))
    }
}

impl Backend for Mqtt {
    type Target = MqttTarget;

    const KIND: &'static str = "mqtt";

    fn address(target: &MqttTarget) -> String {
        format!("{} {}", target.server, target.topic.as_str())
    }

    async fn send(&self, target: &MqttTarget, request: Request<'_>, _now: Timestamp) -> Report {
        attempt(target.timeout, request.in_force, async |progress| {
            self.publish(target, request, progress).await
        })
        .await
    }

    async fn close(&self) {
        self.pool.clear();
    }
}

/// A session that ends with its connection, so that no message of an earlier one comes again by itself.
fn connect(target: &MqttTarget) -> Result<Connect, MqttError> {
    let client_id = target.client_id.as_deref().unwrap_or_default();
    let mut connect = Connect::builder().client_id(client_id)?.clean_start(true).keep_alive(KEEP_ALIVE);
    if let Some(login) = &target.login {
        connect = connect.user_name(login.user.expose_secret())?.password(login.password.expose_secret())?;
    }
    connect.build()
}

fn unsayable() -> Fault {
    Fault::retry("the client id or the credentials are longer than MQTT can say")
}

/// What goes along with the payload: the content type in its own place, the rest as user properties.
fn properties(request: &Request<'_>) -> Result<Vec<Property>, Fault> {
    request
        .message_headers()
        .map(|(name, value)| {
            let property = match name {
                "content-type" => ContentType::new(value).map(Property::from),
                _ => UserProperty::new(name, value).map(Property::from),
            };
            property
                .map_err(|_| Fault::rejected(format!("the value of the header {name} can't be sent in MQTT")))
        })
        .collect()
}
