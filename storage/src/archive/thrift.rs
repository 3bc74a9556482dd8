//! Walks a compact Thrift structure before a library parses it: every length fits what is left, every list really has its elements.
//!
//! The Parquet library makes room for as many elements as a list says it has, before it reads the first one: a footer of a few bytes can ask for
//! hundreds of gigabytes. What this walk has passed has at most [`MAX_ELEMENTS`] elements, and as many as it says.

/// The most elements that all lists, sets and maps of a structure may have together.
pub const MAX_ELEMENTS: u64 = 1 << 20;
/// How deep structures may be nested.
const MAX_DEPTH: usize = 32;
/// How deep structures may be nested in a page's head behind its own.
const MAX_PAGE_DEPTH: usize = 8;

/// Walks the structure that `bytes` begin with; says what is wrong with it.
pub fn check_struct(bytes: &[u8]) -> Result<(), String> {
    let mut walk = Walk { bytes, elements: 0 };
    walk.structure(0)
}

/// What the head of a Parquet page says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHead {
    /// How long the head is, in bytes.
    pub length: usize,
    /// How long the page is behind it.
    pub stored: i64,
    /// How long it is when it is inflated.
    pub inflated: i64,
}

/// The structures in the head of a page; a number is that of the field that holds it.
const HEAD: i64 = 0;
const DATA: i64 = 5;
const DICTIONARY: i64 = 7;
const DATA_V2: i64 = 8;

const BOOLEAN: u8 = 1;
const NUMBER: u8 = 5;
const STRUCTURE: u8 = 12;

/// Which kind a field of the head has, or of a structure in it. The library reads these by their numbers and does not ask for the kind: what has another one, it would
/// read otherwise than this walk does.
fn kind_of(structure: i64, field: i64) -> Option<u8> {
    match (structure, field) {
        (HEAD, 1..=4) | (DATA, 1..=4) | (DICTIONARY, 1..=2) | (DATA_V2, 1..=6) => Some(NUMBER),
        (HEAD, 5..=8) | (DATA, 5) | (DATA_V2, 8) => Some(STRUCTURE),
        (DICTIONARY, 3) | (DATA_V2, 7) => Some(BOOLEAN),
        _ => None,
    }
}

