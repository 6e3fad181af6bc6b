//! What a run found, as plain data. Times are nanoseconds since the start of the run, sizes are bytes of IP, and nothing depends on
//! the hour or the machine: the same run gives the same report.
//!
//! Not here: how it is shown, and how a verdict was reached. Fields appear in JSON in the order in which they stand here.

mod expectation;
mod packet;
mod report;
mod scenario;

pub use expectation::{Advice, ExpectationReport};
pub use packet::{DispositionReport, HopReport, PacketReport, WireReport};
pub use report::{Case, Report, SCHEMA, Status, Summary};
pub use scenario::{
    FateReport, FirstDrop, FlowRow, GoldenReport, GoldenStatus, Problem, ScenarioReport, TableChangeReport, TableReport,
};
