//! A relay between the gateway and a broker, on loopback, which can hold the broker's answers back, hand them on a byte at
//! a time, or cut the connections: what a slow network and a broken one look like from the gateway, at a moment that the
//! test chooses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::eventually::{eventually, within};

/// What becomes of the broker's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    HandedOn,
    ByteByByte,
    Held,
    /// Other bytes than the broker's.
    Garbled,
}

/// `cuts` counts the times that all connections were cut: a connection lives as long as it has not grown.
#[derive(Debug, Clone, Copy)]
struct Will {
    mode: Mode,
    cuts: u64,
    /// Nobody listens: connections are refused.
    is_shut: bool,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    will: watch::Sender<Will>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// What became of answers so far, in bytes.
#[derive(Debug, Default)]
struct Counts {
    held: AtomicUsize,
    handed_on: AtomicUsize,
}

impl Relay {
    /// Relays to a port of loopback.
    pub async fn start(to: u16) -> Self {
        Self::start_at(0, to).await
    }

    /// The same at a port, which [`crate::free_port`] has told.
    pub async fn start_at(port: u16, to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a port for the relay");
        let address = listener.local_addr().expect("the address of the relay");
        let (will, wills) = watch::channel(Will { mode: Mode::HandedOn, cuts: 0, is_shut: false });
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(serve(listener, to, wills, Arc::clone(&counts)));
        Self { address, will, counts, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds all answers back from now on.
    pub fn hold(&self) {
        self.will.send_modify(|will| will.mode = Mode::Held);
    }

    /// Waits until an answer is held: what was sent has reached the broker, and the gateway doesn't know it.
    pub async fn holds(&self) {
        eventually("an answer of the broker", async || match self.counts.held.load(Ordering::SeqCst) {
            0 => Err("none is held".to_owned()),
            _ => Ok(()),
        })
        .await;
    }

    /// How many bytes of answers were handed on so far.
    pub fn handed_on(&self) -> usize {
        self.counts.handed_on.load(Ordering::SeqCst)
    }

    /// Hands on what is held, and all that follows.
    pub fn release(&self) {
        self.will.send_modify(|will| will.mode = Mode::HandedOn);
    }

    /// The same, a byte at a time.
    pub fn release_bytes(&self) {
        self.will.send_modify(|will| will.mode = Mode::ByteByByte);
    }

    /// Cuts all connections; what is held is lost. New connections are as good as ever.
    pub fn cut(&self) {
        self.will.send_modify(|will| *will = Will { mode: Mode::HandedOn, cuts: will.cuts + 1, ..*will });
    }

    /// Hands on what is no answer in the place of each.
    pub fn garble(&self) {
        self.will.send_modify(|will| will.mode = Mode::Garbled);
    }

    /// Cuts all connections and refuses new ones.
    pub fn shut(&self) {
        self.will.send_modify(|will| *will = Will { cuts: will.cuts + 1, is_shut: true, ..*will });
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.will.send_modify(|will| will.is_shut = false);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut listener: TcpListener, to: u16, mut wills: watch::Receiver<Will>, counts: Arc<Counts>) {
    let address = listener.local_addr().expect("the address of the relay");
    loop {
        let client = tokio::select! {
            goes_on = is_shut(&mut wills, true) => {
                drop(listener);
                if !goes_on || !is_shut(&mut wills, false).await {
                    return;
                }
                listener = within("the relay's port", listen_again(address)).await;
                continue;
            }
            client = listener.accept() => client,
        };
        let Ok((client, _)) = client else { return };
        // A broker that is not there is told as a connection that ends at once.
        let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { continue };
        for socket in [&client, &broker] {
            socket.set_nodelay(true).expect("a socket that sends at once");
        }
        let (wills, counts) = (wills.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            let (mut asks, answers) = client.into_split();
            let (answered, mut asked) = broker.into_split();
            tokio::select! {
                _ = copy(&mut asks, &mut asked) => {}
                () = hand_on(answered, answers, wills, &counts) => {}
            }
        });
    }
}

/// Waits until nobody listens, or somebody does again; false where the relay is gone.
async fn is_shut(wills: &mut watch::Receiver<Will>, wanted: bool) -> bool {
    wills.wait_for(|will| will.is_shut == wanted).await.is_ok()
}

/// What was there before may need a moment to be gone.
async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn hand_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wills: watch::Receiver<Will>,
    counts: &Counts,
) {
    let cuts = wills.borrow().cuts;
    let mut buffer = [0; 16 << 10];
    loop {
        let read = tokio::select! {
            _ = wills.wait_for(|will| will.cuts != cuts) => return,
            read = from.read(&mut buffer) => read,
        };
        let length = match read {
            Ok(length) if length > 0 => length,
            _ => return,
        };
        counts.held.fetch_add(length, Ordering::SeqCst);
        let will =
            wills.wait_for(|will| will.cuts != cuts || will.mode != Mode::Held).await.map(|will| *will);
        counts.held.fetch_sub(length, Ordering::SeqCst);
        let pace = match will {
            Ok(will) if will.cuts != cuts => return,
            Ok(Will { mode: Mode::Garbled, .. }) => {
                buffer[..length].iter_mut().for_each(|byte| *byte ^= 0x55);
                length
            }
            Ok(Will { mode: Mode::ByteByByte, .. }) => 1,
            Ok(_) => length,
            Err(_) => return,
        };
        for piece in buffer[..length].chunks(pace) {
            if to.write_all(piece).await.is_err() {
                return;
            }
            // Others come to their turn, so that the gateway can read it.
            tokio::task::yield_now().await;
            counts.handed_on.fetch_add(piece.len(), Ordering::SeqCst);
        }
    }
}
