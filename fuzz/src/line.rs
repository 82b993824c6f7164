//! The cutter of lines: the same lines come out however the stream was cut.

use stratum_uring::wire::{LineTooLong, Tail, TailPool, cut};

use super::input::Input;

/// More blocks than this are never kept.
const FREE_MAX: usize = 2;

/// The first byte bounds a line, the next one tells how the stream arrives; the rest is the stream.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let line_len_max = usize::from(input.byte());
    let step = usize::from(input.byte()).max(1);
    let stream = input.rest();
    let expected = by_split(stream, line_len_max);
    let mut pool = TailPool::new(FREE_MAX);
    let whole = [stream.len().max(1)];
    let uneven = [step, 1, step / 3 + 1];
    for steps in [&whole[..], &[1], &[step], &uneven] {
        assert_eq!(
            by_cutter(stream, steps, line_len_max, &mut pool),
            expected,
            "{steps:?}"
        );
        assert!(pool.free() <= FREE_MAX);
    }
}

/// Lines, and whether the stream ended in one that was too long; else what is left of the last line.
type Cut = (Vec<Vec<u8>>, Result<usize, LineTooLong>);

/// The plain meaning.
fn by_split(stream: &[u8], line_len_max: usize) -> Cut {
    let mut lines = Vec::new();
    let mut parts = stream.split(|&byte| byte == b'\n').peekable();
    let mut left = 0;
    while let Some(line) = parts.next() {
        if line.len() > line_len_max {
            return (lines, Err(LineTooLong));
        }
        if parts.peek().is_some() {
            lines.push(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
        } else {
            left = line.len();
        }
    }
    (lines, Ok(left))
}

fn by_cutter(stream: &[u8], steps: &[usize], line_len_max: usize, pool: &mut TailPool) -> Cut {
    let mut tail = Tail::default();
    let mut taken = Vec::new();
    let mut rest = stream;
    for step in steps.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*step).min(rest.len()));
        rest = after;
        let mut lines = cut(&mut tail, pool, piece, line_len_max);
        while let Some(line) = lines.next() {
            match line {
                Ok(line) => taken.push(line.to_vec()),
                Err(error) => {
                    assert_eq!(lines.next(), None, "it is told once");
                    drop(lines);
                    assert_eq!(tail.len(), 0);
                    return (taken, Err(error));
                }
            }
        }
        drop(lines);
        assert!(tail.len() <= line_len_max);
    }
    let left = tail.len();
    tail.release(pool);
    assert!(tail.is_empty());
    (taken, Ok(left))
}
