//! Composites as primitives.
