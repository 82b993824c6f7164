//! Between those who log and stderr: a bounded queue and the thread that empties it.
//!
//! A write to a pipe that nobody reads blocks for ever. A shard that wrote its own log would then stop
//! to mine, and the main thread would hear no signal. So whoever logs only puts a record into the
//! queue; where that is full, the record is dropped, and counted.
//!
//! ```text
//! shards, main ──▶ LogWriter ──▶ queue of RECORDS_MAX ──▶ thread "log" ──▶ stderr
//! ```

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

/// Records that wait at the most. Each has some 150 bytes: about 1 MiB, and several seconds of a farm
/// that comes back with `-v`.
const RECORDS_MAX: usize = 8192;

/// How long the end of the program waits for what is still in the queue.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How often it looks meanwhile.
const DRAIN_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// The queue, as those who fill it see it.
#[derive(Clone, Debug)]
pub(crate) struct LogQueue {
    sender: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Records that were queued and are not yet written.
    waiting: AtomicU64,
    /// Records that were dropped, and of which nothing was told yet.
    dropped: AtomicU64,
}

impl LogQueue {
    /// Starts the thread that writes to stderr.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(crate) fn start() -> io::Result<Self> {
        Self::start_with(RECORDS_MAX, io::stderr())
    }

    fn start_with(records_max: usize, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, records) = sync_channel(records_max);
        let counts = Arc::new(Counts::default());
        let queue = Self {
            sender,
            counts: Arc::clone(&counts),
        };
        // Nobody joins it: at the end of the program it may be blocked for good.
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&records, records_max, &counts, out))?;
        Ok(queue)
    }

    /// What env_logger writes its records to.
    pub(crate) fn writer(&self) -> LogWriter {
        LogWriter {
            queue: self.clone(),
            record: Vec::new(),
        }
    }

    /// Puts a line into the log that is no log record: why the program ends.
    pub(crate) fn tell(&self, text: impl Display) {
        self.push(format!("{text}\n").into_bytes());
    }

    /// Waits until all is written, but no longer than [`DRAIN_TIMEOUT`].
    #[expect(
        clippy::disallowed_methods,
        reason = "at the end of the program no shard runs on this thread"
    )]
    pub(crate) fn drain(&self) {
        let counts = &self.counts;
        for _ in 0..DRAIN_TIMEOUT.as_millis() / DRAIN_CHECK_INTERVAL.as_millis() {
            let waiting = counts.waiting.load(Ordering::Acquire);
            if waiting == 0 && counts.dropped.load(Ordering::Acquire) == 0 {
                return;
            }
            thread::sleep(DRAIN_CHECK_INTERVAL);
        }
    }

    /// Never blocks.
    fn push(&self, record: Vec<u8>) {
        // Counted first, so that the thread never takes away what is not yet there.
        self.counts.waiting.fetch_add(1, Ordering::AcqRel);
        if self.sender.try_send(record).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::AcqRel);
            self.counts.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Collects a record until it is flushed, and queues it then.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: LogQueue,
    record: Vec<u8>,
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.record.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.record.is_empty() {
            self.queue.push(std::mem::take(&mut self.record));
        }
        Ok(())
    }
}

/// The thread. A record that can't be written, since the disk is full or the reader is gone, is lost:
/// there is nobody left to be told.
fn write_all(
    records: &Receiver<Vec<u8>>,
    records_max: usize,
    counts: &Counts,
    mut out: impl Write,
) {
    let mut since_told = 0;
    loop {
        let record = match records.try_recv() {
            Ok(record) => record,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                // Here is the gap: what was queued before it is written.
                tell_dropped(counts, &mut out);
                since_told = 0;
                let Ok(record) = records.recv() else { return };
                record
            }
        };
        drop(out.write_all(&record));
        counts.waiting.fetch_sub(1, Ordering::AcqRel);
        // A queue that never gets empty has its gaps told too, and yet is not filled with such lines.
        since_told += 1;
        if since_told == records_max {
            tell_dropped(counts, &mut out);
            since_told = 0;
        }
    }
}

fn tell_dropped(counts: &Counts, out: &mut impl Write) {
    let dropped = counts.dropped.load(Ordering::Acquire);
    if dropped == 0 {
        return;
    }
    let line = format!("{dropped} log lines were dropped: the log is not read fast enough\n");
    drop(out.write_all(line.as_bytes()));
    counts.dropped.fetch_sub(dropped, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Takes a write whenever it gets a permit, and passes on what was written.
    struct SlowOut {
        permits: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for SlowOut {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.permits.recv().map_err(gone)?;
            let text = String::from_utf8_lossy(bytes).into_owned();
            drop(self.written.send(text));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow(records_max: usize) -> (LogQueue, Sender<()>, Receiver<String>) {
        let (permit, permits) = channel();
        let (written, lines) = channel();
        let queue = LogQueue::start_with(records_max, SlowOut { permits, written });
        (queue.unwrap(), permit, lines)
    }

    fn next(lines: &Receiver<String>) -> String {
        lines.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn a_record_is_queued_when_it_is_flushed() {
        let (queue, permit, lines) = slow(8);
        let mut writer = queue.writer();
        writer.flush().unwrap();
        writer.write_all(b"one ").unwrap();
        writer.write_all(b"record\n").unwrap();
        writer.flush().unwrap();
        permit.send(()).unwrap();
        assert_eq!(next(&lines), "one record\n");
        queue.drain();
        assert_eq!(queue.counts.waiting.load(Ordering::Acquire), 0);
    }

    #[test]
    fn what_does_not_fit_is_dropped_counted_and_told_in_its_place() {
        let (queue, permit, lines) = slow(4);
        for number in 0..100 {
            queue.tell(number);
        }
        for _ in 0..100 {
            permit.send(()).unwrap();
        }
        let (mut written, mut dropped, mut gaps) = (0, 0, 0);
        while written + dropped < 100 {
            let line = next(&lines);
            if let Ok(number) = line.trim_end().parse::<u32>() {
                assert!(number >= written, "in order");
                written += 1;
            } else {
                let (number, text) = line.split_once(' ').unwrap();
                assert!(text.starts_with("log lines were dropped"), "{line}");
                dropped += number.parse::<u32>().unwrap();
                gaps += 1;
            }
        }
        // Four in the queue, and perhaps one that the thread had taken out.
        assert_eq!((gaps, written + dropped), (1, 100));
        assert!((4..=5).contains(&written), "{written}");
        queue.tell("later");
        assert_eq!(next(&lines), "later\n");
    }

    #[test]
    fn a_queue_that_nobody_empties_is_not_waited_for() {
        let (queue, _permit, _lines) = slow(4);
        queue.tell("stays");
        queue.drain();
        assert_eq!(queue.counts.waiting.load(Ordering::Acquire), 1);
    }

    #[test]
    fn what_can_not_be_written_is_lost_and_the_rest_goes_on() {
        let (queue, permit, lines) = slow(4);
        drop((permit, lines));
        for number in 0..3 {
            queue.tell(number);
        }
        queue.drain();
        assert_eq!(queue.counts.waiting.load(Ordering::Acquire), 0);
    }
}
