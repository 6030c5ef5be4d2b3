//! What one fused kernel computes, as plain data: the passes write it, codegen turns it into machine code, and two equal
//! specs share one piece of code.
//!
//! # Conventions
//! - A kernel has *operands*, one buffer each: first what it reads, then what it writes ([`KernelSpec::operands`]). How it gets
//!   them, its arguments and its piece of the work is the calling convention ([`call`](crate::call)).
//! - Sizes and strides are constants where the graph's are, else runtime arguments ([`Size::Arg`]), all of them i64.
//! - A launch runs `chunks` pieces of work, in any order and on any thread. Piece `i` covers items
//!   `[i * items / chunks, (i + 1) * items / chunks)`, and every output element is computed wholly within one item, in an
//!   order that depends on neither `chunks` nor the thread: results are the same bits however the work is cut.
//! - Strides and offsets count elements, never bytes. For block storage they count values, and the last axis has stride 1.

use crate::{BinaryOp, CompareOp, DType, ReduceOp, Storage, UnaryOp};
use serde::{Deserialize, Serialize};

/// A size or stride: a constant, or the runtime argument of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// Known when compiling.
    Const(i64),
    /// Given at each launch.
    Arg(u32),
}

/// The number of an instruction within its [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub u32);

/// A coordinate of the index space, outermost first.
pub type Coord = u32;

/// How an operand is addressed: `offset + Σ strides[i] * coordinate[i] + Σ value * stride` in elements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Access {
    /// How the buffer's elements are stored.
    pub storage: Storage,
    /// Element offset of coordinate zero.
    pub offset: Size,
    /// One stride per coordinate of the kernel's index space.
    pub strides: Vec<Size>,
    /// Data-dependent terms: an i64 value of the same program times a stride (row gathers, cache slots). The value must be
    /// in bounds; the passes clamp it where the op's meaning asks for it.
    pub indirect: Vec<(ValueId, Size)>,
}

/// One scalar operation of a straight-line program, evaluated at each point of the index space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElementOp {
    /// The element of read operand number n at its access. Block storage gives the dequantised f32.
    Load(u32),
    /// A coordinate of the index space, as i64.
    Coord(Coord),
    /// A runtime argument or constant, as i64.
    Size(Size),
    /// A constant: the bits of the value in the instruction's dtype, zero-extended.
    Const(u64),
    /// A value that the template provides: the matmul accumulator (part n), or the n-th row value of a row program.
    Given(u32),
    /// One operand.
    Unary(UnaryOp, ValueId),
    /// Two operands.
    Binary(BinaryOp, ValueId, ValueId),
    /// Two operands, bool out.
    Compare(CompareOp, ValueId, ValueId),
    /// Condition, value if true, value if false.
    Select(ValueId, ValueId, ValueId),
    /// Conversion to the instruction's dtype; float to integer truncates towards zero and saturates, anything to bool is `!= 0`.
    Cast(ValueId),
}

/// One instruction with the type of its value. f16 and bf16 values are computed in f32 and rounded when stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Inst {
    /// What it does.
    pub op: ElementOp,
    /// The value's type.
    pub dtype: DType,
}

/// A straight-line program; an instruction refers to earlier ones only.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Program {
    /// The instructions in order.
    pub insts: Vec<Inst>,
}

/// A value of a program stored through an access, at each point where the condition holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Write {
    /// Where to.
    pub access: Access,
    /// What; its type is the access's.
    pub value: ValueId,
    /// A bool value of the program: store only where it is true.
    pub condition: Option<ValueId>,
}

/// Elementwise work over an index space. Items are the points of the space without its innermost axis, or all points where
/// there is one axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MapSpec {
    /// The index space, outermost first; at least one axis.
    pub extents: Vec<Size>,
    /// What is read; `Load(n)` is number n.
    pub reads: Vec<Access>,
    /// The program, evaluated at each point.
    pub program: Program,
    /// What is written.
    pub writes: Vec<Write>,
}

