//! The pool's process: `loadgen pool`. One thread and few links, so each is simply looked at in turn.

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use stratum_uring::wire::{Tail, TailPool, cut};

use crate::clock::Clock;
use crate::pool::judge::{Jobs, Judge, Link};

/// Longest line that it reads.
const LINE_LEN_MAX: usize = 64 * 1024;

/// Read at once.
const READ_LEN: usize = 256 * 1024;

/// Between two looks at the links where nothing happened.
const PAUSE: Duration = Duration::from_millis(1);

/// What the pool is to be.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) jobs: Jobs,
    /// Each line leaves so much later, as over a real network: so there are always shares in flight.
    pub(crate) delay: Duration,
}

/// A link's socket, and what is on its way to the peer.
struct Wire {
    stream: TcpStream,
    link: Link,
    tail: Tail,
    /// What leaves when.
    later: VecDeque<(Duration, Vec<u8>)>,
    out: Vec<u8>,
}

/// Serves until it is killed. Says on standard output where it listens, and takes commands from standard
/// input: `reset` resets all links, `late` and a number of milliseconds makes every second link hear of jobs
/// so much later, `verdicts` prints what became of the shares.
///
/// # Errors
///
/// A text, when it can't listen.
pub(crate) fn serve(settings: &Settings, clock: Clock) -> Result<(), String> {
    let told = |error: io::Error| format!("cannot listen on {}: {error}", settings.listen);
    let listener = TcpListener::bind(settings.listen).map_err(told)?;
    listener.set_nonblocking(true).map_err(told)?;
    let address = listener.local_addr().map_err(told)?;
    say(&format!("listening on {address}"));
    let commands = commands();
    let start = u16::try_from(std::process::id() & 0xffff).unwrap_or(0);
    let mut judge = Judge::new(settings.jobs, start);
    let mut wires: Vec<Wire> = Vec::new();
    let mut tails = TailPool::new(8);
    let mut bytes = vec![0; READ_LEN];
    loop {
        let mut busy = false;
        for command in commands.try_iter() {
            match command.as_str() {
                "reset" => wires.drain(..).for_each(|wire| {
                    // A close without lingering is a reset.
                    let _ = set_socket_linger(&wire.stream, Some(Duration::ZERO));
                }),
                "verdicts" => {
                    let it = judge.verdicts;
                    let [accepted, stale] = [it.accepted, it.stale];
                    let [duplicate, wrong] = [it.duplicate, it.wrong];
                    say(&format!("verdicts {accepted} {stale} {duplicate} {wrong}"));
                }
                command => {
                    if let Some(millis) = command.strip_prefix("late ")
                        && let Ok(millis) = millis.parse()
                    {
                        judge.be_late(Duration::from_millis(millis));
                    }
                }
            }
        }
        if let Ok((stream, _)) = listener.accept() {
            let ready = stream
                .set_nonblocking(true)
                .and_then(|()| stream.set_nodelay(true));
            if ready.is_ok() {
                wires.push(Wire {
                    stream,
                    link: Link::default(),
                    tail: Tail::default(),
                    later: VecDeque::new(),
                    out: Vec::new(),
                });
            }
        }
        wires.retain_mut(|wire| {
            let (now, since_1970) = (clock.now(), clock.since_1970());
            let mut said = Vec::new();
            let alive = match wire.stream.read(&mut bytes) {
                Ok(0) => false,
                Ok(len) => {
                    busy = true;
                    let mut lines = cut(&mut wire.tail, &mut tails, &bytes[..len], LINE_LEN_MAX);
                    let mut whole = true;
                    while let Some(line) = lines.next() {
                        match line {
                            Ok(line) => {
                                judge.handle_line(&mut wire.link, line, since_1970, &mut said)
                            }
                            Err(_) => whole = false,
                        }
                    }
                    whole
                }
                Err(error) => is_passing(&error),
            };
            judge.announce(&mut wire.link, since_1970, &mut said);
            if !said.is_empty() {
                wire.later.push_back((now + settings.delay, said));
            }
            alive && wire.send(now)
        });
        if !busy {
            Clock::pause(PAUSE);
        }
    }
}

impl Wire {
    /// Sends what is due, as far as the peer takes it. False if the peer is gone.
    fn send(&mut self, now: Duration) -> bool {
        while self.later.front().is_some_and(|(due, _)| *due <= now)
            && let Some((_, lines)) = self.later.pop_front()
        {
            self.out.extend_from_slice(&lines);
        }
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if is_passing(&error) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The lines of standard input. It may end; then there are no more commands.
fn commands() -> Receiver<String> {
    let (sender, commands) = channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    commands
}

/// To who started it, if it still listens.
fn say(line: &str) {
    let mut stdout = io::stdout();
    drop(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
}
