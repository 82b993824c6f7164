#![expect(
    clippy::disallowed_methods,
    reason = "a test waits for a condition with a deadline"
)]
//! The ring against real sockets on the loopback interface.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use super::*;

mod limits;
mod slow;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    Accepted(Token, ListenerId, SocketAddr),
    Connected(Token),
    Received(Token, Vec<u8>),
    Ended(Token, End),
    Blocked {
        token: Token,
        sent: usize,
        pieces: Vec<SentPiece>,
        bytes: Vec<u8>,
    },
    Writable(Token),
    AcceptFailed(ListenerId, Option<i32>),
    TableFull(ListenerId),
    Rang,
}

#[derive(Default)]
pub(super) struct Recorder(pub(super) Vec<Event>);

impl RingHandler for Recorder {
    fn accepted(&mut self, token: Token, listener: ListenerId, peer: SocketAddr) {
        self.0.push(Event::Accepted(token, listener, peer));
    }
    fn connected(&mut self, token: Token) {
        self.0.push(Event::Connected(token));
    }
    fn received(&mut self, token: Token, bytes: &mut [u8]) {
        self.0.push(Event::Received(token, bytes.to_vec()));
        bytes.fill(0);
    }
    fn ended(&mut self, token: Token, end: End) {
        self.0.push(Event::Ended(token, end));
    }
    fn blocked(&mut self, token: Token, sent: usize, pieces: &[SentPiece], bytes: &[u8]) {
        let (pieces, bytes) = (pieces.to_vec(), bytes.to_vec());
        self.0.push(Event::Blocked {
            token,
            sent,
            pieces,
            bytes,
        });
    }
    fn writable(&mut self, token: Token) {
        self.0.push(Event::Writable(token));
    }
    fn accept_failed(&mut self, listener: ListenerId, error: io::Error) {
        self.0
            .push(Event::AcceptFailed(listener, error.raw_os_error()));
    }
    fn table_full(&mut self, listener: ListenerId) {
        self.0.push(Event::TableFull(listener));
    }
    fn rang(&mut self) {
        self.0.push(Event::Rang);
    }
}

/// One round: wait a little, and hand each event to `on_event` with the ring.
fn turn(ring: &mut MinerRing, mut on_event: impl FnMut(&mut MinerRing, Event)) {
    ring.wait_blocking(Duration::from_millis(2));
    let mut recorder = Recorder::default();
    ring.drain(&mut recorder);
    for event in recorder.0 {
        on_event(ring, event);
    }
}

/// Rounds until `done`, which sees each event as it comes, and `None` after each round.
fn until(
    what: &str,
    ring: &mut MinerRing,
    mut done: impl FnMut(&mut MinerRing, Option<Event>) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut is_done = false;
    loop {
        turn(ring, |ring, event| is_done |= done(ring, Some(event)));
        if is_done || done(ring, None) {
            return;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
    }
}

pub(super) fn small_config() -> RingConfig {
    RingConfig {
        connections_max: 64,
        receive_buffers: 64,
        ..RingConfig::default()
    }
}

fn listening(configure: impl FnOnce(&Socket)) -> (OwnedFd, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    configure(&socket);
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("bind");
    socket.listen(4096).expect("listen");
    let address = socket
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("internet");
    (socket.into(), address)
}

pub(super) fn ring_with_listener(config: &RingConfig) -> (MinerRing, SocketAddr) {
    let mut ring = MinerRing::new(config).expect("ring");
    let (listener, address) = listening(|_| ());
    ring.listen(listener);
    (ring, address)
}

pub(super) fn client(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("connect");
    client
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("timeout");
    client.set_nodelay(true).expect("nodelay");
    client
}

/// Connects `count` clients and returns them with their tokens, in order.
fn accept_clients(
    ring: &mut MinerRing,
    address: SocketAddr,
    count: usize,
) -> Vec<(TcpStream, Token)> {
    accept_all(ring, (0..count).map(|_| client(address)).collect())
}

fn accept_all(ring: &mut MinerRing, clients: Vec<TcpStream>) -> Vec<(TcpStream, Token)> {
    let mut tokens = HashMap::new();
    until("the clients are accepted", ring, |_, event| {
        if let Some(Event::Accepted(token, _, peer)) = event {
            tokens.insert(peer, token);
        }
        tokens.len() == clients.len()
    });
    let token = |it: &TcpStream| tokens[&it.local_addr().expect("bound")];
    clients
        .into_iter()
        .map(|it| (token(&it), it))
        .map(|(token, it)| (it, token))
        .collect()
}

/// A client whose kernel takes in little before its reader does.
fn narrow_client(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    socket.set_recv_buffer_size(4 * 1024).expect("option");
    socket.connect(&address.into()).expect("connect");
    socket.into()
}

/// Bytes that show when one is missing, or another connection's.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..251_u8).cycle().skip(seed % 251).take(len).collect()
}

