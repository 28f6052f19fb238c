//! Checks that the ledger, the events, the rollups and `usage()` agree.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use crate::dice::Dice;
use crate::{Session, World};

/// Compares entries of the ledger with events and open reservations, when nothing is in flight. Returns the wrong ones.
const LEDGER: &str = "
    SELECT concat_ws(' ', l.level, l.scope, coalesce(l.metric, 'cost'), l.period_start, 'used', l.used, 'by events', t.used, 'in flight', l.in_flight,
                     'reserved', l.reserved, 'by rows', t.open, CASE WHEN NOT l.loaded THEN 'not loaded' END)
      FROM tenancy.ledger l
      LEFT JOIN tenancy_internal.metric_definitions m ON m.name = l.metric
     CROSS JOIN LATERAL (SELECT
        (SELECT coalesce(sum(CASE WHEN m.id IS NULL THEN e.cost WHEN m.aggregation = 'count' THEN CASE WHEN e.price_id = -2 THEN 0 ELSE 1000000 END ELSE e.quantity END), 0) * 0.000001
           FROM tenancy_internal.usage_events e
          WHERE (l.level = 'platform' OR l.scope_id IN (e.partner_id, e.tenant_id, e.project_id, e.user_id))
            AND (m.id IS NULL OR e.metric_id = m.id) AND e.at >= l.period_start AND (l.period_end IS NULL OR e.at < l.period_end)),
        (SELECT coalesce(sum(CASE WHEN m.id IS NULL THEN r.cost ELSE r.quantity END), 0) * 0.000001
           FROM tenancy_internal.budget_reservations r
          WHERE r.state = 'open' AND (l.level = 'platform' OR l.scope_id IN (r.partner_id, r.tenant_id, r.project_id, r.user_id))
            AND (m.id IS NULL OR r.metric_id = m.id) AND r.reserved_at >= l.period_start AND (l.period_end IS NULL OR r.reserved_at < l.period_end))) t (used, open)
     WHERE NOT l.loaded OR l.used <> t.used OR l.in_flight <> 0 OR l.reserved <> t.open";

/// Compares usage() of every scope and metric, and of cost, with the events, in one snapshot.
const USAGE: &str = "
    SELECT concat_ws(' ', x.level, x.slug, coalesce(x.name, 'cost'), x.said, 'by events', x.truth)
      FROM (SELECT s.level, s.slug, m.name, (SELECT (u.quantity, u.cost, u.events)::text FROM tenancy.usage(s.id, m.name) u) AS said,
                   (SELECT ROW(CASE m.aggregation WHEN 'sum' THEN trim_scale(coalesce(sum(e.quantity) * 0.000001, 0)) WHEN 'count' THEN count(*) FILTER (WHERE e.price_id IS DISTINCT FROM -2) END,
                               trim_scale(coalesce(sum(e.cost) * 0.000001, 0)), count(*) FILTER (WHERE e.price_id IS DISTINCT FROM -2))::text
                      FROM tenancy_internal.usage_events e
                     WHERE (m.id IS NULL OR e.metric_id = m.id) AND (s.level = 'platform' OR s.id IN (e.partner_id, e.tenant_id, e.project_id, e.user_id))) AS truth
              FROM tenancy.scopes s, (SELECT d.id, d.name, d.aggregation FROM tenancy_internal.metric_definitions d UNION ALL SELECT NULL, NULL, NULL) m) x
     WHERE x.said IS DISTINCT FROM x.truth";

