//! Which scenario files are meant: files, folders and globs become a sorted list.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::scenario::{glob_matches, is_glob};

/// The scenario files that some paths mean.
#[derive(Debug, Default)]
pub struct Selected {
    /// The files, sorted, each once.
    pub files: Vec<PathBuf>,
    /// Paths that mean nothing, and why.
    pub missing: Vec<(PathBuf, String)>,
}

/// The files that some paths mean: a file itself, every YAML file below a folder, whatever a glob matches. No path means the
/// folder `scenarios`.
pub fn select(paths: &[PathBuf]) -> Selected {
    let default = [PathBuf::from("scenarios")];
    let paths = if paths.is_empty() { &default[..] } else { paths };
    let mut selected = Selected::default();
    for path in paths {
        let text = path.to_string_lossy();
        let found = if is_glob(&text) && !path.exists() {
            matching(&text)
        } else {
            below(path)
        };
        match found {
            Ok(files) if files.is_empty() => selected.missing.push((path.clone(), "holds no YAML file".to_owned())),
            Ok(files) => selected.files.extend(files),
            Err(error) => selected.missing.push((path.clone(), error.to_string())),
        }
    }
    selected.files.sort();
    selected.files.dedup();
    selected
}

fn below(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        // A link to a folder is not followed: it may lead back.
        if fs::symlink_metadata(&entry)?.is_dir() {
            files.extend(below(&entry)?);
        } else if entry.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(entry);
        }
    }
    Ok(files)
}

/// The files below the glob's fixed part that it matches.
fn matching(glob: &str) -> io::Result<Vec<PathBuf>> {
    let fixed: PathBuf = Path::new(glob)
        .components()
        .take_while(|part| !is_glob(&part.as_os_str().to_string_lossy()))
        .collect();
    let root = if fixed.as_os_str().is_empty() {
        Path::new(".")
    } else {
        &fixed
    };
    let files = below(root)?
        .into_iter()
        .map(|file| file.strip_prefix("./").map(Path::to_owned).unwrap_or(file));
    Ok(files.filter(|file| glob_matches(glob, &file.to_string_lossy())).collect())
}
