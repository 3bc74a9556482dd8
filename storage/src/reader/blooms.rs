//! Which row groups may hold a message key, by the bloom filters that archive files keep of their keys.

use std::ops::Range;

use aquifer_formats::messages::column;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::bloom_filter::Sbbf;

use crate::archive::hostile::guarded;

/// A larger one is not read: a row group of 128 k distinct keys needs 160 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// Where the bloom filter of a row group's keys lies in its file of so many bytes; `None` if it has none, or one that cannot be right.
pub(super) fn place(metadata: &ArrowReaderMetadata, group: usize, file_bytes: u64) -> Option<Range<u64>> {
    let mut columns = metadata.metadata().row_groups().get(group)?.columns().iter();
    let keys = columns.find(|column| column.column_path().parts() == [column::KEY])?;
    let start = u64::try_from(keys.bloom_filter_offset()?).ok()?;
    let length = u64::try_from(keys.bloom_filter_length()?).ok()?;
    let end = start.checked_add(length)?;
    (length <= MAX_BYTES && end <= file_bytes).then_some(start..end)
}

/// Whether a row may have one of these keys. A filter that cannot be read says nothing.
pub(super) fn may_hold(filter: &[u8], keys: &[Vec<u8>]) -> bool {
    match guarded(|| Sbbf::from_bytes(filter)) {
        Ok(filter) => keys.iter().any(|key| filter.check(key.as_slice())),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_knows_its_keys_and_a_torn_one_knows_nothing() {
        let mut filter = Sbbf::new_with_ndv_fpp(100, 0.0001).expect("possible");
        filter.insert(b"here".as_slice());
        let mut bytes = Vec::new();
        filter.write(&mut bytes).expect("written");
        let keys = |keys: &[&str]| keys.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(may_hold(&bytes, &keys(&["here"])));
        assert!(may_hold(&bytes, &keys(&["absent", "here"])));
        assert!(!may_hold(&bytes, &keys(&["absent"])));
        assert!(!may_hold(&bytes, &keys(&[])), "no row can be wanted");
        for end in 0..bytes.len() {
            assert!(may_hold(&bytes[..end], &keys(&["absent"])), "{end} bytes");
        }
    }
}