/// What the peer has sent, up to the end of the stream.
fn read_to_end(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).map(|_| bytes)
}

pub(super) fn reads(client: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    client.read_exact(&mut bytes).expect("bytes");
    assert_eq!(bytes, expected);
}

#[test]
fn an_accept_reports_the_peer_and_bytes_are_echoed() {
    let (mut ring, address) = ring_with_listener(&small_config());
    let mut client = client(address);
    client.write_all(b"hello\n").expect("write");
    let mut accepted = None;
    until("the echo", &mut ring, |ring, event| match event {
        Some(Event::Accepted(token, listener, peer)) => {
            assert_eq!(listener, ListenerId(0));
            assert_eq!(peer, client.local_addr().expect("bound"));
            accepted = Some(token);
            false
        }
        Some(Event::Received(token, bytes)) => {
            assert_eq!(accepted, Some(token));
            ring.send_copied(token, &[(&bytes, 1), (b"", 2), (b"world\n", 3)]);
            ring.submit();
            true
        }
        _ => false,
    });
    reads(&mut client, b"hello\nworld\n");
    assert_eq!((ring.connections(), ring.free_slots()), (1, 63));
    drop(client);
    until("the end", &mut ring, |_, event| {
        event == Some(Event::Ended(accepted.expect("accepted"), End::Closed))
    });
    until("the close", &mut ring, |ring, _| ring.connections() == 0);
}

#[test]
fn an_ipv4_peer_of_a_listener_for_both_is_shown_as_ipv4() {
    let Ok(socket) = Socket::new(Domain::IPV6, Type::STREAM, None) else {
        return;
    };
    socket.set_only_v6(false).expect("option");
    if socket
        .bind(&"[::]:0".parse::<SocketAddr>().expect("address").into())
        .is_err()
    {
        return;
    }
    socket.listen(16).expect("listen");
    let port = socket
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("internet")
        .port();
    let mut ring = MinerRing::new(&small_config()).expect("ring");
    ring.listen(socket.into());
    accept_clients(&mut ring, SocketAddr::from(([127, 0, 0, 1], port)), 1);
}

