//! The nodes that both runtimes share beyond DataFusion's own: event time and windows.
//!
//! A table is bound as `Scan` (physical and metadata columns) → `Projection` (computed columns) → [`WatermarkNode`]; a window, written as a
//! table function or as a legacy group window, is a [`WindowNode`]. In batch the watermark node is left out and the window node becomes a
//! projection; in streaming both are operators. A table whose rows are replaced by their key has an [`UpsertNode`] above the watermark as a stream; in
//! batch it is a projection over each key's last row.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, Result as DfResult};
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
    /// Windows of `size`, one beginning each `slide`.
    Hop {
        /// Length, above 0.
        size: i64,
        /// From one beginning to the next, above 0; may be more than `size`.
        slide: i64,
        /// Shift; its absolute value is below `size`.
        offset: i64,
    },
    /// Windows of `step`, 2 · `step` … `size` that begin together, every `size`.
    Cumulate {
        /// Length of the longest, a whole number of steps.
        size: i64,
        /// Length of the shortest, above 0.
        step: i64,
        /// Shift; its absolute value is below `size`.
        offset: i64,
    },
    /// Rows of one key that follow each other within `gap`; the window ends `gap` after the last.
    Session {
        /// The longest pause inside a session, above 0.
        gap: i64,
    },
}

impl WindowKind {
    /// The window function's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tumble { .. } => "TUMBLE",
            Self::Hop { .. } => "HOP",
            Self::Cumulate { .. } => "CUMULATE",
            Self::Session { .. } => "SESSION",
        }
    }
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

/// Keeps each key's newest row: the changes of a table whose rows are replaced by their key. Its output is its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpsertNode {
    /// Where rows come from.
    pub input: Arc<LogicalPlan>,
    /// The name of the key column.
    pub key: String,
    /// The name of the Boolean column that says that a key's row is deleted.
    pub deleted: String,
}

impl PartialOrd for UpsertNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.key, &self.deleted).partial_cmp(&(&other.key, &other.deleted))
    }
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
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // Its output is its input; the expression's own columns are added by the optimizer.
        let time = self.schema.fields().iter().position(|field| *field.name() == self.column)?;
        Some(vec![with_column(output_columns.iter().copied(), time)])
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watermark: {} AS {}", self.column, self.expression)
    }
    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let (Some(expression), Some(input)) = (exprs.pop(), inputs.pop()) else {
            return datafusion::common::internal_err!("a watermark has one expression and one input");
        };
        let schema = schema_over(input.schema(), &self.schema, 0)?;
        Ok(Self { input: Arc::new(input), expression, column: self.column.clone(), schema })
    }
}

impl UserDefinedLogicalNodeCore for UpsertNode {
    fn name(&self) -> &str {
        "Upsert"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        // A filter below would bring old rows back.
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let place = |name: &String| self.schema().fields().iter().position(|field| field.name() == name);
        let with_key = with_column(output_columns.iter().copied(), place(&self.key)?);
        Some(vec![with_column(with_key.into_iter(), place(&self.deleted)?)])
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upsert: by {}, deleted where {}", self.key, self.deleted)
    }
    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let Some(input) = inputs.pop() else {
            return datafusion::common::internal_err!("an upsert has one input");
        };
        Ok(Self { input: Arc::new(input), ..self.clone() })
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
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema().fields();
        let time = input.iter().position(|field| *field.name() == self.time_column)?;
        Some(vec![with_column(output_columns.iter().copied().filter(|column| *column < input.len()), time)])
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window: {} {:?}", self.time_column, self.kind)
    }
    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let Some(input) = inputs.pop() else {
            return datafusion::common::internal_err!("a window has one input");
        };
        let schema = schema_over(input.schema(), &self.schema, 3)?;
        Ok(Self { input: Arc::new(input), time_column: self.time_column.clone(), kind: self.kind, schema })
    }
}

/// Columns in their order, `column` among them.
fn with_column(columns: impl Iterator<Item = usize>, column: usize) -> Vec<usize> {
    columns.chain([column]).collect::<std::collections::BTreeSet<usize>>().into_iter().collect()
}

/// A node's schema over an input that may have lost columns: the input's columns as the node declared them, then its own last `added`.
fn schema_over(input: &DFSchemaRef, declared: &DFSchemaRef, added: usize) -> DfResult<DFSchemaRef> {
    if input.fields().len() + added == declared.fields().len() {
        return Ok(Arc::clone(declared));
    }
    let own = declared.fields().len() - added;
    let known: Vec<_> = declared.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    let kept = input.iter().map(|(qualifier, field)| {
        let same = known[..own].iter().find(|(q, f)| q.as_ref() == qualifier && f.name() == field.name());
        same.cloned().unwrap_or_else(|| (qualifier.cloned(), Arc::clone(field)))
    });
    let fields = kept.chain(known[own..].iter().cloned()).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, declared.metadata().clone())?))
}
