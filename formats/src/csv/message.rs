//! CSV as messages: each is one record without a line's end, as Flink's `csv` format has them on topics.
//!
//! ```text
//!  payload ─► one record ─► a builder a column        columns ─► one buffer of records and their ends
//! ```
//!
//! The options stand beside the table's columns, in their schema's metadata (see [`CsvFormat::of_schema`]). A payload that fails leaves its row NULL; the
//! columns are mended before the next one.

use std::sync::Arc;

use aquifer_model::{Error, Result, SchemaVersion, TopicSchema};
use arrow::array::{Array, BinaryArray, BinaryViewArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::{CsvDecoder, CsvEncoder, CsvFormat, split};
use crate::payload::json_text::Step;
use crate::payload::{DecodedPayloads, PayloadDecoder, PayloadEncoder, PayloadError, scatter};
use crate::values::Values;

/// Reads messages.
pub(crate) struct MessageDecoder(CsvDecoder);

impl MessageDecoder {
    /// A decoder of a table whose fields are `table`, in this order, that makes `columns` (some of them, found by name).
    pub fn new(table: &SchemaRef, columns: SchemaRef) -> Result<Self> {
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        Ok(Self(CsvDecoder::new(CsvFormat::of_schema(table)?, table, Arc::new(Schema::new(fields)))?))
    }

    fn read(&mut self, payload: &[u8]) -> Step<()> {
        let records = &mut self.0;
        if records.format.allow_comments && payload.starts_with(b"#") {
            return Err("the payload is a comment".into());
        }
        match split(&records.format, payload, true, &mut records.fields)? {
            // Flink reads the first record and passes over the others: rows would be lost without a word.
            Some(length) if length < payload.len() => {
                Err("the payload has more than one record, and a message is one row".into())
            }
            _ => records.fill(),
        }
    }
}

impl PayloadDecoder for MessageDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.columns)
    }

    fn missing_versions(&self, _versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        Vec::new()
    }

    fn add_schema(&mut self, _version: SchemaVersion, _schema: Option<&TopicSchema>) -> Result<()> {
        Ok(())
    }

    fn decode(&mut self, payloads: &BinaryViewArray, _versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let mut errors = Vec::new();
        for row in 0..payloads.len() {
            if payloads.is_null(row) {
                self.0.row.fill();
            } else if let Err(reason) = self.read(payloads.value(row)) {
                errors.push(PayloadError { row, reason: reason.into_owned() });
                self.0.row.mend_to(row + 1);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(payloads.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.0.columns), self.0.row.finish()?, &options)?;
        // What of a record the columns hold is not told, and so its bytes are always kept.
        let lossy = Vec::new();
        if errors.is_empty() {
            return Ok(DecodedPayloads { rows, errors, lossy });
        }
        // What a bad payload had given before it failed is taken back.
        let mut from: Vec<Option<u32>> = (0..payloads.len() as u32).map(Some).collect();
        errors.iter().for_each(|error| from[error.row] = None);
        Ok(DecodedPayloads { rows: scatter(&rows, &from)?, errors, lossy })
    }
}

/// Writes messages.
pub(crate) struct MessageEncoder(CsvEncoder);

impl MessageEncoder {
    /// An encoder of these columns.
    pub fn new(columns: SchemaRef) -> Result<Self> {
        Ok(Self(CsvEncoder::new(CsvFormat::of_schema(&columns)?, columns)?))
    }
}

impl PayloadEncoder for MessageEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let columns = rows.columns().iter().zip(self.0.columns.fields()).map(|(array, field)| Values::of(array, field));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let (mut records, mut text) = (Vec::new(), String::new());
        let mut ends = Vec::with_capacity(rows.num_rows() + 1);
        ends.push(0);
        for row in 0..rows.num_rows() {
            self.0.record(&columns, row, &mut text, &mut records)?;
            ends.push(i32::try_from(records.len()).map_err(|_| Error::invalid("a batch is too large to encode"))?);
        }
        Ok(BinaryArray::new(OffsetBuffer::new(ends.into()), records.into(), None))
    }
}

#[cfg(test)]
mod tests {
    use aquifer_model::SqlType;
    use arrow::array::{ArrayRef, AsArray, Int32Array, StringViewArray};
    use arrow::datatypes::Int32Type;
    use proptest::prelude::*;

    use super::*;

    /// A table with the columns `a` STRING and `n` INT.
    fn table(options: &[(&str, &str)]) -> SchemaRef {
        let fields = vec![SqlType::STRING.nullable().to_field("a"), SqlType::Int.nullable().to_field("n")];
        let metadata = options.iter().map(|(key, value)| (format!("csv.{key}"), value.to_string()));
        Arc::new(Schema::new(fields).with_metadata(metadata.collect()))
    }

