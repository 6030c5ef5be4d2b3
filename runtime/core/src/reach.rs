//! Which elements of its operands a kernel touches, for given arguments: what the loader holds against the buffers.
//!
//! Every index that a kernel computes is bounded by intervals over the coordinates of its space and over the integers of its programs;
//! what a program loads may be any number of its type. So a kernel that stays within what is said here stays within its buffers whatever they
//! hold. Beside that, elements are written at most once, so that the work is bounded by the buffers, too.

use crate::{
    Access, AttentionSpec, BinaryOp, CompareOp, DType, DotSpec, ElementOp, Inst, KernelSpec, MapSpec, MatMulSpec,
    PackSpec, Phase, Program, ReduceOp, RightSide, RowSpec, Size, UnaryOp, ValueId, Write,
};

/// What a kernel does to one operand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The first and the last element that it may touch, if any.
    pub elements: Option<(i64, i64)>,
    /// How many different elements it is sure to write.
    pub written: i64,
}

/// A launch of a kernel with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaches {
    /// What becomes of each operand, in the kernel's order.
    pub operands: Vec<Reach>,
    /// Points, rows or elements of a result that are computed.
    pub items: i64,
    /// Elements that go into each of them.
    pub depth: i64,
}

/// Both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    min: i128,
    max: i128,
}

type Result<T> = std::result::Result<T, String>;

/// What `spec` does under these arguments.
///
/// # Errors
/// What is impossible: a negative size, an argument that is not there, writes that overlap, a spec that contradicts itself.
pub fn reaches(spec: &KernelSpec, args: &[i64]) -> Result<Reaches> {
    let mut r = Reacher { args, operands: vec![Reach::default(); spec.operands().len()] };
    let (items, depth) = match spec {
        KernelSpec::Map(s) => r.map(s),
        KernelSpec::Row(s) => r.row(s),
        KernelSpec::MatMul(s) => r.matmul(s),
        KernelSpec::Pack(s) => r.pack(s),
        KernelSpec::Dot(s) => r.dot(s),
        KernelSpec::Attention(s) => r.attention(s),
    }?;
    Ok(Reaches { operands: r.operands, items, depth })
}

impl Interval {
    fn new(min: impl Into<i128>, max: impl Into<i128>) -> Self {
        Interval { min: min.into(), max: max.into() }
    }

    fn one(value: i64) -> Self {
        Interval::new(value, value)
    }

    /// All values of a type; a float's and a bool's as integers.
    fn of(dtype: DType) -> Self {
        match dtype {
            DType::I32 => Interval::new(i32::MIN, i32::MAX),
            DType::I8 => Interval::new(i8::MIN, i8::MAX),
            DType::U8 => Interval::new(u8::MIN, u8::MAX),
            DType::Bool => Interval::new(0, 1),
            _ => Interval::new(i64::MIN, i64::MAX),
        }
    }

