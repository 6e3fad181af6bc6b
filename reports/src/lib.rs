//! The report of a run: plain, versioned data, and the ways to show it.
//!
//! ```text
//! model     Report -> ScenarioReport -> ExpectationReport -> PacketReport -> HopReport     plain data, no logic but counting
//! render    a Report as text, JSON or JUnit: trait Renderer and one list
//! golden    a ScenarioReport as the canonical text that is kept under golden/
//! layout    columns and seconds, shared by the two above
//! ```
//!
//! What is not here: any type of the simulator or the dataplane, any judgement, and any clock. A report holds words and integers that its
//! maker chose, so that a rename inside the simulator changes no golden.
#![forbid(unsafe_code)]

mod golden;
mod layout;
mod model;
pub mod render;

pub use golden::golden;
pub use model::*;
