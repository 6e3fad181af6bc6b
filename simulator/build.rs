//! One test a scenario file: the list of files is part of the test binary, so a new or removed file must rebuild it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../scenarios");
}
