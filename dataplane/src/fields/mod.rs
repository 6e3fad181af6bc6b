//! Reading typed values out of a tree of fields, strictly: every refusal names its field, and unknown keys get a suggestion.
//!
//! A resource is read through [`Fields`]; the keys that were asked for are the keys that exist, so the list of known keys can
//! never drift from the code. All refusals of a resource are collected. Positions in files are not known here: a refusal holds
//! an [`Origin`] and a [`FieldPath`], and whoever read the file maps both to line and column.

use serde_json::{Map, Value};

mod path;
mod refusal;
mod wrong;

pub use path::{FieldPath, FieldRef, Origin, Segment};
pub use refusal::{Refusal, suggestion};
pub use wrong::{Wrong, boolean, integer, kind_of, line, text, word};

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
}
