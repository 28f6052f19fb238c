//! The condition by which a table has a tenant's rows, as its policies have it.

use uuid::Uuid;

use crate::access::tenants::canonical_int;
use crate::policy::{KeyType, is_whole, quote_ident, quote_literal};

/// The server's own operator: of another schema in the search path it could be anybody's, and take every row.
const EQUALS: &str = "OPERATOR(pg_catalog.=)";

/// What tenant columns hold for one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantKey {
    /// Its id.
    pub id: Uuid,
    /// Its external id.
    pub external_id: Option<String>,
}

impl TenantKey {
    /// Returns the condition for rows of the tenant in a table with this column; `None` if no row can be the tenant's: it has no
    /// external id, or none that such a column can hold.
    #[must_use]
    pub fn condition(&self, column: &str, key: KeyType) -> Option<String> {
        let column = quote_ident(column);
        let text = |of: &str| {
            let value = quote_literal(self.external_id.as_deref()?);
            Some(format!("{column}{of} {EQUALS} {value}::pg_catalog.text"))
        };
        let number = |low: i64, high: i64, of: &str| {
            let value = canonical_int(self.external_id.as_deref()?)?;
            (low..=high)
                .contains(&value)
                .then(|| format!("{column} {EQUALS} '{value}'::pg_catalog.{of}"))
        };
        match key {
            KeyType::Uuid => Some(format!("{column} {EQUALS} '{}'::pg_catalog.uuid", self.id)),
            KeyType::BigInt => number(i64::MIN, i64::MAX, "int8"),
            KeyType::Integer => number(i32::MIN.into(), i32::MAX.into(), "int4"),
            KeyType::SmallInt => number(i16::MIN.into(), i16::MAX.into(), "int2"),
            KeyType::Numeric => {
                let value = self.external_id.as_deref().filter(|text| is_whole(text))?;
                Some(format!("{column} {EQUALS} '{value}'::pg_catalog.numeric"))
            }
            KeyType::Text | KeyType::Varchar => text(""),
            // Blanks at the end are none of the key's.
            KeyType::Char => {
                let value = quote_literal(self.external_id.as_deref()?);
                Some(format!("{column} {EQUALS} {value}::pg_catalog.bpchar"))
            }
            // As it is written: citext's own operator takes two tenants for one.
            KeyType::Citext => text("::pg_catalog.text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(external_id: Option<&str>) -> TenantKey {
        TenantKey {
            id: Uuid::from_u128(7),
            external_id: external_id.map(str::to_owned),
        }
    }

    #[test]
    fn a_uuid_is_the_tenants_id() {
        assert_eq!(
            key(Some("42")).condition("tenant_id", KeyType::Uuid),
            Some("tenant_id OPERATOR(pg_catalog.=) '00000000-0000-0000-0000-000000000007'::pg_catalog.uuid".to_owned())
        );
    }

    #[test]
    fn other_keys_are_its_external_id() {
        let is = |external: &str, kind| key(Some(external)).condition("org", kind);
        assert_eq!(
            is("42", KeyType::BigInt).as_deref(),
            Some("org OPERATOR(pg_catalog.=) '42'::pg_catalog.int8")
        );
        assert_eq!(
            is("o'x", KeyType::Varchar).as_deref(),
            Some("org OPERATOR(pg_catalog.=) 'o''x'::pg_catalog.text")
        );
        assert_eq!(
            is("Acme", KeyType::Citext).as_deref(),
            Some("org::pg_catalog.text OPERATOR(pg_catalog.=) 'Acme'::pg_catalog.text")
        );
    }

    #[test]
    fn what_the_column_cannot_hold_is_in_no_row() {
        for (external, kind) in [
            (None, KeyType::Text),
            (None, KeyType::BigInt),
            (Some("042"), KeyType::BigInt),
            (Some("acme"), KeyType::Integer),
            (Some("3000000000"), KeyType::Integer),
            (Some("40000"), KeyType::SmallInt),
            (Some("1.0"), KeyType::Numeric),
        ] {
            assert_eq!(key(external).condition("org", kind), None, "{external:?}");
        }
    }
}