/// One step of a row program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Evaluates the program along the row and reduces its value; appends one row value (argmax: an i64).
    Reduce {
        /// Evaluated at each element of the row.
        program: Program,
        /// What is reduced.
        value: ValueId,
        /// How.
        op: ReduceOp,
    },
    /// Evaluates the program once per row (its innermost coordinate is 0), appends the exported values to the row values,
    /// and stores.
    Scalar {
        /// Evaluated once.
        program: Program,
        /// Appended to the row values, in order.
        exports: Vec<ValueId>,
        /// What is written; innermost strides are ignored.
        writes: Vec<Write>,
    },
    /// Evaluates the program along the row and stores.
    Map {
        /// Evaluated at each element of the row.
        program: Program,
        /// What is written.
        writes: Vec<Write>,
    },
    /// Evaluates the program at one element of the row after the other, and stores its value combined with another.
    Scan {
        /// Evaluated at each element of the row.
        program: Program,
        /// How the values combine; not by argmax.
        op: ReduceOp,
        /// What the program's value is combined with.
        onto: Onto,
        /// Where to; its value is the program's, before it is combined.
        write: Write,
    },
}

/// What a scan combines a value with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Onto {
    /// The value that the scan stored for the element of the row before; nothing for the first.
    Before,
    /// What lies where the value is stored.
    Stored,
}

/// Several reductions and maps over each row: norms, softmax, plain reductions. Items are rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowSpec {
    /// The rows' index space, outermost first (may be empty: one row).
    pub rows: Vec<Size>,
    /// Length of a row, the innermost coordinate.
    pub len: Size,
    /// What is read, addressed by the rows' coordinates and then the innermost one.
    pub reads: Vec<Access>,
    /// The phases in order.
    pub phases: Vec<Phase>,
}

/// `acc[i, j] = r[i] * Σ_k a[i, k] * b[k, j]`, then a program over each `acc`. `r` is 1, or with an RMS norm as prologue
/// `1 / sqrt(mean_k(a[i, k]^2) + eps)`. Sums are f32, whatever the operands are stored as.
///
/// Index space of the epilogue: `[m, n / parts]`. With two parts, columns j and `n / 2 + j` of the product meet in one
/// epilogue as `Given(0)` and `Given(1)` (gate and up of a gated MLP). Reads: `a`, `b`, then `reads`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MatMulSpec {
    /// Rows.
    pub m: Size,
    /// Columns of the product, all parts together.
    pub n: i64,
    /// Depth.
    pub k: Size,
    /// Few rows (at most [`MatMulSpec::SKINNY_ROWS`]): the kernel streams `b` once for all rows.
    pub skinny: bool,
    /// How `a` is stored, its rows contiguous: a float type, or blocks (int8 values with a scale for each block, say).
    pub lhs: Storage,
    /// Elements between two rows of `a`.
    pub a_stride: Size,
    /// How `b` lies.
    pub rhs: RightSide,
    /// 1, or 2 for paired columns.
    pub parts: i64,
    /// The prologue: bits of the f32 `eps` of an RMS norm of the rows of `a`.
    pub rms_norm: Option<u32>,
    /// What the epilogue reads, addressed by `[row, column]`.
    pub reads: Vec<Access>,
    /// The epilogue.
    pub program: Program,
    /// What it writes, addressed by `[row, column]`.
    pub writes: Vec<Write>,
}

/// How the right-hand side of a product lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RightSide {
    /// Packed in panels, as [`PackSpec`] makes them: once for a matrix that never changes, else for each call.
    Panels {
        /// Columns in a panel.
        panel: i64,
        /// The panels' element type: f32, f16 or bf16.
        dtype: DType,
    },
    /// As a layer's weight lies: `[n, k]`, the depth of one column after that of the other, of a float type or in blocks.
    Columns(Storage),
}

impl RightSide {
    /// How its elements are stored.
    pub fn storage(self) -> Storage {
        match self {
            RightSide::Panels { dtype, .. } => dtype.into(),
            RightSide::Columns(storage) => storage,
        }
    }
}

