//! Tables of files in SQL, in a local folder and in a bucket of a real S3 store: the same statements, the same answers.
//!
//! The store is started by the test (`services/s3.sh`).

use std::process::{Command, Stdio};

use aquifer_integration_tests::aquifer_path;
use aquifer_integration_tests::s3::OwnStore;

/// Where files lie: the `path` of a table called `name`, and what else its options say.
struct Place {
    folder: tempfile::TempDir,
    root: String,
    options: String,
}

impl Place {
    fn local() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("files").display().to_string();
        Self { folder, root, options: String::new() }
    }

    /// A table with these columns, of all files below this name.
    fn table(&self, name: &str, columns: &str, partitions: &str, path: &str, format: &str) -> String {
        format!(
            "CREATE TABLE {name} ({columns}) {partitions} WITH ('connector' = 'filesystem', 'path' = '{}/{path}', 'format' = '{format}'{});\n",
            self.root, self.options
        )
    }

    /// What a script prints, a line each, sorted; the messages of its errors with `ERROR` before them.
    fn run(&self, script: &str) -> Vec<String> {
        let output = Command::new(aquifer_path())
            .args(["sql", "--output", "csv", "--continue-on-error", "--data-dir"])
            .arg(self.folder.path().join("data"))
            .args(["-e", &format!("SET 'execution.runtime-mode' = 'batch';\n{script}")])
            .stdin(Stdio::null())
            .output()
            .expect("aquifer can be started");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // Of each script one statement gives rows, below its columns' names.
        let mut all: Vec<String> = out.lines().skip(1).map(String::from).collect();
        all.sort();
        let mut errors = err.lines().skip_while(|line| !line.contains("ERROR"));
        all.extend(errors.nth(1).map(|line| format!("ERROR {line}")));
        all
    }
}

fn every_statement_over_files(place: &Place) {
    let columns = "id INT, s STRING, day STRING, hour INT";
    let plain = place.table("plain", "id INT, s STRING", "", "plain", "json");
    assert_eq!(place.run(&plain), Vec::<String>::new());
    assert!(place.run("SELECT * FROM plain;")[0].starts_with("ERROR there is no"), "nothing is there yet");
    place.run("INSERT INTO plain VALUES (1, 'a'), (2, 'b'); INSERT INTO plain VALUES (3, 'c');");
    assert_eq!(place.run("SELECT * FROM plain;"), ["1,a", "2,b", "3,c"]);
    // An insert that fails on its way leaves nothing, of the rows before the failure neither.
    let failed = place.run(
        "INSERT INTO plain SELECT CAST(s AS INT), s FROM (SELECT s FROM (VALUES ('10'), ('11')) AS x (s) UNION ALL SELECT s FROM plain) AS y;",
    );
    assert!(failed[0].starts_with("ERROR"), "{failed:?}");
    assert_eq!(place.run("SELECT COUNT(*) FROM plain;"), ["3"]);
    // All is replaced; by nothing, too; by what is read of it.
    place.run("INSERT OVERWRITE plain SELECT id * 10, UPPER(s) FROM plain WHERE id < 3;");
    assert_eq!(place.run("SELECT * FROM plain;"), ["10,A", "20,B"]);
    place.run("INSERT OVERWRITE plain SELECT 1, 'x' WHERE FALSE;");
    let left = place.run("SELECT * FROM plain;");
    assert!(left.iter().all(|line| line.starts_with("ERROR there is no")), "an empty folder, or no object: {left:?}");

    let parts = place.table("parts", columns, "PARTITIONED BY (day, hour)", "parts", "parquet");
    place.run(&parts);
    place.run(
        "INSERT INTO parts VALUES (1, 'a', 'mon', 1), (2, 'b', 'mon', 2), (3, 'c', 'tue', 1), (4, 'd', CAST(NULL AS STRING), 1);
         INSERT INTO parts PARTITION (day = 'wed/1', hour = 5) VALUES (5, 'e');",
    );
    let all = ["1,a,mon,1", "2,b,mon,2", "3,c,tue,1", "4,d,,1", "5,e,wed/1,5"];
    assert_eq!(place.run("SELECT * FROM parts;"), all);
    // Partitions that get rows are replaced, the others stay.
    place.run("INSERT OVERWRITE parts VALUES (6, 'f', 'mon', 1);");
    assert_eq!(place.run("SELECT * FROM parts WHERE day = 'mon';"), ["2,b,mon,2", "6,f,mon,1"]);
    // So it is where one column is told; a partition told in full is replaced even by nothing.
    place.run("INSERT OVERWRITE parts PARTITION (day = 'mon') SELECT 7, 'g', 2;");
    place.run("INSERT OVERWRITE parts PARTITION (day = 'tue', hour = 1) SELECT 8, 'h' WHERE FALSE;");
    assert_eq!(place.run("SELECT * FROM parts;"), ["4,d,,1", "5,e,wed/1,5", "6,f,mon,1", "7,g,mon,2"]);
    // A pattern reads a part of it.
    let some = place.table(
        "some_parts",
        "id INT, day STRING, hour INT",
        "PARTITIONED BY (day, hour)",
        "parts/day=m*/hour=[12]",
        "parquet",
    );
    place.run(&some);
    assert_eq!(place.run("SELECT * FROM some_parts;"), ["6,mon,1", "7,mon,2"]);

    for format in ["csv", "avro", "json"] {
        let table = place.table(&format!("as_{format}"), "id BIGINT, s STRING", "", format, format);
        place.run(&table);
        place.run(&format!("INSERT INTO as_{format} SELECT id, CONCAT('text ', CAST(id AS STRING)) FROM parts;"));
        assert_eq!(place.run(&format!("SELECT COUNT(*), MAX(s) FROM as_{format};")), ["4,text 7"], "{format}");
    }
    let streaming =
        place.run("SET 'execution.runtime-mode' = 'streaming'; INSERT OVERWRITE parts VALUES (9, 'i', 'x', 1);");
    assert!(streaming[0].contains("SET 'execution.runtime-mode' = 'batch'"), "{streaming:?}");
    let unknown = place.run("INSERT OVERWRITE parts PARTITION (nope = 1) VALUES (1, 'x', 'y');");
    assert!(unknown[0].contains("`nope`"), "{unknown:?}");
}

