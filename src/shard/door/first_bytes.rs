//! Who speaks, by the first bytes of a connection.
//!
//! A line of Stratum is a JSON object, so it begins with `{`, perhaps behind white space. Other text goes
//! to the exchange all the same, which answers it with an error: a person with `nc` is told what is wrong.
//! What can be recognized as another protocol is no miner, and no answer in JSON would help it.

use crate::metrics::DoorEnd;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// These bytes may become one or another.
    Unclear,
    Miner,
    /// A record of TLS with a handshake in it.
    Tls,
    /// Nobody whom we know how to serve.
    Stranger(DoorEnd),
}

/// Protocols that begin with text, or with what could be text at first.
const STRANGERS: [(&[u8], DoorEnd); 13] = [
    (b"GET ", DoorEnd::Http),
    (b"POST ", DoorEnd::Http),
    (b"HEAD ", DoorEnd::Http),
    (b"PUT ", DoorEnd::Http),
    (b"DELETE ", DoorEnd::Http),
    (b"OPTIONS ", DoorEnd::Http),
    (b"CONNECT ", DoorEnd::Http),
    (b"PATCH ", DoorEnd::Http),
    (b"TRACE ", DoorEnd::Http),
    // HTTP/2 with no request before it.
    (b"PRI * HTTP/2", DoorEnd::Http),
    (b"SSH-", DoorEnd::Ssh),
    // The PROXY protocol, versions 1 and 2 (doc/proxy-protocol.txt of HAProxy).
    (b"PROXY ", DoorEnd::ProxyHeader),
    (b"\r\n\r\n\0\r\nQUIT\n", DoorEnd::ProxyHeader),
];

/// As many bytes tell one from another.
pub(crate) const LEN_MAX: usize = 12;

/// A TLS record's type for handshakes (RFC 8446, section 5.1). No text begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Says who speaks. With [`LEN_MAX`] bytes or more that is clear.
pub(crate) fn speaker(bytes: &[u8]) -> Speaker {
    let Some(&first) = bytes.first() else {
        return Speaker::Unclear;
    };
    let mut is_unclear = false;
    for (beginning, end) in STRANGERS {
        if bytes.starts_with(beginning) {
            return Speaker::Stranger(end);
        }
        is_unclear |= beginning.starts_with(bytes);
    }
    match first {
        _ if is_unclear => Speaker::Unclear,
        TLS_HANDSHAKE => Speaker::Tls,
        b'\t' | b'\n' | b'\r' | b' '..=b'~' => Speaker::Miner,
        _ => Speaker::Stranger(DoorEnd::Binary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of a beginning, however it is cut.
    #[track_caller]
    fn is_told(bytes: &[u8], expected: Speaker) {
        let mut told = Speaker::Unclear;
        for len in 0..=bytes.len() {
            let now = speaker(&bytes[..len]);
            if told == Speaker::Unclear {
                told = now;
            } else {
                assert_eq!(now, told, "it changed with byte {len}");
            }
        }
        assert_eq!(told, expected, "{:?}", bytes.escape_ascii().to_string());
    }

    #[test]
    fn text_is_a_miners() {
        for text in [
            "{\"id\":1",
            " {",
            "\n",
            "\r\n{\"id\":1,\"method\"",
            "\r\n\r\n{\"id\":1,\"method\"",
            "[1]",
            "GETTING",
            "PROXYING",
            "hello",
            "PRI * HTTP/1",
        ] {
            is_told(text.as_bytes(), Speaker::Miner);
        }
    }

    #[test]
    fn other_protocols_are_told_apart() {
        is_told(b"GET / HTTP/1.1\r\n", Speaker::Stranger(DoorEnd::Http));
        is_told(b"POST /x", Speaker::Stranger(DoorEnd::Http));
        is_told(b"PRI * HTTP/2.0\r\n\r\n", Speaker::Stranger(DoorEnd::Http));
        is_told(b"SSH-2.0-x", Speaker::Stranger(DoorEnd::Ssh));
        is_told(b"PROXY TCP4 ", Speaker::Stranger(DoorEnd::ProxyHeader));
        is_told(
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11",
            Speaker::Stranger(DoorEnd::ProxyHeader),
        );
        is_told(b"\x16\x03\x01\x02\0\x01", Speaker::Tls);
        for byte in [0, 1, 8, 0x17, 0x7f, 0x80, 0xff] {
            is_told(&[byte, b'{'], Speaker::Stranger(DoorEnd::Binary));
        }
    }

    #[test]
    fn so_many_bytes_are_enough() {
        for (beginning, _) in STRANGERS {
            assert!(beginning.len() <= LEN_MAX);
            let mut other = beginning.to_vec();
            *other.last_mut().unwrap() = b'~';
            other.resize(LEN_MAX, b'~');
            assert_ne!(speaker(&other), Speaker::Unclear);
        }
    }
}
