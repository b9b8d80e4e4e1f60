//! Takes a DPU's connections from hosts: TLS first, and no more of anything than there may be.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::warn;

use crate::identity::HostName;
use crate::refusal::{Refusal, Refusals};
use crate::tls::PeerHost;

/// How much there may be of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections from one address (IPv6: one /64) at a time, those without a finished handshake among them.
    pub of_address: usize,
    /// Connections of one host at a time.
    pub of_host: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a connection without a host's certificate may last.
    pub anonymous: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            of_address: 32,
            of_host: 8,
            handshake: Duration::from_secs(5),
            anonymous: Duration::from_secs(15),
        }
    }
}

/// Counts by key, up to a limit. What is counted is given back when its [`Place`] is dropped.
#[derive(Debug)]
struct Places<K: Hash + Eq>(Arc<Mutex<HashMap<K, usize>>>);

impl<K: Hash + Eq> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Hash + Eq + Clone> Places<K> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn take(&self, key: &K, limit: usize) -> Option<Place<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(key).copied().unwrap_or_default();
        if count >= limit {
            return None;
        }
        counts.insert(key.clone(), count + 1);
        Some(Place { places: self.clone(), key: key.clone() })
    }
}

#[derive(Debug)]
struct Place<K: Hash + Eq> {
    places: Places<K>,
    key: K,
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From where.
    pub address: SocketAddr,
    /// Which host; none without a certificate.
    pub host: Option<PeerHost>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(peer) => write!(f, "{} at {}", peer.host, self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// What a connection occupies until it ends.
#[derive(Debug)]
struct Occupied {
    _all: Place<()>,
    _address: Place<IpAddr>,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// When it ends by itself.
    end: Option<Pin<Box<Sleep>>>,
    _occupied: Occupied,
    _host: Option<Place<HostName>>,
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// See the module.
struct Listener {
    acceptor: TlsAcceptor,
    limits: Limits,
    refusals: Arc<Refusals>,
    all: Places<()>,
    addresses: Places<IpAddr>,
    hosts: Places<HostName>,
}

/// Takes connections for ever, on tasks of this runtime; whoever cannot have one is counted, and goes.
pub fn listen(
    tcp: TcpListener,
    config: Arc<ServerConfig>,
    limits: Limits,
    refusals: Arc<Refusals>,
) -> ReceiverStream<io::Result<PeerStream>> {
    let (sender, receiver) = mpsc::channel(1);
    let listener = Arc::new(Listener {
        acceptor: TlsAcceptor::from(config),
        limits,
        refusals,
        all: Places::new(),
        addresses: Places::new(),
        hosts: Places::new(),
    });
    tokio::spawn(async move {
        loop {
            tokio::select! {
                // The server is gone.
                () = sender.closed() => return,
                accepted = tcp.accept() => listener.accepted(accepted, &sender).await,
            }
        }
    });
    ReceiverStream::new(receiver)
}

type Sender = mpsc::Sender<io::Result<PeerStream>>;

impl Listener {
    async fn accepted(
        self: &Arc<Self>,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        to: &Sender,
    ) {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: those of others may become free.
                warn!("no connection can be taken: {error}");
                sleep(Duration::from_millis(100)).await;
                return;
            }
        };
        let occupied = match self.occupy(address) {
            Ok(occupied) => occupied,
            Err(refusal) => {
                self.refusals.note(refusal, &address);
                return;
            }
        };
        // Answers are small, and waited for. Without it they only take longer.
        let _ = stream.set_nodelay(true);
        let (listener, to) = (self.clone(), to.clone());
        tokio::spawn(async move {
            match timeout(listener.limits.handshake, listener.shake(stream, address)).await {
                Ok(Ok((stream, peer, host))) => {
                    let anonymous = peer.host.is_none();
                    let end = anonymous.then(|| Box::pin(sleep(listener.limits.anonymous)));
                    let stream = PeerStream { stream, peer, end, _occupied: occupied, _host: host };
                    // The server may be gone.
                    let _ = to.send(Ok(stream)).await;
                }
                Ok(Err((refusal, who))) => listener.refusals.note(refusal, &who),
                Err(_) => listener.refusals.note(Refusal::HandshakeTimeout, &address),
            }
        });
    }

    fn occupy(&self, address: SocketAddr) -> Result<Occupied, Refusal> {
        let all = self.all.take(&(), self.limits.connections);
        let all = all.ok_or(Refusal::TooManyConnections)?;
        let of_address = self.addresses.take(&place_of(address.ip()), self.limits.of_address);
        Ok(Occupied { _all: all, _address: of_address.ok_or(Refusal::TooManyOfAddress)? })
    }

    async fn shake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, Peer, Option<Place<HostName>>), (Refusal, String)> {
        let failed =
            |error: io::Error| (Refusal::of_handshake(&error), format!("{address}: {error}"));
        let stream = self.acceptor.accept(stream).await.map_err(failed)?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let host = certificate.map(PeerHost::of).transpose().map_err(failed)?;
        let peer = Peer { address, host };
        let place = match &peer.host {
            None => None,
            Some(host) => {
                let place = self.hosts.take(&host.host, self.limits.of_host);
                Some(place.ok_or_else(|| (Refusal::TooManyOfHost, peer.to_string()))?)
            }
        };
        Ok((stream, peer, place))
    }
}

/// Whoever has an IPv6 address has its whole /64; IPv4 may come as IPv6.
fn place_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & u128::MAX << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_a_prefix_share_a_place() {
        let place = |address: &str| place_of(address.parse().unwrap()).to_string();
        assert_eq!(place("2001:db8:0:1:2:3:4:5"), place("2001:db8:0:1::9"));
        assert_ne!(place("2001:db8:0:1::9"), place("2001:db8:0:2::9"));
        assert_eq!(place("::ffff:192.0.2.7"), "192.0.2.7");
        assert_ne!(place("192.0.2.7"), place("192.0.2.8"));
    }
}
