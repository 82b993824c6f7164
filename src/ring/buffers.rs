#![expect(
    unsafe_code,
    reason = "memory that the kernel writes to is mapped and lent by hand"
)]
//! The buffers that the kernel receives into, shared by all connections of a ring.
//!
//! An idle connection owns none: the kernel takes a buffer when bytes arrive, names it in the
//! completion, and it is ours until [`ReceiveBuffers::give_back`]. The list through which buffers
//! are given is itself memory shared with the kernel: a ring of entries and a tail that we advance.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// Whose bytes come into them; the kernel knows each group by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Group {
    Connections,
    Streams,
}

/// Bytes after the end of each buffer that the kernel never writes and a wide load may read.
const PADDING: usize = 64;

/// Anonymous memory on pages of its own, as the kernel wants for the ring of entries.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no
        // memory that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, made in `new` with this length, and no reference into it
        // outlives the value that owns it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The buffers and the list of those that the kernel may take.
///
/// Invariant: each buffer id is in the list, with the kernel, or held by us, and `held` counts the
/// last.
#[derive(Debug)]
pub(super) struct ReceiveBuffers {
    entries: Mapping,
    bytes: Mapping,
    count: u16,
    len: u32,
    stride: usize,
    tail: u16,
    held: u16,
}

impl ReceiveBuffers {
    /// Maps `count` buffers (a power of two) of `len` bytes and fills the list with them. The list
    /// is not registered yet.
    pub(super) fn new(count: u16, len: u32) -> io::Result<Self> {
        debug_assert!(count.is_power_of_two(), "the list is indexed with a mask");
        let stride = (len as usize + PADDING).next_multiple_of(64);
        let mut buffers = Self {
            entries: Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?,
            bytes: Mapping::new(usize::from(count) * stride)?,
            count,
            len,
            stride,
            tail: 0,
            held: count,
        };
        for id in 0..count {
            buffers.give_back(id);
        }
        Ok(buffers)
    }

    /// Where the list lies, for its registration.
    pub(super) fn list(&self) -> (u64, u16) {
        (self.entries.start.as_ptr() as u64, self.count)
    }

    /// The kernel has filled a buffer and we have taken its completion.
    pub(super) fn hold(&mut self) {
        debug_assert!(self.held < self.count, "more buffers came than were given");
        self.held += 1;
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> u16 {
        self.held
    }

    /// Buffers that are not held: with the kernel, some of them perhaps filled already.
    pub(super) fn free(&self) -> u16 {
        self.count - self.held
    }

    /// Whether enough buffers are with the kernel for receives that ran out of them to start again.
    pub(super) fn plenty(&self) -> bool {
        self.held <= self.count / 2
    }

    /// The first `len` bytes of a buffer that we hold.
    pub(super) fn bytes(&mut self, id: u16, len: usize) -> &mut [u8] {
        assert!(
            id < self.count && len <= self.len as usize,
            "the kernel names what we gave it"
        );
        // SAFETY: buffer `id` lies within the mapping by the line above, and we hold it: the kernel
        // writes to it again only after `give_back`, which needs this borrow to be over.
        unsafe {
            let start = self.bytes.start.as_ptr().add(usize::from(id) * self.stride);
            std::slice::from_raw_parts_mut(start, len)
        }
    }

    /// Gives a buffer that we hold to the kernel.
    pub(super) fn give_back(&mut self, id: u16) {
        assert!(
            id < self.count && self.held > 0,
            "only a held buffer is given back"
        );
        let place = usize::from(self.tail & (self.count - 1));
        let list: *mut BufRingEntry = self.entries.start.as_ptr().cast();
        self.tail = self.tail.wrapping_add(1);
        self.held -= 1;
        // SAFETY: `place` and `id` are below `count`, so entry and buffer lie within their mappings.
        // The list has as many entries as there are buffers, so this entry is one that the kernel
        // has consumed and does not read until the tail, stored last, has passed it.
        unsafe {
            let entry = &mut *list.add(place);
            let start = self.bytes.start.as_ptr().add(usize::from(id) * self.stride);
            entry.set_addr(start as u64);
            entry.set_len(self.len);
            entry.set_bid(id);
            let tail: *const AtomicU16 = BufRingEntry::tail(list).cast();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_buffer_is_ours_to_change_and_padded() {
        let mut buffers = ReceiveBuffers::new(2, 100).expect("memory");
        assert!(buffers.stride >= 100 + PADDING);
        buffers.hold();
        assert!(buffers.plenty());
        buffers.bytes(1, 100).fill(7);
        assert_eq!(buffers.bytes(1, 100), [7; 100]);
        buffers.hold();
        assert!(!buffers.plenty());
        buffers.give_back(1);
        buffers.give_back(0);
        assert_eq!(buffers.held(), 0);
    }
}
