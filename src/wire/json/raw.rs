//! One JSON value as it stands in a line, and the ways to look into it.

use std::{borrow::Cow, fmt};

use memchr::{memchr, memchr2};

use super::{DEPTH_MAX, scan::skip_whitespace};

/// The kind of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number of any form.
    Number,
    /// A string, with escapes or without.
    String,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

/// The raw text of one valid JSON value, as it stands in the line, no spaces around it.
///
/// It comes only from a line that was read, so its getters need not doubt the syntax; they are
/// `None` where the value is of another kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> Raw<'a> {
    /// The text: UTF-8 without control bytes inside strings. Never empty.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// What the value is, from its first byte.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.0.first() {
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    /// Whether the value is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The value of `true` or `false`.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// The value of a number written as plain decimal digits: `None` for `-1`, `1.0` and `1e3`.
    #[must_use]
    pub fn as_u64(self) -> Option<u64> {
        parse_u64(self.0)
    }

    /// The value of any number, as the nearest double. Finite.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        if self.kind() != Kind::Number {
            return None;
        }
        let value: f64 = std::str::from_utf8(self.0).ok()?.parse().ok()?;
        value.is_finite().then_some(value)
    }

    /// What stands between the quotes of a string, if nothing there is escaped. The hot path: no
    /// copy, and what hex, job ids and most worker names need.
    #[must_use]
    pub fn as_str(self) -> Option<&'a [u8]> {
        let content = self.string_content()?;
        memchr(b'\\', content).is_none().then_some(content)
    }

    /// The text of a string, its escapes decoded. Allocates only where there are escapes.
    #[must_use]
    pub fn as_text(self) -> Option<Cow<'a, str>> {
        let content = std::str::from_utf8(self.string_content()?).ok()?;
        if content.contains('\\') {
            unescape(content).map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(content))
        }
    }

    /// The elements of an array, in order. Empty for what is no array.
    #[must_use]
    pub fn elements(self) -> Elements<'a> {
        Elements(match self.0 {
            [b'[', inside @ .., b']'] => inside,
            _ => &[],
        })
    }

    /// The keys and values of an object, in order; keys with their quotes, and as often as they
    /// were written. Empty for what is no object.
    #[must_use]
    pub fn members(self) -> Members<'a> {
        Members(match self.0 {
            [b'{', inside @ ..] => inside,
            _ => &[],
        })
    }

    fn string_content(self) -> Option<&'a [u8]> {
        match self.0 {
            [b'"', content @ .., b'"'] => Some(content),
            _ => None,
        }
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

/// The elements of an array, from [`Raw::elements`].
#[derive(Clone)]
pub struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        take_value(&mut self.0, b',')
    }
}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// The keys and values of an object, from [`Raw::members`].
#[derive(Clone)]
pub struct Members<'a>(&'a [u8]);

impl<'a> Iterator for Members<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    fn next(&mut self) -> Option<(Raw<'a>, Raw<'a>)> {
        let key = take_value(&mut self.0, b',')?;
        let value = take_value(&mut self.0, b':')?;
        Some((key, value))
    }
}

impl fmt::Debug for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}

/// The value of plain decimal digits; `None` when they pass 64 bits.
pub(in crate::wire) fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Takes the next value off the inside of an array or object, after spaces and one `separator`.
fn take_value<'a>(inside: &mut &'a [u8], separator: u8) -> Option<Raw<'a>> {
    let mut start = skip_whitespace(inside, 0);
    if inside.get(start) == Some(&separator) {
        start = skip_whitespace(inside, start + 1);
    }
    let end = walk_value(inside, start);
    let value = inside.get(start..end).filter(|value| !value.is_empty())?;
    *inside = inside.get(end..).unwrap_or_default();
    Some(Raw(value))
}

/// Where the value ends that starts at `start`, in text that is known to be valid. On other text
/// the answer has no meaning, but lies within it.
fn walk_value(text: &[u8], start: usize) -> usize {
    match text.get(start) {
        Some(b'"') => walk_string(text, start),
        Some(b'[' | b'{') => walk_nested(text, start),
        _ => {
            let scalar = text.get(start..).unwrap_or_default();
            let len = scalar.iter().position(|byte| {
                matches!(
                    byte,
                    b',' | b':' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'
                )
            });
            start.saturating_add(len.unwrap_or(scalar.len()))
        }
    }
}

fn walk_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(rest) = text.get(at..) {
        let Some(len) = memchr2(b'"', b'\\', rest) else {
            break;
        };
        at += len + 1;
        if rest.get(len) == Some(&b'"') {
            return at;
        }
        // The byte after a backslash is part of the escape.
        at += 1;
    }
    text.len()
}

fn walk_nested(text: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = walk_string(text, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Decodes the escapes of a string's content; `None` for an escape that JSON does not know.
pub(super) fn unescape(content: &str) -> Option<String> {
    let mut text = String::with_capacity(content.len());
    let mut rest = content;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut chars = escape.chars();
        text.push(match chars.next()? {
            plain @ ('"' | '\\' | '/') => plain,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (character, after) = unescape_unicode(chars.as_str())?;
                chars = after.chars();
                character
            }
            _ => return None,
        });
        rest = chars.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// Decodes what follows `\u`: four digits, or two times four of a surrogate pair.
fn unescape_unicode(digits: &str) -> Option<(char, &str)> {
    let (high, rest) = hex_unit(digits)?;
    if !(0xd800..0xdc00).contains(&high) {
        return Some((char::from_u32(high)?, rest));
    }
    let (low, rest) = hex_unit(rest.strip_prefix("\\u")?)?;
    let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    Some((
        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low)?,
        rest,
    ))
}

fn hex_unit(digits: &str) -> Option<(u32, &str)> {
    let (digits, rest) = digits.split_at_checked(4)?;
    let unit = crate::wire::hex::decode_to_array(digits.as_bytes()).ok()?;
    Some((u32::from(u16::from_be_bytes(unit)), rest))
}

/// Walks a value with all that [`Raw`] offers; what is found must again be a value of its own.
/// The inner half of [`readers_agree`](super::readers_agree).
pub(super) fn check_walk(raw: Raw<'_>, depth: usize) {
    assert!(depth <= DEPTH_MAX, "{raw:?}");
    assert_eq!(walk_value(raw.0, 0), raw.0.len(), "{raw:?}");
    match raw.kind() {
        Kind::Null => assert!(raw.is_null()),
        Kind::Bool => assert!(raw.as_bool().is_some(), "{raw:?}"),
        Kind::Number => assert!(raw.as_f64().is_some(), "{raw:?}"),
        Kind::String => {
            let text = raw.as_text().map(Cow::into_owned);
            assert!(text.is_some(), "{raw:?}");
            if let Some(plain) = raw.as_str() {
                assert_eq!(text.as_ref().map(String::as_bytes), Some(plain));
            }
        }
        Kind::Array => raw.elements().for_each(|raw| check_walk(raw, depth + 1)),
        Kind::Object => {
            for (key, value) in raw.members() {
                assert_eq!(key.kind(), Kind::String, "{raw:?}");
                check_walk(key, depth);
                check_walk(value, depth + 1);
            }
        }
    }
}
