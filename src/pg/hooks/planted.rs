//! Whether an expression of a table's definition may reveal rows, or runs code that a user wrote. It would run on every
//! tenant's rows, or in the context of every writer.
//!
//! Functions in C and the server's own come from superusers; functions in other languages may come from any role.

use std::ffi::{CStr, c_char, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::function;
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

/// Functions of the server that never fail, besides leakproof ones.
const TOTAL: [&[u8]; 44] = [
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
    b"reverse",
    b"substr",
    b"textcat",
    b"text",
    b"to_tsvector",
    b"setweight",
    b"tsvector_concat",
    b"jsonb_to_tsvector",
    b"json_to_tsvector",
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
    b"jsonb_typeof",
    b"array_length",
    b"cardinality",
    b"date_trunc",
    b"date_part",
    b"extract",
    b"timezone",
    b"date",
    b"timestamp",
    b"timestamptz",
];

/// Conversions of the server that accept any value, besides leakproof ones: int2, int4 and int8 to numeric.
const WIDENING: [u32; 3] = [1740, 1781, 1782];

/// The longest constant in an index's expression, in bytes. A longer one could make entries of chosen rows too large, and fail.
const CONSTANT_BYTES_MAX: usize = 256;

/// Returns whether a function may be a user's code. Some of the server's own are in SQL.
pub fn is_a_users(oid: pg_sys::Oid) -> bool {
    oid.to_u32() >= pg_sys::FirstNormalObjectId
        && !matches!(
            function::read(oid, |f| f.prolang.to_u32()),
            Some(INTERNAL | C)
        )
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
        f.proleakproof || TOTAL.contains(&name)
    };
    !WIDENING.contains(&oid.to_u32()) && !function::read(oid, total).unwrap_or(false)
}

/// Returns whether building an index could reveal rows of a table: by failing for some of them, by the number of rows that
/// its condition chooses, or to a user's code.
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
        let mut found = chooses((*analysed).whereClause);
        each((*analysed).indexParams, |element| {
            let expression = (*element.cast::<pg_sys::IndexElem>()).expr;
            found = found || tells(expression, std::ptr::null_mut());
        });
        found
    }
}

/// Returns whether converting a column could fail for some rows, or run a user's code.
///
/// # Safety
/// `column` is a column's name, and `to` the name of a type, in a statement.
pub unsafe fn conversion_may_tell(
    table: pg_sys::Oid,
    column: *const c_char,
    to: *const pg_sys::TypeName,
) -> bool {
    use pg_sys::{CoercionContext::COERCION_ASSIGNMENT, CoercionForm::COERCE_IMPLICIT_CAST};
    // SAFETY: look-ups in the system cache, and an expression in the current memory context, as ALTER TABLE makes it. A
    // name that is none is an error of the server's.
    unsafe {
        let attribute = pg_sys::get_attnum(table, column);
        if attribute == pg_sys::InvalidAttrNumber as i16 {
            return false;
        }
        let (mut old, mut old_mod, mut collation) =
            (pg_sys::Oid::INVALID, -1, pg_sys::Oid::INVALID);
        pg_sys::get_atttypetypmodcoll(
            table,
            attribute,
            &raw mut old,
            &raw mut old_mod,
            &raw mut collation,
        );
        let (mut new, mut new_mod) = (pg_sys::Oid::INVALID, -1);
        pg_sys::typenameTypeIdAndMod(std::ptr::null_mut(), to, &raw mut new, &raw mut new_mod);
        let value = pg_sys::makeVar(1, attribute, old, old_mod, collation, 0);
        let converted = pg_sys::coerce_to_target_type(
            std::ptr::null_mut(),
            value.cast(),
            old,
            new,
            new_mod,
            COERCION_ASSIGNMENT,
            COERCE_IMPLICIT_CAST,
            -1,
        );
        if converted.is_null() {
            // The server requires USING.
            return false;
        }
        pg_sys::assign_expr_collations(std::ptr::null_mut(), converted);
        let simple = pg_sys::eval_const_expressions(std::ptr::null_mut(), converted);
        tells(simple, std::ptr::null_mut())
    }
}

