//! Which files a path means.
//!
//! ```text
//!  a file         itself                       /data/day.json
//!  a directory    all files below it, sorted   /data
//!  a pattern      * ? [a-z] {a,b} within a name, ** for any directories     /data/2024-*/**/*.json
//! ```
//!
//! Names that begin with `.` or `_` are left out unless a path spells that out: files under way and marks of success are called so.

use std::fs;
use std::path::{Component, Path, PathBuf};

use aquifer_model::{Error, Result};
use regex::Regex;

/// Directories are followed this deep.
const MAX_DEPTH: usize = 64;
/// And give this many files.
pub(super) const MAX_FILES: usize = 1_000_000;

/// The path of a `path` option. Fails with `Unsupported` on other schemes than `file:`.
pub(super) fn local(option: &str) -> Result<PathBuf> {
    let path = match option.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => {
            if !scheme.eq_ignore_ascii_case("file") {
                return Err(Error::unsupported(format!(
                    "files behind `{scheme}:` are not read: give a local path, `file:///…` or `s3://BUCKET/…`"
                )));
            }
            match rest.strip_prefix("//") {
                None => rest,
                Some(rest) if rest.starts_with('/') => rest,
                Some(_) => {
                    return Err(Error::invalid(format!("`{option}` names a host: write `file:///…`")));
                }
            }
        }
        _ => option,
    };
    if path.is_empty() || path.contains('\0') {
        return Err(Error::invalid(format!("`{option}` is no path")));
    }
    Ok(PathBuf::from(path))
}

/// A drive letter is not one.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// The files that a path means, sorted. Fails with `Invalid` where there is nothing.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if fs::symlink_metadata(path).is_ok() {
        below(path, 0, &mut found)?;
    } else if has_pattern(path) {
        let mut matched = Vec::new();
        let parts: Vec<Component<'_>> = path.components().collect();
        matching(PathBuf::new(), &parts, &mut matched)?;
        for path in matched {
            below(&path, 0, &mut found)?;
        }
        if found.is_empty() {
            return Err(Error::invalid(format!("no file matches `{}`", path.display())));
        }
    } else {
        return Err(Error::invalid(format!("there is no file or directory `{}`", path.display())));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Whether a path is a pattern.
pub(super) fn has_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[', '{'])
}

/// Whether a place below what was meant counts: none of its names is hidden.
pub(super) fn is_below(parts: &[String]) -> bool {
    !parts.iter().any(|part| part.starts_with(['.', '_']))
}

/// A pattern of keys, which have no directories to follow.
pub(super) struct Pattern(Vec<Part>);

enum Part {
    /// `**`
    Any,
    Name(String),
    /// A pattern within a name, and whether it means hidden names too.
    Names(Regex, bool),
}

impl Pattern {
    pub fn new(parts: &[&str]) -> Result<Self> {
        let part = |part: &&str| {
            Ok(match *part {
                "**" => Part::Any,
                part if has_pattern(Path::new(part)) => Part::Names(name_pattern(part)?, part.starts_with(['.', '_'])),
                part => Part::Name(part.to_string()),
            })
        };
        parts.iter().map(part).collect::<Result<Vec<_>>>().map(Self)
    }

    /// Whether a key, in its parts, is meant.
    pub fn fits(&self, key: &[String]) -> bool {
        fn fits(pattern: &[Part], key: &[String]) -> bool {
            let Some((first, rest)) = pattern.split_first() else { return is_below(key) };
            match (first, key.split_first()) {
                (Part::Any, Some((name, after))) => {
                    fits(rest, key) || (is_below(std::slice::from_ref(name)) && fits(pattern, after))
                }
                (Part::Name(own), Some((name, after))) => own == name && fits(rest, after),
                (Part::Names(own, hidden), Some((name, after))) => {
                    (*hidden || is_below(std::slice::from_ref(name))) && own.is_match(name) && fits(rest, after)
                }
                (_, None) => false,
            }
        }
        fits(&self.0, key)
    }
}

fn below(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let kind = fs::metadata(path).map_err(|error| failed("reading", path, &error))?;
    if kind.is_dir() {
        if depth == MAX_DEPTH {
            return Err(Error::invalid(format!("directories are nested too deeply at `{}`", path.display())));
        }
        for child in children(path)? {
            below(&child, depth + 1, found)?;
        }
    } else if kind.is_file() {
        if found.len() == MAX_FILES {
            return Err(Error::invalid(format!("the path means more than {MAX_FILES} files: give a narrower one")));
        }
        found.push(path.to_path_buf());
    } else {
        return Err(Error::invalid(format!("`{}` is neither a file nor a directory", path.display())));
    }
    Ok(())
}

/// What stands in a directory, sorted, without hidden names.
fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = names(directory)?.into_iter().filter(|name| !name.starts_with(['.', '_']));
    Ok(entries.map(|name| directory.join(name)).collect())
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = fs::read_dir(here).map_err(|error| failed("listing", here, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed("listing", here, &error))?;
        let name = entry.file_name().into_string();
        names.push(name.map_err(|name| {
            Error::invalid(format!("a name in `{}` is not UTF-8: {}", here.display(), name.to_string_lossy()))
        })?);
    }
    names.sort();
    Ok(names)
}

/// Follows a pattern from `at`, part by part.
fn matching(at: PathBuf, parts: &[Component<'_>], matched: &mut Vec<PathBuf>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        if fs::metadata(&at).is_ok() {
            matched.push(at);
        }
        return Ok(());
    };
    let Component::Normal(name) = part else { return matching(at.join(part), rest, matched) };
    let name = name.to_string_lossy();
    if name == "**" {
        matching(at.clone(), rest, matched)?;
        for child in directories(&at)? {
            matching(child, parts, matched)?;
        }
        return Ok(());
    }
    if !has_pattern(Path::new(name.as_ref())) {
        return matching(at.join(name.as_ref()), rest, matched);
    }
    let pattern = name_pattern(&name)?;
    if !fs::metadata(if at.as_os_str().is_empty() { Path::new(".") } else { &at }).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    for child in names(&at)? {
        let hidden = child.starts_with(['.', '_']) && !name.starts_with(['.', '_']);
        if !hidden && pattern.is_match(&child) {
            matching(at.join(child), rest, matched)?;
        }
    }
    Ok(())
}

