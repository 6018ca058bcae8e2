//! The house is built in floors, and each imports from those below it alone; on a floor no two rooms import from one another. Read
//! from the sources themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{UseTree, visit::Visit};

/// The floors from the lowest up. What stands on one line shares a floor, and does not import from one another.
const FLOORS: &[&[&str]] = &[
    &["names", "visible"],
    &["error", "random"],
    &["files", "drawing", "batch", "ranks"],
    &["reference", "text"],
    &["gpu"],
    &["kernels"],
    &["graph"],
    &["model", "arrays"],
    &["generate"],
    &["train"],
    &["validate"],
    &["tune", "bench", "report"],
    &["cli"],
];

/// What the crate's root gives: names for things of the floors below every other, and another crate.
const ROOT: &[(&str, &str)] = &[
    ("name_settings", "names"),
    ("Error", "error"),
    ("Result", "error"),
    ("Gpu", "gpu"),
    ("GpuOptions", "gpu"),
    ("Tensor", "gpu"),
];

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).unwrap_or_else(|| {
        panic!("`src/{module}` stands on no floor: give it one in this test and in `guide/house.md`")
    })
}

/// The modules of the crate's root that a file names, in `use` and in paths.
#[derive(Default)]
struct Named(BTreeSet<String>);

impl Visit<'_> for Named {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if let UseTree::Path(path) = &item.tree
            && (path.ident == "crate" || path.ident == "softalign")
        {
            self.tree(&path.tree);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(second) = segments.next()
        {
            self.0.insert(second.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }
}

impl Named {
    fn tree(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => drop(self.0.insert(path.ident.to_string())),
            UseTree::Name(name) => drop(self.0.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(self.0.insert(rename.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item)),
            UseTree::Glob(_) => panic!("a glob of the crate's root hides what is imported"),
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module of the crate's root that each file belongs to, and those that it names.
fn imports() -> BTreeMap<PathBuf, (String, BTreeSet<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let modules = files.into_iter().map(|file| file.strip_prefix(&root).unwrap().to_owned());
    modules
        .filter(|file| !["lib.rs", "main.rs"].contains(&file.to_str().unwrap()))
        .map(|file| {
            let module = Path::new(file.iter().next().unwrap()).file_stem().unwrap().to_str().unwrap().to_owned();
            let parsed = syn::parse_file(&fs::read_to_string(root.join(&file)).unwrap()).unwrap();
            let mut named = Named::default();
            named.visit_file(&parsed);
            let other = |name: String| match ROOT.iter().find(|(item, _)| *item == name) {
                Some((_, module)) => Some((*module).to_owned()),
                None => (name != "wgpu").then_some(name),
            };
            (file, (module, named.0.into_iter().filter_map(other).collect()))
        })
        .collect()
}

#[test]
fn floors_import_from_below_alone() {
    let imports = imports();
    assert!(imports.len() > 100, "the sources were not found");
    let mut upward = Vec::new();
    for (file, (module, named)) in &imports {
        for other in named.iter().filter(|other| *other != module) {
            if floor(other) >= floor(module) {
                upward.push(format!("src/{} imports `{other}`", file.display()));
            }
        }
    }
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

/// Paths of a `use`, each a list of names.
fn paths(tree: &UseTree, before: &[String], found: &mut Vec<Vec<String>>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => paths(&path.tree, &with(&path.ident), found),
        UseTree::Name(name) => found.push(with(&name.ident)),
        UseTree::Rename(rename) => found.push(with(&rename.ident)),
        UseTree::Group(group) => group.items.iter().for_each(|item| paths(item, before, found)),
        UseTree::Glob(_) => found.push(before.to_vec()),
    }
}

/// Names that a module gives on with `pub use`, and the paths that it imports for itself, from the crate's root on.
#[derive(Default)]
struct Module {
    given_on: BTreeMap<String, Vec<String>>,
    imported: Vec<Vec<String>>,
}

/// Every module by its path from the crate's root.
fn modules() -> BTreeMap<Vec<String>, Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut modules: BTreeMap<Vec<String>, Module> = BTreeMap::new();
    for file in files {
        let mut name: Vec<String> = file
            .strip_prefix(&root)
            .unwrap()
            .with_extension("")
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        name.retain(|part| part != "mod");
        let parsed = syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap();
        let module = modules.entry(name.clone()).or_default();
        for item in &parsed.items {
            let syn::Item::Use(item) = item else { continue };
            let mut found = Vec::new();
            paths(&item.tree, &[], &mut found);
            for path in found {
                let up = path.iter().take_while(|part| *part == "super").count();
                let path = match path[0].as_str() {
                    "crate" => path[1..].to_vec(),
                    "super" => [&name[..name.len() - up], &path[up..]].concat(),
                    _ => [&name[..], &path].concat(),
                };
                let last = path.last().unwrap().clone();
                match item.vis {
                    syn::Visibility::Inherited => module.imported.push(path),
                    _ => drop(module.given_on.insert(last, path)),
                }
            }
        }
    }
    modules
}

/// The room of a module: its file on a floor, or the folder with the file's parts.
fn room(module: &[String]) -> Vec<String> {
    module.iter().take(2).cloned().collect()
}

/// The module that a path leads to, whoever gives it on.
fn home(modules: &BTreeMap<Vec<String>, Module>, path: &[String]) -> Option<Vec<String>> {
    let length = (1..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let (module, rest) = path.split_at(length);
    match rest.first().and_then(|name| modules[module].given_on.get(name)) {
        Some(further) if further != path => home(modules, &[further, &rest[1..]].concat()),
        _ => Some(module.to_vec()),
    }
}

#[test]
fn no_two_rooms_import_from_one_another() {
    let modules = modules();
    let mut imports: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (name, module) in &modules {
        let from = module.imported.iter().filter_map(|path| home(&modules, path)).map(|home| room(&home));
        imports.entry(room(name)).or_default().extend(from.filter(|other| *other != room(name)));
    }
    assert!(imports.len() > 100 && imports.values().any(|rooms| rooms.len() > 5), "the sources were not found");
    // Rooms that import from none that is left, and those that none imports from, are taken away until only circles remain.
    loop {
        let imported: BTreeSet<_> = imports.values().flatten().cloned().collect();
        let before = imports.len();
        imports.retain(|room, from| !from.is_empty() && imported.contains(room));
        let left: BTreeSet<_> = imports.keys().cloned().collect();
        imports.values_mut().for_each(|from| from.retain(|other| left.contains(other)));
        if imports.len() == before {
            break;
        }
    }
    let lines = imports.iter().flat_map(|(room, from)| from.iter().map(move |other| (room, other)));
    let circles: Vec<_> =
        lines.map(|(room, other)| format!("{} imports {}", room.join("::"), other.join("::"))).collect();
    assert!(circles.is_empty(), "in a circle:\n{}", circles.join("\n"));
}

#[test]
fn the_guide_names_every_floor() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/house.md")).unwrap();
    let (_, rows) = guide.split_once("| floor |").expect("the table of floors");
    let rows: Vec<_> = rows.lines().skip(2).take_while(|row| row.starts_with('|')).collect();
    let place = |module: &str| rows.iter().position(|row| row.contains(&format!("`{module}/`")));
    let listed = FLOORS.iter().rev().flat_map(|floor| floor.iter().copied());
    let folders: Vec<_> =
        listed.filter(|module| Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module).is_dir()).collect();
    for pair in folders.windows(2) {
        let [above, below] =
            [pair[0], pair[1]].map(|module| place(module).unwrap_or_else(|| panic!("no row names `{module}/`")));
        assert!(above <= below, "the table has `{}` below `{}`", pair[0], pair[1]);
    }
}
