//! Finds rows of a batch whose keys are the same bit for bit, so that each such key is encoded once.
//!
//! ```text
//!  key columns   a b a a c b  ─►  of  0 1 0 0 2 1,  first  0 1 4
//! ```
//!
//! Equal bits are an equal key; the same key in other bits (a long text that lies in two places) only costs another turn. Where more than half of the
//! first rows differ it is not worth the looking.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use hashbrown::HashTable;

use super::fold;

/// Fewer rows are encoded one by one.
const LEAST_ROWS: usize = 128;
/// After so many rows it is decided whether to go on.
const SAMPLE_ROWS: usize = 512;
/// More columns are encoded one by one.
const MOST_COLUMNS: usize = 6;

/// Rows by their key.
#[derive(Debug)]
pub(super) struct Distinct {
    /// For each row the place of its key in `first`.
    pub of: Vec<u32>,
    /// For each key the first row that has it.
    pub first: Vec<u32>,
}

/// The values of a column as bits.
enum Bits<'a> {
    One(&'a [u8]),
    Two(&'a [u8]),
    Four(&'a [u8]),
    Eight(&'a [u8]),
    Sixteen(&'a [u8]),
    Views(&'a [u128]),
}

/// The `N` bytes at `row`.
fn number<const N: usize>(bytes: &[u8], row: usize) -> [u8; N] {
    let mut number = [0; N];
    number.copy_from_slice(&bytes[row * N..(row + 1) * N]);
    number
}

impl Bits<'_> {
    fn at(&self, row: usize) -> u128 {
        match self {
            Bits::One(bytes) => bytes[row].into(),
            Bits::Two(bytes) => u16::from_le_bytes(number(bytes, row)).into(),
            Bits::Four(bytes) => u32::from_le_bytes(number(bytes, row)).into(),
            Bits::Eight(bytes) => u64::from_le_bytes(number(bytes, row)).into(),
            Bits::Sixteen(bytes) => u128::from_le_bytes(number(bytes, row)),
            Bits::Views(views) => views[row],
        }
    }
}

/// Rows by key; `None` where a column's values are no bits of fixed width, or where looking is not worth it.
pub(super) fn distinct(columns: &[ArrayRef], rows: usize) -> Option<Distinct> {
    if rows < LEAST_ROWS || columns.is_empty() || columns.len() > MOST_COLUMNS {
        return None;
    }
    let mut found: Option<Distinct> = None;
    for column in columns {
        let data = column.to_data();
        let bits = match column.data_type() {
            DataType::Utf8View => Bits::Views(column.as_string_view().views()),
            DataType::BinaryView => Bits::Views(column.as_binary_view().views()),
            DataType::Boolean | DataType::Null => return None,
            other => {
                let width = other.primitive_width()?;
                let bytes = data.buffers().first()?.as_slice();
                let bytes = bytes.get(data.offset() * width..(data.offset() + rows) * width)?;
                match width {
                    1 => Bits::One(bytes),
                    2 => Bits::Two(bytes),
                    4 => Bits::Four(bytes),
                    8 => Bits::Eight(bytes),
                    16 => Bits::Sixteen(bytes),
                    _ => return None,
                }
            }
        };
        found = Some(refine(found.as_ref(), &bits, column.nulls(), rows)?);
    }
    found
}

/// Splits the keys of the columns before by one more column.
fn refine(before: Option<&Distinct>, bits: &Bits<'_>, nulls: Option<&NullBuffer>, rows: usize) -> Option<Distinct> {
    let mut table: HashTable<u32> = HashTable::with_capacity(64);
    // (the key before and whether it is NULL here, the bits)
    let mut keys: Vec<(u64, u128)> = Vec::with_capacity(64);
    let mut found = Distinct { of: Vec::with_capacity(rows), first: Vec::with_capacity(64) };
    let mut last: Option<((u64, u128), u32)> = None;
    for row in 0..rows {
        let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
        let earlier = before.map_or(0, |before| u64::from(before.of[row])) << 1 | u64::from(is_null);
        let key = (earlier, if is_null { 0 } else { bits.at(row) });
        let place = match last {
            Some((same, place)) if same == key => place,
            _ => {
                let hash = hash(key);
                let place = match table.find(hash, |place| keys[*place as usize] == key) {
                    Some(place) => *place,
                    None => {
                        if row <= SAMPLE_ROWS && keys.len() > SAMPLE_ROWS / 2 {
                            return None;
                        }
                        let place = keys.len() as u32;
                        keys.push(key);
                        found.first.push(row as u32);
                        table.insert_unique(hash, place, |other| self::hash(keys[*other as usize]));
                        place
                    }
                };
                last = Some((key, place));
                place
            }
        };
        found.of.push(place);
    }
    // So many different ones behind a sample that had few: the detour is paid, the gain is gone.
    (found.first.len() * 2 <= rows).then_some(found)
}

fn hash((earlier, bits): (u64, u128)) -> u64 {
    let mixed = fold((bits as u64) ^ 0x9E37_79B9_7F4A_7C15, ((bits >> 64) as u64) ^ 0xD6E8_FEB8_6659_FD93);
    fold(mixed ^ earlier, 0xA076_1D64_78BD_642F)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::array::{Int16Array, Int64Array, StringViewArray};
    use arrow::util::display::array_value_to_string;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn rows_with_one_key_are_told_and_rows_with_another_are_not() {
        let mut random = StdRng::seed_from_u64(11);
        let mut looked = 0;
        for turn in 0..200 {
            let rows = random.random_range(100..700);
            let many = random.random_range(1..60);
            let texts: StringViewArray = (0..rows)
                .map(|_| {
                    let n = random.random_range(0..many);
                    (n > 0)
                        .then(|| if n % 3 == 0 { format!("a text that is long, number {n}") } else { format!("t{n}") })
                })
                .collect();
            let longs: Int64Array =
                (0..rows).map(|_| random.random_bool(0.9).then(|| random.random_range(-3..3))).collect();
            let shorts: Int16Array = (0..rows).map(|_| Some(random.random_range(0..2))).collect();
            let mut columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(longs), Arc::new(shorts)];
            columns.rotate_left(turn % 3);
            columns.truncate(1 + turn % 2);
            // Not from the start of their buffers.
            let from = random.random_range(0..20);
            let columns: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, rows - from)).collect();
            let Some(found) = distinct(&columns, rows - from) else { continue };
            looked += 1;
            let key = |row: usize| -> Vec<Option<String>> {
                let text = |column: &ArrayRef| array_value_to_string(column, row).expect("prints");
                columns.iter().map(|column| column.is_valid(row).then(|| text(column))).collect()
            };
            let mut places: HashMap<u32, Vec<Option<String>>> = HashMap::new();
            for row in 0..rows - from {
                let place = found.of[row];
                assert_eq!(key(row), *places.entry(place).or_insert_with(|| key(row)), "row {row}");
                assert_eq!(key(found.first[place as usize] as usize), key(row));
            }
            assert_eq!(places.len(), found.first.len());
        }
        assert!(looked > 100, "{looked}");
    }

    #[test]
    fn it_gives_up_where_all_rows_differ() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5000));
        assert!(distinct(&[numbers], 5000).is_none());
        let late: ArrayRef = Arc::new(Int64Array::from_iter_values((0..5000).map(|n| if n < 600 { 1 } else { n })));
        assert!(distinct(&[late], 5000).is_none());
        let few: ArrayRef = Arc::new(Int64Array::from_iter_values((0..50).map(|_| 1)));
        assert!(distinct(&[few], 50).is_none());
    }
}
