//! The procedures of a tenant's move to another database. A publication with a filter for each table sends its rows, by the server's own
//! logical replication; the tenant works on until it is switched over. Each step is a transaction of its own, so that one that was
//! interrupted is resumed by the next call, or undone.
//!
//! Statements run as the caller: who owns the tables may publish them.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use tenancy_core::lifecycle::{
    Published, Table, TenantKey, identity, move_name, publish, subscribe,
};
use tenancy_core::policy::quote_literal;
use uuid::Uuid;

use super::move_record::{self as record, Part};
use super::plan::Plan;
use super::run::{lock_key, locked};
use super::{progress, sources, writers};
use crate::adoption::{self, LOCK_TIMEOUT, Patient, wait_at_most};
use crate::context::Maintained;
use crate::error::{Error, ErrorReport};
use crate::pg::extension;
use crate::pg::lock::SessionLock;
use crate::pg::procedure::Procedure;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::from_pg;
use crate::tree::Scope;
use crate::{audit, authority, policy, tree};

/// How often it looks whether the subscriber has come far enough.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest time that a tenant may be kept waiting.
const TIMEOUT_SECONDS_MAX: i32 = 3600;

#[pg_extern(sql = false)]
fn lifecycle_move_tenant_out(
    tenant: Option<pgrx::Uuid>,
    dry_run: Option<bool>,
    lock_timeout: Option<String>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    let call = Call::new(tenant, lock_timeout)?;
    let plan = policy::pinned(|| Plan::read(&call.key()))?;
    call.require(policy::pinned(|| blocked(&plan))?)?;
    let parts = record::parts(&roots(&plan))?;
    for part in parts.iter().filter(|part| part.lacks) {
        notice!("tenancy: {}", identity(&part.name, part.index.as_deref()));
    }
    if dry_run == Some(true) {
        return Ok(());
    }
    let transactions = Patient::new(call.lock_timeout.clone(), &procedure)?;
    let name = move_name(call.scope.id);
    record::begin(call.scope.id, &name, call.lock_key())?;
    transactions.commit();
    let maintained = Maintained::begin(&format!("move_tenant_out() of {}", call.scope.slug))?;
    transactions.commit();
    for part in parts.iter().filter(|part| part.lacks) {
        transactions.run(&part.name, || give_identity(part.oid))?;
        transactions.commit();
    }
    transactions.run(&name, || {
        maintained.again()?;
        policy::pinned(|| {
            // What was protected meanwhile comes with it.
            let plan = Plan::read(&call.key())?;
            let exists = record::is_published(&name)?;
            let tables: Vec<Published> = members(&plan)?
                .into_iter()
                .map(|(_, table)| table)
                .collect();
            for statement in publish(&name, exists, &tables) {
                policy::run(&statement)?;
            }
            Ok(())
        })?;
        record::note_published(call.scope.id)
    })?;
    transactions.commit();
    // Of this server: the other's version is not known.
    let as_owner = !cfg!(feature = "pg15");
    notice!(
        "tenancy: subscribe as a superuser of the other database: {}",
        subscribe(&name, as_owner)
    );
    Ok(())
}

#[pg_extern(sql = false)]
fn lifecycle_switch_over(
    tenant: Option<pgrx::Uuid>,
    destination: Option<&str>,
    timeout_seconds: Option<i32>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    let call = Call::new(tenant, None)?;
    let destination = audit::checked_reason(destination)?.to_owned();
    let seconds = timeout_seconds.ok_or(Error::Null("timeout_seconds"))?;
    if !(1..=TIMEOUT_SECONDS_MAX).contains(&seconds) {
        Err(Error::bad(
            format!("timeout_seconds must be from 1 to {TIMEOUT_SECONDS_MAX}"),
            "The tenant is suspended for at most so long.",
        ))?;
    }
    let transactions = Patient::new(call.lock_timeout.clone(), &procedure)?;
    let switch = Switch {
        call,
        transactions,
        seconds,
    };
    Ok(switch.over(&destination)?)
}

#[pg_extern(sql = false)]
fn lifecycle_finish_move(
    tenant: Option<pgrx::Uuid>,
    lock_timeout: Option<String>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    Ok(end(&Call::new(tenant, lock_timeout)?, true, &procedure)?)
}

#[pg_extern(sql = false)]
fn lifecycle_cancel_move(
    tenant: Option<pgrx::Uuid>,
    lock_timeout: Option<String>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    Ok(end(&Call::new(tenant, lock_timeout)?, false, &procedure)?)
}

/// A call of one of the procedures, by an administrator, for a tenant.
struct Call {
    scope: Scope,
    lock_timeout: String,
    /// No other session works on the move.
    _alone: SessionLock,
}

