//! A name server on loopback that answers what a test wants: A and AAAA over UDP, nothing else.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const A: u16 = 1;
const AAAA: u16 = 28;
const HEADER: usize = 12;

type Zone = Arc<dyn Fn(&str) -> Vec<IpAddr> + Send + Sync>;

pub struct NameServer {
    address: SocketAddr,
    queries: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Answers each name with the addresses that `zone` has for it.
    pub async fn start(zone: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), zone).await
    }

    /// The same at an address: the port of `/etc/resolv.conf` is 53, which takes root.
    pub async fn at(address: SocketAddr, zone: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Self {
        let socket = UdpSocket::bind(address).await.expect("a port for the name server");
        let address = socket.local_addr().expect("the address of the name server");
        let queries = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(serve(socket, Arc::new(zone), Arc::clone(&queries)));
        Self { address, queries, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many questions it was asked.
    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameServer").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn serve(socket: UdpSocket, zone: Zone, queries: Arc<AtomicUsize>) {
    let mut query = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        queries.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = answer(&query[..length], &zone) {
            // A client that is gone gets no answer.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The answer to one query, by RFC 1035; `None` for what is not a query.
fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (name, question_end) = question(query)?;
    let kind = u16::from_be_bytes(query.get(question_end - 4..question_end - 2)?.try_into().ok()?);
    let addresses: Vec<IpAddr> = zone(&name.to_ascii_lowercase())
        .into_iter()
        .filter(|address| if address.is_ipv4() { kind == A } else { kind == AAAA })
        .collect();
    let mut answer = query.get(..2)?.to_vec();
    // A response, recursion desired and available, no error; one question, the answers, nothing else.
    answer.extend_from_slice(&[0x81, 0x80, 0, 1]);
    answer.extend_from_slice(&u16::try_from(addresses.len()).ok()?.to_be_bytes());
    answer.extend_from_slice(&[0, 0, 0, 0]);
    answer.extend_from_slice(query.get(HEADER..question_end)?);
    for address in addresses {
        let data = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        // The name is a pointer to the question's; class IN; a time to live of 0, so that nothing is cached.
        answer.extend_from_slice(&[0xc0, 12]);
        answer.extend_from_slice(&kind.to_be_bytes());
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
        answer.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend_from_slice(&data);
    }
    Some(answer)
}

/// The name that is asked for, and where the question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at + 4));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
}
