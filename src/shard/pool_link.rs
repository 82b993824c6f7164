//! Connects one pool link; then its socket is the ring's.
//!
//! A task of the executor resolves, connects and, where the pool has TLS, shakes hands, which takes a
//! while and is rare. From then on the ring
//! reads the link with the miners (`ring/streams.rs`), and what is for the pool is written at the end of
//! each round, so that all shares of a round leave in one send.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use glommio::net::TcpStream;
use glommio_socket2::{SockRef, TcpKeepalive};

use crate::exchange::{LinkEnd, LinkKey};
use crate::shard::names::Names;
use crate::shard::pool_stream::PoolTls;
use crate::shard::state::Shard;
use crate::tls::Expiry;
use crate::tls::client::TlsClient;

/// A pool that acknowledges nothing for this long is gone.
const DEAD_POOL_TIMEOUT: Duration = Duration::from_secs(30);

/// Addresses of one host that are tried; each still has more than two seconds of the default time.
const ADDRESSES_MAX: usize = 4;

/// What is read of a handshake at a time; most chains of certificates fit in.
const HANDSHAKE_READ_LEN: usize = 8 * 1024;

/// How one pool is reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolAccess {
    /// `None` where it speaks plainly.
    pub(crate) secure: Option<Secure>,
    /// Whether it wants to hear in a header of the PROXY protocol who we are, ahead of TLS.
    pub(crate) header: bool,
}

/// TLS to one pool.
#[derive(Clone, Debug)]
pub(crate) struct Secure {
    pub(crate) client: TlsClient,
    /// Whether it believes anybody.
    pub(crate) insecure: bool,
    /// Until when the certificate is good that we show, where we have one.
    pub(crate) expiry: Option<Expiry>,
}

/// A pool link to be connected by a task of its own.
pub(crate) struct Dial {
    pub(crate) proxy: usize,
    pub(crate) link: LinkKey,
    /// By its place in the operator's list.
    pub(crate) pool: usize,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// For all addresses of the host together, and for the handshake of TLS with it.
    pub(crate) timeout: Duration,
    pub(crate) access: PoolAccess,
}

/// Whose link it is that was dialled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialled {
    pub(crate) proxy: usize,
    pub(crate) link: LinkKey,
    pub(crate) pool: usize,
}

/// Why a link could not be made: what kind of end that is, and in words.
type Failure = (LinkEnd, String);

/// Connects a link and gives it to the shard, if that has not ended meanwhile.
pub(crate) async fn run(shard: Weak<RefCell<Shard>>, names: Rc<Names>, dial: Dial) {
    let dialled = Dialled {
        proxy: dial.proxy,
        link: dial.link,
        pool: dial.pool,
    };
    let connected = connect(&names, dial).await;
    let Some(shard) = shard.upgrade() else {
        return;
    };
    let mut shard = shard.borrow_mut();
    match connected {
        Ok((socket, tls)) => shard.link_connected(dialled, socket, tls),
        Err((end, detail)) => shard.link_failed(dialled, end, &detail),
    }
}

/// Resolves a host off the shard's thread, and connects to the first of its addresses that answers.
///
/// They share the time: the exchange gives a dial up when the whole of it is over, so an address that is
/// dead must leave some to those behind it.
async fn connect(names: &Rc<Names>, dial: Dial) -> Result<(OwnedFd, Option<PoolTls>), Failure> {
    let Dial { host, port, .. } = &dial;
    let addresses = names.resolve(host).await.map_err(|error| {
        let detail = format!("{host} can't be resolved: {error}");
        (LinkEnd::ConnectFailed, detail)
    })?;
    let mut failure = (LinkEnd::ConnectFailed, format!("{host} has no address"));
    let tried = addresses.len().min(ADDRESSES_MAX);
    let share = dial.timeout / u32::try_from(tried.max(1)).unwrap_or(u32::MAX);
    for mut address in addresses.into_iter().take(tried) {
        address.set_port(*port);
        let late = async {
            glommio::timer::sleep(share).await;
            let detail = match &dial.access.secure {
                Some(_) => format!("TLS: no end of the handshake in {share:?}"),
                None => format!("no connection in {share:?}"),
            };
            Err((LinkEnd::ConnectFailed, detail))
        };
        match future::or(try_address(address, share, &dial), late).await {
            Ok(connected) => return Ok(connected),
            Err((end, detail)) => failure = (end, format!("{address}: {detail}")),
        }
    }
    Err(failure)
}

