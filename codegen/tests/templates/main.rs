//! Every template against plain loops, and equal bits however the work is cut.

mod attention;
mod canary;
mod cuda;
mod map;
mod matmul;
mod pack;
mod row;
mod support;
