use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::cipher::{
    AeadKey, KeyBlockShape, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls12AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, SupportedCipherSuite, SupportedProtocolVersion,
    Tls12CipherSuite,
};

use super::super::certificates::{Acceptor, KeyPairFiles, PemFile, ServerFiles};
use super::super::client::Trust;
use super::super::hello::{Hello, look};
use super::super::records::tests::configs;
use super::super::records::{RECORD_LEN_MAX, encrypted_len_max};
use super::super::trust::Verifier;
use super::*;

pub(in crate::tls) fn client_config(
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    client_config_of(ring::default_provider(), version)
}

/// Takes any certificate, as miners do, but only from who has its key.
fn client_config_of(
    provider: CryptoProvider,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let provider = Arc::new(provider);
    let verifier = Verifier::new(Trust::Anybody, Arc::clone(&provider)).expect("no roots");
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version of ring's")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(16);
    Arc::new(config)
}

pub(in crate::tls) fn pem(name: &str, text: &str) -> PemFile {
    PemFile {
        path: name.into(),
        bytes: text.into(),
    }
}

/// A listener with this pair.
pub(in crate::tls) fn pair(certificate: &str, key: &str) -> ServerFiles {
    ServerFiles {
        pairs: vec![KeyPairFiles {
            certificate: pem("hall.pem", certificate),
            key: pem("hall.key", key),
        }],
        client_ca: None,
    }
}

/// A listener with a pair of its own.
pub(in crate::tls) fn some_pair() -> ServerFiles {
    let made = rcgen::generate_simple_self_signed(["hall.example".to_owned()]).expect("a pair");
    pair(&made.cert.pem(), &made.signing_key.serialize_pem())
}

fn acceptor() -> Acceptor {
    Acceptor::load(&some_pair(), None).expect("good files")
}

/// A client and the server, with what each has heard.
pub(in crate::tls) struct Pair {
    pub(in crate::tls) client: ClientConnection,
    pub(in crate::tls) server: ServerSession,
    /// Bytes of each cut; the server is given no more at once.
    cut: usize,
    opened: usize,
    closed: usize,
    heard: Vec<u8>,
    pub(in crate::tls) failed: Option<TlsError>,
}

impl Pair {
    pub(in crate::tls) fn new(acceptor: &Acceptor, config: &Arc<ClientConfig>, cut: usize) -> Self {
        let name = ServerName::try_from("hall.example").expect("a name");
        Self {
            client: ClientConnection::new(Arc::clone(config), name).expect("a client"),
            server: acceptor.begin().expect("a session"),
            cut,
            opened: 0,
            closed: 0,
            heard: Vec::new(),
            failed: None,
        }
    }

    /// Bytes that the client has to send.
    fn client_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client
                .write_tls(&mut bytes)
                .expect("a vector takes all");
        }
        bytes
    }

    fn server_reads(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        for piece in bytes.chunks(self.cut) {
            let mut piece = piece.to_vec();
            let (opened, closed, heard) = (&mut self.opened, &mut self.closed, &mut self.heard);
            let outcome = self
                .server
                .receive(&mut piece, &mut output, |event| match event {
                    Event::Opened => *opened += 1,
                    Event::Plaintext(bytes) => {
                        assert_eq!(*opened, 1, "plaintext comes behind the handshake");
                        heard.extend_from_slice(bytes);
                    }
                    Event::PeerClosed => *closed += 1,
                });
            if let Err(error) = outcome {
                self.failed = Some(error);
                break;
            }
        }
        output
    }

    /// The client reads this; what it says to it is an error of its own.
    fn client_reads(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).expect("a slice");
            let state = self.client.process_new_packets()?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client
                .reader()
                .read_exact(&mut plain[start..])
                .expect("it said so");
        }
        Ok(plain)
    }

    /// Lets both speak until they have said all.
    pub(in crate::tls) fn talk(&mut self) {
        for _ in 0..4 {
            let bytes = self.client_says();
            let output = self.server_reads(&bytes);
            drop(self.client_reads(&output));
        }
    }

    pub(in crate::tls) fn shake(&mut self) {
        self.talk();
        assert_eq!(self.failed, None);
        assert!(!self.client.is_handshaking() && self.server.is_open());
        assert_eq!((self.opened, self.server.tail_len()), (1, 0));
    }

    fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.client.writer().write_all(bytes).expect("it buffers");
        self.client_says()
    }

    fn encrypt(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut out = vec![0; encrypted_len_max(plaintext.len())];
        let (len, outcome) = self.server.encrypt(plaintext, &mut out);
        outcome.expect("nothing to tell");
        out.truncate(len);
        out
    }
}

