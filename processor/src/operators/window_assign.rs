//! Puts rows into windows: a column kernel from event time to `window_start`, `window_end` and `window_time`.
//!
//! Windows before 1970 are floored, not truncated. TIMESTAMP_LTZ is cut in the session's zone, which is UTC for now.

use std::sync::Arc;

use aquifer_model::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use crate::plan::WindowKind;

/// Floors a time column to whole milliseconds since 1970. Fails for another type, and for a zone other than UTC.
pub(crate) fn milliseconds(column: &ArrayRef) -> Result<Int64Array> {
    let unit = match column.data_type() {
        DataType::Timestamp(unit, None) => *unit,
        DataType::Timestamp(unit, Some(zone)) if matches!(zone.as_ref(), "UTC" | "+00:00" | "Z") => *unit,
        DataType::Timestamp(_, Some(zone)) => {
            return Err(Error::unsupported(format!(
                "windows and watermarks in the time zone `{zone}`: only UTC for now"
            )));
        }
        other => return Err(Error::invalid(format!("a time column is TIMESTAMP or TIMESTAMP_LTZ, not {other}"))),
    };
    let whole = cast(column, &DataType::Int64)?;
    let whole = whole.as_primitive::<Int64Type>();
    Ok(match unit {
        TimeUnit::Second => whole.try_unary(|value| {
            value.checked_mul(1000).ok_or_else(|| Error::invalid(format!("the time {value} s is out of range")))
        })?,
        TimeUnit::Millisecond => whole.clone(),
        TimeUnit::Microsecond => whole.unary(|value| value.div_euclid(1000)),
        TimeUnit::Nanosecond => whole.unary(|value| value.div_euclid(1_000_000)),
    })
}

/// The windows that a time is in, in order of their starts (CUMULATE: of their ends), each as start and end. Not for SESSION, whose windows depend on other
/// rows. Fails where a window would leave the range of 64 bits.
pub(crate) fn windows_of(kind: WindowKind, time: i64, mut each: impl FnMut(i64, i64)) -> Result<()> {
    let far = || Error::invalid(format!("the event time {time} ms is too far away for a window of {}", kind.name()));
    let floor = |offset: i64, step: i64| {
        let into = (i128::from(time) - i128::from(offset)).rem_euclid(i128::from(step)) as i64;
        time.checked_sub(into).ok_or_else(far)
    };
    match kind {
        WindowKind::Tumble { size, offset } => {
            let start = floor(offset, size)?;
            each(start, start.checked_add(size).ok_or_else(far)?);
        }
        WindowKind::Hop { size, slide, offset } => {
            let last = floor(offset, slide)?;
            last.checked_add(size).ok_or_else(far)?;
            // The first window is the earliest that ends behind the time.
            let behind = (size - 1 - (time - last)).div_euclid(slide);
            for n in (0..=behind).rev() {
                let start = n.checked_mul(slide).and_then(|back| last.checked_sub(back)).ok_or_else(far)?;
                each(start, start + size);
            }
        }
        WindowKind::Cumulate { size, step, offset } => {
            let start = floor(offset, size)?;
            start.checked_add(size).ok_or_else(far)?;
            for n in (time - start) / step + 1..=size / step {
                each(start, start + n * step);
            }
        }
        WindowKind::Session { .. } => return Err(Error::internal("the windows of SESSION depend on other rows")),
    }
    Ok(())
}

/// The columns `window_start`, `window_end` and `window_time` of a tumbling window, of these types. A NULL time is an error.
pub(crate) fn assign(kind: WindowKind, time: &ArrayRef, types: [&DataType; 3]) -> Result<[ArrayRef; 3]> {
    let WindowKind::Tumble { size, offset } = kind else {
        return Err(Error::internal(format!("{} puts a row into several windows", kind.name())));
    };
    let times = milliseconds(time)?;
    if times.null_count() > 0 {
        return Err(Error::invalid(
            "a row's event time is NULL, so it belongs to no window; leave such rows out with `WHERE … IS NOT NULL`",
        ));
    }
    let mut starts = Vec::with_capacity(times.len());
    // Neighbours mostly share a window: then nothing is divided.
    let mut window = 0..0;
    for time in times.values() {
        if !window.contains(time) {
            let into = (i128::from(*time) - i128::from(offset)).rem_euclid(i128::from(size)) as i64;
            let found = time.checked_sub(into).and_then(|start| Some(start..start.checked_add(size)?));
            window = found.ok_or_else(|| {
                Error::invalid(format!("the event time {time} ms is too far away for a window of {size} ms"))
            })?;
        }
        starts.push(window.start);
    }
    let starts = Int64Array::from(starts);
    let ends: Int64Array = starts.unary(|start| start + size);
    let last: Int64Array = ends.unary(|end| end - 1);
    let typed = |values: Int64Array, data_type: &DataType| -> Result<ArrayRef> {
        let values: TimestampMillisecondArray = values.reinterpret_cast();
        Ok(cast(&values, data_type)?)
    };
    Ok([typed(starts, types[0])?, typed(ends, types[1])?, typed(last, types[2])?])
}

