//! Element programs: operands, addresses, and the evaluation of straight-line code at one point or at a vector of them.

use super::{
    builder::{Buf, Builder, Ix, Ty, Val},
    math,
};
use crate::CodegenError;
use kiln_core::{
    Access, BinaryOp, BlockFormat, CompareOp, DType, ElementOp, Program, Size, Storage, UnaryOp, ValueId, Write,
};

/// The launch's arguments, and constants.
#[derive(Clone)]
pub struct Args {
    /// The runtime arguments in order.
    pub values: Vec<Ix>,
}

impl Args {
    /// A size as an address computation.
    pub fn size(&self, size: Size) -> Ix {
        match size {
            Size::Const(c) => Ix::C(c),
            Size::Arg(n) => self.values[n as usize],
        }
    }
}

/// A buffer with the access that a program reads or writes it by.
#[derive(Clone)]
pub struct Operand {
    /// Where.
    pub buf: Buf,
    /// How its elements are stored.
    pub storage: Storage,
    /// Element offset of coordinate zero.
    pub offset: Ix,
    /// One stride per coordinate.
    pub strides: Vec<Ix>,
    /// Data-dependent terms.
    pub indirect: Vec<(ValueId, Ix)>,
}

impl Operand {
    /// Binds an access to its buffer.
    pub fn new(buf: Buf, access: &Access, args: &Args) -> Self {
        Operand {
            buf,
            storage: access.storage,
            offset: args.size(access.offset),
            strides: access.strides.iter().map(|s| args.size(*s)).collect(),
            indirect: access.indirect.iter().map(|(v, s)| (*v, args.size(*s))).collect(),
        }
    }

    /// Element index of `coords` without the axis `lane` and without indirect terms.
    fn base(&self, b: &Builder<'_>, coords: &[Ix], lane: usize) -> Ix {
        let mut sum = self.offset;
        for (axis, (stride, coord)) in self.strides.iter().zip(coords).enumerate() {
            if axis != lane {
                sum = b.iadd(sum, b.imul(*stride, *coord));
            }
        }
        sum
    }

    /// Whether eight block values from any reachable multiple of eight lie in one block.
    fn block_vectors(&self) -> bool {
        let aligned = |i: &Ix| matches!(i, Ix::C(c) if c % 8 == 0);
        let Some((last, outer)) = self.strides.split_last() else { return false };
        matches!(last, Ix::C(1))
            && aligned(&self.offset)
            && outer.iter().all(aligned)
            && self.indirect.iter().all(|(_, s)| aligned(s))
    }
}

/// The type of an operand's buffer elements in memory.
pub fn buffer_elem(storage: Storage) -> Ty {
    match storage {
        Storage::Dense(dtype) => Ty::stored(dtype),
        Storage::Block(_) => Ty::U8,
    }
}

/// Loads `lanes` consecutive elements as values to compute with.
pub fn load_dense(b: &Builder<'_>, buf: Buf, dtype: DType, index: Ix, lanes: usize) -> Val {
    let raw = b.load(buf, index, lanes);
    match dtype {
        DType::F16 => b.cast(raw, Ty::F32),
        DType::BF16 => {
            let wide = b.cast(raw, Ty::U32);
            b.bitcast(b.shl(wide, b.int(Ty::U32, 16)), Ty::F32)
        }
        DType::Bool => b.compare(CompareOp::Ne, raw, b.int(Ty::U8, 0)),
        _ => raw,
    }
}

/// Stores values that were computed with, rounding to the buffer's type.
pub fn store_dense(b: &Builder<'_>, buf: Buf, dtype: DType, index: Ix, value: Val) {
    let raw = match dtype {
        DType::F16 => b.cast(value, Ty::F16),
        DType::BF16 => {
            let u = |v: i64| b.int(Ty::U32, v);
            let bits = b.bitcast(value, Ty::U32);
            let odd = b.and(b.shr(bits, u(16)), u(1));
            let rounded = b.shr(b.add(bits, b.add(odd, u(0x7fff))), u(16));
            let number = b.eq(value, value);
            b.cast(b.select(number, rounded, u(0x7fc0)), Ty::U16)
        }
        DType::Bool => b.cast(value, Ty::U8),
        _ => value,
    };
    b.store(buf, index, raw);
}

