//! `aquifer sql` as a user meets it: the prompt on a terminal, scripts from files and pipes, exit codes.

use std::io::Write;
use std::process::{Command, Stdio};

use aquifer_integration_tests::{aquifer_path, python};

#[test]
fn a_user_types_at_the_prompt() {
    let path = aquifer_path();
    let Some(printed) = python("shell.py", &["--binary", path.to_str().expect("text")]) else { return };
    let text = printed.success("shell.py").stdout;
    assert!(text.contains("history and Ctrl-D") && text.contains("paging"), "{text}");
}

/// Standard output, standard error, exit code.
fn shell(arguments: &[&str], stdin: &str) -> (String, String, i32) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(aquifer_path())
        .args(["sql", "--data-dir"])
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("aquifer can be started");
    child.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code().expect("an exit code"))
}

#[test]
fn a_script_from_a_pipe_runs_without_a_prompt_and_quit_ends_it() {
    let (out, err, code) = shell(&["--output", "csv"], "SELECT 1 AS a;\n-- more\nQUIT;\nSELECT 2 AS b;");
    assert_eq!((out.as_str(), err.as_str(), code), ("op,a\r\n+I,1\r\n", "", 0));
}

#[test]
fn a_script_stops_at_its_first_error_unless_told() {
    let script = "SET 'execution.runtime-mode' = 'batch'; SELECT nothing; SELECT 7 AS seven;";
    let (out, err, code) = shell(&["--output", "json", "-e", script], "");
    assert!(out.is_empty() && err.contains("nothing") && code == 1, "{out}{err}{code}");
    let (out, err, code) = shell(&["--output", "json", "--continue-on-error", "-e", script], "");
    assert!(out.contains("\"seven\":7") && err.contains("nothing") && code == 1, "{out}{err}{code}");
}

#[test]
fn settings_of_flinks_client_say_how_results_look() {
    let changes = "SELECT * FROM (VALUES ('a long text that goes on')) AS t(a);";
    let (out, _, code) = shell(&["-e", &format!("SET 'table.display.max-column-width' = '10'; {changes}")], "");
    assert!(out.contains("| +I | a long ... |\n") && code == 0, "{out}");
    let untimed = format!("SET 'sql-client.display.print-time-cost' = 'false'; {changes}");
    let (out, ..) = shell(&["-e", &untimed], "");
    assert!(out.ends_with("Received a total of 1 row\n\n"), "{out}");
    let table = format!("SET 'sql-client.execution.result-mode' = 'table'; {changes}");
    let (out, ..) = shell(&["-e", &table], "");
    assert!(out.contains("1 row in set") && !out.contains("| op |"), "{out}");
    // What the command line says wins.
    let (out, ..) = shell(&["--output", "csv", "-e", &table], "");
    assert!(out.contains("op,a\r\n"), "{out}");
    let (_, err, code) = shell(&["-e", "SET 'sql-client.execution.result-mode' = 'tables'"], "");
    assert!(err.contains("'tableau'") && code == 1, "{err}");
    let ltz = "SET 'execution.runtime-mode' = 'batch'; SET 'table.local-time-zone' = 'GMT+02:00'; \
               SELECT TO_TIMESTAMP_LTZ(0, 3) AS t;";
    let (out, ..) = shell(&["-e", ltz], "");
    assert!(out.contains("1970-01-01 02:00:00.000"), "{out}");
}

#[test]
fn times_go_to_standard_error_and_an_init_file_runs_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let init = folder.path().join("init.sql");
    std::fs::write(&init, "SET 'execution.runtime-mode' = 'batch';").expect("written");
    let init = init.to_str().expect("text");
    let (out, err, code) = shell(&["-i", init, "--timing", "--output", "csv", "-e", "SELECT 1 AS a"], "");
    assert_eq!((out.as_str(), code), ("a\r\n1\r\n", 0));
    assert_eq!(err.matches("[TIME] ").count(), 2, "{err}");
}

#[test]
fn files_are_read_by_their_paths() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_string();
    std::fs::write(path("a-1.csv"), "id,name\n1,one\n2,\"two, three\"\n").expect("written");
    std::fs::write(path("a-2.csv"), "id,name\n4,four\n").expect("written");
    std::fs::write(path("b.json"), "{\"id\": 2, \"price\": 1.5}\n{\"id\": 4, \"price\": 2}\n").expect("written");
    let (all, json, out) = (path("a-*.csv"), path("b.json"), path("out"));
    let script = format!(
        "SET 'execution.runtime-mode' = 'batch';
         SELECT a.name, b.price FROM '{all}' AS a JOIN '{json}' AS b ON a.id = b.id ORDER BY a.name;
         CREATE TABLE sink (id BIGINT, name STRING) WITH ('connector' = 'filesystem', 'path' = '{out}', 'format' = 'parquet');
         INSERT INTO sink SELECT id, name FROM '{all}';
         SELECT SUM(id) AS ids FROM '{out}/*.parquet';"
    );
    let (printed, err, code) = shell(&["--output", "csv", "-e", &script], "");
    assert_eq!((printed.as_str(), code), ("name,price\r\nfour,2.0\r\n\"two, three\",1.5\r\nids\r\n7\r\n", 0), "{err}");
    let (_, err, code) = shell(&["-e", &format!("SELECT * FROM '{}'", path("none.csv"))], "");
    assert!(err.contains("none.csv") && !err.contains("default_catalog") && code == 1, "{err}");
    let (_, err, _) = shell(&["-e", "SELECT * FROM 'nothing'"], "");
    assert!(err.contains("there is no table `nothing`"), "{err}");
}
