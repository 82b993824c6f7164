//! The real binary, started with a config of its own and killed at the end of the test.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A file in the temporary directory, removed at the end.
#[derive(Debug)]
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(text: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("stratum-uring-it-{}-{number}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// The binary with any arguments: a process, and what it wrote.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    log: Output,
    output: Output,
}

impl Program {
    pub(crate) fn run<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(arguments: I) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stratum-uring"));
        command.args(arguments);
        Self::spawn(command)
    }

    /// Behind these words, which must end in becoming the program.
    fn run_wrapped<S: AsRef<std::ffi::OsStr>>(
        wrap: &[&str],
        arguments: impl Iterator<Item = S>,
    ) -> Self {
        let mut words = wrap
            .iter()
            .copied()
            .chain([env!("CARGO_BIN_EXE_stratum-uring")]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(arguments);
        Self::spawn(command)
    }

    /// Under limits of the shell, as `ulimit -n 64` sets them.
    pub(crate) fn run_limited(limits: &str, arguments: &[&str]) -> Self {
        let script = format!("{limits} && exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_stratum-uring")]);
        command.args(arguments);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Output::follow(child.stderr.take().unwrap());
        let output = Output::follow(child.stdout.take().unwrap());
        Self { child, log, output }
    }

    /// Waits until the program is gone and returns its exit code.
    pub(crate) fn wait_exit(&mut self, patience: Duration) -> i32 {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status
                    .code()
                    .unwrap_or_else(|| panic!("ended by a signal: {status}\n{}", self.log()));
            }
            assert!(
                Instant::now() < deadline,
                "still running after {patience:?}; its log:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether the program still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal: `TERM`, `INT` or `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Everything on stderr so far. After the exit: everything.
    pub(crate) fn log(&self) -> String {
        self.log.so_far()
    }

    /// Everything on stderr, once the program is gone.
    pub(crate) fn told(&self) -> String {
        self.log.wait_until(PATIENCE, |_| false);
        self.log.so_far()
    }

    /// Everything on stdout, once the program is gone.
    pub(crate) fn stdout(&self) -> String {
        self.output.wait_until(PATIENCE, |_| false);
        self.output.so_far()
    }

    /// Waits for a line on stderr that contains this text, and returns it.
    pub(crate) fn log_contains(&self, text: &str) -> String {
        self.log
            .wait_until(PATIENCE, |line| line.contains(text))
            .unwrap_or_else(|| panic!("no `{text}` in the log:\n{}", self.log()))
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many of its threads run at this niceness.
    pub(crate) fn threads_at(&self, niceness: i32) -> usize {
        let niceness = niceness.to_string();
        self.threads(|fields| fields.get(16) == Some(&&*niceness))
    }

    /// How many of its threads at this niceness are at work, and not asleep.
    pub(crate) fn busy_at(&self, niceness: i32) -> usize {
        let niceness = niceness.to_string();
        self.threads(|fields| fields.get(16) == Some(&&*niceness) && fields[0] != "S")
    }

    /// How many of its threads have fitting fields behind the name in their `stat`, from the state on.
    fn threads(&self, fits: impl Fn(&[&str]) -> bool) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let fitting = tasks.filter(|task| {
            let stat = task.as_ref().unwrap().path().join("stat");
            // One that ends meanwhile has none. The name, in parentheses, may have anything in it.
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
            fields.is_some_and(|it| fits(&it.split_whitespace().collect::<Vec<_>>()))
        });
        fitting.count()
    }

    /// Resident memory in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let digits: String = line.unwrap().chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }
}

/// No thread of the proxy may panic, whatever a test is about: there a release build aborts.
pub(crate) fn has_not_panicked(log: &str) {
    assert!(!log.contains("panicked"), "a thread has panicked:\n{log}");
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        let log = self.log();
        if thread::panicking() {
            eprintln!("--- log of the proxy ---\n{log}---");
        } else {
            has_not_panicked(&log);
        }
    }
}

/// A running proxy whose listeners are open.
#[derive(Debug)]
pub(crate) struct Proxy {
    program: Program,
    listening: Vec<String>,
    config: TempFile,
}

