//! A message's id in both tiers: made of its place, as Pulsar's clients write it.
//!
//! ```text
//!  ledger 12, entry 7, partition 2, batch index 0  ─►  text 12:7:2:0   bytes 08 0c 10 07 18 02 20 00 (MessageIdData)
//! ```
//!
//! Where the topic is not partitioned the text has -1, as clients have, and the bytes have no partition. A message that was sent alone has the batch
//! index 0: which entries were batches is not kept in the archive, and both tiers answer alike.

use std::fmt::Write;
use std::sync::Arc;

use aquifer_formats::varint::write_varint;
use aquifer_model::{Error, Partition, Result};
use arrow::array::{ArrayRef, AsArray, BinaryViewBuilder, StringViewBuilder};
use arrow::datatypes::{Int32Type, UInt64Type};

/// BinaryView: the message's id as `MessageIdData`, which clients' `MessageId.fromByteArray` and `deserialize` take.
pub const MESSAGE_ID: &str = "__message_id";
/// Utf8View: `ledger:entry:partition:batch index`.
pub const MESSAGE_ID_TEXT: &str = "__message_id_text";

/// Ledger, entry and batch index, as indices of `message_schema`.
pub(super) const COLUMNS: [usize; 3] = [0, 1, 2];

/// The ids of some rows, to be read.
pub(super) fn texts(
    partition: &Partition,
    messages: &[Option<ArrayRef>],
    from: usize,
    rows: usize,
) -> Result<ArrayRef> {
    let number = partition.index.map_or(-1, i64::from);
    let mut texts = StringViewBuilder::with_capacity(rows);
    let mut text = String::new();
    each(messages, from, rows, |ledger, entry, batch_index| {
        text.clear();
        // Writing into a text does not fail.
        let _ = write!(text, "{ledger}:{entry}:{number}:{batch_index}");
        texts.append_value(&text);
    })?;
    Ok(Arc::new(texts.finish()))
}

/// The ids of some rows as clients serialize them.
pub(super) fn bytes(
    partition: &Partition,
    messages: &[Option<ArrayRef>],
    from: usize,
    rows: usize,
) -> Result<ArrayRef> {
    let mut ids = BinaryViewBuilder::with_capacity(rows);
    let mut id = Vec::new();
    each(messages, from, rows, |ledger, entry, batch_index| {
        id.clear();
        let fields =
            [Some(ledger), Some(entry), partition.index.map(u64::from), Some(batch_index.unsigned_abs().into())];
        for (tag, value) in (1u8..).zip(fields) {
            if let Some(value) = value {
                id.push(tag << 3);
                write_varint(value, &mut id);
            }
        }
        ids.append_value(&id);
    })?;
    Ok(Arc::new(ids.finish()))
}

fn each(messages: &[Option<ArrayRef>], from: usize, rows: usize, mut take: impl FnMut(u64, u64, i32)) -> Result<()> {
    let [Some(ledger), Some(entry), Some(batch_index)] = COLUMNS.map(|index| messages[index].as_ref()) else {
        return Err(Error::internal("a message's place was not read"));
    };
    let (ledger, entry) = (ledger.as_primitive::<UInt64Type>(), entry.as_primitive::<UInt64Type>());
    let batch_index = batch_index.as_primitive::<Int32Type>();
    for row in from..from + rows {
        take(ledger.value(row), entry.value(row), batch_index.value(row));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, UInt64Array};
    use prost::Message;
    use pulsar::message::proto::MessageIdData;

    use super::*;

    #[test]
    fn an_id_is_what_clients_read_of_a_partition_and_of_a_topic_without_any() {
        let columns: Vec<Option<ArrayRef>> = vec![
            Some(Arc::new(UInt64Array::from(vec![1, 300, u64::MAX]))),
            Some(Arc::new(UInt64Array::from(vec![0, 128, 9]))),
            Some(Arc::new(Int32Array::from(vec![0, 200, 3]))),
        ];
        for (index, text) in [(Some(2), "300:128:2:200"), (None, "300:128:-1:200")] {
            let partition = Partition::new("persistent://public/default/t".parse().expect("a name"), index);
            let found = texts(&partition, &columns, 1, 2).expect("ids");
            assert_eq!((found.len(), found.as_string_view().value(0)), (2, text));
            let found = bytes(&partition, &columns, 1, 2).expect("ids");
            let id = MessageIdData::decode(found.as_binary_view().value(0)).expect("an id");
            assert_eq!((id.ledger_id, id.entry_id, id.batch_index), (300, 128, Some(200)));
            assert_eq!(id.partition.filter(|number| *number >= 0), index.map(|index| index as i32));
        }
    }
}
