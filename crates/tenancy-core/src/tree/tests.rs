//! The tree's rules, each over every case there is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn every_pair_of_levels_holds_or_does_not() {
    use Level::*;
    let allowed = [
        (Platform, Partner),
        (Platform, User),
        (Partner, Tenant),
        (Partner, User),
        (Tenant, Project),
        (Tenant, User),
    ];
    for parent in Level::ALL {
        for child in Level::ALL {
            let expected = allowed.contains(&(parent, child));
            assert_eq!(parent.may_hold(child), expected, "{parent} holds {child}");
        }
    }
}

#[test]
fn parents_are_above_children_so_there_is_no_cycle() {
    for parent in Level::ALL {
        for child in Level::ALL {
            assert!(!parent.may_hold(child) || parent < child);
        }
    }
}

#[test]
fn levels_read_back_what_they_print() {
    for level in Level::ALL {
        assert_eq!(level.as_str().parse(), Ok(level));
        assert_eq!(level.to_string(), level.as_str());
    }
}

#[test]
fn other_texts_are_no_level_and_no_status() {
    for text in [
        "", " tenant", "Tenant", "TENANT", "tenants", "active\0", "root",
    ] {
        assert!(text.parse::<Level>().is_err(), "{text:?}");
        assert!(text.parse::<Status>().is_err(), "{text:?}");
    }
}

#[test]
fn errors_repeat_little_of_the_input_and_name_the_choices() {
    let long = "x".repeat(1000);
    let level = long.parse::<Level>().unwrap_err().to_string();
    assert!(level.contains(&"x".repeat(80)) && !level.contains(&"x".repeat(81)));
    assert!(Level::ALL.iter().all(|l| level.contains(l.as_str())));
    let status = long.parse::<Status>().unwrap_err().to_string();
    assert!(status.contains(&"x".repeat(80)) && !status.contains(&"x".repeat(81)));
    assert!(Status::ALL.iter().all(|s| status.contains(s.as_str())));
}

#[test]
fn statuses_read_back_what_they_print() {
    for status in Status::ALL {
        assert_eq!(status.as_str().parse(), Ok(status));
        assert_eq!(status.to_string(), status.as_str());
    }
}

#[test]
fn only_active_may_work() {
    for status in Status::ALL {
        assert_eq!(status.is_active(), status == Status::Active);
    }
}

#[test]
fn statuses_are_ordered_from_best_to_worst() {
    assert!(Status::ALL.is_sorted_by(|a, b| a < b));
}

#[test]
fn the_effective_status_of_nothing_is_deleted() {
    assert_eq!(Status::effective([]), Status::Deleted);
}

#[test]
fn the_effective_status_is_the_worst_on_the_path() {
    for a in Status::ALL {
        assert_eq!(Status::effective([a]), a);
        for b in Status::ALL {
            for c in Status::ALL {
                let worst = Status::effective([a, b, c]);
                assert!([a, b, c].contains(&worst));
                assert!(a <= worst && b <= worst && c <= worst);
                let all_active = [a, b, c].into_iter().all(Status::is_active);
                assert_eq!(worst.is_active(), all_active);
            }
        }
    }
}

#[test]
fn a_user_belongs_to_the_partner_and_tenant_above_it() {
    let id = Uuid::from_u128;
    let path: Vec<Uuid> = (0..5).map(id).collect();
    let (partner, tenant) = (Some(id(1)), Some(id(2)));
    for (level, depth, expected) in [
        (Level::Platform, 1, (None, None)),
        (Level::User, 2, (None, None)),
        (Level::Partner, 2, (partner, None)),
        (Level::User, 3, (partner, None)),
        (Level::Tenant, 3, (partner, tenant)),
        (Level::Project, 4, (partner, tenant)),
        (Level::User, 4, (partner, tenant)),
    ] {
        assert_eq!(
            partner_and_tenant(level, &path[..depth]),
            expected,
            "{level} {depth}"
        );
    }
}
