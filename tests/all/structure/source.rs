//! A crate's modules as its files declare them, and which file a path in its code leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// The modules of a crate, the root first.
pub struct Source {
    pub files: Vec<PathBuf>,
    pub modules: Vec<Module>,
}

/// A module: a file, or a part of one.
pub struct Module {
    pub parent: Option<usize>,
    pub file: usize,
    pub name: String,
    pub visibility: syn::Visibility,
    /// `#[cfg(feature = "...")]` of it or of what it is in.
    pub feature: Option<String>,
    /// What is in it, without the code of tests. Modules in it have entries of their own.
    pub items: Vec<syn::Item>,
    /// What a name stands for: a module, a type and a function may share one.
    pub names: BTreeMap<String, Vec<Name>>,
    /// What it imports, those in the bodies of its functions too.
    pub imports: Vec<Import>,
}

/// What a name in a module stands for.
pub enum Name {
    Module(usize),
    Item,
    /// The place of an import in the module's list.
    Import(usize),
}

/// One name that a `use` brings.
pub struct Import {
    /// The name that it has here; `*` for all.
    pub name: String,
    pub path: Vec<String>,
    pub visibility: syn::Visibility,
    /// `use path::*`.
    pub glob: bool,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Module(usize),
    /// An item that a module defines.
    Item(usize),
}

impl Import {
    /// Any visibility of its own: other modules may name it through this one.
    pub fn is_shared(&self) -> bool {
        !matches!(self.visibility, syn::Visibility::Inherited)
    }
}

impl Source {
    /// Reads a crate from its root, following `mod`.
    pub fn read(root: &Path) -> Source {
        let mut source = Source { files: vec![], modules: vec![] };
        let (file, items) = source.parse(root);
        let public = syn::parse_quote!(pub);
        source.add(
            Place { parent: None, name: String::new(), visibility: public, feature: None },
            file,
            root.parent().expect("a folder"),
            items,
        );
        source
    }

    fn parse(&mut self, file: &Path) -> (usize, Vec<syn::Item>) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.files.push(file.to_path_buf());
        (self.files.len() - 1, parsed.items)
    }

    /// A module with those inside it. `folder` is where the files of its children stand.
    fn add(&mut self, place: Place, file: usize, folder: &Path, items: Vec<syn::Item>) -> usize {
        let index = self.modules.len();
        let Place { parent, name, visibility, feature } = place;
        let mut module =
            Module { parent, file, name, visibility, feature, items: vec![], names: BTreeMap::new(), imports: vec![] };
        let (mods, items): (Vec<_>, Vec<_>) = items
            .into_iter()
            .filter(|item| !only_in_tests(attributes(item)))
            .partition(|item| matches!(item, syn::Item::Mod(_)));
        for item in &items {
            if let Some(name) = defined(item) {
                module.names.entry(name).or_default().push(Name::Item);
            }
        }
        let mut uses = Uses(vec![]);
        items.iter().for_each(|item| uses.visit_item(item));
        for import in uses.0 {
            module.names.entry(import.name.clone()).or_default().push(Name::Import(module.imports.len()));
            module.imports.push(import);
        }
        module.items = items;
        self.modules.push(module);
        for item in mods {
            let syn::Item::Mod(child) = item else { unreachable!("partitioned") };
            let name = child.ident.to_string();
            let inner = folder.join(&name);
            let feature = feature_of(&child.attrs).or_else(|| self.modules[index].feature.clone());
            let place = Place { parent: Some(index), name: name.clone(), visibility: child.vis, feature };
            let below = match child.content {
                Some((_, items)) => self.add(place, file, &inner, items),
                None => {
                    let plain = folder.join(format!("{name}.rs"));
                    let path = if plain.is_file() { plain } else { inner.join("mod.rs") };
                    let (file, items) = self.parse(&path);
                    self.add(place, file, &inner, items)
                }
            };
            self.modules[index].names.entry(name).or_default().push(Name::Module(below));
        }
        index
    }

    /// What a path in a module's code leads to inside this crate: nothing for other crates' items and for local names.
    pub fn resolve(&self, module: usize, path: &[String]) -> BTreeSet<Target> {
        self.follow(module, path, &mut BTreeSet::new())
    }

    fn follow(&self, module: usize, path: &[String], seen: &mut BTreeSet<(usize, String)>) -> BTreeSet<Target> {
        let Some((first, mut rest)) = path.split_first() else { return BTreeSet::new() };
        let mut here = match first.as_str() {
            "crate" => BTreeSet::from([Target::Module(0)]),
            "self" => BTreeSet::from([Target::Module(module)]),
            "super" => self.modules[module].parent.into_iter().map(Target::Module).collect(),
            name => self.lookup(module, name, seen),
        };
        while let Some((name, more)) = rest.split_first() {
            let step = |target: Target| match target {
                // Variants, and what a type has.
                Target::Item(_) => BTreeSet::from([target]),
                Target::Module(m) if name == "super" => {
                    self.modules[m].parent.into_iter().map(Target::Module).collect()
                }
                Target::Module(m) => self.lookup(m, name, seen),
            };
            here = here.into_iter().flat_map(step).collect();
            rest = more;
        }
        here
    }

    fn lookup(&self, module: usize, name: &str, seen: &mut BTreeSet<(usize, String)>) -> BTreeSet<Target> {
        if !seen.insert((module, name.to_string())) {
            return BTreeSet::new();
        }
        let mut found = BTreeSet::new();
        for n in self.modules[module].names.get(name).into_iter().flatten() {
            match n {
                Name::Module(index) => drop(found.insert(Target::Module(*index))),
                Name::Item => drop(found.insert(Target::Item(module))),
                Name::Import(i) => found.extend(self.follow(module, &self.modules[module].imports[*i].path, seen)),
            }
        }
        if found.is_empty() {
            for glob in self.modules[module].imports.iter().filter(|i| i.glob) {
                for target in self.follow(module, &glob.path, seen) {
                    if let Target::Module(m) = target {
                        found.extend(self.lookup(m, name, seen));
                    }
                }
            }
        }
        seen.remove(&(module, name.to_string()));
        found
    }

    /// Whether a module is another one or inside it.
    pub fn within(&self, module: usize, outer: usize) -> bool {
        module == outer || self.modules[module].parent.is_some_and(|parent| self.within(parent, outer))
    }
}

