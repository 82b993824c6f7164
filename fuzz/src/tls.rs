//! TLS on either side of the proxy, in front of rustls or of each other: real handshakes, cut anywhere, with
//! lines in between, bytes that were changed on the way, new keys and goodbyes.
//!
//! What comes out is what went in, in its order, up to an error; without a changed byte all of it, and no
//! error. What is kept of half a message has a bound. After an error nothing more is heard or said.
//!
//! What a miner sends first is also looked at as the shell does before it begins a session ([`Threshold`]).
//!
//! Keys and certificates are the same in each process, and all lengths with them. What both ends draw is not:
//! randoms, session ids, their halves of the key exchange, the key of tickets, and the order of a hello's
//! extensions.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use stratum_uring::tls::client::{ClientStream, Identity, TlsClient, Trust};
use stratum_uring::tls::roots::parse_roots;
use stratum_uring::tls::{
    Acceptor, Event, HELLO_LEN_MAX, Hello, KeyPairFiles, PemFile, RECORD_LEN_MAX, ServerFiles,
    ServerSession, encrypted_len_max, look,
};

use super::input::Input;

const NAME: &str = "hall.example";
const OTHER_NAME: &str = "other.example";

/// Signatures of this kind have one length, and the same text has the same one.
const KEY: &str = include_str!("../../tests/keys/ed25519.pkcs8.pem");

/// A pool's chain of certificates may be longer than a record.
const POOL_TAIL_LEN_MAX: usize = 5 * RECORD_LEN_MAX;

/// New keys that rustls as an end may want. rustls takes 32 in a row, and more for an attack.
const NEW_KEYS_MAX: usize = 30;

/// More would be the same again.
const STEPS_MAX: usize = 300;

/// Certificates for our key, each its own issuer, as PEM.
static HALL: LazyLock<String> = LazyLock::new(|| certificate(NAME));
static OTHER: LazyLock<String> = LazyLock::new(|| certificate(OTHER_NAME));

fn certificate(name: &str) -> String {
    let key = rcgen::KeyPair::from_pem(KEY).expect("a key");
    let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
    params.self_signed(&key).expect("a certificate").pem()
}

/// What begins our sessions with miners: it has a certificate for either name, and asks for none.
static ACCEPTOR: LazyLock<Acceptor> = LazyLock::new(|| acceptor(None));

/// The same, of which each miner must have one.
static STRICT: LazyLock<Acceptor> = LazyLock::new(|| acceptor(Some(&HALL)));

fn acceptor(client_ca: Option<&str>) -> Acceptor {
    let file = |name: &str, text: &str| PemFile {
        path: name.into(),
        bytes: text.into(),
    };
    let pair = |certificate: &str| KeyPairFiles {
        certificate: file("certificate.pem", certificate),
        key: file("key.pem", KEY),
    };
    let files = ServerFiles {
        pairs: vec![pair(&HALL), pair(&OTHER)],
        client_ca: client_ca.map(|text| file("ca.pem", text)),
    };
    Acceptor::load(&files, None).expect("good files")
}

/// One end of the connection.
enum End {
    Miner(ServerSession, Threshold),
    Pool(ClientStream),
    /// rustls with its own buffers, in the place of a miner or a pool.
    Rustls(Box<Connection>),
}

/// What the shell sees of a miner before it begins a session: the bytes so far, up to what they are.
#[derive(Default)]
struct Threshold {
    first: Vec<u8>,
    /// With the first byte that decided it.
    hello: Option<Hello>,
    /// Whether the session, which is given the same bytes, has said anything, or is over.
    has_spoken: bool,
    is_over: bool,
}

impl Threshold {
    /// Looks byte by byte. Any other cuts say the same.
    fn hears(&mut self, bytes: &[u8]) {
        let before = self.first.len();
        if self.hello.is_some() {
            return;
        }
        for byte in bytes {
            self.first.push(*byte);
            let hello = look(&self.first);
            if hello != Hello::Partial {
                self.hello = Some(hello);
                break;
            }
            assert!(self.first.len() <= HELLO_LEN_MAX, "more than is waited for");
        }
        let all = [&self.first[..before], bytes].concat();
        if all.len() <= HELLO_LEN_MAX {
            let at_once = look(&all);
            assert_eq!(
                at_once,
                self.hello.unwrap_or(Hello::Partial),
                "in one piece"
            );
        }
    }

