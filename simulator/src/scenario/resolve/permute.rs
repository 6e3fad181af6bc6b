//! `permute`: the orders in which the objects of the datastore are delivered besides their own.

use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, word};

use super::time::Clock;
use crate::expectations::permuted;
use crate::scenario::model::{Expectation, Order, Subject};

const ORDERS: [(&str, Order); 3] = [
    ("reverse", Order::Reverse),
    ("split", Order::Split),
    ("squash", Order::Squash),
];

/// Reads `permute`: each order, and where it is written.
pub(super) fn read(spec: &mut Fields<'_>, refusals: &mut Vec<Refusal>) -> Vec<(Order, FieldRef)> {
    let Some(value) = spec.value("permute").filter(|value| word(value, &[("off", ())]).is_err()) else {
        return Vec::new();
    };
    if value.as_array().is_none_or(Vec::is_empty) {
        let wrong = Wrong::expected("a list of `reverse`, `split` and `squash`, or `off`");
        refusals.push(wrong.at(spec.field("permute"), value));
        return Vec::new();
    }
    let mut orders: Vec<(Order, FieldRef)> = Vec::new();
    for (field, value) in spec.items("permute", refusals) {
        match word(value, &ORDERS) {
            Ok(order) => match orders.iter().find(|(known, _)| *known == order) {
                Some((_, other)) => refusals.push(
                    Refusal::new("K-DUPLICATE", field, format!("the order {value} is there twice"))
                        .help("remove one")
                        .related(other.clone(), "the other one"),
                ),
                None => orders.push((order, field)),
            },
            Err(wrong) => refusals.push(wrong.at(field, value)),
        }
    }
    orders
}

/// That an order makes the same tables.
pub(super) fn expectation(order: Order, field: FieldRef, clock: &Clock) -> Expectation {
    let name = ORDERS.iter().find(|(_, known)| *known == order);
    Expectation {
        label: "permute".into(),
        subject: Subject::Permuted(order),
        window: clock.whole(),
        claims: name.into_iter().map(|(name, _)| permuted(name, field.clone())).collect(),
        reverse: None,
        field,
    }
}
