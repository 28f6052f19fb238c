//! Counts every level in several ways: by the admitted requests, by `usage()` before and after the rollup, by the
//! events, by the ledger, and by the sum over the level below.

use std::collections::HashMap;

use postgres::Client;
use uuid::Uuid;

use crate::drive::Done;
use crate::options::{DATABASE, Options};
use crate::trace::Request;
use crate::world::World;
use crate::{Counts, Fault, METRICS, sum};

/// By usage(), of every scope.
const USAGE: &str = "SELECT s.id, m.name, trim_scale(u.quantity)::text FROM tenancy.scopes s, tenancy.metrics m, tenancy.usage(s.id, m.name) u";
/// By the events. A count counts them.
const EVENTS: &str = "SELECT e.scope, m.name, trim_scale(sum(CASE m.aggregation WHEN 'count' THEN 1 ELSE e.quantity / 1000000.0 END))::text
    FROM (SELECT p.id AS scope, u.metric_id, u.quantity FROM tenancy_internal.usage_events u, tenancy.scopes p WHERE p.level = 'platform'
          UNION ALL SELECT i.scope, u.metric_id, u.quantity FROM tenancy_internal.usage_events u, unnest(ARRAY[partner_id, tenant_id, project_id, user_id]) i (scope)
           WHERE i.scope IS NOT NULL) e
    JOIN tenancy_internal.metric_definitions m ON m.id = e.metric_id GROUP BY 1, 2";
/// By the ledger; what is in flight when nothing is would be wrong.
const LEDGER: &str = "SELECT scope_id, metric, trim_scale(used + in_flight + reserved)::text FROM tenancy.ledger WHERE loaded AND metric IS NOT NULL";

/// The usage of each scope.
type Said = HashMap<Uuid, Counts>;

/// Compares all of it, and notes what differs. Returns what usage() says.
pub fn all(
    options: &Options,
    world: &World,
    requests: &[Request],
    done: &Done,
    wrong: &mut Vec<String>,
) -> Result<Vec<Counts>, Fault> {
    let mut admin = options.administer(DATABASE)?;
    let counted = world.totals(done.admitted.iter().copied());
    let events = read(&mut admin, EVENTS)?;
    compare(
        world,
        &counted,
        &events,
        "the sum of the events",
        false,
        wrong,
    );
    let early = read(&mut admin, USAGE)?;
    compare(world, &counted, &early, "usage()", false, wrong);
    admin.execute("SELECT tenancy.rollup()", &[])?;
    let late = read(&mut admin, USAGE)?;
    compare(
        world,
        &counted,
        &late,
        "usage() after rollup()",
        false,
        wrong,
    );
    let ledger = read(&mut admin, LEDGER)?;
    if ledger.is_empty() {
        wrong.push("the ledger is empty".to_owned());
    }
    compare(world, &counted, &ledger, "the ledger", true, wrong);
    below(&mut admin, world, &late, wrong)?;

    let file = sum(requests.iter().map(Request::counts));
    let refused = sum(done.refused.iter().map(|n| requests[*n].counts()));
    let platform = late.get(&world.scopes[0].id).copied().unwrap_or_default();
    if sum([platform, refused].into_iter()) != file {
        wrong.push(format!(
            "the platform used {platform:?}, {refused:?} was refused, and the file has {file:?}"
        ));
    }
    if let Some(expected) = options.expect.filter(|expected| *expected != file) {
        wrong.push(format!(
            "the file has {file:?} and should have {expected:?}"
        ));
    }
    over(&mut admin, options, world, &late, wrong)?;
    Ok((world.scopes.iter())
        .map(|scope| late.get(&scope.id).copied().unwrap_or_default())
        .collect())
}