/// The scale (and what is added) of value `within` of the block that starts at byte `at`, as f32: that of its part
/// ([`BlockFormat::part_len`]).
pub fn block_scales(b: &Builder<'_>, buf: Buf, format: BlockFormat, at: Ix, within: Ix) -> (Val, Option<Val>) {
    let f16_at = |offset: usize| b.cast(b.load_as(buf, b.iadd(at, Ix::C(offset as i64)), Ty::F16, 1), Ty::F32);
    let d = f16_at(format.scale_offset());
    let minimum = format.minimum_offset().map(f16_at);
    let Some(scales) = format.part_scales_offset() else { return (d, minimum) };
    let scales = b.iadd(at, Ix::C(scales as i64));
    let part = b.idiv(within, Ix::C(format.part_len() as i64));
    let (s, m) = match format {
        BlockFormat::Q2K => {
            let both = unsigned_bytes(b, buf, b.iadd(scales, part), 1);
            (b.and(both, b.int(Ty::U32, 15)), b.shr(both, b.int(Ty::U32, 4)))
        }
        BlockFormat::Q3K => {
            let s = b.sub(b.bitcast(q3k_scale(b, buf, scales, part), Ty::I32), b.int(Ty::I32, 32));
            return (b.mul(d, b.cast(s, Ty::F32)), None);
        }
        BlockFormat::Q6K => {
            let s = b.cast(b.load_as(buf, b.iadd(scales, part), Ty::I8, 1), Ty::I32);
            return (b.mul(d, b.cast(s, Ty::F32)), None);
        }
        _ => scale_and_minimum(b, buf, scales, part),
    };
    let float = |v: Val| b.cast(b.bitcast(v, Ty::I32), Ty::F32);
    (b.mul(d, float(s)), minimum.map(|e| b.neg(b.mul(e, float(m)))))
}

/// Bytes as u32.
fn unsigned_bytes(b: &Builder<'_>, buf: Buf, at: Ix, lanes: usize) -> Val {
    b.cast(b.load(buf, at, lanes), Ty::U32)
}

/// An index as u32, to shift by.
fn shift(b: &Builder<'_>, i: Ix) -> Val {
    match i {
        Ix::C(c) => b.int(Ty::U32, c),
        Ix::V(_) => b.cast(b.ix_value(i), Ty::U32),
    }
}

/// [`BlockFormat::part_scale`] of `Q3K`, before 32 is subtracted, from the twelve bytes at `at`: u32.
fn q3k_scale(b: &Builder<'_>, buf: Buf, at: Ix, part: Ix) -> Val {
    let byte = |offset: Ix| unsigned_bytes(b, buf, b.iadd(at, offset), 1);
    let low = b.shr(byte(b.irem(part, Ix::C(8))), shift(b, b.imul(b.idiv(part, Ix::C(8)), Ix::C(4))));
    let high = byte(b.iadd(Ix::C(8), b.irem(part, Ix::C(4))));
    let high = b.shr(high, shift(b, b.imul(b.idiv(part, Ix::C(4)), Ix::C(2))));
    let u = |n: i64| b.int(Ty::U32, n);
    b.or(b.and(low, u(15)), b.shl(b.and(high, u(3)), u(4)))
}

/// [`BlockFormat::part_scale`] of `Q4K` and `Q5K`, from the twelve bytes at `at`: u32.
fn scale_and_minimum(b: &Builder<'_>, buf: Buf, at: Ix, part: Ix) -> (Val, Val) {
    let u = |n: i64| b.int(Ty::U32, n);
    let byte = |offset: Ix| unsigned_bytes(b, buf, b.iadd(at, offset), 1);
    // The bytes of parts p and p + 4 are the same three.
    let column = b.irem(part, Ix::C(4));
    let (first, second, third) = (byte(column), byte(b.iadd(column, Ix::C(4))), byte(b.iadd(column, Ix::C(8))));
    let upper = |byte: Val| b.shl(b.shr(byte, u(6)), u(4));
    let early = b.icompare(CompareOp::Lt, part, Ix::C(4));
    let s = b.select(early, b.and(first, u(63)), b.or(b.and(third, u(15)), upper(first)));
    let m = b.select(early, b.and(second, u(63)), b.or(b.shr(third, u(4)), upper(second)));
    (s, m)
}

