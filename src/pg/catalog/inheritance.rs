//! Reads which tables are above and below a table, in partitioning and in inheritance.

use std::collections::HashMap;

use pgrx::pg_sys;

use super::lookup::{By, find};

const PG_INHERITS: pg_sys::Oid = pg_sys::Oid::from_u32(2611);
const BY_CHILD: By = By::Index(pg_sys::Oid::from_u32(2680), 1);
const BY_PARENT: By = By::Index(pg_sys::Oid::from_u32(2187), 2);

/// A table above or below another, and at which depth: the greatest, if there are several ways to it.
pub type AtDepth = (pg_sys::Oid, i32);

/// Returns the parents of a table.
pub fn parents(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let found = find(PG_INHERITS, BY_CHILD, table).into_iter();
    found.map(|[_, parent]| parent).collect()
}

/// Returns the tables directly below a table.
pub fn children(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let found = find(PG_INHERITS, BY_PARENT, table).into_iter();
    found.map(|[child, _]| child).collect()
}

/// Returns whether a table is another, or is below it at any depth.
pub fn is_below(table: pg_sys::Oid, root: pg_sys::Oid) -> bool {
    up(table).iter().any(|(table, _)| *table == root)
}

/// Returns a table and all tables above it, children before parents.
pub fn up(table: pg_sys::Oid) -> Vec<AtDepth> {
    walk(table, parents)
}

/// Returns a table and all tables below it, parents before children.
pub fn down(table: pg_sys::Oid) -> Vec<AtDepth> {
    walk(table, children)
}

fn walk(table: pg_sys::Oid, next: fn(pg_sys::Oid) -> Vec<pg_sys::Oid>) -> Vec<AtDepth> {
    let mut depths = HashMap::new();
    let (mut level, mut depth) = (vec![table], 0);
    // It ends: the server refuses circles.
    while !level.is_empty() {
        depths.extend(level.iter().map(|table| (*table, depth)));
        level = level.into_iter().flat_map(next).collect();
        level.sort_unstable_by_key(|table| table.to_u32());
        level.dedup();
        depth += 1;
    }
    let mut found: Vec<AtDepth> = depths.into_iter().collect();
    found.sort_unstable_by_key(|(table, depth)| (*depth, table.to_u32()));
    found
}

/// Returns the tables without their depths.
pub fn oids(tree: &[AtDepth]) -> Vec<pg_sys::Oid> {
    tree.iter().map(|(table, _)| *table).collect()
}
