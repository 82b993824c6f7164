//! What rustls found, in words for an operator who can mend it.

use rustls::pki_types::{CertificateDer, pem};
use rustls::{CertificateError, Error, PeerIncompatible};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Lengths of RSA keys that ring signs with, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// What is wrong with a PEM file, without what stands in it.
pub(super) fn of_pem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "it ends before its line -----END …-----, as a file does that was cut off"
        }
        pem::Error::IllegalSectionStart { .. } => "a section begins wrongly",
        pem::Error::Base64Decode(_) => "what stands in a section is no base64",
        pem::Error::NoItemsFound => "nothing of that kind is in it",
        _ => "it can't be read",
    }
}

/// Why a key can't be used for its chain of certificates.
pub(super) fn of_key(error: &Error, chain: &[CertificateDer<'_>]) -> String {
    match rsa_bits(chain) {
        Some(bits) if !RSA_BITS.contains(&bits) => {
            let which = if bits < *RSA_BITS.start() {
                "short"
            } else {
                "long"
            };
            format!(
                "an RSA key of {bits} bits is too {which}: make a key of 2048 to 4096, or of P-256, which is \
                 quicker, and a certificate for it"
            )
        }
        _ => format!(
            "this key can't be used: {error}; RSA of 2048 to 4096 bits, P-256, P-384 and Ed25519 can"
        ),
    }
}

/// The length of the first certificate's key, where that is RSA.
fn rsa_bits(chain: &[CertificateDer<'_>]) -> Option<usize> {
    let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Some(key.key_size()),
        _ => None,
    }
}

/// Why a miner's certificate is not taken, and what would be; `None` where it is not about one.
pub(super) fn of_miner(error: &Error) -> Option<String> {
    use CertificateError as E;
    let why = match error {
        Error::NoCertificatesPresented => {
            return Some(
                "it shows no certificate, and client_ca asks for one: give it one that is signed by a signer \
                 in client_ca, and the key of that"
                    .to_owned(),
            );
        }
        Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            return Some(
                "it has no certificate of a kind that is taken here: give it one with a key of P-256, or of \
                 RSA with 2048 bits"
                    .to_owned(),
            );
        }
        Error::InvalidCertificate(why) => why,
        _ => return None,
    };
    let what = match why {
        // The second one is a signer of the same name with another key.
        E::UnknownIssuer | E::BadSignature => {
            "no signer in client_ca has signed its certificate: sign it with one of these, or add its \
             signer's certificate to that file"
        }
        E::Expired | E::ExpiredContext { .. } => {
            "its certificate has expired, or our clock is wrong: sign it anew"
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "its certificate is not good yet, or our clock is wrong"
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "its certificate is not for clients: sign it with extendedKeyUsage = clientAuth"
        }
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed in a way that nobody should use: sign it with SHA-256, and with a key \
             of P-256 or of RSA with 2048 bits"
        }
        E::BadEncoding => "its certificate can't be read: make another one",
        // webpki's own words, which rustls passes on.
        E::Other(other) if other.0.to_string() == "UnsupportedCertVersion" => {
            "its certificate is of X.509 version 1, and must be of version 3: sign it again with extensions, \
             as `openssl x509 -req -extfile FILE` does (README, Certificates of miners)"
        }
        E::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "its certificate is a signer's own, as self-signed ones are: make one for the miner that a \
             signer in client_ca has signed"
        }
        other => return Some(format!("its certificate is refused ({other})")),
    };
    Some(what.to_owned())
}
