//! Lists and expressions of the planner.

use pgrx::pg_sys;

/// Returns the number of a list's elements.
///
/// # Safety
/// `list` is NULL or a list.
pub unsafe fn length(list: *const pg_sys::List) -> usize {
    // SAFETY: as above.
    unsafe { list.as_ref() }.map_or(0, |list| list.length as usize)
}

/// Returns the elements of a list of pointers, which may be NULL.
///
/// # Safety
/// `list` is NULL or a list of pointers to `T`, which stays as it is while they are read.
pub unsafe fn elements<T>(list: *mut pg_sys::List) -> impl Iterator<Item = *mut T> {
    // SAFETY: as above.
    let length = unsafe { length(list) };
    // SAFETY: a list of pointers has `length` elements.
    (0..length).map(move |n| unsafe { (*(*list).elements.add(n)).ptr_value.cast() })
}

/// Creates a list.
pub fn list<T>(items: impl IntoIterator<Item = *mut T>) -> *mut pg_sys::List {
    let mut list = std::ptr::null_mut();
    for item in items {
        // SAFETY: appends to a list of pointers, or makes one of NULL.
        list = unsafe { pg_sys::lappend(list, item.cast()) };
    }
    list
}

/// Copies a node.
///
/// # Safety
/// `node` is a node.
pub unsafe fn copy<T>(node: *mut T) -> *mut T {
    // SAFETY: copies what is a node.
    unsafe { pg_sys::copyObjectImpl(node.cast()).cast() }
}

/// Returns `CASE WHEN all of the conditions THEN … ELSE … END`, the only expression whose parts the server evaluates in
/// this order and only as far as needed. The planner removes no part of it, and derives nothing from it.
///
/// # Safety
/// The conditions are boolean expressions, and there is one; so are the others.
pub unsafe fn case(
    conditions: *mut pg_sys::List,
    then: *mut pg_sys::Expr,
    otherwise: *mut pg_sys::Expr,
) -> *mut pg_sys::Expr {
    // SAFETY: new nodes in the planner's memory, with all fields set or zero.
    unsafe {
        let when = pg_sys::palloc0(size_of::<pg_sys::CaseWhen>()).cast::<pg_sys::CaseWhen>();
        (*when).xpr.type_ = pg_sys::NodeTag::T_CaseWhen;
        (*when).expr = pg_sys::make_ands_explicit(conditions);
        (*when).result = then;
        (*when).location = -1;
        let case = pg_sys::palloc0(size_of::<pg_sys::CaseExpr>()).cast::<pg_sys::CaseExpr>();
        (*case).xpr.type_ = pg_sys::NodeTag::T_CaseExpr;
        (*case).casetype = pg_sys::BOOLOID;
        (*case).args = list([when]);
        (*case).defresult = otherwise;
        (*case).location = -1;
        case.cast()
    }
}

/// Returns the constant `true` or `false`.
pub fn constant(value: bool) -> *mut pg_sys::Expr {
    // SAFETY: makes a new node.
    unsafe { pg_sys::makeBoolConst(value, false).cast() }
}

/// Returns the value of a constant of this type, if it is not NULL.
///
/// # Safety
/// `node` is a node.
pub unsafe fn constant_of(node: *mut pg_sys::Node, kind: pg_sys::Oid) -> Option<pg_sys::Datum> {
    // SAFETY: the tag identifies a constant.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Const {
            return None;
        }
        let constant = &*node.cast::<pg_sys::Const>();
        (constant.consttype == kind && !constant.constisnull).then_some(constant.constvalue)
    }
}

/// Returns the value of a text constant.
///
/// # Safety
/// An expression of a query; the text is in the planner's memory.
pub unsafe fn constant_text<'a>(node: *mut pg_sys::Node) -> Option<&'a [u8]> {
    // SAFETY: as above.
    unsafe { constant_of(node, pg_sys::TEXTOID).map(|value| text(value)) }
}

/// Returns the bytes of a text.
///
/// # Safety
/// A text, in memory that lives as long as the bytes are used.
pub unsafe fn text<'a>(value: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: as above; the length is the text's.
    unsafe {
        let text = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
        let length = pgrx::varsize_any_exhdr(text);
        std::slice::from_raw_parts(pgrx::vardata_any(text).cast::<u8>(), length)
    }
}
