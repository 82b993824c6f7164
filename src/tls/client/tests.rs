use std::io::{Read, Write};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData,
    date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};
use sha2::{Digest, Sha256};

use super::*;
use crate::tls::roots::parse_roots;

/// An issuer, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
struct Owned {
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the issuer of a test");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn signs(&self, names: &[&str]) -> Owned {
        self.signs_with(names, |_| {})
    }

    fn signs_with(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Owned {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Owned { pem, key }
    }

    fn trust(&self) -> Trust {
        Trust::Roots(parse_roots(self.pem.as_bytes()).expect("roots"))
    }
}

impl Owned {
    fn pin(&self) -> Pin {
        Pin(Sha256::digest(self.key.subject_public_key_info()).into())
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        let read = CertificateDer::pem_slice_iter(self.pem.as_bytes());
        read.collect::<Result<_, _>>().expect("certificates")
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).expect("a key")
    }

    fn pool_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain(), self.private_key())
            .expect("a certificate");
        Arc::new(config)
    }

    fn pool(&self) -> Arc<ServerConfig> {
        self.pool_of(rustls::ALL_VERSIONS)
    }
}

/// A client and a pool, with what lies on the wire between them.
struct Wire {
    ours: ClientStream,
    pool: ServerConnection,
    out: Vec<u8>,
    heard: Vec<u8>,
}

impl Wire {
    fn new(client: &TlsClient, host: &str, pool: &Arc<ServerConfig>) -> Self {
        let mut out = Vec::new();
        Self {
            ours: client.connect(host, &mut out).expect("a greeting"),
            pool: ServerConnection::new(Arc::clone(pool)).expect("a pool"),
            out,
            heard: Vec::new(),
        }
    }

    /// The pool reads what we have said; returns what it says.
    fn pool_answers(&mut self) -> Vec<u8> {
        let out = std::mem::take(&mut self.out);
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            self.pool.read_tls(&mut rest).expect("room");
            // What the pool thinks of it shows in what it says.
            drop(self.pool.process_new_packets());
        }
        let mut bytes = Vec::new();
        while self.pool.wants_write() {
            self.pool.write_tls(&mut bytes).expect("memory");
        }
        bytes
    }

    /// Carries bytes to and fro until nobody has any, those of the pool in parts of this length.
    fn carry(&mut self, part: usize) -> Result<(), TlsError> {
        loop {
            let mut bytes = self.pool_answers();
            if bytes.is_empty() && self.out.is_empty() {
                return Ok(());
            }
            for part in bytes.chunks_mut(part) {
                self.ours
                    .handle_bytes(part, &mut self.heard, &mut self.out)?;
            }
        }
    }

    fn pool_heard(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        // It ends with "would block", or with the end where the client closed.
        drop(self.pool.reader().read_to_end(&mut heard));
        heard
    }
}

fn meets(trust: Trust, host: &str, pool: &Arc<ServerConfig>) -> Result<Wire, String> {
    let client = TlsClient::new(trust, None).expect("a client");
    let mut wire = Wire::new(&client, host, pool);
    match wire.carry(8192) {
        Ok(()) => Ok(wire),
        Err(error) => {
            assert!(!wire.ours.is_ready());
            assert!(!wire.out.is_empty(), "the pool is told by an alert");
            Err(error.to_string())
        }
    }
}

#[test]
fn lines_go_both_ways_however_the_bytes_come() {
    let authority = Authority::new();
    for version in [&version::TLS12, &version::TLS13] {
        let pool = authority.signs(&["pool.example"]).pool_of(&[version]);
        for part in [1, 7, 1000, 100_000] {
            let client = TlsClient::new(authority.trust(), None).expect("a client");
            let mut wire = Wire::new(&client, "pool.example", &pool);
            wire.carry(part).expect("a handshake");
            assert!(wire.ours.is_ready());
            assert_eq!(wire.ours.agreed().tls13, version == &version::TLS13);
            wire.ours.encrypt(b"hello\n", &mut wire.out).expect("ready");
            let job = vec![b'j'; 50_000];
            wire.pool.writer().write_all(&job).expect("memory");
            wire.carry(part).expect("a conversation");
            assert_eq!(wire.pool_heard(), b"hello\n");
            assert_eq!(wire.heard, job, "{part}");
            assert_eq!(wire.ours.tail_len(), 0);
            wire.ours.close(&mut wire.out);
            wire.carry(part).expect("an end");
            assert!(
                wire.pool
                    .process_new_packets()
                    .expect("good")
                    .peer_has_closed()
            );
        }
    }
}

