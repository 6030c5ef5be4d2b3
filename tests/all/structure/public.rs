//! What a crate shows to those who depend on it: every item that can be named from its root, with the fields, variants and methods of its
//! types. Of an item that another crate defines, and of one that a macro makes, the name alone is known here.

use super::source::{Module, Name, Source, Target, feature_of};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::{Fields, ImplItem, Item, TraitItem, Visibility};

/// The crate's public items, a line for each.
pub fn items(root: &Path) -> BTreeSet<String> {
    let source = Source::read(root);
    let mut walk = Walk { source: &source, lines: BTreeSet::new(), shown: BTreeMap::new() };
    walk.module(0, "");
    walk.lines
}

struct Walk<'s> {
    source: &'s Source,
    lines: BTreeSet<String>,
    /// The path that an item of a module, or the module itself, was first shown under: what it has is listed there.
    shown: BTreeMap<(usize, String), String>,
}

/// What a `use` leads to.
enum Found {
    Module(usize),
    /// The item of that name in a module.
    Item(usize, String),
    /// Another crate's.
    Foreign,
}

impl Walk<'_> {
    fn line(&mut self, kind: &str, path: &str, feature: Option<&str>) {
        let feature = feature.map(|name| format!(", with the feature {name}")).unwrap_or_default();
        self.lines.insert(format!("{path}: {kind}{feature}"));
    }

    /// A module that is named so, and what it shows.
    fn inner(&mut self, index: usize, name: &str, feature: Option<&str>) {
        match self.first(index, "mod", name) {
            Some(first) => self.line(&format!("mod, the same as {first}"), name, feature),
            None => {
                self.line("mod", name, feature);
                self.module(index, &format!("{name}::"));
            }
        }
    }

    /// Where an item of a module was shown before, if not here first.
    fn first(&mut self, index: usize, item: &str, name: &str) -> Option<String> {
        let known = self.shown.get(&(index, item.to_string())).cloned();
        if known.is_none() {
            self.shown.insert((index, item.to_string()), name.to_string());
        }
        known
    }

    /// What a module shows under a path: empty for the root, else with `::` behind it.
    fn module(&mut self, index: usize, path: &str) {
        let source = self.source;
        let module = &source.modules[index];
        for item in module.items.iter().filter(|item| visibility(item).is_some_and(is_public)) {
            self.item(index, item, &format!("{path}{}", ident(item).unwrap_or_default()));
        }
        for import in module.imports.iter().filter(|import| is_public(&import.visibility)) {
            let name = format!("{path}{}", import.name);
            if import.glob {
                self.line(&format!("all of {}", import.path.join("::")), &name, None);
                continue;
            }
            for found in self.follow(index, &import.path) {
                match found {
                    Found::Module(m) => self.inner(m, &name, None),
                    Found::Item(m, item) => self.named(m, &item, &name),
                    Found::Foreign => self.line(&import.path.join("::"), &name, None),
                }
            }
        }
        for (child, inner) in source.modules.iter().enumerate() {
            if inner.parent == Some(index) && is_public(&inner.visibility) {
                let own = inner.feature.as_deref().filter(|_| inner.feature != module.feature);
                self.inner(child, &format!("{path}{}", inner.name), own);
            }
        }
    }

    /// The items that a module defines under a name, shown as `path`.
    fn named(&mut self, index: usize, name: &str, path: &str) {
        let source = self.source;
        let items = source.modules[index].items.iter();
        let defined = items.filter(|item| ident(item).is_some_and(|ident| ident == name)).collect::<Vec<_>>();
        if defined.is_empty() {
            self.line("by a macro", path, None);
            self.methods(index, name, path);
        }
        defined.into_iter().for_each(|item| self.item(index, item, path));
    }

    /// An item of a module, shown as `name`.
    fn item(&mut self, index: usize, item: &Item, name: &str) {
        let (Some(ident), Some(kind)) = (ident(item), kind(item)) else { return };
        if let Some(first) = self.first(index, &format!("{kind} {ident}"), name) {
            return self.line(&format!("{kind}, the same as {first}"), name, None);
        }
        self.line(kind, name, None);
        match item {
            Item::Struct(item) => self.fields(&item.fields, name, true),
            Item::Union(item) => self.fields(&Fields::Named(item.fields.clone()), name, true),
            Item::Enum(item) => {
                for variant in &item.variants {
                    let path = format!("{name}::{}", variant.ident);
                    self.line("variant", &path, feature_of(&variant.attrs).as_deref());
                    self.fields(&variant.fields, &path, false);
                }
            }
            Item::Trait(item) => {
                for inner in &item.items {
                    let (kind, ident) = match inner {
                        TraitItem::Fn(f) => ("fn", &f.sig.ident),
                        TraitItem::Const(c) => ("const", &c.ident),
                        TraitItem::Type(t) => ("type", &t.ident),
                        _ => continue,
                    };
                    self.line(kind, &format!("{name}::{ident}"), None);
                }
            }
            _ => {}
        }
        if matches!(item, Item::Struct(_) | Item::Enum(_) | Item::Union(_)) {
            self.methods(index, &ident, name);
        }
    }

    fn fields(&mut self, fields: &Fields, path: &str, of_struct: bool) {
        for (number, field) in fields.iter().enumerate() {
            if of_struct && !is_public(&field.vis) {
                continue;
            }
            let name = field.ident.as_ref().map_or(number.to_string(), ToString::to_string);
            // That a variant holds something says the variant.
            if of_struct || field.ident.is_some() {
                self.line("field", &format!("{path}.{name}"), None);
            }
        }
    }

    /// The methods of the type that a module defines under a name, wherever in the crate they stand.
    fn methods(&mut self, index: usize, name: &str, path: &str) {
        let source = self.source;
        for (at, module) in source.modules.iter().enumerate() {
            for item in &module.items {
                let Item::Impl(block) = item else { continue };
                if block.trait_.is_some() || !self.is_of(at, block, index, name) {
                    continue;
                }
                for inner in &block.items {
                    let (kind, vis, ident) = match inner {
                        ImplItem::Fn(f) => ("fn", &f.vis, &f.sig.ident),
                        ImplItem::Const(c) => ("const", &c.vis, &c.ident),
                        _ => continue,
                    };
                    if is_public(vis) {
                        let own = module.feature.as_deref().filter(|_| module.feature != source.modules[index].feature);
                        self.line(kind, &format!("{path}::{ident}"), own);
                    }
                }
            }
        }
    }

    /// Whether a block of methods in a module is of a type.
    fn is_of(&self, at: usize, block: &syn::ItemImpl, index: usize, name: &str) -> bool {
        let syn::Type::Path(ty) = &*block.self_ty else { return false };
        let path: Vec<String> = ty.path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.follow(at, &path).iter().any(|found| matches!(found, Found::Item(m, n) if *m == index && n == name))
    }

    /// What a path in a module leads to, through the imports on the way. A module and an item may share a name.
    fn follow(&self, index: usize, path: &[String]) -> Vec<Found> {
        let Some((last, above)) = path.split_last() else { return vec![Found::Module(index)] };
        if above.is_empty() {
            return self.lookup(index, last);
        }
        let modules: Vec<usize> = self.source.resolve(index, above).into_iter().filter_map(module_of).collect();
        if modules.is_empty() {
            vec![Found::Foreign]
        } else {
            modules.into_iter().flat_map(|m| self.lookup(m, last)).collect()
        }
    }

    fn lookup(&self, index: usize, name: &str) -> Vec<Found> {
        let module: &Module = &self.source.modules[index];
        let found = |n: &Name| match n {
            Name::Module(m) => vec![Found::Module(*m)],
            Name::Item => vec![Found::Item(index, name.to_string())],
            // A `use` of a name that is the module's own too would lead back here.
            Name::Import(i) if module.imports[*i].path == [name] => vec![Found::Foreign],
            Name::Import(i) => self.follow(index, &module.imports[*i].path),
        };
        match module.names.get(name) {
            Some(names) => names.iter().flat_map(found).collect(),
            None => {
                let globs = module.imports.iter().filter(|import| import.glob);
                let modules = globs.flat_map(|import| self.source.resolve(index, &import.path)).filter_map(module_of);
                match modules.into_iter().find(|m| self.source.modules[*m].names.contains_key(name)) {
                    Some(m) => self.lookup(m, name),
                    // Macros make items that this doesn't see.
                    None => vec![Found::Item(index, name.to_string())],
                }
            }
        }
    }
}

