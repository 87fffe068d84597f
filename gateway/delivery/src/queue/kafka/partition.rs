//! Which partition a record goes to. Pure.

/// The partition of a key among `count`: the one that Kafka's own producers choose, so that records of others with the same
/// key lie beside ours.
pub(super) fn of(key: &[u8], count: usize) -> i32 {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    // Kafka clears the sign and takes the rest.
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive % count).unwrap_or_default()
}

/// `MurmurHash2` in 32 bits, with the seed that Kafka uses.
fn murmur2(data: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(MIX);
        let word = (word ^ (word >> 24)).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ word;
    }
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of Kafka's own tests.
    #[test]
    fn the_hash_is_that_of_kafka() {
        for (text, wanted) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), wanted, "{text}");
        }
    }

    #[test]
    fn a_partition_is_one_of_those_there_are() {
        assert_eq!(of(b"any", 1), 0);
        assert_eq!(of(b"any", 0), 0);
        // 2147483647 & of -973932308 is 1173551340.
        assert_eq!(of(b"21", 7), 1_173_551_340 % 7);
    }
}
