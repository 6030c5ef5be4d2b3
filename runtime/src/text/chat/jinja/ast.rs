//! A template as a tree.

use std::sync::Arc;

pub type Name = Arc<str>;

/// A statement and where it stands.
pub struct Statement {
    pub line: usize,
    pub node: Node,
}

pub type Body = Vec<Statement>;

pub enum Node {
    Text(String),
    Print(Expression),
    For(Arc<For>),
    /// The first branch whose condition holds, or the last body.
    If(Vec<(Expression, Body)>, Body),
    Set(Target, Expression),
    /// What the body writes, through filters.
    SetBlock(Target, Vec<Filter>, Body),
    Macro(Arc<Macro>),
    /// A call that gets the body as its `caller`.
    CallBlock(Call, Arc<Macro>),
    FilterBlock(Vec<Filter>, Body),
    With(Vec<(Target, Expression)>, Body),
    /// A body with variables of its own.
    Scope(Body),
    /// A body that escapes what it prints where the value is true.
    Autoescape(Expression, Body),
    /// A tag that reads another template, and the one that it names: it fails when it is come to.
    Elsewhere(Name, Expression),
    Break,
    Continue,
}

pub struct For {
    pub target: Target,
    pub values: Expression,
    pub condition: Option<Expression>,
    pub recursive: bool,
    pub body: Body,
    pub otherwise: Body,
}

pub struct Macro {
    pub name: Name,
    pub parameters: Vec<(Name, Option<Expression>)>,
    pub body: Body,
    /// Which of the special names the body uses.
    pub uses_caller: bool,
    pub uses_varargs: bool,
    pub uses_kwargs: bool,
}

/// What is assigned to.
pub enum Target {
    Name(Name),
    /// An attribute of a namespace.
    Attribute(Name, Name),
    Tuple(Vec<Target>),
}

pub enum Expression {
    Constant(Constant),
    Name(Name),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Attribute(Box<Expression>, Name),
    Item(Box<Expression>, Box<Expression>),
    Slice(Box<Expression>, Box<[Option<Expression>; 3]>),
    Call(Box<Call>),
    Filter(Box<Expression>, Box<Filter>),
    Test(Box<Expression>, Box<Filter>),
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Positive(Box<Expression>),
    Binary(Binary, Box<[Expression; 2]>),
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    /// The second where the first holds, else the third.
    Conditional(Box<(Expression, Expression, Option<Expression>)>),
}

/// A value as it is written.
pub enum Constant {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
}

/// A filter or a test, with its arguments.
pub struct Filter {
    pub name: Name,
    pub arguments: Arguments,
}

pub struct Call {
    pub callee: Expression,
    pub arguments: Arguments,
}

#[derive(Default)]
pub struct Arguments {
    pub positional: Vec<Expression>,
    pub named: Vec<(Name, Expression)>,
    /// `*args`.
    pub sequence: Option<Expression>,
    /// `**kwargs`.
    pub mapping: Option<Expression>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binary {
    Add,
    Subtract,
    Concatenate,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}
