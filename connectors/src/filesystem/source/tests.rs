use std::collections::BTreeMap;
use std::path::PathBuf;

use aquifer_catalog::catalogs::Target;
use aquifer_catalog::{ColumnDefinition, ColumnKind, Origin, TableDefinition};
use aquifer_formats::json_lines::write_json_lines;
use aquifer_processor::connector::{Connector, Table, physical_columns};
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringViewArray};
use proptest::prelude::*;

use super::*;
use crate::filesystem::Filesystem;

fn table(columns: &[(&str, &str)], options: &[(&str, &str)]) -> Table {
    let column = |(name, text): &(&str, &str)| ColumnDefinition {
        name: name.to_string(),
        kind: ColumnKind::Physical { type_text: text.to_string() },
        comment: None,
    };
    let options: BTreeMap<_, _> = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Table {
        name: ["c", "d", "t"].map(String::from),
        definition: TableDefinition {
            columns: columns.iter().map(column).collect(),
            options,
            ..TableDefinition::default()
        },
        origin: Origin::Explicit,
        target: Target::Connector,
        system_columns: vec![],
        version: None,
    }
}

fn source(path: &Path, format: &str, columns: &[(&str, &str)]) -> Arc<dyn Source> {
    let table = table(columns, &[("path", &path.to_string_lossy()), ("format", format)]);
    Filesystem.source(&table).expect("a source")
}

fn lines(changes: &ChangeBatch) -> Vec<String> {
    let mut out = Vec::new();
    write_json_lines(changes, &mut out).expect("all types");
    String::from_utf8(out).expect("text").lines().map(String::from).collect()
}

/// The batches of a partition and where each ended.
async fn read(
    source: &Arc<dyn Source>,
    partition: &PartitionId,
    from: Start,
) -> Result<Vec<(Vec<String>, ResumeToken)>> {
    let mut reader = source.open(partition, from).await?;
    let mut batches = Vec::new();
    while let Polled::Changes(changes) = reader.next().await? {
        assert!(changes.num_rows() > 0);
        batches.push((lines(&changes), reader.resume_at()));
    }
    assert!(matches!(reader.next().await?, Polled::End), "the end stays the end");
    Ok(batches)
}

async fn all(source: &Arc<dyn Source>) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for partition in source.partitions().await? {
        rows.extend(read(source, &partition, Start::Beginning).await?.into_iter().flat_map(|(lines, _)| lines));
    }
    Ok(rows)
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.json");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

#[tokio::test]
async fn lines_are_rows_in_their_order_and_files_are_partitions() {
    let (folder, path) = file("{\"id\":2}\r\n\n  \n{\"id\":1}\n{\"id\":3}");
    let one = source(&path, "json", &[("id", "INT")]);
    assert!(one.is_bounded() && one.is_insert_only());
    assert_eq!(all(&one).await.expect("rows"), [2, 1, 3].map(|id| format!("{{\"op\":\"+I\",\"id\":{id}}}")));
    std::fs::write(folder.path().join("a.json"), "{\"id\":0}\n").expect("written");
    std::fs::write(folder.path().join("empty.json"), "").expect("written");
    let directory = source(folder.path(), "json", &[("id", "INT")]);
    assert_eq!(directory.partitions().await.expect("files").len(), 3);
    assert_eq!(all(&directory).await.expect("rows").len(), 4);
    let url = PathBuf::from(format!("file://{}/r*.json", folder.path().display()));
    assert_eq!(all(&source(&url, "json", &[("id", "INT")])).await.expect("rows").len(), 3);
}

#[tokio::test]
async fn a_changelog_gives_kinds() {
    let (_folder, path) = file(concat!(
        "{\"op\":\"c\",\"after\":{\"id\":1}}\n",
        "{\"op\":\"u\",\"before\":{\"id\":1},\"after\":{\"id\":2}}\n",
        "{\"op\":\"d\",\"before\":{\"id\":2}}\n"
    ));
    let changelog = source(&path, "debezium-json", &[("id", "INT")]);
    assert!(!changelog.is_insert_only());
    let expected = [("+I", 1), ("-U", 1), ("+U", 2), ("-D", 2)];
    let expected = expected.map(|(kind, id)| format!("{{\"op\":\"{kind}\",\"id\":{id}}}"));
    assert_eq!(all(&changelog).await.expect("rows"), expected);
}

