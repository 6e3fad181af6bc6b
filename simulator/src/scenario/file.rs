//! Files as documents: which is the scenario, and which are manifests.
//!
//! It opens files and tells documents apart; what they mean is not asked here.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::OnceLock;

use overlab_dataplane::fields::{FieldPath, FieldRef, Origin, Refusal, suggestion};
use serde_json::Value;

use super::diagnostic::{Diagnostic, Sources};
use super::stage::Stage;
use super::yaml;

/// The API version of scenarios.
const API_VERSION: &str = "overlab.dev/v1alpha1";
const API_GROUP: &str = "overlab.dev";
const KIND: &str = "Scenario";
/// What is carried, which only costs are computed from.
const TRAFFIC: &str = "Traffic";

/// The largest file that is read, in bytes: what a cluster of 5,000 nodes and 100,000 pods is dumped to, and no more.
const LARGEST: u64 = 256 << 20;
/// As many bytes show whether a file is a text at all.
const BEGINNING: u64 = 4096;
/// The name of standard input.
const STDIN: &str = "-";

/// One document as written.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Its handle in [`Sources`].
    pub(crate) origin: Origin,
    /// What it says.
    pub(crate) value: Value,
}

/// What was read from one file or several.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub(super) sources: Sources,
    pub(super) scenario: Option<Document>,
    pub(super) manifests: Vec<Document>,
    /// Node manifests that hold only a part of the record; the wires give the rest.
    pub(super) completed: Vec<Origin>,
    /// What the timeline makes of the manifests, one after the other.
    pub(super) stages: Vec<Stage>,
    /// Machines of the scenario that are not yet nodes of the cluster when the run begins.
    pub(super) unrecorded: BTreeSet<String>,
    /// Whether it is a variant of what the file says.
    pub(super) is_variant: bool,
    /// Whether it is not to be run, so that nothing need be expected.
    pub(super) at_rest: bool,
}

impl Written {
    /// Whether there is a Scenario document, rather than manifests alone.
    pub fn is_scenario(&self) -> bool {
        self.scenario.is_some()
    }

    /// The files that were read.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The manifests as they are written, each with its handle in the sources.
    pub fn manifest_values(&self) -> impl Iterator<Item = (&Value, Origin)> {
        self.manifests.iter().map(|document| (&document.value, document.origin))
    }

    /// Where the scenario begins, for what is wrong with it as a whole.
    pub(super) fn root(&self) -> FieldRef {
        FieldRef {
            origin: self
                .scenario
                .as_ref()
                .map_or_else(Origin::default, |document| document.origin),
            path: FieldPath::root(),
        }
    }
}

/// Reads files as one stream of documents.
///
/// # Errors
/// If a file cannot be read or is not YAML, if a Scenario document is not the first one, or if nothing is written at all.
pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Written, Vec<Diagnostic>> {
    let mut written = Written::default();
    let mut diagnostics = Vec::new();
    for path in paths {
        if let Err(problems) = open_one(path.as_ref(), &mut written) {
            diagnostics.extend(problems);
        }
    }
    if diagnostics.is_empty() {
        Ok(written)
    } else {
        Err(diagnostics)
    }
}

/// Reads a file that holds one document of another kind of ours.
///
/// # Errors
/// As [`open`], and if the document is not of that kind, or not alone.
pub(crate) fn open_other(path: &Path, kind: &str) -> Result<(Sources, Document), Vec<Diagnostic>> {
    let name = path.display().to_string();
    let text = text(path, &name).map_err(|diagnostic| vec![*diagnostic])?;
    other(&name, text, kind)
}

