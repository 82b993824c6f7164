//! Certificates and keys from PEM files, and what begins sessions with them.
//!
//! [`Acceptor::load`] is given the files of one listener, reports every mistake in them at once, and makes a
//! config that all shards share. A new one takes over for new handshakes; sessions that go on keep theirs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert,
    UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::expiry::Expiry;
use super::server::ServerSession;
use super::words::{of_key, of_pem};

/// A file, which should be PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PemFile {
    /// As mistakes call it.
    pub path: PathBuf,
    /// What stands in it; never shown, for it may be a key.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PemFile").field(&self.path).finish()
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// The certificate itself first, then those between it and its root.
    pub certificate: PemFile,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PemFile,
}

/// The files of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// At least one. The first one is shown to whoever asks for a name that none has, or for no name.
    pub pairs: Vec<KeyPairFiles>,
    /// Who signs the certificates that miners must have. `None` asks them for none.
    pub client_ca: Option<PemFile>,
}

/// Which of a listener's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFile {
    /// The certificate of the pair with this index.
    Certificate(usize),
    /// The key of the pair with this index.
    Key(usize),
    /// The signers of miners' certificates.
    ClientCa,
}

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct FileError {
    /// Which one.
    pub file: CertificateFile,
    /// What is wrong, and what would be right. Never shows what is in the file.
    pub text: String,
}

/// The key under which tickets are sealed: whoever comes back with one spares a part of the handshake. It
/// changes by itself every six hours, and the last one still counts.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// A new key.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, rustls::Error> {
        ring::Ticketer::new().map(Self)
    }
}

/// Begins the sessions of one listener.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    expiries: Arc<[Expiry]>,
    /// None where miners must show a certificate: a ticket would spare them that for as long as they come
    /// back, whatever becomes of the certificate or its signer.
    tickets: Option<Tickets>,
}

impl Acceptor {
    /// Takes the files of a listener. Tickets of `before` still count, where it had any.
    ///
    /// # Errors
    ///
    /// Every file that can't be used. An expired certificate is none: see [`Acceptor::expiries`].
    pub fn load(files: &ServerFiles, before: Option<&Self>) -> Result<Self, Vec<FileError>> {
        let mut errors = Vec::new();
        let mut certificates = Vec::new();
        let mut expiries = Vec::new();
        for (index, pair) in files.pairs.iter().enumerate() {
            match load_pair(index, pair) {
                Ok((certificate, expiry)) => {
                    certificates.push(Arc::new(certificate));
                    expiries.push(expiry);
                }
                Err(mut wrong) => errors.append(&mut wrong),
            }
        }
        let provider = Arc::new(ring::default_provider());
        let mut verifier = WebPkiClientVerifier::no_client_auth();
        if let Some(file) = &files.client_ca {
            match load_client_ca(file, &provider) {
                Ok(read) => verifier = read,
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let whole = |error: rustls::Error| {
            vec![FileError {
                file: CertificateFile::Certificate(0),
                text: error.to_string(),
            }]
        };
        let kept = before.and_then(|before| before.tickets.clone());
        let tickets = match (&files.client_ca, kept) {
            (Some(_), _) => None,
            (None, Some(kept)) => Some(kept),
            (None, None) => Some(Tickets::new().map_err(whole)?),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(whole)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(ByName(certificates)));
        // What a miner needs to come back is in its ticket: nothing is stored here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = usize::from(tickets.is_some());
        if let Some(tickets) = &tickets {
            config.ticketer = Arc::clone(&tickets.0);
        }
        Ok(Self {
            config: Arc::new(config),
            expiries: expiries.into(),
            tickets,
        })
    }

    /// From when to when each certificate is good, in the order of the files.
    #[must_use]
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// A session for a peer whose `ClientHello` is whole. It begins with that.
    ///
    /// # Errors
    ///
    /// None that a loaded config could give; rustls wants one.
    pub fn begin(&self) -> Result<ServerSession, rustls::Error> {
        UnbufferedServerConnection::new(Arc::clone(&self.config)).map(ServerSession::new)
    }
}

/// The certificate for a name: the first one that has it and that the peer can verify; else the first one
/// that it can verify.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |it: &&Arc<CertifiedKey>| it.key.choose_scheme(schemes).is_some();
        let name = hello
            .server_name()
            .filter(|_| self.0.len() > 1)
            .and_then(|name| ServerName::try_from(name).ok());
        let has_name = |certified: &&Arc<CertifiedKey>| {
            let certificate = certified.cert.first().map(ParsedCertificate::try_from);
            certificate.and_then(Result::ok).is_some_and(|certificate| {
                let name = name.as_ref();
                name.is_some_and(|name| {
                    rustls::client::verify_server_name(&certificate, name).is_ok()
                })
            })
        };
        let mut usable_ones = self.0.iter().filter(usable);
        let first = usable_ones.next()?;
        if name.is_none() {
            return Some(Arc::clone(first));
        }
        let named = self.0.iter().filter(usable).find(has_name);
        Some(Arc::clone(named.unwrap_or(first)))
    }
}

