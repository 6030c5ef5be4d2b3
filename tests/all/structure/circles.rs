//! Imports between the files of a crate, and the circles among them. A method that is called without its type being named is no import: the
//! methods of a type may stand in several files.

use super::source::{Module, Source, Target, attributes, only_in_tests};
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::{self, Visit};

/// For each file (by its place in the crate's list) and each that it imports from: the names that it takes.
type Arrows = BTreeMap<(usize, usize), BTreeSet<String>>;

/// What each file takes from which other one. A module that only declares and re-exports those inside it takes nothing from them, and an
/// import of what is re-exported takes it from the file that defines it.
fn arrows(source: &Source) -> Arrows {
    let mut arrows = Arrows::new();
    for (index, module) in source.modules.iter().enumerate() {
        let mut add = |target: Target, name: &str| {
            if let Target::Item(m) = target
                && source.modules[m].file != module.file
            {
                let name = name.to_string();
                arrows.entry((module.file, source.modules[m].file)).or_default().insert(name);
            }
        };
        for import in &module.imports {
            let last = if import.glob { "*" } else { import.path.last().map_or("", |name| name) };
            for target in source.resolve(index, &import.path) {
                match target {
                    Target::Item(m) if import.is_shared() && source.within(m, index) => {}
                    // Of a module's names only those count that the code says; of all names, what the module itself defines.
                    Target::Module(m) if import.glob && !(import.is_shared() && source.within(m, index)) => {
                        add(Target::Item(m), last)
                    }
                    _ => add(target, last),
                }
            }
        }
        for path in paths(module, only_in_tests) {
            let name = path.last().expect("a segment");
            source.resolve(index, &path).into_iter().for_each(|target| add(target, name));
        }
    }
    arrows
}

/// Files that import each other, with what ties them, as lines to read.
pub fn circles(root: &Path) -> Vec<String> {
    let source = Source::read(root);
    let folder = root.parent().expect("a folder");
    let arrows = arrows(&source);
    let graph: DiGraphMap<usize, ()> = arrows.keys().copied().collect();
    let mut found = vec![];
    for circle in tarjan_scc(&graph).into_iter().filter(|files| files.len() > 1) {
        let show = |file: &usize| source.files[*file].strip_prefix(folder).expect("below").display().to_string();
        let inside = arrows.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to));
        let lines = inside.map(|((from, to), names)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("  {} -> {}: {}", show(from), show(to), names.join(", "))
        });
        found.push(format!("{} files:\n{}", circle.len(), lines.collect::<Vec<_>>().join("\n")));
    }
    found.sort();
    found
}

/// The paths in a module's code, but for what has attributes to skip.
pub fn paths(module: &Module, skip: fn(&[syn::Attribute]) -> bool) -> Vec<Vec<String>> {
    let mut paths = Paths { found: vec![], skip };
    module.items.iter().for_each(|item| paths.visit_item(item));
    paths.found
}

struct Paths {
    found: Vec<Vec<String>>,
    skip: fn(&[syn::Attribute]) -> bool,
}

impl<'a> Visit<'a> for Paths {
    fn visit_item(&mut self, item: &'a syn::Item) {
        if !(self.skip)(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !(self.skip)(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        if !(self.skip)(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.leading_colon.is_none() {
            self.found.push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'a syn::Macro) {
        self.visit_path(&mac.path);
        self.tokens(mac.tokens.clone());
    }

    /// `#[serde(with = "super::module")]` names a path in a string.
    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            for token in list.tokens.clone() {
                if let TokenTree::Literal(literal) = &token
                    && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                    && let Ok(path) = syn::parse_str::<syn::Path>(&text.value())
                {
                    self.visit_path(&path);
                }
            }
            self.tokens(list.tokens.clone());
        }
    }
}

impl Paths {
    /// Words with `::` between them. One after a dot is a field or a method.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: usize, c: char| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) if at == 0 || !is(at - 1, '.') => {
                    let mut path = vec![first.to_string()];
                    while is(at + 1, ':')
                        && is(at + 2, ':')
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.found.push(path);
                }
                _ => {}
            }
            at += 1;
        }
    }
}

mod tests {
    use super::circles;

    /// The circles of a crate with these files.
    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("writes");
        }
        circles(&folder.path().join("lib.rs"))
    }

    #[test]
    fn a_tree_without_circles_has_none() {
        let found = of(&[
            ("lib.rs", "mod shapes;\nmod area;\npub use shapes::Square;\npub use area::area;"),
            // A parent declares and re-exports its children, which use each other through it; tests may use anything.
            ("shapes/mod.rs", "mod circle;\nmod square;\npub use circle::Circle;\npub use square::Square;"),
            (
                "shapes/circle.rs",
                "pub struct Circle;\n#[cfg(test)]\nmod tests { use super::super::square::Square; use crate::area; }",
            ),
            ("shapes/square.rs", "use super::Circle;\npub struct Square(pub Circle);"),
            ("area.rs", "use crate::Square;\npub fn area(_: &Square) -> f32 { 1.0 }"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn circles_are_found_however_they_are_written() {
        let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;");
        for (a, b) in [
            ("use super::b::B;\npub struct A(B);", "pub struct B;\nimpl B { fn a() -> Option<super::a::A> { None } }"),
            ("use crate::B;\npub struct A(B);", "use crate::*;\npub struct B;\nfn a(_: A) {}"),
            (
                "pub struct A;\nfn b() { use crate::b; b::call(); }",
                "pub struct B;\npub fn call() -> crate::A { crate::a::A }",
            ),
            (
                "pub struct A;\nfn b() { println!(\"{:?}\", crate::b::call()); }",
                "pub struct B;\npub fn call(_: super::A) {}",
            ),
            ("use super::b::B;\npub struct A(B);", "#[serde(default = \"crate::a::A::new\")]\npub struct B;"),
        ] {
            let found = of(&[lib, ("a.rs", a), ("b.rs", b)]);
            assert_eq!(found.len(), 1, "{a}\n{b}");
            assert!(found[0].contains("a.rs -> b.rs: ") && found[0].contains("b.rs -> a.rs: "), "{found:?}");
        }
    }

    #[test]
    fn a_parent_that_calls_what_imports_it_makes_a_circle() {
        let child = ("a/b.rs", "use super::Shared;\npub fn call(_: Shared) {}");
        let found =
            of(&[("lib.rs", "mod a;"), ("a.rs", "mod b;\npub struct Shared;\nfn f() { b::call(Shared) }"), child]);
        assert_eq!(found, ["2 files:\n  a.rs -> a/b.rs: call\n  a/b.rs -> a.rs: Shared"]);
        let found = of(&[("lib.rs", "mod a;"), ("a.rs", "mod b;\npub use b::call;\npub struct Shared;"), child]);
        assert_eq!(found, [""; 0]);
    }
}
