//! What is wrong with a file, where, why, and what would be right; and the files read, by which a field finds its line.
//!
//! Nothing is judged here: refusals come in with fields, diagnostics go out with places.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin as SnippetOrigin, Renderer, Snippet};
use overlab_dataplane::fields::{FieldRef, Origin, Refusal};

use super::yaml::{Positions, Problem, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The scenario cannot be run.
    Error,
    /// It can, but probably does not mean what it says.
    Warning,
}

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable identifier.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, as a lower-case sentence without a full stop.
    pub message: String,
    /// Where.
    pub place: Place,
    /// The rule behind it.
    pub why: Option<String>,
    /// What would be right.
    pub help: Option<String>,
    /// Another place that takes part in a conflict, and its role.
    pub related: Option<(Place, String)>,
}

/// A file, or a place in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Where in it; none for the file as a whole.
    pub excerpt: Option<Excerpt>,
}

/// A place in a line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, from 1.
    pub line: usize,
    /// The first character, from 1.
    pub column: usize,
    /// The character after the last one; never on a later line.
    pub end: usize,
    /// The line's text; the end of a very long line is cut off.
    pub text: String,
}

/// As `file:line:column`, or as `file`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.excerpt {
            Some(at) => write!(f, "{}:{}:{}", self.file, at.line, at.column),
            None => f.write_str(&self.file),
        }
    }
}

/// A line longer than this is shown without its text when the place lies beyond it.
const LONGEST_EXCERPT: usize = 1000;

impl Diagnostic {
    /// A diagnostic about a whole file.
    pub(crate) fn of_file(code: &'static str, file: &str, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            place: Place {
                file: file.into(),
                excerpt: None,
            },
            why: None,
            help: Some(help.into()),
            related: None,
        }
    }

    /// The diagnostic in one line: `ID: what is wrong [file:line:column]`.
    pub fn line(&self) -> String {
        format!("{}: {} [{}]", self.code, self.message, self.place)
    }

    /// The diagnostic as the Rust compiler would show it, ending in a line feed; the same bytes each time.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let group = Group::with_title(level.primary_title(&self.message).id(self.code));
        let mut group = match &self.related {
            Some((other, role)) if other.file == self.place.file && same_line(other, &self.place) => {
                show(group, &self.place, Some((other, role)))
            }
            Some((other, role)) => {
                let group = show(group, &self.place, None);
                show_related(group, other, role)
            }
            None => show(group, &self.place, None),
        };
        if let Some(why) = &self.why {
            group = group.element(Level::NOTE.message(why));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group]) + "\n"
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

fn same_line(a: &Place, b: &Place) -> bool {
    matches!((&a.excerpt, &b.excerpt), (Some(a), Some(b)) if a.line == b.line && a.column.max(b.column) <= LONGEST_EXCERPT)
}

/// Shows a place, and beside it another one of the same line.
fn show<'d>(group: Group<'d>, place: &'d Place, beside: Option<(&'d Place, &'d str)>) -> Group<'d> {
    let Some((at, snippet)) = snippet(place) else {
        return group.element(pointer(place));
    };
    let snippet = snippet.annotation(AnnotationKind::Primary.span(at.bytes()));
    group.element(match beside {
        Some((
            Place {
                excerpt: Some(other), ..
            },
            role,
        )) => snippet.annotation(AnnotationKind::Context.span(other.bytes()).label(role)),
        Some((Place { excerpt: None, .. }, _)) | None => snippet,
    })
}

fn show_related<'d>(group: Group<'d>, place: &'d Place, role: &'d str) -> Group<'d> {
    match snippet(place) {
        Some((at, snippet)) => group.element(snippet.annotation(AnnotationKind::Context.span(at.bytes()).label(role))),
        None => group.element(pointer(place)),
    }
}

/// The line of a place; none for a whole file, or far to the right in an endless line.
fn snippet(place: &Place) -> Option<(&Excerpt, Snippet<'_, Annotation<'_>>)> {
    let at = place.excerpt.as_ref().filter(|at| at.column <= LONGEST_EXCERPT)?;
    Some((at, Snippet::source(&at.text).line_start(at.line).path(&*place.file)))
}

fn pointer(place: &Place) -> SnippetOrigin<'_> {
    match &place.excerpt {
        Some(at) => SnippetOrigin::path(&*place.file).line(at.line).char_column(at.column),
        None => SnippetOrigin::path(&*place.file),
    }
}

impl Excerpt {
    fn bytes(&self) -> Range<usize> {
        let byte = |column: usize| {
            self.text
                .char_indices()
                .nth(column - 1)
                .map_or(self.text.len(), |(byte, _)| byte)
        };
        byte(self.column)..byte(self.end)
    }
}

/// The files that were read, and which document is in which.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<File>,
    documents: Vec<Document>,
    /// Fields that stand on the command line: each with its text and the place in it.
    asked: Vec<(FieldRef, usize, Span)>,
}

#[derive(Clone, Debug)]
struct File {
    name: Arc<str>,
    text: String,
    /// Where its lines begin, looked for once: a large file may have thousands of places to name.
    lines: OnceLock<Vec<usize>>,
}

impl File {
    /// The line that holds a byte, from 0, and where it begins.
    fn line(&self, byte: usize) -> (usize, usize) {
        let lines = self.lines.get_or_init(|| {
            let after = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(after).collect()
        });
        let line = lines.partition_point(|start| *start <= byte).saturating_sub(1);
        (line, lines[line])
    }
}

