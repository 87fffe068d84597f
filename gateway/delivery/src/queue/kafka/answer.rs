//! What a broker answers. It is read here and not by the library that writes our calls: that one makes room for as many
//! elements as an answer claims to have, and a broker is a stranger's. Pure.

use bytes::{Buf as _, Bytes};
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode as _;

use super::call::Api;
use super::{Fault, Refused};

/// More partitions than any topic has.
const MOST_PARTITIONS: usize = 100_000;

/// A broker that leads a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) host: String,
    pub(super) port: u16,
}

/// An answer ends too early, or holds what it can't hold.
struct Malformed;

impl From<Malformed> for Fault {
    fn from(Malformed: Malformed) -> Self {
        Self::unknown("the broker's answer is not one of Kafka")
    }
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Fault::from(malformed).into()
    }
}

/// Takes an answer apart, from its front.
struct Reader(Bytes);

impl Reader {
    fn i16(&mut self) -> Result<i16, Malformed> {
        self.0.try_get_i16().map_err(|_| Malformed)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.0.try_get_i32().map_err(|_| Malformed)
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        self.0.try_get_i64().map_err(|_| Malformed)
    }

    fn boolean(&mut self) -> Result<bool, Malformed> {
        self.0.try_get_u8().map(|byte| byte != 0).map_err(|_| Malformed)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length <= self.0.len() { Ok(self.0.split_to(length)) } else { Err(Malformed) }
    }

    fn nullable_text(&mut self) -> Result<Option<String>, Malformed> {
        let length = self.i16()?;
        if length == -1 {
            return Ok(None);
        }
        let bytes = self.take(usize::try_from(length).map_err(|_| Malformed)?)?;
        String::from_utf8(bytes.into()).map(Some).map_err(|_| Malformed)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        self.nullable_text()?.ok_or(Malformed)
    }

    fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.i32()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// Reads a list, whose elements take memory one after another as they turn out to be there.
    fn list<T>(&mut self, element: impl Fn(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        (0..self.i32()?).map(|_| element(self)).collect()
    }
}

/// Says which of the APIs that are needed the broker has not. A broker too old to tell has none of them.
pub(super) fn api_versions(answer: Bytes, needed: &[Api]) -> Result<(), Fault> {
    let mut reader = Reader(answer);
    let mut read = || {
        reader.i16()?;
        reader.list(|api| Ok((api.i16()?, api.i16()?..=api.i16()?)))
    };
    let there =
        read().map_err(|Malformed| Fault::retry("the broker does not speak the protocol of Kafka"))?;
    let has = |api: &Api| there.iter().any(|(key, range)| *key == api.key && range.contains(&api.version));
    match needed.iter().find(|api| !has(api)) {
        None => Ok(()),
        Some(Api { name, version, .. }) => Err(Fault::retry(format!(
            "the broker does not have version {version} of {name}, which those from 0.11 to 4 have"
        ))),
    }
}

/// Says whether the broker knows the mechanism.
pub(super) fn sasl_handshake(answer: Bytes, mechanism: &str) -> Result<(), Fault> {
    let mut reader = Reader(answer);
    let code = reader.i16()?;
    let there = reader.list(Reader::text)?;
    match code.err() {
        None => Ok(()),
        Some(ResponseError::UnsupportedSaslMechanism) => Err(Fault::retry(format!(
            "the broker knows no login by {mechanism}, but by: {}",
            if there.is_empty() { "none".to_owned() } else { there.join(", ") }
        ))),
        Some(error) => Err(Fault::refused(error, "")),
    }
}

/// What the broker says in the course of a login.
pub(super) fn sasl_authenticate(answer: Bytes) -> Result<Bytes, Fault> {
    let mut reader = Reader(answer);
    let (code, message, said) = (reader.i16()?, reader.nullable_text()?, reader.bytes());
    match code.err() {
        None => Ok(said?),
        Some(ResponseError::SaslAuthenticationFailed) => {
            Err(Fault::retry("the broker refused the credentials"))
        }
        Some(error) => Err(Fault::refused(error, message.as_deref().unwrap_or_default())),
    }
}

/// Who leads the partitions of a topic, in their order.
pub(super) fn metadata(answer: Bytes, topic: &str) -> Result<Vec<Option<Leader>>, Fault> {
    let mut reader = Reader(answer);
    reader.i32()?;
    let brokers = reader.list(|broker| {
        let (id, host, port) = (broker.i32()?, broker.text()?, broker.i32()?);
        broker.nullable_text()?;
        Ok((id, host, port))
    })?;
    reader.nullable_text()?;
    reader.i32()?;
    let topics = reader.list(|topic| {
        let (code, name) = (topic.i16()?, topic.text()?);
        topic.boolean()?;
        let partitions = topic.list(|partition| {
            partition.i16()?;
            let (index, leader) = (partition.i32()?, partition.i32()?);
            partition.list(Reader::i32)?;
            partition.list(Reader::i32)?;
            Ok((index, leader))
        })?;
        Ok((code, name, partitions))
    })?;
    let (code, _, partitions) =
        topics.into_iter().find(|(_, name, _)| name == topic).ok_or_else(|| Fault::from(Malformed))?;
    match code.err() {
        None => {}
        Some(ResponseError::UnknownTopicOrPartition) => {
            let what = format!("the topic {topic:?} does not exist: create it, or correct `topic`");
            return Err(Fault::retry(what));
        }
        Some(ResponseError::InvalidTopicException) => {
            return Err(Fault::retry(format!("{topic:?} can't be the name of a topic: correct `topic`")));
        }
        Some(ResponseError::TopicAuthorizationFailed) => {
            return Err(Fault::retry(format!("the user may not write to the topic {topic:?}")));
        }
        Some(ResponseError::LeaderNotAvailable) => {
            return Err(Fault::retry(format!("the topic {topic:?} has no leader yet")));
        }
        Some(error) => return Err(Fault::refused(error, "")),
    }
    let count = partitions.len();
    if count == 0 || count > MOST_PARTITIONS {
        return Err(Fault::retry(format!("the topic {topic:?} has {count} partitions")));
    }
    let mut leaders = vec![None; count];
    for (index, leader) in partitions {
        let slot = usize::try_from(index).ok().and_then(|index| leaders.get_mut(index));
        let broker = brokers.iter().find(|(id, _, _)| *id == leader);
        if let (Some(slot), Some((_, host, port))) = (slot, broker) {
            *slot = u16::try_from(*port).ok().map(|port| Leader { host: host.clone(), port });
        }
    }
    Ok(leaders)
}

/// The offset of the first record that was stored, or why none was.
pub(super) fn produce(
    answer: Bytes,
    topic: &str,
    partition: i32,
) -> Result<Result<i64, ResponseError>, Fault> {
    let topics = Reader(answer).list(|topic| {
        let name = topic.text()?;
        let partitions = topic.list(|partition| {
            let (index, code, offset) = (partition.i32()?, partition.i16()?, partition.i64()?);
            partition.i64()?;
            Ok((index, code, offset))
        })?;
        Ok((name, partitions))
    })?;
    let told = topics
        .into_iter()
        .filter(|(name, _)| name == topic)
        .flat_map(|(_, partitions)| partitions)
        .find(|(index, _, _)| *index == partition);
    let (_, code, offset) = told.ok_or_else(|| Fault::from(Malformed))?;
    Ok(code.err().map_or(Ok(offset), Err))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, BytesMut};
    use hookweir_model::Outcome;

