//! The memory that a connection reads into: slabs, of which entries are slices. One whose entries are all gone is read into again.

use std::collections::VecDeque;

use bytes::BytesMut;

/// How large a slab is, unless a frame takes more.
pub(super) const SLAB_BYTES: usize = 128 * 1024;
/// So many slabs are kept until their entries are gone.
const KEPT: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Slabs {
    /// Read, the oldest first.
    read: VecDeque<BytesMut>,
    /// Whether the slab that is being read into was made larger, for a long frame. Such are not kept.
    is_large: bool,
}

impl Slabs {
    /// Gives a buffer another slab where little room is left in its own. What stands in it, the beginning of a frame, goes along, unless it is long: then
    /// the frame has been given the room that it takes.
    pub fn make_room(&mut self, buffer: &mut BytesMut) {
        self.is_large |= buffer.capacity() > SLAB_BYTES;
        if buffer.capacity() - buffer.len() >= SLAB_BYTES / 4 || buffer.len() > SLAB_BYTES / 4 {
            return;
        }
        let mut next = self.free().unwrap_or_else(|| BytesMut::with_capacity(SLAB_BYTES));
        next.extend_from_slice(buffer);
        let mut read = std::mem::replace(buffer, next);
        if !std::mem::take(&mut self.is_large) {
            read.clear();
            self.read.push_back(read);
            if self.read.len() > KEPT {
                self.read.pop_front();
            }
        }
    }

    /// A slab of which nobody holds a part any more.
    fn free(&mut self) -> Option<BytesMut> {
        let free = self.read.iter_mut().position(|slab| slab.try_reclaim(SLAB_BYTES))?;
        self.read.remove(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` of which all but the last `left` are taken; gives where they lie.
    fn read(slabs: &mut Slabs, buffer: &mut BytesMut, bytes: usize, left: usize) -> bytes::Bytes {
        buffer.extend_from_slice(&vec![7; bytes]);
        let taken = buffer.split_to(buffer.len() - left).freeze();
        slabs.make_room(buffer);
        taken
    }

    #[test]
    fn a_slab_is_read_into_again_once_its_entries_are_gone_and_not_before() {
        let (mut slabs, mut buffer) = (Slabs::default(), BytesMut::with_capacity(SLAB_BYTES));
        let most = SLAB_BYTES - 100;
        let first = read(&mut slabs, &mut buffer, most, 10);
        let at = first.as_ptr();
        assert_eq!(buffer[..], [7; 10], "the beginning of a frame goes along");
        let second = read(&mut slabs, &mut buffer, most - 10, 0);
        assert!(first.iter().chain(&second).all(|byte| *byte == 7) && buffer.is_empty());
        assert_ne!(buffer.as_ptr(), at, "the first is still held");
        drop(first);
        drop(read(&mut slabs, &mut buffer, most, 0));
        assert_eq!(buffer.as_ptr(), at);
        assert_eq!(buffer.capacity(), SLAB_BYTES);
    }

    #[test]
    fn what_was_made_for_a_long_frame_is_not_kept() {
        let (mut slabs, mut buffer) = (Slabs::default(), BytesMut::with_capacity(SLAB_BYTES));
        buffer.reserve(5 * SLAB_BYTES);
        slabs.make_room(&mut buffer);
        drop(read(&mut slabs, &mut buffer, 5 * SLAB_BYTES - 1, 0));
        assert!(slabs.read.is_empty() && buffer.capacity() == SLAB_BYTES);
        for _ in 0..2 * KEPT {
            let _held = read(&mut slabs, &mut buffer, SLAB_BYTES - 1, 0);
            assert!(slabs.read.len() <= KEPT);
        }
    }
}
