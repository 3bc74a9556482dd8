//! Keys of groups: from columns to dense ids and back.
//!
//! ```text
//!  key columns ─► KeyCodec::encode ─► bytes and a 64-bit hash a row ─► KeyTable::intern ─► dense ids
//!              ◄─ KeyCodec::decode ◄─ bytes of ids ◄───────────────────
//! ```
//!
//! A key's bytes are Arrow's row encoding. Where every column has a fixed width and all of them fit into 16 bytes, the bytes are one `u128` and nothing
//! lies in an arena. The hash decides the shard, so it is fixed: a change of [`hash_bytes`] is a new codec version of every table. NULL is a key of its
//! own; `-0.0` and `0.0` are two.

mod distinct;

use std::sync::Arc;

use aquifer_model::{Error, Result};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashTable;

/// The name of the hidden column that carries the key's hash across the exchange.
pub const HASH_COLUMN: &str = "__hash";
const PACKED_BYTES: usize = 16;

/// Encodes and decodes the keys of one operator.
#[derive(Debug)]
pub struct KeyCodec {
    fields: Fields,
    converter: RowConverter,
    /// The width of every encoded key, where it is packed.
    packed: Option<usize>,
}

/// The encoded keys of one batch.
#[derive(Debug)]
pub struct EncodedKeys {
    bytes: KeyBytes,
    /// Of each row.
    hashes: Vec<u64>,
    /// For each row the place of its key in `bytes`, where keys that come again were encoded once.
    of: Option<Vec<u32>>,
}

#[derive(Debug)]
enum KeyBytes {
    Packed(Vec<u128>),
    Rows(Rows),
}

/// One encoded key.
#[derive(Debug, Clone, Copy)]
enum KeyRef<'a> {
    Packed(u128),
    Bytes(&'a [u8]),
}

/// The bytes of Arrow's row encoding for a type, where all values take the same.
fn encoded_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(2),
        DataType::Null => None,
        other => other.primitive_width().map(|width| width + 1),
    }
}

impl KeyCodec {
    /// A codec for keys of these columns; none is the one key of a global aggregate. Fails for a type that has no row encoding.
    pub fn new(fields: Fields) -> Result<Self> {
        let sort_fields: Vec<SortField> =
            fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        if !RowConverter::supports_fields(&sort_fields) {
            let names: Vec<String> = fields.iter().map(|f| format!("`{}` {}", f.name(), f.data_type())).collect();
            return Err(Error::unsupported(format!("grouping by columns of these types: {}", names.join(", "))));
        }
        let width: Option<usize> = fields.iter().map(|field| encoded_width(field.data_type())).sum();
        let packed = width.filter(|width| *width <= PACKED_BYTES);
        Ok(Self { fields, converter: RowConverter::new(sort_fields)?, packed })
    }

    /// The key's columns.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Encodes the keys of `rows` rows; `hashes` where they were computed before.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize, hashes: Option<&UInt64Array>) -> Result<EncodedKeys> {
        let Some(distinct) = distinct::distinct(columns, rows) else {
            let bytes = self.encode_all(columns, rows)?;
            let hashes = hashes.map_or_else(|| bytes.hashes(), |known| known.values().to_vec());
            return Ok(EncodedKeys { bytes, hashes, of: None });
        };
        let first = UInt32Array::from(distinct.first);
        let columns: Vec<ArrayRef> =
            columns.iter().map(|column| take(column, &first, None)).collect::<Result<_, _>>()?;
        let bytes = self.encode_all(&columns, first.len())?;
        let hashes = match hashes {
            Some(known) => known.values().to_vec(),
            None => {
                let each = bytes.hashes();
                distinct.of.iter().map(|place| each[*place as usize]).collect()
            }
        };
        Ok(EncodedKeys { bytes, hashes, of: Some(distinct.of) })
    }

    fn encode_all(&self, columns: &[ArrayRef], rows: usize) -> Result<KeyBytes> {
        if columns.is_empty() {
            return Ok(KeyBytes::Packed(vec![0; rows]));
        }
        let encoded = self.converter.convert_columns(columns)?;
        Ok(match self.packed {
            Some(_) => KeyBytes::Packed(encoded.iter().map(|row| pack(row.data())).collect()),
            None => KeyBytes::Rows(encoded),
        })
    }

    /// The key columns of these ids, in this order.
    pub fn decode(&self, table: &KeyTable, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        if self.fields.is_empty() {
            return Ok(vec![]);
        }
        let parser = self.converter.parser();
        match self.packed {
            Some(width) => {
                let mut bytes = Vec::with_capacity(ids.len() * PACKED_BYTES);
                ids.iter().for_each(|id| bytes.extend_from_slice(&table.packed[*id as usize].to_be_bytes()));
                let rows = bytes.chunks_exact(PACKED_BYTES).map(|chunk| parser.parse(&chunk[..width]));
                Ok(self.converter.convert_rows(rows)?)
            }
            None => Ok(self.converter.convert_rows(ids.iter().map(|id| parser.parse(table.bytes(*id))))?),
        }
    }

    /// An empty table for this codec's keys.
    pub fn table(&self) -> KeyTable {
        KeyTable { arena_keys: self.packed.is_none() && !self.fields.is_empty(), ..KeyTable::default() }
    }
}

