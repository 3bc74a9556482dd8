//! Fetches the row groups of an archive's files, in order and ahead of whoever decodes them.
//!
//! ```text
//!  files ─► left out by their manifest? ─► footer (checked) ─► row groups: behind? pruned? ─► bytes of the needed columns ─► queue, bounded in bytes
//! ```

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aquifer_formats::messages::{column, message_schema};
use aquifer_formats::payload::Format;
use aquifer_model::{Error, Interval, Partition, Result};
use arrow::datatypes::{FieldRef, SchemaRef};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection};
use parquet::arrow::push_decoder::ParquetPushDecoderBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::dead_letters::OF_LETTERS;
use super::pages::Pages;
use super::ranges::{Ranges, told_time};
use super::row_groups::{Placement, RowGroups, touches, wanted_of};
use super::stored::{EarlierNames, Payloads};
use super::{ReadFilter, blooms};
use crate::archive::ArchiveLocation;
use crate::archive::chain::Chain;
use crate::archive::hostile::{
    MAX_FOOTER_BYTES, PageLimit, check_end, check_footer, check_metadata, check_pages, footer_bytes, guarded,
};
use crate::archive::manifest::DataFile;

/// Bytes of row groups that may lie fetched and not yet decoded, of one partition. One row group may be larger.
const AHEAD_BYTES: usize = 48 << 20;
/// The same, of all partitions together; each may have one row group beside them, so that none waits for another.
const SHARED_BYTES: usize = 128 << 20;
/// Row groups that may lie fetched and not yet decoded.
const AHEAD_GROUPS: usize = 4;
/// The first guess of how much of a file's end holds its footer.
const TAIL_BYTES: u64 = 64 << 10;

/// What to fetch of each file.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub partition: Partition,
    /// The stretch to read.
    pub interval: Interval,
    /// Message columns, by index of [`message_schema`].
    pub messages: Vec<usize>,
    /// Whether messages that cannot be read become dead letters.
    pub letters: bool,
    /// Value columns.
    pub values: SchemaRef,
    /// All value columns of the table.
    pub table: SchemaRef,
    /// What they were called before.
    pub earlier: EarlierNames,
    /// The table's format.
    pub format: Format,
    pub filter: Option<Arc<dyn ReadFilter>>,
    pub time_column: Option<String>,
    pub batch_rows: usize,
    /// The longest page that is inflated.
    pub pages: PageLimit,
}

/// What comes out, in log order.
pub(super) enum Fetched {
    /// A row group, ready to be decoded.
    RowGroup {
        reader: Box<ParquetRecordBatchReader>,
        /// The file it lies in, for messages.
        file: Arc<str>,
        /// Where its messages' payloads are.
        payloads: Payloads,
        /// The file's latest publish time, in milliseconds since 1970.
        published_ms: Option<i64>,
        /// The stretch of the file that is wanted; `None` if all rows of the row group are.
        clip: Option<Interval>,
        /// The ledger of all its rows, where they have one: that column is not read then.
        ledger: Option<u64>,
        bytes: u64,
        /// Rows in pages that hold no row to keep: they are not decoded.
        skipped: u64,
        permit: FetchPermit,
    },
    /// A row group or a file that holds no row to keep.
    Pruned { rows: u64, time_max: Option<i64> },
    /// All of the wanted stretch of a file is given; so many bytes were read that no row group was charged with.
    FileEnd { cut: aquifer_model::Cut, bytes: u64 },
    /// There is no more.
    End,
}

/// The right of a fetched row group to be in memory; given back when it is dropped.
pub(super) struct FetchPermit {
    _of_partition: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// What all partitions that are read share.
fn shared() -> &'static Arc<Semaphore> {
    static SHARED: OnceLock<Arc<Semaphore>> = OnceLock::new();
    SHARED.get_or_init(|| Arc::new(Semaphore::new(SHARED_BYTES)))
}