/// Directories of a directory that are no links: those could lead in circles.
fn directories(at: &Path) -> Result<Vec<PathBuf>> {
    if !fs::metadata(if at.as_os_str().is_empty() { Path::new(".") } else { at }).is_ok_and(|found| found.is_dir()) {
        return Ok(Vec::new());
    }
    let children = children(at)?;
    Ok(children.into_iter().filter(|child| fs::symlink_metadata(child).is_ok_and(|found| found.is_dir())).collect())
}

/// A name's pattern as a regular expression.
fn name_pattern(name: &str) -> Result<Regex> {
    let mut pattern = "(?s)^".to_string();
    let mut chars = name.chars().peekable();
    let mut open = false;
    while let Some(c) = chars.next() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '[' => {
                pattern.push('[');
                if chars.next_if(|c| matches!(c, '!' | '^')).is_some() {
                    pattern.push('^');
                }
                for c in chars.by_ref() {
                    match c {
                        ']' => break,
                        '-' => pattern.push('-'),
                        other => pattern.push_str(&regex::escape(&other.to_string())),
                    }
                }
                pattern.push(']');
            }
            '{' if !open => {
                open = true;
                pattern.push_str("(?:");
            }
            '}' if open => {
                open = false;
                pattern.push(')');
            }
            ',' if open => pattern.push('|'),
            other => pattern.push_str(&regex::escape(&other.to_string())),
        }
    }
    pattern.push('$');
    Regex::new(&pattern).map_err(|error| Error::invalid(format!("`{name}` is no pattern of files")).with_source(error))
}

