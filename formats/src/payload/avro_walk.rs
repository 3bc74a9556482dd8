//! What a datum of an Avro schema looks like in bytes, and a walk that proves a datum to be whole and to claim no more than it holds.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema as Avro;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use aquifer_model::{Error, Result};

use super::avro_schema::{self, MAX_DEPTH, branch_names};
use crate::varint::varint_of_eight;

/// What a datum of a schema looks like in bytes.
pub(crate) enum Shape {
    Nothing,
    Boolean,
    Int,
    Long,
    Fixed(usize),
    Bytes,
    Text,
    Enum(usize),
    Array(Arc<Shape>),
    Map(Arc<Shape>),
    /// With the branches' names; null has none.
    Union(Vec<(String, Arc<Shape>)>),
    /// With the fields' names.
    Record(Vec<(String, Arc<Shape>)>),
    Shared(Arc<Shape>),
}

impl Shape {
    /// Itself, or what a name stands for.
    pub fn resolved(&self) -> &Shape {
        match self {
            Shape::Shared(shape) => shape.resolved(),
            other => other,
        }
    }

    pub fn of(schema: &Avro, named: &mut HashMap<Name, Arc<Shape>>, depth: usize) -> Result<Self> {
        if depth > MAX_DEPTH {
            return Err(Error::invalid(format!("an Avro schema is nested deeper than {MAX_DEPTH}")));
        }
        let mut inner = |schema: &Avro| Ok::<_, Error>(Arc::new(Shape::of(schema, named, depth + 1)?));
        Ok(match schema {
            Avro::Null => Shape::Nothing,
            Avro::Boolean => Shape::Boolean,
            Avro::Int | Avro::Date | Avro::TimeMillis => Shape::Int,
            Avro::Long
            | Avro::TimeMicros
            | Avro::TimestampMillis
            | Avro::TimestampMicros
            | Avro::TimestampNanos
            | Avro::LocalTimestampMillis
            | Avro::LocalTimestampMicros
            | Avro::LocalTimestampNanos => Shape::Long,
            Avro::Float => Shape::Fixed(4),
            Avro::Double => Shape::Fixed(8),
            Avro::Bytes | Avro::BigDecimal | Avro::Uuid(UuidSchema::Bytes) => Shape::Bytes,
            Avro::String | Avro::Uuid(UuidSchema::String) => Shape::Text,
            Avro::Uuid(UuidSchema::Fixed(fixed)) | Avro::Duration(fixed) | Avro::Fixed(fixed) => {
                named.insert(fixed.name.clone(), Arc::new(Shape::Fixed(fixed.size)));
                Shape::Fixed(fixed.size)
            }
            Avro::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Shape::Bytes,
                InnerDecimalSchema::Fixed(fixed) => {
                    named.insert(fixed.name.clone(), Arc::new(Shape::Fixed(fixed.size)));
                    Shape::Fixed(fixed.size)
                }
            },
            Avro::Enum(symbols) => {
                named.insert(symbols.name.clone(), Arc::new(Shape::Enum(symbols.symbols.len())));
                Shape::Enum(symbols.symbols.len())
            }
            Avro::Array(array) => Shape::Array(inner(&array.items)?),
            Avro::Map(map) => Shape::Map(inner(&map.types)?),
            Avro::Union(union) => {
                let names = branch_names(union.variants());
                let branches = names.into_iter().zip(union.variants()).map(|(name, branch)| Ok((name, inner(branch)?)));
                Shape::Union(branches.collect::<Result<_>>()?)
            }
            Avro::Record(record) => {
                let fields = record.fields.iter().map(|f| Ok((f.name.clone(), inner(&f.schema)?)));
                let shape = Arc::new(Shape::Record(fields.collect::<Result<_>>()?));
                named.insert(record.name.clone(), Arc::clone(&shape));
                Shape::Shared(shape)
            }
            Avro::Ref { name } => match named.get(name) {
                Some(shape) => Shape::Shared(Arc::clone(shape)),
                None => return Err(Error::unsupported(format!("the Avro type `{name}` contains itself"))),
            },
        })
    }

    /// A field of a record.
    pub fn field(&self, name: &str) -> Option<&Shape> {
        match self.resolved() {
            Shape::Record(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, shape)| shape.as_ref()),
            _ => None,
        }
    }

    /// The branch of a nullable type that is not null; itself otherwise.
    pub fn present(&self) -> &Shape {
        match self.resolved() {
            Shape::Union(branches) => {
                let mut others = branches.iter().filter(|(_, shape)| !matches!(shape.resolved(), Shape::Nothing));
                match (others.next(), others.next()) {
                    (Some((_, one)), None) => one.present(),
                    _ => self.resolved(),
                }
            }
            other => other,
        }
    }

    /// The shape of a definition.
    pub fn parse(definition: &[u8]) -> Result<Self> {
        Self::of(&avro_schema::parse(definition)?, &mut HashMap::new(), 0)
    }

    /// The datums of this shape that stand one after the other, as many as told.
    pub fn split<'a>(&self, datums: &'a [u8], count: usize) -> std::result::Result<Vec<&'a [u8]>, &'static str> {
        let mut walk = Walk::new(datums);
        let mut parts = Vec::new();
        for _ in 0..count {
            let before = walk.rest;
            walk.value(self)?;
            parts.push(&before[..before.len() - walk.rest.len()]);
        }
        if walk.rest.is_empty() { Ok(parts) } else { Err("bytes are left after the Avro datums") }
    }

    /// Whether `datum` is one whole value of this shape and nothing else.
    pub fn check(&self, datum: &[u8]) -> std::result::Result<(), &'static str> {
        let mut walk = Walk::new(datum);
        walk.value(self)?;
        if walk.rest.is_empty() { Ok(()) } else { Err("bytes are left after the Avro datum") }
    }
}