#[tokio::test]
async fn a_wrong_line_is_told_with_its_place_and_what_nobody_reads_cannot_be_wrong() {
    let (_folder, path) = file("{\"id\":1,\"n\":2}\n{\"id\":2,\"n\":\"2.5\"}\n");
    let both = source(&path, "json", &[("id", "INT"), ("n", "BIGINT")]);
    let error = all(&both).await.expect_err("a fraction in a text");
    assert_eq!(error.kind(), aquifer_model::ErrorKind::Invalid);
    assert!(error.to_string().contains("the record at byte 15 of `"), "{error}");
    assert!(error.to_string().contains("field `n`: `2.5` is no BIGINT"), "{error}");
    let id = both.project(&[0]).expect("projects");
    assert_eq!(all(&id).await.expect("only ids"), ["{\"op\":\"+I\",\"id\":1}", "{\"op\":\"+I\",\"id\":2}"]);
    let none = both.project(&[]).expect("projects");
    assert_eq!(all(&none).await.expect("only the number of rows").len(), 2);
}

#[test]
fn options_are_checked() {
    let refused = |options: &[(&str, &str)]| {
        Filesystem.source(&table(&[("id", "INT")], options)).expect_err("refused").to_string()
    };
    assert!(refused(&[("path", "x")]).contains("needs the option 'format'"));
    assert!(refused(&[("format", "json")]).contains("needs the option 'path'"));
    assert!(refused(&[("path", "x"), ("format", "debezium-jsn")]).contains("did you mean `debezium-json`?"));
    let wrong = refused(&[("path", "x"), ("format", "json"), ("json.ignore-parse-error", "true")]);
    assert!(wrong.contains("did you mean `json.ignore-parse-errors`?"), "{wrong}");
    let other = refused(&[("path", "x"), ("format", "json"), ("debezium-json.schema-include", "true")]);
    assert!(other.contains("unknown option `debezium-json.schema-include`"), "{other}");
    assert!(refused(&[("path", "gs://b/k"), ("format", "json")]).contains("`gs:`"));
    assert!(refused(&[("path", "s3:///k"), ("format", "json")]).contains("names no bucket"));
    let half = refused(&[("path", "s3://b/k"), ("format", "json"), ("s3.access-key", "x")]);
    assert!(half.contains("'s3.secret-key'"), "{half}");
    assert!(refused(&[("path", "x"), ("format", "json"), ("s3.region", "y")]).contains("unknown option `s3.region`"));
    assert!(
        refused(&[("path", "x"), ("format", "json"), ("source.monitor-interval", "1 s")])
            .contains("run the query again")
    );
}

/// The rows 0..20,000 in a file of each format, `day` in a directory's name.
fn written(folder: &Path, format: &str) -> PathBuf {
    use aquifer_formats::avro_file::{AvroCodec, AvroFileEncoder};
    let directory = folder.join("day=2024-03-01");
    std::fs::create_dir_all(&directory).expect("made");
    let path = directory.join(format);
    let schema = physical_columns(&table(&[("id", "INT"), ("s", "STRING")], &[])).expect("types");
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(0..20_000));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..20_000).map(|n| format!("row {n}"))));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids, texts]).expect("fits");
    let bytes = match format {
        "json" => (0..20_000).map(|n| format!("{{\"id\":{n},\"s\":\"row {n}\"}}\n")).collect::<String>().into_bytes(),
        "csv" => (0..20_000).map(|n| format!("{n},\"row {n}\"\n")).collect::<String>().into_bytes(),
        "avro" => {
            let mut encoder = AvroFileEncoder::new(AvroCodec::Deflate, schema, [9; 16]).expect("types");
            let mut bytes = encoder.head().to_vec();
            (0..20).for_each(|n| encoder.write(&batch.slice(n * 1000, 1000), &mut bytes).expect("written"));
            bytes
        }
        _ => {
            let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), schema, None).expect("a writer");
            writer.write(&batch).expect("written");
            writer.into_inner().expect("closed")
        }
    };
    std::fs::write(&path, bytes).expect("written");
    path
}

#[tokio::test]
async fn every_format_can_be_resumed_after_each_batch_and_takes_columns_from_the_path() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in ["json", "csv", "avro", "parquet"] {
        let path = written(folder.path(), format);
        let options = [("path", path.to_str().expect("UTF-8")), ("format", format)];
        let mut table = table(&[("day", "DATE"), ("id", "INT"), ("s", "STRING")], &options);
        table.definition.partitioned_by = vec!["day".into()];
        let source = Filesystem.source(&table).expect("a source").project(&[1, 0]).expect("projects");
        let partition = source.partitions().await.expect("files").remove(0);
        let batches = read(&source, &partition, Start::Beginning).await.expect("rows");
        assert!(batches.len() > 2, "{format}");
        let row = |n: usize| format!("{{\"op\":\"+I\",\"id\":{n},\"day\":\"2024-03-01\"}}");
        let mut seen = 0;
        for (lines, token) in &batches {
            assert_eq!(lines[0], row(seen), "{format}");
            seen += lines.len();
            let rest = read(&source, &partition, Start::At(token.clone())).await.expect("rows");
            let rest: Vec<String> = rest.into_iter().flat_map(|(lines, _)| lines).collect();
            assert_eq!(rest.len(), 20_000 - seen, "{format}");
            assert!(rest.first().is_none_or(|line| *line == row(seen)), "{format}");
        }
        assert_eq!(seen, 20_000);
        std::fs::write(&path, "").expect("written");
        assert!(read(&source, &partition, Start::At(batches[0].1.clone())).await.is_err(), "{format}");
    }
}

