//! What the passes promise, through their public interface.

mod egraph;
mod filetests;
mod models;
mod names;