fn load_pair(index: usize, files: &KeyPairFiles) -> Result<(CertifiedKey, Expiry), Vec<FileError>> {
    let (certificate, key) = (
        CertificateFile::Certificate(index),
        CertificateFile::Key(index),
    );
    let chain = read_certificates(certificate, &files.certificate);
    let private_key = read_key(key, &files.key);
    let (chain, private_key) = match (chain, private_key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, private_key) => {
            let errors = [chain.err(), private_key.err()];
            return Err(errors.into_iter().flatten().collect());
        }
    };
    let path = &files.certificate.path;
    let expiry = Expiry::of(path, &chain).ok_or_else(|| {
        vec![FileError {
            file: certificate,
            text: format!("{}: this certificate can't be read", path.display()),
        }]
    })?;
    let provider = ring::default_provider();
    let certified = CertifiedKey::from_der(chain.clone(), private_key, &provider);
    let certified = certified.map_err(|error| {
        let path = files.key.path.display();
        let text = match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "{path}: this key does not fit the certificate {}; name the one that it was made with",
                files.certificate.path.display()
            ),
            error => format!("{path}: {}", of_key(&error, &chain)),
        };
        vec![FileError { file: key, text }]
    })?;
    Ok((certified, expiry))
}

fn read_certificates(
    file: CertificateFile,
    pem: &PemFile,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let list: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&pem.bytes).collect();
    let path = pem.path.display();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(FileError {
            file,
            text: format!(
                "{path}: no certificate is in it; wanted PEM, -----BEGIN CERTIFICATE-----"
            ),
        }),
        Err(error) => Err(FileError {
            file,
            text: format!("{path}: broken PEM: {}", of_pem(&error)),
        }),
    }
}

fn read_key(file: CertificateFile, pem: &PemFile) -> Result<PrivateKeyDer<'static>, FileError> {
    let path = pem.path.display();
    PrivateKeyDer::from_pem_slice(&pem.bytes).map_err(|error| {
        let is_locked = pem
            .bytes
            .windows(LOCKED.len())
            .any(|part| part.eq_ignore_ascii_case(LOCKED));
        let text = match error {
            pem::Error::NoItemsFound if is_locked => {
                format!("{path}: this key has a passphrase; `openssl pkey` writes one without")
            }
            pem::Error::NoItemsFound => {
                format!("{path}: no key is in it; wanted PEM, -----BEGIN PRIVATE KEY-----")
            }
            error => format!("{path}: broken PEM: {}", of_pem(&error)),
        };
        FileError { file, text }
    })
}

/// Stands in the PEM of a key with a passphrase.
const LOCKED: &[u8] = b"ENCRYPTED";

fn load_client_ca(
    pem: &PemFile,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
    let file = CertificateFile::ClientCa;
    let list = read_certificates(file, pem)?;
    let failed = |error: &dyn fmt::Display| FileError {
        file,
        text: format!("{}: no signer of certificates: {error}", pem.path.display()),
    };
    let mut roots = RootCertStore::empty();
    for certificate in list {
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests;