/// Where a module stands, and who may name it.
struct Place {
    parent: Option<usize>,
    name: String,
    visibility: syn::Visibility,
    feature: Option<String>,
}

/// The imports of items.
struct Uses(Vec<Import>);

impl<'a> Visit<'a> for Uses {
    fn visit_item(&mut self, item: &'a syn::Item) {
        if !only_in_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.tree(&item.tree, &mut vec![], &item.vis);
        }
    }
}

impl Uses {
    fn tree(&mut self, tree: &syn::UseTree, above: &mut Vec<String>, visibility: &syn::Visibility) {
        let (name, last, glob) = match tree {
            syn::UseTree::Path(path) => {
                above.push(path.ident.to_string());
                self.tree(&path.tree, above, visibility);
                above.pop();
                return;
            }
            syn::UseTree::Group(group) => return group.items.iter().for_each(|t| self.tree(t, above, visibility)),
            syn::UseTree::Name(name) => (name.ident.to_string(), Some(name.ident.to_string()), false),
            syn::UseTree::Rename(name) => (name.rename.to_string(), Some(name.ident.to_string()), false),
            syn::UseTree::Glob(_) => ("*".to_string(), None, true),
        };
        // `use a::{self}` brings `a`.
        let itself = last.as_deref() == Some("self");
        let name = if itself && name == "self" { above.last().cloned().unwrap_or(name) } else { name };
        let path = above.iter().cloned().chain(last.filter(|_| !itself)).collect();
        self.0.push(Import { name, path, visibility: visibility.clone(), glob });
    }
}

pub fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Enum(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Macro(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Static(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Trait(i) => &i.attrs,
        syn::Item::Type(i) => &i.attrs,
        syn::Item::Union(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

/// The name of what an item defines.
pub fn defined(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(i) => &i.ident,
        syn::Item::Enum(i) => &i.ident,
        syn::Item::Fn(i) => &i.sig.ident,
        syn::Item::Macro(i) => i.ident.as_ref()?,
        syn::Item::Static(i) => &i.ident,
        syn::Item::Struct(i) => &i.ident,
        syn::Item::Trait(i) => &i.ident,
        syn::Item::Type(i) => &i.ident,
        syn::Item::Union(i) => &i.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// The feature of `#[cfg(feature = "...")]`.
pub fn feature_of(attributes: &[syn::Attribute]) -> Option<String> {
    let feature = |a: &syn::Attribute| {
        let pair: syn::MetaNameValue = a.path().is_ident("cfg").then(|| a.parse_args().ok())??;
        match (pair.path.is_ident("feature"), pair.value) {
            (true, syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(name), .. })) => Some(name.value()),
            _ => None,
        }
    };
    attributes.iter().find_map(feature)
}

/// `#[cfg(test)]`.
pub fn only_in_tests(attributes: &[syn::Attribute]) -> bool {
    let test =
        |a: &syn::Attribute| a.path().is_ident("cfg") && a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("test"));
    attributes.iter().any(test)
}
