//! The lines that a practice pool sends, in the shapes that real pools have.

use super::{
    equihash::HEADER_LEN,
    jobs::{Job, Work},
    settings::ErrorShape,
};
use crate::wire::{encode, hex};

/// Where the fields of a job stand in the header, in the order of `mining.notify`.
const NOTIFY_FIELDS: [std::ops::Range<usize>; 6] =
    [0..4, 4..36, 36..68, 68..100, Job::TIME, 104..HEADER_LEN];

/// What the knob `garbage` sends: all of it was seen of real pools, or is what a broken one may send.
const RUBBISH: [&[u8]; 8] = [
    b"Invalid JSON, disconnecting\n",
    b"{\"id\":null,\"result\":[],\"error\":true}\n",
    b"\n",
    b"{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"equihash SYM block 1\"]}\n",
    b"{\"id\":\"\",\"error\":\"-1:params not found\"}\n",
    b"{\"id\":4294967295,\"result\":true,\"error\":null}\n",
    b"[1,2,{\"id\"\n",
    b"\xff\xfe\x00\n",
];

/// Appends the rubbish of this turn.
pub(super) fn rubbish(out: &mut Vec<u8>, turn: u64) {
    let place = usize::try_from(turn % RUBBISH.len() as u64).unwrap_or(0);
    out.extend_from_slice(RUBBISH[place]);
}

/// Appends `mining.set_target`.
pub(super) fn set_target(out: &mut Vec<u8>, target: &[u8; 32]) {
    encode::notification(out, "mining.set_target", |out| append_hex(out, target));
}

/// Appends `mining.set_extranonce`, which has one parameter with Equihash, and the size of the rest with
/// Bitcoin.
pub(super) fn set_extranonce(out: &mut Vec<u8>, nonce_1: &[u8], size: Option<usize>) {
    encode::notification(out, "mining.set_extranonce", |out| {
        append_hex(out, nonce_1);
        if let Some(size) = size {
            out.push(b',');
            encode::append_u64(out, size as u64);
        }
    });
}

/// Appends `mining.notify`.
pub(super) fn notify(out: &mut Vec<u8>, job: &Job, clean: bool) {
    encode::notification(out, "mining.notify", |out| {
        encode::append_string(out, &job.id());
        match &job.work {
            Work::Equihash(header) => {
                for field in NOTIFY_FIELDS {
                    out.push(b',');
                    append_hex(out, &header[field]);
                }
            }
            Work::Bitcoin(work) => {
                out.push(b',');
                work.append_params(job.time, out);
            }
            // Monero's have params with names, and another line.
            Work::Monero(_) => {}
        }
        out.extend_from_slice(if clean { b",true" } else { b",false" });
    });
}

/// Appends the answer to a subscribe.
pub(super) fn subscribed(out: &mut Vec<u8>, id: &[u8], session: Option<&str>, nonce_1: &[u8]) {
    let mut result = vec![b'['];
    match session {
        Some(session) => encode::append_string(&mut result, session),
        None => result.extend_from_slice(b"null"),
    }
    result.push(b',');
    append_hex(&mut result, nonce_1);
    result.push(b']');
    encode::reply_result(out, id, &result);
}

/// Appends Bitcoin's answer to a subscribe, as public-pool and nomp have it.
pub(super) fn subscribed_with_size(
    out: &mut Vec<u8>,
    id: &[u8],
    session: Option<&str>,
    nonce_1: &[u8],
    size: usize,
) {
    let mut result = vec![b'['];
    match session {
        Some(session) => {
            result.extend_from_slice(b"[[\"mining.set_difficulty\",");
            encode::append_string(&mut result, session);
            result.extend_from_slice(b"],[\"mining.notify\",");
            encode::append_string(&mut result, session);
            result.extend_from_slice(b"]]");
        }
        None => result.extend_from_slice(b"null"),
    }
    result.push(b',');
    append_hex(&mut result, nonce_1);
    result.push(b',');
    encode::append_u64(&mut result, size as u64);
    result.push(b']');
    encode::reply_result(out, id, &result);
}

/// Appends an error in one of the shapes that pools have for it.
pub(super) fn refused(out: &mut Vec<u8>, id: &[u8], shape: ErrorShape, code: i32, text: &str) {
    if shape == ErrorShape::Array {
        return encode::reply_error(out, id, i64::from(code), text);
    }
    let mut quoted = Vec::new();
    encode::append_string(&mut quoted, text);
    let code = code.to_string();
    let mut append =
        |pieces: &[&[u8]]| pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    append(&[b"{\"id\":", id]);
    match shape {
        ErrorShape::Array | ErrorShape::ArrayOfTwo => append(&[
            b",\"result\":null,\"error\":[",
            code.as_bytes(),
            b",",
            &quoted,
            b"]}\n",
        ]),
        ErrorShape::Object => append(&[
            b",\"result\":false,\"error\":{\"code\":",
            code.as_bytes(),
            b",\"message\":",
            &quoted,
            b",\"data\":null}}\n",
        ]),
        ErrorShape::String => append(&[b",\"result\":false,\"error\":", &quoted, b"}\n"]),
        ErrorShape::Boolean => append(&[b",\"result\":false,\"error\":true}\n"]),
        ErrorShape::FalseOnly => append(&[b",\"result\":false,\"error\":null}\n"]),
        ErrorShape::RejectReason => append(&[
            b",\"reject-reason\":",
            &quoted,
            b",\"result\":false,\"error\":null}\n",
        ]),
    }
}

fn append_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    hex::append_encoded(out, bytes);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn errors_have_the_shapes_that_pools_give_them() {
        let shapes = [
            (
                ErrorShape::Array,
                r#""result":null,"error":[21,"a \"b\"",null]}"#,
            ),
            (
                ErrorShape::ArrayOfTwo,
                r#""result":null,"error":[21,"a \"b\""]}"#,
            ),
            (
                ErrorShape::Object,
                r#""result":false,"error":{"code":21,"message":"a \"b\"","data":null}}"#,
            ),
            (ErrorShape::String, r#""result":false,"error":"a \"b\""}"#),
            (ErrorShape::Boolean, r#""result":false,"error":true}"#),
            (ErrorShape::FalseOnly, r#""result":false,"error":null}"#),
            (
                ErrorShape::RejectReason,
                r#""reject-reason":"a \"b\"","result":false,"error":null}"#,
            ),
        ];
        for (shape, rest) in shapes {
            let line = written(|out| refused(out, b"\"x\"", shape, 21, "a \"b\""));
            assert_eq!(line, format!("{{\"id\":\"x\",{rest}\n"));
        }
    }

    #[test]
    fn a_job_is_announced_in_the_order_of_the_header() {
        let header = std::array::from_fn(|place| u8::try_from(place).unwrap());
        let job = Job {
            number: 1,
            work: Work::Equihash(header),
            time: 0,
            target: [0; 32],
            clean: true,
        };
        let line = written(|out| notify(out, &job, false));
        let start = r#"{"id":null,"method":"mining.notify","params":["cccd","00010203","04050607"#;
        assert!(line.starts_with(start), "{line}");
        assert!(
            line.ends_with("5f60616263\",\"64656667\",\"68696a6b\",false]}\n"),
            "{line}"
        );
    }
}
