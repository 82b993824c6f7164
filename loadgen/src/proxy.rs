//! Starts the proxy, with the practice pool behind it, and stops it.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter::Sum;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stratum_uring::practice::PracticeCoin;

use crate::clock::Clock;
use crate::{progress, shares, tied};

const BINARY: &str = "stratum-uring";

/// The proxy is ready within this time, or something is wrong.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// It may answer for 5 seconds what is in flight, and then has to go.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Its counters are no older than this.
const METRICS_TIMEOUT: Duration = Duration::from_secs(3);

/// What the line of the log says that names the admin port.
const ADMIN: &str = "admin: listening on ";

/// Lines of its log that are kept, to be shown if it fails.
const LOG_LINES_MAX: usize = 20;

/// What the proxy is to be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) coin: PracticeCoin,
    /// Its shards; one for each CPU, if not given.
    pub(crate) cores: Option<u32>,
    pub(crate) job_interval_seconds: u32,
    /// A pool outside the proxy; its own practice pool, if not given.
    pub(crate) pool: Option<SocketAddr>,
    /// Another program in its place, which needs a pool outside.
    pub(crate) relay: Option<PathBuf>,
    /// Words in front of its command.
    pub(crate) wrap: String,
    /// Its config, where it is none of those that are made here.
    pub(crate) config: Option<String>,
    /// Whether its miners come with TLS.
    pub(crate) tls: bool,
    /// Whether it ends when this process does, however that ends.
    pub(crate) tied: bool,
}

/// A proxy of our own. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    address: SocketAddr,
    /// Where its metrics are, if it has any.
    admin: Option<SocketAddr>,
    lines: Receiver<String>,
    log: VecDeque<String>,
    is_relay: bool,
    _config: ConfigFile,
}

impl Proxy {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// A text that says what went wrong, with the end of the proxy's log.
    pub(crate) fn start(wanted: &Wanted, clock: Clock) -> Result<Self, String> {
        let text = wanted.config.clone();
        let text = text.unwrap_or_else(|| config_text(wanted));
        let config = ConfigFile::write(&text, wanted.tls)
            .map_err(|error| format!("cannot write a temporary config: {error}"))?;
        let mut words: Vec<OsString> = wanted.wrap.split_whitespace().map(Into::into).collect();
        match (&wanted.relay, wanted.pool) {
            (Some(relay), Some(pool)) => {
                words.extend([relay.into(), "127.0.0.1:0".into(), pool.to_string().into()]);
                words.push(dialect_name(wanted.coin).into());
            }
            _ => {
                words.push(find_binary()?.into());
                if let Some(cores) = wanted.cores {
                    words.extend(["--cores".into(), cores.to_string().into()]);
                }
                words.push(config.path().into());
            }
        }
        if wanted.tied {
            let own =
                env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
            words.splice(0..0, [own.into()].into_iter().chain(tied::words()));
        }
        let program = words.remove(0);
        let mut command = Command::new(&program);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Not in our group: Ctrl-C is for us, and the proxy is stopped when the miners are done.
            .process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let stderr = child.stderr.take();
        let mut proxy = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: None,
            lines: follow(stderr),
            log: VecDeque::new(),
            is_relay: wanted.relay.is_some(),
            _config: config,
        };
        proxy.wait_until_ready(clock)?;
        Ok(proxy)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Keeps the end of its log, shows the errors in it, and says whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        while let Ok(line) = self.lines.try_recv() {
            self.keep(line);
        }
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How many shares it has read from its miners, by its own count; at least so many, or it has been
    /// asked for long enough.
    ///
    /// # Errors
    ///
    /// A text, when it does not say.
    pub(crate) fn submits(&mut self, clock: Clock, at_least: u64) -> Result<u64, String> {
        self.is_running();
        let admin = self.admin.ok_or("the proxy has no metrics")?;
        let deadline = clock.now() + METRICS_TIMEOUT;
        loop {
            let page = metrics(admin)?;
            let submits = sum_of(&page, "stratum_submits_total");
            if submits >= at_least || clock.now() > deadline {
                return Ok(submits);
            }
            Clock::pause(Duration::from_millis(50));
        }
    }

