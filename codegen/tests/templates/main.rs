//! Every template against plain loops, and equal bits however the work is cut.

mod canary;
mod map;
mod matmul;
mod row;
mod support;
