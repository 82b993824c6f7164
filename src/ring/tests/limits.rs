//! The ring at its bounds: no buffer left, no place left, a full completion queue, peers that don't read.
//!
//! Where a test counts, it counts events or rounds, so that a busy machine changes nothing.

use std::collections::HashSet;
use std::net::IpAddr;

use super::*;

/// Writes what the socket takes of `bytes`; returns how much that was.
fn write_some(client: &mut TcpStream, bytes: &[u8]) -> usize {
    client.set_nonblocking(true).expect("option");
    let written = match client.write(bytes) {
        Ok(len) => len,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            0
        }
    };
    client.set_nonblocking(false).expect("option");
    written
}

fn reset(client: TcpStream) {
    let client = Socket::from(client);
    client.set_linger(Some(Duration::ZERO)).expect("option");
}

/// A client whose kernel never offers more than this little room, however its buffers grow.
#[expect(unsafe_code, reason = "socket2 has no word for this option")]
fn clamped_client(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    let clamp: libc::c_int = 2048;
    // SAFETY: the option's value is an int, and lives as long as the call.
    let refused = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::IPPROTO_TCP,
            libc::TCP_WINDOW_CLAMP,
            (&raw const clamp).cast(),
            libc::socklen_t::try_from(size_of_val(&clamp)).expect("four bytes"),
        )
    };
    assert_eq!(refused, 0, "{}", io::Error::last_os_error());
    socket.connect(&address.into()).expect("connect");
    socket.into()
}

/// Fills every buffer on the way to peers that don't read: what is queued is told of as blocked.
fn block_all(ring: &mut MinerRing, tokens: &[Token], line: &Rc<[u8]>) -> HashMap<Token, usize> {
    for token in tokens {
        ring.send_shared(*token, line, 0);
    }
    let mut blocked = HashMap::new();
    until("all are blocked", ring, |_, event| {
        if let Some(Event::Blocked { token, sent, .. }) = event {
            assert_eq!(blocked.insert(token, sent), None);
        }
        blocked.len() == tokens.len()
    });
    blocked
}

