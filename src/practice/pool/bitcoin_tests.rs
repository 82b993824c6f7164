use super::*;
use crate::practice::bitcoin::share_hash;
use crate::proto::dialect::bitcoin::target_of;

const NOW: u64 = 1_790_000_000;
const TIME: u32 = 1_790_000_000;
const WORKER: &str = "farm";

/// A pool with one link that a worker is authorized on, and what the pool told it.
struct Script {
    pool: PracticePool,
    link: LinkId,
    extranonce1: Vec<u8>,
}

impl Script {
    fn new(settings: PracticeSettings) -> Self {
        let mut pool = PracticePool::new(settings, 1).unwrap();
        pool.knobs_mut().record = true;
        let link = pool.connect();
        let mut script = Self {
            pool,
            link,
            extranonce1: Vec::new(),
        };
        let asked = r#"[["version-rolling"],{"version-rolling.mask":"ffffffff"}]"#;
        assert_eq!(
            script.says("mining.configure", asked),
            "{\"id\":7,\"result\":{\"version-rolling\":true,\"version-rolling.mask\":\"1fffe000\"},\
             \"error\":null}\n"
        );
        let answer = script.says("mining.subscribe", "[\"test/1\"]");
        let (pairs, rest) = answer.split_once("]],\"").unwrap();
        assert!(pairs.starts_with("{\"id\":7,\"result\":[[[\"mining.set_difficulty\",\""));
        let (digits, rest) = rest.split_once('"').unwrap();
        assert_eq!(rest, ",8],\"error\":null}\n");
        script.extranonce1 = vec![0; digits.len() / 2];
        hex::decode_into(digits.as_bytes(), &mut script.extranonce1).unwrap();
        let said = script.says("mining.authorize", "[\"farm\",\"x\"]");
        let mut lines = said.lines();
        assert_eq!(
            lines.next(),
            Some("{\"id\":7,\"result\":true,\"error\":null}")
        );
        let difficulty = lines.next().unwrap();
        assert!(difficulty.contains("mining.set_difficulty"), "{difficulty}");
        assert!(lines.next().unwrap().contains("mining.notify"));
        script
    }

    fn says(&mut self, method: &str, params: &str) -> String {
        let line = format!("{{\"id\":7,\"method\":\"{method}\",\"params\":{params}}}");
        let mut out = Vec::new();
        let fate = self
            .pool
            .handle_line(NOW, self.link, line.as_bytes(), &mut out);
        assert_eq!(fate, Fate::Stays);
        String::from_utf8(out).unwrap()
    }

    fn submits(&mut self, params: &str) -> String {
        let job = self.pool.jobs.newest().unwrap().id();
        self.says(
            "mining.submit",
            &format!("[\"{WORKER}\",\"{job}\",{params}]"),
        )
    }

    /// A nonce with which these version bits make a share, or with which they make none.
    fn nonce(&self, bits: u32, good: bool) -> u32 {
        let job = self.pool.jobs.newest().unwrap();
        let Work::Bitcoin(work) = &job.work else {
            panic!("a job of another coin");
        };
        let is_good = |nonce: &u32| {
            let header = work.header(&Rolled {
                extranonce: [&self.extranonce1, &[0; 8]],
                time: TIME,
                nonce: *nonce,
                version: (0x1fff_e000, bits),
            });
            meets_target(&share_hash(&header), &job.target) == good
        };
        (0..).find(is_good).unwrap()
    }
}

fn settings() -> PracticeSettings {
    PracticeSettings {
        coin: PracticeCoin::Bitcoin,
        // One hash in 256.
        target: *target_of(1.0 / 16_777_216.0).unwrap().as_bytes(),
        ..PracticeSettings::default()
    }
}

fn error(code: i64, text: &str) -> String {
    format!("{{\"id\":7,\"result\":null,\"error\":[{code},\"{text}\",null]}}\n")
}

const TRUE: &str = "{\"id\":7,\"result\":true,\"error\":null}\n";

#[test]
fn a_share_is_judged_by_its_header() {
    let mut script = Script::new(settings());
    let time = format!("{TIME:08x}");
    let zeros = "0".repeat(16);
    for bits in [0, 0x0002_4000] {
        let good = script.nonce(bits, true);
        let share = format!("\"{zeros}\",\"{time}\",\"{good:08x}\",\"{bits:08x}\"");
        assert_eq!(script.submits(&share), TRUE);
        assert_eq!(script.submits(&share), error(22, "duplicate share"));
        let bad = script.nonce(bits, false);
        let share = format!("\"{zeros}\",\"{time}\",\"{bad:08x}\",\"{bits:08x}\"");
        assert_eq!(script.submits(&share), error(23, "low difficulty share"));
    }
    let [first, second] = script.pool.accepted_shares() else {
        panic!("two shares");
    };
    assert!(first.hash.unwrap() <= settings().target);
    assert!(second.hash.is_some() && first.hash != second.hash);
    assert!(first.nonce.starts_with(&script.extranonce1));
}

#[test]
fn the_shape_of_a_share_is_looked_at_first() {
    let mut script = Script::new(PracticeSettings {
        judge: Judge::Shape,
        ..settings()
    });
    let time = format!("{TIME:08x}");
    let zeros = "0".repeat(16);
    for (params, answer) in [
        (
            format!("\"{zeros}\",\"{time}\",\"0000001d\""),
            TRUE.to_owned(),
        ),
        (
            format!("\"{zeros}\",\"{time}\",\"0000001d\",\"00000000\""),
            error(22, "duplicate share"),
        ),
        (
            format!("\"{zeros}\",\"{time}\",\"0000001d\",\"20000000\""),
            error(20, "invalid version mask"),
        ),
        (
            format!("\"{zeros}\",\"{time}\",\"1d\""),
            error(20, "incorrect size of nonce"),
        ),
        (
            format!("\"{zeros}00\",\"{time}\",\"0000001d\""),
            error(20, "incorrect size of nonce_2"),
        ),
        (
            format!("\"{zeros}\",\"{:08x}\",\"0000001d\"", TIME - 1),
            error(20, "ntime out of range"),
        ),
        (
            format!("\"{zeros}\",\"{time}\""),
            error(20, "incorrect number of parameters"),
        ),
    ] {
        assert_eq!(script.submits(&params), answer, "{params}");
    }
}

#[test]
fn another_extranonce1_comes_with_its_size() {
    let mut script = Script::new(settings());
    let mut out = Vec::new();
    assert!(script.pool.set_extranonce(script.link, &mut out));
    let line = String::from_utf8(out).unwrap();
    assert!(
        line.starts_with("{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\""),
        "{line}"
    );
    assert!(line.ends_with("\",8]}\n"), "{line}");
}
