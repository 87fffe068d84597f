//! A port on loopback at which nobody listens yet.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// The most connections that wait to be taken.
const BACKLOG: u32 = 1024;

/// A port that is bound and not listened at: connections to it are refused, and no other program is given it.
#[derive(Debug)]
pub struct Port {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Port {
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = socket.local_addr().expect("the address of a bound socket");
        Self { socket, address }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn listen(self) -> TcpListener {
        self.socket.listen(BACKLOG).expect("to listen at a port that is bound")
    }
}
