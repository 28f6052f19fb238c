//! Periods end by the clock of their time zone, also when that clock is set forward, back, or wrong for a while.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenancy_client_tests::clock::Clock;
use tenancy_client_tests::metering::{all_agrees, usage_agrees};
use tenancy_client_tests::{Db, Failure, Session, World};

struct Timed<'a> {
    clock: &'a Clock,
    world: World,
    admin: Session,
    /// Connections that stay, with the periods that they know.
    alice: Session,
    bob: Session,
}

impl<'a> Timed<'a> {
    fn on(clock: &'a Clock, db: Db) -> Self {
        let world = World::bare_in(db);
        let mut owner = world.db.owner();
        owner.run(
            "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5), tenancy.define_metric('calls', 'calls');
             SELECT tenancy.update_scope('acme', settings => '{\"time_zone\": \"Europe/Berlin\"}');
             SELECT tenancy.set_budget('acme', 'tokens', 10, 'day'), tenancy.set_budget('acme', 'calls', 5, 'hour'), tenancy.set_budget('umbrella', 'tokens', 10, 'day')",
        );
        Self {
            clock,
            admin: world.db.admin(),
            alice: world.db.app(),
            bob: world.db.app(),
            world,
        }
    }

    /// Sets the clock of the server.
    #[track_caller]
    fn at(&mut self, instant: &str) -> &mut Self {
        let seconds = self.admin.text(&format!(
            "SELECT extract(epoch FROM timestamptz '{instant}')"
        ));
        self.clock.set(seconds.parse().unwrap());
        assert_eq!(self.admin.text(&format!("SELECT clock_timestamp() BETWEEN '{instant}' AND timestamptz '{instant}' + interval '5 seconds'")), "t", "the clock was not set");
        self
    }

    /// Consumes this quantity over an old connection. Returns whether it was admitted, and asserts that a new connection agrees.
    #[track_caller]
    fn used(&mut self, user: &str, metric: &str, quantity: i64) -> bool {
        let fits = self
            .world
            .begin(user)
            .text(&format!("SELECT tenancy.fits('{metric}', {quantity})"));
        let key = self.world.key(user);
        let session = if user == "alice" {
            &mut self.alice
        } else {
            &mut self.bob
        };
        let admitted = match session
            .begin(key)
            .batch_execute(&format!("SELECT tenancy.consume('{metric}', {quantity})"))
        {
            Ok(()) => session.run("COMMIT").number("SELECT 1") == 1,
            Err(refused) => {
                Failure::from(&refused).code("53400");
                session.run("ROLLBACK").number("SELECT 1") == 0
            }
        };
        assert_eq!(
            fits,
            if admitted { "t" } else { "f" },
            "{user} {metric} {quantity}"
        );
        admitted
    }

    /// Asserts that exactly this amount is admitted.
    #[track_caller]
    fn full_after(&mut self, user: &str, metric: &str, quantity: i64) -> &mut Self {
        assert!(
            self.used(user, metric, quantity),
            "{quantity} {metric} of {user} were refused"
        );
        self.full(user, metric)
    }

    /// No more is admitted.
    #[track_caller]
    fn full(&mut self, user: &str, metric: &str) -> &mut Self {
        assert!(!self.used(user, metric, 1), "{user} may use more {metric}");
        self
    }
}

