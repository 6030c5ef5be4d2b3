//! `#[derive(Module)]` for `kiln-frontend`, which documents it and re-exports it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, LitStr, Path, parse_macro_input, parse_quote};

/// Walks the parameters of a struct with named fields; see `kiln_frontend::Module`.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    implement(input).unwrap_or_else(Error::into_compile_error).into()
}

fn implement(mut input: DeriveInput) -> Result<TokenStream, Error> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "derive(Module) is for structs: an enum implements Module by hand",
        ));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "derive(Module) needs named fields: they name the parameters"));
    };
    let kiln = crate_path(&input.attrs)?;
    let mut walk = vec![];
    let mut walk_mut = vec![];
    for field in &fields.named {
        let Some((name, options)) = field.ident.as_ref().zip(Some(FieldOptions::read(field)?)) else { continue };
        if options.skip {
            continue;
        }
        let component = options.rename.unwrap_or_else(|| name.to_string().trim_start_matches("r#").to_string());
        walk.push(quote! {
            path.field(#component, |path| #kiln::Module::visit_params(&self.#name, path, visit));
        });
        walk_mut.push(quote! {
            path.field(#component, |path| #kiln::Module::visit_params_mut(&mut self.#name, path, visit));
        });
    }
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#kiln::Module));
    }
    let name = &input.ident;
    let (impl_generics, type_generics, condition) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        #[allow(unused_variables)]
        impl #impl_generics #kiln::Module for #name #type_generics #condition {
            fn visit_params<'kiln>(
                &'kiln self,
                path: &mut #kiln::Path,
                visit: &mut dyn ::core::ops::FnMut(&str, &'kiln #kiln::Param),
            ) {
                #(#walk)*
            }

            fn visit_params_mut(
                &mut self,
                path: &mut #kiln::Path,
                visit: &mut dyn ::core::ops::FnMut(&str, &mut #kiln::Param),
            ) {
                #(#walk_mut)*
            }
        }
    })
}

/// The path of `kiln_frontend`, or what `#[module(crate = "…")]` says.
fn crate_path(attributes: &[Attribute]) -> Result<Path, Error> {
    let mut path: Path = parse_quote!(::kiln_frontend);
    for attribute in attributes.iter().filter(|a| a.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = \"…\"`"));
            }
            path = meta.value()?.parse::<LitStr>()?.parse()?;
            Ok(())
        })?;
    }
    Ok(path)
}

#[derive(Default)]
struct FieldOptions {
    skip: bool,
    rename: Option<String>,
}

impl FieldOptions {
    fn read(field: &Field) -> Result<FieldOptions, Error> {
        let mut options = FieldOptions::default();
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    options.skip = true;
                } else if meta.path.is_ident("rename") {
                    options.rename = Some(meta.value()?.parse::<LitStr>()?.value());
                } else {
                    return Err(meta.error("expected `skip` or `rename = \"…\"`"));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}