/// Milliseconds of a window's bound, as a column of `data_type`.
pub(super) fn bound(values: Vec<i64>, data_type: &DataType) -> Result<ArrayRef> {
    let values: ArrayRef = Arc::new(TimestampMillisecondArray::from(values));
    Ok(cast(&values, data_type)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{TimestampMicrosecondArray, TimestampNanosecondArray};
    use arrow::datatypes::TimestampMillisecondType;

    use super::*;

    #[test]
    fn windows_are_floored_before_1970_and_shifted_by_their_offset() {
        let cases: [(i64, i64, i64, i64); 9] = [
            (0, 10, 0, 0),
            (9, 10, 0, 0),
            (10, 10, 0, 10),
            (-1, 10, 0, -10),
            (-10, 10, 0, -10),
            (-11, 10, 0, -20),
            (2, 10, 3, -7),
            (3, 10, 3, 3),
            (-4, 10, -4, -4),
        ];
        for (time, size, offset, start) in cases {
            let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![time]));
            let plain = times.data_type().clone();
            let windows =
                assign(WindowKind::Tumble { size, offset }, &times, [&plain, &plain, &plain]).expect("assigns");
            let bounds: Vec<i64> =
                windows.iter().map(|w| w.as_primitive::<TimestampMillisecondType>().value(0)).collect();
            assert_eq!(bounds, [start, start + size, start + size - 1], "{time} in {size} from {offset}");
        }
    }

    #[test]
    fn a_row_is_in_each_window_that_holds_its_time() {
        let kinds = [
            WindowKind::Tumble { size: 10, offset: 3 },
            WindowKind::Hop { size: 10, slide: 4, offset: -2 },
            WindowKind::Hop { size: 4, slide: 10, offset: 1 },
            WindowKind::Hop { size: 9, slide: 3, offset: 0 },
            WindowKind::Cumulate { size: 12, step: 4, offset: 5 },
        ];
        for kind in kinds {
            // The oracle: all windows near, kept if they hold the time.
            let all: Vec<(i64, i64)> = match kind {
                WindowKind::Tumble { size, offset } => {
                    (-9..9).map(|n| (n * size + offset, n * size + offset + size)).collect()
                }
                WindowKind::Hop { size, slide, offset } => {
                    (-30..30).map(|n| (n * slide + offset, n * slide + offset + size)).collect()
                }
                WindowKind::Cumulate { size, step, offset } => (-9..9)
                    .flat_map(|n| (1..=size / step).map(move |m| (n * size + offset, n * size + offset + m * step)))
                    .collect(),
                WindowKind::Session { .. } => unreachable!("not tried"),
            };
            for time in -25..25 {
                let expected: Vec<_> =
                    all.iter().copied().filter(|(start, end)| (*start..*end).contains(&time)).collect();
                let mut found = Vec::new();
                windows_of(kind, time, |start, end| found.push((start, end))).expect("in range");
                assert_eq!(found, expected, "{time} in {kind:?}");
            }
        }
        assert!(windows_of(kinds[0], i64::MIN, |_, _| ()).is_err());
        assert!(windows_of(kinds[3], i64::MAX, |_, _| ()).is_err());
    }

    #[test]
    fn finer_units_are_floored_and_other_zones_refused() {
        let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![-1, 1999]));
        assert_eq!(milliseconds(&micros).expect("a time").values().as_ref(), [-1, 1]);
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1]).with_timezone("UTC"));
        assert_eq!(milliseconds(&nanos).expect("a time").values().as_ref(), [-1]);
        let paris: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]).with_timezone("Europe/Paris"));
        assert!(milliseconds(&paris).expect_err("a zone").to_string().contains("Europe/Paris"));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![None::<i64>]));
        let plain = times.data_type().clone();
        let kind = WindowKind::Tumble { size: 5, offset: 0 };
        assert!(assign(kind, &times, [&plain, &plain, &plain]).is_err());
    }
}
