//! Messages larger than an entry: taken apart into chunks, and put together again under bounds.
//!
//! ```text
//!  message ─compress─► payload ─cut─► A0 A1 A2        on the wire: A0 B0 A1 C B1 A2 …
//!  A0 held, B0 held, A1 held, C given, B1 given as B whole, A2 given as A whole
//! ```
//!
//! A chunked message is given as one entry, as if it had never been cut, in its last chunk's place. A chunk whose earlier ones are not known is an
//! orphan: the caller may look for them further back. A chunk that comes again is passed over; a first chunk that comes again begins anew.
//!
//! What waits is held as the slices of what was received, which a short one would keep alive whole: short ones are copied, one behind the other.

use std::collections::VecDeque;

use aquifer_model::{Error, Result};
use bytes::{Bytes, BytesMut};
use prost::Message;
use pulsar::message::proto::MessageMetadata;

use crate::entry::{EntryLimits, EntrySpec, NewMessage, ParsedEntry, build_entry, frame, with_broker_metadata_of};

/// What entries' heads and what the broker may add cost beside metadata and payload, in bytes.
const HEAD_BYTES: usize = 10;
/// Chunks that are shorter, or less than half of their entry, are copied: a slice keeps the memory that it was read into, 128 KiB or a longer frame. The others so
/// keep about twice their own bytes at most.
const COPIED_BYTES: usize = 64 * 1024;
/// What names a chunked message is not longer.
const MAX_ID_BYTES: usize = 64 * 1024;
/// The varints of the chunk fields are at most so much longer in a later chunk than in the first.
const FIELD_SLACK: usize = 16;

/// One message as entries of at most `max_entry_bytes`: itself if it fits, else its chunks. Fails with `Invalid` if not even the metadata fits.
pub fn build_chunks(spec: &EntrySpec, message: &NewMessage<'_>, max_entry_bytes: usize) -> Result<Vec<Bytes>> {
    let spec = EntrySpec { batched: false, ..spec.clone() };
    let whole = build_entry(&spec, std::slice::from_ref(message))?;
    if whole.len() <= max_entry_bytes {
        return Ok(vec![whole]);
    }
    let unlimited = EntryLimits { max_entry_bytes: usize::MAX, max_inflated_bytes: usize::MAX };
    let ParsedEntry { mut metadata, payload } = ParsedEntry::parse(&whole, &unlimited)?;
    let too_long = |_| Error::invalid("a message above 2 GiB cannot be cut into chunks");
    metadata.uuid = Some(format!("{}-{}", spec.producer_name, message.sequence_id));
    metadata.total_chunk_msg_size = Some(i32::try_from(payload.len()).map_err(too_long)?);
    metadata.num_chunks_from_msg = Some(1);
    metadata.chunk_id = Some(0);
    let piece = max_entry_bytes
        .checked_sub(HEAD_BYTES + metadata.encoded_len() + FIELD_SLACK)
        .filter(|piece| *piece > 0)
        .ok_or_else(|| {
            Error::invalid(format!("a message's key and properties alone are over {max_entry_bytes} bytes"))
        })?;
    let count = i32::try_from(payload.len().div_ceil(piece)).map_err(too_long)?;
    metadata.num_chunks_from_msg = Some(count);
    let mut entries = Vec::with_capacity(count as usize);
    for (index, from) in (0..payload.len()).step_by(piece).enumerate() {
        metadata.chunk_id = Some(index as i32);
        entries.push(frame(&metadata, &payload[from..payload.len().min(from + piece)]));
    }
    Ok(entries)
}

/// An entry that holds no message, to stand where one was taken out: who counts entries or waits for a position still sees it pass. What cannot be
/// read is given as it came.
pub fn without_messages(entry: &Bytes) -> Bytes {
    let Ok(ParsedEntry { metadata, .. }) = ParsedEntry::parse(entry, &EntryLimits::default()) else {
        return entry.clone();
    };
    let empty = MessageMetadata {
        producer_name: metadata.producer_name,
        sequence_id: metadata.sequence_id,
        publish_time: metadata.publish_time,
        // As the broker's own markers are.
        marker_type: Some(0),
        ..Default::default()
    };
    frame(&empty, &[])
}