impl Call {
    fn new(tenant: Option<pgrx::Uuid>, lock_timeout: Option<String>) -> Result<Self, Error> {
        let tenant = from_pg(tenant.ok_or(Error::Null("tenant"))?);
        authority::require_administrator()?;
        let scope = tree::require_tenant(tenant)?;
        let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
        wait_at_most(&lock_timeout)?;
        let moves = extension::internal_table(c"tenant_moves")?;
        let alone = adoption::alone_with(moves, lock_key(tenant), "the move of this tenant")?;
        Ok(Self {
            scope,
            lock_timeout,
            _alone: alone,
        })
    }

    fn key(&self) -> TenantKey {
        TenantKey {
            id: self.scope.id,
            external_id: self.scope.external_id.clone(),
        }
    }

    fn lock_key(&self) -> u32 {
        lock_key(self.scope.id)
    }

    /// Raises an error if there are reasons.
    fn require(&self, reasons: Vec<String>) -> Result<(), Error> {
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Error::MoveBlocked {
                tenant: self.scope.slug.clone(),
                reasons: reasons.join("\n"),
            }),
        }
    }
}

/// Returns the protected tables that can have rows of the tenant.
fn roots(plan: &Plan) -> Vec<pg_sys::Oid> {
    plan.tables()
        .map(|(table, _)| pg_sys::Oid::from_u32(table.oid))
        .collect()
}

/// Returns the tables to publish. A partitioned table is one; inheritance children are each one.
fn members(plan: &Plan) -> Result<Vec<(pg_sys::Oid, Published)>, Error> {
    let mut members = sources::columns(&roots(plan))?;
    let mut found = Vec::new();
    for (table, condition) in plan.tables() {
        for (oid, _, line) in members.remove(&table.oid).unwrap_or_default() {
            let published = Published {
                table: line.table,
                condition: condition.to_owned(),
            };
            found.push((oid, published));
        }
    }
    Ok(found)
}

/// Returns why a tenant's rows cannot be published, a line for each reason.
fn blocked(plan: &Plan) -> Result<Vec<String>, Error> {
    let mut reasons: Vec<String> = (plan.tables())
        .map(|(table, _)| table)
        .flat_map(Table::not_owned)
        .collect();
    for part in record::parts(&roots(plan))? {
        reasons.extend(part.fault.map(|fault| format!("{}: {fault}", part.name)));
    }
    let (level, may_create) = spi::read_as_caller(
        "SELECT pg_catalog.current_setting('wal_level'), pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')",
        &[],
        |rows| {
            let row = rows.first();
            Ok((row.not_null::<String>(1)?, row.not_null::<bool>(2)?))
        },
    )?;
    if level != "logical" {
        reasons.push(format!(
            "wal_level is {level}, not logical: set it, and restart the server."
        ));
    }
    if !may_create {
        reasons
            .push("The caller may not create publications: GRANT CREATE ON DATABASE.".to_owned());
    }
    Ok(reasons)
}

/// Gives a table a replica identity with its tenant column, if it still lacks that.
fn give_identity(table: pg_sys::Oid) -> Result<(), Error> {
    record::lock_identities()?;
    let Some(part) = lacking(table)? else {
        return Ok(());
    };
    record::keep_identity(table)?;
    policy::pinned(|| policy::run(&identity(&part.name, part.index.as_deref())))
}

/// Returns a table, if it still lacks an identity: another move may have given it one.
fn lacking(table: pg_sys::Oid) -> Result<Option<Part>, Error> {
    let Some(root) = policy::root_of(table) else {
        return Ok(None);
    };
    let parts = record::parts(&[root])?;
    Ok((parts.into_iter()).find(|part| part.oid == table && part.lacks))
}

/// A switch-over under way.
struct Switch {
    call: Call,
    transactions: Patient,
    seconds: i32,
}

impl Switch {
    fn over(&self, destination: &str) -> Result<(), Error> {
        let tenant = self.call.scope.id;
        let found = record::find(tenant)?;
        if matches!(found.state.as_str(), "switched" | "finishing" | "moved") {
            notice!("tenancy: the tenant is switched over already");
            return Ok(());
        }
        let plan = policy::pinned(|| Plan::read(&self.call.key()))?;
        self.call.require(self.blocked(&plan)?)?;
        // As long as the subscriber is far behind, the tenant works.
        if found.state != "switching" {
            record::mark_position(tenant)?;
            self.transactions.commit();
            if !self.arrives(self.end())? {
                return Err(self.too_slow());
            }
        }
        record::suspend(tenant, self.call.lock_key())?;
        self.transactions.commit();
        let end = self.end();
        let ended = writers::wait_until(&locked(&plan.facts), &self.transactions, Some(end))?;
        if ended {
            record::mark_position(tenant)?;
            self.transactions.commit();
        }
        if !ended || !self.arrives(end)? {
            record::take_up_again(tenant)?;
            self.transactions.commit();
            return Err(self.too_slow());
        }
        // No table becomes protected now.
        progress::lock_registry()?;
        let plan = policy::pinned(|| Plan::read(&self.call.key()))?;
        let reasons = self.blocked(&plan)?;
        if !reasons.is_empty() {
            record::take_up_again(tenant)?;
            self.transactions.commit();
            return self.call.require(reasons);
        }
        record::note_switched(tenant, destination)
    }