impl MatMulSpec {
    /// Most rows of a skinny matmul.
    pub const SKINNY_ROWS: i64 = 8;
}

/// Writes part of a packed right-hand side: for each source row r in `0..n` and depth k,
/// `dst[panel_of(c), k, lane_of(c)] = src[r, k] * column_scale[k] * row_scale[r]` with `c = column_offset + r`.
///
/// The packed form of a `[k, n_total]` matrix is `ceil(n_total / panel)` panels, each `[k, panel]` row-major, columns past the end
/// zero. With `parts == 2` a panel holds `panel / 2` columns of the first half followed by the `panel / 2` columns of the second
/// half that pair with them. Items are panels' worth of source rows. Reads: `src`, then `column_scale`, `row_scale` if present.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackSpec {
    /// Source rows: columns of the packed matrix.
    pub n: i64,
    /// Depth: length of a source row.
    pub k: Size,
    /// How the source is stored; rows are contiguous.
    pub storage: Storage,
    /// Whether the source is stored `[k, n]` (then dense only) instead of `[n, k]`.
    pub transposed: bool,
    /// Whether each depth index has an f32 factor.
    pub column_scale: bool,
    /// Whether each source row has an f32 factor.
    pub row_scale: bool,
    /// First column of the packed matrix that this writes.
    pub column_offset: i64,
    /// Columns of the whole packed matrix.
    pub n_total: i64,
    /// Columns in a panel.
    pub panel: i64,
    /// 1 or 2, as in [`MatMulSpec::parts`].
    pub parts: i64,
    /// The packed form's element type: f32, f16 or bf16. Factors are applied in f32, then it is rounded to once.
    pub packed: DType,
}

impl PackSpec {
    /// Values in the packed form of a `[k, n_total]` matrix.
    pub fn packed_len(n_total: i64, k: i64, panel: i64, parts: i64) -> i64 {
        let columns = panel / parts;
        (n_total / parts + columns - 1) / columns * panel * k
    }
}

/// A batched product of strided f32 operands that are not packed: `out[b.., i, j] = Σ_k a[b.., i, k] * b[b.., k, j]`.
///
/// Items are output rows. Strides address `a` by `[batch.., i, k]`, `b` by `[batch.., k, j]`, `out` by `[batch.., i, j]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DotSpec {
    /// Batch extents.
    pub batch: Vec<Size>,
    /// Rows.
    pub m: Size,
    /// Columns.
    pub n: Size,
    /// Depth.
    pub k: Size,
    /// Left operand.
    pub a: Access,
    /// Right operand.
    pub b: Access,
    /// Result.
    pub out: Access,
}

/// Scaled dot-product attention with grouped heads, numerically safe softmax, f32.
///
/// Query j of batch row b stands at position `p = starts[b] + j` (j without `starts`) and sees key t of key row `slots[b]` (clamped to the
/// rows; b without `slots`) where `t < kv_len`, `t <= p` if causal, `t > p - window` if there is a window, and `mask[b, t]`
/// if there is a mask. A query that sees no key gives zeros where there are `starts` (it is padding), else the mean of all `kv_len`
/// values (what softmax gives when every score is the lowest float, as transformers' eager attention does). Items are pairs of batch row and key/value head (and blocks of
/// queries). Reads: q, k, v, then slots, starts (i64 `[batch]`), mask (bool) as present. Write: out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttentionSpec {
    /// Batch rows.
    pub batch: Size,
    /// Queries per row.
    pub queries: Size,
    /// Keys that exist per row.
    pub kv_len: Size,
    /// Query heads; query head h uses key head `h / (q_heads / kv_heads)`.
    pub q_heads: i64,
    /// Key and value heads.
    pub kv_heads: i64,
    /// Length of a query or key.
    pub head_dim: i64,
    /// Length of a value.
    pub v_dim: i64,
    /// Bits of the f32 factor on the scores.
    pub scale: u32,
    /// Whether later keys are hidden.
    pub causal: bool,
    /// Keys seen at most, counted back from the query's own position.
    pub window: Option<i64>,
    /// `[batch, query, head, dim]`.
    pub q: Access,
    /// `[row, key, head, dim]`.
    pub k: Access,
    /// `[row, key, head, dim]`.
    pub v: Access,
    /// How many key rows there are, where they are looked up.
    pub slots: Option<Size>,
    /// Whether rows start at given positions.
    pub starts: bool,
    /// `[batch, key]`, bool.
    pub mask: Option<Access>,
    /// `[batch, query, head, dim]`.
    pub out: Access,
}

