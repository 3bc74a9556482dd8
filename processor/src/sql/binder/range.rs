//! Where reading a table over topics starts and stops: the options' places become cuts, taken over all partitions before the first row is read.
//!
//! Times of events are no places (records are disordered): they become a filter and, in streaming, a watermark at which a partition ends. Such a stop stands
//! beside the others: what is reached first ends a partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aquifer_catalog::options::{EventStop, Startup, Stop, TableSettings, table_settings};
use aquifer_catalog::{Table, catalogs::Target};
use aquifer_model::{Cut, Error, Partition, Position, Result, Watermark};
use aquifer_storage::reader::{TieredTopic, Tiers};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Column, DFSchema, ExprSchema, ScalarValue};
use datafusion::logical_expr::{Expr, lit};
use futures::future::try_join_all;

use crate::batch::{Discovery, StartMode, TieredTable, Until};

type Cuts = BTreeMap<Partition, Cut>;

/// The stretch of a table that a statement reads.
#[derive(Debug)]
pub(super) struct ReadRange {
    topics: Vec<TieredTopic>,
    settings: TableSettings,
    start: StartMode,
    end: Option<Cuts>,
    until: Option<Until>,
}

/// The event times that are wanted, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EventTimes {
    from: Option<i64>,
    to: Option<EventStop>,
}

impl ReadRange {
    /// What the table's options say, hints among them.
    pub async fn of(table: &Table, streaming: bool) -> Result<(Self, EventTimes)> {
        let topics = table.target.topics().await?;
        let mut topics = topics.ok_or_else(|| Error::internal("a table over topics has topics"))?;
        let settings = table_settings(&table.definition.options)?;
        if settings.tiers == Tiers::Log {
            // Nothing about the archive is asked then, not even which topic it is.
            topics.iter_mut().for_each(|topic| topic.archive = None);
        }
        let topics = &topics;
        let mut times = EventTimes::default();
        let now = ends(topics).await?;
        let start = match &settings.startup {
            Startup::Earliest => StartMode::Earliest,
            Startup::Latest => StartMode::Cuts(now.clone()),
            Startup::Positions { positions, inclusive } => {
                StartMode::Cuts(places(topics, &now, positions, !*inclusive, |_| Cut::Start).await?)
            }
            Startup::PublishTime(time_ms) => StartMode::Cuts(published(topics, &now, *time_ms).await?),
            Startup::EventTime(time_ms) => {
                times.from = Some(*time_ms);
                StartMode::Earliest
            }
        };
        let (mut end, mut until) = (None, Until::default());
        match &settings.stop {
            Stop::Never if streaming => {}
            Stop::Never | Stop::Latest => end = Some(now),
            Stop::Positions { positions, inclusive } => {
                let latest = |partition: &Partition| now.get(partition).copied().unwrap_or_default();
                let mut cuts = places(topics, &now, positions, *inclusive, latest).await?;
                if !streaming {
                    // Batch does not wait for what may come.
                    cuts.iter_mut().for_each(|(partition, cut)| *cut = (*cut).min(latest(partition)));
                }
                end = Some(cuts);
            }
            Stop::PublishTime(time_ms) if streaming && *time_ms > now_ms() => until.publish_time_ms = Some(*time_ms),
            Stop::PublishTime(time_ms) => end = Some(published(topics, &now, *time_ms).await?),
        }
        times.to = settings.stop_event_time;
        if let Some(stop) = times.to
            && streaming
        {
            if table.definition.watermark.is_some() {
                until.watermark = Some(Watermark(stop.watermark_ms()));
            } else if end.is_none() && until == Until::default() {
                return Err(Error::invalid(format!(
                    "a stream of `{}` stops at an event time only where it has a watermark: ALTER TABLE … ADD (WATERMARK FOR …), or name a stop beside it, \
                     'scan.bounded.mode' = 'latest-offset' or a publish time",
                    table.name[2]
                )));
            }
        }
        let until = Some(until).filter(|until| *until != Until::default());
        Ok((Self { topics: topics.clone(), settings, start, end, until }, times))
    }

