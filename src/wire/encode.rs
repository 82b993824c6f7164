//! Appends JSON-RPC lines to an output buffer.
//!
//! Each line ends in one newline, never in a carriage return: some miners (nheqminer) drop a line
//! whose last byte is not `}`. Keys stand in the order that pools use, and there are no spaces.
//!
//! Arguments called `id`, `…_json` or `text` are trusted to be JSON already: they come from
//! [`RequestId`](super::RequestId), [`Raw`](super::Raw) or our own code. Free text goes through
//! [`append_string`].

/// Appends a JSON string, quotes included, with escapes where JSON asks for them.
pub fn append_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(plain_len) = rest.iter().position(|&byte| needs_escape(byte)) {
        let (plain, after) = rest.split_at(plain_len);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = after.split_first() else {
            break;
        };
        append_escaped(out, byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends quotes around `text` as it is: hex digits, or the inside of a JSON string as
/// [`Raw::as_str`](super::Raw::as_str) gives it.
pub fn append_quoted(out: &mut Vec<u8>, text: &[u8]) {
    debug_assert!(!text.iter().any(|&byte| needs_escape(byte)));
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Appends a number in decimal, without allocating.
pub fn append_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(Decimal::new(value).as_bytes());
}

/// Appends `{"id":4,"result":true,"error":null}`.
pub fn reply_true(out: &mut Vec<u8>, id: &[u8]) {
    reply_result(out, id, b"true");
}

/// Appends `{"id":4,"result":…,"error":null}` with a result that is JSON already.
pub fn reply_result(out: &mut Vec<u8>, id: &[u8], result_json: &[u8]) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(result_json);
    out.extend_from_slice(b",\"error\":null}\n");
}

/// Appends `{"id":4,"result":null,"error":[21,"Job not found",null]}`: the error is the array of
/// ZIP 301 and of Bitcoin's Stratum; the third element, a traceback, is always null.
pub fn reply_error(out: &mut Vec<u8>, id: &[u8], code: i64, message: &str) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":null,\"error\":[");
    if code < 0 {
        out.push(b'-');
    }
    append_u64(out, code.unsigned_abs());
    out.push(b',');
    append_string(out, message);
    out.extend_from_slice(b",null]}\n");
}

/// Appends `{"id":null,"method":"mining.set_target","params":[…]}`; `write_params` appends what
/// stands between the brackets, commas included.
///
/// The id is there and null: nheqminer takes a notification with any other id but 0 for a reply.
pub fn notification(out: &mut Vec<u8>, method: &str, write_params: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"id\":null");
    append_call(out, method, write_params);
}

/// Appends `{"id":7,"method":"mining.subscribe","params":[…]}`; `write_params` as for
/// [`notification`].
pub fn request(out: &mut Vec<u8>, id: u64, method: &str, write_params: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"id\":");
    append_u64(out, id);
    append_call(out, method, write_params);
}

fn append_call(out: &mut Vec<u8>, method: &str, write_params: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b",\"method\":");
    append_string(out, method);
    out.extend_from_slice(b",\"params\":[");
    write_params(out);
    out.extend_from_slice(b"]}\n");
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn append_escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            super::hex::append_encoded(out, &[byte]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The decimal digits of a number, on the stack.
pub(super) struct Decimal {
    /// The digits stand at the end, from `start` on. 20 are enough: 2^64 is 1.8e19.
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(super) fn new(mut value: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        for slot in digits.iter_mut().rev() {
            let [digit, ..] = (value % 10).to_le_bytes();
            *slot = b'0' + digit;
            start -= 1;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Message, Reader};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn replies_have_the_shape_of_zip_301() {
        assert_eq!(
            written(|out| reply_true(out, b"4")),
            "{\"id\":4,\"result\":true,\"error\":null}\n"
        );
        assert_eq!(
            written(|out| reply_result(out, b"\"a\"", b"[null,\"c2fd\"]")),
            "{\"id\":\"a\",\"result\":[null,\"c2fd\"],\"error\":null}\n"
        );
        assert_eq!(
            written(|out| reply_error(out, b"4", 21, "Job not found")),
            "{\"id\":4,\"result\":null,\"error\":[21,\"Job not found\",null]}\n"
        );
        assert_eq!(
            written(|out| reply_error(out, b"null", i64::MIN, "\"")),
            "{\"id\":null,\"result\":null,\"error\":[-9223372036854775808,\"\\\"\",null]}\n"
        );
    }

    #[test]
    fn calls_have_the_shape_of_zip_301() {
        assert_eq!(
            written(|out| notification(out, "mining.set_target", |out| append_string(out, "07ff"))),
            "{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"07ff\"]}\n"
        );
        assert_eq!(
            written(|out| request(out, 7, "mining.extranonce.subscribe", |_| {})),
            "{\"id\":7,\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n"
        );
        assert_eq!(
            written(|out| request(out, 8, "mining.subscribe", |out| {
                append_quoted(out, b"agent/1.0");
                out.extend_from_slice(b",null,");
                append_u64(out, 3333);
            })),
            "{\"id\":8,\"method\":\"mining.subscribe\",\"params\":[\"agent/1.0\",null,3333]}\n"
        );
    }

    #[test]
    fn what_is_escaped_reads_back_as_it_was() {
        let mut text: String = (0..0x80_u8).map(char::from).collect();
        text.push_str("é\u{2028}\u{1f600}\\u0041");
        let line = written(|out| request(out, 1, "m", |out| append_string(out, &text)));
        assert!(!line.trim_end_matches('\n').bytes().any(|byte| byte < 0x20));
        let mut reader = Reader::new();
        let Message { params, .. } = reader.read(line.as_bytes()).expect("JSON");
        let element = params.and_then(|params| params.elements().next());
        assert_eq!(
            element.and_then(|text| text.as_text()).as_deref(),
            Some(&text[..])
        );
    }

    #[test]
    fn numbers_are_written_like_the_standard_library_does() {
        let mut value = u64::MAX;
        while value > 0 {
            for value in [value, value - 1] {
                assert_eq!(written(|out| append_u64(out, value)), value.to_string());
            }
            value /= 7;
        }
    }
}