/// As [`open_other`], of a text under a name that its places are told by.
///
/// # Errors
/// As there.
pub(crate) fn other(name: &str, text: String, kind: &str) -> Result<(Sources, Document), Vec<Diagnostic>> {
    let mut sources = Sources::default();
    let file = sources.add_file(name, text);
    let documents = yaml::parse(sources.text(file)).map_err(|problems| {
        let diagnose = |problem| sources.syntax(file, problem);
        problems.into_iter().map(diagnose).collect::<Vec<_>>()
    })?;
    let help = format!("write one document that begins with `apiVersion: {API_VERSION}` and `kind: {kind}`");
    let Ok([document]) = <[yaml::Document; 1]>::try_from(documents) else {
        let message = format!("{name} does not hold one document");
        return Err(vec![Diagnostic::of_file("F-KIND", name, message, help)]);
    };
    let origin = sources.add_document(file, document.positions);
    let document = Document {
        origin,
        value: document.value,
    };
    let word = |key| document.value.get(key).and_then(Value::as_str).unwrap_or_default();
    if word("apiVersion") == API_VERSION && word("kind") == kind {
        return Ok((sources, document));
    }
    let at = FieldRef {
        origin,
        path: FieldPath::root().key("kind"),
    };
    let refusal = Refusal::new("K-VALUE", at, format!("this is no `{kind}` document")).help(help);
    Err(sources.diagnostics(&[refusal]))
}

/// Whether a file is neither a scenario nor meant for one: it can be read, and nothing in it is of ours but costs' traffic. What is
/// not YAML, as the template of a chart, must not even mention one.
pub(crate) fn is_something_else(path: &Path) -> bool {
    let Ok(text) = text(path, "") else { return false };
    let Ok(documents) = yaml::parse(&text) else {
        return ![API_GROUP, KIND].iter().any(|word| text.contains(word));
    };
    let ours = |document: yaml::Document| {
        let word = |key| document.value.get(key).and_then(Value::as_str).unwrap_or_default();
        let (api, kind) = (word("apiVersion"), word("kind"));
        let traffic = (api, kind) == (API_VERSION, TRAFFIC);
        !traffic && (is_near(api.split('/').next().unwrap_or_default(), API_GROUP) || is_near(kind, KIND))
    };
    !documents.is_empty() && !documents.into_iter().any(ours)
}

fn is_near(word: &str, right: &str) -> bool {
    !word.is_empty() && suggestion(word, [right]).is_some()
}

fn open_one(path: &Path, written: &mut Written) -> Result<(), Vec<Diagnostic>> {
    let name = match path == Path::new(STDIN) {
        true => "<stdin>".to_owned(),
        false => path.display().to_string(),
    };
    let text = text(path, &name).map_err(|diagnostic| vec![*diagnostic])?;
    add(&name, text, written)
}

/// Reads a text as a stream of documents, under a name that its places are told by.
///
/// # Errors
/// As [`open`].
pub fn read(name: &str, text: String) -> Result<Written, Vec<Diagnostic>> {
    let mut written = Written::default();
    add(name, text, &mut written)?;
    Ok(written)
}

fn add(name: &str, text: String, written: &mut Written) -> Result<(), Vec<Diagnostic>> {
    let file = written.sources.add_file(name, text);
    let documents = yaml::parse(written.sources.text(file)).map_err(|problems| {
        let diagnose = |problem| written.sources.syntax(file, problem);
        problems.into_iter().map(diagnose).collect::<Vec<_>>()
    })?;
    if documents.is_empty() {
        let help = "a scenario begins with `apiVersion: overlab.dev/v1alpha1` and `kind: Scenario`";
        return Err(vec![Diagnostic::of_file(
            "F-EMPTY",
            name,
            "nothing is written in this file",
            help,
        )]);
    }
    let mut refusals = Vec::new();
    for (place, document) in documents.into_iter().enumerate() {
        let origin = written.sources.add_document(file, document.positions);
        let document = Document {
            origin,
            value: document.value,
        };
        match is_scenario(&document, &mut refusals) {
            true if place > 0 || written.scenario.is_some() => refusals.push(not_first(&document)),
            true => written.scenario = Some(document),
            false => written.manifests.push(document),
        }
    }
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(written.sources.diagnostics(&refusals))
    }
}

