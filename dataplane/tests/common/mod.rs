//! Committed frames, read from `tests/frames`.

use std::path::Path;

/// The bytes of a frame's IP packet: all behind its Ethernet header.
pub(crate) fn packet(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/frames")
        .join(name)
        .with_extension("hex");
    let text = std::fs::read_to_string(&path).expect("the frame is committed");
    let frame: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split_whitespace().skip(1))
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
        .collect();
    frame[14..].to_vec()
}
