//! Connections whose protocol we drive ourselves: a task for each moves the bytes, and a [`Protocol`], which knows of no
//! sockets, says what they mean.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Fault;
use super::pool::Pooled;
use crate::stream::Stream;

/// How many orders may wait for a connection to take them. Whoever comes then waits too, within the attempt's time.
const MOST_WAITING: usize = 64;

/// How much may wait to be written before further orders have to wait.
const MOST_UNWRITTEN: usize = 1 << 20;

/// What is spoken on a connection. It writes by adding to `out`, which is sent as it stands.
pub(crate) trait Protocol: Send + 'static {
    /// One message to send, with somebody who waits for its end.
    type Order: Send + 'static;

    /// Whether the broker takes a further message now.
    fn has_room(&self) -> bool;

    fn order(&mut self, order: Self::Order, out: &mut BytesMut);

    /// Takes whole messages of the broker off the front of `incoming`. A fault ends the connection.
    fn heard(&mut self, incoming: &mut BytesMut, out: &mut BytesMut) -> Result<(), Fault>;

    /// When [`Self::fire`] is due, if nothing happens before.
    fn due(&self) -> Option<Instant>;

    fn fire(&mut self, out: &mut BytesMut) -> Result<(), Fault>;

    /// What is said before the connection is closed by us.
    fn farewell(&mut self, out: &mut BytesMut);

    /// Tells all who wait for an answer that there will be none.
    fn end(self, fault: &Fault);

    /// Tells one whose order was not taken.
    fn refuse(order: Self::Order, fault: Fault);
}

/// A connection, as it is shared. It closes when nobody holds it any more.
pub(crate) struct Line<O> {
    orders: mpsc::Sender<O>,
}

impl<O> Clone for Line<O> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone() }
    }
}

impl<O: Send + 'static> Pooled for Line<O> {
    fn is_usable(&self) -> bool {
        !self.orders.is_closed()
    }
}

impl<O: Send + 'static> Line<O> {
    /// Lets a task of its own serve the connection.
    pub(crate) fn open<P: Protocol<Order = O>>(wire: Wire, protocol: P) -> Self {
        let (orders, taken) = mpsc::channel(MOST_WAITING);
        tokio::spawn(drive(wire, protocol, taken));
        Self { orders }
    }

    /// Hands an order over, as soon as there is room for it.
    pub(crate) async fn order(&self, order: O) -> Result<(), Fault> {
        self.orders.send(order).await.map_err(|_| not_taken())
    }
}

/// The connection broke while a message still waited for its turn.
fn not_taken() -> Fault {
    Fault::retry("the connection was lost before the message was sent")
}

/// A connection's bytes, in both directions.
pub(crate) struct Wire {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    pub(crate) incoming: BytesMut,
    pub(crate) out: BytesMut,
    /// Whether something was written and not flushed.
    is_dirty: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader, writer, incoming: BytesMut::new(), out: BytesMut::new(), is_dirty: false }
    }

    /// Waits for more bytes, and writes meanwhile what there is to write. Nothing is lost if it is given up.
    pub(crate) async fn exchange(&mut self) -> io::Result<()> {
        loop {
            let has_more = self.is_dirty || !self.out.is_empty();
            tokio::select! {
                read = self.reader.read_buf(&mut self.incoming) => {
                    return match read? {
                        0 => Err(io::ErrorKind::UnexpectedEof.into()),
                        _ => Ok(()),
                    };
                }
                written = flush(&mut self.writer, &mut self.out, &mut self.is_dirty), if has_more => written?,
            }
        }
    }

    /// Writes what there is to write, and closes.
    async fn close(mut self) {
        // The broker may be gone already, which is as good.
        let _ = flush(&mut self.writer, &mut self.out, &mut self.is_dirty).await;
        let _ = self.writer.shutdown().await;
    }
}

async fn flush(writer: &mut WriteHalf<Stream>, out: &mut BytesMut, is_dirty: &mut bool) -> io::Result<()> {
    while !out.is_empty() {
        *is_dirty = true;
        if writer.write_buf(out).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await?;
    *is_dirty = false;
    Ok(())
}

/// Serves a connection until it breaks, its protocol ends it, or nobody holds it.
async fn drive<P: Protocol>(mut wire: Wire, mut protocol: P, mut orders: mpsc::Receiver<P::Order>) {
    let fault = loop {
        let has_room = protocol.has_room() && wire.out.len() < MOST_UNWRITTEN;
        let due = protocol.due();
        let turn = tokio::select! {
            exchanged = wire.exchange() => match exchanged {
                Ok(()) => protocol.heard(&mut wire.incoming, &mut wire.out),
                Err(_) => Err(Fault::lost()),
            },
            order = orders.recv(), if has_room => match order {
                Some(order) => {
                    protocol.order(order, &mut wire.out);
                    Ok(())
                }
                None => {
                    protocol.farewell(&mut wire.out);
                    Err(Fault::lost())
                }
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => protocol.fire(&mut wire.out),
        };
        if let Err(fault) = turn {
            break fault;
        }
    };
    // From here on nobody finds the connection open.
    orders.close();
    protocol.end(&fault);
    while let Some(order) = orders.recv().await {
        P::refuse(order, not_taken());
    }
    wire.close().await;
}
