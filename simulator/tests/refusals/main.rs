//! Bad input: each is refused with its place, its text, why, and what would be right.

mod documented;
mod expectations;
mod families;
mod files;
mod gateways;
mod idle;
mod manifests;
mod time;
mod traffic;
mod values;
mod variants;
mod whole;
mod wires;

use std::fmt::Write as _;
use std::path::PathBuf;

use overlab_simulator::scenario::{Diagnostic, load};

/// A scenario that resolves, to be broken in one place.
pub(crate) const GOOD: &str = "\
apiVersion: overlab.dev/v1alpha1
kind: Scenario
metadata: {name: good}
spec:
  underlay:
    main:
      preset: aws
      cidr: 10.20.0.0/16
      subnets:
        az-a: {cidr: 10.20.1.0/24}
        az-b: {cidr: 10.20.2.0/24}
  nodes:
    a1: {subnet: az-a, ip: 10.20.1.11}
    a2: {subnet: az-a, ip: 10.20.1.12}
    b1: {subnet: az-b, ip: 10.20.2.11}
  workloads:
    web-a1: {node: a1, ip: 192.168.10.2}
    web-b1: {node: b1, ip: 192.168.30.2}
  flows:
    az: {from: web-a1, to: web-b1, proto: udp, dport: 5000, rate: 100/s}
  phases:
    early: [0s, 500ms]
  expect:
    - {flow: az, during: early, delivered: all, encap: ipip}
    - matrix: all
      classes:
        cross-subnet: {delivered: all}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 192.168.0.0/16, ipipMode: CrossSubnet}
";

pub(crate) struct Folder(pub(crate) tempfile::TempDir);

impl Folder {
    pub(crate) fn with(text: impl AsRef<[u8]>) -> (Folder, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yaml");
        std::fs::write(&path, text).unwrap();
        (Folder(folder), path)
    }
}

fn refused(text: impl AsRef<[u8]>) -> (Folder, Vec<Diagnostic>) {
    let (folder, path) = Folder::with(text);
    (folder, load(&path).expect_err("the scenario is refused"))
}

/// Every diagnostic as the command line shows it, without the folder's name.
pub(crate) fn rendered(text: impl AsRef<[u8]>) -> String {
    let (folder, diagnostics) = refused(text);
    lines(&folder, &diagnostics)
}

fn lines(folder: &Folder, diagnostics: &[Diagnostic]) -> String {
    let folder = format!("{}/", folder.0.path().display());
    diagnostics.iter().fold(String::new(), |mut all, diagnostic| {
        write!(all, "{}", diagnostic.render(false).replace(&folder, "")).unwrap();
        all
    })
}

pub(crate) const OVERLAPPING: &str = "192.168.0.0/16, ipipMode: CrossSubnet}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: other}
spec: {cidr: 192.168.128.0/17, vxlanMode: Always}
";

pub(crate) const UNWIRED: &str = "192.168.0.0/16, ipipMode: CrossSubnet}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: a3}
spec: {bgp: {ipv4Address: 10.20.1.13/24}}
";

pub(crate) fn broken(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} is there once");
    GOOD.replace(from, to)
}
