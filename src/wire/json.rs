//! Finds `id`, `method`, `params`, `result` and `error` in a line. Borrowed, never a tree.
//!
//! A line is read in one of two ways. Nearly all of them by a hand-written scanner that knows
//! strict JSON in ASCII without escapes: a 2,855-byte `mining.submit` in a quarter of the time that
//! a general parser takes. The scanner never refuses a line. Whatever it does not know (an escape,
//! a letter outside ASCII, an exponent, a number of more than 18 digits, a key twice, an error) it
//! leaves to simd-json, which then is the only judge. Both see the same message where both read
//! the line; [`readers_agree`] checks that.
//!
//! What comes out are pieces of the line itself ([`Raw`]), so that an id or a parameter can be
//! sent on as the peer wrote it.

mod raw;
mod scan;

use std::{fmt, mem};

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, Tape, fill_tape_padded};

pub(super) use self::raw::parse_u64;
pub use self::raw::{Elements, Kind, Members, Raw};
use self::{raw::check_walk, scan::skip_whitespace};

/// Deepest nesting of arrays and objects in a line, the line's own object included. The deepest
/// honest message is a Bitcoin subscribe reply: 4.
pub const DEPTH_MAX: usize = 8;

/// Buffers that grew past this many bytes of line are freed after the line. Room for all that
/// miners send, and for nearly all that pools do.
const SCRATCH_KEPT_BYTES_MAX: usize = 64 * 1024;

/// First size of the buffers for the lines that simd-json reads.
const SCRATCH_FIRST_BYTES: usize = 4 * 1024;

/// What one line says: the five keys of JSON-RPC and `reject-reason`, each as raw text.
///
/// `None` is a key that is absent; a key that is there and null is `Some` of a [`Raw`] that
/// [is null](Raw::is_null). Keys may come in any order. Others (`jsonrpc`) are
/// skipped, but they must be valid JSON too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// The request's id; absent or null for a notification.
    pub id: Option<Raw<'a>>,
    /// The method's name; absent in a reply.
    pub method: Option<Raw<'a>>,
    /// The parameters: mostly an array, an object in some dialects.
    pub params: Option<Raw<'a>>,
    /// What a reply answers; of any kind.
    pub result: Option<Raw<'a>>,
    /// The error of a reply: null, an array, an object, a string or a bool, as the pool likes.
    pub error: Option<Raw<'a>>,
    /// What some pools give as the reason, beside a null error.
    pub reject_reason: Option<Raw<'a>>,
}

impl<'a> Message<'a> {
    fn set(&mut self, key: &[u8], value: Raw<'a>) -> Result<(), JsonError> {
        let field = match key {
            b"id" => &mut self.id,
            b"method" => &mut self.method,
            b"params" => &mut self.params,
            b"result" => &mut self.result,
            b"error" => &mut self.error,
            b"reject-reason" => &mut self.reject_reason,
            _ => return Ok(()),
        };
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(JsonError::DuplicateKey),
        }
    }
}

/// Why a line is not a message. All of them are the peer's fault and mean that its link cannot be
/// understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON; or a number that no double can hold, or half a surrogate pair.
    /// An empty line, too: a caller that forgives empty lines skips them before.
    #[error("not valid JSON")]
    Invalid,
    /// Bytes that are not UTF-8.
    #[error("not valid UTF-8")]
    InvalidUtf8,
    /// Arrays and objects nested deeper than [`DEPTH_MAX`].
    #[error("nested too deep")]
    TooDeep,
    /// Valid JSON, but no object.
    #[error("not an object")]
    NotAnObject,
    /// One of the five keys twice. Two readers of such a line may each take another value, so it
    /// is refused.
    #[error("duplicate key")]
    DuplicateKey,
}

