//! The worker process on its own: what binaries without a `main` of ours (test harnesses) start to compile kernels.

fn main() {
    if !kiln_codegen::maybe_run_worker() {
        eprintln!("kiln-emit compiles kernels for kiln; it is started by it, not by hand");
        std::process::exit(2);
    }
}