impl Proxy {
    /// Two shards.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_with(&["--cores", "2"], yaml)
    }

    /// One shard, so one link for each pool in use: for tests that script that link.
    pub(crate) fn one_shard(yaml: &str) -> Self {
        Self::start_with(&["--cores", "1"], yaml)
    }

    pub(crate) fn start_with(arguments: &[&str], yaml: &str) -> Self {
        Self::start_wrapped(&[], arguments, yaml)
    }

    /// Behind these words, which must end in becoming the proxy.
    pub(crate) fn start_wrapped(wrap: &[&str], arguments: &[&str], yaml: &str) -> Self {
        let config = TempFile::new(yaml);
        let path = config.path().to_str().unwrap();
        let program = Program::run_wrapped(wrap, arguments.iter().copied().chain([path]));
        let deadline = Instant::now() + PATIENCE;
        let mut listening = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let found = program.log.wait_until(left, |line| {
                line.contains("listening on ") || line.contains("ready")
            });
            match found {
                Some(line) if line.contains("listening on ") => listening.push(line),
                Some(_) => break,
                None => panic!("never ready:\n{}\n{yaml}", program.log()),
            }
        }
        Self {
            program,
            listening,
            config,
        }
    }

    /// The first listener of the proxy of this name.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let line = self
            .listening
            .iter()
            .find(|line| line.contains(name))
            .unwrap_or_else(|| panic!("no listener of {name}: {:?}", self.listening));
        address_in(line)
    }

    pub(crate) fn port(&self, name: &str) -> u16 {
        self.address(name).port()
    }

    /// The first listener of all.
    pub(crate) fn any_address(&self) -> SocketAddr {
        address_in(&self.listening[0])
    }

    /// All listeners of proxies, in order.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let of_proxies = self.listening.iter().filter(|line| line.contains("proxy="));
        of_proxies.map(|line| address_in(line)).collect()
    }

    /// How many lines said that something listens.
    pub(crate) fn listeners(&self) -> usize {
        self.listening.len()
    }

    /// Its config is another now, and it is told to read it again.
    pub(crate) fn reread(&self, yaml: &str) {
        std::fs::write(self.config.path(), yaml).unwrap();
        self.signal("HUP");
    }

    /// Its config is there no more.
    pub(crate) fn remove_config(&self) {
        std::fs::remove_file(self.config.path()).unwrap();
    }

    /// Whether the proxy takes another connection.
    pub(crate) fn accepts(&self) -> bool {
        TcpStream::connect(self.any_address()).is_ok()
    }
}

impl std::ops::Deref for Proxy {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl std::ops::DerefMut for Proxy {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

fn address_in(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("listening on ").unwrap();
    let end = rest
        .find(|letter: char| letter.is_whitespace() || ",;)".contains(letter))
        .unwrap_or(rest.len());
    let address: SocketAddr = rest[..end]
        .parse()
        .unwrap_or_else(|_| panic!("no address in: {line}"));
    if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    }
}

/// The lines of one stream of the program, collected by a thread so that it never blocks.
#[derive(Debug)]
struct Output {
    coming: Receiver<String>,
    lines: RefCell<Vec<String>>,
    /// How many lines a search has passed.
    searched: RefCell<usize>,
}

impl Output {
    fn follow(stream: impl std::io::Read + Send + 'static) -> Self {
        let (sender, coming) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            coming,
            lines: RefCell::new(Vec::new()),
            searched: RefCell::new(0),
        }
    }

    /// The next line, after those of earlier searches, that fits.
    fn wait_until(&self, patience: Duration, fits: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut searched = self.searched.borrow_mut();
        loop {
            while let Some(line) = self.lines.borrow().get(*searched) {
                *searched += 1;
                if fits(line) {
                    return Some(line.clone());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.coming.recv_timeout(left) {
                Ok(line) => self.lines.borrow_mut().push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn so_far(&self) -> String {
        // After the exit the thread ends soon; while the program runs this takes what is there.
        while let Ok(line) = self.coming.recv_timeout(Duration::from_millis(20)) {
            self.lines.borrow_mut().push(line);
        }
        let lines = self.lines.borrow();
        lines.iter().fold(String::new(), |mut out, line| {
            out.push_str(line);
            out.push('\n');
            out
        })
    }
}
