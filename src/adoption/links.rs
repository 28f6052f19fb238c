//! How rows refer to the rows that they have their tenant from, as a trigger of tenancy.fill_tenant() says it and the catalogs have it
//! now.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use pgrx::prelude::*;
use tenancy_core::adoption::Source;
use tenancy_core::policy::quote_ident;

use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::{ddl, inval};
use crate::policy;

/// A table that gives rows of another one their tenant.
#[derive(Clone)]
pub struct Link {
    pub of: pg_sys::Oid,
    /// Its name, as SQL has it.
    pub name: String,
    pub tenant_column: String,
    /// The referencing columns, the referenced ones, and the operator that compares the latter with the former.
    pub columns: Vec<String>,
    pub ref_columns: Vec<String>,
    pub operators: Vec<String>,
}

impl Link {
    /// Returns the condition that a row `p` of this table is the one that referencing columns with the values `own` refer to.
    pub fn is_row(&self, own: impl Fn(usize, &str) -> String) -> String {
        let pairs = (self.columns.iter())
            .zip(&self.ref_columns)
            .zip(&self.operators);
        let conditions: Vec<String> = (pairs.enumerate())
            .map(|(n, ((column, theirs), operator))| {
                format!("p.{} {operator} {}", quote_ident(theirs), own(n, column))
            })
            .collect();
        conditions.join(" AND ")
    }
}

/// Finds what a source of the trigger is that fills a column of a table: by the name of the foreign key, or by its columns if it was
/// renamed; without a foreign key by the table's name. `None` if it is gone. A foreign key may have got the tenant column since.
pub fn find(
    table: pg_sys::Oid,
    filled: &str,
    source: &Source<'_, String>,
) -> Result<Option<Link>, Error> {
    let columns: Vec<String> = source.columns().cloned().collect();
    let mut link = match source.key_name() {
        Some(key) => match by_key(table, filled, key, &columns)? {
            Some(link) => link,
            None => return Ok(None),
        },
        None => {
            let name = source.relation().to_string();
            Link {
                of: ddl::table(&name)?,
                name,
                tenant_column: String::new(),
                operators: vec!["OPERATOR(pg_catalog.=)".to_owned(); columns.len()],
                columns,
                ref_columns: source.ref_columns().cloned().collect(),
            }
        }
    };
    // A renamed column has its new name in the registry.
    let renamed = policy::tenant_column(link.of)?;
    link.tenant_column = renamed.unwrap_or_else(|| source.tenant_column.clone());
    Ok(Some(link))
}

fn by_key(
    table: pg_sys::Oid,
    filled: &str,
    key: &str,
    columns: &[String],
) -> Result<Option<Link>, Error> {
    spi::read_as_caller(
        "SELECT c.confrelid, c.confrelid::regclass::text, k.own, k.theirs, k.operators \
         FROM pg_constraint c \
         CROSS JOIN LATERAL (SELECT array_agg(own.attname::text ORDER BY u.n) AS own, array_agg(theirs.attname::text ORDER BY u.n) AS theirs, \
                array_agg(format('OPERATOR(%I.%s)', n.nspname, o.oprname) ORDER BY u.n) AS operators \
             FROM unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS u(own, theirs, equality, n) \
             JOIN pg_attribute own ON own.attrelid = c.conrelid AND own.attnum = u.own AND own.attname <> $4::name \
             JOIN pg_attribute theirs ON theirs.attrelid = c.confrelid AND theirs.attnum = u.theirs \
             JOIN pg_operator o ON o.oid = u.equality JOIN pg_namespace n ON n.oid = o.oprnamespace) k \
         WHERE c.conrelid = $1 AND c.contype = 'f' AND k.own IS NOT NULL AND (c.conname = $2 OR k.own = $3) ORDER BY c.conname = $2 DESC LIMIT 1",
        &[
            table.into(),
            key.to_owned().into(),
            columns.to_vec().into(),
            filled.to_owned().into(),
        ],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(Some(Link {
                of: row.not_null(1)?,
                name: row.not_null(2)?,
                tenant_column: String::new(),
                columns: row.not_null(3)?,
                ref_columns: row.not_null(4)?,
                operators: row.not_null(5)?,
            })),
            None => Ok(None),
        },
    )
}

/// What this backend has found in the catalogs, until a definition changes.
pub struct Known<K, V> {
    definitions: u64,
    found: HashMap<K, Rc<V>>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self {
            definitions: 0,
            found: HashMap::new(),
        }
    }
}

impl<K: Hash + Eq, V> Known<K, V> {
    /// Returns what was found.
    pub fn get(&mut self, key: &K) -> Option<Rc<V>> {
        let definitions = inval::definitions();
        if self.definitions != definitions {
            self.definitions = definitions;
            self.found.clear();
        }
        self.found.get(key).cloned()
    }

    /// Keeps what is found, if nothing has changed since it was asked for.
    pub fn keep(&mut self, key: K, found: Rc<V>) {
        if self.definitions == inval::definitions() {
            self.found.insert(key, found);
        }
    }
}