/// Rollup and tail of each grain, against the events, in one snapshot.
const ROLLED: &str = "
    WITH tail AS (SELECT count(*) FILTER (WHERE e.price_id IS DISTINCT FROM -2) AS events, coalesce(sum(e.quantity), 0) AS quantity, coalesce(sum(e.cost), 0) AS cost
                    FROM tenancy_internal.usage_events e LEFT JOIN tenancy.usage_marks m ON m.origin = e.origin WHERE e.xid >= coalesce(m.rolled_to, '0')),
    events AS (SELECT count(*) FILTER (WHERE e.price_id IS DISTINCT FROM -2) AS events, coalesce(sum(e.quantity), 0) AS quantity, coalesce(sum(e.cost), 0) AS cost FROM tenancy_internal.usage_events e),
    grains AS (SELECT 'quarters' AS grain, sum(q.events) AS events, sum(q.quantity) AS quantity, sum(q.cost) AS cost FROM tenancy_internal.usage_quarterly q
               UNION ALL SELECT 'hours', sum(q.events), sum(q.quantity), sum(q.cost) FROM tenancy_internal.usage_hourly q
               UNION ALL SELECT 'days', sum(q.events), sum(q.quantity), sum(q.cost) FROM tenancy_internal.usage_daily q)
    SELECT concat_ws(' ', g.grain, g.events, g.quantity, g.cost, 'tail', t.events, t.quantity, t.cost, 'events', e.events, e.quantity, e.cost)
      FROM grains g, tail t, events e
     WHERE (coalesce(g.events, 0) + t.events, coalesce(g.quantity, 0) + t.quantity, coalesce(g.cost, 0) + t.cost) <> (e.events, e.quantity, e.cost)";

/// Hard budgets of a metric (or of cost) that are exceeded by use and open reservations, in one snapshot, by the period of
/// now. What a settlement above its reservation had no room for is allowed for: that work has happened.
const OVER: &str = "
    SELECT concat_ws(' ', s.level, s.slug, coalesce(m.name, 'cost'), b.period, b.amount / 1000000.0, 'used', t.used / 1000000.0, 'open', t.open / 1000000.0,
                     'overrun', t.overrun / 1000000.0)
      FROM tenancy_internal.budget_definitions b JOIN tenancy.scopes s ON s.id = b.scope_id
      LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id
     CROSS JOIN LATERAL tenancy_internal.period(b.period, tenancy_internal.time_zone(b.scope_id), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, b.anchor) p
     CROSS JOIN LATERAL (SELECT
        (SELECT coalesce(sum(CASE WHEN m.id IS NULL THEN e.cost ELSE e.quantity END), 0) FROM tenancy_internal.usage_events e
          WHERE (s.level = 'platform' OR s.id IN (e.partner_id, e.tenant_id, e.project_id, e.user_id)) AND (m.id IS NULL OR e.metric_id = m.id)
            AND e.at >= to_timestamp(p.lo / 1000000) AND e.at < to_timestamp(p.hi / 1000000)),
        (SELECT coalesce(sum(CASE WHEN m.id IS NULL THEN r.cost ELSE r.quantity END) FILTER (WHERE r.state = 'open'), 0) FROM tenancy_internal.budget_reservations r
          WHERE (s.level = 'platform' OR s.id IN (r.partner_id, r.tenant_id, r.project_id, r.user_id)) AND (m.id IS NULL OR r.metric_id = m.id)
            AND r.reserved_at >= to_timestamp(p.lo / 1000000) AND r.reserved_at < to_timestamp(p.hi / 1000000)),
        (SELECT coalesce(sum(CASE WHEN m.id IS NULL THEN r.used_cost - r.cost ELSE r.used - r.quantity END) FILTER (WHERE r.overrun), 0) FROM tenancy_internal.budget_reservations r
          WHERE (s.level = 'platform' OR s.id IN (r.partner_id, r.tenant_id, r.project_id, r.user_id)) AND (m.id IS NULL OR r.metric_id = m.id)
            AND r.reserved_at >= to_timestamp(p.lo / 1000000) AND r.reserved_at < to_timestamp(p.hi / 1000000))) t (used, open, overrun)
     WHERE b.hard AND NOT tenancy_internal.is_part(b) AND t.used + t.open > b.amount + t.overrun";

/// Asserts that no used and reserved amount exceeds a hard budget. May be called at any time.
#[track_caller]
pub fn within_budgets(admin: &mut Session) {
    assert_eq!(
        admin.texts(OVER),
        Vec::<String>::new(),
        "over a hard budget"
    );
}

/// Asserts that the rollups and `usage()` equal the sums of the events. Holds at any time.
#[track_caller]
pub fn usage_agrees(admin: &mut Session) {
    assert_eq!(
        admin.texts(ROLLED),
        Vec::<String>::new(),
        "rollups and events"
    );
    assert_eq!(
        admin.texts(USAGE),
        Vec::<String>::new(),
        "usage() and events"
    );
}