    use super::*;

    /// An answer of two brokers about one topic: its partitions with their leaders.
    fn answer(code: i16, leaders: &[(i32, i32)]) -> Bytes {
        let mut bytes = BytesMut::new();
        let text = |bytes: &mut BytesMut, text: &str| {
            bytes.put_i16(i16::try_from(text.len()).unwrap());
            bytes.put_slice(text.as_bytes());
        };
        bytes.put_i32(0);
        bytes.put_i32(2);
        for (id, host) in [(1, "a.example.com"), (2, "b.example.com")] {
            bytes.put_i32(id);
            text(&mut bytes, host);
            bytes.put_i32(9092);
            bytes.put_i16(-1);
        }
        text(&mut bytes, "cluster");
        bytes.put_i32(1);
        bytes.put_i32(1);
        bytes.put_i16(code);
        text(&mut bytes, "hooks");
        bytes.put_u8(0);
        bytes.put_i32(i32::try_from(leaders.len()).unwrap());
        for (index, leader) in leaders {
            bytes.put_i16(0);
            bytes.put_i32(*index);
            bytes.put_i32(*leader);
            for replicas in [&[1, 2][..], &[1]] {
                bytes.put_i32(i32::try_from(replicas.len()).unwrap());
                replicas.iter().for_each(|id| bytes.put_i32(*id));
            }
        }
        bytes.freeze()
    }

    #[test]
    fn leaders_stand_in_the_order_of_their_partitions() {
        let leaders = metadata(answer(0, &[(1, 2), (0, 1), (2, -1), (9, 1)]), "hooks").unwrap();
        let host = |host: &str| Some(Leader { host: host.to_owned(), port: 9092 });
        assert_eq!(leaders, [host("a.example.com"), host("b.example.com"), None, None]);
    }

    #[test]
    fn a_topic_that_can_not_be_written_to_is_told_apart() {
        for (code, part) in
            [(3, "does not exist"), (17, "can't be the name"), (29, "may not write"), (5, "no leader")]
        {
            let fault = metadata(answer(code, &[]), "hooks").unwrap_err();
            assert_eq!(fault.outcome, Outcome::Retry);
            assert!(fault.reason.contains(part), "{}", fault.reason);
        }
        assert!(metadata(answer(0, &[]), "hooks").unwrap_err().reason.contains("0 partitions"));
    }

    #[test]
    fn what_claims_to_be_long_takes_no_memory() {
        // A time, and then as many brokers as a number can say.
        let claim = Bytes::from([&0i32.to_be_bytes()[..], &i32::MAX.to_be_bytes()].concat());
        assert!(metadata(claim, "hooks").is_err());
        let whole = answer(0, &[(0, 1)]);
        for end in 0..whole.len() {
            assert!(metadata(whole.slice(..end), "hooks").is_err(), "{end}");
            assert!(produce(whole.slice(..end), "hooks", 0).is_err(), "{end}");
        }
    }
}