    fn decoded(options: &[(&str, &str)], payloads: &[Option<&[u8]>]) -> (Vec<String>, Vec<(usize, String)>) {
        let table = table(options);
        let mut decoder = MessageDecoder::new(&table, Arc::clone(&table)).expect("a decoder");
        let payloads: BinaryViewArray = payloads.iter().collect();
        let decoded = decoder.decode(&payloads, &BinaryViewArray::new_null(payloads.len())).expect("decodes");
        let (texts, numbers) =
            (decoded.rows.column(0).as_string_view(), decoded.rows.column(1).as_primitive::<Int32Type>());
        let row = |row: usize| {
            let number = numbers.is_valid(row).then(|| numbers.value(row));
            format!("{:?} {number:?}", texts.is_valid(row).then(|| texts.value(row)))
        };
        let errors = decoded.errors.into_iter().map(|error| (error.row, error.reason)).collect();
        ((0..payloads.len()).map(row).collect(), errors)
    }

    #[test]
    fn a_message_is_one_record_by_the_options() {
        let cases: &[(&[(&str, &str)], &str, &str)] = &[
            (&[], "x,1", r#"Some("x") Some(1)"#),
            (&[], "\"x,\"\"\n\",1\r\n", r#"Some("x,\"\n") Some(1)"#),
            (&[("field-delimiter", "\\t"), ("null-literal", "-")], "-\t2\n", r#"None Some(2)"#),
            (&[("quote-character", "'")], "'x,', 3", r#"Some("x,") Some(3)"#),
            (&[("disable-quote-character", "true")], "\"x\",1", r#"Some("\"x\"") Some(1)"#),
            (&[("escape-character", "\\")], "x\\,,1", r#"Some("x,") Some(1)"#),
            (&[("ignore-parse-errors", "true")], "x,y", r#"Some("x") None"#),
            (&[("ignore-parse-errors", "true")], "x", r#"Some("x") None"#),
        ];
        for (options, payload, row) in cases {
            let (rows, errors) = decoded(options, &[Some(payload.as_bytes())]);
            assert_eq!((rows.as_slice(), errors.as_slice()), (&[row.to_string()][..], &[][..]), "{payload}");
        }
    }

    #[test]
    fn a_bad_message_is_told_and_its_neighbours_are_read() {
        for (options, bad, reason) in [
            (&[][..], &b"x"[..], "1 fields, and the table has 2"),
            (&[], b"", "1 fields"),
            (&[], b"x,1,2", "3 fields"),
            (&[], b"x,one", "`one` is no INT"),
            (&[], b"x,1\ny,2", "more than one record"),
            (&[], b"\"x,1", "a quote is not closed"),
            (&[], b"\xff,1", "not UTF-8"),
            (&[("allow-comments", "true")], b"# x,1", "a comment"),
            (&[("ignore-parse-errors", "true")], b"\"x,1", "a quote is not closed"),
        ] {
            let (rows, errors) = decoded(options, &[Some(b"a,1"), Some(bad), None, Some(b"b,2")]);
            assert_eq!(rows, [r#"Some("a") Some(1)"#, "None None", "None None", r#"Some("b") Some(2)"#], "{reason}");
            assert!(matches!(errors.as_slice(), [(1, told)] if told.contains(reason)), "{errors:?}");
        }
    }

    #[test]
    fn columns_are_found_by_their_place_in_the_table_whichever_are_read() {
        let table = table(&[]);
        let one = Arc::new(table.project(&[1]).expect("a column"));
        let mut decoder = MessageDecoder::new(&table, one).expect("a decoder");
        let payloads = BinaryViewArray::from_iter_values([&b"x,7"[..]]);
        let decoded = decoder.decode(&payloads, &BinaryViewArray::new_null(1)).expect("decodes");
        assert_eq!(decoded.rows.column(0).as_primitive::<Int32Type>().value(0), 7);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            rows in prop::collection::vec((prop::option::of("[ -~é\n\r]{0,30}"), prop::option::of(any::<i32>())), 1..9),
            delimiter in prop::sample::select(vec![",", ";", "|", "\\t", " "]),
        ) {
            let options = [("field-delimiter", delimiter), ("null-literal", "n/a")];
            let table = table(&options);
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringViewArray::from_iter(rows.iter().map(|(text, _)| text.clone()))),
                Arc::new(Int32Array::from_iter(rows.iter().map(|(_, number)| *number))),
            ];
            let batch = RecordBatch::try_new(Arc::clone(&table), columns).expect("two columns");
            let payloads = MessageEncoder::new(Arc::clone(&table)).expect("an encoder").encode(&batch).expect("encodes");
            let payloads: BinaryViewArray = payloads.iter().collect();
            let mut decoder = MessageDecoder::new(&table, table.clone()).expect("a decoder");
            let decoded = decoder.decode(&payloads, &BinaryViewArray::new_null(rows.len())).expect("decodes");
            prop_assert_eq!(decoded.errors, vec![]);
            prop_assert_eq!(decoded.rows.columns(), batch.columns());
        }

        #[test]
        fn hostile_bytes_harm_no_neighbour(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let (rows, errors) = decoded(&[], &[Some(b"a,1"), Some(&bytes), Some(b"b,2")]);
            prop_assert!(errors.iter().all(|(row, _)| *row == 1));
            prop_assert_eq!((rows[0].as_str(), rows[2].as_str()), (r#"Some("a") Some(1)"#, r#"Some("b") Some(2)"#));
        }
    }
}
