//! Where kernels run: what a [`Device`] does, and the one that there is, the [`cpu`].

pub mod cpu;
mod memory;
mod staging;

pub use cpu::{Pool, Workers, default_threads, rates, threads};
pub use kiln_core::call::KernelFn;
pub use memory::{Memory, NOWHERE, Span, Touched};
pub(crate) use staging::Staging;

use crate::Result;
use kiln_core::TargetSpec;

use std::sync::atomic::AtomicBool;

/// A machine with a plan's kernels loaded: it has memory, copies, and launches.
///
/// The executor evaluates sizes, lays out memory and holds what kernels touch against it; a device is told addresses, and decides nothing.
pub trait Device: Send + Sync {
    /// Zeroed memory that kernels read and write, at a multiple of 64 bytes. `what` it is for is said where there is none.
    ///
    /// # Errors
    /// When memory is short.
    fn allocate(&self, bytes: u64, touched: Touched, what: &'static str) -> Result<Memory>;

    /// An artifact's bytes as memory that kernels read: these very bytes, where the device can read them, else a copy.
    ///
    /// # Safety
    /// The bytes must stay where and as they are for as long as the memory lives.
    ///
    /// # Errors
    /// When memory is short.
    unsafe fn share(&self, bytes: &[u8]) -> Result<Memory>;

    /// Copies the program's bytes to the device.
    ///
    /// # Safety
    /// `to` must be a part of memory of this device, of as many bytes, that no launch uses meanwhile.
    unsafe fn write(&self, from: &[u8], to: Span);

    /// Copies bytes of the device to the program.
    ///
    /// # Safety
    /// `from` must be a part of memory of this device, of as many bytes, that no launch writes meanwhile.
    unsafe fn read(&self, from: Span, to: &mut [u8]);

    /// Copies bytes within the device; the two may overlap.
    ///
    /// # Safety
    /// Both must be parts of memory of this device, of as many bytes, and no launch uses `to` or writes `from` meanwhile.
    unsafe fn copy(&self, from: Span, to: Span);

    /// Prepares launches to be run any number of times.
    ///
    /// # Errors
    /// When they are not of the kind that this device runs, or memory is short.
    fn bind(&self, launches: Launches) -> Result<Box<dyn Bound>>;

    /// How many threads take part in a launch.
    fn threads(&self) -> usize;
}

/// Launches that are ready to run.
pub trait Bound: Send {
    /// Runs the launches in order, each after the one before has written what it writes. `cancel` is looked at before each; `after` is told
    /// the number of each that ran, and the nanoseconds that it took.
    ///
    /// # Safety
    /// The memory that the launches name lives, nobody else uses what they write, and each stays within its buffers: the kernels' code is that of
    /// the specs that they were checked by.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled), or what the device says.
    unsafe fn run(&self, cancel: Option<&AtomicBool>, after: Option<&mut dyn FnMut(usize, u64)>) -> Result<()>;
}

/// The steps of a schedule with their numbers.
#[derive(Default)]
pub struct Launches {
    /// The steps in order.
    pub steps: Vec<Launch>,
    /// The operands of all steps, one after the other.
    pub operands: Vec<Span>,
    /// The arguments of all steps, one after the other.
    pub args: Vec<i64>,
}

/// One step.
pub struct Launch {
    /// Number of its kernel.
    pub kernel: usize,
    /// How its work is shared out.
    pub shape: LaunchShape,
    /// How many of [`Launches::operands`] are its own.
    pub operands: usize,
    /// How many of [`Launches::args`] are its own.
    pub args: usize,
}

/// [`kiln_core::Launch`] with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchShape {
    /// Pieces for any thread.
    Chunks(u32),
    /// A grid.
    Grid {
        /// Blocks.
        blocks: u32,
        /// Threads in a block.
        threads: u32,
    },
}

impl Launches {
    /// Each step with its operands and arguments.
    pub fn iter(&self) -> impl Iterator<Item = (&Launch, &[Span], &[i64])> {
        let (mut operands, mut args) = (&self.operands[..], &self.args[..]);
        self.steps.iter().map(move |step| {
            let (own, others) = operands.split_at(step.operands);
            let (arguments, rest) = args.split_at(step.args);
            (operands, args) = (others, rest);
            (step, own, arguments)
        })
    }
}

/// Checks that this machine runs code for that target.
///
/// # Errors
/// When it is another machine, or lacks a feature that the code needs.
pub fn check(target: &TargetSpec) -> Result<()> {
    match target {
        TargetSpec::Cpu(cpu) => cpu::check(cpu),
        TargetSpec::Cuda(cuda) => Err(crate::Error::WrongMachine {
            built_for: cuda.name.clone(),
            needs: format!("a CUDA device of compute capability {}", cuda.capability),
            lacks: "runs code for CPUs only, by this version of kiln".into(),
        }),
    }
}
