//! Golden files: one snapshot a scenario, in insta's format, beside the folder `scenarios` that holds the scenario.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use overlab_reports::{GoldenReport, GoldenStatus};

/// What stands between the metadata and the contents of a snapshot.
const FENCE: &str = "---\n";

/// A scenario's golden file.
#[derive(Debug)]
pub struct Golden {
    path: PathBuf,
}

/// Where a scenario's golden lies: in `golden/` beside the nearest folder `scenarios` above the file, under the same path, with
/// `@` and its name for a variant. None if there is no such folder.
pub fn golden_path(scenario: &Path, variant: Option<&str>) -> Option<PathBuf> {
    let absolute = fs::canonicalize(scenario).ok()?;
    let root = absolute
        .ancestors()
        .skip(1)
        .find(|folder| folder.file_name().is_some_and(|name| name == "scenarios"))?;
    let within = absolute.strip_prefix(root).ok()?;
    // The path is kept as it was given, where it shows the folder, so that a report does not name the machine's folders.
    let given = scenario
        .ancestors()
        .nth(within.components().count())
        .filter(|given| given.file_name().is_some());
    let base = match given.filter(|given| fs::canonicalize(given).is_ok_and(|given| given == root)) {
        Some(given) => given.parent()?,
        None => root.parent()?,
    };
    let path = base.join("golden").join(within).with_extension("");
    let mut name = path.file_name()?.to_owned();
    if let Some(variant) = variant {
        name.push(format!("@{variant}"));
    }
    name.push(".snap");
    Some(path.with_file_name(name))
}

impl Golden {
    /// The golden of a scenario, if it has a place for one.
    pub fn of(scenario: &Path, variant: Option<&str>) -> Option<Golden> {
        Some(Golden {
            path: golden_path(scenario, variant)?,
        })
    }

    /// Holds a text against the golden.
    pub fn compare(&self, text: &str) -> GoldenReport {
        let (status, diff) = match fs::read_to_string(&self.path) {
            Ok(snapshot) if contents(&snapshot) == text.trim_end() => (GoldenStatus::Same, None),
            Ok(snapshot) => (GoldenStatus::Differs, Some(diff(contents(&snapshot), text.trim_end()))),
            Err(_) => (GoldenStatus::Missing, None),
        };
        GoldenReport {
            file: self.path.display().to_string(),
            status,
            diff,
        }
    }

    /// Accepts a text as the golden.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn bless(&self, text: &str) -> io::Result<GoldenReport> {
        let same = self.compare(text);
        if same.status == GoldenStatus::Same {
            return Ok(same);
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(
            &self.path,
            format!("{FENCE}source: simulator/tests/scenarios.rs\n{FENCE}{}\n", text.trim_end()),
        )?;
        Ok(GoldenReport {
            file: self.path.display().to_string(),
            status: GoldenStatus::Blessed,
            diff: None,
        })
    }
}

fn contents(snapshot: &str) -> &str {
    let after = snapshot
        .strip_prefix(FENCE)
        .and_then(|rest| rest.split_once("\n---\n"))
        .map(|(_, contents)| contents);
    after.unwrap_or(snapshot).trim_end()
}

/// The lines in which two texts differ, `-` before those of the golden and `+` before those of the run.
fn diff(golden: &str, run: &str) -> String {
    let diff = similar::TextDiff::from_lines(golden, run);
    diff.unified_diff().context_radius(1).to_string()
}
