//! The hand-written scanner for the hot messages.
//!
//! It accepts a subset of JSON and nothing else: ASCII, no escapes, no exponents, no integer of
//! more than 18 digits. `None` never means "wrong", only "not for me". A function that takes the
//! position of a value or string gives the position after it.

use memchr::memchr2;

use super::{DEPTH_MAX, Message, Raw};

/// Strings up to this many bytes are searched eight bytes at a time, which beats the call of
/// `memchr` and a second pass. Long enough for a hash in hex.
const SHORT_STRING_LEN: usize = 64;

/// Most digits of an integer part. 18 digits fit in 64 bits with either sign, so the number needs
/// no further look.
const INTEGER_DIGITS_MAX: usize = 18;

/// Reads a whole line, if it is simple enough.
pub(super) fn message(line: &[u8]) -> Option<Message<'_>> {
    let mut message = Message::default();
    let end = members(line, skip_whitespace(line, 0), 1, |key, value| {
        message.set(key, Raw(value)).ok()
    })?;
    (skip_whitespace(line, end) == line.len()).then_some(message)
}

/// The first position from `at` on that is no JSON whitespace.
pub(super) fn skip_whitespace(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Scans the object at `at` and shows each member: the key without its quotes, the raw value.
#[inline(always)]
fn members<'a>(
    text: &'a [u8],
    at: usize,
    depth: usize,
    mut member: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>,
) -> Option<usize> {
    let mut at = skip_whitespace(text, expect(text, at, b'{')?);
    if text.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    loop {
        let key_end = string(text, at)?;
        let key = text.get(at + 1..key_end - 1)?;
        let colon = skip_whitespace(text, key_end);
        let start = skip_whitespace(text, expect(text, colon, b':')?);
        let end = value(text, start, depth)?;
        member(key, text.get(start..end)?)?;
        at = skip_whitespace(text, end);
        match text.get(at)? {
            b',' => at = skip_whitespace(text, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

fn elements(text: &[u8], at: usize, depth: usize) -> Option<usize> {
    let mut at = skip_whitespace(text, expect(text, at, b'[')?);
    if text.get(at) == Some(&b']') {
        return Some(at + 1);
    }
    loop {
        at = skip_whitespace(text, value(text, at, depth)?);
        match text.get(at)? {
            b',' => at = skip_whitespace(text, at + 1),
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Scans any value inside `depth` arrays and objects. Recursion ends at [`DEPTH_MAX`].
fn value(text: &[u8], at: usize, depth: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string(text, at),
        b'[' if depth < DEPTH_MAX => elements(text, at, depth + 1),
        b'{' if depth < DEPTH_MAX => members(text, at, depth + 1, |_, _| Some(())),
        b't' => literal(text, at, b"true"),
        b'f' => literal(text, at, b"false"),
        b'n' => literal(text, at, b"null"),
        b'-' | b'0'..=b'9' => number(text, at),
        _ => None,
    }
}

fn expect(text: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*text.get(at)? == byte).then_some(at + 1)
}

fn literal(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(word).then_some(at + word.len())
}

fn number(text: &[u8], mut at: usize) -> Option<usize> {
    if text.get(at) == Some(&b'-') {
        at += 1;
    }
    let start = at;
    at = digits(text, at)?;
    // A zero that more digits follow is no JSON.
    if at - start > INTEGER_DIGITS_MAX || (at - start > 1 && text.get(start) == Some(&b'0')) {
        return None;
    }
    if text.get(at) == Some(&b'.') {
        at = digits(text, at + 1)?;
    }
    // What follows must be a comma, a bracket or a space, and that is the caller's to see.
    Some(at)
}

/// One digit or more.
fn digits(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while let Some(b'0'..=b'9') = text.get(at) {
        at += 1;
    }
    (at > start).then_some(at)
}

/// Scans a string from its quote on, if it is plain: printable ASCII without a backslash.
#[inline]
fn string(text: &[u8], at: usize) -> Option<usize> {
    let start = expect(text, at, b'"')?;
    let mut at = start;
    while at - start < SHORT_STRING_LEN {
        let Some(word) = text.get(at..)?.first_chunk() else {
            return string_near_end(text, at);
        };
        let stops = stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return expect(text, at + stops.trailing_zeros() as usize / 8, b'"');
        }
        at += 8;
    }
    let rest = text.get(at..)?;
    let len = memchr2(b'"', b'\\', rest)?;
    is_plain(rest.get(..len)?).then_some(())?;
    expect(text, at + len, b'"')
}

/// The last bytes of a line, where no eight of them are left.
fn string_near_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let len = rest
        .iter()
        .position(|&byte| !matches!(byte, b' '..=0x7f) || matches!(byte, b'"' | b'\\'))?;
    expect(text, at + len, b'"')
}

/// Marks the bytes that end a plain run: quote, backslash, control bytes, bytes outside ASCII.
///
/// A mark is the top bit of the byte. The lowest mark is right; above it there may be wrong ones,
/// since a subtraction borrows from the byte above, but only out of a byte that is marked itself.
fn stops(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
    const SPACES: u64 = u64::from_le_bytes([b' '; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);

    let quote = word ^ QUOTES;
    let backslash = word ^ BACKSLASHES;
    let control = word.wrapping_sub(SPACES) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (word | control | quote | backslash) & TOPS
}

/// Whether all bytes are ASCII and none a control byte. Written without a branch, so that the
/// compiler makes vector code of it.
fn is_plain(text: &[u8]) -> bool {
    // The top bit of `byte - 0x20` is set for control bytes; beyond ASCII that of `byte` is.
    let marks = text
        .iter()
        .fold(0, |marks, byte| marks | byte | byte.wrapping_sub(b' '));
    marks & 0x80 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_ends_a_plain_string_or_does_not_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            let plain = matches!(byte, 0x20..=0x7f) && byte != b'"' && byte != b'\\';
            for len in [1, 2, 7, 8, 9, 15, 16, 63, 64, 65, 72, 100, 200] {
                for at in [0, len / 2, len - 1] {
                    let mut line = vec![b'a'; len + 2];
                    line[0] = b'"';
                    line[len + 1] = b'"';
                    line[at + 1] = byte;
                    for room in [0, 1, 20] {
                        line.resize(len + 2 + room, b'x');
                        let expected = match byte {
                            b'"' => Some(at + 2),
                            _ if plain => Some(len + 2),
                            _ => None,
                        };
                        assert_eq!(string(&line, 0), expected, "{byte} at {at} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_lowest_mark_is_right_for_any_two_bytes() {
        for low in 0..=u8::MAX {
            for high in 0..=u8::MAX {
                let stops = stops(u64::from_le_bytes([
                    b'a', low, high, b'a', b'a', b'a', b'a', b'a',
                ]));
                let is_stop = |byte| !matches!(byte, 0x20..=0x7f) || matches!(byte, b'"' | b'\\');
                let expected = match (is_stop(low), is_stop(high)) {
                    (true, _) => 1,
                    (false, true) => 2,
                    (false, false) => 8,
                };
                assert_eq!(stops.trailing_zeros() / 8, expected, "{low} {high}");
            }
        }
    }

    #[test]
    fn the_hot_messages_are_not_left_to_the_slow_reader() {
        let lines: [&[u8]; 6] = [
            br#"{"id":4,"method":"mining.submit","params":["a.rig1","j1","a8becc5b","7a00","fd40"]}"#,
            br#"{"id":null,"method":"mining.notify","params":["j1","04000000",true]}"#,
            br#"{"params": ["x", true], "id": null, "method": "mining.notify"}"#,
            br#"{"id":1,"result":[[["mining.notify","a"],["mining.set_difficulty","b"]],"d4f6",8],"error":null}"#,
            br#"{"reject-reason":"Above target 2","result":false,"error":null,"id":8}"#,
            br#"{"id":3,"method":"mining.set_difficulty","params":[0.5]}"#,
        ];
        for line in lines {
            assert!(message(line).is_some(), "{}", line.escape_ascii());
        }
    }
}