/// A walk over a datum's bytes. Items that take no bytes cost budget, so that a count of 2^60 nulls ends soon.
pub(super) struct Walk<'a> {
    rest: &'a [u8],
    budget: usize,
}

pub(super) type Step<T> = std::result::Result<T, &'static str>;
const SHORT: &str = "the Avro datum ends too early";

impl<'a> Walk<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, budget: bytes.len() * 8 + 1024 }
    }

    /// What is not walked yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Step<()> {
        self.rest = self.rest.get(length..).ok_or(SHORT)?;
        Ok(())
    }

    #[inline]
    pub fn long(&mut self) -> Step<i64> {
        let unsigned = match self.rest.first_chunk().and_then(|eight| varint_of_eight(*eight)) {
            Some((number, length)) => {
                self.rest = &self.rest[length..];
                number
            }
            None => self.varint()?,
        };
        Ok((unsigned >> 1) as i64 ^ -((unsigned & 1) as i64))
    }

    /// The number of a union's branch, which is 0 or 1 where a field may be null.
    #[inline]
    pub fn branch(&mut self) -> Step<i64> {
        match self.rest.split_first() {
            Some((byte @ (0 | 2), rest)) => {
                self.rest = rest;
                Ok(i64::from(byte >> 1))
            }
            _ => self.long(),
        }
    }

    /// A number of up to ten bytes, byte by byte.
    fn varint(&mut self) -> Step<u64> {
        let mut number = 0u64;
        for (n, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * n as u32).min(63);
            if byte & 0x80 == 0 {
                if n == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[n + 1..];
                return Ok(number);
            }
        }
        Err(if self.rest.len() < 10 { SHORT } else { "a number in the Avro datum is too long" })
    }

    #[inline]
    pub fn length(&mut self) -> Step<usize> {
        let length = self.long()?;
        usize::try_from(length)
            .map_err(|_| "a length in the Avro datum is negative")
            .and_then(|length| if length > self.rest.len() { Err(SHORT) } else { Ok(length) })
    }

    fn text(&mut self) -> Step<()> {
        let length = self.length()?;
        std::str::from_utf8(&self.rest[..length]).map_err(|_| "a text in the Avro datum is not UTF-8")?;
        self.skip(length)
    }

    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Step<()>) -> Step<()> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.length()?;
                count = count.checked_neg().ok_or("a count in the Avro datum is impossible")?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    pub fn value(&mut self, shape: &Shape) -> Step<()> {
        self.budget = self.budget.checked_sub(1).ok_or("the Avro datum holds more items than its bytes can")?;
        match shape {
            Shape::Nothing => Ok(()),
            Shape::Boolean => match self.rest.first().ok_or(SHORT)? {
                0 | 1 => self.skip(1),
                _ => Err("a boolean in the Avro datum is neither 0 nor 1"),
            },
            Shape::Int => i32::try_from(self.long()?).map(drop).map_err(|_| "an int in the Avro datum is too large"),
            Shape::Long => self.long().map(drop),
            Shape::Fixed(size) => self.skip(*size),
            Shape::Bytes => {
                let length = self.length()?;
                self.skip(length)
            }
            Shape::Text => self.text(),
            Shape::Enum(symbols) => match usize::try_from(self.long()?) {
                Ok(symbol) if symbol < *symbols => Ok(()),
                _ => Err("an enum in the Avro datum has no such symbol"),
            },
            Shape::Array(item) => self.blocks(|walk| walk.value(item)),
            Shape::Map(item) => self.blocks(|walk| {
                walk.text()?;
                walk.value(item)
            }),
            Shape::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|n| branches.get(n));
                self.value(&branch.ok_or("a union in the Avro datum has no such branch")?.1)
            }
            Shape::Record(fields) => fields.iter().try_for_each(|(_, field)| self.value(field)),
            Shape::Shared(shape) => self.value(shape),
        }
    }
}
