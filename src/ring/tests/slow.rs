//! Peers that read slowly, and those that read nothing.

use super::*;

/// What each blocked connection is still to be sent, and how often it was told as writable.
#[derive(Default)]
struct Rests(HashMap<Token, (Vec<u8>, usize)>);

impl Rests {
    /// Looks at the blocked ones, and sends to whom is writable. Says whether there was anything to tell.
    fn look(&mut self, ring: &mut MinerRing) -> bool {
        ring.look_at_blocked(1);
        let mut told = false;
        turn(ring, |ring, event| {
            told = true;
            match event {
                Event::Writable(token) => {
                    let (rest, times) = self.0.get_mut(&token).expect("it was blocked");
                    *times += 1;
                    ring.send_copied(token, &[(&mem::take(rest), 0)]);
                }
                Event::Blocked {
                    token, sent, bytes, ..
                } => {
                    let (rest, _) = self.0.entry(token).or_default();
                    assert!(rest.is_empty(), "blocked twice");
                    *rest = bytes[sent..].to_vec();
                }
                event => panic!("{event:?}"),
            }
        });
        told
    }

    fn times_writable(&self, token: Token) -> usize {
        self.0[&token].1
    }
}

#[test]
fn a_blocked_peer_that_takes_a_little_is_told_of_and_gets_all_in_order() {
    const LEN: usize = 1024 * 1024;
    /// A small part of what the socket holds for a peer: by the kernel's word there is no room by then.
    const LITTLE: usize = 64 * 1024;
    let mut ring = MinerRing::new(&small_config()).expect("ring");
    let (listener, address) = listening(|it| it.set_send_buffer_size(256 * 1024).expect("option"));
    ring.listen(listener);
    let narrow = (0..2).map(|_| narrow_client(address)).collect();
    let mut clients = accept_all(&mut ring, narrow);
    let (_unread, deaf) = clients.pop().expect("two");
    let (mut slow, token) = clients.pop().expect("two");
    let bytes = pattern(0, LEN);
    let line: Rc<[u8]> = bytes.clone().into();
    for token in [deaf, token] {
        ring.send_shared(token, &line, 0);
    }
    // What lies in their receive buffers may be acknowledged a little later.
    let mut rests = Rests::default();
    let mut quiet = 0;
    while quiet < 100 {
        let told = rests.look(&mut ring);
        quiet = if told { 0 } else { quiet + 1 };
    }
    let before = [deaf, token].map(|token| rests.times_writable(token));

    slow.set_nonblocking(true).expect("option");
    let mut taken = 0;
    let deadline = Instant::now() + Duration::from_secs(30);
    while taken < LEN {
        assert!(Instant::now() < deadline, "never told after {taken} bytes");
        // While there is something left for it, it reads a little for each time that it is told of.
        let times = rests.times_writable(token) - before[1];
        let mut part = [0; 4096];
        if (taken < (times + 1) * LITTLE || rests.0[&token].0.is_empty())
            && let Ok(len) = slow.read(&mut part)
        {
            assert_eq!(part[..len], bytes[taken..taken + len]);
            taken += len;
        }
        rests.look(&mut ring);
    }
    // The kernel may find a last bit of room for it when it tries again.
    let times = rests.times_writable(deaf) - before[0];
    assert!(times <= 2, "it took nothing, and was told of {times} times");
}
