//! How TLS to a pool is checked: the keys below `tls` of a pool.

use base64ct::{Base64Unpadded, Encoding};
use serde_yaml::Value;

use super::address::parse_host;
use super::files::ConfigFile;
use super::raw::{Node, Section, shown};

/// TLS to one pool. Without any key a chain to the roots of this machine is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolTls {
    /// Certificates that end a chain, in place of the machine's, as PEM.
    pub ca: Option<ConfigFile>,
    /// SHA-256 over the SubjectPublicKeyInfo of certificates that are believed; may be empty.
    pub pins: Vec<[u8; 32]>,
    /// The name to ask for and to look for in the certificate, in place of the URL's host.
    pub server_name: Option<String>,
    /// Believe anybody. Never together with `ca` or pins.
    pub insecure: bool,
    /// Our own certificate and its key, both as PEM, for a pool that asks for them.
    pub identity: Option<(ConfigFile, ConfigFile)>,
}

impl PoolTls {
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut ConfigFile> {
        let identity = self.identity.as_mut();
        let identity = identity.map(|(certificate, key)| [certificate, key]);
        self.ca.iter_mut().chain(identity.into_iter().flatten())
    }
}

pub(super) fn pool_tls(mut section: Section<'_>) -> PoolTls {
    let ca = section.get("ca");
    let pins = section.get("pin_sha256");
    let server_name = section.get("server_name");
    let insecure = section.get("insecure").and_then(|node| node.flag());
    let certificate = section.get("certificate");
    let key = section.get("key");
    let believed = pins.as_ref().map(pins_of).unwrap_or_default();
    if insecure == Some(true) {
        let pins = pins.filter(|_| !believed.is_empty());
        for node in [&ca, &pins].into_iter().flatten() {
            node.mistake("insecure: true looks at no certificate; leave one of the two out");
        }
    }
    match (&certificate, &key) {
        (Some(node), None) => {
            node.mistake("a certificate needs its key; write key: FILE.pem beside it");
        }
        (None, Some(node)) => {
            node.mistake("a key needs its certificate; write certificate: FILE.pem beside it");
        }
        _ => {}
    }
    section.finish(&[]);
    let file = |node: Node<'_>| node.file("write the path of a PEM file");
    PoolTls {
        ca: ca.and_then(file),
        pins: believed,
        server_name: server_name.and_then(|node| name(&node)),
        insecure: insecure.unwrap_or_default(),
        identity: certificate.and_then(file).zip(key.and_then(file)),
    }
}

fn name(node: &Node<'_>) -> Option<String> {
    const WANTED: &str = "write a host name, e.g. pool.example";
    let text = node.text(WANTED)?;
    let name = parse_host(text).map(|name| name.trim_end_matches('.').to_owned());
    if name.is_none() {
        node.mistake(format!("{} is no name; {WANTED}", shown(text)));
    }
    name
}

/// One pin, or a list of them, which may be empty.
fn pins_of(node: &Node<'_>) -> Vec<[u8; 32]> {
    if !matches!(node.value(), Value::Sequence(_)) {
        return pin(node).into_iter().collect();
    }
    let items = node.items().unwrap_or_default();
    items.iter().filter_map(pin).collect()
}

fn pin(node: &Node<'_>) -> Option<[u8; 32]> {
    let text = node.text(PIN_WANTED)?;
    let pin = parse_pin(text);
    if pin.is_none() {
        node.mistake(format!("{} is no pin; {PIN_WANTED}", shown(text)));
    }
    pin
}

const PIN_WANTED: &str =
    "write the SHA-256 of the pool's public key in quotes, as 64 hex digits or in base64";

/// 64 hex digits, with or without colons as openssl writes them, or base64, with or without curl's
/// `sha256//` in front.
fn parse_pin(text: &str) -> Option<[u8; 32]> {
    let digits = text.replace(':', "");
    let mut pin = [0; 32];
    if digits.len() == 64 {
        return faster_hex::hex_decode(digits.as_bytes(), &mut pin)
            .is_ok()
            .then_some(pin);
    }
    // The padding may be left out.
    let digits = text.strip_prefix("sha256//").unwrap_or(text);
    let decoded = Base64Unpadded::decode(digits.trim_end_matches('='), &mut pin).ok()?;
    (decoded.len() == pin.len()).then_some(pin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_hex_or_base64() {
        let pin: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).expect("32 of them"));
        let hex: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
        let colons: Vec<String> = pin.iter().map(|byte| format!("{byte:02X}")).collect();
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        for text in [
            hex.clone(),
            hex.to_uppercase(),
            colons.join(":"),
            base64.to_owned(),
            format!("{base64}="),
            format!("sha256//{base64}="),
        ] {
            assert_eq!(parse_pin(&text), Some(pin), "{text}");
        }
        let others = ["A", "AA", "AAAA", &"/".repeat(43), "sha256/"].map(|tail| {
            let mut text = base64.to_owned();
            text.push_str(tail);
            text
        });
        for bad in [
            "",
            "00",
            "=",
            &hex[1..],
            &format!("{hex}0"),
            &base64[1..],
            &base64[..42],
        ]
        .into_iter()
        .chain(others.iter().map(String::as_str))
        {
            assert_eq!(parse_pin(bad), None, "{bad}");
        }
    }
}
