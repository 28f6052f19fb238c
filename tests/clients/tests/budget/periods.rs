//! Core computes the same periods as the server from the server's time zones, and knows the zones that the server lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;

use jiff::tz::TimeZone;
use tenancy_client_tests::{Db, Session};
use tenancy_core::ledger::Span;
use tenancy_core::period::{Period, Stretch, Zone, edges, period};
use tenancy_core::time::{Instant, Length};

#[path = "../../../../crates/tenancy-core/src/metering/period/tests/clock.rs"]
mod clock;
use clock::Clock;

/// In microseconds.
const SECOND: i64 = 1_000_000;
/// In seconds, as the clock's changes.
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// 1970 and 2100.
const YEARS: std::ops::Range<i64> = 0..4_102_444_800;

/// The directory of the server's time zones.
fn folder(admin: &mut Session) -> String {
    let configured = "SELECT substring(setting FROM '--with-system-tzdata=([^ '']+)') FROM pg_config WHERE name = 'CONFIGURE'";
    match admin.text(configured).as_str() {
        "NULL" => {
            admin.text("SELECT setting || '/timezone' FROM pg_config WHERE name = 'SHAREDIR'")
        }
        system => system.to_owned(),
    }
}

/// Every zone that the server lists, by its clock, under its first name; and all names.
fn zones(admin: &mut Session) -> (Vec<(String, Clock)>, Vec<String>) {
    let folder = folder(admin);
    let names = admin.texts("SELECT name FROM pg_timezone_names ORDER BY name");
    let mut known: HashMap<Vec<u8>, String> = HashMap::new();
    for name in &names {
        let file = fs::read(format!("{folder}/{name}")).unwrap();
        known.entry(file).or_insert_with(|| name.clone());
    }
    let zones = known
        .into_iter()
        .map(|(file, name)| (name, Clock::of(&TimeZone::tzif("", &file).unwrap())));
    let mut zones: Vec<_> = zones.collect();
    zones.sort_by(|a, b| a.0.cmp(&b.0));
    (zones, names)
}

#[test]
fn every_zone_at_every_change_of_its_clock() {
    let db = Db::new();
    let mut admin = db.admin();
    let (zones, _) = zones(&mut admin);
    assert!(zones.len() > 300, "{}", zones.len());
    let mut changes = 0;
    for (name, clock) in &zones {
        let during = clock
            .changes
            .iter()
            .filter(|(when, _)| YEARS.contains(when));
        let instants: Vec<i64> = during
            .flat_map(|(when, _)| [-DAY, -HOUR, -1, 0, HOUR].map(|near| (when + near) * SECOND))
            .chain([0, YEARS.end * SECOND - 1])
            .collect();
        changes += instants.len() / 5;
        for kind in Period::ALL
            .into_iter()
            .filter(|kind| *kind != Period::Total)
        {
            let mut list = String::from("{");
            for (n, at) in instants.iter().enumerate() {
                write!(list, "{}{at}", if n == 0 { "" } else { "," }).unwrap();
            }
            list.push('}');
            let said = admin.texts(&format!(
                "SELECT a.at || ' ' || p.lo || ' ' || p.hi FROM unnest('{list}'::bigint[]) a (at) CROSS JOIN LATERAL tenancy_internal.period('{kind}', '{name}', a.at) p"
            ));
            let mut expected: Vec<String> = Vec::with_capacity(instants.len());
            for at in &instants {
                let instant = Instant::from_unix_micros(*at);
                let span = period(kind, clock, instant).unwrap();
                assert!(span.has(instant));
                let [lo, hi] = [span.start, span.end].map(Instant::unix_micros);
                expected.push(format!("{at} {lo} {hi}"));
            }
            if said != expected {
                let wrong = said
                    .iter()
                    .zip(&expected)
                    .find(|(said, expected)| said != expected);
                panic!("{name} {kind}: {} {wrong:?}", said.len());
            }
        }
    }
    assert!(changes > 30_000, "{changes}");
}

