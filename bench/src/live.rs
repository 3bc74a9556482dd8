//! A live topic of bids in Avro, batched and LZ4: entries to Arrow rows by ours, against the `pulsar` crate's consumer with apache-avro, and against the
//! official client's bare receive from Python.

use std::process::Command;
use std::time::Instant;

use apache_avro::reader::datum::GenericDatumReader;
use aquifer_model::Cut;
use aquifer_storage::reader::{ReadRequest, Tiers};
use futures::TryStreamExt;
use pulsar::consumer::InitialPosition;
use pulsar::{Consumer, ConsumerOptions, Pulsar, SubType, TokioExecutor};

use crate::Failure;
use crate::broker::{Addresses, Broker, CATALOG, Client, fresh_name};
use crate::cli::{Benchmark, Settings};
use crate::data::{self, Bids, History};
use crate::figures::{Figure, Target, median, report};
use crate::measure::{self, Outcome, own_cpu, run_self};

const RECEIVE: &str = include_str!("../python/receive.py");
/// The rate aimed at, in messages a second and core.
const AIM: f64 = 1e6;

/// Measures and reports.
pub fn run(settings: &Settings, broker: &Broker) -> Result<(), Failure> {
    let settings = &Settings { runs: settings.runs, ..broker.on_topic(&fresh_name("live")) };
    let python = python(settings)?;
    checked(run_self(Benchmark::MakeTopic, settings)?.0, settings)?;
    println!("live: {} bids in Avro, entries of {} in LZ4", settings.messages, settings.batch);
    let (mut ours, mut crates, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.runs {
        ours.push(checked(run_self(Benchmark::RunLive, settings)?.0, settings)?);
        crates.push(checked(run_self(Benchmark::RunLiveCrate, settings)?.0, settings)?);
        raw.push(checked(receive(&python, settings)?, settings)?);
    }
    let cpu = |runs: &[Outcome]| median(runs.iter().map(Outcome::cpu_micros_a_row).collect());
    let rate = |runs: &[Outcome]| median(runs.iter().map(|run| run.rows as f64 / run.seconds).collect());
    let figure = |what: &str, ours, yardstick, unit, target| Figure {
        what: what.into(),
        ours,
        yardstick: Some(yardstick),
        unit,
        target,
    };
    let figures = [
        figure("against crate + apache-avro, CPU", cpu(&ours), cpu(&crates), "µs/message", Some(Target::AtMost(0.2))),
        figure("against Python's bare receive, CPU", cpu(&ours), cpu(&raw), "µs/message", Some(Target::AtMost(0.5))),
        figure("of 1 M messages/s/core", 1e6 / cpu(&ours), AIM, "messages/s/core", Some(Target::AtLeast(1.0))),
        figure("against crate + apache-avro, rate", rate(&ours), rate(&crates), "messages/s", None),
        figure("against Python's bare receive, rate", rate(&ours), rate(&raw), "messages/s", None),
    ];
    report("live", settings, &figures)
}

/// The interpreter that has the official client.
fn python(settings: &Settings) -> Result<String, Failure> {
    let script = settings.services.join("python.sh");
    let output =
        Command::new(&script).arg("venv").output().map_err(|error| format!("{}: {error}", script.display()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_string()),
        false => Err(format!("`{} venv`: {}", script.display(), String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}

fn receive(python: &str, settings: &Settings) -> Result<Outcome, Failure> {
    let mut command = Command::new(python);
    let topic = format!("persistent://public/default/{}", settings.topic);
    command.args(["-c", RECEIVE, &Addresses::of(settings)?.service, &topic, &settings.messages.to_string()]);
    let mut last = String::new();
    measure::run(command, |line| last = line.to_string())?;
    Outcome::of_line(&last).ok_or_else(|| format!("the Python client said `{last}`").into())
}

fn checked(outcome: Outcome, settings: &Settings) -> Result<Outcome, Failure> {
    match outcome.rows == settings.messages {
        true => Ok(outcome),
        false => Err(format!("{} of {} messages were read", outcome.rows, settings.messages).into()),
    }
}

/// Makes the topic and writes its messages.
pub async fn make(settings: &Settings) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let client = Client::new(settings).await?;
    let catalog = client.catalogs.get(CATALOG)?;
    catalog.create_table(catalog.default_database(), &settings.topic, data::definition(History::Bids), false).await?;
    let topic = data::topic_of(&client.catalogs, CATALOG, &settings.topic).await?;
    let mut bids = Bids::new(1000, 9_200);
    data::write(&topic, &mut bids, settings.messages, settings.batch as usize, false).await?;
    Ok(Outcome::new(settings.messages, start.elapsed()))
}

/// One read of the topic by ours, in this process.
pub async fn ours(settings: &Settings) -> Result<Outcome, Failure> {
    let client = Client::new(settings).await?;
    let topic = data::topic_of(&client.catalogs, CATALOG, &settings.topic).await?;
    let (start, cpu) = (Instant::now(), own_cpu()?);
    let mut rows = 0u64;
    for (partition, end) in topic.end_cuts().await? {
        let request = ReadRequest {
            columns: data::COLUMNS.iter().map(|(name, _)| (*name).to_string()).collect(),
            filter: None,
            time_column: None,
            tiers: Tiers::Log,
            batch_rows: 8192,
            decoders: 1,
        };
        let mut reader = topic.open(&partition, Cut::Start, Some(end), request).await?;
        while let Some(batch) = reader.next().await? {
            rows += batch.rows.num_rows() as u64;
        }
    }
    Ok(Outcome { cpu_seconds: own_cpu()? - cpu, ..Outcome::new(rows, start.elapsed()) })
}

/// One read by the crate's consumer, each message decoded by apache-avro and put into Arrow's builders: the same work as ours. It acknowledges nothing, which is the cheapest it can do.
pub async fn by_crate(settings: &Settings) -> Result<Outcome, Failure> {
    let client = Client::new(settings).await?;
    let topic = data::topic_of(&client.catalogs, CATALOG, &settings.topic).await?;
    let (_, schema) = topic.log.schema(&topic.topic, None).await?.ok_or("a topic without a schema")?;
    let schema = data::schema_of_struct(&schema.definition)?;
    let decoder = GenericDatumReader::builder(&schema).build()?;
    let (start, cpu) = (Instant::now(), own_cpu()?);
    let pulsar: Pulsar<_> = Pulsar::builder(Addresses::of(settings)?.service, TokioExecutor).build().await?;
    let options = ConsumerOptions { initial_position: InitialPosition::Earliest, ..ConsumerOptions::default() };
    let mut consumer: Consumer<Vec<u8>, _> = pulsar
        .consumer()
        .with_topic(format!("persistent://public/default/{}", settings.topic))
        .with_subscription_type(SubType::Exclusive)
        .with_subscription(fresh_name("reader"))
        .with_batch_size(10_000)
        .with_options(options)
        .build()
        .await?;
    let (mut rows, mut prices, mut batches) = (0u64, 0i64, 0u64);
    let mut columns = data::BidColumns::default();
    while rows < settings.messages {
        let message = consumer.try_next().await?.ok_or("the consumer ended early")?;
        // Into a struct, which costs less than into `Value`.
        let bid: data::Bid<String> = decoder.read_deser(&mut message.payload.data.as_slice())?;
        prices += bid.price.signum();
        rows += 1;
        columns.push(&bid);
        if rows % 8192 == 0 {
            batches += u64::from(columns.finish()?.num_rows() > 0);
        }
    }
    if prices as u64 != rows || batches != rows / 8192 {
        return Err(format!("{rows} bids were decoded, {prices} with a price").into());
    }
    Ok(Outcome { cpu_seconds: own_cpu()? - cpu, ..Outcome::new(rows, start.elapsed()) })
}
