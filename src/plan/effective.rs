//! Every feature and setting of a scope, and where it comes from, for the view effective_values.

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::Value;
use tenancy_core::plan::leaves;

use super::definitions::{self, Of};
use super::values::{Source, of_scope};
use crate::error::ErrorReport;
use crate::pg::uuid::{from_pg, pg_uuid};

/// A value, and where it comes from: a scope, a plan or neither.
type Row = (
    &'static str,
    String,
    Option<JsonB>,
    Option<pgrx::Uuid>,
    Option<pgrx::Uuid>,
);

/// Returns the values that count in a scope.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn _effective_options(
    scope: pgrx::Uuid,
) -> Result<
    TableIterator<
        'static,
        (
            name!(kind, &'static str),
            name!(name, String),
            name!(value, Option<JsonB>),
            name!(scope_id, Option<pgrx::Uuid>),
            name!(plan_id, Option<pgrx::Uuid>),
        ),
    >,
    ErrorReport,
> {
    let values = of_scope(from_pg(scope))?;
    let known = definitions::all()?;
    let sources: Vec<Source> = values.sources().collect();
    let mut rows: Vec<Row> = Vec::new();
    for of in Of::ALL {
        let layers = values.layers(of);
        for (name, definition) in known.of(of) {
            rows.extend(
                leaves(name, definition, &layers)
                    .into_iter()
                    .map(|(name, found)| {
                        let source = found.layer.and_then(|layer| sources.get(layer).copied());
                        let (scope, plan) = match source {
                            Some(Source::Scope(id)) => (Some(pg_uuid(id)), None),
                            Some(Source::Plan(id)) => (None, Some(pg_uuid(id))),
                            None => (None, None),
                        };
                        let value = Some(found.value).filter(|value| *value != Value::Null);
                        (of.as_str(), name, value.map(JsonB), scope, plan)
                    }),
            );
        }
    }
    Ok(TableIterator::new(rows))
}
