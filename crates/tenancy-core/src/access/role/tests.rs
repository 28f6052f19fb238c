#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::permission::Permission;

fn covers(role: &str, wanted: &str) -> bool {
    let wanted = Permission::parse(wanted).unwrap();
    BUILT_IN
        .iter()
        .find(|known| known.name == role)
        .unwrap()
        .permissions
        .iter()
        .any(|text| Permission::parse(text).unwrap().covers(&wanted))
}

#[test]
fn names_are_unique_and_permissions_parse() {
    for (place, role) in BUILT_IN.iter().enumerate() {
        assert!(
            BUILT_IN[..place]
                .iter()
                .all(|other| other.name != role.name)
        );
        for text in role.permissions {
            Permission::parse(text).unwrap();
        }
    }
}

#[test]
fn ids_are_fixed() {
    assert_eq!(
        built_in_id(0).to_string(),
        "00000000-0000-7000-8000-000000000101"
    );
    assert_eq!(
        built_in_id(6).to_string(),
        "00000000-0000-7000-8000-000000000107"
    );
}

#[test]
fn built_in_roles_have_their_permissions() {
    assert!(covers("super_admin", "platform:elevate"));
    assert!(covers("partner_admin", "tenants:manage"));
    assert!(!covers("partner_admin", "partners:manage"));
    assert!(!covers("partner_admin", "platform:elevate"));
    assert!(covers("partner_user", "data:read"));
    for refused in [
        "data:write",
        "billing:view",
        "users:manage",
        "tenants:update",
    ] {
        assert!(!covers("partner_user", refused), "{refused}");
    }
    assert!(covers("tenant_admin", "keys:manage"));
    for refused in ["tenants:manage", "identity:manage", "partners:view", "*:*"] {
        assert!(!covers("tenant_admin", refused), "{refused}");
    }
    for refused in [
        "users:manage",
        "keys:manage",
        "roles:manage",
        "billing:view",
    ] {
        assert!(!covers("manager", refused), "{refused}");
        assert!(!covers("member", refused), "{refused}");
        assert!(!covers("service", refused), "{refused}");
    }
}

#[test]
fn what_a_new_user_gets() {
    assert_eq!(default_for(Level::Tenant, false), Some("member"));
    assert_eq!(default_for(Level::Tenant, true), Some("service"));
    for level in [Level::Platform, Level::Partner] {
        assert_eq!(default_for(level, false), None);
        assert_eq!(default_for(level, true), None);
    }
}

#[test]
fn names_are_short_and_lower_case() {
    for name in ["a", "support_agent", "a1_", &"x".repeat(NAME_MAX)] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    for name in [
        "",
        "A",
        "1a",
        "_a",
        "a-b",
        "a b",
        "é",
        "a\n",
        &"x".repeat(NAME_MAX + 1),
    ] {
        assert!(
            matches!(check_name(name), Err(RoleNameError::Malformed(_))),
            "{name:?}"
        );
    }
    for name in ["none", "member", "super_admin"] {
        assert_eq!(check_name(name), Err(RoleNameError::Taken), "{name}");
    }
}
