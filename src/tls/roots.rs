//! Whose signature under a pool's certificate counts.
//!
//! The platform's roots are taken where it has any, for its owner may have added or removed some; a
//! container without them has Mozilla's, which are built in.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::words::of_pem;

/// Certificates that end a chain.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The certificates; at least one.
    pub store: Arc<RootCertStore>,
    /// Where they are from.
    pub source: RootSource,
}

/// Where roots are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// The files of this machine.
    Platform,
    /// Mozilla's list, as it was when this program was built.
    Mozilla,
}

/// Why a file is no list of roots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// It is no PEM.
    #[error("is no PEM file: {0}")]
    Pem(&'static str),
    /// It has no certificate.
    #[error("holds no certificate; it must begin with -----BEGIN CERTIFICATE-----")]
    Empty,
    /// One of its certificates can't be read.
    #[error("holds a certificate, number {0}, that can't be read: {1}")]
    Certificate(usize, String),
}

impl Roots {
    /// Looks up the roots of this machine, and takes Mozilla's where there are none. Reads files.
    #[must_use]
    pub fn find() -> Self {
        Self::of(rustls_native_certs::load_native_certs().certs)
    }

    /// Those of the platform that can be read, or else Mozilla's.
    fn of(platform: Vec<CertificateDer<'static>>) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(platform);
        let mut source = RootSource::Platform;
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            source = RootSource::Mozilla;
        }
        Self {
            store: Arc::new(store),
            source,
        }
    }
}

/// Reads the certificates of a PEM file.
///
/// # Errors
///
/// [`RootsError`], for the whole file where one of its certificates is bad.
pub fn parse_roots(pem: &[u8]) -> Result<Arc<RootCertStore>, RootsError> {
    let mut store = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
        let certificate = certificate.map_err(|error| RootsError::Pem(of_pem(&error)))?;
        store
            .add(certificate)
            .map_err(|error| RootsError::Certificate(number, error.to_string()))?;
    }
    if store.is_empty() {
        return Err(RootsError::Empty);
    }
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mozilla_stands_in_where_the_platform_has_none() {
        let roots = Roots::of(Vec::new());
        assert_eq!(roots.source, RootSource::Mozilla);
        assert!(roots.store.len() > 50, "{}", roots.store.len());
        let rubbish = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(Roots::of(vec![rubbish]).source, RootSource::Mozilla);
    }

    #[test]
    fn the_platform_comes_first() {
        let own = rcgen::generate_simple_self_signed(["a".to_owned()]).expect("a certificate");
        let roots = Roots::of(vec![own.cert.der().clone()]);
        assert_eq!(roots.source, RootSource::Platform);
        assert_eq!(roots.store.len(), 1);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert_eq!(parse_roots(b"").unwrap_err(), RootsError::Empty);
        assert_eq!(parse_roots(b"hello\n").unwrap_err(), RootsError::Empty);
        let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(matches!(parse_roots(cut), Err(RootsError::Pem(_))));
        let bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            parse_roots(bad),
            Err(RootsError::Certificate(1, _))
        ));
        let own = rcgen::generate_simple_self_signed(["a".to_owned()]).expect("a certificate");
        let pem = own.cert.pem().repeat(2);
        assert_eq!(parse_roots(pem.as_bytes()).expect("roots").len(), 2);
    }
}
