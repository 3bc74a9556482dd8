//! Rows into files of a directory, each row once.
//!
//! ```text
//!  write ─► DIR/k=v/.UUID.pending      not read: the name is hidden
//!  prepare: the files end and are synced; their names are what is prepared
//!  commit:  each is renamed to part-JOB-WRITER-EPOCH-N.FORMAT; one that has been renamed already is left alone
//! ```
//!
//! A job that dies between the two leaves hidden files, which harm nobody. An epoch that is committed again changes nothing.
//! In a bucket a file is an upload, which its completion makes an object: nobody sees it before.
//! `INSERT OVERWRITE` is one epoch: its files are published, then those that its partitions had before are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aquifer_formats::text::{TextStyle, parse_zone, text_column};
use aquifer_model::{ChangeBatch, Epoch, Error, Result};
use aquifer_processor::connector::{Accepts, Delivery, Prepared, Sink, Writer, WriterId};
use arrow::array::{Array, RecordBatch, RecordBatchOptions, StringViewArray, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::background::{Background, blocking};
use super::bucket::Upload;
use super::config::FilesystemConfig;
use super::encode::FileEncoder;
use super::partitions;
use super::paths::{self, failed};

/// More partitions than this at once are refused: each holds a file open.
const MAX_OPEN: usize = 500;

#[derive(Debug)]
pub(super) struct FilesystemSink {
    config: Arc<FilesystemConfig>,
    /// For each of the table's columns its place in the rows that come; `None`: NULL.
    sources: Arc<Vec<Option<usize>>>,
    overwrite: Option<Arc<Overwrite>>,
}

/// What is overwritten.
#[derive(Debug)]
struct Overwrite {
    /// A directory whose files go even if no row comes: the whole table's where it has no partitions, that of a partition that is told in full.
    always: Option<String>,
}

impl FilesystemSink {
    /// A sink for rows with these columns, found by name.
    pub fn new(config: FilesystemConfig, rows: &SchemaRef) -> Result<Self> {
        if (config.bucket.is_none() && config.path.is_file())
            || config.path.to_string_lossy().contains(['*', '?', '[', '{'])
        {
            return Err(Error::invalid(format!(
                "`{}` cannot be written: 'path' must be a directory, its files are made",
                config.path.display()
            )));
        }
        let mut sources = Vec::new();
        for field in config.schema.fields() {
            let source = rows.index_of(field.name()).ok();
            if source.is_none() && !field.is_nullable() {
                return Err(Error::invalid(format!("the column `{}` is NOT NULL and gets no value", field.name())));
            }
            sources.push(source);
        }
        // What the format cannot write is told before the query runs.
        config.format.check_writable(&config.in_file)?;
        Ok(Self { config: Arc::new(config), sources: Arc::new(sources), overwrite: None })
    }

    /// The same, in the place of what is there: of the whole table, or of the partitions that get rows. `fixed` are the partition columns that the
    /// statement gives a value, as texts.
    pub fn overwriting(mut self, fixed: &[(String, Option<String>)]) -> Result<Self> {
        let mut always = Some(String::new());
        for key in &self.config.partition_keys {
            let value = fixed.iter().find(|(name, _)| name == key);
            always = match (always, value) {
                (Some(directory), Some((_, value))) => {
                    let n = self.config.schema.index_of(key)?;
                    // As the value reads in its column: `01` of an INT is 1.
                    let typed = aquifer_formats::csv::value(&self.config.schema.fields()[n], value.as_deref())?;
                    let text = text_column(&typed, self.config.schema.field(n), &TextStyle::cast(parse_zone("UTC")?))?;
                    let text = text.is_valid(0).then(|| text.value(0));
                    Some(within(&directory, &partitions::directory(key, text, &self.config.default_name)))
                }
                _ => None,
            };
        }
        self.overwrite = Some(Arc::new(Overwrite { always }));
        Ok(self)
    }
}

/// A file that was prepared, as its name relative to the table's directory, and its visible name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    hidden: String,
    visible: String,
    /// In a bucket, the upload that becomes the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload: Option<Upload>,
}

#[async_trait]
impl Sink for FilesystemSink {
    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn accepts(&self) -> Accepts {
        if self.config.format.is_insert_only() { Accepts::Inserts } else { Accepts::Changes }
    }

    fn epoch_age(&self) -> std::time::Duration {
        self.config.rollover
    }

    async fn open(&self, writer: WriterId) -> Result<Box<dyn Writer>> {
        let job: String = writer.job.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let files = Files {
            config: Arc::clone(&self.config),
            sources: Arc::clone(&self.sources),
            name: format!("{job}-{}", writer.index),
            open: BTreeMap::new(),
            ended: Vec::new(),
        };
        Ok(Box::new(FilesystemWriter { files: Background::new(files) }))
    }

