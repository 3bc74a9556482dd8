use arrow::array::{Float32Array, Int8Array, Int32Array, StringViewArray, TimestampMillisecondArray};

use super::*;

fn spec(kind: AggregateKind, argument: &DataType, output: DataType) -> AggregateSpec {
    AggregateSpec {
        kind,
        argument: Some(0),
        argument_type: Some(argument.clone()),
        output: Arc::new(Field::new("result", output, true)),
    }
}

fn run(kind: AggregateKind, values: ArrayRef, output: DataType, weights: Option<&[i64]>) -> Result<ArrayRef> {
    let mut states = Accumulators::new(&[spec(kind, values.data_type(), output)])?;
    states.resize(2);
    let rows = RecordBatch::try_from_iter([("x", Arc::clone(&values))])?;
    states.update(&vec![1; values.len()], weights, &rows)?;
    let direct = states.read(&[1])?;
    let kept = states.state(&[1])?;
    let mut again = states.fresh();
    again.resize(1);
    again.load(&[0], &kept)?;
    assert_eq!(&again.read(&[0])?[0], &direct[0], "a snapshot changes nothing");
    assert!(kind == AggregateKind::Count || states.read(&[0])?[0].is_null(0), "a group without values is NULL");
    Ok(Arc::clone(&direct[0]))
}

fn text(array: &ArrayRef) -> String {
    arrow::util::display::array_value_to_string(array, 0).expect("prints")
}

#[test]
fn results_have_flinks_types_and_values() {
    use AggregateKind::{Average, Count, Max, Min, Sum};
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(-7), None, Some(2)]));
    let decimals: ArrayRef = Arc::new(
        Decimal128Array::from(vec![Some(100), Some(100), Some(-1)]).with_precision_and_scale(5, 2).expect("fits"),
    );
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), Some("ab"), None]));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![-1, 5, 3]));
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![1.5, -2.0, 0.25]));
    let time = times.data_type().clone();
    let cases: Vec<(AggregateKind, &ArrayRef, DataType, &str)> = vec![
        (Count, &ints, DataType::Int64, "2"),
        (Sum, &ints, DataType::Int32, "-5"),
        (Average, &ints, DataType::Int32, "-2"),
        (Average, &ints, DataType::Float64, "-2.5"),
        (Min, &ints, DataType::Int32, "-7"),
        (Max, &ints, DataType::Int32, "2"),
        (Sum, &decimals, DataType::Decimal128(38, 2), "1.99"),
        (Average, &decimals, DataType::Decimal128(38, 6), "0.663333"),
        (Max, &decimals, DataType::Decimal128(5, 2), "1.00"),
        (Min, &texts, DataType::Utf8View, "a"),
        (Max, &texts, DataType::Utf8View, "ab"),
        (Min, &times, time.clone(), "1969-12-31T23:59:59.999"),
        (Max, &times, time, "1970-01-01T00:00:00.005"),
        (Sum, &floats, DataType::Float32, "-0.25"),
        (Max, &floats, DataType::Float32, "1.5"),
        (Min, &floats, DataType::Float32, "-2.0"),
    ];
    for (kind, values, output, expected) in cases {
        let result = run(kind, Arc::clone(values), output.clone(), None).expect("computes");
        assert_eq!((result.data_type(), text(&result).as_str()), (&output, expected), "{kind:?}");
    }
}

#[test]
fn an_overflow_is_an_error_and_only_the_result_can_overflow() {
    let tiny: ArrayRef = Arc::new(Int8Array::from(vec![100, 100]));
    let error = run(AggregateKind::Sum, Arc::clone(&tiny), DataType::Int8, None).expect_err("200 is no TINYINT");
    assert!(error.to_string().contains("does not fit"), "{error}");
    let back: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, i64::MAX]));
    let result = run(AggregateKind::Sum, back, DataType::Int64, Some(&[1, 1, -1])).expect("fits in the end");
    assert_eq!(text(&result), i64::MAX.to_string());
}

#[test]
fn what_is_taken_back_does_not_count() {
    let values: ArrayRef = Arc::new(Int32Array::from(vec![10, 20, 10]));
    let weights = [1, 1, -1];
    assert_eq!(
        text(&run(AggregateKind::Average, Arc::clone(&values), DataType::Int32, Some(&weights)).expect("computes")),
        "20"
    );
    assert!(run(AggregateKind::Max, values, DataType::Int32, Some(&weights)).is_err());
}

#[test]
fn whole_numbers_and_times_are_ordered_as_their_row_encoding_is() {
    use arrow::array::{Date32Array, Int16Array, Int64Array, Time32SecondArray, Time64NanosecondArray};
    let (near, far) = (vec![-3i64, 0, 7], vec![i64::MIN, -1, 0, 1, i64::MAX]);
    let small: Vec<i32> = vec![i32::MIN, -1, 0, 1, i32::MAX];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![i8::MIN, -1, 0, 1, i8::MAX])),
        Arc::new(Int16Array::from(vec![i16::MIN, -1, 0, 1, i16::MAX])),
        Arc::new(Int32Array::from(small.clone())),
        Arc::new(Int64Array::from(far.clone())),
        Arc::new(Date32Array::from(small.clone())),
        Arc::new(Time32SecondArray::from(small)),
        Arc::new(Time64NanosecondArray::from(near)),
        Arc::new(TimestampMillisecondArray::from(far)),
    ];
    for column in columns {
        let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())]).expect("has an order");
        let encoded = converter.convert_columns(&[Arc::clone(&column)]).expect("encodes");
        let numbers = ordered(&column).expect("casts").expect("a whole number");
        for row in 0..column.len() {
            assert_eq!(numbers(row), pack(&encoded.row(row).data()[1..]), "{} {row}", column.data_type());
        }
    }
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
    assert!(ordered(&floats).expect("asked").is_none());
}
