//! The house has one way down: a room uses those on floors below its own, and no file of a room is in a circle with
//! others of it. Reads the `crate::`, `super::` and `self::` paths of the sources; needs no server.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms, from the ground up: of `src`, and of this crate as far as it has them. Rooms of one floor do not use each
/// other.
const ROOMS: &[&[&str]] = &[
    &["time"],
    &["excerpt", "id", "quantity"],
    &["error"],
    &["pg"],
    &["requests", "tree"],
    &["partitions", "access", "identity", "ledger"],
    &["audit"],
    &["context"],
    &["authority", "metering", "policy"],
    &["budget", "adoption", "limit"],
    &["plan", "lifecycle", "secret", "quota"],
    &["worker", "testing"],
];

/// The folders and files of `src/pg`, likewise.
const PG: &[&[&str]] = &[
    &["cell", "statics", "backtrace", "uuid", "nodes"],
    &["raise", "time", "zone", "numeric", "numeric_text", "quote"],
    &["memory", "catalog"],
    &["session"],
    &["cache"],
    &["query"],
    &["planner", "shared"],
    &["call"],
    &["hooks"],
];

/// A module and what it names, as paths from the crate's root.
type File = (String, BTreeSet<String>);

fn sources() -> Vec<File> {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src"))
}

fn core() -> Vec<File> {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// Reads the files of a crate but for its root and its tests. The face of a folder, which hands on what is in it, is
/// `folder::mod`.
fn read(root: &Path) -> Vec<File> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(root).unwrap().with_extension("");
            let mut module = below.to_str().unwrap().replace('/', "::");
            if path.is_dir() && !module.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs")
                && module != "lib"
                && !module.ends_with("tests")
            {
                if path.with_extension("").is_dir() {
                    module += "::mod";
                }
                let names = names(&fs::read_to_string(&path).unwrap(), &module);
                files.push((module, names));
            }
        }
    }
    assert!(files.len() > 20, "no sources in {}", root.display());
    files
}

/// What a text names by `crate::`, `super::` and `self::`. Comments and the tests at its end name nothing.
fn names(text: &str, module: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code: Vec<&str> = code
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .collect();
    let code = code.concat();
    let mut found = BTreeSet::new();
    for word in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(word) {
            let inner = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$');
            if code[..at].ends_with(inner) {
                continue;
            }
            let mut base: Vec<&str> = module.trim_end_matches("::mod").split("::").collect();
            let mut rest = &code[at..];
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            if let Some(after) = rest.strip_prefix("crate::") {
                base.clear();
                rest = after;
            }
            let rest = rest.strip_prefix("self::").unwrap_or(rest);
            expand(&base.join("::"), rest, &mut found);
        }
    }
    found
}

/// Adds the paths that `text` begins with: one, or those of a list in braces.
fn expand(base: &str, text: &str, found: &mut BTreeSet<String>) {
    let text = text.trim_start();
    let Some(list) = text.strip_prefix('{') else {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let (name, rest) = text.split_at(text.find(|c| !word(c)).unwrap_or(text.len()));
        let path = format!("{base}::{name}");
        let path = path.trim_matches(':').to_owned();
        if let Some(rest) = rest.strip_prefix("::") {
            expand(&path, rest, found);
        }
        found.insert(path);
        return;
    };
    let (mut depth, mut from) = (0, 0);
    for (at, c) in list.char_indices() {
        match (c, depth) {
            ('}' | ',', 0) => {
                expand(base, &list[from..at], found);
                from = at + 1;
            }
            ('{', _) => depth += 1,
            ('}', _) => depth -= 1,
            _ => {}
        }
        if from > at && c == '}' {
            return;
        }
    }
}

/// Fails on what does not lead down among the rooms of `within`: those of the crate, or the folders of one room.
fn check(files: &[File], within: &str, table: &[&[&str]]) {
    let floor = |room: &str| table.iter().position(|rooms| rooms.contains(&room));
    let below = |path: &str| -> Vec<String> {
        let below = path.strip_prefix(within).unwrap_or_default();
        below.split("::").map(str::to_owned).collect()
    };
    // What a folder holds is also named without the folder.
    let modules = files.iter().map(|(module, _)| below(module));
    let folders: BTreeMap<String, String> = modules
        .filter_map(|path| Some((path.last()?.clone(), path.first()?.clone())))
        .collect();
    let mut wrong = BTreeSet::new();
    for (module, names) in files.iter().filter(|file| file.0.starts_with(within)) {
        let room = &below(module)[0];
        let own = floor(room);
        assert!(own.is_some() || room == "mod", "{module} has no floor");
        for name in names {
            let name = &below(name)[0];
            let used = match floor(name) {
                None => folders.get(name).unwrap_or(name),
                _ => name,
            };
            if own.is_some() && used != room && floor(used) >= own {
                wrong.insert(format!("{module} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not one way down: {wrong:#?}");
}

/// Fails on files that use each other in a circle, but for the faces of folders.
fn check_circles(files: &[File]) {
    let known: BTreeMap<&str, &BTreeSet<String>> = files
        .iter()
        .map(|(module, names)| (module.as_str(), names))
        .collect();
    let find = |name: &str| {
        let direct = known.get_key_value(name).map(|(module, _)| *module);
        direct.or_else(|| {
            // As `pg::guc` names what is in `pg/session`.
            let (room, last) = name.split_once("::")?;
            let ends =
                |module: &str| module.starts_with(room) && module.ends_with(&format!("::{last}"));
            let mut all = known.keys().filter(|module| ends(module));
            all.next().filter(|_| all.next().is_none()).copied()
        })
    };
    for start in known.keys() {
        let (mut seen, mut next) = (BTreeSet::new(), vec![*start]);
        while let Some(module) = next.pop() {
            for used in known[module].iter().filter_map(|name| find(name)) {
                if used != module && seen.insert(used) {
                    next.push(used);
                }
            }
        }
        assert!(!seen.contains(start), "{start} is in a circle");
    }
}

#[test]
fn rooms_use_those_below_them() {
    check(&sources(), "", ROOMS);
}

#[test]
fn pg_uses_what_is_below_in_it() {
    check(&sources(), "pg::", PG);
}

#[test]
fn core_uses_what_is_below_in_it() {
    check(&core(), "", ROOMS);
}

#[test]
fn no_file_is_in_a_circle() {
    check_circles(&sources());
    check_circles(&core());
}
