//! Expressions of a template as trees, with Jinja's precedences.

use super::Error;
use super::ast::*;
use super::lexer::Token;
use super::parser::{NESTING, Parser};

/// Operators between two values, and how closely each binds.
#[rustfmt::skip]
const BINARY: [(&str, usize, Binary); 8] = [
    ("+",  1, Binary::Add),         ("-",  1, Binary::Subtract),
    ("~",  2, Binary::Concatenate),
    ("*",  3, Binary::Multiply),    ("/",  3, Binary::Divide),
    ("//", 3, Binary::FloorDivide), ("%",  3, Binary::Remainder),
    ("**", 4, Binary::Power),
];

#[rustfmt::skip]
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),   ("!=", Comparison::NotEqual),
    ("<",  Comparison::Less),    ("<=", Comparison::LessEqual),
    (">",  Comparison::Greater), (">=", Comparison::GreaterEqual),
];

impl Parser {
    /// One expression, or several with commas between them, as a tuple.
    pub fn tuple(&mut self, with_condition: bool, ends: &[&str]) -> Result<Expression, Error> {
        self.values(with_condition, ends)?.ok_or_else(|| self.unexpected("an expression"))
    }

    /// As [`tuple`](Self::tuple); none where there is no expression at all.
    fn values(&mut self, with_condition: bool, ends: &[&str]) -> Result<Option<Expression>, Error> {
        let mut values = vec![];
        let mut is_tuple = false;
        loop {
            let is_end = matches!(self.peek(), None | Some(Token::VariableEnd | Token::BlockEnd))
                || self.is_operator(")")
                || ends.iter().any(|end| self.is_name(end));
            if is_end {
                break;
            }
            values.push(if with_condition { self.expression()? } else { self.either()? });
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        Ok(if is_tuple { Some(Expression::Tuple(values)) } else { values.pop() })
    }

    /// `a if b else c`, and all that binds closer.
    pub fn expression(&mut self) -> Result<Expression, Error> {
        let depth = self.depth;
        self.enter(NESTING)?;
        let mut value = self.either()?;
        while self.skip_name("if") {
            self.enter(1)?;
            let condition = self.either()?;
            let otherwise = if self.skip_name("else") { Some(self.expression()?) } else { None };
            value = Expression::Conditional(Box::new((condition, value, otherwise)));
        }
        self.depth = depth;
        Ok(value)
    }

    fn either(&mut self) -> Result<Expression, Error> {
        self.joined("or", Self::both, Expression::Or)
    }

    fn both(&mut self) -> Result<Expression, Error> {
        self.joined("and", Self::negation, Expression::And)
    }

    /// Parts with a word between them; a part that stands alone is itself.
    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expression, Error>,
        whole: fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, Error> {
        let first = part(self)?;
        if !self.is_name(word) {
            return Ok(first);
        }
        let mut values = vec![first];
        while self.skip_name(word) {
            values.push(part(self)?);
        }
        Ok(whole(values))
    }

    fn negation(&mut self) -> Result<Expression, Error> {
        let mut negations = 0;
        while self.skip_name("not") {
            negations += 1;
        }
        let mut value = self.comparison()?;
        // Two are one that only makes a truth value of it.
        for _ in 0..negations.min(2 - negations % 2) {
            value = Expression::Not(Box::new(value));
        }
        Ok(value)
    }

    fn comparison(&mut self) -> Result<Expression, Error> {
        let first = self.binary(1)?;
        let mut rest = vec![];
        loop {
            let known = COMPARISONS.iter().find(|(operator, _)| self.is_operator(operator));
            let next_is_in = matches!(self.tokens.get(self.at + 1), Some((_, Token::Name(n))) if n == "in");
            let comparison = if let Some((_, comparison)) = known {
                self.at += 1;
                *comparison
            } else if self.skip_name("in") {
                Comparison::In
            } else if self.is_name("not") && next_is_in {
                self.at += 2;
                Comparison::NotIn
            } else {
                break;
            };
            rest.push((comparison, self.binary(1)?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Compare(Box::new(first), rest) })
    }

    /// Operators that bind at least so closely, all from left to right.
    fn binary(&mut self, least: usize) -> Result<Expression, Error> {
        let depth = self.depth;
        let mut left = self.unary(true)?;
        while let Some((_, closeness, operator)) =
            BINARY.iter().find(|(sign, closeness, _)| *closeness >= least && self.is_operator(sign))
        {
            self.at += 1;
            self.enter(1)?;
            let right = self.binary(closeness + 1)?;
            left = Expression::Binary(*operator, Box::new([left, right]));
        }
        self.depth = depth;
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expression, Error> {
        let depth = self.depth;
        self.enter(1)?;
        let sign = if self.skip_operator("-") {
            Some(Expression::Negative as fn(Box<Expression>) -> Expression)
        } else if self.skip_operator("+") {
            Some(Expression::Positive as fn(Box<Expression>) -> Expression)
        } else {
            None
        };
        let mut value = match sign {
            Some(signed) => signed(Box::new(self.unary(false)?)),
            None => self.primary()?,
        };
        value = self.postfix(value)?;
        if with_filters {
            value = self.filtered(value)?;
        }
        self.depth = depth;
        Ok(value)
    }

    fn primary(&mut self) -> Result<Expression, Error> {
        let token = self.peek().cloned();
        self.at += 1;
        Ok(match token {
            Some(Token::Name(name)) => match name.as_str() {
                "true" | "True" => Expression::Constant(Constant::Bool(true)),
                "false" | "False" => Expression::Constant(Constant::Bool(false)),
                "none" | "None" => Expression::Constant(Constant::None),
                name => {
                    self.names.push(name.into());
                    Expression::Name(name.into())
                }
            },
            Some(Token::Str(mut text)) => {
                while let Some(Token::Str(more)) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                Expression::Constant(Constant::Str(text.into()))
            }
            Some(Token::Int(number)) => Expression::Constant(Constant::Int(number)),
            Some(Token::Float(number)) => Expression::Constant(Constant::Float(number)),
            Some(Token::Operator("(")) => {
                let values = self.values(true, &[])?;
                self.expect_operator(")")?;
                values.unwrap_or(Expression::Tuple(vec![]))
            }
            Some(Token::Operator("[")) => {
                let mut values = vec![];
                while !self.skip_operator("]") {
                    values.push(self.expression()?);
                    self.separator("]")?;
                }
                Expression::List(values)
            }
            Some(Token::Operator("{")) => {
                let mut entries = vec![];
                while !self.skip_operator("}") {
                    let key = self.expression()?;
                    self.expect_operator(":")?;
                    entries.push((key, self.expression()?));
                    self.separator("}")?;
                }
                Expression::Dict(entries)
            }
            _ => {
                self.at -= 1;
                return Err(self.unexpected("an expression"));
            }
        })
    }

    /// A comma, or the end that is read later.
    fn separator(&mut self, end: &str) -> Result<(), Error> {
        match self.skip_operator(",") || self.is_operator(end) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("',' or '{end}'"))),
        }
    }

