//! Cuts the byte stream of a link into lines, without copying the lines that arrive whole.
//!
//! The shard hands each piece it received to [`cut`] and takes lines until there is none. A line
//! that lies whole in the piece is lent in place. Only what is left after the last newline, the
//! *tail*, is copied: into a block from the shard's [`TailPool`], which goes back when the rest of
//! the line has come and the line was taken. So a quiet link owns no buffer, 8 bytes are all it
//! costs, and the memory for lines follows the links that are in the middle of one.
//!
//! ```text
//!  tail (a block)        received
//!  {"id":7,"meth    +    od":…}\n {"id":8,…}\n {"id":9,…}\n {"id":1
//!  '------- 1st, in the block --' '-- lent --' '-- lent --' '- tail'
//! ```
//!
//! Invariant: no newline lies in a tail. So each byte is looked at once, and a peer that sends one
//! byte per packet stays cheap.

use std::fmt;

use memchr::memchr;

/// Blocks larger than this are freed instead of kept, so that one long line does not hold its
/// memory for ever. Five times the longest honest line of a miner, a Zcash `mining.submit`.
const BLOCK_KEPT_BYTES_MAX: usize = 16 * 1024;

/// First size of a new block. Small, because a peer that sends one byte and then nothing holds it:
/// 65,536 such peers hold 32 MiB.
const BLOCK_FIRST_BYTES: usize = 512;

/// Starts cutting one received piece; take the lines with [`Lines::next`].
///
/// `tail` is what the same link left unfinished before. `line_len_max` bounds a line, finished or
/// not: its bytes with a carriage return but without the newline.
///
/// Take lines until there is none. A [`Lines`] dropped earlier throws away the lines that were not
/// taken, and with them a [`LineTooLong`] they may have held; the unfinished end is kept as usual,
/// so the next piece still starts where a line does.
pub fn cut<'a>(
    tail: &'a mut Tail,
    pool: &'a mut TailPool,
    received: &'a [u8],
    line_len_max: usize,
) -> Lines<'a> {
    Lines {
        tail,
        pool,
        rest: received,
        line_len_max,
        taken: None,
    }
}

/// The lines of one received piece, from [`cut`].
///
/// Not an [`Iterator`]: a line borrows this, so it ends before the next one is taken.
pub struct Lines<'a> {
    tail: &'a mut Tail,
    pool: &'a mut TailPool,
    rest: &'a [u8],
    line_len_max: usize,
    /// The block whose line is lent at the moment; back to the pool with the next call.
    taken: Option<Box<Block>>,
}

impl Lines<'_> {
    /// The next line, without its newline and without one carriage return before it.
    ///
    /// A line may be empty. `None`: no whole line is left, the rest waits in the [`Tail`].
    ///
    /// # Errors
    ///
    /// [`LineTooLong`], once: the link cannot go on, since nobody knows where the next line
    /// starts. What was left of the piece and of the tail is dropped; close the link.
    #[expect(
        clippy::should_implement_trait,
        reason = "a line borrows the cutter, which `Iterator` cannot say"
    )]
    pub fn next(&mut self) -> Option<Result<&[u8], LineTooLong>> {
        self.give_back_taken();
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let room = self.line_len_max.saturating_sub(self.tail.len());
        let newline = memchr(b'\n', rest);
        if newline.unwrap_or(rest.len()) > room {
            self.tail.release(self.pool);
            return Some(Err(LineTooLong));
        }
        let Some(newline) = newline else {
            self.tail.append(rest, self.pool);
            return None;
        };
        let (line, after) = rest.split_at(newline);
        self.rest = after.split_first().map_or(&[], |(_, after)| after);
        let line = match self.tail.0.take() {
            None => line,
            Some(mut block) => {
                block.bytes.extend_from_slice(line);
                &self.taken.insert(block).bytes
            }
        };
        Some(Ok(match line {
            [line @ .., b'\r'] => line,
            line => line,
        }))
    }

    fn give_back_taken(&mut self) {
        if let Some(block) = self.taken.take() {
            self.pool.give_back(block);
        }
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("tail", &self.tail)
            .field("rest", &self.rest.len())
            .field("line_len_max", &self.line_len_max)
            .finish_non_exhaustive()
    }
}

/// A line passed the link's bound before its newline came; the link must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line too long")]
pub struct LineTooLong;

/// The unfinished last line of one link: 8 bytes, and a block only while there is one.
///
/// Dropping it frees its block; [`Tail::release`] gives the block to the next link instead.
#[derive(Default)]
pub struct Tail(Option<Box<Block>>);

