//! Reading typed values out of a tree of fields, strictly: every refusal names its field, and unknown keys get a suggestion.
//!
//! A resource is read through [`Fields`]; the keys that were asked for are the keys that exist, so the list of known keys can
//! never drift from the code. All refusals of a resource are collected. Positions in files are not known here: a refusal holds
//! an [`Origin`] and a [`FieldPath`], and whoever read the file maps both to line and column.

use std::fmt;

use serde_json::{Map, Value};

/// An opaque handle for the document that a value came from, given out by whoever read the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u32);

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of a mapping.
    Key(String),
    /// A place in a sequence, from 0.
    Index(usize),
}

/// The way from a document's root to one of its fields, printed as `spec.ipipMode` or `spec.expect[2].encap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(pub Vec<Segment>);

impl FieldPath {
    /// The document's root.
    pub fn root() -> FieldPath {
        FieldPath::default()
    }

    /// This path, one key deeper.
    pub fn key(&self, key: &str) -> FieldPath {
        let mut path = self.clone();
        path.0.push(Segment::Key(key.to_owned()));
        path
    }

    /// This path, at one place of a sequence.
    pub fn index(&self, index: usize) -> FieldPath {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }

    /// A path of keys written with dots, as `spec.cidr`.
    pub fn dotted(text: &str) -> FieldPath {
        FieldPath(text.split('.').map(|key| Segment::Key(key.to_owned())).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if i == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A field of a document: where a value, a refusal or a decision comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldRef {
    /// The document.
    pub origin: Origin,
    /// The field in it.
    pub path: FieldPath,
}

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

/// A reader over the keys of one mapping.
pub struct Fields<'v> {
    map: Option<&'v Map<String, Value>>,
    /// The value is no mapping and was refused for that; nothing in it is missed as well.
    refused: bool,
    at: FieldRef,
    /// The keys that are known, each once.
    asked: Vec<&'static str>,
    /// Those that nobody is told to write, since they are refused.
    withheld: Vec<&'static str>,
}

impl<'v> Fields<'v> {
    /// Reads a mapping; any other value but null is refused. A null is an empty mapping, as in Kubernetes.
    pub fn new(value: &'v Value, at: FieldRef, refusals: &mut Vec<Refusal>) -> Fields<'v> {
        let map = value.as_object();
        let refused = map.is_none() && !value.is_null();
        if refused {
            refusals.push(wrong_type(&at, "a mapping", value));
        }
        Fields {
            map,
            refused,
            at,
            asked: Vec::new(),
            withheld: Vec::new(),
        }
    }

    /// Where this mapping is.
    pub fn at(&self) -> &FieldRef {
        &self.at
    }

    /// Where a key of this mapping is, or would be.
    pub fn field(&self, key: &str) -> FieldRef {
        FieldRef {
            origin: self.at.origin,
            path: self.at.path.key(key),
        }
    }

    /// A key's value; none if absent or null. Asking makes the key a known one.
    pub fn value(&mut self, key: &'static str) -> Option<&'v Value> {
        self.know(key);
        self.map?.get(key).filter(|value| !value.is_null())
    }

    /// Makes keys known that are tolerated and not read.
    pub fn ignore(&mut self, keys: &[&'static str]) {
        keys.iter().for_each(|key| self.know(key));
    }

    /// Keeps keys from being offered to those who wrote an unknown one: whoever wrote these would be refused too.
    pub fn withhold(&mut self, keys: &[&'static str]) {
        self.withheld.extend_from_slice(keys);
    }

    fn know(&mut self, key: &'static str) {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
    }

    /// A key's value read by `read`, which says in its error what would be right. A refusal is recorded, and the value is
    /// then none.
    pub fn parse<T>(
        &mut self,
        key: &'static str,
        refusals: &mut Vec<Refusal>,
        read: impl FnOnce(&'v Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        let value = self.value(key)?;
        match read(value) {
            Ok(read) => Some(read),
            Err(wrong) => {
                refusals.push(wrong.at(self.field(key), value));
                None
            }
        }
    }

    /// As [`Fields::parse`], for a key that must be there.
    pub fn require<T>(
        &mut self,
        key: &'static str,
        refusals: &mut Vec<Refusal>,
        read: impl FnOnce(&'v Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.refused && self.map.and_then(|map| map.get(key)).is_none_or(Value::is_null) {
            self.know(key);
            refusals.push(
                Refusal::new("K-MISSING", self.at.clone(), format!("`{key}` is missing"))
                    .help(format!("add `{key}:` to {}", place_name(&self.at.path))),
            );
            return None;
        }
        self.parse(key, refusals, read)
    }

    /// A mapping inside this one; absent and null read as empty.
    pub fn fields(&mut self, key: &'static str, refusals: &mut Vec<Refusal>) -> Fields<'v> {
        let at = self.field(key);
        match self.value(key) {
            Some(value) => Fields::new(value, at, refusals),
            None => Fields {
                map: None,
                refused: self.refused,
                at,
                asked: Vec::new(),
                withheld: Vec::new(),
            },
        }
    }

    /// The entries of a sequence with their places; a value that is no sequence is refused.
    pub fn items(&mut self, key: &'static str, refusals: &mut Vec<Refusal>) -> Vec<(FieldRef, &'v Value)> {
        let at = self.field(key);
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(i, item)| {
                    (
                        FieldRef {
                            origin: at.origin,
                            path: at.path.index(i),
                        },
                        item,
                    )
                })
                .collect(),
            Some(other) => {
                refusals.push(wrong_type(&at, "a list", other));
                Vec::new()
            }
        }
    }

    /// The entries of a mapping whose keys are names, in file order.
    pub fn entries(&mut self, key: &'static str, refusals: &mut Vec<Refusal>) -> Vec<(&'v str, FieldRef, &'v Value)> {
        let at = self.field(key);
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(name, value)| {
                    (
                        name.as_str(),
                        FieldRef {
                            origin: at.origin,
                            path: at.path.key(name),
                        },
                        value,
                    )
                })
                .collect(),
            Some(other) => {
                refusals.push(wrong_type(&at, "a mapping from name to settings", other));
                Vec::new()
            }
        }
    }

    /// Ends the reading: every key that nobody asked for is refused, with the nearest known one.
    pub fn finish(self, refusals: &mut Vec<Refusal>) {
        let Some(map) = self.map else { return };
        let offered = self.asked.iter().copied().filter(|key| !self.withheld.contains(key));
        let offered: Vec<&str> = offered.collect();
        for key in map.keys().filter(|key| !self.asked.contains(&key.as_str())) {
            let field = self.field(key);
            let mut refusal = Refusal::new(
                "K-UNKNOWN",
                field,
                format!("unknown key `{key}` in {}", place_name(&self.at.path)),
            )
            .why("a key that nobody reads would silently have no effect")
            .at_key();
            refusal = match suggestion(key, offered.iter().copied()) {
                Some(near) => refusal.help(format!("did you mean `{near}`?")),
                None => refusal.help(format!("known keys are {}", offered.join(", "))),
            };
            refusals.push(refusal);
        }
    }
}

fn place_name(path: &FieldPath) -> String {
    if path.0.is_empty() {
        "the document".to_owned()
    } else {
        format!("`{path}`")
    }
}

fn wrong_type(at: &FieldRef, expected: &str, value: &Value) -> Refusal {
    Refusal::new("K-TYPE", at.clone(), format!("expected {expected}, found {}", kind_of(value)))
}

/// What a value is, for messages: `the text "x"`, `the number 3`, `a list`.
pub fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the text {s:?}"),
        Value::Array(_) => "a list".to_owned(),
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
/// If the value is not a text.
pub fn text(value: &Value) -> Result<&str, Wrong> {
    value.as_str().ok_or_else(|| Wrong::expected("a text"))
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

/// Reads one word of a closed list, in its exact spelling.
///
/// # Errors
/// If the value is no such word; the nearest one is suggested.
pub fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, Wrong> {
    let names = || words.iter().map(|(name, _)| *name);
    let list = names().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let Some(text) = value.as_str() else {
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
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let value = json!({"cidr": "10.0.0.0/8", "ipipMod": "Always"});
        let mut refusals = Vec::new();
        let mut fields = Fields::new(&value, FieldRef::default(), &mut refusals);
        fields.require("cidr", &mut refusals, text);
        fields.parse("ipipMode", &mut refusals, text);
        fields.finish(&mut refusals);
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].field.path.to_string(), "ipipMod");
        assert_eq!(refusals[0].help.as_deref(), Some("did you mean `ipipMode`?"));
    }

    #[test]
    fn known_keys_are_told_once_each_and_those_that_are_refused_anyhow_are_not() {
        let value = json!({"cidr": "10.0.0.0/8", "colour": "red", "wireguar": true});
        let mut refusals = Vec::new();
        let mut fields = Fields::new(&value, FieldRef::default(), &mut refusals);
        assert!(fields.value("cidr").is_some());
        fields.require("cidr", &mut refusals, text);
        fields.ignore(&["kind", "cidr"]);
        fields.withhold(&["wireguard"]);
        assert!(fields.value("wireguard").is_none());
        fields.finish(&mut refusals);
        let help: Vec<_> = refusals.iter().filter_map(|refusal| refusal.help.as_deref()).collect();
        assert_eq!(help, ["known keys are cidr, kind"; 2]);
    }

    #[test]
    fn a_key_that_must_be_there_is_missed_in_an_empty_mapping_and_in_an_absent_one() {
        let mut refusals = Vec::new();
        for value in [json!(null), json!({}), json!({"spec": null})] {
            let mut fields = Fields::new(&value, FieldRef::default(), &mut refusals);
            fields.fields("spec", &mut refusals).require("cidr", &mut refusals, text);
        }
        assert_eq!(refusals.iter().map(|r| r.code).collect::<Vec<_>>(), ["K-MISSING"; 3]);
        let wrong = json!("text");
        Fields::new(&wrong, FieldRef::default(), &mut refusals).require("cidr", &mut refusals, text);
        assert_eq!(refusals.last().map(|r| r.code), Some("K-TYPE"));
    }

    #[test]
    fn all_refusals_of_a_mapping_are_collected() {
        let value = json!({"a": 1, "b": "x", "c": true});
        let mut refusals = Vec::new();
        let mut fields = Fields::new(&value, FieldRef::default(), &mut refusals);
        fields.parse("a", &mut refusals, text);
        fields.parse("b", &mut refusals, |v| integer(v, 1, 9));
        fields.require("d", &mut refusals, boolean);
        fields.finish(&mut refusals);
        assert_eq!(
            refusals.iter().map(|r| r.code).collect::<Vec<_>>(),
            ["K-VALUE", "K-VALUE", "K-MISSING", "K-UNKNOWN"]
        );
    }

    #[test]
    fn a_word_in_the_wrong_case_is_refused_with_the_right_spelling() {
        let wrong = word(&json!("crosssubnet"), &[("Never", 0), ("Always", 1), ("CrossSubnet", 2)]).unwrap_err();
        assert!(wrong.help.is_some_and(|help| help.contains("`CrossSubnet`")));
    }
}
