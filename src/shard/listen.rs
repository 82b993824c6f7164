//! The listening sockets: one for each shard and address, all on one port.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::shard::error::StartError;

/// Connections that wait in the kernel; `net.core.somaxconn` may make it fewer. A whole farm comes
/// back at once after a power cut.
const BACKLOG: i32 = 65_535;

/// Opens `shards` sockets for one address.
///
/// The kernel spreads miners over all sockets of one port, also over those of another process: so a
/// bind without `SO_REUSEPORT` first makes sure that nobody else has it.
///
/// # Errors
///
/// A [`StartError`] that names the address and the cure.
pub(crate) fn open(
    proxy: &str,
    address: SocketAddr,
    idle_timeout: Duration,
    shards: usize,
) -> Result<Vec<TcpListener>, StartError> {
    let whose = format!("proxy {proxy}");
    let failed = |source| failed(&whose, address, source);
    let address = probe(address).map_err(failed)?;
    let open_one = || -> io::Result<TcpListener> {
        let socket = bound(address, true)?;
        // Accepted sockets inherit what is set before the listen, and need no call of their own.
        socket.set_tcp_nodelay(true)?;
        set_dead_peer_timeout(&socket, idle_timeout)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    (0..shards)
        .map(|_| open_one())
        .collect::<io::Result<_>>()
        .map_err(failed)
}

/// Makes sure that nobody else has this address; gives it with the port that was chosen.
pub(crate) fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let probe = bound(address, false)?;
    probe.listen(1)?;
    Ok(probe.local_addr()?.as_socket().unwrap_or(address))
}

/// Says why an address can't be listened on, and what helps. `whose` is a proxy or a key.
pub(crate) fn failed(whose: &str, address: SocketAddr, source: io::Error) -> StartError {
    let whose = whose.to_owned();
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { whose, address },
        kind => StartError::Listen {
            whose,
            address,
            source,
            cure: match kind {
                io::ErrorKind::PermissionDenied => {
                    "; ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher one"
                }
                io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
                _ => "",
            },
        },
    }
}

/// The admin port, as errors call it.
pub(crate) const ADMIN: &str = "admin.listen";

fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The kernel takes no longer time between two questions.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// A machine that acknowledges nothing for this long is gone: the kernel asks it after two thirds of
/// the time, and three times more in the rest. A miner that finds no share still acknowledges.
fn set_dead_peer_timeout(socket: &Socket, timeout: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time((timeout * 2 / 3).min(KEEPALIVE_MAX))
        .with_interval((timeout / 9).min(KEEPALIVE_MAX))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(timeout))
}
