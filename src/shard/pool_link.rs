//! Connects one pool link; then its socket is the ring's.
//!
//! A task of the executor resolves and connects, which takes a while and is rare. From then on the ring
//! reads the link with the miners (`ring/streams.rs`), and what is for the pool is written at the end of
//! each round, so that all shares of a round leave in one send.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use glommio::net::TcpStream;
use glommio_socket2::{SockRef, TcpKeepalive};

use crate::exchange::LinkEnd;
use crate::shard::state::{Dial, Shard};

/// A pool that acknowledges nothing for this long is gone.
const DEAD_POOL_TIMEOUT: Duration = Duration::from_secs(30);

/// Addresses of one host that are tried; each still has more than a second of the default time.
const ADDRESSES_MAX: usize = 8;

/// Connects a link and gives it to the shard.
pub(crate) async fn run(shard: Rc<RefCell<Shard>>, dial: Dial) {
    let timeout = shard.borrow().connect_timeout(dial.proxy);
    let connected = connect(dial.host, dial.port, timeout).await;
    let mut shard = shard.borrow_mut();
    match connected {
        Ok(socket) => shard.link_connected(dial.proxy, dial.link, socket),
        Err(detail) => {
            shard.link_closed(dial.proxy, dial.link, LinkEnd::ConnectFailed, &detail);
        }
    }
}

/// Resolves a host off the shard's thread, and connects to the first of its addresses that answers.
///
/// They share the time: the exchange gives a dial up when the whole of it is over, so an address that is
/// dead must leave some to those behind it.
async fn connect(host: String, port: u16, timeout: Duration) -> Result<OwnedFd, String> {
    let name = host.clone();
    let addresses = match host.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => glommio::executor()
            .spawn_blocking(move || {
                (host.as_str(), port)
                    .to_socket_addrs()
                    .map(Iterator::collect::<Vec<_>>)
            })
            .await
            .map_err(|error| format!("{name} can't be resolved: {error}"))?,
    };
    let mut detail = format!("{name} has no address");
    let tried = addresses.len().min(ADDRESSES_MAX);
    let share = timeout / u32::try_from(tried.max(1)).unwrap_or(u32::MAX);
    for address in addresses.into_iter().take(tried) {
        let stream = match TcpStream::connect_timeout(address, share).await {
            Ok(stream) => stream,
            Err(error) => {
                detail = format!("{address}: {}", io::Error::from(error));
                continue;
            }
        };
        return take(&stream).map_err(|error| format!("{address}: {error}"));
    }
    Err(detail)
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