/// `lanes` values (1, or 4 or 8 from a multiple of as many) as the block that starts at byte `at` holds them, from value `within` on: i32.
pub fn block_codes(b: &Builder<'_>, buf: Buf, format: BlockFormat, at: Ix, within: Ix, lanes: usize) -> Val {
    let u = |n: i64| b.int(Ty::U32, n);
    let bytes = |offset: Ix| unsigned_bytes(b, buf, b.iadd(at, offset), lanes);
    let data = Ix::C(format.values_offset() as i64);
    let upper_data = Ix::C(format.upper_bits_offset().unwrap_or(0) as i64);
    // Of bytes that hold `width` bits for each of several stretches of values, those of one.
    let field = |offset: Ix, stretch: Ix, width: i64| {
        let shifted = b.shr(bytes(offset), shift(b, b.imul(stretch, Ix::C(width))));
        b.and(shifted, u((1 << width) - 1))
    };
    // Two bits for each value: pair p of byte i is that of value 32 p + i of its half.
    let pairs = |data: Ix| {
        let half = b.imul(b.idiv(within, Ix::C(128)), Ix::C(32));
        let offset = b.iadd(data, b.iadd(half, b.irem(within, Ix::C(32))));
        field(offset, b.idiv(b.irem(within, Ix::C(128)), Ix::C(32)), 2)
    };
    // One bit for each value: bit p of byte i is that of value 32 p + i.
    let bit_of_32 = || field(b.iadd(upper_data, b.irem(within, Ix::C(32))), b.idiv(within, Ix::C(32)), 1);
    // One bit for each value, eight in a byte.
    let bit_of_8 = || {
        let byte = unsigned_bytes(b, buf, b.iadd(at, b.iadd(upper_data, b.idiv(within, Ix::C(8)))), 1);
        let first = shift(b, b.irem(within, Ix::C(8)));
        b.and(b.shr(byte, b.add(b.iota(Ty::U32, lanes), first)), u(1))
    };
    let with_upper = |low: Val, upper: Val, from: i64| b.or(low, b.shl(upper, u(from)));
    // Low nibbles are `stretch` values, high nibbles as many that follow them.
    let nibbles = |stretch: i64| {
        let byte = b.iadd(b.imul(b.idiv(within, Ix::C(2 * stretch)), Ix::C(stretch)), b.irem(within, Ix::C(stretch)));
        let byte = bytes(b.iadd(data, byte));
        let high = b.icompare(CompareOp::Ge, b.irem(within, Ix::C(2 * stretch)), Ix::C(stretch));
        b.and(b.select(high, b.shr(byte, u(4)), byte), u(15))
    };
    let code = match format {
        BlockFormat::Q8_0 => {
            return b.cast(b.load_as(buf, b.iadd(at, b.iadd(data, within)), Ty::I8, lanes), Ty::I32);
        }
        BlockFormat::Q4_0 | BlockFormat::Q4_1 => nibbles(16),
        BlockFormat::Q5_0 | BlockFormat::Q5_1 => with_upper(nibbles(16), bit_of_8(), 4),
        BlockFormat::Q2K => pairs(data),
        BlockFormat::Q3K => with_upper(pairs(data), bit_of_32(), 2),
        BlockFormat::Q4K => nibbles(32),
        BlockFormat::Q5K => with_upper(nibbles(32), bit_of_32(), 4),
        BlockFormat::Q6K => with_upper(nibbles(64), pairs(upper_data), 4),
    };
    b.bitcast(code, Ty::I32)
}

