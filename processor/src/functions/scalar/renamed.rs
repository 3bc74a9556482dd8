//! A function of DataFusion's under Flink's name.
//!
//! The planner wraps a call by another name than the function's own in an alias, and the type of an alias is looked up twice: in nested calls that
//! doubles with every level. So a call is planned under its own name, and [`original`] takes the wrapper off when the plan is complete. It stays on
//! functions of arrays and maps, whose results do not say what their elements' fields said: there it puts that right.

use std::any::Any;
use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The function and its name here.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Renamed {
    name: &'static str,
    function: Arc<ScalarUDF>,
}

/// A function under another name.
pub(super) fn renamed(name: &'static str, function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Renamed { name, function }))
}

/// The function behind a name of ours; `None` if it has its own name.
pub fn original(function: &ScalarUDF) -> Option<Arc<ScalarUDF>> {
    let found: &dyn Any = function.inner().as_ref();
    let found = found.downcast_ref::<Renamed>().filter(|found| !found.gives_collections());
    found.map(|renamed| Arc::clone(&renamed.function))
}

impl Renamed {
    fn gives_collections(&self) -> bool {
        self.name.starts_with("ARRAY_") || self.name.starts_with("MAP_")
    }
}

impl ScalarUDFImpl for Renamed {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        self.function.signature()
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.function.return_type(types)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.function.return_field_from_args(args)
    }
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(types)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let promised = Arc::clone(&args.return_field);
        let value = self.function.inner().invoke_with_args(args)?;
        if value.data_type() == *promised.data_type() {
            return Ok(value);
        }
        Ok(match value {
            ColumnarValue::Array(column) => ColumnarValue::Array(cast(&column, promised.data_type())?),
            ColumnarValue::Scalar(one) => {
                ColumnarValue::Scalar(super::one_value(&cast(&one.to_array()?, promised.data_type())?)?)
            }
        })
    }
}
