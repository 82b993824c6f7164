//! The PEM files that a config names: read at the start, by `--check`, and again on SIGHUP.

use crate::config::{Config, ConfigError, ConfigErrors, ConfigFile, ListenTls};
use crate::shard::clock::Clock;
use crate::shard::miner_tls::ListenerTls;
use crate::shard::pool_tls;
use crate::tls::{Acceptor, CertificateFile, Expiry, KeyPairFiles, ServerFiles};

/// Reads the files of a listener. Tickets of `before` still count.
///
/// # Errors
///
/// Every file that can't be used, at its place in the config.
pub(crate) fn load(
    tls: &ListenTls,
    before: Option<&Acceptor>,
) -> Result<ListenerTls, Vec<ConfigError>> {
    let files = ServerFiles {
        pairs: tls
            .certificates
            .iter()
            .map(|pair| KeyPairFiles {
                certificate: pair.certificate.path.clone(),
                key: pair.key.path.clone(),
            })
            .collect(),
        client_ca: tls.client_ca.as_ref().map(|file| file.path.clone()),
    };
    match Acceptor::load(&files, before) {
        Ok(acceptor) => Ok(ListenerTls {
            acceptor,
            mode: tls.mode,
        }),
        Err(errors) => Err(errors
            .into_iter()
            .filter_map(|error| Some(file_of(tls, error.file)?.mistake(error.text)))
            .collect()),
    }
}

/// Where the config names this file.
fn file_of(tls: &ListenTls, file: CertificateFile) -> Option<&ConfigFile> {
    match file {
        CertificateFile::Certificate(index) => Some(&tls.certificates.get(index)?.certificate),
        CertificateFile::Key(index) => Some(&tls.certificates.get(index)?.key),
        CertificateFile::ClientCa => tls.client_ca.as_ref(),
    }
}

/// Reads every file that a config names, as a start would, and forgets it again. Other than a start it takes
/// a certificate that is out of date for a mistake.
///
/// # Errors
///
/// Every file that can't be used, at its place in the config.
pub fn check_files(config: &Config) -> Result<(), ConfigErrors> {
    let now = Clock::start().now().unix_seconds;
    let mut errors = Vec::new();
    let listeners = config.proxies.iter().flat_map(|proxy| &proxy.listen);
    for tls in listeners.filter_map(|listener| listener.tls.as_ref()) {
        match load(tls, None) {
            Ok(loaded) => {
                let expiries = loaded.acceptor.expiries().iter();
                for expiry in expiries.filter(|it| it.is_out_of_date(now)) {
                    let file = file_of(tls, expiry.file);
                    errors.extend(
                        file.zip(expiry.warning(now))
                            .map(|(it, text)| it.mistake(text)),
                    );
                }
            }
            Err(mut wrong) => errors.append(&mut wrong),
        }
    }
    pool_tls::check(config, &mut errors);
    ConfigErrors::of(errors).map_or(Ok(()), Err)
}

/// Tells of each certificate that is not good, or not for long.
pub(crate) fn warn_of_expiry(proxy: &str, acceptor: &Acceptor, now_unix_seconds: u64) {
    let expiries = acceptor.expiries().iter();
    for warning in expiries.filter_map(|it: &Expiry| it.warning(now_unix_seconds)) {
        log::warn!("proxy={proxy}: {warning}");
    }
}
