//! YAML and JSON streams as trees of values, with the place of every key and value.
//!
//! It knows nothing of scenarios or manifests. The reader is behind this one module: nobody else sees its types.

use std::fmt;

use overlab_dataplane::fields::Segment;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, Spanned};

/// A stretch of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first byte.
    pub(super) start: u32,
    /// The byte after its last one.
    pub(super) end: u32,
}

/// A document of a stream.
pub(super) struct Document {
    /// What it says.
    pub(super) value: Value,
    /// Where it says so.
    pub(super) positions: Positions,
}

/// Where a value and everything in it stand. For an alias that is where the value is defined.
#[derive(Clone, Debug)]
pub(super) struct Positions {
    /// The value's place. Of a collection, only the beginning is known.
    pub(super) span: Span,
    /// The places of what is in it.
    pub(super) children: Children,
}

/// The places of what is in a value.
#[derive(Clone, Debug)]
pub(super) enum Children {
    /// It holds nothing.
    None,
    /// The items of a list.
    Seq(Vec<Positions>),
    /// The entries of a mapping, each with the place of its key.
    Map(Vec<(String, Span, Positions)>),
}

/// Why a text could not be read.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) why: Option<&'static str>,
    pub(super) help: Option<&'static str>,
    pub(super) span: Option<Span>,
    pub(super) related: Option<(Span, &'static str)>,
}

/// Reads every document of a stream; empty ones are left out.
///
/// # Errors
/// If the text is not YAML, goes beyond the limits, or has a key twice in one mapping.
pub(super) fn parse(text: &str) -> Result<Vec<Document>, Vec<Problem>> {
    let trees = serde_saphyr::from_multiple_with_options::<Spanned<Tree>>(text, options())
        .map_err(|error| vec![problem(&error, text)])?;
    let mut duplicates = Vec::new();
    let documents = trees.into_iter().map(|tree| document(tree, &mut duplicates)).collect();
    if duplicates.is_empty() {
        Ok(documents)
    } else {
        Err(duplicates)
    }
}

/// The reader recurses once a level, and a level must fit many times into the small stacks of worker threads.
const MAX_DEPTH: usize = 36;

/// Above what a file of the largest size that is read can need; aliases multiply, so they are held short.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 256 << 20,
            max_documents: 100_000,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_recorded_anchor_events: 200_000,
            max_depth: MAX_DEPTH,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    }
}

impl Positions {
    /// One place for a value and all that is in it.
    pub(super) fn at(span: Span) -> Positions {
        Positions {
            span,
            children: Children::None,
        }
    }

    /// The place of a key of this mapping, and those of its value.
    pub(super) fn entry(&self, name: &str) -> Option<(Span, &Positions)> {
        match &self.children {
            Children::Map(entries) => entries
                .iter()
                .find(|(key, ..)| key == name)
                .map(|(_, key, value)| (*key, value)),
            Children::None | Children::Seq(_) => None,
        }
    }

    /// The places of the value at the end of a path.
    pub(super) fn get(&self, path: &[Segment]) -> Option<&Positions> {
        path.iter().try_fold(self, |here, segment| match (&here.children, segment) {
            (Children::Map(_), Segment::Key(name)) => Some(here.entry(name)?.1),
            (Children::Seq(items), Segment::Index(index)) => items.get(*index),
            (Children::None | Children::Seq(_) | Children::Map(_), _) => None,
        })
    }

    /// Forgets an item of a list.
    pub(super) fn remove_item(&mut self, item: usize) {
        if let Children::Seq(items) = &mut self.children
            && item < items.len()
        {
            items.remove(item);
        }
    }

    /// As [`Positions::get`], to change them.
    pub(super) fn get_mut(&mut self, path: &[Segment]) -> Option<&mut Positions> {
        path.iter()
            .try_fold(self, |here, segment| match (&mut here.children, segment) {
                (Children::Map(entries), Segment::Key(name)) => {
                    entries.iter_mut().find(|(key, ..)| key == name).map(|(.., value)| value)
                }
                (Children::Seq(items), Segment::Index(index)) => items.get_mut(*index),
                (Children::None | Children::Seq(_) | Children::Map(_), _) => None,
            })
    }

    /// The place of the field at the end of a path. `at_key` asks for its key. Where the path leads nowhere, the last step that
    /// exists is taken; a collection that has a key is shown by its key, since its text may be long.
    pub(super) fn locate(&self, path: &[Segment], at_key: bool) -> Span {
        let mut here = self;
        let mut key = None;
        for segment in path {
            let next = match (&here.children, segment) {
                (Children::Map(entries), Segment::Key(name)) => entries
                    .iter()
                    .find(|(key, ..)| key == name)
                    .map(|(_, key, value)| (Some(*key), value)),
                (Children::Seq(items), Segment::Index(index)) => items.get(*index).map(|item| (None, item)),
                (Children::None | Children::Seq(_) | Children::Map(_), _) => None,
            };
            let Some((next_key, next)) = next else { break };
            (key, here) = (next_key, next);
        }
        match (&here.children, key) {
            (Children::Seq(_) | Children::Map(_), Some(key)) => key,
            (Children::None, Some(key)) if at_key || here.span.start == here.span.end => key,
            _ => here.span,
        }
    }
}

fn document(tree: Spanned<Tree>, problems: &mut Vec<Problem>) -> Document {
    let span = span_of(&tree);
    let Tree {
        value,
        children,
        duplicate,
    } = tree.value;
    problems.extend(duplicate.into_iter().map(Duplicate::problem));
    Document {
        value,
        positions: Positions { span, children },
    }
}

fn span_of<T>(spanned: &Spanned<T>) -> Span {
    span(&spanned.defined)
        .or_else(|| span(&spanned.referenced))
        .unwrap_or_default()
}

