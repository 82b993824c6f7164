//! Our side of TLS towards whoever we connect to: a pool, or a proxy under load.
//!
//! A [`TlsClient`] is what all links to one pool have in common; [`TlsClient::connect`] makes the
//! [`ClientStream`] of one of them. The caller owns the socket and all buffers:
//!
//! ```text
//!  socket ──▶ handle_bytes ──▶ plain      out ──▶ socket
//!                   └────────────────────▶ ▲
//!  lines  ──▶ encrypt ─────────────────────┘
//! ```
//!
//! A stream keeps only the tail of a record that is not whole yet, so an idle one owns no buffer.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, HandshakeKind, ProtocolVersion,
    RootCertStore, SupportedCipherSuite,
};

use super::expiry::Expiry;
use super::records::{Event, Records, RecordsError, encrypted_len_max};
use super::trust::Verifier;
use super::words::{of_key, of_pem};

/// Sessions that are remembered for the links to one pool, so that a reconnect is cheaper.
const SESSIONS_KEPT: usize = 32;

/// Tickets of TLS 1.3 that rustls keeps for a name.
const SESSIONS_OF_A_NAME: usize = 8;

/// SHA-256 over the SubjectPublicKeyInfo of a certificate (RFC 7469). Prints as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// Who is believed to be the one that we want.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whose certificate is signed by one of these, for the right name, and in date.
    Roots(Arc<RootCertStore>),
    /// Whose key has one of these pins. Name, issuer and dates are looked at only where there are roots
    /// too: whoever has the key is the pool.
    Pins(Vec<Pin>, Option<Arc<RootCertStore>>),
    /// Anybody. Whoever can answer in the pool's place gets all shares.
    Anybody,
}

/// What we show to a pool that asks who we are.
#[derive(Debug)]
pub struct Identity {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why a client certificate or its key can't be used. Never shows the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The file of the certificate.
    #[error("{0}")]
    Certificate(String),
    /// The file of the key.
    #[error("{0}")]
    Key(String),
}

impl Identity {
    /// Reads a chain of certificates, ours first, and the key of the first, both as PEM.
    ///
    /// # Errors
    ///
    /// Says which of the two files is bad.
    pub fn parse(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, IdentityError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem)
            .collect::<Result<_, _>>()
            .map_err(|error| {
                IdentityError::Certificate(format!("is no PEM file: {}", of_pem(&error)))
            })?;
        if certificates.is_empty() {
            let text = "holds no certificate; it must begin with -----BEGIN CERTIFICATE-----";
            return Err(IdentityError::Certificate(text.to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| {
            let what = of_pem(&error);
            IdentityError::Key(format!("holds no private key that can be read: {what}"))
        })?;
        Ok(Self { certificates, key })
    }

    /// Until when it is good, where it stands in this file.
    #[must_use]
    pub fn expiry(&self, path: &Path) -> Option<Expiry> {
        Expiry::of(path, &self.certificates)
    }
}

/// Connects to one pool as often as it is asked to.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    /// The name to ask for in place of the host.
    server_name: Option<ServerName<'static>>,
}

impl TlsClient {
    /// TLS 1.2 and 1.3, with the ciphers of ring.
    ///
    /// # Errors
    ///
    /// Where the identity's key does not fit its certificate, or is of no known kind.
    pub fn new(trust: Trust, identity: Option<Identity>) -> Result<Self, IdentityError> {
        let provider = Arc::new(provider());
        let verifier =
            Verifier::new(trust, Arc::clone(&provider)).map_err(IdentityError::Certificate)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificates, key }) => builder
                .with_client_auth_cert(certificates.clone(), key)
                .map_err(|error| match error {
                    Error::InconsistentKeys(_) => {
                        IdentityError::Key("is not the key of tls.certificate".to_owned())
                    }
                    Error::InvalidCertificate(_) => {
                        IdentityError::Certificate(format!("can't be read: {error}"))
                    }
                    other => IdentityError::Key(of_key(&other, &certificates)),
                })?,
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
        Ok(Self {
            config: Arc::new(config),
            server_name: None,
        })
    }

    /// Asks for this name in place of the host that is connected to.
    ///
    /// # Errors
    ///
    /// What is neither a host name nor an address.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, InvalidDnsNameError> {
        self.server_name = Some(ServerName::try_from(name.to_owned())?);
        Ok(self)
    }

    /// Remembers the sessions of so many names, to resume them; with 0 none. 32 if nobody says.
    #[must_use]
    pub fn with_sessions_kept(mut self, names: usize) -> Self {
        // rustls keeps several sessions of TLS 1.3 for each name, and rounds down by as many.
        Arc::make_mut(&mut self.config).resumption = match names {
            0 => Resumption::disabled(),
            _ => Resumption::in_memory_sessions(names.saturating_mul(SESSIONS_OF_A_NAME)),
        };
        self
    }

    /// Begins a link to this host. The greeting is written to `out`.
    ///
    /// # Errors
    ///
    /// A host whose name no certificate can have.
    pub fn connect(&self, host: &str, out: &mut Vec<u8>) -> Result<ClientStream, TlsError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            // A name may end with the root's dot; no certificate does.
            None => {
                let name = ServerName::try_from(host.trim_end_matches('.').to_owned());
                let no_name = |_| Error::General(format!("{host} is no host name"));
                name.map_err(no_name).map_err(RecordsError::Rustls)?
            }
        };
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), name)
            .map_err(RecordsError::Rustls)?;
        let mut stream = ClientStream {
            records: Records::new(connection),
        };
        stream.handle_bytes(&mut [], &mut Vec::new(), out)?;
        Ok(stream)
    }
}