fn read(admin: &mut Client, sql: &str) -> Result<Said, Fault> {
    let mut said = Said::new();
    for row in admin.query(sql, &[])? {
        let (scope, metric, quantity): (Uuid, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let quantity = quantity
            .parse()
            .map_err(|_| format!("{quantity} {metric} of {scope}: that is no whole number"))?;
        if let Some(n) = METRICS.iter().position(|name| *name == metric) {
            said.entry(scope).or_default()[n] = quantity;
        }
    }
    Ok(said)
}

/// Compares the entries that are in the ledger: a scope without requests has none.
fn compare(
    world: &World,
    counted: &[Counts],
    said: &Said,
    who: &str,
    some: bool,
    wrong: &mut Vec<String>,
) {
    for (scope, counted) in world.scopes.iter().zip(counted) {
        let said = said.get(&scope.id).copied();
        let agrees = match said {
            Some(said) => said == *counted,
            None => some || *counted == [0; 3],
        };
        if !agrees {
            wrong.push(format!(
                "{} {}: admitted was {counted:?}, {who} says {:?}",
                scope.level,
                scope.slug,
                said.unwrap_or_default()
            ));
        }
    }
}

/// Checks that the sum below a scope equals the scope's usage, and that usage() by name agrees.
fn below(
    admin: &mut Client,
    world: &World,
    said: &Said,
    wrong: &mut Vec<String>,
) -> Result<(), Fault> {
    let by = admin.prepare("SELECT key::uuid, trim_scale(quantity)::text FROM tenancy.usage($1::uuid, $2, by_dimension => $3)")?;
    for (at, scope) in world.scopes.iter().enumerate() {
        let levels: &[&str] = match scope.level {
            "platform" => &["partner", "tenant", "user"],
            "partner" => &["tenant", "user"],
            "tenant" => &["user", "project"],
            "project" => &["user"],
            _ => &[],
        };
        for (level, (n, metric)) in levels
            .iter()
            .flat_map(|level| METRICS.iter().enumerate().map(move |m| (level, m)))
        {
            let used = said.get(&scope.id).map_or(0, |used| used[n]);
            let mut total = 0;
            for row in admin.query(&by, &[&scope.id, metric, level])? {
                let (key, quantity): (Option<Uuid>, &str) = (row.get(0), row.get(1));
                let quantity: i64 = quantity.parse()?;
                total += quantity;
                let whole = key.and_then(|key| said.get(&key)).map(|used| used[n]);
                if whole.is_some_and(|whole| whole != quantity) && scope.level != "project" {
                    wrong.push(format!(
                        "{metric} of {} by {level}: {quantity}, and by itself {whole:?}",
                        scope.slug
                    ));
                }
            }
            // From the usage that each scope below reports for itself, not from the sent requests.
            let children = world
                .scopes
                .iter()
                .filter(|child| child.parent == Some(at) && child.level == *level);
            let children: i64 = children
                .map(|child| said.get(&child.id).map_or(0, |used| used[n]))
                .sum();
            let direct = matches!(
                (scope.level, *level),
                ("platform", "partner") | ("partner", "tenant") | ("tenant", "user")
            );
            if total != used || direct && children != used {
                wrong.push(format!("{metric} of {} is {used}, by {level} {total}, and of its own {level}s {children}", scope.slug));
            }
        }
    }
    Ok(())
}

/// Checks that usage exceeds a budget at most by the tokens of answers above their reservations.
fn over(
    admin: &mut Client,
    options: &Options,
    world: &World,
    said: &Said,
    wrong: &mut Vec<String>,
) -> Result<(), Fault> {
    let sql = "SELECT count(*) FROM tenancy_internal.budget_reservations WHERE state <> 'settled' OR overrun";
    let odd: i64 = admin.query_one(sql, &[])?.get(0);
    if odd > 0 && options.estimate.is_none() {
        wrong.push(format!(
            "{odd} reservations were not settled for what they had reserved or less"
        ));
    }
    for scope in &world.scopes {
        let used = said.get(&scope.id).copied().unwrap_or_default();
        for (n, metric) in METRICS.iter().enumerate() {
            let more = used[n] > scope.budget[n];
            // The length of an answer is not known in advance.
            if more && !(options.estimate.is_some() && *metric == "generated_tokens") {
                wrong.push(format!(
                    "{} {} used {} {metric} of {}",
                    scope.level, scope.slug, used[n], scope.budget[n]
                ));
            }
        }
    }
    Ok(())
}
