//! The retry policy of an endpoint, as a value. What follows from it is decided where deliveries are settled.

use std::time::Duration;

/// When a failed attempt is tried again, and what counts as success.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The wait after attempt 1, 2, ...; one more attempt than there are waits is made.
    pub waits: Vec<Duration>,
    /// Each wait is lengthened by a random part of up to this share of it.
    pub jitter: f64,
    /// The whole attempt: name look-up, connection, TLS, head and body.
    pub timeout: Duration,
    /// The connection's part of it.
    pub connect_timeout: Duration,
    pub success: Success,
}

/// Which status codes say that the receiver has the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Success {
    Any2xx,
    Only(Vec<u16>),
}

impl Success {
    pub fn contains(&self, status: u16) -> bool {
        match self {
            Self::Any2xx => (200..300).contains(&status),
            Self::Only(codes) => codes.contains(&status),
        }
    }
}

impl RetryPolicy {
    /// The example schedule of the Standard Webhooks specification: 10 attempts over 75 hours.
    pub fn standard() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let waits =
            [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self {
            waits: waits.into_iter().map(Duration::from_secs).collect(),
            jitter: 0.2,
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            success: Success::Any2xx,
        }
    }

    /// The rule of Alibaba's IMS callbacks: three attempts one second apart, three seconds each, 200 alone is success.
    pub fn ims() -> Self {
        Self {
            waits: vec![Duration::from_secs(1); 2],
            jitter: 0.0,
            timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            success: Success::Only(vec![200]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_documented_ones() {
        let standard = RetryPolicy::standard();
        assert_eq!(standard.waits.len() + 1, 10);
        assert_eq!(standard.waits.iter().sum::<Duration>(), Duration::from_secs(75 * 3600 + 35 * 60 + 5));
        let ims = RetryPolicy::ims();
        assert_eq!(ims.waits.len() + 1, 3);
        for (status, any, only) in
            [(200, true, true), (201, true, false), (204, true, false), (302, false, false)]
        {
            assert_eq!(
                (standard.success.contains(status), ims.success.contains(status)),
                (any, only),
                "{status}"
            );
        }
    }
}
