//! Arrow columns to a topic in Avro, batched and LZ4: the sink of `INSERT INTO`, against the `pulsar` crate's producer with apache-avro, and with payloads that
//! are ready before it is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apache_avro::writer::datum::GenericDatumWriter;
use aquifer_model::{ChangeBatch, Epoch};
use aquifer_processor::connector::{ConnectorRegistry, WriterId};
use aquifer_processor::sink;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use pulsar::compression::{Compression, CompressionLz4};
use pulsar::producer::SendFuture;
use pulsar::{ProducerOptions, Pulsar, TokioExecutor};

use crate::Failure;
use crate::broker::{Addresses, Broker, CATALOG, Client, fresh_name};
use crate::cli::{Benchmark, Settings};
use crate::data::{self, Bids, History};
use crate::figures::{Figure, Target, median, report};
use crate::measure::{Outcome, own_cpu, run_self};

const BATCH_ROWS: usize = 2_000;
/// Different batches; they are written again and again.
const BATCHES: usize = 50;
/// Rows after which the sink waits for all receipts, as at an epoch's end.
const EPOCH_ROWS: u64 = 64_000;

/// Measures and reports.
pub fn run(settings: &Settings, broker: &Broker) -> Result<(), Failure> {
    let settings = &Settings { runs: settings.runs, ..broker.on_topic("") };
    println!("write: {} bids from Arrow columns in Avro, batched in LZ4", settings.messages);
    let (mut ours, mut crates, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    let once = |work: Benchmark| -> Result<Outcome, Failure> {
        let settings = Settings { topic: fresh_name("write"), ..settings.clone() };
        let outcome = run_self(work, &settings)?.0;
        match outcome.rows == settings.messages {
            true => Ok(outcome),
            false => Err(format!("{} of {} messages were written", outcome.rows, settings.messages).into()),
        }
    };
    for _ in 0..settings.runs {
        ours.push(once(Benchmark::RunWrite)?);
        crates.push(once(Benchmark::RunWriteCrate)?);
        ready.push(once(Benchmark::RunWriteCrateReady)?);
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
    let third = Some(Target::AtMost(1.0 / 3.0));
    let figures = [
        figure("against crate + apache-avro, CPU", cpu(&ours), cpu(&crates), "µs/message", third),
        figure("against crate, payloads ready made, CPU", cpu(&ours), cpu(&ready), "µs/message", None),
        figure("against crate + apache-avro, rate", rate(&ours), rate(&crates), "messages/s", None),
    ];
    report("write", settings, &figures)
}

fn batches() -> Result<Vec<RecordBatch>, Failure> {
    let columns = data::schema_of_bids()?;
    let mut bids = Bids::new(1000, 9_200);
    (0..BATCHES).map(|_| bids.next(&columns, BATCH_ROWS)).collect()
}

async fn table(client: &Client, settings: &Settings) -> Result<aquifer_catalog::Table, Failure> {
    let catalog = client.catalogs.get(CATALOG)?;
    let database = catalog.default_database();
    catalog.create_table(database, &settings.topic, data::definition(History::Bids), false).await?;
    Ok(catalog.table(database, &settings.topic).await?)
}

/// One run of ours, in this process.
pub async fn ours(settings: &Settings) -> Result<Outcome, Failure> {
    let client = Client::new(settings).await?;
    let table = table(&client, settings).await?;
    let batches = batches()?;
    let registry = ConnectorRegistry::default();
    let (start, cpu) = (Instant::now(), own_cpu()?);
    let sink = sink::open_sink(&table, &data::schema_of_bids()?, false, &registry).await?;
    let mut writer = sink.open(WriterId { job: "bench".into(), index: 0 }).await?;
    let (mut rows, mut epoch, mut open) = (0u64, Epoch(0), 0u64);
    for batch in batches.iter().cycle() {
        let count = (settings.messages - rows).min(batch.num_rows() as u64);
        writer.write(&ChangeBatch::inserts(batch.slice(0, count as usize))).await?;
        (rows, open) = (rows + count, open + count);
        if open >= EPOCH_ROWS || rows >= settings.messages {
            let prepared = writer.prepare(epoch).await?;
            sink.commit(epoch, vec![prepared]).await?;
            (epoch, open) = (epoch.next(), 0);
        }
        if rows >= settings.messages {
            break;
        }
    }
    Ok(Outcome { cpu_seconds: own_cpu()? - cpu, ..Outcome::new(rows, start.elapsed()) })
}

/// A row of a batch, encoded by apache-avro from a struct, which costs less than from `Value`.
fn encode(writer: &GenericDatumWriter<'_>, batch: &RecordBatch, row: usize) -> Result<Vec<u8>, Failure> {
    let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
    let text = |column: usize| batch.column(column).as_string_view().value(row);
    let bid = data::Bid {
        auction: number(0),
        bidder: number(1),
        price: number(2),
        channel: text(3),
        url: text(4),
        date_time: batch.column(5).as_primitive::<TimestampMillisecondType>().value(row),
        extra: text(6),
    };
    let mut payload = Vec::with_capacity(192);
    writer.write_ser(&mut payload, &bid)?;
    Ok(payload)
}

/// One run of the crate's producer; with `ready` the payloads are encoded before it is counted.
#[allow(clippy::large_futures)] // the crate's own; a box a message would be charged to it
pub async fn by_crate(settings: &Settings, ready: bool) -> Result<Outcome, Failure> {
    let client = Client::new(settings).await?;
    table(&client, settings).await?;
    let topic = data::topic_of(&client.catalogs, CATALOG, &settings.topic).await?;
    let (_, registered) = topic.log.schema(&topic.topic, None).await?.ok_or("a topic without a schema")?;
    let schema = data::schema_of_struct(&registered.definition)?;
    let writer = GenericDatumWriter::builder(&schema).build()?;
    let batches = batches()?;
    let mut payloads = Vec::new();
    for batch in batches.iter().filter(|_| ready) {
        payloads.push((0..batch.num_rows()).map(|row| encode(&writer, batch, row)).collect::<Result<Vec<_>, _>>()?);
    }
    let payloads = Arc::new(payloads);

    let (start, cpu) = (Instant::now(), own_cpu()?);
    let pulsar: Pulsar<_> = Pulsar::builder(Addresses::of(settings)?.service, TokioExecutor)
        .with_outbound_channel_size(10_000)
        .build()
        .await?;
    let options = ProducerOptions {
        batch_size: Some(1000),
        batch_byte_size: Some(128 * 1024),
        batch_timeout: Some(Duration::from_millis(10)),
        compression: Some(Compression::Lz4(CompressionLz4::default())),
        block_queue_if_full: true,
        schema: Some(pulsar::message::proto::Schema {
            name: registered.name.clone(),
            schema_data: registered.definition.clone(),
            r#type: pulsar::message::proto::schema::Type::Avro as i32,
            ..Default::default()
        }),
        ..ProducerOptions::default()
    };
    let mut producer = pulsar
        .producer()
        .with_topic(format!("persistent://public/default/{}", settings.topic))
        .with_options(options)
        .build()
        .await?;
    let mut rows = 0u64;
    let mut receipts: Vec<SendFuture> = Vec::new();
    'all: loop {
        for (number, batch) in batches.iter().enumerate() {
            for row in 0..batch.num_rows() {
                let payload = match payloads.get(number) {
                    Some(ready) => ready[row].clone(),
                    None => encode(&writer, batch, row)?,
                };
                receipts.push(producer.send_non_blocking(payload).await?);
                rows += 1;
                if rows >= settings.messages {
                    break 'all;
                }
            }
            if receipts.len() as u64 >= EPOCH_ROWS {
                wait(&mut producer, &mut receipts).await?;
            }
        }
    }
    wait(&mut producer, &mut receipts).await?;
    Ok(Outcome { cpu_seconds: own_cpu()? - cpu, ..Outcome::new(rows, start.elapsed()) })
}

async fn wait(producer: &mut pulsar::Producer<TokioExecutor>, receipts: &mut Vec<SendFuture>) -> Result<(), Failure> {
    producer.send_batch().await?;
    for receipt in receipts.drain(..) {
        receipt.await?;
    }
    Ok(())
}
