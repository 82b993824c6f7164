//! Jobs in whose line each miner's own slot stands: copied for each of them, and a few digits changed.

use crate::exchange::link::Link;
use crate::exchange::outbox::Owed;
use crate::wire::hex;

/// Where the slot stands in a job's line, and the line that was copied last.
#[derive(Debug)]
pub(crate) struct JobPatch {
    /// [`Dialect::slot_in_job`](crate::proto::dialect::Dialect::slot_in_job): asked for each miner of a
    /// fan-out.
    at: Option<usize>,
    line: Vec<u8>,
}

impl JobPatch {
    pub(crate) const fn new(at: Option<usize>) -> Self {
        let line = Vec::new();
        Self { at, line }
    }

    /// Whether miners have lines of their own for one job. Asked for each miner of a fan-out.
    pub(crate) const fn is_needed(&self) -> bool {
        self.at.is_some()
    }

    /// Copies the line of a job with a miner's slot in it, if it has one there: [`JobPatch::line`].
    pub(crate) fn patch(&mut self, line: &[u8], link: &Link, slot: u16) -> bool {
        let (Some(at), Some(space)) = (self.at, &link.space) else {
            return false;
        };
        let slot = space.borrow().slot_bytes(slot);
        self.line.clear();
        self.line.extend_from_slice(line);
        let digits = self.line.get_mut(at..at + 2 * slot.as_bytes().len());
        digits.is_some_and(|digits| hex::encode_into(slot.as_bytes(), digits).is_ok())
    }

    /// What was copied last.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }

    /// The line of a link's current job, clean, as the miner with this slot is to have it.
    pub(crate) fn job_of<'a>(&'a mut self, link: &'a Link, slot: u16) -> Option<&'a [u8]> {
        let job = link.lines.clean_job.as_deref();
        let job = job.filter(|_| link.unsaid == Owed::NOTHING)?;
        Some(if self.patch(job, link, slot) {
            &self.line
        } else {
            job
        })
    }
}
