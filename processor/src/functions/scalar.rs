//! Scalar functions by Flink's names: a table of kernels over columns, and one DataFusion function that runs them.
//!
//! ```text
//!  NAME(a, b) ─► Kernel { types wanted, type given, kernel } ─► arguments cast ─► kernel over whole columns
//! ```
//!
//! A kernel of text works on string views, of numbers on Arrow's arrays; nothing is looked up per row.

mod collections;
mod hashes;
mod json;
mod maps;
mod numbers;
mod patterns;
mod renamed;
mod texts;
mod times;

use std::sync::Arc;

use aquifer_formats::text::Tz;
use aquifer_model::sql_type::ColumnType;
use aquifer_model::{Error, Result, SqlType};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

pub(super) use json::write_text as write_json_text;
pub use renamed::original;

use super::session_zone;
use crate::batch::external;

/// What a kernel is told beside its arguments.
pub(super) struct Call<'a> {
    /// The session's zone; UTC if there is none.
    pub zone: Option<Tz>,
    /// Rows of the result.
    pub rows: usize,
    /// The result's field.
    pub result: &'a Field,
    /// The arguments' fields.
    pub fields: &'a [FieldRef],
}

/// Whether the arguments fit, and what is wanted of them: the types they are cast to, and the result's type.
pub(super) type Typing = fn(&[SqlType], &[Option<&ScalarValue>]) -> Option<(Vec<SqlType>, SqlType)>;

/// One function.
pub(super) struct Kernel {
    pub name: &'static str,
    /// How it is written, for errors.
    pub usage: &'static str,
    pub typing: Typing,
    pub volatility: Volatility,
    pub run: fn(&[ArrayRef], &Call<'_>) -> Result<ArrayRef>,
}

/// A kernel whose result depends on its arguments only.
pub(super) const fn pure(
    name: &'static str,
    usage: &'static str,
    typing: Typing,
    run: fn(&[ArrayRef], &Call<'_>) -> Result<ArrayRef>,
) -> Kernel {
    Kernel { name, usage, typing, volatility: Volatility::Immutable, run }
}

fn tables() -> [&'static [Kernel]; 8] {
    [
        texts::KERNELS,
        patterns::KERNELS,
        hashes::KERNELS,
        numbers::KERNELS,
        times::KERNELS,
        collections::KERNELS,
        maps::KERNELS,
        json::KERNELS,
    ]
}

/// Names of Flink's for functions of DataFusion's that mean the same.
const SAME: &[(&str, &str)] = &[
    ("MD5", "md5"),
    ("LN", "ln"),
    ("LOG10", "log10"),
    ("LOG2", "log2"),
    ("COT", "cot"),
    ("ATAN2", "atan2"),
    ("PI", "pi"),
    ("UUID", "uuid"),
    ("REVERSE", "reverse"),
    ("REPEAT", "repeat"),
    ("TRANSLATE", "translate"),
    ("STARTSWITH", "starts_with"),
    ("ENDSWITH", "ends_with"),
    ("ARRAY_DISTINCT", "array_distinct"),
    ("ARRAY_REVERSE", "array_reverse"),
    ("ARRAY_REMOVE", "array_remove_all"),
    ("ARRAY_UNION", "array_union"),
    ("ARRAY_INTERSECT", "array_intersect"),
    ("ARRAY_EXCEPT", "array_except"),
    ("ARRAY_MAX", "array_max"),
    ("ARRAY_MIN", "array_min"),
    ("ARRAY_JOIN", "array_to_string"),
    ("MAP_KEYS", "map_keys"),
    ("MAP_VALUES", "map_values"),
    ("$GREATEST", "greatest"),
    ("$LEAST", "least"),
];

/// A scalar function that Flink knows under this name, in any case. `theirs` finds DataFusion's own functions.
pub fn scalar(name: &str, theirs: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Option<Arc<ScalarUDF>> {
    let upper = name.to_ascii_uppercase();
    if let Some(kernel) = tables().into_iter().flatten().find(|kernel| kernel.name.eq_ignore_ascii_case(name)) {
        let signature = Signature::user_defined(kernel.volatility);
        return Some(Arc::new(ScalarUDF::from(Function { kernel, signature })));
    }
    let (known, own) = SAME.iter().find(|(known, _)| *known == upper)?;
    theirs(own).map(|function| renamed::renamed(known, function))
}

/// The names that [`scalar`] knows.
pub fn scalar_names() -> Vec<&'static str> {
    let ours = tables().into_iter().flatten().map(|kernel| kernel.name);
    ours.chain(SAME.iter().map(|(name, _)| *name)).filter(|name| !name.starts_with('$')).collect()
}

#[derive(Debug)]
struct Function {
    kernel: &'static Kernel,
    signature: Signature,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.kernel.name == other.kernel.name
    }
}

impl Eq for Function {}

impl std::hash::Hash for Function {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.kernel.name.hash(state);
    }
}

