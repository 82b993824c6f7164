//! The PROXY protocol, versions 1 and 2: who speaks through a load balancer.
//!
//! The balancer says it in front of everything else, in clear, also in front of TLS (doc/proxy-protocol.txt
//! of `HAProxy`). Where the header ends is decided here, so that it is the same however it was cut, and so
//! is what the receiver has to insist on; the fields are read by the crate `proxy-header`.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};

/// What stands at the beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It may become a header.
    Partial,
    /// It is none.
    Absent,
    /// One that is whole.
    Whole {
        /// Its bytes.
        len: usize,
        /// Who connected to the balancer. `None`: the balancer speaks for itself (a health check), or does
        /// not know, or it was no internet address. Then the address of the connection counts.
        source: Option<SocketAddr>,
    },
}

/// A header that can't be right: the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Longer than any that this reader takes.
    #[error("longer than {LEN_MAX} bytes")]
    TooLong,
    /// What stands in it is not as it is written down.
    #[error("malformed")]
    Malformed,
    /// Its sum, where it has one, is another.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is not about a TCP connection.
    #[error("not of a stream")]
    NotStream,
}

/// No header is longer. It is what fits into the first segment of every connection; the longest of version 1
/// has 107 bytes.
pub const LEN_MAX: usize = 536;

const VERSION_1: &[u8] = b"PROXY ";
const VERSION_1_LEN_MAX: usize = 107;
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length of the rest.
const VERSION_2_FIXED: usize = 16;
/// Version 2, and the command LOCAL.
const VERSION_2_LOCAL: u8 = 0x20;