/// What one kernel computes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "template", rename_all = "snake_case")]
pub enum KernelSpec {
    /// Elementwise work.
    Map(MapSpec),
    /// Reductions and maps along rows.
    Row(RowSpec),
    /// Product with a matrix on the right, and an epilogue.
    MatMul(MatMulSpec),
    /// Packing of a right-hand side.
    Pack(PackSpec),
    /// Product of strided operands.
    Dot(DotSpec),
    /// Attention.
    Attention(AttentionSpec),
}

impl KernelSpec {
    /// The template's name.
    pub fn template(&self) -> &'static str {
        match self {
            KernelSpec::Map(_) => "map",
            KernelSpec::Row(_) => "row",
            KernelSpec::MatMul(_) => "matmul",
            KernelSpec::Pack(_) => "pack",
            KernelSpec::Dot(_) => "dot",
            KernelSpec::Attention(_) => "attention",
        }
    }

    /// The storage of each operand, in order: of what is read, then of what is written.
    pub fn operands(&self) -> Vec<Storage> {
        let mut operands = self.reads();
        operands.extend(self.writes());
        operands
    }

    /// The storage of each operand that is read, in operand order.
    pub fn reads(&self) -> Vec<Storage> {
        let f32 = Storage::Dense(DType::F32);
        let of = |accesses: &[Access]| accesses.iter().map(|a| a.storage).collect::<Vec<_>>();
        match self {
            KernelSpec::Map(s) => of(&s.reads),
            KernelSpec::Row(s) => of(&s.reads),
            KernelSpec::MatMul(s) => [s.lhs, s.rhs.storage()].into_iter().chain(of(&s.reads)).collect(),
            KernelSpec::Pack(s) => std::iter::once(s.storage)
                .chain(std::iter::repeat_n(f32, usize::from(s.column_scale) + usize::from(s.row_scale)))
                .collect(),
            KernelSpec::Dot(s) => vec![s.a.storage, s.b.storage],
            KernelSpec::Attention(s) => [s.q.storage, s.k.storage, s.v.storage]
                .into_iter()
                .chain(std::iter::repeat_n(
                    Storage::Dense(DType::I64),
                    usize::from(s.slots.is_some()) + usize::from(s.starts),
                ))
                .chain(s.mask.as_ref().map(|m| m.storage))
                .collect(),
        }
    }

    /// The storage of each operand that is written, in operand order.
    pub fn writes(&self) -> Vec<Storage> {
        let of = |writes: &[Write]| writes.iter().map(|w| w.access.storage).collect::<Vec<_>>();
        match self {
            KernelSpec::Map(s) => of(&s.writes),
            KernelSpec::Row(s) => s
                .phases
                .iter()
                .flat_map(|p| match p {
                    Phase::Reduce { .. } => vec![],
                    Phase::Scalar { writes, .. } | Phase::Map { writes, .. } => of(writes),
                    Phase::Scan { write, .. } => of(std::slice::from_ref(write)),
                })
                .collect(),
            KernelSpec::MatMul(s) => of(&s.writes),
            KernelSpec::Pack(s) => vec![s.packed.into()],
            KernelSpec::Dot(s) => vec![s.out.storage],
            KernelSpec::Attention(s) => vec![s.out.storage],
        }
    }
}
