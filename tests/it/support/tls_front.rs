//! TLS for scripted pools: certificates, and an end that takes TLS off and passes lines on.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData,
    date_time_ymd,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use sha2::{Digest, Sha256};

use super::PATIENCE;

/// A folder in the temporary directory, removed at the end.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("stratum-uring-it-{}-files-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// An issuer of certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) pem: String,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "the issuer of a test");
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    pub(crate) fn signs(&self, name: &str) -> Certificate {
        self.signs_with(name, |_| {})
    }

    pub(crate) fn signs_expired(&self, name: &str) -> Certificate {
        self.signs_with(name, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    fn signs_with(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Certificate { pem, key }
    }
}

impl Certificate {
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// As the config wants it.
    pub(crate) fn pin(&self) -> String {
        let digest = Sha256::digest(self.key.subject_public_key_info());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How a [`TlsFront`] behaves.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    /// Asks for a certificate that this authority has signed.
    pub(crate) asks_for: Option<String>,
    /// Longest record in bytes.
    pub(crate) record_len_max: Option<usize>,
    /// Reads a PROXY header ahead of all else.
    pub(crate) wants_header: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            versions: rustls::ALL_VERSIONS.to_vec(),
            asks_for: None,
            record_len_max: None,
            wants_header: false,
        }
    }
}

/// What happened to one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shaken {
    /// The handshake is done; the header that came ahead, the name that was asked for, and how many
    /// certificates were shown.
    Done {
        header: String,
        name: Option<String>,
        certificates: usize,
        resumed: bool,
    },
    /// It failed.
    Failed(String),
}

/// Takes the TLS off, and passes what is in it on to a pool without.
#[derive(Debug)]
pub(crate) struct TlsFront {
    address: SocketAddr,
    shaken: Receiver<Shaken>,
    end: Arc<AtomicBool>,
}

impl TlsFront {
    /// For the pool of this port.
    pub(crate) fn start(pool: u16, certificate: &Certificate) -> Self {
        Self::with(pool, certificate, &Manners::default())
    }

    pub(crate) fn with(pool: u16, certificate: &Certificate, manners: &Manners) -> Self {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&manners.versions)
            .unwrap();
        let builder = match &manners.asks_for {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
                roots.add(root).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem().as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.max_fragment_size = manners.record_len_max;
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, shaken) = channel();
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let wants_header = manners.wants_header;
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                        let (sender, ended) = (sender.clone(), Arc::clone(&ended));
                        thread::spawn(move || {
                            let relay = Relay {
                                proxy: stream,
                                connection,
                                sender,
                                header: String::new(),
                            };
                            relay.run(pool, wants_header, &ended);
                        });
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) => panic!("accept: {error}"),
                }
            }
        });
        Self {
            address,
            shaken,
            end,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("stratum+tls://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What came of the next connection.
    pub(crate) fn next(&self) -> Shaken {
        self.shaken.recv_timeout(PATIENCE).expect("a connection")
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

/// One connection of a [`TlsFront`].
struct Relay {
    proxy: TcpStream,
    connection: ServerConnection,
    sender: Sender<Shaken>,
    header: String,
}

impl Relay {
    fn run(mut self, pool: u16, wants_header: bool, ended: &AtomicBool) {
        self.proxy.set_nodelay(true).unwrap();
        self.proxy.set_nonblocking(false).unwrap();
        if wants_header && !self.read_header() {
            return;
        }
        while self.connection.is_handshaking() {
            if let Err(error) = self.connection.complete_io(&mut self.proxy) {
                // The test may be over.
                drop(self.sender.send(Shaken::Failed(error.to_string())));
                return;
            }
        }
        let done = Shaken::Done {
            header: self.header.clone(),
            name: self.connection.server_name().map(str::to_owned),
            certificates: self.connection.peer_certificates().map_or(0, <[_]>::len),
            resumed: self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        };
        drop(self.sender.send(done));
        let mut pool = TcpStream::connect(("127.0.0.1", pool)).unwrap();
        pool.set_nodelay(true).unwrap();
        pool.set_nonblocking(true).unwrap();
        self.proxy.set_nonblocking(true).unwrap();
        let mut bytes = [0; 16 * 1024];
        while !ended.load(Ordering::Relaxed) {
            let moved =
                self.pass_on_from_proxy(&mut pool) && self.pass_on_from_pool(&mut pool, &mut bytes);
            if !moved {
                self.connection.send_close_notify();
                drop(self.connection.write_tls(&mut self.proxy));
                return;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Byte by byte: what follows is TLS.
    fn read_header(&mut self) -> bool {
        let mut byte = [0];
        while !self.header.ends_with("\r\n") {
            match self.proxy.read(&mut byte) {
                Ok(1) => self.header.push(char::from(byte[0])),
                _ => return false,
            }
        }
        true
    }

    /// Passes on what the proxy said. False at an end.
    fn pass_on_from_proxy(&mut self, pool: &mut TcpStream) -> bool {
        loop {
            // The first lines may have come with the end of the handshake.
            let Ok(state) = self.connection.process_new_packets() else {
                return false;
            };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.connection.reader().read_exact(&mut plain).unwrap();
            if !write_whole(pool, &plain) || state.peer_has_closed() {
                return false;
            }
            match self.connection.read_tls(&mut self.proxy) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    /// Passes on what the pool said. False at an end.
    fn pass_on_from_pool(&mut self, pool: &mut TcpStream, bytes: &mut [u8]) -> bool {
        match pool.read(bytes) {
            Ok(0) => return false,
            Ok(len) => self.connection.writer().write_all(&bytes[..len]).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.proxy) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                Err(_) => return false,
            }
        }
        true
    }
}

/// To a socket that doesn't block.
fn write_whole(socket: &mut TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(_) => return false,
        }
    }
    true
}
