//! Readers of single values, and why they do not take one.

use serde_json::Value;

use super::{FieldRef, Refusal, suggestion};

/// What a value is, for messages: `the text "x"`, `the number 3`, `a list`.
pub fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the text {s:?}"),
        Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(map) if map.is_empty() => "an empty mapping".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// Why a reader does not take a value. It becomes a [`Refusal`] where the field is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    code: &'static str,
    message: Option<String>,
    expected: String,
    why: Option<String>,
    help: Option<String>,
}

impl Wrong {
    /// The value is not what is expected here, as `an address such as 10.0.0.1`.
    pub fn expected(expected: impl Into<String>) -> Wrong {
        Wrong {
            code: "K-VALUE",
            message: None,
            expected: expected.into(),
            why: None,
            help: None,
        }
    }

    /// The value breaks a rule that has a name of its own.
    pub fn rule(code: &'static str, message: impl Into<String>) -> Wrong {
        Wrong {
            code,
            message: Some(message.into()),
            expected: String::new(),
            why: None,
            help: None,
        }
    }

    /// Adds the rule behind it.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Wrong {
        self.why = Some(why.into());
        self
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Wrong {
        self.help = Some(help.into());
        self
    }

    /// The refusal of `value` at a field.
    pub fn at(self, field: FieldRef, value: &Value) -> Refusal {
        let message = self
            .message
            .unwrap_or_else(|| format!("expected {}, found {}", self.expected, kind_of(value)));
        Refusal {
            code: self.code,
            field,
            at_key: false,
            message,
            why: self.why,
            help: self.help,
            related: None,
        }
    }
}

/// Reads a text.
///
/// # Errors
/// If the value is not a text; how to make one of a bare word or number is told.
pub fn text(value: &Value) -> Result<&str, Wrong> {
    value.as_str().ok_or_else(|| {
        let wrong = Wrong::expected("a text");
        match value {
            Value::Bool(_) => wrong
                .why("YAML takes a bare `y`, `yes`, `on`, `true`, `n`, `no`, `off` or `false` for a boolean")
                .help("quote the word, as `\"no\"`"),
            Value::Number(number) => wrong.help(format!("quote it: `\"{number}\"`")),
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => wrong,
        }
    })
}

/// Reads a name or another text of one line.
///
/// # Errors
/// If the value is not a text, or holds characters that are none to be read, as line feeds or those that steer a terminal.
pub fn line(value: &Value) -> Result<&str, Wrong> {
    let line = text(value)?;
    match line.chars().find(|c| c.is_control()) {
        None => Ok(line),
        Some(control) => Err(
            Wrong::rule("K-VALUE", format!("{line:?} holds the control character {control:?}"))
                .why("it is printed on one line, on terminals and in files of other formats")
                .help("write it without"),
        ),
    }
}

/// Reads a boolean.
///
/// # Errors
/// If the value is not a boolean.
pub fn boolean(value: &Value) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| Wrong::expected("true or false"))
}

/// Reads a whole number between two bounds, both included.
///
/// # Errors
/// If the value is not a whole number, or out of range.
pub fn integer(value: &Value, min: u64, max: u64) -> Result<u64, Wrong> {
    value
        .as_u64()
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| Wrong::expected(format!("a whole number from {min} to {max}")))
}

/// Reads one word of a closed list, in its exact spelling. YAML takes a bare `off` for false, which is that word where there is one.
///
/// # Errors
/// If the value is no such word; the nearest one is suggested.
pub fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, Wrong> {
    let names = || words.iter().map(|(name, _)| *name);
    let list = names().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let text = match value.as_bool() {
        Some(false) => names().find(|name| *name == "off"),
        Some(true) | None => value.as_str(),
    };
    let Some(text) = text else {
        return Err(Wrong::expected(format!("one of {list}")));
    };
    words
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, word)| *word)
        .ok_or_else(|| {
            let wrong = Wrong::expected(format!("one of {list}"));
            match suggestion(text, names()) {
                Some(near) => wrong.help(format!("did you mean `{near}`? (the spelling is exact)")),
                None => wrong,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bare_off_is_the_word_where_there_is_one() {
        assert_eq!(word(&json!(false), &[("strict", 1), ("off", 0)]), Ok(0));
        assert!(word(&json!(false), &[("strict", 1)]).is_err());
        assert!(word(&json!(true), &[("strict", 1), ("off", 0)]).is_err());
    }

    #[test]
    fn a_word_in_the_wrong_case_is_refused_with_the_right_spelling() {
        let wrong = word(&json!("crosssubnet"), &[("Never", 0), ("Always", 1), ("CrossSubnet", 2)]).unwrap_err();
        assert!(wrong.help.is_some_and(|help| help.contains("`CrossSubnet`")));
    }
}
