//! What each change of a machine's tables took away, brought and altered, in the words of the tables.

use std::collections::BTreeMap;

use overlab_dataplane::Family;
use overlab_dataplane::route::{NodeTables, VxlanTunnel};
use overlab_reports::TableChangeReport;

use super::Run;
use crate::scenario::Model;

/// The changes of tables that a model has, in their order.
pub(super) fn changes(model: &Model, run: &Run) -> Vec<TableChangeReport> {
    let mut current: Vec<_> = run.tables.iter().map(|tables| tables.first()).collect();
    let change = model.table_changes.iter().filter_map(|change| {
        let current = current.get_mut(change.machine)?;
        let (before, after) = (entries(current), entries(&change.tables));
        *current = &change.tables;
        let only = |some: &BTreeMap<String, String>, others: &BTreeMap<String, String>| -> Vec<String> {
            some.keys().filter(|name| !others.contains_key(*name)).cloned().collect()
        };
        let altered = after
            .iter()
            .filter(|(name, entry)| before.get(*name).is_some_and(|earlier| earlier != *entry));
        Some(TableChangeReport {
            at_ns: change.at.as_nanos(),
            node: change.tables.node.to_string(),
            cause: change.cause.to_string(),
            removed: only(&before, &after),
            added: only(&after, &before),
            altered: altered.map(|(name, _)| name.clone()).collect(),
        })
    });
    change.collect()
}

/// All that tables hold, each entry by a name that it keeps as long as it is the same kind of thing.
fn entries(tables: &NodeTables) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    for route in tables.routes() {
        entries.insert(
            format!("{} {}", route.destination, route.kind),
            tables.text(route).to_string(),
        );
    }
    for device in &tables.devices {
        let name = device.workload.as_ref().unwrap_or(&device.name);
        entries.insert(format!("device {name}"), format!("{device:?}"));
    }
    if let Some(ipip) = &tables.ipip {
        entries.insert("allow ipip".to_owned(), ipip.allowed.to_string());
    }
    for family in Family::ALL {
        for vtep in tables.vxlan.get(family).iter().flat_map(VxlanTunnel::remotes) {
            entries.insert(format!("vtep {} of {}", vtep.address, vtep.node), format!("{vtep:?}"));
        }
        if let Some(allowed) = tables.vxlan_allowed.get(family) {
            entries.insert(format!("allow vxlan {family}"), allowed.to_string());
        }
        let nat = tables.nat.get(family);
        if !nat.masquerade.is_empty() {
            entries.insert(format!("nat {family}"), format!("{nat:?}"));
        }
    }
    entries
}
