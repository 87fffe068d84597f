//! Keys that were guessed wrong, by the address that they came from.
//!
//! An address that sent ten unknown keys within a minute is told to wait until that minute is over, at each further one. A
//! right key is let in all the same: behind a proxy all callers have one address, and one of them with an old key must not
//! keep the others out. That a guess may be right is no danger: keys have 16 characters at least.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const ALLOWED: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// How many addresses are remembered. More than these make older ones be forgotten.
const ADDRESSES: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Guesses {
    by_address: Mutex<HashMap<IpAddr, Wrong>>,
}

/// Wrong keys of one address within a window.
#[derive(Debug, Clone, Copy)]
struct Wrong {
    since: Instant,
    count: u32,
}

impl Guesses {
    /// Takes note of a wrong key. Too many are an error: the time after which the address may guess again. One that comes
    /// while it may not is not counted.
    pub(super) fn wrong(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut by_address = self.lock();
        let address = whole(address);
        let is_over = |wrong: &Wrong| now.saturating_duration_since(wrong.since) >= WINDOW;
        if by_address.len() >= ADDRESSES && !by_address.contains_key(&address) {
            by_address.retain(|_, wrong| !is_over(wrong));
            let oldest = by_address.iter().min_by_key(|(_, wrong)| wrong.since).map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| by_address.len() >= ADDRESSES) {
                by_address.remove(&oldest);
            }
        }
        let wrong = by_address.entry(address).or_insert(Wrong { since: now, count: 0 });
        if is_over(wrong) {
            *wrong = Wrong { since: now, count: 0 };
        }
        if wrong.count >= ALLOWED {
            return Err(WINDOW.saturating_sub(now.saturating_duration_since(wrong.since)));
        }
        wrong.count += 1;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Wrong>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has an address of IPv6 has 2^64 of them.
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn after_ten_wrong_keys_an_address_waits() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..10 {
            assert_eq!(guesses.wrong(address("192.0.2.1"), at(second)), Ok(()));
        }
        assert_eq!(guesses.wrong(address("192.0.2.1"), at(20)), Err(Duration::from_secs(40)));
        assert_eq!(guesses.wrong(address("::ffff:192.0.2.1"), at(20)), Err(Duration::from_secs(40)));
        assert_eq!(guesses.wrong(address("192.0.2.2"), at(20)), Ok(()));
        assert_eq!(guesses.wrong(address("192.0.2.1"), at(60)), Ok(()), "a new minute counts from the start");
        assert_eq!(guesses.wrong(address("192.0.2.1"), at(61)), Ok(()));
    }

    #[test]
    fn neighbours_of_ipv6_are_one() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..10 {
            assert!(guesses.wrong(address(&format!("2001:db8::{number}")), now).is_ok());
        }
        assert!(guesses.wrong(address("2001:db8::ffff"), now).is_err());
        assert!(guesses.wrong(address("2001:db8:0:1::"), now).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        for number in 0..2 * ADDRESSES as u32 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(number));
            assert!(guesses.wrong(address, start + Duration::from_micros(u64::from(number))).is_ok());
        }
        assert_eq!(guesses.lock().len(), ADDRESSES);
    }
}
