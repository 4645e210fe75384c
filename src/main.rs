//! The `senet` program: see `senet --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    senet::cli::main()
}
