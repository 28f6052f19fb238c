//! Tenancy's own rows of an import. Each value is read as that of its column; each id must be that of a scope of the tenant.

use serde_json::{Map, Value};
use tenancy_core::id::new_id;
use tenancy_core::lifecycle::{Damage, NewIds, OWN, OwnTable, SCOPES, read_row};
use uuid::Uuid;

use super::staged::{Staged, damaged};
use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;

/// How many rows one call takes.
const ROWS: usize = 1000;
/// The most bytes of rows that one call takes, if a row has not more by itself.
const BYTES: usize = 4 << 20;
/// How many reasons are collected.
const REASONS_MAX: usize = 100;

/// The tenant that is made.
pub struct Tenant<'a> {
    /// Its partner.
    pub partner: Uuid,
    /// Its slug; `None`: that in the file.
    pub slug: Option<String>,
    /// Its external id.
    pub external_id: Option<String>,
    /// Its status.
    pub status: &'a str,
    /// What becomes of what is given from above.
    pub granted: &'a str,
}

/// What was taken of tenancy's own rows.
#[derive(Default)]
pub struct Taken {
    /// How many rows, by their tables.
    pub rows: Vec<(&'static str, i64)>,
    /// Why the import is refused.
    pub faults: Vec<String>,
    /// What only a scope above a tenant may give, and was not taken.
    pub granted: Vec<String>,
}

/// A table in the file: the rows are between these lines, so many.
pub type Span = ((i64, i64), u64);

/// Creates the tenant and what it owns. `spans` are those of [`OWN`]; a table that is not in the file has none. Adds scopes to `ids`.
pub fn restore(
    staged: &Staged,
    spans: &[Option<Span>],
    tenant: &Tenant<'_>,
    former: Uuid,
    ids: &mut NewIds,
) -> Result<Taken, Error> {
    let mut taken = Taken::default();
    for (table, span) in OWN.iter().zip(spans) {
        let Some(((first, last), rows)) = *span else {
            continue;
        };
        let mut own = Own {
            table,
            tenant,
            former,
            taken: &mut taken,
            ids,
        };
        let count = own.all(staged, (first, last))?;
        if count.unsigned_abs() != rows && taken.faults.is_empty() && taken.granted.is_empty() {
            taken
                .faults
                .push(format!("{}: not all of its rows were taken.", table.name));
        }
        taken.rows.push((table.name, count));
        // What follows is of scopes that may not be there.
        if *table == SCOPES && !taken.faults.is_empty() {
            break;
        }
    }
    Ok(taken)
}

struct Own<'a> {
    table: &'static OwnTable,
    tenant: &'a Tenant<'a>,
    former: Uuid,
    taken: &'a mut Taken,
    ids: &'a mut NewIds,
}

