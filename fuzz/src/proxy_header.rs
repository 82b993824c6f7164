//! The header of the PROXY protocol: the same verdict however it was cut, and what it tells is what stands
//! there.

use std::net::{IpAddr, SocketAddr};

use stratum_uring::shard::door::proxy_header::{Header, HeaderError, LEN_MAX, read};

/// The longest header of version 1, with its end of line.
const VERSION_1_LEN_MAX: usize = 107;

/// The beginning of a connection.
pub fn run(data: &[u8]) {
    let whole = read(data);
    let mut settled = None;
    for len in 0..=data.len().min(LEN_MAX + 1) {
        let now = read(&data[..len]);
        match settled {
            None if now != Ok(Header::Partial) => settled = Some(now),
            None => {}
            Some(before) => assert_eq!(now, before, "the verdict changed with byte {len}"),
        }
    }
    // What is longer than any header is no part of one.
    assert_eq!(settled.unwrap_or(Ok(Header::Partial)), whole);
    assert!(data.len() <= LEN_MAX || whole != Ok(Header::Partial));
    match whole {
        Ok(Header::Whole { len, source }) => {
            assert!(len <= data.len().min(LEN_MAX));
            let header = &data[..len];
            if header.starts_with(b"PROXY ") {
                assert!(header.ends_with(b"\r\n") && len <= VERSION_1_LEN_MAX);
                assert_eq!(source, version_1(header), "{}", header.escape_ascii());
            } else {
                assert_eq!(source, version_2(header), "{}", header.escape_ascii());
            }
        }
        Ok(Header::Absent) => {
            assert!(!data.starts_with(b"PROXY ") && !data.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        }
        Ok(Header::Partial) => {}
        Err(error) => {
            let begins = data.starts_with(b"PROXY ") || data.starts_with(b"\r\n\r\n\0\r\nQUIT\n");
            assert!(begins, "{error}: it is no header at all");
            assert!(error != HeaderError::TooLong || data.len() >= 16);
        }
    }
}

/// Who connected, by the words of the line.
fn version_1(header: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(&header[..header.len() - 2]).ok();
    let words: Vec<&str> = text
        .map(|text| text.split(' ').collect())
        .unwrap_or_default();
    match words.as_slice() {
        ["PROXY", "TCP4" | "TCP6", source, _, port, _] => {
            let address: IpAddr = source.parse().expect("an address");
            let port = port.parse().expect("a port");
            Some(SocketAddr::new(address.to_canonical(), port))
        }
        _ => {
            assert!(
                header.starts_with(b"PROXY UNKNOWN"),
                "{}",
                header.escape_ascii()
            );
            None
        }
    }
}

/// Who connected, by the places of the bytes.
fn version_2(header: &[u8]) -> Option<SocketAddr> {
    let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
    assert_eq!(header.len(), 16 + rest);
    assert_eq!(header[12] >> 4, 2, "the version");
    let is_proxied = header[12] & 15 == 1;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    match header[13] {
        0x11 if is_proxied => {
            let address: [u8; 4] = header[16..20].try_into().expect("four bytes");
            Some(SocketAddr::new(address.into(), port(24)))
        }
        0x21 if is_proxied => {
            let address: [u8; 16] = header[16..32].try_into().expect("sixteen bytes");
            let address = IpAddr::from(address).to_canonical();
            Some(SocketAddr::new(address, port(48)))
        }
        _ => None,
    }
}
