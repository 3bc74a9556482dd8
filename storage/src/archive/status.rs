//! What lies where: the facts of both tiers of a partition, without reading rows.

use aquifer_model::{Cut, Error, Partition, Position, Result};

use super::archiver::PIN;
use super::chain::Chain;
use crate::log::LedgerInfo;
use crate::reader::TieredTopic;

/// The tiers of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Which.
    pub partition: Partition,
    /// The archive's end; `Start` if nothing is archived.
    pub archive_end: Cut,
    /// Rows in the archive.
    pub archive_rows: u64,
    /// Files in the archive.
    pub archive_files: u64,
    /// Bytes of those files.
    pub archive_bytes: u64,
    /// The chain's length.
    pub manifests: u64,
    /// The ledgers that the log has.
    pub ledgers: Vec<LedgerInfo>,
    /// The log's last entry.
    pub log_end: Option<Position>,
    /// Entries after the archive's end.
    pub lag_entries: u64,
    /// Where the archive's pin stands; `None` where there is none.
    pub pin: Option<Cut>,
}

/// Gathers the facts of one partition.
pub async fn status(topic: &TieredTopic, partition: &Partition) -> Result<PartitionStatus> {
    let location =
        topic.archive.as_ref().ok_or_else(|| Error::invalid(format!("topic `{}` has no archive", topic.topic)))?;
    let identity = topic.log.identity(&topic.topic).await?;
    let state = Chain::new(location, &identity, partition).load().await?;
    let ledgers = topic.log.ledgers(partition).await?;
    let archive_end = state.as_ref().map_or(Cut::Start, |state| state.end());
    let files = state.as_ref().map(|state| state.files.as_slice()).unwrap_or_default();
    // Looking must not make a pin.
    let pin = topic.log.find_pin(partition, PIN).await?;
    Ok(PartitionStatus {
        partition: partition.clone(),
        archive_end,
        archive_rows: files.iter().map(|file| file.rows).sum(),
        archive_files: files.len() as u64,
        archive_bytes: files.iter().map(|file| file.bytes).sum(),
        manifests: state.as_ref().map_or(0, |state| state.newest.version),
        lag_entries: ledgers.iter().map(|ledger| entries_after(ledger, archive_end)).sum(),
        log_end: topic.log.last_position(partition).await?,
        ledgers,
        pin,
    })
}

/// How many of a ledger's entries come after a cut.
pub fn entries_after(ledger: &LedgerInfo, cut: Cut) -> u64 {
    match cut {
        Cut::After(p) if ledger.id < p.ledger => 0,
        Cut::After(p) if ledger.id == p.ledger => ledger.entries.saturating_sub(p.entry + 1),
        _ => ledger.entries,
    }
}
