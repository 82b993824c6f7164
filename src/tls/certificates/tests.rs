use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::ring::default_provider;

use super::super::client::Trust;
use super::super::failure::TlsFailure;
use super::super::server::tests::{Folder, Pair, VERSIONS, client_config};
use super::super::trust::Verifier;
use super::*;

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../../tests/keys/", $name, ".pem"))
    };
}

const ED25519: &str = key!("ed25519.pkcs8");
const P256: &str = key!("p-256.pkcs8");
const P384: &str = key!("p-384.pkcs8");
const RSA: &str = key!("rsa-2048.pkcs8");

/// A certificate for this key, which is PKCS#8.
fn certificate_for(key: &str) -> String {
    let key = KeyPair::from_pem(key).expect("a key");
    let params = CertificateParams::new(vec!["hall.example".to_owned()]).expect("a name");
    params.self_signed(&key).expect("a certificate").pem()
}

#[test]
fn every_kind_of_key_serves_miners_of_both_versions() {
    let folder = Folder::new();
    for (kind, key, written) in [
        ("RSA, PKCS#8", RSA, RSA),
        ("RSA, PKCS#1", RSA, key!("rsa-2048.pkcs1")),
        ("P-256, PKCS#8", P256, P256),
        ("P-256, SEC1", P256, key!("p-256.sec1")),
        ("P-384, PKCS#8", P384, P384),
        ("P-384, SEC1", P384, key!("p-384.sec1")),
        ("Ed25519, PKCS#8", ED25519, ED25519),
    ] {
        let files = folder.pair(&certificate_for(key), written);
        let acceptor = Acceptor::load(&files, None).unwrap_or_else(|it| panic!("{kind}: {it:?}"));
        for version in VERSIONS {
            // The client looks whether who shows the certificate has its key.
            Pair::new(&acceptor, &client_config(version), 100).shake();
        }
    }
}

#[test]
fn a_key_of_another_certificate_is_told_of_whatever_its_kind() {
    let folder = Folder::new();
    for key in [RSA, P256, P384, ED25519] {
        let other = if key == RSA { P256 } else { RSA };
        let files = folder.pair(&certificate_for(other), key);
        let errors = Acceptor::load(&files, None).expect_err("two keys");
        let [error] = errors.as_slice() else {
            panic!("{errors:?}");
        };
        assert_eq!(error.file, CertificateFile::Key(0));
        assert!(error.text.contains("does not fit"), "{error}");
    }
}

#[test]
fn an_operator_hears_of_a_certificate_when_it_runs_out_and_before_it_is_good() {
    const DAY: i64 = 24 * 60 * 60;
    // 2026-06-01 and 2026-09-01, both 00:00.
    let (from, until) = (1_780_272_000, 1_788_220_800);
    let expiry = Expiry {
        file: CertificateFile::Certificate(0),
        path: "hall.pem".into(),
        not_before: from,
        not_after: until,
    };
    let at = |time: i64| expiry.warning(u64::try_from(time).expect("after 1970"));
    for (time, text) in [
        (from - 1, Some("good only from Jun  1")),
        (from, None),
        (until - 30 * DAY, None),
        (until - 30 * DAY + 1, Some("expires in 29 days, on Sep  1")),
        (until - 7 * DAY, Some("expires in 7 days, on Sep  1")),
        (until - 7 * DAY + 1, Some("EXPIRES IN 6 DAYS, on Sep  1")),
        (until - 1, Some("EXPIRES IN 0 DAYS, on Sep  1")),
        (until, Some("EXPIRES IN 0 DAYS, on Sep  1")),
        (until + 1, Some("EXPIRED on Sep  1")),
        (until + 1000 * DAY, Some("EXPIRED on Sep  1")),
    ] {
        let told = at(time);
        let days = (time - until).div_euclid(DAY);
        match text {
            None => assert_eq!(told, None, "{days} days"),
            Some(text) => {
                let told = told.unwrap_or_else(|| panic!("nothing told at {days} days"));
                assert!(
                    told.starts_with("hall.pem: ") && told.contains(text),
                    "{told}"
                );
            }
        }
        let is_good = (from..=until).contains(&time);
        let time = u64::try_from(time).expect("after 1970");
        assert_eq!(expiry.is_out_of_date(time), !is_good);
    }
}

#[test]
fn what_a_certificate_says_of_its_time_is_read() {
    let folder = Folder::new();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["a".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2026, 6, 1);
    params.not_after = rcgen::date_time_ymd(2026, 9, 1);
    let certificate = params.self_signed(&key).expect("a certificate");
    let files = folder.pair(&certificate.pem(), &key.serialize_pem());
    let acceptor = Acceptor::load(&files, None).expect("good files");
    let [expiry] = acceptor.expiries() else {
        panic!("{:?}", acceptor.expiries());
    };
    let times = (expiry.not_before, expiry.not_after);
    assert_eq!(times, (1_780_272_000, 1_788_220_800));
}

/// Who signs miners' certificates.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Signer {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A miner with a certificate of ours.
    fn miner(&self, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["rig".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        let provider = Arc::new(default_provider());
        let verifier = Verifier::new(Trust::Anybody, Arc::clone(&provider)).expect("no roots");
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .expect("a pair");
        config.resumption = Resumption::in_memory_sessions(16);
        Arc::new(config)
    }
}

#[test]
fn a_reload_that_asks_for_certificates_makes_tickets_void() {
    let folder = Folder::new();
    let (ours, others) = (Signer::new(), Signer::new());
    let open = folder.some_pair();
    let asking = |signer: &Signer| ServerFiles {
        client_ca: Some(folder.write("ca.pem", &signer.pem)),
        ..open.clone()
    };
    for version in VERSIONS {
        let miner = ours.miner(version);
        let first = Acceptor::load(&open, None).expect("good files");
        Pair::new(&first, &miner, 4096).shake();
        let mut again = Pair::new(&first, &miner, 4096);
        again.shake();
        assert!(again.server.is_resumed());
        // The same files again: the ticket counts.
        let same = Acceptor::load(&open, Some(&first)).expect("good files");
        let mut again = Pair::new(&same, &miner, 4096);
        again.shake();
        assert!(again.server.is_resumed());
        // Whoever must show a certificate shows it each time.
        let asks = Acceptor::load(&asking(&ours), Some(&same)).expect("good files");
        for _ in 0..3 {
            let mut again = Pair::new(&asks, &miner, 4096);
            again.shake();
            assert!(!again.server.is_resumed());
        }
        // And another signer turns away whom the first one let in.
        let asks_others = Acceptor::load(&asking(&others), Some(&asks)).expect("good files");
        let mut again = Pair::new(&asks_others, &miner, 4096);
        again.talk();
        let failed = again.failed.expect("a stranger");
        assert_eq!(failed.failure, TlsFailure::BadClientCertificate, "{failed}");
        // Nor do tickets of before come to life when nobody asks any more.
        let open_again = Acceptor::load(&open, Some(&asks_others)).expect("good files");
        let mut again = Pair::new(&open_again, &miner, 4096);
        again.shake();
        assert!(!again.server.is_resumed());
    }
}
