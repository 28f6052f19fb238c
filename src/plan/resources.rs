//! The resources of the server that a tenant's plan allows its transactions. They are limited when a context begins.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::JsonB;
use serde_json::Value;
use tenancy_core::subject::Subject;
use tenancy_core::time::Instant;
use uuid::Uuid;

use crate::context::{Context, on_resolved};
use crate::error::Error;
use crate::pg::ceilings::{self, Ceilings};
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{connections, xact};

/// The number of tenants whose resources a backend caches at most.
const TENANTS_MAX: usize = 10_000;

/// What a tenant's plan allows.
struct Resources {
    ceilings: Ceilings,
    connections: Option<usize>,
    /// When another plan begins or ends.
    until: Option<Instant>,
    sources: Sources,
}

impl Resources {
    fn hold(&self) -> bool {
        self.sources.hold()
            && self
                .until
                .is_none_or(|until| xact::statement_started() < until)
    }
}

#[derive(Default)]
struct Cache {
    /// Whether a plan has resources. A plan that gets some makes backends drop everything.
    any: Option<(bool, Sources)>,
    of: HashMap<Uuid, Rc<Resources>>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Takes part in every context that begins; called once, when the library is loaded.
pub fn init() {
    connections::init();
    ceilings::init();
    on_resolved(limit);
}

/// Limits the transaction of a context; an error if the tenant has too many of them.
fn limit(context: &Context) -> Result<(), Error> {
    let tenant = match context.only_tenant() {
        Some(tenant) if !xact::parallel() && any()? => tenant.id,
        _ => return Ok(()),
    };
    let resources = of_tenant(tenant)?;
    match resources.connections {
        Some(most) if !connections::enter(*tenant.as_bytes(), most) => {
            return Err(Error::TenantBusy(most));
        }
        Some(_) => {}
        None => connections::leave(),
    }
    ceilings::impose(resources.ceilings);
    Ok(())
}

/// Returns whether any plan has resources.
fn any() -> Result<bool, Error> {
    let known = CACHE.with_borrow(|cache| {
        let (any, sources) = cache.any.as_ref()?;
        sources.hold().then_some(*any)
    });
    if let Some(any) = known {
        return Ok(any);
    }
    let reading = Reading::begin();
    let any = spi::read(
        "SELECT EXISTS (SELECT FROM tenancy_internal.plan_definitions WHERE resources <> '{}')",
        &[],
        |rows| rows.first().not_null(1),
    )?;
    CACHE.with_borrow_mut(|cache| cache.any = Some((any, reading.done())));
    Ok(any)
}

fn of_tenant(tenant: Uuid) -> Result<Rc<Resources>, Error> {
    let known = CACHE.with_borrow(|cache| cache.of.get(&tenant).cloned());
    if let Some(known) = known.filter(|known| known.hold()) {
        return Ok(known);
    }
    let read = Rc::new(read(tenant)?);
    CACHE.with_borrow_mut(|cache| {
        if cache.of.len() >= TENANTS_MAX {
            cache.of.clear();
        }
        cache.of.insert(tenant, read.clone());
    });
    Ok(read)
}

fn read(tenant: Uuid) -> Result<Resources, Error> {
    let mut reading = Reading::begin();
    reading.of(Subject::Limits(tenant));
    let (plan, found, until) = spi::read(
        "SELECT d.id, d.resources, (extract(epoch FROM p.until) * 1000000)::bigint \
         FROM tenancy_internal.plan_at($1, statement_timestamp()) p \
         LEFT JOIN tenancy_internal.plan_definitions d ON d.id = p.plan_id",
        &[pg_uuid(tenant).into()],
        |rows| {
            let row = rows.into_iter().next();
            let Some(row) = row else {
                return Ok((None, Value::Null, None));
            };
            let plan = row.get::<pgrx::Uuid>(1)?;
            let found = row.get::<JsonB>(2)?.map(|json| json.0);
            Ok((plan, found.unwrap_or_default(), spi::instant(&row, 3)?))
        },
    )?;
    if let Some(plan) = plan {
        reading.of(Subject::Options(from_pg(plan)));
    }
    let number = |name: &str| found.get(name).and_then(Value::as_i64);
    let setting = |name: &str| number(name).and_then(|number| i32::try_from(number).ok());
    Ok(Resources {
        ceilings: Ceilings {
            statement_timeout: setting("statement_timeout"),
            idle_timeout: setting("idle_in_transaction_session_timeout"),
            work_mem: setting("work_mem"),
            parallel_workers: setting("max_parallel_workers_per_gather"),
        },
        connections: number("connections").and_then(|number| usize::try_from(number).ok()),
        until,
        sources: reading.done(),
    })
}
