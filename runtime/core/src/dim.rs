//! Symbolic sizes: integer polynomials over named symbols, floor divisions and maxima, in one canonical form.
//!
//! Two dims are equal exactly when their canonical forms are, so shape checks are plain comparisons. Symbols have bounds
//! ([`Symbols`]); a program is compiled once and holds for every binding within them.

use crate::Symbols;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, ops, sync::Arc};

/// A size known when compiling, or an expression over symbols: a sum of integer multiples of products of atoms.
///
/// Serialised as its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Dim {
    /// Product of atoms (sorted, with repetition; empty for the constant term) and its coefficient, never zero; sorted.
    terms: Vec<(Vec<Atom>, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Sym(Arc<str>),
    FloorDiv(Box<Dim>, Box<Dim>),
    Max(Box<Dim>, Box<Dim>),
    Min(Box<Dim>, Box<Dim>),
}

/// Why a dim has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DimError {
    /// A symbol without a value.
    #[error("the size symbol `{0}` has no value")]
    Unbound(Arc<str>),
    /// The value does not fit into i64.
    #[error("the size `{0}` overflows 64 bits")]
    Overflow(String),
    /// Division by zero.
    #[error("the size `{0}` divides by zero")]
    DivideByZero(String),
}

impl Dim {
    /// The constant `n`.
    pub fn constant(n: i64) -> Self {
        Dim { terms: if n == 0 { vec![] } else { vec![(vec![], n.max(-i64::MAX))] } }
    }

    /// The symbol `name`.
    pub fn symbol(name: &str) -> Self {
        Dim { terms: vec![(vec![Atom::Sym(name.into())], 1)] }
    }

    /// The value, if it is the same for every binding.
    pub fn as_const(&self) -> Option<i64> {
        match self.terms.as_slice() {
            [] => Some(0),
            [(atoms, c)] if atoms.is_empty() => Some(*c),
            _ => None,
        }
    }

    /// The symbol's name, if the dim is just a symbol.
    pub fn as_symbol(&self) -> Option<&Arc<str>> {
        match self.terms.as_slice() {
            [(atoms, 1)] => match atoms.as_slice() {
                [Atom::Sym(s)] => Some(s),
                _ => None,
            },
            _ => None,
        }
    }

    /// The symbols whose product the dim is, with repetition.
    pub fn as_product(&self) -> Option<Vec<&Arc<str>>> {
        let [(atoms, 1)] = self.terms.as_slice() else { return None };
        let symbols = atoms.iter().map(|atom| match atom {
            Atom::Sym(s) => Some(s),
            _ => None,
        });
        symbols.collect::<Option<Vec<_>>>().filter(|symbols| !symbols.is_empty())
    }

    /// Whether the dim is the constant `n`.
    pub fn is(&self, n: i64) -> bool {
        self.as_const() == Some(n)
    }

    /// The quotient rounded towards minus infinity.
    pub fn floor_div(&self, by: &Dim) -> Dim {
        if by.is(1) {
            return self.clone();
        }
        if let Some(q) = self.exact_div(by) {
            return q;
        }
        match (self.as_const(), by.as_const()) {
            (Some(a), Some(b)) if b != 0 => Dim::constant(a.div_euclid(b) - i64::from(b < 0 && a.rem_euclid(b) != 0)),
            _ => Dim::atom(Atom::FloorDiv(Box::new(self.clone()), Box::new(by.clone()))),
        }
    }

    /// The quotient rounded up.
    pub fn ceil_div(&self, by: i64) -> Dim {
        (self.clone() + Dim::constant(by - 1)).floor_div(&Dim::constant(by))
    }

    /// `self / by` when that is again a polynomial with integer coefficients: `by` must be a single term.
    pub fn exact_div(&self, by: &Dim) -> Option<Dim> {
        let [(divisor, coefficient)] = by.terms.as_slice() else {
            return None;
        };
        let mut terms = BTreeMap::new();
        for (atoms, c) in &self.terms {
            if c % coefficient != 0 {
                return None;
            }
            let mut rest = atoms.clone();
            for d in divisor {
                rest.remove(rest.iter().position(|a| a == d)?);
            }
            terms.insert(rest, c / coefficient);
        }
        Some(Dim { terms: terms.into_iter().collect() })
    }

