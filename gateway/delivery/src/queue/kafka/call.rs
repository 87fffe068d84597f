//! What is asked of a broker. Each call has one version, the lowest that has what is needed: brokers from 0.11 to 4 know it,
//! and its answer is plain to read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, MetadataRequest, ProduceRequest, RequestHeader, SaslAuthenticateRequest,
    SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::Fault;

/// What the gateway is called at the brokers.
const CLIENT: &str = "hookweir";

/// An API in one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) name: &'static str,
    pub(super) key: i16,
    pub(super) version: i16,
}

const API_VERSIONS: Api = Api { name: "ApiVersions", key: ApiKey::ApiVersions as i16, version: 0 };
pub(super) const METADATA: Api = Api { name: "Metadata", key: ApiKey::Metadata as i16, version: 4 };
pub(super) const PRODUCE: Api = Api { name: "Produce", key: ApiKey::Produce as i16, version: 3 };
const SASL_HANDSHAKE: Api = Api { name: "SaslHandshake", key: ApiKey::SaslHandshake as i16, version: 1 };
const SASL_AUTHENTICATE: Api =
    Api { name: "SaslAuthenticate", key: ApiKey::SaslAuthenticate as i16, version: 0 };

/// A call that has not got its number yet.
#[derive(Debug)]
pub(super) struct Call {
    api: Api,
    body: Bytes,
}

impl Call {
    fn new(api: Api, request: &impl Encodable) -> Result<Self, Fault> {
        let mut body = BytesMut::new();
        request.encode(&mut body, api.version).map_err(|_| unsayable())?;
        Ok(Self { api, body: body.freeze() })
    }

    /// Writes the call, with its length before it.
    pub(super) fn write(&self, number: i32, out: &mut BytesMut) -> Result<(), Fault> {
        let header = RequestHeader::default()
            .with_request_api_key(self.api.key)
            .with_request_api_version(self.api.version)
            .with_correlation_id(number)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT)));
        let mut head = BytesMut::new();
        header.encode(&mut head, 1).map_err(|_| unsayable())?;
        let length = u32::try_from(head.len() + self.body.len()).map_err(|_| unsayable())?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.body);
        Ok(())
    }
}

fn unsayable() -> Fault {
    Fault::rejected("the record is longer than Kafka can say")
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Which APIs the broker has.
pub(super) fn api_versions() -> Result<Call, Fault> {
    Call::new(API_VERSIONS, &ApiVersionsRequest::default())
}

pub(super) fn sasl_handshake(mechanism: &str) -> Result<Call, Fault> {
    Call::new(SASL_HANDSHAKE, &SaslHandshakeRequest::default().with_mechanism(text(mechanism)))
}

pub(super) fn sasl_authenticate(said: Vec<u8>) -> Result<Call, Fault> {
    Call::new(SASL_AUTHENTICATE, &SaslAuthenticateRequest::default().with_auth_bytes(said.into()))
}

/// Who leads a topic's partitions. It makes no topic: a misspelt name must not become one.
pub(super) fn metadata(topic: &str) -> Result<Call, Fault> {
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    Call::new(METADATA, &request)
}

/// Stores records in a partition, and in all its replicas that are in sync.
pub(super) fn produce(topic: &str, partition: i32, records: Bytes, limit: Duration) -> Result<Call, Fault> {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(TopicName(text(topic))).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(i32::try_from(limit.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(vec![topic]);
    Call::new(PRODUCE, &request)
}