fn is_scenario(document: &Document, refusals: &mut Vec<Refusal>) -> bool {
    let word = |key| document.value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api, kind) = (word("apiVersion"), word("kind"));
    let field = |key: &str| FieldRef {
        origin: document.origin,
        path: FieldPath::root().key(key),
    };
    if api == API_VERSION && kind != KIND {
        let refusal = Refusal::new("K-VALUE", field("kind"), format!("expected `{KIND}`, found {kind:?}"));
        refusals.push(match kind {
            TRAFFIC => refusal.help("`overlab cost SCENARIO --traffic FILE` reads it"),
            _ => refusal.help(format!("write `kind: {KIND}`")),
        });
    } else if api != API_VERSION && kind == KIND {
        let refusal = Refusal::new(
            "K-VERSION",
            field("apiVersion"),
            format!("`{KIND}` has no API version {api:?}"),
        );
        refusals.push(refusal.help(format!("write `apiVersion: {API_VERSION}`")));
    } else if api != API_VERSION && is_near(api.split('/').next().unwrap_or_default(), API_GROUP) {
        let refusal = Refusal::new("K-VERSION", field("apiVersion"), format!("unknown API version {api:?}"));
        refusals.push(refusal.help(format!("write `apiVersion: {API_VERSION}`")));
    }
    api == API_VERSION && kind == KIND
}

fn not_first(document: &Document) -> Refusal {
    let at = FieldRef {
        origin: document.origin,
        path: FieldPath::root().key("kind"),
    };
    Refusal::new("F-ORDER", at, "a scenario that is not the first document")
        .why("the first document says what is to be run, and all others are manifests that it runs with")
        .help("move it to the beginning, or into a file of its own")
}

/// Reads a whole file, or standard input, as long as it is a reasonable one.
fn text(path: &Path, name: &str) -> Result<String, Box<Diagnostic>> {
    let bytes = match path == Path::new(STDIN) {
        true => match stdin() {
            Ok(bytes) => bytes.clone(),
            Err(error) => return Err(unreadable(path, name, error)),
        },
        false => bytes(path, name)?,
    };
    if bytes.len() as u64 > LARGEST {
        return Err(too_large(name));
    }
    if bytes.contains(&0) {
        return Err(no_text(name));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        let message = format!("line {line} of {name} is not UTF-8");
        refused("F-TEXT", name, message, "save the file as UTF-8")
    })
}

/// The bytes of a file; what is no file of a reasonable size is refused before it is read, and what is no text after its beginning.
fn bytes(path: &Path, name: &str) -> Result<Vec<u8>, Box<Diagnostic>> {
    let failed = |error: io::Error| unreadable(path, name, &error);
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(refused("F-FOLDER", name, format!("{name} is a folder"), "name a file in it"));
    }
    if !metadata.is_file() {
        let help = "write it to a file, or give it as standard input by the name `-`";
        return Err(refused(
            "F-KIND",
            name,
            format!("{name} is a pipe or device and no file"),
            help,
        ));
    }
    if metadata.len() > LARGEST {
        return Err(too_large(name));
    }
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path).map_err(failed)?;
    file.by_ref().take(BEGINNING).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.contains(&0) {
        return Err(no_text(name));
    }
    file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn refused(code: &'static str, name: &str, message: String, help: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::of_file(code, name, message, help))
}

fn too_large(name: &str) -> Box<Diagnostic> {
    let message = format!("{name} is larger than {} MiB", LARGEST >> 20);
    refused(
        "F-SIZE",
        name,
        message,
        "split it, or leave out what is no node, pool, block or pod",
    )
}

fn no_text(name: &str) -> Box<Diagnostic> {
    refused("F-TEXT", name, format!("{name} is not a text"), "name a YAML or JSON file")
}

/// Standard input, read once: a scenario is opened again for each of its variants.
fn stdin() -> &'static io::Result<Vec<u8>> {
    static TEXT: OnceLock<io::Result<Vec<u8>>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut bytes = Vec::new();
        io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

fn unreadable(path: &Path, name: &str, error: &io::Error) -> Box<Diagnostic> {
    if error.kind() == ErrorKind::NotFound {
        return Box::new(Diagnostic {
            why: Some("nothing has this name, as seen from the current folder".to_owned()),
            ..Diagnostic::of_file("F-MISSING", name, format!("no such file: {name}"), missing(path))
        });
    }
    let help = "look at the permissions of the file and its folders";
    refused("F-READ", name, format!("cannot read {name}: {error}"), help)
}

/// What may have been meant instead of a file that is not there.
fn missing(path: &Path) -> String {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return format!("there is no folder {} either", folder.display());
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    match suggestion(&wanted, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{}`?", folder.join(near).display()),
        None => "check the spelling, and the folder that it is looked for in".to_owned(),
    }
}