    /// The larger of two dims. Symbols are never negative, so `max(2*s, 3*s)` is `3*s`.
    pub fn maximum(&self, other: &Dim) -> Dim {
        if self.dominates(other) {
            return self.clone();
        }
        if other.dominates(self) {
            return other.clone();
        }
        // `max(max(a, b), c)` where c dominates one of them keeps two operands.
        if let Some((a, b)) = self.as_max() {
            for (this, rest) in [(a, b), (b, a)] {
                if this.dominates(other) {
                    return self.clone();
                }
                if other.dominates(this) {
                    return rest.maximum(other);
                }
            }
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        Dim::atom(Atom::Max(Box::new(a.clone()), Box::new(b.clone())))
    }

    /// The smaller of two dims.
    pub fn minimum(&self, other: &Dim) -> Dim {
        if self.dominates(other) {
            return other.clone();
        }
        if other.dominates(self) {
            return self.clone();
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        Dim::atom(Atom::Min(Box::new(a.clone()), Box::new(b.clone())))
    }

    /// Whether `self >= other` for every binding of symbols to values that are not negative, as far as coefficients tell.
    fn dominates(&self, other: &Dim) -> bool {
        let difference = self.clone() - other.clone();
        difference.terms.iter().all(|(atoms, c)| *c >= 0 && atoms.iter().all(|a| matches!(a, Atom::Sym(_))))
    }

    fn as_max(&self) -> Option<(&Dim, &Dim)> {
        match self.terms.as_slice() {
            [(atoms, 1)] => match atoms.as_slice() {
                [Atom::Max(a, b)] => Some((a, b)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value under a binding of symbols.
    ///
    /// # Errors
    /// An unbound symbol, a division by zero, or a value beyond 64 bits.
    pub fn eval(&self, lookup: &dyn Fn(&str) -> Option<i64>) -> Result<i64, DimError> {
        let overflow = || DimError::Overflow(self.to_string());
        let mut sum = 0i64;
        for (atoms, c) in &self.terms {
            let mut product = *c;
            for a in atoms {
                let v = match a {
                    Atom::Sym(s) => lookup(s).ok_or_else(|| DimError::Unbound(s.clone()))?,
                    Atom::Max(a, b) => a.eval(lookup)?.max(b.eval(lookup)?),
                    Atom::Min(a, b) => a.eval(lookup)?.min(b.eval(lookup)?),
                    Atom::FloorDiv(a, b) => {
                        let (a, b) = (a.eval(lookup)?, b.eval(lookup)?);
                        if b == 0 {
                            return Err(DimError::DivideByZero(self.to_string()));
                        }
                        let q = a.checked_div(b).ok_or_else(overflow)?;
                        q - i64::from(a % b != 0 && (a < 0) != (b < 0))
                    }
                };
                product = product.checked_mul(v).ok_or_else(overflow)?;
            }
            sum = sum.checked_add(product).ok_or_else(overflow)?;
        }
        Ok(sum)
    }

    /// The largest value within the symbols' bounds, for a dim that grows with every symbol in it (sizes do).
    ///
    /// # Errors
    /// As [`eval`](Self::eval).
    pub fn upper_bound(&self, symbols: &Symbols) -> Result<i64, DimError> {
        self.eval(&|s| symbols.get(s).map(|b| b.max))
    }

    /// The dim with symbols replaced where `lookup` knows them.
    pub fn substitute(&self, lookup: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        if self.as_const().is_some() {
            return self.clone();
        }
        let mut sum = Dim::constant(0);
        for (atoms, c) in &self.terms {
            let mut product = Dim::constant(*c);
            for a in atoms {
                product = product
                    * match a {
                        Atom::Sym(s) => lookup(s).unwrap_or_else(|| Dim::symbol(s)),
                        Atom::Max(a, b) => a.substitute(lookup).maximum(&b.substitute(lookup)),
                        Atom::Min(a, b) => a.substitute(lookup).minimum(&b.substitute(lookup)),
                        Atom::FloorDiv(a, b) => a.substitute(lookup).floor_div(&b.substitute(lookup)),
                    };
            }
            sum = sum + product;
        }
        sum
    }

    /// Calls `f` with the name of every symbol in the dim, some perhaps more than once.
    pub fn for_each_symbol(&self, f: &mut dyn FnMut(&Arc<str>)) {
        for atom in self.terms.iter().flat_map(|(atoms, _)| atoms) {
            match atom {
                Atom::Sym(s) => f(s),
                Atom::Max(a, b) | Atom::Min(a, b) | Atom::FloorDiv(a, b) => {
                    a.for_each_symbol(f);
                    b.for_each_symbol(f);
                }
            }
        }
    }

    /// The dim times a constant, which keeps its terms in order.
    fn scaled(mut self, by: i64) -> Dim {
        match by {
            0 => self.terms.clear(),
            1 => {}
            _ => self.terms.iter_mut().for_each(|(_, c)| *c = c.saturating_mul(by).max(-i64::MAX)),
        }
        self
    }

    /// Factors of the longest product.
    fn degree(&self) -> usize {
        self.terms.iter().map(|(atoms, _)| atoms.len()).max().unwrap_or(0)
    }

    fn atom(a: Atom) -> Dim {
        Dim { terms: vec![(vec![a], 1)] }
    }

    fn from_terms(terms: impl IntoIterator<Item = (Vec<Atom>, i64)>) -> Dim {
        let mut sum: BTreeMap<Vec<Atom>, i64> = BTreeMap::new();
        for (mut atoms, c) in terms {
            atoms.sort();
            let slot = sum.entry(atoms).or_insert(0);
            // One number has no negative: without it, every coefficient prints, negates and divides.
            *slot = slot.saturating_add(c).max(-i64::MAX);
        }
        Dim { terms: sum.into_iter().filter(|(_, c)| *c != 0).collect() }
    }
}

impl ops::Add for Dim {
    type Output = Dim;
    fn add(self, rhs: Dim) -> Dim {
        match (self.as_const(), rhs.as_const()) {
            (Some(a), Some(b)) => return Dim::constant(a.saturating_add(b)),
            (Some(0), _) => return rhs,
            (_, Some(0)) => return self,
            _ => {}
        }
        Dim::from_terms(self.terms.into_iter().chain(rhs.terms))
    }
}

impl ops::Sub for Dim {
    type Output = Dim;
    fn sub(self, rhs: Dim) -> Dim {
        self + rhs.scaled(-1)
    }
}

impl ops::Mul for Dim {
    type Output = Dim;
    fn mul(self, rhs: Dim) -> Dim {
        match (self.as_const(), rhs.as_const()) {
            (_, Some(by)) => return self.scaled(by),
            (Some(by), _) => return rhs.scaled(by),
            _ => {}
        }
        Dim::from_terms(self.terms.iter().flat_map(|(a, c)| {
            rhs.terms.iter().map(move |(b, d)| (a.iter().chain(b).cloned().collect(), c.saturating_mul(*d)))
        }))
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim::constant(n)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::constant(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<i32> for Dim {
    fn from(n: i32) -> Dim {
        Dim::constant(n.into())
    }
}

impl std::iter::Product for Dim {
    fn product<I: Iterator<Item = Dim>>(iter: I) -> Dim {
        iter.fold(Dim::constant(1), |a, b| a * b)
    }
}

/// `b*s`, `2*s + 1`, `(s + 7) floordiv 8`, `max(a, b)`.
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // Symbols first, the constant last, as one writes it.
        for (i, (atoms, c)) in self.terms.iter().rev().enumerate() {
            let (sign, magnitude) = (if *c < 0 { "-" } else { "+" }, c.unsigned_abs());
            match (i, *c < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                _ => write!(f, " {sign} ")?,
            }
            if atoms.is_empty() || magnitude != 1 {
                write!(f, "{magnitude}")?;
            }
            for (j, a) in atoms.iter().enumerate() {
                if j > 0 || magnitude != 1 {
                    f.write_str("*")?;
                }
                match a {
                    Atom::Sym(s) => f.write_str(s)?,
                    Atom::Max(a, b) => write!(f, "max({a}, {b})")?,
                    Atom::Min(a, b) => write!(f, "min({a}, {b})")?,
                    Atom::FloorDiv(a, b) => write!(f, "floordiv({a}, {b})")?,
                }
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Dim {
    type Err = String;
    fn from_str(s: &str) -> Result<Dim, String> {
        let mut p = Parser { rest: s, depth: 0 };
        let d = p.sum()?;
        p.skip();
        if p.rest.is_empty() { Ok(d) } else { Err(format!("unexpected `{}` in the size `{s}`", p.rest)) }
    }
}

impl From<Dim> for String {
    fn from(d: Dim) -> String {
        d.to_string()
    }
}

impl TryFrom<String> for Dim {
    type Error = String;
    fn try_from(s: String) -> Result<Dim, String> {
        s.parse()
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

/// Deepest nesting of functions in a size: far beyond what the compiler writes, and no danger to the stack.
const MAX_DEPTH: usize = 64;
/// Most terms of a product, as far.
const MAX_TERMS: usize = 1 << 10;

impl Parser<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(r) => {
                self.rest = r;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Result<Dim, String> {
        let mut terms = vec![];
        let mut sign = if self.eat('-') { -1 } else { 1 };
        loop {
            terms.extend(self.product()?.scaled(sign).terms);
            sign = match (self.eat('+'), self.eat('-')) {
                (true, false) => 1,
                (false, true) => -1,
                (false, false) => return Ok(Dim::from_terms(terms)),
                (true, true) => return Err(format!("expected a size, found `-{}`", self.rest)),
            };
        }
    }

    fn product(&mut self) -> Result<Dim, String> {
        let mut d = self.factor()?;
        while self.eat('*') {
            let by = self.factor()?;
            // Products of sums grow beyond what their text tells.
            if d.terms.len() * by.terms.len() > MAX_TERMS || d.degree() + by.degree() > MAX_DEPTH {
                return Err(format!("a product in a size has more than {MAX_TERMS} terms or {MAX_DEPTH} factors"));
            }
            d = d * by;
        }
        Ok(d)
    }

    fn factor(&mut self) -> Result<Dim, String> {
        self.skip();
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() {
            let found = if self.rest.is_empty() { "the end".into() } else { format!("`{}`", self.rest) };
            return Err(format!("expected a size, found {found}"));
        }
        self.rest = rest;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word.parse().map(Dim::constant).map_err(|e| format!("`{word}`: {e}"));
        }
        if !matches!(word, "max" | "min" | "floordiv") || !self.eat('(') {
            return Ok(Dim::symbol(word));
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("a size nests {word}(…) more than {MAX_DEPTH} deep"));
        }
        let a = self.sum()?;
        if !self.eat(',') {
            return Err(format!("expected `,` in {word}(…), found `{}`", self.rest));
        }
        let b = self.sum()?;
        if !self.eat(')') {
            return Err(format!("expected `)` after {word}(…, found `{}`", self.rest));
        }
        self.depth -= 1;
        Ok(match word {
            "max" => a.maximum(&b),
            "min" => a.minimum(&b),
            _ => a.floor_div(&b),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dim(s: &str) -> Dim {
        s.parse().expect(s)
    }

    #[test]
    fn equal_expressions_have_one_form() {
        assert_eq!(dim("b*s*2 + s*b"), dim("3*s*b"));
        assert_eq!(dim("s + 1 - s"), Dim::constant(1));
        assert_eq!(dim("b*s*576").exact_div(&dim("576*s")), Some(dim("b")));
        assert_eq!(dim("floordiv(8*s, 8)"), dim("s"));
        assert_ne!(dim("floordiv(s, 8)"), dim("s"));
        let factors =
            |text: &str| dim(text).as_product().map(|symbols| symbols.iter().map(|s| s.to_string()).collect());
        assert_eq!(factors("s*b*s"), Some(vec!["b".to_string(), "s".into(), "s".into()]));
        for no in ["2*s", "7", "0", "s + b", "s*max(b, t)"] {
            assert_eq!(factors(no), None, "{no}");
        }
    }

    #[test]
    fn text_parses_back() {
        for s in ["0", "7", "b", "b*s", "2*b*s - 3", "-s + 1", "max(b, s)", "floordiv(s + 7, 8)*b + max(1, s)"] {
            assert_eq!(dim(&dim(s).to_string()), dim(s), "{s}");
        }
        for bad in ["", "b*", "max(b", "3x", "b s"] {
            assert!(bad.parse::<Dim>().is_err(), "{bad}");
        }
    }

    #[test]
    fn evaluates_and_reports() {
        let env = |s: &str| match s {
            "b" => Some(3),
            "s" => Some(-7),
            _ => None,
        };
        assert_eq!(dim("floordiv(s, 2) + max(b, s)").eval(&env), Ok(-1));
        assert_eq!(dim("t").eval(&env), Err(DimError::Unbound("t".into())));
        assert!(matches!(dim("b*4611686018427387904").eval(&env), Err(DimError::Overflow(_))));
        assert_eq!(dim("b").minimum(&dim("s")).eval(&env), Ok(-7));
        assert!("max(".repeat(100_000).parse::<Dim>().is_err());
        assert!("s - - s".parse::<Dim>().is_err() && "s + - s".parse::<Dim>().is_err());
    }

    #[test]
    fn long_texts_are_read_or_refused_but_do_not_grow() {
        let long = |n: usize| (0..n).map(|i| format!("{i}*s{}", i % 7)).collect::<Vec<_>>().join(" + ");
        assert_eq!(dim(&long(20_000)).terms.len(), 7);
        let different = (0..20_000).map(|i| format!("s{i}")).collect::<Vec<_>>().join(" - ");
        assert_eq!(dim(&different).terms.len(), 20_000);
        let factors = |n: usize| vec!["s"; n].join("*");
        assert!(factors(64).parse::<Dim>().is_ok() && factors(20_000).parse::<Dim>().is_err());
        // Each factor is a sum of two terms.
        let binomials = (0..30).map(|i| format!("max(a{i} + b{i}, a{i})")).collect::<Vec<_>>().join("*");
        assert!(binomials.parse::<Dim>().unwrap_err().contains("more than 1024 terms"));
        assert_eq!(dim("-2*s*3 - 1 + s"), dim("-5*s - 1"));
    }

    #[test]
    fn maxima_that_coefficients_decide_are_decided() {
        assert_eq!(dim("max(8*b*s, 12*b*s)"), dim("12*b*s"));
        assert_eq!(dim("min(s, s + 3)"), dim("s"));
        let mut size = Dim::constant(0);
        for i in [3, 9, 5, 1, 7] {
            size = size.maximum(&(dim("s") * i.into())).maximum(&(dim("b") * i.into()));
        }
        assert_eq!(size, dim("max(9*b, 9*s)"));
    }
}
