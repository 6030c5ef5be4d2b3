//! Packing a weight into panels. Source rows become columns: eight rows by eight depths are loaded, converted and transposed in
//! registers, so that every store is a vector of a panel's row. Groups of columns that do not fill their panel go one value at
//! a time.

use super::{
    Env,
    builder::{Buf, Builder, Ix, Ty, Val},
    program::{block_codes, block_scales, block_value, load_dense, load_value, store_dense},
    shuffle::{LANES, transpose},
};
use crate::CodegenError;
use kiln_core::{BlockFormat, CompareOp, DType, PackSpec, Size, Storage};

/// The columns that this kernel writes in one part of the packed matrix, in groups that each lie in one panel.
#[derive(Clone, Copy)]
struct Segment {
    part: i64,
    /// First and last-but-one column within the part.
    begin: i64,
    end: i64,
    /// Source row of column `begin`.
    row: i64,
    /// First group and their number.
    group: i64,
    groups: i64,
}

struct Packer<'a> {
    spec: &'a PackSpec,
    src: Buf,
    dst: Buf,
    column_scale: Option<Buf>,
    row_scale: Option<Buf>,
    /// Columns of one part in a panel.
    columns: i64,
    depth: Ix,
}

/// Builds the kernel.
///
/// # Errors
/// As [`define`](super::define).
pub fn lower(b: &Builder<'_>, spec: &PackSpec, env: &Env) -> Result<(), CodegenError> {
    let half = spec.n_total / spec.parts.max(1);
    let columns = spec.panel / spec.parts.max(1);
    let sound = matches!(spec.parts, 1 | 2)
        && columns > 0
        && spec.panel % spec.parts == 0
        && spec.n_total % spec.parts == 0
        && spec.n > 0
        && !matches!(spec.k, Size::Const(..=0))
        && spec.column_offset >= 0
        && spec.column_offset + spec.n <= spec.n_total;
    if !sound {
        return Err(CodegenError::Spec(format!("a packing that does not fit: {spec:?}")));
    }
    packable(spec.packed)?;
    if let Storage::Block(format) = spec.storage
        && (spec.transposed || !matches!(spec.k, Size::Const(k) if k % format.block_len() as i64 == 0))
    {
        return Err(CodegenError::Unsupported(format!("packing {} with rows that are no whole blocks", spec.storage)));
    }
    let segments: Vec<Segment> = (0..spec.parts)
        .filter_map(|part| {
            let begin = spec.column_offset.max(part * half);
            let end = (spec.column_offset + spec.n).min((part + 1) * half);
            (begin < end).then(|| {
                let (b, e) = (begin - part * half, end - part * half);
                let group = b / columns;
                let groups = (e + columns - 1) / columns - group;
                Segment { part, begin: b, end: e, row: begin - spec.column_offset, group, groups }
            })
        })
        .collect();
    let mut buffers = env.buffers.iter().copied();
    let mut next = || buffers.next().ok_or_else(|| CodegenError::Spec("a packing lacks an operand".into()));
    let src = next()?;
    let column_scale = spec.column_scale.then(&mut next).transpose()?;
    let row_scale = spec.row_scale.then(&mut next).transpose()?;
    let dst = next()?;
    let packer = Packer { spec, src, dst, column_scale, row_scale, columns, depth: env.args.size(spec.k) };
    let items: i64 = segments.iter().map(|s| s.groups).sum();
    let (begin, end) = env.piece(b, Ix::C(items), 1);
    b.range(begin, end, 1, |b, item| {
        let mut before = 0;
        for segment in &segments {
            let one = |b: &Builder<'_>| packer.group(b, segment, b.isub(item, Ix::C(before)));
            if segments.len() == 1 {
                one(b);
            } else {
                let here = b.and(
                    b.icompare(CompareOp::Ge, item, Ix::C(before)),
                    b.icompare(CompareOp::Lt, item, Ix::C(before + segment.groups)),
                );
                b.when(here, one);
            }
            before += segment.groups;
        }
    });
    Ok(())
}