    fn end(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.seconds.unsigned_abs().into())
    }

    fn too_slow(&self) -> Error {
        Error::MoveTooSlow {
            tenant: self.call.scope.slug.clone(),
            seconds: self.seconds,
        }
    }

    /// Waits until the subscriber has come to the position. Returns false if it does not.
    fn arrives(&self, end: Instant) -> Result<bool, Error> {
        loop {
            if record::has_arrived(self.call.scope.id)? {
                return Ok(true);
            }
            if Instant::now() > end {
                return Ok(false);
            }
            self.transactions.commit();
            sleep(PAUSE);
            pgrx::check_for_interrupts!();
        }
    }

    /// Returns why the subscriber does not get all rows, a line for each reason.
    fn blocked(&self, plan: &Plan) -> Result<Vec<String>, Error> {
        const AGAIN: &str = "call move_tenant_out() again";
        let found = record::find(self.call.scope.id)?;
        let mut reasons = policy::pinned(|| blocked(plan))?;
        if found.changed {
            reasons.push(format!(
                "The external id of the tenant was changed, and its rows were published by the former one: {AGAIN}."
            ));
        }
        if !matches!(found.state.as_str(), "copying" | "switching") {
            reasons.push(format!("The move is {}: {AGAIN}.", found.state));
        }
        for part in record::parts(&roots(plan))? {
            if part.lacks {
                reasons.push(format!(
                    "{}: its replica identity lacks the tenant column: {AGAIN}.",
                    part.name
                ));
            }
        }
        match record::published(&found.name)? {
            None => reasons.push(format!(
                "Publication {} is missing, or others have changed it: {AGAIN}.",
                found.name
            )),
            Some(tables) => {
                let tables: HashSet<pg_sys::Oid> = tables.into_iter().collect();
                for (oid, table) in policy::pinned(|| members(plan))? {
                    if !tables.contains(&oid) {
                        reasons.push(format!(
                            "{}: it is not published: {AGAIN}, and then ALTER SUBSCRIPTION {} REFRESH PUBLICATION in the other database.",
                            table.table, found.name
                        ));
                    }
                }
            }
        }
        if !found.subscribed {
            reasons.push(format!(
                "No subscriber is connected to replication slot {}.",
                found.name
            ));
        }
        Ok(reasons)
    }
}

/// Finishes a move, or cancels it. The slot goes first: it fills the disk.
fn end(call: &Call, finish: bool, procedure: &Procedure) -> Result<(), Error> {
    let tenant = call.scope.id;
    let transactions = Patient::new(call.lock_timeout.clone(), procedure)?;
    let found = record::find(tenant)?;
    if finish && found.state == "moved" {
        return Ok(());
    }
    if found.subscribed {
        return Err(Error::MoveSubscribed(found.name));
    }
    record::begin_end(tenant, finish, call.lock_key())?;
    if found.slot {
        policy::run(&format!(
            "SELECT pg_catalog.pg_drop_replication_slot({})",
            quote_literal(&found.name)
        ))?;
    }
    if record::is_published(&found.name)? {
        policy::pinned(|| policy::run(&format!("DROP PUBLICATION {}", found.name)))?;
    }
    transactions.commit();
    give_back(tenant, &transactions)?;
    record::note_end(tenant, finish)
}

/// Gives tables the replica identities that they had, unless another move needs theirs.
fn give_back(tenant: Uuid, transactions: &Patient) -> Result<(), Error> {
    for former in record::former_identities(tenant)? {
        let name = former.table.unwrap_or_default();
        transactions.run(&name, || {
            record::lock_identities()?;
            // Under the lock: a move may have begun meanwhile.
            let still = record::former_identities(tenant)?;
            let Some(former) = still.into_iter().find(|still| still.oid == former.oid) else {
                return Ok(());
            };
            if let (Some(table), Some(identity)) = (&former.table, &former.identity) {
                let statement = format!("ALTER TABLE ONLY {table} REPLICA IDENTITY {identity}");
                policy::pinned(|| policy::run(&statement))?;
            }
            record::forget_identity(former.oid)
        })?;
        transactions.commit();
    }
    Ok(())
}