#[test]
fn statements_over_local_files_do_as_flink_says() {
    every_statement_over_files(&Place::local());
}

#[test]
fn statements_over_a_bucket_do_the_same() {
    let Some(store) = OwnStore::start() else { return };
    let mut place = Place::local();
    (place.root, place.options) = ("s3://aquifer/some/where".to_string(), store.options());
    every_statement_over_files(&place);

    // Larger than a part of an upload and than a block that is read; each of its rows once.
    let large = place.table("large", "id BIGINT, s STRING", "", "large", "csv");
    place.run(&large);
    let made = "CREATE TABLE made (id BIGINT, s STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '100000', \
                'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '100000', 'fields.s.length' = '120');";
    let written = place.run(&format!("{made} INSERT INTO large SELECT * FROM made;"));
    assert_eq!(written, Vec::<String>::new());
    let read = place.run("SELECT COUNT(*), COUNT(DISTINCT id), SUM(id), SUM(CHAR_LENGTH(s)) FROM large;");
    assert_eq!(read, ["100000,100000,5000050000,12000000"]);

    let shown = place.run("SHOW CREATE TABLE plain;").join("\n");
    let shown = format!("{shown}{}", place.run("DESCRIBE plain;").join("\n"));
    assert!(!shown.contains(&store.secret), "{shown}");
    place.options = store.options_with("wrong");
    let wrong = place.table("wrong", "id INT", "", "plain", "json");
    let refused = place.run(&format!("{wrong} SELECT * FROM wrong;"));
    // A store that asks for no signatures has nothing to refuse.
    if store.asks_for_signatures() {
        assert!(refused.iter().any(|line| line.starts_with("ERROR")), "{refused:?}");
    }
    place.options = ", 's3.access-key' = 'x'".to_string();
    let half = place.table("half", "id INT", "", "plain", "json");
    let refused = place.run(&format!("{half} SELECT * FROM half;"));
    assert!(refused[0].contains("'s3.secret-key'"), "{refused:?}");
}
