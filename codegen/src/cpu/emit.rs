//! From a cubecl kernel to an object file, without a device and without a JIT.
//!
//! cubecl 0.11.3 has no public way to its LLVM IR, except that with the feature `pliron-dump` it writes `llvm.ll` into the
//! folder named by an environment variable before it optimises. We append an operation of our own ([`StopOp`]) to each kernel. Its
//! lowering sets that variable, so late that no pass before it is dumped, and becomes inline assembly that LLVM's parser
//! refuses, so that cubecl stops (with a panic that we catch) as soon as the file is written. That line is dropped, and the
//! rest goes through LLVM's own pipeline for the target. `tests/` holds a canary for all of it.

use super::{CompiledKernel, CpuTarget, scratch};
use crate::{CodegenError, lower::define};
use cubecl_core::{
    Compiler,
    ir::{Scope, cube_op, prelude::*},
};
use cubecl_llvm::{LlvmTarget, PlironCompiler, PlironOptions, shared::to_llvm::ToLLVMDialect};
use cubecl_runtime::kernel::KernelDefinition;
use kiln_core::{KernelSpec, output::TemporaryFolder};
use llvm_sys::{
    core::*, error::*, ir_reader::LLVMParseIRInContext2, prelude::*, target::*, target_machine::*,
    transforms::pass_builder::*,
};
use pliron_llvm::ops as llvm;
use std::{
    cell::Cell,
    ffi::{CStr, CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Mutex, Once},
};

/// The variable that cubecl reads.
const DUMP_VARIABLE: &str = "CUBECL_DEBUG_PLIRON";
/// LLVM's index of the attributes of a function itself.
const FUNCTION_INDEX: u32 = u32::MAX;
/// What marks the line that stops cubecl.
const STOP_MARK: &str = "kiln.stop";

/// Keeps lowerings apart.
static LOWERING: Mutex<()> = Mutex::new(());
/// Where the kernel that is being lowered is dumped.
static DUMP_TARGET: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Ends cubecl's compilation after it wrote its LLVM IR.
#[cube_op(name = "kiln.stop")]
#[result_ty(none)]
pub struct StopOp {}

#[op_interface_impl]
impl ToLLVMDialect for StopOp {
    fn rewrite(
        &self,
        ctx: &mut Context,
        rewriter: &mut DialectConversionRewriter,
        _operands: &OperandsInfo,
    ) -> Result<()> {
        if let Some(folder) = DUMP_TARGET.lock().unwrap_or_else(|e| e.into_inner()).as_ref() {
            // SAFETY: workers run one thread; in-process compilation holds `LOWERING`, and is for tests, which set no
            // environment variables.
            unsafe { std::env::set_var(DUMP_VARIABLE, folder) };
        }
        let void = pliron_llvm::types::VoidType::get(ctx).into();
        let op = llvm::InlineAsmOp::new(ctx, void, vec![], STOP_MARK, "=r,r", true);
        rewriter.insert_op(ctx, &op);
        rewriter.erase_operation(ctx, self.get_operation());
        Ok(())
    }
}

fn append_stop(scope: &Scope) {
    let op = StopOp::new(scope.ctx_mut());
    scope.register(&op);
}

/// LLVM IR of a kernel whose function has that name.
fn llvm_ir(
    spec: &KernelSpec,
    symbol: &str,
    target: &CpuTarget,
    roots: &[PathBuf],
) -> std::result::Result<String, CodegenError> {
    let _alone = LOWERING.lock().unwrap_or_else(|e| e.into_inner());
    // What is wrong with the spec is so in any folder.
    let first = Cell::new(Some(define(spec, symbol, target)?));
    // A dump that is not whole is tried again elsewhere: other processes fill and empty a folder meanwhile.
    let lowering = Cell::new(None);
    let text = scratch::in_any(roots, "cubecl's LLVM IR", |root| {
        lowering.set(None);
        let folder = scratch::folder(root).map_err(|e| e.to_string())?;
        let definition = first.take().map_or_else(|| define(spec, symbol, target), Ok).map_err(|e| e.to_string())?;
        let text = dumped(definition, symbol, &folder);
        // A folder that is full now may have cut the dump off anywhere.
        if let Some(full) = scratch::full(&folder) {
            return Err(full.to_string());
        }
        text.inspect_err(|why| lowering.set(Some(why.clone())))
    });
    text.map_err(|e| lowering.take().map_or(e, CodegenError::Lowering))
}

