//! An unbounded query over a topic of 100 partitions to which nobody writes: how much of a core the whole process takes.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use aquifer_model::TopicName;
use aquifer_storage::log::Log;
use aquifer_storage::pulsar::{PulsarConfig, PulsarLog};

use crate::Failure;
use crate::broker::{Addresses, Broker, create_catalog, fresh_name};
use crate::cli::Settings;
use crate::figures::{Figure, Target, report};
use crate::measure::{aquifer, cpu_of_process};

const PARTITIONS: u32 = 100;
/// So long it may settle before it is watched: readers open, and ask more and more seldom whether they fell behind.
const SETTLE: Duration = Duration::from_secs(20);
const WATCH: Duration = Duration::from_secs(30);
/// One hundredth of a core.
const BOUND: f64 = 0.01;

/// Measures and reports.
pub fn run(settings: &Settings, broker: &Broker) -> Result<(), Failure> {
    let settings = &Settings { runs: settings.runs, ..broker.on_topic(&fresh_name("idle")) };
    let addresses = Addresses::of(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = PulsarConfig {
            service_url: Some(addresses.service.clone()),
            admin_url: Some(addresses.admin.clone()),
            ..PulsarConfig::default()
        };
        let topic = TopicName::new("public", "default", settings.topic.as_str());
        PulsarLog::new(config)?.create_topic(&topic, PARTITIONS).await
    })?;
    let folder = tempfile::tempdir()?;
    let script = format!(
        "{}; CREATE TABLE idle (line STRING) WITH ('connector'='pulsar', 'topics'='{}', 'service-url'='{}', 'admin-url'='{}', 'format'='raw'); SELECT line FROM idle;",
        create_catalog(&addresses),
        settings.topic,
        addresses.service,
        addresses.admin
    );
    let mut command = aquifer(settings)?;
    command.args(["sql", "--output", "json", "--data-dir"]).arg(folder.path()).args(["-e", &script]);
    println!("idle: a query over {PARTITIONS} partitions, {} s after {} s", WATCH.as_secs(), SETTLE.as_secs());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let complaints = child.stderr.take().ok_or("a process without stderr")?;
    // Read beside, so that it is not held up.
    let complaints =
        std::thread::spawn(move || BufReader::new(complaints).lines().map_while(Result::ok).collect::<Vec<_>>());
    let watched = watch(child.id());
    let ended = child.try_wait()?;
    let _ = child.kill();
    let _ = child.wait();
    let complaints = complaints.join().unwrap_or_default();
    if let Some(status) = ended {
        return Err(format!("the idle query ended with {status}: {}", complaints.join("; ")).into());
    }
    let figure = Figure {
        what: format!("{PARTITIONS} idle partitions, of 1 % of a core"),
        ours: watched?,
        yardstick: Some(BOUND),
        unit: "cores",
        target: Some(Target::AtMost(1.0)),
    };
    report("idle", settings, &[figure])
}

/// The cores that a process takes, watched for a while.
fn watch(id: u32) -> Result<f64, Failure> {
    std::thread::sleep(SETTLE);
    let (start, before) = (Instant::now(), cpu_of_process(id)?);
    std::thread::sleep(WATCH);
    Ok((cpu_of_process(id)? - before) / start.elapsed().as_secs_f64())
}