    /// The session was told. A hello that is whole has its answer, and nothing else has one.
    fn check(&mut self, is_over: bool, has_spoken: bool) {
        self.is_over |= is_over;
        self.has_spoken |= has_spoken;
        match self.hello {
            Some(Hello::Whole) => assert!(self.has_spoken || self.is_over, "a whole hello"),
            None => assert!(!self.has_spoken || self.is_over, "half a hello"),
            Some(Hello::NotTls) => assert!(!self.has_spoken || self.is_over, "no hello"),
            // In more pieces than anybody is given the time for.
            Some(_) => {}
        }
    }
}

/// An end, with what it has said and heard.
struct Speaker {
    end: End,
    /// Ciphertext on its way to the other end.
    wire: Vec<u8>,
    said: Vec<u8>,
    heard: Vec<u8>,
    /// Times that it was told of the end of the handshake, and of the other's end.
    opened: usize,
    closed: usize,
    has_closed: bool,
    failed: bool,
    /// How often it wanted new keys.
    new_keys: usize,
    /// Somebody has changed what it said.
    is_spoiled: bool,
}

impl Speaker {
    fn new(end: End, wire: Vec<u8>) -> Self {
        Self {
            end,
            wire,
            said: Vec::new(),
            heard: Vec::new(),
            opened: 0,
            closed: 0,
            has_closed: false,
            failed: false,
            new_keys: 0,
            is_spoiled: false,
        }
    }

    fn is_open(&self) -> bool {
        match &self.end {
            End::Miner(session, _) => session.is_open(),
            End::Pool(stream) => stream.is_ready(),
            End::Rustls(connection) => !connection.is_handshaking(),
        }
    }

    /// Whether it is one of ours, and open, and goes on with an earlier session.
    fn resumed(&self) -> bool {
        match &self.end {
            End::Miner(session, _) => session.is_open() && session.is_resumed(),
            End::Pool(stream) => stream.is_ready() && stream.agreed().resumed,
            End::Rustls(_) => false,
        }
    }

    fn hears(&mut self, bytes: &[u8]) {
        let before = (self.heard.len(), self.wire.len(), self.closed);
        let was_over = self.failed;
        let outcome = match &mut self.end {
            End::Miner(session, threshold) => {
                threshold.hears(bytes);
                let said = self.wire.len();
                let (opened, closed, heard) = (&mut self.opened, &mut self.closed, &mut self.heard);
                let tell = |event: Event<'_>| match event {
                    Event::Opened => *opened += 1,
                    Event::Plaintext(bytes) => {
                        assert_eq!((*opened, *closed), (1, 0), "in the middle");
                        heard.extend_from_slice(bytes);
                    }
                    Event::PeerClosed => *closed += 1,
                };
                let received = session.receive(&mut bytes.to_vec(), &mut self.wire, tell);
                assert!(session.tail_len() <= RECORD_LEN_MAX);
                let is_over = received.is_err() || was_over || self.has_closed;
                threshold.check(is_over, self.wire.len() > said);
                received.map_err(|error| error.to_string())
            }
            End::Pool(stream) => {
                let (heard, wire) = (&mut self.heard, &mut self.wire);
                let received = stream.handle_bytes(&mut bytes.to_vec(), heard, wire);
                assert!(stream.tail_len() <= POOL_TAIL_LEN_MAX);
                self.closed = usize::from(stream.is_closed());
                received.map_err(|error| error.to_string())
            }
            // One that has failed looks at the same bytes again and again, and one that has said goodbye
            // panics in a debug build when it finds a mistake.
            End::Rustls(_) if was_over || self.has_closed => Ok(()),
            End::Rustls(connection) => {
                let received = read(connection, bytes, &mut self.heard);
                write(connection, &mut self.wire);
                received
            }
        };
        assert!(self.opened <= 1 && self.closed <= 1);
        if was_over {
            let after = (self.heard.len(), self.wire.len(), self.closed);
            assert_eq!((outcome, after), (Ok(()), before), "after an error");
            return;
        }
        if outcome.is_err() {
            self.failed = true;
            assert!(!matches!(self.end, End::Miner(..) | End::Pool(_)) || !self.is_open());
        }
    }

    /// Says this where it can.
    fn says(&mut self, plain: &[u8]) {
        let wire_len = self.wire.len();
        let can = self.is_open() && !self.failed && !self.has_closed;
        let outcome = match &mut self.end {
            End::Miner(session, _) => {
                let mut out = vec![0; encrypted_len_max(plain.len())];
                let (len, outcome) = session.encrypt(plain, &mut out);
                self.wire.extend_from_slice(&out[..len]);
                outcome.map_err(|error| error.to_string())
            }
            End::Pool(stream) => {
                let said = stream.encrypt(plain, &mut self.wire);
                said.map_err(|error| error.to_string())
            }
            End::Rustls(_) if !can => Ok(()),
            End::Rustls(connection) => {
                connection.writer().write_all(plain).expect("it buffers");
                write(connection, &mut self.wire);
                Ok(())
            }
        };
        if can {
            assert_eq!(outcome, Ok(()), "it was open");
            self.said.extend_from_slice(plain);
        } else {
            assert_eq!(self.wire.len(), wire_len, "it can't say anything");
        }
    }

    fn closes(&mut self) {
        let was_open = self.is_open();
        match &mut self.end {
            End::Miner(session, _) => {
                let mut out = vec![0; encrypted_len_max(0)];
                let len = session.close_notify(&mut out);
                self.wire.extend_from_slice(&out[..len]);
            }
            End::Pool(stream) => stream.close(&mut self.wire),
            // In the handshake it would say that, too, and the other end had no session.
            End::Rustls(connection) => {
                if was_open && !self.failed {
                    connection.send_close_notify();
                    write(connection, &mut self.wire);
                }
            }
        }
        self.has_closed |= was_open || !matches!(self.end, End::Rustls(_));
    }
}

