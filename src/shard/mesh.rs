//! The letters between shards; the only place where shards talk.
//!
//! Between each two shards there are two channels of glommio, one each way: bounded, lock-free, with one
//! writer and one reader. They carry the letters of all proxies, each with the proxy whose exchange it is
//! for. A shard mostly waits in its ring, where no task of its executor runs; so nothing is awaited here.
//! After sending a shard rings the other one's [`Bell`], and who was rung takes what there is.
//!
//! ```text
//!   shard 0                                                    shard 1
//!   poll_letter ─▶ waiting ─▶ [ channel ] ─ posted, bell ─▶ take ─▶ handle_letter
//!                     ▲                                       │
//!                     └──────────── bell, where it was full ◀─┘
//! ```
//!
//! glommio's own way of connecting a channel awaits the other end, for which an executor spins, and with
//! many shards on few CPUs it was seen to sleep for a minute. So each shard first shows its ends
//! ([`MeshEnds::join`]), its thread waits until all have, and then they are connected at once.
//!
//! Invariants: letters of one shard to another one arrive once each and in order, however full the channel
//! is; and a channel is read only while there is something in it, for each look into an empty one would
//! leave a waker behind in the executor, where it would stay until a letter came.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use futures_lite::future;
use glommio::channels::shared_channel::{
    ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};
use glommio::{GlommioError, ResourceType};

use crate::exchange::Letter;
use crate::ring::Bell;

/// Letters in one channel: more than a shard writes to another one in a round but for a burst, which then
/// takes several. A power of two, or the channel would take more.
const CHANNEL_LEN: usize = 64;

/// A letter on its way.
struct Parcel {
    proxy: usize,
    letter: Letter,
}

/// What stands beside a channel, since the channel itself tells nobody how much is in it.
#[derive(Debug, Default)]
struct Slate {
    /// Letters that were ever put into it.
    posted: AtomicU64,
    /// The writer found it full, and waits for the bell.
    was_full: AtomicBool,
}

/// One other shard: the ends of the channels to it and from it, connected or not.
struct Neighbour<Writer, Reader> {
    shard: usize,
    bell: Bell,
    writer: Writer,
    writing: Arc<Slate>,
    reader: Reader,
    reading: Arc<Slate>,
}

type Unconnected = Neighbour<SharedSender<Parcel>, SharedReceiver<Parcel>>;
type Connected = Neighbour<ConnectedSender<Parcel>, ConnectedReceiver<Parcel>>;

/// What one shard gets of the mesh, to be connected in its thread.
pub(crate) struct MeshEnds {
    bell: Bell,
    neighbours: Vec<Unconnected>,
    // Behind the neighbours: by its drop a shard says that its ends were shown, or are gone.
    roll_call: RollCall,
}

/// Tells a shard when no other one is still to come. Nothing is ever sent.
struct RollCall {
    /// To all shards, this one too.
    absent: Vec<mpsc::Sender<Infallible>>,
    present: mpsc::Receiver<Infallible>,
}

/// Makes the ends for all shards, in order. One shard has nobody to talk to, and gets none.
///
/// # Errors
///
/// When the process has no descriptor left.
pub(crate) fn make(shards: usize) -> io::Result<Vec<MeshEnds>> {
    if shards < 2 {
        return Ok(Vec::new());
    }
    let bells: Vec<Bell> = (0..shards).map(|_| Bell::new()).collect::<Result<_, _>>()?;
    let mut neighbours: Vec<Vec<Unconnected>> = (0..shards).map(|_| Vec::new()).collect();
    for low in 0..shards {
        for high in low + 1..shards {
            let (up_writer, up_reader) = new_bounded(CHANNEL_LEN);
            let (down_writer, down_reader) = new_bounded(CHANNEL_LEN);
            let (up, down) = (Arc::<Slate>::default(), Arc::<Slate>::default());
            neighbours[low].push(Neighbour {
                shard: high,
                bell: bells[high].clone(),
                writer: up_writer,
                writing: Arc::clone(&up),
                reader: down_reader,
                reading: Arc::clone(&down),
            });
            neighbours[high].push(Neighbour {
                shard: low,
                bell: bells[low].clone(),
                writer: down_writer,
                writing: down,
                reader: up_reader,
                reading: up,
            });
        }
    }
    let (absent, present): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel()).unzip();
    let ends = bells.into_iter().zip(neighbours).zip(present);
    let ends = ends.map(|((bell, neighbours), present)| MeshEnds {
        bell,
        neighbours,
        roll_call: RollCall {
            absent: absent.clone(),
            present,
        },
    });
    Ok(ends.collect())
}

