//! What all messages of an entry share, as a column: mostly one value for many batches.

use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, GenericByteViewArray, NullBufferBuilder, make_view};
use arrow::buffer::Buffer;
use arrow::datatypes::ByteViewType;

use super::INLINE_BYTES;

type Value = Option<Vec<u8>>;

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Each value with the number of messages, in order; neighbours differ.
    runs: Vec<(Value, usize)>,
    /// A column of one value only, of which a part serves every batch that has no other.
    last: Option<(Value, ArrayRef)>,
}

impl Shared {
    /// Adds a value of so many messages.
    pub fn push(&mut self, value: Option<&[u8]>, messages: usize) {
        match self.runs.last_mut() {
            Some((last, count)) if last.as_deref() == value => *count += messages,
            _ => self.runs.push((value.map(<[u8]>::to_vec), messages)),
        }
    }

    /// The column, of `rows` rows; nothing is left.
    pub fn finish<T: ByteViewType>(&mut self, rows: usize) -> ArrayRef {
        let runs = std::mem::take(&mut self.runs);
        let [(value, _)] = runs.as_slice() else { return Arc::new(repeated::<T>(&runs, rows)) };
        let last = self.last.as_ref().filter(|(last, column)| last == value && column.len() >= rows);
        if let Some((_, column)) = last {
            return column.slice(0, rows);
        }
        let rows_made = rows.next_power_of_two();
        let column: ArrayRef = Arc::new(repeated::<T>(&[(value.clone(), rows_made)], rows_made));
        let part = column.slice(0, rows);
        self.last = Some((value.clone(), column));
        part
    }

    /// Lets go of the column that is kept.
    pub fn release(&mut self) {
        self.last = None;
    }
}

/// A column of these values, each so often.
fn repeated<T: ByteViewType>(runs: &[(Value, usize)], rows: usize) -> GenericByteViewArray<T> {
    let (mut views, mut blocks) = (Vec::with_capacity(rows), Vec::new());
    let mut valid = NullBufferBuilder::new(rows);
    for (value, count) in runs {
        match value {
            None => {
                views.extend(repeat_n(0, *count));
                valid.append_n_nulls(*count);
            }
            Some(bytes) => {
                views.extend(repeat_n(make_view(bytes, blocks.len() as u32, 0), *count));
                valid.append_n_non_nulls(*count);
                if bytes.len() > INLINE_BYTES {
                    blocks.push(Buffer::from(bytes.as_slice()));
                }
            }
        }
    }
    GenericByteViewArray::try_new(views.into(), blocks, valid.finish())
        .expect("each view lies in itself or is all of its block, and a text of an entry's metadata is UTF-8")
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::BinaryViewType;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn batches_have_the_values_that_were_pushed_whatever_was_kept_of_the_last_one() {
        let mut random = StdRng::seed_from_u64(9);
        let values: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"short"), Some(b"longer than a view can hold")];
        let mut shared = Shared::default();
        for _ in 0..300 {
            let mut expected = Vec::new();
            let changes = random.random_range(0..3);
            for _ in 0..=changes {
                let (value, count) = (values[random.random_range(0..4)], random.random_range(1..50));
                shared.push(value, count);
                expected.extend(repeat_n(value, count));
            }
            let column = shared.finish::<BinaryViewType>(expected.len());
            assert_eq!(column.as_binary_view().iter().collect::<Vec<_>>(), expected);
            if random.random_bool(0.1) {
                shared.release();
            }
        }
        shared.push(Some(b"v"), 30_000);
        assert_eq!(shared.finish::<BinaryViewType>(30_000).len(), 30_000);
        assert_eq!(shared.finish::<BinaryViewType>(0).len(), 0);
    }
}
