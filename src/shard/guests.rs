//! Tasks of a shard's executor that are at work beside its ring: links that are connected, names that are
//! resolved, hashes that are checked.

use std::cell::Cell;
use std::rc::Rc;

use crate::ring::Notifier;

/// The tasks at work. Each clone counts the same ones.
#[derive(Clone)]
pub(crate) struct Guests {
    count: Rc<Cell<usize>>,
    notifier: Notifier,
}

impl Guests {
    /// Nobody yet. Whoever ends wakes the shard with the notifier.
    pub(crate) fn new(notifier: Notifier) -> Self {
        Self {
            count: Rc::default(),
            notifier,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.get() == 0
    }

    /// Ends the shard's wait, or the next one.
    pub(crate) fn wake_shard(&self) {
        self.notifier.notify();
    }

    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let (count, notifier) = (Rc::clone(&self.count), self.notifier.clone());
        count.set(count.get() + 1);
        glommio::spawn_local(async move {
            task.await;
            count.set(count.get() - 1);
            notifier.notify();
        })
        .detach();
    }
}
