//! Every template against plain loops, and equal bits however the work is cut.

mod attention;
mod canary;
mod map;
mod matmul;
mod pack;
mod ptx;
mod row;
mod support;
