//! The name under which a pool is sent a miner's shares, made after the operator's template.

use std::fmt;

/// The address that a miner connects from, as the shell found it: an IPv6 address in network order, or an
/// IPv4 address in the last four bytes behind `::ffff:`.
///
/// Prints as it stands in a worker's name: with dashes, since pools cut a name at its first dot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MinerAddress(pub [u8; 16]);

impl MinerAddress {
    /// What stands for whoever has this address: an IPv4 address itself, the /64 of an IPv6 address, since
    /// a machine chooses the rest itself.
    #[must_use]
    pub fn network(self) -> Self {
        if self.0.starts_with(&IPV4_MAPPED) {
            return self;
        }
        let network = u128::from_be_bytes(self.0) & (u128::MAX << 64);
        Self(network.to_be_bytes())
    }
}

/// What an IPv4 address has in front of its four bytes.
const IPV4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl fmt::Display for MinerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (front, last) = self.0.split_at(IPV4_MAPPED.len());
        if front == IPV4_MAPPED {
            let mut dash = "";
            for byte in last {
                write!(f, "{dash}{byte}")?;
                dash = "-";
            }
            return Ok(());
        }
        let mut dash = "";
        let (groups, _) = self.0.as_chunks::<2>();
        for group in groups {
            write!(f, "{dash}{:x}", u16::from_be_bytes(*group))?;
            dash = "-";
        }
        Ok(())
    }
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    PoolWorker,
    Worker,
    Rig,
    Address,
}

const FIELDS: [(&str, Part); 4] = [
    ("pool_worker", Part::PoolWorker),
    ("worker", Part::Worker),
    ("rig", Part::Rig),
    ("address", Part::Address),
];

/// A template for the name that a pool knows a miner by: text with `{pool_worker}`, `{worker}`, `{rig}` and
/// `{address}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerName {
    parts: Vec<Part>,
}

impl Default for WorkerName {
    /// `{pool_worker}`: all shares go out under the one name of the config.
    fn default() -> Self {
        Self {
            parts: vec![Part::PoolWorker],
        }
    }
}

impl WorkerName {
    /// Longest template, in bytes.
    pub const LEN_MAX: usize = 256;

    /// Passes on what the miner says: `{worker}`.
    #[must_use]
    pub fn pass_through() -> Self {
        Self {
            parts: vec![Part::Worker],
        }
    }

    /// Reads a template.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what may stand there.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > Self::LEN_MAX || text.contains(char::is_control) {
            return Err(format!(
                "write 1 to {} bytes without control characters",
                Self::LEN_MAX
            ));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((front, behind)) = rest.split_once('{') {
            push_text(&mut parts, front)?;
            let Some((name, behind)) = behind.split_once('}') else {
                return Err("a { without its }".to_owned());
            };
            let field = FIELDS.iter().find(|(known, _)| *known == name);
            let Some((_, part)) = field else {
                let known = FIELDS.map(|(known, _)| format!("{{{known}}}"));
                return Err(format!(
                    "{{{name}}} is unknown; there are {}",
                    known.join(", ")
                ));
            };
            parts.push(part.clone());
            rest = behind;
        }
        push_text(&mut parts, rest)?;
        Ok(Self { parts })
    }

    /// Whether it makes one name for all miners of a pool.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        let is_fixed = |part: &Part| matches!(part, Part::Text(_) | Part::PoolWorker);
        self.parts.iter().all(is_fixed)
    }

    /// Whether the miner's address is a part of it.
    #[must_use]
    pub fn has_address(&self) -> bool {
        self.parts.contains(&Part::Address)
    }

    /// The name of a pool's own worker where the template is fixed.
    #[must_use]
    pub fn fixed(&self, pool_worker: &str) -> Option<String> {
        self.is_fixed().then(|| {
            let mut name = String::new();
            self.write(&mut name, pool_worker, "", MinerAddress::default());
            name
        })
    }

    /// Appends the name.
    pub fn write(&self, out: &mut String, pool_worker: &str, worker: &str, address: MinerAddress) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::PoolWorker => out.push_str(pool_worker),
                Part::Worker => out.push_str(worker),
                Part::Rig => out.push_str(worker.rsplit('.').next().unwrap_or(worker)),
                // A string takes all that is written to it.
                Part::Address => drop(fmt::write(out, format_args!("{address}"))),
            }
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err("a } without its {".to_owned());
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_ipv4_address_or_a_64() {
        let ip = |text: &str| {
            let ip: std::net::IpAddr = text.parse().unwrap();
            MinerAddress(match ip {
                std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                std::net::IpAddr::V6(ip) => ip.octets(),
            })
        };
        let network = |text: &str| ip(text).network();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), ip("2001:db8:1:2::"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("10.0.0.1"), ip("10.0.0.1"));
    }

    fn name(template: &str, worker: &str) -> String {
        let mut address = MinerAddress::default();
        address.0[..12].copy_from_slice(&IPV4_MAPPED);
        address.0[12..].copy_from_slice(&[10, 0, 7, 255]);
        let mut out = String::new();
        let template = WorkerName::parse(template).unwrap();
        template.write(&mut out, "t1account.farm", worker, address);
        out
    }

    #[test]
    fn a_name_is_made_of_what_the_template_says() {
        assert_eq!(name("{pool_worker}", "a.b"), "t1account.farm");
        assert_eq!(name("{worker}", "a.b"), "a.b");
        assert_eq!(name("{pool_worker}.{worker}", "r1"), "t1account.farm.r1");
        assert_eq!(name("acct.{rig}-x", "a.b.c"), "acct.c-x");
        assert_eq!(name("acct.{rig}", "plain"), "acct.plain");
        assert_eq!(name("acct.{address}", "a"), "acct.10-0-7-255");
    }

    #[test]
    fn an_ipv6_address_has_dashes_too() {
        let mut address = MinerAddress::default();
        address.0[0] = 0x20;
        address.0[1] = 0x01;
        address.0[15] = 1;
        assert_eq!(address.to_string(), "2001-0-0-0-0-0-0-1");
    }

    #[test]
    fn a_template_without_a_miners_part_is_fixed() {
        let fixed = |text: &str| WorkerName::parse(text).unwrap().is_fixed();
        assert!(fixed("{pool_worker}") && fixed("a.{pool_worker}") && fixed("a"));
        assert!(!fixed("{worker}") && !fixed("a{rig}") && !fixed("{address}"));
        let template = WorkerName::parse("{pool_worker}-x").unwrap();
        assert_eq!(template.fixed("a.b").as_deref(), Some("a.b-x"));
        assert_eq!(WorkerName::pass_through().fixed("a.b"), None);
        assert_eq!(WorkerName::default().fixed("a.b").as_deref(), Some("a.b"));
    }

    #[test]
    fn what_is_no_template_says_why() {
        for (text, why) in [
            ("", "1 to 256"),
            ("a\n", "1 to 256"),
            ("{worker", "without its }"),
            ("worker}", "without its {"),
            (
                "{user}",
                "{user} is unknown; there are {pool_worker}, {worker}",
            ),
        ] {
            let error = WorkerName::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
