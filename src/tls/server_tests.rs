use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};

use super::super::certificates::{Acceptor, KeyPairFiles, ServerFiles};
use super::super::hello::{Hello, look};
use super::*;

/// Takes any certificate, as miners do.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn client_config(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version of ring's")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    Arc::new(config)
}

fn acceptor() -> Acceptor {
    let made = rcgen::generate_simple_self_signed(["hall.example".to_owned()]).expect("a pair");
    let folder = std::env::temp_dir();
    let name = format!(
        "stratum-uring-unit-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let certificate = folder.join(format!("{name}.pem"));
    let key = folder.join(format!("{name}.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let files = ServerFiles {
        pairs: vec![KeyPairFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        }],
        client_ca: None,
    };
    let acceptor = Acceptor::load(&files, None).expect("good files");
    drop(std::fs::remove_file(certificate));
    drop(std::fs::remove_file(key));
    acceptor
}

/// A client and the server, with what each has heard.
struct Pair {
    client: ClientConnection,
    server: ServerSession,
    /// Bytes of each cut; the server is given no more at once.
    cut: usize,
    opened: usize,
    closed: usize,
    heard: Vec<u8>,
    failed: Option<TlsError>,
}

impl Pair {
    fn new(acceptor: &Acceptor, config: &Arc<ClientConfig>, cut: usize) -> Self {
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

    fn shake(&mut self) {
        for _ in 0..4 {
            let bytes = self.client_says();
            let output = self.server_reads(&bytes);
            self.client_reads(&output).expect("the client is content");
        }
        assert!(!self.client.is_handshaking() && self.server.is_open());
        assert_eq!((self.opened, self.server.tail_len()), (1, 0));
    }

    fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.client.writer().write_all(bytes).expect("it buffers");
        self.client_says()
    }

    fn encrypt(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut out = vec![0; encrypted_len_max(plaintext.len())];
        let len = self.server.encrypt(plaintext, &mut out);
        out.truncate(len);
        out
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

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
