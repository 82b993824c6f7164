//! Whether a peer's first flight is there whole.
//!
//! A handshake costs some hundred microseconds and kilobytes, so nobody begins one for a peer that has sent
//! half a `ClientHello`, or none at all: what has come so far waits as plain bytes, and this says when it is
//! worth more. Only lengths are read here; what is inside is rustls' to judge.

/// The longest first flight that is waited for. Honest ones have 200 to 1,800 bytes, those with
/// post-quantum keys included; a resumption adds a ticket of a few hundred.
pub const HELLO_LEN_MAX: usize = 16 * 1024;

/// The most records that a first flight may be cut into. Clients send one, or a few where they keep their
/// records short: RFC 8449 allows 64 bytes, of which so many hold 4 KiB. All of them are walked whenever
/// bytes come, so that nothing need be kept but the bytes.
const HELLO_RECORDS_MAX: usize = 64;

/// First byte of a TLS record that holds a handshake message (RFC 8446, 5.1).
pub const HANDSHAKE_RECORD: u8 = 0x16;

/// A record's header: type, version, length.
const RECORD_HEADER_LEN: usize = 5;

/// The longest plaintext record (RFC 8446, 5.1).
const PLAINTEXT_RECORD_LEN_MAX: usize = 16 * 1024;

/// A handshake message's header: type, length.
const MESSAGE_HEADER_LEN: usize = 4;

const CLIENT_HELLO: u8 = 1;

/// How much of a `ClientHello` there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// It may become one.
    Partial,
    /// All of it, up to the end of a record.
    Whole,
    /// Something else.
    NotTls,
    /// Longer than [`HELLO_LEN_MAX`], or cut into more pieces than any client does.
    TooLong,
}

/// Looks at all that a peer has sent so far.
#[must_use]
pub fn look(bytes: &[u8]) -> Hello {
    let mut rest = bytes;
    let mut message = [0; MESSAGE_HEADER_LEN];
    let mut seen = 0;
    for _ in 0..HELLO_RECORDS_MAX {
        if rest.first().is_some_and(|kind| *kind != HANDSHAKE_RECORD)
            || rest.get(1).is_some_and(|major| *major != 3)
        {
            return Hello::NotTls;
        }
        let Some((header, after)) = rest.split_first_chunk::<RECORD_HEADER_LEN>() else {
            return partial(bytes);
        };
        let [.., high, low] = *header;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len == 0 || len > PLAINTEXT_RECORD_LEN_MAX {
            return Hello::NotTls;
        }
        let body = after.get(..len).unwrap_or(after);
        for (place, byte) in message.iter_mut().skip(seen).zip(body) {
            *place = *byte;
        }
        seen += body.len();
        if seen > 0 && message[0] != CLIENT_HELLO {
            return Hello::NotTls;
        }
        let is_whole = seen >= MESSAGE_HEADER_LEN && {
            let [_, high, middle, low] = message;
            let len = u32::from_be_bytes([0, high, middle, low]) as usize;
            if len > HELLO_LEN_MAX {
                return Hello::TooLong;
            }
            seen >= MESSAGE_HEADER_LEN + len
        };
        // rustls reads whole records alone.
        let Some(next) = after.get(len..) else {
            return partial(bytes);
        };
        if is_whole {
            return Hello::Whole;
        }
        rest = next;
    }
    Hello::TooLong
}

const fn partial(bytes: &[u8]) -> Hello {
    if bytes.len() > HELLO_LEN_MAX {
        return Hello::TooLong;
    }
    Hello::Partial
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `ClientHello` with a body of so many bytes, in records of at most so many.
    fn hello(body: usize, record: usize) -> Vec<u8> {
        let mut message = vec![CLIENT_HELLO];
        let len = u32::try_from(body).expect("short").to_be_bytes();
        message.extend_from_slice(&len[1..]);
        message.resize(MESSAGE_HEADER_LEN + body, 7);
        let mut bytes = Vec::new();
        for part in message.chunks(record) {
            let len = u16::try_from(part.len()).expect("short").to_be_bytes();
            bytes.extend_from_slice(&[HANDSHAKE_RECORD, 3, 1]);
            bytes.extend_from_slice(&len);
            bytes.extend_from_slice(part);
        }
        bytes
    }

    #[test]
    fn a_hello_is_whole_with_its_last_byte_and_not_before() {
        for (body, record) in [
            (50, 1),
            (59, 1),
            (180, 3),
            (250, 4),
            (300, 5),
            (300, 100),
            (1800, 512),
            (4000, 64),
        ] {
            let bytes = hello(body, record);
            for len in 0..bytes.len() {
                assert_eq!(look(&bytes[..len]), Hello::Partial, "{len} of {record}");
            }
            assert_eq!(look(&bytes), Hello::Whole, "{record}");
        }
    }

    #[test]
    fn what_is_no_hello_is_found_with_the_first_wrong_byte() {
        assert_eq!(look(b""), Hello::Partial);
        assert_eq!(look(b"{"), Hello::NotTls);
        assert_eq!(look(b"\x16{"), Hello::NotTls);
        assert_eq!(look(b"\x16\x03\x01\x00\x00"), Hello::NotTls, "empty record");
        assert_eq!(look(b"\x16\x03\x01\xff\xff"), Hello::NotTls, "long record");
        assert_eq!(look(b"\x16\x03\x01\x00\x05\x02"), Hello::NotTls, "type 2");
        let mut bytes = hello(300, 100);
        bytes[105] = 0x17;
        assert_eq!(look(&bytes), Hello::NotTls, "the second record");
    }

    #[test]
    fn a_hello_has_a_bound_whatever_it_claims() {
        assert_eq!(
            look(&hello(HELLO_LEN_MAX + 1, 16_384)[..9]),
            Hello::TooLong,
            "claimed"
        );
        // Two records, so that its end is not there when so much is.
        let bytes = hello(HELLO_LEN_MAX, HELLO_LEN_MAX);
        assert_eq!(look(&bytes[..HELLO_LEN_MAX]), Hello::Partial);
        assert_eq!(look(&bytes[..=HELLO_LEN_MAX]), Hello::TooLong, "sent");
    }

    #[test]
    fn a_hello_in_crumbs_is_refused_before_they_are_many() {
        let bytes = hello(1000, 1);
        let refused = (0..bytes.len()).find(|len| look(&bytes[..*len]) != Hello::Partial);
        assert_eq!(
            refused,
            Some(HELLO_RECORDS_MAX * (RECORD_HEADER_LEN + 1)),
            "with the last byte that is walked"
        );
        assert_eq!(look(&bytes), Hello::TooLong);
    }
}
