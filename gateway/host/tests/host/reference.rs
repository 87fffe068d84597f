//! The reference of the plugin contract in `wit/README.md`, made from the `.wit` files. Where it differs from what is
//! there the test fails; with `UPDATE_GOLDEN=1` it is written anew.

use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{
    Docs, Function, Interface, Resolve, Stability, Type, TypeDef, TypeDefKind, World, WorldItem,
};

const BEGIN: &str = "<!-- reference: begin -->\n";
const END: &str = "<!-- reference: end -->\n";

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

#[test]
fn the_reference_says_what_the_contract_says() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit()).unwrap();
    let reference = Reference { resolve: &resolve }.package(package);

    let readme = wit().join("README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{reference}{END}{after}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&readme, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "wit/README.md is not what wit/*.wit say; run again with UPDATE_GOLDEN=1:\n{wanted}"
        );
    }
}

struct Reference<'a> {
    resolve: &'a Resolve,
}

impl Reference<'_> {
    fn package(&self, id: wit_parser::PackageId) -> String {
        let package = &self.resolve.packages[id];
        let mut out = format!("\nPackage `{}`.\n", package.name);
        for (name, world) in &package.worlds {
            out.push_str(&self.world(name, &self.resolve.worlds[*world]));
        }
        for (name, interface) in &package.interfaces {
            out.push_str(&self.interface(name, &self.resolve.interfaces[*interface]));
        }
        out.push('\n');
        out
    }

    fn world(&self, name: &str, world: &World) -> String {
        let items = |items: &mut dyn Iterator<Item = &WorldItem>| -> String {
            let names = items.map(|item| match item {
                WorldItem::Interface { id, .. } => {
                    format!("`{}`", self.resolve.interfaces[*id].name.as_deref().expect("a name"))
                }
                other => panic!("the reference can't show {other:?} of a world"),
            });
            names.collect::<Vec<_>>().join(", ")
        };
        format!(
            "\n### World `{name}`\n\n{}{}Imports {}; exports {}.\n",
            docs(&world.docs),
            since(&world.stability),
            items(&mut world.imports.values()),
            items(&mut world.exports.values())
        )
    }

    fn interface(&self, name: &str, interface: &Interface) -> String {
        let mut out =
            format!("\n### Interface `{name}`\n\n{}{}", docs(&interface.docs), since(&interface.stability));
        for (name, id) in &interface.types {
            out.push_str(&self.defined(name, &self.resolve.types[*id]));
        }
        for (name, function) in &interface.functions {
            out.push_str(&self.function(name, function));
        }
        // Each part ends with an empty line but for the last.
        out.trim_end().to_owned() + "\n"
    }

    fn function(&self, name: &str, function: &Function) -> String {
        let params = function.params.iter().map(|param| format!("{}: {}", param.name, self.ty(&param.ty)));
        let params = params.collect::<Vec<_>>().join(", ");
        let result = function.result.as_ref().map(|ty| format!(" -> {}", self.ty(ty))).unwrap_or_default();
        format!(
            "#### `{name}: func({params}){result}`\n\n{}{}",
            docs(&function.docs),
            since(&function.stability)
        )
    }

    /// A type of the interface, with a row for each of its parts. Those of other interfaces are only named.
    fn defined(&self, name: &str, ty: &TypeDef) -> String {
        let row = |name: &str, of: &str, docs: &Docs| {
            let docs = docs.contents.as_deref().unwrap_or_default().trim().replace('\n', " ");
            format!("| `{name}` | {of} | {docs} |\n")
        };
        let of = |ty: Option<&Type>| ty.map(|ty| format!("`{}`", self.ty(ty))).unwrap_or_default();
        let (kind, rows): (&str, String) = match &ty.kind {
            TypeDefKind::Record(record) => (
                "record",
                record
                    .fields
                    .iter()
                    .map(|field| row(&field.name, &of(Some(&field.ty)), &field.docs))
                    .collect(),
            ),
            TypeDefKind::Variant(variant) => (
                "variant",
                variant.cases.iter().map(|case| row(&case.name, &of(case.ty.as_ref()), &case.docs)).collect(),
            ),
            TypeDefKind::Enum(list) => {
                ("enum", list.cases.iter().map(|case| row(&case.name, "", &case.docs)).collect())
            }
            TypeDefKind::Type(Type::Id(used)) => {
                return format!("Uses `{name}` of `{}`.\n\n", self.owner(&self.resolve.types[*used]));
            }
            other => panic!("the reference can't show {other:?}"),
        };
        format!(
            "#### `{kind} {name}`\n\n{}{}| name | holds | |\n|---|---|---|\n{rows}\n",
            docs(&ty.docs),
            since(&ty.stability)
        )
    }

    fn owner(&self, ty: &TypeDef) -> &str {
        match ty.owner {
            wit_parser::TypeOwner::Interface(id) => {
                self.resolve.interfaces[id].name.as_deref().expect("a name")
            }
            owner => panic!("the reference can't show a type of {owner:?}"),
        }
    }

    /// A type as it is written in WIT.
    fn ty(&self, ty: &Type) -> String {
        let id = match ty {
            Type::Id(id) => *id,
            Type::String => return "string".to_owned(),
            Type::Bool => return "bool".to_owned(),
            Type::U8 => return "u8".to_owned(),
            Type::U32 => return "u32".to_owned(),
            Type::U64 => return "u64".to_owned(),
            other => panic!("the reference can't show {other:?}"),
        };
        let defined = &self.resolve.types[id];
        if let Some(name) = &defined.name {
            return name.clone();
        }
        let or_none = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), |ty| self.ty(ty));
        match &defined.kind {
            TypeDefKind::List(of) => format!("list<{}>", self.ty(of)),
            TypeDefKind::Option(of) => format!("option<{}>", self.ty(of)),
            TypeDefKind::Tuple(tuple) => {
                let types = tuple.types.iter().map(|ty| self.ty(ty)).collect::<Vec<_>>();
                format!("tuple<{}>", types.join(", "))
            }
            TypeDefKind::Result(result) => {
                format!("result<{}, {}>", or_none(&result.ok), or_none(&result.err))
            }
            other => panic!("the reference can't show {other:?}"),
        }
    }
}

fn docs(docs: &Docs) -> String {
    let text = docs.contents.as_deref().expect("each item has a comment").trim();
    format!("{text}\n\n")
}

fn since(stability: &Stability) -> String {
    match stability {
        Stability::Stable { since, .. } => format!("Since {since}.\n\n"),
        other => panic!("each item says since when it is there, not {other:?}"),
    }
}