impl Tail {
    /// How many bytes wait for their newline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |block| block.bytes.len())
    }

    /// Whether the link is between two lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the unfinished line and gives its block back, for a link that was closed.
    pub fn release(&mut self, pool: &mut TailPool) {
        if let Some(block) = self.0.take() {
            pool.give_back(block);
        }
    }

    fn append(&mut self, bytes: &[u8], pool: &mut TailPool) {
        debug_assert!(!bytes.is_empty() && memchr(b'\n', bytes).is_none());
        let block = self.0.get_or_insert_with(|| pool.take());
        block.bytes.extend_from_slice(bytes);
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tail").field(&self.len()).finish()
    }
}

/// The blocks that hold unfinished lines, shared by all links of a shard.
///
/// It never refuses a block: when none is free a new one is allocated. What is bounded is how many
/// free ones are kept. The bound on blocks in use is the number of links times their line bound.
pub struct TailPool {
    #[expect(
        clippy::vec_box,
        reason = "a tail must stay 8 bytes, and moving the box saves an allocation"
    )]
    free: Vec<Box<Block>>,
    free_max: usize,
}

impl TailPool {
    /// An empty pool that will keep at most `free_max` free blocks, of 16 KiB at most.
    #[must_use]
    pub fn new(free_max: usize) -> Self {
        Self {
            free: Vec::with_capacity(free_max),
            free_max,
        }
    }

    /// How many free blocks wait to be used again.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    fn take(&mut self) -> Box<Block> {
        self.free.pop().unwrap_or_else(|| {
            Box::new(Block {
                bytes: Vec::with_capacity(BLOCK_FIRST_BYTES),
            })
        })
    }

    fn give_back(&mut self, mut block: Box<Block>) {
        if self.free.len() < self.free_max && block.bytes.capacity() <= BLOCK_KEPT_BYTES_MAX {
            block.bytes.clear();
            self.free.push(block);
        }
    }
}

impl fmt::Debug for TailPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailPool")
            .field("free", &self.free.len())
            .field("free_max", &self.free_max)
            .finish()
    }
}

struct Block {
    bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN_MAX: usize = 32;

