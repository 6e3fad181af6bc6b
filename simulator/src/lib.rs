//! The overlab simulator: scenario files in, verdicts out.
//!
//! The data's way, each arrow one function and each stop one type:
//!
//! ```text
//! scenario::file      a file           -> Scenario    as written, every value with its position
//! scenario::resolve   Scenario         -> Model       as meant: defaults, names, units; truth and belief apart
//! topology::build     Model            -> Topology    nodes, subnets, underlay routers
//! fabric              Topology         -> Fabric      carries packets between network cards; takes `now`, asks no clock
//! world               engines + fabric -> World       one state machine: inject, advance, next_deadline
//! ═══ backend::Backend { now, wait, deliver, host } ═══   sim │ netns
//! observe             packets          -> Trace       packet, hop, step, disposition
//! expectations        Trace            -> Verdict
//! run                 Verdict          -> overlab_reports::Report
//! ```

pub mod backend;
pub mod cli;
pub mod cost;
pub mod expectations;
pub mod fabric;
pub mod host;
pub mod import;
pub mod observe;
pub mod random;
pub mod rows;
pub mod run;
pub mod scenario;
pub mod topology;
pub mod workload;
pub mod world;
