//! Miners with TLS: certificates, and a rustls client in front of what speaks lines.

#![allow(
    clippy::disallowed_types,
    reason = "both directions of a TLS connection share its state"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, HandshakeKind, SignatureScheme, SupportedProtocolVersion};

use super::PATIENCE;

/// A folder with certificates, removed at the end.
#[derive(Debug)]
pub(crate) struct Certificates(PathBuf);

/// Who signs miners' certificates.
pub(crate) type Signer = rcgen::Issuer<'static, rcgen::KeyPair>;

impl Certificates {
    /// One for `hall.example`, as `hall.pem` and `hall.key`.
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("stratum-uring-it-tls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let certificates = Self(folder);
        certificates.make("hall", "hall.example");
        certificates
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().unwrap().to_owned()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).unwrap();
    }

    /// A self-signed certificate for a name, as `{file}.pem` and `{file}.key`; in place of what was there.
    pub(crate) fn make(&self, file: &str, name: &str) {
        self.make_until(file, name, (4096, 1, 1));
    }

    /// One that runs out on that day.
    pub(crate) fn make_until(&self, file: &str, name: &str, until: (i32, u8, u8)) {
        self.make_between(file, name, (1975, 1, 1), until);
    }

    /// One that is good from one day to another.
    pub(crate) fn make_between(
        &self,
        file: &str,
        name: &str,
        from: (i32, u8, u8),
        until: (i32, u8, u8),
    ) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let certificate = params.self_signed(&key).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    /// A signer, as `{file}.pem`.
    pub(crate) fn make_signer(&self, file: &str) -> Signer {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        rcgen::Issuer::new(params, key)
    }

    /// A miner's certificate, signed.
    pub(crate) fn make_signed(&self, file: &str, signer: &Signer) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["rig1.example".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, signer).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn chain(&self, file: &str) -> Vec<CertificateDer<'static>> {
        let path = self.0.join(format!("{file}.pem"));
        let list = CertificateDer::pem_file_iter(path).unwrap();
        list.map(Result::unwrap).collect()
    }

    /// The certificate itself, as a client sees it.
    pub(crate) fn der(&self, file: &str) -> Vec<u8> {
        self.chain(file)[0].to_vec()
    }

    /// The `tls:` key of a listener with `hall.pem`, and more keys.
    pub(crate) fn key(&self, more: &str) -> String {
        let (certificate, key) = (self.path("hall.pem"), self.path("hall.key"));
        format!("tls: {{ certificate: \"{certificate}\", key: \"{key}\"{more} }}")
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Takes any certificate, as miners do.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

pub(crate) const TLS_1_2: &SupportedProtocolVersion = &rustls::version::TLS12;
pub(crate) const TLS_1_3: &SupportedProtocolVersion = &rustls::version::TLS13;

/// How a miner speaks TLS. It remembers tickets, as long as it lives.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// What is sent ahead of all else.
    header: Vec<u8>,
    /// Bytes of header and hello that go out first.
    cut: usize,
}

impl Client {
    pub(crate) fn new(version: &'static SupportedProtocolVersion) -> Self {
        Self::with_certificate(version, None)
    }