/// Reads lines; owns the buffers that simd-json works in. One is enough for a shard.
pub struct Reader {
    /// simd-json decodes escapes in place and wants padding, so it gets a copy of the line.
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Reader {
    /// A reader with small buffers; they grow with the lines that need them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scratch: Vec::with_capacity(SCRATCH_FIRST_BYTES),
            buffers: Buffers::with_max_depth(SCRATCH_FIRST_BYTES, DEPTH_MAX),
            tape: Tape(Vec::new()),
        }
    }

    /// Reads one line, without its newline. The message borrows the line, not the reader.
    ///
    /// # Errors
    ///
    /// A [`JsonError`] when the line is no message, or is one that we would not pass on.
    pub fn read<'a>(&mut self, line: &'a [u8]) -> Result<Message<'a>, JsonError> {
        match scan::message(line) {
            Some(message) => Ok(message),
            None => self.read_any(line),
        }
    }

    /// Reads a line of any valid JSON.
    #[cold]
    fn read_any<'a>(&mut self, line: &'a [u8]) -> Result<Message<'a>, JsonError> {
        self.scratch.clear();
        self.scratch.extend_from_slice(line);
        self.scratch.resize(line.len() + INPUT_PADDING, 0);

        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let filled = fill_tape_padded(&mut self.scratch, line.len(), &mut self.buffers, &mut tape);
        let message = match filled {
            Ok(()) => split(line, &tape.0),
            Err(error) => Err(match error.error() {
                ErrorType::DepthLimitExceeded => JsonError::TooDeep,
                ErrorType::InvalidUtf8 => JsonError::InvalidUtf8,
                _ => JsonError::Invalid,
            }),
        };
        self.tape = tape.reset();

        if line.len() > SCRATCH_KEPT_BYTES_MAX {
            *self = Self::new();
        }
        message
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("scratch", &self.scratch.capacity())
            .finish_non_exhaustive()
    }
}

/// Splits a line that simd-json found valid: the keys from its tape, which has their escapes
/// decoded, and the values from the line, where they are still as the peer wrote them.
fn split<'a>(line: &'a [u8], tape: &[Node<'_>]) -> Result<Message<'a>, JsonError> {
    let Some((Node::Object { .. }, mut nodes)) = tape.split_first() else {
        return Err(JsonError::NotAnObject);
    };
    let start = skip_whitespace(line, 0);
    let object = Raw(line.get(start..).unwrap_or_default());
    let mut message = Message::default();
    for (_, value) in object.members() {
        let Some(([Node::String(key), node], rest)) = nodes.split_first_chunk() else {
            debug_assert!(false, "the tape has fewer members than the line");
            return Err(JsonError::Invalid);
        };
        message.set(key.as_bytes(), value)?;
        nodes = match node {
            Node::Array { count, .. } | Node::Object { count, .. } => {
                rest.get(*count..).unwrap_or_default()
            }
            Node::String(_) | Node::Static(_) => rest,
        };
    }
    debug_assert!(nodes.is_empty(), "the tape has more members than the line");
    Ok(message)
}

/// Panics if the scanner and simd-json understand a line differently, or if a piece of a message
/// cannot be walked. For the tests and for the fuzzer; no use otherwise.
///
/// # Panics
///
/// When the two readers disagree: that is a bug in one of them.
#[doc(hidden)]
pub fn readers_agree(line: &[u8]) {
    let mut reader = Reader::new();
    let scanned = scan::message(line);
    let parsed = reader.read_any(line);
    if let Some(scanned) = scanned {
        assert_eq!(Ok(scanned), parsed, "{}", line.escape_ascii());
    }
    assert_eq!(reader.read(line), parsed, "{}", line.escape_ascii());
    if let Ok(message) = parsed {
        let Message {
            id,
            method,
            params,
            result,
            error,
            reject_reason,
        } = message;
        for raw in [id, method, params, result, error, reject_reason]
            .into_iter()
            .flatten()
        {
            check_walk(raw, 1);
        }
    }
}

#[cfg(test)]
mod tests;
