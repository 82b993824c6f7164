//! Takes the TLS off the connections of miners and passes the lines on: one thread for all of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

use crate::clock::Clock;

/// Listens, for the pool of this address, until it is to end. Returns where.
pub(super) fn start(pool: SocketAddr, end: Arc<AtomicBool>) -> SocketAddr {
    let names = vec!["terminator.invalid".to_owned()];
    let pair = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut links: Vec<Link> = Vec::new();
        while !end.load(Ordering::Relaxed) {
            while let Ok((miner, _)) = listener.accept() {
                miner.set_nonblocking(true).unwrap();
                let pool = TcpStream::connect(pool).unwrap();
                pool.set_nonblocking(true).unwrap();
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                links.push(Link { miner, pool, tls });
            }
            links.retain_mut(Link::turn);
            Clock::pause(Duration::from_micros(200));
        }
    });
    address
}

struct Link {
    miner: TcpStream,
    pool: TcpStream,
    tls: ServerConnection,
}

impl Link {
    /// Moves what there is. False when one of the two ends is gone.
    fn turn(&mut self) -> bool {
        loop {
            match self.tls.read_tls(&mut self.miner) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
            let Ok(state) = self.tls.process_new_packets() else {
                return false;
            };
            let mut lines = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut lines).unwrap();
            // A few miners say no more than a socket takes.
            if self.pool.write_all(&lines).is_err() {
                return false;
            }
        }
        let mut bytes = [0; 4096];
        match self.pool.read(&mut bytes) {
            Ok(0) => return false,
            Ok(len) => self.tls.writer().write_all(&bytes[..len]).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.miner) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}
