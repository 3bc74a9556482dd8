use std::collections::BTreeMap;

use aquifer_catalog::catalogs::Target;
use aquifer_catalog::{ColumnDefinition, ColumnKind, Origin, TableDefinition};
use aquifer_formats::json_lines::write_json_lines;
use aquifer_processor::connector::{Connector, Polled, Start, Table, physical_columns};
use arrow::array::{ArrayRef, Int32Array, UInt8Array};

use super::*;
use crate::filesystem::Filesystem;

const COLUMNS: [(&str, &str); 3] = [("k", "STRING"), ("id", "INT"), ("s", "STRING")];

fn table(folder: &Path, format: &str, keys: &[&str], options: &[(&str, &str)]) -> Table {
    let column = |(name, text): &(&str, &str)| ColumnDefinition {
        name: name.to_string(),
        kind: ColumnKind::Physical { type_text: text.to_string() },
        comment: None,
    };
    let path = folder.join("out").to_string_lossy().into_owned();
    let mut all: BTreeMap<String, String> =
        [("path".to_string(), path), ("format".to_string(), format.to_string())].into();
    all.extend(options.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    let definition = TableDefinition {
        columns: COLUMNS.iter().map(column).collect(),
        partitioned_by: keys.iter().map(ToString::to_string).collect(),
        options: all,
        ..TableDefinition::default()
    };
    Table {
        name: ["c", "d", "t"].map(String::from),
        definition,
        origin: Origin::Explicit,
        target: Target::Connector,
        system_columns: vec![],
        version: None,
    }
}

fn rows(table: &Table, ids: std::ops::Range<i32>) -> ChangeBatch {
    let keys: ArrayRef =
        Arc::new(ids.clone().map(|n| (n % 3 > 0).then(|| format!("a/{}", n % 3))).collect::<StringViewArray>());
    let texts: ArrayRef =
        Arc::new(StringViewArray::from_iter_values(ids.clone().map(|n| format!("row \"{n}\", and more"))));
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(ids));
    let schema = physical_columns(table).expect("types");
    ChangeBatch::inserts(RecordBatch::try_new(schema, vec![keys, ids, texts]).expect("fits"))
}

fn lines(changes: &ChangeBatch) -> Vec<String> {
    let mut out = Vec::new();
    write_json_lines(changes, &mut out).expect("all types");
    String::from_utf8(out).expect("text").lines().map(String::from).collect()
}

/// What a reader of the table sees, sorted; nothing if there are no files.
async fn seen(table: &Table) -> Vec<String> {
    let source = Filesystem.source(table).expect("a source");
    let mut all = Vec::new();
    for partition in source.partitions().await.unwrap_or_default() {
        let mut reader = source.open(&partition, Start::Beginning).await.expect("opened");
        while let Polled::Changes(changes) = reader.next().await.expect("rows") {
            all.extend(lines(&changes));
        }
    }
    all.sort();
    all
}

fn writer() -> WriterId {
    WriterId { job: "a job/1".to_string(), index: 0 }
}

fn sorted(batches: &[ChangeBatch]) -> Vec<String> {
    let mut all: Vec<String> = batches.iter().flat_map(lines).collect();
    all.sort();
    all
}

