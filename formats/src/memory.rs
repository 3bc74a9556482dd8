//! Memory that serves one batch's column after the other: new memory for each costs a reader more than to put something there.

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;

/// Memory of more than this is not kept.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// What was lent last. It is taken again as soon as nobody else holds it; while somebody does, nothing is changed in it.
#[derive(Debug, Default)]
pub(crate) struct Memory(Option<Buffer>);

impl Memory {
    /// What was lent last, with what stands in it, if nobody else holds it any more; else an empty vector.
    pub fn take<T: ArrowNativeType>(&mut self) -> Vec<T> {
        self.0.take().and_then(|kept| kept.into_vec().ok()).unwrap_or_default()
    }

    /// The same, empty and with room for so many values.
    pub fn take_empty<T: ArrowNativeType>(&mut self, room: usize) -> Vec<T> {
        let mut values = self.take();
        values.clear();
        values.reserve(room);
        values
    }

    /// Lends values. Memory that is much more than they need is given back first, so that one large batch fills neither the reader's memory for good nor
    /// that of whoever holds a small batch.
    pub fn lend<T: ArrowNativeType>(&mut self, mut values: Vec<T>) -> Buffer {
        if values.capacity() / 4 > values.len() {
            values.shrink_to_fit();
        }
        let lent = Buffer::from_vec(values);
        self.0 = (lent.capacity() <= KEPT_BYTES).then(|| lent.clone());
        lent
    }

    /// Lets go of it.
    pub fn release(&mut self) {
        self.0 = None;
    }
}

/// The values of a column being filled, in memory that serves one batch after the other.
#[derive(Debug, Default)]
pub(crate) struct Reused<T> {
    pub values: Vec<T>,
    memory: Memory,
}

impl<T: ArrowNativeType> Reused<T> {
    /// Room for so many values, where none is there yet.
    pub fn reserve(&mut self, room: usize) {
        if self.values.is_empty() {
            self.values = self.memory.take_empty(room);
        }
    }

    /// The values; none are left.
    pub fn finish(&mut self) -> ScalarBuffer<T> {
        self.memory.lend(std::mem::take(&mut self.values)).into()
    }

    /// Lets go of the memory that is kept for the next batch.
    pub fn release(&mut self) {
        self.memory.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_taken_again_once_nobody_else_holds_it() {
        let mut memory = Memory::default();
        let lent = memory.lend(vec![1i64, 2, 3]);
        let at = lent.as_ptr();
        drop(lent);
        let again = memory.take_empty::<i64>(3);
        assert_eq!((again.as_ptr().cast::<u8>(), again.len()), (at, 0));

        let held = memory.lend(vec![4i64, 5]);
        assert!(memory.take::<i64>().is_empty());
        assert_eq!(held.typed_data::<i64>(), [4, 5]);
        assert!(memory.take::<i64>().is_empty(), "what is held elsewhere is given up");

        drop(memory.lend(vec![6i64]));
        assert!(memory.take::<i32>().is_empty(), "memory of another type");
        drop(memory.lend(vec![0u8; KEPT_BYTES + 1]));
        assert!(memory.take::<u8>().is_empty(), "too much to keep");
        let mut roomy = Vec::with_capacity(100);
        roomy.push(7u8);
        assert!(memory.lend(roomy).capacity() < 100, "memory for much more than was needed");
        drop(memory.lend(vec![7u8]));
        memory.release();
        assert!(memory.take::<u8>().is_empty());
    }
}
