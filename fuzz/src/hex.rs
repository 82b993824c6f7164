//! Hex digits, request ids, job ids and targets: each against a plain way to read the same.

use stratum_uring::proto::extranonce::Extranonce1;
use stratum_uring::proto::job::JobId;
use stratum_uring::proto::target::Target;
use stratum_uring::proto::version_mask::VersionMask;
use stratum_uring::wire::{HexError, REQUEST_ID_LEN_MAX, RequestId, hex};

/// The bytes are taken for digits, for bytes to be encoded, and for an id.
pub fn run(data: &[u8]) {
    digits(data);
    encoded(data);
    numbers(data);
    id(data);
}

/// Two digits for each byte, by the standard library.
fn plainly(text: &[u8]) -> Result<Vec<u8>, HexError> {
    if !text.len().is_multiple_of(2) {
        return Err(HexError::WrongLength);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(HexError::NotHex);
    text.chunks(2)
        .map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

fn digits(text: &[u8]) {
    assert_eq!(hex::is_hex(text), text.iter().all(u8::is_ascii_hexdigit));
    let mut out = vec![0xa5; text.len() / 2];
    let decoded = hex::decode_into(text, &mut out).map(|()| out.clone());
    assert_eq!(decoded, plainly(text));
    assert!(decoded.is_ok() || out.iter().all(|&byte| byte == 0xa5));
    if let Ok(bytes) = decoded {
        let mut lower = Vec::new();
        hex::append_lower(&mut lower, text);
        assert_eq!(lower, text.to_ascii_lowercase());
        let extranonce1 = Extranonce1::parse(text);
        assert_eq!(extranonce1.is_some(), bytes.len() <= 32);
        assert!(extranonce1.is_none_or(|found| found.as_bytes() == bytes));
    }
}

fn encoded(bytes: &[u8]) {
    let mut out = Vec::new();
    hex::append_encoded(&mut out, bytes);
    let plain: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(out, plain.as_bytes());
    assert_eq!(plainly(&out).as_deref(), Ok(bytes));
}

fn numbers(text: &[u8]) {
    let plain = std::str::from_utf8(text).ok();
    let plain = plain.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let number = |longest: usize| {
        let text = plain.filter(|text| (1..=longest).contains(&text.len()))?;
        u32::from_str_radix(text, 16).ok()
    };
    assert_eq!(hex::parse_short_u32(text), number(8));
    assert_eq!(
        hex::parse_u32_be(text),
        number(8).filter(|_| text.len() == 8)
    );
    assert_eq!(JobId::parse(text).map(|id| id.0), number(8));
    if let Some(id) = JobId::parse(text) {
        assert_eq!(JobId::parse(id.to_string().as_bytes()), Some(id));
    }
    if let Some(target) = Target::parse(text) {
        let mut digits = Vec::new();
        target.append_hex(&mut digits);
        assert_eq!(Target::parse(&digits), Some(target));
        let short = |text: &[u8]| {
            let lower = text.to_ascii_lowercase();
            let zeros = lower.iter().take_while(|&&digit| digit == b'0').count();
            lower[zeros..].to_vec()
        };
        assert_eq!(short(&digits), short(text), "{}", text.escape_ascii());
        assert!(target.work() > 0 || *target.as_bytes() > [0; 32]);
    }
    if let Some(mask) = VersionMask::parse(text) {
        let mut digits = Vec::new();
        mask.append_hex(&mut digits);
        assert_eq!(VersionMask::parse(&digits), Some(mask));
    }
}

fn id(raw: &[u8]) {
    let parsed = RequestId::parse(raw);
    if let Some(id) = &parsed {
        assert_eq!(id.as_bytes(), raw, "an id goes back byte for byte");
        assert!(raw.len() <= REQUEST_ID_LEN_MAX);
        assert!(!raw.iter().any(|&byte| byte < 0x20), "it can't end a line");
    }
    // Whatever a JSON parser takes for a short number or text is an id.
    let is_plain = raw.first().is_some_and(|byte| !byte.is_ascii_whitespace())
        && raw.last().is_some_and(|byte| !byte.is_ascii_whitespace());
    if is_plain && raw.len() <= REQUEST_ID_LEN_MAX {
        let theirs = serde_json::from_slice::<serde_json::Value>(raw);
        let is_id =
            theirs.is_ok_and(|value| value.is_number() || value.is_string() || value.is_null());
        assert!(!is_id || parsed.is_some(), "{}", raw.escape_ascii());
    }
}
