//! One row by dense id, in columns: the newest row of each key, without an allocation a row.
//!
//! ```text
//!  put ─► chunks of rows, as they came     place of id: (chunk, row)
//!         ░█░░█ │ ███ │ █ │ █░      ░ replaced or removed
//!  tidy ─► chunks mostly dead are copied without the dead rows; eight small ones of about one size become one
//! ```
//!
//! Every row is copied a number of times that grows with the logarithm of the number of rows. A [`Place`] is good until the next [`RowStore::tidy`],
//! also when its id has another row by then.

use std::sync::Arc;

use aquifer_model::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, SchemaRef};

/// As many chunks of one size class become one.
const MERGED_CHUNKS: usize = 8;
/// Chunks of at least so many rows are not put together.
const LARGE_ROWS: usize = 65_536;

/// Where a row lies: its chunk and its row there.
pub(super) type Place = (u32, u32);

#[derive(Debug)]
struct Chunk {
    rows: RecordBatch,
    /// Whose row each was when it came.
    ids: Vec<u32>,
    live: usize,
}

/// The rows of one operator.
#[derive(Debug)]
pub(super) struct RowStore {
    schema: SchemaRef,
    chunks: Vec<Option<Chunk>>,
    free: Vec<u32>,
    /// By id.
    places: Vec<Option<Place>>,
}

impl RowStore {
    /// A store without rows.
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, chunks: vec![], free: vec![], places: vec![] }
    }

    /// Where the id's row lies, if it has one.
    pub(super) fn place(&self, id: u32) -> Option<Place> {
        self.places.get(id as usize).copied().flatten()
    }

    /// Gives ids their rows, `ids[n]` the `n`th; of an id that comes twice the last counts.
    pub(super) fn put(&mut self, rows: RecordBatch, ids: Vec<u32>) {
        let number = self.free.pop().unwrap_or(self.chunks.len() as u32);
        let chunk = Chunk { rows, live: 0, ids };
        for (row, id) in chunk.ids.iter().enumerate() {
            let id = *id as usize;
            if id >= self.places.len() {
                self.places.resize(id + 1, None);
            }
            if let Some((old, _)) = self.places[id].replace((number, row as u32))
                && old != number
                && let Some(Some(old)) = self.chunks.get_mut(old as usize)
            {
                old.live -= 1;
            }
        }
        let live = chunk.ids.iter().enumerate();
        let live = live.filter(|(row, id)| self.places[**id as usize] == Some((number, *row as u32))).count();
        let chunk = Some(Chunk { live, ..chunk });
        match self.chunks.get_mut(number as usize) {
            Some(place) => *place = chunk,
            None => self.chunks.push(chunk),
        }
    }

    /// Takes the id's row away.
    pub(super) fn remove(&mut self, id: u32) {
        if let Some((chunk, _)) = self.places.get_mut(id as usize).and_then(Option::take)
            && let Some(Some(chunk)) = self.chunks.get_mut(chunk as usize)
        {
            chunk.live -= 1;
        }
    }

    /// The rows at these places, in this order.
    pub(super) fn read(&self, places: &[Place]) -> Result<RecordBatch> {
        let mut used: Vec<u32> = places.iter().map(|(chunk, _)| *chunk).collect();
        used.sort_unstable();
        used.dedup();
        let gone = || Error::internal("a row of a chunk that is gone");
        let chunks: Option<Vec<&RecordBatch>> =
            used.iter().map(|chunk| Some(&self.chunks.get(*chunk as usize)?.as_ref()?.rows)).collect();
        let chunks = chunks.ok_or_else(gone)?;
        if chunks.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let indices: Option<Vec<(usize, usize)>> =
            places.iter().map(|(chunk, row)| Some((used.binary_search(chunk).ok()?, *row as usize))).collect();
        Ok(interleave_record_batch(&chunks, &indices.ok_or_else(gone)?)?)
    }

    /// Drops and puts together chunks; every [`Place`] given before is void.
    pub(super) fn tidy(&mut self) -> Result<()> {
        let mut classes: Vec<Vec<u32>> = vec![];
        for number in 0..self.chunks.len() {
            let Some(chunk) = &self.chunks[number] else { continue };
            let number = number as u32;
            if chunk.live == 0 {
                self.chunks[number as usize] = None;
                self.free.push(number);
                continue;
            }
            if chunk.live * 2 < chunk.ids.len() && chunk.ids.len() >= LARGE_ROWS {
                self.rewrite(&[number])?;
            } else if chunk.live < LARGE_ROWS {
                // By the chunk's own size, so that a chunk that holds few live rows meets others soon.
                let class = (chunk.live.ilog2() / MERGED_CHUNKS.ilog2()) as usize;
                classes.resize_with(classes.len().max(class + 1), Vec::new);
                classes[class].push(number);
            }
        }
        for class in classes.iter().flat_map(|class| class.chunks_exact(MERGED_CHUNKS)) {
            self.rewrite(class)?;
        }
        Ok(())
    }

    /// Copies what is live in these chunks into a new one.
    fn rewrite(&mut self, numbers: &[u32]) -> Result<()> {
        let (mut places, mut ids) = (vec![], vec![]);
        for number in numbers {
            let Some(chunk) = &self.chunks[*number as usize] else { continue };
            for (row, id) in chunk.ids.iter().enumerate() {
                let place = (*number, row as u32);
                if self.places[*id as usize] == Some(place) {
                    places.push(place);
                    ids.push(*id);
                }
            }
        }
        let rows = self.read(&places)?;
        let columns = rows.columns().iter().map(detached).collect::<Result<Vec<_>>>()?;
        let rows = RecordBatch::try_new(rows.schema(), columns)?;
        for number in numbers {
            self.chunks[*number as usize] = None;
            self.free.push(*number);
        }
        // The old chunks are gone: no row of theirs may be taken for one of the new chunk.
        ids.iter().for_each(|id| self.places[*id as usize] = None);
        self.put(rows, ids);
        Ok(())
    }
}

