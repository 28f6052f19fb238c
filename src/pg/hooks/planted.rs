//! Whether an expression of a table's definition may tell about its rows, or runs code that a user wrote: it would run on
//! every tenant's rows, or in the context of whoever writes.
//!
//! Functions in C and the server's own come from superusers; functions in any other language may be anybody's.

use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::nodes::each;

unsafe extern "C" {
    fn transformIndexStmt(
        table: pg_sys::Oid,
        statement: *mut pg_sys::IndexStmt,
        text: *const c_char,
    ) -> *mut pg_sys::IndexStmt;
    #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
    fn expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool,
        context: *mut c_void,
    ) -> bool;
}

const INTERNAL: u32 = 12;
const C: u32 = 13;

/// Functions of the server that answer for any row without an error, besides leakproof ones.
const TOTAL: [&[u8]; 66] = [
    b"lower",
    b"upper",
    b"initcap",
    b"btrim",
    b"ltrim",
    b"rtrim",
    b"length",
    b"char_length",
    b"character_length",
    b"octet_length",
    b"textlen",
    b"md5",
    b"sha256",
    b"left",
    b"right",
    b"replace",
    b"reverse",
    b"substr",
    b"substring",
    b"textcat",
    b"textlike",
    b"textnlike",
    b"texticlike",
    b"texticnlike",
    b"bpcharlike",
    b"namelike",
    b"text",
    b"to_tsvector",
    b"setweight",
    b"tsvector_concat",
    b"jsonb_to_tsvector",
    b"json_to_tsvector",
    b"ts_match_vq",
    b"jsonb_object_field",
    b"jsonb_object_field_text",
    b"jsonb_array_element",
    b"jsonb_array_element_text",
    b"jsonb_extract_path",
    b"jsonb_extract_path_text",
    b"json_object_field",
    b"json_object_field_text",
    b"json_extract_path",
    b"json_extract_path_text",
    b"jsonb_contains",
    b"jsonb_contained",
    b"jsonb_exists",
    b"jsonb_exists_any",
    b"jsonb_exists_all",
    b"jsonb_typeof",
    b"arraycontains",
    b"arraycontained",
    b"arrayoverlap",
    b"array_length",
    b"cardinality",
    b"date_trunc",
    b"date_part",
    b"extract",
    b"timezone",
    b"date",
    b"timestamp",
    b"timestamptz",
    b"range_overlaps",
    b"range_contains",
    b"range_contains_elem",
    b"elem_contained_by_range",
    b"isempty",
];

/// How functions that compare are named.
const COMPARES: [&[u8]; 7] = [b"eq", b"ne", b"lt", b"le", b"gt", b"ge", b"cmp"];

/// Reads a function's row in the system cache.
fn function<T>(function: pg_sys::Oid, f: impl FnOnce(&pg_sys::FormData_pg_proc) -> T) -> Option<T> {
    // SAFETY: a look-up in the system cache inside a transaction; the tuple is released before
    // returning, and `f` keeps nothing of it.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            pg_sys::Datum::from(function),
        );
        if tuple.is_null() {
            return None;
        }
        let header = (*tuple).t_data;
        let form = header.cast::<u8>().add((*header).t_hoff.into());
        let result = f(&*form.cast::<pg_sys::FormData_pg_proc>());
        pg_sys::ReleaseSysCache(tuple);
        Some(result)
    }
}

/// Returns whether a function may be a user's code. Some of the server's own are in SQL.
pub fn is_a_users(oid: pg_sys::Oid) -> bool {
    oid.to_u32() >= pg_sys::FirstNormalObjectId
        && !matches!(function(oid, |f| f.prolang.to_u32()), Some(INTERNAL | C))
}

/// Returns whether a function may fail, or run a user's code.
fn may_tell(oid: pg_sys::Oid) -> bool {
    if is_a_users(oid) {
        return true;
    }
    if oid.to_u32() >= pg_sys::FirstNormalObjectId {
        return false;
    }
    let total = |f: &pg_sys::FormData_pg_proc| {
        // SAFETY: a name ends with a zero.
        let name = unsafe { CStr::from_ptr(f.proname.data.as_ptr()) }.to_bytes();
        f.proleakproof
            || TOTAL.contains(&name)
            || COMPARES.iter().any(|ending| name.ends_with(ending))
    };
    !function(oid, total).unwrap_or(false)
}