impl Own<'_> {
    fn all(&mut self, staged: &Staged, span: (i64, i64)) -> Result<i64, Error> {
        let mut lines = staged.lines(span.0, span.1)?;
        let (mut rows, mut bytes, mut count) = (Vec::new(), 0, 0);
        let mut is_first = *self.table == SCOPES;
        while let Some((_, line)) = lines.next()? {
            let row = self.row(&line, is_first)?;
            if is_first {
                let tenant = self.tenant;
                count += self.call(
                    "SELECT taken, faults, granted FROM tenancy_internal.import_tenant_scope($1, $2, $3, $4, $5, $6)",
                    &[
                        pg_uuid(tenant.partner).into(),
                        tenant.slug.clone().into(),
                        tenant.external_id.clone().into(),
                        tenant.status.into(),
                        pgrx::JsonB(row).into(),
                        tenant.granted.into(),
                    ],
                )?;
                is_first = false;
                if !self.taken.faults.is_empty() {
                    return Ok(count);
                }
            } else {
                rows.push(row);
                bytes += line.len();
            }
            if rows.len() >= ROWS || bytes >= BYTES {
                count += self.take(std::mem::take(&mut rows))?;
                bytes = 0;
            }
            if self.taken.faults.len() > REASONS_MAX {
                return Ok(count);
            }
        }
        Ok(count + self.take(rows)?)
    }

    /// Reads a row as an object, with the ids that scopes have here.
    fn row(&mut self, line: &str, is_tenant: bool) -> Result<Value, Error> {
        let bad = || damaged(Damage::Row(self.table.name.to_owned()));
        let values = read_row(line, self.table.columns.len()).ok_or_else(bad)?;
        let mut row = Map::new();
        for ((name, _), value) in self.table.columns.iter().zip(values) {
            let value = match (self.table.scopes.contains(name), value) {
                (true, Some(text)) => {
                    let former: Uuid = text.parse().map_err(|_| bad())?;
                    Some(
                        match *self.table == SCOPES {
                            true => self.new_scope(former, is_tenant)?,
                            false => self
                                .ids
                                .scope(former)
                                .ok_or_else(|| self.stranger(former))?,
                        }
                        .to_string(),
                    )
                }
                (true, None) => return Err(bad()),
                (false, value) => value,
            };
            row.insert((*name).to_owned(), value.map_or(Value::Null, Value::String));
        }
        match is_tenant && row.get("level").and_then(Value::as_str) != Some("tenant") {
            true => Err(Error::ImportRefused(
                "tenancy.scopes: its first row is not the tenant.".to_owned(),
            )),
            false => Ok(Value::Object(row)),
        }
    }

    fn new_scope(&mut self, former: Uuid, is_tenant: bool) -> Result<Uuid, Error> {
        let new = match (self.ids.change(), is_tenant) {
            (false, _) => former,
            (true, _) => new_id(),
        };
        if is_tenant != (former == self.former) || !self.ids.add(former, new) {
            return Err(Error::ImportRefused(format!(
                "tenancy.scopes: the tenant is not its first row alone, or {former} is in it twice."
            )));
        }
        Ok(new)
    }

    fn stranger(&self, id: Uuid) -> Error {
        Error::ImportRefused(format!(
            "{}: {id} is no scope of the tenant.",
            self.table.name
        ))
    }

    fn take(&mut self, rows: Vec<Value>) -> Result<i64, Error> {
        let query = match self.table.name {
            "tenancy.scopes" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_scopes($1, $2, $3)"
            }
            "tenancy.roles" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_roles($1, $2, $3)"
            }
            "tenancy.assignments" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_assignments($1, $2, $3)"
            }
            "tenancy.allowed_networks" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_allowed_networks($1, $2, $3)"
            }
            "tenancy.login_policies" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_login_policies($1, $2, $3)"
            }
            "tenancy.budgets" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_budgets($1, $2, $3)"
            }
            "tenancy.credits" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_credits($1, $2, $3)"
            }
            "tenancy.limits" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_limits($1, $2, $3)"
            }
            "tenancy.tenant_plans" => {
                "SELECT taken, faults, granted FROM tenancy_internal.import_tenant_plans($1, $2, $3)"
            }
            _ => return Err(Error::Internal("rows of tenancy that nothing takes")),
        };
        if rows.is_empty() {
            return Ok(0);
        }
        let tenant = self.ids.scope(self.former).unwrap_or(self.former);
        self.call(
            query,
            &[
                pg_uuid(tenant).into(),
                pgrx::JsonB(Value::Array(rows)).into(),
                self.tenant.granted.into(),
            ],
        )
    }

    fn call(
        &mut self,
        query: &'static str,
        args: &[pgrx::datum::DatumWithOid<'_>],
    ) -> Result<i64, Error> {
        let (count, faults, granted) = spi::exact_texts(|| {
            spi::write_returning(query, args, |rows| {
                let row = rows.first();
                Ok((
                    row.not_null::<i64>(1)?,
                    row.not_null::<Vec<String>>(2)?,
                    row.get::<Vec<String>>(3)?.unwrap_or_default(),
                ))
            })
        })?;
        self.taken.faults.extend(faults);
        for text in granted {
            if self.taken.granted.len() < REASONS_MAX && !self.taken.granted.contains(&text) {
                self.taken.granted.push(text);
            }
        }
        Ok(count)
    }
}