/// Reads the head of a page that `bytes` begin with; says what is wrong with it. Stricter than the library: a head that the two could read in different ways is wrong.
pub fn page_head(bytes: &[u8]) -> Result<PageHead, String> {
    let mut walk = Walk { bytes, elements: 0 };
    match walk.head(HEAD)? {
        (Some(inflated), Some(stored)) => Ok(PageHead { length: bytes.len() - walk.bytes.len(), stored, inflated }),
        _ => Err("a page does not say how long it is".to_string()),
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    elements: u64,
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.bytes.split_first().ok_or("it ends in the middle")?;
        self.bytes = rest;
        Ok(*first)
    }

    fn skip(&mut self, length: u64) -> Result<(), String> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.bytes = self.bytes.get(length..).ok_or("a length in it goes beyond its end")?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number in it has too many bytes".to_string())
    }

    /// A number with its sign in its last bit.
    fn signed(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Walks a page's head, or a structure in it; gives its fields 2 and 3, which are numbers.
    fn head(&mut self, structure: i64) -> Result<(Option<i64>, Option<i64>), String> {
        let (mut field, mut second, mut third) = (0i64, None, None);
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == 0 {
                return Ok((second, third));
            }
            field = match head >> 4 {
                0 => self.signed()?,
                delta => field + i64::from(delta),
            };
            if i16::try_from(field).is_err() {
                return Err(format!("it has a field {field}"));
            }
            match (kind_of(structure, field), kind) {
                (Some(NUMBER), NUMBER) => {
                    let number = self.signed()?;
                    let slot = match field {
                        2 => &mut second,
                        3 => &mut third,
                        _ => continue,
                    };
                    if i32::try_from(number).is_err() || slot.replace(number).is_some() {
                        return Err(format!("its field {field} is {number}, or is there twice"));
                    }
                }
                (Some(STRUCTURE), STRUCTURE) if structure == HEAD => self.head(field).map(drop)?,
                // A boolean lies in its field's head, the one or the other kind.
                (Some(BOOLEAN), 1 | 2) => {}
                (Some(STRUCTURE), STRUCTURE) | (None, _) => self.plain(kind, 0)?,
                (Some(_), _) => return Err(format!("its field {field} is of the kind {kind}")),
            }
        }
    }

    /// Passes over a value without lists, of which a page's head has none.
    fn plain(&mut self, kind: u8, depth: usize) -> Result<(), String> {
        match kind {
            1 | 2 => Ok(()),
            3..=8 | 13 => self.value(kind, depth),
            12 if depth < MAX_PAGE_DEPTH => loop {
                let head = self.byte()?;
                if head & 0x0f == 0 {
                    return Ok(());
                }
                if head >> 4 == 0 {
                    self.varint()?;
                }
                self.plain(head & 0x0f, depth + 1)?;
            },
            other => Err(format!("it has a value of the kind {other} at depth {depth}")),
        }
    }

    fn structure(&mut self, depth: usize) -> Result<(), String> {
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            if head >> 4 == 0 {
                self.varint()?;
            }
            // A field's boolean lies in its head.
            if kind > 2 {
                self.value(kind, depth)?;
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH}"));
        }
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                self.count(count)?;
                (0..count).try_for_each(|_| self.value(head & 0x0f, depth + 1))
            }
            11 => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                self.count(count)?;
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.value(kinds >> 4, depth + 1)?;
                    self.value(kinds & 0x0f, depth + 1)
                })
            }
            12 => self.structure(depth + 1),
            13 => self.skip(16),
            other => Err(format!("it has a value of the unknown kind {other}")),
        }
    }

    fn count(&mut self, count: u64) -> Result<(), String> {
        self.elements = self.elements.saturating_add(count);
        // An element takes a byte or more.
        if count > self.bytes.len() as u64 || self.elements > MAX_ELEMENTS {
            return Err(format!("a list in it says that it has {count} elements"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_that_are_longer_than_what_is_left_are_refused() {
        // Field 1: a list of structures; 15 in the head says that a count follows: 2^31 - 1.
        let bomb = [0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
        assert!(check_struct(&bomb).expect_err("a bomb").contains("2147483647"));
        // The same with two elements, each an empty structure.
        check_struct(&[0x19, 0x2c, 0x00, 0x00, 0x00]).expect("whole");
        assert!(check_struct(&[0x19, 0x2c, 0x00]).is_err());
        assert!(check_struct(&[0x18, 0x05, b'a']).is_err(), "a text beyond the end");
        assert!(check_struct(&[0x1c; 200]).expect_err("deep").contains("nested"));
        // Lists in lists, without end.
        assert!(check_struct(&[0x19; 5000]).expect_err("deep").contains("nested"));
    }

    #[test]
    fn the_head_of_a_page_tells_its_sizes() {
        // Type 0, 300 bytes inflated, 20 stored, a checksum, and a structure with a number.
        let head = [0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0x28, 0x15, 0x01, 0x1c, 0x15, 0x02, 0x00, 0x00, 0xff];
        assert_eq!(page_head(&head), Ok(PageHead { length: 14, stored: 20, inflated: 300 }));
        assert!(page_head(&head[..9]).is_err() && page_head(&[0x15, 0x00, 0x00]).is_err());
        // Field numbers that are written out, and a size below zero.
        let head = [0x05, 0x04, 0x27, 0x05, 0x06, 0x02, 0x00];
        assert_eq!(page_head(&head), Ok(PageHead { length: 7, stored: 1, inflated: -20 }));
    }

    #[test]
    fn a_head_that_the_library_could_read_otherwise_is_refused() {
        let good = [0x15, 0x00, 0x15, 0x08, 0x15, 0x08];
        let with = |rest: &[u8]| page_head(&[&good[..], rest].concat());
        assert_eq!(with(&[0x00]).map(|head| head.inflated), Ok(4));
        // A field below zero is none of those that are known: it does not stand for field 2.
        assert_eq!(with(&[0x05, 0x05, 0x02, 0x00]).map(|head| head.inflated), Ok(4));
        // Field 2 again; as a long number; as a text; field 5 with a list; a list that nobody knows; a number beyond 32 bits.
        for rest in [
            &[0x05, 0x04, 0x02, 0x00][..],
            &[0x06, 0x04, 0x02, 0x00],
            &[0x08, 0x04, 0x01, b'a', 0x00],
            &[0x29, 0x15, 0x02, 0x00],
            &[0xf9, 0x15, 0x02, 0x00],
            &[0x2c, 0x18, 0x01, b'a', 0x00, 0x00],
        ] {
            assert!(with(rest).is_err(), "{rest:x?}");
        }
        assert!(page_head(&[0x25, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x15, 0x02, 0x00]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hang(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = check_struct(&bytes);
            if let Ok(head) = page_head(&bytes) {
                assert!(head.length <= bytes.len());
            }
        }
    }
}
