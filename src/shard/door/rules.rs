//! Whom a listener lets in, and whom it believes.

use std::net::IpAddr;

use crate::shard::door::networks::Networks;

/// The rules of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Load balancers, which say for whom they connect. Whoever is none of them says for himself, and
    /// need not send a header.
    pub(crate) trusted: Networks,
    /// `None` is everybody.
    pub(crate) allow: Option<Networks>,
    /// Stronger than `allow`.
    pub(crate) deny: Networks,
}

impl Rules {
    /// Whether a connection from this address begins with a header of the PROXY protocol.
    pub(crate) fn expects_header(&self, address: IpAddr) -> bool {
        self.trusted.contains(address)
    }

    /// Whether somebody is trusted to send such a header.
    pub(crate) fn would_believe_others(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// Whether a miner with this address may be here.
    pub(crate) fn lets_in(&self, address: IpAddr) -> bool {
        let is_allowed = |networks: &Networks| networks.contains(address);
        self.allow.as_ref().is_none_or(is_allowed) && !self.denies(address)
    }

    /// Whether `deny` names this address.
    pub(crate) fn denies(&self, address: IpAddr) -> bool {
        self.deny.contains(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn deny_is_stronger_than_allow() {
        let mut rules = Rules::default();
        assert!(rules.lets_in(ip("10.0.0.1")));
        rules.deny = networks(&["10.0.0.0/24"]);
        assert!(!rules.lets_in(ip("10.0.0.1")));
        assert!(rules.lets_in(ip("10.0.1.1")));
        rules.allow = Some(networks(&["10.0.0.0/16", "fd00::/8"]));
        assert!(!rules.lets_in(ip("10.0.0.1")));
        assert!(rules.lets_in(ip("10.0.1.1")));
        assert!(rules.lets_in(ip("fd00::1")));
        assert!(!rules.lets_in(ip("10.1.0.1")));
    }

    #[test]
    fn a_header_is_expected_from_the_trusted_alone() {
        let mut rules = Rules::default();
        assert!(!rules.expects_header(ip("10.0.0.1")));
        rules.trusted = networks(&["10.0.0.0/24"]);
        assert!(rules.expects_header(ip("10.0.0.1")));
        assert!(!rules.expects_header(ip("10.0.1.1")));
    }
}