/// The value that a code stands for, with its part's scale and what is added.
pub fn block_value(b: &Builder<'_>, format: BlockFormat, code: Val, (d, m): (Val, Option<Val>)) -> Val {
    let q = b.cast(code, Ty::F32);
    let q = match format.zero_code() {
        0 => q,
        zero => b.sub(q, b.f32(f32::from(zero))),
    };
    match m {
        Some(m) => b.add(b.mul(q, d), m),
        None => b.mul(q, d),
    }
}

/// Dequantises `lanes` values (1, or 4 or 8 from a multiple of as many) at value index `index`.
fn load_block(b: &Builder<'_>, buf: Buf, format: BlockFormat, index: Ix, lanes: usize) -> Val {
    let len = Ix::C(format.block_len() as i64);
    let (block, within) = (b.idiv(index, len), b.irem(index, len));
    let at = b.imul(block, Ix::C(format.block_bytes() as i64));
    let scales = block_scales(b, buf, format, at, within);
    block_value(b, format, block_codes(b, buf, format, at, within, lanes), scales)
}

/// `lanes` values that follow each other, of any storage; of blocks from a multiple of `lanes`, which is at most 16.
pub fn load_vector(b: &Builder<'_>, buf: Buf, storage: Storage, index: Ix, lanes: usize) -> Val {
    match storage {
        Storage::Dense(dtype) => load_dense(b, buf, dtype, index, lanes),
        Storage::Block(format) if lanes <= 8 => load_block(b, buf, format, index, lanes),
        Storage::Block(format) => {
            let half = |from: i64| load_block(b, buf, format, b.iadd(index, Ix::C(from)), 8);
            let (low, high) = (half(0), half(8));
            let parts: Vec<Val> = (0..16).map(|l| b.lane(if l < 8 { low } else { high }, l % 8)).collect();
            b.vector(&parts)
        }
    }
}

/// One value of any storage.
pub fn load_value(b: &Builder<'_>, buf: Buf, storage: Storage, index: Ix) -> Val {
    match storage {
        Storage::Dense(dtype) => load_dense(b, buf, dtype, index, 1),
        Storage::Block(format) => load_block(b, buf, format, index, 1),
    }
}

/// Where a program is evaluated: `lanes` points that follow each other along the axis `lane_axis`.
pub struct Point<'a> {
    /// The arguments.
    pub args: &'a Args,
    /// What `Load(n)` reads.
    pub reads: &'a [Operand],
    /// The coordinates; along the lane axis, that of the first lane.
    pub coords: &'a [Ix],
    /// The axis along which lanes follow each other.
    pub lane_axis: usize,
    /// Points at once.
    pub lanes: usize,
    /// What `Given(n)` is.
    pub givens: &'a [Val],
}

/// Which values are the same at each point along the lane axis.
pub fn uniform_values(program: &Program, reads: &[Operand], lane_axis: usize, givens_uniform: bool) -> Vec<bool> {
    let mut uniform: Vec<bool> = Vec::with_capacity(program.insts.len());
    for inst in &program.insts {
        let of = |v: &ValueId| uniform[v.0 as usize];
        let is = match &inst.op {
            ElementOp::Load(n) => {
                let read = &reads[*n as usize];
                matches!(read.strides.get(lane_axis), None | Some(Ix::C(0))) && read.indirect.iter().all(|(v, _)| of(v))
            }
            ElementOp::Coord(axis) => *axis as usize != lane_axis,
            ElementOp::Size(_) | ElementOp::Const(_) => true,
            ElementOp::Given(_) => givens_uniform,
            ElementOp::Unary(_, a) | ElementOp::Cast(a) => of(a),
            ElementOp::Binary(_, a, c) | ElementOp::Compare(_, a, c) => of(a) && of(c),
            ElementOp::Select(c, a, d) => of(c) && of(a) && of(d),
        };
        uniform.push(is);
    }
    uniform
}

