//! Plays what real firmware and real pools say to the real exchange.
//!
//! `<dialect>/<firmware-or-pool>.txt` holds one conversation each, and both ends of the proxy with it:
//!
//! ```text
//! # a comment; one of them names the source
//! @ side miner              whose lines are `>` and `<`: a miner's or a pool's
//! > a line of that peer     < our line to it
//! >> a line of the other    << our line to the other
//! ```
//!
//! Each is played with the peer's bytes whole, then one byte at a time, then in twenty random cuts; the
//! answers must be the same. Our job ids are ours to choose, so `{job}` in a line of ours stands for the
//! id that the proxy chose, and in a later line for that same id. Further directives:
//!
//! - `@ parameters N K`, `@ slot_bytes 0|1|2`, `@ extranonce_subscribe`: settings.
//! - `@ user_agent NAME`, `@ version_rolling false`, `@ algorithms NAME…`: what we tell the pool of us.
//! - `@ pool NONCE_1`: the pool has answered the handshake with this nonce_1, without being quoted. Of
//!   Bitcoin `@ pool EXTRANONCE1 SIZE`, and the version bits that it grants behind it, if it does.
//! - `@ slot HEX`: other miners take slots until this one is the next.
//! - `@ let NAME TEXT`: `{NAME}` stands for the text. `{solution}` is one of the right length, unless
//!   it is said what it is; `{agent}` is what we call ourselves.
//! - `@ block HASH`: the pool's last job and our last share make a block with this hash.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use stratum_uring::exchange::{
    Authorize, CloseHow, CloseReason, Command, Exchange, Limits, LinkKey, MinerToken, PoolLinks,
    PoolSettings, Settings, ShareReply, Tag, Transmit,
};
use stratum_uring::practice::bitcoin::{Rolled, Work, share_hash};
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::proto::dialect::{
    AGENT, Coin, Introduction, MinerRequest, PoolMessage, ShareTerms,
};
use stratum_uring::proto::extranonce::SlotWidth;
use stratum_uring::proto::time::Now;
use stratum_uring::proto::version_mask::VersionMask;
use stratum_uring::wire::{Reader, Tail, TailPool, cut};

const NOW: Now = Now {
    since_start: Duration::from_secs(1),
    unix_seconds: 1_800_000_000,
};
const MINER: MinerToken = MinerToken {
    index: 0,
    generation: 0,
};
const LINE_LEN_MAX: usize = 64 * 1024;
const RANDOM_CUTS: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Miner,
    Pool,
}

impl Peer {
    const fn other(self) -> Self {
        match self {
            Self::Miner => Self::Pool,
            Self::Pool => Self::Miner,
        }
    }
}

/// One line of a transcript, with its number in the file.
#[derive(Clone, Debug)]
struct Line {
    number: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Heard(Peer, String),
    Said(Peer, String),
    Directive(String, String),
}

#[derive(Debug)]
struct Transcript {
    dialect: &'static str,
    name: String,
    side: Peer,
    lines: Vec<Line>,
}

