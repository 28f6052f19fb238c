#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

const PERMISSIONS: [&str; 8] = [
    "data:read",
    "data:write",
    "data:*",
    "*:*",
    "*:read",
    "users:view",
    "users:*",
    "notes:read",
];

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

const HOLDERS: [Holder; 3] = [Holder::Below, Holder::Platform, Holder::Elevated(at(9))];

const fn at(micros: i64) -> Instant {
    Instant::from_unix_micros(micros)
}

/// A small tree: platform 1; partners 2, 3; tenants 10.. of partners; projects 100.. of tenants.
fn scopes() -> Vec<(Level, Vec<Uuid>)> {
    let mut all = vec![(Level::Platform, vec![id(1)])];
    for partner in [2, 3] {
        all.push((Level::Partner, vec![id(1), id(partner)]));
        for n in 0..3 {
            let tenant = partner * 10 + n;
            all.push((Level::Tenant, vec![id(1), id(partner), id(tenant)]));
            for m in 0..2 {
                let project = tenant * 10 + m;
                let path = vec![id(1), id(partner), id(tenant), id(project)];
                all.push((Level::Project, path));
            }
        }
    }
    all
}

fn grant() -> impl Strategy<Value = Grant> {
    let texts = prop::collection::vec(prop::sample::select(&PERMISSIONS[..]), 0..3);
    (prop::sample::select(scopes()), texts).prop_map(|((level, path), texts)| Grant {
        level,
        path,
        permissions: texts
            .into_iter()
            .map(|text| Permission::parse(text).unwrap())
            .collect(),
        expires_at: None,
    })
}

/// Returns the expected answer, in the simplest way.
fn naive(grants: &[Grant], holder: Holder, wanted: &str, path: &[Uuid]) -> bool {
    let (resource, action) = wanted.split_once(':').unwrap();
    grants.iter().any(|grant| {
        let covers = grant.permissions.iter().any(|held| {
            (held.resource() == "*" || held.resource() == resource)
                && (held.action() == "*" || held.action() == action)
        });
        let counts = holder != Holder::Platform || resource == "users";
        covers && counts && path.contains(&grant.scope())
    })
}

proptest! {
    #[test]
    fn holding_is_what_the_naive_reference_says(
        grants in prop::collection::vec(grant(), 0..6),
        holder in prop::sample::select(&HOLDERS[..]),
        wanted in prop::sample::select(&PERMISSIONS[..]),
        (_, path) in prop::sample::select(scopes()),
    ) {
        let expected = naive(&grants, holder, wanted, &path);
        let permission = Permission::parse(wanted).unwrap();
        prop_assert_eq!(Grants::new(grants, holder).hold(&permission, &path), expected);
    }

    #[test]
    fn reach_and_roots_name_the_scopes_in_which_it_is_held(
        grants in prop::collection::vec(grant(), 0..6),
        holder in prop::sample::select(&HOLDERS[..]),
        wanted in prop::sample::select(&PERMISSIONS[..]),
    ) {
        let permission = Permission::parse(wanted).unwrap();
        let all = Grants::new(grants, holder);
        let (reach, roots) = (all.reach(&permission), all.roots(&permission));
        for (level, path) in scopes() {
            let held = all.hold(&permission, &path);
            let scope = *path.last().unwrap();
            let above = |ids: &[Uuid]| path.iter().any(|id| ids.contains(id));
            let reached = reach.everything || above(&reach.partners) || above(&reach.tenants)
                || reach.projects.iter().any(|(project, _)| *project == scope);
            prop_assert_eq!(reached, held, "{:?} {:?}", level, path);
            prop_assert_eq!(above(&roots), held);
        }
        for root in &roots {
            let path = &scopes().into_iter().find(|(_, path)| path.last() == Some(root)).unwrap().1;
            prop_assert!(!path[..path.len() - 1].iter().any(|above| roots.contains(above)));
        }
        for (project, tenant) in &reach.projects {
            prop_assert!(scopes().iter().any(|(_, path)| path.ends_with(&[*tenant, *project])));
        }
    }
}