/// The column without the blocks of bytes that only other rows used.
fn detached(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        DataType::Struct(fields) => {
            let rows = column.as_struct();
            let columns = rows.columns().iter().map(detached).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, rows.nulls().cloned(), rows.len())?)
        }
        DataType::List(field) => {
            let lists = column.as_list::<i32>();
            let values = detached(lists.values())?;
            Arc::new(ListArray::try_new(Arc::clone(field), lists.offsets().clone(), values, lists.nulls().cloned())?)
        }
        DataType::Map(field, sorted) => {
            let maps = column.as_map();
            let entries: ArrayRef = Arc::new(maps.entries().clone());
            let entries = detached(&entries)?.as_struct().clone();
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted)?)
        }
        _ => Arc::clone(column),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{Field, Schema};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn each_id_has_the_row_it_was_given_last_and_dead_rows_go() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, false),
            Field::new("text", DataType::Utf8View, false),
        ]));
        let mut random = StdRng::seed_from_u64(7);
        let mut store = RowStore::new(Arc::clone(&schema));
        let mut oracle = BTreeMap::new();
        let mut count = 0;
        for round in 0..600 {
            let rows = if round % 50 == 0 { 500 } else { random.random_range(1..40) };
            let ids: Vec<u32> = (0..rows).map(|_| random.random_range(0..1000)).collect();
            let numbers: Vec<i64> = (0..rows as i64).map(|row| count + row).collect();
            count += rows as i64;
            let texts: Vec<String> = numbers.iter().map(|n| format!("a text longer than a view holds: {n}")).collect();
            ids.iter().zip(&numbers).for_each(|(id, number)| _ = oracle.insert(*id, *number));
            let columns: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from(numbers)), Arc::new(StringViewArray::from_iter_values(&texts))];
            store.put(RecordBatch::try_new(Arc::clone(&schema), columns).expect("fits"), ids);
            for _ in 0..random.random_range(0..10) {
                let id = random.random_range(0..1000);
                store.remove(id);
                oracle.remove(&id);
            }
            if random.random_bool(0.7) {
                store.tidy().expect("tidies");
            }
            let ids: Vec<u32> = (0..1000).filter(|id| store.place(*id).is_some()).collect();
            assert_eq!(ids, oracle.keys().copied().collect::<Vec<_>>());
            let places: Vec<Place> = ids.iter().filter_map(|id| store.place(*id)).collect();
            let read = store.read(&places).expect("reads");
            let found = read.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            assert_eq!(found.values().to_vec(), oracle.values().copied().collect::<Vec<_>>());
            let texts = read.column(1).as_string_view();
            assert!(texts.iter().flatten().zip(oracle.values()).all(|(text, n)| text.ends_with(&format!(": {n}"))));
        }
        let held: usize = store.chunks.iter().flatten().map(|chunk| chunk.ids.len()).sum();
        assert!(held < 10 * oracle.len(), "{held} rows are held for {}", oracle.len());
        assert!(store.chunks.iter().flatten().count() < 40, "chunks are put together");
    }
}
