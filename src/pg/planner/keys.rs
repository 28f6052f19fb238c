//! Keys of tenants in conditions: their types, their values, and what rows are compared by.

use std::ffi::c_int;

use pgrx::pg_sys;
use tenancy_core::policy::is_whole;

use super::nodes::{copy, list, text};
use crate::pg::{numeric_text, types};

/// The type of a predicate's tenant argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyType {
    /// A scope's id.
    Uuid,
    /// An external id.
    Int8,
    /// An external id.
    Int4,
    /// An external id.
    Text,
    /// An external id.
    Numeric,
}

impl KeyType {
    pub(super) fn of(oid: pg_sys::Oid) -> Option<Self> {
        Some(match oid {
            pg_sys::UUIDOID => Self::Uuid,
            pg_sys::INT8OID => Self::Int8,
            pg_sys::INT4OID => Self::Int4,
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Self::Text,
            pg_sys::NUMERICOID => Self::Numeric,
            _ => return None,
        })
    }

    pub(super) fn oid(self) -> pg_sys::Oid {
        match self {
            Self::Uuid => pg_sys::UUIDOID,
            Self::Int8 => pg_sys::INT8OID,
            Self::Int4 => pg_sys::INT4OID,
            Self::Text => pg_sys::TEXTOID,
            Self::Numeric => pg_sys::NUMERICOID,
        }
    }

    /// Returns the name of tenancy's function with the only tenant's key of this type.
    pub fn only_tenant_function(self) -> &'static std::ffi::CStr {
        match self {
            Self::Uuid => c"tenant_id",
            Self::Int8 => c"tenant_key_bigint",
            Self::Int4 => c"tenant_key_integer",
            Self::Text => c"tenant_key_text",
            Self::Numeric => c"tenant_key_numeric",
        }
    }

    /// Returns the name of tenancy's function with the user's key of this type.
    pub(super) fn user_function(self) -> Option<&'static std::ffi::CStr> {
        Some(match self {
            Self::Uuid => c"user_id",
            Self::Int8 => c"user_key_bigint",
            Self::Text => c"user_key_text",
            Self::Int4 | Self::Numeric => return None,
        })
    }

    /// Returns a tenant's key of this type, if it has one: of its id, its external id as an integer, and as a text.
    pub fn value(
        self,
        id: [u8; 16],
        int: Option<i64>,
        text: impl FnOnce() -> Option<String>,
    ) -> Option<KeyValue> {
        Some(match self {
            Self::Uuid => KeyValue::Uuid(id),
            Self::Int8 => KeyValue::Int8(int?),
            Self::Int4 => KeyValue::Int4(i32::try_from(int?).ok()?),
            Self::Text => KeyValue::Text(text()?),
            Self::Numeric => KeyValue::Numeric(text().filter(|text| is_whole(text))?),
        })
    }

    pub(super) fn array_oid(self) -> pg_sys::Oid {
        match self {
            Self::Uuid => pg_sys::UUIDARRAYOID,
            Self::Int8 => pg_sys::INT8ARRAYOID,
            Self::Int4 => pg_sys::INT4ARRAYOID,
            Self::Text => pg_sys::TEXTARRAYOID,
            Self::Numeric => pg_sys::NUMERICARRAYOID,
        }
    }

    /// Returns the oid of `=` in pg_catalog for two values of this type; these are fixed for ever.
    fn equality(self) -> pg_sys::Oid {
        pg_sys::Oid::from(match self {
            Self::Uuid => 2972,
            Self::Int8 => 410,
            Self::Int4 => 96,
            Self::Text => 98,
            Self::Numeric => 1752,
        })
    }
}

/// A value of a tenant column, or a user's id.
pub enum KeyValue {
    /// A scope's id.
    Uuid([u8; 16]),
    /// An external id.
    Int8(i64),
    /// An external id.
    Int4(i32),
    /// An external id.
    Text(String),
    /// An external id, a whole number.
    Numeric(String),
}

impl KeyValue {
    /// Returns whether a value of this type is the same.
    ///
    /// # Safety
    /// A value of the type, not NULL.
    pub(super) unsafe fn is(&self, value: pg_sys::Datum) -> bool {
        // SAFETY: as above.
        unsafe {
            match self {
                Self::Uuid(id) => *id == *value.cast_mut_ptr::<[u8; 16]>(),
                Self::Int8(key) => *key == value.value() as i64,
                Self::Int4(key) => *key == value.value() as i32,
                Self::Text(key) => key.as_bytes() == text(value),
                Self::Numeric(key) => *key == numeric_text::of(value),
            }
        }
    }