/// The task that fetches. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Fetch {
    pub items: mpsc::Receiver<Result<Fetched>>,
    task: JoinHandle<()>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetch {
    /// Begins to fetch what is wanted of `files`.
    pub fn start(chain: &Chain, files: Vec<DataFile>, wanted: Wanted) -> Self {
        let (sender, items) = mpsc::channel(AHEAD_GROUPS);
        let fetcher = Fetcher {
            location: chain.location().clone(),
            wanted,
            ahead: Arc::new(Semaphore::new(AHEAD_BYTES)),
            alone: Arc::new(Semaphore::new(1)),
            sender,
        };
        let files: Vec<(DataFile, Path)> = files
            .into_iter()
            .filter(|file| touches(file.covers, fetcher.wanted.interval))
            .map(|file| {
                let path = chain.file_path(&file);
                (file, path)
            })
            .collect();
        let task = tokio::spawn(async move {
            if let Err(error) = fetcher.run(files).await {
                // The receiver may be gone: then nobody asks.
                let _ = fetcher.sender.send(Err(error)).await;
            }
        });
        Self { items, task }
    }
}

/// What to read of a row group.
struct RowGroup {
    group: usize,
    mask: ProjectionMask,
    /// The rows to decode; `None`: all.
    selection: Option<RowSelection>,
    clip: Option<Interval>,
    ledger: Option<u64>,
    payloads: Payloads,
    published_ms: Option<i64>,
    /// Bytes read so far that no row group was charged with.
    overhead: u64,
}

struct Fetcher {
    location: ArchiveLocation,
    wanted: Wanted,
    /// The partition's own bytes.
    ahead: Arc<Semaphore>,
    /// For the one row group that needs none of the bytes that are shared.
    alone: Arc<Semaphore>,
    sender: mpsc::Sender<Result<Fetched>>,
}

/// The receiver is gone.
fn unwanted<E>(_: E) -> Error {
    Error::internal("nobody waits for row groups any more")
}

impl Fetcher {
    async fn run(&self, files: Vec<(DataFile, Path)>) -> Result<()> {
        let may_match = match &self.wanted.filter {
            Some(filter) => {
                let files = files.iter().map(|(file, _)| file);
                filter.may_match(&Ranges::of_files(&self.wanted.partition, files))?
            }
            None => Vec::new(),
        };
        for (index, (file, path)) in files.iter().enumerate() {
            let told = told_time(file, self.wanted.interval, self.wanted.time_column.as_deref());
            match told.filter(|_| may_match.get(index) == Some(&false)) {
                Some(time_max) => self.leave_out(file, time_max).await?,
                None => self.file(file, path).await?,
            }
        }
        self.sender.send(Ok(Fetched::End)).await.map_err(unwanted)
    }

    /// Passes over a file, all of which is wanted and none of whose rows is to be kept, without opening it.
    async fn leave_out(&self, file: &DataFile, time_max: Option<i64>) -> Result<()> {
        self.sender.send(Ok(Fetched::Pruned { rows: file.rows, time_max })).await.map_err(unwanted)?;
        self.sender.send(Ok(Fetched::FileEnd { cut: file.covers.to, bytes: 0 })).await.map_err(unwanted)
    }