fn span(location: &Location) -> Option<Span> {
    let start = u32::try_from(location.span().byte_offset()?).ok()?;
    let length = u32::try_from(location.span().byte_len()?).ok()?;
    Some(Span {
        start,
        end: start.saturating_add(length),
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the reader's list of errors is long, and only some need words of ours"
)]
fn problem(error: &Error, text: &str) -> Problem {
    let error = match error {
        Error::AliasError { error, .. } => error,
        other => other,
    };
    let plain = message(error);
    let limit = "a file that grows without bound while it is read would take all memory";
    let (code, message, why, help) = match error {
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => (
            "Y-LIMIT",
            "the aliases stand for too much".to_owned(),
            Some(limit),
            Some("write out what the aliases stand for"),
        ),
        Error::Budget { breach, .. } => {
            let (message, help) = breached(breach);
            ("Y-LIMIT", message, Some(limit), Some(help))
        }
        _ if plain == "recursion limit exceeded" => ("Y-LIMIT", too_deep(), Some(limit), Some("nest less deeply")),
        _ if plain.starts_with("cannot deserialize null into string") => (
            "Y-SYNTAX",
            "a key is missing before its colon, or is null".to_owned(),
            Some("the keys of a mapping are texts"),
            Some("quote a name that YAML takes for null, as `\"null\"`"),
        ),
        _ if plain == "expected string scalar" => (
            "Y-SYNTAX",
            "a key is a list or a mapping".to_owned(),
            Some("the keys of a mapping are texts"),
            Some("write `KEY: VALUE`, and quote a key that begins with `[` or `{`"),
        ),
        _ if plain.starts_with("recursive references") => (
            "Y-SYNTAX",
            "an alias stands within what it stands for".to_owned(),
            None,
            Some("write out what the alias stands for"),
        ),
        Error::UnknownAnchor { .. } => (
            "Y-SYNTAX",
            plain,
            None,
            Some("an alias `*name` needs an anchor `&name` before it; quote a text that begins with `*`"),
        ),
        _ => (
            "Y-SYNTAX",
            plain,
            Some("from here on the file is not YAML"),
            Some("look at indentation, quotes and brackets here and above"),
        ),
    };
    Problem {
        code,
        message,
        why,
        help,
        span: error
            .location()
            .and_then(|location| span(&location).or_else(|| offset(&location, text))),
        related: None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the reader has limits that no file reaches before these"
)]
fn breached(breach: &BudgetBreach) -> (String, &'static str) {
    match breach {
        BudgetBreach::Depth { .. } => (too_deep(), "nest less deeply"),
        BudgetBreach::Aliases { .. } => ("too many aliases".to_owned(), "write out what the aliases stand for"),
        BudgetBreach::Anchors { .. } => ("too many anchors".to_owned(), "remove the anchors that nobody uses"),
        _ => ("too many values".to_owned(), "split the file"),
    }
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} deep")
}

/// The place of a line and column, for errors that know no bytes.
fn offset(location: &Location, text: &str) -> Option<Span> {
    let line = usize::try_from(location.line()).ok()?.checked_sub(1)?;
    let column = usize::try_from(location.column()).ok()?.saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..)?;
    let within = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    let start = u32::try_from(start + within).ok()?;
    Some(Span { start, end: start })
}

/// The error's words without its position, which the diagnostic shows in its own way.
fn message(error: &Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let line = match line.split_once(": ") {
        Some((position, rest)) if position.starts_with("line ") => rest,
        Some(_) | None => line,
    };
    match line.rfind(" at line ") {
        Some(end) => line[..end].to_owned(),
        None => line.to_owned(),
    }
}

/// A value with the places of what is in it.
struct Tree {
    value: Value,
    children: Children,
    /// Duplicate keys in it, one a mapping.
    duplicate: Vec<Duplicate>,
}

struct Duplicate {
    key: String,
    first: Span,
    second: Span,
}

impl Duplicate {
    fn problem(self) -> Problem {
        Problem {
            code: "Y-DUPLICATE",
            message: format!("key `{}` is there twice", self.key),
            why: Some("only one of them could hold"),
            help: Some("remove one of them"),
            span: Some(self.second),
            related: Some((self.first, "first here")),
        }
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Tree {
        Tree {
            value,
            children: Children::None,
            duplicate: Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Value::Number(value.into()).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Value::Number(value.into()).into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Value::Number(number).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Value::String(value.to_owned()).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Value::String(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let (mut values, mut children, mut duplicate) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(item) = seq.next_element::<Spanned<Tree>>()? {
            let span = span_of(&item);
            values.push(item.value.value);
            duplicate.extend(item.value.duplicate);
            children.push(Positions {
                span,
                children: item.value.children,
            });
        }
        Ok(Tree {
            value: Value::Array(values),
            children: Children::Seq(children),
            duplicate,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let (mut values, mut children, mut duplicate) = (Map::new(), Vec::new(), Vec::new());
        let mut first_duplicate = None;
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let item = map.next_value::<Spanned<Tree>>()?;
            let (key_span, span) = (span_of(&key), span_of(&item));
            if values.insert(key.value.clone(), item.value.value).is_some() && first_duplicate.is_none() {
                first_duplicate = Some((key.value.clone(), key_span));
            }
            duplicate.extend(item.value.duplicate);
            let positions = Positions {
                span,
                children: item.value.children,
            };
            children.push((key.value, key_span, positions));
        }
        duplicate.extend(first_duplicate.and_then(|(key, second)| {
            let first = children.iter().find(|(name, ..)| *name == key).map(|(_, span, _)| *span)?;
            Some(Duplicate { key, first, second })
        }));
        Ok(Tree {
            value: Value::Object(values),
            children: Children::Map(children),
            duplicate,
        })
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