    /// How many jobs the exchange of jobs started early, and how far ahead of their own links that was in
    /// the mean.
    ///
    /// # Errors
    ///
    /// A text, when it does not say.
    pub(crate) fn job_lead(&self) -> Result<(u64, Duration), String> {
        let page = metrics(self.admin.ok_or("the proxy has no metrics")?)?;
        let jobs: u32 = sum_of(&page, "stratum_job_exchange_lead_seconds_count");
        let seconds = sum_of(&page, "stratum_job_exchange_lead_seconds_sum");
        let total = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok((jobs.into(), total / jobs.max(1)))
    }

    /// Stops it as an operator does.
    ///
    /// # Errors
    ///
    /// A text that says how it ended, when that was not as it should be.
    pub(crate) fn stop(mut self, clock: Clock) -> Result<(), String> {
        if !self.is_running() {
            let status = self.child.wait();
            let text = status.map_or_else(|error| error.to_string(), ended_text);
            return Err(self.failure(&text));
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("the proxy has no process id")?;
        kill_process(pid, Signal::TERM)
            .map_err(|error| format!("cannot stop the proxy: {error}"))?;
        let deadline = clock.now() + STOP_TIMEOUT;
        while self.is_running() {
            if clock.now() > deadline {
                return Err(self.failure("the proxy does not stop"));
            }
            Clock::pause(Duration::from_millis(5));
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            // A relay need not know of signals.
            Ok(status) if self.is_relay && status.signal() == Some(Signal::TERM.as_raw()) => Ok(()),
            Ok(status) => Err(self.failure(&ended_text(status))),
            Err(error) => Err(format!("cannot wait for the proxy: {error}")),
        }
    }

    fn wait_until_ready(&mut self, clock: Clock) -> Result<(), String> {
        let deadline = clock.now() + READY_TIMEOUT;
        let mut address = None;
        loop {
            let left = deadline.saturating_sub(clock.now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if !line.contains(ADMIN) {
                        address = address.or_else(|| parse_listening(&line));
                    }
                    let ready = line.contains("ready: ");
                    self.keep(line);
                    if let (Some(address), true) = (address, ready) {
                        self.address = address;
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failure("the proxy is not ready in time"));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let text = self.child.wait().map_or_else(
                        |error| format!("cannot wait for the proxy: {error}"),
                        ended_text,
                    );
                    return Err(self.failure(&text));
                }
            }
        }
    }

