//! How a law is written.

/// A law as a line of a table.
macro_rules! rw {
    ($name:expr, $class:ident; $lhs:tt => $rhs:tt $(if $condition:expr)*) => {
        $crate::egraph::Rule::pattern(
            $name,
            $crate::rules::law::class::$class,
            $lhs,
            $rhs,
            vec![$($condition),*],
        )
    };
}
pub(super) use rw;

/// The numeric classes as the tables spell them.
#[allow(non_upper_case_globals)]
pub(super) mod class {
    use crate::egraph::Numerics;
    pub const exact: Numerics = Numerics::Exact;
    pub const reassociates: Numerics = Numerics::Reassociates;
    pub const approximate: Numerics = Numerics::Approximate;
}
