//! Records, and why a broker does not take them. Pure.

use bytes::{Bytes, BytesMut};
use hookweir_model::Timestamp;
use kafka_protocol::ResponseError;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::{Fault, Refused};
use crate::Request;

/// What a record takes beside its parts: lengths, and its place in the batch.
const RECORD_BYTES: usize = 64;

/// One record.
#[derive(Debug)]
pub(super) struct Entry {
    key: Option<Bytes>,
    value: Bytes,
    headers: Vec<(String, String)>,
    /// In milliseconds.
    at: i64,
}

impl Entry {
    pub(super) fn new(request: &Request<'_>, key: Option<Bytes>, now: Timestamp) -> Self {
        let headers = request.message_headers().map(|(name, value)| (name.to_owned(), value));
        Self { key, value: request.shaped.body.clone(), headers: headers.collect(), at: now.as_millis() }
    }

    /// About as many bytes as it takes in a batch.
    pub(super) fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        RECORD_BYTES + headers + self.key.as_ref().map_or(0, Bytes::len) + self.value.len()
    }

    fn record(&self, place: i32) -> Record {
        let headers = self.headers.iter().map(|(name, value)| {
            (StrBytes::from_string(name.clone()), Some(Bytes::copy_from_slice(value.as_bytes())))
        });
        Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: place.into(),
            // The first one's counts, and says that there is none; the others follow it, or the library would start
            // another batch.
            sequence: NO_SEQUENCE + place,
            timestamp: self.at,
            key: self.key.clone(),
            value: Some(self.value.clone()),
            headers: headers.collect::<IndexMap<_, _>>(),
        }
    }
}

/// Records as one batch.
pub(super) fn batch(entries: &[Entry]) -> Result<Bytes, Fault> {
    let records: Vec<Record> = (0..).zip(entries).map(|(place, entry)| entry.record(place)).collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options)
        .map_err(|_| Fault::rejected("the record is longer than Kafka can say"))?;
    Ok(bytes.freeze())
}

/// What a broker's refusal means for the records.
pub(super) fn refusal(error: ResponseError, topic: &str) -> Refused {
    let fault = match error {
        ResponseError::NotLeaderOrFollower
        | ResponseError::LeaderNotAvailable
        | ResponseError::FencedLeaderEpoch => {
            let fault = Fault::retry("the partition is led by another broker");
            return Refused { fault, is_stale: true };
        }
        ResponseError::UnknownTopicOrPartition => {
            let fault = Fault::retry(format!("the topic {topic:?} does not exist (any more): create it"));
            return Refused { fault, is_stale: true };
        }
        ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge => {
            Fault::rejected("the record is larger than the topic takes (its max.message.bytes)")
        }
        ResponseError::InvalidRecord => {
            Fault::rejected("the topic does not take this record: a compacted topic wants a `key`")
        }
        ResponseError::NotEnoughReplicas => {
            Fault::retry("too few replicas are in sync (the topic's min.insync.replicas)")
        }
        ResponseError::NotEnoughReplicasAfterAppend => {
            Fault::unknown("the leader has the record, and too few replicas are in sync")
        }
        ResponseError::RequestTimedOut => {
            Fault::unknown("the leader has the record, and its replicas were not in time")
        }
        ResponseError::TopicAuthorizationFailed => {
            Fault::retry(format!("the user may not write to the topic {topic:?}"))
        }
        ResponseError::KafkaStorageError => Fault::retry("the broker can't write to its disk"),
        other => Fault::refused(other, ""),
    };
    fault.into()
}

#[cfg(test)]
mod tests {
    use hookweir_model::{EventId, EventType, Outcome, Shaped, TenantId};
    use kafka_protocol::records::RecordBatchDecoder;

    use super::*;
    use crate::InForce;

    #[test]
    fn records_are_one_batch_without_a_producer() {
        let (event, event_type) = (EventId::new("evt_1").unwrap(), EventType::new("order.created").unwrap());
        let shaped = Shaped {
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            body: Bytes::from_static(b"{}"),
        };
        let request = Request {
            tenant: &TenantId::new("acme").unwrap(),
            event: &event,
            event_type: &event_type,
            subject: None,
            attempt: 1,
            shaped: &shaped,
            traceparent: None,
            in_full: false,
            in_force: &InForce::always(),
        };
        let entry = || Entry::new(&request, Some(Bytes::from_static(b"acme")), Timestamp::from_millis(1_000));
        let entries = [entry(), entry(), entry()];
        let mut bytes = batch(&entries).unwrap();
        assert!(bytes.len() <= entries.iter().map(Entry::size).sum::<usize>() + RECORD_BYTES);
        let batches = RecordBatchDecoder::decode_batch_info(&mut bytes.clone()).unwrap();
        assert_eq!(batches.iter().map(|batch| batch.record_count).collect::<Vec<_>>(), [3]);
        assert_eq!((batches[0].producer_id, batches[0].base_sequence), (NO_PRODUCER_ID, NO_SEQUENCE));
        let records = RecordBatchDecoder::decode(&mut bytes).unwrap().records;
        assert_eq!(records[2].offset, 2);
        assert_eq!(records[2].key.as_deref(), Some(&b"acme"[..]));
        assert_eq!(records[2].headers[&b"webhook-id"[..]].as_deref(), Some(&b"evt_1"[..]));
    }

    #[test]
    fn refusals_are_told_apart() {
        for (error, outcome, is_stale) in [
            (ResponseError::NotLeaderOrFollower, Outcome::Retry, true),
            (ResponseError::UnknownTopicOrPartition, Outcome::Retry, true),
            (ResponseError::MessageTooLarge, Outcome::Rejected, false),
            (ResponseError::NotEnoughReplicas, Outcome::Retry, false),
            (ResponseError::NotEnoughReplicasAfterAppend, Outcome::Unknown, false),
            (ResponseError::RequestTimedOut, Outcome::Unknown, false),
            (ResponseError::PolicyViolation, Outcome::Retry, false),
        ] {
            let refused = refusal(error, "hooks");
            assert_eq!((refused.fault.outcome, refused.is_stale), (outcome, is_stale), "{error}");
        }
    }
}