#[test]
fn what_is_longer_than_a_record_is_encrypted_in_several() {
    let authority = Authority::new();
    let pool = authority.signs(&["a"]).pool();
    let mut wire = meets(authority.trust(), "a", &pool).expect("a handshake");
    for len in [0, 1, 16_384, 16_385, 65_536] {
        let storm: Vec<u8> = (0..=255).cycle().take(len).collect();
        wire.ours.encrypt(&storm, &mut wire.out).expect("ready");
        // The pool's own buffer is one record, so it reads as they come.
        let mut heard = Vec::new();
        for part in std::mem::take(&mut wire.out).chunks(1000) {
            let mut part = part;
            while !part.is_empty() {
                wire.pool.read_tls(&mut part).expect("room");
                wire.pool.process_new_packets().expect("good records");
                heard.extend(wire.pool_heard());
            }
        }
        assert!(heard == storm, "{len} bytes");
    }
}

#[test]
fn a_pool_of_tls_1_2_is_offered_keys_that_last() {
    let authority = Authority::new();
    let pool = authority.signs(&["a"]).pool_of(&[&version::TLS12]);
    let wire = meets(authority.trust(), "a", &pool).expect("a handshake");
    let suite = wire.pool.negotiated_cipher_suite().expect("one");
    let SupportedCipherSuite::Tls12(suite) = suite else {
        panic!("{suite:?}");
    };
    assert_eq!(suite.common.confidentiality_limit, u64::MAX);
}

#[test]
fn a_second_link_resumes_the_session_of_the_first() {
    let authority = Authority::new();
    for version in [&version::TLS12, &version::TLS13] {
        let pool = authority.signs(&["a"]).pool_of(&[version]);
        let client = TlsClient::new(authority.trust(), None).expect("a client");
        for resumed in [false, true] {
            let mut wire = Wire::new(&client, "a", &pool);
            wire.carry(8192).expect("a handshake");
            assert_eq!(wire.ours.agreed().resumed, resumed);
        }
    }
}

#[test]
fn new_keys_are_taken_up_and_answered() {
    let authority = Authority::new();
    let pool = authority.signs(&["a"]).pool();
    let mut wire = meets(authority.trust(), "a", &pool).expect("a handshake");
    for _ in 0..3 {
        wire.pool.refresh_traffic_keys().expect("TLS 1.3");
        wire.pool.writer().write_all(b"job\n").expect("memory");
        wire.carry(1).expect("new keys");
        wire.ours.encrypt(b"share\n", &mut wire.out).expect("ready");
        wire.carry(1).expect("new keys");
        assert_eq!(wire.pool_heard(), b"share\n");
    }
    assert_eq!(wire.heard, b"job\njob\njob\n");
}

/// Says something at every moment at which a part of a message of the pool's may lie there.
#[test]
fn a_share_can_be_said_while_half_a_message_of_the_pool_is_there() {
    let authority = Authority::new();
    for version in [&version::TLS12, &version::TLS13] {
        let mut pool = (*authority.signs(&["a"]).pool_of(&[version])).clone();
        // Its tickets need several records.
        pool.max_fragment_size = Some(64);
        let client = TlsClient::new(authority.trust(), None).expect("a client");
        let mut wire = Wire::new(&client, "a", &Arc::new(pool));
        let (mut said, mut heard) = (0, 0);
        for round in 0..5 {
            if round == 3 && version == &version::TLS13 {
                wire.pool.refresh_traffic_keys().expect("TLS 1.3");
            }
            let mut bytes = wire.pool_answers();
            heard += wire.pool_heard().len();
            if round == 2 {
                wire.pool.writer().write_all(b"job\n").expect("memory");
                bytes.append(&mut wire.pool_answers());
            }
            for byte in bytes {
                let (heard, out) = (&mut wire.heard, &mut wire.out);
                wire.ours
                    .handle_bytes(&mut [byte], heard, out)
                    .expect("good records");
                if wire.ours.is_ready() {
                    wire.ours.encrypt(b"share\n", out).expect("ready");
                    said += 1;
                }
            }
        }
        assert!(said > 20, "{said}");
        assert_eq!(heard, said * b"share\n".len());
        assert_eq!(wire.heard, b"job\n");
    }
}