/// What may wait for its last chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkBounds {
    /// So many messages at once; the oldest is given up for one more.
    pub max_open: usize,
    /// So many bytes of all of them; also the longest message that is put together.
    pub max_bytes: usize,
}

impl Default for ChunkBounds {
    fn default() -> Self {
        Self { max_open: 100, max_bytes: 64 * 1024 * 1024 }
    }
}

impl ChunkBounds {
    /// Where a message may inflate to so many bytes: what waits is not bound lower than by default, as the messages of many producers wait at once.
    pub fn of_inflated(bytes: usize) -> Self {
        let default = Self::default();
        Self { max_bytes: bytes.max(default.max_bytes), ..default }
    }
}

/// What becomes of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is to be given: as it came, or whole.
    Given(Bytes),
    /// It is kept, or of no use: nothing is to be given for it.
    Held,
    /// It is a chunk of a message whose earlier chunks are not known.
    Orphan {
        /// The message.
        message: ChunkedId,
        /// Whether it is the last chunk.
        last: bool,
    },
}

/// What tells chunked messages apart: producer and UUID.
pub type ChunkedId = (String, String);

/// Puts chunks together.
#[derive(Debug)]
pub struct ChunkJoiner {
    bounds: ChunkBounds,
    limits: EntryLimits,
    /// Oldest first.
    open: VecDeque<Open>,
    bytes: usize,
}

/// A message of which some chunks are there.
#[derive(Debug)]
struct Open {
    id: ChunkedId,
    /// How many.
    chunks: usize,
    /// Their bytes: long ones as they came, and runs of short ones.
    parts: Vec<Bytes>,
    /// The short ones behind those in `parts`.
    copied: Vec<u8>,
    bytes: usize,
}

impl Open {
    /// Adds the next chunk, which came in an entry of so many bytes.
    fn add(&mut self, chunk: Bytes, entry_bytes: usize) {
        self.chunks += 1;
        self.bytes += chunk.len();
        if chunk.len() < COPIED_BYTES.max(entry_bytes / 2) {
            self.copied.extend_from_slice(&chunk);
            return;
        }
        if !self.copied.is_empty() {
            self.parts.push(std::mem::take(&mut self.copied).into());
        }
        self.parts.push(chunk);
    }
}

impl ChunkJoiner {
    /// One with nothing open.
    pub fn new(bounds: ChunkBounds) -> Self {
        Self { bounds, limits: EntryLimits::default(), open: VecDeque::new(), bytes: 0 }
    }

    /// Whether some message waits for more of its chunks.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes the next entry of a partition. An entry that is no chunk, or none that can be right, is given as it came.
    pub fn take(&mut self, entry: &Bytes) -> Joined {
        let given = || Joined::Given(entry.clone());
        let Ok(parsed) = ParsedEntry::parse(entry, &self.limits) else { return given() };
        let ParsedEntry { metadata, payload } = parsed;
        let (Some(count), Some(chunk), Some(uuid)) = (metadata.num_chunks_from_msg, metadata.chunk_id, &metadata.uuid)
        else {
            return given();
        };
        let total = metadata.total_chunk_msg_size.and_then(|bytes| usize::try_from(bytes).ok());
        let (Ok(count), Ok(chunk), Some(total)) = (usize::try_from(count), usize::try_from(chunk), total) else {
            return given();
        };
        if count < 2 || chunk >= count || count > total || total > self.bounds.max_bytes {
            return given();
        }
        if metadata.producer_name.len() + uuid.len() > MAX_ID_BYTES {
            return given();
        }
        let id = (metadata.producer_name.clone(), uuid.clone());
        let last = chunk + 1 == count;
        let place = self.open.iter().position(|open| open.id == id);
        let place = match place {
            Some(place) if chunk == 0 => {
                self.give_up(place);
                self.begin(id, payload, entry.len());
                return Joined::Held;
            }
            None if chunk == 0 => {
                self.begin(id, payload, entry.len());
                return Joined::Held;
            }
            Some(place) if chunk < self.open[place].chunks => return Joined::Held,
            Some(place) if chunk == self.open[place].chunks && self.open[place].bytes + payload.len() <= total => place,
            other => {
                if let Some(place) = other {
                    self.give_up(place);
                }
                return Joined::Orphan { message: id, last };
            }
        };
        self.bytes += payload.len();
        self.open[place].add(payload, entry.len());
        if last {
            let done = self.give_up(place).filter(|done| done.bytes == total);
            // What the broker says of a message is what it says of its last chunk.
            let joined = |done: Open| Joined::Given(with_broker_metadata_of(entry, join(metadata, &done)));
            return done.map_or_else(given, joined);
        }
        self.make_room();
        Joined::Held
    }

