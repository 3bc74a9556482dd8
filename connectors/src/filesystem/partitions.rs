//! `PARTITIONED BY`: columns whose values stand in the names of directories, as Hive has them.
//!
//! ```text
//!  /data/day=2024-03-01/shop=caf%C3%A9/part-0.json        day and shop are not in the file
//! ```

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use aquifer_formats::csv;
use aquifer_model::{ChangeBatch, Error, Result};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{FieldRef, SchemaRef};

use super::source::FileReader;

/// The directory of the value NULL, and of the empty text.
pub(super) const DEFAULT_NAME: &str = "__DEFAULT_PARTITION__";

/// `key=value` as a directory's name.
pub(super) fn directory(key: &str, value: Option<&str>, default_name: &str) -> String {
    let value = value.filter(|value| !value.is_empty()).unwrap_or(default_name);
    format!("{}={}", escaped(key), escaped(value))
}

/// What Hive escapes: what would be a path, a key, or a pattern.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{1}'..='\u{1f}'
            | '\u{7f}'
            | '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^' => {
                let _ = write!(out, "%{:02X}", c as u32);
            }
            c => out.push(c),
        }
    }
    // These mean directories; and a hidden name would not be read again.
    match out.as_str() {
        "." => "%2E".to_string(),
        ".." => "%2E%2E".to_string(),
        _ => out,
    }
}

fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%')
            .then(|| after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of a partition column in a path: of `key=value` the last. `None` where no directory tells it; the inner `None` is NULL.
pub(super) fn value_in(path: &Path, key: &str, default_name: &str) -> Option<Option<String>> {
    let directories = path.parent()?.components().rev();
    let mut found = directories.filter_map(|part| {
        let (name, value) = part.as_os_str().to_str()?.split_once('=')?;
        (unescaped(name) == key).then(|| unescaped(value))
    });
    found.next().map(|value| (value != default_name).then_some(value))
}

/// The keys that the directories of a path tell, in their order.
pub(super) fn keys_in(path: &Path) -> Vec<String> {
    let directories = path.parent().into_iter().flat_map(Path::components);
    directories.filter_map(|part| Some(unescaped(part.as_os_str().to_str()?.split_once('=')?.0))).collect()
}

/// A file's rows with the columns that its path tells.
pub(super) struct WithPartition {
    inner: Box<dyn FileReader>,
    schema: SchemaRef,
    /// For each column of the schema the value in the path, as an array of one, if it comes from there.
    values: Vec<Option<ArrayRef>>,
}

impl WithPartition {
    /// Fails with `Invalid` if the path does not tell a key, or tells a wrong value.
    pub fn new(
        inner: Box<dyn FileReader>,
        schema: SchemaRef,
        keys: &[String],
        default_name: &str,
        path: &Path,
    ) -> Result<Self> {
        let value = |field: &FieldRef| -> Result<Option<ArrayRef>> {
            if !keys.contains(field.name()) {
                return Ok(None);
            }
            let value = value_in(path, field.name(), default_name).ok_or_else(|| {
                Error::invalid(format!("no directory above `{}` is called `{}=…`", path.display(), field.name()))
            })?;
            csv::value(field, value.as_deref())
                .map(Some)
                .map_err(|error| error.context(format!("the directories above `{}`", path.display())))
        };
        let values = schema.fields().iter().map(value).collect::<Result<Vec<_>>>()?;
        Ok(Self { inner, schema, values })
    }
}

impl FileReader for WithPartition {
    fn next(&mut self) -> Result<Option<ChangeBatch>> {
        let Some(changes) = self.inner.next()? else { return Ok(None) };
        let rows = changes.num_rows();
        let zeros = UInt32Array::from(vec![0; rows]);
        let mut own = changes.rows().columns().iter();
        let mut columns = Vec::with_capacity(self.values.len());
        for value in &self.values {
            columns.push(match value {
                Some(value) => take(value, &zeros, None)?,
                None => Arc::clone(own.next().ok_or_else(|| Error::internal("a file's column is missing"))?),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(Some(changes.with_rows(batch)?))
    }

    fn stands_at(&self) -> u64 {
        self.inner.stands_at()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_directory_tells_its_value_and_is_one_directory(key in "[a-z =/%]{1,5}", value in prop::option::of("\\PC{1,8}")) {
            prop_assume!(value.as_deref() != Some(DEFAULT_NAME));
            let name = directory(&key, value.as_deref(), DEFAULT_NAME);
            prop_assert_eq!(Path::new(&name).components().count(), 1);
            let path = Path::new("/data/x=y").join(&name).join("part");
            prop_assert_eq!(value_in(&path, &key, DEFAULT_NAME), Some(value));
        }
    }

    #[test]
    fn names_are_those_of_hive() {
        assert_eq!(directory("day", Some("2024-03-01 10:00"), DEFAULT_NAME), "day=2024-03-01 10%3A00");
        assert_eq!(directory("k", Some("a/../b"), DEFAULT_NAME), "k=a%2F..%2Fb");
        assert_eq!(directory("k", None, DEFAULT_NAME), "k=__DEFAULT_PARTITION__");
        assert_eq!(value_in(Path::new("/data/k=1/k=2/f"), "k", DEFAULT_NAME), Some(Some("2".into())));
        assert_eq!(value_in(Path::new("/data/f"), "k", DEFAULT_NAME), None);
    }
}
