//! The nodes that both runtimes share beyond DataFusion's own: event time and windows.
//!
//! A table is bound as `Scan` (physical and metadata columns) → `Projection` (computed columns) → [`WatermarkNode`]; a window, written as a
//! table function or as a legacy group window, is a [`WindowNode`]. In batch the watermark node is left out and the window node becomes a
//! projection; in streaming both are operators.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result as DfResult};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// Assigns watermarks by an expression over the input's columns. Its output is its input with the column marked as the time attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WatermarkNode {
    /// Where rows come from.
    pub input: Arc<LogicalPlan>,
    /// The time column's name.
    pub column: String,
    /// The watermark's value for a row, of the time column's type.
    pub expression: Expr,
    /// The input's schema, the time column marked.
    pub schema: DFSchemaRef,
}

/// How rows are put into windows. Times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowKind {
    /// Windows of `size`, side by side, the first beginning at `offset` after 1970.
    Tumble {
        /// Length, above 0.
        size: i64,
        /// Shift; its absolute value is below `size`.
        offset: i64,
    },
}

/// Adds `window_start`, `window_end` and `window_time` to each row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowNode {
    /// Where rows come from.
    pub input: Arc<LogicalPlan>,
    /// The time column's name: an event-time attribute in streaming.
    pub time_column: String,
    /// Which windows.
    pub kind: WindowKind,
    /// The input's columns and the three.
    pub schema: DFSchemaRef,
}

impl PartialOrd for WatermarkNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.column.partial_cmp(&other.column)
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.time_column, self.kind).partial_cmp(&(&other.time_column, other.kind))
    }
}

impl UserDefinedLogicalNodeCore for WatermarkNode {
    fn name(&self) -> &str {
        "Watermark"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![self.expression.clone()]
    }
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        // A filter below would change the watermark.
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watermark: {} AS {}", self.column, self.expression)
    }
    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let (Some(expression), Some(input)) = (exprs.pop(), inputs.pop()) else {
            return datafusion::common::internal_err!("a watermark has one expression and one input");
        };
        Ok(Self { input: Arc::new(input), expression, column: self.column.clone(), schema: Arc::clone(&self.schema) })
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        ["window_start", "window_end", "window_time"].map(String::from).into()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window: {} {:?}", self.time_column, self.kind)
    }
    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let Some(input) = inputs.pop() else {
            return datafusion::common::internal_err!("a window has one input");
        };
        Ok(Self {
            input: Arc::new(input),
            time_column: self.time_column.clone(),
            kind: self.kind,
            schema: Arc::clone(&self.schema),
        })
    }
}
