//! What a miner of Monero makes of a job that it is told. Pure.

use std::ops::Range;

use stratum_uring::practice::equihash::HEADER_LEN;
use stratum_uring::practice::monero::{NONCE, NONCE_LEN, stand_in};
use stratum_uring::proto::extranonce::Extranonce1;
use stratum_uring::proto::target::Target;
use stratum_uring::wire::{Raw, hex};

/// Where the hash of the block before stands in a blob, and the end of the root of its transactions. The
/// start of the root is another one on each link to our own pools.
const PREVIOUS: Range<usize> = 7..39;
const ROOT_END: Range<usize> = 59..75;

/// Bytes of a blob that xmrig has room for.
const BLOB_LEN_MAX: usize = 408;

/// A job as one miner is told it.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    /// What the server calls it, as JSON.
    pub(crate) id: Raw<'a>,
    /// Its nonce is zero.
    pub(crate) blob: Vec<u8>,
    /// What stood in place of the nonce.
    pub(crate) nonce: [u8; NONCE_LEN],
    pub(crate) target: Target,
}

impl<'a> Told<'a> {
    /// Reads a job as xmrig does. `None` if xmrig would take it for none.
    pub(crate) fn read(job: Raw<'a>) -> Option<Self> {
        let id = member(job, b"job_id").filter(|id| id.as_str().is_some())?;
        let text = |name: &[u8]| member(job, name)?.as_str();
        let digits = text(b"blob")?;
        let mut blob = vec![0; digits.len() / 2];
        hex::decode_into(digits, &mut blob).ok()?;
        if blob.len() > BLOB_LEN_MAX || blob.len() < ROOT_END.end {
            return None;
        }
        let place = blob.get_mut(NONCE)?;
        let nonce = place.try_into().ok()?;
        place.fill(0);
        let is_random = text(b"algo").is_none_or(|name| name.starts_with(b"rx/"));
        let seed = text(b"seed_hash").map(hex::decode_to_array::<32>);
        if is_random && seed.is_none_or(|seed| seed.is_err()) {
            return None;
        }
        Some(Self {
            id,
            blob,
            nonce,
            target: read_target(text(b"target")?)?,
        })
    }

    /// What the links to a pool have in common of it, at the places that Equihash has for the like.
    pub(crate) fn header(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[4..36].copy_from_slice(&self.blob[PREVIOUS]);
        header[52..68].copy_from_slice(&self.blob[ROOT_END]);
        let time = varint(&self.blob[2..PREVIOUS.start]);
        header[100..104].copy_from_slice(&time.to_le_bytes());
        header
    }

    /// What stands for all that this miner is to hash.
    pub(crate) fn space(&self) -> Option<Extranonce1> {
        let mut blob = self.blob.clone();
        blob.get_mut(NONCE)?.copy_from_slice(&self.nonce);
        let mut digits = Vec::new();
        hex::append_encoded(&mut digits, &stand_in(&blob, &[0xff; 32])[..8]);
        Extranonce1::parse(&digits)
    }
}

/// The member of this name.
pub(crate) fn member<'a>(object: Raw<'a>, name: &[u8]) -> Option<Raw<'a>> {
    let mut members = object.members();
    members.find_map(|(key, value)| (key.as_str() == Some(name)).then_some(value))
}

/// 16 digits are the highest eight bytes of a target, 8 digits stand for a difficulty. The lowest byte
/// comes first.
fn read_target(digits: &[u8]) -> Option<Target> {
    let highest = match digits.len() {
        8 => {
            let compact = u32::from_le_bytes(hex::decode_to_array(digits).ok()?);
            u64::MAX / u64::from(u32::MAX.checked_div(compact)?)
        }
        _ => u64::from_le_bytes(hex::decode_to_array(digits).ok()?),
    };
    let mut bytes = [0xff; 32];
    bytes[..8].copy_from_slice(&highest.to_be_bytes());
    (highest > 0).then(|| Target::from_bytes(bytes))
}

/// Seven bits of each byte, the lowest first, up to a byte without the eighth.
fn varint(bytes: &[u8]) -> u32 {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0);
    let bytes = bytes.iter().take(last.map_or(5, |last| last + 1));
    let shifted = bytes.zip(0_u32..).map(|(byte, place)| {
        let bits = u64::from(byte & 0x7f) << (7 * place);
        u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default()
    });
    shifted.fold(0, |sum, bits| sum | bits)
}

#[cfg(test)]
mod tests {
    use stratum_uring::wire::Reader;

    use super::*;

    /// A job from xmrig-proxy's documents, with a byte of the nonce and a seed.
    const BLOB: &str = "070780e6b9d60586ba419a0c224e3c6c3e134cc45c4fa04d8ee2d91c2595463c57eef0a4f0796c\
                        0000000a2fcc4d62fa6c77e76c30017c768be5c61d83ec9d3a085d524ba8053ecc3224660d";

    fn line(target: &str) -> String {
        let seed = "ab".repeat(32);
        format!(
            r#"{{"params":{{"blob":"{BLOB}","job_id":"q7","target":"{target}","seed_hash":"{seed}"}}}}"#
        )
    }

    /// The blob's nonce, its header, and the start of the target.
    fn read(line: &str) -> Option<([u8; 4], [u8; HEADER_LEN], u64)> {
        let mut reader = Reader::new();
        let told = Told::read(reader.read(line.as_bytes()).unwrap().params.unwrap())?;
        assert_eq!(told.blob[NONCE], [0; 4]);
        let highest = told.target.as_bytes().first_chunk();
        let highest = u64::from_be_bytes(*highest.unwrap());
        Some((told.nonce, told.header(), highest))
    }

    #[test]
    fn a_job_is_read_with_what_is_the_miners_own() {
        let (nonce, header, target) = read(&line("b88d0600")).unwrap();
        assert_eq!(nonce, [0, 0, 0, 0x0a]);
        assert_eq!(target, u64::MAX / 10_000);
        assert_eq!(header[4..8], [0x86, 0xba, 0x41, 0x9a]);
        let time = u32::from_le_bytes(header[100..104].try_into().unwrap());
        assert_eq!(time, 1_523_479_296);
        let (_, _, target) = read(&line("0000000000000100")).unwrap();
        assert_eq!(target, 1 << 48);
    }

    #[test]
    fn what_xmrig_takes_for_no_job_is_none() {
        let whole = line("b88d0600");
        assert!(read(&whole).is_some());
        for (part, other) in [
            ("b88d0600", "00000000"),
            ("b88d0600", "b88d06"),
            ("\"q7\"", "7"),
            ("070780e6", "070780eg"),
            (BLOB, &BLOB[..86]),
            (BLOB, &BLOB.repeat(6)),
            (",\"seed_hash\"", ",\"other\""),
            ("abab\"", "ab\""),
        ] {
            assert_eq!(read(&whole.replace(part, other)), None, "{part} {other}");
        }
        let older = whole.replace("\"seed_hash\"", "\"algo\":\"cn/r\",\"other\"");
        assert!(read(&older).is_some(), "that needs no seed");
    }

    #[test]
    fn two_miners_of_a_link_search_other_nonces() {
        let whole = line("b88d0600");
        let other = whole.replace("0000000a", "0000000b");
        let mut reader = Reader::new();
        let mut space = |line: &str| {
            let params = reader.read(line.as_bytes()).unwrap().params;
            Told::read(params.unwrap()).unwrap().space().unwrap()
        };
        assert_eq!(space(&whole), space(&whole));
        assert_ne!(space(&whole), space(&other));
    }
}
