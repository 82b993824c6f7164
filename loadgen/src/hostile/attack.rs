//! The attacks: what each connection of an attacker sends, and how.

use std::time::Duration;

use fastrand::Rng;
use stratum_uring::tls::client::{TlsClient, Trust};

use crate::hostile::ear::Ear;

/// An attack: many connections that all behave alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Connections for each thousand of honest miners.
    per_thousand: u32,
    /// And no less than so many.
    least: usize,
    /// Whether it speaks TLS, as far as the proxy does.
    pub(super) has_tls: bool,
    /// What is sent when a connection stands.
    pub(super) opening: fn(&mut Rng) -> Vec<u8>,
    /// What is sent then, again and again.
    pub(super) more: fn(&mut Rng, &mut Ear) -> Vec<u8>,
    /// How often.
    pub(super) pace: Duration,
    /// One that was closed comes back after so long.
    pub(super) back_after: Duration,
    pub(super) reads: Appetite,
    /// Whether it is closed for what it sends, and kept out when it comes back.
    pub(super) is_kept_out: bool,
    /// Whether it resets the connection as soon as it stands, and comes back at its pace.
    pub(super) resets: bool,
    /// Whether the proxy must close some of its connections in a play that is long enough.
    pub(super) is_turned_away: bool,
    /// Whether the proxy is made to hold what nobody reads, so that the bound on that is what counts.
    pub(super) is_unread: bool,
    /// So much more memory the proxy may have behind it, beside 2,000 honest miners.
    pub(super) left_mib_max: u64,
}

/// How much a connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appetite {
    /// Bytes, as soon as they come.
    pub(super) first: usize,
    /// Then so many at each pace.
    pub(super) then: usize,
}

