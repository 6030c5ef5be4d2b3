//! Compilation in child processes: LLVM ends the process where it meets something that the target lacks, and two threads of one
//! process do not compile faster than one.
//!
//! A worker is any executable whose `main` begins with [`maybe_run_worker`], started with [`WORKER_ENV`] set. It reads a JSON
//! [`Batch`] from stdin and writes one frame per kernel: a status byte (0 object, 1 error text), a little-endian u64 length, bytes.

use super::{CompiledKernel, CpuTarget, emit, scratch, symbol};
use crate::CodegenError;
use kiln_core::{CpuSpec, KernelSpec};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Set for worker processes.
pub const WORKER_ENV: &str = "KILN_EMIT_WORKER";

/// What one line of a worker's input asks for.
#[derive(Serialize, Deserialize)]
struct Batch {
    target: CpuSpec,
    kernels: Vec<(usize, KernelSpec)>,
}

/// Runs as a compile worker if this process was started as one, and says whether it was. Call it first in `main`, before any
/// thread is started, and return when it gives `true`.
pub fn maybe_run_worker() -> bool {
    if !is_worker() {
        return false;
    }
    if let Err(e) = serve() {
        eprintln!("{e}");
        std::process::exit(1);
    }
    true
}

/// Whether this process was started to be a worker.
pub(crate) fn is_worker() -> bool {
    std::env::var_os(WORKER_ENV).is_some()
}

fn serve() -> io::Result<()> {
    let mut out = io::stdout().lock();
    // One batch a line, until the input ends.
    for line in io::stdin().lines() {
        let batch: Batch = serde_json::from_str(&line?).map_err(io::Error::other)?;
        let cpu = CpuTarget::new(&batch.target);
        for (index, spec) in &batch.kernels {
            let result = match &cpu {
                Ok(cpu) => emit::compile(spec, &symbol(*index, spec), cpu).map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            };
            let (status, bytes) = match &result {
                Ok(kernel) => (0u8, kernel.object.as_slice()),
                Err(text) => (1u8, text.as_bytes()),
            };
            out.write_all(&[status])?;
            out.write_all(&(bytes.len() as u64).to_le_bytes())?;
            out.write_all(bytes)?;
            out.flush()?;
        }
    }
    Ok(())
}

struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it writes to stderr; a file, which never fills up as a pipe does.
    log: File,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(exe: &Path) -> Result<Running, CodegenError> {
    let log = scratch::file()?;
    let stderr = log.try_clone().map_err(|e| CodegenError::Worker(format!("a scratch file: {e}")))?;
    let mut child = Command::new(exe)
        .env(WORKER_ENV, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(|e| CodegenError::Worker(format!("cannot start {}: {e}", exe.display())))?;
    let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
    Ok(Running { child, out, log })
}

fn read_frame(out: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let (mut status, mut len) = ([0u8], [0u8; 8]);
    out.read_exact(&mut status)?;
    out.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    if len > 1 << 30 {
        return Err(io::Error::other(format!("a frame of {len} bytes")));
    }
    let mut bytes = vec![0; len as usize];
    out.read_exact(&mut bytes)?;
    Ok((status[0], bytes))
}

/// Compiles with up to `jobs` workers (0: one per core), which take the next kernel whenever they are free.
pub(crate) fn compile(
    specs: &[KernelSpec],
    target: &CpuSpec,
    exe: &Path,
    jobs: usize,
) -> Result<Vec<CompiledKernel>, CodegenError> {
    if specs.is_empty() {
        return Ok(vec![]);
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let jobs = if jobs == 0 { cores } else { jobs }.min(specs.len());
    let next = AtomicUsize::new(0);
    // The largest kernels take longest: begin with them.
    let mut order: Vec<usize> = (0..specs.len()).collect();
    order.sort_by_key(|i| match specs[*i] {
        KernelSpec::Attention(_) => 0,
        KernelSpec::MatMul(_) => 1,
        KernelSpec::Pack(_) => 2,
        _ => 3,
    });
    let work = || -> Result<Vec<(usize, CompiledKernel)>, CodegenError> {
        let mut done = vec![];
        let mut running = start(exe)?;
        let mut input = running.child.stdin.take().expect("stdin is piped");
        loop {
            let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(done) };
            match one(&mut running, &mut input, specs, index, target) {
                Ok(kernel) => done.push((index, kernel)),
                Err(e) => {
                    next.store(order.len(), Ordering::Relaxed);
                    return Err(e);
                }
            }
        }
    };
    let results: Vec<Result<Vec<(usize, CompiledKernel)>, CodegenError>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .map(|h| h.join().unwrap_or_else(|_| Err(CodegenError::Worker("a thread panicked".into()))))
            .collect()
    });
    let mut kernels: Vec<(usize, CompiledKernel)> = vec![];
    for result in results {
        kernels.extend(result?);
    }
    kernels.sort_by_key(|(index, _)| *index);
    Ok(kernels.into_iter().map(|(_, kernel)| kernel).collect())
}

fn one(
    running: &mut Running,
    input: &mut impl Write,
    specs: &[KernelSpec],
    index: usize,
    target: &CpuSpec,
) -> Result<CompiledKernel, CodegenError> {
    let spec = &specs[index];
    let symbol = symbol(index, spec);
    let batch = Batch { target: target.clone(), kernels: vec![(index, spec.clone())] };
    let mut line = serde_json::to_vec(&batch).map_err(|e| CodegenError::Worker(e.to_string()))?;
    line.push(b'\n');
    let reply = input.write_all(&line).and_then(|()| input.flush()).and_then(|()| read_frame(&mut running.out));
    match reply {
        Ok((0, object)) => Ok(CompiledKernel { symbol, object }),
        Ok((_, text)) => Err(CodegenError::Worker(String::from_utf8_lossy(&text).into_owned())),
        Err(e) => {
            let _ = running.child.kill();
            let status = running.child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
            let mut stderr = String::new();
            let _ = running.log.rewind().and_then(|()| running.log.read_to_string(&mut stderr));
            let error = format!("the compile worker died ({status}, {e}): {}", stderr.trim());
            Err(CodegenError::Kernel { symbol, template: spec.template().into(), error })
        }
    }
}