#[test]
fn an_end_is_told_behind_the_last_line() {
    let authority = Authority::new();
    let pool = authority.signs(&["a"]).pool();
    let mut wire = meets(authority.trust(), "a", &pool).expect("a handshake");
    wire.pool.writer().write_all(b"last\n").expect("memory");
    wire.pool.send_close_notify();
    assert!(!wire.ours.is_closed());
    wire.carry(8192).expect("an end is no error");
    assert_eq!(wire.heard, b"last\n");
    assert!(wire.ours.is_closed());
}

#[test]
fn an_unknown_issuer_is_refused_with_the_pin_that_would_do() {
    let owned = Authority::new().signs(&["pool.example"]);
    let refused = meets(Authority::new().trust(), "pool.example", &owned.pool());
    let expected = format!(
        "nobody known here signed its certificate; give tls.ca; tls.pin_sha256: {}, if the pool \
         publishes it",
        owned.pin()
    );
    assert_eq!(refused.err(), Some(expected));
    let pins = Trust::Pins(vec![Pin([7; 32]), owned.pin()], None);
    assert!(meets(pins, "another.example", &owned.pool()).is_ok());
    assert!(meets(Trust::Anybody, "another.example", &owned.pool()).is_ok());
}

#[test]
fn another_key_than_the_pinned_one_is_refused() {
    let authority = Authority::new();
    let owned = authority.signs(&["a"]);
    let expected = format!(
        "its key is another one than tls.pin_sha256 says; tls.pin_sha256: {}, if the pool \
         publishes it",
        owned.pin()
    );
    let Trust::Roots(roots) = authority.trust() else {
        panic!("roots");
    };
    for roots in [None, Some(Arc::clone(&roots))] {
        let trust = Trust::Pins(vec![Pin([7; 32])], roots);
        assert_eq!(
            meets(trust, "a", &owned.pool()).err(),
            Some(expected.clone())
        );
    }
    // With roots beside the pin both must hold.
    let both = || Trust::Pins(vec![owned.pin()], Some(Arc::clone(&roots)));
    assert!(meets(both(), "a", &owned.pool()).is_ok());
    assert!(meets(both(), "b", &owned.pool()).is_err());
}