    fn keep(&mut self, line: String) {
        if line.contains(ADMIN) {
            self.admin = parse_listening(&line);
        }
        if is_error(&line) {
            progress::tell(&format!("the proxy: {line}"));
        }
        if self.log.len() == LOG_LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    fn failure(&self, what: &str) -> String {
        let lines = self.log.iter().map(|line| format!("\n  | {line}"));
        format!("{what}; the end of its log:{}", lines.collect::<String>())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.is_running() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}

fn ended_text(status: ExitStatus) -> String {
    format!("the proxy has ended, with {status}")
}

/// Passes the lines of a log on, so that the one who writes it never waits.
fn follow(stderr: Option<ChildStderr>) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(stderr) = stderr {
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    lines
}

/// Whether a line is one of an error: `[2026-01-01T00:00:00Z ERROR] proxy=…`.
fn is_error(line: &str) -> bool {
    let head = line.split(']').next().unwrap_or_default();
    head.starts_with('[') && head.split(' ').any(|word| word == "ERROR")
}

fn scrape(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(METRICS_TIMEOUT))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

/// The sum over all proxies of the lines `stratum_submits_total{proxy="…"} 123`.
fn metrics(admin: SocketAddr) -> Result<String, String> {
    scrape(admin).map_err(|error| format!("no metrics of the proxy: {error}"))
}

/// The sum of a metric over all its labels.
fn sum_of<T: FromStr + Sum>(page: &str, name: &str) -> T {
    let values = page.lines().filter_map(|line| {
        let labels_and_value = line.strip_prefix(name)?;
        if !labels_and_value.starts_with(['{', ' ']) {
            return None;
        }
        labels_and_value.rsplit(' ').next()?.parse().ok()
    });
    values.sum()
}

/// The address of a line `…: listening on 127.0.0.1:40123`.
fn parse_listening(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("listening on ")?;
    address.split_ascii_whitespace().next()?.parse().ok()
}

/// The practice pool's blocks last as long as those of Zcash.
const BLOCK_SECONDS: u32 = 75;

/// What the config, and a relay's command line, call it.
const fn dialect_name(coin: PracticeCoin) -> &'static str {
    match coin {
        PracticeCoin::Equihash(_) => "equihash",
        PracticeCoin::Bitcoin => "bitcoin",
        PracticeCoin::Monero => "monero",
    }
}

fn config_text(wanted: &Wanted) -> String {
    let mut coin = format!("    dialect: {}\n", dialect_name(wanted.coin));
    if let PracticeCoin::Equihash(set) = wanted.coin {
        let (n, k) = (set.n(), set.k());
        coin.push_str(&format!("    equihash: {{ n: {n}, k: {k} }}\n"));
    }
    let pool = match wanted.pool {
        Some(pool) => format!(
            "      - url: stratum+tcp://{pool}\n        worker: loadgen\n        password: x\n"
        ),
        None => practice_text(wanted.coin, wanted.job_interval_seconds),
    };
    let tls = match wanted.tls {
        true => format!("        tls: {{ certificate: {CERTIFICATE}, key: {KEY} }}\n"),
        false => String::new(),
    };
    format!(
        r#"proxies:
  - name: loadgen
{coin}    limits: {{ messages_per_second_max: 0, shares_per_second_max: 0 }}
    listen:
      - address: 127.0.0.1:0
{tls}    pools:
{pool}"#
    )
}

/// The practice pool's part of the config.
fn practice_text(coin: PracticeCoin, job_interval_seconds: u32) -> String {
    let real = shares::are_real(coin);
    let judge = if real { "full" } else { "shape" };
    let target = match coin {
        // Half of the solutions are shares, so both kinds are met and finding one stays cheap.
        PracticeCoin::Equihash(_) => format!("target: 7f{}", "f".repeat(62)),
        // One header in 64 is one: to hash so many takes as long.
        PracticeCoin::Bitcoin => format!("difficulty: {}", 1.0 / f64::from(1 << 26)),
        // Filler claims what is asked of it.
        PracticeCoin::Monero => "difficulty: 10000".to_owned(),
    };
    format!(
        r#"      - url: "practice:"
        practice:
          judge: {judge}
          job_interval_seconds: {job_interval_seconds}
          block_interval_jobs: {block_interval_jobs}
          {target}
"#,
        block_interval_jobs = BLOCK_SECONDS.div_ceil(job_interval_seconds),
    )
}

/// The certificate of the proxy and its key, beside its config.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
pub(crate) const KEY: &str = "key.pem";

/// A folder with a config and what it names, removed at the end.
#[derive(Debug)]
struct ConfigFile(PathBuf);

impl ConfigFile {
    fn write(text: &str, tls: bool) -> io::Result<Self> {
        let name = format!("loadgen-{}", std::process::id());
        let folder = Self(env::temp_dir().join(name));
        fs::create_dir_all(&folder.0)?;
        fs::write(folder.path(), text)?;
        if tls {
            // P-256: what a farm is told to have.
            let names = vec!["loadgen.invalid".to_owned()];
            let pair = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
            fs::write(folder.0.join(CERTIFICATE), pair.cert.pem())?;
            fs::write(folder.0.join(KEY), pair.signing_key.serialize_pem())?;
        }
        Ok(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("proxy.yaml")
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The proxy's binary, beside our own. Under `cargo run`, which builds only what runs, it is brought
/// up to date first.
fn find_binary() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let directory = own.parent().unwrap_or_else(|| Path::new("."));
    let binary = directory.join(BINARY);
    if let (Some(cargo), Some(loadgen)) = (env::var_os("CARGO"), env::var_os("CARGO_MANIFEST_DIR"))
    {
        let mut build = Command::new(cargo);
        build
            .current_dir(loadgen)
            // Both packages, so that it is built with what this one was built with, and not anew.
            .args(["build", "--locked", "--package", BINARY, "--package", "loadgen"])
            .args(["--bin", BINARY])
            .stdin(Stdio::null());
        // What cargo says of the package that it runs, ring's build script takes for news: all would be built
        // anew here, and then again by the next cargo outside.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(is_of_package) {
                build.env_remove(name);
            }
        }
        match directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(profile) => drop(build.args(["--profile", profile])),
        }
        let status = build.status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("building {BINARY} failed"));
        }
    }
    if binary.is_file() {
        return Ok(binary);
    }
    Err(format!(
        "{} is not there: build it with `cargo build --release`, or name a running one with --connect",
        binary.display()
    ))
}