    /// Attributes, items and calls.
    fn postfix(&mut self, mut value: Expression) -> Result<Expression, Error> {
        loop {
            value = if self.skip_operator(".") {
                match self.peek() {
                    Some(Token::Int(number)) => {
                        let at = Expression::Constant(Constant::Int(*number));
                        self.at += 1;
                        Expression::Item(Box::new(value), Box::new(at))
                    }
                    _ => Expression::Attribute(Box::new(value), self.name()?),
                }
            } else if self.skip_operator("[") {
                self.subscript(value)?
            } else if self.is_operator("(") {
                Expression::Call(Box::new(Call { callee: value, arguments: self.arguments()? }))
            } else {
                return Ok(value);
            };
            self.enter(1)?;
        }
    }

    fn subscript(&mut self, value: Expression) -> Result<Expression, Error> {
        let mut bounds = [const { None }; 3];
        let mut at = 0;
        let mut indices = vec![];
        while !self.skip_operator("]") {
            if self.skip_operator(":") {
                at += 1;
                if at == bounds.len() || !indices.is_empty() {
                    return Err(self.unexpected("']'"));
                }
                continue;
            }
            let bound = self.expression()?;
            if at == 0 && self.skip_operator(",") {
                indices.push(bound);
            } else if at == 0 && !indices.is_empty() {
                indices.push(bound);
                self.separator("]")?;
            } else if bounds[at].replace(bound).is_some() {
                return Err(self.unexpected("':' or ']'"));
            }
        }
        let value = Box::new(value);
        Ok(match (at, indices.is_empty()) {
            (0, false) => Expression::Item(value, Box::new(Expression::Tuple(indices))),
            (0, true) => match bounds[0].take() {
                Some(index) => Expression::Item(value, Box::new(index)),
                None => return Err(self.unexpected("an index")),
            },
            _ => Expression::Slice(value, Box::new(bounds)),
        })
    }