impl Transcript {
    fn parse(dialect: &'static str, name: &str, text: &str) -> Self {
        assert!(
            text.lines().any(|line| line.starts_with("# source: ")),
            "{name} names no source"
        );
        let side = match text.lines().find_map(|line| line.strip_prefix("@ side ")) {
            Some("miner") => Peer::Miner,
            Some("pool") => Peer::Pool,
            other => panic!("{name}: whose side is {other:?}?"),
        };
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.to_owned();
            let what = match mark {
                "" | "#" => continue,
                "@" => {
                    let (key, value) = rest.split_once(' ').unwrap_or((&rest, ""));
                    What::Directive(key.to_owned(), value.to_owned())
                }
                ">" => What::Heard(side, rest),
                "<" => What::Said(side, rest),
                ">>" => What::Heard(side.other(), rest),
                "<<" => What::Said(side.other(), rest),
                mark => panic!("{name}:{}: what is {mark:?}?", number + 1),
            };
            let number = number + 1;
            lines.push(Line { number, what });
        }
        Self {
            dialect,
            name: name.to_owned(),
            side,
            lines,
        }
    }

    fn directive(&self, wanted: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| match &line.what {
            What::Directive(key, value) if key == wanted => Some(value.as_str()),
            _ => None,
        })
    }

    fn parameters(&self) -> Parameters {
        let text = self.directive("parameters").unwrap_or("200 9");
        let (n, k) = text.split_once(' ').expect("two numbers");
        Parameters::new(n.parse().expect("n"), k.parse().expect("k")).expect("a set of a coin")
    }

    fn coin(&self) -> Coin {
        match self.dialect {
            "bitcoin" => Coin::Bitcoin,
            "monero" => Coin::Monero,
            _ => Coin::Equihash(self.parameters()),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            series: 0,
            part: (0, 1),
            start_unix_seconds: NOW.unix_seconds,
            seed: 1,
            pools: vec![PoolSettings {
                host: "pool.example".to_owned(),
                port: 3333,
                worker: "t1account.farm".to_owned(),
                password: "x".to_owned(),
                extranonce_subscribe: self.directive("extranonce_subscribe").is_some(),
                reconnect_hosts: Vec::new(),
                introduction: self.introduction(),
            }],
            slot_width: match self.directive("slot_bytes") {
                None => SlotWidth::Auto,
                Some(bytes) => SlotWidth::Fixed(bytes.parse().expect("a number")),
            },
            miners_per_link: 65_536,
            links_max: 1,
            standby: false,
            pass_through_agents: Vec::new(),
            pool_links: PoolLinks::PerShard,
            job_exchange: None,
            authorize: Authorize::default(),
            share_reply: ShareReply::Pool,
            keep_warm: false,
            limits: Limits::default(),
        }
    }

    /// What is said of us to the pool.
    fn introduction(&self) -> Introduction {
        let usual = Introduction::default();
        Introduction {
            agent: self
                .directive("user_agent")
                .map_or(usual.agent, str::to_owned),
            version_rolling: self.directive("version_rolling") != Some("false"),
            algorithms: self.directive("algorithms").map_or_else(Vec::new, |names| {
                names.split(' ').map(str::to_owned).collect()
            }),
        }
    }
}

/// How the peer's bytes reach us.
#[derive(Clone, Copy, Debug)]
enum Cuts {
    Whole,
    Bytes,
    Random(u64),
}

impl Cuts {
    fn pieces(self, bytes: &[u8], random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = match self {
                Self::Whole => rest.len(),
                Self::Bytes => 1,
                Self::Random(_) => random.usize(1..=rest.len().min(200)),
            };
            let (piece, after) = rest.split_at(len);
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces
    }
}

/// What the miner of the transcript was sent.
#[derive(Debug, Default)]
struct Sent(Vec<u8>);

impl Transmit for Sent {
    fn send_shared(&mut self, miner: MinerToken, line: &Rc<[u8]>, _: Tag) {
        if miner == MINER {
            self.0.extend_from_slice(line);
        }
    }

    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]) {
        if miner == MINER {
            for (bytes, _) in pieces {
                self.0.extend_from_slice(bytes);
            }
        }
    }

    fn close(&mut self, miner: MinerToken, how: CloseHow, reason: CloseReason) {
        panic!("{miner:?} is closed: {how:?}, {reason:?}");
    }
}

/// One play of a transcript.
struct Play<'a> {
    transcript: &'a Transcript,
    cuts: Cuts,
    random: fastrand::Rng,
    exchange: Exchange,
    link: Option<LinkKey>,
    names: HashMap<String, String>,
    tail: Tail,
    tails: TailPool,
    to_miner: Sent,
    to_pool: Vec<u8>,
    /// What the pool last announced and what it was last sent, for `@ block`.
    last_job: String,
    last_share: String,
    nonce_1: String,
    crowd: u32,
}

impl<'a> Play<'a> {
    fn new(transcript: &'a Transcript, cuts: Cuts) -> Self {
        let parameters = transcript.parameters();
        let exchange = Exchange::new(transcript.settings(), transcript.coin().dialect());
        let prefix = parameters.solution_prefix_hex();
        let solution = format!("{prefix}{}", "5a".repeat(parameters.solution_len()));
        Self {
            transcript,
            cuts,
            random: fastrand::Rng::with_seed(match cuts {
                Cuts::Random(seed) => seed,
                Cuts::Whole | Cuts::Bytes => 0,
            }),
            exchange,
            link: None,
            names: HashMap::from([
                ("agent".to_owned(), AGENT.to_owned()),
                ("solution".to_owned(), solution),
            ]),
            tail: Tail::default(),
            tails: TailPool::new(4),
            to_miner: Sent::default(),
            to_pool: Vec::new(),
            last_job: String::new(),
            last_share: String::new(),
            nonce_1: String::new(),
            crowd: 0,
        }
    }

