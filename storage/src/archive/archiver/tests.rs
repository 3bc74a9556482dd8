use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, build_entry};
use aquifer_formats::payload::{Format, encoder, topic_schema_of};
use aquifer_model::{ErrorKind, SqlType, TopicName};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::archive::ArchiveLocation;
use crate::archive::manifest::DataFile;
use crate::archive::status::status;
use crate::archive::verify::verify;
use crate::embedded::{EmbeddedLog, EmbeddedSettings};
use crate::log::Log;
use crate::reader::OnDecodeError;

/// A store whose answers to puts are sometimes lost: before the put, after it, or before one that happens much later.
#[derive(Debug)]
struct Unreliable {
    inner: object_store::memory::InMemory,
    random: AtomicU64,
    late: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
}

impl Unreliable {
    fn new(seed: u64) -> Self {
        let inner = object_store::memory::InMemory::new();
        Self { inner, random: AtomicU64::new(seed), late: Mutex::new(Vec::new()) }
    }

    /// Lets a put happen that was taken for lost.
    async fn land_late(&self) {
        let late = {
            let mut late = self.late.lock().expect("no panic");
            if late.is_empty() { None } else { Some(late.remove(0)) }
        };
        if let Some((location, payload, options)) = late {
            let _ = self.inner.put_opts(&location, payload, options).await;
        }
    }

    fn roll(&self) -> u64 {
        // SplitMix64: enough to spread faults, and replayable.
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl std::fmt::Display for Unreliable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unreliable")
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic { store: "unreliable", source: "the answer was lost".into() }
}

#[async_trait::async_trait]
impl ObjectStore for Unreliable {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        tokio::task::yield_now().await;
        if self.roll().is_multiple_of(3) {
            self.land_late().await;
        }
        match self.roll() % 7 {
            0 => Err(lost()),
            3 => {
                self.late.lock().expect("no panic").push((location.clone(), payload, options));
                Err(lost())
            }
            1 => {
                self.inner.put_opts(location, payload, options).await?;
                Err(lost())
            }
            2 => {
                self.inner.put_opts(location, payload, options).await?;
                Err(object_store::Error::AlreadyExists {
                    path: location.to_string(),
                    source: "a retry of the client".into(),
                })
            }
            _ => self.inner.put_opts(location, payload, options).await,
        }
    }
    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }
    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![SqlType::BigInt.nullable().to_field("n")]))
}

/// Entry `n` holds three messages, with the values 3n, 3n+1, 3n+2.
fn entry(n: i64) -> bytes::Bytes {
    let schema = topic_schema_of(Format::Avro, "t", &columns()).expect("one column");
    let values: ArrayRef = Arc::new(Int64Array::from(vec![3 * n, 3 * n + 1, 3 * n + 2]));
    let rows = RecordBatch::try_new(columns(), vec![values]).expect("one column");
    let payloads = encoder(Format::Avro, columns(), Some(&schema)).expect("an encoder").encode(&rows).expect("encodes");
    let messages: Vec<NewMessage<'_>> = (0..3)
        .map(|i| NewMessage { sequence_id: 3 * n + i as i64, payload: Some(payloads.value(i)), ..Default::default() })
        .collect();
    let spec = EntrySpec { producer_name: "p".into(), publish_time_ms: 1, batched: true, ..Default::default() };
    build_entry(&spec, &messages).expect("three messages")
}

async fn topic_on(folder: &std::path::Path, store: Arc<dyn ObjectStore>) -> (TieredTopic, Partition) {
    let settings =
        EmbeddedSettings { segment_entries: 5, retention: Some(Duration::ZERO), sync: false, ..Default::default() };
    let log = EmbeddedLog::open(folder, settings).expect("opens");
    let name: TopicName = "t".parse().expect("a name");
    log.create_topic(&name, 0).await.expect("new");
    log.put_schema(&name, &topic_schema_of(Format::Avro, "t", &columns()).expect("one column"))
        .await
        .expect("registered");
    log.open_pin(&Partition::new(name.clone(), None), PIN).await.expect("made before anything is trimmed");
    let topic = TieredTopic {
        log,
        archive: Some(ArchiveLocation::in_store(store, "archive")),
        topic: name.clone(),
        format: Format::Avro,
        value_columns: columns(),
        on_error: OnDecodeError::Fail,
        limits: EntryLimits::default(),
    };
    (topic, Partition::new(name, None))
}

