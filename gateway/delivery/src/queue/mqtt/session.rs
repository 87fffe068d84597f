//! What is said on a connection of MQTT 5: the greeting, then messages and their acknowledgements. No sockets here.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, GenericEvent, TimerKind};
use mqtt_protocol_core::mqtt::packet::v5_0::{Connack, Connect, Disconnect, Puback, Publish};
use mqtt_protocol_core::mqtt::packet::{GenericPacket, GenericPacketTrait as _, Packet, Property, Qos};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode, PubackReasonCode};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Fault;
use crate::InForce;
use crate::queue::wire::{Protocol, Wire};

/// How long the broker may take to say that it is still there.
const PATIENCE: Duration = Duration::from_secs(10);

/// A broker has only short things to say to somebody who subscribes to nothing.
const LONGEST_ANSWER: u32 = 64 * 1024;

/// One message, and who waits for its acknowledgement: whether the topic has subscribers, as far as the broker tells.
pub(super) struct Publication {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) properties: Vec<Property>,
    pub(super) retain: bool,
    /// Asked when its turn has come: the broker says how many may be under way.
    pub(super) in_force: InForce,
    pub(super) ended: oneshot::Sender<Result<bool, Fault>>,
}

/// The state of a connection.
pub(super) struct Session {
    connection: Connection<role::Client>,
    /// What the broker answered to the greeting.
    greeting: Option<Connack>,
    /// The longest message that the broker takes.
    longest: usize,
    /// Who waits, by the number of the message.
    waiting: HashMap<u16, oneshot::Sender<Result<bool, Fault>>>,
    timers: Vec<(TimerKind, Instant)>,
}

impl Session {
    /// Says who we are, and waits until the broker lets us in.
    pub(super) async fn greet(wire: &mut Wire, connect: Connect) -> Result<Self, Fault> {
        let mut session = Self::new();
        let events = session.connection.send(Packet::V5_0Connect(connect));
        session.act(events, &mut wire.out)?;
        while session.greeting.is_none() {
            let exchanged = wire.exchange().await;
            exchanged.map_err(|_| Fault::retry("the connection was closed before the broker answered"))?;
            session.heard(&mut wire.incoming, &mut wire.out).map_err(not_mqtt)?;
        }
        if let Some(greeting) = &session.greeting {
            session.longest = welcome(greeting)?;
        }
        Ok(session)
    }

    fn new() -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(LONGEST_ANSWER);
        let mut connection = Connection::with_options(Version::V5_0, options);
        connection.set_pingresp_recv_timeout(u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX));
        Self { connection, greeting: None, longest: usize::MAX, waiting: HashMap::new(), timers: Vec::new() }
    }

    /// Does what the state machine asks for.
    fn act(&mut self, events: Vec<Event>, out: &mut BytesMut) -> Result<(), Fault> {
        for event in events {
            match event {
                GenericEvent::RequestSendPacket { packet, .. } => {
                    out.extend_from_slice(&packet.to_continuous_buffer());
                }
                GenericEvent::NotifyPacketReceived(packet) => self.received(packet)?,
                GenericEvent::RequestTimerReset { kind, duration_ms } => {
                    self.timers.retain(|(other, _)| *other != kind);
                    self.timers.push((kind, Instant::now() + Duration::from_millis(duration_ms)));
                }
                GenericEvent::RequestTimerCancel(kind) => self.timers.retain(|(other, _)| *other != kind),
                GenericEvent::NotifyError(error) => {
                    return Err(Fault::unknown(format!("the broker broke the rules of MQTT ({error})")));
                }
                GenericEvent::RequestClose => return Err(Fault::lost()),
                GenericEvent::NotifyPacketIdReleased(_) => {}
            }
        }
        Ok(())
    }

    fn received(&mut self, packet: GenericPacket<u16>) -> Result<(), Fault> {
        match packet {
            Packet::V5_0Connack(greeting) => self.greeting = Some(greeting),
            Packet::V5_0Puback(answer) => {
                if let Some(ended) = self.waiting.remove(&answer.packet_id()) {
                    // Who gave up waiting tries again under the same id.
                    let _ = ended.send(acknowledged(&answer));
                }
            }
            Packet::V5_0Disconnect(goodbye) => return Err(farewell_of_broker(&goodbye)),
            _ => {}
        }
        Ok(())
    }
}

impl Protocol for Session {
    type Order = Publication;

    fn has_room(&self) -> bool {
        self.connection.get_receive_maximum_vacancy_for_send().is_none_or(|room| room > 0)
    }