/// Gives rustls these bytes, and takes what they say.
fn read(connection: &mut Connection, mut bytes: &[u8], heard: &mut Vec<u8>) -> Result<(), String> {
    // One that has heard the end wants no more.
    while !bytes.is_empty() && connection.wants_read() {
        connection.read_tls(&mut bytes).expect("a slice, and room");
        let state = connection.process_new_packets();
        let state = state.map_err(|error| error.to_string())?;
        let start = heard.len();
        heard.resize(start + state.plaintext_bytes_to_read(), 0);
        let place = &mut heard[start..];
        connection.reader().read_exact(place).expect("it said so");
    }
    Ok(())
}

fn write(connection: &mut Connection, wire: &mut Vec<u8>) {
    while connection.wants_write() {
        connection.write_tls(wire).expect("a vector takes all");
    }
}

/// The client of miners and pools: whom it believes is known by the name that it asks for.
fn client(name: &str, identity: Option<Identity>) -> TlsClient {
    let root: &str = if name == NAME { &HALL } else { &OTHER };
    let roots = parse_roots(root.as_bytes()).expect("roots");
    TlsClient::new(Trust::Roots(roots), identity).expect("a client")
}

fn our_pool_side(client: &TlsClient, name: &str) -> Speaker {
    let mut wire = Vec::new();
    let stream = client.connect(name, &mut wire).expect("a name");
    Speaker::new(End::Pool(stream), wire)
}

fn our_miner_side(acceptor: &Acceptor) -> Speaker {
    let session = acceptor.begin().expect("a session");
    Speaker::new(End::Miner(session, Threshold::default()), Vec::new())
}

/// Two of ours of which one comes back: it has a ticket of the connection before.
fn ours_again() -> (Speaker, Speaker) {
    let client = client(NAME, None);
    let (mut a, mut b) = (our_pool_side(&client, NAME), our_miner_side(&ACCEPTOR));
    for _ in 0..4 {
        carry(&mut a, &mut b, usize::MAX, 0);
        carry(&mut b, &mut a, usize::MAX, 0);
    }
    assert!(!a.resumed() && !b.resumed(), "the first time");
    (our_pool_side(&client, NAME), our_miner_side(&ACCEPTOR))
}

fn rustls_miner(
    version: &'static SupportedProtocolVersion,
    record_len_max: Option<usize>,
) -> Speaker {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(HALL.as_bytes()).expect("a certificate");
    roots.add(root).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.max_fragment_size = record_len_max;
    let name = ServerName::try_from(NAME).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    speaking(connection.into())
}

