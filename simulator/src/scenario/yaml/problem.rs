//! What is wrong with a text that cannot be read, in words of ours.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Location};

use super::visitor::span;
use super::{MAX_DEPTH, Span};

/// Why a text could not be read.
#[derive(Debug)]
pub(in crate::scenario) struct Problem {
    pub(in crate::scenario) code: &'static str,
    pub(in crate::scenario) message: String,
    pub(in crate::scenario) why: Option<&'static str>,
    pub(in crate::scenario) help: Option<&'static str>,
    pub(in crate::scenario) span: Option<Span>,
    pub(in crate::scenario) related: Option<(Span, &'static str)>,
}

impl Problem {
    /// What the reader found.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the reader's list of errors is long, and only some need words of ours"
    )]
    pub(super) fn of(error: &Error, text: &str) -> Problem {
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
