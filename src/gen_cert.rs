//! A certificate for a hall: `stratum-uring gen-cert`.
//!
//! Miners as a rule verify nothing, so a certificate that nobody signed but its own key does for a hall: it
//! keeps those who listen on the network from reading. P-256, since a handshake with RSA costs five times
//! as much.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::ServerName;

/// The names of the files.
const CERTIFICATE: &str = "stratum-uring.pem";
const KEY: &str = "stratum-uring.key";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenCertError {
    /// What miners can't connect by.
    #[error(
        "{0:?} is no host name and no IP address, which --name takes, e.g. hall.example or 10.0.0.1"
    )]
    Name(String),
    /// A name that can't be in a certificate, or no random numbers.
    #[error("{0}; --name takes host names and IP addresses")]
    Certificate(#[from] rcgen::Error),
    /// A file that can't be written.
    #[error("{}: {source}{cure}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What helps, behind a semicolon; may be empty.
        cure: &'static str,
    },
}

/// Writes a key, which only its owner may read, and its certificate for these names into a folder. Returns
/// what to tell of it.
///
/// # Errors
///
/// A [`GenCertError`]; a file that is there is never overwritten.
pub(crate) fn generate(names: &[String], folder: &Path) -> Result<String, GenCertError> {
    let names = match names {
        [] => vec!["localhost".to_owned()],
        names => names.to_vec(),
    };
    if let Some(bad) = names.iter().find(|name| !is_name(name)) {
        return Err(GenCertError::Name(bad.clone()));
    }
    // Wherever the config is, the files are found so.
    let folder = folder
        .canonicalize()
        .map_err(|source| failed(folder, source))?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names.clone())?;
    let name = names.first().map_or("", String::as_str);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&key)?;
    let (key_path, certificate_path) = (folder.join(KEY), folder.join(CERTIFICATE));
    // The key first: with a certificate that was there nothing is left behind but what was there.
    if certificate_path.exists() {
        return Err(failed(
            &certificate_path,
            io::ErrorKind::AlreadyExists.into(),
        ));
    }
    write_new(&key_path, 0o600, &key.serialize_pem())?;
    write_new(&certificate_path, 0o644, &certificate.pem())?;
    Ok(format!(
        "{0} and {1} are written, for {2}. The certificate does not run out.\n\
         In the config, beside the listener's address:\n        \
         tls: {{ certificate: \"{0}\", key: \"{1}\", mode: auto }}\n\
         Only the key's owner may read it. For a service with a group (contrib/stratum-uring.service):\n  \
         chgrp stratum-uring-files \"{0}\" \"{1}\" && chmod 640 \"{0}\" \"{1}\"\n",
        certificate_path.display(),
        key_path.display(),
        names.join(", ")
    ))
}

/// Whether it is a host name or an IP address. In front of a host name there may be a `*.`.
fn is_name(name: &str) -> bool {
    ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok()
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), GenCertError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> GenCertError {
    GenCertError::File {
        path: path.to_owned(),
        cure: match source.kind() {
            io::ErrorKind::AlreadyExists => {
                "; it may be in use, so it is not overwritten: move it away, or choose another --out"
            }
            io::ErrorKind::NotFound => "; make the folder first",
            _ => "",
        },
        source,
    }
}
