//! What we write is whole lines of JSON, whatever made us write it.

use serde_json::Value;
use stratum_uring::wire::RequestId;

/// The lines of an output, each read by a reader that is not ours.
pub(crate) fn lines(out: &[u8]) -> Vec<Value> {
    let Some(whole) = out.strip_suffix(b"\n") else {
        assert!(out.is_empty(), "an unfinished line: {}", out.escape_ascii());
        return Vec::new();
    };
    whole.split(|&byte| byte == b'\n').map(line).collect()
}

/// One line without its newline. nheqminer drops a line whose last byte is not a brace.
pub(crate) fn line(line: &[u8]) -> Value {
    let shown = line.escape_ascii();
    assert!(line.starts_with(b"{") && line.ends_with(b"}"), "{shown}");
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

/// The one line of an output.
pub(crate) fn one_line(out: &[u8]) -> Value {
    let mut lines = lines(out);
    assert_eq!(lines.len(), 1, "{}", out.escape_ascii());
    lines.remove(0)
}

/// The one line of an output, which answers this request byte for byte.
pub(crate) fn answer(out: &[u8], id: &RequestId) {
    one_line(out);
    let mut start = b"{\"id\":".to_vec();
    start.extend_from_slice(id.as_bytes());
    start.push(b',');
    assert!(out.starts_with(&start), "{id:?}: {}", out.escape_ascii());
}
