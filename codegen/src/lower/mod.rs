//! Kernel specs to cubecl kernels: each template walks its spec in ordinary Rust and builds operations on a scope.

pub mod attention;
pub mod builder;
pub mod columns;
pub mod dot;
mod env;
pub mod half;
pub mod map;
pub mod math;
pub mod matmul;
pub mod pack;
pub mod program;
pub mod row;
pub mod shuffle;
pub mod ty;

pub use env::Env;

use crate::{CodegenError, Target};
use builder::Builder;
use cubecl_core::{
    ir::{
        AddressType, DeviceIdentity, DeviceProperties, ElemType, HardwareProperties, IntKind, MemoryDeviceProperties,
        VectorSize, features::Features, features::TypeUsage, settings::ExecutionMode, settings::KernelSettings,
    },
    prelude::{CubeDim, KernelBuilder},
};
use cubecl_runtime::kernel::KernelDefinition;
use kiln_core::{KernelSpec, RightSide, call};
use program::{Args, buffer_elem};

fn device_properties() -> DeviceProperties {
    let hardware = HardwareProperties {
        load_width: 256,
        vector_register_count: Some(16),
        plane_size_min: 1,
        plane_size_max: 1,
        max_bindings: u32::MAX,
        max_shared_memory_size: 32768,
        max_cube_count: (u32::MAX, u32::MAX, u32::MAX),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: None,
        num_tensor_cores: None,
        min_tensor_cores_dim: None,
        num_cpu_cores: Some(1),
        last_level_cache_size: None,
        max_vector_size: VectorSize::MAX,
        cube_mma_reserved_shared_memory: 0,
    };
    let identity = DeviceIdentity { name: "offline".into(), fingerprint: "offline".into(), physical: None };
    let mut properties = DeviceProperties::new(
        Features::default(),
        MemoryDeviceProperties::new(u64::MAX, 64),
        hardware,
        cubecl_core::profile::TimingMethod::Device,
        identity,
    );
    properties.register_address_type(AddressType::U64);
    properties.register_type_usage(ElemType::Int(IntKind::I64), TypeUsage::all());
    properties
}

/// The cubecl kernel of a spec, named `name`.
///
/// # Errors
/// [`CodegenError::Spec`] for a spec that contradicts itself, [`CodegenError::Unsupported`] for one that no template serves.
pub fn define(spec: &KernelSpec, name: &str, target: &dyn Target) -> Result<KernelDefinition, CodegenError> {
    let settings = KernelSettings::new(*CubeDim::new_1d(target.threads()), ExecutionMode::Unchecked, AddressType::U64)
        .kernel_name(name);
    let mut kernel = KernelBuilder::new(settings);
    kernel.device_properties(&device_properties());

    let arguments = spec.arguments();
    for _ in 0..call::scalars(arguments) {
        kernel.scalar(ElemType::Int(IntKind::I64));
    }
    let mut buffers = vec![];
    for (number, storage) in spec.operands().into_iter().enumerate() {
        let elem = buffer_elem(storage);
        let base = kernel.buffer(Builder::buffer_type(&kernel.scope, elem));
        buffers.push(Builder::buffer(base, number, elem));
    }
    {
        let b = Builder::new(&kernel.scope, target);
        let (builtin, ty) = target.chunk_builtin();
        let chunk = b.ix(b.builtin(builtin, ty));
        let chunks = b.ix(b.scalar_argument(call::CHUNKS));
        let values = (0..arguments).map(|n| b.ix(b.scalar_argument(call::ARGUMENTS + n))).collect();
        let env =
            Env { args: Args { values }, chunk, chunks, buffers, lanes: target.lanes(), registers: target.registers() };
        match spec {
            KernelSpec::Map(s) => map::lower(&b, s, &env)?,
            KernelSpec::Row(s) => row::lower(&b, s, &env)?,
            KernelSpec::MatMul(s) => match s.rhs {
                RightSide::Panels { panel, dtype } => matmul::lower(&b, s, (panel, dtype), &env)?,
                RightSide::Columns(storage) => columns::lower(&b, s, storage, &env)?,
            },
            KernelSpec::Pack(s) => pack::lower(&b, s, &env)?,
            KernelSpec::Dot(s) => dot::lower(&b, s, &env)?,
            KernelSpec::Attention(s) => attention::lower(&b, s, &env)?,
        }
    }
    let definition = kernel.build();
    crate::abi::check(&definition.info, arguments)?;
    Ok(definition)
}
