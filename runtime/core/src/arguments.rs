//! How many runtime arguments a spec has.

use crate::{Access, ElementOp, KernelSpec, Phase, Program, Size, Write};

struct Count(usize);

impl Count {
    fn size(&mut self, size: &Size) {
        if let Size::Arg(n) = size {
            self.0 = self.0.max(*n as usize + 1);
        }
    }

    fn sizes(&mut self, sizes: &[Size]) {
        sizes.iter().for_each(|s| self.size(s));
    }

    fn access(&mut self, access: &Access) {
        self.size(&access.offset);
        self.sizes(&access.strides);
        access.indirect.iter().for_each(|(_, s)| self.size(s));
    }

    fn program(&mut self, program: &Program) {
        for inst in &program.insts {
            if let ElementOp::Size(size) = &inst.op {
                self.size(size);
            }
        }
    }

    fn writes(&mut self, writes: &[Write]) {
        writes.iter().for_each(|w| self.access(&w.access));
    }
}

impl KernelSpec {
    /// How many runtime arguments a launch passes: one more than the highest that the spec mentions.
    pub fn arguments(&self) -> usize {
        let mut c = Count(0);
        match self {
            KernelSpec::Map(s) => {
                c.sizes(&s.extents);
                s.reads.iter().for_each(|a| c.access(a));
                c.program(&s.program);
                c.writes(&s.writes);
            }
            KernelSpec::Row(s) => {
                c.sizes(&s.rows);
                c.size(&s.len);
                s.reads.iter().for_each(|a| c.access(a));
                for phase in &s.phases {
                    match phase {
                        Phase::Reduce { program, .. } => c.program(program),
                        Phase::Scalar { program, writes, .. } | Phase::Map { program, writes } => {
                            c.program(program);
                            c.writes(writes);
                        }
                        Phase::Scan { program, write, .. } => {
                            c.program(program);
                            c.access(&write.access);
                        }
                    }
                }
            }
            KernelSpec::MatMul(s) => {
                c.sizes(&[s.m, s.k, s.a_stride]);
                s.reads.iter().for_each(|a| c.access(a));
                c.program(&s.program);
                c.writes(&s.writes);
            }
            KernelSpec::Pack(s) => c.size(&s.k),
            KernelSpec::Dot(s) => {
                c.sizes(&s.batch);
                c.sizes(&[s.m, s.n, s.k]);
                [&s.a, &s.b, &s.out].into_iter().for_each(|a| c.access(a));
            }
            KernelSpec::Attention(s) => {
                c.sizes(&[s.batch, s.queries, s.kv_len]);
                s.slots.iter().for_each(|rows| c.size(rows));
                [&s.q, &s.k, &s.v, &s.out].into_iter().chain(&s.mask).for_each(|a| c.access(a));
            }
        }
        c.0
    }
}
