//! A thin, dynamically typed front over cubecl's IR: a kernel is generated from data that exists only while the compiler
//! runs, so that values carry their element type and lane count in the host program ([`Val`]) and not in Rust's types.
//!
//! Addresses are [`Ix`]: constants are folded while building, everything else wraps modulo 2^64, so that negative strides
//! need no special case as long as the final element index is not negative.

pub use super::ty::Ty;
use crate::Target;
use cubecl_core::ir::{
    AddressSpace, Builtin, ConstantValue, OpInserter, Scope,
    attributes::IndexAttr,
    dialect::{
        bitwise::{BitwiseAndOp, BitwiseOrOp, ShiftLeftOp, ShiftRightOp},
        branch::{IfOp, RangeLoopOp},
        cmp::*,
        general::{BoolAndOp, BoolNotOp, BoolOrOp, CastOp, ReadBuiltinOp, ReadScalarOp, ReinterpretCastOp, SelectOp},
        math::*,
        memory::{IndexOp, LoadOp, StoreOp},
        vector::{CompositeExtractOp, CompositeInsertOp, VectorBroadcastOp},
    },
    prelude::{TypeAttr, TypeHandle, Value},
    types::{ArrayType, PointerType, VectorType},
};
use kiln_core::CompareOp;
use pliron::{attribute::boxed_attr_cast, builtin::ops::ConstantOp};

/// A value: one element, or a vector of them. A scalar meets a vector by being repeated in every lane.
#[derive(Clone, Copy)]
pub struct Val {
    value: Value,
    /// Its element type.
    pub ty: Ty,
    /// 1, or the lanes of a vector.
    pub lanes: usize,
}

impl Val {
    /// The IR's value.
    pub fn raw(self) -> Value {
        self.value
    }

    /// An IR value of the same type as `like`.
    pub fn vector_of(value: Value, like: Val) -> Val {
        Val { value, ..like }
    }
}

/// An address computation: known now, or a value of type index.
#[derive(Clone, Copy)]
pub enum Ix {
    /// Known while building.
    C(i64),
    /// Known at run time.
    V(Value),
}

/// A buffer of the kernel, or an array on its stack.
#[derive(Clone, Copy)]
pub struct Buf {
    base: Value,
    space: AddressSpace,
    /// The type that indices count.
    pub elem: Ty,
}

/// A mutable local variable.
#[derive(Clone, Copy)]
pub struct Var {
    ptr: Value,
    ty: Ty,
    lanes: usize,
}

/// Builds operations at one insertion point.
pub struct Builder<'s> {
    scope: &'s Scope,
    /// As [`Target::fused_multiply_add`].
    fused: bool,
    /// As [`Target::converts_f16`].
    converts_f16: bool,
}

macro_rules! unary {
    ($self:ident, $op:ident, $a:expr) => {{
        let op = $op::new($self.scope.ctx_mut(), $a.value);
        Val { value: $self.scope.register_with_result(&op), ..$a }
    }};
}

macro_rules! binary {
    ($self:ident, $op:ident, $a:expr, $b:expr) => {{
        let op = $op::new($self.scope.ctx_mut(), $a.value, $b.value);
        Val { value: $self.scope.register_with_result(&op), ..$a }
    }};
}

macro_rules! compare {
    ($self:ident, $op:ident, $a:expr, $b:expr) => {{
        let op = $op::new($self.scope.ctx_mut(), $a.value, $b.value);
        Val { value: $self.scope.register_with_result(&op), ty: Ty::Bool, lanes: $a.lanes }
    }};
}

impl<'s> Builder<'s> {
    /// Builds at the end of `scope`.
    pub fn new(scope: &'s Scope, target: &dyn Target) -> Self {
        Builder { scope, fused: target.fused_multiply_add(), converts_f16: target.converts_f16() }
    }

