//! What the verifier says of graphs that no text can spell; `tests/filetests/errors` has the others.

use kiln_ir::{Arg, ArgKind, DType, FuncId, Function, Module, Node, NodeId, Op, TensorType, UnaryOp, verify};

fn ty() -> TensorType {
    TensorType::new(DType::F32, [4.into()])
}

fn node(op: Op, operands: &[u32]) -> Node {
    Node { op, operands: operands.iter().map(|o| NodeId(*o)).collect(), ty: ty().into(), source: None }
}

/// An entry with one argument, and then what is given.
fn says(nodes: Vec<Node>, result: u32, words: &str) {
    let mut f = Function::new("f", true);
    f.add_arg(Arg { name: "x".into(), ty: ty(), kind: ArgKind::Input, default: None, range: None });
    for n in nodes {
        f.push(n);
    }
    f.add_output("y", NodeId(result), None);
    let error = verify(&Module { functions: vec![f], ..Module::default() }).expect_err(words).to_string();
    assert_eq!(error, words);
}

#[test]
fn graphs_that_no_text_can_spell_are_refused() {
    let neg = || Op::Unary(UnaryOp::Neg);
    says(vec![node(neg(), &[1])], 0, "in @f, %1 (neg): operand %1 does not come before its user");
    says(vec![node(neg(), &[2]), node(neg(), &[0])], 1, "in @f, %1 (neg): operand %2 does not come before its user");
    says(vec![node(Op::Arg(0), &[])], 0, "in @f, %1 (arg 0): the argument has two nodes");
    says(vec![node(Op::Arg(1), &[])], 0, "in @f, %1 (arg 1): there is no such argument");
    says(vec![node(Op::Call(FuncId(0)), &[0])], 0, "in @f, %1 (call #0): a callee comes before its caller");
    says(vec![node(Op::Call(FuncId(7)), &[0])], 0, "in @f, %1 (call #7): a callee comes before its caller");
    says(vec![], 3, "in @f, the signature: the result `y` is not a tensor of this function");

    let mut f = Function::new("f", true);
    f.args.push(Arg { name: "x".into(), ty: ty(), kind: ArgKind::Input, default: None, range: None });
    let error = verify(&Module { functions: vec![f], ..Module::default() }).expect_err("no node").to_string();
    assert_eq!(error, "in @f, the signature: argument 0 (`x`) has no node");
}
