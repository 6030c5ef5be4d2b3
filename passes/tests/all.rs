//! What the passes promise, through their public interface.

mod autodiff;
mod egraph;
mod filetests;
mod models;
mod names;
