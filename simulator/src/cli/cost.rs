//! `overlab cost`: what each mode of the pools would cost a month's traffic, in bytes and money.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use overlab_dataplane::encap::Encap;
use serde_json::{Value, json};

use super::{Exit, refuse};
use crate::cost::{Prices, Row, Sum, rows};
use crate::scenario::{Diagnostic, Model, Traffic, open, traffic};

/// Compares what the modes of the pools cost a month's traffic: bytes on the wire, tunnel headers, and money.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  overlab cost scenario.yaml --traffic month.yaml")]
pub(super) struct Args {
    /// The scenario: its wires, machines and manifests
    path: PathBuf,
    /// Who sends how much to whom in a month: a document of kind Traffic
    #[arg(long, value_name = "FILE")]
    traffic: PathBuf,
    /// What moving data costs, as a document of kind Prices, instead of the list that comes with the program
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// This variant of the scenario
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Print versioned JSON
    #[arg(long)]
    json: bool,
}

/// What is printed.
struct Cost {
    model: Model,
    traffic: Traffic,
    prices: Prices,
    rows: Vec<Row>,
}

/// Runs the verb.
///
/// # Errors
/// If the output cannot be written.
pub(super) fn cost(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    let cost = match reckon(args) {
        Ok(cost) => cost,
        Err(diagnostics) => return Ok(refuse(&diagnostics)),
    };
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&cost.as_json())?)?,
        false => cost.print(out)?,
    }
    Ok(Exit::Pass)
}

fn reckon(args: &Args) -> Result<Cost, Vec<Diagnostic>> {
    let written = open(&[&args.path])?.with_variant(args.variant.as_deref())?.at_rest();
    let model = written.clone().resolve()?.model;
    let traffic = traffic(&args.traffic, &model)?;
    let prices = Prices::open(args.prices.as_deref())?;
    let rows = rows(&written, &model, &traffic, &prices)?;
    Ok(Cost {
        model,
        traffic,
        prices,
        rows,
    })
}

impl Cost {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let (currency, as_of) = (&self.prices.currency, &self.prices.as_of);
        writeln!(
            out,
            "{}  {} in a month, prices as of {as_of}",
            self.model.name, self.traffic.name
        )?;
        writeln!(
            out,
            "  {:<20} {:>16} {:>7} {:>16} {:>16} {:>14} {:>14}",
            "mode", "packets", "tunnel", "wire", "headers", currency, "for headers"
        )?;
        for row in &self.rows {
            line(out, &name(row), &row.all)?;
            for (distance, sum) in &row.distances {
                line(out, &format!("    {}", distance.name()), sum)?;
            }
        }
        for note in self.notes() {
            writeln!(out, "  note  {note}")?;
        }
        Ok(())
    }

    fn as_json(&self) -> Value {
        json!({
            "schema": "overlab.dev/cost/v1",
            "scenario": &*self.model.name,
            "traffic": self.traffic.name,
            "currency": self.prices.currency,
            "pricesAsOf": self.prices.as_of,
            "modes": self.rows.iter().map(row_json).collect::<Vec<_>>(),
            "notes": self.notes(),
        })
    }

    /// What a reader of the figures has to know.
    fn notes(&self) -> Vec<String> {
        let mut notes =
            vec!["`*` is how the pools are; acknowledgements are not counted, nor is it asked whether packets arrive".to_owned()];
        let clouds: BTreeSet<_> = self.model.underlays.iter().map(|underlay| underlay.preset).collect();
        for cloud in &clouds {
            if let Some(source) = self.prices.source(*cloud) {
                notes.push(format!("prices of {}: {source}", cloud.name()));
            }
        }
        let unpriced: BTreeSet<_> = self.rows.iter().flat_map(|row| &row.unpriced).collect();
        for (cloud, distance) in unpriced {
            let (cloud, distance) = (cloud.name(), distance.name());
            notes.push(format!(
                "no price is known of {cloud} for {distance}; `--prices FILE` can give one"
            ));
        }
        if self.rows.iter().any(|row| row.all.unrouted > 0) {
            notes.push("packets without a route cost nothing: see `unrouted` in --json".to_owned());
        }
        if self.crossing_is_what_is_billed() {
            notes.push(
                "CrossSubnet saves no money here: what is billed is what crosses subnets, which it encapsulates too".to_owned(),
            );
        }
        notes
    }

    /// Whether CrossSubnet costs as much as Always although it encapsulates less.
    fn crossing_is_what_is_billed(&self) -> bool {
        self.rows.windows(2).any(|pair| match pair {
            [a, b] => {
                a.encap == b.encap
                    && a.all.cost().is_some_and(|cost| cost > 0)
                    && a.all.cost() == b.all.cost()
                    && a.all.encapsulated < b.all.encapsulated
            }
            _ => false,
        })
    }
}

fn name(row: &Row) -> String {
    let mark = if row.present { '*' } else { ' ' };
    match row.encap {
        Encap::None => format!("{mark} {}", row.mode),
        Encap::Ipip | Encap::Vxlan => format!("{mark} {} {}", row.encap, row.mode),
    }
}

fn line(out: &mut dyn Write, name: &str, sum: &Sum) -> io::Result<()> {
    let money = |nano: Option<u128>| nano.map_or_else(|| "-".to_owned(), |nano| thousandths(nano, 1_000_000_000));
    writeln!(
        out,
        "  {name:<20} {:>16} {:>7} {:>16} {:>16} {:>14} {:>14}",
        sum.packets,
        share(sum),
        format!("{} GB", thousandths(sum.wire_bytes, 1_000_000_000)),
        format!("{} GB", thousandths(sum.tunnel_bytes, 1_000_000_000)),
        money(sum.cost()),
        money(sum.tunnel_cost()),
    )
}

/// The share of packets in a tunnel, in tenths of a percent.
fn share(sum: &Sum) -> String {
    if sum.packets == 0 {
        return "-".to_owned();
    }
    let permille = (u128::from(sum.encapsulated) * 1000 + u128::from(sum.packets) / 2) / u128::from(sum.packets);
    format!("{}.{} %", permille / 10, permille % 10)
}

/// A number of units with three decimals, rounded.
fn thousandths(number: u128, unit: u128) -> String {
    let thousandths = (number * 1000 + unit / 2) / unit;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

fn row_json(row: &Row) -> Value {
    let mut json = sum_json(&row.all);
    json["encapsulation"] = row.encap.to_string().into();
    json["mode"] = row.mode.to_string().into();
    json["present"] = row.present.into();
    let distances = row
        .distances
        .iter()
        .map(|(distance, sum)| (distance.name().to_owned(), sum_json(sum)));
    json["distances"] = Value::Object(distances.collect());
    json
}

/// Sums are written as numbers: a month's bytes and cost are far below 2^64.
fn sum_json(sum: &Sum) -> Value {
    let number = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    json!({
        "packets": sum.packets,
        "encapsulatedPackets": sum.encapsulated,
        "unroutedPackets": sum.unrouted,
        "wireBytes": number(sum.wire_bytes),
        "tunnelBytes": number(sum.tunnel_bytes),
        "nanoCost": sum.cost().map(number),
        "nanoTunnelCost": sum.tunnel_cost().map(number),
    })
}
