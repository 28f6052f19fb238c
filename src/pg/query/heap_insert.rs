//! Appends a row to a table of tenancy without a query, a plan or a switch of roles, for rows that must be
//! cheap to write.

use std::ffi::CStr;
use std::net::IpAddr;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenancy_core::time::Instant;

use crate::error::Error;
use crate::pg::numeric::PgNumeric;
use crate::pg::time;

/// A value of a row.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// A timestamptz.
    Instant(Instant),
    /// An integer.
    Int4(i32),
    /// A bigint.
    Int8(i64),
    /// A transaction's id.
    Xid8(u64),
    /// A uuid.
    Uuid([u8; 16]),
    /// A text.
    Text(&'a str),
    /// An inet with its number of significant bits; all of them for a host.
    Inet(IpAddr, u8),
    /// A numeric.
    Numeric(PgNumeric),
    /// A jsonb.
    Json(Json),
}

/// A jsonb in the server's form.
#[derive(Clone, Copy)]
pub struct Json(pub(in crate::pg) pg_sys::Datum);

impl Json {
    /// Converts a `serde_json` value.
    pub fn new(value: serde_json::Value) -> Result<Self, Error> {
        pgrx::JsonB(value)
            .into_datum()
            .map(Self)
            .ok_or(Error::Internal("JSON that is no jsonb"))
    }

    /// Converts to a `serde_json` value.
    pub fn value(self) -> Result<serde_json::Value, Error> {
        // SAFETY: the datum is a jsonb that lives as long as the call; its text is the server's, in the current context.
        let text = unsafe {
            let json: *mut pg_sys::Jsonb =
                pg_sys::pg_detoast_datum(self.0.cast_mut_ptr::<pg_sys::varlena>()).cast();
            let bytes = pgrx::varsize_any(json.cast::<pg_sys::varlena>());
            let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
            let root = &raw mut (*json).root;
            CStr::from_ptr(pg_sys::JsonbToCString(std::ptr::null_mut(), root, bytes))
        };
        // The server's numbers and levels have no bounds.
        serde_json::from_slice(text.to_bytes()).map_err(|why| {
            Error::bad(
                format!("the JSON cannot be read: {why}"),
                "Its numbers must be less than 1.8e308, and it has up to 127 levels.",
            )
        })
    }

    /// Returns the value of an object's key, without converting the rest.
    pub fn field(self, key: &str) -> Result<Option<serde_json::Value>, Error> {
        // SAFETY: the datum is an unpacked jsonb that lives as long as the call; what is found is the
        // server's, allocated in the current context, and of the kind that its tag says.
        let found = unsafe {
            let json: *mut pg_sys::Jsonb = self.0.cast_mut_ptr();
            let found = pg_sys::getKeyJsonValueFromContainer(
                &raw mut (*json).root,
                key.as_ptr().cast(),
                key.len() as i32,
                std::ptr::null_mut(),
            );
            let Some(found) = found.as_ref() else {
                return Ok(None);
            };
            match found.type_ {
                pg_sys::jbvType::jbvNull => Some(serde_json::Value::Null),
                pg_sys::jbvType::jbvBool => Some(serde_json::Value::Bool(found.val.boolean)),
                pg_sys::jbvType::jbvString => {
                    let text = found.val.string;
                    let length = usize::try_from(text.len).unwrap_or(0);
                    let bytes = std::slice::from_raw_parts(text.val.cast::<u8>(), length);
                    let text = std::str::from_utf8(bytes)
                        .map_err(|_| Error::Internal("a text that is not UTF-8"))?;
                    Some(serde_json::Value::String(text.to_owned()))
                }
                _ => None,
            }
        };
        match found {
            Some(found) => Ok(Some(found)),
            // A number, or a value that is not scalar: in the server's text form.
            None => Ok(self.value()?.get(key).cloned()),
        }
    }

    /// Builds an object of texts.
    pub fn object<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        use pg_sys::JsonbIteratorToken::{WJB_BEGIN_OBJECT, WJB_END_OBJECT, WJB_KEY, WJB_VALUE};
        let mut state = std::ptr::null_mut();
        // SAFETY: the server's own way to make one: the texts are copied when it is made of the value,
        // before this returns.
        unsafe {
            pg_sys::pushJsonbValue(&mut state, WJB_BEGIN_OBJECT, std::ptr::null_mut());
            for (key, text) in pairs {
                for (what, text) in [(WJB_KEY, key), (WJB_VALUE, text)] {
                    let mut value: pg_sys::JsonbValue = std::mem::zeroed();
                    value.type_ = pg_sys::jbvType::jbvString;
                    value.val.string.len = text.len() as i32;
                    value.val.string.val = text.as_ptr().cast_mut().cast();
                    pg_sys::pushJsonbValue(&mut state, what, &mut value);
                }
            }
            let object = pg_sys::pushJsonbValue(&mut state, WJB_END_OBJECT, std::ptr::null_mut());
            Self(pg_sys::Datum::from(pg_sys::JsonbValueToJsonb(object)))
        }
    }
}

