//! DataFusion alone over the archive's files: the yardstick.

use std::time::Instant;

use datafusion::common::config::ConfigOptions;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::StreamExt;

use crate::cli::Settings;
use crate::measure::Outcome;
use crate::{Failure, data};

/// How DataFusion is set, as it is quoted beside the figures.
pub const SETTINGS_TEXT: &str = "string views, page index, filter push-down, target_partitions = 1, batch_size = 8192";

fn context(threads: usize) -> SessionContext {
    let mut options = ConfigOptions::default();
    options.execution.target_partitions = threads;
    // The archive's files lie in folders, one a partition.
    options.execution.listing_table_ignore_subdirectory = false;
    options.execution.parquet.schema_force_view_types = true;
    options.execution.parquet.enable_page_index = true;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    SessionContext::new_with_config(SessionConfig::from(options).with_batch_size(8192))
}

/// The rows that a statement over the files of the archive gives, counted.
async fn count(settings: &Settings, threads: usize, sql: &str) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let context = context(threads);
    let folder = std::path::absolute(settings.data_dir().join("archive"))?;
    context.register_parquet(data::TABLE, format!("{}/", folder.display()), ParquetReadOptions::default()).await?;
    let streams = context.sql(sql).await?.execute_stream_partitioned().await?;
    let tasks = streams.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            let mut rows = 0;
            while let Some(batch) = stream.next().await {
                rows += batch?.num_rows() as u64;
            }
            Ok::<u64, datafusion::error::DataFusionError>(rows)
        })
    });
    let mut rows = 0;
    for task in tasks.collect::<Vec<_>>() {
        rows += task.await??;
    }
    Ok(Outcome::new(rows, start.elapsed()))
}

/// The bare scan of the bids' columns, by so many threads.
pub async fn scan(settings: &Settings, threads: usize) -> Result<Outcome, Failure> {
    let columns: Vec<String> = data::COLUMNS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    count(settings, threads, &format!("SELECT {} FROM {}", columns.join(", "), data::TABLE)).await
}

/// The tumbling window.
pub async fn tumble(settings: &Settings) -> Result<Outcome, Failure> {
    let sql = format!(
        "SELECT channel, date_bin(INTERVAL '10 seconds', \"dateTime\") + INTERVAL '10 seconds' AS ends, count(*) AS bids, max(price) AS highest, \
         sum(price) AS total FROM {} GROUP BY channel, ends",
        data::TABLE
    );
    count(settings, 1, &sql).await
}