/// A bystander among flooding peers, of which each takes all buffers that there are.
fn is_heard_among(flooders: usize) {
    let config = RingConfig {
        receive_buffers: 2,
        receive_buffer_len: 256,
        events_per_round_max: 4,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut clients = accept_clients(&mut ring, address, flooders + 1);
    let (mut quiet, token) = clients.pop().expect("the last one");
    let noise = [b'x'; 16 * 1024];
    for _ in 0..20 {
        for (client, _) in &mut clients {
            write_some(client, &noise);
        }
        quiet.write_all(b"share").expect("write");
        let (mut heard, mut others) = (false, 0);
        until("the quiet one's bytes", &mut ring, |_, event| {
            match event {
                Some(Event::Received(from, bytes)) if from == token => {
                    assert_eq!(bytes, b"share");
                    heard = true;
                }
                Some(Event::Received(..)) => others += usize::from(!heard),
                Some(event) => panic!("{event:?}"),
                // The flood never ebbs.
                None => clients.iter_mut().for_each(|(client, _)| {
                    write_some(client, &noise);
                }),
            }
            heard
        });
        // The two buffers for each of those before it, however many bytes they have; and some luck.
        assert!(others <= 4 * flooders, "{others} buffers came before it");
    }
    assert!(ring.counters().buffers_exhausted > 0);
}

#[test]
fn a_flood_that_takes_every_buffer_shuts_nobody_out() {
    // Two receives start at a time: the bystander's is now the first of the two and now the second.
    is_heard_among(11);
    is_heard_among(12);
}

#[test]
fn a_ring_that_waits_listens_to_everybody() {
    let config = RingConfig {
        receive_buffers: 2,
        receive_buffer_len: 256,
        events_per_round_max: 1,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut clients = accept_clients(&mut ring, address, 1);
    write_some(&mut clients[0].0, &[b'x'; 64 * 1024]);
    // The flood has the buffers while these come, so their receives find none, and nothing to receive.
    let quiet: Vec<_> = (0..20).map(|_| client(address)).collect();
    let mut accepted = Vec::new();
    let mut starved_most = 0;
    let deadline = Instant::now() + Duration::from_secs(30);
    while accepted.len() < quiet.len() || !ring.prepare_wait() {
        assert!(Instant::now() < deadline, "the flood never ends");
        let mut recorder = Recorder::default();
        ring.submit();
        ring.drain(&mut recorder);
        starved_most = starved_most.max(ring.starved.len());
        accepted.extend(recorder.0.iter().filter_map(|it| match it {
            Event::Accepted(token, ..) => Some(*token),
            _ => None,
        }));
    }
    assert!(
        starved_most > 2,
        "more than can be started at once: {starved_most}"
    );
    assert_eq!(ring.starved.len(), 0, "nobody would wake for these");
    for token in accepted {
        let connection = ring.table.get(token).expect("it is open");
        assert_eq!(connection.receiving, Receiving::Armed);
    }
}

/// One miner of the storm: what it sent, what came back, and the side of the ring that echoes.
struct Echo {
    client: TcpStream,
    sent: usize,
    got: Vec<u8>,
    blocked: bool,
    waiting: Vec<u8>,
}

#[test]
fn streams_stay_exact_when_every_bound_is_hit_at_once() {
    const CLIENTS: usize = 24;
    const LEN: usize = 150_000;
    let config = RingConfig {
        connections_max: 24,
        receive_buffers: 16,
        receive_buffer_len: 512,
        submission_entries: 8,
        completion_entries: 8,
        events_per_round_max: 40,
        accepts_in_flight: 4,
    };
    let mut ring = MinerRing::new(&config).expect("ring");
    let (listener, address) = listening(|it| it.set_send_buffer_size(4 * 1024).expect("option"));
    ring.listen(listener);
    let clients = (0..CLIENTS).map(|_| narrow_client(address)).collect();
    let mut echoes: HashMap<Token, Echo> = accept_all(&mut ring, clients)
        .into_iter()
        .map(|(client, token)| {
            let (sent, got, waiting) = (0, Vec::new(), Vec::new());
            let echo = Echo {
                client,
                sent,
                got,
                blocked: false,
                waiting,
            };
            (token, echo)
        })
        .collect();
    let expected = |token: &Token| pattern(token.index as usize, LEN);
    let mut pending_most = 0;
    let mut rounds = 0;
    until("all echoes", &mut ring, |ring, event| {
        pending_most = pending_most.max(ring.pending.len());
        match event {
            Some(Event::Received(token, bytes)) => {
                let echo = echoes.get_mut(&token).expect("known");
                echo.waiting.extend_from_slice(&bytes);
            }
            Some(Event::Blocked {
                token, sent, bytes, ..
            }) => {
                let echo = echoes.get_mut(&token).expect("known");
                assert!(!echo.blocked);
                echo.blocked = true;
                echo.waiting.splice(0..0, bytes[sent..].iter().copied());
            }
            Some(Event::Writable(token)) => echoes.get_mut(&token).expect("known").blocked = false,
            Some(Event::TableFull(_)) => {}
            Some(event) => panic!("{event:?}"),
            None => {
                for (token, echo) in &mut echoes {
                    if !echo.blocked && !echo.waiting.is_empty() {
                        ring.send_copied(*token, &[(&mem::take(&mut echo.waiting), 0)]);
                    }
                    let bytes = expected(token);
                    echo.sent += write_some(&mut echo.client, &bytes[echo.sent..]);
                    // It reads late, so that the way back is full for most of the time.
                    if echo.sent == LEN || echo.sent > echo.got.len() + LEN / 3 {
                        echo.client.set_nonblocking(true).expect("option");
                        let mut chunk = [0; 4096];
                        if let Ok(len) = echo.client.read(&mut chunk) {
                            echo.got.extend_from_slice(&chunk[..len]);
                        }
                    }
                }
                // A caller that waits next may leave the submit to the wait.
                rounds += 1;
                if rounds % 2 == 0 {
                    ring.submit();
                }
            }
        }
        echoes.values().all(|it| it.got.len() == LEN)
    });
    for (token, echo) in &echoes {
        assert!(echo.got == expected(token), "a stream is broken");
    }
    let counters = ring.counters();
    assert!(counters.buffers_exhausted > 0, "{counters:?}");
    assert!(counters.short_sends > 0, "{counters:?}");
    assert!(counters.completion_overflows > 0, "{counters:?}");
    assert_eq!(counters.table_full, 1, "{counters:?}");
    // What was taken from the kernel and not yet told of: each receive has a buffer, and of the rest
    // each connection has one of a kind.
    let bound = usize::from(config.receive_buffers) + 4 * CLIENTS + 4;
    assert!(pending_most <= bound, "{pending_most} of {bound}");
}

#[test]
fn completions_beyond_their_queue_are_all_told_once() {
    const CLIENTS: usize = 200;
    let config = RingConfig {
        connections_max: 256,
        receive_buffers: 256,
        submission_entries: 8,
        completion_entries: 8,
        ..RingConfig::default()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut clients = accept_clients(&mut ring, address, CLIENTS);
    for (at, (client, _)) in clients.iter_mut().enumerate() {
        client.write_all(&pattern(at, 100)).expect("write");
    }
    let mut got = HashMap::new();
    until("all lines", &mut ring, |_, event| {
        if let Some(Event::Received(token, bytes)) = event {
            assert_eq!(got.insert(token, bytes), None, "told twice");
        }
        got.len() == CLIENTS
    });
    for (at, (_, token)) in clients.iter().enumerate() {
        assert_eq!(got[token], pattern(at, 100));
    }
    // Each close makes three completions inside one submit.
    for (_, token) in &clients {
        ring.close(*token, Close::Graceful);
    }
    until("all closes", &mut ring, |ring, event| {
        assert_eq!(event, None);
        ring.connections() == 0
    });
    for (client, _) in &mut clients {
        assert_eq!(read_to_end(client).expect("a graceful end"), b"");
    }
    assert!(ring.counters().completion_overflows > 0);
}

#[test]
fn a_round_tells_no_more_than_its_bound() {
    const BOUND: usize = 4;
    let config = RingConfig {
        events_per_round_max: BOUND,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let mut clients = accept_clients(&mut ring, address, 50);
    for (client, _) in &mut clients {
        client.write_all(b"line").expect("write");
    }
    let (mut told, mut fullest) = (0, 0);
    while told < clients.len() {
        ring.wait_blocking(Duration::from_secs(30));
        let mut recorder = Recorder::default();
        let handled = ring.drain(&mut recorder);
        assert!(handled <= BOUND && recorder.0.len() <= BOUND);
        fullest = fullest.max(handled);
        told += recorder.0.len();
    }
    assert_eq!(fullest, BOUND, "there was more to tell than one round may");
}

#[test]
fn peers_with_small_windows_are_blocked_and_finished() {
    let line: Rc<[u8]> = pattern(0, 200_000).into();
    let mut ring = MinerRing::new(&small_config()).expect("ring");
    let (listener, address) = listening(|it| it.set_send_buffer_size(8 * 1024).expect("option"));
    ring.listen(listener);
    let clients = (0..4).map(|_| clamped_client(address)).collect();
    let mut clients = accept_all(&mut ring, clients);
    let tokens: Vec<_> = clients.iter().map(|(_, token)| *token).collect();
    let mut sent = block_all(&mut ring, &tokens, &line);
    let mut got: HashMap<Token, Vec<u8>> = HashMap::new();
    let mut times_cut = 0;
    until("all bytes", &mut ring, |ring, event| {
        match event {
            Some(Event::Writable(token)) => {
                ring.send_copied(token, &[(&line[sent[&token]..], 0)]);
            }
            Some(Event::Blocked {
                token,
                sent: part,
                bytes,
                ..
            }) => {
                times_cut += 1;
                let sent = sent.get_mut(&token).expect("known");
                assert_eq!(bytes, line[*sent..], "what is owed, and nothing else");
                *sent += part;
            }
            Some(event) => panic!("{event:?}"),
            None => {
                for (client, token) in &mut clients {
                    client.set_nonblocking(true).expect("option");
                    let mut chunk = [0; 8192];
                    if let Ok(len) = client.read(&mut chunk) {
                        got.entry(*token).or_default().extend(&chunk[..len]);
                    }
                }
            }
        }
        got.len() == clients.len() && got.values().all(|it| it.len() == line.len())
    });
    assert!(got.values().all(|it| it[..] == line[..]));
    assert!(times_cut > 0, "once was not enough");
    assert_eq!(
        ring.counters().short_sends,
        times_cut + clients.len() as u64
    );
}

#[test]
fn peers_that_never_read_cost_the_others_nothing() {
    let mut ring = MinerRing::new(&small_config()).expect("ring");
    let (listener, address) = listening(|it| it.set_send_buffer_size(8 * 1024).expect("option"));
    ring.listen(listener);
    let narrow = (0..20).map(|_| narrow_client(address)).collect();
    let deaf = accept_all(&mut ring, narrow);
    let tokens: Vec<_> = deaf.iter().map(|(_, token)| *token).collect();
    let line: Rc<[u8]> = pattern(0, 1024 * 1024).into();
    block_all(&mut ring, &tokens, &line);
    let before = ring.counters();
    let mut clients = accept_clients(&mut ring, address, 1);
    let (client, token) = &mut clients[0];
    for round in 0..100_u8 {
        client.write_all(&[round; 50]).expect("write");
        until("the line", &mut ring, |ring, event| match event {
            Some(Event::Received(from, bytes)) => {
                assert_eq!(from, *token);
                ring.send_copied(from, &[(&bytes, 0)]);
                ring.submit();
                true
            }
            Some(event) => panic!("{event:?}"),
            None => false,
        });
        reads(client, &[round; 50]);
    }
    // The blocked ones are not tried again and again.
    assert_eq!(ring.counters(), before);
    // They are closed with a reset, which frees the place although nothing was ever read.
    for token in tokens {
        ring.close(token, Close::Reset);
    }
    until("the closes", &mut ring, |ring, _| ring.connections() == 1);
}

#[test]
fn a_blocked_peer_that_resets_has_one_end() {
    let mut ring = MinerRing::new(&small_config()).expect("ring");
    let (listener, address) = listening(|it| it.set_send_buffer_size(8 * 1024).expect("option"));
    ring.listen(listener);
    let narrow = (0..10).map(|_| narrow_client(address)).collect();
    let clients = accept_all(&mut ring, narrow);
    let tokens: Vec<_> = clients.iter().map(|(_, token)| *token).collect();
    block_all(&mut ring, &tokens, &pattern(0, 1024 * 1024).into());
    for (client, _) in clients {
        reset(client);
    }
    let mut ended = Vec::new();
    until("the ends", &mut ring, |ring, event| {
        match event {
            Some(Event::Ended(token, end)) => {
                assert_eq!(end, End::Reset);
                ended.push(token);
            }
            // An error on the socket is room, too: the next send meets it.
            Some(Event::Writable(token)) => {
                assert!(!ended.contains(&token), "told of after its end");
                ring.send_copied(token, &[(b"rest", 0)]);
            }
            Some(event) => panic!("{event:?}"),
            None => {}
        }
        ring.connections() == 0
    });
    let distinct: HashSet<_> = ended.iter().collect();
    assert_eq!((ended.len(), distinct.len()), (10, 10));
}

#[test]
fn a_close_amid_a_flood_ends_the_receive_and_gives_its_buffers_back() {
    let config = RingConfig {
        connections_max: 4,
        receive_buffers: 8,
        receive_buffer_len: 256,
        events_per_round_max: 2,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    for round in 0..40 {
        let mut clients = accept_clients(&mut ring, address, 1);
        let (client, token) = &mut clients[0];
        write_some(client, &[b'x'; 64 * 1024]);
        // Some of it is told, some has been taken from the kernel, and most is still there.
        let mut heard = false;
        until("the flood", &mut ring, |_, event| {
            heard |= matches!(event, Some(Event::Received(..)));
            heard
        });
        let how = [Close::Graceful, Close::Reset][round % 2];
        ring.close(*token, how);
        until("the close", &mut ring, |ring, event| {
            assert!(!matches!(event, Some(Event::Received(..))), "{event:?}");
            ring.connections() == 0
        });
        // The peer learns of it: the receive keeps the socket open no longer.
        let end = read_to_end(client);
        assert!(matches!(end, Err(ref error) if error.kind() == ErrorKind::ConnectionReset));
    }
    assert!(ring.counters().stale_completions > 0);
    // With one buffer lost in each round there would be none left.
    until("the last completions", &mut ring, |ring, _| {
        !ring.has_completions()
    });
    assert_eq!(ring.buffers.held(), 0);
}

#[test]
fn a_full_table_is_counted_once_each_time() {
    let config = RingConfig {
        connections_max: 2,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    for round in 1..=5 {
        let clients = accept_clients(&mut ring, address, 2);
        until("the table is full", &mut ring, |ring, _| {
            ring.counters().table_full == round
        });
        for _ in 0..5 {
            turn(&mut ring, |_, event| panic!("{event:?}"));
        }
        assert_eq!(ring.counters().table_full, round);
        drop(clients);
        until("the ends", &mut ring, |ring, _| ring.connections() == 0);
    }
    assert_eq!(ring.counters().accept_errors, 0);
}

#[test]
fn a_kernel_that_finds_no_place_is_not_asked_again_at_once() {
    let config = RingConfig {
        connections_max: 2,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    // The ring believes in one more place than the kernel has.
    ring.table = Table::new(3);
    let clients = accept_clients(&mut ring, address, 2);
    let mut refused = client(address);
    let no_place = Event::AcceptFailed(ListenerId(0), Some(libc::ENFILE));
    until("the refusal", &mut ring, |_, event| {
        event == Some(no_place.clone())
    });
    assert_eq!(
        read_to_end(&mut refused).expect("the kernel closed it"),
        b""
    );
    assert!(ring.acceptor.is_resting());
    assert_eq!(ring.counters().accept_errors, 1);
    // Once there is a place, the next peer has it.
    drop(clients);
    until("the ends", &mut ring, |ring, _| ring.connections() == 0);
    accept_clients(&mut ring, address, 1);
    assert_eq!(ring.counters().accept_errors, 1);
}

#[test]
fn a_listener_that_fails_is_reported_without_spinning() {
    const ACCEPTS: u64 = 2;
    let config = RingConfig {
        accepts_in_flight: 2,
        ..small_config()
    };
    let mut ring = MinerRing::new(&config).expect("ring");
    let (listener, address) = listening(|_| ());
    let broken: Socket = listener.try_clone().expect("descriptor").into();
    ring.listen(listener);
    let clients = accept_clients(&mut ring, address, 1);
    broken.shutdown(Shutdown::Both).expect("shutdown");
    let mut failures = 0;
    let mut rests = 0;
    let mut resting = false;
    until("three rests", &mut ring, |ring, event| {
        match event {
            Some(Event::AcceptFailed(ListenerId(0), Some(libc::EINVAL))) => failures += 1,
            Some(event) => panic!("{event:?}"),
            None => {
                rests += u64::from(ring.acceptor.is_resting() && !resting);
                resting = ring.acceptor.is_resting();
            }
        }
        rests == 3 && failures >= 3 * ACCEPTS
    });
    assert!(
        failures <= 4 * ACCEPTS,
        "all accepts fail once for each rest"
    );
    assert_eq!(ring.counters().accept_errors, failures);
    drop(clients);
}

/// Has the one accept of a ring come back with this errno, which the kernel would not give on demand.
fn fail_the_accept(ring: &mut MinerRing, errno: i32) -> Vec<Event> {
    ring.cancel(Operation::Accept.number(0));
    ring.submit();
    let accept = ring.pending.iter_mut();
    let mut accept = accept.filter(|it| it.operation() == Operation::Accept);
    let completion = accept.next().expect("a cancelled accept comes back");
    assert_eq!(completion.outcome(), Err(libc::ECANCELED));
    completion.result = -errno;
    let mut recorder = Recorder::default();
    ring.drain(&mut recorder);
    recorder.0
}

#[test]
fn an_accept_error_of_ours_rests_and_one_of_the_peer_does_not() {
    let config = RingConfig {
        accepts_in_flight: 1,
        ..small_config()
    };
    let (mut ring, address) = ring_with_listener(&config);
    let ours = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    let peers = [libc::ECONNABORTED, libc::EPROTO, libc::EPERM];
    for (errno, rests) in ours
        .map(|errno| (errno, true))
        .into_iter()
        .chain(peers.map(|errno| (errno, false)))
    {
        let told = fail_the_accept(&mut ring, errno);
        assert_eq!(told, [Event::AcceptFailed(ListenerId(0), Some(errno))]);
        assert_eq!(ring.acceptor.is_resting(), rests, "errno {errno}");
        // After the rest, or at once, the next peer is let in.
        let clients = accept_clients(&mut ring, address, 1);
        drop(clients);
        until("the end", &mut ring, |ring, _| ring.connections() == 0);
    }
    // A cancelled one is nobody's error.
    assert_eq!(fail_the_accept(&mut ring, libc::ECANCELED), []);
    assert_eq!(ring.counters().accept_errors, 7);
}

#[test]
fn peers_that_reset_in_the_backlog_leave_nothing_behind() {
    let config = RingConfig {
        connections_max: 8,
        ..small_config()
    };
    let mut ring = MinerRing::new(&config).expect("ring");
    let (listener, address) = listening(|_| ());
    for _ in 0..30 {
        reset(client(address));
    }
    ring.listen(listener);
    let mut client = client(address);
    let ours = client.local_addr().expect("bound");
    let mut token = None;
    until("the ends of the others", &mut ring, |ring, event| {
        match event {
            Some(Event::Accepted(accepted, _, peer)) => {
                assert_eq!(peer.ip(), IpAddr::from([127, 0, 0, 1]), "a whole address");
                if peer == ours {
                    token = Some(accepted);
                }
            }
            Some(Event::Ended(_, End::Reset) | Event::TableFull(_)) | None => {}
            Some(event) => panic!("{event:?}"),
        }
        token.is_some() && ring.connections() == 1
    });
    ring.send_copied(token.expect("accepted"), &[(b"hello", 0)]);
    ring.submit();
    reads(&mut client, b"hello");
}

#[test]
fn accepts_wait_for_their_grant_and_lose_nobody() {
    let config = RingConfig {
        accepts_in_flight: 2,
        ..small_config()
    };
    let mut ring = MinerRing::new(&config).expect("ring");
    let (listener, address) = listening(|_| ());
    ring.grant_accepts(3, 3);
    ring.listen(listener);
    let clients: Vec<TcpStream> = (0..20).map(|_| client(address)).collect();
    let mut accepted = 0;
    // Whoever is connected is there for the ring's next look, so some looks tell all that will come.
    let mut all = |ring: &mut MinerRing| {
        for _ in 0..20 {
            turn(ring, |_, event| {
                accepted += usize::from(matches!(event, Event::Accepted(..)));
            });
        }
        accepted
    };
    let first = all(&mut ring);
    assert!((3..=4).contains(&first), "one may come on top: {first}");
    assert_eq!(ring.counters().accepts_paced, 1);
    assert_eq!(all(&mut ring), first, "the others wait");
    ring.grant_accepts(1000, 3);
    let second = all(&mut ring);
    assert!((first + 3..=first + 4).contains(&second), "{second}");
    assert_eq!(ring.counters().table_full, 0);
    ring.grant_accepts(1000, 1000);
    assert_eq!(all(&mut ring), clients.len());
    assert_eq!(ring.counters().accepts_paced, 2);
}
