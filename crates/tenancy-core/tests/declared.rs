//! What is shipped is what is declared: SQL declares every function of the library, but for those of `src/testing.rs`, which
//! a build without the feature `testing` does not have. Reads the sources; needs no server.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

/// The functions that pgrx exports from a text.
fn exported(text: &str) -> Vec<&str> {
    let functions = text.split("#[pg_extern").skip(1);
    functions
        .map(|after| {
            let (_, name) = after.split_once("fn ").unwrap();
            name.split(['(', '<']).next().unwrap()
        })
        .collect()
}

#[test]
fn sql_declares_every_function_of_the_library() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sql: String = files(&root.join("sql"), "sql")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut seen = 0;
    for file in files(&root.join("src"), "rs") {
        let for_tests = file.ends_with("src/testing.rs");
        for function in exported(&fs::read_to_string(&file).unwrap()) {
            let declared = sql.contains(&format!("'{function}_wrapper'"));
            assert!(declared != for_tests, "{function} in {}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} functions");
    let library = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    assert!(library.contains("#[cfg(feature = \"testing\")]\nmod testing;"));
}