impl Appetite {
    pub(super) const ALL: Self = Self {
        first: usize::MAX,
        then: 0,
    };
    const NOTHING: Self = Self { first: 0, then: 0 };
    /// The handshake, and then so little that the kernel hardly learns to hold more for it, and yet takes
    /// something now and then.
    pub(super) const LITTLE: Self = Self {
        first: 8 * 1024,
        then: 1024,
    };
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What most of them do, and what is asked of the proxy then.
const ORDINARY: Attack = Attack {
    name: "",
    per_thousand: 50,
    least: 1,
    has_tls: false,
    opening: |_| greeting(),
    more: |_, _| Vec::new(),
    pace: millis(100),
    back_after: millis(100),
    reads: Appetite::ALL,
    is_kept_out: false,
    resets: false,
    is_turned_away: false,
    is_unread: false,
    left_mib_max: 2,
};

/// Behind those that had much: what honest miners hold that came in their midst lies between it, so pages
/// stay.
const LEFT_BY_MUCH_MIB: u64 = 8;

/// All of them, in the order in which they run.
pub(crate) static ATTACKS: [Attack; 11] = [
    Attack {
        name: "slow-loris",
        per_thousand: 1000,
        opening: |_| br#"{"id":1,"method":"mining.subscribe","params":[""#.to_vec(),
        more: |_, _| b"x".to_vec(),
        pace: millis(1000),
        is_turned_away: true,
        ..ORDINARY
    },
    Attack {
        name: "never-reading",
        // Few, for each is answered by the megabyte: only that fills what the kernel holds for it.
        per_thousand: 5,
        more: |random, _| repeat(1500, || unknown_method(random)),
        reads: Appetite::NOTHING,
        is_turned_away: true,
        is_unread: true,
        left_mib_max: LEFT_BY_MUCH_MIB,
        ..ORDINARY
    },
    Attack {
        name: "slow-reading",
        per_thousand: 20,
        // What the proxy may keep for all of them is less than what they ask for.
        least: 40,
        has_tls: true,
        opening: |random| [greeting(), repeat(7000, || unknown_method(random))].concat(),
        // A megabyte each time is what the CPUs have to give beside the honest ones.
        back_after: millis(1000),
        reads: Appetite::LITTLE,
        is_turned_away: true,
        is_unread: true,
        left_mib_max: LEFT_BY_MUCH_MIB,
        ..ORDINARY
    },
    Attack {
        name: "connect-reset",
        per_thousand: 16,
        opening: |_| Vec::new(),
        pace: millis(10),
        reads: Appetite::NOTHING,
        resets: true,
        ..ORDINARY
    },
    Attack {
        name: "tls-open",
        per_thousand: 500,
        opening: client_hello_begun,
        pace: millis(1000),
        is_turned_away: true,
        ..ORDINARY
    },
    Attack {
        name: "tls-unfinished",
        // More than there are places for handshakes, see `tls_handshakes_max` in the config of these runs.
        per_thousand: 1300,
        opening: client_hello,
        pace: millis(1000),
        is_turned_away: true,
        left_mib_max: LEFT_BY_MUCH_MIB,
        ..ORDINARY
    },
    Attack {
        name: "long-lines",
        per_thousand: 10,
        opening: |_| br#"{"id":1,"method":""#.to_vec(),
        more: |_, _| vec![b'a'; LONG_LINE_BYTES],
        pace: millis(50),
        is_turned_away: true,
        ..ORDINARY
    },
    Attack {
        name: "json-bombs",
        more: |random, _| bomb(random),
        ..ORDINARY
    },
    Attack {
        name: "invalid-shares",
        more: |random, ear| repeat(10, || invalid_share(random, ear)),
        is_kept_out: true,
        is_turned_away: true,
        ..ORDINARY
    },
    Attack {
        name: "unknown-methods",
        more: |random, _| repeat(10, || unknown_method(random)),
        ..ORDINARY
    },
    Attack {
        name: "random-bytes",
        per_thousand: 100,
        opening: random_bytes,
        more: |random, _| random_bytes(random),
        is_turned_away: true,
        ..ORDINARY
    },
];

/// Bytes of a line that is too long: no miner's line is a tenth of it.
const LONG_LINE_BYTES: usize = 1024 * 1024;

/// Bytes of the longest bombs, below what a line of a miner may have, so that they are read.
const BOMB_BYTES: usize = 7000;

impl Attack {
    /// Connections beside so many honest miners.
    pub(super) fn connections(&self, miners: u32) -> usize {
        let many = u64::from(miners) * u64::from(self.per_thousand) / 1000;
        usize::try_from(many).unwrap_or(usize::MAX).max(self.least)
    }
}

/// What any miner says first.
fn greeting() -> Vec<u8> {
    let lines = concat!(
        r#"{"id":1,"method":"mining.subscribe","params":["attacker"]}"#,
        "\n",
        r#"{"id":2,"method":"mining.authorize","params":["attacker","x"]}"#,
        "\n",
    );
    lines.as_bytes().to_vec()
}

fn repeat(count: usize, mut line: impl FnMut() -> String) -> Vec<u8> {
    let lines = (0..count).map(|_| line() + "\n");
    lines.collect::<String>().into_bytes()
}

/// It has as long an id as may be, which comes back.
fn unknown_method(random: &mut Rng) -> String {
    let id = random.u64(..);
    format!(r#"{{"id":"{id:060}","method":"mining.take_all","params":[]}}"#)
}

/// One that is malformed, for a job that was made up, sent twice, or of the right shape and no solution: only
/// the last kind reaches the pool.
fn invalid_share(random: &mut Rng, ear: &mut Ear) -> String {
    let params = match (random.u8(..4), ear.job.clone()) {
        (0, _) | (_, None) => malformed(random),
        (1, Some((_, time))) => {
            let job = random.u32(..);
            well_formed(random, ear, &format!("{job:x}"), &time)
        }
        (2, Some(_)) if ear.last.is_some() => ear.last.clone().unwrap_or_default(),
        (_, Some((job, time))) => {
            let params = well_formed(random, ear, &job, &time);
            ear.last = Some(params.clone());
            params
        }
    };
    let id = random.u32(..);
    format!(r#"{{"id":{id},"method":"mining.submit","params":{params}}}"#)
}

/// The params of a share that can't be one.
fn malformed(random: &mut Rng) -> String {
    let digits = random.usize(..64);
    let nonce_2 = "1".repeat(digits);
    match random.u8(..4) {
        0 => "[]".to_owned(),
        1 => format!(r#"["attacker",7,"{nonce_2}",{{}},null]"#),
        2 => format!(r#"["attacker","no job","00000000","{nonce_2}","24"]"#),
        _ => format!(
            r#"["attacker","\\u0031","00000000","{nonce_2}","{}"]"#,
            "f".repeat(4000)
        ),
    }
}

/// The params of a share of the right shape for this job, whose solution is none.
fn well_formed(random: &mut Rng, ear: &Ear, job: &str, time: &str) -> String {
    let mut hex = |digits: usize| -> String {
        let digits = (0..digits).map(|_| random.digit(16));
        digits.collect()
    };
    let (nonce_2, solution) = (hex(ear.nonce_2_digits), hex(72));
    format!(r#"["attacker","{job}","{time}","{nonce_2}","24{solution}"]"#)
}

/// Nested deep, or with a huge number, or with many keys, or all in one string of escapes.
fn bomb(random: &mut Rng) -> Vec<u8> {
    let params = match random.u8(..4) {
        0 => "[".repeat(BOMB_BYTES / 2) + &"]".repeat(BOMB_BYTES / 2),
        1 => "9".repeat(BOMB_BYTES),
        2 => {
            let keys = (0..BOMB_BYTES / 10).map(|key| format!(r#""{key:04}":0"#));
            format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
        }
        _ => format!(r#"["{}"]"#, r"\u0041".repeat(BOMB_BYTES / 6)),
    };
    format!("{{\"id\":7,\"method\":\"mining.submit\",\"params\":{params}}}\n").into_bytes()
}

fn random_bytes(random: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; random.usize(1..4096)];
    random.fill(&mut bytes);
    bytes
}

/// The first half of a ClientHello: the record says that 512 bytes follow, and they do not.
fn client_hello_begun(random: &mut Rng) -> Vec<u8> {
    let mut hello = vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let mut rest = [0; 200];
    random.fill(&mut rest);
    hello.extend_from_slice(&rest);
    hello
}

/// A whole ClientHello, to which the proxy has to answer; nothing follows.
fn client_hello(_: &mut Rng) -> Vec<u8> {
    let mut hello = Vec::new();
    let client = TlsClient::new(Trust::Anybody, None).expect("no file that could be wrong");
    let begun = client.connect("hostile.invalid", &mut hello);
    begun.expect("a host name");
    hello
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attackers_are_as_many_as_the_farm_is_large() {
        let count = |name: &str, miners| {
            let attack = ATTACKS.iter().find(|attack| attack.name == name);
            attack.expect("an attack").connections(miners)
        };
        assert_eq!(count("slow-loris", 2000), 2000);
        assert_eq!(count("long-lines", 2000), 20);
        assert_eq!(count("long-lines", 3), 1);
        assert_eq!(count("slow-reading", 60), 40);
    }

    #[test]
    fn bombs_are_lines_that_are_short_enough_to_be_read() {
        let mut random = Rng::with_seed(1);
        let mut deepest = 0;
        for _ in 0..50 {
            let bomb = bomb(&mut random);
            assert!(
                bomb.len() < 8 * 1024 && bomb.ends_with(b"}\n"),
                "{}",
                bomb.len()
            );
            deepest = deepest.max(bomb.iter().filter(|&&byte| byte == b'[').count());
        }
        assert!(deepest > 3000);
    }

    #[test]
    fn no_attack_says_what_an_honest_miner_says() {
        let mut random = Rng::with_seed(2);
        let mut reader = stratum_uring::wire::Reader::new();
        for _ in 0..50 {
            let line = unknown_method(&mut random);
            assert!(reader.read(line.as_bytes()).is_ok(), "{line}");
            let share = invalid_share(&mut random, &mut Ear::default());
            assert!(reader.read(share.as_bytes()).is_ok(), "{share}");
        }
    }
    #[test]
    fn wrong_shares_are_of_all_kinds_once_there_is_a_job() {
        let mut random = Rng::with_seed(3);
        let mut ear = Ear::default();
        let job = br#"{"method":"mining.notify","params":["1f00","4","a","b","c","0011aabb"]}"#;
        ear.hear(
            &[job, &b"\n"[..]].concat(),
            &mut stratum_uring::wire::Reader::new(),
        );
        let shares: Vec<String> = (0..200)
            .map(|_| invalid_share(&mut random, &mut ear))
            .collect();
        let params = |share: &String| share.split_once("params").expect("params").1.to_owned();
        let live: Vec<String> = shares
            .iter()
            .map(params)
            .filter(|params| params.contains(r#""attacker","1f00","0011aabb""#))
            .collect();
        let mut distinct = live.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 20 && live.len() > distinct.len() + 20);
        assert!(shares.iter().any(|share| share.contains(r#""params":[]"#)));
        assert!(shares.len() > live.len() + 50);
    }
}
