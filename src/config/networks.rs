//! Networks, as a listener's lists have them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::raw::{Node, shown};

const WANTED: &str = "write one as 10.0.0.0/8, \"fd00::/8\" or an address";

/// The load balancers that a listener believes.
pub(super) fn proxy_protocol(node: Option<Node<'_>>) -> Vec<IpNet> {
    let Some(node) = node else {
        return Vec::new();
    };
    let mut section = node.section();
    let trusted = section.required(
        "trusted",
        "write the load balancers' addresses, e.g. trusted: [10.0.0.2]",
    );
    let trusted = trusted.map(|node| networks(&node));
    section.finish(&[]);
    trusted.unwrap_or_default()
}

/// A list of networks, with at least one.
pub(super) fn networks(node: &Node<'_>) -> Vec<IpNet> {
    let items = node.items();
    if items.as_ref().is_some_and(Vec::is_empty) {
        node.mistake("this list is empty; write networks, or leave the key out");
    }
    let items = items.unwrap_or_default();
    items.iter().filter_map(network).collect()
}

fn network(node: &Node<'_>) -> Option<IpNet> {
    let text = node.text(WANTED)?;
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    let Some(network) = network else {
        node.mistake(format!("{} is no network; {WANTED}", shown(text)));
        return None;
    };
    let is_mapped = |address: IpAddr| address.to_canonical() != address;
    if is_mapped(network.addr()) {
        node.mistake(format!(
            "{} is IPv4 within IPv6; write it as IPv4, e.g. 10.0.0.0/8",
            shown(text)
        ));
        return None;
    }
    if network.trunc() != network {
        // Which of the two was meant, nobody knows.
        node.mistake(format!(
            "{} has bits behind its prefix; write {}, or {}",
            shown(text),
            network.trunc(),
            network.addr()
        ));
        return None;
    }
    Some(network)
}
