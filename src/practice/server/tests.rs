use std::{
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    num::NonZero,
};

use super::*;
use crate::{
    practice::{
        equihash::{HEADER_LEN, NONCE_LEN},
        settings::Judge,
        solver::Solver,
    },
    wire::hex,
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn start(settings: PracticeSettings) -> PracticeServer {
    PracticeServer::start(settings, LOOPBACK).unwrap()
}

/// No jobs but those that a test asks for.
fn settings() -> PracticeSettings {
    PracticeSettings {
        job_interval: Duration::ZERO,
        shares_remembered_max: 1000,
        ..PracticeSettings::default()
    }
}

fn shape() -> PracticeSettings {
    PracticeSettings {
        judge: Judge::Shape,
        ..settings()
    }
}

/// A miner with a socket of its own.
struct Miner {
    lines: BufReader<TcpStream>,
    nonce_1: Vec<u8>,
    job: Vec<String>,
}

impl Miner {
    fn connect(server: &PracticeServer) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self {
            lines: BufReader::new(stream),
            nonce_1: Vec::new(),
            job: Vec::new(),
        }
    }

    /// Connected, subscribed, authorized, and with a job.
    fn ready(server: &PracticeServer) -> Self {
        let mut miner = Self::connect(server);
        miner.send(concat!(
            r#"{"id":1,"method":"mining.subscribe","params":["test/1.0",null,"host",3333]}"#,
            "\n",
            r#"{"id":2,"method":"mining.authorize","params":["a.rig1","x"]}"#,
            "\n",
        ));
        let subscribed = miner.line();
        let nonce_1 = subscribed.split('"').nth(7).unwrap().to_owned();
        miner.nonce_1 = vec![0; nonce_1.len() / 2];
        hex::decode_into(nonce_1.as_bytes(), &mut miner.nonce_1).unwrap();
        assert_eq!(miner.line(), r#"{"id":2,"result":true,"error":null}"#);
        assert!(miner.line().contains("mining.set_target"));
        miner.take_job();
        miner
    }

    fn send(&mut self, text: &str) {
        self.lines.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert_eq!(line.pop(), Some('\n'), "the link ended");
        line
    }

    /// How the link ends, after any more lines.
    fn end(&mut self) -> Option<ErrorKind> {
        let mut rest = Vec::new();
        self.lines
            .read_to_end(&mut rest)
            .err()
            .map(|error| error.kind())
    }

    fn take_job(&mut self) {
        let line = self.line();
        assert!(line.contains("mining.notify"), "{line}");
        let fields = line.split('"').skip(1).step_by(2).skip(4);
        self.job = fields.map(str::to_owned).collect();
        assert_eq!(self.job.len(), 7);
    }

    /// A share with this nonce_2, which ends in `number`, and this solution.
    fn share(&self, id: u32, number: u32, solution: &[u8]) -> String {
        let mut digits = Vec::new();
        hex::append_encoded(&mut digits, solution);
        format!(
            concat!(
                r#"{{"id":{},"method":"mining.submit","params":"#,
                r#"["a.rig1","{}","{}","{:0width$x}","24{}"]}}"#,
                "\n"
            ),
            id,
            self.job[0],
            self.job[5],
            number,
            String::from_utf8(digits).unwrap(),
            width = 2 * (NONCE_LEN - self.nonce_1.len()),
        )
    }

    /// A share of filler bytes.
    fn filler(&self, id: u32) -> String {
        self.share(id, id, &[0x5a; 36])
    }

    /// The next share with a real solution, from this number on.
    fn mine(&self, solver: &mut Solver, id: u32, number: &mut u32) -> String {
        let mut header = [0; HEADER_LEN];
        hex::decode_into(self.job[1..].concat().as_bytes(), &mut header).unwrap();
        loop {
            *number += 1;
            let mut nonce = [0; NONCE_LEN];
            nonce[..self.nonce_1.len()].copy_from_slice(&self.nonce_1);
            nonce[28..].copy_from_slice(&number.to_be_bytes());
            if let Some(solution) = solver.solve(&header, &nonce).first() {
                return self.share(id, *number, solution);
            }
        }
    }
}

fn agreed(id: u32) -> String {
    format!(r#"{{"id":{id},"result":true,"error":null}}"#)
}

#[test]
fn real_shares_over_tcp_are_judged_fully_and_accepted() {
    let server = start(settings());
    server.turn_knobs(|knobs| knobs.record = true);
    let mut miners = [Miner::ready(&server), Miner::ready(&server)];
    let mut solver = Solver::new();
    let mut number = 0;
    for clean in [false, true] {
        for miner in &mut miners {
            for id in 10..30 {
                let share = miner.mine(&mut solver, id, &mut number);
                miner.send(&share);
                assert_eq!(miner.line(), agreed(id));
            }
        }
        server.announce_job(clean);
        for miner in &mut miners {
            miner.take_job();
        }
    }
    let counters = server.counters();
    assert_eq!((counters.subscribes, counters.authorizes), (2, 2));
    assert_eq!(
        (counters.shares_accepted, counters.shares_rejected.total()),
        (80, 0)
    );
    let nonces: std::collections::BTreeSet<_> = server
        .accepted_shares()
        .into_iter()
        .map(|share| share.nonce)
        .collect();
    assert_eq!(nonces.len(), 80);
    assert_ne!(miners[0].nonce_1, miners[1].nonce_1);
    server.stop();
}

#[test]
fn all_lines_of_a_burst_are_answered_in_order() {
    let server = start(shape());
    let mut miner = Miner::ready(&server);
    let shares: String = (1..=500).map(|id| miner.filler(id)).collect();
    miner.send(&shares);
    for id in 1..=500 {
        assert_eq!(miner.line(), agreed(id));
    }
    assert_eq!(server.counters().shares_accepted, 500);
}

#[test]
fn jobs_come_in_time_and_never_inside_an_answer() {
    let server = start(PracticeSettings {
        job_interval: Duration::from_millis(2),
        block_interval_jobs: 1000,
        ..shape()
    });
    let mut miner = Miner::ready(&server);
    let (mut jobs, mut answers, mut sent) = (0, 0, 0);
    while jobs < 20 {
        if sent == answers {
            let shares: String = (sent..sent + 50).map(|id| miner.filler(id)).collect();
            miner.send(&shares);
            sent += 50;
        }
        let line = miner.line();
        if line.contains("mining.notify") {
            assert!(
                line.starts_with("{\"id\":null,") && line.ends_with(",false]}"),
                "{line}"
            );
            jobs += 1;
        } else {
            assert_eq!(line, agreed(answers));
            answers += 1;
        }
    }
}

#[test]
fn delayed_answers_keep_their_order_with_jobs() {
    let server = start(shape());
    let mut miner = Miner::ready(&server);
    let delay = Duration::from_millis(60);
    server.turn_knobs(|knobs| knobs.reply_delay = delay);
    let sent = now();
    let shares = miner.filler(1) + &miner.filler(2);
    miner.send(&shares);
    assert!(server.wait_for(DEADLINE, |counters| counters.shares_accepted == 2));
    server.announce_job(true);
    assert_eq!(miner.line(), agreed(1));
    assert!(sent.elapsed() >= delay);
    assert_eq!(miner.line(), agreed(2));
    miner.take_job();
}

#[test]
fn dropped_links_are_reset_and_their_session_can_come_back() {
    let server = start(shape());
    let mut miner = Miner::connect(&server);
    miner.send("{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n");
    let answer = miner.line();
    let session = answer.split('"').nth(5).unwrap();
    server.drop_links();
    assert_eq!(miner.end(), Some(ErrorKind::ConnectionReset));
    assert_eq!(server.counters().links_closed, 1);
    let mut again = Miner::connect(&server);
    let resume = format!(r#"{{"id":1,"method":"mining.subscribe","params":[null,"{session}"]}}"#);
    again.send(&(resume + "\n"));
    assert_eq!(again.line(), answer);
}

#[test]
fn a_link_ends_when_the_knob_says_so() {
    let server = start(shape());
    let mut miner = Miner::ready(&server);
    server.turn_knobs(|knobs| knobs.close_after_shares = NonZero::new(3));
    let shares: String = (1..=3).map(|id| miner.filler(id)).collect();
    miner.send(&shares);
    assert_eq!(miner.line(), agreed(1));
    assert_eq!(miner.line(), agreed(2));
    assert_eq!(miner.end(), None);
    assert!(server.wait_for(DEADLINE, |counters| counters.links_closed == 1));
    assert_eq!(server.counters().shares_accepted, 3);
}

#[test]
fn another_nonce_1_comes_with_a_clean_job() {
    let server = start(shape());
    let mut miner = Miner::ready(&server);
    assert!(server.set_extranonce(server.links()[0]));
    assert!(miner.line().contains("mining.set_extranonce"));
    let before = miner.job.clone();
    miner.take_job();
    assert_ne!(miner.job, before);
}

#[test]
fn a_line_too_long_ends_the_link() {
    let server = start(shape());
    let mut miner = Miner::ready(&server);
    // What follows may meet the reset of a link that ended with bytes unread.
    let _ = miner
        .lines
        .get_mut()
        .write_all(&vec![b'x'; LINE_LEN_MAX + 1]);
    assert!(server.wait_for(DEADLINE, |counters| counters.links_closed == 1));
}

#[test]
fn a_stopped_server_leaves_its_port_and_its_links() {
    let server = start(shape());
    let address = server.address();
    let mut miner = Miner::ready(&server);
    server.stop();
    miner.end();
    assert!(TcpStream::connect(address).is_err());
    let again = PracticeServer::start(shape(), address).unwrap();
    Miner::ready(&again);
}

#[test]
fn settings_that_contradict_each_other_are_an_invalid_input() {
    let wrong = PracticeSettings {
        nonce_1_bytes: 0,
        ..settings()
    };
    let error = PracticeServer::start(wrong, LOOPBACK).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
