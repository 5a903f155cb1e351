//! Structs and enums that serde reads, by name.

use crate::constants::Constants;
use crate::defaults::{Origins, origins};
use crate::docs;
use quote::ToTokens;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::{Attribute, Fields, GenericArgument, Item, PathArguments, Type};

/// A type that may be part of a study.
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) shape: Shape,
    pub(crate) file: PathBuf,
    names: Vec<String>,
}

pub(crate) enum Shape {
    Struct(Vec<Member>),
    Enum { variants: Vec<Case>, default: String, source: String },
}

/// A field.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) doc: String,
    /// An expression of type `Holds`.
    pub(crate) holds: String,
    pub(crate) source: String,
    pub(crate) plain: String,
    pub(crate) required: bool,
}

/// A variant.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) holds: Option<String>,
}

/// Everything that derives `Deserialize`, by name; several types may have one name.
pub(crate) struct Types(BTreeMap<String, Vec<Described>>);

/// What serde is told that the format depends on.
#[derive(Default)]
struct Serde {
    default: bool,
    from: Option<String>,
}

impl Types {
    pub(crate) fn read(texts: &[(PathBuf, String)], constants: &Constants) -> Self {
        let mut types: BTreeMap<String, Vec<Described>> = BTreeMap::new();
        for (path, text) in texts.iter().filter(|(_, text)| text.contains("Deserialize)]")) {
            let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let items: Vec<&Item> = file.items.iter().collect();
            for item in &items {
                if let Some(described) = described(item, &items, path, text, constants) {
                    types.entry(described.name.clone()).or_default().push(described);
                }
            }
        }
        let mut types = Self(types);
        types.resolve();
        types
    }

    /// Puts the words of other fields where words only refer to them.
    fn resolve(&mut self) {
        let words = |types: &BTreeMap<String, Vec<Described>>, path: &str| {
            let (of, field) = path.split_once("::")?;
            let Shape::Struct(members) = &types.get(of)?.first()?.shape else { return None };
            members.iter().find(|member| member.name == field).map(|member| member.doc.clone())
        };
        let mut found = Vec::new();
        for of in self.0.values().flatten() {
            let Shape::Struct(members) = &of.shape else { continue };
            for member in members {
                let Some(rest) = member.doc.strip_prefix(docs::REFERENCE) else { continue };
                let (path, rest) = rest.split_once(docs::REFERENCE).unwrap_or((rest, ""));
                let words = words(&self.0, path).unwrap_or_else(|| panic!("{}: no field {path}", of.name));
                let rest = rest.trim_start_matches('.');
                found.push((of.name.clone(), member.name.clone(), words + rest));
            }
        }
        for (of, field, words) in found {
            for described in self.0.get_mut(&of).into_iter().flatten() {
                let Shape::Struct(members) = &mut described.shape else { continue };
                members
                    .iter_mut()
                    .filter(|member| member.name == field)
                    .for_each(|member| member.doc.clone_from(&words));
            }
        }
    }

    /// The types that this one is made of, itself first, then in the order in which they are named.
    pub(crate) fn reached(&self, root: &str) -> Vec<&Described> {
        let mut reached: Vec<&Described> = Vec::new();
        let mut wanted = vec![root.to_owned()];
        let mut at = 0;
        while at < wanted.len() {
            let name = &wanted[at];
            let found =
                self.0.get(name).unwrap_or_else(|| panic!("no type that serde reads is called {name}"));
            assert!(found.len() == 1, "{name} is the name of {} types: {:?}", found.len(), found[1].file);
            reached.push(&found[0]);
            let new: Vec<String> =
                found[0].names.iter().filter(|name| !wanted.contains(name)).cloned().collect();
            wanted.extend(new);
            at += 1;
        }
        reached
    }
}