/// The values of a program: those in `known` are taken from there, those that `wanted` excludes are left out.
pub fn evaluate(
    b: &Builder<'_>,
    program: &Program,
    point: &Point<'_>,
    known: &[Option<Val>],
    wanted: impl Fn(usize) -> bool,
) -> Result<Vec<Option<Val>>, CodegenError> {
    let mut values: Vec<Option<Val>> = Vec::with_capacity(program.insts.len());
    for (i, inst) in program.insts.iter().enumerate() {
        if let Some(Some(v)) = known.get(i) {
            values.push(Some(*v));
            continue;
        }
        if !wanted(i) {
            values.push(None);
            continue;
        }
        let of = |v: &ValueId| {
            values.get(v.0 as usize).copied().flatten().ok_or_else(|| {
                CodegenError::Spec(format!("value {i} of a program uses value {}, which does not precede it", v.0))
            })
        };
        let ty = Ty::of(inst.dtype);
        let value = match &inst.op {
            ElementOp::Load(n) => load(b, *n, point, &of)?,
            ElementOp::Coord(axis) => {
                let first = b.ix_i64(point.coords[*axis as usize]);
                let lanes = if *axis as usize == point.lane_axis { point.lanes } else { 1 };
                if lanes == 1 { first } else { b.add(first, b.iota(Ty::I64, lanes)) }
            }
            ElementOp::Size(size) => b.ix_i64(point.args.size(*size)),
            ElementOp::Const(bits) => constant(b, inst.dtype, *bits),
            ElementOp::Given(n) => point.givens.get(*n as usize).map(|v| given(b, *v, ty)).ok_or_else(|| {
                CodegenError::Spec(format!("a program uses given value {n}, of {}", point.givens.len()))
            })?,
            ElementOp::Unary(op, a) => unary(b, *op, of(a)?),
            ElementOp::Binary(op, x, y) => binary(b, *op, of(x)?, of(y)?),
            ElementOp::Compare(op, x, y) => b.compare(*op, of(x)?, of(y)?),
            ElementOp::Select(c, x, y) => b.select(of(c)?, of(x)?, of(y)?),
            ElementOp::Cast(a) => cast(b, of(a)?, ty),
        };
        if value.ty != ty {
            return Err(CodegenError::Spec(format!(
                "value {i} of a program ({:?}) is declared {} but computes {:?}",
                inst.op, inst.dtype, value.ty
            )));
        }
        values.push(Some(value));
    }
    Ok(values)
}

fn constant(b: &Builder<'_>, dtype: DType, bits: u64) -> Val {
    match dtype {
        DType::F64 => b.float(Ty::F64, f64::from_bits(bits)),
        DType::F32 => b.f32(f32::from_bits(bits as u32)),
        DType::F16 | DType::BF16 => b.f32(dtype.value(bits) as f32),
        DType::I64 => b.int(Ty::I64, bits as i64),
        DType::I32 => b.int(Ty::I32, i64::from(bits as i32)),
        DType::I8 => b.int(Ty::I8, i64::from(bits as i8)),
        DType::U8 => b.int(Ty::U8, i64::from(bits as u8)),
        DType::Bool => b.bool(bits & 1 != 0),
    }
}

/// Adds the indirect terms: one index where they are uniform, else one per lane.
fn indices(
    b: &Builder<'_>,
    operand: &Operand,
    point: &Point<'_>,
    of: &dyn Fn(&ValueId) -> Result<Val, CodegenError>,
) -> Result<(Ix, Option<Vec<Ix>>), CodegenError> {
    let mut base = operand.base(b, point.coords, point.lane_axis);
    let mut varying: Vec<(Val, Ix)> = vec![];
    for (value, stride) in &operand.indirect {
        let value = of(value)?;
        if value.lanes == 1 {
            base = b.iadd(base, b.imul(b.ix(value), *stride));
        } else {
            varying.push((value, *stride));
        }
    }
    let stride = operand.strides.get(point.lane_axis).copied().unwrap_or(Ix::C(0));
    let first = b.iadd(base, b.imul(stride, point.coords.get(point.lane_axis).copied().unwrap_or(Ix::C(0))));
    let consecutive = varying.is_empty() && matches!(stride, Ix::C(0 | 1));
    if point.lanes == 1 || consecutive {
        return Ok((first, None));
    }
    let lanes = (0..point.lanes)
        .map(|lane| {
            let mut at = b.iadd(first, b.imul(stride, Ix::C(lane as i64)));
            for (value, stride) in &varying {
                at = b.iadd(at, b.imul(b.ix(b.lane(*value, lane)), *stride));
            }
            at
        })
        .collect();
    Ok((first, Some(lanes)))
}

