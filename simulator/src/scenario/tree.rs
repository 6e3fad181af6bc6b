//! Changing what was read: a value and the places of its parts, edited together, so that a changed field is found where the
//! change is written.

use serde_json::{Map, Value};

use super::yaml::{Children, Positions, Span};

/// What is put into a tree: a value as it is written somewhere else.
#[derive(Clone, Copy)]
pub(super) struct Patch<'p> {
    /// What it says. A null removes.
    pub(super) value: &'p Value,
    /// Where it says so.
    pub(super) positions: &'p Positions,
    /// The key that it is written under.
    pub(super) key: Span,
}

/// A path led through a value that is no mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoMapping {
    /// The way to that value, with dots.
    pub(super) at: String,
}

/// Puts a patch where a dotted path leads. Mappings merge, all else replaces, null removes; what is missing on the way is made.
///
/// # Errors
/// If the path leads through something that is no mapping.
pub(super) fn put(value: &mut Value, positions: &mut Positions, path: &str, patch: Patch<'_>) -> Result<(), NoMapping> {
    if value.is_null() {
        make_mapping(value, positions, patch.key);
    }
    let Value::Object(map) = value else {
        return Err(NoMapping { at: String::new() });
    };
    let (key, rest) = step(map, path);
    if rest.is_empty() {
        merge_entry(map, positions, key, patch);
        return Ok(());
    }
    let (value, _, positions) = entry(map, positions, key, patch.key);
    put(value, positions, rest, patch).map_err(|NoMapping { at }| NoMapping {
        at: match at.is_empty() {
            true => key.to_owned(),
            false => format!("{key}.{at}"),
        },
    })
}

/// The first key of a path and the rest of it. Names have dots too, so the longest key that is there wins.
fn step<'p>(map: &Map<String, Value>, path: &'p str) -> (&'p str, &'p str) {
    let rest_after = |key: &str| match path.strip_prefix(key)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    };
    let longest = map.keys().filter(|key| rest_after(key).is_some()).max_by_key(|key| key.len());
    match longest {
        Some(key) => (&path[..key.len()], rest_after(key).unwrap_or_default()),
        None => path.split_once('.').unwrap_or((path, "")),
    }
}

fn merge_entry(map: &mut Map<String, Value>, positions: &mut Positions, key: &str, patch: Patch<'_>) {
    if patch.value.is_null() {
        map.shift_remove(key);
        if let Children::Map(entries) = &mut positions.children {
            entries.retain(|(name, ..)| name != key);
        }
        return;
    }
    let (value, at_key, positions) = entry(map, positions, key, patch.key);
    let Value::Object(news) = patch.value else {
        *value = patch.value.clone();
        *positions = patch.positions.clone();
        *at_key = patch.key;
        return;
    };
    if !value.is_object() {
        make_mapping(value, positions, patch.key);
        *at_key = patch.key;
    }
    let Value::Object(map) = value else { return };
    for (name, new) in news {
        let (key, new_positions) = patch.positions.entry(name).unwrap_or((patch.key, patch.positions));
        let patch = Patch {
            value: new,
            positions: new_positions,
            key,
        };
        merge_entry(map, positions, name, patch);
    }
}

fn make_mapping(value: &mut Value, positions: &mut Positions, at: Span) {
    *value = Value::Object(Map::new());
    *positions = Positions {
        span: at,
        children: Children::Map(Vec::new()),
    };
}

/// The entry of a key, made empty if it is not there.
fn entry<'t>(
    map: &'t mut Map<String, Value>,
    positions: &'t mut Positions,
    key: &str,
    at: Span,
) -> (&'t mut Value, &'t mut Span, &'t mut Positions) {
    if !matches!(positions.children, Children::Map(_)) {
        positions.children = Children::Map(Vec::new());
    }
    let Children::Map(entries) = &mut positions.children else {
        unreachable!("it was just made a mapping");
    };
    let place = entries.iter().position(|(name, ..)| name == key).unwrap_or_else(|| {
        entries.push((key.to_owned(), at, Positions::at(at)));
        entries.len() - 1
    });
    let (_, key_span, positions) = &mut entries[place];
    (map.entry(key).or_insert(Value::Null), key_span, positions)
}

/// Adds the items of one list to another.
pub(super) fn append(value: &mut Value, positions: &mut Positions, more: Patch<'_>) {
    let (Value::Array(items), Value::Array(new)) = (&mut *value, more.value) else {
        *value = more.value.clone();
        *positions = more.positions.clone();
        return;
    };
    items.extend(new.iter().cloned());
    if let (Children::Seq(places), Children::Seq(new)) = (&mut positions.children, &more.positions.children) {
        places.extend(new.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn patched(base: &str, path: &str, new: &str) -> Result<Value, NoMapping> {
        let mut base = parse(base).unwrap().remove(0);
        let new = parse(&format!("new: {new}")).unwrap().remove(0);
        let (key, positions) = new.positions.entry("new").unwrap();
        let patch = Patch {
            value: &new.value["new"],
            positions,
            key,
        };
        put(&mut base.value, &mut base.positions, path, patch)?;
        Ok(base.value)
    }

    #[rstest]
    #[case::a_word_replaces("{a: {b: x}}", "a.b", "z", json!({"a": {"b": "z"}}))]
    #[case::what_is_missing_is_made("{a: 1}", "b.c.d", "2", json!({"a": 1, "b": {"c": {"d": 2}}}))]
    #[case::mappings_merge("{a: {b: 1, c: {d: 2}}}", "a", "{c: {e: 3}}", json!({"a": {"b": 1, "c": {"d": 2, "e": 3}}}))]
    #[case::lists_replace("{a: [1, 2]}", "a", "[3]", json!({"a": [3]}))]
    #[case::null_removes("{a: 1, b: 2, c: 3}", "a", "null", json!({"b": 2, "c": 3}))]
    #[case::null_inside_a_mapping_removes("{a: {b: 1, c: 2}}", "a", "{b: null}", json!({"a": {"c": 2}}))]
    #[case::a_mapping_replaces_a_word("{a: x}", "a", "{b: 1}", json!({"a": {"b": 1}}))]
    #[case::names_have_dots("{nodes: {n: {mtu: 1}, n.x: {mtu: 2}}}", "nodes.n.x.mtu", "3", json!({"nodes": {"n": {"mtu": 1}, "n.x": {"mtu": 3}}}))]
    fn a_patch_changes_what_its_path_names(#[case] base: &str, #[case] path: &str, #[case] new: &str, #[case] then: Value) {
        assert_eq!(patched(base, path, new), Ok(then));
    }

    #[test]
    fn a_path_through_a_list_or_a_word_is_refused_where_it_ends() {
        let at = |path| patched("{a: {b: [1], c: x}}", path, "1").unwrap_err().at;
        assert_eq!([at("a.b.0"), at("a.c.d.e")], ["a.b", "a.c"]);
    }
}
