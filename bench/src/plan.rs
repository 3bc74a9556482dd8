//! What a user waits for before anything is read: planning a join of ten tables, and `SHOW TABLES` over 1,000 topics of a Pulsar.

use std::time::Instant;

use aquifer_model::TopicName;
use aquifer_processor::sql::{Outcome, Session};
use aquifer_server::engine;
use aquifer_storage::log::Log;
use aquifer_storage::pulsar::{PulsarConfig, PulsarLog};
use futures::{StreamExt, TryStreamExt, stream};

use crate::Failure;
use crate::broker::{Addresses, Broker, Client, fresh_name};
use crate::cli::Settings;
use crate::figures::{Figure, Target, median, report};

const TABLES: usize = 10;
const TOPICS: usize = 1_000;
/// Seconds.
const PLAN_BOUND: f64 = 0.1;
const SHOW_BOUND: f64 = 1.0;

/// Measures and reports.
pub fn run(settings: &Settings, broker: &Broker) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(32 << 20).build()?;
    let planning = runtime.block_on(plan_join(settings))?;
    let showing = runtime.block_on(show_tables(&broker.on_topic("")))?;
    let figure = |what: String, ours, bound| Figure {
        what,
        ours,
        yardstick: Some(bound),
        unit: "s",
        target: Some(Target::AtMost(1.0)),
    };
    let figures = [
        figure(format!("planning a join of {TABLES} tables, of 0.1 s"), planning, PLAN_BOUND),
        figure(format!("SHOW TABLES over {TOPICS} topics, of 1 s"), showing, SHOW_BOUND),
    ];
    report("plan", settings, &figures)
}

async fn execute(session: &mut Session, sql: &str) -> Result<Outcome, Failure> {
    Ok(session.execute(sql, 1).await?.outcome)
}

/// Seconds that planning takes, of tables in the embedded log.
async fn plan_join(settings: &Settings) -> Result<f64, Failure> {
    let folder = tempfile::tempdir()?;
    let mut session = engine::session(folder.path()).await?;
    for n in 0..TABLES {
        execute(
            &mut session,
            &format!(
                "CREATE TABLE t{n} (id BIGINT, parent BIGINT, name STRING, price DECIMAL(10, 2), at TIMESTAMP(3))"
            ),
        )
        .await?;
    }
    execute(&mut session, "SET 'execution.runtime-mode' = 'batch'").await?;
    let joins: String = (1..TABLES).map(|n| format!(" JOIN t{n} ON t{n}.id = t{}.parent", n - 1)).collect();
    let sql = format!(
        "EXPLAIN SELECT t0.name, COUNT(*), SUM(t9.price), MAX(t5.at) FROM t0{joins} WHERE t0.price > 10 AND t7.name LIKE 'a%' GROUP BY t0.name"
    );
    let mut times = Vec::new();
    for _ in 0..settings.runs.max(1) * 3 {
        let start = Instant::now();
        match execute(&mut session, &sql).await? {
            Outcome::Listing(_) => times.push(start.elapsed().as_secs_f64()),
            _ => return Err("EXPLAIN gave no plan".into()),
        }
    }
    Ok(median(times))
}

/// Seconds that `SHOW TABLES` takes, asked anew each time.
async fn show_tables(settings: &Settings) -> Result<f64, Failure> {
    let addresses = Addresses::of(settings)?;
    let config = PulsarConfig {
        service_url: Some(addresses.service),
        admin_url: Some(addresses.admin),
        ..PulsarConfig::default()
    };
    let log = PulsarLog::new(config)?;
    let namespace = fresh_name("many");
    log.create_namespace("public", &namespace).await?;
    stream::iter(0..TOPICS)
        .map(|n| {
            let (log, topic) = (&log, TopicName::new("public", namespace.as_str(), format!("t{n:04}")));
            async move { log.create_topic(&topic, 0).await }
        })
        .buffer_unordered(8)
        .try_collect::<Vec<()>>()
        .await?;
    let mut times = Vec::new();
    for _ in 0..settings.runs {
        let mut client = Client::new(settings).await?;
        execute(&mut client.session, &format!("USE `public/{namespace}`")).await?;
        let start = Instant::now();
        match execute(&mut client.session, "SHOW TABLES").await? {
            Outcome::Listing(tables) if tables.num_rows() == TOPICS => times.push(start.elapsed().as_secs_f64()),
            Outcome::Listing(tables) => {
                return Err(format!("SHOW TABLES shows {} of {TOPICS}", tables.num_rows()).into());
            }
            _ => return Err("SHOW TABLES gave no listing".into()),
        }
    }
    Ok(median(times))
}
