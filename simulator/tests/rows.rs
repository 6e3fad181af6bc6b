//! What claims about tables may ask for is what tables hold: every row of every scenario against the keys and shapes of its kind.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use overlab_simulator::rows::{Keys, Shape, Table, of_everybody, of_node};
use overlab_simulator::run::select;
use overlab_simulator::{scenario, world};
use serde_json::{Map, Value};

/// Holds a row against the keys of its kind, and marks those that it has.
fn check(row: &Map<String, Value>, keys: Keys, path: &str, seen: &mut BTreeSet<String>) {
    for (key, value) in row {
        let path = format!("{path}.{key}");
        let shape = keys.iter().find(|(known, _)| known == key);
        let (_, shape) = shape.unwrap_or_else(|| panic!("{path} is not known"));
        seen.insert(path.clone());
        let single = std::slice::from_ref(value);
        for value in value.as_array().map_or(single, Vec::as_slice) {
            match (shape, value) {
                (_, Value::Null) => {}
                (Shape::Row(keys), Value::Object(row)) => check(row, keys, &path, seen),
                (shape, value) => assert!(fits(value, *shape), "{path}: {value} is no {shape:?}"),
            }
        }
    }
}

fn fits(value: &Value, shape: Shape) -> bool {
    let text = value.as_str().unwrap_or_default();
    let net = || text.parse::<IpNet>();
    match shape {
        Shape::Text => !text.is_empty(),
        Shape::Address => text.parse::<IpAddr>().is_ok(),
        Shape::Net => net().is_ok(),
        Shape::Range => net().is_ok_and(|net| net == net.trunc()),
        Shape::Source => text.parse::<IpAddr>().is_ok() || net().is_ok_and(|net| net.prefix_len() < net.max_prefix_len()),
        Shape::Number => value.is_u64(),
        Shape::Flag => value.is_boolean(),
        Shape::Word(words) => words.contains(&text),
        Shape::Knobs => value.is_object(),
        Shape::Row(_) => false,
    }
}

fn paths(keys: Keys, path: &str, all: &mut BTreeSet<String>) {
    for (key, shape) in keys {
        let path = format!("{path}.{key}");
        if let Shape::Row(keys) = shape {
            paths(keys, &path, all);
        }
        all.insert(path);
    }
}

#[test]
fn every_row_of_every_scenario_has_the_keys_of_its_table_and_no_key_is_without_a_row() {
    let files = select(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")]).files;
    let (mut seen, mut all) = (BTreeSet::new(), BTreeSet::new());
    for (name, table) in Table::ALL {
        paths(table.keys(), name, &mut all);
    }
    for file in &files {
        let loaded = scenario::load(file).unwrap();
        let tables = world::tables(&loaded.model);
        for (name, table) in Table::ALL {
            let of_nodes = tables
                .iter()
                .flat_map(|tables| of_node(table, tables.first(), &loaded.sources));
            for row in of_everybody(table, &loaded.model.underlays, &loaded.model.cluster, &loaded.sources)
                .into_iter()
                .chain(of_nodes)
            {
                check(row.as_object().expect("a row is an object"), table.keys(), name, &mut seen);
            }
        }
    }
    let never: Vec<_> = all.difference(&seen).collect();
    assert_eq!(never, Vec::<&String>::new());
}