fn rustls_pool(
    version: &'static SupportedProtocolVersion,
    record_len_max: Option<usize>,
) -> Speaker {
    let chain = CertificateDer::from_pem_slice(HALL.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a pair");
    config.max_fragment_size = record_len_max;
    let connection = ServerConnection::new(Arc::new(config)).expect("a server");
    speaking(connection.into())
}

fn speaking(mut connection: Connection) -> Speaker {
    connection.set_buffer_limit(None);
    let mut wire = Vec::new();
    write(&mut connection, &mut wire);
    Speaker::new(End::Rustls(Box::new(connection)), wire)
}

/// Carries so many bytes from one to the other, in two cuts.
fn carry(from: &mut Speaker, to: &mut Speaker, len: usize, cut: usize) {
    let len = len.min(from.wire.len());
    let bytes: Vec<u8> = from.wire.drain(..len).collect();
    let (first, rest) = bytes.split_at(cut.min(len));
    to.hears(first);
    to.hears(rest);
    check(from, to);
}

/// What `to` has heard is the beginning of what `from` has said.
fn check(from: &Speaker, to: &Speaker) {
    assert!(from.said.starts_with(&to.heard), "in its order, and whole");
    assert!(from.is_spoiled || to.is_spoiled || !to.failed, "it failed");
}

/// A schedule of what is said, carried and changed.
pub fn run(data: &[u8]) {
    use rustls::version::{TLS12, TLS13};

    let mut input = Input::new(data);
    let kind = input.below(8);
    let record_len_max = input.one_of(&[None, Some(64), Some(100), Some(600)]);
    let (plain, ours) = (|| client(NAME, None), || our_miner_side(&ACCEPTOR));
    let (mut a, mut b) = match kind {
        0 => (our_pool_side(&plain(), NAME), ours()),
        1 => (rustls_miner(&TLS12, record_len_max), ours()),
        2 => (rustls_miner(&TLS13, record_len_max), ours()),
        3 => (
            our_pool_side(&plain(), NAME),
            rustls_pool(&TLS12, record_len_max),
        ),
        4 => (
            our_pool_side(&plain(), NAME),
            rustls_pool(&TLS13, record_len_max),
        ),
        // The second certificate, by the name that is asked for.
        5 => (our_pool_side(&client(OTHER_NAME, None), OTHER_NAME), ours()),
        // With a certificate of the miner's.
        6 => {
            let identity = Identity::parse(HALL.as_bytes(), KEY.as_bytes()).expect("a pair");
            let client = client(NAME, Some(identity));
            (our_pool_side(&client, NAME), our_miner_side(&STRICT))
        }
        _ => ours_again(),
    };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let step = input.byte();
        // Who does it, or to whose bytes it is done.
        let (one, other) = if step & 1 == 0 {
            (&mut a, &mut b)
        } else {
            (&mut b, &mut a)
        };
        match (step >> 1) % 12 {
            // A few bytes, or all.
            0..=2 => carry(one, other, usize::from(input.byte()), 1),
            3 => carry(one, other, usize::MAX, usize::from(input.byte())),
            // Byte by byte.
            4 => (0..input.byte()).for_each(|_| carry(one, other, 1, 1)),
            5 => (0..4).for_each(|_| {
                carry(one, other, usize::MAX, 100);
                carry(other, one, usize::MAX, 100);
            }),
            6 | 7 => one.says(input.take(9)),
            8 => {
                let len = usize::from(input.byte()) * 160;
                let text: Vec<u8> = (0..=250).cycle().take(len).collect();
                one.says(&text);
            }
            9 => {
                let at = usize::from(input.byte());
                let change = input.byte();
                if let Some(byte) = one.wire.get_mut(at) {
                    *byte ^= change;
                    one.is_spoiled |= change != 0;
                }
            }
            10 => match input.below(3) {
                0 => one.closes(),
                // Bytes from nowhere.
                1 => {
                    let bytes = input.take(7);
                    one.wire.extend_from_slice(bytes);
                    one.is_spoiled |= !bytes.is_empty();
                }
                // Bytes that get lost.
                _ => {
                    let len = one.wire.len().min(usize::from(input.byte()));
                    one.wire.drain(..len);
                    one.is_spoiled |= len > 0;
                }
            },
            _ => {
                if let End::Rustls(connection) = &mut one.end
                    && !one.failed
                    && !one.has_closed
                    && one.new_keys < NEW_KEYS_MAX
                {
                    one.new_keys += 1;
                    // In TLS 1.2, and before the end of the handshake, it can't.
                    drop(connection.refresh_traffic_keys());
                    write(connection, &mut one.wire);
                }
            }
        }
    }
    // In the end everything arrives, if nobody has changed it.
    for _ in 0..8 {
        carry(&mut a, &mut b, usize::MAX, 5);
        carry(&mut b, &mut a, usize::MAX, 5);
    }
    if !a.is_spoiled && !b.is_spoiled {
        for (from, to) in [(&a, &b), (&b, &a)] {
            assert!(!to.failed);
            assert!(to.has_closed || from.said == to.heard, "all of it");
            assert_eq!(to.is_open() && kind == 7, to.resumed(), "by a ticket");
        }
    }
}