fn load(
    b: &Builder<'_>,
    n: u32,
    point: &Point<'_>,
    of: &dyn Fn(&ValueId) -> Result<Val, CodegenError>,
) -> Result<Val, CodegenError> {
    let operand = point.reads.get(n as usize).ok_or_else(|| {
        CodegenError::Spec(format!("a program loads operand {n}, but there are {}", point.reads.len()))
    })?;
    let one = |at: Ix| load_value(b, operand.buf, operand.storage, at);
    let (first, lanes) = indices(b, operand, point, of)?;
    if let Some(lanes) = lanes {
        let parts: Vec<Val> = lanes.into_iter().map(one).collect();
        return Ok(b.vector(&parts));
    }
    let uniform = point.lanes == 1 || !matches!(operand.strides.get(point.lane_axis), Some(Ix::C(1)));
    if uniform {
        return Ok(one(first));
    }
    Ok(match operand.storage {
        Storage::Dense(dtype) => load_dense(b, operand.buf, dtype, first, point.lanes),
        Storage::Block(_) if point.lanes >= 4 && operand.block_vectors() => {
            load_vector(b, operand.buf, operand.storage, first, point.lanes)
        }
        Storage::Block(_) => {
            let parts: Vec<Val> = (0..point.lanes).map(|l| one(b.iadd(first, Ix::C(l as i64)))).collect();
            b.vector(&parts)
        }
    })
}

/// A value of a program that a write uses.
fn written(values: &[Option<Val>], v: &ValueId) -> Result<Val, CodegenError> {
    let value = values.get(v.0 as usize).copied().flatten();
    value.ok_or_else(|| CodegenError::Spec(format!("a write uses value {}, which its program lacks", v.0)))
}

/// The element type of an operand that is written.
fn dense(operand: &Operand) -> Result<DType, CodegenError> {
    let dense = operand.storage.dense();
    dense.ok_or_else(|| CodegenError::Spec(format!("a kernel writes block storage {}", operand.storage)))
}

/// Stores what a write says, at each of the point's lanes where its condition holds.
pub fn write(
    b: &Builder<'_>,
    spec: &Write,
    operand: &Operand,
    point: &Point<'_>,
    values: &[Option<Val>],
) -> Result<(), CodegenError> {
    let (of, dtype) = (|v: &ValueId| written(values, v), dense(operand)?);
    let value = of(&spec.value)?;
    let condition = spec.condition.as_ref().map(&of).transpose()?;
    let (first, lanes) = indices(b, operand, point, &of)?;
    let stride_one = matches!(operand.strides.get(point.lane_axis), Some(Ix::C(1)));
    let uniform = condition.is_none_or(|c| c.lanes == 1);
    if point.lanes == 1 || (lanes.is_none() && stride_one && uniform) {
        let whole = |b: &Builder<'_>| store_dense(b, operand.buf, dtype, first, b.splat(value, point.lanes));
        match condition {
            Some(c) => b.when(c, whole),
            None => whole(b),
        }
        return Ok(());
    }
    for lane in 0..point.lanes {
        let at = match &lanes {
            Some(lanes) => lanes[lane],
            None if stride_one => b.iadd(first, Ix::C(lane as i64)),
            None => first,
        };
        let one = |b: &Builder<'_>| store_dense(b, operand.buf, dtype, at, b.lane(value, lane));
        match condition {
            Some(c) => b.when(b.lane(c, lane), one),
            None => one(b),
        }
    }
    Ok(())
}