/// Whether panels can be of that type.
///
/// # Errors
/// If they can't.
pub fn packable(dtype: DType) -> Result<(), CodegenError> {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => Ok(()),
        other => Err(CodegenError::Unsupported(format!("panels of {other} (expected f32, f16 or bf16)"))),
    }
}

impl Packer<'_> {
    /// Group number `n` of a segment.
    fn group(&self, b: &Builder<'_>, s: &Segment, n: Ix) {
        let group = b.iadd(n, Ix::C(s.group));
        let first = b.imul(group, Ix::C(self.columns));
        // Which groups are whole is known now, but for which one this is.
        let (whole_begin, whole_end) = ((s.begin + self.columns - 1) / self.columns, s.end / self.columns);
        let fast = self.columns % LANES as i64 == 0 && whole_begin < whole_end;
        let row = b.iadd(b.isub(first, Ix::C(s.begin)), Ix::C(s.row));
        if !fast {
            return self.ragged(b, s, group, first, row);
        }
        if whole_begin == s.group && whole_end == s.group + s.groups {
            return self.whole(b, s, group, row);
        }
        let whole = b.and(
            b.icompare(CompareOp::Ge, group, Ix::C(whole_begin)),
            b.icompare(CompareOp::Lt, group, Ix::C(whole_end)),
        );
        b.when_else(whole, |b| self.whole(b, s, group, row), |b| self.ragged(b, s, group, first, row));
    }

    /// Element of `dst` where depth 0 of this part's first lane of a panel lies.
    fn panel_base(&self, b: &Builder<'_>, s: &Segment, group: Ix) -> Ix {
        b.iadd(b.imul(group, b.imul(self.depth, Ix::C(self.spec.panel))), Ix::C(s.part * self.columns))
    }

    /// A group that fills its panel's lanes.
    fn whole(&self, b: &Builder<'_>, s: &Segment, group: Ix, row: Ix) {
        let base = self.panel_base(b, s, group);
        for v in 0..self.columns / LANES as i64 {
            let row = b.iadd(row, Ix::C(v * LANES as i64));
            let to = b.iadd(base, Ix::C(v * LANES as i64));
            let scales = self.row_scale.map(|buf| b.load(buf, row, LANES));
            match self.spec.storage {
                Storage::Dense(_) if self.spec.transposed => self.copy(b, row, to, scales),
                Storage::Dense(_) => self.dense(b, row, to, scales),
                Storage::Block(format) => self.blocks(b, format, row, to, scales),
            }
        }
    }

    fn put(&self, b: &Builder<'_>, to: Ix, k: Ix, value: Val, row_scales: Option<Val>) {
        let mut value = value;
        if let Some(buf) = self.column_scale {
            value = b.mul(value, b.load(buf, k, 1));
        }
        if let Some(scales) = row_scales {
            value = b.mul(value, scales);
        }
        store_dense(b, self.dst, self.spec.packed, b.iadd(to, b.imul(k, Ix::C(self.spec.panel))), value);
    }

    /// A source stored `[k, n]`: its rows are the panel's.
    fn copy(&self, b: &Builder<'_>, row: Ix, to: Ix, scales: Option<Val>) {
        let Storage::Dense(dtype) = self.spec.storage else { return };
        b.range(Ix::C(0), self.depth, 1, |b, k| {
            let at = b.iadd(b.imul(k, Ix::C(self.spec.n)), row);
            let value = self.to_f32(b, load_dense(b, self.src, dtype, at, LANES));
            self.put(b, to, k, value, scales);
        });
    }

    fn to_f32(&self, b: &Builder<'_>, value: Val) -> Val {
        b.cast(value, Ty::F32)
    }

    fn dense(&self, b: &Builder<'_>, row: Ix, to: Ix, scales: Option<Val>) {
        let Storage::Dense(dtype) = self.spec.storage else { return };
        let (k, whole) = (self.depth, b.round_down(self.depth, 8));
        let starts: [Ix; 8] = std::array::from_fn(|i| b.imul(b.iadd(row, Ix::C(i as i64)), k));
        b.range(Ix::C(0), whole, 8, |b, at| {
            let rows = starts.map(|s| self.to_f32(b, load_dense(b, self.src, dtype, b.iadd(s, at), 8)));
            for (i, value) in transpose(b, rows).into_iter().enumerate() {
                self.put(b, to, b.iadd(at, Ix::C(i as i64)), value, scales);
            }
        });
        b.range(whole, k, 1, |b, at| {
            let parts = starts.map(|s| self.to_f32(b, load_dense(b, self.src, dtype, b.iadd(s, at), 1)));
            self.put(b, to, at, b.vector(&parts), scales);
        });
    }

    fn blocks(&self, b: &Builder<'_>, format: BlockFormat, row: Ix, to: Ix, scales: Option<Val>) {
        let len = format.block_len() as i64;
        let Ix::C(depth) = self.depth else { return };
        let per_row = depth / len;
        let bytes = format.block_bytes() as i64;
        let starts: [Ix; 8] = std::array::from_fn(|i| b.imul(b.iadd(row, Ix::C(i as i64)), Ix::C(per_row * bytes)));
        b.range(Ix::C(0), Ix::C(per_row), 1, |b, block| {
            let at = starts.map(|s| b.iadd(s, b.imul(block, Ix::C(bytes))));
            let first = b.imul(block, Ix::C(len));
            // Thirty-two values are written out; a larger block loops over them.
            b.range(Ix::C(0), Ix::C(len), 32, |b, from| {
                let part = format.part_len();
                for first_of_part in (0..32).step_by(part) {
                    let at_part = |i: usize| b.iadd(from, Ix::C((first_of_part + i) as i64));
                    let each = at.map(|at| block_scales(b, self.src, format, at, at_part(0)));
                    let d = b.vector(&each.map(|(d, _)| d));
                    let m = each[0].1.map(|_| b.vector(&each.map(|(_, m)| m.expect("one format"))));
                    for eight in (0..part).step_by(8) {
                        let codes = at.map(|at| block_codes(b, self.src, format, at, at_part(eight), 8));
                        for (i, code) in transpose(b, codes).into_iter().enumerate() {
                            let value = block_value(b, format, code, (d, m));
                            self.put(b, to, b.iadd(first, at_part(eight + i)), value, scales);
                        }
                    }
                }
            });
        });
    }

    /// A group at an end of the segment: its own columns one by one, and zeros after the part's last column.
    fn ragged(&self, b: &Builder<'_>, s: &Segment, group: Ix, first: Ix, row: Ix) {
        let k = self.depth;
        let base = self.panel_base(b, s, group);
        // Lanes of this panel that hold columns of the segment.
        let from = b.ix(b.select(
            b.icompare(CompareOp::Lt, first, Ix::C(s.begin)),
            b.ix_value(b.isub(Ix::C(s.begin), first)),
            b.ix_value(Ix::C(0)),
        ));
        let until = b.imin(Ix::C(self.columns), b.isub(Ix::C(s.end), first));
        b.range(from, until, 1, |b, lane| {
            let row = b.iadd(row, lane);
            let row_scale = self.row_scale.map(|buf| b.load(buf, row, 1));
            b.range(Ix::C(0), k, 1, |b, at| {
                let index = if self.spec.transposed {
                    b.iadd(b.imul(at, Ix::C(self.spec.n)), row)
                } else {
                    b.iadd(b.imul(row, k), at)
                };
                let value = self.to_f32(b, load_value(b, self.src, self.spec.storage, index));
                self.put(b, b.iadd(base, lane), at, value, row_scale);
            });
        });
        if s.end == self.spec.n_total / self.spec.parts && s.end % self.columns != 0 {
            let last = b.icompare(CompareOp::Eq, group, Ix::C(s.end / self.columns));
            b.when(last, |b| {
                b.range(Ix::C(s.end % self.columns), Ix::C(self.columns), 1, |b, lane| {
                    b.range(Ix::C(0), k, 1, |b, at| {
                        let to = b.iadd(b.iadd(base, lane), b.imul(at, Ix::C(self.spec.panel)));
                        store_dense(b, self.dst, self.spec.packed, to, b.f32(0.0));
                    });
                });
            });
        }
    }
}
