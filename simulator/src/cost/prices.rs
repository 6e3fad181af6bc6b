//! What moving data costs, as dated data. What bytes are moved is not asked here.

use std::collections::BTreeMap;
use std::path::Path;

use overlab_dataplane::fields::{FieldRef, Fields, Refusal, Wrong, integer, suggestion, text};
use serde_json::Value;

use crate::fabric::Preset;
use crate::scenario::{Diagnostic, open_other, other};

/// How far apart two machines are, as clouds bill it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// In one zone.
    SameZone,
    /// In two zones of one region.
    CrossZone,
    /// In two regions.
    CrossRegion,
}

impl Distance {
    /// Every distance with its name.
    pub const ALL: [(&str, Distance); 3] = [
        ("same-zone", Distance::SameZone),
        ("cross-zone", Distance::CrossZone),
        ("cross-region", Distance::CrossRegion),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let named = Distance::ALL.iter().find(|(_, distance)| *distance == self);
        named.map_or("", |(name, _)| name)
    }
}

/// What 10^9 B cost, in billionths of the currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// To the one who sends them.
    pub sender: u64,
    /// To the one who receives them.
    pub receiver: u64,
}

/// A list of prices.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// `USD`.
    pub currency: String,
    /// The year or day that they are of.
    pub as_of: String,
    clouds: BTreeMap<Preset, Cloud>,
}

#[derive(Clone, Debug, Default)]
struct Cloud {
    source: String,
    prices: BTreeMap<Distance, Price>,
}

/// The highest price that is read: a thousand for 10^9 B.
const NANO_MAX: u64 = 1_000_000_000_000;

/// The list that comes with the program.
const LISTED: &str = include_str!("prices.yaml");

impl Prices {
    /// The prices of a file, or those that come with the program.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn open(path: Option<&Path>) -> Result<Prices, Vec<Diagnostic>> {
        let (sources, document) = match path {
            Some(path) => open_other(path, "Prices")?,
            None => other("prices.yaml", LISTED.to_owned(), "Prices")?,
        };
        let mut refusals = Vec::new();
        let at = FieldRef {
            origin: document.origin,
            ..FieldRef::default()
        };
        let prices = read(Fields::new(&document.value, at, &mut refusals), &mut refusals);
        match refusals.is_empty() {
            true => Ok(prices),
            false => Err(sources.diagnostics(&refusals)),
        }
    }

    /// What a cloud bills for a distance; none if it is not known.
    pub fn price(&self, cloud: Preset, distance: Distance) -> Option<Price> {
        self.clouds.get(&cloud)?.prices.get(&distance).copied()
    }

    /// Who says so of a cloud.
    pub fn source(&self, cloud: Preset) -> Option<&str> {
        Some(&self.clouds.get(&cloud)?.source)
    }
}

fn read(mut root: Fields<'_>, refusals: &mut Vec<Refusal>) -> Prices {
    root.ignore(&["apiVersion", "kind"]);
    let mut metadata = root.fields("metadata", refusals);
    metadata.require("name", refusals, text);
    metadata.finish(refusals);
    let mut spec = root.fields("spec", refusals);
    let currency = spec.require("currency", refusals, text).unwrap_or_default().to_owned();
    let as_of = spec.require("asOf", refusals, text).unwrap_or_default().to_owned();
    let mut clouds = BTreeMap::new();
    for (name, field, value) in spec.entries("clouds", refusals) {
        let Some(preset) = known(name, Preset::ALL, "preset", &field, refusals) else {
            continue;
        };
        clouds.insert(preset, cloud(Fields::new(value, field, refusals), refusals));
    }
    spec.finish(refusals);
    root.finish(refusals);
    Prices { currency, as_of, clouds }
}

fn cloud(mut fields: Fields<'_>, refusals: &mut Vec<Refusal>) -> Cloud {
    let source = fields.require("source", refusals, text).unwrap_or_default().to_owned();
    let mut prices = BTreeMap::new();
    for (name, field, value) in fields.entries("nanoPerGB", refusals) {
        let Some(distance) = known(name, &Distance::ALL, "distance", &field, refusals) else {
            continue;
        };
        let mut price = Fields::new(value, field, refusals);
        let sender = price.require("sender", refusals, nano).unwrap_or_default();
        let receiver = price.require("receiver", refusals, nano).unwrap_or_default();
        price.finish(refusals);
        prices.insert(distance, Price { sender, receiver });
    }
    fields.finish(refusals);
    Cloud { source, prices }
}

fn nano(value: &Value) -> Result<u64, Wrong> {
    integer(value, 0, NANO_MAX).map_err(|wrong| {
        wrong
            .why("prices are billionths of the currency for 10^9 B, so that sums are exact")
            .help("0.01 for 10^9 B is 10000000")
    })
}

fn known<T: Copy>(name: &str, words: &[(&str, T)], kind: &str, field: &FieldRef, refusals: &mut Vec<Refusal>) -> Option<T> {
    let found = words.iter().find(|(word, _)| *word == name).map(|(_, thing)| *thing);
    if found.is_none() {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let refusal = Refusal::new("K-VALUE", field.clone(), format!("unknown {kind} {name:?}")).at_key();
        refusals.push(match suggestion(name, names.iter().copied()) {
            Some(near) => refusal.help(format!("did you mean `{near}`?")),
            None => refusal.help(format!("there are {}", names.join(", "))),
        });
    }
    found
}
