//! A pool's process, as who started it sees it: killed, stopped, and started again in the same place.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::pool::judge::{Space, Verdicts};
use crate::tied;

/// It says what it is asked for within this time, or something is wrong.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a pool is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) space: Space,
    pub(crate) job_interval: Duration,
    pub(crate) delay: Duration,
}

/// A pool of our own. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct PoolProcess {
    wanted: Wanted,
    address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl PoolProcess {
    /// Starts one on a free port of this machine, and waits until it listens.
    ///
    /// # Errors
    ///
    /// A text that says what went wrong.
    pub(crate) fn start(wanted: Wanted) -> Result<Self, String> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), wanted)
    }

    fn start_at(listen: SocketAddr, wanted: Wanted) -> Result<Self, String> {
        let own = env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
        let mut command = Command::new(&own);
        let millis = |time: Duration| time.as_millis().to_string();
        command
            .args(tied::words())
            .arg(&own)
            .args(["pool", "--listen", &listen.to_string()])
            .args(["--nonce", &format!("{:02x}", wanted.space.0)])
            .args(["--job-interval-ms", &millis(wanted.job_interval)])
            .args(["--delay-ms", &millis(wanted.delay)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start a pool: {error}"))?;
        let (sender, lines) = channel();
        let stdout = child.stdout.take();
        thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|it| BufReader::new(it).lines()) {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let mut pool = Self {
            wanted,
            address: listen,
            child,
            stdin,
            lines,
        };
        pool.address = pool
            .answer("listening on ")?
            .parse()
            .map_err(|error| format!("a pool that listens nowhere: {error}"))?;
        Ok(pool)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn space(&self) -> Space {
        self.wanted.space
    }

    /// Takes it from the world, without a word to anybody: SIGKILL.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.stdin = None;
    }

    /// Lets it say and hear nothing more, while its connections stay: SIGSTOP.
    pub(crate) fn stop(&self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("a pool has no process id")?;
        kill_process(pid, Signal::STOP).map_err(|error| format!("cannot stop a pool: {error}"))
    }

    /// Starts one in the place of one that was killed, with this nonce space.
    pub(crate) fn start_again(&mut self, space: Space) -> Result<(), String> {
        let wanted = Wanted {
            space,
            ..self.wanted
        };
        self.kill();
        *self = Self::start_at(self.address, wanted)?;
        Ok(())
    }

    /// Makes it reset all its links.
    pub(crate) fn reset_links(&mut self) -> Result<(), String> {
        self.tell("reset")
    }

    /// Makes it tell every second link of jobs so much later than the others.
    pub(crate) fn be_late(&mut self, late: Duration) -> Result<(), String> {
        self.tell(&format!("late {}", late.as_millis()))
    }

    /// What became of the shares that came to it, since it was started last.
    pub(crate) fn verdicts(&mut self) -> Result<Verdicts, String> {
        self.tell("verdicts")?;
        let line = self.answer("verdicts ")?;
        let mut numbers = line.split(' ').map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Ok(Verdicts {
            accepted: next(),
            stale: next(),
            duplicate: next(),
            wrong: next(),
        })
    }

    fn tell(&mut self, command: &str) -> Result<(), String> {
        let stdin = self.stdin.as_mut().ok_or("this pool was killed")?;
        writeln!(stdin, "{command}").map_err(|error| format!("a pool does not listen: {error}"))
    }

    /// The rest of the next line that begins so.
    fn answer(&self, head: &str) -> Result<String, String> {
        let line = self.lines.recv_timeout(ANSWER_TIMEOUT);
        let line = line.map_err(|_| format!("a pool does not say: {head}"))?;
        let rest = line.strip_prefix(head);
        rest.map(str::to_owned)
            .ok_or_else(|| format!("a pool says: {line}"))
    }
}

impl Drop for PoolProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
