//! Rows as lines of text, in the order they come.

use std::io::Write;

use aquifer_formats::text::{TextStyle, parse_zone, text_columns};
use aquifer_model::{ChangeBatch, Epoch, Error, Result};
use aquifer_processor::connector::{Accepts, Delivery, Prepared, Sink, Writer, WriterId};
use arrow::array::Array;
use async_trait::async_trait;

use super::config::PrintConfig;

#[derive(Debug)]
pub(super) struct PrintSink {
    config: PrintConfig,
    style: TextStyle,
}

impl PrintSink {
    pub fn new(config: PrintConfig) -> Result<Self> {
        Ok(Self { config, style: TextStyle::printing(parse_zone("UTC")?) })
    }
}

#[async_trait]
impl Sink for PrintSink {
    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn accepts(&self) -> Accepts {
        Accepts::Changes
    }

    async fn open(&self, _writer: WriterId) -> Result<Box<dyn Writer>> {
        Ok(Box::new(PrintWriter { config: self.config.clone(), style: self.style }))
    }

    async fn commit(&self, _epoch: Epoch, _prepared: Vec<Prepared>) -> Result<()> {
        Ok(())
    }
}

struct PrintWriter {
    config: PrintConfig,
    style: TextStyle,
}

/// The lines of some rows.
fn lines(changes: &ChangeBatch, identifier: Option<&str>, style: &TextStyle) -> Result<String> {
    let columns = text_columns(changes.rows(), style)?;
    let mut text = String::new();
    for row in 0..changes.num_rows() {
        if let Some(identifier) = identifier {
            text.push_str(identifier);
            text.push_str("> ");
        }
        text.push_str(changes.kind(row).text());
        text.push('[');
        for (n, column) in columns.iter().enumerate() {
            text.push_str(if n > 0 { ", " } else { "" });
            text.push_str(if column.is_valid(row) { column.value(row) } else { "null" });
        }
        text.push_str("]\n");
    }
    Ok(text)
}

#[async_trait]
impl Writer for PrintWriter {
    async fn write(&mut self, changes: &ChangeBatch) -> Result<()> {
        let text = lines(changes, self.config.identifier.as_deref(), &self.style)?;
        let written = match self.config.to_standard_error {
            true => std::io::stderr().write_all(text.as_bytes()),
            false => {
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
        written.map_err(|error| Error::unavailable("printing rows").with_source(error))
    }

    async fn prepare(&mut self, _epoch: Epoch) -> Result<Prepared> {
        Ok(Prepared::default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aquifer_model::SqlType;
    use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringViewArray, UInt8Array};
    use arrow::datatypes::Schema;

    use super::*;

    #[test]
    fn a_row_is_a_line_with_its_kind_before_it() {
        let fields = vec![SqlType::STRING.nullable().to_field("a"), SqlType::Int.nullable().to_field("b")];
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringViewArray::from(vec![Some("x"), None])), Arc::new(Int32Array::from(vec![1, 2]))];
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits");
        let changes = ChangeBatch::new(rows, UInt8Array::from(vec![0, 3])).expect("kinds");
        let style = TextStyle::printing(parse_zone("UTC").expect("a zone"));
        assert_eq!(lines(&changes, None, &style).expect("texts"), "+I[x, 1]\n-D[null, 2]\n");
        assert_eq!(lines(&changes, Some("me"), &style).expect("texts"), "me> +I[x, 1]\nme> -D[null, 2]\n");
    }
}
