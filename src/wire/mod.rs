//! Bytes: lines, JSON, hex, request ids. The lowest layer; it knows no coin and no rule.
//!
//! Received bytes become lines ([`cut`]), a line becomes a [`Message`] that borrows it
//! ([`Reader::read`]), and answers are appended to a buffer that the caller owns ([`encode`],
//! [`hex`]). Nothing here knows a socket or a clock, nothing a peer sends can panic, and once the
//! buffers have grown to the traffic the heap is left alone, but for three things that say so: a
//! request id longer than 22 bytes, a text with escapes that is decoded, and a tail that a link
//! leaves unfinished while the [`TailPool`] is empty.
//!
//! ```
//! use stratum_uring::wire::{Reader, RequestId, Tail, TailPool, cut, encode};
//!
//! let mut reader = Reader::new();
//! let mut pool = TailPool::new(64);
//! let mut tail = Tail::default();
//! let received = *b"{\"id\":4,\"method\":\"mining.submit\",\"params\":[\"a.rig1\"]}\n{\"id\"";
//! let mut out = Vec::new();
//!
//! let mut lines = cut(&mut tail, &mut pool, &received, 8 * 1024);
//! while let Some(line) = lines.next() {
//!     let message = reader.read(line.unwrap()).unwrap();
//!     assert_eq!(message.method.unwrap().as_str(), Some(&b"mining.submit"[..]));
//!     let id = message.id.and_then(|id| RequestId::parse(id.bytes())).unwrap();
//!     encode::reply_true(&mut out, id.as_bytes());
//! }
//! drop(lines);
//! assert_eq!(out, b"{\"id\":4,\"result\":true,\"error\":null}\n");
//! assert_eq!(tail.len(), 5);
//! ```
#![warn(missing_docs, clippy::indexing_slicing)]

pub mod encode;
pub mod hex;
pub mod json;
pub mod line;
pub mod request_id;

pub use self::{
    hex::HexError,
    json::{DEPTH_MAX, Elements, JsonError, Kind, Members, Message, Raw, Reader},
    line::{LineTooLong, Lines, Tail, TailPool, cut},
    request_id::{REQUEST_ID_LEN_MAX, RequestId},
};