pub(in crate::tls) const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn both_versions_talk_however_their_records_are_cut() {
    let acceptor = acceptor();
    for version in VERSIONS {
        let config = client_config(version);
        for cut in [1, 2, 3, 5, 7, 64, 1000, 4096, usize::MAX] {
            let mut pair = Pair::new(&acceptor, &config, cut);
            pair.shake();
            let line: Vec<u8> = (0..=255).cycle().take(40_000).collect();
            for len in [1, 2_900, 40_000] {
                pair.heard.clear();
                let bytes = pair.say(&line[..len]);
                assert_eq!(pair.server_reads(&bytes), b"");
                assert!(pair.heard == line[..len], "{len} bytes, cut at {cut}");
                assert_eq!(pair.server.tail_len(), 0);
                let bytes = pair.encrypt(&line[..len]);
                assert!(bytes.len() > len);
                assert!(pair.client_reads(&bytes).expect("good records") == line[..len]);
            }
        }
    }
}

#[test]
fn the_server_can_speak_while_half_a_record_is_there() {
    let acceptor = acceptor();
    for version in VERSIONS {
        let mut pair = Pair::new(&acceptor, &client_config(version), usize::MAX);
        pair.shake();
        let bytes = pair.say(b"a line\n");
        pair.server_reads(&bytes[..9]);
        assert_eq!(pair.server.tail_len(), 9);
        let answer = pair.encrypt(b"an answer\n");
        assert_eq!(pair.client_reads(&answer).expect("good"), b"an answer\n");
        pair.server_reads(&bytes[9..]);
        assert_eq!(pair.heard, b"a line\n");
    }
}

#[test]
fn a_ticket_spares_the_second_handshake() {
    let acceptor = acceptor();
    for version in VERSIONS {
        let config = client_config(version);
        let mut first = Pair::new(&acceptor, &config, usize::MAX);
        first.shake();
        assert!(!first.server.is_resumed());
        let mut second = Pair::new(&acceptor, &config, 1);
        second.shake();
        assert!(second.server.is_resumed(), "{}", second.server.version());
    }
}

#[test]
fn a_close_is_told_both_ways() {
    let acceptor = acceptor();
    for version in VERSIONS {
        let mut pair = Pair::new(&acceptor, &client_config(version), usize::MAX);
        pair.shake();
        pair.client.send_close_notify();
        let bytes = pair.client_says();
        pair.server_reads(&bytes);
        assert_eq!(pair.closed, 1);
        let mut out = vec![0; encrypted_len_max(0)];
        let len = pair.server.close_notify(&mut out);
        let mut bytes = &out[..len];
        pair.client.read_tls(&mut bytes).expect("a slice");
        let state = pair.client.process_new_packets().expect("good");
        assert!(state.peer_has_closed());
    }
}

