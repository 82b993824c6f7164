//! The attacks: what each connection of an attacker sends, and how.

use std::time::Duration;

use fastrand::Rng;
use stratum_uring::tls::client::{TlsClient, Trust};

/// An attack: many connections that all behave alike.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Connections for each thousand of honest miners.
    per_thousand: u32,
    /// What is sent when a connection stands.
    pub(super) opening: fn(&mut Rng) -> Vec<u8>,
    /// What is sent then, again and again.
    pub(super) more: fn(&mut Rng) -> Vec<u8>,
    /// How often.
    pub(super) pace: Duration,
    /// Whether it reads what it is told.
    pub(super) reads: bool,
    /// Whether it resets the connection as soon as it stands, and comes back at its pace.
    pub(super) resets: bool,
    /// Whether the proxy must close some of its connections in a play that is long enough.
    pub(super) is_turned_away: bool,
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// All of them, in the order in which they run.
pub(crate) static ATTACKS: [Attack; 10] = [
    Attack {
        name: "slow-loris",
        per_thousand: 1000,
        opening: |_| br#"{"id":1,"method":"mining.subscribe","params":[""#.to_vec(),
        more: |_| b"x".to_vec(),
        pace: millis(1000),
        reads: true,
        resets: false,
        is_turned_away: true,
    },
    Attack {
        name: "never-reading",
        // Few, for each is answered by the megabyte: only that fills what the kernel holds for it.
        per_thousand: 5,
        opening: |_| greeting(),
        more: |random| repeat(random, 512, unknown_method),
        pace: millis(100),
        reads: false,
        resets: false,
        is_turned_away: false,
    },
    Attack {
        name: "connect-reset",
        per_thousand: 16,
        opening: |_| Vec::new(),
        more: |_| Vec::new(),
        pace: millis(10),
        reads: false,
        resets: true,
        is_turned_away: false,
    },
    Attack {
        name: "tls-open",
        per_thousand: 500,
        opening: client_hello_begun,
        more: |_| Vec::new(),
        pace: millis(1000),
        reads: true,
        resets: false,
        is_turned_away: true,
    },
    Attack {
        name: "tls-unfinished",
        // More than there are places for handshakes, see `tls_handshakes_max` in the config of these runs.
        per_thousand: 1300,
        opening: client_hello,
        more: |_| Vec::new(),
        pace: millis(1000),
        reads: true,
        resets: false,
        is_turned_away: true,
    },
    Attack {
        name: "long-lines",
        per_thousand: 10,
        opening: |_| br#"{"id":1,"method":""#.to_vec(),
        more: |_| vec![b'a'; LONG_LINE_BYTES],
        pace: millis(50),
        reads: true,
        resets: false,
        is_turned_away: true,
    },
    Attack {
        name: "json-bombs",
        per_thousand: 50,
        opening: |_| greeting(),
        more: bomb,
        pace: millis(100),
        reads: true,
        resets: false,
        is_turned_away: false,
    },
    Attack {
        name: "invalid-shares",
        per_thousand: 50,
        opening: |_| greeting(),
        more: |random| repeat(random, 10, invalid_share),
        pace: millis(100),
        reads: true,
        resets: false,
        is_turned_away: false,
    },
    Attack {
        name: "unknown-methods",
        per_thousand: 50,
        opening: |_| greeting(),
        more: |random| repeat(random, 10, unknown_method),
        pace: millis(100),
        reads: true,
        resets: false,
        is_turned_away: false,
    },
    Attack {
        name: "random-bytes",
        per_thousand: 100,
        opening: random_bytes,
        more: random_bytes,
        pace: millis(100),
        reads: true,
        resets: false,
        is_turned_away: true,
    },
];

/// Bytes of a line that is too long: no miner's line is a tenth of it.
const LONG_LINE_BYTES: usize = 1024 * 1024;

/// Bytes of the longest bombs, below what a line of a miner may have, so that they are read.
const BOMB_BYTES: usize = 7000;

impl Attack {
    /// Connections beside so many honest miners; at least one.
    pub(super) fn connections(&self, miners: u32) -> usize {
        let many = u64::from(miners) * u64::from(self.per_thousand) / 1000;
        usize::try_from(many).unwrap_or(usize::MAX).max(1)
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

fn repeat(random: &mut Rng, count: usize, line: fn(&mut Rng) -> String) -> Vec<u8> {
    let lines = (0..count).map(|_| line(random) + "\n");
    lines.collect::<String>().into_bytes()
}

/// It has as long an id as may be, which comes back.
fn unknown_method(random: &mut Rng) -> String {
    let id = random.u64(..);
    format!(r#"{{"id":"{id:060}","method":"mining.take_all","params":[]}}"#)
}

/// Of one job that is not there, of one that can't be one, with short or odd fields.
fn invalid_share(random: &mut Rng) -> String {
    let (id, job) = (random.u32(..), random.u32(..));
    let solution = match random.u8(..4) {
        0 => "24".to_owned() + &"0".repeat(72),
        1 => "zz".repeat(37),
        2 => String::new(),
        _ => "f".repeat(4000),
    };
    let worker = ["attacker", "somebody.else"][random.usize(..2)];
    let nonce_2 = "1".repeat(random.usize(..64));
    let params = format!(r#"["{worker}","{job:x}","00000000","{nonce_2}","{solution}"]"#);
    format!(r#"{{"id":{id},"method":"mining.submit","params":{params}}}"#)
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
            let share = invalid_share(&mut random);
            assert!(reader.read(share.as_bytes()).is_ok(), "{share}");
        }
    }
}
