//! Two processes change definitions at once and are killed at random: nothing acknowledged is lost, nothing is half there.
//!
//! ```text
//!  child a ─► ALTER … shared SET (one option = n)     ┐ one definition ─► prints what was begun and acknowledged ◄─ test: SIGKILL, start again
//!  child b ─► ALTER … shared SET (another option = n) ┘
//!  both    ─► CREATE, ALTER, RENAME, DROP of its own objects; CREATE of a name that both want (one wins)
//! ```
//!
//! Once with the catalogs of one data directory, and with the tables and views of a cluster's catalog whose definitions two data directories share, in
//! a folder and in a bucket. A writer that decided on an old version and overwrote the other's would set the other's option back: the test holds
//! each option against what its writer was told.

#![allow(clippy::panic)] // this is test code

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aquifer_formats::text::{TextStyle, parse_zone, text_columns};
use aquifer_integration_tests::Pulsar;
use aquifer_integration_tests::killed::{Killed, say};
use aquifer_integration_tests::s3::OwnStore;
use aquifer_processor::sql::{Outcome, Session};
use aquifer_server::engine::session;
use rand::{Rng, SeedableRng};

const WRITERS: [&str; 2] = ["a", "b"];
/// The options of the shared catalog and of the shared table, one of each writer. The second one tells what an object of a writer's own is.
const CATALOG_OPTIONS: [&str; 2] = ["segment-bytes", "segment-entries"];
const TABLE_OPTIONS: [&str; 2] = ["sink.batching.max-messages", "partition.discovery.interval-millis"];