#[test]
fn two_thousand_connections_are_served() {
    let config = RingConfig {
        connections_max: 4096,
        ..RingConfig::default()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut clients = accept_clients(&mut ring, address, 2000);
    assert_eq!(ring.connections(), 2000);
    for (at, (client, _)) in clients.iter_mut().enumerate() {
        client
            .write_all(format!("miner {at}\n").as_bytes())
            .expect("write");
    }
    let mut answered = 0;
    until("all lines", &mut ring, |ring, event| {
        if let Some(Event::Received(token, bytes)) = event {
            ring.send_copied(token, &[(&bytes, 0)]);
            answered += 1;
        }
        answered == 2000
    });
    ring.submit();
    for (at, (client, _)) in clients.iter_mut().enumerate() {
        reads(client, format!("miner {at}\n").as_bytes());
    }
    for (client, _) in &clients {
        client.shutdown(Shutdown::Both).expect("shutdown");
    }
    until("all ends", &mut ring, |ring, _| ring.connections() == 0);
}

/// A sender that never breaks a stream: it finishes what was cut short, then goes on.
struct Sender {
    expected: Vec<u8>,
    rest: Vec<u8>,
    blocked: bool,
    left: usize,
    times_blocked: usize,
    times_cut: usize,
}

#[test]
fn a_peer_that_does_not_read_blocks_and_its_stream_stays_exact() {
    const SENDS: usize = 150;
    let mut ring = MinerRing::new(&small_config()).expect("ring");
    let (listener, address) = listening(|it| it.set_send_buffer_size(8 * 1024).expect("option"));
    ring.listen(listener);
    let narrow = (0..6).map(|_| narrow_client(address)).collect();
    let mut clients = accept_all(&mut ring, narrow);
    let mut senders: HashMap<Token, Sender> = clients
        .iter()
        .map(|(_, token)| {
            let (expected, rest) = (Vec::new(), Vec::new());
            let sender = Sender {
                expected,
                rest,
                blocked: false,
                left: SENDS,
                times_blocked: 0,
                times_cut: 0,
            };
            (*token, sender)
        })
        .collect();
    let mut got: HashMap<Token, Vec<u8>> = HashMap::new();
    let mut reading = false;
    let mut number = 0_u32;
    until("all bytes", &mut ring, |ring, event| {
        match event {
            Some(Event::Blocked {
                token,
                sent,
                pieces,
                bytes,
            }) => {
                let sender = senders.get_mut(&token).expect("known");
                assert!(!sender.blocked, "one send in a round is blocked once");
                let len: usize = pieces.iter().map(|it| it.len as usize).sum();
                assert_eq!(len, bytes.len());
                assert!(sent < bytes.len());
                match pieces.as_slice() {
                    [a, b, c] => assert_eq!((a.tag, b.tag, c.tag), (1, 2, 3)),
                    [one] => assert!(one.tag == 4 || one.tag == 5),
                    _ => panic!("{} pieces", pieces.len()),
                }
                sender.rest = bytes[sent..].to_vec();
                sender.blocked = true;
                sender.times_blocked += 1;
                sender.times_cut += usize::from(sent > 0);
            }
            Some(Event::Writable(token)) => {
                let sender = senders.get_mut(&token).expect("known");
                assert!(sender.blocked);
                sender.blocked = false;
            }
            Some(Event::Ended(token, end)) => panic!("{token:?} ended: {end:?}"),
            Some(_) => {}
            None => {
                for (token, sender) in &mut senders {
                    if sender.blocked {
                        continue;
                    }
                    if !sender.rest.is_empty() {
                        ring.send_copied(*token, &[(&mem::take(&mut sender.rest), 5)]);
                    } else if sender.left > 0 {
                        sender.left -= 1;
                        number += 1;
                        let line = format!("{number:08}").repeat(1 + number as usize % 900);
                        sender.expected.extend_from_slice(line.as_bytes());
                        if number.is_multiple_of(3) {
                            ring.send_shared(*token, &Rc::from(line.as_bytes()), 4);
                        } else if number % 3 == 1 {
                            ring.send_written(*token, line.len() + 100, 4, |place| {
                                place[..line.len()].copy_from_slice(line.as_bytes());
                                line.len()
                            });
                        } else {
                            let (a, b) = line.as_bytes().split_at(3);
                            let (b, c) = b.split_at(b.len() / 2);
                            ring.send_copied(*token, &[(a, 1), (b, 2), (c, 3)]);
                        }
                    }
                }
                ring.submit();
                reading |= senders.values().all(|it| it.blocked);
                if reading {
                    for (client, token) in &mut clients {
                        client.set_nonblocking(true).expect("option");
                        let mut chunk = [0; 3000];
                        match client.read(&mut chunk) {
                            Ok(len) => got.entry(*token).or_default().extend(&chunk[..len]),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                        }
                    }
                }
            }
        }
        senders.iter().all(|(token, it)| {
            it.left == 0
                && got
                    .get(token)
                    .is_some_and(|got| got.len() == it.expected.len())
        })
    });
    for (token, sender) in &senders {
        assert!(got[token] == sender.expected, "the stream is exact");
        assert!(sender.times_blocked > 1 && sender.times_cut > 0);
    }
}

#[test]
fn sends_behind_one_that_was_cut_short_are_handed_back_in_order() {
    let mut ring = MinerRing::new(&small_config()).expect("ring");
    let (listener, address) = listening(|it| it.set_send_buffer_size(8 * 1024).expect("option"));
    ring.listen(listener);
    let mut clients = accept_clients(&mut ring, address, 1);
    let (client, token) = &mut clients[0];
    let line: Rc<[u8]> = vec![b'a'; 8 * 1024 * 1024].into();
    ring.send_shared(*token, &line, 1);
    // Without a drain in between: the ring knows that the first was cut short, the caller does not.
    ring.send_copied(*token, &[(b"second", 2), (b"!", 3)]);
    ring.send_shared(*token, &Rc::from(b"third".as_slice()), 4);
    ring.send_written(*token, 100, 5, |place| {
        place[..6].copy_from_slice(b"fourth");
        6
    });
    let mut refused = Vec::new();
    until("all refusals", &mut ring, |_, event| {
        if let Some(Event::Blocked {
            sent,
            pieces,
            bytes,
            ..
        }) = event
        {
            refused.push((sent, pieces, bytes));
        }
        refused.len() == 4
    });
    let sent = refused[0].0;
    assert!(sent > 0 && sent < line.len());
    assert_eq!(
        refused[0].1,
        [SentPiece {
            tag: 1,
            len: 8 * 1024 * 1024
        }]
    );
    let pieces = vec![SentPiece { tag: 2, len: 6 }, SentPiece { tag: 3, len: 1 }];
    assert_eq!(refused[1], (0, pieces, b"second!".to_vec()));
    assert_eq!(
        refused[2],
        (0, vec![SentPiece { tag: 4, len: 5 }], b"third".to_vec())
    );
    assert_eq!(
        refused[3],
        (0, vec![SentPiece { tag: 5, len: 6 }], b"fourth".to_vec())
    );
    // Closing with a poll armed leaves nothing behind; the peer gets what the kernel had taken.
    ring.close(*token, Close::Graceful);
    ring.submit();
    assert_eq!(read_to_end(client).expect("a graceful end").len(), sent);
    until("the close", &mut ring, |ring, _| ring.connections() == 0);
}

#[test]
fn two_sends_in_one_round_arrive_in_order() {
    let (mut ring, address) = ring_with_listener(&small_config());
    let mut clients = accept_clients(&mut ring, address, 1);
    let (client, token) = &mut clients[0];
    ring.send_copied(*token, &[(b"one ", 0)]);
    ring.send_shared(*token, &Rc::from(b"two ".as_slice()), 0);
    ring.send_copied(*token, &[(b"three", 0)]);
    ring.send_written(*token, 0, 0, |_| 0);
    ring.send_written(*token, 9, 0, |place| {
        place[..5].copy_from_slice(b" four");
        5
    });
    ring.submit();
    reads(client, b"one two three four");
}

#[test]
fn a_full_table_leaves_peers_in_the_backlog_until_places_are_free() {
    let config = RingConfig {
        connections_max: 8,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut clients: HashMap<SocketAddr, TcpStream> = (0..12)
        .map(|_| client(address))
        .map(|it| (it.local_addr().expect("bound"), it))
        .collect();
    let (mut accepted, mut times_full) = (Vec::new(), 0);
    let mut note = |accepted: &mut Vec<_>, ring: &mut MinerRing, event| match event {
        Some(Event::Accepted(token, _, peer)) => {
            ring.send_copied(token, &[(b"welcome", 0)]);
            accepted.push((token, peer));
        }
        Some(Event::TableFull(ListenerId(0))) => times_full += 1,
        Some(event) => panic!("{event:?}"),
        None => {}
    };
    until("eight are accepted", &mut ring, |ring, event| {
        note(&mut accepted, ring, event);
        accepted.len() == 8
    });
    for _ in 0..10 {
        turn(&mut ring, |ring, event| {
            note(&mut accepted, ring, Some(event))
        });
    }
    assert_eq!(
        (accepted.len(), ring.connections(), ring.free_slots()),
        (8, 8, 0)
    );

    for (token, _) in &accepted[..4] {
        ring.close(*token, Close::Graceful);
    }
    until("the other four are accepted", &mut ring, |ring, event| {
        note(&mut accepted, ring, event);
        accepted.len() == 12
    });
    turn(&mut ring, |ring, event| {
        note(&mut accepted, ring, Some(event))
    });
    assert_eq!(times_full, 2);
    for (at, (_, peer)) in accepted.iter().enumerate() {
        let client = clients.get_mut(peer).expect("known");
        reads(client, b"welcome");
        if at < 4 {
            assert_eq!(read_to_end(client).expect("a graceful end"), b"");
        }
    }
}

#[test]
fn a_listener_with_many_accepts_leaves_places_for_another() {
    let config = RingConfig {
        connections_max: 4,
        accepts_in_flight: 4,
        ..small_config()
    };
    let (mut ring, quiet) = ring_with_listener(&config);
    let (listener, busy) = listening(|_| ());
    assert_eq!(ring.listen(listener), ListenerId(1));
    // The first listener has all four accepts until the second one asks for its share.
    let clients = accept_clients(&mut ring, busy, 3);
    let other = accept_clients(&mut ring, quiet, 1);
    assert_eq!(ring.connections(), 4);
    drop((clients, other));
}

#[test]
fn a_ring_that_stops_accepting_refuses_peers_and_keeps_its_connections() {
    let (mut ring, address) = ring_with_listener(&small_config());
    let mut clients = accept_clients(&mut ring, address, 2);
    ring.stop_accepting();
    turn(&mut ring, |_, event| panic!("{event:?}"));
    let refused = TcpStream::connect(address).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    for (client, token) in &mut clients {
        ring.send_copied(*token, &[(b"still here", 0)]);
        ring.submit();
        reads(client, b"still here");
    }
}

#[test]
fn a_graceful_close_ends_the_stream_behind_the_reply() {
    let (mut ring, address) = ring_with_listener(&small_config());
    let mut clients = accept_clients(&mut ring, address, 1);
    let (client, token) = &mut clients[0];
    ring.send_copied(*token, &[(b"goodbye", 0)]);
    ring.close(*token, Close::Graceful);
    ring.close(*token, Close::Reset);
    ring.send_copied(*token, &[(b"too late", 0)]);
    ring.submit();
    assert_eq!(read_to_end(client).expect("a graceful end"), b"goodbye");
    until("the close", &mut ring, |ring, event| {
        assert_eq!(event, None, "a close that was asked for is not reported");
        ring.connections() == 0
    });
}

#[test]
fn a_reset_is_seen_as_one() {
    let (mut ring, address) = ring_with_listener(&small_config());
    let mut clients = accept_clients(&mut ring, address, 1);
    let (client, token) = &mut clients[0];
    ring.close(*token, Close::Reset);
    ring.submit();
    let error = read_to_end(client).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_peer_that_resets_is_reported_once() {
    let (mut ring, address) = ring_with_listener(&small_config());
    let clients = accept_clients(&mut ring, address, 2);
    let tokens: Vec<_> = clients.iter().map(|(_, token)| *token).collect();
    for (client, _) in clients {
        let client = Socket::from(client);
        client.set_linger(Some(Duration::ZERO)).expect("option");
    }
    // The sends meet the reset too.
    for token in &tokens {
        ring.send_copied(*token, &[(b"anybody?", 0)]);
    }
    let mut ended = Vec::new();
    until("the ends", &mut ring, |ring, event| {
        match event {
            Some(Event::Ended(token, end)) => {
                assert_eq!(end, End::Reset);
                ended.push(token);
            }
            Some(event) => panic!("{event:?}"),
            None => {}
        }
        ring.connections() == 0
    });
    assert_eq!(ended.len(), 2);
    assert!(tokens.iter().all(|it| ended.contains(it)));
}

#[test]
fn a_place_used_again_has_a_new_generation_and_no_events_of_the_old_one() {
    let config = RingConfig {
        connections_max: 1,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut seen: Vec<Token> = Vec::new();
    for round in 0..20 {
        let mut clients = accept_clients(&mut ring, address, 1);
        let (client, token) = &mut clients[0];
        assert!(token.index == 0 && !seen.contains(token));
        // What the old connection is still sent is not for the new one, and the other way round.
        for old in &seen {
            ring.send_copied(*old, &[(b"stale", 0)]);
            ring.close(*old, Close::Reset);
        }
        client
            .write_all(b"bytes that nobody will hear of")
            .expect("write");
        ring.send_copied(*token, &[(b"fresh", 0)]);
        let how = if round % 2 == 0 {
            Close::Graceful
        } else {
            Close::Reset
        };
        ring.submit();
        reads(client, b"fresh");
        ring.close(*token, how);
        until("the close", &mut ring, |ring, event| {
            assert!(
                matches!(event, None | Some(Event::TableFull(_))),
                "{event:?}"
            );
            ring.connections() == 0
        });
        seen.push(*token);
    }
}

#[test]
fn nothing_is_lost_when_the_buffers_run_out() {
    const LEN: usize = 60_000;
    let config = RingConfig {
        receive_buffers: 2,
        receive_buffer_len: 512,
        events_per_round_max: 3,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut clients = accept_clients(&mut ring, address, 20);
    let sent = |at: usize| pattern(at, LEN);
    for (at, (client, _)) in clients.iter_mut().enumerate() {
        client
            .write_all(&sent(at))
            .expect("the socket buffers hold it");
    }
    let mut got: HashMap<Token, Vec<u8>> = HashMap::new();
    until("all bytes", &mut ring, |_, event| {
        if let Some(Event::Received(token, bytes)) = event {
            assert!(bytes.len() <= 512);
            got.entry(token).or_default().extend(bytes);
        }
        got.len() == clients.len() && got.values().all(|it| it.len() == LEN)
    });
    for (at, (_, token)) in clients.iter().enumerate() {
        assert!(got[token] == sent(at));
    }
    // And the receives are armed again: all connections are heard once more.
    for (client, _) in &mut clients {
        client.write_all(b"again").expect("write");
    }
    let mut heard = 0;
    until("all again", &mut ring, |_, event| {
        heard += usize::from(matches!(event, Some(Event::Received(..))));
        heard == clients.len()
    });
}

#[test]
fn a_fan_out_larger_than_the_queue_reaches_everybody() {
    let config = RingConfig {
        connections_max: 2048,
        submission_entries: 64,
        ..RingConfig::default()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut clients = accept_clients(&mut ring, address, 1500);
    for job in 0..3 {
        let line: Rc<[u8]> = format!("job {job}\n").into_bytes().into();
        for (_, token) in &clients {
            ring.send_shared(*token, &line, 7);
        }
        ring.submit();
        assert_eq!(Rc::strong_count(&line), 1, "the line is ours again");
    }
    assert!(!ring.has_completions(), "success is silent");
    for (client, _) in &mut clients {
        reads(client, b"job 0\njob 1\njob 2\n");
    }
}

#[test]
fn sends_cut_short_in_the_middle_of_a_fan_out_are_resolved() {
    let mut config = small_config();
    config.submission_entries = 8;
    let mut ring = MinerRing::new(&config).expect("ring");
    let (listener, address) = listening(|it| it.set_send_buffer_size(8 * 1024).expect("option"));
    ring.listen(listener);
    let clients = accept_clients(&mut ring, address, 40);
    let line: Rc<[u8]> = pattern(0, 4 * 1024 * 1024).into();
    for (_, token) in &clients {
        ring.send_shared(*token, &line, 9);
    }
    let mut sent: HashMap<Token, usize> = HashMap::new();
    until("all are blocked", &mut ring, |_, event| {
        if let Some(Event::Blocked {
            token,
            sent: part,
            pieces,
            bytes,
        }) = event
        {
            assert_eq!(
                pieces,
                [SentPiece {
                    tag: 9,
                    len: 4 * 1024 * 1024
                }]
            );
            assert!(bytes[..] == line[..]);
            assert_eq!(sent.insert(token, part), None);
        }
        sent.len() == clients.len()
    });
    for (mut client, token) in clients {
        ring.close(token, Close::Graceful);
        ring.submit();
        let got = read_to_end(&mut client).expect("a graceful end");
        assert!(got[..] == line[..sent[&token]]);
    }
}

#[test]
fn many_connections_are_made_from_one_address() {
    let (listener, address) = listening(|_| ());
    let listener = TcpListener::from(listener);
    let config = RingConfig {
        connections_max: 500,
        ..small_config()
    };
    let mut ring = MinerRing::new(&config).expect("ring");
    let source = SocketAddr::from(([127, 0, 0, 2], 0));
    let tokens: Vec<_> = (0..500)
        .map(|_| ring.connect(Some(source), address).expect("room"))
        .collect();
    assert_eq!(ring.connect(Some(source), address), Err(TableFull));
    let mut connected = Vec::new();
    until("all are connected", &mut ring, |_, event| {
        match event {
            Some(Event::Connected(token)) => connected.push(token),
            Some(event) => panic!("{event:?}"),
            None => {}
        }
        connected.len() == 500
    });
    assert!(tokens.iter().all(|it| connected.contains(it)));
    let mut peers = Vec::new();
    for token in &tokens {
        ring.send_copied(*token, &[(b"hello", 0)]);
    }
    ring.submit();
    for _ in 0..500 {
        let (mut peer, from) = listener.accept().expect("accept");
        assert_eq!(from.ip(), source.ip());
        reads(&mut peer, b"hello");
        peer.write_all(b"welcome").expect("write");
        peers.push(peer);
    }
    let mut heard = 0;
    until("all answers", &mut ring, |_, event| {
        if let Some(Event::Received(_, bytes)) = event {
            assert_eq!(bytes, b"welcome");
            heard += 1;
        }
        heard == 500
    });
    for token in tokens {
        ring.close(token, Close::Reset);
    }
    until("all are closed", &mut ring, |ring, _| {
        ring.free_slots() == 500
    });
    for mut peer in peers {
        assert_eq!(
            read_to_end(&mut peer).expect_err("a reset").kind(),
            ErrorKind::ConnectionReset
        );
    }
}

#[test]
fn a_connect_tells_why_it_failed_and_frees_its_place() {
    let (listener, address) = listening(|_| ());
    drop(listener);
    let config = RingConfig {
        connections_max: 1,
        ..small_config()
    };
    let mut ring = MinerRing::new(&config).expect("ring");
    let foreign = "192.0.2.1:0".parse().expect("address");
    let used: TcpListener = TcpListener::bind("127.0.0.3:0").expect("bind");
    let taken = used.local_addr().expect("bound");
    for (source, errno) in [
        (None, libc::ECONNREFUSED),
        (Some(foreign), libc::EADDRNOTAVAIL),
        (Some(taken), libc::EADDRINUSE),
        (
            Some(SocketAddr::from(([127, 0, 0, 4], 0))),
            libc::ECONNREFUSED,
        ),
    ] {
        let token = ring.connect(source, address).expect("room");
        let mut ended = Vec::new();
        until("the failure", &mut ring, |ring, event| {
            ended.extend(event);
            ring.connections() == 0
        });
        assert_eq!(ended, [Event::Ended(token, End::ConnectFailed(errno))]);
    }
}

#[test]
fn a_connection_in_the_making_can_be_closed() {
    let (listener, address) = listening(|_| ());
    let mut ring = MinerRing::new(&small_config()).expect("ring");
    for _ in 0..20 {
        let token = ring.connect(None, address).expect("room");
        ring.close(token, Close::Graceful);
    }
    until("all are closed", &mut ring, |ring, event| {
        assert_eq!(event, None);
        ring.connections() == 0
    });
    drop(listener);
}

#[test]
fn a_dropped_ring_closes_its_connections() {
    let (mut ring, address) = ring_with_listener(&small_config());
    let mut clients = accept_clients(&mut ring, address, 3);
    drop(ring);
    for (client, _) in &mut clients {
        assert_eq!(read_to_end(client).expect("the end"), b"");
    }
}

#[test]
fn a_table_beyond_the_limit_of_files_names_the_limit() {
    let config = RingConfig {
        connections_max: 1 << 20,
        ..RingConfig::default()
    };
    match MinerRing::new(&config) {
        Err(RingError::Descriptors { wanted }) => assert_eq!(wanted, 1 << 20),
        Ok(_) => {} // A machine with so high a limit is welcome.
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn sizes_that_no_ring_can_have_are_refused() {
    for config in [
        RingConfig {
            connections_max: 0,
            ..small_config()
        },
        RingConfig {
            receive_buffers: 3,
            ..small_config()
        },
        RingConfig {
            receive_buffers: 0,
            ..small_config()
        },
        RingConfig {
            submission_entries: 1,
            ..small_config()
        },
        RingConfig {
            events_per_round_max: 0,
            ..small_config()
        },
    ] {
        assert!(matches!(MinerRing::new(&config), Err(RingError::Config(_))));
    }
}
