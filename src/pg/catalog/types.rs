//! Types of columns that may hold keys of tenants.

use std::ffi::CStr;

use pgrx::pg_sys;
use serde_json::Value;
use tenancy_core::policy::{Key, KeyType};

use super::extension;

/// The digits after the point, in the type modifier of a numeric.
const SCALE: i32 = 0x7ff;

/// Returns what a column of this type may hold as a tenant column.
pub fn key(kind: pg_sys::Oid, modifier: i32) -> Option<Key> {
    let mut modifier = modifier;
    // SAFETY: a look-up in the system cache inside a transaction.
    let base = unsafe { pg_sys::getBaseTypeAndTypmod(kind, &raw mut modifier) };
    let found = match base {
        pg_sys::UUIDOID => KeyType::Uuid,
        pg_sys::INT8OID => KeyType::BigInt,
        pg_sys::INT4OID => KeyType::Integer,
        pg_sys::INT2OID => KeyType::SmallInt,
        pg_sys::TEXTOID => KeyType::Text,
        pg_sys::VARCHAROID => KeyType::Varchar,
        pg_sys::BPCHAROID => KeyType::Char,
        pg_sys::NUMERICOID => {
            let header = pg_sys::VARHDRSZ as i32;
            let whole = modifier >= header && (modifier - header) & SCALE == 0;
            return whole.then_some(Key {
                kind: KeyType::Numeric,
                domain: base != kind,
            });
        }
        other if is_citext(other) => KeyType::Citext,
        _ => return None,
    };
    Some(Key {
        kind: found,
        domain: base != kind,
    })
}

/// Returns the type below a domain.
pub fn base(kind: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a look-up in the system cache inside a transaction.
    unsafe { pg_sys::getBaseType(kind) }
}

/// Returns whether a type is citext: the extension's, not another of that name.
pub fn is_citext(kind: pg_sys::Oid) -> bool {
    if kind.to_u32() < pg_sys::FirstNormalObjectId {
        return false;
    }
    // SAFETY: a look-up in the system cache inside a transaction; the name is a copy.
    let named = unsafe {
        let name = pg_sys::format_type_extended(kind, -1, 0);
        let name = CStr::from_ptr(name).to_bytes();
        name == b"citext" || name.ends_with(b".citext")
    };
    named && extension::of(pg_sys::TypeRelationId, kind).as_deref() == Some("citext")
}

/// Replaces each pair of a type and its modifier, in facts that a query has found, by the name of the key that such a column may
/// hold, or by NULL.
pub fn name_keys(facts: &mut Value) {
    match facts {
        Value::Array(items) => items.iter_mut().for_each(name_keys),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (
                    matches!(name.as_str(), "key" | "from_key" | "to_key"),
                    value,
                ) {
                    (true, value @ Value::Array(_)) => *value = named(value),
                    (_, value) => name_keys(value),
                }
            }
        }
        _ => {}
    }
}

fn named(pair: &Value) -> Value {
    let number = |at| pair.get(at).and_then(Value::as_i64);
    let key = number(0)
        .and_then(|kind| u32::try_from(kind).ok())
        .zip(number(1).and_then(|modifier| i32::try_from(modifier).ok()))
        .and_then(|(kind, modifier)| key(pg_sys::Oid::from_u32(kind), modifier));
    key.map_or(Value::Null, |key| key.to_string().into())
}