    /// Filters, tests, and calls of what they give.
    fn filtered(&mut self, mut value: Expression) -> Result<Expression, Error> {
        loop {
            value = if self.is_operator("|") {
                self.at += 1;
                let filter = self.filter()?;
                Expression::Filter(Box::new(value), Box::new(filter))
            } else if self.skip_name("is") {
                let negated = self.skip_name("not");
                let test = self.test()?;
                let value = Expression::Test(Box::new(value), Box::new(test));
                if negated { Expression::Not(Box::new(value)) } else { value }
            } else if self.is_operator("(") {
                Expression::Call(Box::new(Call { callee: value, arguments: self.arguments()? }))
            } else {
                return Ok(value);
            };
            self.enter(1)?;
        }
    }

    /// The filters of a block; the first stands without a `|` where it must be there.
    pub fn filters(&mut self, required: bool) -> Result<Vec<Filter>, Error> {
        let mut filters = if required { vec![self.filter()?] } else { vec![] };
        while self.skip_operator("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }

    fn filter(&mut self) -> Result<Filter, Error> {
        let name = self.name()?;
        let arguments = if self.is_operator("(") { self.arguments()? } else { Arguments::default() };
        Ok(Filter { name, arguments })
    }

    /// A test's name and arguments; a single one may stand without brackets.
    fn test(&mut self) -> Result<Filter, Error> {
        let name = self.name()?;
        if self.is_operator("(") {
            return Ok(Filter { name, arguments: self.arguments()? });
        }
        let is_argument = match self.peek() {
            Some(Token::Name(name)) => !matches!(name.as_str(), "else" | "or" | "and" | "is" | "if" | "in" | "not"),
            Some(Token::Str(_) | Token::Int(_) | Token::Float(_)) => true,
            _ => self.is_operator("[") || self.is_operator("{"),
        };
        let mut arguments = Arguments::default();
        if is_argument {
            let value = self.primary()?;
            arguments.positional.push(self.postfix(value)?);
        }
        Ok(Filter { name, arguments })
    }

    fn arguments(&mut self) -> Result<Arguments, Error> {
        let mut arguments = Arguments::default();
        self.expect_operator("(")?;
        while !self.skip_operator(")") {
            let next_is_assign = matches!(self.tokens.get(self.at + 1), Some((_, Token::Operator("="))));
            let Arguments { positional, named, sequence, mapping } = &mut arguments;
            let misplaced = Error::new("invalid syntax for function call expression");
            if self.skip_operator("*") {
                if sequence.is_some() || mapping.is_some() {
                    return Err(misplaced.at(self.line()));
                }
                *sequence = Some(self.expression()?);
            } else if self.skip_operator("**") {
                if mapping.is_some() {
                    return Err(misplaced.at(self.line()));
                }
                *mapping = Some(self.expression()?);
            } else if matches!(self.peek(), Some(Token::Name(_))) && next_is_assign {
                let name = self.name()?;
                self.at += 1;
                if mapping.is_some() {
                    return Err(misplaced.at(self.line()));
                }
                named.push((name, self.expression()?));
            } else {
                if sequence.is_some() || mapping.is_some() || !named.is_empty() {
                    return Err(misplaced.at(self.line()));
                }
                positional.push(self.expression()?);
            }
            self.separator(")")?;
        }
        Ok(arguments)
    }
}
