//! The pickle inside of a PyTorch checkpoint, as far as it describes tensors: the few opcodes that `torch.save` writes, and the few names.
//! Nothing of it is executed; what is not known is some value that is no tensor.

use std::collections::{HashMap, HashSet};

/// A tensor as the pickle describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Described {
    /// `float32`, or whatever else torch has.
    pub dtype: String,
    /// The name of the storage that holds its elements.
    pub storage: String,
    /// In elements, as the strides.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The tensors of a pickle, under their dotted names.
pub(super) fn tensors(pickle: &[u8]) -> Result<Vec<(String, Described)>, String> {
    let mut machine = Machine { bytes: pickle, ..Machine::default() };
    let root = machine.run()?;
    let mut found = vec![];
    machine.collect(root, String::new(), &mut HashSet::new(), &mut found);
    Ok(found)
}

/// An index into the machine's nodes.
type Id = usize;

enum Node {
    Int(i64),
    Text(String),
    /// Module and name, with a dot between.
    Global(String),
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Type and name.
    Storage(String, String),
    Tensor(Described),
    Other,
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

/// A state dict holds tensors; a checkpoint may hold it under a name, few levels deep.
const DEPTH: usize = 4;

impl<'a> Machine<'a> {
    /// Runs to the end; gives what is on top of the stack then.
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let at = self.at;
            let opcode = self.array::<1>()?[0];
            match opcode {
                b'.' => return self.pop(),
                0x80 => drop(self.array::<1>()?),
                0x95 => drop(self.array::<8>()?),
                b'(' => self.marks.push(self.stack.len()),
                b'}' => self.push(Node::Dict(vec![])),
                b']' | b')' => self.push(Node::Sequence(vec![])),
                b't' | b'l' => {
                    let items = self.above_mark()?;
                    self.push(Node::Sequence(items));
                }
                b'd' => {
                    let items = self.above_mark()?;
                    self.push(Node::Dict(pairs(&items)));
                }
                0x85..=0x87 => {
                    let first = self.stack.len().checked_sub(usize::from(opcode - 0x84)).ok_or_else(underflow)?;
                    let items = self.stack.split_off(first);
                    self.push(Node::Sequence(items));
                }
                b'X' | b'T' => self.text(4)?,
                0x8c | b'U' => self.text(1)?,
                0x8d => self.text(8)?,
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Node::Global(format!("{module}.{name}")));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let global = format!("{}.{}", self.text_of(module)?, self.text_of(name)?);
                    self.push(Node::Global(global));
                }
                b'q' => self.put(1)?,
                b'r' => self.put(4)?,
                0x94 => {
                    let (next, top) = (self.memo.len() as u32, *self.stack.last().ok_or_else(underflow)?);
                    self.memo.insert(next, top);
                }
                b'h' => self.get(1)?,
                b'j' => self.get(4)?,
                b'K' => self.int(1)?,
                b'M' => self.int(2)?,
                b'J' => {
                    let n = i32::from_le_bytes(self.array()?);
                    self.push(Node::Int(n.into()));
                }
                0x8a => {
                    let length = self.array::<1>()?[0];
                    self.long(length.into())?;
                }
                b'G' => {
                    self.array::<8>()?;
                    self.push(Node::Other);
                }
                b'N' | 0x88 | 0x89 => self.push(Node::Other),
                b'Q' => self.storage()?,
                b'R' => {
                    let (args, function) = (self.pop()?, self.pop()?);
                    let made = self.call(function, args)?;
                    self.stack.push(made);
                }
                0x81 => {
                    self.pop()?;
                    self.pop()?;
                    self.push(Node::Other);
                }
                // A state says nothing of tensors.
                b'b' | b'0' => drop(self.pop()?),
                b'2' => self.stack.push(*self.stack.last().ok_or_else(underflow)?),
                b'a' => {
                    let item = self.pop()?;
                    self.extend(&[item])?;
                }
                b'e' => {
                    let items = self.above_mark()?;
                    self.extend(&items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.extend(&[key, value])?;
                }
                b'u' => {
                    let items = self.above_mark()?;
                    self.extend(&items)?;
                }
                other => return Err(format!("its pickle has opcode 0x{other:02x} at byte {at}, which is not known")),
            }
        }
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(underflow)
    }

    fn above_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark))
    }

    /// Adds to the list or the dict on top of the stack.
    fn extend(&mut self, items: &[Id]) -> Result<(), String> {
        let top = *self.stack.last().ok_or_else(underflow)?;
        match &mut self.nodes[top] {
            Node::Sequence(all) => all.extend(items),
            Node::Dict(all) => all.extend(pairs(items)),
            _ => {}
        }
        Ok(())
    }

    /// `('storage', type, name, device, count)`.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let parts = self.sequence_of(id);
        let (Some(kind), Some(name)) = (parts.get(1), parts.get(2)) else {
            return Err("its pickle names a storage that is none".to_string());
        };
        let kind = match &self.nodes[*kind] {
            Node::Global(kind) => kind.rsplit('.').next().unwrap_or_default().to_string(),
            _ => return Err("its pickle has a storage without a type".to_string()),
        };
        let name = self.text_of(*name)?.to_string();
        self.push(Node::Storage(kind, name));
        Ok(())
    }

    /// What a function makes of its arguments.
    fn call(&mut self, function: Id, args: Id) -> Result<Id, String> {
        let name = match &self.nodes[function] {
            Node::Global(name) => name.clone(),
            _ => return Ok(self.other()),
        };
        let args = self.sequence_of(args).to_vec();
        let arg =
            |n: usize| args.get(n).copied().ok_or_else(|| "its pickle has a tensor with too few parts".to_string());
        match name.as_str() {
            "collections.OrderedDict" => {
                self.nodes.push(Node::Dict(vec![]));
                Ok(self.nodes.len() - 1)
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => arg(0),
            // The function that makes it, its class, and the function's arguments.
            "torch._tensor._rebuild_from_type_v2" => {
                let (inner, args) = (arg(0)?, arg(2)?);
                let is_tensor =
                    matches!(&self.nodes[inner], Node::Global(f) if f.starts_with("torch._utils._rebuild_tensor"));
                if is_tensor { self.call(inner, args) } else { Ok(self.other()) }
            }
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor_v3" => {
                let Node::Storage(kind, storage) = &self.nodes[arg(0)?] else {
                    return Err("its pickle has a tensor without a storage".to_string());
                };
                let dtype = match args.get(6).map(|id| &self.nodes[*id]) {
                    Some(Node::Global(dtype)) => dtype.strip_prefix("torch.").unwrap_or(dtype).to_string(),
                    _ => dtype_of_storage(kind).to_string(),
                };
                let described = Described {
                    dtype,
                    storage: storage.clone(),
                    offset: self.size_of(arg(1)?)?,
                    shape: self.sizes_of(arg(2)?)?,
                    strides: self.sizes_of(arg(3)?)?,
                };
                self.nodes.push(Node::Tensor(described));
                Ok(self.nodes.len() - 1)
            }
            // Sparse, quantised, nested …
            other if other.starts_with("torch._utils._rebuild") => {
                let form = other.rsplit("_rebuild_").next().unwrap_or_default();
                self.nodes.push(Node::Tensor(Described { dtype: form.to_string(), ..Described::default() }));
                Ok(self.nodes.len() - 1)
            }
            _ => Ok(self.other()),
        }
    }

    fn other(&mut self) -> Id {
        self.nodes.push(Node::Other);
        self.nodes.len() - 1
    }

    /// The tensors of a dict and of those in it, each of which counts once.
    fn collect(&self, id: Id, name: String, seen: &mut HashSet<Id>, found: &mut Vec<(String, Described)>) {
        match &self.nodes[id] {
            Node::Tensor(tensor) => found.push((name, tensor.clone())),
            Node::Dict(entries) if name.split('.').count() <= DEPTH && seen.insert(id) => {
                for (key, value) in entries {
                    if let Node::Text(key) = &self.nodes[*key] {
                        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                        self.collect(*value, name, seen, found);
                    }
                }
            }
            _ => {}
        }
    }

    fn text_of(&self, id: Id) -> Result<&str, String> {
        match &self.nodes[id] {
            Node::Text(text) => Ok(text),
            _ => Err("its pickle has something else where a name belongs".to_string()),
        }
    }

    fn sequence_of(&self, id: Id) -> &[Id] {
        match &self.nodes[id] {
            Node::Sequence(items) => items,
            _ => &[],
        }
    }

    fn size_of(&self, id: Id) -> Result<usize, String> {
        match self.nodes[id] {
            Node::Int(n) => usize::try_from(n).map_err(|_| format!("its pickle has a tensor of size {n}")),
            _ => Err("its pickle has a tensor whose size is no number".to_string()),
        }
    }

    fn sizes_of(&self, id: Id) -> Result<Vec<usize>, String> {
        self.sequence_of(id).iter().map(|id| self.size_of(*id)).collect()
    }

    /// A little-endian number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, String> {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(number))
    }

    fn int(&mut self, bytes: usize) -> Result<(), String> {
        let n = self.number(bytes)? as i64;
        self.push(Node::Int(n));
        Ok(())
    }

    /// A number of any length, with its sign.
    fn long(&mut self, bytes: usize) -> Result<(), String> {
        let digits = self.take(bytes)?;
        let negative = digits.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut number = [if negative { 0xff } else { 0 }; 8];
        let node = match digits.len() {
            0..=8 => {
                number[..digits.len()].copy_from_slice(digits);
                Node::Int(i64::from_le_bytes(number))
            }
            _ => Node::Other,
        };
        self.push(node);
        Ok(())
    }

    /// A text whose length stands before it, in so many bytes.
    fn text(&mut self, bytes: usize) -> Result<(), String> {
        let length = usize::try_from(self.number(bytes)?).unwrap_or(usize::MAX);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn put(&mut self, bytes: usize) -> Result<(), String> {
        let (key, top) = (self.number(bytes)? as u32, *self.stack.last().ok_or_else(underflow)?);
        self.memo.insert(key, top);
        Ok(())
    }

    fn get(&mut self, bytes: usize) -> Result<(), String> {
        let key = self.number(bytes)? as u32;
        let id = self.memo.get(&key).ok_or_else(|| format!("its pickle refers to number {key}, which there is not"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut)?;
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let taken = self.bytes[self.at..].get(..length).ok_or_else(cut)?;
        self.at += length;
        Ok(taken)
    }
}

/// Keys with their values; a last one without a partner is left out.
fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)).collect()
}

fn underflow() -> String {
    "its pickle takes more from its stack than it put there".to_string()
}

fn cut() -> String {
    "its pickle ends too early".to_string()
}

/// torch's name of the type of a storage's elements.
fn dtype_of_storage(kind: &str) -> &str {
    match kind {
        "DoubleStorage" => "float64",
        "FloatStorage" => "float32",
        "HalfStorage" => "float16",
        "BFloat16Storage" => "bfloat16",
        "LongStorage" => "int64",
        "IntStorage" => "int32",
        "ShortStorage" => "int16",
        "CharStorage" => "int8",
        "ByteStorage" => "uint8",
        "BoolStorage" => "bool",
        "ComplexFloatStorage" => "complex64",
        "ComplexDoubleStorage" => "complex128",
        other => other,
    }
}