    /// Returns it in the current memory.
    pub(super) fn datum(&self) -> pg_sys::Datum {
        // SAFETY: values of their types, in memory of their size.
        unsafe {
            match self {
                Self::Uuid(id) => {
                    let memory = pg_sys::palloc(id.len()).cast::<[u8; 16]>();
                    memory.write(*id);
                    pg_sys::Datum::from(memory)
                }
                Self::Int8(key) => pg_sys::Datum::from(*key),
                Self::Int4(key) => pg_sys::Datum::from(*key),
                Self::Text(key) => {
                    let length = i32::try_from(key.len()).unwrap_or(0);
                    pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(
                        key.as_ptr().cast(),
                        length,
                    ))
                }
                Self::Numeric(key) => numeric_text::read(key),
            }
        }
    }
}

/// A predicate's tenant argument, without the cast that policies spell out where predicates do not take a column's type.
pub(super) struct Argument {
    /// The argument, or what is cast to it.
    pub column: *mut pg_sys::Node,
    /// The type of keys that it is compared with.
    pub key: KeyType,
    /// The operator that compares them; these of pg_catalog are fixed for ever.
    operator: pg_sys::Oid,
    /// The type that a key, a text, is taken as.
    taken_as: Option<pg_sys::Oid>,
    /// Whether the operator is also true for other keys: then it only searches an index.
    pub lossy: bool,
}

/// int4(int2).
const INT2_TO_INT4: pg_sys::Oid = pg_sys::Oid::from_u32(313);
/// int8(int2).
const INT2_TO_INT8: pg_sys::Oid = pg_sys::Oid::from_u32(714);
/// int8(int4).
const INT4_TO_INT8: pg_sys::Oid = pg_sys::Oid::from_u32(481);
/// text(bpchar).
const BPCHAR_TO_TEXT: pg_sys::Oid = pg_sys::Oid::from_u32(401);

impl Argument {
    /// Reads an argument.
    ///
    /// # Safety
    /// An expression of a query.
    pub unsafe fn of(argument: *mut pg_sys::Node) -> Option<Self> {
        // SAFETY: the tag identifies the node; functions of one argument have one.
        unsafe {
            let own = Self {
                column: argument,
                key: KeyType::of(pg_sys::exprType(argument))?,
                operator: pg_sys::Oid::INVALID,
                taken_as: None,
                lossy: false,
            };
            let own = Self {
                operator: own.key.equality(),
                ..own
            };
            let inner = match (*argument).type_ {
                pg_sys::NodeTag::T_FuncExpr => {
                    let call = &*argument.cast::<pg_sys::FuncExpr>();
                    let known = [INT2_TO_INT4, INT2_TO_INT8, INT4_TO_INT8, BPCHAR_TO_TEXT];
                    if !known.contains(&call.funcid) {
                        return Some(own);
                    }
                    (*(*call.args).elements).ptr_value.cast::<pg_sys::Node>()
                }
                pg_sys::NodeTag::T_CoerceViaIO => {
                    (*argument.cast::<pg_sys::CoerceViaIO>()).arg.cast()
                }
                pg_sys::NodeTag::T_RelabelType => {
                    (*argument.cast::<pg_sys::RelabelType>()).arg.cast()
                }
                _ => return Some(own),
            };
            let kind = pg_sys::exprType(inner);
            let base = types::base(kind);
            let (key, operator, taken_as, lossy) = match base {
                pg_sys::INT2OID if own.key == KeyType::Int8 => {
                    (KeyType::Int8, pg_sys::Oid::from(1862), None, false)
                }
                pg_sys::INT4OID if own.key == KeyType::Int8 => {
                    (KeyType::Int8, pg_sys::Oid::from(15), None, false)
                }
                pg_sys::INT2OID => (KeyType::Int4, pg_sys::Oid::from(532), None, false),
                pg_sys::BPCHAROID => (KeyType::Text, pg_sys::Oid::from(1054), Some(base), false),
                // Without decimals two numbers are equal if their texts are.
                pg_sys::NUMERICOID if types::key(kind, pg_sys::exprTypmod(inner)).is_some() => {
                    (KeyType::Numeric, KeyType::Numeric.equality(), None, false)
                }
                _ if types::is_citext(base) => {
                    let equal = pg_sys::lookup_type_cache(base, pg_sys::TYPECACHE_EQ_OPR as c_int);
                    (KeyType::Text, (*equal).eq_opr, Some(base), true)
                }
                _ => return Some(own),
            };
            if operator == pg_sys::Oid::INVALID {
                return Some(own);
            }
            let column = match kind == base {
                true => inner,
                false => relabel(inner, base),
            };
            Some(Self {
                column,
                key,
                operator,
                taken_as,
                lossy,
            })
        }
    }