    fn begin(&mut self, id: ChunkedId, payload: Bytes, entry_bytes: usize) {
        self.bytes += payload.len();
        let mut open = Open { id, chunks: 0, parts: Vec::new(), copied: Vec::new(), bytes: 0 };
        open.add(payload, entry_bytes);
        self.open.push_back(open);
        self.make_room();
    }

    fn give_up(&mut self, place: usize) -> Option<Open> {
        let open = self.open.remove(place)?;
        self.bytes -= open.bytes;
        Some(open)
    }

    fn make_room(&mut self) {
        while self.open.len() > self.bounds.max_open || self.bytes > self.bounds.max_bytes {
            self.give_up(0);
        }
    }
}

/// The entry that the message would be, had it never been cut.
fn join(mut metadata: MessageMetadata, open: &Open) -> Bytes {
    metadata.uuid = None;
    metadata.num_chunks_from_msg = None;
    metadata.chunk_id = None;
    metadata.total_chunk_msg_size = None;
    let mut payload = BytesMut::with_capacity(open.bytes);
    open.parts.iter().for_each(|part| payload.extend_from_slice(part));
    payload.extend_from_slice(&open.copied);
    frame(&metadata, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Compression, summarize};

    fn spec(name: &str, compression: Compression) -> EntrySpec {
        EntrySpec { producer_name: name.into(), compression, ..Default::default() }
    }

    /// Bytes that no codec makes shorter.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn message(sequence_id: i64, payload: &[u8]) -> NewMessage<'_> {
        NewMessage { sequence_id, payload: Some(payload), key: Some(b"k"), ..Default::default() }
    }

    #[test]
    fn what_is_cut_is_put_together_again_whatever_comes_between() {
        let payload = noise(10_000);
        for compression in
            [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy]
        {
            let whole = build_entry(&spec("a", compression), &[message(7, &payload)]).expect("an entry");
            let first = build_chunks(&spec("a", compression), &message(7, &payload), 500).expect("chunks");
            let second = build_chunks(&spec("b", compression), &message(7, &payload), 700).expect("chunks");
            assert!(first.len() > 20 && first.iter().all(|entry| entry.len() <= 500));
            let small = build_entry(&spec("c", compression), &[message(1, b"x")]).expect("an entry");
            let mut joiner = ChunkJoiner::new(ChunkBounds::default());
            let mut given = Vec::new();
            let longest = first.len().max(second.len());
            for index in 0..longest {
                for entry in [first.get(index), second.get(index), Some(&small), first.get(index)].into_iter().flatten()
                {
                    if let Joined::Given(bytes) = joiner.take(entry) {
                        given.push(bytes);
                    }
                }
            }
            let wholes: Vec<_> = given.iter().filter(|bytes| **bytes != small).collect();
            assert!(wholes.contains(&&whole), "as if it had never been cut");
            assert_eq!(given.iter().filter(|bytes| **bytes == small).count(), longest);
            assert!(joiner.bytes <= 500, "only what the repeated first chunk began");
        }
    }

    #[test]
    fn what_is_taken_out_leaves_an_entry_without_messages() {
        let whole = build_entry(&spec("a", Compression::Zstd), &[message(7, b"some")]).expect("an entry");
        let summary = summarize(&without_messages(&whole), &EntryLimits::default()).expect("an entry");
        assert_eq!((summary.messages, summary.lowest_sequence_id, summary.producer_name.as_str()), (0, 7, "a"));
        assert_eq!(without_messages(&Bytes::from_static(b"odd")), Bytes::from_static(b"odd"));
    }

    #[test]
    fn a_whole_message_has_what_the_broker_said_of_its_last_chunk() {
        use crate::entry::broker_metadata;
        let payload = noise(1500);
        let chunks = build_chunks(&spec("a", Compression::None), &message(3, &payload), 600).expect("chunks");
        let whole = build_entry(&spec("a", Compression::None), &[message(3, &payload)]).expect("an entry");
        let mut joiner = ChunkJoiner::new(ChunkBounds::default());
        let mut given = Vec::new();
        for (number, chunk) in (0..).zip(&chunks) {
            // Field 2 of the broker's metadata is the index.
            let entry = [&[0x0e, 0x02, 0, 0, 0, 2, 0x10, number][..], chunk].concat().into();
            if let Joined::Given(bytes) = joiner.take(&entry) {
                given.push(bytes);
            }
        }
        assert_eq!(given.len(), 1);
        assert_eq!(broker_metadata(&given[0]).index, Some(chunks.len() as u64 - 1));
        assert_eq!(given[0].slice(8..), whole);
    }

    /// Whether `inner` lies in the memory of `outer`.
    fn lies_in(inner: &[u8], outer: &[u8]) -> bool {
        outer.as_ptr_range().contains(&inner.as_ptr())
    }

    #[test]
    fn short_chunks_keep_nothing_of_what_they_were_received_in() {
        // Chunks of each length, each received in front of a long rest.
        let lengths = [1, COPIED_BYTES, 1, 2, COPIED_BYTES - 1, COPIED_BYTES + 1, 5];
        let payload = noise(lengths.iter().sum());
        let mut metadata = MessageMetadata {
            producer_name: "a".into(),
            uuid: Some("a-1".into()),
            num_chunks_from_msg: Some(lengths.len() as i32 + 1),
            total_chunk_msg_size: Some(payload.len() as i32 + 1),
            ..MessageMetadata::default()
        };
        let mut joiner = ChunkJoiner::new(ChunkBounds::default());
        let (mut received, mut at) = (Vec::new(), 0);
        for (n, length) in lengths.into_iter().enumerate() {
            metadata.chunk_id = Some(n as i32);
            let chunk = frame(&metadata, &payload[at..at + length]);
            at += length;
            let memory = Bytes::from([&chunk[..], &[0; 1 << 17]].concat());
            assert_eq!(joiner.take(&memory.slice(..chunk.len())), Joined::Held);
            received.push(memory);
        }
        let open = &joiner.open[0];
        assert_eq!((open.chunks, open.bytes, joiner.bytes), (lengths.len(), payload.len(), payload.len()));
        let is_slice = |part: &[u8]| received.iter().any(|memory| lies_in(part, memory));
        let parts: Vec<_> = open.parts.iter().map(|part| (part.len(), is_slice(part))).collect();
        let short = (COPIED_BYTES + 2, false);
        assert_eq!(parts, [(1, false), (COPIED_BYTES, true), short, (COPIED_BYTES + 1, true)]);
        assert!(open.copied.len() == 5 && !is_slice(&open.copied));
        // What was received in front of short chunks is nobody's any more.
        let free: Vec<_> = received.into_iter().map(|memory| memory.is_unique()).collect();
        assert_eq!(free, [true, false, true, true, true, false, true]);

        metadata.chunk_id = Some(lengths.len() as i32);
        let Joined::Given(whole) = joiner.take(&frame(&metadata, b"!")) else { panic!("the last chunk") };
        let whole = ParsedEntry::parse(&whole, &EntryLimits::default()).expect("an entry");
        assert_eq!(whole.payload, [&payload[..], b"!"].concat());
        assert_eq!((joiner.is_empty(), joiner.bytes), (true, 0));
    }

    #[test]
    fn messages_above_the_default_are_put_together_where_they_may_inflate_to_more() {
        let payload = vec![7; 70 << 20];
        let chunks = build_chunks(&spec("a", Compression::None), &message(1, &payload), 30 << 20).expect("chunks");
        let whole = build_entry(&spec("a", Compression::None), &[message(1, &payload)]).expect("an entry");
        for (may_inflate_to, is_joined) in [(64 << 10, false), (64 << 20, false), (80 << 20, true)] {
            let mut joiner = ChunkJoiner::new(ChunkBounds::of_inflated(may_inflate_to));
            let last = chunks.iter().map(|chunk| joiner.take(chunk)).last();
            let expected = if is_joined { whole.clone() } else { chunks[2].clone() };
            assert!(last == Some(Joined::Given(expected)), "{may_inflate_to}");
            let limits = EntryLimits::of_inflated(may_inflate_to);
            let mut builder = crate::messages::MessageBatchBuilder::new(limits);
            let read =
                builder.append_entry(aquifer_model::Position::new(1, 1), if is_joined { &whole } else { &chunks[2] });
            match read {
                Ok(rows) => assert!(is_joined && rows == 1),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!is_joined && text.contains("73400320 bytes, above the limit of 67108864"), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_message_that_fits_is_not_cut() {
        let entries = build_chunks(&spec("a", Compression::None), &message(1, b"small"), 500).expect("one");
        assert_eq!(entries.len(), 1);
        assert_eq!(summarize(&entries[0], &EntryLimits::default()).expect("an entry").chunk, None);
        let error = build_chunks(&spec("a", Compression::None), &message(1, &noise(1000)), 30).expect_err("no room");
        assert_eq!(error.kind(), aquifer_model::ErrorKind::Invalid);
    }

    #[test]
    fn orphans_are_named_and_a_first_chunk_begins_anew() {
        let payload = noise(2000);
        let chunks = build_chunks(&spec("a", Compression::None), &message(3, &payload), 600).expect("chunks");
        let count = chunks.len();
        assert!(count >= 4);
        let mut joiner = ChunkJoiner::new(ChunkBounds::default());
        let id = ("a".to_string(), "a-3".to_string());
        assert_eq!(joiner.take(&chunks[1]), Joined::Orphan { message: id.clone(), last: false });
        assert_eq!(joiner.take(&chunks[count - 1]), Joined::Orphan { message: id.clone(), last: true });
        for chunk in [0, 1, 0, 1, 1, 2] {
            assert_eq!(joiner.take(&chunks[chunk]), Joined::Held, "{chunk}");
        }
        let rest: Vec<_> = chunks[3..].iter().map(|chunk| joiner.take(chunk)).collect();
        assert!(matches!(rest.last(), Some(Joined::Given(_))));
        assert!(joiner.is_empty());
        assert_eq!(joiner.take(&chunks[0]), Joined::Held);
        assert_eq!(joiner.take(&chunks[2]), Joined::Orphan { message: id, last: false }, "one is missing");
    }

    #[test]
    fn what_waits_is_bounded_and_impossible_chunks_pass_as_they_are() {
        let payload = noise(2000);
        let mut joiner = ChunkJoiner::new(ChunkBounds { max_open: 3, max_bytes: 5000 });
        for number in 0..50 {
            let chunks = build_chunks(&spec("a", Compression::None), &message(number, &payload), 600).expect("chunks");
            assert_eq!(joiner.take(&chunks[0]), Joined::Held);
            assert!(joiner.open.len() <= 3 && joiner.bytes <= 5000);
        }
        let large = noise(6000);
        let chunks = build_chunks(&spec("a", Compression::None), &message(99, &large), 600).expect("chunks");
        assert_eq!(joiner.take(&chunks[0]), Joined::Given(chunks[0].clone()), "longer than what may wait");
        let parsed = ParsedEntry::parse(&chunks[0], &EntryLimits::default()).expect("a chunk");
        for (count, chunk, total) in [(0, 0, 10), (-1, -1, 10), (3, 3, 10), (3, -1, 10), (i32::MAX, 0, 10), (3, 0, -1)]
        {
            let mut metadata = parsed.metadata.clone();
            metadata.num_chunks_from_msg = Some(count);
            metadata.chunk_id = Some(chunk);
            metadata.total_chunk_msg_size = Some(total);
            let odd = frame(&metadata, &parsed.payload);
            assert_eq!(joiner.take(&odd), Joined::Given(odd.clone()));
        }
        let garbage = Bytes::from_static(b"\x0e\x01garbage");
        assert_eq!(joiner.take(&garbage), Joined::Given(garbage.clone()));
    }
}