    fn lost(&self, path: &Path, error: object_store::Error) -> Error {
        let (topic, path) = (&self.wanted.partition.topic, self.location.shown(path));
        match error {
            object_store::Error::NotFound { .. } => Error::gone(format!(
                "file `{path}` of the archive of `{topic}` is not there, but its manifest names it: bring the file back; `aquifer archive verify` tells what else is missing"
            )),
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Error::denied(format!("reading file `{path}` of the archive of `{topic}`")).with_source(error)
            }
            _ => Error::unavailable(format!("reading file `{path}` of the archive of `{topic}`")).with_source(error),
        }
    }

    fn damaged(&self, path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let (topic, path) = (&self.wanted.partition.topic, self.location.shown(path));
        Error::corrupt(format!("file `{path}` of the archive of `{topic}` cannot be read")).with_source(error)
    }

    async fn footer(&self, file: &DataFile, path: &Path) -> Result<(ArrowReaderMetadata, u64)> {
        let options = GetOptions { range: Some(GetRange::Suffix(TAIL_BYTES.min(file.bytes))), ..Default::default() };
        let found = self.location.store.get_opts(path, options).await.map_err(|error| self.lost(path, error))?;
        let size = found.meta.size;
        if size != file.bytes {
            return Err(self.damaged(path, format!("it has {size} bytes, its manifest says {}", file.bytes)));
        }
        let mut tail = found.bytes().await.map_err(|error| self.lost(path, error))?;
        let mut read = tail.len() as u64;
        let hostile =
            |error: Error| error.context(format_args!("reading the archive of `{}`", self.wanted.partition.topic));
        let last = &tail[tail.len().saturating_sub(8)..];
        check_footer(last, size, &self.location.shown(path)).map_err(hostile)?;
        let needed = footer_bytes(last);
        if needed > tail.len() as u64 {
            tail = self
                .location
                .store
                .get_range(path, size - needed..size)
                .await
                .map_err(|error| self.lost(path, error))?;
            read += needed;
        }
        check_end(&tail, size, &self.location.shown(path)).map_err(hostile)?;
        let broken = |error: parquet::errors::ParquetError| self.damaged(path, error);
        let mut decoder =
            ParquetMetaDataPushDecoder::try_new(size).map_err(broken)?.with_page_index_policy(PageIndexPolicy::Skip);
        decoder.push_range(size - tail.len() as u64..size, tail).map_err(broken)?;
        let metadata = loop {
            match decoder.try_decode().map_err(broken)? {
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::NeedsData(ranges) => {
                    let parts =
                        self.location.store.get_ranges(path, &ranges).await.map_err(|error| self.lost(path, error))?;
                    read += parts.iter().map(|part| part.len() as u64).sum::<u64>();
                    decoder.push_ranges(ranges, parts).map_err(broken)?;
                }
                DecodeResult::Finished => return Err(self.damaged(path, "its footer ends too early")),
            }
        };
        Ok((readable(metadata).map_err(broken)?, read))
    }

    /// Reads a file's page index too, if it has one.
    async fn page_index(
        &self,
        file: &DataFile,
        path: &Path,
        metadata: &ArrowReaderMetadata,
    ) -> Result<(ArrowReaderMetadata, u64)> {
        let broken = |error: parquet::errors::ParquetError| self.damaged(path, error);
        let known = metadata.metadata().as_ref().clone();
        let places: Vec<Range<u64>> = known
            .row_groups()
            .iter()
            .flat_map(|group| group.columns())
            .flat_map(|column| {
                let columns = column.column_index_offset().zip(column.column_index_length());
                let offsets = column.offset_index_offset().zip(column.offset_index_length());
                [columns, offsets].into_iter().flatten()
            })
            .filter_map(|(offset, length)| {
                let offset = u64::try_from(offset).ok()?;
                Some(offset..offset.checked_add(u64::try_from(length).ok()?)?)
            })
            .collect();
        let mut decoder = ParquetMetaDataPushDecoder::try_new_with_metadata(file.bytes, known)
            .map_err(broken)?
            .with_page_index_policy(PageIndexPolicy::Optional);
        let mut read = 0;
        let found = loop {
            match decoder.try_decode().map_err(broken)? {
                DecodeResult::Data(found) => break found,
                DecodeResult::NeedsData(ranges) => {
                    if ranges.iter().any(|range| range.end > file.bytes || range.end - range.start > MAX_FOOTER_BYTES) {
                        return Err(self.damaged(path, "its page index is of an impossible length"));
                    }
                    let parts =
                        self.location.store.get_ranges(path, &ranges).await.map_err(|error| self.lost(path, error))?;
                    for (range, part) in ranges.iter().zip(&parts) {
                        read += part.len() as u64;
                        for place in places.iter().filter(|p| p.start >= range.start && p.end <= range.end) {
                            let (from, to) = ((place.start - range.start) as usize, (place.end - range.start) as usize);
                            let bytes = part.get(from..to).unwrap_or_default();
                            check_metadata(bytes, &self.location.shown(path))?;
                        }
                    }
                    decoder.push_ranges(ranges, parts).map_err(broken)?;
                }
                DecodeResult::Finished => return Err(self.damaged(path, "its page index ends too early")),
            }
        };
        Ok((readable(found).map_err(broken)?, read))
    }

    /// Takes row groups out that hold none of these keys; tells the bytes read.
    async fn ask_blooms(
        &self,
        file: &DataFile,
        path: &Path,
        metadata: &ArrowReaderMetadata,
        keys: &[Vec<u8>],
        may_match: &mut [bool],
    ) -> Result<u64> {
        let groups = self.groups(metadata);
        let interval = wanted_of(file.covers, self.wanted.interval);
        let (asked, places): (Vec<usize>, Vec<Range<u64>>) = (0..may_match.len())
            .filter(|group| may_match[*group])
            .filter(|group| !matches!(groups.place(*group, interval), Placement::Before | Placement::After))
            .filter_map(|group| Some((group, blooms::place(metadata, group, file.bytes)?)))
            .unzip();
        let filters = self.location.store.get_ranges(path, &places).await.map_err(|error| self.lost(path, error))?;
        for (group, filter) in asked.into_iter().zip(&filters) {
            may_match[group] = blooms::may_hold(filter, keys);
        }
        Ok(filters.iter().map(|filter| filter.len() as u64).sum())
    }

    async fn file(&self, file: &DataFile, path: &Path) -> Result<()> {
        let (mut metadata, mut overhead) = self.footer(file, path).await?;
        let interval = wanted_of(file.covers, self.wanted.interval);
        let mut may_match = match &self.wanted.filter {
            Some(filter) => filter.may_match(&self.groups(&metadata))?,
            None => Vec::new(),
        };
        if let Some(keys) = self.wanted.filter.as_ref().and_then(|filter| filter.message_keys()) {
            overhead += self.ask_blooms(file, path, &metadata, keys, &mut may_match).await?;
        }
        // Pages are left out only where nobody asks for the times of their rows.
        let by_page = self.wanted.filter.as_ref().filter(|_| self.wanted.time_column.is_none());
        if by_page.is_some() && may_match.contains(&true) {
            let read;
            (metadata, read) = self.page_index(file, path, &metadata).await?;
            overhead += read;
        }
        let groups = self.groups(&metadata);
        let payloads = Payloads::of(&metadata, self.wanted.format, &self.wanted.table);
        let name: Arc<str> = self.location.shown(path).into();
        for group in 0..metadata.metadata().num_row_groups() {
            let placement = match groups.place(group, interval) {
                // Wanted as far as its file goes: a row group of several ledgers does not show its bounds.
                Placement::Partly if interval == file.covers => Placement::Inside,
                placement => placement,
            };
            match placement {
                Placement::Before => continue,
                Placement::After => break,
                Placement::Inside | Placement::Partly => {}
            }
            let decoded = groups.is_all_null(column::PAYLOAD, group) && !matches!(payloads, Payloads::In(_));
            let rows = metadata.metadata().row_group(group).num_rows() as u64;
            // Payloads that were not decoded say nothing in statistics.
            let prunable = placement == Placement::Inside && decoded && may_match.get(group) == Some(&false);
            let time_max = match &self.wanted.time_column {
                Some(name) if prunable => groups.max_time(name, group)?,
                _ => Some(None),
            };
            let item = match time_max {
                Some(time_max) if prunable => Fetched::Pruned { rows, time_max },
                _ => {
                    let selection = match by_page.filter(|_| decoded) {
                        Some(filter) => match Pages::new(&groups, group, &filter.columns()) {
                            Some(pages) => pages.select(filter.as_ref())?,
                            None => None,
                        },
                        None => None,
                    };
                    let mask = self.projection(&groups, group, decoded, &payloads);
                    let clip = (placement == Placement::Partly).then_some(interval);
                    let bytes = std::mem::take(&mut overhead);
                    let ledger = groups.only_ledger(group);
                    if selection.as_ref().is_some_and(|selection| !selection.selects_any()) {
                        overhead = bytes;
                        Fetched::Pruned { rows, time_max: None }
                    } else {
                        let published_ms = file.publish_time_ms.map(|(_, latest)| latest);
                        let payloads = payloads.clone();
                        let plan =
                            RowGroup { group, mask, selection, clip, ledger, payloads, published_ms, overhead: bytes };
                        self.row_group(&metadata, plan, path, &name).await?
                    }
                }
            };
            self.sender.send(Ok(item)).await.map_err(unwanted)?;
        }
        self.sender.send(Ok(Fetched::FileEnd { cut: interval.to, bytes: overhead })).await.map_err(unwanted)
    }

    fn groups<'a>(&'a self, metadata: &'a ArrowReaderMetadata) -> RowGroups<'a> {
        RowGroups { metadata, columns: &self.wanted.table, earlier: &self.wanted.earlier }
    }

    /// The columns of a row group that are needed: those wanted, the positions, and what tells of messages that are no rows.
    fn projection(&self, groups: &RowGroups<'_>, group: usize, decoded: bool, payloads: &Payloads) -> ProjectionMask {
        let messages = message_schema();
        let mut names: Vec<String> = vec![column::ENTRY.into()];
        if groups.only_ledger(group).is_none() {
            names.push(column::LEDGER.into());
        }
        names.extend(self.wanted.messages.iter().map(|index| messages.field(*index).name().clone()));
        names.extend(self.wanted.values.fields().iter().map(|field| groups.stored(field.name())));
        names.extend(payloads.columns());
        if !groups.is_all_false(column::NULL_VALUE, group) {
            names.push(column::NULL_VALUE.into());
        }
        if !decoded {
            let columns = [column::PAYLOAD, column::SCHEMA_VERSION, column::KEY];
            names.extend(columns.map(String::from));
        }
        let fields = groups.metadata.schema().fields();
        let is_retyped = |field: &FieldRef| {
            let stored = groups.stored(field.name());
            fields.iter().any(|of_file| *of_file.name() == stored && of_file.data_type() != field.data_type())
        };
        // What a message that cannot be read is told by.
        if !decoded || self.wanted.values.fields().iter().any(is_retyped) {
            names.push(column::BATCH_INDEX.into());
            if self.wanted.letters {
                names.extend(OF_LETTERS.map(String::from));
            }
        }
        let roots = fields.iter().enumerate().filter(|(_, field)| names.contains(field.name())).map(|(root, _)| root);
        ProjectionMask::roots(groups.metadata.parquet_schema(), roots)
    }

    /// Waits until `bytes` more may lie in memory.
    async fn permit(&self, bytes: u64) -> Result<FetchPermit> {
        let bytes = u32::try_from(bytes.min(AHEAD_BYTES as u64)).unwrap_or(u32::MAX);
        let of_partition = Arc::clone(&self.ahead).acquire_many_owned(bytes).await.map_err(unwanted)?;
        let of_all = tokio::select! {
            biased;
            alone = Arc::clone(&self.alone).acquire_owned() => alone,
            shared = Arc::clone(shared()).acquire_many_owned(bytes) => shared,
        };
        Ok(FetchPermit { _of_partition: of_partition, _of_all: of_all.map_err(unwanted)? })
    }

    async fn row_group(
        &self,
        metadata: &ArrowReaderMetadata,
        plan: RowGroup,
        path: &Path,
        file: &Arc<str>,
    ) -> Result<Fetched> {
        let RowGroup { group, mask, selection, clip, ledger, payloads, published_ms, overhead } = plan;
        let broken = |error: parquet::errors::ParquetError| self.damaged(path, error);
        let columns = metadata.metadata().row_group(group).columns().iter().enumerate();
        let size: u64 = columns
            .filter(|(leaf, _)| mask.leaf_included(*leaf))
            .map(|(_, chunk)| u64::try_from(chunk.compressed_size()).unwrap_or(0))
            .sum();
        let permit = self.permit(size).await?;
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(self.wanted.batch_rows);
        let mut skipped = 0;
        if let Some(selection) = selection {
            skipped = selection.skipped_row_count() as u64;
            builder = builder.with_row_selection(selection);
        }
        let mut decoder = builder.build().map_err(broken)?;
        let mut bytes = overhead;
        loop {
            match decoder.try_next_reader().map_err(broken)? {
                DecodeResult::Data(reader) => {
                    let file = Arc::clone(file);
                    return Ok(Fetched::RowGroup {
                        reader: Box::new(reader),
                        file,
                        payloads,
                        published_ms,
                        clip,
                        ledger,
                        bytes,
                        skipped,
                        permit,
                    });
                }
                DecodeResult::NeedsData(ranges) => {
                    let parts: Vec<Bytes> =
                        self.location.store.get_ranges(path, &ranges).await.map_err(|error| self.lost(path, error))?;
                    bytes += parts.iter().map(|part| part.len() as u64).sum::<u64>();
                    // What is fetched begins where a page does.
                    for part in &parts {
                        check_pages(part, &self.wanted.pages, file)?;
                    }
                    decoder.push_ranges(ranges, parts).map_err(broken)?;
                }
                DecodeResult::Finished => return Err(self.damaged(path, format!("row group {group} has no rows"))),
            }
        }
    }
}

/// A footer, ready for readers of its rows.
fn readable(metadata: ParquetMetaData) -> std::result::Result<ArrowReaderMetadata, ParquetError> {
    guarded(|| ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new()))
}
