//! What is said on a connection to a broker: calls with numbers, and answers that bear them. No sockets here but for the
//! greeting.

use std::collections::HashMap;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{self, Call};
use super::login::Login;
use super::{Fault, KafkaLogin, answer};
use crate::InForce;
use crate::queue::wire::{Line, Protocol, Wire};

/// Nothing that a broker has to say to a producer is longer: who leads the partitions of one topic.
const LONGEST_ANSWER: usize = 8 << 20;

/// A call, and who waits for its answer.
pub(super) struct Question {
    call: Call,
    /// Asked when its turn has come: it waits while much is unwritten.
    in_force: InForce,
    answered: oneshot::Sender<Result<Bytes, Fault>>,
}

/// Asks over a connection that others use too.
pub(super) async fn ask(line: &Line<Question>, call: Call, in_force: &InForce) -> Result<Bytes, Fault> {
    let (answered, answer) = oneshot::channel();
    line.order(Question { call, in_force: in_force.clone(), answered }).await?;
    answer.await.unwrap_or_else(|_| Err(Fault::lost()))
}

/// Sees what the broker can do, and says who we are.
pub(super) async fn greet(wire: &mut Wire, login: Option<&KafkaLogin>) -> Result<Talk, Fault> {
    let mut talk = Talk::default();
    let needed = [call::METADATA, call::PRODUCE];
    answer::api_versions(talk.ask(wire, call::api_versions()?).await?, &needed)?;
    if let Some(login) = login {
        let mechanism = login.mechanism.name();
        answer::sasl_handshake(talk.ask(wire, call::sasl_handshake(mechanism)?).await?, mechanism)?;
        let mut login = Login::new(login)?;
        let mut heard: Option<Bytes> = None;
        while let Some(said) = login.step(heard.as_deref())? {
            let answered = talk.ask(wire, call::sasl_authenticate(said)?).await?;
            heard = Some(answer::sasl_authenticate(answered)?);
        }
    }
    Ok(talk)
}

/// A broker that asks for TLS or for a login closes on a stranger without a word.
pub(super) fn turned_away() -> Fault {
    Fault::retry(
        "the broker closed the connection before a message was sent: does it ask for TLS or a login?",
    )
}

/// The state of a connection.
#[derive(Default)]
pub(super) struct Talk {
    last: i32,
    waiting: HashMap<i32, oneshot::Sender<Result<Bytes, Fault>>>,
}

impl Talk {
    /// Asks over a connection that nobody else uses yet.
    async fn ask(&mut self, wire: &mut Wire, call: Call) -> Result<Bytes, Fault> {
        let (answered, mut answer) = oneshot::channel();
        self.order(Question { call, in_force: InForce::always(), answered }, &mut wire.out);
        loop {
            let exchanged = wire.exchange().await;
            exchanged.map_err(|_| turned_away())?;
            self.heard(&mut wire.incoming, &mut wire.out)
                .map_err(|_| Fault::retry("the broker does not speak the protocol of Kafka"))?;
            if let Ok(answered) = answer.try_recv() {
                return answered;
            }
        }
    }
}

impl Protocol for Talk {
    type Order = Question;

    fn has_room(&self) -> bool {
        true
    }

    fn order(&mut self, Question { call, in_force, answered }: Question, out: &mut BytesMut) {
        if !in_force.holds() {
            // Who gave up waiting tries again.
            drop(answered.send(Err(Fault::superseded())));
            return;
        }
        self.last = self.last.wrapping_add(1);
        match call.write(self.last, out) {
            Ok(()) => {
                self.waiting.insert(self.last, answered);
            }
            // Who gave up waiting tries again.
            Err(fault) => drop(answered.send(Err(fault))),
        }
    }

    fn heard(&mut self, incoming: &mut BytesMut, _out: &mut BytesMut) -> Result<(), Fault> {
        while let Some((length, rest)) = incoming.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if !(4..=LONGEST_ANSWER).contains(&length) {
                return Err(Fault::unknown("the broker's answer is not one of Kafka"));
            }
            if rest.len() < length {
                break;
            }
            incoming.advance(4);
            let mut answer = incoming.split_to(length).freeze();
            let number = answer.get_i32();
            if let Some(answered) = self.waiting.remove(&number) {
                drop(answered.send(Ok(answer)));
            }
        }
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    fn fire(&mut self, _out: &mut BytesMut) -> Result<(), Fault> {
        Ok(())
    }

    /// The protocol has no goodbye.
    fn farewell(&mut self, _out: &mut BytesMut) {}

    fn end(self, fault: &Fault) {
        for (_, answered) in self.waiting {
            drop(answered.send(Err(fault.clone())));
        }
    }

    fn refuse(order: Question, fault: Fault) {
        drop(order.answered.send(Err(fault)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number and a text, as an answer bears them.
    fn answer(number: i32, text: &str) -> Vec<u8> {
        let length = u32::try_from(4 + text.len()).unwrap();
        [&length.to_be_bytes()[..], &number.to_be_bytes(), text.as_bytes()].concat()
    }

    fn asked(talk: &mut Talk) -> oneshot::Receiver<Result<Bytes, Fault>> {
        let (answered, answer) = oneshot::channel();
        let mut out = BytesMut::new();
        let call = call::api_versions().unwrap();
        talk.order(Question { call, in_force: InForce::always(), answered }, &mut out);
        assert_eq!(out.len(), 4 + u32::from_be_bytes(out[..4].try_into().unwrap()) as usize);
        answer
    }

    #[test]
    fn answers_find_their_calls_however_they_are_cut() {
        let mut talk = Talk::default();
        let (mut first, mut second) = (asked(&mut talk), asked(&mut talk));
        let all = [answer(2, "two"), answer(77, "nobody's"), answer(1, "one")].concat();
        let (mut incoming, mut out) = (BytesMut::new(), BytesMut::new());
        for byte in all {
            incoming.extend_from_slice(&[byte]);
            talk.heard(&mut incoming, &mut out).unwrap();
        }
        assert_eq!(second.try_recv().unwrap().unwrap(), "two");
        assert_eq!(first.try_recv().unwrap().unwrap(), "one");
        assert!(incoming.is_empty() && out.is_empty());
    }

    #[test]
    fn a_length_that_none_of_kafka_has_ends_the_connection() {
        for start in [*b"HTTP", [0, 0, 0, 3], [0xff; 4]] {
            let mut incoming = BytesMut::from(&start[..]);
            assert!(Talk::default().heard(&mut incoming, &mut BytesMut::new()).is_err(), "{start:?}");
        }
    }

    #[test]
    fn who_waits_is_told_of_the_end() {
        let mut talk = Talk::default();
        let mut waiting = asked(&mut talk);
        talk.end(&Fault::lost());
        assert_eq!(waiting.try_recv().unwrap(), Err(Fault::lost()));
    }
}
