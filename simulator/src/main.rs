//! The `overlab` command.

fn main() -> std::process::ExitCode {
    overlab_simulator::cli::main()
}