#[test]
fn a_spoiled_record_ends_the_session_with_an_alert() {
    let acceptor = acceptor();
    for version in VERSIONS {
        let mut pair = Pair::new(&acceptor, &client_config(version), usize::MAX);
        pair.shake();
        let mut bytes = pair.say(b"a line\n");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let alert = pair.server_reads(&bytes);
        let failed = pair.failed.take().expect("an error");
        assert_eq!(failed.failure, TlsFailure::Protocol, "{failed}");
        let told = pair.client_reads(&alert).expect_err("an alert");
        assert!(matches!(told, Error::AlertReceived(_)), "{told}");
        assert_eq!(pair.encrypt(b"more"), b"", "nothing can be said any more");
        assert_eq!(pair.server_reads(b"more"), b"");
        assert_eq!(pair.heard, b"");
    }
}

#[test]
fn a_session_whose_keys_are_used_up_tells_so_once() {
    let (client, server) = configs(&rustls::version::TLS12, 9);
    let mut pair = Pair::new(&acceptor(), &client, usize::MAX);
    let connection = UnbufferedServerConnection::new(server).expect("a connection");
    pair.server = ServerSession::new(connection);
    pair.shake();
    let mut out = vec![0; encrypted_len_max(4)];
    for _ in 0..8 {
        let (len, outcome) = pair.server.encrypt(b"job\n", &mut out);
        assert_eq!(outcome, Ok(()));
        assert_eq!(pair.client_reads(&out[..len]).expect("good"), b"job\n");
    }
    let (len, outcome) = pair.server.encrypt(b"job\n", &mut out);
    let error = outcome.expect_err("the ninth, and the handshake's last message");
    assert_eq!(error.failure, TlsFailure::KeysUsedUp, "{error}");
    pair.client.read_tls(&mut &out[..len]).expect("a slice");
    let state = pair.client.process_new_packets().expect("good");
    assert!(state.peer_has_closed());
    assert!(!pair.server.is_open());
    assert_eq!(pair.server.encrypt(b"job\n", &mut out), (0, Ok(())));
    let bytes = pair.say(b"a line\n");
    assert_eq!((pair.server_reads(&bytes), pair.failed), (Vec::new(), None));
}

#[test]
fn garbage_at_every_place_of_the_first_flight_is_an_error_and_no_panic() {
    let acceptor = acceptor();
    let config = client_config(&rustls::version::TLS13);
    let hello = Pair::new(&acceptor, &config, usize::MAX).client_says();
    assert_eq!(look(&hello), Hello::Whole);
    let mut failures = 0;
    for place in 0..hello.len() {
        for garbage in [0, 0xff] {
            let mut bytes = hello.clone();
            bytes[place] = garbage;
            bytes.extend_from_slice(&hello);
            let mut pair = Pair::new(&acceptor, &config, 100);
            pair.server_reads(&bytes);
            failures += usize::from(pair.failed.is_some());
            assert_eq!(pair.opened, 0);
        }
    }
    assert!(failures > hello.len());
}

#[test]
fn a_record_longer_than_records_are_is_refused() {
    let acceptor = acceptor();
    let mut pair = Pair::new(&acceptor, &client_config(&rustls::version::TLS13), 4096);
    pair.shake();
    let mut bytes = vec![0x17, 3, 3, 0xff, 0xff];
    bytes.resize(70_000, 0);
    pair.server_reads(&bytes);
    assert!(pair.failed.is_some());
    assert!(pair.server.tail_len() <= RECORD_LEN_MAX);
}

#[test]
fn a_peer_without_our_versions_is_told_so() {
    // TLS 1.0, as old firmware offers it: the version in the hello's body, and no extensions.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
    assert_eq!(look(&hello), Hello::Whole);
    let mut session = acceptor().begin().expect("a session");
    let mut output = Vec::new();
    let error = session
        .receive(&mut hello, &mut output, |_| {})
        .expect_err("no version in common");
    assert_eq!(error.failure, TlsFailure::Incompatible, "{error}");
    assert_eq!(output.first(), Some(&0x15), "an alert");
}