impl MeshEnds {
    /// The bell that this shard's ring is to hear.
    pub(crate) const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Shows this shard's ends to the other ones, in the thread and the executor that will use them.
    pub(crate) fn join(self) -> Joining {
        let connect = |neighbour: Unconnected| {
            let mut connecting: Connecting = Box::pin(neighbour.connect());
            let post = now_or_never(connecting.as_mut());
            (connecting, post)
        };
        let connecting = self.neighbours.into_iter().map(connect).collect();
        drop(self.roll_call.absent);
        Joining {
            connecting,
            present: self.roll_call.present,
        }
    }
}

type Connecting = Pin<Box<dyn Future<Output = Post>>>;

/// A shard whose ends are shown, and which waits for those of the others.
pub(crate) struct Joining {
    /// Each with what came of it, where the other end was there first.
    connecting: Vec<(Connecting, Option<Post>)>,
    present: mpsc::Receiver<Infallible>,
}

impl Joining {
    /// Waits for all other shards, without their executors, and connects to them. A shard that could not
    /// start is connected to as to one that is gone.
    pub(crate) fn connect(self) -> Mesh {
        let Err(mpsc::RecvError) = self.present.recv();
        let connect = |(mut connecting, post): (Connecting, Option<Post>)| {
            post.or_else(|| now_or_never(connecting.as_mut()))
                .expect("an end that was shown, or is gone, is not waited for")
        };
        Mesh {
            posts: self.connecting.into_iter().map(connect).collect(),
        }
    }
}

impl Unconnected {
    async fn connect(self) -> Post {
        let (writer, reader) = future::zip(self.writer.connect(), self.reader.connect()).await;
        Post {
            neighbour: Neighbour {
                shard: self.shard,
                bell: self.bell,
                writer,
                writing: self.writing,
                reader,
                reading: self.reading,
            },
            waiting: VecDeque::new(),
            posted: 0,
            blocked: 0,
            taken: 0,
        }
    }
}

/// The traffic with one other shard.
struct Post {
    neighbour: Connected,
    /// Letters that the channel had no room for, oldest first. There is no bound here: letters may not be
    /// lost, and what an exchange writes is bounded by what it writes about: the jobs of its links, the
    /// shares that wait for an answer (`pending_shares_max`), the slots of a link, and names that pools have
    /// just taken.
    waiting: VecDeque<Parcel>,
    /// Letters that were put into the channel, and taken out of the other one.
    posted: u64,
    taken: u64,
    /// Times that the channel was full.
    blocked: u64,
}

impl Post {
    /// Sends what waits, as far as there is room, and wakes the other shard if it has to do something.
    fn send(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Neighbour {
            writer,
            writing,
            bell,
            ..
        } = &self.neighbour;
        while let Some(parcel) = self.waiting.pop_front() {
            match writer.try_send(parcel) {
                Ok(()) => self.posted += 1,
                Err(GlommioError::WouldBlock(ResourceType::Channel(parcel))) => {
                    self.waiting.push_front(parcel);
                    break;
                }
                // The shard has stopped; nobody misses what it was to be told.
                Err(_) => self.waiting.clear(),
            }
        }
        writing.posted.store(self.posted, Ordering::Release);
        if !self.waiting.is_empty() {
            self.blocked += 1;
            writing.was_full.store(true, Ordering::Release);
        }
        bell.ring();
    }