    /// The table with these columns, whose readers are called so.
    pub fn table(self, table: &Table, fields: Vec<Field>, reader_columns: Vec<String>) -> Result<TieredTable> {
        let unbounded = self.end.is_none() && self.until.is_none();
        Ok(TieredTable {
            name: table.name.join("."),
            topics: self.topics,
            schema: Arc::new(Schema::new(fields)),
            reader_columns,
            start: self.start,
            end: self.end,
            until: self.until,
            watermarks: self.settings.watermarks,
            tiers: self.settings.tiers,
            pin: self.settings.pin.filter(|_| unbounded && self.settings.tiers != Tiers::Archive),
            discovery: self.settings.discovery.filter(|_| unbounded).map(|interval| Discovery {
                interval,
                pattern: match &table.target {
                    Target::Pattern(pattern) => Some(Arc::clone(pattern)),
                    _ => None,
                },
            }),
            statistics: Arc::default(),
        })
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// The ends of all that is there now.
async fn ends(topics: &[TieredTopic]) -> Result<Cuts> {
    let mut all = Cuts::new();
    for topic in topics {
        all.extend(topic.end_cuts().await?);
    }
    Ok(all)
}

fn topic_of<'a>(topics: &'a [TieredTopic], partition: &Partition) -> Result<&'a TieredTopic> {
    let found = topics.iter().find(|topic| topic.topic == partition.topic);
    found.ok_or_else(|| Error::internal(format!("`{partition}` belongs to no topic of its table")))
}

/// The cuts before the first entries published at a time or later.
async fn published(topics: &[TieredTopic], now: &Cuts, time_ms: i64) -> Result<Cuts> {
    let found = now.keys().map(|partition| async move {
        let cut = topic_of(topics, partition)?.cut_at_publish_time(partition, time_ms).await?;
        Ok::<_, Error>((partition.clone(), cut))
    });
    Ok(try_join_all(found).await?.into_iter().collect())
}

/// The cuts at positions, behind their entries or before them; `other`: those of partitions that are not named.
async fn places(
    topics: &[TieredTopic],
    now: &Cuts,
    positions: &[(Option<u32>, Position)],
    behind: bool,
    other: impl Fn(&Partition) -> Cut,
) -> Result<Cuts> {
    if topics.len() > 1 {
        return Err(Error::invalid("a position means nothing in several topics: read them one by one, or by time"));
    }
    if let Some((Some(number), _)) = positions
        .iter()
        .find(|(number, _)| number.is_some_and(|number| !now.keys().any(|partition| partition.number() == number)))
    {
        return Err(Error::invalid(format!("a position names partition {number}, the topic has {}", now.len())));
    }
    let mut cuts = Cuts::new();
    for partition in now.keys() {
        let named = positions.iter().find(|(number, _)| *number == Some(partition.number()));
        let named = named.or_else(|| positions.iter().find(|(number, _)| number.is_none()));
        let cut = match named {
            Some((_, position)) if behind => Cut::After(*position),
            Some((_, position)) => topic_of(topics, partition)?.cut_before(partition, *position).await?,
            None => other(partition),
        };
        cuts.insert(partition.clone(), cut);
    }
    Ok(cuts)
}

impl EventTimes {
    /// Whether not all times are wanted.
    pub fn are_limited(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }

    /// Keeps the rows whose time, in `column`, is wanted.
    pub fn filter(&self, column: Column, schema: &DFSchema) -> datafusion::common::Result<Expr> {
        let data_type = schema.data_type(&column)?.clone();
        let zone = match &data_type {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let literal = |time_ms: i64| {
            let time = ScalarValue::TimestampMillisecond(Some(time_ms), zone.clone());
            Ok::<_, datafusion::common::DataFusionError>(lit(time.cast_to(&data_type)?))
        };
        let time = Expr::Column(column);
        let mut wanted = lit(true);
        if let Some(from) = self.from {
            wanted = time.clone().gt_eq(literal(from)?);
        }
        if let Some(to) = self.to {
            let end = literal(to.time_ms)?;
            let before = if to.inclusive { time.lt_eq(end) } else { time.lt(end) };
            wanted = if self.from.is_some() { wanted.and(before) } else { before };
        }
        Ok(wanted)
    }
}