impl KeyBytes {
    fn hashes(&self) -> Vec<u64> {
        match self {
            KeyBytes::Packed(keys) => keys.iter().map(|key| hash_packed(*key)).collect(),
            KeyBytes::Rows(rows) => rows.iter().map(|row| hash_bytes(row.data())).collect(),
        }
    }

    fn len(&self) -> usize {
        match self {
            KeyBytes::Packed(keys) => keys.len(),
            KeyBytes::Rows(rows) => rows.num_rows(),
        }
    }
}

impl EncodedKeys {
    /// For each row which of the keys that come again it has, and how many of those there are; `None` where that is not known.
    pub(super) fn repeated(&self) -> Option<(&[u32], usize)> {
        self.of.as_deref().map(|of| (of, self.bytes.len()))
    }

    /// Each row's hash.
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    fn key(&self, row: usize) -> KeyRef<'_> {
        let row = self.of.as_ref().map_or(row, |of| of[row] as usize);
        match &self.bytes {
            KeyBytes::Packed(keys) => KeyRef::Packed(keys[row]),
            KeyBytes::Rows(rows) => KeyRef::Bytes(rows.row(row).data()),
        }
    }
}

/// Adds the hidden column [`HASH_COLUMN`]: the hash of the key columns.
pub fn with_hashes(rows: &RecordBatch, hashes: &[u64]) -> Result<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(HASH_COLUMN, DataType::UInt64, false)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(UInt64Array::from(hashes.to_vec())));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Keys with dense ids. An id that was removed is given out again.
#[derive(Debug, Default)]
pub struct KeyTable {
    index: HashTable<u32>,
    hashes: Vec<u64>,
    packed: Vec<u128>,
    arena_keys: bool,
    /// (offset, length) in the arena, by id.
    spans: Vec<(usize, u32)>,
    arena: Vec<u8>,
    /// Bytes in the arena that no key uses any more.
    dead_bytes: usize,
    free: Vec<u32>,
}

impl KeyTable {
    /// The id of a row's key, and whether it is new.
    pub fn intern(&mut self, keys: &EncodedKeys, row: usize) -> (u32, bool) {
        let (hash, key) = (keys.hashes[row], keys.key(row));
        if let Some(id) = self.find(hash, key) {
            return (id, false);
        }
        let id = self.free.pop().unwrap_or(self.hashes.len() as u32);
        let place = id as usize;
        if place == self.hashes.len() {
            self.hashes.push(hash);
            if self.arena_keys {
                self.spans.push((0, 0));
            } else {
                self.packed.push(0);
            }
        }
        self.hashes[place] = hash;
        match key {
            KeyRef::Packed(packed) => self.packed[place] = packed,
            KeyRef::Bytes(bytes) => {
                self.spans[place] = (self.arena.len(), bytes.len() as u32);
                self.arena.extend_from_slice(bytes);
            }
        }
        let hashes = &self.hashes;
        self.index.insert_unique(hash, id, |other| hashes[*other as usize]);
        (id, true)
    }

    fn find(&self, hash: u64, key: KeyRef<'_>) -> Option<u32> {
        self.index
            .find(hash, |id| match key {
                KeyRef::Packed(packed) => self.packed[*id as usize] == packed,
                KeyRef::Bytes(bytes) => self.bytes(*id) == bytes,
            })
            .copied()
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let (offset, length) = self.spans[id as usize];
        &self.arena[offset..offset + length as usize]
    }

    /// Forgets a key; its id may come back for another.
    pub fn remove(&mut self, id: u32) {
        if let Ok(entry) = self.index.find_entry(self.hashes[id as usize], |other| *other == id) {
            entry.remove();
            self.free.push(id);
            if self.arena_keys {
                self.dead_bytes += self.spans[id as usize].1 as usize;
                self.spans[id as usize] = (0, 0);
                if self.dead_bytes > 4096 && self.dead_bytes * 2 > self.arena.len() {
                    self.compact();
                }
            }
        }
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.dead_bytes);
        for (offset, length) in &mut self.spans {
            let start = arena.len();
            arena.extend_from_slice(&self.arena[*offset..*offset + *length as usize]);
            *offset = start;
        }
        self.arena = arena;
        self.dead_bytes = 0;
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// One more than the highest id ever given.
    pub fn capacity(&self) -> usize {
        self.hashes.len()
    }

