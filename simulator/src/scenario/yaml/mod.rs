//! YAML and JSON streams as trees of values, with the place of every key and value.
//!
//! It knows nothing of scenarios or manifests. The reader is behind this one module: nobody else sees its types.

mod positions;
mod problem;
mod visitor;

use serde_json::Value;
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

pub(super) use positions::{Children, Positions, Span};
pub(super) use problem::Problem;
use visitor::{Duplicate, Tree, span_of};

/// A document of a stream.
pub(super) struct Document {
    /// What it says.
    pub(super) value: Value,
    /// Where it says so.
    pub(super) positions: Positions,
}

/// Reads every document of a stream; empty ones are left out.
///
/// # Errors
/// If the text is not YAML, goes beyond the limits, or has a key twice in one mapping.
pub(super) fn parse(text: &str) -> Result<Vec<Document>, Vec<Problem>> {
    let trees = serde_saphyr::from_multiple_with_options::<Spanned<Tree>>(text, options())
        .map_err(|error| vec![Problem::of(&error, text)])?;
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

#[cfg(test)]
mod tests;
