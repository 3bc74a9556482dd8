//! Changes as lines of JSON, one object a row: what `--output json` prints.
//!
//! ```text
//!  {"op":"+I","room":"cellar","avg":12.5}        a column itself named `op`: {"op":"+I","row":["…",12.5]}
//! ```
//!
//! | SQL | JSON |
//! |---|---|
//! | integers, FLOAT, DOUBLE | number; `"NaN"`, `"Infinity"`, `"-Infinity"` as text |
//! | DECIMAL, DATE, TIME, TIMESTAMP | the text of `CAST(… AS STRING)` |
//! | TIMESTAMP_LTZ | the instant in UTC with `Z` |
//! | INTERVAL | whole months, or milliseconds |
//! | BINARY | text of lower-case hexadecimal digits |
//! | ARRAY, ROW, MAP | array, object, object (a list of pairs where keys are no texts) |
//! | VARIANT | text that holds its JSON |

use aquifer_model::{ChangeBatch, Result};

use crate::json_write::{Style, write_text, write_value};
use crate::values::Values;

/// Adds a line for each change to `out`. Fails with `Unsupported` for Arrow types that no SQL type has; then `out` is as it was.
pub fn write_json_lines(batch: &ChangeBatch, out: &mut Vec<u8>) -> Result<()> {
    let rows = batch.rows();
    let schema = batch.schema();
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| Values::of(column, field));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let as_list = schema.fields().iter().any(|field| field.name() == "op");
    let names = schema.fields().iter().map(|field| {
        let mut name = vec![b','];
        write_text(field.name(), &mut name)?;
        name.push(b':');
        Ok(name)
    });
    let names = names.collect::<Result<Vec<_>>>()?;
    let start = out.len();
    let mut scratch = String::new();
    for row in 0..rows.num_rows() {
        out.extend_from_slice(b"{\"op\":\"");
        out.extend_from_slice(batch.kind(row).text().as_bytes());
        out.push(b'"');
        if as_list {
            out.extend_from_slice(b",\"row\":[");
        }
        for (n, column) in columns.iter().enumerate() {
            match (as_list, n) {
                (false, _) => out.extend_from_slice(&names[n]),
                (true, 0) => {}
                (true, _) => out.push(b','),
            }
            if let Err(error) = write_value(column, row, Style::Output, &mut scratch, out) {
                out.truncate(start);
                return Err(error);
            }
        }
        out.extend_from_slice(if as_list { b"]}\n" } else { b"}\n" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aquifer_model::SqlType;
    use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringViewArray, UInt8Array};
    use arrow::datatypes::Schema;

    use super::*;
    use crate::text::tests::samples;

    fn lines(batch: &ChangeBatch) -> Vec<String> {
        let mut out = Vec::new();
        write_json_lines(batch, &mut out).expect("all types are known");
        String::from_utf8(out).expect("JSON is text").lines().map(String::from).collect()
    }

    fn batch(columns: Vec<(&str, &str, ArrayRef)>) -> RecordBatch {
        let fields: Vec<_> =
            columns.iter().map(|(name, t, _)| SqlType::parse(t).expect("a type").to_field(name)).collect();
        let arrays = columns.into_iter().map(|(.., array)| array).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("fits")
    }

    #[test]
    fn every_type_is_json_and_null_is_null() {
        for sample in samples() {
            let rows = batch(vec![("c", sample.sql_type, sample.array)]);
            for (line, expected) in lines(&ChangeBatch::inserts(rows)).iter().zip(sample.json) {
                assert_eq!(*line, format!(r#"{{"op":"+I","c":{expected}}}"#), "{}", sample.sql_type);
                serde_json::from_str::<serde_json::Value>(line).expect("JSON");
            }
        }
    }

    #[test]
    fn the_kind_comes_first_and_the_columns_follow_in_order() {
        let rows = batch(vec![
            ("z \"q\"", "STRING", Arc::new(StringViewArray::from(vec![Some("a\n\"b\\"), None]))),
            ("a", "DOUBLE", Arc::new(Float64Array::from(vec![1.0, f64::NAN]))),
        ]);
        let changes = ChangeBatch::new(rows, UInt8Array::from(vec![1, 2])).expect("two kinds");
        assert_eq!(
            lines(&changes),
            [r#"{"op":"-U","z \"q\"":"a\n\"b\\","a":1.0}"#, r#"{"op":"+U","z \"q\"":null,"a":"NaN"}"#]
        );
    }

    #[test]
    fn a_column_named_op_makes_the_line_a_list() {
        let rows = batch(vec![
            ("op", "INT", Arc::new(Int32Array::from(vec![1]))),
            ("b", "INT", Arc::new(Int32Array::from(vec![None]))),
        ]);
        assert_eq!(lines(&ChangeBatch::inserts(rows)), [r#"{"op":"+I","row":[1,null]}"#]);
    }
}
