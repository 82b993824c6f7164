//! The reader of messages: the scanner, simd-json and serde_json understand a line alike.

use serde_json::{Map, Value};
use stratum_uring::wire::json::readers_agree;
use stratum_uring::wire::{DEPTH_MAX, JsonError, Kind, Message, Raw, Reader, RequestId, encode};

use super::written;

/// A line is what stands in front of a newline.
pub fn run(data: &[u8]) {
    let mut reader = Reader::new();
    for line in data.split(|&byte| byte == b'\n') {
        readers_agree(line);
        let theirs = serde_json::from_slice::<Value>(line);
        match (reader.read(line), theirs) {
            (Ok(message), Ok(Value::Object(object))) => same(&message, &object),
            // At the very edge of what a double holds they round up, to infinity.
            (Ok(_), Err(error)) if error.to_string().starts_with("number out of range") => {}
            (Ok(_), theirs) => panic!("only we read {}: {theirs:?}", line.escape_ascii()),
            (Err(JsonError::NotAnObject), Ok(value)) => assert!(!value.is_object()),
            (Err(JsonError::DuplicateKey), theirs) => assert!(theirs.is_ok()),
            (Err(JsonError::TooDeep), theirs) => {
                assert!(theirs.is_err() || theirs.is_ok_and(|value| depth(&value) > DEPTH_MAX));
            }
            (Err(JsonError::InvalidUtf8), theirs) => assert!(theirs.is_err()),
            (Err(JsonError::Invalid | JsonError::NotAnObject), theirs) => {
                // A number at the edge of what a double holds is read by one and not by the other.
                let is_edge = theirs.as_ref().is_ok_and(has_huge_number);
                let shown = line.escape_ascii();
                assert!(
                    theirs.is_err() || is_edge,
                    "only they read {shown}: {theirs:?}"
                );
            }
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn has_huge_number(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_huge_number),
        Value::Object(members) => members.values().any(has_huge_number),
        Value::Number(number) => number.as_f64().is_none_or(|number| number.abs() > 1e308),
        _ => false,
    }
}

fn same(message: &Message<'_>, object: &Map<String, Value>) {
    let fields = [
        ("id", message.id),
        ("method", message.method),
        ("params", message.params),
        ("result", message.result),
        ("error", message.error),
        ("reject-reason", message.reject_reason),
    ];
    for (name, raw) in fields {
        match (raw, object.get(name)) {
            (None, None) => {}
            (Some(raw), Some(value)) => same_value(raw, value),
            (ours, theirs) => panic!("{name}: {ours:?} {theirs:?}"),
        }
    }
    if let Some(id) = message.id.and_then(|id| RequestId::parse(id.bytes())) {
        // The reply to any id that is taken is a message with that id.
        let mut out = Vec::new();
        encode::reply_error(&mut out, id.as_bytes(), 20, "a \"text\"");
        written::answer(&out, &id);
    }
}

fn same_value(raw: Raw<'_>, value: &Value) {
    let again: Value = serde_json::from_slice(raw.bytes()).expect("a value of its own");
    assert_eq!(again, *value);
    match value {
        Value::Null => assert!(raw.is_null()),
        Value::Bool(flag) => assert_eq!(raw.as_bool(), Some(*flag)),
        Value::Number(number) => {
            assert_eq!(raw.kind(), Kind::Number);
            if let Some(whole) = raw.as_u64() {
                assert_eq!(number.as_u64(), Some(whole));
            }
        }
        Value::String(text) => assert_eq!(raw.as_text().as_deref(), Some(text.as_str())),
        Value::Array(values) => {
            assert_eq!(raw.elements().count(), values.len());
            for (raw, value) in raw.elements().zip(values) {
                same_value(raw, value);
            }
        }
        Value::Object(members) => {
            // Of a key that stands there twice they keep the last.
            assert!(raw.members().count() >= members.len());
            for (key, _) in raw.members() {
                let key = key.as_text().expect("a key is text");
                let last = raw
                    .members()
                    .filter(|(other, _)| other.as_text().as_deref() == Some(&*key));
                let (_, last) = last.last().expect("at least this one");
                same_value(last, &members[&*key]);
            }
        }
    }
}
