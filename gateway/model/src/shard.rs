//! Shards: how endpoints are spread over the nodes of a cluster.

use serde::{Deserialize, Serialize};

use crate::{Digest, EndpointKey};

/// How many shards there are, whatever the number of nodes.
pub const SHARDS: u16 = 256;

/// One part of all endpoints. At any time one node owns it, under an [`Epoch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard(pub u8);

impl Shard {
    /// The shard of an endpoint. It is written into journals, so the rule may never change.
    pub fn of(key: &EndpointKey) -> Self {
        let name = [key.tenant.as_str(), key.endpoint.as_str()].join("\0");
        Self(Digest::of(name.as_bytes()).as_bytes()[0])
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }
}

/// Counts the owners of a shard: it only rises, so that a write of an earlier owner can be told and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(pub u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndpointId, TenantId};

    #[test]
    fn the_rule_is_frozen() {
        let key = |tenant, endpoint| {
            EndpointKey::new(TenantId::new(tenant).unwrap(), EndpointId::new(endpoint).unwrap())
        };
        assert_eq!(Shard::of(&key("acme", "billing")), Shard(24));
        assert_ne!(Shard::of(&key("ab", "c")), Shard::of(&key("a", "bc")));
        assert_eq!(Shard::all().count(), usize::from(SHARDS));
    }
}
