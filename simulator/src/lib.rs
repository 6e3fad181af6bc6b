//! The overlab simulator: scenario files in, verdicts out.
//!
//! The data's way, each arrow one function and each stop one type:
//!
//! ```text
//! scenario::file      a file           -> Written     as written, every value with its position
//! scenario::resolve   Written          -> Model       as meant: defaults, names, units; truth and belief apart
//! scenario::rollout   Model            -> TableChange who learns what when: the tables of nodes through the run
//! topology::build     Model            -> Topology    nodes, subnets, underlay routers
//! fabric              Topology         -> Fabric      carries packets between network cards; takes `now`, asks no clock
//! world               engines + fabric -> World       one state machine: inject, advance, next_deadline
//! ═══ backend::Backend { now, wait, deliver, host } ═══   sim │ netns
//! observe             packets          -> Trace       packet, hop, step, disposition
//! expectations        Trace            -> Verdict
//! run                 Verdict          -> overlab_reports::Report
//! ```
//!
//! `host` is the vocabulary of the waist and `workload` the network stacks behind it in virtual time. Beside the line stand
//! `rows` (tables as they are printed and claimed), `import` (dumps made scenarios) and `cost` (what a mode costs); `cli` is how
//! people call all of it.

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