#[test]
fn days_and_hours_of_a_zone_with_daylight_saving() {
    let clock = Clock::new();
    clock.set(1_792_800_000.0); // 24 October 2026, 00:00 UTC
    let server = clock.server();
    let mut t = Timed::on(&clock, Db::on(server.config()));
    // Autumn: a day of 25 hours, and an hour that occurs twice.
    t.at("2026-10-24 23:59:50+02")
        .full_after("alice", "tokens", 10)
        .full_after("bob", "tokens", 10);
    t.at("2026-10-25 00:00:00+02")
        .full_after("alice", "tokens", 10)
        .full("bob", "tokens");
    t.at("2026-10-25 02:00:00+02")
        .full("alice", "tokens")
        .full_after("bob", "tokens", 10)
        .full_after("alice", "calls", 5);
    t.at("2026-10-25 02:59:50+02").full("alice", "calls");
    t.at("2026-10-25 02:00:00+01")
        .full_after("alice", "calls", 5);
    t.at("2026-10-25 02:59:50+01").full("alice", "calls");
    t.at("2026-10-25 03:00:00+01")
        .full_after("alice", "calls", 5)
        .full("alice", "tokens");
    t.at("2026-10-25 23:59:50+01").full("alice", "tokens");
    let resets = t
        .world
        .begin("alice")
        .text("SELECT resets_at AT TIME ZONE 'Europe/Berlin' FROM tenancy.check_budget('tokens')");
    assert_eq!(resets, "2026-10-26 00:00:00");
    t.at("2026-10-26 00:00:00+01")
        .full_after("alice", "tokens", 10);
    t.at("2026-10-26 01:00:00+01")
        .full_after("bob", "tokens", 10);
    // Spring: a day of 23.
    t.at("2027-03-28 00:00:00+01")
        .full_after("alice", "tokens", 10)
        .full_after("alice", "calls", 5);
    t.at("2027-03-28 03:00:00+02")
        .full("alice", "tokens")
        .full_after("alice", "calls", 5);
    t.at("2027-03-28 23:59:50+02").full("alice", "tokens");
    t.at("2027-03-29 00:00:00+02")
        .full_after("alice", "tokens", 10);
    // usage() has the same days, whose sums the ledger has.
    let days = "SELECT string_agg(to_char(u.bucket_start AT TIME ZONE 'Europe/Berlin', 'MM-DD HH24:MI') || ' ' || u.quantity || coalesce(' ' || trim_scale(l.used), ''), ', ' ORDER BY u.bucket_start)
        FROM tenancy.usage('acme', 'tokens', bucket => 'day') u LEFT JOIN tenancy.ledger l ON l.scope = 'acme' AND l.metric = 'tokens' AND l.period_start = u.bucket_start";
    let say = "10-24 00:00 10 10, 10-25 00:00 10 10, 10-26 00:00 10 10, 03-28 00:00 10 10, 03-29 00:00 10 10";
    assert_eq!(t.admin.text(days), say);
    all_agrees(&mut t.admin, 5 + 5 + 3);
    t.admin
        .run("SELECT tenancy.rollup(), tenancy_internal.forget_ledger()");
    assert_eq!(t.admin.text(days), say.replace(" 10 10", " 10"));
    usage_agrees(&mut t.admin);
    t.full("alice", "tokens");
    all_agrees(&mut t.admin, 1);
}

#[test]
fn a_clock_that_is_set_back() {
    let clock = Clock::new();
    clock.set(1_792_800_000.0);
    let server = clock.server();
    let mut t = Timed::on(&clock, Db::on(server.config()));
    t.at("2026-10-27 12:00+01")
        .full_after("alice", "tokens", 10)
        .full_after("alice", "calls", 5);
    // Back by a second and by a day: each period keeps its own usage.
    t.at("2026-10-27 11:59:59+01")
        .full("alice", "tokens")
        .full_after("alice", "calls", 5);
    t.at("2026-10-26 12:00+01")
        .full_after("alice", "tokens", 10);
    t.at("2026-10-27 12:00:01+01")
        .full("alice", "tokens")
        .full("alice", "calls");
    t.at("2026-10-26 13:00+01").full("alice", "tokens");
    t.admin.run("SELECT tenancy.rollup()");
    t.at("2026-10-25 00:30+02")
        .full_after("alice", "tokens", 10);
    all_agrees(&mut t.admin, 3 + 2);
    // A reservation made later than now is settled at the time of its reservation, because the work was done.
    t.at("2026-10-27 18:00+01");
    let reserve = |t: &mut Timed<'_>, ttl: &str| {
        let mut alice = t.world.begin("alice");
        let id = alice.text(&format!("SELECT tenancy.reserve('calls', 4, '{ttl}')"));
        alice.run("COMMIT");
        id
    };
    let id = reserve(&mut t, "1 hour");
    t.at("2026-10-27 14:00+01").full_after("alice", "calls", 5);
    t.world
        .begin("alice")
        .run(&format!("SELECT tenancy.settle('{id}', 3); COMMIT"));
    assert_eq!(t.admin.number("SELECT sum(quantity)::bigint FROM tenancy.usage('acme', 'calls', '2026-10-27 18:00+01', '2026-10-27 19:00+01')"), 3);
    t.at("2026-10-27 18:00:05+01")
        .full_after("alice", "calls", 2);
    // It expires by the clock too, however often the clock is set back and forward.
    t.at("2026-10-27 20:00+01");
    reserve(&mut t, "10 minutes");
    t.at("2026-10-27 20:09:50+01")
        .full_after("alice", "calls", 1);
    t.at("2026-10-27 20:05+01").full("alice", "calls");
    t.at("2026-10-27 20:10:01+01")
        .full_after("alice", "calls", 4);
    t.at("2026-10-27 20:05+01").full("alice", "calls");
    t.admin.run("SELECT tenancy.rollup()");
    all_agrees(&mut t.admin, 3 + 5);
    // Where nothing may be late, a reservation is no late event.
    t.admin.run(&format!(
        "ALTER DATABASE {} SET tenancy.usage_late = 0",
        t.world.db.name
    ));
    let id = reserve(t.at("2026-10-27 21:00+01"), "1 hour");
    t.at("2026-10-27 21:30+01")
        .world
        .begin("alice")
        .run(&format!("SELECT tenancy.settle('{id}', 4); COMMIT"));
    t.world
        .begin("alice")
        .fails("SELECT tenancy.record_usage('calls', 1, at => now() - interval '1 minute')")
        .code("22023");
    t.full_after("alice", "calls", 1);
    all_agrees(&mut t.admin, 3 + 6);
}

