//! A scenario with other modes: every pool's encapsulation set to one and the same, before anything is resolved. What that leads
//! to is for the tables to say.

use overlab_dataplane::encap::Encap;
use overlab_dataplane::fields::Refusal;
use overlab_dataplane::route::Mode;
use serde_json::{Map, Value};

use super::diagnostic::Diagnostic;
use super::file::{Document, Written};

/// What a scenario says beside its wires, machines and manifests.
const OF_A_RUN: [&str; 8] = [
    "flows", "expect", "phases", "timeline", "variants", "permute", "lints", "allow",
];

impl Written {
    /// The scenario's wires, machines and manifests alone: nothing is sent, changed or expected.
    #[must_use]
    pub fn at_rest(mut self) -> Written {
        self.at_rest = true;
        let spec = self
            .scenario
            .as_mut()
            .and_then(|document| document.value.get_mut("spec")?.as_object_mut());
        if let Some(spec) = spec {
            spec.retain(|key, _| !OF_A_RUN.contains(&key.as_str()));
        }
        self
    }

    /// The scenario with every pool in this encapsulation and mode. IPv6 knows no IP in IP: its pools are bare then.
    ///
    /// # Errors
    /// If no manifest declares a pool.
    pub fn with_mode(mut self, encap: Encap, mode: Mode) -> Result<Written, Vec<Diagnostic>> {
        let mut pools = 0;
        for Document { value, .. } in &mut self.manifests {
            match value.get_mut("items").and_then(Value::as_array_mut) {
                Some(items) => items.iter_mut().for_each(|item| pools += set_modes(item, encap, mode)),
                None => pools += set_modes(value, encap, mode),
            }
        }
        if pools == 0 {
            let refusal = Refusal::new("E-POOL", self.root(), "no manifest declares a pool")
                .why("modes are fields of pools, and those of an IPPool or an Installation can be compared")
                .help("add an IPPool manifest");
            return Err(self.sources.diagnostics(&[refusal]));
        }
        Ok(self)
    }
}

/// Sets the modes of the pools that an object declares; gives their number.
fn set_modes(object: &mut Value, encap: Encap, mode: Mode) -> usize {
    let is_pool = object.get("kind").and_then(Value::as_str) == Some("IPPool");
    let spec = object.get_mut("spec");
    if is_pool {
        return spec
            .and_then(Value::as_object_mut)
            .map_or(0, |spec| set_pool(spec, encap, mode));
    }
    let pools = spec.and_then(|spec| spec.get_mut("calicoNetwork")?.get_mut("ipPools")?.as_array_mut());
    let pools = pools.into_iter().flatten().filter_map(Value::as_object_mut);
    pools.map(|pool| set_installed(pool, encap, mode)).sum()
}

fn is_v6(pool: &Map<String, Value>) -> bool {
    pool.get("cidr")
        .and_then(Value::as_str)
        .is_some_and(|cidr| cidr.contains(':'))
}

fn set_pool(pool: &mut Map<String, Value>, encap: Encap, mode: Mode) -> usize {
    let of = |this: Encap| if encap == this { mode } else { Mode::Never };
    let ipip = if is_v6(pool) { Mode::Never } else { of(Encap::Ipip) };
    pool.insert("ipipMode".to_owned(), ipip.to_string().into());
    pool.insert("vxlanMode".to_owned(), of(Encap::Vxlan).to_string().into());
    1
}

/// Source: tigera/operator, api/v1/installation_types.go, EncapsulationType.
fn set_installed(pool: &mut Map<String, Value>, encap: Encap, mode: Mode) -> usize {
    let encapsulation = match (encap, mode) {
        (Encap::None, _) | (_, Mode::Never) => "None",
        (Encap::Ipip, _) if is_v6(pool) => "None",
        (Encap::Ipip, Mode::Always) => "IPIP",
        (Encap::Ipip, Mode::CrossSubnet) => "IPIPCrossSubnet",
        (Encap::Vxlan, Mode::Always) => "VXLAN",
        (Encap::Vxlan, Mode::CrossSubnet) => "VXLANCrossSubnet",
    };
    pool.insert("encapsulation".to_owned(), encapsulation.into());
    1
}
