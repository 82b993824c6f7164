//! The id of a request, kept exactly as the peer wrote it.
//!
//! Miners match replies by comparing ids their own way: as numbers, as strings, as text. So an id
//! is never converted: `7`, `7.0`, `"7"` and `null` go back byte for byte.

use std::fmt;

/// Longest id that is accepted, in bytes of JSON text, quotes included. An id is echoed, so a long
/// one would make each reply long; honest ids are counters of a few digits.
pub const REQUEST_ID_LEN_MAX: usize = 64;

/// Longest id without an allocation: what fits in 24 bytes beside a tag and a length.
const INLINE_LEN_MAX: usize = 22;

/// A JSON number, string or null of at most 64 bytes, as raw JSON text.
///
/// 24 bytes; ids longer than 22 bytes are boxed. Two ids are equal when they were written alike:
/// `1` is neither `1.0` nor `"1"`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    /// Bytes past `len` are zero, so that equal ids have equal representations.
    Inline {
        len: u8,
        bytes: [u8; INLINE_LEN_MAX],
    },
    /// Always longer than [`INLINE_LEN_MAX`].
    Boxed(Box<[u8]>),
}

impl RequestId {
    /// The id `null`: that of a notification, or of an answer to an unreadable request.
    pub const NULL: Self = {
        let mut bytes = [0; INLINE_LEN_MAX];
        let (null, _) = bytes.split_at_mut(4);
        null.copy_from_slice(b"null");
        Self(Repr::Inline { len: 4, bytes })
    };

    /// Takes the raw JSON text of an id, as [`Raw::bytes`](super::Raw::bytes) gives it.
    ///
    /// `None`: longer than [`REQUEST_ID_LEN_MAX`], or no number, string or null. Text that could
    /// break the line it is echoed in is refused too, but this is no second JSON parser: `1-2`
    /// passes.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Option<Self> {
        if raw.len() > REQUEST_ID_LEN_MAX || !is_id(raw) {
            return None;
        }
        let mut bytes = [0; INLINE_LEN_MAX];
        let Some(head) = bytes.get_mut(..raw.len()) else {
            return Some(Self(Repr::Boxed(raw.into())));
        };
        head.copy_from_slice(raw);
        let len = u8::try_from(raw.len()).ok()?;
        Some(Self(Repr::Inline { len, bytes }))
    }

    /// The id as JSON text, ready to be echoed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Repr::Boxed(bytes) => bytes,
        }
    }

    /// Whether this is `null`. A message with a method and this id is a notification.
    #[must_use]
    pub fn is_null(&self) -> bool {
        *self == Self::NULL
    }

    /// The value of an id written as plain decimal digits; `None` for `-1`, `1.0`, `"1"`, `null`
    /// and what does not fit.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        super::json::parse_u64(self.as_bytes())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", String::from_utf8_lossy(self.as_bytes()))
    }
}

impl From<u64> for RequestId {
    fn from(id: u64) -> Self {
        let mut bytes = [0; INLINE_LEN_MAX];
        let digits = super::encode::Decimal::new(id);
        let digits = digits.as_bytes();
        for (byte, digit) in bytes.iter_mut().zip(digits) {
            *byte = *digit;
        }
        let len = u8::try_from(digits.len()).unwrap_or(0);
        Self(Repr::Inline { len, bytes })
    }
}

fn is_id(raw: &[u8]) -> bool {
    match raw {
        b"null" => true,
        [b'"', text @ .., b'"'] => is_string_content(text),
        [b'-', b'0'..=b'9', rest @ ..] | [b'0'..=b'9', rest @ ..] => rest
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')),
        _ => false,
    }
}

/// Whether the quotes around `text` are the only ones, and no control byte lies between them.
fn is_string_content(text: &[u8]) -> bool {
    let mut escaped = false;
    for &byte in text {
        if byte < 0x20 || (byte == b'"' && !escaped) {
            return false;
        }
        escaped = byte == b'\\' && !escaped;
    }
    !escaped && std::str::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_echoed_byte_for_byte() {
        let longest = format!("\"{}\"", "x".repeat(REQUEST_ID_LEN_MAX - 2));
        let ids = [
            "0",
            "4",
            "1.0",
            "-1",
            "1e3",
            "null",
            "\"\"",
            "\"7\"",
            r#""a\"b\\""#,
            "\"\u{e9}\"",
            "1234567890123456789012",
            "12345678901234567890123",
            &longest,
        ];
        for id in ids {
            let parsed = RequestId::parse(id.as_bytes()).expect(id);
            assert_eq!(parsed.as_bytes(), id.as_bytes());
            assert_eq!(parsed, parsed.clone());
        }
    }

    #[test]
    fn an_id_that_cannot_be_echoed_is_refused() {
        let too_long = format!("\"{}\"", "x".repeat(REQUEST_ID_LEN_MAX - 1));
        let refused = [
            "", "[]", "[1]", "{}", "true", "false", "nul", "nulll", "\"", "\"a", "a\"", "-", "+1",
            ".5", "\"a\"b\"", "\"a\\\"", "\"a\nb\"", "1\n", "1,2", " 1", &too_long,
        ];
        for id in refused {
            assert_eq!(RequestId::parse(id.as_bytes()), None, "{id}");
        }
        assert_eq!(RequestId::parse(b"\"\xff\""), None);
    }

    #[test]
    fn only_a_plain_number_has_a_value() {
        let value = |id: &str| RequestId::parse(id.as_bytes()).expect(id).as_u64();
        assert_eq!(value("0"), Some(0));
        assert_eq!(value("18446744073709551615"), Some(u64::MAX));
        for id in ["18446744073709551616", "-1", "1.0", "1e3", "\"1\"", "null"] {
            assert_eq!(value(id), None, "{id}");
        }
    }

    #[test]
    fn our_own_ids_are_written_like_the_parsed_ones() {
        for id in [0, 7, 10, 999, u64::MAX] {
            let ours = RequestId::from(id);
            assert_eq!(
                Some(&ours),
                RequestId::parse(id.to_string().as_bytes()).as_ref()
            );
            assert_eq!(ours.as_u64(), Some(id));
        }
    }

    #[test]
    fn null_is_null_and_the_string_null_is_not() {
        assert!(RequestId::parse(b"null").expect("an id").is_null());
        assert!(!RequestId::parse(b"\"null\"").expect("an id").is_null());
        assert_eq!(RequestId::NULL.as_bytes(), b"null");
    }

    #[test]
    fn an_id_costs_24_bytes() {
        assert_eq!(size_of::<RequestId>(), 24);
        assert_eq!(size_of::<Option<RequestId>>(), 24);
    }
}