#[test]
fn a_wrong_name_is_refused_with_the_cure() {
    let authority = Authority::new();
    let pool = authority
        .signs(&["eu.pool.example", "*.pool.example"])
        .pool();
    let refused = meets(authority.trust(), "127.0.0.1", &pool).err();
    let expected = "its certificate is for eu.pool.example, *.pool.example, not for 127.0.0.1; if that is \
                    the pool, set tls.server_name: eu.pool.example";
    assert_eq!(refused.as_deref(), Some(expected));
    let client = TlsClient::new(authority.trust(), None).expect("a client");
    let client = client.with_server_name("us.pool.example").expect("a name");
    let mut wire = Wire::new(&client, "127.0.0.1", &pool);
    wire.carry(8192).expect("the name that was set");
    let nameless = meets(authority.trust(), "a", &authority.signs(&[]).pool());
    let text = nameless.err().expect("no name");
    let start = "its certificate names nobody, so not a; tls.pin_sha256: ";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn a_certificate_holds_in_its_time_alone() {
    let authority = Authority::new();
    let old = authority.signs_with(&["a"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let text = meets(authority.trust(), "a", &old.pool())
        .err()
        .expect("old");
    assert!(text.starts_with("its certificate expired "), "{text}");
    assert!(
        text.contains(" days ago, or our clock is wrong; "),
        "{text}"
    );
    let new = authority.signs_with(&["a"], |params| {
        params.not_before = date_time_ymd(4000, 1, 1);
    });
    let text = meets(authority.trust(), "a", &new.pool())
        .err()
        .expect("new");
    assert!(text.starts_with("its certificate holds only in "), "{text}");
    let pinned = Trust::Pins(vec![old.pin()], None);
    assert!(meets(pinned, "a", &old.pool()).is_ok(), "the pin decides");
}

#[test]
fn a_self_signed_certificate_can_be_pinned() {
    let authority = Authority::new();
    let owned = Owned {
        pem: authority.pem.clone(),
        key: KeyPair::from_pem(&authority.issuer.key().serialize_pem()).expect("a key"),
    };
    let text = meets(authority.trust(), "a", &owned.pool())
        .err()
        .expect("not so");
    let expected = format!(
        "its certificate is an issuer's own, as self-signed ones are; tls.pin_sha256: {}, if the \
         pool publishes it",
        owned.pin()
    );
    assert_eq!(text, expected);
    assert!(meets(Trust::Pins(vec![owned.pin()], None), "a", &owned.pool()).is_ok());
}

#[test]
fn a_client_certificate_is_shown_to_a_pool_that_asks() {
    let authority = Authority::new();
    let owned = authority.signs(&["a"]);
    let provider = Arc::new(default_provider());
    let Trust::Roots(roots) = authority.trust() else {
        panic!("roots");
    };
    for version in [&version::TLS12, &version::TLS13] {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(owned.chain(), owned.private_key())
            .expect("a certificate");
        let pool = Arc::new(config);
        let farm = authority.signs(&["farm"]);
        let key = farm.key.serialize_pem();
        let identity = Identity::parse(farm.pem.as_bytes(), key.as_bytes()).expect("ours");
        let client = TlsClient::new(authority.trust(), Some(identity)).expect("a client");
        let mut wire = Wire::new(&client, "a", &pool);
        wire.carry(8192).expect("known");
        assert_eq!(wire.pool.peer_certificates().map(<[_]>::len), Some(1));

        let client = TlsClient::new(authority.trust(), None).expect("a client");
        let mut wire = Wire::new(&client, "a", &pool);
        let text = wire.carry(8192).expect_err("nobody").to_string();
        let expected = "the pool sent the alert certificate_required; it wants a client certificate: set \
                        tls.certificate and tls.key, or ask it for them";
        assert_eq!(text, expected);
    }
}

#[test]
fn a_client_certificate_has_its_own_key() {
    let authority = Authority::new();
    let (one, other) = (authority.signs(&["a"]), authority.signs(&["a"]));
    let key = other.key.serialize_pem();
    let identity = Identity::parse(one.pem.as_bytes(), key.as_bytes()).expect("two files");
    let refused = TlsClient::new(Trust::Anybody, Some(identity)).unwrap_err();
    let expected = IdentityError::Key("is not the key of tls.certificate".to_owned());
    assert_eq!(refused, expected);
    let swapped = Identity::parse(key.as_bytes(), one.pem.as_bytes()).unwrap_err();
    assert!(matches!(swapped, IdentityError::Certificate(_)));
    let keyless = Identity::parse(one.pem.as_bytes(), b"").unwrap_err();
    let text = "holds no private key that can be read: nothing of that kind is in it";
    assert_eq!(keyless, IdentityError::Key(text.to_owned()));
}

#[test]
fn a_plain_pool_is_told_from_one_with_tls() {
    let client = TlsClient::new(Trust::Anybody, None).expect("a client");
    let mut out = Vec::new();
    let mut ours = client.connect("a", &mut out).expect("a greeting");
    let mut line = *b"{\"id\":null,\"result\":null,\"error\":[20,\"what?\",null]}\n";
    let error = ours.handle_bytes(&mut line, &mut Vec::new(), &mut out);
    let expected =
        "what it says is no TLS; if this port of the pool is a plain one, write stratum+tcp://";
    assert_eq!(error.unwrap_err().to_string(), expected);
}

#[test]
fn a_broken_record_ends_the_stream_for_good() {
    let authority = Authority::new();
    let pool = authority.signs(&["a"]).pool();
    let mut wire = meets(authority.trust(), "a", &pool).expect("a handshake");
    let mut bytes = Vec::new();
    wire.pool
        .writer()
        .write_all(b"good\nbad\n")
        .expect("memory");
    wire.pool.write_tls(&mut bytes).expect("memory");
    *bytes.last_mut().expect("a record") ^= 1;
    let heard = wire
        .ours
        .handle_bytes(&mut bytes, &mut wire.heard, &mut wire.out);
    assert!(heard.is_err());
    assert!(wire.heard.is_empty());
    assert!(wire.ours.encrypt(b"more", &mut wire.out).is_err());
    let alert = std::mem::take(&mut wire.out);
    wire.pool.read_tls(&mut alert.as_slice()).expect("room");
    let told = wire.pool.process_new_packets().unwrap_err();
    assert_eq!(told, Error::AlertReceived(AlertDescription::BadRecordMac));
}