#[test]
fn a_midnight_that_occurs_twice() {
    let clock = Clock::new();
    clock.set(1_761_350_400.0); // 25 October 2025, 00:00 UTC
    let server = clock.server();
    let mut t = Timed::on(&clock, Db::on(server.config()));
    t.world.db.owner().run(
        "SELECT tenancy.update_scope('acme', settings => '{\"time_zone\": \"Atlantic/Azores\"}');
         SELECT tenancy.update_scope('umbrella', settings => '{\"time_zone\": \"America/Havana\"}')",
    );
    // 01:00 becomes 00:00, at 01:00 UTC: the day began an hour ago, and continues.
    t.at("2025-10-25 23:59:50+00")
        .full_after("alice", "tokens", 10);
    t.at("2025-10-26 00:00:00+00")
        .full_after("alice", "tokens", 10);
    t.at("2025-10-26 00:59:50+00").full("alice", "tokens");
    t.at("2025-10-26 01:00:00+00").full("alice", "tokens");
    t.at("2025-10-26 02:00:00+00").full("alice", "tokens");
    let resets = t
        .world
        .begin("alice")
        .text("SELECT resets_at AT TIME ZONE 'UTC' FROM tenancy.check_budget('tokens')");
    assert_eq!(resets, "2025-10-27 01:00:00");
    t.at("2025-10-27 00:59:50+00").full("alice", "tokens");
    t.at("2025-10-27 01:00:00+00")
        .full_after("alice", "tokens", 10);
    all_agrees(&mut t.admin, 3);
    // And in Havana, at 05:00 UTC.
    t.at("2025-11-02 03:59:50+00")
        .full_after("bob", "tokens", 10);
    t.at("2025-11-02 04:30:00+00")
        .full_after("bob", "tokens", 10);
    t.at("2025-11-02 05:30:00+00").full("bob", "tokens");
    t.at("2025-11-03 04:59:50+00").full("bob", "tokens");
    t.at("2025-11-03 05:00:00+00")
        .full_after("bob", "tokens", 10);
    all_agrees(&mut t.admin, 6);
    let days = "SELECT string_agg(concat_ws(' ', bucket_start AT TIME ZONE 'UTC', quantity), ', ' ORDER BY bucket_start) FROM tenancy.usage('umbrella', 'tokens', bucket => 'day')";
    assert_eq!(
        t.admin.text(days),
        "2025-11-01 04:00:00 10, 2025-11-02 04:00:00 10, 2025-11-03 05:00:00 10"
    );
}
