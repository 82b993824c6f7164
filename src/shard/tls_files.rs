//! Reads the files with which listeners prove themselves to miners, and makes of them what sessions need.

use crate::config::{ConfigError, ConfigFile, ListenConfig, ListenTls, ProxyConfig};
use crate::shard::miner_tls::ListenerTls;
use crate::tls::{Acceptor, CertificateFile, Expiry, KeyPairFiles, ServerFiles};

/// Reads the files of each listener: what its sessions need, `None` where it has no TLS, or every file that
/// can't be used, at its place in the config. Tickets of `before`, which may be empty, still count.
pub(crate) fn load(
    config: &ProxyConfig,
    before: &[Option<ListenerTls>],
) -> Vec<Result<Option<ListenerTls>, Vec<ConfigError>>> {
    let load = |(index, listen): (usize, &ListenConfig)| {
        let before = before.get(index).and_then(Option::as_ref);
        let before = before.map(|it| &it.acceptor);
        let loaded = listen.tls.as_ref().map(|tls| load_one(tls, before));
        loaded.transpose()
    };
    config.listen.iter().enumerate().map(load).collect()
}

fn load_one(tls: &ListenTls, before: Option<&Acceptor>) -> Result<ListenerTls, Vec<ConfigError>> {
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

/// Reads the files of each listener, and forgets them again. A certificate that is out of date is a mistake.
pub(crate) fn check(config: &ProxyConfig, now_unix_seconds: u64, mistakes: &mut Vec<ConfigError>) {
    for tls in config.listen.iter().filter_map(|it| it.tls.as_ref()) {
        match load_one(tls, None) {
            Ok(loaded) => {
                let expiries = loaded.acceptor.expiries().iter();
                for expiry in expiries.filter(|it| it.is_out_of_date(now_unix_seconds)) {
                    let file = file_of(tls, expiry.file);
                    let warning = file.zip(expiry.warning(now_unix_seconds));
                    mistakes.extend(warning.map(|(file, text)| file.mistake(text)));
                }
            }
            Err(mut wrong) => mistakes.append(&mut wrong),
        }
    }
}

/// Tells of each certificate that is not good, or not for long.
pub(crate) fn warn_of_expiry(proxy: &str, acceptor: &Acceptor, now_unix_seconds: u64) {
    let expiries = acceptor.expiries().iter();
    for warning in expiries.filter_map(|it: &Expiry| it.warning(now_unix_seconds)) {
        log::warn!("proxy={proxy}: {warning}");
    }
}
