//! Values as the reader hands them over, each with its place, keys that are there twice among them.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use super::{Children, Positions, Problem, Span};

/// A value with the places of what is in it.
pub(super) struct Tree {
    pub(super) value: Value,
    pub(super) children: Children,
    /// Duplicate keys in it, one a mapping.
    pub(super) duplicate: Vec<Duplicate>,
}

pub(super) struct Duplicate {
    key: String,
    first: Span,
    second: Span,
}

impl Duplicate {
    pub(super) fn problem(self) -> Problem {
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

pub(super) fn span_of<T>(spanned: &Spanned<T>) -> Span {
    span(&spanned.defined)
        .or_else(|| span(&spanned.referenced))
        .unwrap_or_default()
}

pub(super) fn span(location: &Location) -> Option<Span> {
    let start = u32::try_from(location.span().byte_offset()?).ok()?;
    let length = u32::try_from(location.span().byte_len()?).ok()?;
    Some(Span {
        start,
        end: start.saturating_add(length),
    })
}