fn kills(usual: u32) -> u32 {
    std::env::var("AQUIFER_DEFINITION_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What a writer was told, from the lines of all its lives.
#[derive(Debug, Default)]
struct Told {
    /// The last value that was begun, and the last that was acknowledged.
    begun: u64,
    acknowledged: u64,
    /// Its own objects: what each of them may be. `None`: not there.
    own: BTreeMap<String, BTreeSet<Option<String>>>,
    won: Vec<String>,
}

impl Told {
    /// A line: `begin n`, `set n`, `won NAME`; `may NAME [STATE]` before an object of its own is changed, `is NAME [STATE]` after it.
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (Some(what), Some(name)) = (words.next(), words.next()) else { return };
        let state = words.next().map(String::from);
        let unknown = || BTreeSet::from([None]);
        match what {
            "begin" => self.begun = name.parse().expect("a number"),
            "set" => self.acknowledged = name.parse().expect("a number"),
            "won" => self.won.push(name.to_string()),
            "may" => {
                self.own.entry(name.to_string()).or_insert_with(unknown).insert(state);
            }
            "is" => {
                self.own.insert(name.to_string(), BTreeSet::from([state]));
            }
            _ => {}
        }
    }

    /// That its own objects are what it was told that they are, or what it had begun to make of them. An option tells what an object is.
    fn check_own(&self, stored: &Stored, option: &str) {
        for (name, states) in &self.own {
            let found = stored.get(name).map(|options| options.get(option).cloned().unwrap_or_default());
            assert!(states.contains(&found), "`{name}` is {found:?} and may be {states:?}");
        }
    }
}

/// Objects by name with their options, as a new session reads them. Fails on one that is half there.
type Stored = BTreeMap<String, BTreeMap<String, String>>;

/// Runs both writers and kills them in turn. `start` begins a life of one at a number; `stored` reads what there is, or of one writer's
/// objects and `shared`, while the other one goes on; `shared` has the `options`.
fn torture(
    kills: u32,
    options: [&str; 2],
    shared: &str,
    start: impl Fn(usize, u64) -> Killed,
    stored: impl Fn(Option<usize>) -> Stored,
) {
    let mut random = rand::rngs::StdRng::seed_from_u64(11);
    let mut told = [Told::default(), Told::default()];
    let mut writers = [0, 1].map(|n| start(n, 1));
    for kill in 0..kills {
        let victim = random.random_range(0..2);
        // Both make progress between two kills; the victim dies somewhere in its next few statements.
        for n in [1 - victim, victim] {
            for _ in 0..random.random_range(3..12) {
                told[n].hear(&writers[n].line());
            }
        }
        std::thread::park_timeout(Duration::from_micros(random.random_range(0..3000)));
        writers[victim].kill().iter().for_each(|line| told[victim].hear(line));
        let stored = stored(Some(victim));
        let value: u64 = stored[shared].get(options[victim]).map_or(0, |text| text.parse().expect("a number"));
        let Told { begun, acknowledged, .. } = told[victim];
        assert!(
            value == acknowledged || value == begun,
            "after kill {kill} `{}` is {value}; its writer was told {acknowledged} and had begun {begun}",
            options[victim]
        );
        told[victim].check_own(&stored, options[1]);
        writers[victim] = start(victim, begun + 1);
    }
    for (writer, told) in writers.iter_mut().zip(&mut told) {
        writer.kill().iter().for_each(|line| told.hear(line));
    }
    let stored = stored(None);
    for told in &told {
        told.check_own(&stored, options[1]);
        for name in &told.won {
            assert!(stored.contains_key(name), "`{name}` was created and is not there");
        }
    }
    let twice: Vec<_> = told[0].won.iter().filter(|name| told[1].won.contains(name)).collect();
    assert!(twice.is_empty(), "both writers were told that they created {twice:?}");
    let set = told.each_ref().map(|told| told.acknowledged);
    let own = told.each_ref().map(|told| told.own.len());
    let wins = told.each_ref().map(|told| told.won.len());
    println!(
        "{kills} kills; {set:?} changes of one definition; {own:?} objects of their own; {} left; races won {wins:?}",
        stored.len()
    );
    assert!(set.iter().all(|n| *n > u64::from(kills) / 2), "too few changes: {set:?}");
    assert!(own.iter().all(|n| *n > 1), "too few objects: {own:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

#[test]
fn two_writers_of_catalogs_killed_at_random_lose_and_halve_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = runtime();
    runtime.block_on(async {
        let mut session = session(folder.path()).await.expect("opens");
        run(&mut session, &create_catalog("shared", folder.path())).await.expect("created");
    });
    let start = |writer: usize, from: u64| {
        let folder = folder.path().display().to_string();
        child("the_child_changes_catalogs", vec![("FOLDER", folder)], writer, from)
    };
    let stored = |_: Option<usize>| {
        runtime.block_on(async {
            let mut session = session(folder.path()).await.expect("definitions can be read");
            let mut stored = Stored::new();
            for row in listing(&mut session, "SHOW CATALOGS").await {
                let described = listing(&mut session, &format!("DESC CATALOG EXTENDED `{}`", row[0])).await;
                let option = |row: Vec<String>| Some((row[0].strip_prefix("option:")?.to_string(), row[1].clone()));
                stored.insert(row[0].clone(), described.into_iter().filter_map(option).collect());
            }
            stored
        })
    };
    torture(kills(30), CATALOG_OPTIONS, "shared", start, stored);
}

#[test]
fn two_writers_of_tables_and_views_in_a_shared_folder_lose_and_halve_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("definitions").display().to_string();
    // What a look at all costs grows with every kill.
    tables_and_views(&format!(", 'definitions' = 'file://{place}'"), kills(12).min(40));
}

#[test]
fn two_writers_of_tables_and_views_in_a_bucket_lose_and_halve_none() {
    let Some(store) = OwnStore::start() else { return };
    let place = format!(", 'definitions' = 's3://aquifer/some/definitions'{}", store.options());
    // Every look at what there is asks the store for each of hundreds of names, and of more with every kill.
    tables_and_views(&place, kills(6).min(24));
}

/// Each writer and each look at what there is has a data directory of its own; `place` are options that say where the definitions lie.
fn tables_and_views(place: &str, kills: u32) {
    let Some(pulsar) = Pulsar::given() else { return };
    let options = format!("'service-url' = '{}', 'admin-url' = '{}'{place}", pulsar.service_url, pulsar.admin_url);
    let catalog = format!("CREATE CATALOG IF NOT EXISTS p WITH ('type' = 'pulsar', {options})");
    let prefix = format!("k{}x", rand::random::<u32>());
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let runtime = runtime();
    let shared = format!("{prefix}_shared");
    runtime.block_on(async {
        let mut session = in_catalog(folders[2].path(), &catalog).await;
        run(&mut session, &create_table(&shared, 0)).await.expect("created");
    });
    let start = |writer: usize, from: u64| {
        let folder = folders[writer].path().display().to_string();
        let settings = vec![("FOLDER", folder), ("CATALOG", catalog.clone()), ("PREFIX", prefix.clone())];
        child("the_child_changes_tables_and_views", settings, writer, from)
    };
    let stored = |writer: Option<usize>| {
        let is_wanted = |name: &String| match writer {
            Some(writer) => *name == shared || name.split('_').nth(2) == Some(WRITERS[writer]),
            None => name.starts_with(&prefix),
        };
        runtime.block_on(async {
            let mut session = in_catalog(folders[2].path(), &catalog).await;
            let mut views = listing(&mut session, "SHOW VIEWS").await.concat();
            views.retain(is_wanted);
            let mut stored = Stored::new();
            for name in listing(&mut session, &format!("SHOW TABLES LIKE '{prefix}%'")).await.concat() {
                if is_wanted(&name) {
                    let what = if views.contains(&name) { "VIEW" } else { "TABLE" };
                    assert!(
                        !listing(&mut session, &format!("DESCRIBE `{name}`")).await.is_empty(),
                        "`{name}` has columns"
                    );
                    let shown = listing(&mut session, &format!("SHOW CREATE {what} `{name}`")).await.concat().concat();
                    stored.insert(name, options_of(&shown));
                }
            }
            stored
        })
    };
    torture(kills, TABLE_OPTIONS, &shared, start, stored);
}

/// The options in a shown table; a view's number stands for the second one.
fn options_of(shown: &str) -> BTreeMap<String, String> {
    let quoted: Vec<&str> = shown.split('\'').collect();
    let pairs =
        quoted.windows(3).filter(|three| three[1].trim() == "=").map(|three| (three[0].into(), three[2].into()));
    let number = shown.rsplit_once("SELECT ").and_then(|(_, rest)| rest.split_whitespace().next());
    pairs.chain(number.map(|number| (TABLE_OPTIONS[1].to_string(), number.to_string()))).collect()
}

fn child(test: &str, settings: Vec<(&str, String)>, writer: usize, from: u64) -> Killed {
    let numbers = [("WRITER", writer.to_string()), ("FROM", from.to_string())];
    let settings: Vec<(String, String)> =
        settings.into_iter().chain(numbers).map(|(key, value)| (format!("AQUIFER_DEFINITIONS_{key}"), value)).collect();
    let settings: Vec<(&str, String)> = settings.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    Killed::start(test, &settings)
}

fn given(name: &str) -> String {
    std::env::var(format!("AQUIFER_DEFINITIONS_{name}")).expect("set by the test that starts this one")
}

/// Which writer a child is, and the number it begins at.
fn given_life() -> (usize, u64) {
    (given("WRITER").parse().expect("0 or 1"), given("FROM").parse().expect("a number"))
}

async fn run(session: &mut Session, statement: &str) -> aquifer_model::Result<()> {
    session.execute(statement, 1).await.map(|_| ())
}

async fn listing(session: &mut Session, statement: &str) -> Vec<Vec<String>> {
    let Outcome::Listing(rows) = session.execute(statement, 1).await.expect(statement).outcome else {
        panic!("{statement} lists nothing")
    };
    let style = TextStyle::cast(parse_zone("UTC").expect("a zone"));
    let columns = text_columns(&rows, &style).expect("texts");
    (0..rows.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect()
}

/// A new session over a data directory, in the cluster's catalog.
async fn in_catalog(folder: &Path, create: &str) -> Session {
    let mut session = session(folder).await.expect("opens");
    run(&mut session, create).await.expect("created");
    run(&mut session, "USE CATALOG p").await.expect("used");
    session
}

fn create_catalog(name: &str, folder: &Path) -> String {
    let log = folder.join("log-of-catalogs");
    format!("CREATE CATALOG {name} WITH ('type'='embedded', 'service-url'='embedded:{}')", log.display())
}

fn create_table(name: &str, n: u64) -> String {
    format!(
        "CREATE TABLE `{name}` (a INT) WITH ('connector' = 'pulsar', 'topics' = 'nowhere', '{}' = '{n}')",
        TABLE_OPTIONS[1]
    )
}

/// Runs a statement until nobody else was faster.
async fn insist(session: &mut Session, statement: &str) {
    while let Err(error) = run(session, statement).await {
        assert!(error.message().contains("changed by someone else"), "{statement}: {error}");
    }
}

/// Makes what the other writer makes too; tells who won.
async fn race(session: &mut Session, name: &str, statement: &str) {
    match run(session, statement).await {
        Ok(()) => say(&format!("won {name}")),
        Err(error) => assert!(error.message().contains("already"), "{statement}: {error}"),
    }
}

#[test]
#[ignore = "is started by a test above"]
fn the_child_changes_catalogs() {
    let (writer, from) = given_life();
    let folder = given("FOLDER");
    runtime().block_on(async {
        let mut session = session(Path::new(&folder)).await.expect("opens");
        for n in from.. {
            say(&format!("begin {n}"));
            let option = CATALOG_OPTIONS[writer];
            run(&mut session, &format!("ALTER CATALOG shared SET ('{option}' = '{n}')")).await.expect("altered");
            say(&format!("set {n}"));
            if n % 5 == 0 {
                let own = format!("{}_{n}", WRITERS[writer]);
                say(&format!("may {own} {n}"));
                let create =
                    create_catalog(&own, Path::new(&folder)).replace(")", &format!(", 'segment-entries'='{n}')"));
                run(&mut session, &create).await.expect("nobody else makes it");
                say(&format!("is {own} {n}"));
            }
            if n % 15 == 0 {
                let gone = format!("{}_{}", WRITERS[writer], n - 5);
                say(&format!("may {gone}"));
                run(&mut session, &format!("DROP CATALOG IF EXISTS {gone}")).await.expect("dropped");
                say(&format!("is {gone}"));
            }
            if n % 3 == 0 {
                let both = format!("both_{n}");
                race(&mut session, &both, &create_catalog(&both, Path::new(&folder))).await;
            }
        }
    });
}

#[test]
#[ignore = "is started by a test above"]
fn the_child_changes_tables_and_views() {
    let (writer, from) = given_life();
    let (prefix, me) = (given("PREFIX"), WRITERS[writer]);
    runtime().block_on(async {
        let mut session = in_catalog(Path::new(&given("FOLDER")), &given("CATALOG")).await;
        let session = &mut session;
        for n in from.. {
            say(&format!("begin {n}"));
            insist(session, &format!("ALTER TABLE {prefix}_shared SET ('{}' = '{n}')", TABLE_OPTIONS[writer])).await;
            say(&format!("set {n}"));
            let view = format!("{prefix}_view_{me}");
            say(&format!("may {view} {n}"));
            match n % 4 {
                0 => {
                    say(&format!("may {view}"));
                    insist(session, &format!("DROP VIEW IF EXISTS {view}")).await;
                    say(&format!("is {view}"));
                }
                _ => {
                    insist(session, &format!("CREATE OR REPLACE VIEW {view} AS SELECT {n} AS x")).await;
                    say(&format!("is {view} {n}"));
                }
            }
            let (own, moved) = (format!("{prefix}_own_{me}_{n}"), format!("{prefix}_moved_{me}_{n}"));
            if n % 2 == 0 {
                say(&format!("may {own} {n}"));
                insist(session, &create_table(&own, n)).await;
                say(&format!("is {own} {n}"));
            }
            if n % 4 == 0 {
                say(&format!("may {own}"));
                say(&format!("may {moved} {n}"));
                insist(session, &format!("ALTER TABLE {own} RENAME TO {moved}")).await;
                say(&format!("is {own}"));
                say(&format!("is {moved} {n}"));
            }
            if n % 8 == 0 {
                say(&format!("may {moved}"));
                insist(session, &format!("DROP TABLE {moved}")).await;
                say(&format!("is {moved}"));
            }
            if n % 3 == 0 {
                // One makes a table of it, the other a view.
                let both = format!("{prefix}_both_{n}");
                let view = format!("CREATE VIEW {both} AS SELECT {n} AS x");
                let create = if writer == 0 { view } else { create_table(&both, n) };
                race(session, &both, &create).await;
            }
        }
    });
}
