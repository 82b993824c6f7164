use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::ring::default_provider;
use rustls::sign::SingleCertAndKey;

use super::super::client::Trust;
use super::super::failure::TlsFailure;
use super::super::server::tests::{Pair, VERSIONS, client_config, pair, pem, some_pair};
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
    for (kind, key, written) in [
        ("RSA, PKCS#8", RSA, RSA),
        ("RSA, PKCS#1", RSA, key!("rsa-2048.pkcs1")),
        ("P-256, PKCS#8", P256, P256),
        ("P-256, SEC1", P256, key!("p-256.sec1")),
        ("P-384, PKCS#8", P384, P384),
        ("P-384, SEC1", P384, key!("p-384.sec1")),
        ("Ed25519, PKCS#8", ED25519, ED25519),
    ] {
        let files = pair(&certificate_for(key), written);
        let acceptor = Acceptor::load(&files, None).unwrap_or_else(|it| panic!("{kind}: {it:?}"));
        for version in VERSIONS {
            // The client looks whether who shows the certificate has its key.
            Pair::new(&acceptor, &client_config(version), 100).shake();
        }
    }
}

#[test]
fn a_key_of_another_certificate_is_told_of_whatever_its_kind() {
    for key in [RSA, P256, P384, ED25519] {
        let other = if key == RSA { P256 } else { RSA };
        let files = pair(&certificate_for(other), key);
        let errors = Acceptor::load(&files, None).expect_err("two keys");
        let [error] = errors.as_slice() else {
            panic!("{errors:?}");
        };
        assert_eq!(error.file, CertificateFile::Key(0));
        assert!(error.text.contains("does not fit"), "{error}");
    }
}

#[test]
fn what_a_certificate_says_of_its_time_is_read() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["a".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2026, 6, 1);
    params.not_after = rcgen::date_time_ymd(2026, 9, 1);
    let certificate = params.self_signed(&key).expect("a certificate");
    let files = pair(&certificate.pem(), &key.serialize_pem());
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
        miner_with(version, Some((certificate.der().clone(), key)))
    }
}

/// A miner that shows this certificate, or none.
fn miner_with(
    version: &'static rustls::SupportedProtocolVersion,
    shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(default_provider());
    let verifier = Verifier::new(Trust::Anybody, Arc::clone(&provider)).expect("no roots");
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match shown {
        None => config.with_no_client_auth(),
        // Without a look at it: it may be one that nobody should show.
        Some((certificate, key)) => {
            let key = default_provider().key_provider.load_private_key(key);
            let shown = CertifiedKey::new(vec![certificate], key.expect("a key"));
            config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
        }
    };
    config.resumption = Resumption::in_memory_sessions(16);
    Arc::new(config)
}

#[test]
fn a_reload_that_asks_for_certificates_makes_tickets_void() {
    let (ours, others) = (Signer::new(), Signer::new());
    let open = some_pair();
    let asking = |signer: &Signer| ServerFiles {
        client_ca: Some(pem("ca.pem", &signer.pem)),
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

/// The one thing that is wrong with these files.
fn mistake_in(files: &ServerFiles) -> FileError {
    let mut errors = Acceptor::load(files, None).expect_err("a mistake");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

#[test]
fn an_rsa_key_that_is_too_short_is_called_that() {
    let files = pair(key!("rsa-1024.certificate"), key!("rsa-1024.pkcs8"));
    let error = mistake_in(&files);
    assert_eq!(error.file, CertificateFile::Key(0));
    let start = "hall.key: an RSA key of 1024 bits is too short: make a key of 2048";
    assert!(error.text.starts_with(start), "{error}");
}

#[test]
fn a_file_that_was_cut_is_called_that_in_letters() {
    let good = certificate_for(P256);
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let of_ca = ServerFiles {
        client_ca: Some(pem("ca.pem", &cut(&good))),
        ..pair(&good, P256)
    };
    for (files, name) in [
        (pair(&cut(&good), P256), "hall.pem"),
        (pair(&good, &cut(P256)), "hall.key"),
        (of_ca, "ca.pem"),
    ] {
        let error = mistake_in(&files);
        let text = format!("{name}: broken PEM: it ends before its line -----END");
        assert!(error.text.starts_with(&text), "{error}");
    }
}

#[test]
fn a_miner_whose_certificate_is_not_taken_is_told_of_with_its_cure() {
    let p256 = PrivateKeyDer::from_pem_slice(P256.as_bytes()).expect("a key");
    let version_1 = CertificateDer::from_pem_slice(key!("version-1.certificate").as_bytes());
    let ours = Signer::new();
    let signed = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["rig".to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::from_pem(P256).expect("a key");
        let certificate = params.signed_by(&key, &ours.issuer).expect("a certificate");
        certificate.der().clone()
    };
    let expired = signed(|it| it.not_after = rcgen::date_time_ymd(2000, 1, 1));
    let server = signed(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let signer = signed(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let stranger = certificate_for(P256);
    let stranger = CertificateDer::from_pem_slice(stranger.as_bytes()).expect("a certificate");
    let (ca, of_version_1) = (ours.pem.as_str(), key!("version-1.ca"));
    for (ca, shown, wanted) in [
        (
            of_version_1,
            Some(version_1.expect("a certificate")),
            "-extfile",
        ),
        (ca, Some(expired), "has expired"),
        (ca, Some(server), "extendedKeyUsage = clientAuth"),
        (ca, Some(signer), "a signer's own"),
        (ca, Some(stranger), "no signer in client_ca"),
        (ca, None, "shows no certificate"),
    ] {
        let files = ServerFiles {
            client_ca: Some(pem("ca.pem", ca)),
            ..some_pair()
        };
        let acceptor = Acceptor::load(&files, None).expect("good files");
        for version in VERSIONS {
            let miner = miner_with(version, shown.clone().map(|it| (it, p256.clone_key())));
            let mut pair = Pair::new(&acceptor, &miner, 4096);
            pair.talk();
            let failed = pair.failed.expect("it has no right one");
            assert!(failed.detail.contains(wanted), "{wanted}: {failed}");
        }
    }
}
