//! Reports made by hand, rendered.

mod golden;
mod made;
mod render;