impl Function {
    fn wrong(&self, types: &[SqlType]) -> Error {
        let given: Vec<String> = types.iter().map(ToString::to_string).collect();
        Error::invalid(format!(
            "{}({}) does not exist: write {}",
            self.kernel.name,
            given.join(", "),
            self.kernel.usage
        ))
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.kernel.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _types: &[DataType]) -> datafusion::common::Result<DataType> {
        datafusion::common::internal_err!("a function's type depends on its arguments' fields")
    }
    fn coerce_types(&self, types: &[DataType]) -> datafusion::common::Result<Vec<DataType>> {
        let given = types.iter().map(SqlType::from_arrow).collect::<Result<Vec<_>>>().map_err(external)?;
        let none = vec![None; given.len()];
        let (wanted, _) = (self.kernel.typing)(&given, &none).ok_or_else(|| external(self.wrong(&given)))?;
        // A type that only differs in what Arrow cannot say stays as it is. So do texts of another layout: a cast would hide a literal that decides the
        // result's type; they are brought to one layout when the function runs.
        let coerced = wanted.iter().zip(types).map(|(wanted, given)| {
            let arrow = wanted.to_arrow();
            let is_text = arrow == DataType::Utf8View && matches!(given, DataType::Utf8 | DataType::LargeUtf8);
            if is_text || arrow.equals_datatype(given) { given.clone() } else { arrow }
        });
        Ok(coerced.collect())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> datafusion::common::Result<FieldRef> {
        let given = args.arg_fields.iter().map(|field| ColumnType::of_field(field).map(|found| found.sql_type));
        let given = given.collect::<Result<Vec<_>>>().map_err(external)?;
        let (_, result) =
            (self.kernel.typing)(&given, args.scalar_arguments).ok_or_else(|| external(self.wrong(&given)))?;
        let has_value = NOT_NULL.contains(&self.kernel.name)
            || (STRICT.contains(&self.kernel.name) && args.arg_fields.iter().all(|field| !field.is_nullable()));
        let result = if has_value { result.not_null() } else { result.nullable() };
        Ok(Arc::new(result.to_field(self.name())))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let zone = session_zone(&args.config_options).map_err(external)?;
        let one = !args.args.is_empty() && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if one { 1 } else { args.number_rows };
        let column = |arg: &ColumnarValue| -> datafusion::common::Result<ArrayRef> {
            let column = arg.to_array(rows)?;
            let other = matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8);
            Ok(if other { arrow::compute::cast(&column, &DataType::Utf8View)? } else { column })
        };
        let columns = args.args.iter().map(column).collect::<datafusion::common::Result<Vec<_>>>()?;
        let call = Call { zone, rows, result: &args.return_field, fields: &args.arg_fields };
        let result = (self.kernel.run)(&columns, &call).map_err(external)?;
        let result = if result.data_type() == args.return_field.data_type() {
            result
        } else {
            arrow::compute::cast(&result, args.return_field.data_type())?
        };
        Ok(if one { ColumnarValue::Scalar(one_value(&result)?) } else { ColumnarValue::Array(result) })
    }
    fn schema_name(&self, args: &[Expr]) -> datafusion::common::Result<String> {
        let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{}({})", self.kernel.name, args.join(",")))
    }
}

/// Functions that never give NULL.
const NOT_NULL: [&str; 11] = [
    "ARRAY",
    "MAP",
    "ROW",
    "NOW",
    "PROCTIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_ROW_TIMESTAMP",
    "LOCALTIMESTAMP",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "LOCALTIME",
];

/// Functions that give NULL of NULLs only.
const STRICT: [&str; 17] = [
    "UPPER",
    "LOWER",
    "CHAR_LENGTH",
    "CHARACTER_LENGTH",
    "CONCAT",
    "BTRIM",
    "LTRIM",
    "RTRIM",
    "REVERSE",
    "POSITION",
    "ABS",
    "CEIL",
    "FLOOR",
    "EXTRACT",
    "YEAR",
    "TIMESTAMPADD",
    "TIMESTAMPDIFF",
];

/// The one row of a column. What its fields say beside their types stays, which `ScalarValue::try_from_array` drops.
pub(super) fn one_value(column: &ArrayRef) -> datafusion::common::Result<ScalarValue> {
    Ok(match column.data_type() {
        DataType::List(_) => ScalarValue::List(Arc::new(column.as_list::<i32>().clone())),
        DataType::Map(..) => ScalarValue::Map(Arc::new(column.as_map().clone())),
        DataType::Struct(_) => ScalarValue::Struct(Arc::new(column.as_struct().clone())),
        _ => ScalarValue::try_from_array(column, 0)?,
    })
}

/// What typings are made of.
pub(super) mod want {
    use aquifer_model::SqlType;

    use super::super::types;

    pub fn is_text(one: &SqlType) -> bool {
        types::is_text(one) || *one == SqlType::Null
    }
    pub fn is_number(one: &SqlType) -> bool {
        types::is_number(one) || *one == SqlType::Null
    }
    pub fn is_integer(one: &SqlType) -> bool {
        matches!(one, SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt | SqlType::Null)
    }
    pub fn is_time(one: &SqlType) -> bool {
        matches!(
            one,
            SqlType::Date | SqlType::Time(_) | SqlType::Timestamp(_) | SqlType::TimestampLtz(_) | SqlType::Null
        )
    }
    pub fn is_moment(one: &SqlType) -> bool {
        matches!(one, SqlType::Date | SqlType::Timestamp(_) | SqlType::TimestampLtz(_) | SqlType::Null)
    }

    /// Arguments by letters: `s` text, `i` integer, `n` any number as DOUBLE, `b` BOOLEAN.
    pub fn letters(types: &[SqlType], letters: &str) -> Option<Vec<SqlType>> {
        if types.len() != letters.len() {
            return None;
        }
        types
            .iter()
            .zip(letters.chars())
            .map(|(one, letter)| match letter {
                's' => is_text(one).then_some(SqlType::STRING),
                'i' => is_integer(one).then_some(SqlType::BigInt),
                'n' => is_number(one).then_some(SqlType::Double),
                'b' => matches!(one, SqlType::Boolean | SqlType::Null).then_some(SqlType::Boolean),
                _ => None,
            })
            .collect()
    }

    /// The first of several lists of letters that fits.
    pub fn any_of(types: &[SqlType], forms: &[&str], result: SqlType) -> Option<(Vec<SqlType>, SqlType)> {
        forms.iter().find_map(|form| letters(types, form)).map(|wanted| (wanted, result))
    }
}