    async fn commit(&self, _epoch: Epoch, prepared: Vec<Prepared>) -> Result<()> {
        let (config, overwrite) = (Arc::clone(&self.config), self.overwrite.clone());
        blocking(move || {
            let mut all: Vec<Pending> = Vec::new();
            for prepared in prepared {
                let pending: Vec<Pending> = serde_json::from_slice(&prepared.0).map_err(|error| {
                    Error::corrupt("what a filesystem sink prepared is not its own").with_source(error)
                })?;
                all.extend(pending);
            }
            let before = match &overwrite {
                Some(overwrite) => before(&config, overwrite, &all)?,
                None => Vec::new(),
            };
            all.iter().try_for_each(|pending| publish(&config, pending))?;
            before.iter().try_for_each(|file| remove(&config, file))
        })
        .await
    }

    fn is_whole(&self) -> bool {
        self.overwrite.is_some()
    }
}

/// The files that an epoch takes the place of.
fn before(config: &FilesystemConfig, overwrite: &Overwrite, new: &[Pending]) -> Result<Vec<PathBuf>> {
    let directory = |pending: &Pending| pending.visible.rsplit_once('/').map_or("", |(at, _)| at).to_string();
    let mut directories: BTreeSet<String> = new.iter().map(directory).collect();
    directories.extend(overwrite.always.clone());
    let own: BTreeSet<PathBuf> = new.iter().map(|pending| config.path.join(&pending.visible)).collect();
    let mut files = Vec::new();
    for directory in directories {
        let place = if directory.is_empty() { config.path.clone() } else { config.path.join(&directory) };
        files.extend(match &config.bucket {
            Some(bucket) => bucket.files_or_none(&place)?,
            None if place.exists() => paths::files(&place)?,
            None => Vec::new(),
        });
    }
    files.retain(|file| !own.contains(file));
    Ok(files)
}

fn remove(config: &FilesystemConfig, file: &Path) -> Result<()> {
    match &config.bucket {
        Some(bucket) => bucket.remove(file),
        None => match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("removing", file, &error)),
            _ => Ok(()),
        },
    }
}

/// Gives a file its visible name.
fn publish(config: &FilesystemConfig, pending: &Pending) -> Result<()> {
    let (hidden, visible) = (config.path.join(&pending.hidden), config.path.join(&pending.visible));
    if let (Some(bucket), Some(upload)) = (&config.bucket, &pending.upload) {
        return bucket.complete(&visible, upload);
    }
    match fs::rename(&hidden, &visible) {
        Ok(()) => sync_directory(&visible),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && visible.exists() => Ok(()),
        Err(error) => Err(failed("publishing", &hidden, &error)),
    }
}

fn sync_directory(file: &Path) -> Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| failed("syncing", directory, &error))
}

struct FilesystemWriter {
    files: Background<Files, Result<Vec<Pending>>>,
}

#[async_trait]
impl Writer for FilesystemWriter {
    async fn write(&mut self, changes: &ChangeBatch) -> Result<()> {
        let changes = changes.clone();
        self.files.run(move |files| files.write(&changes).map(|()| Vec::new())).await?.map(drop)
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<Prepared> {
        let pending = self.files.run(move |files| files.end(epoch)).await??;
        let bytes = serde_json::to_vec(&pending);
        Ok(Prepared(bytes.map_err(|error| Error::internal("writing down what was prepared").with_source(error))?))
    }
}

/// The files of one epoch, of one writer.
struct Files {
    config: Arc<FilesystemConfig>,
    sources: Arc<Vec<Option<usize>>>,
    /// Job and writer.
    name: String,
    /// By directory, relative to the table's.
    open: BTreeMap<String, Open>,
    /// Files that are whole, without their visible names' end.
    ended: Vec<Ended>,
}

/// A file that is whole and synced, or uploaded.
struct Ended {
    directory: String,
    hidden: String,
    upload: Option<Upload>,
}

/// A file being written.
struct Open {
    file: FileEncoder,
    directory: String,
    /// Its name for now, relative to the table's directory.
    hidden: String,
}

impl Files {
    /// Brings rows to the table's columns.
    fn columns_of(&self, changes: &ChangeBatch) -> Result<ChangeBatch> {
        let rows = changes.rows();
        let mut arrays = Vec::new();
        for (field, source) in self.config.schema.fields().iter().zip(self.sources.iter()) {
            let array = match source {
                Some(source) => {
                    aquifer_formats::payload::cast_column(rows.column(*source), field.data_type(), field.name())?
                }
                None => new_null_array(field.data_type(), rows.num_rows()),
            };
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(Error::invalid(format!("the column `{}` is NOT NULL, and a row has NULL", field.name())));
            }
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        changes.with_rows(RecordBatch::try_new_with_options(Arc::clone(&self.config.schema), arrays, &options)?)
    }

