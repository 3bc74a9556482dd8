//! Aggregates that make one value of a group's rows, in order of arrival: JSON_ARRAYAGG, JSON_OBJECTAGG, and the one row of a scalar subquery.
//!
//! ```text
//!  JSON_ARRAYAGG(x ABSENT ON NULL)  ─► JSON_ARRAYAGG(JSON_STRING(x), 'ABSENT')       the arguments are JSON already
//!  JSON_OBJECTAGG(KEY k VALUE v)    ─► JSON_OBJECTAGG(k, JSON_STRING(v), 'NULL')
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use crate::functions::scalar::write_json_text;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    JsonArray,
    JsonObject,
    /// The value of the only row; NULL if there is none.
    Single,
}

/// The function.
pub(super) fn function(what: What) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Joined { what, signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    what: What,
    signature: Signature,
}

fn is_text(one: &DataType) -> bool {
    matches!(one, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
}

impl AggregateUDFImpl for Joined {
    fn name(&self) -> &str {
        match self.what {
            What::JsonArray => "JSON_ARRAYAGG",
            What::JsonObject => "JSON_OBJECTAGG",
            What::Single => super::SINGLE_VALUE,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.what, types) {
            (What::JsonArray, [_, _]) | (What::JsonObject, [_, _, _]) if types.iter().all(is_text) => {
                Ok(vec![DataType::Utf8View; types.len()])
            }
            (What::JsonObject, [key, ..]) if !is_text(key) => {
                plan_err!("the key of JSON_OBJECTAGG is a text: CAST it to STRING")
            }
            (What::Single, [_]) => Ok(types.to_vec()),
            _ => plan_err!("write JSON_ARRAYAGG(value) or JSON_OBJECTAGG(KEY text VALUE value)"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.what, types) {
            (What::Single, [one, ..]) => Ok(one.clone()),
            _ => Ok(DataType::Utf8View),
        }
    }

    fn return_field(&self, inputs: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(match (self.what, inputs) {
            (What::Single, [one, ..]) => one.as_ref().clone().with_name(self.name()).with_nullable(true),
            _ => Field::new(self.name(), DataType::Utf8View, false),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |(n, input): (usize, &FieldRef)| {
            let list = DataType::new_list(input.data_type().clone(), true);
            Arc::new(Field::new(format!("{}[{n}]", args.name), list, true))
        };
        Ok(args.input_fields.iter().enumerate().map(list).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{}(DISTINCT …) is not built", self.name());
        }
        let types: Vec<DataType> = args.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Box::new(Rows { what: self.what, columns: vec![Vec::new(); types.len()], types }))
    }
}

/// The rows of one group.
#[derive(Debug)]
struct Rows {
    what: What,
    types: Vec<DataType>,
    columns: Vec<Vec<ArrayRef>>,
}

impl Rows {
    fn column(&self, n: usize) -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = self.columns[n].iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.types[n]));
        }
        Ok(arrow::compute::concat(&parts)?)
    }

    /// Whether NULLs are written: the last argument says so, the same for every row.
    fn keeps_nulls(&self, clauses: &ArrayRef) -> bool {
        let clauses = clauses.as_string_view();
        !clauses.is_empty() && clauses.is_valid(0) && clauses.value(0) == "NULL"
    }
}

impl Accumulator for Rows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.columns.iter_mut().zip(values).for_each(|(column, part)| column.push(Arc::clone(part)));
        if self.what == What::Single && self.columns[0].iter().map(|part| part.len()).sum::<usize>() > 1 {
            return exec_err!("a scalar subquery gives more than one row");
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let lists = (0..self.columns.len()).map(|n| {
            let values = self.column(n)?;
            let list = datafusion::common::utils::SingleRowListArrayBuilder::new(values).build_list_array();
            Ok(ScalarValue::List(Arc::new(list)))
        });
        lists.collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |column| column.len());
        for row in 0..rows {
            let values: Vec<ArrayRef> = states.iter().map(|column| column.as_list::<i32>().value(row)).collect();
            self.update_batch(&values)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let first = self.column(0)?;
        match self.what {
            What::Single => match first.len() {
                0 => ScalarValue::try_from(first.data_type()),
                _ => ScalarValue::try_from_array(&first, 0),
            },
            What::JsonArray => {
                let nulls = self.keeps_nulls(&self.column(1)?);
                let items = first.as_string_view().iter().filter(|item| nulls || item.is_some());
                let items: Vec<&str> = items.map(|item| item.unwrap_or("null")).collect();
                Ok(ScalarValue::Utf8View(Some(format!("[{}]", items.join(",")))))
            }
            What::JsonObject => {
                let (values, nulls) = (self.column(1)?, self.keeps_nulls(&self.column(2)?));
                let mut fields: BTreeMap<&str, Option<&str>> = BTreeMap::new();
                for (key, value) in first.as_string_view().iter().zip(values.as_string_view().iter()) {
                    let Some(key) = key else { return exec_err!("the key of JSON_OBJECTAGG is NULL") };
                    if fields.insert(key, value).is_some() {
                        return exec_err!("JSON_OBJECTAGG has the key '{key}' twice in one group");
                    }
                }
                let mut text = "{".to_string();
                for (key, value) in fields.into_iter().filter(|(_, value)| nulls || value.is_some()) {
                    if text.len() > 1 {
                        text.push(',');
                    }
                    write_json_text(key, &mut text);
                    text.push(':');
                    text.push_str(value.unwrap_or("null"));
                }
                text.push('}');
                Ok(ScalarValue::Utf8View(Some(text)))
            }
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.columns.iter().flatten().map(|array| array.get_array_memory_size()).sum::<usize>()
    }
}
