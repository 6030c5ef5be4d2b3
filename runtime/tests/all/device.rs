//! The executor on a device whose memory the program cannot reach: everything goes by the device's own copies and launches.

use crate::toy;
use kiln_runtime::device::cpu::Cpu;
use kiln_runtime::device::{Bound, Device, Launches, Memory, Pool, Span, Touched};
use kiln_runtime::{Artifact, LoadOptions, Model, OpenOptions, Result, Session, SessionOptions, TensorView};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The addresses that the program sees are off by this, so that using one ends the process; it is no page's multiple of any memory here.
const FAR: usize = 1 << 60;

/// A CPU that gives out addresses of its own.
struct Far {
    cpu: Cpu,
    copies: Arc<AtomicUsize>,
}

fn near(span: Span) -> Span {
    Span { at: span.at.wrapping_sub(FAR), ..span }
}

impl Far {
    fn moved(memory: Memory) -> Memory {
        let span = memory.span(0, memory.len());
        Memory::new(Span { at: span.at.wrapping_add(FAR), ..span }, false, Some(Box::new(memory)))
    }

    fn copied(&self) {
        self.copies.fetch_add(1, Ordering::Relaxed);
    }
}

impl Device for Far {
    fn allocate(&self, bytes: u64, touched: Touched, what: &'static str) -> Result<Memory> {
        self.cpu.allocate(bytes, touched, what).map(Self::moved)
    }

    unsafe fn share(&self, bytes: &[u8]) -> Result<Memory> {
        let memory = self.allocate(bytes.len() as u64, Touched::Wholly, "a copy")?;
        // SAFETY: new memory of as many bytes.
        unsafe { self.write(bytes, memory.span(0, memory.len())) };
        Ok(memory)
    }

    unsafe fn write(&self, from: &[u8], to: Span) {
        self.copied();
        // SAFETY: as the caller promises.
        unsafe { self.cpu.write(from, near(to)) };
    }

    unsafe fn read(&self, from: Span, to: &mut [u8]) {
        self.copied();
        // SAFETY: as the caller promises.
        unsafe { self.cpu.read(near(from), to) };
    }

    unsafe fn copy(&self, from: Span, to: Span) {
        self.copied();
        // SAFETY: as the caller promises.
        unsafe { self.cpu.copy(near(from), near(to)) };
    }

    fn bind(&self, mut launches: Launches) -> Result<Box<dyn Bound>> {
        launches.operands.iter_mut().for_each(|span| *span = near(*span));
        Ok(Box::new(FarBound(self.cpu.bind(launches)?)))
    }

    fn threads(&self) -> usize {
        self.cpu.threads()
    }
}

struct FarBound(Box<dyn Bound>);

impl Bound for FarBound {
    unsafe fn run(&self, cancel: Option<&AtomicBool>, after: Option<&mut dyn FnMut(usize, u64)>) -> Result<()> {
        // SAFETY: as the caller promises.
        unsafe { self.0.run(cancel, after) }
    }
}

fn far() -> (Arc<Model>, Arc<AtomicUsize>) {
    let file = toy::artifact_of(toy::plan(), &toy::manifest(), &[0xc3]);
    let artifact = Artifact::from_bytes(file, &OpenOptions::default()).unwrap();
    let plan = artifact.plan(0).unwrap();
    let copies = Arc::new(AtomicUsize::new(0));
    let cpu = Cpu::with_kernels(toy::KERNELS.to_vec(), Arc::new(Pool::new(2).unwrap()));
    let device = Far { cpu, copies: copies.clone() };
    (Model::on_device(artifact, 0, plan, Arc::new(device)).unwrap(), copies)
}

/// Outputs and states of some calls.
fn run(model: &Arc<Model>) -> (Vec<Vec<f32>>, Vec<u8>) {
    let sizes = [("rows", 3), ("t", 6)].map(|(s, n)| (s.to_string(), n)).to_vec();
    let mut session = Session::new(model, &SessionOptions { sizes }).unwrap();
    let mut out = vec![];
    for (ids, starts) in [([4i64, 5], 0i64), ([1, 2], 2)] {
        let inputs = [
            ("input_ids", TensorView::new(&[1, 2], &ids)),
            ("slots", TensorView::new(&[1], &[1i64])),
            ("starts", TensorView::new(&[1], std::slice::from_ref(&starts))),
        ];
        let outputs = session.call("step", &inputs).unwrap();
        out.push(outputs.get("logits").unwrap().as_slice::<f32>().unwrap().to_vec());
    }
    session.copy_state_rows("past", 1, 2, 6).unwrap();
    let outputs = session.call("forward", &[("x", TensorView::new(&[1, 2], &[0.5f32, -1.0]))]).unwrap();
    out.push(outputs.get("y").unwrap().as_slice::<f32>().unwrap().to_vec());
    let name = "past_key_values.0.key";
    let state = session.state(name).unwrap().into_owned();
    session.set_state(name, &TensorView::new(&[3, 6], &[7.0f32; 18])).unwrap();
    assert_eq!(&session.state(name).unwrap()[..4], 7f32.to_le_bytes());
    session.reset().unwrap();
    assert!(session.state(name).unwrap().iter().all(|b| *b == 0));
    (out, state)
}

#[test]
fn a_device_that_the_program_cannot_reach_gives_the_same() {
    let near = toy::load(toy::plan(), &LoadOptions { threads: Some(2), ..LoadOptions::default() }).unwrap();
    let (far, copies) = far();
    let loaded = copies.load(Ordering::Relaxed);
    assert_eq!(loaded, far.plan().weights.len(), "each weight is copied once");
    assert_eq!(run(&far), run(&near));
    assert!(copies.load(Ordering::Relaxed) > loaded, "inputs and outputs are copied");
}