#[tokio::test]
async fn rows_are_seen_once_they_are_committed_and_once_only() {
    for format in ["json", "csv", "avro", "parquet", "debezium-json"] {
        for keys in [&[][..], &["k"]] {
            let folder = tempfile::tempdir().expect("a folder");
            // A CSV tells NULL and nothing apart only with a word for NULL.
            let options: &[(&str, &str)] = if format == "csv" { &[("csv.null-literal", "N")] } else { &[] };
            let table = table(folder.path(), format, keys, options);
            let sink = Filesystem.sink(&table, &physical_columns(&table).expect("types")).expect("a sink");
            let (one, two, three) = (rows(&table, 0..1000), rows(&table, 1000..1500), rows(&table, 1500..1503));
            let mut first = sink.open(writer()).await.expect("a writer");
            first.write(&one).await.expect("written");
            first.write(&two).await.expect("written");
            let prepared = first.prepare(Epoch(4)).await.expect("prepared");
            assert_eq!(seen(&table).await, Vec::<String>::new(), "{format}: not committed");
            for _ in 0..2 {
                sink.commit(Epoch(4), vec![prepared.clone()]).await.expect("committed");
                assert_eq!(seen(&table).await, sorted(&[one.clone(), two.clone()]), "{format}");
            }
            // What is written and not prepared, and what is prepared and not committed, is not there: a crash, and the job begins again.
            first.write(&three).await.expect("written");
            first.prepare(Epoch(5)).await.expect("prepared");
            first.write(&three).await.expect("written");
            drop(first);
            let again = Filesystem.sink(&table, &physical_columns(&table).expect("types")).expect("a sink");
            again.commit(Epoch(4), vec![prepared]).await.expect("known already");
            let mut second = again.open(writer()).await.expect("a writer");
            second.write(&three).await.expect("written");
            let prepared = second.prepare(Epoch(5)).await.expect("prepared");
            again.commit(Epoch(5), vec![prepared]).await.expect("committed");
            assert_eq!(seen(&table).await, sorted(&[one, two, three]), "{format}");
            if !keys.is_empty() {
                let found = fs::read_dir(folder.path().join("out")).expect("directories");
                let mut found: Vec<_> = found.map(|entry| entry.expect("an entry").file_name()).collect();
                found.sort();
                assert_eq!(found, ["k=__DEFAULT_PARTITION__", "k=a%2F1", "k=a%2F2"]);
            }
        }
    }
}

#[tokio::test]
async fn files_end_at_their_size_and_columns_are_found_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = table(folder.path(), "json", &[], &[("sink.rolling-policy.file-size", "10 kb")]);
    let all = rows(&table, 0..1000);
    let schema = Arc::new(all.schema().project(&[1]).expect("the id"));
    let sink = Filesystem.sink(&table, &schema).expect("a sink");
    let mut writer = sink.open(writer()).await.expect("a writer");
    for n in 0..10 {
        let ids = all.rows().project(&[1]).expect("the id").slice(n * 100, 100);
        writer.write(&ChangeBatch::inserts(ids)).await.expect("written");
    }
    let prepared = writer.prepare(Epoch(0)).await.expect("prepared");
    sink.commit(Epoch(0), vec![prepared]).await.expect("committed");
    let files = fs::read_dir(folder.path().join("out")).expect("files").count();
    assert!((2..=10).contains(&files), "{files} files");
    let seen = seen(&table).await;
    assert_eq!((seen.len(), seen[0].as_str()), (1000, r#"{"op":"+I","k":null,"id":0,"s":null}"#));
}

#[tokio::test]
async fn a_changelog_format_keeps_deletes_and_others_refuse_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = |table: &Table| physical_columns(table).expect("types");
    let changelog = table(folder.path(), "debezium-json", &[], &[]);
    let sink = Filesystem.sink(&changelog, &schema(&changelog)).expect("a sink");
    assert_eq!(sink.accepts(), Accepts::Changes);
    let changes = ChangeBatch::new(rows(&changelog, 0..2).rows().clone(), UInt8Array::from(vec![0, 3])).expect("kinds");
    let mut writer = sink.open(writer()).await.expect("a writer");
    writer.write(&changes).await.expect("written");
    let prepared = writer.prepare(Epoch(0)).await.expect("prepared");
    sink.commit(Epoch(0), vec![prepared]).await.expect("committed");
    assert_eq!(seen(&changelog).await, sorted(&[changes]));
    let plain = table(folder.path(), "parquet", &[], &[]);
    assert_eq!(Filesystem.sink(&plain, &schema(&plain)).expect("a sink").accepts(), Accepts::Inserts);
    fs::write(folder.path().join("file"), "").expect("written");
    let mut file = table(folder.path(), "json", &[], &[]);
    file.definition.options.insert("path".into(), folder.path().join("file").to_string_lossy().into_owned());
    assert!(Filesystem.sink(&file, &schema(&file)).expect_err("a file").to_string().contains("must be a directory"));
    let size = table(folder.path(), "json", &[], &[("sink.rolling-policy.file-size", "10 furlongs")]);
    assert!(Filesystem.sink(&size, &schema(&size)).expect_err("no size").to_string().contains("128 MB"));
}