/// Asserts that the ledger, which has so many entries at least, is what events and reservations say. When all is quiet.
#[track_caller]
pub fn ledger_agrees(admin: &mut Session, entries: i64) {
    let there = admin.number("SELECT count(*) FROM tenancy.ledger WHERE loaded");
    assert!(there >= entries, "{there} of {entries} entries are there");
    // A reservation may expire between the one and the other; what is wrong stays wrong.
    let end = Instant::now() + Duration::from_secs(3);
    loop {
        let wrong = admin.texts(LEDGER);
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "ledger and events: {wrong:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Asserts that all of it agrees. When all is quiet.
#[track_caller]
pub fn all_agrees(admin: &mut Session, entries: i64) {
    usage_agrees(admin);
    ledger_agrees(admin, entries);
}

/// Consumes as each user until nothing fits, in the end `quantity` at a time. A budget with nothing left refuses the last call.
#[track_caller]
pub fn use_up(connect: impl Fn() -> Session, keys: &[&str], metric: &str, quantity: &str) {
    for key in keys {
        let mut session = connect();
        for part in [64, 8, 1] {
            let consume = format!("SELECT tenancy.consume('{metric}', {quantity} * {part})");
            while session.begin(key).batch_execute(&consume).is_ok() {
                session.run("COMMIT");
            }
            session.run("ROLLBACK");
        }
        session.begin(key);
        let says = session.text(&format!(
            "SELECT concat_ws(' ', allowed, amount > 0, remaining, in_flight) FROM tenancy.check_budget('{metric}', {quantity})"
        ));
        assert_eq!(
            says, "f t 0 0",
            "the budget that refuses has nothing left and nothing in flight"
        );
    }
}

/// Some units of a transaction, each in a savepoint, some of them taken back. How many are in it, and how many were refused.
#[track_caller]
pub fn units(
    session: &mut Session,
    dice: &mut Dice,
    call: impl Fn(&mut Dice, u64) -> String,
) -> (u64, u64) {
    let (mut done, mut refused) = (0, 0);
    for _ in 0..=dice.roll(3) {
        let quantity = 1 + dice.roll(3);
        session.run("SAVEPOINT s");
        let call = call(dice, quantity);
        match session.batch_execute(&format!("SELECT tenancy.{call}")) {
            Ok(()) if dice.roll(4) == 0 => {
                session.run("ROLLBACK TO s");
            }
            Ok(()) => done += 1,
            Err(error) => {
                let code = error.code().map(|code| code.code().to_owned());
                assert_eq!(code.as_deref(), Some("53400"), "{error:?}");
                session.run("ROLLBACK TO s");
                refused += 1;
            }
        }
    }
    (done, refused)
}

/// Most transactions commit.
pub fn end(session: &mut Session, dice: &mut Dice) {
    session.run(if dice.roll(5) == 0 {
        "ROLLBACK"
    } else {
        "COMMIT"
    });
}

/// Signals stop when dropped, also by a panic: threads that work until then end.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Cancels a reservation as the role and the user that made it, unless it expires meanwhile.
#[track_caller]
pub fn cancel(world: &World, id: &str) {
    let made = world.db.admin().text(&format!(
        "SELECT concat_ws(' ', user_id, reserved_by, tenant_id) FROM tenancy_internal.budget_reservations WHERE id = '{id}'"
    ));
    let mut made = made.split(' ');
    let (user, by) = (made.next().unwrap(), made.next().unwrap());
    let mut session = if by == world.db.gateway {
        let mut gateway = world.db.gateway();
        gateway.run(&format!("BEGIN; SELECT tenancy.assume('{user}')"));
        gateway
    } else {
        let key = (world.db.owner()).text(&format!(
            "SELECT tenancy.issue_api_key('{user}', 'cancels')"
        ));
        let mut app = world.db.app();
        app.begin(&key);
        app
    };
    if let Some(tenant) = made.next() {
        session.run(&format!("SELECT tenancy.select_tenant('{tenant}')"));
    }
    if let Err(failure) = session.try_run(&format!("SELECT tenancy.cancel('{id}'); COMMIT")) {
        failure.code("55000").says("the reservation is expired");
    }
}