    fn hull(self, other: Self) -> Self {
        Interval { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    fn meet(self, other: Self) -> Self {
        Interval { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    fn add(self, other: Self) -> Self {
        Interval { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn sub(self, other: Self) -> Self {
        Interval { min: self.min.saturating_sub(other.max), max: self.max.saturating_sub(other.min) }
    }

    fn mul(self, other: Self) -> Self {
        let corners = [(self.min, other.min), (self.min, other.max), (self.max, other.min), (self.max, other.max)];
        let corners = corners.map(|(a, b)| a.saturating_mul(b));
        Interval { min: *corners.iter().min().unwrap_or(&0), max: *corners.iter().max().unwrap_or(&0) }
    }

    /// What it is as a value of a type: where it does not fit, arithmetic wraps around to anything.
    fn fit(self, dtype: DType) -> Self {
        let all = Interval::of(dtype);
        if self.min >= all.min && self.max <= all.max { self } else { all }
    }
}

struct Reacher<'a> {
    args: &'a [i64],
    operands: Vec<Reach>,
}

/// A program evaluated over a space.
struct Values {
    intervals: Vec<Interval>,
}

impl Reacher<'_> {
    fn size(&self, s: Size) -> Result<i64> {
        match s {
            Size::Const(c) => Ok(c),
            Size::Arg(n) => {
                self.args.get(n as usize).copied().ok_or_else(|| format!("argument {n} of {}", self.args.len()))
            }
        }
    }

    /// Extents of a space, none negative.
    fn extents(&self, sizes: &[Size]) -> Result<Vec<i64>> {
        let extents: Vec<i64> = sizes.iter().map(|s| self.size(*s)).collect::<Result<_>>()?;
        match extents.iter().find(|n| **n < 0) {
            Some(n) => Err(format!("a size of {n}")),
            None => Ok(extents),
        }
    }

    /// Where an access may lead from coordinates of a space with these extents, of which none is zero.
    fn index(&self, access: &Access, extents: &[i64], values: &dyn Fn(ValueId) -> Interval) -> Result<Interval> {
        if access.strides.len() != extents.len() {
            return Err(format!("{} strides in a space of {} axes", access.strides.len(), extents.len()));
        }
        let mut sum = Interval::one(self.size(access.offset)?);
        for (stride, extent) in access.strides.iter().zip(extents) {
            sum = sum.add(Interval::new(0, extent - 1).mul(Interval::one(self.size(*stride)?)));
        }
        for (value, stride) in &access.indirect {
            sum = sum.add(values(*value).mul(Interval::one(self.size(*stride)?)));
        }
        Ok(sum)
    }

    fn touch(&mut self, operand: usize, at: Interval) -> Result<()> {
        let bound = |n: i128| i64::try_from(n).map_err(|_| format!("element {n} of operand {operand}"));
        let (min, max) = (bound(at.min)?, bound(at.max)?);
        let reach = self.operands.get_mut(operand).ok_or_else(|| format!("operand {operand}, which there is not"))?;
        let (first, last) = reach.elements.unwrap_or((min, max));
        reach.elements = Some((first.min(min), last.max(max)));
        Ok(())
    }

    /// A read or write of a plain access.
    fn plain(&mut self, operand: usize, access: &Access, extents: &[i64]) -> Result<()> {
        if !access.indirect.is_empty() {
            return Err("data-dependent terms that the template does not have".into());
        }
        if extents.contains(&0) {
            return Ok(());
        }
        let at = self.index(access, extents, &|_| Interval::one(0))?;
        self.touch(operand, at)
    }

    /// As `plain`, of an operand that is written at each point.
    fn plain_write(&mut self, operand: usize, access: &Access, extents: &[i64]) -> Result<()> {
        self.plain(operand, access, extents)?;
        self.operands[operand].written = self.distinct(access, extents)?;
        Ok(())
    }

    /// How many points a space has; an error if two of them lead to the same element.
    fn distinct(&self, access: &Access, extents: &[i64]) -> Result<i64> {
        let points = product(extents)?;
        if points == 0 {
            return Ok(0);
        }
        let mut axes: Vec<(i64, i64)> = vec![];
        for (stride, extent) in access.strides.iter().zip(extents).filter(|(_, n)| **n > 1) {
            let stride = self.size(*stride)?;
            axes.push((stride.checked_abs().ok_or("a stride that has no absolute value")?, *extent));
        }
        // From the closest neighbours on, each axis steps over all that those before it reach.
        axes.sort_unstable();
        let mut span = 0i64;
        for (stride, extent) in axes {
            if stride <= span {
                return Err("two points that write to the same element".into());
            }
            let over = stride.checked_mul(extent - 1).and_then(|over| span.checked_add(over));
            span = over.ok_or("strides beyond 64 bits")?;
        }
        Ok(points)
    }

    /// Evaluates a program at all points of a space, none of whose extents is zero, and notes what it loads; `first` is the operand number of
    /// the first read.
    fn program(
        &mut self,
        program: &Program,
        reads: &[Access],
        first: usize,
        extents: &[i64],
        givens: &[Interval],
    ) -> Result<Values> {
        let mut intervals: Vec<Interval> = Vec::with_capacity(program.insts.len());
        for inst in &program.insts {
            let at = |v: &ValueId| {
                intervals.get(v.0 as usize).copied().ok_or_else(|| format!("value {} before it is computed", v.0))
            };
            let interval = match &inst.op {
                ElementOp::Load(n) => {
                    let access = reads.get(*n as usize).ok_or_else(|| format!("read {n}, which there is not"))?;
                    for (v, _) in &access.indirect {
                        at(v)?;
                    }
                    let index = self.index(access, extents, &|v| intervals[v.0 as usize])?;
                    self.touch(first + *n as usize, index)?;
                    Interval::of(access.storage.dense().unwrap_or(DType::F32))
                }
                ElementOp::Coord(c) => {
                    let extent =
                        extents.get(*c as usize).ok_or_else(|| format!("coordinate {c}, which there is not"))?;
                    Interval::new(0, extent - 1)
                }
                ElementOp::Size(s) => Interval::one(self.size(*s)?),
                ElementOp::Const(bits) => constant(inst.dtype, *bits),
                ElementOp::Given(n) => {
                    *givens.get(*n as usize).ok_or_else(|| format!("row value {n} before it is computed"))?
                }
                ElementOp::Unary(op, a) => unary(*op, at(a)?),
                ElementOp::Binary(op, a, b) => binary(*op, at(a)?, at(b)?, inst.dtype),
                ElementOp::Compare(_, a, b) => {
                    at(a)?;
                    at(b)?;
                    Interval::of(DType::Bool)
                }
                ElementOp::Select(c, a, b) => {
                    at(c)?;
                    at(a)?.hull(at(b)?)
                }
                ElementOp::Cast(a) => at(a)?,
            };
            intervals.push(interval.fit(inst.dtype));
        }
        Ok(Values { intervals })
    }

    /// Notes what is written at all points of a space, none of whose extents is zero.
    fn write(
        &mut self,
        write: &Write,
        operand: usize,
        extents: &[i64],
        program: &Program,
        values: &Values,
    ) -> Result<()> {
        let known = |v: ValueId| values.intervals.get(v.0 as usize).copied();
        let missing = |v: ValueId| format!("value {}, which there is not", v.0);
        for v in write.access.indirect.iter().map(|(v, _)| *v).chain([write.value]).chain(write.condition) {
            known(v).ok_or_else(|| missing(v))?;
        }
        // Where the condition holds, the values that it compares are within its bounds.
        let mut met = values.intervals.clone();
        if let Some(condition) = write.condition {
            refine(&program.insts, condition, &values.intervals, &mut met);
        }
        if met.iter().any(|i| i.min > i.max) {
            return Ok(());
        }
        let at = self.index(&write.access, extents, &|v| met[v.0 as usize])?;
        self.touch(operand, at)?;
        if write.access.indirect.is_empty() {
            let points = self.distinct(&write.access, extents)?;
            if write.condition.is_none() {
                self.operands[operand].written += points;
            }
        }
        Ok(())
    }

    fn map(&mut self, s: &MapSpec) -> Result<(i64, i64)> {
        let extents = self.extents(&s.extents)?;
        let points = product(&extents)?;
        if points == 0 {
            return Ok((0, 0));
        }
        let values = self.program(&s.program, &s.reads, 0, &extents, &[])?;
        for (n, w) in s.writes.iter().enumerate() {
            self.write(w, s.reads.len() + n, &extents, &s.program, &values)?;
        }
        Ok((points, 1))
    }

    fn row(&mut self, s: &RowSpec) -> Result<(i64, i64)> {
        let mut extents = self.extents(&s.rows)?;
        let len = self.extents(&[s.len])?[0];
        let rows = product(&extents)?;
        product(&[rows, len])?;
        if rows == 0 {
            return Ok((0, 0));
        }
        let axis = extents.len();
        extents.push(len);
        let mut givens: Vec<Interval> = vec![];
        let mut operand = s.reads.len();
        for phase in &s.phases {
            match phase {
                Phase::Reduce { program, value, op } => {
                    extents[axis] = len;
                    let dtype = program.insts.get(value.0 as usize).ok_or("a value that there is not")?.dtype;
                    let all = Interval::of(if *op == ReduceOp::ArgMax { DType::I64 } else { dtype });
                    givens.push(match op {
                        _ if len == 0 => all,
                        ReduceOp::ArgMax => Interval::new(0, len - 1),
                        ReduceOp::Max | ReduceOp::Min => {
                            self.program(program, &s.reads, 0, &extents, &givens)?.intervals[value.0 as usize]
                        }
                        ReduceOp::Sum | ReduceOp::Prod => all,
                    });
                    if len > 0 && !matches!(op, ReduceOp::Max | ReduceOp::Min) {
                        self.program(program, &s.reads, 0, &extents, &givens[..givens.len() - 1])?;
                    }
                }
                Phase::Scalar { program, exports, writes } => {
                    extents[axis] = 1;
                    let values = self.program(program, &s.reads, 0, &extents, &givens)?;
                    for w in writes {
                        self.write(w, operand, &extents, program, &values)?;
                        operand += 1;
                    }
                    for e in exports {
                        givens.push(*values.intervals.get(e.0 as usize).ok_or("a value that there is not")?);
                    }
                }
                Phase::Map { program, writes } => {
                    extents[axis] = len;
                    if len > 0 {
                        let values = self.program(program, &s.reads, 0, &extents, &givens)?;
                        for (n, w) in writes.iter().enumerate() {
                            self.write(w, operand + n, &extents, program, &values)?;
                        }
                    }
                    operand += writes.len();
                }
                Phase::Scan { program, op, write, .. } => {
                    if *op == ReduceOp::ArgMax {
                        return Err("a running argmax".into());
                    }
                    extents[axis] = len;
                    if len > 0 {
                        let values = self.program(program, &s.reads, 0, &extents, &givens)?;
                        self.write(write, operand, &extents, program, &values)?;
                    }
                    operand += 1;
                }
            }
        }
        Ok((rows, len))
    }

    fn matmul(&mut self, s: &MatMulSpec) -> Result<(i64, i64)> {
        let [m, k] = self.extents(&[s.m, s.k])?[..] else { return Err("two sizes".into()) };
        let sound = |panel: i64| panel > 0 && matches!(s.parts, 1 | 2) && panel % s.parts == 0;
        let panels = match s.rhs {
            RightSide::Panels { panel, .. } => panel,
            RightSide::Columns(_) => s.parts,
        };
        if s.n <= 0 || !sound(panels) || s.n % s.parts != 0 {
            return Err(format!("a product of {} columns, {} parts, panels of {panels}", s.n, s.parts));
        }
        if s.skinny && m > MatMulSpec::SKINNY_ROWS {
            return Err(format!("{m} rows of a product for at most {}", MatMulSpec::SKINNY_ROWS));
        }
        let extents = [m, s.n / s.parts];
        product(&extents)?;
        if m == 0 {
            return Ok((0, 0));
        }
        if k > 0 {
            let rows = Interval::new(0, m - 1).mul(Interval::one(self.size(s.a_stride)?));
            self.touch(0, rows.add(Interval::new(0, k - 1)))?;
            let elements = match s.rhs {
                RightSide::Panels { panel, .. } => packed_len(s.n, k, panel, s.parts)?,
                RightSide::Columns(_) => product(&[s.n, k])?,
            };
            self.touch(1, Interval::new(0, elements - 1))?;
        }
        let accumulators = vec![Interval::of(DType::F32); s.parts as usize];
        let values = self.program(&s.program, &s.reads, 2, &extents, &accumulators)?;
        for (n, w) in s.writes.iter().enumerate() {
            self.write(w, 2 + s.reads.len() + n, &extents, &s.program, &values)?;
        }
        Ok((product(&[m, s.n])?, k))
    }

    fn pack(&mut self, s: &PackSpec) -> Result<(i64, i64)> {
        let k = self.extents(&[s.k])?[0];
        let sound = s.n >= 0 && s.panel > 0 && matches!(s.parts, 1 | 2) && s.panel % s.parts == 0;
        let within = s.column_offset >= 0 && s.column_offset.checked_add(s.n).is_some_and(|end| end <= s.n_total);
        if !sound || !within || s.n_total % s.parts != 0 {
            return Err(format!("{} columns from {} of {}, in panels of {}", s.n, s.column_offset, s.n_total, s.panel));
        }
        let values = product(&[s.n, k])?;
        if values == 0 {
            return Ok((0, 0));
        }
        self.touch(0, Interval::new(0, values - 1))?;
        if s.column_scale {
            self.touch(1, Interval::new(0, k - 1))?;
        }
        if s.row_scale {
            self.touch(1 + usize::from(s.column_scale), Interval::new(0, s.n - 1))?;
        }
        let out = self.operands.len() - 1;
        self.touch(out, Interval::new(0, packed_len(s.n_total, k, s.panel, s.parts)? - 1))?;
        // Whoever packs a part's last column fills the panel behind it.
        let (half, columns) = (s.n_total / s.parts, s.panel / s.parts);
        let padding = (columns - half % columns) % columns;
        let lasts = (1..=s.parts).filter(|part| (s.column_offset..s.column_offset + s.n).contains(&(part * half - 1)));
        // No more than the packed form has, whose length fits.
        self.operands[out].written = values + lasts.count() as i64 * padding * k;
        Ok((values, 1))
    }

    fn dot(&mut self, s: &DotSpec) -> Result<(i64, i64)> {
        let batch = self.extents(&s.batch)?;
        let [m, n, k] = self.extents(&[s.m, s.n, s.k])?[..] else { return Err("three sizes".into()) };
        let space = |x: i64, y: i64| [&batch[..], &[x, y]].concat();
        let out = space(m, n);
        let points = product(&out)?;
        product(&[points, k])?;
        if points == 0 {
            return Ok((0, 0));
        }
        self.plain(0, &s.a, &space(m, k))?;
        self.plain(1, &s.b, &space(k, n))?;
        self.plain_write(2, &s.out, &out)?;
        Ok((points, k))
    }

    fn attention(&mut self, s: &AttentionSpec) -> Result<(i64, i64)> {
        let [batch, queries, keys] = self.extents(&[s.batch, s.queries, s.kv_len])?[..] else {
            return Err("three sizes".into());
        };
        let heads = [s.q_heads, s.kv_heads, s.head_dim, s.v_dim];
        if heads.iter().any(|n| *n <= 0) || s.q_heads % s.kv_heads != 0 {
            return Err(format!("heads and their sizes {heads:?}"));
        }
        let out = [batch, queries, s.q_heads, s.v_dim];
        let points = product(&out)?;
        product(&[points, keys])?;
        if points == 0 {
            return Ok((0, 0));
        }
        let rows = match s.slots {
            Some(rows) => self.size(rows)?,
            None => batch,
        };
        if rows < 1 {
            return Err(format!("a cache of {rows} rows"));
        }
        self.plain(0, &s.q, &[batch, queries, s.q_heads, s.head_dim])?;
        self.plain(1, &s.k, &[rows, keys, s.kv_heads, s.head_dim])?;
        self.plain(2, &s.v, &[rows, keys, s.kv_heads, s.v_dim])?;
        let mut operand = 3;
        for present in [s.slots.is_some(), s.starts] {
            if present {
                self.touch(operand, Interval::new(0, batch - 1))?;
                operand += 1;
            }
        }
        if let Some(mask) = &s.mask {
            self.plain(operand, mask, &[batch, keys])?;
            operand += 1;
        }
        self.plain_write(operand, &s.out, &out)?;
        Ok((points, keys))
    }
}

/// The product of sizes that are not negative.
fn product(sizes: &[i64]) -> Result<i64> {
    if sizes.contains(&0) {
        return Ok(0);
    }
    let product = sizes.iter().try_fold(1i64, |n, d| n.checked_mul(*d));
    product.ok_or_else(|| format!("{sizes:?} points, which are more than 64 bits hold"))
}

/// As [`PackSpec::packed_len`], within 64 bits.
fn packed_len(n: i64, k: i64, panel: i64, parts: i64) -> Result<i64> {
    let (columns, half) = (panel / parts, n / parts);
    product(&[half.div_euclid(columns) + i64::from(half % columns != 0), panel, k])
}

fn constant(dtype: DType, bits: u64) -> Interval {
    match dtype {
        DType::I64 => Interval::one(bits as i64),
        DType::I32 => Interval::one((bits as i32).into()),
        DType::I8 => Interval::one((bits as i8).into()),
        DType::U8 => Interval::one((bits as u8).into()),
        DType::Bool => Interval::one((bits & 1) as i64),
        float => Interval::of(float),
    }
}

fn unary(op: UnaryOp, a: Interval) -> Interval {
    match op {
        UnaryOp::Neg => Interval::one(0).sub(a),
        UnaryOp::Not => Interval::of(DType::Bool),
        _ => Interval::of(DType::I64),
    }
}

fn binary(op: BinaryOp, a: Interval, b: Interval, dtype: DType) -> Interval {
    // Floats are not bounded: what is converted from them may be anything.
    if dtype.is_float() {
        return Interval::of(dtype);
    }
    match op {
        BinaryOp::Add => a.add(b),
        BinaryOp::Sub => a.sub(b),
        BinaryOp::Mul => a.mul(b),
        BinaryOp::Max => Interval { min: a.min.max(b.min), max: a.max.max(b.max) },
        BinaryOp::Min => Interval { min: a.min.min(b.min), max: a.max.min(b.max) },
        _ => Interval::of(dtype),
    }
}

/// Narrows what a condition compares with known numbers, as far as it is a conjunction.
fn refine(insts: &[Inst], condition: ValueId, values: &[Interval], met: &mut [Interval]) {
    match insts[condition.0 as usize].op {
        ElementOp::Binary(BinaryOp::And, a, b) => {
            refine(insts, a, values, met);
            refine(insts, b, values, met);
        }
        ElementOp::Compare(op, a, b) if !insts[a.0 as usize].dtype.is_float() => {
            let (lower, upper) = (values[b.0 as usize].min, values[b.0 as usize].max);
            let all = Interval::of(DType::I64);
            let bound = match op {
                CompareOp::Lt => Interval { max: upper - 1, ..all },
                CompareOp::Le => Interval { max: upper, ..all },
                CompareOp::Gt => Interval { min: lower + 1, ..all },
                CompareOp::Ge => Interval { min: lower, ..all },
                CompareOp::Eq => Interval { min: lower, max: upper },
                CompareOp::Ne => all,
            };
            met[a.0 as usize] = met[a.0 as usize].meet(bound);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Size = Size::Const(1);

    fn access(offset: Size, strides: &[Size]) -> Access {
        Access { storage: DType::F32.into(), offset, strides: strides.to_vec(), indirect: vec![] }
    }

    fn inst(op: ElementOp, dtype: DType) -> Inst {
        Inst { op, dtype }
    }

    /// `out[i, j] = table[clamp(ids[i])][j]` over `[Arg(0), 4]`, where the clamp's upper end is `Arg(1)`.
    fn lookup(out: Access) -> KernelSpec {
        use ElementOp::{Binary, Const, Load};
        let ids = Access { storage: DType::I64.into(), ..access(Size::Const(0), &[ONE, Size::Const(0)]) };
        let table =
            Access { indirect: vec![(ValueId(4), Size::Const(4))], ..access(Size::Const(0), &[Size::Const(0), ONE]) };
        let insts = vec![
            inst(Load(0), DType::I64),
            inst(ElementOp::Size(Size::Arg(1)), DType::I64),
            inst(Binary(BinaryOp::Min, ValueId(0), ValueId(1)), DType::I64),
            inst(Const(0), DType::I64),
            inst(Binary(BinaryOp::Max, ValueId(2), ValueId(3)), DType::I64),
            inst(Load(1), DType::F32),
        ];
        KernelSpec::Map(MapSpec {
            extents: vec![Size::Arg(0), Size::Const(4)],
            reads: vec![ids, table],
            program: Program { insts },
            writes: vec![Write { access: out, value: ValueId(5), condition: None }],
        })
    }

    fn elements(spec: &KernelSpec, args: &[i64]) -> Vec<Option<(i64, i64)>> {
        reaches(spec, args).expect("a launch").operands.iter().map(|r| r.elements).collect()
    }

    #[test]
    fn a_clamped_index_reaches_no_further_than_its_clamp() {
        let spec = lookup(access(Size::Const(0), &[Size::Const(4), ONE]));
        assert_eq!(elements(&spec, &[3, 9]), [Some((0, 2)), Some((0, 39)), Some((0, 11))]);
        // With an upper end below zero the clamp gives zero.
        assert_eq!(elements(&spec, &[3, -5])[1], Some((0, 3)));
        assert_eq!(elements(&spec, &[0, 9]), [None, None, None]);
        let reaches = reaches(&spec, &[3, 9]).expect("a launch");
        assert_eq!((reaches.items, reaches.operands[2].written, reaches.operands[1].written), (12, 12, 0));
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let spec = lookup(access(Size::Const(0), &[Size::Const(4), ONE]));
        let error = |spec: &KernelSpec, args: &[i64]| reaches(spec, args).expect_err("refused");
        assert_eq!(error(&spec, &[3]), "argument 1 of 1");
        assert_eq!(error(&spec, &[-3, 9]), "a size of -3");
        assert!(error(&spec, &[i64::MAX, 9]).contains("more than 64 bits"));
        let overlapping = lookup(access(Size::Const(0), &[Size::Const(3), ONE]));
        assert_eq!(error(&overlapping, &[3, 9]), "two points that write to the same element");
        assert_eq!(elements(&overlapping, &[1, 9])[2], Some((0, 3)), "one row overlaps with none");
        let backwards = lookup(access(Size::Const(11), &[Size::Const(-4), Size::Const(-1)]));
        assert_eq!(elements(&backwards, &[3, 9])[2], Some((0, 11)));
        let short = lookup(access(Size::Const(0), &[ONE]));
        assert_eq!(error(&short, &[3, 9]), "1 strides in a space of 2 axes");
    }

    #[test]
    fn a_condition_bounds_what_is_stored() {
        use ElementOp::{Binary, Compare, Load};
        let slots = Access { storage: DType::I64.into(), ..access(Size::Const(0), &[ONE]) };
        let cache =
            Access { indirect: vec![(ValueId(0), Size::Const(10))], ..access(Size::Const(2), &[Size::Const(0)]) };
        let spec = |lower: CompareOp| {
            let insts = vec![
                inst(Load(0), DType::I64),
                inst(ElementOp::Size(Size::Arg(0)), DType::I64),
                inst(ElementOp::Const(0), DType::I64),
                inst(Compare(lower, ValueId(0), ValueId(2)), DType::Bool),
                inst(Compare(CompareOp::Lt, ValueId(0), ValueId(1)), DType::Bool),
                inst(Binary(BinaryOp::And, ValueId(3), ValueId(4)), DType::Bool),
            ];
            let write = Write { access: cache.clone(), value: ValueId(0), condition: Some(ValueId(5)) };
            KernelSpec::Map(MapSpec {
                extents: vec![Size::Const(3)],
                reads: vec![slots.clone()],
                program: Program { insts },
                writes: vec![write],
            })
        };
        assert_eq!(elements(&spec(CompareOp::Ge), &[4]), [Some((0, 2)), Some((2, 32))]);
        assert_eq!(elements(&spec(CompareOp::Gt), &[4])[1], Some((12, 32)));
        assert_eq!(elements(&spec(CompareOp::Ge), &[0])[1], None, "nothing is both at least 0 and below 0");
        assert!(reaches(&spec(CompareOp::Ne), &[4]).is_err(), "nothing bounds it from below");
    }

    #[test]
    fn arithmetic_that_wraps_may_give_anything() {
        let all = Interval::of(DType::I64);
        let small = Interval::new(0, 10);
        assert_eq!(binary(BinaryOp::Add, all, small, DType::I64).fit(DType::I64), all);
        assert_eq!(
            binary(BinaryOp::Mul, Interval::new(-3, 2), Interval::new(-5, 7), DType::I64),
            Interval::new(-21, 15)
        );
        assert_eq!(Interval::new(0, 200).fit(DType::I8), Interval::of(DType::I8));
        assert_eq!(unary(UnaryOp::Neg, small), Interval::new(-10, 0));
    }
}