    fn write(&mut self, changes: &ChangeBatch) -> Result<()> {
        let changes = self.columns_of(changes)?;
        for (directory, part) in split(&changes, &self.config)? {
            let part = part.with_rows(without_keys(part.rows(), &self.config)?)?;
            if !self.open.contains_key(&directory) {
                let file = self.create(&directory)?;
                self.open.insert(directory.clone(), file);
            }
            let Some(open) = self.open.get_mut(&directory) else { continue };
            open.file.write(&part)?;
            if open.file.bytes() >= self.config.file_size
                && let Some(full) = self.open.remove(&directory)
            {
                self.ended.push(full.end()?);
            }
        }
        Ok(())
    }

    fn create(&self, directory: &str) -> Result<Open> {
        if self.open.len() == MAX_OPEN {
            return Err(Error::invalid(format!(
                "more than {MAX_OPEN} partitions are written at once: partition by something that has fewer values"
            )));
        }
        let (number, bucket) = (rand::random::<u128>(), self.config.bucket.as_ref());
        // An upload has the name of its object from the beginning.
        let name = match bucket {
            Some(_) => format!("part-{}-{number:032x}.{}", self.name, self.config.format.extension()),
            None => format!(".{number:032x}.pending"),
        };
        let hidden = within(directory, &name);
        let path = self.config.path.join(&hidden);
        if let (Some(parent), None) = (path.parent(), bucket) {
            fs::create_dir_all(parent).map_err(|error| failed("making", parent, &error))?;
        }
        let file = FileEncoder::create(&path, bucket, &self.config.format, Arc::clone(&self.config.in_file))?;
        Ok(Open { file, directory: directory.to_string(), hidden })
    }

    fn end(&mut self, epoch: Epoch) -> Result<Vec<Pending>> {
        for open in std::mem::take(&mut self.open).into_values() {
            self.ended.push(open.end()?);
        }
        let mut pending = Vec::new();
        for (n, Ended { directory, hidden, upload }) in self.ended.drain(..).enumerate() {
            let visible = match upload {
                Some(_) => hidden.clone(),
                None => {
                    let name = format!("part-{}-{}-{n}.{}", self.name, epoch.0, self.config.format.extension());
                    within(&directory, &name)
                }
            };
            pending.push(Pending { hidden, visible, upload });
        }
        Ok(pending)
    }
}

impl Open {
    fn end(self) -> Result<Ended> {
        Ok(Ended { upload: self.file.finish()?, directory: self.directory, hidden: self.hidden })
    }
}

fn within(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") }
}

/// The rows by the directory that they belong to, directories in the order of their first row.
fn split(changes: &ChangeBatch, config: &FilesystemConfig) -> Result<Vec<(String, ChangeBatch)>> {
    if config.partition_keys.is_empty() {
        return Ok(vec![(String::new(), changes.clone())]);
    }
    let style = TextStyle::cast(parse_zone("UTC")?);
    let mut keys: Vec<(&str, StringViewArray)> = Vec::new();
    for key in &config.partition_keys {
        let n = config.schema.index_of(key)?;
        keys.push((key.as_str(), text_column(changes.rows().column(n), config.schema.field(n), &style)?));
    }
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut parts: Vec<(String, Vec<u32>)> = Vec::new();
    for row in 0..changes.num_rows() {
        let mut directory = String::new();
        for (name, values) in &keys {
            if !directory.is_empty() {
                directory.push('/');
            }
            let value = (!values.is_null(row)).then(|| values.value(row));
            directory.push_str(&partitions::directory(name, value, &config.default_name));
        }
        let place = *places.entry(directory).or_insert_with_key(|directory| {
            parts.push((directory.clone(), Vec::new()));
            parts.len() - 1
        });
        parts[place].1.push(row as u32);
    }
    let take = |(directory, rows): (String, Vec<u32>)| Ok((directory, changes.take(&UInt32Array::from(rows))?));
    parts.into_iter().map(take).collect()
}

/// The columns that stand in files.
fn without_keys(rows: &RecordBatch, config: &FilesystemConfig) -> Result<RecordBatch> {
    let kept: Vec<usize> = (0..config.schema.fields().len())
        .filter(|n| !config.partition_keys.contains(config.schema.field(*n).name()))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = kept.iter().map(|n| Arc::clone(rows.column(*n))).collect();
    Ok(RecordBatch::try_new_with_options(Arc::clone(&config.in_file), columns, &options)?)
}

/// Fails with `Invalid` where a partition column's type has no text that reads back.
pub(super) fn check_keys(keys: &[String], schema: &Schema) -> Result<()> {
    let field = |key: &String| schema.fields().iter().find(|field| field.name() == key);
    let nested = |field: &&FieldRef| {
        matches!(field.data_type(), DataType::List(_) | DataType::Map(..) | DataType::Struct(_) | DataType::BinaryView)
            || matches!(field.data_type(), DataType::Timestamp(_, Some(_)))
    };
    match keys.iter().filter_map(field).find(nested) {
        None => Ok(()),
        Some(field) => Err(Error::unsupported(format!(
            "the column `{}` of type {} cannot be a directory's name: partition by another column",
            field.name(),
            field.data_type()
        ))),
    }
}

#[cfg(test)]
mod tests;
