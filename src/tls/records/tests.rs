use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::crypto::{CipherSuiteCommon, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, Tls12CipherSuite,
    Tls13CipherSuite,
};

use super::super::client::Trust;
use super::super::server::tests::VERSIONS;
use super::super::trust::Verifier;
use super::*;

/// Ring's first cipher of either version, as if its keys were good for so many records.
fn provider(records_max: u64) -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    let short = |common: &CipherSuiteCommon| CipherSuiteCommon {
        confidentiality_limit: records_max,
        ..*common
    };
    let short = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: short(&suite.common),
                ..**suite
            })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: short(&suite.common),
                ..**suite
            })))
        }
    };
    provider.cipher_suites = provider.cipher_suites.iter().map(short).collect();
    Arc::new(provider)
}

/// One end, with what it has heard and has to say.
struct End<S> {
    records: Records<S>,
    output: Vec<u8>,
    heard: Vec<u8>,
    closes: usize,
}

impl<S: Side> End<S> {
    fn new(connection: S) -> Self {
        Self {
            records: Records::new(connection),
            output: Vec::new(),
            heard: Vec::new(),
            closes: 0,
        }
    }

    fn hears(&mut self, mut bytes: Vec<u8>) -> Result<(), RecordsError> {
        let (heard, closes) = (&mut self.heard, &mut self.closes);
        let tell = |event: Event<'_>| match event {
            Event::Opened => {}
            Event::Plaintext(bytes) => heard.extend_from_slice(bytes),
            Event::PeerClosed => *closes += 1,
        };
        self.records.receive(&mut bytes, &mut self.output, tell)
    }

    fn says(&mut self, plaintext: &[u8]) -> (Vec<u8>, Result<(), RecordsError>) {
        let mut out = vec![0; encrypted_len_max(plaintext.len())];
        let (len, outcome) = self.records.encrypt(plaintext, &mut out);
        out.truncate(len);
        (out, outcome)
    }

    fn closes(&mut self) -> Vec<u8> {
        let mut out = vec![0; encrypted_len_max(0)];
        let len = self.records.close_notify(&mut out);
        out.truncate(len);
        out
    }
}

type Miner = End<UnbufferedClientConnection>;
type Proxy = End<UnbufferedServerConnection>;

/// A miner and a proxy whose keys are good for so many records.
pub(in crate::tls) fn configs(
    version: &'static SupportedProtocolVersion,
    records_max: u64,
) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let provider = provider(records_max);
    let made = rcgen::generate_simple_self_signed(["a".to_owned()]).expect("a pair");
    let key = made.signing_key.serialize_pem();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a pair");
    let verifier = Verifier::new(Trust::Anybody, Arc::clone(&provider)).expect("no roots");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    (Arc::new(client), Arc::new(server))
}

/// Two ends whose handshake is done.
fn open(version: &'static SupportedProtocolVersion, records_max: u64) -> (Miner, Proxy) {
    let (client, server) = configs(version, records_max);
    let name = ServerName::try_from("a").expect("a name");
    let miner = UnbufferedClientConnection::new(client, name).expect("a client");
    let proxy = UnbufferedServerConnection::new(server).expect("a server");
    let (mut miner, mut proxy) = (End::new(miner), End::new(proxy));
    miner.hears(Vec::new()).expect("a greeting");
    for _ in 0..4 {
        proxy.hears(mem::take(&mut miner.output)).expect("good");
        miner.hears(mem::take(&mut proxy.output)).expect("good");
    }
    assert!(miner.records.is_open() && proxy.records.is_open());
    (miner, proxy)
}

/// This end says so many lines to the other one, and its keys are used up before.
fn uses_up<A: Side, B: Side>(a: &mut End<A>, b: &mut End<B>) {
    let mut said = 0;
    let alert = loop {
        let (bytes, outcome) = a.says(b"a line\n");
        if let Err(error) = outcome {
            assert_eq!(error, RecordsError::KeysUsedUp);
            break bytes;
        }
        b.hears(bytes).expect("good");
        said += 1;
        assert!(said < 100, "it never ends");
    };
    assert_eq!(b.heard, b"a line\n".repeat(said));
    assert_eq!(b.closes, 0);
    b.hears(alert).expect("good");
    assert_eq!(b.closes, 1, "the peer is told");
    // The rest is silence.
    assert!(a.records.is_over() && !a.records.is_open());
    let (bytes, outcome) = a.says(b"more\n");
    assert_eq!((bytes, outcome), (Vec::new(), Err(RecordsError::NotOpen)));
    let (bytes, outcome) = b.says(b"an answer\n");
    assert_eq!(outcome, Ok(()));
    assert_eq!(a.hears(bytes), Ok(()));
    assert_eq!(a.closes(), b"");
    assert_eq!(a.heard, b"");
}

#[test]
fn a_session_whose_keys_are_used_up_ends_and_says_so() {
    let (mut miner, mut proxy) = open(&rustls::version::TLS12, 9);
    uses_up(&mut proxy, &mut miner);
    let (mut miner, mut proxy) = open(&rustls::version::TLS12, 9);
    uses_up(&mut miner, &mut proxy);
}

#[test]
fn tls_1_3_takes_new_keys_in_time() {
    let (mut miner, mut proxy) = open(&rustls::version::TLS13, 9);
    for _ in 0..100 {
        let (bytes, outcome) = proxy.says(b"job\n");
        assert_eq!(outcome, Ok(()));
        miner.hears(bytes).expect("good");
        let (bytes, outcome) = miner.says(b"share\n");
        assert_eq!(outcome, Ok(()));
        proxy.hears(bytes).expect("good");
    }
    assert_eq!(miner.heard, b"job\n".repeat(100));
    assert_eq!(proxy.heard, b"share\n".repeat(100));
}

#[test]
fn what_comes_behind_the_end_is_let_go() {
    for version in VERSIONS {
        let (mut miner, mut proxy) = open(version, u64::MAX);
        let (mut bytes, _) = miner.says(b"the last line\n");
        bytes.append(&mut miner.closes());
        assert_eq!(miner.says(b"more\n").0, b"");
        bytes.extend_from_slice(&[0x17, 3, 3, 0, 200]);
        bytes.resize(bytes.len() + 200, 7);
        bytes.extend_from_slice(&[0x17, 3, 3]);
        assert_eq!(proxy.hears(bytes), Ok(()));
        for _ in 0..10 {
            assert_eq!(proxy.hears(vec![0x17; 9000]), Ok(()));
            assert_eq!((proxy.closes, proxy.records.tail_len()), (1, 0));
        }
        assert_eq!(proxy.heard, b"the last line\n");
        // We may still speak, and end it when we like.
        let (bytes, outcome) = proxy.says(b"an answer\n");
        assert_eq!(outcome, Ok(()));
        assert!(!bytes.is_empty() && !proxy.closes().is_empty());
        assert_eq!(proxy.closes(), b"");
    }
}

#[test]
fn a_message_that_never_ends_has_a_bound() {
    for version in VERSIONS {
        let (mut miner, mut proxy) = open(version, u64::MAX);
        // Records that rustls has to keep in full: their end does not come.
        let endless = |len: usize| {
            let mut bytes = vec![0x17, 3, 3, 0x45, 0];
            bytes.resize(len, 7);
            bytes
        };
        for error in [proxy.hears(endless(200_000)), miner.hears(endless(200_000))] {
            assert!(error.is_err(), "kept");
        }
        assert_eq!(proxy.records.tail_len() + miner.records.tail_len(), 0);
    }
}