    /// Feeds `pieces` to one link and collects its lines; `Err` holds the lines before the error.
    fn lines_of<'p>(
        pieces: impl IntoIterator<Item = &'p [u8]>,
        pool: &mut TailPool,
    ) -> Result<Vec<Vec<u8>>, Vec<Vec<u8>>> {
        let mut tail = Tail::default();
        let mut taken = Vec::new();
        let mut outcome = Ok(());
        for piece in pieces {
            let mut lines = cut(&mut tail, pool, piece, LEN_MAX);
            while let Some(line) = lines.next() {
                match line {
                    Ok(line) => taken.push(line.to_vec()),
                    Err(LineTooLong) => outcome = Err(()),
                }
            }
            drop(lines);
            if outcome.is_err() {
                assert_eq!(tail.len(), 0);
                return Err(taken);
            }
        }
        tail.release(pool);
        Ok(taken)
    }

    fn random_cuts<'s>(stream: &'s [u8], random: &mut fastrand::Rng) -> Vec<&'s [u8]> {
        let mut pieces = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..=rest.len().min(40)));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }

    fn random_stream(random: &mut fastrand::Rng) -> Vec<u8> {
        let mut stream = Vec::new();
        for _ in 0..random.usize(0..12) {
            // Around the bound, so that some streams end in `LineTooLong`.
            for _ in 0..random.usize(0..=LEN_MAX + 1) {
                stream.push(*random.choice(b"ab\r{}\"").expect("not empty"));
            }
            if random.bool() {
                stream.push(b'\r');
            }
            stream.push(b'\n');
        }
        if random.bool() {
            stream.extend_from_slice(b"an unfinished end");
        }
        stream
    }

    /// The plain meaning of the cutter, for the tests to compare with.
    fn lines_by_split(stream: &[u8]) -> Result<Vec<Vec<u8>>, Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        let mut parts = stream.split(|&byte| byte == b'\n').peekable();
        while let Some(line) = parts.next() {
            if line.len() > LEN_MAX {
                return Err(lines);
            }
            if parts.peek().is_some() {
                lines.push(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
            }
        }
        Ok(lines)
    }

    #[test]
    fn the_same_lines_come_out_however_the_stream_is_cut() {
        let mut pool = TailPool::new(4);
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let stream = random_stream(&mut random);
            let expected = lines_by_split(&stream);
            assert_eq!(lines_of([&stream[..]], &mut pool), expected, "{seed}");
            assert_eq!(lines_of(stream.chunks(1), &mut pool), expected, "{seed}");
            let pieces = random_cuts(&stream, &mut random);
            assert_eq!(lines_of(pieces, &mut pool), expected, "{seed}");
        }
    }

    #[test]
    fn one_carriage_return_is_stripped_and_an_empty_line_is_a_line() {
        let mut pool = TailPool::new(4);
        let lines = lines_of([&b"a\r\r\n\r\n\nb\rc\n"[..]], &mut pool);
        let expected: [&[u8]; 4] = [b"a\r", b"", b"", b"b\rc"];
        assert_eq!(lines.expect("no line is too long"), expected);
    }

    #[test]
    fn a_line_may_have_exactly_its_bound() {
        let mut pool = TailPool::new(4);
        let mut stream = vec![b'x'; LEN_MAX];
        stream.push(b'\n');
        assert!(lines_of([&stream[..]], &mut pool).is_ok());
        assert!(lines_of(stream.chunks(1), &mut pool).is_ok());
        stream.insert(0, b'x');
        assert!(lines_of([&stream[..]], &mut pool).is_err());
        assert!(lines_of(stream.chunks(1), &mut pool).is_err());
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once() {
        let mut pool = TailPool::new(4);
        let mut tail = Tail::default();
        let mut received = [b'x'; 2 * LEN_MAX];
        received[LEN_MAX + 5] = b'\n';
        let mut lines = cut(&mut tail, &mut pool, &received, LEN_MAX);
        assert_eq!(lines.next(), Some(Err(LineTooLong)));
        assert_eq!(lines.next(), None);
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn a_whole_line_is_lent_in_place() {
        let mut pool = TailPool::new(4);
        let mut tail = Tail::default();
        let received = *b"first\nsecond\n";
        let addresses = received.as_ptr_range();
        let mut lines = cut(&mut tail, &mut pool, &received, LEN_MAX);
        while let Some(line) = lines.next() {
            assert!(addresses.contains(&line.expect("short").as_ptr()));
        }
        drop(lines);
        assert_eq!((tail.len(), pool.free()), (0, 0));
    }

    #[test]
    fn a_block_goes_back_when_its_line_was_taken() {
        let mut pool = TailPool::new(4);
        let mut tail = Tail::default();
        assert_eq!(cut(&mut tail, &mut pool, b"{\"id", LEN_MAX).next(), None);
        assert_eq!((tail.len(), pool.free()), (4, 0));
        let received = *b"\":1}\n{\"i";
        let mut lines = cut(&mut tail, &mut pool, &received, LEN_MAX);
        assert_eq!(lines.next(), Some(Ok(&b"{\"id\":1}"[..])));
        assert_eq!(lines.next(), None);
        drop(lines);
        // The block of the first line holds the second by now.
        assert_eq!((tail.len(), pool.free()), (3, 0));
        tail.release(&mut pool);
        assert_eq!((tail.len(), pool.free()), (0, 1));
    }

    #[test]
    fn lines_dropped_early_leave_the_link_at_the_start_of_a_line() {
        let mut pool = TailPool::new(4);
        let mut tail = Tail::default();
        let received = *b"one\ntwo\nthree\nfo";
        let mut lines = cut(&mut tail, &mut pool, &received, LEN_MAX);
        assert!(lines.next().is_some());
        drop(lines);
        let received = *b"ur\n";
        let mut lines = cut(&mut tail, &mut pool, &received, LEN_MAX);
        assert_eq!(lines.next(), Some(Ok(&b"four"[..])));
    }

    #[test]
    fn a_pool_keeps_few_blocks_and_no_large_ones() {
        let mut pool = TailPool::new(2);
        let mut tails: Vec<Tail> = (0..5).map(|_| Tail::default()).collect();
        for tail in &mut tails {
            assert_eq!(cut(tail, &mut pool, b"x", LEN_MAX).next(), None);
        }
        for tail in &mut tails {
            tail.release(&mut pool);
        }
        assert_eq!(pool.free(), 2);

        let mut pool = TailPool::new(2);
        let mut tail = Tail::default();
        let received = vec![b'x'; BLOCK_KEPT_BYTES_MAX + 1];
        assert_eq!(cut(&mut tail, &mut pool, &received, 1 << 20).next(), None);
        tail.release(&mut pool);
        assert_eq!(pool.free(), 0);
    }

    #[test]
    fn a_tail_costs_eight_bytes() {
        assert_eq!(size_of::<Tail>(), 8);
    }
}
