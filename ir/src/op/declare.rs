//! What follows from the table of ops.

/// Declares [`Op`](super::Op) by a table. A row reads
///
/// ```text
/// /// Its meaning in a line.
/// Variant { field: Type, .. } = "name" ("operand", ..) Class: typing rule, decomposition => gradient;
/// ```
///
/// - A variant may have one unnamed attribute, whose name in the text format is given as that of a field: `Cast(to: DType)`.
/// - Ops that differ in a scalar operation share a row: `[op in UnaryOp::ALL, UnaryOp::name]` stands in place of the name.
/// - An operand `"x.."` may be there any number of times, but once at least; one `"x?"` may be missing.
/// - The typing rule, the decomposition and the gradient may name the row's attributes. A decomposition makes the op a composite. A
///   composite without a gradient of its own has that of its decomposition, and any other op without one has none.
macro_rules! ops {
    ($(
        $(#[$meta:meta])*
        $variant:ident $( ( $key:ident : $ty:ty ) )? $( { $( $(#[$fmeta:meta])* $field:ident : $fty:ty ),+ $(,)? } )?
            = $name:tt ( $( $operand:literal ),* ) $class:ident : $typing:expr $( , $decomposition:expr )? $( => $gradient:expr )? ;
    )+) => {
        /// What a node computes.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Op {
            $( $(#[$meta])* $variant $( ($ty) )? $( { $( $(#[$fmeta])* $field: $fty ),+ } )? ),+
        }

        #[allow(unused_variables, reason = "each rule names the attributes that it looks at")]
        impl Op {
            /// The name in the text format.
            pub fn name(&self) -> &'static str {
                match self {
                    $( Op::$variant $( ($key) )? $( { $( $field ),+ } )? => ops!(@name $name) ),+
                }
            }

            /// What kind of work it is.
            pub fn class(&self) -> Class {
                match self {
                    $( Op::$variant { .. } => Class::$class ),+
                }
            }

            /// The operands' names; `x..` stands for one or more, and `x?` may be missing.
            pub fn operands(&self) -> &'static [&'static str] {
                match self {
                    $( Op::$variant { .. } => &[$( $operand ),*] ),+
                }
            }

            /// The attributes with their names, in the order of the text format.
            pub fn attributes(&self) -> Vec<(&'static str, Attr)> {
                let mut out = vec![];
                match self {
                    $( Op::$variant $( ($key) )? $( { $( $field ),+ } )? => {
                        $( out.extend(Field::attr($key).map(|a| (stringify!($key), a))); )?
                        $( $( out.extend(Field::attr($field).map(|a| (stringify!($field), a))); )+ )?
                    } )+
                }
                out
            }

            /// The op of the source's name, with the attributes that the source gives.
            ///
            /// # Errors
            /// No op has the name, or what the source says of an attribute.
            pub fn read(source: &mut dyn Source) -> Result<Op, String> {
                $( if ops!(@is $name, source.name()) {
                    return Ok(Op::$variant
                        $( (<$ty as Field>::read(stringify!($key), source)?) )?
                        $( { $( $field: <$fty as Field>::read(stringify!($field), source)? ),+ } )?);
                } )+
                Err(format!("unknown op `{}`", source.name()))
            }

            /// The sizes among its attributes.
            pub fn dims(&self) -> Vec<&Dim> {
                let mut out = vec![];
                match self {
                    $( Op::$variant $( ($key) )? $( { $( $field ),+ } )? => {
                        $( Field::dims($key, &mut out); )?
                        $( $( Field::dims($field, &mut out); )+ )?
                    } )+
                }
                out
            }

            pub(super) fn dims_mut(&mut self) -> Vec<&mut Dim> {
                let mut out = vec![];
                match self {
                    $( Op::$variant $( ($key) )? $( { $( $field ),+ } )? => {
                        $( Field::dims_mut($key, &mut out); )?
                        $( $( Field::dims_mut($field, &mut out); )+ )?
                    } )+
                }
                out
            }

            /// The type of its result; the number of operands is right.
            pub(super) fn result(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
                match self {
                    $( Op::$variant $( ($key) )? $( { $( $field ),+ } )? => {
                        let rule: &dyn Fn(&[&TensorType]) -> Result<TensorType, String> = &$typing;
                        rule(operands)
                    } )+
                }
            }

            /// Whether the op has a decomposition into primitives ([`crate::compose`]).
            pub fn is_composite(&self) -> bool {
                match self {
                    $( Op::$variant { .. } => ops!(@given $( $decomposition )?) ),+
                }
            }

            /// Appends what it means in primitives, if it is a composite; gives the node of the result.
            pub(crate) fn decompose(
                &self,
                b: &mut Builder<'_>,
                operands: &[NodeId],
            ) -> Option<Result<NodeId, IrError>> {
                match self {
                    $( Op::$variant $( ($key) )? $( { $( $field ),+ } )? => ops!(@decompose b, operands $( , $decomposition )?) ),+
                }
            }

            /// Whether the op has a rule for its gradient ([`crate::gradient`]).
            pub fn has_gradient(&self) -> bool {
                match self {
                    $( Op::$variant { .. } => ops!(@given $( $gradient )?) ),+
                }
            }

            /// Appends the gradients of the operands, if it has a rule for them.
            pub(crate) fn gradient(&self, g: &mut Gradient<'_>) -> Option<Result<(), IrError>> {
                match self {
                    $( Op::$variant $( ($key) )? $( { $( $field ),+ } )? => ops!(@gradient g $( , $gradient )?) ),+
                }
            }

            /// What the table says of all ops, in its order.
            pub fn table() -> Vec<OpInfo> {
                vec![$( OpInfo {
                    names: ops!(@names $name),
                    operands: &[$( $operand ),*],
                    attributes: {
                        let keys: &[Vec<&'static str>] = &[
                            $( <$ty as Field>::keys(stringify!($key)) )?
                            $( $( <$fty as Field>::keys(stringify!($field)) ),+ )?
                        ];
                        keys.concat()
                    },
                    leaves: 0 $( + <$ty as Field>::LEAVES )? $( $( + <$fty as Field>::LEAVES )+ )?,
                    class: Class::$class,
                    composite: ops!(@given $( $decomposition )?),
                    gradient: ops!(@given $( $gradient )?),
                } ),+]
            }
        }
    };

    (@name $name:literal) => { $name };
    (@name [$key:ident in $all:expr, $name:expr]) => { $name(*$key) };
    (@is $name:literal, $found:expr) => { $found == $name };
    (@is [$key:ident in $all:expr, $name:expr], $found:expr) => { $all.iter().any(|op| $name(*op) == $found) };
    (@names $name:literal) => { vec![$name] };
    (@names [$key:ident in $all:expr, $name:expr]) => { $all.iter().map(|op| $name(*op)).collect() };
    (@given) => { false };
    (@given $decomposition:expr) => { true };
    (@decompose $b:ident, $operands:ident) => { None };
    (@decompose $b:ident, $operands:ident, $decomposition:expr) => {{
        let rule: &dyn Fn(&mut Builder<'_>, &[NodeId]) -> Result<NodeId, IrError> = &$decomposition;
        Some(rule($b, $operands))
    }};
    (@gradient $g:ident) => { None };
    (@gradient $g:ident, $gradient:expr) => {{
        let rule: &dyn Fn(&mut Gradient<'_>) -> Result<(), IrError> = &$gradient;
        Some(rule($g))
    }};
}
pub(super) use ops;
