//! What is shipped is what is declared: SQL declares every function of the library, but for those of `src/testing.rs`, which
//! a build without the feature `testing` does not have. Reads the sources; needs no server.
#![allow(clippy::unwrap_used, clippy::panic)]

mod sources;

use std::fs;

use sources::{files, root};

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
    let root = root();
    let sql = files(&root.join("sql"), "sql");
    let sql: String = sql.into_iter().map(|(_, text)| text).collect();
    let mut seen = 0;
    for (file, text) in files(&root.join("src"), "rs") {
        let for_tests = file.ends_with("src/testing.rs");
        for function in exported(&text) {
            let declared = sql.contains(&format!("'{function}_wrapper'"));
            assert!(declared != for_tests, "{function} in {}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} functions");
    let library = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    assert!(library.contains("#[cfg(feature = \"testing\")]\nmod testing;"));
}

#[test]
fn every_file_of_sql_runs_once() {
    let sql = root().join("sql");
    let order = fs::read_to_string(sql.join("order")).unwrap();
    let mut listed: Vec<&str> = order
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(listed.first(), Some(&"bootstrap.sql"));
    assert_eq!(listed.last(), Some(&"finalize.sql"));
    let there = files(&sql, "sql").into_iter().filter_map(|(file, _)| {
        let file = file
            .strip_prefix(&sql)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        (!file.starts_with("tenancy--")).then_some(file)
    });
    let mut there: Vec<String> = there.collect();
    there.sort();
    listed.sort();
    assert_eq!(there, listed);
}
