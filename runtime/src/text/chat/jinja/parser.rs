//! Tokens as a tree: statements. Expressions are in `expressions`.

use super::Error;
use super::ast::*;
use super::lexer::{Token, tokens};
use std::sync::Arc;

/// How deep a template may be nested. An operand of a chain counts once, brackets and blocks count more, since reading them takes
/// more stack.
const MAX_DEPTH: usize = 1000;
/// What brackets and blocks count.
pub const NESTING: usize = 8;

/// Reads a template.
pub fn parse(source: &str) -> Result<Body, Error> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0, loops: 0, names: vec![] };
    let body = parser.statements(&[]);
    body.map_err(|e| e.at(parser.line()))
}

pub struct Parser {
    pub tokens: Vec<(usize, Token)>,
    pub at: usize,
    pub depth: usize,
    /// Loops around, in the same macro.
    loops: usize,
    /// Names that were read, for macros to know which special ones they use.
    pub names: Vec<Name>,
}

impl Parser {
    /// The line of the current token.
    pub fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(line, _)| *line)
    }

    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    pub fn is_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Token::Operator(o)) if *o == operator)
    }

    pub fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(n)) if n == name)
    }

    pub fn skip_operator(&mut self, operator: &str) -> bool {
        let found = self.is_operator(operator);
        self.at += usize::from(found);
        found
    }

    pub fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub fn expect_operator(&mut self, operator: &str) -> Result<(), Error> {
        match self.skip_operator(operator) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("'{operator}'"))),
        }
    }

    fn expect_name(&mut self, name: &str) -> Result<(), Error> {
        match self.skip_name(name) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("'{name}'"))),
        }
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<(), Error> {
        if self.peek() != Some(token) {
            return Err(self.unexpected(what));
        }
        self.at += 1;
        Ok(())
    }

    /// A name that stands here.
    pub fn name(&mut self) -> Result<Name, Error> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.as_str().into();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    pub fn unexpected(&self, expected: &str) -> Error {
        let found = match self.peek() {
            None => "the end of the template".to_string(),
            Some(Token::Text(_)) => "text".to_string(),
            Some(Token::VariableBegin) => "'{{'".to_string(),
            Some(Token::VariableEnd) => "'}}'".to_string(),
            Some(Token::BlockBegin) => "'{%'".to_string(),
            Some(Token::BlockEnd) => "'%}'".to_string(),
            Some(Token::Name(name)) => format!("'{name}'"),
            Some(Token::Str(text)) => format!("the string '{text}'"),
            Some(Token::Int(number)) => number.to_string(),
            Some(Token::Float(number)) => number.to_string(),
            Some(Token::Operator(operator)) => format!("'{operator}'"),
        };
        Error::new(format!("expected {expected}, found {found}")).at(self.line())
    }

    /// Goes deeper by so much; who calls this sets `depth` back.
    pub fn enter(&mut self, by: usize) -> Result<(), Error> {
        self.depth += by;
        match self.depth <= MAX_DEPTH {
            true => Ok(()),
            false => Err(Error::new("the template is nested too deep").at(self.line())),
        }
    }

    /// Statements as far as to a tag of one of the names (which is left to read), or to the template's end where there are none.
    fn statements(&mut self, ends: &[&str]) -> Result<Body, Error> {
        let mut body = vec![];
        loop {
            let line = self.line();
            let node = match self.peek() {
                None if ends.is_empty() => return Ok(body),
                None => return Err(self.unexpected(&format!("a block '{}'", ends.join("' or '")))),
                Some(Token::Text(text)) => {
                    let text = text.clone();
                    self.at += 1;
                    Node::Text(text)
                }
                Some(Token::VariableBegin) => {
                    self.at += 1;
                    let value = self.tuple(true, &[])?;
                    self.expect(&Token::VariableEnd, "'}}'")?;
                    Node::Print(value)
                }
                Some(_) => {
                    self.expect(&Token::BlockBegin, "a block")?;
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(body);
                    }
                    let depth = self.depth;
                    self.enter(NESTING)?;
                    let node = self.statement()?;
                    self.depth = depth;
                    self.expect(&Token::BlockEnd, "'%}'")?;
                    node
                }
            };
            body.push(Statement { line, node });
        }
    }

    /// The body of a block that ends with this name.
    fn body(&mut self, end: &str) -> Result<Body, Error> {
        self.expect(&Token::BlockEnd, "'%}'")?;
        let body = self.statements(&[end])?;
        self.expect_name(end)?;
        Ok(body)
    }

    fn statement(&mut self) -> Result<Node, Error> {
        let tag = self.name()?;
        Ok(match &*tag {
            "for" => self.for_loop()?,
            "if" => self.conditional()?,
            "set" => self.assignment()?,
            "macro" => {
                let name = self.name()?;
                Node::Macro(self.definition(name, "endmacro")?)
            }
            "call" => self.call_block()?,
            "filter" => {
                let filters = self.filters(true)?;
                Node::FilterBlock(filters, self.body("endfilter")?)
            }
            "with" => self.with_block()?,
            "print" => Node::Print(self.tuple(true, &[])?),
            // What the model says, which transformers can mark: a block with variables of its own.
            "generation" => Node::Scope(self.body("endgeneration")?),
            "block" => {
                let name = self.name()?;
                while self.skip_name("scoped") || self.skip_name("required") {}
                self.expect(&Token::BlockEnd, "'%}'")?;
                let body = self.statements(&["endblock"])?;
                self.expect_name("endblock")?;
                self.skip_name(&name);
                Node::Scope(body)
            }
            "break" if self.loops > 0 => Node::Break,
            "continue" if self.loops > 0 => Node::Continue,
            "break" | "continue" => return Err(Error::new(format!("'{tag}' outside of a loop")).at(self.line())),
            "autoescape" => {
                let is_on = self.expression()?;
                Node::Autoescape(is_on, self.body("endautoescape")?)
            }
            "extends" | "include" | "import" | "from" => {
                let other = self.expression()?;
                // How it would be read is of no account.
                while self.peek().is_some_and(|token| *token != Token::BlockEnd) {
                    self.at += 1;
                }
                Node::Elsewhere(tag, other)
            }
            _ => return Err(Error::new(format!("unknown tag '{tag}'")).at(self.line())),
        })
    }

    fn for_loop(&mut self) -> Result<Node, Error> {
        let target = self.target(&["in"])?;
        self.expect_name("in")?;
        let values = self.tuple(false, &["recursive"])?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.expect(&Token::BlockEnd, "'%}'")?;
        self.loops += 1;
        let body = self.statements(&["endfor", "else"])?;
        self.loops -= 1;
        let otherwise = match self.skip_name("else") {
            true => self.body("endfor")?,
            false => {
                self.expect_name("endfor")?;
                vec![]
            }
        };
        Ok(Node::For(Arc::new(For { target, values, condition, recursive, body, otherwise })))
    }

    fn conditional(&mut self) -> Result<Node, Error> {
        let mut branches = vec![];
        loop {
            let condition = self.tuple(false, &[])?;
            self.expect(&Token::BlockEnd, "'%}'")?;
            branches.push((condition, self.statements(&["elif", "else", "endif"])?));
            if self.skip_name("elif") {
                continue;
            }
            let otherwise = match self.skip_name("else") {
                true => self.body("endif")?,
                false => {
                    self.expect_name("endif")?;
                    vec![]
                }
            };
            return Ok(Node::If(branches, otherwise));
        }
    }

    fn assignment(&mut self) -> Result<Node, Error> {
        let target = self.target(&[])?;
        if self.skip_operator("=") {
            return Ok(Node::Set(target, self.tuple(true, &[])?));
        }
        let filters = self.filters(false)?;
        Ok(Node::SetBlock(target, filters, self.body("endset")?))
    }

    fn with_block(&mut self) -> Result<Node, Error> {
        let mut values = vec![];
        while self.peek() != Some(&Token::BlockEnd) {
            if !values.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.target(&[])?;
            self.expect_operator("=")?;
            values.push((target, self.expression()?));
        }
        Ok(Node::With(values, self.body("endwith")?))
    }

    fn call_block(&mut self) -> Result<Node, Error> {
        let (parameters, line) = (self.parameters(false)?, self.line());
        let Expression::Call(call) = self.expression()? else {
            return Err(Error::new("expected a call").at(line));
        };
        Ok(Node::CallBlock(*call, self.macro_body("caller".into(), parameters, "endcall")?))
    }

    /// A macro, from behind its name.
    fn definition(&mut self, name: Name, end: &str) -> Result<Arc<Macro>, Error> {
        let parameters = self.parameters(true)?;
        self.macro_body(name, parameters, end)
    }

    fn macro_body(
        &mut self,
        name: Name,
        parameters: Vec<(Name, Option<Expression>)>,
        end: &str,
    ) -> Result<Arc<Macro>, Error> {
        let (loops, names) = (std::mem::take(&mut self.loops), self.names.len());
        let body = self.body(end)?;
        self.loops = loops;
        let uses = |name: &str| self.names[names..].iter().any(|n| &**n == name);
        let (uses_caller, uses_varargs, uses_kwargs) = (uses("caller"), uses("varargs"), uses("kwargs"));
        Ok(Arc::new(Macro { name, parameters, body, uses_caller, uses_varargs, uses_kwargs }))
    }

    fn parameters(&mut self, required: bool) -> Result<Vec<(Name, Option<Expression>)>, Error> {
        let mut parameters: Vec<(Name, Option<Expression>)> = vec![];
        if !required && !self.is_operator("(") {
            return Ok(parameters);
        }
        self.expect_operator("(")?;
        while !self.is_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            let name = self.name()?;
            let default = if self.skip_operator("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return Err(Error::new("non-default argument follows default argument").at(self.line()));
            }
            parameters.push((name, default));
        }
        self.expect_operator(")")?;
        Ok(parameters)
    }

    /// What is assigned to: a name, an attribute of a namespace, or several of them.
    fn target(&mut self, ends: &[&str]) -> Result<Target, Error> {
        let mut targets = vec![];
        let mut is_tuple = false;
        loop {
            if is_tuple && (ends.iter().any(|end| self.is_name(end)) || self.is_operator("=") || self.is_operator(")"))
            {
                break;
            }
            targets.push(self.single_target()?);
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        Ok(match (is_tuple, targets.pop()) {
            (false, Some(target)) => target,
            (_, last) => {
                targets.extend(last);
                Target::Tuple(targets)
            }
        })
    }

    fn single_target(&mut self) -> Result<Target, Error> {
        if self.skip_operator("(") {
            let depth = self.depth;
            self.enter(NESTING)?;
            let target = self.target(&[])?;
            self.depth = depth;
            self.expect_operator(")")?;
            return Ok(target);
        }
        let name = self.name()?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(Error::new(format!("can't assign to '{name}'")).at(self.line()));
        }
        match self.skip_operator(".") {
            true => Ok(Target::Attribute(name, self.name()?)),
            false => Ok(Target::Name(name)),
        }
    }
}
