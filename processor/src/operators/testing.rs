//! What the operators' tests share: changelogs as text, and several operators run as workers would, without timely.

use aquifer_model::{ChangeBatch, Epoch, Watermark};
use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::keys::{KeyCodec, with_hashes};
use crate::dataflow::operator::{EpochEnd, Operator, Output, Port, PortEnd, Snapshot, SnapshotReader, owner};

/// Changes as lines: the kind, then the values; times as milliseconds, NULL as `-`.
pub(crate) fn changelog(batches: &[ChangeBatch]) -> Vec<String> {
    let mut lines = vec![];
    for batch in batches {
        let columns: Vec<ArrayRef> = batch
            .rows()
            .columns()
            .iter()
            .map(|column| match column.data_type() {
                DataType::Timestamp(..) => cast(column, &DataType::Int64).expect("a time is a number"),
                _ => column.clone(),
            })
            .collect();
        for row in 0..batch.num_rows() {
            let mut line = batch.kind(row).text().to_string();
            for column in &columns {
                let text = if column.is_null(row) {
                    "-".to_string()
                } else {
                    arrow::util::display::array_value_to_string(column, row).expect("prints")
                };
                line.push(' ');
                line.push_str(&text);
            }
            lines.push(line);
        }
    }
    lines
}

/// An epoch's end with one port.
pub(crate) fn end(epoch: u64, watermark: i64) -> EpochEnd {
    let watermark = Watermark(watermark);
    EpochEnd {
        epoch: Epoch(epoch),
        watermark,
        ports: vec![PortEnd { watermark, idle: false, ended: watermark == Watermark::MAX }],
        processing_time_ms: 0,
    }
}

/// One epoch of a script.
#[derive(Debug, Clone)]
pub(crate) struct ScriptEpoch {
    pub(crate) batches: Vec<ChangeBatch>,
    pub(crate) watermark: i64,
}

/// Runs a script on `workers` operators with an exchange on `keys` before them; gives each epoch's changes, sorted if there are several workers, late
/// rows, and the snapshot after each epoch.
pub(crate) struct Workers {
    operators: Vec<Box<dyn Operator>>,
    codec: KeyCodec,
    keys: Vec<usize>,
    pub(crate) kept: Snapshot,
    pub(crate) late: u64,
}

impl Workers {
    pub(crate) fn new(
        make: &dyn Fn() -> Box<dyn Operator>,
        workers: usize,
        codec: KeyCodec,
        keys: &[usize],
        from: &Snapshot,
    ) -> Self {
        let operators = (0..workers).map(|worker| {
            let mut operator = make();
            operator.restore(&SnapshotReader::new(from, worker, workers)).expect("restores");
            operator
        });
        Self { operators: operators.collect(), codec, keys: keys.to_vec(), kept: from.clone(), late: 0 }
    }

    pub(crate) fn epoch(&mut self, number: u64, epoch: &ScriptEpoch) -> Vec<String> {
        let workers = self.operators.len();
        let mut lines = vec![];
        let mut out: Vec<Output> = (0..workers).map(|_| Output::default()).collect();
        for batch in &epoch.batches {
            let columns: Vec<ArrayRef> = self.keys.iter().map(|key| batch.rows().column(*key).clone()).collect();
            let encoded = self.codec.encode(&columns, batch.num_rows(), None).expect("encodes");
            let hashed = batch.with_rows(with_hashes(batch.rows(), encoded.hashes()).expect("adds")).expect("as long");
            for (worker, (operator, out)) in self.operators.iter_mut().zip(&mut out).enumerate() {
                let mine = (0..batch.num_rows() as u32)
                    .filter(|row| owner(encoded.hashes()[*row as usize], workers) == worker);
                let mine = hashed.take(&UInt32Array::from_iter_values(mine)).expect("takes");
                operator.on_batch(Port(0), mine, out).expect("takes the batch");
            }
        }
        for (operator, out) in self.operators.iter_mut().zip(&mut out) {
            operator.on_epoch_end(&end(number, epoch.watermark), out).expect("ends the epoch");
            let mut snapshot = Snapshot::default();
            operator.snapshot(&mut snapshot).expect("snapshots");
            self.kept.merge(snapshot);
            lines.extend(changelog(&out.batches));
            self.late += out.late_rows;
        }
        lines.sort();
        lines
    }

    pub(crate) fn state_keys(&self) -> u64 {
        self.operators.iter().map(|operator| operator.state_keys()).sum()
    }
}

/// Stops after every epoch, restores on 1, 2 and 3 workers, continues, and compares with the run that never stopped. Gives that run's changes by epoch.
pub(crate) fn check_restores(
    make: &dyn Fn() -> Box<dyn Operator>,
    codec: &dyn Fn() -> KeyCodec,
    keys: &[usize],
    script: &[ScriptEpoch],
) -> (Vec<Vec<String>>, u64) {
    let mut whole = Workers::new(make, 1, codec(), keys, &Snapshot::default());
    let mut stops = vec![];
    let mut expected = vec![];
    for (number, epoch) in script.iter().enumerate() {
        expected.push(whole.epoch(number as u64, epoch));
        stops.push((whole.kept.clone(), whole.late, whole.state_keys()));
    }
    for (stop, (snapshot, late, state_keys)) in stops.iter().enumerate() {
        for workers in 1..=3 {
            let mut again = Workers::new(make, workers, codec(), keys, snapshot);
            again.late = *late;
            assert_eq!(again.state_keys(), *state_keys, "stopped after epoch {stop}, {workers} workers");
            for (number, epoch) in script.iter().enumerate().skip(stop + 1) {
                let lines = again.epoch(number as u64, epoch);
                assert_eq!(lines, expected[number], "stopped after epoch {stop}, {workers} workers, epoch {number}");
            }
            assert_eq!((again.late, again.state_keys()), (whole.late, whole.state_keys()));
        }
    }
    (expected, whole.late)
}
