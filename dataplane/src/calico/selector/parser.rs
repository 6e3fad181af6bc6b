//! From the text of a selector to its expression, by the grammar that the module shows.

use super::{Expression, SelectorError, Test};

/// Parentheses nest no deeper than this, so that no text can exhaust the stack.
pub(super) const DEEPEST: usize = 100;

/// Label names are no longer than this.
///
/// Source: Calico libcalico-go/lib/selector/tokenizer/tokenizer.go, LabelKeyMatcher.
const LONGEST_KEY: usize = 512;

/// Reads a whole text; an empty one selects all.
pub(super) fn parse(text: &str) -> Result<Expression, SelectorError> {
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
        true => Ok(root),
        false => Err(parser.wrong("`&&`, `||` or the end")),
    }
}

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