impl Value<'_> {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        match self {
            Value::Null => None,
            Value::Instant(at) => Some(pg_sys::Datum::from(time::to_server(at))),
            Value::Int8(value) => Some(pg_sys::Datum::from(value)),
            Value::Int4(value) => Some(pg_sys::Datum::from(value)),
            Value::Xid8(value) => Some(pg_sys::Datum::from(value)),
            Value::Uuid(bytes) => pgrx::Uuid::from_bytes(bytes).into_datum(),
            Value::Text(text) => text.into_datum(),
            Value::Inet(address, bits) => Some(inet(address, bits)),
            Value::Numeric(number) => Some(varlena(number.bytes())),
            Value::Json(Json(datum)) => Some(datum),
        }
    }
}

/// utils/inet.h: a family (IPv4 is AF_INET, IPv6 the number after it), the bits of the mask, the address.
fn inet(address: IpAddr, bits: u8) -> pg_sys::Datum {
    const INET: u8 = libc::AF_INET as u8;
    let mut bytes = Vec::with_capacity(18);
    match address {
        IpAddr::V4(v4) => {
            bytes.extend_from_slice(&[INET, bits.min(32)]);
            bytes.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            bytes.extend_from_slice(&[INET + 1, bits.min(128)]);
            bytes.extend_from_slice(&v6.octets());
        }
    }
    varlena(&bytes)
}

fn varlena(bytes: &[u8]) -> pg_sys::Datum {
    // SAFETY: a varlena is its bytes behind its length; that is what a text is too.
    unsafe {
        pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(
            bytes.as_ptr().cast(),
            bytes.len() as i32,
        ))
    }
}

/// Processes invalidation messages, to see what other sessions have created.
pub fn look_again() {
    // SAFETY: inside a transaction; what the server does whenever it locks a table.
    unsafe { pg_sys::AcceptInvalidationMessages() };
}

/// Finds a partition of tenancy by name.
pub fn partition(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: look-ups in system caches inside a transaction; a missing object has the invalid oid.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"tenancy_internal".as_ptr(), true);
        let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
        (table != pg_sys::Oid::INVALID && pg_sys::get_rel_relispartition(table)).then_some(table)
    }
}

/// Raises an error if the transaction cannot write; also on a standby.
pub fn check_writable(doing: &CStr) {
    // SAFETY: inside a transaction; the text outlives the call.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(doing.as_ptr());
        pg_sys::PreventCommandIfParallelMode(doing.as_ptr());
    }
}

/// Locks a table and its indexes as an INSERT does, until the transaction ends, so that later rows find them
/// locked.
pub fn hold(table: pg_sys::Oid) {
    const LOCK: i32 = pg_sys::RowExclusiveLock as i32;
    // SAFETY: inside a transaction. The table is open while its indexes are listed; the list is ours.
    unsafe {
        let relation = pg_sys::table_open(table, LOCK);
        let indexes = pg_sys::RelationGetIndexList(relation);
        if !indexes.is_null() {
            for n in 0..usize::try_from((*indexes).length).unwrap_or(0) {
                pg_sys::LockRelationOid((*(*indexes).elements.add(n)).oid_value, LOCK);
            }
        }
        pg_sys::list_free(indexes);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
}

/// Appends a row with the table's columns in order. Row security, triggers and constraints are not checked.
pub fn append(table: pg_sys::Oid, row: &[Value<'_>]) -> Result<(), Error> {
    let (mut values, mut nulls) = (Vec::new(), Vec::new());
    for value in row {
        let datum = value.into_datum();
        nulls.push(datum.is_none());
        values.push(datum.unwrap_or(pg_sys::Datum::from(0)));
    }
    // SAFETY: inside a transaction. The table is open and locked as an INSERT locks it while its
    // descriptor is used; there are as many values as columns, and their types are those that sql/
    // declares, in its order. Tables come from tenancy's own functions: a heap, with plain indexes.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        if (*(*relation).rd_att).natts as usize != values.len() {
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            return Err(Error::Internal("a partition of another shape"));
        }
        let tuple =
            pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::CatalogTupleInsert(relation, tuple);
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
    Ok(())
}
