//! The vocabulary of hookweir, in the field's standard terms: events, endpoints, deliveries, attempts and what may
//! become of them.
//!
//! Every other crate stands on this one. It holds values and pure functions only: it opens no file and no socket,
//! and knows neither tokio nor wasmtime.

mod attempt;
mod delivery;
mod digest;
mod endpoint;
mod event;
mod event_type;
mod header;
mod id;
mod pace;
mod plugin;
mod retry;
mod shaped;
mod shard;
mod subscriptions;
mod time;

pub use attempt::{Answer, Attempt, Exchange, Outcome, PluginCall, PluginRole, Timings};
pub use delivery::{Delivery, DeliveryKey, Status};
pub use digest::Digest;
pub use endpoint::{Disabled, EndpointKey, EndpointState, Failing};
pub use event::{Event, InvalidTime, check_time};
pub use event_type::{EventType, InvalidEventType, InvalidPattern, TypePattern};
pub use header::{
    InvalidHeader, MAX_CONTENT_TYPE, MAX_HEADER_BYTES, MAX_HEADERS, check_content_type, check_header,
    check_headers,
};
pub use id::{EndpointId, EventId, InvalidEventId, InvalidName, PluginId, SourceId, TenantId};
pub use pace::{BreakerPolicy, PacePolicy};
pub use plugin::{Paused, PluginKey, PluginState, Upload};
pub use retry::{RetryPolicy, Success};
pub use shaped::Shaped;
pub use shard::{Epoch, SHARDS, Shard};
pub use subscriptions::Subscriptions;
pub use time::Timestamp;
