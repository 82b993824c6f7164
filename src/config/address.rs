//! Where the proxy listens and where its pools are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::raw::{Node, shown};

/// Reads the address of a listener: an IP address with a port.
pub(super) fn parse_listen(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.text(LISTEN_WANTED)?;
    let address = text.parse().ok();
    if address.is_none() {
        let cure = if text.starts_with("unix:") {
            "is not available in this version"
        } else if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 1 {
            "is no address; write IPv6 in brackets and quotes: \"[::]:3333\""
        } else if text.parse::<IpAddr>().is_ok() {
            "has no port; write IP:port, e.g. 0.0.0.0:3333"
        } else {
            "is no address; write IP:port, e.g. 0.0.0.0:3333"
        };
        node.mistake(format!("{} {cure}", shown(text)));
    }
    address
}

const LISTEN_WANTED: &str = "write IP:port, e.g. 0.0.0.0:3333";

/// Whether a connection could belong to either of two listeners. `[::]` takes IPv4 too. Port 0 is a
/// port of its own each time.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| {
        wide == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || (wide == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && narrow.is_ipv4())
            || wide == narrow
    };
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && one.port() != 0 && (covers(a, b) || covers(b, a))
}

/// Reads host and port of `stratum+tcp://host:port`, and whether it says `tls` in the place of `tcp`.
pub(super) fn parse_pool(node: &Node<'_>, text: &str) -> Option<(String, u16, bool)> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let wanted = if text.starts_with("practice") {
            "write \"practice:\" for the practice pool"
        } else {
            POOL_WANTED
        };
        node.mistake(format!("{} is no URL; {wanted}", shown_url(text)));
        return None;
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "stratum+tcp" => false,
        "stratum+tls" | "stratum+ssl" => true,
        "stratum+tcps" | "stratums" | "ssl" | "tls" | "https" => {
            node.mistake("for a pool with TLS write stratum+tls://host:port");
            return None;
        }
        _ => {
            node.mistake(format!("{} is no pool; {POOL_WANTED}", shown_url(text)));
            return None;
        }
    };
    if rest.contains('@') {
        node.mistake("a URL holds no worker and no password; write them as worker: and password:");
        return None;
    }
    // Some firmware wants a slash at the end, so people are used to it.
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        node.mistake(format!("nothing may follow the port; {POOL_WANTED}"));
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port),
        _ => {
            node.mistake(format!("{} has no port; {POOL_WANTED}", shown_url(text)));
            return None;
        }
    };
    let host = parse_url_host(host);
    // `u16` would also take "+3333".
    let port = Some(port)
        .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|port| port.parse().ok())
        .filter(|port| *port != 0);
    if host.is_none() {
        node.mistake(format!("{} names no host; {POOL_WANTED}", shown_url(text)));
    }
    if port.is_none() {
        let wanted = "write a port from 1 to 65535";
        node.mistake(format!("{} has no such port; {wanted}", shown_url(text)));
    }
    Some((host?, port?, tls))
}

const POOL_WANTED: &str = "write stratum+tcp://host:port, or stratum+tls://host:port for a pool with TLS, \
    e.g. stratum+tcp://pool.example:3333";

/// A host as it stands in a URL, where IPv6 is in brackets.
fn parse_url_host(text: &str) -> Option<String> {
    match text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|ip| ip.to_string()),
        None if text.contains(':') => None,
        None => parse_host(text),
    }
}

/// A host name in lower case, or an IP address in its usual notation.
pub(super) fn parse_host(text: &str) -> Option<String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_string());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    // No top-level domain is a number: "300.1.1.1" and "10.0.0" are addresses gone wrong.
    let last_is_name = labels
        .clone()
        .next_back()
        .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()));
    (text.len() <= 253 && last_is_name && labels.all(is_label)).then(|| text.to_ascii_lowercase())
}

/// A URL as a message shows it: without what may be a worker, a password or a key.
fn shown_url(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    shown(&format!("{scheme}{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_overlap_where_one_takes_the_connections_of_the_other() {
        let pairs = [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("[::1]:1", "[::]:1", true),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1", true),
            ("10.0.0.1:1", "10.0.0.1:1", true),
            ("10.0.0.1:1", "10.0.0.2:1", false),
            ("0.0.0.0:1", "[::1]:1", false),
            ("0.0.0.0:1", "0.0.0.0:2", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ];
        for (one, other, expected) in pairs {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in [
            "pool.example",
            "a",
            "1pool.example.",
            "x-1_y.z9",
            "10.0.0.1",
            "::1",
        ] {
            assert_eq!(parse_host(good).as_deref(), Some(good));
        }
        assert_eq!(parse_host("Pool.Example").as_deref(), Some("pool.example"));
        for bad in [
            "",
            ".",
            "a..b",
            "300.1.1.1",
            "10.0.0",
            "pool example",
            "pööl.example",
            "a:1",
        ] {
            assert_eq!(parse_host(bad), None, "{bad}");
        }
        assert_eq!(parse_host(&"a".repeat(64)), None);
        assert_eq!(parse_host(&"a.".repeat(150)), None);
    }
}
