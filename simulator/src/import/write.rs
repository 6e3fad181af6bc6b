//! The imported scenario as text. Nothing is decided here.

use std::fmt::Write as _;
use std::net::IpAddr;

use overlab_dataplane::PerFamily;
use serde_json::Value;

use super::objects::Objects;
use super::pods::Pod;
use super::wires::Wires;

/// The scenario's own document; what is sent and expected is text already.
pub(super) fn scenario(name: &str, wires: &Wires, pods: &[Pod], sent: &str) -> String {
    let mut text = String::new();
    let (preset, from) = &wires.preset;
    let _ = write!(
        text,
        "# Imported from dumps of a cluster. The manifests are what Calico believes; the wires are guesses, marked as such.\n\
         apiVersion: overlab.dev/v1alpha1\nkind: Scenario\nmetadata:\n  name: {}\nspec:\n  duration: 2s\n  underlay:\n    main:\n      \
         preset: {}  # guess: {from}; MTU and source checks are the preset's\n",
        scalar(name),
        preset.name()
    );
    let _ = writeln!(
        text,
        "      {}  # guess: around the subnets",
        pair(["cidr", "cidr6"], &wires.cidr).join("\n      ")
    );
    text += "      subnets:\n";
    for (name, subnet) in &wires.subnets {
        let cidrs = pair(["cidr", "cidr6"], &subnet.cidr).join(", ");
        let _ = writeln!(text, "        {name}: {{{cidrs}}}  # guess: {}", subnet.from);
    }
    text += "  nodes:\n";
    for (name, node) in &wires.nodes {
        let mut fields = pair(["ip", "ip6"], &node.address);
        fields.extend(node.kernel.map(|kernel| format!("kernel: \"{kernel}\"")));
        let guess = match node.as_recorded {
            true => "  # guess: Calico's record, where the InternalIP is another card's",
            false => "",
        };
        let _ = writeln!(
            text,
            "    {}: {{subnet: {}, {}}}{guess}",
            scalar(name),
            node.subnet,
            fields.join(", ")
        );
    }
    text += if pods.is_empty() {
        "  workloads: {}\n"
    } else {
        "  workloads:\n"
    };
    for pod in pods {
        let of = |v4| pod.addresses.iter().copied().find(|address: &IpAddr| address.is_ipv4() == v4);
        let addresses = PerFamily {
            v4: of(true),
            v6: of(false),
        };
        let mut fields = vec![format!("node: {}", scalar(&pod.node))];
        fields.extend(pair(["ip", "ip6"], &addresses));
        let made_up = if pod.addresses.is_empty() { "  # made up" } else { "" };
        let _ = writeln!(text, "    {}: {{{}}}{made_up}", scalar(&pod.name), fields.join(", "));
    }
    text + sent
}

/// What is there of a pair of keys: the first one takes either family, the second one IPv6 beside IPv4.
fn pair<T: std::fmt::Display>(keys: [&str; 2], values: &PerFamily<Option<T>>) -> Vec<String> {
    let present = values.iter().flatten().zip(keys);
    present
        .map(|(value, key)| format!("{key}: {:?}", value.to_string()))
        .collect()
}

/// A name as YAML takes it for a text: `"11"` would be a number without its quotes.
pub(super) fn scalar(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let word = text.chars().any(|c| c.is_ascii_alphabetic()) && text.contains(['-', '_']);
    if plain && word { text.to_owned() } else { format!("{text:?}") }
}

/// The manifests, each a document of its own. Those of nodes that are not wired are left out.
pub(super) fn manifests(objects: &Objects, wires: &Wires) -> String {
    let wired = |(kind, name): &(String, String)| kind != "Node" || wires.nodes.contains_key(name);
    let kept = objects.manifests.iter().filter(|(key, _)| wired(key));
    kept.map(|(_, value)| format!("---\n{}", yaml(value))).collect()
}

/// An object as YAML; JSON is YAML too.
fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|_| format!("{value}\n"))
}
