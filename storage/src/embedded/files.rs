//! Names and small files of the embedded log: safe folder names, and JSON that is replaced whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use aquifer_model::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::segment::io;

/// A name as a folder: all but `a-z 0-9 _ -` percent-encoded, so it is safe and unique also where case is folded.
pub(super) fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The name that a folder stands for, if `encode` made it.
pub(super) fn decode(folder: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|name| encode(name) == folder)
}

/// The names of the folders in `folder`, decoded and sorted; none if it is not there.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(folder, "listing")(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io(folder, "listing"))?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().to_str().and_then(decode));
        }
    }
    names.sort();
    Ok(names)
}

/// Syncs a folder, so that names made or removed in it survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder, "syncing"))
}

/// Replaces `path` by `value` as JSON: whole or not at all.
pub(super) fn replace_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| Error::internal("writing JSON").with_source(e))?;
    let fresh: PathBuf = path.with_extension("json.new");
    let failed = io(path, "writing");
    let mut file = File::create(&fresh).map_err(&failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(&failed)?;
    fs::rename(&fresh, path).map_err(&failed)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Reads JSON; `None` if the file is not there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::corrupt(format!("{} cannot be read", path.display())).with_source(error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path, "reading")(error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_has_a_safe_folder_of_its_own(name in any::<String>()) {
            let folder = encode(&name);
            prop_assert!(folder.chars().all(|c| c.is_ascii_alphanumeric() || "%_-".contains(c)));
            prop_assert_eq!(decode(&folder), Some(name));
        }
    }

    #[test]
    fn folders_that_differ_in_case_only_are_not_made() {
        assert_ne!(encode("A").to_lowercase(), encode("a"));
        assert_eq!(encode(".."), "%2E%2E");
    }
}