fn module_of(target: Target) -> Option<usize> {
    match target {
        Target::Module(m) => Some(m),
        Target::Item(_) => None,
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn visibility(item: &Item) -> Option<&Visibility> {
    match item {
        Item::Const(i) => Some(&i.vis),
        Item::Enum(i) => Some(&i.vis),
        Item::Fn(i) => Some(&i.vis),
        Item::Static(i) => Some(&i.vis),
        Item::Struct(i) => Some(&i.vis),
        Item::Trait(i) => Some(&i.vis),
        Item::Type(i) => Some(&i.vis),
        Item::Union(i) => Some(&i.vis),
        _ => None,
    }
}

fn ident(item: &Item) -> Option<String> {
    visibility(item)?;
    super::source::defined(item)
}

fn kind(item: &Item) -> Option<&'static str> {
    Some(match item {
        Item::Const(_) => "const",
        Item::Enum(_) => "enum",
        Item::Fn(_) => "fn",
        Item::Static(_) => "static",
        Item::Struct(_) => "struct",
        Item::Trait(_) => "trait",
        Item::Type(_) => "type",
        Item::Union(_) => "union",
        _ => return None,
    })
}

mod tests {
    use super::items;

    #[test]
    fn what_can_be_named_from_the_root_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            (
                "lib.rs",
                "mod shapes;\npub mod area;\n#[cfg(feature = \"more\")]\npub mod more;\npub(crate) mod inside { pub fn hidden() {} }\n\
                 pub use shapes::{Square as Box, compute, made};\npub use other::{self, Thing};\npub use area::area;\nuse shapes::Circle;",
            ),
            (
                "shapes.rs",
                "mod square;\npub use square::Square;\npub struct Circle;\npub enum Kind { Round { radius: f32 }, Flat(f32) }\n\
                 pub fn compute() {}\nmake!(made);\n#[cfg(test)]\nmod tests { pub fn test() {} }",
            ),
            (
                "shapes/square.rs",
                "pub struct Square { pub side: f32, own: f32 }\nimpl Square { pub fn new() -> Self { todo!() } fn own(&self) {} }\n\
                 impl Clone for Square { fn clone(&self) -> Self { todo!() } }",
            ),
            (
                "area.rs",
                "pub use crate::shapes::Kind;\npub const PI: f32 = 3.0;\npub trait Area { fn of(&self); }\npub fn area() {}\npub(super) fn own() {}",
            ),
            ("more.rs", "use crate::shapes::Square;\nimpl Square { pub fn twice(&self) {} }\npub fn twice() {}"),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("writes");
        }
        let found = items(&folder.path().join("lib.rs"));
        let expected = [
            "Box.side: field",
            "Box: struct",
            "Box::new: fn",
            "Box::twice: fn, with the feature more",
            "Thing: other::Thing",
            "area: fn",
            "area: mod",
            "area::Area: trait",
            "area::Area::of: fn",
            "area::Kind: enum",
            "area::Kind::Flat: variant",
            "area::Kind::Round.radius: field",
            "area::Kind::Round: variant",
            "area::PI: const",
            "area::area: fn, the same as area",
            "compute: fn",
            "made: by a macro",
            "more: mod, with the feature more",
            "more::twice: fn",
            "other: other",
        ];
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
