//! Selectors: expressions over labels, as Calico writes them in pools and peers. What is selected is its users' affair.
//!
//! ```text
//! or     = and { "||" and }          term = "all()" | "global()" | "has(" key ")" | "(" or ")" | key test
//! and    = not { "&&" not }          test = ("==" | "!=" | "contains" | "starts with" | "ends with") text
//! not    = { "!" } term                     | ["not"] "in" "{" [text { "," text }] "}"
//! ```

mod parser;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// An expression over labels.
///
/// Source: Calico libcalico-go/lib/selector/parser/parser.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: Arc<str>,
    root: Expression,
}

/// Labels by name.
type Labels = BTreeMap<Arc<str>, Arc<str>>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    All,
    Has(Box<str>),
    Label(Box<str>, Test),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

/// What is asked of a label's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Is(Box<str>),
    IsNot(Box<str>),
    In(Vec<Box<str>>),
    NotIn(Vec<Box<str>>),
    Contains(Box<str>),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at offset {offset}")]
pub struct SelectorError {
    /// Where in the text, in bytes from 0.
    pub offset: usize,
    /// What would be right there.
    pub expected: &'static str,
}

impl Selector {
    /// Whether it selects what has these labels. A label that is not there is different from every value.
    ///
    /// Source: Calico libcalico-go/lib/selector/parser/ast.go, Evaluate.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.root.matches(labels)
    }

    /// Whether it is `all()`, or empty.
    pub fn is_all(&self) -> bool {
        self.root == Expression::All
    }

    /// Whether it is empty, which selects all and says that nobody chose.
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }
}

impl Default for Selector {
    fn default() -> Selector {
        Selector {
            text: "all()".into(),
            root: Expression::All,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        let root = parser::parse(text)?;
        Ok(Selector { text: text.into(), root })
    }
}

impl Expression {
    fn matches(&self, labels: &Labels) -> bool {
        match self {
            Expression::All => true,
            Expression::Has(key) => labels.contains_key(&**key),
            Expression::Label(key, test) => test.holds(labels.get(&**key).map(|value| &**value)),
            Expression::Not(inner) => !inner.matches(labels),
            Expression::And(all) => all.iter().all(|e| e.matches(labels)),
            Expression::Or(any) => any.iter().any(|e| e.matches(labels)),
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let among = |set: &[Box<str>]| value.is_some_and(|v| set.iter().any(|member| **member == *v));
        match self {
            Test::Is(wanted) => value == Some(wanted),
            Test::IsNot(wanted) => value != Some(wanted),
            Test::In(set) => among(set),
            Test::NotIn(set) => !among(set),
            Test::Contains(part) => value.is_some_and(|v| v.contains(&**part)),
            Test::StartsWith(part) => value.is_some_and(|v| v.starts_with(&**part)),
            Test::EndsWith(part) => value.is_some_and(|v| v.ends_with(&**part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parser::DEEPEST;
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn selects(selector: &str, labels: &str) -> bool {
        let labels = labels.split_whitespace().filter_map(|label| label.split_once('='));
        let labels = labels.map(|(k, v)| (k.into(), v.into())).collect();
        selector.parse::<Selector>().unwrap().matches(&labels)
    }

    #[rstest]
    #[case("", "", true)]
    #[case(" \t", "", true)]
    #[case("all()", "a=b", true)]
    #[case("all( )", "a=b", true)]
    #[case("!all()", "a=b", false)]
    #[case("!!all()", "a=b", true)]
    #[case("global()", "", true)]
    #[case("has(a)", "a=b", true)]
    #[case("has( a )", "b=a", false)]
    #[case("! has(a)", "b=a", true)]
    #[case("a == 'b'", "a=b", true)]
    #[case("a==\"b\"", "a=c", false)]
    #[case("a != 'b'", "a=b", false)]
    #[case("a != 'b'", "", true)]
    #[case("a == ''", "a=", true)]
    #[case("a in {'b', 'c'}", "a=c", true)]
    #[case("a in {'b','c',}", "a=d", false)]
    #[case("a in {}", "a=d", false)]
    #[case("a in {'b'}", "", false)]
    #[case("a not in {'b'}", "a=b", false)]
    #[case("a notin{'b'}", "", true)]
    #[case("a contains 'bc'", "a=abcd", true)]
    #[case("a contains ''", "", false)]
    #[case("a starts with 'ab'", "a=abc", true)]
    #[case("a startswith 'bc'", "a=abc", false)]
    #[case("a ends with 'bc'", "a=abc", true)]
    #[case("a ends  with 'ab'", "a=abc", false)]
    #[case("a == 'b' && c == 'd' || e == 'f'", "e=f", true)]
    #[case("a == 'b' && (c == 'd' || e == 'f')", "e=f", false)]
    #[case("!(a == 'b' || c == 'd')", "e=f", true)]
    #[case("!a == 'b'", "a=b", false)]
    #[case("topology.kubernetes.io/zone == 'eu-1a'", "topology.kubernetes.io/zone=eu-1a", true)]
    #[case("in == 'x' && not in {'y'} && all == 'z'", "in=x not=y all=z", true)]
    fn a_selector_selects_by_labels(#[case] selector: &str, #[case] labels: &str, #[case] selected: bool) {
        assert_eq!(selects(selector, labels), selected);
    }

    #[rstest]
    #[case("a", 1, "`==`")]
    #[case("a = 'b'", 2, "`==`")]
    #[case("a == b", 5, "quotes")]
    #[case("a == 'b", 5, "closing quote")]
    #[case("a == 'b' & c == 'd'", 9, "`&&`")]
    #[case("a == 'b' c == 'd'", 9, "`&&`")]
    #[case("(a == 'b'", 9, "`)`")]
    #[case("a == 'b')", 8, "the end")]
    #[case("a in 'b'", 5, "`{`")]
    #[case("a in {'b' 'c'}", 10, "`}`")]
    #[case("a inn {'b'}", 2, "`in`")]
    #[case("has()", 4, "name")]
    #[case("has(a", 5, "`)`")]
    #[case("&& all()", 0, "name")]
    #[case("all() ||", 8, "name")]
    #[case("ä == 'b'", 0, "name")]
    fn a_text_that_is_no_selector_is_refused_at_its_offset(#[case] text: &str, #[case] offset: usize, #[case] expected: &str) {
        let wrong = text.parse::<Selector>().unwrap_err();
        assert_eq!(wrong.offset, offset, "{wrong}");
        assert!(wrong.expected.contains(expected), "{wrong}");
    }

    #[test]
    fn deep_parentheses_are_refused() {
        let nested = |depth: usize| format!("{}all(){}", "(".repeat(depth), ")".repeat(depth));
        assert!(nested(DEEPEST).parse::<Selector>().is_ok());
        assert!(nested(1_000_000).parse::<Selector>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "[ !&|(){}'\",=a-cinhslot]{0,40}|\\PC{0,40}") {
            let _ = text.parse::<Selector>();
        }

        #[test]
        fn negation_turns_every_selector_around(text in "(has\\(a\\)|a == 'b'|a not in \\{'b'\\})( (&&|\\|\\|) has\\(c\\)){0,2}", a in "[ab]?", c in "c?") {
            let labels = format!("{}{}", if a.is_empty() { "" } else { "a=" }, a) + if c.is_empty() { "" } else { " c=x" };
            prop_assert_ne!(selects(&text, &labels), selects(&format!("!({text})"), &labels));
        }
    }
}
