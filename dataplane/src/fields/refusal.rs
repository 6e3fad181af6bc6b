//! Why a value was refused, as whoever wrote it is told.

use super::FieldRef;

/// Why a value was refused, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A stable identifier: Calico's rules are `R1`, `E3`, ...; ours are `K-UNKNOWN`, `K-TYPE`, ...
    pub code: &'static str,
    /// The field that is wrong.
    pub field: FieldRef,
    /// Whether the key itself is wrong, rather than its value.
    pub at_key: bool,
    /// What is wrong, as a lower-case sentence without a full stop.
    pub message: String,
    /// The rule behind it, where there is one to tell.
    pub why: Option<String>,
    /// What would be right.
    pub help: Option<String>,
    /// Another field that takes part in a conflict, and its role.
    pub related: Option<(FieldRef, String)>,
}

impl Refusal {
    /// A refusal of a field's value.
    pub fn new(code: &'static str, field: FieldRef, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            field,
            at_key: false,
            message: message.into(),
            why: None,
            help: None,
            related: None,
        }
    }

    /// Adds the rule behind the refusal.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Refusal {
        self.why = Some(why.into());
        self
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = Some(help.into());
        self
    }

    /// Adds the other side of a conflict.
    #[must_use]
    pub fn related(mut self, field: FieldRef, role: impl Into<String>) -> Refusal {
        self.related = Some((field, role.into()));
        self
    }

    /// Points at the key instead of its value.
    #[must_use]
    pub fn at_key(mut self) -> Refusal {
        self.at_key = true;
        self
    }
}

/// The candidate nearest to `text`, if any is near enough to be a likely slip.
pub fn suggestion<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = text.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&folded, &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= 1 + c.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}
