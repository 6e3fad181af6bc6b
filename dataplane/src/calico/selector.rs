//! Selectors: expressions over labels, as Calico writes them in pools and peers. What is selected is its users' affair.
//!
//! ```text
//! or     = and { "||" and }          term = "all()" | "global()" | "has(" key ")" | "(" or ")" | key test
//! and    = not { "&&" not }          test = ("==" | "!=" | "contains" | "starts with" | "ends with") text
//! not    = { "!" } term                     | ["not"] "in" "{" [text { "," text }] "}"
//! ```

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
        let mut parser = Parser {
            text,
            rest: text,
            depth: 0,
        };
        let root = match parser.blank().is_empty() {
            true => Expression::All,
            false => parser.or()?,
        };
        match parser.blank().is_empty() {
            true => Ok(Selector { text: text.into(), root }),
            false => Err(parser.wrong("`&&`, `||` or the end")),
        }
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

/// Parentheses nest no deeper than this, so that no text can exhaust the stack.
const DEEPEST: usize = 100;

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn wrong(&self, expected: &'static str) -> SelectorError {
        SelectorError {
            offset: self.text.len() - self.rest.len(),
            expected,
        }
    }

    /// Skips blanks; what is left.
    fn blank(&mut self) -> &'t str {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        self.rest
    }

    /// Takes a symbol after blanks, if it is there.
    fn take(&mut self, symbol: &str) -> bool {
        match self.blank().strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes all of some symbols, with or without blanks between them, or nothing.
    fn take_all(&mut self, symbols: &[&str]) -> bool {
        let before = self.rest;
        let taken = symbols.iter().all(|symbol| self.take(symbol));
        if !taken {
            self.rest = before;
        }
        taken
    }

    /// Takes a word that no letter, digit or underscore follows.
    fn take_word(&mut self, words: &[&str]) -> bool {
        let before = self.rest;
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let taken = self.take_all(words) && ends(self.rest);
        if !taken {
            self.rest = before;
        }
        taken
    }

    fn or(&mut self) -> Result<Expression, SelectorError> {
        self.chain("||", Parser::and, Expression::Or)
    }

    fn and(&mut self) -> Result<Expression, SelectorError> {
        self.chain("&&", Parser::not, Expression::And)
    }

    fn chain(
        &mut self,
        operator: &str,
        operand: fn(&mut Parser<'t>) -> Result<Expression, SelectorError>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, SelectorError> {
        let first = operand(self)?;
        if !self.take(operator) {
            return Ok(first);
        }
        let mut operands = vec![first, operand(self)?];
        while self.take(operator) {
            operands.push(operand(self)?);
        }
        Ok(join(operands))
    }

    fn not(&mut self) -> Result<Expression, SelectorError> {
        let mut negated = false;
        while self.take("!") {
            negated = !negated;
        }
        let term = self.term()?;
        Ok(if negated { Expression::Not(Box::new(term)) } else { term })
    }

    fn term(&mut self) -> Result<Expression, SelectorError> {
        if self.take("(") {
            return self.group();
        }
        if self.take("all(") || self.take("global(") {
            return self.close(Expression::All);
        }
        if self.take("has(") {
            let key = self.key()?;
            return self.close(Expression::Has(key));
        }
        let key = self.key()?;
        Ok(Expression::Label(key, self.test()?))
    }

    fn group(&mut self) -> Result<Expression, SelectorError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("fewer parentheses"));
        }
        let inner = self.or()?;
        self.depth -= 1;
        self.close(inner)
    }

    fn close(&mut self, inner: Expression) -> Result<Expression, SelectorError> {
        if self.take(")") { Ok(inner) } else { Err(self.wrong("`)`")) }
    }

    fn key(&mut self) -> Result<Box<str>, SelectorError> {
        let is_key = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
        let rest = self.blank().trim_start_matches(is_key);
        let key = self.rest.strip_suffix(rest).unwrap_or_default();
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(self.wrong("a label's name, `has(...)` or `all()`"));
        }
        self.rest = rest;
        Ok(key.into())
    }

    fn test(&mut self) -> Result<Test, SelectorError> {
        if self.take("==") {
            self.quoted().map(Test::Is)
        } else if self.take("!=") {
            self.quoted().map(Test::IsNot)
        } else if self.take("contains") {
            self.quoted().map(Test::Contains)
        } else if self.take_all(&["starts", "with"]) {
            self.quoted().map(Test::StartsWith)
        } else if self.take_all(&["ends", "with"]) {
            self.quoted().map(Test::EndsWith)
        } else if self.take_word(&["not", "in"]) {
            self.set().map(Test::NotIn)
        } else if self.take_word(&["in"]) {
            self.set().map(Test::In)
        } else {
            Err(self.wrong("`==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`"))
        }
    }

    fn quoted(&mut self) -> Result<Box<str>, SelectorError> {
        let rest = self.blank();
        let inside = rest.strip_prefix('"').map(|r| ('"', r));
        let (quote, inside) = inside
            .or_else(|| rest.strip_prefix('\'').map(|r| ('\'', r)))
            .ok_or_else(|| self.wrong("a text in quotes"))?;
        let (value, rest) = inside.split_once(quote).ok_or_else(|| self.wrong("a closing quote"))?;
        self.rest = rest;
        Ok(value.into())
    }

    fn set(&mut self) -> Result<Vec<Box<str>>, SelectorError> {
        if !self.take("{") {
            return Err(self.wrong("`{`"));
        }
        let mut members = Vec::new();
        while self.blank().starts_with(['"', '\'']) {
            members.push(self.quoted()?);
            if !self.take(",") {
                break;
            }
        }
        if self.take("}") { Ok(members) } else { Err(self.wrong("`}`")) }
    }
}

/// Label names are no longer than this.
///
/// Source: Calico libcalico-go/lib/selector/tokenizer/tokenizer.go, LabelKeyMatcher.
const LONGEST_KEY: usize = 512;

#[cfg(test)]
mod tests {
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
