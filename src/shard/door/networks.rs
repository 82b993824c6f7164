//! Sets of networks: whom a listener trusts, lets in, and keeps out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of addresses, made of networks. A look-up takes a binary search, however many they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    /// Each sorted and without overlaps.
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Networks {
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(ip) => {
                let behind = self.v4.partition_point(|net| net.network() <= ip);
                let net = behind.checked_sub(1).map(|at| &self.v4[at]);
                net.is_some_and(|net: &Ipv4Net| net.contains::<&Ipv4Addr>(&ip))
            }
            IpAddr::V6(ip) => {
                let behind = self.v6.partition_point(|net| net.network() <= ip);
                let net = behind.checked_sub(1).map(|at| &self.v6[at]);
                net.is_some_and(|net: &Ipv6Net| net.contains::<&Ipv6Addr>(&ip))
            }
        }
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        // Networks that are next to each other become one; the result is sorted.
        Self {
            v4: Ipv4Net::aggregate(&v4),
            v6: Ipv6Net::aggregate(&v6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_is_in_one_of_the_networks_or_in_none() {
        let set = networks(&[
            "10.0.0.0/8",
            "192.0.2.0/25",
            "192.0.2.128/25",
            "10.1.0.0/16",
            "198.51.100.7/32",
            "2001:db8::/32",
            "fd00::1/128",
        ]);
        for (text, expected) in [
            ("10.0.0.0", true),
            ("10.1.2.3", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.200", true),
            ("192.0.3.0", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("fd00::1", true),
            ("fd00::2", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:11.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(set.contains(text.parse().unwrap()), expected, "{text}");
        }
        assert!(!networks(&[]).contains("10.0.0.1".parse().unwrap()));
        assert!(networks(&["0.0.0.0/0"]).contains("255.255.255.255".parse().unwrap()));
        assert!(!networks(&["0.0.0.0/0"]).contains("::1".parse().unwrap()));
    }

    #[test]
    fn it_agrees_with_a_search_through_all() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let nets: Vec<IpNet> = (0..random.usize(0..40))
                .map(|_| {
                    let ip = Ipv4Addr::from(random.u32(..) & 0x0f0f_00ff);
                    Ipv4Net::new(ip, random.u8(4..=32)).unwrap().trunc().into()
                })
                .collect();
            let set: Networks = nets.iter().copied().collect();
            for _ in 0..200 {
                let ip = IpAddr::from(Ipv4Addr::from(random.u32(..) & 0x0f0f_00ff));
                let expected = nets.iter().any(|net| net.contains(&ip));
                assert_eq!(set.contains(ip), expected, "{ip} in {nets:?}");
            }
        }
    }
}