#[tokio::test]
async fn hostile_parquet_is_refused() {
    let bomb = b"PAR1\x19\xfc\xff\xff\xff\xff\x07\x00\x08\x00\x00\x00PAR1";
    let folder = tempfile::tempdir().expect("a folder");
    for (n, bytes) in [&bomb[..], b"", b"PAR1", &bomb[..12], b"not parquet at all"].into_iter().enumerate() {
        let path = folder.path().join(format!("{n}.parquet"));
        std::fs::write(&path, bytes).expect("written");
        let error = all(&source(&path, "parquet", &[("id", "INT")])).await.expect_err("refused");
        assert_eq!(error.kind(), aquifer_model::ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn a_page_that_inflates_to_too_much_is_refused_and_rows_before_it_are_not() {
    use ::parquet::arrow::ArrowWriter;
    use ::parquet::basic::{Compression, ZstdLevel};
    use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bomb.parquet");
    // A row group of short values, then one whose page has over 4 MiB of zeros; statistics make heads that are longer than the first guess.
    let texts = |texts: Vec<String>| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(texts)) };
    let rows = |column| RecordBatch::try_from_iter([("t", column)]).expect("a column");
    let short = rows(texts((0..1000).map(|n| format!("{n:0300}")).collect()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_write_page_header_statistics(true)
        .set_statistics_truncate_length(None)
        .set_data_page_size_limit(64 << 20)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), short.schema(), Some(properties)).expect("a writer");
    writer.write(&short).expect("written");
    writer.flush().expect("a row group");
    writer.write(&rows(texts(vec!["0".repeat(4 << 10); 1024]))).expect("written");
    std::fs::write(&path, writer.into_inner().expect("closed")).expect("written");
    let with = |most: &str| {
        let options = [("path", &*path.to_string_lossy()), ("format", "parquet"), ("parquet.max-page-bytes", most)];
        Filesystem.source(&table(&[("t", "STRING")], &options)).expect("a source")
    };
    for enough in ["5 mb", "512 mb"] {
        assert_eq!(all(&with(enough)).await.expect("rows").len(), 2024);
    }
    let refusing = with("4 mb");
    let partition = refusing.partitions().await.expect("files").remove(0);
    let mut reader = refusing.open(&partition, Start::Beginning).await.expect("opens");
    let error = loop {
        match reader.next().await {
            Ok(Polled::Changes(_)) => {}
            Ok(_) => panic!("the bomb was read"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), aquifer_model::ErrorKind::Corrupt);
    let text = format!("{error:?}");
    assert!(text.contains("claims to inflate to 4198400") && text.contains("set 'parquet.max-page-bytes'"), "{text}");
    let error = Filesystem.source(&table(
        &[("t", "STRING")],
        &[("path", &path.to_string_lossy()), ("format", "parquet"), ("parquet.max-page-bytes", "much")],
    ));
    assert!(error.map(drop).expect_err("no size").to_string().contains("a size such as 128 MB"));
}

#[tokio::test]
async fn many_rows_come_in_batches_and_each_can_be_resumed_after() {
    let text: String = (0..20_000).map(|n| format!("{{\"id\":{n}}}\n")).collect();
    let (_folder, path) = file(&text);
    let source = source(&path, "json", &[("id", "INT")]);
    let partition = source.partitions().await.expect("files").remove(0);
    let batches = read(&source, &partition, Start::Beginning).await.expect("rows");
    assert!(batches.len() > 2);
    let mut seen = 0;
    for (lines, token) in &batches {
        seen += lines.len();
        let rest = read(&source, &partition, Start::At(token.clone())).await.expect("rows");
        let rest: Vec<String> = rest.into_iter().flat_map(|(lines, _)| lines).collect();
        assert_eq!(rest.len(), 20_000 - seen);
        assert!(rest.first().is_none_or(|line| *line == format!("{{\"op\":\"+I\",\"id\":{seen}}}")));
    }
    std::fs::write(&path, "").expect("written");
    let error = read(&source, &partition, Start::At(batches[0].1.clone())).await.expect_err("shorter");
    assert_eq!(error.kind(), aquifer_model::ErrorKind::Gone);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_bytes_are_rows_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), format in prop::sample::select(vec!["json", "canal-json", "csv", "avro", "parquet"])) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows");
        std::fs::write(&path, &bytes).expect("written");
        let source = source(&path, format, &[("id", "INT")]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _ = runtime.block_on(all(&source));
    }
}