    /// Builds at the end of a block within this one.
    fn inside<'c>(&self, scope: &'c Scope) -> Builder<'c> {
        Builder { scope, fused: self.fused, converts_f16: self.converts_f16 }
    }

    /// Builds with operations that this type does not know.
    pub fn with_scope<T>(&self, build: impl FnOnce(&Scope) -> T) -> T {
        build(self.scope)
    }

    fn type_of(&self, ty: Ty, lanes: usize) -> TypeHandle {
        let ctx = self.scope.ctx();
        let scalar = ty.elem().to_type(ctx);
        if lanes == 1 { scalar } else { VectorType::get(ctx, scalar, lanes).into() }
    }

    fn constant(&self, ty: Ty, value: ConstantValue) -> Val {
        let attribute = value.as_attribute(self.scope.ctx(), ty.elem());
        let attribute = boxed_attr_cast(attribute).expect("a constant's attribute has a type");
        let op = ConstantOp::new(self.scope.ctx_mut(), attribute);
        Val { value: self.scope.register_with_result(&op), ty, lanes: 1 }
    }

    /// An f32 constant.
    pub fn f32(&self, value: f32) -> Val {
        if value.is_finite() {
            return self.constant(Ty::F32, ConstantValue::Float(f64::from(value)));
        }
        let bits = self.int(Ty::U32, i64::from(value.to_bits()));
        self.bitcast(bits, Ty::F32)
    }

    /// A floating-point constant of type `ty`.
    pub fn float(&self, ty: Ty, value: f64) -> Val {
        match ty {
            Ty::F64 if value.is_finite() => self.constant(Ty::F64, ConstantValue::Float(value)),
            Ty::F64 => {
                let bits = self.int(Ty::U64, value.to_bits() as i64);
                self.bitcast(bits, Ty::F64)
            }
            _ => self.f32(value as f32),
        }
    }

    /// An integer constant; for unsigned types the low bits count.
    pub fn int(&self, ty: Ty, value: i64) -> Val {
        let value = match ty {
            Ty::U64 | Ty::Index => ConstantValue::UInt(value as u64),
            Ty::U32 => ConstantValue::UInt(u64::from(value as u32)),
            Ty::U16 => ConstantValue::UInt(u64::from(value as u16)),
            Ty::U8 => ConstantValue::UInt(u64::from(value as u8)),
            Ty::Bool => return self.bool(value != 0),
            _ => ConstantValue::Int(value),
        };
        self.constant(ty, value)
    }

    /// A bool constant.
    pub fn bool(&self, value: bool) -> Val {
        Val { value: self.scope.const_bool(value), ty: Ty::Bool, lanes: 1 }
    }

    /// The number `value` in whatever type `ty` is.
    pub fn number(&self, ty: Ty, value: f64) -> Val {
        if ty.is_float() { self.float(ty, value) } else { self.int(ty, value as i64) }
    }

    // ---- vectors

    /// `a` in each of `lanes` lanes; a vector is returned as it is.
    pub fn splat(&self, a: Val, lanes: usize) -> Val {
        if a.lanes == lanes {
            return a;
        }
        debug_assert_eq!(a.lanes, 1, "a vector of {} lanes met one of {lanes}", a.lanes);
        let ty = self.type_of(a.ty, lanes);
        let op = VectorBroadcastOp::new(self.scope.ctx_mut(), ty, a.value);
        Val { value: self.scope.register_with_result(&op), ty: a.ty, lanes }
    }

    /// Lane `lane` of `a`; a scalar is every lane.
    pub fn lane(&self, a: Val, lane: usize) -> Val {
        if a.lanes == 1 {
            return a;
        }
        let op = CompositeExtractOp::new(self.scope.ctx_mut(), a.value, lane);
        Val { value: self.scope.register_with_result(&op), ty: a.ty, lanes: 1 }
    }

    /// A vector of the given scalars.
    pub fn vector(&self, parts: &[Val]) -> Val {
        if parts.len() == 1 {
            return parts[0];
        }
        let mut v = self.splat(parts[0], parts.len());
        for (i, part) in parts.iter().enumerate().skip(1) {
            let op = CompositeInsertOp::new(self.scope.ctx_mut(), v.value, part.value, i);
            v.value = self.scope.register_with_result(&op);
        }
        v
    }

    /// `0, 1, 2, …` of type `ty`.
    pub fn iota(&self, ty: Ty, lanes: usize) -> Val {
        let parts: Vec<Val> = (0..lanes).map(|i| self.number(ty, i as f64)).collect();
        self.vector(&parts)
    }

    fn meet(&self, a: Val, b: Val) -> (Val, Val) {
        debug_assert_eq!(a.ty, b.ty, "operands of different types");
        let lanes = a.lanes.max(b.lanes);
        (self.splat(a, lanes), self.splat(b, lanes))
    }

    // ---- arithmetic

    /// `a + b`
    pub fn add(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        if a.ty.is_float() { binary!(self, FAddOp, a, b) } else { binary!(self, IAddOp, a, b) }
    }

    /// `a - b`
    pub fn sub(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        if a.ty.is_float() { binary!(self, FSubOp, a, b) } else { binary!(self, ISubOp, a, b) }
    }

    /// `a * b`
    pub fn mul(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        if a.ty.is_float() { binary!(self, FMulOp, a, b) } else { binary!(self, IMulOp, a, b) }
    }

    /// `a * b + c`, rounded once where the target can, else also after the product.
    pub fn fma(&self, a: Val, b: Val, c: Val) -> Val {
        if !self.fused {
            return self.add(self.mul(a, b), c);
        }
        let lanes = a.lanes.max(b.lanes).max(c.lanes);
        let (a, b, c) = (self.splat(a, lanes), self.splat(b, lanes), self.splat(c, lanes));
        let op = FmaOp::new(self.scope.ctx_mut(), a.value, b.value, c.value);
        Val { value: self.scope.register_with_result(&op), ..a }
    }

    /// `a / b`; an integer divisor must not be zero.
    pub fn div(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        match a.ty {
            t if t.is_float() => binary!(self, FDivOp, a, b),
            t if t.is_signed() => binary!(self, SDivOp, a, b),
            _ => binary!(self, UDivOp, a, b),
        }
    }

    /// Remainder of an integer division, with the sign of `a`; the divisor must not be zero.
    pub fn rem(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        if a.ty.is_signed() { binary!(self, SRemOp, a, b) } else { binary!(self, URemOp, a, b) }
    }

    /// The larger; a NaN gives way to a number.
    pub fn max(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        match a.ty {
            // LLVM makes calls of its own maximum for some scalars.
            t if t.is_float() => {
                let first = self.or(self.gt(a, b), self.compare(CompareOp::Ne, b, b));
                self.select(first, a, b)
            }
            t if t.is_signed() => binary!(self, SMaxOp, a, b),
            _ => binary!(self, UMaxOp, a, b),
        }
    }

    /// The smaller; a NaN gives way to a number.
    pub fn min(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        match a.ty {
            // LLVM makes calls of its own minimum for some scalars.
            t if t.is_float() => {
                let first = self.or(self.lt(a, b), self.compare(CompareOp::Ne, b, b));
                self.select(first, a, b)
            }
            t if t.is_signed() => binary!(self, SMinOp, a, b),
            _ => binary!(self, UMinOp, a, b),
        }
    }

    /// The larger of two floats where neither is a NaN.
    pub fn max_number(&self, a: Val, b: Val) -> Val {
        self.select(self.gt(a, b), a, b)
    }

    /// `-a`
    pub fn neg(&self, a: Val) -> Val {
        if a.ty.is_float() { unary!(self, FNegOp, a) } else { self.sub(self.int(a.ty, 0), a) }
    }

    /// `|a|`
    pub fn abs(&self, a: Val) -> Val {
        match a.ty {
            t if t.is_float() => unary!(self, FAbsOp, a),
            t if t.is_signed() => self.max(a, self.neg(a)),
            _ => a,
        }
    }

    /// Square root, correctly rounded.
    pub fn sqrt(&self, a: Val) -> Val {
        unary!(self, SqrtOp, a)
    }

    /// Largest integer not above `a`.
    pub fn floor(&self, a: Val) -> Val {
        unary!(self, FloorOp, a)
    }

    /// Nearest integer towards zero.
    pub fn trunc(&self, a: Val) -> Val {
        unary!(self, TruncOp, a)
    }

    // ---- bits and bools

    /// Bitwise, or logical for bools.
    pub fn and(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        if a.ty == Ty::Bool { binary!(self, BoolAndOp, a, b) } else { binary!(self, BitwiseAndOp, a, b) }
    }

    /// Bitwise, or logical for bools.
    pub fn or(&self, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        if a.ty == Ty::Bool { binary!(self, BoolOrOp, a, b) } else { binary!(self, BitwiseOrOp, a, b) }
    }

    /// Logical not.
    pub fn not(&self, a: Val) -> Val {
        unary!(self, BoolNotOp, a)
    }

    /// `a << n`
    pub fn shl(&self, a: Val, n: Val) -> Val {
        let (a, n) = self.meet(a, n);
        binary!(self, ShiftLeftOp, a, n)
    }

    /// `a >> n` of unsigned values (cubecl 0.11.3 shifts signed vectors as if they were unsigned).
    pub fn shr(&self, a: Val, n: Val) -> Val {
        debug_assert!(!a.ty.is_signed(), "signed right shifts are wrong in cubecl 0.11.3");
        let (a, n) = self.meet(a, n);
        binary!(self, ShiftRightOp, a, n)
    }

    /// A comparison; with a NaN only `ne` holds.
    pub fn compare(&self, op: CompareOp, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        match (op, a.ty) {
            (CompareOp::Eq, t) if t.is_float() => compare!(self, FEqualOp, a, b),
            (CompareOp::Ne, t) if t.is_float() => compare!(self, FNotEqualOp, a, b),
            (CompareOp::Lt, t) if t.is_float() => compare!(self, FLessThanOp, a, b),
            (CompareOp::Le, t) if t.is_float() => compare!(self, FLessThanOrEqualOp, a, b),
            (CompareOp::Gt, t) if t.is_float() => compare!(self, FGreaterThanOp, a, b),
            (CompareOp::Ge, t) if t.is_float() => compare!(self, FGreaterThanOrEqualOp, a, b),
            (CompareOp::Eq, Ty::Bool) => compare!(self, BoolEqualOp, a, b),
            (CompareOp::Ne, Ty::Bool) => compare!(self, BoolNotEqualOp, a, b),
            (CompareOp::Eq, _) => compare!(self, IEqualOp, a, b),
            (CompareOp::Ne, _) => compare!(self, INotEqualOp, a, b),
            (CompareOp::Lt, t) if t.is_signed() => compare!(self, SLessThanOp, a, b),
            (CompareOp::Le, t) if t.is_signed() => compare!(self, SLessThanOrEqualOp, a, b),
            (CompareOp::Gt, t) if t.is_signed() => compare!(self, SGreaterThanOp, a, b),
            (CompareOp::Ge, t) if t.is_signed() => compare!(self, SGreaterThanOrEqualOp, a, b),
            (CompareOp::Lt, Ty::Bool) => self.and(self.not(a), b),
            (CompareOp::Le, Ty::Bool) => self.or(self.not(a), b),
            (CompareOp::Gt, Ty::Bool) => self.and(a, self.not(b)),
            (CompareOp::Ge, Ty::Bool) => self.or(a, self.not(b)),
            (CompareOp::Lt, _) => compare!(self, ULessThanOp, a, b),
            (CompareOp::Le, _) => compare!(self, ULessThanOrEqualOp, a, b),
            (CompareOp::Gt, _) => compare!(self, UGreaterThanOp, a, b),
            (CompareOp::Ge, _) => compare!(self, UGreaterThanOrEqualOp, a, b),
        }
    }

    /// `a < b`
    pub fn lt(&self, a: Val, b: Val) -> Val {
        self.compare(CompareOp::Lt, a, b)
    }

    /// `a > b`
    pub fn gt(&self, a: Val, b: Val) -> Val {
        self.compare(CompareOp::Gt, a, b)
    }

    /// `a == b`
    pub fn eq(&self, a: Val, b: Val) -> Val {
        self.compare(CompareOp::Eq, a, b)
    }

    /// `if condition { a } else { b }` in each lane.
    pub fn select(&self, condition: Val, a: Val, b: Val) -> Val {
        let (a, b) = self.meet(a, b);
        let lanes = condition.lanes.max(a.lanes);
        let (a, b) = (self.splat(a, lanes), self.splat(b, lanes));
        let condition = self.splat(condition, lanes);
        let op = SelectOp::new(self.scope.ctx_mut(), condition.value, a.value, b.value);
        Val { value: self.scope.register_with_result(&op), ..a }
    }

    // ---- conversions

    /// Conversion between number types; a float must be within the integer's range. Anything to bool is `!= 0`.
    pub fn cast(&self, a: Val, ty: Ty) -> Val {
        match (a.ty, ty) {
            (from, to) if from == to => return a,
            (Ty::F16, _) if !self.converts_f16 => return self.cast(self.widen_f16(a), ty),
            (_, Ty::F16) if !self.converts_f16 => return self.round_to_f16(self.cast(a, Ty::F32)),
            _ => {}
        }
        let to = self.type_of(ty, a.lanes);
        let op = CastOp::new(self.scope.ctx_mut(), to, a.value);
        Val { value: self.scope.register_with_result(&op), ty, lanes: a.lanes }
    }

    /// The same bits in another type of the same size.
    pub fn bitcast(&self, a: Val, ty: Ty) -> Val {
        if a.ty == ty {
            return a;
        }
        let to = self.type_of(ty, a.lanes);
        let op = ReinterpretCastOp::new(self.scope.ctx_mut(), to, a.value);
        Val { value: self.scope.register_with_result(&op), ty, lanes: a.lanes }
    }

    // ---- addresses

    /// As a value of type index.
    pub fn ix_value(&self, i: Ix) -> Val {
        let value = match i {
            Ix::C(c) => self.scope.const_usize(c as usize),
            Ix::V(v) => v,
        };
        Val { value, ty: Ty::Index, lanes: 1 }
    }

    /// An integer value as an address computation.
    pub fn ix(&self, a: Val) -> Ix {
        Ix::V(self.cast(a, Ty::Index).value)
    }

    /// As an i64.
    pub fn ix_i64(&self, i: Ix) -> Val {
        match i {
            Ix::C(c) => self.int(Ty::I64, c),
            Ix::V(_) => self.cast(self.ix_value(i), Ty::I64),
        }
    }

    /// `a + b`
    pub fn iadd(&self, a: Ix, b: Ix) -> Ix {
        match (a, b) {
            (Ix::C(a), Ix::C(b)) => Ix::C(a.wrapping_add(b)),
            (Ix::C(0), x) | (x, Ix::C(0)) => x,
            _ => Ix::V(self.add(self.ix_value(a), self.ix_value(b)).value),
        }
    }

    /// `a - b`
    pub fn isub(&self, a: Ix, b: Ix) -> Ix {
        match (a, b) {
            (Ix::C(a), Ix::C(b)) => Ix::C(a.wrapping_sub(b)),
            (x, Ix::C(0)) => x,
            _ => Ix::V(self.sub(self.ix_value(a), self.ix_value(b)).value),
        }
    }

    /// `a * b`
    pub fn imul(&self, a: Ix, b: Ix) -> Ix {
        match (a, b) {
            (Ix::C(a), Ix::C(b)) => Ix::C(a.wrapping_mul(b)),
            (Ix::C(0), _) | (_, Ix::C(0)) => Ix::C(0),
            (Ix::C(1), x) | (x, Ix::C(1)) => x,
            _ => Ix::V(self.mul(self.ix_value(a), self.ix_value(b)).value),
        }
    }

    /// `a / b` of non-negative numbers.
    pub fn idiv(&self, a: Ix, b: Ix) -> Ix {
        match (a, b) {
            (Ix::C(a), Ix::C(b)) if b != 0 => Ix::C(a / b),
            (x, Ix::C(1)) => x,
            _ => Ix::V(self.div(self.ix_value(a), self.ix_value(b)).value),
        }
    }

    /// `a % b` of non-negative numbers.
    pub fn irem(&self, a: Ix, b: Ix) -> Ix {
        match (a, b) {
            (Ix::C(a), Ix::C(b)) if b != 0 => Ix::C(a % b),
            (_, Ix::C(1)) => Ix::C(0),
            _ => Ix::V(self.rem(self.ix_value(a), self.ix_value(b)).value),
        }
    }

    /// The smaller of two non-negative numbers.
    pub fn imin(&self, a: Ix, b: Ix) -> Ix {
        match (a, b) {
            (Ix::C(a), Ix::C(b)) => Ix::C(a.min(b)),
            _ => Ix::V(self.min(self.ix_value(a), self.ix_value(b)).value),
        }
    }

    /// Comparison of non-negative numbers.
    pub fn icompare(&self, op: CompareOp, a: Ix, b: Ix) -> Val {
        self.compare(op, self.ix_value(a), self.ix_value(b))
    }

    /// `a` rounded down to a multiple of `n`.
    pub fn round_down(&self, a: Ix, n: i64) -> Ix {
        self.imul(self.idiv(a, Ix::C(n)), Ix::C(n))
    }

    // ---- memory

    /// A buffer argument of the kernel.
    pub fn buffer(base: Value, number: usize, elem: Ty) -> Buf {
        Buf { base, space: AddressSpace::Global(number), elem }
    }

    /// The type handle of one buffer element.
    pub fn buffer_type(scope: &Scope, elem: Ty) -> TypeHandle {
        elem.elem().to_type(scope.ctx())
    }

    /// An uninitialised array on the stack.
    pub fn local_array(&self, elem: Ty, len: usize) -> Buf {
        let inner = self.type_of(elem, 1);
        let ty = ArrayType::get(self.scope.ctx(), inner, len);
        Buf { base: self.scope.create_local_mut(ty, None), space: AddressSpace::Local, elem }
    }

    fn pointer(&self, buf: Buf, index: Ix, ty: Ty, lanes: usize) -> Value {
        let index = self.ix_value(index).value;
        let op = IndexOp::new(self.scope.ctx_mut(), buf.base, index, None);
        let at = self.scope.register_with_result(&op);
        if ty == buf.elem && lanes == 1 {
            return at;
        }
        let pointee = self.type_of(ty, lanes);
        let to = PointerType::get(self.scope.ctx(), pointee, buf.space);
        let op = ReinterpretCastOp::new(self.scope.ctx_mut(), to.into(), at);
        self.scope.register_with_result(&op)
    }

    /// `lanes` values of type `ty` from the address of element `index`, which need not be aligned to more than an element.
    pub fn load_as(&self, buf: Buf, index: Ix, ty: Ty, lanes: usize) -> Val {
        let ptr = self.pointer(buf, index, ty, lanes);
        let op = LoadOp::new(self.scope.ctx_mut(), ptr);
        Val { value: self.scope.register_with_result(&op), ty, lanes }
    }

    /// `lanes` elements from element `index` on.
    pub fn load(&self, buf: Buf, index: Ix, lanes: usize) -> Val {
        self.load_as(buf, index, buf.elem, lanes)
    }

    /// Stores `value` (all its lanes) at the address of element `index`.
    pub fn store(&self, buf: Buf, index: Ix, value: Val) {
        let ptr = self.pointer(buf, index, value.ty, value.lanes);
        let op = StoreOp::new(self.scope.ctx_mut(), ptr, value.value);
        self.scope.register(&op);
    }

    /// A local variable with that value.
    pub fn var(&self, init: Val) -> Var {
        let ty = self.type_of(init.ty, init.lanes);
        let var = Var { ptr: self.scope.create_local_mut(ty, None), ty: init.ty, lanes: init.lanes };
        self.set(var, init);
        var
    }

    /// Its value now.
    pub fn get(&self, var: Var) -> Val {
        let op = LoadOp::new(self.scope.ctx_mut(), var.ptr);
        Val { value: self.scope.register_with_result(&op), ty: var.ty, lanes: var.lanes }
    }

    /// Assigns it.
    pub fn set(&self, var: Var, value: Val) {
        debug_assert_eq!(var.ty, value.ty, "a variable keeps its type");
        let value = self.splat(value, var.lanes);
        let op = StoreOp::new(self.scope.ctx_mut(), var.ptr, value.value);
        self.scope.register(&op);
    }

    // ---- control flow

    /// `for i in (start..end).step_by(step)`, unsigned.
    pub fn range(&self, start: Ix, end: Ix, step: i64, body: impl FnOnce(&Builder<'_>, Ix)) {
        if let (Ix::C(s), Ix::C(e)) = (start, end) {
            if s >= e {
                return;
            }
            if s + step >= e {
                return body(self, start);
            }
        }
        let (start, end) = (self.ix_value(start).value, self.ix_value(end).value);
        let step = self.scope.const_usize(step as usize);
        let op = RangeLoopOp::new(self.scope.ctx_mut(), start, end, step);
        let i = op.iter_var(self.scope.ctx());
        let child = self.scope.child(OpInserter::new_at_block_end(op.loop_body(self.scope.ctx())));
        body(&self.inside(&child), Ix::V(i));
        child.terminate_yield();
        self.scope.register(&op);
    }

    /// `if condition { then }`
    pub fn when(&self, condition: Val, then: impl FnOnce(&Builder<'_>)) {
        self.when_else(condition, then, |_| ());
    }

    /// `if condition { then } else { otherwise }`
    pub fn when_else(&self, condition: Val, then: impl FnOnce(&Builder<'_>), otherwise: impl FnOnce(&Builder<'_>)) {
        let op = IfOp::new(self.scope.ctx_mut(), condition.value);
        let child = self.scope.child(OpInserter::new_at_block_end(op.then_block(self.scope.ctx())));
        then(&self.inside(&child));
        child.terminate_yield();
        let child = self.scope.child(OpInserter::new_at_block_end(op.else_block(self.scope.ctx())));
        otherwise(&self.inside(&child));
        child.terminate_yield();
        self.scope.register(&op);
    }

    // ---- launch parameters

    /// A built-in position or size.
    pub fn builtin(&self, builtin: Builtin, ty: Ty) -> Val {
        let handle = self.type_of(ty, 1);
        let op = ReadBuiltinOp::new(self.scope.ctx_mut(), handle, builtin);
        Val { value: self.scope.register_with_result(&op), ty, lanes: 1 }
    }

    /// The i64 scalar argument number `id`.
    pub fn scalar_argument(&self, id: usize) -> Val {
        let ty = TypeAttr::new(self.type_of(Ty::I64, 1));
        let op = ReadScalarOp::new(self.scope.ctx_mut(), ty, IndexAttr::new(id));
        Val { value: self.scope.register_with_result(&op), ty: Ty::I64, lanes: 1 }
    }
}