/// What failed with a file, with a prescriptive kind.
pub(super) fn failed(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    let message = format!("{doing} `{}`: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::gone(message),
        std::io::ErrorKind::PermissionDenied => Error::denied(message),
        _ => Error::unavailable(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, "").expect("written");
        }
        folder
    }

    #[test]
    fn a_path_means_a_file_a_directory_or_a_pattern() {
        let folder = folder(&[
            "b.json",
            "a.json",
            "c.csv",
            ".hidden",
            "_SUCCESS",
            "2024-01/x.json",
            "2024-02/y/z.json",
            "2025/x.json",
            "odd[1].json",
        ]);
        let all = ["2024-01/x.json", "2024-02/y/z.json", "2025/x.json", "a.json", "b.json", "c.csv", "odd[1].json"];
        let cases: [(&str, &[&str]); 12] = [
            ("", &all),
            ("a.json", &["a.json"]),
            ("_SUCCESS", &["_SUCCESS"]),
            ("odd[1].json", &["odd[1].json"]),
            ("?.json", &["a.json", "b.json"]),
            ("[!a].json", &["b.json"]),
            ("[a-b].*", &["a.json", "b.json"]),
            ("{a,c}.{json,csv}", &["a.json", "c.csv"]),
            ("2024-*", &["2024-01/x.json", "2024-02/y/z.json"]),
            ("**/x.json", &["2024-01/x.json", "2025/x.json"]),
            ("2024-*/**/*.json", &["2024-01/x.json", "2024-02/y/z.json"]),
            ("_*", &["_SUCCESS"]),
        ];
        for (path, expected) in cases {
            let found = files(&folder.path().join(path)).expect(path);
            let expected: Vec<_> = expected.iter().map(|name| folder.path().join(name)).collect();
            assert_eq!(found, expected, "{path}");
        }
        for nothing in ["nothing", "x/nothing", "*.parquet", "nothing/*", "a.json/*"] {
            let error = files(&folder.path().join(nothing)).expect_err(nothing);
            assert_eq!(error.kind(), aquifer_model::ErrorKind::Invalid, "{nothing}");
        }
    }

    #[test]
    fn a_pattern_means_the_same_keys_as_files() {
        let keys = ["a.json", "2024-01/x.json", "2024-02/y/z.json", "2024-02/_y/z.json", ".hidden", "2025/_SUCCESS"];
        let cases: [(&str, &[&str]); 6] = [
            ("*.json", &["a.json"]),
            ("2024-*", &["2024-01/x.json", "2024-02/y/z.json"]),
            ("**/*.json", &["a.json", "2024-01/x.json", "2024-02/y/z.json"]),
            ("2024-{01,03}/?.json", &["2024-01/x.json"]),
            ("2025/_*", &["2025/_SUCCESS"]),
            ("*/nothing", &[]),
        ];
        for (pattern, expected) in cases {
            let parts: Vec<&str> = pattern.split('/').collect();
            let pattern = Pattern::new(&parts).expect("a pattern");
            let split = |key: &str| key.split('/').map(String::from).collect::<Vec<_>>();
            let found: Vec<_> = keys.into_iter().filter(|key| pattern.fits(&split(key))).collect();
            assert_eq!(found, expected, "{parts:?}");
        }
    }

    #[test]
    fn urls_of_files_are_paths_and_other_schemes_are_refused() {
        for (option, path) in [
            ("file:///a/b c", "/a/b c"),
            ("file:/a", "/a"),
            ("a:b/c", "a:b/c"),
            ("x/y:z", "x/y:z"),
            ("FILE:///x", "/x"),
        ] {
            assert_eq!(local(option).expect(option), PathBuf::from(path));
        }
        for option in ["s3://bucket/key", "hdfs:///x", "https://h/x", "file://host/x", "file:", "a\0b"] {
            assert!(local(option).is_err(), "{option}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_and_circles_end() {
        let folder = folder(&["d/a.json"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("d/up")).expect("a link");
        assert!(files(folder.path()).expect_err("a circle").to_string().contains("too deeply"));
        assert_eq!(files(&folder.path().join("**/a.json")).expect("links are not followed by **").len(), 1);
        assert!(files(Path::new("/dev/null")).is_err());
    }
}