    /// Takes what had come by now, which is no more than the channel holds, however fast more comes.
    fn take(&mut self, mut each: impl FnMut(usize, usize, Letter)) {
        let Neighbour {
            shard,
            reader,
            reading,
            bell,
            ..
        } = &self.neighbour;
        let posted = reading.posted.load(Ordering::Acquire);
        while self.taken < posted {
            let Some(Parcel { proxy, letter }) = now_or_never(reader.recv()).flatten() else {
                debug_assert!(false, "a letter that was posted is in the channel");
                break;
            };
            self.taken += 1;
            each(proxy, *shard, letter);
        }
        // Behind the taking, so that the writer finds room.
        if reading.was_full.load(Ordering::Acquire)
            && reading.was_full.swap(false, Ordering::AcqRel)
        {
            bell.ring();
        }
    }
}

/// A shard's place in the mesh.
pub(crate) struct Mesh {
    /// For each other shard, in order.
    posts: Vec<Post>,
}

impl Mesh {
    /// Takes a letter for the exchange of a proxy on another shard. It goes out with [`Mesh::send`].
    pub(crate) fn post(&mut self, proxy: usize, to: usize, letter: Letter) {
        let post = self
            .posts
            .binary_search_by_key(&to, |post| post.neighbour.shard);
        debug_assert!(post.is_ok(), "a letter is for another shard that there is");
        if let Ok(at) = post {
            self.posts[at].waiting.push_back(Parcel { proxy, letter });
        }
    }

    /// Sends what was posted. What does not fit goes out at a later call; the shard's bell is rung when
    /// there is room.
    pub(crate) fn send(&mut self) {
        for post in &mut self.posts {
            post.send();
        }
    }

    /// Gives each letter that has come to `each`, with its proxy and the shard that wrote it.
    pub(crate) fn take(&mut self, mut each: impl FnMut(usize, usize, Letter)) {
        for post in &mut self.posts {
            post.take(&mut each);
        }
    }

    /// Letters that went out, ever.
    pub(crate) fn letters(&self) -> u64 {
        self.posts.iter().map(|post| post.posted).sum()
    }

    /// Times that some had to wait for room.
    pub(crate) fn letters_blocked(&self) -> u64 {
        self.posts.iter().map(|post| post.blocked).sum()
    }

    /// Whether everything that was posted is on its way.
    pub(crate) fn is_sent(&self) -> bool {
        self.posts.iter().all(|post| post.waiting.is_empty())
    }
}