/// All values in the archive's files, in order.
async fn archived(topic: &TieredTopic, partition: &Partition) -> Vec<i64> {
    let identity = topic.log.identity(&topic.topic).await.expect("there");
    let chain = Chain::new(topic.archive.as_ref().expect("given"), &identity, partition);
    let mut values = Vec::new();
    for file in chain.load().await.expect("whole").map(|state| state.files).unwrap_or_default() {
        let bytes = chain.read_file(&file.path).await.expect("there");
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("Parquet") {
            let batch = batch.expect("Parquet");
            values.extend(batch.column_by_name("n").expect("a column").as_primitive::<Int64Type>().values());
        }
    }
    values
}

async fn append(topic: &TieredTopic, partition: &Partition, entries: Range<i64>) {
    let mut appender = topic.log.open_appender(partition, "p").await.expect("opens");
    for n in entries {
        appender.append(entry(n), 3 * n, 3 * n + 2, 3).await.expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_archivers_on_an_unreliable_store_move_each_entry_once_while_the_log_forgets() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Unreliable::new(seed));
        let (topic, partition) = topic_on(folder.path(), store.clone()).await;
        append(&topic, &partition, 0..30).await;
        let settings = ArchiveSettings { rows_per_commit: 10, attempts: 50, ..Default::default() };
        let steps = Arc::new(Mutex::new(BTreeSet::new()));
        let runs: Vec<_> = (0..2)
            .map(|_| {
                let seen = Arc::clone(&steps);
                let observer: Observer = Arc::new(move |_, step| {
                    seen.lock().expect("no panic").insert(step);
                });
                let archiver = Archiver::new(topic.clone(), settings.clone()).observed(observer);
                let partition = partition.clone();
                tokio::spawn(async move {
                    let mut results = Vec::new();
                    for _ in 0..8 {
                        results.push(archiver.run_once(&partition).await);
                    }
                    results
                })
            })
            .collect();
        append(&topic, &partition, 30..60).await;
        for run in runs {
            for result in run.await.expect("no panic") {
                // A data file whose put was lost is an error of that run; the next one goes on. So is a chain that the other has.
                if let Err(error) = result {
                    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Fenced), "{error:?}");
                }
            }
        }
        for _ in 0..20 {
            let _ = Archiver::new(topic.clone(), settings.clone()).run_once(&partition).await;
        }
        while !store.late.lock().expect("no panic").is_empty() {
            store.land_late().await;
        }
        let values = archived(&topic, &partition).await;
        assert_eq!(values, (0..180).collect::<Vec<i64>>(), "seed {seed}");
        assert_eq!(verify(&topic, &partition).await.expect("whole").rows, 180);
        assert_eq!(*steps.lock().expect("no panic"), Step::ALL.into_iter().collect::<BTreeSet<_>>());
        let first = topic.log.ledgers(&partition).await.expect("listed")[0].id;
        assert!(first > 5, "the log has let the archived ledgers go; the first is {first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_stops_the_archiver_and_names_the_ledgers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (topic, partition) = topic_on(folder.path(), Arc::new(object_store::memory::InMemory::new())).await;
    append(&topic, &partition, 0..12).await;
    let archiver = Archiver::new(topic.clone(), ArchiveSettings::default());
    archiver.run_once(&partition).await.expect("archives");
    // Someone removes the pin, and the log forgets what comes after.
    topic.log.remove_pin(&partition, PIN).await.expect("removed");
    append(&topic, &partition, 12..40).await;
    let error = archiver.run_once(&partition).await.expect_err("entries are gone");
    assert_eq!(error.kind(), ErrorKind::Gone);
    assert!(error.to_string().contains("gone from the log and not in the archive"), "{error}");
    assert_eq!(archived(&topic, &partition).await.len(), 36, "nothing was written");
    // The pin was made anew by then. That does not make the gap go away, for this archiver or another one.
    assert_eq!(archiver.run_once(&partition).await.expect_err("still").kind(), ErrorKind::Gone);
    let other = Archiver::new(topic.clone(), ArchiveSettings::default());
    assert_eq!(other.run_once(&partition).await.expect_err("still").kind(), ErrorKind::Gone);
    assert_eq!(archived(&topic, &partition).await.len(), 36, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_pin_without_a_gap_is_made_anew_and_archiving_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (topic, partition) = topic_on(folder.path(), Arc::new(object_store::memory::InMemory::new())).await;
    append(&topic, &partition, 0..12).await;
    let archiver = Archiver::new(topic.clone(), ArchiveSettings::default());
    archiver.run_once(&partition).await.expect("archives");
    topic.log.remove_pin(&partition, PIN).await.expect("removed");
    assert_eq!(status(&topic, &partition).await.expect("asked").pin, None);
    assert_eq!(topic.log.find_pin(&partition, PIN).await.expect("asked"), None, "looking made no pin");
    // The ledger that was read last is still there, so nothing can be missing.
    append(&topic, &partition, 12..14).await;
    for entries in [14..30, 30..40] {
        archiver.run_once(&partition).await.expect("archives");
        append(&topic, &partition, entries).await;
    }
    archiver.run_once(&partition).await.expect("archives");
    assert_eq!(archived(&topic, &partition).await, (0..120).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_archive_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (topic, partition) = topic_on(folder.path(), Arc::new(object_store::memory::InMemory::new())).await;
    for (entries, manifests) in [(0..0, 0), (0..4, 2), (4..4, 2), (4..5, 4)] {
        append(&topic, &partition, entries).await;
        for _ in 0..2 {
            let archiver = Archiver::new(topic.clone(), ArchiveSettings::default());
            archiver.run_once(&partition).await.expect("archives");
        }
        assert_eq!(status(&topic, &partition).await.expect("asked").manifests, manifests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_the_columns_do_not_hold_are_kept_as_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut topic, partition) = topic_on(folder.path(), Arc::new(object_store::memory::InMemory::new())).await;
    // The schema has `n`, the table names another column of it.
    topic.value_columns = Arc::new(Schema::new(vec![SqlType::STRING.nullable().to_field("m")]));
    append(&topic, &partition, 0..3).await;
    Archiver::new(topic.clone(), ArchiveSettings::default()).run_once(&partition).await.expect("archives");
    let identity = topic.log.identity(&topic.topic).await.expect("there");
    let chain = Chain::new(topic.archive.as_ref().expect("given"), &identity, &partition);
    let state = chain.load().await.expect("whole").expect("there");
    let bytes = chain.read_file(&state.files[0].path).await.expect("there");
    let mut rows = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("Parquet");
    let batch = rows.next().expect("rows").expect("Parquet");
    let payloads = batch.column_by_name("__payload").expect("a column").as_binary_view();
    assert_eq!((payloads.len(), payloads.null_count()), (9, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_until_it_is_stopped_and_leaves_a_partition_to_whoever_took_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (topic, partition) = topic_on(folder.path(), Arc::new(object_store::memory::InMemory::new())).await;
    append(&topic, &partition, 0..10).await;
    let (stop, stopped) = watch::channel(false);
    let first = Archiver::new(topic.clone(), ArchiveSettings::default());
    let running = tokio::spawn(async move { first.run(Duration::from_millis(5), stopped, &|_, _| {}).await });
    let reaches = async |rows: usize| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while archived(&topic, &partition).await.len() < rows {
            assert!(tokio::time::Instant::now() < deadline, "{rows} rows are not archived");
            tokio::task::yield_now().await;
        }
    };
    reaches(30).await;
    append(&topic, &partition, 10..20).await;
    reaches(60).await;
    // Another may be quicker or not: either way each entry gets there once.
    append(&topic, &partition, 20..30).await;
    let other = Archiver::new(topic.clone(), ArchiveSettings::default()).run_once(&partition).await;
    assert!(other.as_ref().map_or_else(|e| e.kind() == ErrorKind::Fenced, |_| true), "{other:?}");
    reaches(90).await;
    stop.send(true).expect("it runs");
    running.await.expect("no panic").expect("ends well");
    assert_eq!(archived(&topic, &partition).await, (0..90).collect::<Vec<i64>>());
}

#[test]
fn ownership_is_decided_by_the_newest_manifest_alone() {
    for (owner, was_mine, turn) in [
        (None, false, Turn::Claim),
        (None, true, Turn::Claim),
        (Some("me"), false, Turn::Work),
        (Some("me"), true, Turn::Work),
        (Some("you"), false, Turn::Claim),
        (Some("you"), true, Turn::Yield),
    ] {
        assert_eq!(decide_turn(owner, "me", was_mine), turn, "{owner:?} {was_mine}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_chain_is_opened_from_its_newest_list() {
    let store = Arc::new(object_store::memory::InMemory::new());
    let location = ArchiveLocation::in_store(store, "a");
    let identity = TopicIdentity { creation: "now".into(), uuid: Uuid::new_v4() };
    let name: TopicName = "t".parse().expect("a name");
    let chain = Chain::new(&location, &identity, &Partition::new(name.clone(), None));
    let position = |n: u64| Cut::After(aquifer_model::Position::new(1, n));
    let mut state: Option<ChainState> = None;
    for n in 0..70u64 {
        let from = state.as_ref().map_or(Cut::Start, ChainState::end);
        let file = DataFile {
            path: format!("d/{n}"),
            covers: Interval::new(from, position(n)),
            rows: 1,
            entries: 1,
            bytes: 1,
            sha256: String::new(),
            positions: None,
            publish_time_ms: None,
            event_time_ms: None,
            schema_versions: Vec::new(),
        };
        let draft = Draft {
            kind: Kind::Data,
            owner: "me".into(),
            topic: name.clone(),
            identity: identity.clone(),
            partition: 0,
            added: vec![file],
            ledgers: Vec::new(),
            schemas: BTreeMap::new(),
            unpinned: false,
        };
        let manifest = Manifest::after(state.as_ref(), draft, n.to_string());
        assert!(manifest.version - manifest.listed_in < 32 && manifest.owner_epoch == 1);
        assert_eq!(chain.commit(&manifest).await.expect("put"), Commit::Mine);
        state = chain.load().await.expect("whole");
        let files = &state.as_ref().expect("there").files;
        assert!(files.iter().map(|file| file.path.clone()).eq((0..=n).map(|n| format!("d/{n}"))), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_the_object_that_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let (mut topic, partition) =
        topic_on(&folder.path().join("log"), Arc::new(object_store::memory::InMemory::new())).await;
    topic.archive = Some(ArchiveLocation::local(&archive).expect("a folder"));
    append(&topic, &partition, 0..10).await;
    let settings = ArchiveSettings { rows_per_commit: 9, ..Default::default() };
    let done = Archiver::new(topic.clone(), settings).run_once(&partition).await.expect("archives");
    assert_eq!((done.commits, done.rows), (4, 30));
    assert_eq!(verify(&topic, &partition).await.expect("whole").rows, 30);
    let mut objects = Vec::new();
    let mut folders = vec![archive];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("listed").flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { objects.push(entry.path()) }
        }
    }
    assert_eq!(objects.len(), 4 + 5, "four files, four manifests and a claim");
    for object in objects {
        let whole = std::fs::read(&object).expect("readable");
        let name = object.file_name().expect("a name").to_string_lossy().into_owned();
        let number = name.trim_start_matches('0').split('-').next().expect("a part").to_string();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x01;
        for bytes in [flipped, whole[..whole.len() - 1].to_vec(), Vec::new()] {
            std::fs::write(&object, &bytes).expect("writable");
            let error = verify(&topic, &partition).await.expect_err("damaged");
            let text = error.to_string();
            // A flipped bit in a manifest may show in the link of the next one.
            assert!(text.contains(&name) || text.contains("manifest"), "{name}: {text}");
        }
        std::fs::remove_file(&object).expect("removable");
        let result = verify(&topic, &partition).await;
        // The last manifest's absence leaves a shorter chain that is whole; its file is an orphan then.
        if number != "5" || name.contains("parquet") {
            let text = result.expect_err("missing").to_string();
            assert!(text.contains(&name) || text.contains(&format!("manifest {number} ")), "{name}: {text}");
        }
        std::fs::write(&object, &whole).expect("writable");
    }
    verify(&topic, &partition).await.expect("whole again");
}