/// What cubecl dumps of a kernel, or why it does not.
fn dumped(definition: KernelDefinition, symbol: &str, folder: &TemporaryFolder) -> std::result::Result<String, String> {
    append_stop(&definition.body);
    *DUMP_TARGET.lock().unwrap_or_else(|e| e.into_inner()) = Some(folder.path().to_path_buf());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let options = PlironOptions { cpu_buffer_alignment: None, ..Default::default() };
        PlironCompiler { target: LlvmTarget::Cpu }
            .compile(definition, &options)
            .map(|_| ())
            .map_err(|e| format!("{e:?}"))
    }));
    std::panic::set_hook(hook);
    // SAFETY: as above.
    unsafe { std::env::remove_var(DUMP_VARIABLE) };
    let why = match outcome {
        Ok(Ok(())) => "cubecl was not stopped".to_string(),
        Ok(Err(e)) => e,
        Err(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()))
            .unwrap_or_default(),
    };
    let text = std::fs::read_to_string(folder.path().join(symbol).join("llvm.ll"));
    let text = text.map_err(|_| format!("it wrote no LLVM IR: {why}"))?;
    // Without mark or last line break the file was cut off, or cubecl has changed.
    if !text.contains(STOP_MARK) || !text.ends_with('\n') {
        return Err(format!("its LLVM IR lacks the stop mark, or its end: {why}"));
    }
    Ok(text.lines().filter(|l| !l.contains(STOP_MARK)).collect::<Vec<_>>().join("\n"))
}

/// Lowers a spec and emits its object.
pub(crate) fn compile(
    spec: &KernelSpec,
    symbol: &str,
    target: &CpuTarget,
) -> std::result::Result<CompiledKernel, CodegenError> {
    let named = |e: CodegenError| CodegenError::Kernel {
        symbol: symbol.into(),
        template: spec.template().into(),
        error: e.to_string(),
    };
    let ir = llvm_ir(spec, symbol, target, &scratch::roots()).map_err(named)?;
    if let Some(folder) = std::env::var_os("KILN_DUMP_LLVM") {
        let _ = std::fs::write(PathBuf::from(folder).join(format!("{symbol}.ll")), &ir);
    }
    let object = emit_object(&ir, symbol, target).map_err(named)?;
    Ok(CompiledKernel { symbol: symbol.into(), object })
}

/// Takes over a message that LLVM allocated.
///
/// # Safety
/// `text` is null or came from LLVM and is not used afterwards.
unsafe fn message(text: *mut c_char) -> String {
    if text.is_null() {
        return "no message".into();
    }
    // SAFETY: LLVM's messages are NUL-terminated.
    let owned = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: the caller gives it up.
    unsafe { LLVMDisposeMessage(text) };
    owned
}

fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: called once, before any other use of the targets.
        unsafe {
            LLVMInitializeX86TargetInfo();
            LLVMInitializeX86Target();
            LLVMInitializeX86TargetMC();
            LLVMInitializeX86AsmPrinter();
            LLVMInitializeAArch64TargetInfo();
            LLVMInitializeAArch64Target();
            LLVMInitializeAArch64TargetMC();
            LLVMInitializeAArch64AsmPrinter();
        }
    });
}

/// A context, a module in it and a target machine, disposed of together.
struct Session {
    context: LLVMContextRef,
    module: LLVMModuleRef,
    machine: LLVMTargetMachineRef,
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: made in `emit_object`, not used after this.
        unsafe {
            if !self.machine.is_null() {
                LLVMDisposeTargetMachine(self.machine);
            }
            if !self.module.is_null() {
                LLVMDisposeModule(self.module);
            }
            LLVMContextDispose(self.context);
        }
    }
}

