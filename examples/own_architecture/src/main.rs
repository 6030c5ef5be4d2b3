//! The `kiln` command with one more architecture.
//!
//!     cargo run --release -- generate golden --input-ids 89,101,7
//!     cargo run --release -- verify golden --golden golden

mod stablelm;

fn main() -> std::process::ExitCode {
    stablelm::register();
    kiln::cli::main()
}
