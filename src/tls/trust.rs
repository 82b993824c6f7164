//! Whether the one who answers is the pool.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};

use super::client::{Pin, Trust};

/// Holds a certificate against a [`Trust`].
#[derive(Debug)]
pub(super) struct Verifier {
    /// Looks at issuer, name and dates. `None` where a pin decides alone, or nothing does.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Empty where none is asked for.
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// # Errors
    ///
    /// Where the roots are empty.
    pub(super) fn new(trust: Trust, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let (roots, pins) = match trust {
            Trust::Roots(roots) => (Some(roots), Vec::new()),
            Trust::Pins(pins, roots) => (roots, pins),
            Trust::Anybody => (None, Vec::new()),
        };
        let chain = roots
            .map(|roots| {
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()
            })
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            chain,
            pins,
            provider,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let refused = |why| {
            let pin = pin_of(end_entity);
            let refused = Arc::new(Refused { why, pin });
            Error::InvalidCertificate(CertificateError::Other(OtherError(refused)))
        };
        if !self.pins.is_empty() {
            let seen = pin_of(end_entity).ok_or_else(|| refused(CertificateError::BadEncoding))?;
            if !self.pins.contains(&seen) {
                return Err(refused(CertificateError::ApplicationVerificationFailure));
            }
        }
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        chain
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| match error {
                Error::InvalidCertificate(why) => refused(why),
                other => other,
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The pin of a certificate: SHA-256 over its SubjectPublicKeyInfo (RFC 7469, section 2.4), so that it
/// outlives a renewal that keeps the key. `None` where it can't be read.
pub(super) fn pin_of(certificate: &CertificateDer<'_>) -> Option<Pin> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(Pin(Sha256::digest(parsed.subject_public_key_info()).into()))
}

/// A certificate that was refused, in words for the operator.
#[derive(Debug)]
pub(super) struct Refused {
    why: CertificateError,
    /// The pin that would have let it pass.
    pin: Option<Pin>,
}

impl std::error::Error for Refused {}

/// Names of a certificate that are told; one may have a hundred.
const NAMES_SHOWN: usize = 3;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CertificateError as E;
        match &self.why {
            // The second one is an issuer of the same name with another key.
            E::UnknownIssuer | E::BadSignature => {
                f.write_str("nobody known here signed its certificate; give tls.ca")?;
            }
            // How webpki calls a certificate that is its own issuer.
            E::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
                f.write_str("its certificate is an issuer's own, as self-signed ones are")?;
            }
            E::NotValidForNameContext {
                expected,
                presented,
            } => {
                let expected = expected.to_str();
                let names: Vec<String> = presented.iter().map(|name| bare(name)).collect();
                let Some(first) = names.first() else {
                    write!(f, "its certificate names nobody, so not {expected}")?;
                    return self.write_pin(f);
                };
                let shown = names.get(..NAMES_SHOWN).unwrap_or(&names);
                return write!(
                    f,
                    "its certificate is for {}, not for {expected}; if that is the pool, set \
                     tls.server_name: {}",
                    shown.join(", "),
                    first.replacen('*', "pool", 1)
                );
            }
            E::NotValidForName => {
                return f.write_str("its certificate is for another name; set tls.server_name");
            }
            E::ExpiredContext { time, not_after } => {
                let days = time.as_secs().saturating_sub(not_after.as_secs()) / SECONDS_PER_DAY;
                write!(
                    f,
                    "its certificate expired {days} days ago, or our clock is wrong"
                )?;
            }
            E::NotValidYetContext { time, not_before } => {
                let days = not_before.as_secs().saturating_sub(time.as_secs()) / SECONDS_PER_DAY;
                write!(
                    f,
                    "its certificate holds only in {days} days, or our clock is wrong"
                )?;
            }
            E::ApplicationVerificationFailure => {
                f.write_str("its key is another one than tls.pin_sha256 says")?;
            }
            other => write!(f, "its certificate is refused ({other})")?,
        }
        self.write_pin(f)
    }
}

impl Refused {
    /// How to take this certificate all the same.
    fn write_pin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pin {
            // The log cuts what is long, and must not cut the pin.
            Some(pin) => write!(f, "; tls.pin_sha256: {pin}, if the pool publishes it"),
            None => Ok(()),
        }
    }
}

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// `DnsName("a.b")` as `a.b`: so rustls writes the names that a certificate has.
fn bare(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}