    fn order(&mut self, order: Publication, out: &mut BytesMut) {
        let Publication { topic, payload, properties, retain, in_force, ended } = order;
        if !in_force.holds() {
            // Who gave up waiting has nothing to do with it any more.
            let _ = ended.send(Err(Fault::superseded()));
            return;
        }
        let Ok(id) = self.connection.acquire_packet_id() else {
            let _ = ended.send(Err(Fault::retry("too many messages wait for their acknowledgement")));
            return;
        };
        match message(id, &topic, &payload, properties, retain, self.longest) {
            Ok(packet) => {
                self.waiting.insert(id, ended);
                let events = self.connection.send(Packet::V5_0Publish(packet));
                if let Err(fault) = self.act(events, out)
                    && let Some(ended) = self.waiting.remove(&id)
                {
                    let _ = ended.send(Err(fault));
                }
            }
            Err(fault) => {
                let events = self.connection.release_packet_id(id);
                // Nothing follows from a number that nobody has used.
                let _ = self.act(events, out);
                let _ = ended.send(Err(fault));
            }
        }
    }

    fn heard(&mut self, incoming: &mut BytesMut, out: &mut BytesMut) -> Result<(), Fault> {
        let all = incoming.split();
        let mut cursor = Cursor::new(&all[..]);
        while !cursor.remaining_slice().is_empty() {
            let events = self.connection.recv(&mut cursor);
            self.act(events, out)?;
        }
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        self.timers.iter().map(|(_, at)| *at).min()
    }

    fn fire(&mut self, out: &mut BytesMut) -> Result<(), Fault> {
        let now = Instant::now();
        let due: Vec<TimerKind> =
            self.timers.extract_if(.., |(_, at)| *at <= now).map(|(kind, _)| kind).collect();
        for kind in due {
            let events = self.connection.notify_timer_fired(kind);
            self.act(events, out)?;
        }
        Ok(())
    }

    fn farewell(&mut self, out: &mut BytesMut) {
        if let Ok(goodbye) = Disconnect::builder().build() {
            let events = self.connection.send(Packet::V5_0Disconnect(goodbye));
            // It asks to close, which is what happens next.
            let _ = self.act(events, out);
        }
    }

    fn end(self, fault: &Fault) {
        for (_, ended) in self.waiting {
            let _ = ended.send(Err(fault.clone()));
        }
    }

    fn refuse(order: Publication, fault: Fault) {
        let _ = order.ended.send(Err(fault));
    }
}

/// A message as it goes out, if the broker takes such a long one.
fn message(
    id: u16,
    topic: &str,
    payload: &Bytes,
    properties: Vec<Property>,
    retain: bool,
    longest: usize,
) -> Result<Publish, Fault> {
    let packet = Publish::builder()
        .topic_name(topic)
        .and_then(|packet| {
            packet
                .qos(Qos::AtLeastOnce)
                .retain(retain)
                .packet_id(id)
                .props(properties)
                .payload(&payload[..])
                .build()
        })
        .map_err(|_| Fault::rejected("the topic or a header can't be said in MQTT"))?;
    match packet.size() <= longest {
        true => Ok(packet),
        false => Err(Fault::rejected(format!(
            "the message has {} bytes, and the broker takes at most {longest} (its maximum packet size)",
            packet.size()
        ))),
    }
}

/// Whether the broker has it, and with it, whether the topic has subscribers.
fn acknowledged(answer: &Puback) -> Result<bool, Fault> {
    match answer.reason_code().unwrap_or(PubackReasonCode::Success) {
        PubackReasonCode::Success => Ok(true),
        PubackReasonCode::NoMatchingSubscribers => Ok(false),
        PubackReasonCode::NotAuthorized => Err(Fault::retry("the user may not publish to the topic")),
        PubackReasonCode::TopicNameInvalid => Err(Fault::retry("the broker does not take this topic")),
        PubackReasonCode::QuotaExceeded => Err(Fault::retry("the broker's quota is used up")),
        PubackReasonCode::PayloadFormatInvalid => {
            Err(Fault::rejected("the broker does not take this payload"))
        }
        other => Err(Fault::retry(format!("the broker refused it ({other})"))),
    }
}

/// Whether the broker lets us in and takes what we have to say; answers the longest message.
fn welcome(greeting: &Connack) -> Result<usize, Fault> {
    match greeting.reason_code() {
        ConnectReasonCode::Success => {}
        ConnectReasonCode::BadUserNameOrPassword
        | ConnectReasonCode::NotAuthorized
        | ConnectReasonCode::BadAuthenticationMethod => {
            return Err(Fault::retry("the broker refused the credentials"));
        }
        ConnectReasonCode::ClientIdentifierNotValid => {
            return Err(Fault::retry("the broker does not take this client id: set another `client_id`"));
        }
        ConnectReasonCode::UnsupportedProtocolVersion => return Err(not_mqtt_5()),
        other => return Err(Fault::retry(format!("the broker refused the connection ({other})"))),
    }
    let mut longest = usize::MAX;
    for property in &greeting.props {
        match property {
            Property::MaximumPacketSize(size) => longest = usize::try_from(size.val()).unwrap_or(usize::MAX),
            Property::MaximumQos(qos) if qos.val() == 0 => {
                return Err(Fault::retry("the broker acknowledges no messages (its maximum QoS is 0)"));
            }
            _ => {}
        }
    }
    Ok(longest)
}

