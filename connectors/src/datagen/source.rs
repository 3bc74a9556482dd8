//! Rows made up column by column. The row's number and the seed decide a row, so reading again gives the same.
//!
//! The column of a time is the exception: it is the time when the row is made.

use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aquifer_model::{ChangeBatch, Error, Result};
use aquifer_processor::connector::{PartitionId, Polled, Reader, Replay, ResumeToken, Source, Start};
use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch,
    RecordBatchOptions, StringViewArray, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::config::{DatagenConfig, Kind, Length, Made};
use crate::numbered::Numbered;

#[derive(Debug)]
pub(super) struct DatagenSource {
    config: DatagenConfig,
}

impl DatagenSource {
    pub fn new(config: DatagenConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Source for DatagenSource {
    fn replay(&self) -> Replay {
        Replay::Same
    }

    fn is_bounded(&self) -> bool {
        self.config.rows.is_some()
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.config.schema)
    }

    async fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok(vec![PartitionId("0".to_string())])
    }

    async fn open(&self, _partition: &PartitionId, from: Start) -> Result<Box<dyn Reader>> {
        let rows = Numbered::open(from, "datagen")?;
        Ok(Box::new(DatagenReader { config: self.config.clone(), rows }))
    }
}

struct DatagenReader {
    config: DatagenConfig,
    rows: Numbered,
}

#[async_trait]
impl Reader for DatagenReader {
    async fn next(&mut self) -> Result<Polled> {
        let count = self.rows.due(self.config.rows, Some(self.config.rows_per_second)).await;
        if count == 0 {
            return Ok(Polled::End);
        }
        let batch = make(&self.config, self.rows.next, count)?;
        self.rows.next += count;
        Ok(Polled::Changes(ChangeBatch::inserts(batch)))
    }

    fn resume_at(&self) -> ResumeToken {
        self.rows.token()
    }

    async fn confirm(&mut self, _token: &ResumeToken) -> Result<()> {
        Ok(())
    }
}

/// Rows `first..first + count`.
fn make(config: &DatagenConfig, first: u64, count: u64) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (n, made) in config.columns.iter().enumerate() {
        columns.push(column(made, config.seed, n as u64, first..first + count)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(count as usize));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&config.schema), columns, &options)?)
}

/// Values `rows` of a column; `path` tells columns, and columns in columns, apart.
fn column(made: &Made, seed: u64, path: u64, rows: Range<u64>) -> Result<ArrayRef> {
    // Each value has a generator of its own, so that batches may be cut anywhere.
    let random = |row: u64| StdRng::seed_from_u64(mix(seed, path, row));
    let inner = |n: usize| mix(path, n as u64 + 1, u64::MAX);
    let length = |random: &mut StdRng, length: &Length| match length.varies && length.longest > 0 {
        true => random.random_range(1..=length.longest),
        false => length.longest,
    };
    let count = (rows.end - rows.start) as usize;
    let each = rows.clone();
    let array: ArrayRef = match &made.kind {
        Kind::Boolean => Arc::new(BooleanArray::from_iter(each.map(|row| Some(random(row).random::<bool>())))),
        Kind::Integer { min, max } => {
            Arc::new(Int64Array::from_iter_values(each.map(|row| random(row).random_range(*min..=*max))))
        }
        Kind::Float { min, max } => {
            Arc::new(Float64Array::from_iter_values(each.map(|row| random(row).random_range(*min..*max))))
        }
        Kind::Decimal { min, max } => {
            let values = each.map(|row| random(row).random_range(*min..=*max));
            Arc::new(Decimal128Array::from_iter_values(values).with_data_type(made.data_type.clone()))
        }
        Kind::Text(longest) => Arc::new(StringViewArray::from_iter_values(each.map(|row| {
            let mut random = random(row);
            let length = length(&mut random, longest);
            (0..length).map(|_| char::from(b"0123456789abcdef"[random.random_range(0..16)])).collect::<String>()
        }))),
        Kind::Binary(longest) => Arc::new(BinaryViewArray::from_iter_values(each.map(|row| {
            let mut random = random(row);
            let mut bytes = vec![0; length(&mut random, longest)];
            random.fill(bytes.as_mut_slice());
            bytes
        }))),
        Kind::Time { max_past } => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
            let times = each.map(|row| now.saturating_sub(random(row).random_range(0..=*max_past)));
            Arc::new(TimestampMillisecondArray::from_iter_values(times))
        }
        Kind::Sequence { start, .. } => {
            Arc::new(Int64Array::from_iter_values(each.map(|row| start.saturating_add_unsigned(row))))
        }
        Kind::Array { length, item } => {
            let DataType::List(field) = &made.data_type else {
                return Err(Error::internal("an array of another type"));
            };
            let items = column(item, seed, inner(0), rows.start * length..rows.end * length)?;
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(*length as usize, count));
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, items, None)?)
        }
        Kind::Row(parts) => {
            let DataType::Struct(fields) = &made.data_type else {
                return Err(Error::internal("a row of another type"));
            };
            let part = |(n, part): (usize, &Made)| column(part, seed, inner(n), rows.clone());
            let parts = parts.iter().enumerate().map(part).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), parts, None, count)?)
        }
    };
    let array = if array.data_type() == &made.data_type { array } else { cast(&array, &made.data_type)? };
    if made.null_rate == 0.0 {
        return Ok(array);
    }
    let is_null = |row: u64| StdRng::seed_from_u64(mix(!seed, path, row)).random::<f64>() < made.null_rate;
    Ok(nullif(&array, &BooleanArray::from_iter(rows.map(|row| Some(is_null(row)))))?)
}

/// One number of three, well spread (the finisher of SplitMix64).
fn mix(seed: u64, column: u64, row: u64) -> u64 {
    let mut z = seed ^ column.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ row.wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
