//! Runs a step of an adoption, in batches that each fit into a short transaction.

use pgrx::prelude::*;
use tenancy_core::adoption::{Choices, Fill, Step, StepKind, TablePlan};
use tenancy_core::policy::{Actor, Options, Relation};

use super::tenants;
use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::{ddl, inheritance};
use crate::policy;

/// How many blocks of a table are filled in one transaction: at most some ten thousand rows, which stay locked until it ends.
const BATCH_BLOCKS: u32 = 128;

/// Where a batch begins.
#[derive(Clone, Copy)]
pub enum Position {
    /// At the beginning.
    Start,
    /// At a block of a part of the table; parts are in the order of their oids.
    Block(u32, u32),
}

/// Runs a step, or the batch of it that begins at a position. Returns where the next batch begins.
pub fn run(
    plan: &TablePlan,
    step: &Step,
    choices: &Choices,
    position: Position,
) -> Result<Option<Position>, Error> {
    let name = plan.relation.to_string();
    match &step.kind {
        StepKind::Fill(fill) => fill_batch(ddl::table(&name)?, fill, position),
        // An index is built between transactions: see `retry`.
        StepKind::Statement | StepKind::Index(_) => {
            execute(step, &name)?;
            Ok(None)
        }
        StepKind::Grant(roles) => {
            execute(step, &name)?;
            spi::write(
                "INSERT INTO tenancy_internal.adoption_grants (relation, grantee) SELECT $1, r FROM unnest($2) r ON CONFLICT DO NOTHING",
                &[ddl::table(&name)?.into(), roles.clone().into()],
            )?;
            Ok(None)
        }
        StepKind::Revoke => {
            execute(step, &name)?;
            spi::write(
                "DELETE FROM tenancy_internal.adoption_grants WHERE relation = $1",
                &[ddl::table(&name)?.into()],
            )?;
            Ok(None)
        }
        StepKind::Tenants => {
            let made = tenants::run(&step.sql())?;
            Ok((made > 0).then_some(Position::Start))
        }
        StepKind::Unprotect => {
            policy::unprotect_table(ddl::table(&name)?, false, false)?;
            Ok(None)
        }
        StepKind::Protect => {
            let column = plan.tenant_column.clone().unwrap_or_default();
            let mut options = Options::new(column);
            options.grants.clone_from(&choices.grants);
            options.shared_null = plan.shares_null;
            options.hidden_null = plan.hides_null;
            if let Some(decision) = choices.of(&plan.relation) {
                options.owner_column.clone_from(&decision.owner_column);
                options.project_column.clone_from(&decision.project_column);
            }
            options.counted = true;
            policy::protect_table(ddl::table(&name)?, &options)?;
            Ok(None)
        }
    }
}

fn execute(step: &Step, table: &str) -> Result<(), Error> {
    for statement in &step.statements {
        policy::execute_statement(statement, Actor::Invoker, table)?;
    }
    Ok(())
}

/// Fills the column in the rows of some blocks. Rows that are written meanwhile are filled by a trigger, so that one pass over the
/// blocks that the table has now is enough.
fn fill_batch(
    table: pg_sys::Oid,
    fill: &Fill,
    position: Position,
) -> Result<Option<Position>, Error> {
    let (first, block) = match position {
        Position::Start => (0, 0),
        Position::Block(part, block) => (part, block),
    };
    let mut parts: Vec<u32> = inheritance::oids(&inheritance::down(table))
        .into_iter()
        .map(|part| part.to_u32())
        .filter(|part| *part >= first)
        .collect();
    parts.sort_unstable();
    let mut parts = parts.into_iter();
    let Some(part) = parts.next() else {
        return Ok(None);
    };
    let block = if part == first { block } else { 0 };
    let end = block.saturating_add(BATCH_BLOCKS);
    if let Some((name, blocks)) = stored(part)?
        && i64::from(block) < blocks
    {
        for lock in fill.locks(&name, block, end) {
            policy::as_table_owner(table, || locked(&lock))?;
        }
        let statement = fill.batch(&name, block, end);
        policy::execute_statement(&statement, Actor::Owner, &name.to_string())?;
        if i64::from(end) < blocks {
            return Ok(Some(Position::Block(part, end)));
        }
    }
    Ok(parts.next().map(|next| Position::Block(next, 0)))
}

/// Runs a query that locks rows.
fn locked(query: &str) -> Result<(), Error> {
    Spi::connect_mut(|client| {
        client.update(query, None, &[])?;
        Ok(())
    })
}

/// Returns the name and the number of blocks of a table that has rows of its own: a partitioned one has none.
fn stored(table: u32) -> Result<Option<(Relation, i64)>, Error> {
    spi::read_as_caller(
        "SELECT n.nspname::text, c.relname::text, pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1 AND c.relkind = 'r'",
        &[pg_sys::Oid::from_u32(table).into()],
        |rows| match rows.into_iter().next() {
            Some(row) => {
                let (schema, name) = (row.not_null(1)?, row.not_null(2)?);
                Ok(Some((Relation { schema, name }, row.not_null(3)?)))
            }
            None => Ok(None),
        },
    )
}