/// What a future gives at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use glommio::{LocalExecutorBuilder, Placement};

    use super::*;
    use crate::exchange::{GuestSays, LeaseId};
    use crate::ring::{
        End, ListenerId, MinerRing, RingConfig, RingHandler, SentPiece, StreamId, Token,
    };

    /// Longer than any of these waits can last, unless a letter or a ring of the bell is lost.
    const FOREVER: Duration = Duration::from_secs(60);

    fn run<T>(task: impl Future<Output = T>) -> T {
        LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(65_536)
            .make()
            .expect("an executor")
            .run(task)
    }

    fn numbered(number: u32) -> Letter {
        Letter::Guest(GuestSays::MoreSlots {
            lease: LeaseId(7),
            slots: number,
        })
    }

    fn number_of(letter: &Letter) -> u32 {
        match letter {
            Letter::Guest(GuestSays::MoreSlots { slots, .. }) => *slots,
            letter => panic!("{letter:?}"),
        }
    }

    /// Counts how often the bell was heard.
    #[derive(Default)]
    struct Ears(usize);

    impl RingHandler for Ears {
        fn rang(&mut self) {
            self.0 += 1;
        }
        fn accepted(&mut self, _: Token, _: ListenerId, _: std::net::SocketAddr) {}
        fn received(&mut self, _: Token, _: &mut [u8]) {}
        fn ended(&mut self, _: Token, _: End) {}
        fn blocked(&mut self, _: Token, _: usize, _: &[SentPiece], _: &[u8]) {}
        fn writable(&mut self, _: Token) {}
        fn accept_failed(&mut self, _: ListenerId, _: io::Error) {}
        fn table_full(&mut self, _: ListenerId) {}
        fn stream_received(&mut self, _: StreamId, _: &mut [u8]) {}
    }

    fn small_ring(ends: &MeshEnds) -> MinerRing {
        let mut ring = MinerRing::new(&RingConfig {
            connections_max: 1,
            accepts_in_flight: 1,
            receive_buffers: 1,
            submission_entries: 8,
            completion_entries: 16,
            ..RingConfig::default()
        })
        .expect("ring");
        ring.hear(ends.bell());
        ring
    }

    /// Waits in the ring, and says whether the bell was rung.
    fn rang(ring: &mut MinerRing, timeout: Duration) -> bool {
        ring.wait_blocking(timeout);
        let mut ears = Ears::default();
        ring.drain(&mut ears);
        ears.0 > 0
    }

    /// Both ends of a mesh of two, with their rings, in one thread.
    fn pair() -> [(Mesh, MinerRing); 2] {
        let mut ends = make(2).expect("ends").into_iter();
        let (Some(low), Some(high)) = (ends.next(), ends.next()) else {
            panic!("two ends");
        };
        let rings = (small_ring(&low), small_ring(&high));
        let (low, high) = (low.join(), high.join());
        [(low.connect(), rings.0), (high.connect(), rings.1)]
    }

    fn take_all(mesh: &mut Mesh) -> Vec<(usize, usize, u32)> {
        let mut taken = Vec::new();
        mesh.take(|proxy, from, letter| taken.push((proxy, from, number_of(&letter))));
        taken
    }

    #[test]
    fn one_shard_has_no_mesh() {
        assert!(make(1).expect("no ends").is_empty());
        assert_eq!(make(3).expect("ends").len(), 3);
    }

    #[test]
    fn a_letter_comes_with_its_proxy_and_its_writer_and_wakes_the_reader() {
        run(async {
            let [(mut low, mut low_ring), (mut high, mut high_ring)] = pair();
            for round in 0..3 {
                low.post(0, 1, numbered(round));
                low.post(5, 1, numbered(round + 100));
                assert!(!rang(&mut high_ring, Duration::from_millis(1)), "not sent");
                low.send();
                assert!(low.is_sent());
                assert!(rang(&mut high_ring, FOREVER));
                let expected = [(0, 0, round), (5, 0, round + 100)];
                assert_eq!(take_all(&mut high), expected);
                high.post(1, 0, numbered(9));
                high.send();
                assert!(rang(&mut low_ring, FOREVER));
                assert_eq!(take_all(&mut low), [(1, 1, 9)]);
            }
            low.send();
            assert!(!rang(&mut high_ring, Duration::from_millis(1)), "no letter");
            assert_eq!(take_all(&mut high), []);
        });
    }

    #[test]
    fn what_a_full_channel_has_no_room_for_waits_and_comes_in_order() {
        const LETTERS: u32 = 5 * 64 + 3;
        run(async {
            let [(mut low, mut low_ring), (mut high, mut high_ring)] = pair();
            for number in 0..LETTERS {
                low.post(0, 1, numbered(number));
            }
            low.send();
            assert!(!low.is_sent());
            let mut taken = Vec::new();
            while !low.is_sent() {
                assert!(rang(&mut high_ring, FOREVER), "the reader hears of letters");
                let before = taken.len();
                high.take(|_, _, letter| taken.push(number_of(&letter)));
                assert!(taken.len() - before <= CHANNEL_LEN);
                assert!(rang(&mut low_ring, FOREVER), "the writer hears of room");
                low.send();
            }
            high.take(|_, _, letter| taken.push(number_of(&letter)));
            assert_eq!(taken, (0..LETTERS).collect::<Vec<_>>());
            // Six sends, of which the last found room for all.
            assert_eq!((low.letters(), low.letters_blocked()), (LETTERS.into(), 5));
        });
    }

    #[test]
    fn a_writer_without_end_keeps_its_reader_no_longer_than_a_channel_lasts() {
        run(async {
            let [(mut low, _low_ring), (mut high, mut high_ring)] = pair();
            let write = |low: &mut Mesh| {
                low.post(0, 1, numbered(0));
                low.send();
            };
            while low.is_sent() {
                write(&mut low);
            }
            for _ in 0..3 {
                let mut taken = 0;
                high.take(|_, _, _| {
                    taken += 1;
                    write(&mut low);
                });
                assert_eq!(taken, CHANNEL_LEN);
                assert!(rang(&mut high_ring, FOREVER), "there is more");
            }
        });
    }

    #[test]
    fn a_shard_that_is_gone_holds_nobody_up() {
        run(async {
            let [(mut low, _low_ring), (high, high_ring)] = pair();
            low.post(0, 1, numbered(1));
            low.send();
            drop((high, high_ring));
            for number in 0..1000 {
                low.post(0, 1, numbered(number));
                low.send();
                assert!(low.is_sent(), "what nobody will read is not kept");
            }
            assert_eq!(take_all(&mut low), []);
        });
    }

    #[test]
    fn the_last_letters_of_a_shard_that_stops_are_read() {
        run(async {
            let [(mut low, low_ring), (mut high, mut high_ring)] = pair();
            low.post(0, 1, numbered(1));
            low.post(0, 1, numbered(2));
            low.send();
            drop((low, low_ring));
            assert!(rang(&mut high_ring, FOREVER));
            assert_eq!(take_all(&mut high), [(0, 0, 1), (0, 0, 2)]);
            assert_eq!(take_all(&mut high), []);
        });
    }

    #[test]
    fn a_shard_that_could_not_start_is_not_waited_for() {
        run(async {
            let mut ends = make(3).expect("ends");
            drop(ends.pop());
            let (Some(middle), Some(low)) = (ends.pop(), ends.pop()) else {
                panic!("two ends");
            };
            let (low, middle) = (low.join(), middle.join());
            let (mut low, mut middle) = (low.connect(), middle.connect());
            low.post(0, 2, numbered(1));
            low.post(0, 1, numbered(2));
            low.send();
            assert!(low.is_sent());
            assert_eq!(take_all(&mut middle), [(0, 0, 2)]);
        });
    }

    /// Each shard writes to each other one as fast as it can, far more than the channels hold.
    #[test]
    fn between_threads_all_letters_come_once_and_in_order() {
        const SHARDS: usize = 3;
        const LETTERS: u32 = 20_000;
        let (done, all_done) = mpsc::channel();
        let threads: Vec<_> = (0..)
            .zip(make(SHARDS).expect("ends"))
            .map(|(number, ends)| {
                let done = done.clone();
                std::thread::spawn(move || run(chatter(number, ends, SHARDS, LETTERS, &done)))
            })
            .collect();
        drop(done);
        for _ in 0..SHARDS {
            all_done.recv().expect("no shard gave up");
        }
        for thread in threads {
            thread.join().expect("a content shard");
        }
    }

    async fn chatter(
        number: usize,
        ends: MeshEnds,
        shards: usize,
        letters: u32,
        done: &mpsc::Sender<usize>,
    ) {
        let mut ring = small_ring(&ends);
        let mut mesh = ends.join().connect();
        let mut expected = vec![0; shards];
        let mut written = 0;
        let is_complete = |expected: &[u32]| {
            let others = expected.iter().enumerate().filter(|(at, _)| *at != number);
            others.into_iter().all(|(_, next)| *next == letters)
        };
        while written < letters || !mesh.is_sent() || !is_complete(&expected) {
            // In parts that do not fit, and some that do.
            let part = [300, 1, 64, 5][written as usize % 4].min(letters - written);
            for to in (0..shards).filter(|to| *to != number) {
                for letter in written..written + part {
                    mesh.post(0, to, numbered(letter));
                }
            }
            written += part;
            mesh.send();
            mesh.take(|_, from, letter| {
                assert_eq!(number_of(&letter), expected[from], "from {from}");
                expected[from] += 1;
            });
            let is_over = written == letters && mesh.is_sent() && is_complete(&expected);
            if written == letters && !is_over {
                for tries in 0.. {
                    if rang(&mut ring, FOREVER) {
                        break;
                    }
                    assert!(tries < 3, "a ring of the bell was lost");
                }
            }
        }
        done.send(number).expect("the test waits");
    }
}