/// Whether cargo tells a program with this variable which package it is of.
fn is_of_package(name: &str) -> bool {
    let kinds = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    kinds.iter().any(|kind| name.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use stratum_uring::proto::dialect::equihash::Parameters;

    use super::*;

    #[test]
    fn the_config_is_one_that_the_proxy_reads() {
        let coins = Parameters::ALL.map(PracticeCoin::Equihash);
        for coin in coins.into_iter().chain([PracticeCoin::Bitcoin]) {
            for pool in [None, Some(SocketAddr::from(([127, 0, 0, 1], 3333)))] {
                let text = config_text(&Wanted {
                    coin,
                    cores: None,
                    job_interval_seconds: 5,
                    pool,
                    relay: None,
                    wrap: String::new(),
                    config: None,
                    tls: false,
                    tied: false,
                });
                let config = stratum_uring::config::Config::load(&text);
                assert!(config.is_ok(), "{config:?}\n{text}");
            }
        }
    }

    #[test]
    fn a_build_is_told_nothing_of_our_own_package_and_all_else() {
        // Whoever runs the tests has these from cargo.
        let named = ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"];
        assert!(named.iter().all(|name| env::var_os(name).is_some()));
        assert!(named.into_iter().all(is_of_package));
        for name in [
            "CARGO",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_INCREMENTAL",
            "PATH",
        ] {
            assert!(!is_of_package(name), "{name}");
        }
    }

    #[test]
    fn errors_are_known_by_their_level() {
        assert!(is_error(
            "[2026-01-01T00:00:00Z ERROR] proxy=a shard=1: gone"
        ));
        for line in ["[2026-01-01T00:00:00Z WARN ] ERROR", "ERROR", ""] {
            assert!(!is_error(line), "{line}");
        }
    }

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page = "# TYPE stratum_submits counter\nstratum_submits_total{proxy=\"a\"} 7\n\
                    stratum_submits_total{proxy=\"b\"} 5\nstratum_submit_x 9\n";
        assert_eq!(sum_of::<u64>(page, "stratum_submits_total"), 12);
        assert_eq!(sum_of::<u64>(page, "stratum_submit"), 0);
    }

    #[test]
    fn the_address_is_read_from_the_log() {
        let line = "[2026-01-01T00:00:00Z INFO  x] proxy=loadgen: listening on 127.0.0.1:40123";
        assert_eq!(parse_listening(line), "127.0.0.1:40123".parse().ok());
        assert_eq!(parse_listening("practice pool on 127.0.0.1:5"), None);
    }
}