/// Returns whether an analysed index condition checks more than which columns are NULL or true: the index's size reveals how
/// many rows it chooses.
unsafe fn chooses(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    if node.is_null() {
        return false;
    }
    // SAFETY: the tag identifies the node; a list holds expressions.
    unsafe {
        match (*node).type_ {
            T_Var => false,
            T_NullTest => chooses((*node.cast::<pg_sys::NullTest>()).arg.cast()),
            T_BooleanTest => chooses((*node.cast::<pg_sys::BooleanTest>()).arg.cast()),
            T_BoolExpr => {
                let mut found = false;
                each((*node.cast::<pg_sys::BoolExpr>()).args, |arg| {
                    found = found || chooses(arg);
                });
                found
            }
            T_List => {
                let mut found = false;
                each(node.cast(), |arg| found = found || chooses(arg));
                found
            }
            _ => true,
        }
    }
}

/// Returns whether an analysed expression may fail for chosen rows, or run a user's code.
#[pg_guard]
unsafe extern "C-unwind" fn tells(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    use pg_sys::NodeTag::*;
    if node.is_null() {
        return false;
    }
    // SAFETY: the tag identifies the node; the walker visits its children.
    unsafe {
        match (*node).type_ {
            T_CoerceViaIO => {
                let cast = node.cast::<pg_sys::CoerceViaIO>();
                let constant = (*(*cast).arg).type_ == T_Const;
                if !constant && (*cast).resulttype != pg_sys::TEXTOID {
                    return true;
                }
            }
            T_Const => {
                let constant = &*node.cast::<pg_sys::Const>();
                return constant.constlen == -1
                    && !constant.constisnull
                    && pgrx::varsize_any(constant.constvalue.cast_mut_ptr::<pg_sys::varlena>())
                        > CONSTANT_BYTES_MAX;
            }
            // Expressions that distinguish rows.
            T_CaseExpr | T_NullIfExpr | T_DistinctExpr | T_ScalarArrayOpExpr | T_RowCompareExpr
            | T_MinMaxExpr | T_BoolExpr | T_NullTest | T_BooleanTest => return true,
            T_SubLink | T_SQLValueFunction | T_CoerceToDomain | T_XmlExpr => return true,
            T_OpExpr if (*node.cast::<pg_sys::OpExpr>()).opresulttype == pg_sys::BOOLOID => {
                return true;
            }
            T_FuncExpr if (*node.cast::<pg_sys::FuncExpr>()).funcresulttype == pg_sys::BOOLOID => {
                return true;
            }
            T_FuncExpr if is_steered(&*node.cast::<pg_sys::FuncExpr>()) => return true,
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

/// Returns whether a call that fails for some units, zones, lengths or encodings gets those from a row.
unsafe fn is_steered(call: &pg_sys::FuncExpr) -> bool {
    let name = function::read(call.funcid, |f| {
        // SAFETY: a name ends with a zero.
        unsafe { CStr::from_ptr(f.proname.data.as_ptr()) }
            .to_bytes()
            .to_owned()
    });
    let value = match name.unwrap_or_default().as_slice() {
        b"date_trunc" | b"date_part" | b"extract" | b"timezone" => 1,
        b"substr" | b"setweight" | b"length" => 0,
        _ => return false,
    };
    let (mut n, mut found) = (0, false);
    // SAFETY: a call's arguments are expressions.
    unsafe {
        each(call.args, |arg| {
            found = found || n != value && (*arg).type_ != pg_sys::NodeTag::T_Const;
            n += 1;
        });
    }
    found
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
    // SAFETY: the tag identifies the node; lists of arguments hold expressions.
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
