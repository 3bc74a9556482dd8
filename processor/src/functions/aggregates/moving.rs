//! Sums, averages and spreads of floating-point numbers over a frame that moves. Nothing is ever taken away from a total, which would leave the
//! rounding error of every number that has gone by: the frame is a queue of two stacks.
//!
//! ```text
//!   leaves ◄── [ v1+v2+v3 │ v2+v3 │ v3 ]   total of [ v4, v5 ] ◄── comes
//!              totals from each to the end  added as they come; turned over into totals when the left is empty
//! ```

use std::fmt::Debug;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::Accumulator;

/// What is asked of the frame's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Sum,
    Avg,
    /// The variance, or its square root; of a sample or of all.
    Spread {
        is_root: bool,
        is_sample: bool,
    },
}

/// How many numbers there are, their sum, and the sum of the squares of what they differ from their mean by.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    count: u64,
    sum: f64,
    squares: f64,
}

impl Total {
    fn of(value: f64) -> Self {
        Self { count: 1, sum: value, squares: 0.0 }
    }

    /// Both together. The squares as Chan, Golub and LeVeque (1979) put them together.
    fn and(self, other: Self) -> Self {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        let (here, there) = (self.count as f64, other.count as f64);
        let apart = other.sum / there - self.sum / here;
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares + apart * apart * here * there / (here + there),
        }
    }

    fn result(self, what: What) -> Option<f64> {
        match what {
            _ if self.count == 0 => None,
            What::Sum => Some(self.sum),
            What::Avg => Some(self.sum / self.count as f64),
            What::Spread { is_sample: true, .. } if self.count == 1 => None,
            What::Spread { is_root, is_sample } => {
                let variance = self.squares / (self.count - u64::from(is_sample)) as f64;
                Some(if is_root { variance.sqrt() } else { variance })
            }
        }
    }
}

/// The numbers of a frame; NULLs are not among them.
#[derive(Debug)]
pub(super) struct Moving {
    what: What,
    /// Totals from a number to the last before `come`; the oldest number's is on top.
    leaving: Vec<Total>,
    come: Vec<f64>,
    total_come: Total,
}

impl Moving {
    pub(super) fn new(what: What) -> Self {
        Self { what, leaving: Vec::new(), come: Vec::new(), total_come: Total::default() }
    }

    fn turn_over(&mut self) {
        let mut total = Total::default();
        for value in self.come.drain(..).rev() {
            total = Total::of(value).and(total);
            self.leaving.push(total);
        }
        self.total_come = Total::default();
    }
}

impl Accumulator for Moving {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let doubles = cast(&values[0], &DataType::Float64)?;
        for value in doubles.as_primitive::<Float64Type>().iter().flatten() {
            self.come.push(value);
            self.total_come = self.total_come.and(Total::of(value));
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for _ in 0..values[0].len() - values[0].logical_null_count() {
            if self.leaving.is_empty() {
                self.turn_over();
            }
            if self.leaving.pop().is_none() {
                return exec_err!("a number leaves a frame that it was never in");
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let total = self.leaving.last().copied().unwrap_or_default().and(self.total_come);
        Ok(ScalarValue::Float64(total.result(self.what)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.leaving.capacity() * size_of::<Total>() + self.come.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a moving frame has no state to be merged")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        exec_err!("a moving frame has no state to be merged")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use arrow::array::Float64Array;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn one(value: Option<f64>) -> [ArrayRef; 1] {
        [Arc::new(Float64Array::from(vec![value]))]
    }

    /// The shortest right program: from the frame's numbers alone, each time anew.
    fn anew(frame: &VecDeque<Option<f64>>, what: What) -> Option<f64> {
        let values: Vec<f64> = frame.iter().copied().flatten().collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        match what {
            _ if values.is_empty() => None,
            What::Sum => Some(values.iter().sum()),
            What::Avg => Some(mean),
            What::Spread { is_sample: true, .. } if values.len() == 1 => None,
            What::Spread { is_root, is_sample } => {
                let variance = squares / (count - f64::from(u8::from(is_sample)));
                Some(if is_root { variance.sqrt() } else { variance })
            }
        }
    }

    #[test]
    fn a_moving_frame_gives_what_its_numbers_alone_give() {
        let mut random = StdRng::seed_from_u64(7);
        for what in [
            What::Sum,
            What::Avg,
            What::Spread { is_root: true, is_sample: true },
            What::Spread { is_root: false, is_sample: false },
        ] {
            let (mut moving, mut frame) = (Moving::new(what), VecDeque::new());
            for step in 0..5_000 {
                if frame.is_empty() || random.random_bool(0.52) {
                    let value = match random.random_range(0..20) {
                        0 => None,
                        1 => Some(1e15),
                        2 if step % 7 == 0 => Some(f64::INFINITY),
                        _ => Some(random.random_range(-1.0..1.0)),
                    };
                    moving.update_batch(&one(value)).unwrap();
                    frame.push_back(value);
                } else {
                    let value = frame.pop_front().unwrap();
                    moving.retract_batch(&one(value)).unwrap();
                }
                let ScalarValue::Float64(given) = moving.evaluate().unwrap() else { panic!("no DOUBLE") };
                let expected = anew(&frame, what);
                // Numbers that cancel out leave an error of the size of the largest among them.
                let largest = frame.iter().flatten().fold(1.0f64, |largest, value| largest.max(value.abs()));
                let scale =
                    if matches!(what, What::Spread { is_root: false, .. }) { largest * largest } else { largest };
                let fits = match (given, expected) {
                    (Some(given), Some(expected)) if expected.is_finite() => {
                        (given - expected).abs() <= 1e-12 * scale * frame.len() as f64
                    }
                    (Some(given), Some(_)) => !given.is_finite(),
                    (given, expected) => given == expected,
                };
                assert!(fits, "{what:?} at step {step}: {given:?} is not {expected:?}");
            }
        }
    }
}
