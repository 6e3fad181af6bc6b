//! `permute`: the objects of the datastore in another order make the same tables.

use std::sync::Arc;

use overlab_dataplane::fields::FieldRef;
use serde_json::Value;

use super::{Claim, Expectation, Selection, Verdict};

/// The claim that an order of delivery makes no difference. The rows that it is held against are one a node: its name as `node`, and
/// where its tables differ as `differs`.
pub fn permuted(order: &'static str, field: FieldRef) -> Claim {
    Claim {
        key: order,
        field,
        expectation: Arc::new(SameTables),
    }
}

#[derive(Debug)]
struct SameTables;

impl Expectation for SameTables {
    fn judge(&self, selection: &Selection<'_>) -> Verdict {
        let rows = selection.rows();
        let expected = "the tables that follow from the datastore as a whole";
        if rows.is_empty() {
            return Verdict::never_evaluated(expected, "there is no node");
        }
        let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut differing = rows
            .iter()
            .filter_map(|row| Some((text(row, "node")?, text(row, "differs")?)));
        match differing.next() {
            None => Verdict::Pass {
                actual: format!("{} nodes have the same tables", rows.len()),
            },
            Some((node, differs)) => Verdict::Fail {
                code: "E-PRM-01",
                expected: expected.to_owned(),
                actual: format!(
                    "{} of {} nodes have others; {node}: {differs}",
                    1 + differing.count(),
                    rows.len()
                ),
                packet: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use overlab_dataplane::Instant;
    use serde_json::json;

    use super::*;
    use crate::expectations::{Addresses, Ground};
    use crate::scenario::Window;

    fn judge(rows: Vec<Value>) -> Verdict {
        let ground = Ground {
            flows: &[],
            connections: &crate::observe::Connections::new(),
            addresses: Addresses::default(),
            ranges: false,
        };
        let window = Window {
            label: "all".into(),
            from: Instant::ZERO,
            to: Instant::ZERO,
        };
        SameTables.judge(&Selection::of_rows(&ground, rows, &window))
    }

    #[test]
    fn one_node_with_other_tables_is_enough_to_fail() {
        let same = json!({"node": "n1", "differs": null});
        let other = json!({"node": "n2", "differs": "routes: a row less"});
        assert!(matches!(judge(vec![same.clone()]), Verdict::Pass { .. }));
        assert!(matches!(judge(Vec::new()), Verdict::Fail { code: "E-EXP-02", .. }));
        let Verdict::Fail { code, actual, .. } = judge(vec![same, other]) else {
            panic!("it passes")
        };
        assert_eq!(
            (code, actual.as_str()),
            ("E-PRM-01", "1 of 2 nodes have others; n2: routes: a row less")
        );
    }
}