/// ring's cryptography, with ChaCha20 ahead of AES in TLS 1.2: that can't renew its keys, and those of AES
/// are used up after 2^24 records, which are three hours at 1,500 records a second. A record of 1.5 KB takes
/// 0.9 µs so, and not 0.4.
fn provider() -> CryptoProvider {
    let mut provider = default_provider();
    provider.cipher_suites.sort_by_key(|suite| match suite {
        SupportedCipherSuite::Tls13(_) => 0,
        SupportedCipherSuite::Tls12(suite) if suite.common.confidentiality_limit == u64::MAX => 1,
        SupportedCipherSuite::Tls12(_) => 2,
    });
    provider
}

/// One link. After an error it is over, and what was written to `out` says so to the peer.
#[derive(Debug)]
pub struct ClientStream {
    records: Records<UnbufferedClientConnection>,
}

/// What both sides agreed on; prints for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Whether it is TLS 1.3, and not 1.2.
    pub tls13: bool,
    /// Whether an earlier session went on, without certificates.
    pub resumed: bool,
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls13 { "TLS 1.3" } else { "TLS 1.2" })?;
        f.write_str(if self.resumed { ", resumed" } else { "" })
    }
}

impl ClientStream {
    /// Whether the handshake is done and lines may be said.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.records.is_open()
    }

    /// Whether the peer has said that it says no more.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.records.is_peer_closed()
    }

    /// Bytes of a message that is not whole.
    #[must_use]
    pub const fn tail_len(&self) -> usize {
        self.records.tail_len()
    }

    /// What was agreed on; of use once the stream is ready.
    #[must_use]
    pub fn agreed(&self) -> Agreed {
        let connection = self.records.connection();
        Agreed {
            tls13: connection.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Takes bytes of the peer, in whatever parts they come. What they say is appended to `plain`, and
    /// what must be answered to `out`. What comes behind its or our end is let go.
    ///
    /// # Errors
    ///
    /// Where the peer can't be trusted, breaks the rules or says that we did. `plain` then has what was
    /// said before, and `out` the alert that tells the peer.
    pub fn handle_bytes(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let tell = |event: Event<'_>| {
            if let Event::Plaintext(bytes) = event {
                plain.extend_from_slice(bytes);
            }
        };
        Ok(self.records.receive(bytes, out, tell)?)
    }

    /// Appends `plain` to `out`, encrypted. Only for a stream that is ready.
    ///
    /// # Errors
    ///
    /// Where the stream is not ready, or is over, as after 2^24 records of TLS 1.2; `out` then has the alert
    /// that tells the peer, if it has not been told.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let start = out.len();
        out.resize(start + encrypted_len_max(plain.len()), 0);
        let place = out.get_mut(start..).unwrap_or_default();
        let (len, outcome) = self.records.encrypt(plain, place);
        out.truncate(start + len);
        Ok(outcome?)
    }

    /// Says goodbye: nothing is said or heard after it. Says nothing where it can't.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + encrypted_len_max(0), 0);
        let place = out.get_mut(start..).unwrap_or_default();
        let len = self.records.close_notify(place);
        out.truncate(start + len);
    }
}

/// Why a TLS link is over; prints what is wrong and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsError(RecordsError);

impl From<RecordsError> for TlsError {
    fn from(error: RecordsError) -> Self {
        Self(error)
    }
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordsError::Rustls(error) = &self.0 else {
            return self.0.fmt(f);
        };
        match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => other.0.fmt(f),
            Error::AlertReceived(alert) => {
                write!(f, "the pool sent the alert {}", alert_name(*alert))?;
                f.write_str(match alert {
                    AlertDescription::CertificateRequired
                    | AlertDescription::BadCertificate
                    | AlertDescription::UnknownCA => {
                        "; it wants a client certificate: set tls.certificate and tls.key, or ask it for them"
                    }
                    AlertDescription::UnrecognisedName => "; set tls.server_name",
                    AlertDescription::ProtocolVersion => "; it speaks no TLS 1.2 or 1.3",
                    AlertDescription::HandshakeFailure => {
                        "; it speaks none of our ciphers, or wants a client certificate"
                    }
                    _ => "",
                })
            }
            Error::InvalidMessage(_) => f.write_str(
                "what it says is no TLS; if this port of the pool is a plain one, write stratum+tcp://",
            ),
            Error::PeerIncompatible(why) => {
                write!(f, "it speaks no TLS 1.2 or 1.3 with our ciphers ({why:?})")
            }
            other => other.fmt(f),
        }
    }
}

/// An alert as RFC 8446 writes it: `handshake_failure`.
fn alert_name(alert: AlertDescription) -> String {
    if let AlertDescription::Unknown(number) = alert {
        return number.to_string();
    }
    if alert == AlertDescription::UnknownCA {
        return "unknown_ca".to_owned();
    }
    let mut name = String::new();
    for letter in format!("{alert:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests;
