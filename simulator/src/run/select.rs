//! Which scenarios and manifests are meant: files, folders and globs become a list, and each scenario file one case and one more
//! for each of its variants.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::scenario::{glob_matches, is_glob, is_something_else, open};

/// One thing to run: a scenario, or a variant of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// The scenario's file.
    pub file: PathBuf,
    /// The variant; none for the scenario itself.
    pub variant: Option<String>,
}

/// As `FILE`, or as `FILE[VARIANT]`.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match &self.variant {
            Some(variant) => write!(f, "[{variant}]"),
            None => Ok(()),
        }
    }
}

impl From<PathBuf> for Case {
    fn from(file: PathBuf) -> Case {
        Case { file, variant: None }
    }
}

/// The cases of some files: each itself, then its variants in file order. What is wrong with a file is said when it is run.
pub fn cases(files: &[PathBuf]) -> Vec<Case> {
    let variants = |file: &PathBuf| open(&[file]).map_or_else(|_| Vec::new(), |written| written.variants());
    files
        .iter()
        .flat_map(|file| {
            let case = |variant| Case {
                file: file.clone(),
                variant,
            };
            let variants = variants(file).into_iter().map(Some);
            std::iter::once(None).chain(variants).map(case).collect::<Vec<_>>()
        })
        .collect()
}

/// The files that some paths mean.
#[derive(Debug, Default)]
pub struct Selected {
    /// The files.
    pub files: Vec<PathBuf>,
    /// Paths that mean nothing, and why.
    pub missing: Vec<(PathBuf, String)>,
    /// YAML files that nobody named and that hold something else: manifests, values of a Helm chart.
    pub others: Vec<PathBuf>,
}

/// The scenarios that some paths mean: a file itself, every one below a folder or matched by a glob; `-` stands for standard
/// input. No path means the folder `scenarios`. They are sorted, each once. A file that is named is a scenario, whatever it holds;
/// one that is found is none if it says nothing of any.
pub fn select(paths: &[PathBuf]) -> Selected {
    let default = [PathBuf::from("scenarios")];
    let paths = if paths.is_empty() { &default[..] } else { paths };
    let mut selected = Selected::default();
    for path in paths {
        if path == Path::new("-") {
            selected.files.push(path.clone());
            continue;
        }
        match found(path, &["yaml", "yml"]) {
            Ok(files) if files.is_empty() => selected.missing.push((path.clone(), "holds no YAML file".to_owned())),
            Ok(files) => {
                let (others, scenarios): (Vec<_>, Vec<_>) =
                    files.into_iter().partition(|file| file != path && is_something_else(file));
                selected.files.extend(scenarios);
                selected.others.extend(others);
            }
            Err(error) => selected.missing.push((path.clone(), error.to_string())),
        }
    }
    for files in [&mut selected.files, &mut selected.others] {
        files.sort();
        files.dedup();
    }
    selected
}

/// The files of a stream of manifests, in the order in which they are named; a folder means every YAML and JSON file below it,
/// sorted. `-` stands for standard input and is left as it is.
pub fn select_manifests(paths: &[PathBuf]) -> Selected {
    let mut selected = Selected::default();
    for path in paths {
        if path == Path::new("-") {
            selected.files.push(path.clone());
            continue;
        }
        match found(path, &["yaml", "yml", "json"]) {
            Ok(files) if files.is_empty() => {
                selected.missing.push((path.clone(), "holds no YAML or JSON file".to_owned()));
            }
            Ok(mut files) => {
                files.sort();
                selected.files.extend(files);
            }
            Err(error) => selected.missing.push((path.clone(), error.to_string())),
        }
    }
    selected
}

fn found(path: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let text = path.to_string_lossy();
    if is_glob(&text) && !path.exists() {
        matching(&text, extensions)
    } else {
        below(path, extensions)
    }
}

fn below(path: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        // A link to a folder is not followed: it may lead back.
        if fs::symlink_metadata(&entry)?.is_dir() {
            files.extend(below(&entry, extensions)?);
        } else if entry.extension().is_some_and(|e| extensions.iter().any(|known| e == *known)) {
            files.push(entry);
        }
    }
    Ok(files)
}

/// The files below the glob's fixed part that it matches.
fn matching(glob: &str, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let fixed: PathBuf = Path::new(glob)
        .components()
        .take_while(|part| !is_glob(&part.as_os_str().to_string_lossy()))
        .collect();
    let root = if fixed.as_os_str().is_empty() {
        Path::new(".")
    } else {
        &fixed
    };
    let files = below(root, extensions)?
        .into_iter()
        .map(|file| file.strip_prefix("./").map(Path::to_owned).unwrap_or(file));
    Ok(files.filter(|file| glob_matches(glob, &file.to_string_lossy())).collect())
}