/// Connects to one address, and shakes hands where the pool has TLS.
async fn try_address(
    address: SocketAddr,
    time: Duration,
    dial: &Dial,
) -> Result<(OwnedFd, Option<PoolTls>), Failure> {
    let failed = |error: io::Error| (LinkEnd::ConnectFailed, error.to_string());
    let connected = TcpStream::connect_timeout(address, time).await;
    let mut stream = connected.map_err(|error| failed(error.into()))?;
    if dial.access.header {
        send_header(&mut stream).await.map_err(failed)?;
    }
    let mut tls = None;
    if let Some(secure) = &dial.access.secure {
        let secured = shake_hands(&mut stream, secure, &dial.host).await;
        tls = Some(secured.map_err(|(end, detail)| (end, format!("TLS: {detail}")))?);
    }
    Ok((take(&stream).map_err(failed)?, tls))
}

/// Tells the pool who we are: that is all that the PROXY protocol allows on a link of many miners.
async fn send_header(stream: &mut TcpStream) -> io::Result<()> {
    let header = header(stream.local_addr()?, stream.peer_addr()?);
    stream.write_all(header.as_bytes()).await
}

/// A header of version 1 (haproxy's `proxy-protocol.txt`, section 2.1), which is what pools read. At most
/// 107 bytes.
fn header(ours: SocketAddr, pools: SocketAddr) -> String {
    let (from, to) = (ours.ip().to_canonical(), pools.ip().to_canonical());
    let family = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => "TCP4",
        (IpAddr::V6(_), IpAddr::V6(_)) => "TCP6",
        _ => return "PROXY UNKNOWN\r\n".to_owned(),
    };
    format!(
        "PROXY {family} {from} {to} {} {}\r\n",
        ours.port(),
        pools.port()
    )
}

/// Agrees with the pool on keys, and believes it or not. What the pool says right behind its handshake
/// is kept.
async fn shake_hands(
    stream: &mut TcpStream,
    secure: &Secure,
    host: &str,
) -> Result<PoolTls, Failure> {
    let mut out = Vec::new();
    let mut plain = Vec::new();
    let mut bytes = [0; HANDSHAKE_READ_LEN];
    let refused = |error| (LinkEnd::Tls, format!("{error}"));
    let broken = |error| (LinkEnd::ConnectFailed, format!("in the handshake: {error}"));
    let mut tls = secure.client.connect(host, &mut out).map_err(refused)?;
    while !tls.is_ready() {
        stream.write_all(&out).await.map_err(broken)?;
        out.clear();
        let len = stream.read(&mut bytes).await.map_err(broken)?;
        if len == 0 {
            let detail = "the pool closed in the handshake".to_owned();
            return Err((LinkEnd::ConnectFailed, detail));
        }
        if let Err(error) = tls.handle_bytes(&mut bytes[..len], &mut plain, &mut out) {
            // The alert says to the pool's operator why; it need not arrive.
            drop(stream.write_all(&out).await);
            return Err(refused(error));
        }
    }
    Ok(PoolTls::new(tls, plain, out, secure.insecure))
}

/// Sets its options, and takes the socket from the executor.
fn take(stream: &TcpStream) -> io::Result<OwnedFd> {
    let socket = SockRef::from(stream);
    // A receive waits in the ring only on a socket that may block.
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(DEAD_POOL_TIMEOUT * 2 / 3)
        .with_interval(DEAD_POOL_TIMEOUT / 9)
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(DEAD_POOL_TIMEOUT))?;
    Ok(std::net::TcpStream::from(socket.try_clone()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_both_ends() {
        for (ours, pools, expected) in [
            (
                "10.0.0.1:56324",
                "192.0.2.1:443",
                "PROXY TCP4 10.0.0.1 192.0.2.1 56324 443\r\n",
            ),
            (
                "[2001:db8::1]:1",
                "[::1]:65535",
                "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
            ),
            (
                "[::ffff:10.0.0.1]:1",
                "10.0.0.2:2",
                "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
            ),
            ("[::1]:1", "10.0.0.2:2", "PROXY UNKNOWN\r\n"),
        ] {
            let header = header(ours.parse().unwrap(), pools.parse().unwrap());
            assert_eq!(header, expected);
        }
    }
}