/// The broker ends the connection, and says why.
fn farewell_of_broker(goodbye: &Disconnect) -> Fault {
    let reason = goodbye.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection);
    Fault::unknown(format!("the broker closed the connection before it acknowledged ({reason})"))
}

/// An answer to the greeting that makes no sense.
fn not_mqtt(fault: Fault) -> Fault {
    match fault.outcome {
        hookweir_model::Outcome::Unknown => not_mqtt_5(),
        _ => fault,
    }
}

fn not_mqtt_5() -> Fault {
    Fault::retry("the broker does not speak MQTT 5")
}

#[cfg(test)]
mod tests {
    use hookweir_model::Outcome;
    use mqtt_protocol_core::mqtt::packet::{MaximumPacketSize, ReceiveMaximum};

    use super::*;

    /// A session that a broker has let in, which takes two messages at a time, of 100 bytes at most.
    fn welcomed() -> Session {
        let mut session = Session::new();
        let mut out = BytesMut::new();
        let events = session
            .connection
            .send(Packet::V5_0Connect(Connect::builder().client_id("").unwrap().build().unwrap()));
        session.act(events, &mut out).unwrap();
        let greeting = Connack::builder()
            .session_present(false)
            .reason_code(ConnectReasonCode::Success)
            .props(vec![MaximumPacketSize::new(100).unwrap().into(), ReceiveMaximum::new(2).unwrap().into()])
            .build()
            .unwrap();
        hear(&mut session, &greeting.to_continuous_buffer()).unwrap();
        session.longest = welcome(session.greeting.as_ref().unwrap()).unwrap();
        session
    }

    /// What a broker says comes in pieces.
    fn hear(session: &mut Session, said: &[u8]) -> Result<(), Fault> {
        let (mut incoming, mut out) = (BytesMut::new(), BytesMut::new());
        for byte in said {
            incoming.extend_from_slice(&[*byte]);
            session.heard(&mut incoming, &mut out)?;
        }
        Ok(())
    }

    fn publish(session: &mut Session, payload: &'static [u8]) -> oneshot::Receiver<Result<bool, Fault>> {
        let (ended, end) = oneshot::channel();
        let topic = "hooks".to_owned();
        let payload = Bytes::from_static(payload);
        let in_force = InForce::always();
        let order = Publication { topic, payload, properties: Vec::new(), retain: false, in_force, ended };
        session.order(order, &mut BytesMut::new());
        end
    }

    fn acknowledge(session: &mut Session, id: u16, reason: PubackReasonCode) -> Result<(), Fault> {
        let answer = Puback::builder().packet_id(id).reason_code(reason).build().unwrap();
        hear(session, &answer.to_continuous_buffer())
    }

    #[test]
    fn acknowledgements_find_their_messages_in_any_order() {
        let mut session = welcomed();
        let (mut first, mut second) = (publish(&mut session, b"1"), publish(&mut session, b"2"));
        assert!(!session.has_room(), "the broker takes two at a time");
        acknowledge(&mut session, 2, PubackReasonCode::NoMatchingSubscribers).unwrap();
        acknowledge(&mut session, 1, PubackReasonCode::Success).unwrap();
        assert_eq!(first.try_recv().unwrap(), Ok(true));
        assert_eq!(second.try_recv().unwrap(), Ok(false));
        assert!(session.has_room());
        let mut third = publish(&mut session, b"3");
        acknowledge(&mut session, 1, PubackReasonCode::QuotaExceeded).unwrap();
        assert_eq!(third.try_recv().unwrap(), Err(Fault::retry("the broker's quota is used up")));
    }

    #[test]
    fn a_message_that_is_too_long_is_rejected_and_harms_no_other() {
        let mut session = welcomed();
        let mut long = publish(&mut session, &[b'x'; 100]);
        assert_eq!(long.try_recv().unwrap().unwrap_err().outcome, Outcome::Rejected);
        let mut short = publish(&mut session, b"1");
        acknowledge(&mut session, 1, PubackReasonCode::Success).unwrap();
        assert_eq!(short.try_recv().unwrap(), Ok(true));
    }

    #[test]
    fn what_breaks_the_rules_ends_the_connection_and_tells_all_who_wait() {
        let mut session = welcomed();
        let mut waiting = publish(&mut session, b"1");
        // An acknowledgement of what was never sent.
        let fault = acknowledge(&mut session, 7, PubackReasonCode::Success).unwrap_err();
        assert_eq!(fault.outcome, Outcome::Unknown);
        session.end(&fault);
        assert_eq!(waiting.try_recv().unwrap(), Err(fault));
        let goodbye =
            Disconnect::builder().reason_code(DisconnectReasonCode::ServerShuttingDown).build().unwrap();
        let fault = hear(&mut welcomed(), &goodbye.to_continuous_buffer()).unwrap_err();
        assert!(fault.reason.contains("ServerShuttingDown"), "{}", fault.reason);
        // A kind of message that MQTT has not.
        assert!(hear(&mut welcomed(), &[0, 0]).is_err());
    }
}
