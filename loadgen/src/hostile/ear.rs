//! What an attacker hears, who poses as a miner: its nonce bytes and the live job.

use stratum_uring::wire::Reader;

/// A line that is longer is passed over: none that matters is.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What one connection was told.
#[derive(Debug, Default)]
pub(super) struct Ear {
    line: Vec<u8>,
    /// Digits of the nonce that are the miner's own; 0 before its subscribe was answered.
    pub(super) nonce_2_digits: usize,
    /// The newest job, and its time.
    pub(super) job: Option<(String, String)>,
    /// The params of the last share of the right shape.
    pub(super) last: Option<String>,
}

impl Ear {
    /// Some bytes of what the proxy says.
    pub(super) fn hear(&mut self, bytes: &[u8], reader: &mut Reader) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.line.len() + piece.len() <= LINE_BYTES_MAX {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.understand(line.trim_ascii_end(), reader);
            }
        }
    }

    fn understand(&mut self, line: &[u8], reader: &mut Reader) {
        let Ok(message) = reader.read(line) else {
            return;
        };
        if let Some(b"mining.notify") = message.method.and_then(|method| method.as_str()) {
            let mut params = message
                .params
                .into_iter()
                .flat_map(|params| params.elements());
            let id = params.next().and_then(|id| id.as_text());
            let time = params.nth(4).and_then(|time| time.as_text());
            self.job = id.zip(time).map(|(id, time)| (id.into(), time.into()));
        } else if message.id.is_some_and(|id| id.bytes() == b"1")
            && let Some(nonce_1) = message.result.and_then(|result| result.elements().nth(1))
        {
            let digits = nonce_1.as_str().map_or(0, <[u8]>::len);
            self.nonce_2_digits = NONCE_DIGITS.saturating_sub(digits);
        }
    }
}

/// Digits of the whole nonce of Equihash.
const NONCE_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_job_and_the_own_nonce_are_heard_in_any_pieces() {
        let said = concat!(
            r#"{"id":1,"result":[null,"a1b2c3d400"],"error":null}"#,
            "\n",
            r#"{"id":null,"method":"mining.notify","params":["1f00","04","a","b","c","0011aabb","1f",true]}"#,
            "\n",
            r#"{"id":null,"method":"mining.notify","params":["2f00","04","a","b","c","0011aacc","1f",true]}"#,
            "\n{",
        );
        for size in [1, 7, 4096] {
            let (mut ear, mut reader) = (Ear::default(), Reader::new());
            for piece in said.as_bytes().chunks(size) {
                ear.hear(piece, &mut reader);
            }
            assert_eq!(ear.nonce_2_digits, 54);
            let (id, time) = ear.job.expect("a job");
            assert_eq!((id.as_str(), time.as_str()), ("2f00", "0011aacc"));
        }
    }
}