/// Reads the header at the beginning of these bytes.
///
/// # Errors
///
/// [`HeaderError`], as soon as it is clear that no good one comes.
pub fn read(bytes: &[u8]) -> Result<Header, HeaderError> {
    if bytes.starts_with(VERSION_1) {
        read_version_1(&bytes[..bytes.len().min(VERSION_1_LEN_MAX)])
    } else if bytes.starts_with(VERSION_2) {
        read_version_2(bytes)
    } else if VERSION_1.starts_with(bytes) || VERSION_2.starts_with(bytes) {
        Ok(Header::Partial)
    } else {
        Ok(Header::Absent)
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.9 56324 3333` and an end of line.
fn read_version_1(bytes: &[u8]) -> Result<Header, HeaderError> {
    let Some(newline) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() < VERSION_1_LEN_MAX {
            Ok(Header::Partial)
        } else {
            Err(HeaderError::TooLong)
        };
    };
    let line = bytes[..newline]
        .strip_suffix(b"\r")
        .ok_or(HeaderError::Malformed)?;
    let mut fields = line.split(|byte| *byte == b' ').skip(1);
    let len = newline + 1;
    if fields.next() == Some(b"UNKNOWN") {
        // Whatever follows is to be passed over.
        return Ok(Header::Whole { len, source: None });
    }
    // The crate would also take "+1", "007" and "UNKNOWNS".
    let is_port = |port: &&[u8]| {
        port.iter().all(u8::is_ascii_digit) && (*port == b"0" || !port.starts_with(b"0"))
    };
    let ports = fields.skip(2);
    if ports.clone().count() != 2 || ports.filter(is_port).count() != 2 {
        return Err(HeaderError::Malformed);
    }
    Ok(Header::Whole {
        len,
        source: source_of(&bytes[..len])?,
    })
}

fn read_version_2(bytes: &[u8]) -> Result<Header, HeaderError> {
    let Some(fixed) = bytes.get(..VERSION_2_FIXED) else {
        return Ok(Header::Partial);
    };
    let len = VERSION_2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > LEN_MAX {
        return Err(HeaderError::TooLong);
    }
    let Some(header) = bytes.get(..len) else {
        return Ok(Header::Partial);
    };
    // What the balancer says of itself is about no connection: the rest is to be passed over, whatever it is.
    if header[12] == VERSION_2_LOCAL {
        return Ok(Header::Whole { len, source: None });
    }
    let source = source_of(header)?;
    check_sum(header)?;
    Ok(Header::Whole { len, source })
}

/// What the crate reads of a whole header.
fn source_of(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let Ok((parsed, len)) = ProxyHeader::parse(header, config) else {
        return Err(HeaderError::Malformed);
    };
    if len != header.len() {
        return Err(HeaderError::Malformed);
    }
    match parsed.proxied_address() {
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => {
            let source = address.source;
            Ok(Some(SocketAddr::new(
                source.ip().to_canonical(),
                source.port(),
            )))
        }
        Some(_) => Err(HeaderError::NotStream),
    }
}

/// The type of the sum among the values behind the addresses.
const CRC32C: u8 = 0x03;

/// Compares the sum over the header, where it has one: computed with zeros in its own place.
fn check_sum(header: &[u8]) -> Result<(), HeaderError> {
    let addresses_len = match header[13] >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    // Of a family that is not specified the rest is to be passed over whole.
    if header[13] == 0 {
        return Ok(());
    }
    let mut at = VERSION_2_FIXED + addresses_len;
    while let Some(&[kind, high, low]) = header.get(at..at + 3) {
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        let Some(sum) = header.get(value..at) else {
            return Err(HeaderError::Malformed);
        };
        if kind == CRC32C {
            let sum = <[u8; 4]>::try_from(sum).map_err(|_| HeaderError::Malformed)?;
            let without = [&header[..value], &[0; 4], &header[at..]].concat();
            if crc32c(&without) != u32::from_be_bytes(sum) {
                return Err(HeaderError::Checksum);
            }
        }
    }
    if at == header.len() {
        Ok(())
    } else {
        Err(HeaderError::Malformed)
    }
}

/// The CRC of Castagnoli (RFC 4960, appendix B), bit by bit: it is for a few hundred bytes of one connection
/// among many.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proxy_header::{ProxiedAddress, Tlv};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A header of version 2: command, family and protocol, what follows.
    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [VERSION_2, &[command, family], &len, rest].concat()
    }

    const TCP4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 9, 0xdc, 0x04, 0x0d, 0x05];

    fn with_sum(addresses: &[u8], spoil: bool) -> Vec<u8> {
        let rest = [addresses, &[4, 0, 2, 9, 9], &[CRC32C, 0, 4, 0, 0, 0, 0]].concat();
        let mut header = version_2(0x21, 0x11, &rest);
        let sum = crc32c(&header) ^ u32::from(spoil);
        let at = header.len() - 4;
        header[at..].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// The same comes out however the header was cut, and whatever follows it.
    #[track_caller]
    fn is_read(header: &[u8], source: Option<&str>) {
        let whole = Ok(Header::Whole {
            len: header.len(),
            source: source.map(address),
        });
        for len in 0..header.len() {
            assert_eq!(read(&header[..len]), Ok(Header::Partial), "cut at {len}");
        }
        assert_eq!(read(header), whole);
        for more in [&b"{\"id\":1}\n"[..], b"\x16\x03\x01", &[0; 4096], header] {
            assert_eq!(read(&[header, more].concat()), whole);
        }
    }

    #[track_caller]
    fn is_refused(header: &[u8], expected: HeaderError) {
        assert_eq!(read(header), Err(expected));
        for len in 0..header.len() {
            let cut = read(&header[..len]);
            assert!(
                cut == Ok(Header::Partial) || cut == Err(expected),
                "cut at {len}: {cut:?}"
            );
        }
    }

    #[test]
    fn version_1_is_read() {
        is_read(
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            Some("192.168.0.1:56324"),
        );
        is_read(
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
            Some("[2001:db8::1]:1"),
        );
        is_read(
            b"PROXY TCP6 ::ffff:10.0.0.7 ::ffff:10.0.0.8 0 1\r\n",
            Some("10.0.0.7:0"),
        );
        is_read(b"PROXY UNKNOWN\r\n", None);
        is_read(b"PROXY UNKNOWN ff::1 nobody knows \x01 1 1\r\n", None);
        let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
        assert_eq!(longest.len(), VERSION_1_LEN_MAX);
        is_read(longest.as_bytes(), None);
    }

    #[test]
    fn a_bad_version_1_is_refused() {
        for line in [
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
            "PROXY TCP4 192.168.0.1  192.168.0.11 56324 443\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 7\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 +443\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
            "PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n",
            "PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP5 192.168.0.1 192.168.0.11 56324 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY unknown\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        ] {
            is_refused(line.as_bytes(), HeaderError::Malformed);
        }
        is_refused(
            &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
            HeaderError::TooLong,
        );
        let late = [b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat();
        is_refused(&late, HeaderError::TooLong);
        assert_eq!(read(b"PROXY\tTCP4"), Ok(Header::Absent));
    }

    #[test]
    fn version_2_is_read() {
        is_read(&version_2(0x21, 0x11, &TCP4), Some("192.0.2.1:56324"));
        let mut tcp6 = [0; 36];
        tcp6[..2].copy_from_slice(&[0x20, 0x01]);
        tcp6[15] = 1;
        tcp6[33] = 80;
        is_read(&version_2(0x21, 0x21, &tcp6), Some("[2001::1]:80"));
        // Health checks, and what is no internet address: the address of the connection counts.
        is_read(&version_2(0x20, 0x00, &[]), None);
        is_read(&version_2(0x20, 0x11, &TCP4), None);
        is_read(&version_2(0x21, 0x00, &[1, 2, 3]), None);
        is_read(&version_2(0x21, 0x31, &[b'/'; 216]), None);
        let full = [&TCP4[..], &[4, 0x01, 0xf9], &[0; 505]].concat();
        let longest = version_2(0x21, 0x11, &full);
        assert_eq!(longest.len(), LEN_MAX);
        is_read(&longest, Some("192.0.2.1:56324"));
    }

    #[test]
    fn a_bad_version_2_is_refused() {
        let full = [&TCP4[..], &[4, 0x01, 0xfa], &[0; 506]].concat();
        is_refused(&version_2(0x21, 0x11, &full), HeaderError::TooLong);
        is_refused(
            &version_2(0x21, 0x11, &[0xff; 65_535]),
            HeaderError::TooLong,
        );
        for (command, family, rest) in [
            (0x22, 0x11, &TCP4[..]),
            (0x11, 0x11, &TCP4),
            (0x21, 0x41, &TCP4),
            (0x21, 0x11, &TCP4[1..]),
            (0x21, 0x21, &TCP4),
            (0x21, 0x31, &TCP4),
        ] {
            is_refused(&version_2(command, family, rest), HeaderError::Malformed);
        }
        is_refused(&version_2(0x21, 0x12, &TCP4), HeaderError::NotStream);
        for tlvs in [&[4][..], &[4, 0, 1], &[4, 0xff, 0xff, 0]] {
            let rest = [&TCP4[..], tlvs].concat();
            is_refused(&version_2(0x21, 0x11, &rest), HeaderError::Malformed);
        }
    }

    /// A balancer that looks whether we are there says nothing of a connection.
    #[test]
    fn what_stands_behind_a_local_command_is_passed_over() {
        for (family, rest) in [
            (0x11, &[][..]),
            (0x21, &TCP4),
            (0x41, &TCP4),
            (0xff, &[]),
            (0x12, &TCP4),
            (0x11, &[&TCP4[..], &[4, 0xff, 0xff, 0]].concat()),
            (0x11, &[&TCP4[..], &[CRC32C, 0, 4, 0, 0, 0, 0]].concat()),
        ] {
            is_read(&version_2(0x20, family, rest), None);
        }
        is_refused(
            &version_2(0x20, 0x11, &[0xff; 65_535]),
            HeaderError::TooLong,
        );
    }

    #[test]
    fn a_sum_is_checked() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        is_read(&with_sum(&TCP4, false), Some("192.0.2.1:56324"));
        is_refused(&with_sum(&TCP4, true), HeaderError::Checksum);
        let short = [&TCP4[..], &[CRC32C, 0, 3, 0, 0, 0]].concat();
        is_refused(&version_2(0x21, 0x11, &short), HeaderError::Malformed);
    }

    #[test]
    fn what_the_crate_writes_is_read() {
        let (source, destination) = (address("10.1.2.3:4"), address("10.0.0.1:3333"));
        let proxied = ProxiedAddress::stream(source, destination);
        let mut header = Vec::new();
        let values = [
            Tlv::Authority("pool.example".into()),
            Tlv::UniqueId(b"7"[..].into()),
        ];
        ProxyHeader::with_tlvs(Some(proxied), values)
            .encode_v2(&mut header)
            .unwrap();
        is_read(&header, Some("10.1.2.3:4"));
    }

    #[test]
    fn what_is_no_header_is_seen_at_once() {
        for bytes in [&b"{"[..], b"\n", b"\x16\x03", b"PROXX", b"\r\n{", b"GET /"] {
            assert_eq!(read(bytes), Ok(Header::Absent));
        }
        assert_eq!(read(b""), Ok(Header::Partial));
    }
}