#[derive(Clone, Debug)]
struct Document {
    file: usize,
    positions: Positions,
}

impl Sources {
    /// Adds a file.
    pub(super) fn add_file(&mut self, name: &str, text: String) -> usize {
        self.files.push(File {
            name: name.into(),
            text,
            lines: OnceLock::new(),
        });
        self.files.len() - 1
    }

    /// What a file says.
    pub(super) fn text(&self, file: usize) -> &str {
        &self.files[file].text
    }

    /// Adds a document of a file.
    pub(super) fn add_document(&mut self, file: usize, positions: Positions) -> Origin {
        self.documents.push(Document { file, positions });
        Origin(u32::try_from(self.documents.len() - 1).expect("documents are limited to far fewer"))
    }

    /// Adds a document that is written inside another one.
    pub(super) fn add_beside(&mut self, other: Origin, positions: Positions) -> Origin {
        let file = self.documents[other.0 as usize].file;
        self.add_document(file, positions)
    }

    /// Notes which fields of documents are said on the command line and in no file: each with its option, empty for an argument
    /// without one, and its value.
    pub(super) fn add_command(&mut self, parts: &[(FieldRef, &str, &str)]) {
        let mut line = String::new();
        let file = self.files.len();
        for (field, option, value) in parts {
            for word in [option, value].into_iter().filter(|word| !word.is_empty()) {
                line += if line.is_empty() { "" } else { " " };
                line += word;
            }
            let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let start = place(line.len() - value.len());
            let end = place(line.len());
            self.asked.push((field.clone(), file, Span { start, end }));
        }
        self.add_file("<command line>", line);
    }

    /// Where the parts of a document stand.
    pub(super) fn positions(&self, origin: Origin) -> &Positions {
        &self.documents[origin.0 as usize].positions
    }

    /// As [`Sources::positions`], to change them.
    pub(super) fn positions_mut(&mut self, origin: Origin) -> &mut Positions {
        &mut self.documents[origin.0 as usize].positions
    }

    /// Where a field is. A field that is missing is shown at what should hold it.
    pub fn place(&self, field: &FieldRef) -> Option<Place> {
        self.find(field, false)
    }

    /// What is wrong, with its places.
    pub fn diagnostic(&self, refusal: &Refusal) -> Diagnostic {
        let place = |field: &FieldRef, at_key| {
            self.find(field, at_key).unwrap_or_else(|| Place {
                file: "(no file)".into(),
                excerpt: None,
            })
        };
        Diagnostic {
            code: refusal.code,
            severity: Severity::Error,
            message: refusal.message.clone(),
            place: place(&refusal.field, refusal.at_key),
            why: refusal.why.clone(),
            help: refusal.help.clone(),
            related: refusal
                .related
                .as_ref()
                .map(|(field, role)| (place(field, false), role.clone())),
        }
    }

    /// Every refusal with its places, in file order, and each only once.
    pub fn diagnostics(&self, refusals: &[Refusal]) -> Vec<Diagnostic> {
        let mut diagnostics: Vec<_> = refusals.iter().map(|refusal| self.diagnostic(refusal)).collect();
        let line = |d: &Diagnostic| d.place.excerpt.as_ref().map_or((0, 0), |at| (at.line, at.column));
        diagnostics.sort_by(|a, b| a.place.file.cmp(&b.place.file).then(line(a).cmp(&line(b))));
        diagnostics.dedup();
        diagnostics
    }

    /// Why a file is not YAML, with its place.
    pub(super) fn syntax(&self, file: usize, problem: Problem) -> Diagnostic {
        let place = |span| self.excerpt(file, span);
        Diagnostic {
            code: problem.code,
            severity: Severity::Error,
            message: problem.message,
            place: place(problem.span),
            why: problem.why.map(str::to_owned),
            help: problem.help.map(str::to_owned),
            related: problem.related.map(|(span, role)| (place(Some(span)), role.to_owned())),
        }
    }

    fn find(&self, field: &FieldRef, at_key: bool) -> Option<Place> {
        let within = |asked: &FieldRef| asked.origin == field.origin && field.path.0.starts_with(&asked.path.0);
        let asked = self.asked.iter().filter(|(asked, ..)| within(asked));
        if let Some((_, file, span)) = asked.max_by_key(|(asked, ..)| asked.path.0.len()) {
            return Some(self.excerpt(*file, Some(*span)));
        }
        let document = self.documents.get(usize::try_from(field.origin.0).ok()?)?;
        let span = document.positions.locate(&field.path.0, at_key);
        Some(self.excerpt(document.file, Some(span)))
    }

    fn excerpt(&self, file: usize, span: Option<Span>) -> Place {
        let file = &self.files[file];
        Place {
            file: file.name.clone(),
            excerpt: span.map(|span| excerpt(file, span)),
        }
    }
}

fn excerpt(file: &File, span: Span) -> Excerpt {
    let text = &file.text;
    let start = text.floor_char_boundary(span.start as usize);
    let (line_number, line_start) = file.line(start);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line = text[line_start..line_end].trim_end();
    let line_end = line_start + line.len();
    let end = match span.end as usize {
        end if end <= start => line_end,
        end => text.floor_char_boundary(end).min(line_end),
    };
    let column = 1 + text[line_start..start].chars().count();
    Excerpt {
        line: 1 + line_number,
        column,
        end: column + text.get(start..end).map_or(0, |marked| marked.chars().count()).max(1),
        text: line.chars().take(2 * LONGEST_EXCERPT).collect(),
    }
}