fn described(
    item: &Item,
    items: &[&Item],
    file: &Path,
    text: &str,
    constants: &Constants,
) -> Option<Described> {
    let mut names = Vec::new();
    let (name, attributes, shape) = match item {
        Item::Struct(item) if derives(&item.attrs) => {
            let name = item.ident.to_string();
            let serde = serde(&item.attrs, &name)?;
            let Fields::Named(fields) = &item.fields else { return None };
            let origins = origins(text, &name);
            let members = fields.named.iter().map(|field| {
                let own = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                let _known = self::serde(&field.attrs, &name);
                let doc = docs::text(&field.attrs, constants, (&name, file));
                let source = source(&origins, &own);
                let plain = origins.plain.get(&own).cloned().unwrap_or_default();
                let must = ["must be given", "Must be given"];
                let required =
                    !serde.default || must.iter().any(|must| source.contains(must) || doc.contains(must));
                Member { holds: holds(&field.ty, &mut names), name: own, doc, source, plain, required }
            });
            (name.clone(), &item.attrs, Shape::Struct(members.collect()))
        }
        Item::Enum(item) if derives(&item.attrs) => {
            let name = item.ident.to_string();
            let serde = serde(&item.attrs, &name)?;
            let Origins { by_path, variant, plain: _ } = origins(text, &name);
            let read = serde.from.map(|from| {
                let of = items.iter().find_map(|item| match item {
                    Item::Enum(item) if item.ident == from => Some(item),
                    _ => None,
                });
                of.unwrap_or_else(|| panic!("{name} is read from {from}, which is not beside it"))
            });
            let own = |wanted: &syn::Ident| item.variants.iter().find(|variant| variant.ident == *wanted);
            let variants = read.unwrap_or(item).variants.iter().map(|variant| {
                // What is read may leave the words to what it becomes.
                let doc = [Some(variant), own(&variant.ident)].into_iter().flatten();
                let doc = doc.map(|variant| docs::text(&variant.attrs, constants, (&name, file)));
                let holds = match &variant.fields {
                    Fields::Unit => None,
                    Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                        Some(holds(&fields.unnamed[0].ty, &mut names))
                    }
                    _ => panic!("{name}::{}: a variant holds nothing or one value", variant.ident),
                };
                let doc = doc.into_iter().find(|doc| !doc.is_empty()).unwrap_or_default();
                Case { name: variant.ident.to_string(), doc, holds }
            });
            let variants = variants.collect();
            let source = by_path.get("").cloned().unwrap_or_default();
            (name, &item.attrs, Shape::Enum { variants, default: variant.unwrap_or_default(), source })
        }
        _ => return None,
    };
    let doc = docs::text(attributes, constants, (&name, file));
    Some(Described { name, doc, shape, file: file.to_owned(), names })
}

/// The origin of a field's default, and of what it holds where that differs from its type's own.
fn source(origins: &Origins, field: &str) -> String {
    let inner = format!("{field}.");
    let inside = origins
        .by_path
        .iter()
        .filter_map(|(path, origin)| path.strip_prefix(&inner).map(|path| format!("{path}: {origin}")));
    let own = origins.by_path.get(field).cloned().into_iter();
    own.chain(inside).collect::<Vec<_>>().join("; ")
}

fn derives(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("derive")
            && attribute.meta.to_token_stream().to_string().contains("Deserialize")
    })
}

/// What is asked of serde; `None` of types that are not read as configurations are.
fn serde(attributes: &[Attribute], of: &str) -> Option<Serde> {
    let mut asked = Serde::default();
    let mut foreign = false;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute
            .parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                let value = match meta.value() {
                    Ok(value) => value.parse::<syn::LitStr>().ok().map(|text| text.value()),
                    Err(_) => None,
                };
                match name.as_str() {
                    "default" if value.is_none() => asked.default = true,
                    "from" => asked.from = value,
                    "deny_unknown_fields" | "skip_serializing_if" => {}
                    // Of records that this program writes itself; no study names them.
                    _ => foreign = true,
                }
                Ok(())
            })
            .unwrap_or_else(|error| panic!("serde's attributes of {of}: {error}"));
    }
    (!foreign).then_some(asked)
}

/// What a field of this type holds, as an expression of type `Holds`; `names` takes the types it names.
fn holds(ty: &Type, names: &mut Vec<String>) -> String {
    let Type::Path(path) = ty else { return format!("Holds::Other({:?})", ty.to_token_stream().to_string()) };
    let segment = path.path.segments.last().expect("a type has a name");
    let inner = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(holds(ty, names)),
                _ => None,
            })
        }
        _ => None,
    };
    match (segment.ident.to_string().as_str(), inner) {
        ("Option", Some(inner)) => format!("Holds::Optional(&{inner})"),
        ("Vec", Some(inner)) => format!("Holds::List(&{inner})"),
        ("Box", Some(inner)) => inner,
        ("bool", None) => "Holds::Truth".into(),
        ("String", None) => "Holds::Text".into(),
        ("PathBuf", None) => "Holds::File".into(),
        ("f32" | "f64", None) => "Holds::Real".into(),
        ("u8", None) => "Holds::Whole(u8::MAX as u64)".into(),
        ("u32", None) => "Holds::Whole(u32::MAX as u64)".into(),
        ("u64" | "usize", None) => "Holds::Whole(u64::MAX)".into(),
        (name, None) => {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
            format!("Holds::Named({name:?})")
        }
        (_, Some(_)) => format!("Holds::Other({:?})", ty.to_token_stream().to_string()),
    }
}
