//! A batch of changes: rows in columns and, where not all are inserts, what happened to each.

use arrow::array::{Array, RecordBatch, UInt8Array};
use arrow::compute::{concat, concat_batches, filter, filter_record_batch, take, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};

/// What a row of a changelog says. The numbers are kept in files and between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// `+I`: a new row.
    Insert = 0,
    /// `-U`: the row as it was before an update.
    UpdateBefore = 1,
    /// `+U`: the row as it is after an update.
    UpdateAfter = 2,
    /// `-D`: the row is gone.
    Delete = 3,
}

impl RowKind {
    /// The kind with this number.
    pub fn from_code(code: u8) -> Result<Self> {
        match code {
            0 => Ok(Self::Insert),
            1 => Ok(Self::UpdateBefore),
            2 => Ok(Self::UpdateAfter),
            3 => Ok(Self::Delete),
            _ => Err(Error::corrupt(format!("{code} is no row kind"))),
        }
    }

    /// `+I`, `-U`, `+U` or `-D`, as Flink prints it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }

    /// +1 where the row is added, -1 where it is taken back.
    pub fn weight(self) -> i64 {
        match self {
            Self::Insert | Self::UpdateAfter => 1,
            Self::UpdateBefore | Self::Delete => -1,
        }
    }
}

/// Rows in columns with their kinds. No kinds means: all are inserts.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    rows: RecordBatch,
    kinds: Option<UInt8Array>,
}

impl ChangeBatch {
    /// Rows that are all new.
    pub fn inserts(rows: RecordBatch) -> Self {
        Self { rows, kinds: None }
    }

    /// Rows with a kind each. Fails if the lengths differ, a kind is null or unknown.
    pub fn new(rows: RecordBatch, kinds: UInt8Array) -> Result<Self> {
        if kinds.len() != rows.num_rows() || kinds.null_count() > 0 || kinds.values().iter().any(|k| *k > 3) {
            return Err(Error::internal("a change batch needs one valid kind for each row"));
        }
        let kinds = kinds.values().iter().any(|k| *k != RowKind::Insert as u8).then_some(kinds);
        Ok(Self { rows, kinds })
    }

    /// The columns.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The kinds by number, or `None` if all rows are inserts.
    pub fn kinds(&self) -> Option<&UInt8Array> {
        self.kinds.as_ref()
    }

    /// What happened to row `row`.
    pub fn kind(&self, row: usize) -> RowKind {
        self.kinds.as_ref().map_or(RowKind::Insert, |kinds| match kinds.value(row) {
            1 => RowKind::UpdateBefore,
            2 => RowKind::UpdateAfter,
            3 => RowKind::Delete,
            _ => RowKind::Insert,
        })
    }

    /// How many rows.
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// The columns' schema.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Whether all rows are inserts.
    pub fn is_insert_only(&self) -> bool {
        self.kinds.is_none()
    }

    /// The same changes over other columns of equal length (a projection).
    pub fn with_rows(&self, rows: RecordBatch) -> Result<Self> {
        if rows.num_rows() != self.rows.num_rows() {
            return Err(Error::internal("a projection must keep the number of rows"));
        }
        Ok(Self { rows, kinds: self.kinds.clone() })
    }

    /// The rows where `keep` is true.
    pub fn filter(&self, keep: &arrow::array::BooleanArray) -> Result<Self> {
        let rows = filter_record_batch(&self.rows, keep)?;
        let kinds = self.kinds.as_ref().map(|kinds| filter(kinds, keep)).transpose()?;
        Ok(Self { rows, kinds: kinds.map(|k| downcast_kinds(&k)) })
    }

    /// The rows with these indices, in this order.
    pub fn take(&self, indices: &arrow::array::UInt32Array) -> Result<Self> {
        let rows = take_record_batch(&self.rows, indices)?;
        let kinds = self.kinds.as_ref().map(|kinds| take(kinds, indices, None)).transpose()?;
        Ok(Self { rows, kinds: kinds.map(|k| downcast_kinds(&k)) })
    }

    /// A stretch of the rows, without a copy.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Self { rows: self.rows.slice(offset, length), kinds: self.kinds.as_ref().map(|k| k.slice(offset, length)) }
    }

    /// Batches of one schema, one after the other.
    pub fn concat(schema: &SchemaRef, batches: &[ChangeBatch]) -> Result<Self> {
        let rows = concat_batches(schema, batches.iter().map(|b| &b.rows))?;
        if batches.iter().all(ChangeBatch::is_insert_only) {
            return Ok(Self::inserts(rows));
        }
        let kinds: Vec<UInt8Array> = batches
            .iter()
            .map(|b| b.kinds.clone().unwrap_or_else(|| UInt8Array::from(vec![RowKind::Insert as u8; b.num_rows()])))
            .collect();
        let kinds: Vec<&dyn Array> = kinds.iter().map(|k| k as &dyn Array).collect();
        Ok(Self { rows, kinds: Some(downcast_kinds(&concat(&kinds)?)) })
    }
}

fn downcast_kinds(array: &dyn Array) -> UInt8Array {
    array.as_any().downcast_ref::<UInt8Array>().expect("filter, take and concat keep the type").clone()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Int32Array};

    use super::*;

    fn numbers(values: &[i32]) -> RecordBatch {
        let column: arrow::array::ArrayRef = Arc::new(Int32Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("n", column)]).expect("one column")
    }

    #[test]
    fn kinds_that_are_all_inserts_are_not_kept() {
        let batch = ChangeBatch::new(numbers(&[1, 2]), UInt8Array::from(vec![0, 0])).expect("valid");
        assert!(batch.is_insert_only());
        assert_eq!(batch.kind(1), RowKind::Insert);
    }

    #[test]
    fn kinds_follow_their_rows_through_filter_and_concat() {
        let batch = ChangeBatch::new(numbers(&[1, 2, 3]), UInt8Array::from(vec![1, 2, 3])).expect("valid");
        let kept = batch.filter(&BooleanArray::from(vec![false, true, true])).expect("same length");
        assert_eq!((kept.kind(0), kept.kind(1)), (RowKind::UpdateAfter, RowKind::Delete));
        let both = ChangeBatch::concat(&batch.schema(), &[ChangeBatch::inserts(numbers(&[9])), kept]).expect("fits");
        let kinds: Vec<&str> = (0..3).map(|row| both.kind(row).text()).collect();
        assert_eq!(kinds, ["+I", "+U", "-D"]);
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        assert!(ChangeBatch::new(numbers(&[1]), UInt8Array::from(vec![4])).is_err());
        assert!(ChangeBatch::new(numbers(&[1]), UInt8Array::from(vec![0, 0])).is_err());
        assert!(RowKind::from_code(9).is_err());
    }
}
