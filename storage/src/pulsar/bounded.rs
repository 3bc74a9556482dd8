//! Small files, of secrets and certificates, read up to a limit.
//!
//! A length that the system names is not believed: `/dev/zero` names none, and a file may grow while it is read. Symlinks and pipes are
//! read as files are, since secrets are mounted as such.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aquifer_model::{Error, Result};

/// The bytes of the file at `path`, which is called `what` in messages. Fails with `Invalid` naming it, also if it is longer than `limit` bytes, of
/// which no more than one is read then.
pub(super) fn read(what: &str, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let wrong = |why: String| Error::invalid(format!("reading the {what} `{}`: {why}", path.display()));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(wrong(format!("it is longer than {limit} bytes and so no {what}: name the right file")));
    }
    Ok(bytes)
}

/// [`read`] for async code: on a thread that may wait for the disk.
pub(super) async fn load(what: &'static str, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let path = path.to_path_buf();
    tokio::task::spawn_blocking(move || read(what, &path, limit))
        .await
        .map_err(|error| Error::internal(format!("reading the {what}: {error}")))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use aquifer_model::ErrorKind;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_a_longer_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, [7u8; 10]).expect("written");
        assert_eq!(read("key file", &path, 10).expect("fits"), [7u8; 10]);
        let error = read("key file", &path, 9).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains("longer than 9 bytes"), "{text}");
        let error = read("key file", &folder.path().join("none"), 9).expect_err("not there").to_string();
        assert!(error.starts_with("reading the key file `") && error.contains("none"), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_has_no_end_is_refused_and_a_symlink_is_followed() {
        let error = load("token file", Path::new("/dev/zero"), 1000).await.expect_err("endless").to_string();
        assert!(error.contains("`/dev/zero`: it is longer than 1000 bytes"), "{error}");
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("..data"), folder.path().join("token"));
        std::fs::write(&file, "abc").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        assert_eq!(load("token file", &link, 3).await.expect("read"), b"abc");
    }
}