/// Returns whether building an index could tell about the rows of a table.
///
/// # Safety
/// `statement` is CREATE INDEX on the table.
pub unsafe fn index_may_tell(table: pg_sys::Oid, statement: *mut pg_sys::IndexStmt) -> bool {
    // SAFETY: the statement's lists hold what the grammar puts there. The server analyses a copy, while the table is
    // locked; it ends with the transaction, or with the part of it that the statement itself ends.
    unsafe {
        let mut plain = (*statement).whereClause.is_null();
        each((*statement).indexParams, |element| {
            plain = plain && (*element.cast::<pg_sys::IndexElem>()).expr.is_null();
        });
        if plain {
            return false;
        }
        pg_sys::LockRelationOid(table, pg_sys::AccessShareLock as i32);
        let copy = pg_sys::copyObjectImpl(statement.cast()).cast::<pg_sys::IndexStmt>();
        let analysed = pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
            #[allow(ffi_unwind_calls)] // inside the boundary
            transformIndexStmt(table, copy, c"".as_ptr())
        });
        let mut found = tells((*analysed).whereClause, std::ptr::null_mut());
        each((*analysed).indexParams, |element| {
            found = found
                || tells(
                    (*element.cast::<pg_sys::IndexElem>()).expr,
                    std::ptr::null_mut(),
                );
        });
        found
    }
}

/// Whether an analysed expression may fail or run a user's code.
#[pg_guard]
unsafe extern "C-unwind" fn tells(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    use pg_sys::NodeTag::*;
    if node.is_null() {
        return false;
    }
    // SAFETY: the tag tells which node it is; the walker visits its children.
    unsafe {
        match (*node).type_ {
            T_CoerceViaIO => {
                let cast = node.cast::<pg_sys::CoerceViaIO>();
                let constant = (*(*cast).arg).type_ == T_Const;
                if !constant && (*cast).resulttype != pg_sys::TEXTOID {
                    return true;
                }
            }
            T_SubLink | T_SQLValueFunction | T_CoerceToDomain | T_XmlExpr => return true,
            _ => {
                if pg_sys::check_functions_in_node(node, Some(tells_of), std::ptr::null_mut()) {
                    return true;
                }
            }
        }
        pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
            #[allow(ffi_unwind_calls)] // inside the boundary
            expression_tree_walker(node, tells, context)
        })
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn tells_of(function: pg_sys::Oid, _context: *mut c_void) -> bool {
    may_tell(function)
}

/// Returns whether a default, as it is written, may run a user's code. No default reads a column.
///
/// # Safety
/// `node` is NULL or an expression as the grammar makes it.
pub unsafe fn default_is_a_users(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    if node.is_null() {
        return false;
    }
    // SAFETY: the tag tells which node it is; lists of arguments hold expressions.
    unsafe {
        let mut found = false;
        let mut any =
            |list: *mut pg_sys::List| each(list, |n| found = found || default_is_a_users(n));
        match (*node).type_ {
            T_A_Const | T_SQLValueFunction => false,
            T_TypeCast => {
                let cast = node.cast::<pg_sys::TypeCast>();
                let of = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), (*cast).typeName, true);
                is_a_users_type(of) || default_is_a_users((*cast).arg)
            }
            T_A_ArrayExpr => {
                any((*node.cast::<pg_sys::A_ArrayExpr>()).elements);
                found
            }
            T_FuncCall => {
                let call = node.cast::<pg_sys::FuncCall>();
                any((*call).args);
                let mut candidate = pg_sys::FuncnameGetCandidates(
                    (*call).funcname,
                    -1,
                    std::ptr::null_mut(),
                    false,
                    false,
                    false,
                    true,
                );
                while !candidate.is_null() {
                    found = found || is_a_users((*candidate).oid);
                    candidate = (*candidate).next;
                }
                found
            }
            T_A_Expr => {
                let expression = node.cast::<pg_sys::A_Expr>();
                let mut candidate =
                    pg_sys::OpernameGetCandidates((*expression).name, b'b' as c_char, true);
                while !candidate.is_null() {
                    found = found || is_a_users(pg_sys::get_opcode((*candidate).oid));
                    candidate = (*candidate).next;
                }
                found
                    || default_is_a_users((*expression).lexpr)
                    || default_is_a_users((*expression).rexpr)
            }
            _ => true,
        }
    }
}

/// Returns whether values of a type may be checked or made by a user's code: a domain or a composite type.
pub fn is_a_users_type(of: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in the system cache inside a transaction.
    let kind = unsafe { pg_sys::get_typtype(of) } as u8;
    kind == pg_sys::TYPTYPE_DOMAIN || kind == pg_sys::TYPTYPE_COMPOSITE
}