/// Stores `f` of what lies where a write leads at one point, if its condition holds.
pub fn update(
    b: &Builder<'_>,
    spec: &Write,
    operand: &Operand,
    point: &Point<'_>,
    values: &[Option<Val>],
    f: &dyn Fn(&Builder<'_>, Val) -> Val,
) -> Result<(), CodegenError> {
    let (of, dtype) = (|v: &ValueId| written(values, v), dense(operand)?);
    let condition = spec.condition.as_ref().map(&of).transpose()?;
    let (at, _) = indices(b, operand, point, &of)?;
    let one = |b: &Builder<'_>| {
        let old = load_dense(b, operand.buf, dtype, at, 1);
        store_dense(b, operand.buf, dtype, at, f(b, old));
    };
    match condition {
        Some(c) => b.when(c, one),
        None => one(b),
    }
    Ok(())
}

fn unary(b: &Builder<'_>, op: UnaryOp, a: Val) -> Val {
    match op {
        UnaryOp::Neg => b.neg(a),
        UnaryOp::Abs => b.abs(a),
        UnaryOp::Exp => math::exp(b, a),
        UnaryOp::Log => math::log(b, a),
        UnaryOp::Sqrt => b.sqrt(a),
        UnaryOp::Rsqrt => b.div(b.float(a.ty, 1.0), b.sqrt(a)),
        UnaryOp::Sin => math::sin(b, a),
        UnaryOp::Cos => math::cos(b, a),
        UnaryOp::Tanh => math::tanh(b, a),
        UnaryOp::Erf => math::erf(b, a),
        UnaryOp::Floor if a.ty.is_float() => b.floor(a),
        UnaryOp::Floor => a,
        UnaryOp::Not => b.not(a),
    }
}

fn binary(b: &Builder<'_>, op: BinaryOp, x: Val, y: Val) -> Val {
    match op {
        BinaryOp::Add => b.add(x, y),
        BinaryOp::Sub => b.sub(x, y),
        BinaryOp::Mul => b.mul(x, y),
        BinaryOp::Div if x.ty.is_float() => b.div(x, y),
        BinaryOp::Rem if x.ty.is_float() => math::rem(b, x, y),
        BinaryOp::Div | BinaryOp::Rem => integer_division(b, op, x, y),
        BinaryOp::Max => b.max(x, y),
        BinaryOp::Min => b.min(x, y),
        BinaryOp::Pow => math::pow(b, x, y),
        BinaryOp::And => b.and(x, y),
        BinaryOp::Or => b.or(x, y),
    }
}

/// Integer division that never traps: by zero gives 0, and dividing by -1 wraps.
fn integer_division(b: &Builder<'_>, op: BinaryOp, x: Val, y: Val) -> Val {
    let (zero, one) = (b.int(x.ty, 0), b.int(x.ty, 1));
    let by_zero = b.eq(y, zero);
    if !x.ty.is_signed() {
        let safe = b.select(by_zero, one, y);
        let result = if op == BinaryOp::Div { b.div(x, safe) } else { b.rem(x, safe) };
        return b.select(by_zero, zero, result);
    }
    let by_minus_one = b.eq(y, b.int(x.ty, -1));
    let safe = b.select(b.or(by_zero, by_minus_one), one, y);
    let (result, negated) = if op == BinaryOp::Div { (b.div(x, safe), b.neg(x)) } else { (b.rem(x, safe), zero) };
    b.select(by_zero, zero, b.select(by_minus_one, negated, result))
}

fn cast(b: &Builder<'_>, a: Val, ty: Ty) -> Val {
    if a.ty.is_float() && !ty.is_float() && ty != Ty::Bool { math::saturating_cast(b, a, ty) } else { b.cast(a, ty) }
}

/// A row value in its declared type: integers were accumulated in i64.
fn given(b: &Builder<'_>, v: Val, ty: Ty) -> Val {
    if v.ty.is_float() || ty.is_float() { v } else { b.cast(v, ty) }
}
