//! `export_tenant()` and `export_user()`: all rows of a tenant or a user as lines, at one snapshot, a few rows in memory at a time.

use std::collections::VecDeque;
use std::ffi::CStr;

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::lifecycle::{Header, Sums, TenantKey, UserHeader, VERSION, write_row};
use tenancy_core::tree::Level;
use uuid::Uuid;

use super::sources::{self, Reader, Source};
use super::{user_sources, users};
use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::rows::Rows;
use crate::pg::time;
use crate::pg::uuid::from_pg;
use crate::{policy, tree};

/// How many rows are read at once.
const ROWS: u32 = 1000;

#[pg_extern(sql = false)]
fn lifecycle_export_tenant(
    tenant: Option<pgrx::Uuid>,
    rows: Option<bool>,
) -> Result<SetOfIterator<'static, String>, ErrorReport> {
    let tenant = from_pg(tenant.ok_or(Error::Null("tenant"))?);
    let rows = rows.ok_or(Error::Null("rows"))?;
    Ok(SetOfIterator::new(Export::of_tenant(tenant, rows)?))
}

#[pg_extern(sql = false)]
fn lifecycle_export_user(
    user_id: Option<pgrx::Uuid>,
) -> Result<SetOfIterator<'static, String>, ErrorReport> {
    let user = from_pg(user_id.ok_or(Error::Null("user_id"))?);
    Ok(SetOfIterator::new(Export::of_user(user)?))
}

/// An export under way.
struct Export {
    /// The tables that are left, the next one first.
    sources: VecDeque<Source>,
    /// The query of the first of them, once it has begun.
    rows: Option<Rows>,
    /// Lines that were read and not returned.
    lines: VecDeque<String>,
    /// What the manifest will say; `None` after it.
    sums: Option<Sums>,
}

impl Export {
    fn of_tenant(tenant: Uuid, rows: bool) -> Result<Self, Error> {
        let scope = tree::require_tenant(tenant)?;
        context::maintain(&format!("export_tenant() of {}", scope.slug))?;
        context::record_now(
            "tenant.exported",
            Some(tenant),
            Some(&scope.slug),
            json!({}),
        )?;
        let header = Header {
            tenancy_export: VERSION,
            tenant: tenant.to_string(),
            slug: scope.slug.clone(),
            external_id: scope.external_id.clone(),
            exported_at: time::now().unix_micros(),
        };
        let key = TenantKey {
            id: tenant,
            external_id: scope.external_id,
        };
        let mut sources = policy::pinned(|| sources::of_tenant(&key))?;
        for source in &mut sources {
            if !rows && matches!(source.reader, Reader::OwnerOf(_)) {
                source.query.push_str(" LIMIT 0");
            }
        }
        Self::begin(sources, &header)
    }

    fn of_user(user: Uuid) -> Result<Self, Error> {
        let scope = tree::scope(user)?
            .filter(|scope| scope.level == Level::User)
            .ok_or_else(|| Error::NoSuchUser(user.to_string()))?;
        // By the id: records stay when the user is forgotten.
        context::maintain(&format!("export_user() of {user}"))?;
        context::record_now(
            "user.exported",
            Some(user),
            Some(&user.to_string()),
            json!({}),
        )?;
        let key = users::key(&scope)?;
        let header = UserHeader {
            tenancy_user_export: VERSION,
            user: user.to_string(),
            slug: scope.slug,
            external_id: scope.external_id,
            exported_at: time::now().unix_micros(),
        };
        Self::begin(policy::pinned(|| user_sources::of_user(&key))?, &header)
    }

    fn begin(sources: Vec<Source>, header: &impl serde::Serialize) -> Result<Self, Error> {
        let mut export = Self {
            sources: sources.into(),
            rows: None,
            lines: VecDeque::new(),
            sums: Some(Sums::default()),
        };
        let line = text(header)?;
        export.add(line, Sums::line);
        Ok(export)
    }

    fn add(&mut self, line: String, sum: impl FnOnce(&mut Sums, &str)) {
        if let Some(sums) = &mut self.sums {
            sum(sums, &line);
        }
        self.lines.push_back(line);
    }

    /// Reads on, until there is a line or nothing is left.
    fn read(&mut self) -> Result<(), Error> {
        while self.lines.is_empty() {
            match self.sources.pop_front() {
                Some(source) => {
                    let more = self.read_some(&source)?;
                    if more {
                        self.sources.push_front(source);
                    } else {
                        self.rows = None;
                    }
                }
                None => {
                    if let Some(sums) = self.sums.take() {
                        self.lines.push_back(text(&sums.manifest())?);
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads some rows of a table. Returns whether there may be more.
    fn read_some(&mut self, source: &Source) -> Result<bool, Error> {
        let mut rows = match self.rows.take() {
            Some(rows) => rows,
            None => {
                let line = text(&source.line)?;
                let table = source.line.table.clone();
                self.add(line, |sums, line| sums.begin(&table, line));
                source.with_its_rights(|| Rows::open(&source.query))?
            }
        };
        let mut unreadable = false;
        let mut found = Vec::new();
        let count = source.with_its_rights(|| {
            rows.read(ROWS, |values| {
                let mut line = String::with_capacity(128);
                let texts = values.iter().map(|value| {
                    value.map(|text: &CStr| {
                        text.to_str().unwrap_or_else(|_| {
                            unreadable = true;
                            ""
                        })
                    })
                });
                write_row(&mut line, texts);
                found.push(line);
            })
        })?;
        if unreadable {
            return Err(Error::Internal("a value is not UTF-8"));
        }
        for line in found {
            self.add(line, Sums::row);
        }
        self.rows = Some(rows);
        Ok(count > 0)
    }
}

fn text(line: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(line).map_err(|_| Error::Internal("a line cannot be written"))
}

impl Iterator for Export {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        pgrx::check_for_interrupts!();
        self.read().unwrap_or_else(|error| error.raise());
        self.lines.pop_front()
    }
}