    /// The hash of an id's key.
    pub fn hash(&self, id: u32) -> u64 {
        self.hashes[id as usize]
    }

    /// The ids in use, ascending.
    pub fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.index.iter().copied().collect();
        ids.sort_unstable();
        ids
    }
}

fn pack(bytes: &[u8]) -> u128 {
    let mut packed = [0; PACKED_BYTES];
    packed[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(packed)
}

const MULTIPLIERS: [u64; 3] = [0x9E37_79B9_7F4A_7C15, 0xD6E8_FEB8_6659_FD93, 0xA076_1D64_78BD_642F];

/// Both halves of a full product, folded.
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

fn hash_packed(key: u128) -> u64 {
    let mixed = fold((key as u64) ^ MULTIPLIERS[0], ((key >> 64) as u64) ^ MULTIPLIERS[1]);
    fold(mixed ^ MULTIPLIERS[2], MULTIPLIERS[0])
}

/// The fixed hash of a key's bytes.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut state = MULTIPLIERS[2] ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = fold(state ^ u64::from_le_bytes(word), MULTIPLIERS[0]).rotate_left(23) ^ MULTIPLIERS[1];
    }
    fold(state, MULTIPLIERS[1])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int64Type;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    const PINNED: (u64, u64) = (3_639_343_151_601_447_788, 1_616_711_568_838_248_529);

    fn codec(types: &[DataType]) -> KeyCodec {
        let fields: Fields =
            types.iter().enumerate().map(|(i, t)| Field::new(format!("k{i}"), t.clone(), true)).collect();
        KeyCodec::new(fields).expect("plain types")
    }

    #[test]
    fn random_keys_come_and_go_as_in_a_map() {
        for text in [false, true] {
            let codec = codec(&if text { vec![DataType::Utf8View, DataType::Int64] } else { vec![DataType::Int64] });
            assert_eq!(codec.packed.is_some(), !text);
            let mut random = StdRng::seed_from_u64(7);
            let (mut table, mut model) = (codec.table(), BTreeMap::<Option<i64>, u32>::new());
            for _ in 0..200 {
                let numbers: Vec<Option<i64>> =
                    (0..50).map(|_| random.random_bool(0.95).then(|| random.random_range(0..300))).collect();
                let number: ArrayRef = Arc::new(Int64Array::from(numbers.clone()));
                let texts: ArrayRef = Arc::new(
                    numbers
                        .iter()
                        .map(|n| n.map(|n| format!("a rather long key, number {n}")))
                        .collect::<StringViewArray>(),
                );
                let columns = if text { vec![texts, number] } else { vec![number] };
                let keys = codec.encode(&columns, 50, None).expect("encodes");
                for (row, number) in numbers.iter().enumerate() {
                    let (id, new) = table.intern(&keys, row);
                    assert_eq!(new, !model.contains_key(number));
                    assert_eq!(*model.entry(*number).or_insert(id), id);
                }
                for _ in 0..30 {
                    let number = Some(random.random_range(0..300));
                    if let Some(id) = model.remove(&number) {
                        table.remove(id);
                    }
                }
                assert_eq!(table.len(), model.len());
                let (values, ids): (Vec<Option<i64>>, Vec<u32>) = model.iter().map(|(k, v)| (*k, *v)).unzip();
                let decoded = codec.decode(&table, &ids).expect("decodes");
                let decoded: Vec<Option<i64>> = decoded[decoded.len() - 1].as_primitive::<Int64Type>().iter().collect();
                assert_eq!(decoded, values);
            }
            assert!(table.capacity() <= 302, "ids are given out again");
        }
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(
            (hash_packed(1), hash_bytes(b"aquifer")),
            (PINNED.0, PINNED.1),
            "shards of old snapshots hang on it"
        );
        let shards: std::collections::BTreeSet<u32> =
            (0..1000u128).map(|n| crate::dataflow::operator::shard(hash_packed(n << 56))).collect();
        assert!(shards.len() > 120, "keys spread over the shards: {}", shards.len());
        let workers = (0..1000u64).filter(|n| hash_bytes(&n.to_be_bytes()) >> 32 & 1 == 0).count();
        assert!((400..600).contains(&workers), "{workers}");
    }
}