#[test]
fn a_user_of_the_platform_reaches_rows_only_while_elevated() {
    let grant = |text: &str| Grant {
        level: Level::Platform,
        path: vec![id(1)],
        permissions: vec![Permission::parse(text).unwrap()],
        expires_at: None,
    };
    let read = Permission::parse("data:read").unwrap();
    let manage = Permission::parse("tenants:manage").unwrap();
    let tenant = [id(1), id(2), id(20)];
    let calm = Grants::new(vec![grant("*:*")], Holder::Platform);
    assert!(!calm.hold(&read, &tenant) && calm.hold(&manage, &tenant));
    assert!(calm.could_grant(&read, &tenant) && calm.see(&tenant));
    assert!(!calm.reach(&read).everything);
    let elevated = Grants::new(vec![grant("*:*")], Holder::Elevated(at(9)));
    assert!(elevated.hold(&read, &tenant) && elevated.reach(&read).everything);
}

#[test]
fn a_permission_is_held_as_long_as_the_longest_assignment_that_gives_it() {
    let grant = |scope: u128, text: &str, expires_at: Option<i64>| Grant {
        level: Level::Partner,
        path: vec![id(1), id(scope)],
        permissions: vec![Permission::parse(text).unwrap()],
        expires_at: expires_at.map(at),
    };
    let read = Permission::parse("data:read").unwrap();
    let path = [id(1), id(2), id(20)];
    for (grants, held) in [
        (
            vec![grant(2, "data:*", Some(5)), grant(2, "data:read", Some(7))],
            Held::Until(at(7)),
        ),
        (
            vec![grant(2, "data:*", Some(5)), grant(2, "data:read", None)],
            Held::Always,
        ),
        (
            vec![grant(2, "data:*", Some(5)), grant(3, "data:read", None)],
            Held::Until(at(5)),
        ),
        (
            vec![grant(2, "users:*", None), grant(2, "data:read", Some(7))],
            Held::Until(at(7)),
        ),
        (vec![grant(3, "*:*", None)], Held::No),
        (Vec::new(), Held::No),
    ] {
        let grants = Grants::new(grants, Holder::Below);
        assert_eq!(grants.held(&read, &path, Purpose::Grant), held);
        assert_eq!(grants.held(&read, &path, Purpose::Act), held);
    }
}

#[test]
fn acting_on_rows_ends_with_the_elevation_and_handing_out_does_not() {
    let all = |expires_at: Option<i64>| Grant {
        level: Level::Platform,
        path: vec![id(1)],
        permissions: vec![Permission::parse("*:*").unwrap()],
        expires_at: expires_at.map(at),
    };
    let (read, manage) = (
        Permission::parse("data:read").unwrap(),
        Permission::parse("tenants:manage").unwrap(),
    );
    let any = Permission::parse("*:*").unwrap();
    let path = [id(1), id(2), id(20)];
    let elevated = |expires_at| Grants::new(vec![all(expires_at)], Holder::Elevated(at(9)));
    for wanted in [&read, &any] {
        assert_eq!(
            elevated(None).held(wanted, &path, Purpose::Act),
            Held::Until(at(9))
        );
        assert_eq!(
            elevated(Some(5)).held(wanted, &path, Purpose::Act),
            Held::Until(at(5))
        );
        assert_eq!(
            elevated(None).held(wanted, &path, Purpose::Grant),
            Held::Always
        );
    }
    assert_eq!(
        elevated(None).held(&manage, &path, Purpose::Act),
        Held::Always
    );
    let calm = Grants::new(vec![all(None)], Holder::Platform);
    assert_eq!(calm.held(&read, &path, Purpose::Act), Held::No);
    assert_eq!(calm.held(&manage, &path, Purpose::Act), Held::Always);
}

proptest! {
    #[test]
    fn it_is_held_to_act_whenever_holding_says_so(
        grants in prop::collection::vec(grant(), 0..6),
        holder in prop::sample::select(&HOLDERS[..]),
        wanted in prop::sample::select(&PERMISSIONS[..]),
        (_, path) in prop::sample::select(scopes()),
    ) {
        let wanted = Permission::parse(wanted).unwrap();
        let grants = Grants::new(grants, holder);
        let held = grants.held(&wanted, &path, Purpose::Act);
        prop_assert_eq!(held != Held::No, grants.hold(&wanted, &path));
    }
}