    /// It shows a certificate, of a file in that folder.
    pub(crate) fn with_certificate(
        version: &'static SupportedProtocolVersion,
        certificate: Option<(&Certificates, &str)>,
    ) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting));
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some((folder, file)) => {
                let key = folder.0.join(format!("{file}.key"));
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                config
                    .with_client_auth_cert(folder.chain(file), key)
                    .unwrap()
            }
        };
        Self {
            config: Arc::new(config),
            name: ServerName::try_from("hall.example").unwrap(),
            header: Vec::new(),
            cut: 0,
        }
    }

    pub(crate) fn asking_for(mut self, name: &'static str) -> Self {
        self.name = ServerName::try_from(name).unwrap();
        self
    }

    /// Comes through a balancer, which says this first. So many bytes of that and of the hello go out
    /// together, and then the others.
    pub(crate) fn behind(mut self, header: &[u8], cut: usize) -> Self {
        self.header = header.to_vec();
        self.cut = cut;
        self
    }

    pub(crate) fn connection(&self) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).unwrap()
    }

    /// The first bytes that it would send.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        self.connection().write_tls(&mut hello).unwrap();
        hello
    }

    /// A connection with its handshake done, or why it was not.
    pub(crate) fn shake(
        &self,
        address: SocketAddr,
    ) -> Result<(ClientConnection, TcpStream), String> {
        self.shake_over(TcpStream::connect(address).unwrap())
    }

    /// The same over a socket that is connected.
    pub(crate) fn shake_over(
        &self,
        mut socket: TcpStream,
    ) -> Result<(ClientConnection, TcpStream), String> {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut connection = self.connection();
        if !self.header.is_empty() {
            let mut first = self.header.clone();
            connection.write_tls(&mut first).unwrap();
            let (first, rest) = first.split_at(self.cut.min(first.len()));
            socket.write_all(first).unwrap();
            socket.write_all(rest).unwrap();
        }
        while connection.is_handshaking() {
            connection
                .complete_io(&mut socket)
                .map_err(|error| error.to_string())?;
        }
        Ok((connection, socket))
    }

    /// Stands between something that speaks plainly and the proxy: whoever connects to the address that is
    /// returned talks with the proxy over TLS.
    pub(crate) fn bridge(&self, proxy: SocketAddr) -> Bridge {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = self.clone();
        let (tell, told) = channel();
        thread::spawn(move || {
            let plain = listener.accept().unwrap().0;
            match client.shake(proxy) {
                Ok((connection, socket)) => {
                    tell.send(Told::Open(Session::of(&connection))).unwrap();
                    pump(connection, socket, plain, &tell);
                }
                Err(_) => drop(tell.send(Told::Failed)),
            }
        });
        Bridge { address, told }
    }
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) is_resumed: bool,
    pub(crate) certificate: Vec<u8>,
}

impl Session {
    pub(crate) fn of(connection: &ClientConnection) -> Self {
        let chain = connection.peer_certificates();
        Self {
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate: chain.map_or(Vec::new(), |chain| chain[0].to_vec()),
        }
    }
}

#[derive(Debug)]
enum Told {
    Open(Session),
    Failed,
    /// The proxy has ended it; whether with a `close_notify`.
    Closed(bool),
}

/// A miner's TLS.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    told: Receiver<Told>,
}

impl Bridge {
    #[track_caller]
    pub(crate) fn expect_open(&self) -> Session {
        match self.told.recv_timeout(PATIENCE).unwrap() {
            Told::Open(session) => session,
            other => panic!("not open: {other:?}"),
        }
    }

    /// The proxy ends it; says whether with a `close_notify`.
    #[track_caller]
    pub(crate) fn expect_closed(&self) -> bool {
        match self.told.recv_timeout(PATIENCE).unwrap() {
            Told::Closed(notified) => notified,
            other => panic!("not closed: {other:?}"),
        }
    }
}

/// Carries bytes both ways until one end is over.
fn pump(connection: ClientConnection, socket: TcpStream, plain: TcpStream, tell: &Sender<Told>) {
    let connection = Arc::new(Mutex::new(connection));
    let (other, mut out) = (Arc::clone(&connection), socket.try_clone().unwrap());
    let mut from_plain = plain.try_clone().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(len @ 1..) = from_plain.read(&mut bytes) {
            let mut connection = other.lock().unwrap();
            connection.writer().write_all(&bytes[..len]).unwrap();
            while connection.wants_write() {
                if connection.write_tls(&mut out).is_err() {
                    return;
                }
            }
        }
        let mut connection = other.lock().unwrap();
        connection.send_close_notify();
        drop(connection.write_tls(&mut out));
        drop(out.shutdown(Shutdown::Both));
    });
    let (mut socket, mut plain) = (socket, plain);
    socket.set_read_timeout(None).unwrap();
    let mut bytes = [0; 16 * 1024];
    let mut notified = false;
    while !notified {
        let len = match socket.read(&mut bytes) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut clear = Vec::new();
        let mut rest = &bytes[..len];
        let mut locked = connection.lock().unwrap();
        while !rest.is_empty() {
            locked.read_tls(&mut rest).unwrap();
            let state = locked.process_new_packets().expect("good records");
            notified = state.peer_has_closed();
            let start = clear.len();
            clear.resize(start + state.plaintext_bytes_to_read(), 0);
            locked.reader().read_exact(&mut clear[start..]).unwrap();
            if notified {
                break;
            }
        }
        drop(locked);
        if plain.write_all(&clear).is_err() {
            break;
        }
    }
    drop(tell.send(Told::Closed(notified)));
    drop(plain.shutdown(Shutdown::Both));
}
