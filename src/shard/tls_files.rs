//! Reads the files with which listeners prove themselves to miners, and makes of them what sessions need.

use crate::config::{ConfigError, ConfigFile, ListenConfig, ListenTls, ProxyConfig};
use crate::shard::miner_tls::ListenerTls;
use crate::tls::{Acceptor, CertificateFile, KeyPairFiles, PemFile, ServerFiles};

/// How one comes by a certificate and its key.
const PAIR_CURE: &str = "; `stratum-uring gen-cert` makes a certificate and its key";
/// And by a signer of miners' certificates.
const CA_CURE: &str = "; it has the certificates of those who sign miners' own, which openssl makes (README, \
    Certificates of miners)";

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
    let mut mistakes = Vec::new();
    let mut read = |file: &ConfigFile, cure: &str| PemFile {
        path: file.path.clone(),
        bytes: file.read(cure).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            Vec::new()
        }),
    };
    let pairs = tls.certificates.iter().map(|pair| KeyPairFiles {
        certificate: read(&pair.certificate, PAIR_CURE),
        key: read(&pair.key, PAIR_CURE),
    });
    let files = ServerFiles {
        pairs: pairs.collect(),
        client_ca: tls.client_ca.as_ref().map(|file| read(file, CA_CURE)),
    };
    let errors = match Acceptor::load(&files, before) {
        Ok(acceptor) => {
            return Ok(ListenerTls {
                acceptor,
                mode: tls.mode,
            });
        }
        Err(errors) => errors,
    };
    let unread: Vec<String> = mistakes.iter().map(|it| it.path.clone()).collect();
    mistakes.extend(errors.into_iter().filter_map(|error| {
        let file = file_of(tls, error.file)?;
        let was_read = unread.iter().all(|key| key != file.key());
        was_read.then(|| file.mistake(error.text))
    }));
    Err(mistakes)
}

/// Where the config names this file.
fn file_of(tls: &ListenTls, file: CertificateFile) -> Option<&ConfigFile> {
    match file {
        CertificateFile::Certificate(index) => Some(&tls.certificates.get(index)?.certificate),
        CertificateFile::Key(index) => Some(&tls.certificates.get(index)?.key),
        CertificateFile::ClientCa => tls.client_ca.as_ref(),
    }
}
