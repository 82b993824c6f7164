//! What the shell knows of a miner's connection.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::exchange::MinerToken;
use crate::proto::worker_name::MinerAddress;
use crate::ring::{ListenerId, Token};
use crate::shard::door::Entering;
use crate::shard::miner_tls::MinerTls;
use crate::wire::line::Tail;

/// One connection, from the accept to its end. There is one for each idle miner, so its size is looked at.
pub(crate) struct Connection {
    pub(crate) generation: u32,
    pub(crate) proxy: u16,
    pub(crate) listener: ListenerId,
    pub(crate) tail: Tail,
    /// `Some` until it has passed the door. Before that the exchange does not know it.
    pub(crate) entering: Option<Box<Entering>>,
    /// `None` where the miner speaks plainly. The exchange knows it once the handshake is done.
    pub(crate) tls: Option<Box<MinerTls>>,
    pub(crate) peer: Peer,
}

impl Connection {
    /// Whether it is this one, and not another that had its place.
    pub(crate) const fn is(&self, token: Token) -> bool {
        self.generation == token.generation
    }

    /// Whether the exchange knows it.
    pub(crate) fn is_miner(&self) -> bool {
        self.entering.is_none() && self.tls.as_ref().is_none_or(|tls| tls.is_open)
    }
}

/// The address of a miner, in fewer bytes than a [`SocketAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    port: u16,
    /// Of a link-local IPv6 address, the interface; else 0.
    scope: u32,
}

impl Peer {
    /// As worker names have it.
    pub(crate) const fn in_names(self) -> MinerAddress {
        MinerAddress(match self.ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        })
    }

    pub(crate) fn address(self) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, self.port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, self.port, 0, self.scope).into(),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            port: address.port(),
            scope: match address {
                SocketAddr::V4(_) => 0,
                SocketAddr::V6(address) => address.scope_id(),
            },
        }
    }
}

pub(crate) const fn miner_token(token: Token) -> MinerToken {
    MinerToken {
        index: token.index,
        generation: token.generation,
    }
}

/// For whom an address stands: of IPv6 its /64, since a machine chooses the rest itself.
pub(crate) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// For whom the address of a miner stands; of one that has left nobody.
pub(crate) fn household_of(connections: &[Option<Connection>], miner: MinerToken) -> IpAddr {
    let peer = peer_of(connections, miner);
    peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |it| household(it.ip()))
}

/// The address of a miner that is still connected.
pub(crate) fn peer_of(connections: &[Option<Connection>], miner: MinerToken) -> Option<SocketAddr> {
    let connection = connections.get(miner.index as usize)?.as_ref()?;
    (connection.generation == miner.generation).then(|| connection.peer.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_56_bytes() {
        assert_eq!(size_of::<Option<Connection>>(), 56);
    }

    #[test]
    fn a_household_is_an_address_or_a_network_of_ipv6() {
        let of = |text: &str| household(text.parse().unwrap()).to_string();
        assert_eq!(of("10.0.0.1"), "10.0.0.1");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn an_address_comes_out_as_it_went_in() {
        for text in ["10.0.0.1:3333", "[2001:db8::1]:1", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Peer::from(address).address(), address);
        }
    }
}