#[test]
fn buckets_are_the_same_periods() {
    let db = Db::new();
    let mut admin = db.admin();
    let (zones, _) = zones(&mut admin);
    for (name, clock) in &zones {
        // Around the last changes that there were, and a year.
        let recent = clock
            .changes
            .iter()
            .rev()
            .find(|(when, _)| *when < 1_750_000_000);
        let recent = recent.map_or(1_700_000_000, |(when, _)| *when);
        for (kind, days) in [
            (Period::Hour, 3),
            (Period::Day, 9),
            (Period::Week, 40),
            (Period::Month, 400),
        ] {
            let since = (recent - days * DAY / 2) * SECOND + 7;
            let until = (recent + days * DAY / 2) * SECOND;
            let span = Span {
                start: Instant::from_unix_micros(since),
                end: Instant::from_unix_micros(until),
            };
            let said = admin.text(&format!(
                "SELECT string_agg((extract(epoch FROM e.edge) * 1000000)::bigint::text, ' ' ORDER BY e.n)
                   FROM unnest(tenancy_internal.bucket_edges(to_timestamp(0) + {} * interval '1 microsecond', to_timestamp(0) + {} * interval '1 microsecond', '{kind}', '{name}'))
                        WITH ORDINALITY e (edge, n)", since, until
            ));
            let expected = edges(kind, clock, span, 1000).unwrap();
            let expected: Vec<String> = (expected.iter())
                .map(|edge| edge.unix_micros().to_string())
                .collect();
            assert_eq!(said, expected.join(" "), "{name} {kind}");
        }
    }
}

#[test]
fn a_zone_is_a_name_that_the_server_lists() {
    let db = Db::new();
    let mut admin = db.admin();
    let (_, names) = zones(&mut admin);
    assert!(names.len() > 500);
    // In its own case, and in others.
    let refused = admin.texts(
        "SELECT z.name FROM pg_timezone_names z WHERE NOT tenancy_internal.is_time_zone(z.name) OR NOT tenancy_internal.is_time_zone(upper(z.name)) OR NOT tenancy_internal.is_time_zone(lower(z.name))",
    );
    assert_eq!(refused, Vec::<String>::new());
    // Other values of SET timezone, and other names that lead to a file.
    for rule in [
        "AAA167BBB-167,J160/0,J344/3",
        "AAA4",
        "aaa4",
        "UTC+3",
        "UTC0",
        "<+03>-3",
        "<x y>5",
        "EST6EDT",
        "EST5EDT4",
        "EST5EDT,M3.2.0,M11.1.0",
        "CET-1CEST",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "GMT+1",
        "XXX-24:59:59",
        ":Europe/Berlin",
        ":UTC",
        "Europe//Berlin",
        "/Europe/Berlin",
        "Europe/Berlin/",
        "./Europe/Berlin",
        "../zoneinfo/Europe/Berlin",
        "/usr/share/zoneinfo/Europe/Berlin",
        "Europe",
        "right/Europe/Berlin",
        "tzdata.zi",
        "zone.tab",
        " UTC",
        "UTC ",
        "",
        "5",
        "-5",
        "+05:30",
        "INTERVAL '1' HOUR",
        "CEST",
        "PST",
        "DEFAULT",
        "LOCAL",
    ] {
        if names.iter().any(|name| name.eq_ignore_ascii_case(rule)) {
            continue;
        }
        let quoted = rule.replace('\'', "''");
        let known = admin.text(&format!("SELECT tenancy_internal.is_time_zone('{quoted}')"));
        assert_eq!(known, "f", "{rule}");
        // Once more, when it is known.
        let known = admin.text(&format!("SELECT tenancy_internal.is_time_zone('{quoted}')"));
        assert_eq!(known, "f", "{rule}");
    }
    for long in [
        "repeat('A', 255) || '5'",
        "repeat('Europe/', 40) || 'Berlin'",
        "repeat('x', 1000000)",
    ] {
        assert_eq!(
            admin.text(&format!("SELECT tenancy_internal.is_time_zone({long})")),
            "f"
        );
    }
    admin
        .fails("SELECT * FROM tenancy_internal.period('day', 'AAA4', 0)")
        .code("55000")
        .hints("time_zone");
    admin
        .fails("SELECT * FROM tenancy_internal.period('fortnight', 'UTC', 0)")
        .code("22023");
    for at in [i64::MIN, i64::MAX] {
        admin
            .fails(&format!(
                "SELECT * FROM tenancy_internal.period('day', 'UTC', '{at}')"
            ))
            .code("55000");
    }
}
