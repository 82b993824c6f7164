//! The mock pool's jobs of Bitcoin. Pure.

use stratum_uring::wire::hex;

/// Bytes of extranonce2 that it leaves, as the answer to a subscribe has them.
pub(super) const EXTRANONCE2_LEN: &[u8] = b",8";

/// The lowest that a proxy takes for a difficulty: nearly every hash is a share.
pub(super) const DIFFICULTY: &[u8] =
    b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[2.4e-10]}\n";

/// Bytes of a coinbase in front of extranonce1 and behind extranonce2, and hashes of its branch: those of
/// a full block, with a coinbase of some 250 bytes.
const COINBASE_LENS: [usize; 2] = [60, 180];
const BRANCHES: usize = 12;

/// Appends a job as Bitcoin pools write it, each on another block.
pub(super) fn append_job(out: &mut Vec<u8>, number: u64, unix_seconds: u64) {
    let seconds = u32::try_from(unix_seconds).unwrap_or(u32::MAX);
    let id = format!("{{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"{number:x}\",\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(format!("{number:064x}").as_bytes());
    for len in COINBASE_LENS {
        out.extend_from_slice(b"\",\"");
        for _ in 0..len {
            out.extend_from_slice(b"c0");
        }
    }
    out.extend_from_slice(b"\",[");
    for branch in 0..BRANCHES {
        out.extend_from_slice(if branch == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(format!("{branch:02x}").repeat(32).as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"],\"20000000\",\"17053894\",\"");
    out.extend_from_slice(&hex::encode_u32_be(seconds));
    out.extend_from_slice(b"\",true]}\n");
}

#[cfg(test)]
mod tests {
    use stratum_uring::practice::PracticeCoin;
    use stratum_uring::wire::Reader;

    use super::*;
    use crate::job::JobBook;

    #[test]
    fn its_jobs_are_those_of_the_dialect() {
        let mut line = Vec::new();
        append_job(&mut line, 0xab, 1_790_000_000);
        let mut reader = Reader::new();
        let message = reader.read(line.trim_ascii_end()).unwrap();
        let mut book = JobBook::of(PracticeCoin::Bitcoin);
        let job = book.read(message.params).unwrap();
        assert_eq!(job.seconds(), 1_790_000_000);
        let work = job.bitcoin.as_ref().unwrap();
        assert_eq!(work.branches.len(), BRANCHES);
        assert_eq!(
            [work.coinbase[0].len(), work.coinbase[1].len()],
            COINBASE_LENS
        );
        // A notification of this shape has some 1,400 bytes, as those of real pools have.
        assert!((1200..1700).contains(&line.len()), "{}", line.len());
    }
}