fn c_string(text: &str) -> std::result::Result<CString, CodegenError> {
    CString::new(text).map_err(|_| CodegenError::Llvm(format!("{text:?} contains a NUL")))
}

/// Optimises LLVM IR for the target and emits an ELF object.
fn emit_object(ir: &str, symbol: &str, target: &CpuTarget) -> std::result::Result<Vec<u8>, CodegenError> {
    initialise();
    let (triple, cpu, name) = (c_string(&target.spec.triple)?, c_string(&target.spec.cpu)?, c_string(symbol)?);
    // SAFETY: every pointer passed below is either made here or by the LLVM call before it; errors are checked before results
    // are used; the session frees what was made.
    unsafe {
        let mut session =
            Session { context: LLVMContextCreate(), module: std::ptr::null_mut(), machine: std::ptr::null_mut() };
        let buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(ir.as_ptr().cast(), ir.len(), c"kernel".as_ptr());
        let mut error = std::ptr::null_mut();
        let failed = LLVMParseIRInContext2(session.context, buffer, &mut session.module, &mut error) != 0;
        LLVMDisposeMemoryBuffer(buffer);
        if failed {
            return Err(CodegenError::Llvm(message(error)));
        }
        let mut machine_target = std::ptr::null_mut();
        if LLVMGetTargetFromTriple(triple.as_ptr(), &mut machine_target, &mut error) != 0 {
            return Err(CodegenError::Llvm(message(error)));
        }
        session.machine = LLVMCreateTargetMachine(
            machine_target,
            triple.as_ptr(),
            cpu.as_ptr(),
            c"".as_ptr(),
            LLVMCodeGenOptLevel::LLVMCodeGenLevelAggressive,
            LLVMRelocMode::LLVMRelocPIC,
            LLVMCodeModel::LLVMCodeModelSmall,
        );
        let layout = LLVMCreateTargetDataLayout(session.machine);
        LLVMSetModuleDataLayout(session.module, layout);
        LLVMDisposeTargetData(layout);
        LLVMSetTarget(session.module, triple.as_ptr());

        let function = LLVMGetNamedFunction(session.module, name.as_ptr());
        if function.is_null() {
            return Err(CodegenError::Lowering(format!("its LLVM IR has no function {symbol}")));
        }
        // No loop may become a call to memset or memcpy: there is no libc in an image.
        let attribute = |key: &str, value: &str| {
            LLVMCreateStringAttribute(
                session.context,
                key.as_ptr().cast(),
                key.len() as u32,
                value.as_ptr().cast(),
                value.len() as u32,
            )
        };
        let mut f = LLVMGetFirstFunction(session.module);
        while !f.is_null() {
            if LLVMIsDeclaration(f) == 0 {
                LLVMAddAttributeAtIndex(f, FUNCTION_INDEX, attribute("no-builtins", ""));
                LLVMAddAttributeAtIndex(f, FUNCTION_INDEX, attribute("target-cpu", &target.spec.cpu));
            }
            f = LLVMGetNextFunction(f);
        }

        let options = LLVMCreatePassBuilderOptions();
        let failure = LLVMRunPasses(session.module, c"default<O3>".as_ptr(), session.machine, options);
        LLVMDisposePassBuilderOptions(options);
        if !failure.is_null() {
            let text = LLVMGetErrorMessage(failure);
            let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
            LLVMDisposeErrorMessage(text);
            return Err(CodegenError::Llvm(owned));
        }
        let mut out = std::ptr::null_mut();
        let kind = LLVMCodeGenFileType::LLVMObjectFile;
        if LLVMTargetMachineEmitToMemoryBuffer(session.machine, session.module, kind, &mut error, &mut out) != 0 {
            return Err(CodegenError::Llvm(message(error)));
        }
        let bytes = std::slice::from_raw_parts(LLVMGetBufferStart(out).cast::<u8>(), LLVMGetBufferSize(out)).to_vec();
        LLVMDisposeMemoryBuffer(out);
        Ok(bytes)
    }
}