/// A cipher of ring's, under which what the client says with the word in front is no data but the rest of it
/// another message: so a client of rustls says what it never would.
#[derive(Debug)]
struct Ventriloquist(&'static Tls12CipherSuite);

/// In front of a handshake message.
const AS_HANDSHAKE: &[u8] = b"as a handshake message: ";

impl Tls12AeadAlgorithm for Ventriloquist {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Puppet(self.0.aead_alg.encrypter(key, iv, extra)))
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        self.0.aead_alg.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.aead_alg.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.aead_alg.extract_keys(key, iv, explicit)
    }
}

struct Puppet(Box<dyn MessageEncrypter>);

impl MessageEncrypter for Puppet {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let said = message.payload.to_vec();
        match said.strip_prefix(AS_HANDSHAKE) {
            None => self.0.encrypt(message, sequence),
            Some(payload) => {
                let message = OutboundPlainMessage {
                    typ: ContentType::Handshake,
                    version: message.version,
                    payload: payload.into(),
                };
                self.0.encrypt(message, sequence)
            }
        }
    }

    fn encrypted_payload_len(&self, len: usize) -> usize {
        self.0.encrypted_payload_len(len)
    }
}

#[test]
fn a_miner_that_wants_to_renegotiate_is_told_no_and_mines_on() {
    let mut provider = ring::default_provider();
    let suites = provider.cipher_suites.iter();
    let mut suites = suites.filter_map(|suite| match suite {
        SupportedCipherSuite::Tls12(suite) => Some(*suite),
        SupportedCipherSuite::Tls13(_) => None,
    });
    let ring = suites.next().expect("ring has TLS 1.2");
    let spoken: &'static Tls12CipherSuite = Box::leak(Box::new(Tls12CipherSuite {
        common: CipherSuiteCommon { ..ring.common },
        aead_alg: Box::leak(Box::new(Ventriloquist(ring))),
        ..*ring
    }));
    provider.cipher_suites = vec![SupportedCipherSuite::Tls12(spoken)];
    let config = client_config_of(provider, &rustls::version::TLS12);
    let mut pair = Pair::new(&acceptor(), &config, 1);
    pair.shake();
    let hello = Pair::new(&acceptor(), &config, 1).client_says();
    let (_record_header, hello) = hello.split_at(5);
    let hello = [AS_HANDSHAKE, hello].concat();
    let bytes = pair.say(&hello);
    let told = pair.server_reads(&bytes);
    assert_eq!(pair.failed, None);
    assert_eq!(told[0], 0x15, "an alert: no_renegotiation");
    pair.client_reads(&told).expect("no more than a warning");
    let bytes = pair.say(b"a line\n");
    assert_eq!(pair.server_reads(&bytes), b"");
    assert_eq!(pair.heard, b"a line\n");
    let answer = pair.encrypt(b"an answer\n");
    assert_eq!(pair.client_reads(&answer).expect("good"), b"an answer\n");
    // Who insists is no miner.
    for _ in 0..3 {
        let bytes = pair.say(&hello);
        pair.server_reads(&bytes);
    }
    let failed = pair.failed.expect("it went on");
    assert_eq!(failed.failure, TlsFailure::Protocol, "{failed}");
}

#[test]
fn new_keys_of_a_miner_are_taken_up_and_answered() {
    let config = client_config(&rustls::version::TLS13);
    for cut in [1, usize::MAX] {
        let mut pair = Pair::new(&acceptor(), &config, cut);
        pair.shake();
        for _ in 0..3 {
            pair.client.refresh_traffic_keys().expect("TLS 1.3");
            let bytes = pair.say(b"a line\n");
            assert_eq!(pair.server_reads(&bytes), b"");
            let answer = pair.encrypt(b"an answer\n");
            assert_eq!(pair.client_reads(&answer).expect("good"), b"an answer\n");
        }
        assert_eq!(pair.heard, b"a line\na line\na line\n");
        assert_eq!((pair.failed, pair.server.tail_len()), (None, 0));
    }
}
