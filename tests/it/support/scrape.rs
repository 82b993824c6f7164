//! Asks the admin port as a scraper does, and reads what it says as strictly as its format is written.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{PATIENCE, Proxy};

/// The admin port of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin(pub(crate) SocketAddr);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Admin {
    pub(crate) const KEY: &str = "admin: { listen: 127.0.0.1:0 }\n";

    pub(crate) fn of(proxy: &Proxy) -> Self {
        Self(proxy.address("admin: listening"))
    }

    pub(crate) fn connect(self) -> Client {
        let stream = TcpStream::connect(self.0).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    pub(crate) fn get(self, path: &str) -> Answer {
        self.connect().ask("GET", path).expect("an answer")
    }

    pub(crate) fn scrape(self) -> Scrape {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(
            answer.headers["content-type"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        Scrape::parse(&answer.body)
    }

    /// Scrapes until the figures are as they must become; figures are a tick old.
    #[track_caller]
    pub(crate) fn scrape_until(self, fits: impl Fn(&Scrape) -> bool) -> Scrape {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let scrape = self.scrape();
            if fits(&scrape) {
                return scrape;
            }
            assert!(Instant::now() < deadline, "{scrape:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks until the status is this.
    #[track_caller]
    pub(crate) fn status_becomes(self, path: &str, status: u16) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            if answer.status == status {
                return answer;
            }
            assert!(Instant::now() < deadline, "{answer:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// One connection to an admin port.
#[derive(Debug)]
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Asks, and reads one answer; `None` where the connection ends first.
    pub(crate) fn ask(&mut self, method: &str, path: &str) -> Option<Answer> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: admin\r\n\r\n");
        self.send(request.as_bytes()).ok()?;
        self.answer(method != "HEAD")
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self, has_body: bool) -> Option<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                assert_eq!(line, "\r\n");
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let len = if has_body {
            headers["content-length"].parse().unwrap()
        } else {
            0
        };
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).ok()?;
        Some(Answer {
            status,
            headers,
            body: String::from_utf8(body).unwrap(),
        })
    }

    /// Whether the proxy ends the connection within this time; what it sends until then is dropped.
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut rest = [0; 4096];
        while Instant::now() < deadline {
            let timeout = Duration::from_millis(100);
            self.0.get_ref().set_read_timeout(Some(timeout)).unwrap();
            match self.0.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
        false
    }
}

/// What a scrape told.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// Family to type.
    pub(crate) types: BTreeMap<String, String>,
    /// Samples as they are written, `name{label="value"}`, to their values.
    pub(crate) samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads `OpenMetrics` 1.0 and panics at whatever it does not allow.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        let mut types = BTreeMap::new();
        let mut samples = BTreeMap::new();
        let mut helped = HashSet::new();
        let mut family = (String::new(), String::new());
        for line in body.lines() {
            assert!(!line.is_empty() && line.trim() == line, "{line:?}");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help has a text");
                assert!(helped.insert(name.to_owned()), "two families {name}");
                assert!(help.len() > 10 && !help.contains('"'), "{help}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert!(helped.contains(name), "{name} has no help");
                assert!(!name.ends_with("_total"), "{name}");
                family = (name.to_owned(), kind.to_owned());
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none());
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let (name, labels) = split_series(series);
                let suffixes: &[&str] = match family.1.as_str() {
                    "counter" => &["_total"],
                    "gauge" => &[""],
                    "info" => &["_info"],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    kind => panic!("type {kind}"),
                };
                let suffix = name.strip_prefix(family.0.as_str());
                assert!(
                    suffix.is_some_and(|it| suffixes.contains(&it)),
                    "{name} stands in the family {family:?}"
                );
                assert_eq!(labels.contains_key("le"), suffix == Some("_bucket"));
                let value: f64 = value.parse().expect("a number");
                assert!(value.is_finite() && value >= 0.0, "{line}");
                let unsorted = samples.insert(series.to_owned(), value);
                assert!(unsorted.is_none(), "{series} twice");
            }
        }
        assert_eq!(helped.len(), types.len());
        Self { types, samples }
    }

    /// One sample.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        match self.samples.get(series) {
            Some(value) => *value,
            None => panic!("no {series} in {:#?}", self.samples),
        }
    }

    /// The sum of all samples of this name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let of_name = |series: &&String| split_series(series).0 == name;
        let samples = self.samples.keys().filter(of_name);
        samples.map(|series| self.samples[series]).sum()
    }
}

/// The name and the labels of a sample.
#[track_caller]
fn split_series(series: &str) -> (&str, BTreeMap<String, String>) {
    let is_name = |name: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.is_empty() && name.chars().all(letter) && !name.starts_with(char::is_numeric)
    };
    let Some((name, rest)) = series.split_once('{') else {
        assert!(is_name(series), "{series}");
        return (series, BTreeMap::new());
    };
    assert!(is_name(name), "{series}");
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}').expect("labels end");
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"").expect("a label");
        assert!(is_name(label), "{series}");
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().expect("a quote ends the value") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect("something is escaped").1 {
                    'n' => value.push('\n'),
                    c @ ('"' | '\\') => value.push(c),
                    c => panic!("\\{c}"),
                },
                (_, c) => value.push(c),
            }
        };
        assert!(labels.insert(label.to_owned(), value).is_none(), "{series}");
        rest = &quoted[end + 1..];
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').expect("a comma");
        }
    }
    (name, labels)
}