    /// Returns `column = key`, with a copy of the column, for a key of this type.
    ///
    /// # Safety
    /// An expression of the type.
    pub unsafe fn equals(&self, key: *mut pg_sys::Expr) -> *mut pg_sys::Expr {
        // SAFETY: nodes in the planner's memory; the operator takes two values of these types.
        unsafe {
            let key = self
                .taken_as
                .map_or(key, |kind| relabel(key.cast(), kind).cast());
            let clause = pg_sys::make_opclause(
                self.operator,
                pg_sys::BOOLOID,
                false,
                copy(self.column).cast(),
                key,
                pg_sys::Oid::INVALID,
                pg_sys::exprCollation(self.column),
            );
            pg_sys::set_opfuncid(clause.cast());
            clause
        }
    }

    /// Returns `column = ANY (keys)`, for an array of this type.
    ///
    /// # Safety
    /// An expression of that array's type.
    pub unsafe fn equals_any(&self, keys: *mut pg_sys::Expr) -> *mut pg_sys::ScalarArrayOpExpr {
        // SAFETY: new nodes in the planner's memory, with all fields set or zero.
        unsafe {
            let clause = pg_sys::palloc0(size_of::<pg_sys::ScalarArrayOpExpr>())
                .cast::<pg_sys::ScalarArrayOpExpr>();
            (*clause).xpr.type_ = pg_sys::NodeTag::T_ScalarArrayOpExpr;
            (*clause).opno = self.operator;
            (*clause).opfuncid = pg_sys::get_opcode(self.operator);
            (*clause).useOr = true;
            (*clause).inputcollid = pg_sys::exprCollation(self.column);
            let keys = self.taken_as.map_or(keys, |kind| array_of(keys, kind));
            (*clause).args = list([copy(self.column), keys.cast()]);
            (*clause).location = -1;
            clause
        }
    }
}

/// Returns what an argument is without that cast.
///
/// # Safety
/// An expression of a query.
pub(super) unsafe fn without_cast(argument: *mut pg_sys::Node) -> *mut pg_sys::Node {
    // SAFETY: as above.
    unsafe { Argument::of(argument) }.map_or(argument, |found| found.column)
}

/// Returns an expression as of another type, which is stored alike.
unsafe fn relabel(node: *mut pg_sys::Node, kind: pg_sys::Oid) -> *mut pg_sys::Node {
    // SAFETY: a new node in the planner's memory.
    unsafe {
        let form = pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
        let collation = pg_sys::exprCollation(node);
        pg_sys::makeRelabelType(node.cast(), kind, -1, collation, form).cast()
    }
}

/// Returns an array of texts as one of a type that is stored alike.
unsafe fn array_of(texts: *mut pg_sys::Expr, kind: pg_sys::Oid) -> *mut pg_sys::Expr {
    // SAFETY: new nodes in the planner's memory, with all fields set or zero.
    unsafe {
        let element =
            pg_sys::palloc0(size_of::<pg_sys::CaseTestExpr>()).cast::<pg_sys::CaseTestExpr>();
        (*element).xpr.type_ = pg_sys::NodeTag::T_CaseTestExpr;
        (*element).typeId = pg_sys::TEXTOID;
        (*element).typeMod = -1;
        (*element).collation = pg_sys::DEFAULT_COLLATION_OID;
        let array =
            pg_sys::palloc0(size_of::<pg_sys::ArrayCoerceExpr>()).cast::<pg_sys::ArrayCoerceExpr>();
        (*array).xpr.type_ = pg_sys::NodeTag::T_ArrayCoerceExpr;
        (*array).arg = texts;
        (*array).elemexpr = relabel(element.cast(), kind).cast();
        (*array).resulttype = pg_sys::get_array_type(kind);
        (*array).resulttypmod = -1;
        (*array).resultcollid = pg_sys::DEFAULT_COLLATION_OID;
        (*array).coerceformat = pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
        (*array).location = -1;
        array.cast()
    }
}
