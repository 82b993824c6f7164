//! A pool that plays by itself, for tests with many miners: a thread for each link.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::line::LineSocket;
use super::pool::Submit;
use super::{FakeMiner, PATIENCE, PoolJob, PoolLink, TARGET};

/// What the pool says of a share.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Accept,
    Reject(i64, &'static str),
}

type Judge = Arc<dyn Fn(&Submit) -> Verdict + Send + Sync>;

/// Gives each link another `nonce_1`, sends one job, judges every share.
#[derive(Debug)]
pub(crate) struct AutoPool {
    address: SocketAddr,
    shares: Receiver<SeenShare>,
    end: Arc<AtomicBool>,
}

/// A share as the pool saw it.
#[derive(Clone, Debug)]
pub(crate) struct SeenShare {
    /// The whole header nonce: the link's `nonce_1`, the slot, the miner's `nonce_2`.
    pub(crate) nonce: String,
    pub(crate) submit: Submit,
}

impl AutoPool {
    pub(crate) fn accepts_all() -> Self {
        Self::start(|_| Verdict::Accept)
    }

    pub(crate) fn start(judge: impl Fn(&Submit) -> Verdict + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, shares) = channel();
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let judge: Judge = Arc::new(judge);
        thread::spawn(move || {
            let mut links = 0u32;
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        let link = PoolLink::new(LineSocket::new(stream));
                        let nonce_1 = format!("{:08x}", 0xc2fd_6000 + links);
                        links += 1;
                        let (judge, sender) = (Arc::clone(&judge), sender.clone());
                        thread::spawn(move || serve(link, &nonce_1, &judge, &sender));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(2));
                    }
                    Err(error) => panic!("accept: {error}"),
                }
            }
        });
        Self {
            address,
            shares,
            end,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("stratum+tcp://{}", self.address)
    }

    /// The next share that reached the pool, on any link.
    pub(crate) fn next_share(&self) -> SeenShare {
        self.shares.recv_timeout(PATIENCE).expect("a share")
    }
}

impl Drop for AutoPool {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_actors_understand_each_other() {
    let pool = AutoPool::start(|submit| match submit.nonce_2.ends_with('1') {
        true => Verdict::Accept,
        false => Verdict::Reject(23, "low"),
    });
    let (mut miner, job) = FakeMiner::mining_at(pool.address, "t1addr.rig1");
    assert_eq!(job.target.as_deref(), Some(TARGET));
    let (good, bad) = (miner.submit(&job, 1), miner.submit(&job, 2));
    miner.expect_accepted(good);
    miner.expect_error(bad, 23);
    assert!(pool.next_share().nonce.starts_with(&miner.nonce_1));
    miner.expect_silence();
}

fn serve(mut link: PoolLink, nonce_1: &str, judge: &Judge, shares: &Sender<SeenShare>) {
    while let Ok(request) = link.next_request(Duration::from_secs(60)) {
        match request.method.as_str() {
            "mining.subscribe" => link.send_line(&format!(
                "{{\"id\":{},\"result\":[null,\"{nonce_1}\"],\"error\":null}}",
                request.id
            )),
            "mining.authorize" => {
                link.accept(&request.id);
                link.set_target(TARGET);
                link.notify(&PoolJob::new("auto-job"));
            }
            "mining.submit" => {
                let field = |index: usize| request.params.at(index).text().to_owned();
                let submit = Submit {
                    id: request.id,
                    worker: field(0),
                    job: field(1),
                    time: field(2),
                    nonce_2: field(3),
                    solution: field(4),
                    raw: request.raw,
                };
                match judge(&submit) {
                    Verdict::Accept => link.accept(&submit.id),
                    Verdict::Reject(code, text) => link.reject(&submit.id, code, text),
                }
                let nonce = format!("{nonce_1}{}", submit.nonce_2);
                if shares.send(SeenShare { nonce, submit }).is_err() {
                    return;
                }
            }
            _ => link.reject(&request.id, -3, "Method not found"),
        }
    }
}
