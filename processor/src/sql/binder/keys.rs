//! Columns that stand in messages' keys and not in their values: the key is read, and they are decoded from it.
//!
//! ```text
//!  scan (…, the key's bytes) ─► projection (…, key_field(bytes) AS id, key_field(bytes) AS room)
//! ```
//!
//! A message without a key has NULL there. A key that does not decode fails the read, or is NULL under a policy that lets bad messages pass: its value
//! may well be right.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aquifer_catalog::options::table_settings;
use aquifer_catalog::{KeyColumns, Table, catalogs::Target};
use aquifer_formats::payload::{Format, PayloadDecoder, projected_decoder};
use aquifer_model::{Error, Result};
use aquifer_storage::reader::OnDecodeError;
use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::common::{Column, Result as DfResult, TableReference};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use crate::batch::external;

/// The scan's column of the keys' bytes, where columns are decoded from them.
const KEY_BYTES: &str = "__key_bytes";

/// The columns of a table that stand in messages' keys.
#[derive(Debug)]
pub(super) struct Keys {
    columns: KeyColumns,
    /// Whether a key that does not decode is NULL.
    lenient: bool,
}

impl Keys {
    /// Those of a table over topics; other tables have none.
    pub fn of(table: &Table) -> Result<Self> {
        if !matches!(table.target, Target::Topics(_) | Target::Pattern(_)) {
            return Ok(Self { columns: KeyColumns::None, lenient: false });
        }
        let lenient = table_settings(&table.definition.options)?.on_decode_error != OnDecodeError::Fail;
        Ok(Self { columns: table.key_columns()?, lenient })
    }

    /// Whether a column is the key as it is.
    pub fn is_whole(&self, column: &str) -> bool {
        matches!(self.columns, KeyColumns::Whole(_)) && self.columns.contains(column)
    }

    /// Whether a column is decoded from the key.
    pub fn is_decoded(&self, column: &str) -> bool {
        matches!(self.columns, KeyColumns::Decoded { .. }) && self.columns.contains(column)
    }

    /// What the scan must have to decode them, if any are.
    pub fn field(&self) -> Option<Field> {
        matches!(self.columns, KeyColumns::Decoded { .. }).then(|| Field::new(KEY_BYTES, DataType::BinaryView, true))
    }

    /// The plan with the decoded columns in place of the keys' bytes.
    pub fn decoded(&self, plan: LogicalPlan, table: &TableReference) -> DfResult<LogicalPlan> {
        let KeyColumns::Decoded { format, columns, schema } = &self.columns else { return Ok(plan) };
        let others = plan.schema().columns().into_iter().filter(|column| column.name != KEY_BYTES);
        let mut expressions: Vec<Expr> = others.map(Expr::Column).collect();
        for (at, column) in columns.iter().enumerate() {
            let signature = Signature::any(1, Volatility::Immutable);
            let (fields, lenient) = (schema.fields().clone(), self.lenient);
            let field = ScalarUDF::from(KeyField {
                format: *format,
                fields,
                at,
                lenient,
                signature,
                decoders: Mutex::default(),
            });
            let bytes = Expr::Column(Column::new(Some(table.clone()), KEY_BYTES));
            expressions.push(field.call(vec![bytes]).alias_qualified(Some(table.clone()), column.as_str()));
        }
        LogicalPlanBuilder::from(plan).project(expressions)?.build()
    }
}

/// One field of keys.
#[derive(Debug)]
struct KeyField {
    format: Format,
    /// All fields of the key: some formats tell them by their places.
    fields: Fields,
    at: usize,
    lenient: bool,
    signature: Signature,
    /// Made with the first keys; those that run side by side have one each.
    decoders: Mutex<Vec<Decoder>>,
}

struct Decoder(Box<dyn PayloadDecoder>);

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

impl PartialEq for KeyField {
    fn eq(&self, other: &Self) -> bool {
        self.said() == other.said()
    }
}

impl Eq for KeyField {}

impl Hash for KeyField {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.said().hash(state);
    }
}

impl KeyField {
    /// All that tells it from others.
    fn said(&self) -> (Format, &Fields, usize, bool) {
        (self.format, &self.fields, self.at, self.lenient)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Decoder>> {
        self.decoders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, keys: &BinaryViewArray) -> Result<ArrayRef> {
        let kept = self.kept().pop();
        let Decoder(mut decoder) = match kept {
            Some(decoder) => decoder,
            None => {
                let all = Arc::new(Schema::new(self.fields.clone()));
                let wanted = Arc::new(Schema::new(vec![Arc::clone(&self.fields[self.at])]));
                Decoder(projected_decoder(self.format, &all, wanted, None)?)
            }
        };
        // Keys name no schema version: the table's columns are their schema.
        let versions: BinaryViewArray = (0..keys.len()).map(|_| None::<&[u8]>).collect();
        let found = decoder.decode(keys, &versions)?;
        self.kept().push(Decoder(decoder));
        match found.errors.first() {
            Some(bad) if !self.lenient => Err(Error::invalid(format!(
                "a message's key is none that 'key.format' = '{}' reads: {}; correct the option, or let such keys be NULL with 'aquifer.on-decode-error' = 'skip'",
                self.format, bad.reason
            ))),
            _ => Ok(Arc::clone(found.rows.column(0))),
        }
    }
}

impl ScalarUDFImpl for KeyField {
    fn name(&self) -> &str {
        "key_field"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(self.fields[self.at].data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::clone(&self.fields[self.at]))
    }

    fn schema_name(&self, _args: &[Expr]) -> DfResult<String> {
        Ok(format!("key_field({})", self.fields[self.at].name()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let keys = cast(&args.args[0].to_array(args.number_rows)?, &DataType::BinaryView)?;
        self.read(keys.as_binary_view()).map(ColumnarValue::Array).map_err(external)
    }
}
