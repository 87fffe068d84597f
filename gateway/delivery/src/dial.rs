//! TCP to one server that has several addresses: they share the time that a connection may take.
//!
//! An address that says nothing for a while does not use that time up: the next one is dialled beside it, and the first
//! that answers is taken. Without that, one dead address of a name costs every attempt that happens to begin with it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How long one address may be silent before the next is dialled too: the recommendation of RFC 8305.
const PATIENCE: Duration = Duration::from_millis(250);

/// No address answered in time.
#[derive(Debug)]
pub(crate) struct Unreached {
    /// Each address that was dialled, in order, and what came of it; nothing: it was silent until the end.
    tried: Tried<SocketAddr, io::Error>,
}

impl Unreached {
    /// What the last address that answered at all said. `None`: all were silent.
    pub(crate) fn last_error(&self) -> Option<&io::Error> {
        self.tried.iter().rev().find_map(|(_, error)| error.as_ref())
    }

    /// Whether some address said nothing until the time was over.
    pub(crate) fn has_silent(&self) -> bool {
        self.tried.iter().any(|(_, error)| error.is_none())
    }

    /// The addresses with what came of each, for operators: they are not fit for a tenant.
    pub(crate) fn tried(&self) -> Vec<String> {
        let line = |(address, error): &(SocketAddr, Option<io::Error>)| match error {
            None => format!("{address}: no answer"),
            Some(error) => format!("{address}: {}", plain(error)),
        };
        self.tried.iter().map(line).collect()
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no address could be reached: {}", self.tried().join("; "))
    }
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        kind => kind.to_string(),
    }
}

/// Dials addresses, all of which may be dialled, until one answers or the time is over.
pub(crate) async fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Unreached> {
    dial_by(addresses, deadline, connect).await
}

/// The same by another function, which makes the connection to one address.
pub(crate) async fn dial_by<T, F>(
    addresses: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Unreached>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    race(in_turn(addresses), PATIENCE, deadline, connect).await.map_err(|tried| Unreached { tried })
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A message waits for its answer: nothing is gained by holding back its last packet.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What was tried, and what came of each: nothing where it was silent until the end.
pub(crate) type Tried<C, E> = Vec<(C, Option<E>)>;

/// Tries candidates in order until one succeeds or the time is over: the next one begins when the last has failed, or has
/// been silent for `patience`. Those that lose are dropped.
pub(crate) async fn race<C, T, E, F>(
    candidates: impl IntoIterator<Item = C>,
    patience: Duration,
    deadline: Instant,
    attempt: impl Fn(C) -> F,
) -> Result<T, Tried<C, E>>
where
    C: Clone,
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut rest = candidates.into_iter().peekable();
    let mut running = JoinSet::new();
    let mut tried: Tried<C, E> = Vec::new();
    let mut next = Instant::now();
    while rest.peek().is_some() || !running.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = running.join_next() => match ended {
                Ok((_, Ok(made))) => return Ok(made),
                Ok((place, Err(error))) => {
                    if let Some((_, outcome)) = tried.get_mut::<usize>(place) {
                        *outcome = Some(error);
                    }
                    // Who refuses has answered: the next one need not wait.
                    next = Instant::now();
                }
                // A panic in it, which was told where it happened.
                Err(_) => {}
            },
            () = sleep_until(deadline) => break,
            () = sleep_until(next), if rest.peek().is_some() => {
                let Some(candidate) = rest.next() else { continue };
                let place = tried.len();
                let attempt = attempt(candidate.clone());
                tried.push((candidate, None));
                running.spawn(async move { (place, attempt.await) });
                next = Instant::now() + patience;
            }
        }
    }
    Err(tried)
}

/// The order in which addresses are dialled: the families in turn, the first address's first. A machine without one of
/// the two then loses one address's patience and not that of a whole list.
fn in_turn(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut leading, mut other): (VecDeque<SocketAddr>, VecDeque<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = VecDeque::with_capacity(addresses.len());
    while !leading.is_empty() || !other.is_empty() {
        order.extend(leading.pop_front());
        order.extend(other.pop_front());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |list: &str| -> Vec<SocketAddr> {
            list.split_whitespace().map(|address| address.parse().unwrap()).collect()
        };
        for (answer, order) in [
            ("", ""),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("10.0.0.1:1 10.0.0.2:1 10.0.0.3:1", "10.0.0.1:1 10.0.0.2:1 10.0.0.3:1"),
            ("10.0.0.1:1 10.0.0.2:1 [fd00::1]:1", "10.0.0.1:1 [fd00::1]:1 10.0.0.2:1"),
            ("[fd00::1]:1 [fd00::2]:1 10.0.0.1:1", "[fd00::1]:1 10.0.0.1:1 [fd00::2]:1"),
        ] {
            assert_eq!(Vec::from(in_turn(&parse(answer))), parse(order), "{answer}");
        }
    }

    /// Candidates of which some never answer, some fail and one succeeds; what comes of it, in the paused time of the test.
    #[tokio::test(start_paused = true)]
    async fn the_silent_share_the_time_and_who_refuses_costs_none() {
        const SECOND: Duration = Duration::from_secs(1);
        for (candidates, ends, after) in [
            ("ok", Ok(0), 0),
            ("silent ok", Ok(1), 250),
            ("silent silent ok", Ok(2), 500),
            ("fail fail ok", Ok(2), 0),
            ("fail silent ok", Ok(2), 250),
            ("silent fail ok", Ok(2), 250),
            ("slow ok", Ok(1), 250),
            ("slow silent", Ok(0), 400),
            ("silent silent", Err("silent silent"), 1000),
            ("fail fail", Err("fail fail"), 0),
            ("fail silent", Err("fail silent"), 1000),
            ("", Err(""), 0),
        ] {
            let started = Instant::now();
            let words = candidates.split_whitespace().enumerate();
            let attempt = |(place, word): (usize, &'static str)| async move {
                match word {
                    "ok" => Ok(place),
                    "fail" => Err(()),
                    "slow" => {
                        sleep_until(Instant::now() + SECOND * 2 / 5).await;
                        Ok(place)
                    }
                    _ => std::future::pending().await,
                }
            };
            let ended = race(words, PATIENCE, started + SECOND, attempt).await;
            let ended = ended.map_err(|tried| {
                let line = |((_, word), error): &((usize, &'static str), Option<()>)| {
                    assert_eq!(error.is_some(), *word == "fail");
                    *word
                };
                tried.iter().map(line).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(ended, ends.map_err(str::to_owned), "{candidates}");
            let took = started.elapsed();
            let wanted = Duration::from_millis(after);
            assert!(took >= wanted && took < wanted + SECOND / 20, "{candidates}: {took:?}");
        }
    }
}