    fn run(mut self) {
        self.exchange.handle_connect(NOW, MINER);
        self.finish_round();
        if self.transcript.directive("pool").is_some() {
            self.to_pool.clear();
        }
        let lines = &self.transcript.lines;
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            match &line.what {
                What::Heard(peer, _) => {
                    self.nothing_is_left_over(line.number);
                    // What one peer says without waiting for an answer comes in one piece.
                    let mut heard = String::new();
                    while let Some(What::Heard(next, text)) = lines.get(at).map(|line| &line.what)
                        && next == peer
                    {
                        heard.push_str(&self.filled_in(text));
                        heard.push('\n');
                        at += 1;
                    }
                    self.hear(*peer, &heard);
                    continue;
                }
                What::Said(peer, text) => self.expect(line.number, *peer, text),
                What::Directive(key, value) => self.direct(key, value),
            }
            at += 1;
        }
        self.nothing_is_left_over(lines.len());
        let counters = self.exchange.counters();
        assert_eq!(counters.answers_unexpected, self.unexpected(), "{self}");
    }

    /// Answers of the pool to a share that was never sent; only the zoo has one.
    fn unexpected(&self) -> u64 {
        u64::from(self.transcript.name == "reply-zoo")
    }

    fn direct(&mut self, key: &str, value: &str) {
        match key {
            "pool" => {
                let mut words = value.split(' ');
                let mut result = format!("null,\"{}\"", words.next().unwrap_or_default());
                if let Some(size) = words.next() {
                    result.push(',');
                    result.push_str(size);
                }
                if let Some(mask) = words.next() {
                    self.hear(
                        Peer::Pool,
                        &format!(
                            "{{\"id\":4,\"result\":{{\"version-rolling\":true,\
                             \"version-rolling.mask\":\"{mask}\"}},\"error\":null}}\n"
                        ),
                    );
                }
                let answer = format!("{{\"id\":1,\"result\":[{result}],\"error\":null}}\n");
                self.hear(Peer::Pool, &answer);
                self.hear(Peer::Pool, "{\"id\":2,\"result\":true,\"error\":null}\n");
                self.to_pool.clear();
            }
            "slot" => {
                let wanted = u32::from_str_radix(value, 16).expect("a slot in hex");
                for _ in 0..wanted {
                    self.crowd += 1;
                    let token = MinerToken {
                        index: self.crowd,
                        generation: 0,
                    };
                    let line = match self.transcript.coin() {
                        Coin::Monero => r#"{"id":1,"method":"login","params":{"login":"other"}}"#,
                        _ => r#"{"id":1,"method":"mining.subscribe","params":[]}"#,
                    };
                    self.exchange.handle_connect(NOW, token);
                    self.exchange.handle_miner_line(NOW, token, line.as_bytes());
                }
                self.finish_round();
            }
            "let" => {
                let (name, text) = value.split_once(' ').expect("a name and a text");
                self.names.insert(name.to_owned(), text.to_owned());
            }
            "block" => {
                let hash = match self.transcript.coin() {
                    Coin::Equihash(_) => self.block_hash(),
                    Coin::Bitcoin => self.bitcoin_hash(),
                    Coin::Monero => panic!("nobody here can hash that"),
                };
                assert_eq!(hash, value, "{self}");
                assert_eq!(self.hash_by_dialect(), value, "{self}: by the dialect");
            }
            "side"
            | "parameters"
            | "slot_bytes"
            | "extranonce_subscribe"
            | "user_agent"
            | "version_rolling"
            | "algorithms" => {}
            key => panic!("{}: what is `@ {key}`?", self.transcript.name),
        }
    }

    /// The text with the names that are known put in.
    fn filled_in(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (name, value) in &self.names {
            filled = filled.replace(&format!("{{{name}}}"), value);
        }
        filled
    }

    fn hear(&mut self, peer: Peer, text: &str) {
        for line in text.lines().filter(|_| peer == Peer::Pool) {
            if line.contains("mining.notify\"") && line.contains("\"params\"") {
                line.clone_into(&mut self.last_job);
            } else if line.contains("\"id\":1,") {
                line.clone_into(&mut self.nonce_1);
            }
        }
        if peer != self.transcript.side {
            for line in text.lines() {
                self.hear_line(peer, line.as_bytes());
            }
            self.finish_round();
            return;
        }
        for piece in self.cuts.pieces(text.as_bytes(), &mut self.random) {
            let (mut tail, mut tails) = (
                std::mem::take(&mut self.tail),
                std::mem::replace(&mut self.tails, TailPool::new(0)),
            );
            let mut lines = cut(&mut tail, &mut tails, &piece, LINE_LEN_MAX);
            while let Some(line) = lines.next() {
                self.hear_line(peer, line.expect("no line is too long"));
            }
            drop(lines);
            (self.tail, self.tails) = (tail, tails);
            self.finish_round();
        }
    }

    fn hear_line(&mut self, peer: Peer, line: &[u8]) {
        match peer {
            Peer::Miner => self.exchange.handle_miner_line(NOW, MINER, line),
            Peer::Pool => {
                let link = self.link.expect("the link was dialled");
                self.exchange.handle_link_line(NOW, link, line);
            }
        }
    }

    /// What a shell does at the end of its round.
    fn finish_round(&mut self) {
        while let Some(command) = self.exchange.poll_command() {
            match command {
                Command::Dial { link, .. } => {
                    self.exchange.handle_link_connected(NOW, link);
                    self.link = Some(link);
                }
                Command::HangUp(link) => panic!("{link:?} is hung up: {:?}", self.exchange),
            }
        }
        if let Some(link) = self.link {
            loop {
                let bytes = self.exchange.unwritten(link);
                let len = bytes.len();
                if len == 0 {
                    break;
                }
                self.to_pool.extend_from_slice(bytes);
                self.exchange.wrote(NOW, link, len);
            }
        }
        self.exchange.flush(&mut self.to_miner);
    }

    fn expect(&mut self, number: usize, peer: Peer, template: &str) {
        let out = match peer {
            Peer::Miner => &mut self.to_miner.0,
            Peer::Pool => &mut self.to_pool,
        };
        let Some(end) = out.iter().position(|&byte| byte == b'\n') else {
            panic!("{self}, line {number}: the {peer:?} hears nothing, not {template}");
        };
        let line: Vec<u8> = out.drain(..=end).collect();
        let line = String::from_utf8(line).expect("text");
        let line = line.trim_end_matches('\n');
        assert!(line.ends_with('}'), "{self}, line {number}: {line:?}");
        if peer == Peer::Pool && line.contains("mining.submit") {
            line.clone_into(&mut self.last_share);
        }
        let expected = self.filled_in(template);
        if let Some((name, value)) = capture(&expected, line) {
            assert!(
                value.len() <= 8
                    && value
                        .bytes()
                        .all(|byte| b"0123456789abcdef".contains(&byte)),
                "{self}, line {number}: {value:?} is no job id"
            );
            let used = self.names.values().any(|other| *other == value);
            assert!(!used, "{self}, line {number}: {value} names two jobs");
            self.names.insert(name, value);
        } else {
            assert_eq!(line, expected, "{self}, line {number}");
        }
    }

    fn nothing_is_left_over(&self, number: usize) {
        for out in [&self.to_miner.0, &self.to_pool] {
            let text = String::from_utf8_lossy(out);
            assert_eq!(
                text, "",
                "{self}, before line {number}: nobody expects this"
            );
        }
    }

    /// What the dialect finds that our last share hashes to: as the pool sees it, with no slot.
    fn hash_by_dialect(&self) -> String {
        let dialect = self.transcript.coin().dialect();
        let [mut of_job, mut of_share, mut of_nonce] = [(); 3].map(|()| Reader::new());
        let job = of_job.read(self.last_job.as_bytes()).expect("a job");
        let Ok(PoolMessage::Job(job)) = dialect.read_pool_message(b"mining.notify", job.params)
        else {
            panic!("{self}: {job:?}");
        };
        let share = of_share.read(self.last_share.as_bytes()).expect("a share");
        let Ok(MinerRequest::Submit(submit)) =
            dialect.read_miner_request(b"mining.submit", share.params)
        else {
            panic!("{self}: {share:?}");
        };
        let [.., bits, _] = submit.fields;
        let rolled = bits.trim_ascii().strip_prefix(b"\"").unwrap_or(bits);
        let rolled = rolled.strip_suffix(b"\"").unwrap_or(rolled);
        let nonce = of_nonce.read(self.nonce_1.as_bytes()).expect("an answer");
        let result = nonce.result.expect("a subscription");
        let subscription = dialect.read_subscription(result).expect("a subscription");
        let terms = ShareTerms {
            extranonce2_len: subscription.extranonce2_len,
            slot: &[],
            // Those that it rolled are among those that it may.
            version_mask: VersionMask::parse(rolled).unwrap_or(VersionMask::NONE),
            time_max: u64::MAX,
        };
        let hash = dialect.share_hash(&job, &subscription.extranonce1, terms, &submit);
        let hash = hash.expect("it can be computed here");
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What the header hashes to that our last share makes of the pool's last job.
    fn bitcoin_hash(&self) -> String {
        let job = params(&self.last_job, "params");
        let share = params(&self.last_share, "params");
        let extranonce1 = unhex(&params(&self.nonce_1, "result")[1]);
        let number = |digits: &str| u32::from_str_radix(digits, 16).expect("a number in hex");
        let mut previous = unhex(&job[1]);
        previous.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        let branches = branches(&self.last_job);
        let work = Work {
            previous: previous.try_into().expect("a hash"),
            coinbase: [unhex(&job[2]), unhex(&job[3])],
            branches,
            version: number(&job[5]),
            bits: number(&job[6]),
        };
        let bits = share.get(5).map_or(0, |digits| number(digits));
        let header = work.header(&Rolled {
            extranonce: [&extranonce1, &unhex(&share[2])],
            time: number(&share[3]),
            nonce: number(&share[4]),
            version: (bits, bits),
        });
        share_hash(&header)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// SHA256d over header, nonce and solution with its length, as the number it is.
    fn block_hash(&self) -> String {
        let job = params(&self.last_job, "params");
        let share = params(&self.last_share, "params");
        let nonce_1 = &params(&self.nonce_1, "result")[1];
        let header = [&job[1], &job[2], &job[3], &job[4], &share[2], &job[6]];
        let mut digits: String = header.into_iter().map(String::as_str).collect();
        digits.push_str(nonce_1);
        digits.push_str(&share[3]);
        assert_eq!(digits.len(), 2 * 140, "{self}");
        digits.push_str(&share[4]);
        let hash = Sha256::digest(Sha256::digest(unhex(&digits)));
        hash.iter()
            .rev()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl std::fmt::Display for Play<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Transcript { dialect, name, .. } = self.transcript;
        write!(f, "{dialect}/{name}, {:?}", self.cuts)
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

/// The merkle branches of a notify.
fn branches(line: &str) -> Vec<[u8; 32]> {
    let mut reader = Reader::new();
    let message = reader.read(line.as_bytes()).expect("JSON");
    let branches = message.params.and_then(|params| params.elements().nth(4));
    let branch = |value: stratum_uring::wire::Raw<'_>| {
        let digits = value.as_text().expect("hex");
        unhex(&digits).try_into().expect("a hash")
    };
    branches.expect("a list").elements().map(branch).collect()
}

/// The one name in `template` that is not known yet, with what stands in its place in `line`.
fn capture(template: &str, line: &str) -> Option<(String, String)> {
    let start = template.match_indices('{').find_map(|(at, _)| {
        let name = template[at + 1..].split('}').next()?;
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
        plain.then_some((at, name))
    });
    let (at, name) = start?;
    let after = &template[at + name.len() + 2..];
    let rest = line.strip_prefix(&template[..at])?;
    let value = rest.strip_suffix(after)?;
    Some((name.to_owned(), value.to_owned()))
}

/// The strings in a line's array.
fn params(line: &str, key: &str) -> Vec<String> {
    let mut reader = Reader::new();
    let message = reader.read(line.as_bytes()).expect("JSON");
    let array = if key == "result" {
        message.result
    } else {
        message.params
    };
    let array = array.expect("an array");
    let text = |value: stratum_uring::wire::Raw<'_>| value.as_text().unwrap_or_default().into();
    array.elements().map(text).collect()
}

#[test]
fn every_transcript_of_equihash_has_the_same_answers_however_it_is_cut() {
    assert!(play_all("equihash") >= 18);
}

#[test]
fn every_transcript_of_bitcoin_has_the_same_answers_however_it_is_cut() {
    assert!(play_all("bitcoin") >= 18);
}

#[test]
fn every_transcript_of_monero_has_the_same_answers_however_it_is_cut() {
    assert!(play_all("monero") >= 3);
}

fn play_all(dialect: &'static str) -> usize {
    let transcripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let folder = transcripts.join(dialect);
    let mut played = 0;
    for entry in std::fs::read_dir(folder).expect("the transcripts") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("a text");
        let transcript = Transcript::parse(dialect, &name, &text);
        let random = (0..RANDOM_CUTS).map(Cuts::Random);
        for cuts in [Cuts::Whole, Cuts::Bytes].into_iter().chain(random) {
            Play::new(&transcript, cuts).run();
        }
        played += 1;
    }
    played
}
