//! Requests of the planner to support functions, as safe values. `policy::planner` decides the answers.

use pgrx::pg_sys;

use super::keys::{Argument, KeyType};
use super::nodes::{constant_text, copy, list, text};
use super::own;
use crate::pg::{numeric_text, types};

/// A request of the planner about a call `predicate(permission, tenant)`.
pub enum Request {
    /// Asks for a simpler expression.
    Simplify(Simplify),
    /// Asks for the condition on an array of tenants that an index may be searched by; asked by `fleets`.
    Array(Array),
    /// Asks for the fraction of rows that pass.
    Selectivity(Selectivity),
}

/// See [`Request::Simplify`].
pub struct Simplify(*mut pg_sys::SupportRequestSimplify);

/// See [`Request::Array`].
pub struct Array(*mut pg_sys::SupportRequestIndexCondition);

/// See [`Request::Selectivity`].
pub struct Selectivity(*mut pg_sys::SupportRequestSelectivity);

/// An answer to a request.
pub struct Opinion(pg_sys::Datum);

/// Decodes the request, calls `body` and encodes its answer; no answer is a zero that is not NULL.
///
/// # Safety
/// `fcinfo` holds a support request as the planner passes it.
pub unsafe fn answer(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Request) -> Option<Opinion>,
) -> pg_sys::Datum {
    use pg_sys::NodeTag::*;
    // SAFETY: argument 0 of a support function is the address of a request.
    let node: *mut pg_sys::Node = unsafe { (*(*fcinfo).args.as_ptr()).value.cast_mut_ptr() };
    // SAFETY: the tag identifies the request.
    let request = match unsafe { (*node).type_ } {
        T_SupportRequestSimplify => Request::Simplify(Simplify(node.cast())),
        T_SupportRequestIndexCondition => {
            // SAFETY: as above. With an index, it is the planner's own.
            let index = unsafe { (*node.cast::<pg_sys::SupportRequestIndexCondition>()).index };
            if !index.is_null() {
                return pg_sys::Datum::from(0);
            }
            Request::Array(Array(node.cast()))
        }
        T_SupportRequestSelectivity => Request::Selectivity(Selectivity(node.cast())),
        _ => return pg_sys::Datum::from(0),
    };
    body(&request).map_or(pg_sys::Datum::from(0), |opinion| opinion.0)
}

impl Request {
    /// Returns the permission, if it is a constant.
    pub fn permission(&self) -> Option<&[u8]> {
        // SAFETY: each request holds the call, or its arguments; the constant, a text, lives in the
        // planner's memory for as long as the request.
        unsafe {
            let args = match self {
                Self::Simplify(request) => (*(*request.0).fcall).args,
                Self::Array(request) => (*request.call()).args,
                Self::Selectivity(request) => (*request.0).args,
            };
            constant_text(first(args))
        }
    }
}

impl Simplify {
    /// Returns `tenant = tenancy.<function>(permission)`, by the function for the tenant's type.
    pub fn equals_only_tenant(&self) -> Option<Opinion> {
        let equality = self.equality()?;
        Some(Opinion(pg_sys::Datum::from(equality)))
    }

    /// Returns the same `OR tenant IS NULL AND tenancy.tenant_id(permission) IS NOT NULL`.
    pub fn equals_only_tenant_or_null(&self) -> Option<Opinion> {
        let equality = self.equality()?;
        // SAFETY: the request holds a call with the two arguments of its declaration; the nodes are new ones in the
        // planner's memory, with all fields set or zero, arguments copied.
        unsafe {
            let args = (*(*self.0).fcall).args;
            let only = self::call(
                KeyType::Uuid.only_tenant_function(),
                &[first(args)],
                pg_sys::UUIDOID,
            )?;
            (*only).location = PREDICATE;
            let everybodys = pg_sys::make_andclause(list([
                null_test(copy(second(args)), pg_sys::NullTestType::IS_NULL),
                null_test(only.cast(), pg_sys::NullTestType::IS_NOT_NULL),
            ]));
            let either = pg_sys::make_orclause(list([equality, everybodys]));
            Some(Opinion(pg_sys::Datum::from(either)))
        }
    }

    fn equality(&self) -> Option<*mut pg_sys::Expr> {
        // SAFETY: the request holds a call with the two arguments of its declaration; the nodes are new ones in the
        // planner's memory, arguments copied.
        unsafe {
            let call = &*(*self.0).fcall;
            let (permission, tenant) = (first(call.args), second(call.args));
            let tenant = Argument::of(tenant).filter(|tenant| !tenant.lossy)?;
            let key = tenant.key;
            let value = self::call(key.only_tenant_function(), &[permission], key.oid())?;
            (*value).location = PREDICATE;
            Some(tenant.equals(value.cast()))
        }
    }
}

impl Simplify {
    /// Returns `user = tenancy.user_id()`, or by the function for the user's key, for a call with one argument.
    pub fn equals_own(&self) -> Option<Opinion> {
        // SAFETY: the request holds a call with the one argument of its declaration; the nodes are
        // new ones in the planner's memory, the argument copied.
        unsafe {
            let user = first((*(*self.0).fcall).args);
            let user = Argument::of(user).filter(|user| !user.lossy)?;
            let value = call(user.key.user_function()?, &[], user.key.oid())?;
            (*value).location = PREDICATE;
            Some(Opinion(pg_sys::Datum::from(user.equals(value.cast()))))
        }
    }
}

/// The position in the statement of a call that stands for a predicate's. The server gives none to what it makes, -1, and copies
/// this one unread.
const PREDICATE: i32 = -2;

/// Returns whether a call stands for a predicate's. It is evaluated for every row that its condition decides on.
pub(super) fn stands_for_predicate(call: &pg_sys::FuncExpr) -> bool {
    call.location == PREDICATE
}

/// Asks a predicate's support function for the condition that an index may be searched by instead of a call.
///
/// # Safety
/// `call` is a call in a query of `root`, of a function with this support function of tenancy's.
pub(super) unsafe fn array_condition(
    root: *mut pg_sys::PlannerInfo,
    call: *mut pg_sys::FuncExpr,
    support: pg_sys::Oid,
) -> Option<*mut pg_sys::Expr> {
    let mut request = pg_sys::SupportRequestIndexCondition {
        type_: pg_sys::NodeTag::T_SupportRequestIndexCondition,
        root,
        node: call.cast(),
        ..Default::default()
    };
    let collation = pg_sys::Oid::INVALID;
    let request = pg_sys::Datum::from(&raw mut request);
    // SAFETY: the request lives as long as the call; the answer is zero or the address of an expression.
    let clause = unsafe { pg_sys::OidFunctionCall1Coll(support, collation, request) };
    let clause = clause.cast_mut_ptr::<pg_sys::Expr>();
    (!clause.is_null()).then_some(clause)
}

/// Returns whether that condition is also true for rows that the call refuses.
///
/// # Safety
/// A call with such a condition.
pub(super) unsafe fn is_lossy(call: *mut pg_sys::FuncExpr) -> bool {
    // SAFETY: the second argument is the tenant.
    unsafe { Argument::of(second((*call).args)).is_some_and(|tenant| tenant.lossy) }
}

impl Array {
    unsafe fn call(&self) -> *mut pg_sys::FuncExpr {
        // SAFETY: the request holds a call.
        unsafe { (*self.0).node.cast() }
    }

    unsafe fn tenant(&self) -> Option<Argument> {
        // SAFETY: the request holds a call with the arguments of its declaration, of which the second is the tenant.
        unsafe { Argument::of(second((*self.call()).args)) }
    }

    /// Returns the type of keys that the tenant argument is compared with.
    pub fn key_type(&self) -> Option<KeyType> {
        // SAFETY: as above.
        unsafe { self.tenant() }.map(|tenant| tenant.key)
    }

    /// Returns `tenant = ANY (tenancy.<function>(permission))`.
    pub fn equals_any(&self, function: &'static std::ffi::CStr) -> Option<Opinion> {
        // SAFETY: as above; new nodes are in the planner's memory.
        unsafe {
            let tenant = self.tenant()?;
            let permission = first((*self.call()).args);
            let array = self::call(function, &[permission], tenant.key.array_oid())?;
            let clause = tenant.equals_any(array.cast());
            Some(Opinion(pg_sys::Datum::from(clause)))
        }
    }
}

impl Selectivity {
    /// Returns the estimate for the wanted tenants.
    pub fn of_tenants(&self, wanted: &Wanted<'_>) -> Option<Opinion> {
        // SAFETY: the request holds the arguments of a call with two arguments.
        unsafe {
            let request = &mut *self.0;
            if request.is_join {
                return None;
            }
            let tenant = Argument::of(second(request.args))?.column;
            request.selectivity = fraction(request.root, tenant, request.varRelid, wanted);
            Some(Opinion(pg_sys::Datum::from(self.0)))
        }
    }

    /// Returns the estimate that every row passes.
    pub fn all(&self) -> Option<Opinion> {
        // SAFETY: as above.
        unsafe { (*self.0).selectivity = 1.0 };
        Some(Opinion(pg_sys::Datum::from(self.0)))
    }
}

/// The wanted values of a tenant column.
pub struct Wanted<'a> {
    /// How many.
    pub count: usize,
    /// Whether a value is one of them.
    pub has: &'a dyn Fn(Key<'_>) -> bool,
}

/// A value of a tenant column.
pub enum Key<'a> {
    /// A scope's id.
    Uuid(&'a [u8; 16]),
    /// An external id.
    Int(i64),
    /// An external id.
    Text(&'a [u8]),
}

/// Estimates the fraction of rows with a wanted value: most common values by their frequency, all others with equal
/// frequency. Frequencies of other values are not used, so estimates reveal nothing of other tenants.
unsafe fn fraction(
    root: *mut pg_sys::PlannerInfo,
    expression: *mut pg_sys::Node,
    relation: i32,
    wanted: &Wanted<'_>,
) -> f64 {
    // SAFETY: the planner's own sequence: examine, ask, release.
    unsafe {
        let mut data = pg_sys::VariableStatData::default();
        pg_sys::examine_variable(root, expression, relation, &mut data);
        let mut defaulted = false;
        let distinct = pg_sys::get_variable_numdistinct(&mut data, &mut defaulted);
        let mut common = Common::default();
        if !data.statsTuple.is_null() {
            common = common_values(data.statsTuple, wanted);
            if let Some(free) = data.freefunc {
                let tuple = data.statsTuple;
                #[allow(ffi_unwind_calls)] // inside the boundary
                pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| free(tuple));
            }
        }
        let rare = wanted.count.saturating_sub(common.wanted) as f64;
        let rare_distinct = (distinct - common.values as f64).max(1.0);
        let each = (1.0 - common.frequency).max(0.0) / rare_distinct;
        (common.wanted_frequency + rare.min(rare_distinct) * each).clamp(0.0, 1.0)
    }
}

#[derive(Default)]
struct Common {
    values: usize,
    frequency: f64,
    wanted: usize,
    wanted_frequency: f64,
}

unsafe fn common_values(tuple: pg_sys::HeapTuple, wanted: &Wanted<'_>) -> Common {
    let mut common = Common::default();
    // SAFETY: the slot is filled by the server and freed here; its arrays have the lengths it says.
    unsafe {
        let mut slot = pg_sys::AttStatsSlot::default();
        let found = pg_sys::get_attstatsslot(
            &mut slot,
            tuple,
            pg_sys::STATISTIC_KIND_MCV as i32,
            pg_sys::Oid::INVALID,
            (pg_sys::ATTSTATSSLOT_VALUES | pg_sys::ATTSTATSSLOT_NUMBERS) as i32,
        );
        if !found {
            return common;
        }
        for n in 0..slot.nvalues.min(slot.nnumbers) as usize {
            let frequency = f64::from(*slot.numbers.add(n));
            common.values += 1;
            common.frequency += frequency;
            if key_of(slot.valuetype, *slot.values.add(n)).is_some_and(|key| (wanted.has)(key)) {
                common.wanted += 1;
                common.wanted_frequency += frequency;
            }
        }
        pg_sys::free_attstatsslot(&mut slot);
    }
    common
}

unsafe fn key_of<'a>(kind: pg_sys::Oid, value: pg_sys::Datum) -> Option<Key<'a>> {
    // SAFETY: the value is of the type that the statistics say, and lives as long as they.
    unsafe {
        Some(match types::base(kind) {
            pg_sys::UUIDOID => Key::Uuid(&*value.cast_mut_ptr::<[u8; 16]>()),
            pg_sys::INT8OID => Key::Int(value.value() as i64),
            pg_sys::INT4OID => Key::Int((value.value() as i32).into()),
            pg_sys::INT2OID => Key::Int((value.value() as i16).into()),
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Key::Text(text(value)),
            pg_sys::BPCHAROID => Key::Text(without_blanks(text(value))),
            pg_sys::NUMERICOID => Key::Text(numeric_text::of(value).as_bytes()),
            other if types::is_citext(other) => Key::Text(text(value)),
            _ => return None,
        })
    }
}

fn without_blanks(mut text: &[u8]) -> &[u8] {
    while let Some(shorter) = text.strip_suffix(b" ") {
        text = shorter;
    }
    text
}

/// Returns `expression IS NULL`, or the opposite.
unsafe fn null_test(
    expression: *mut pg_sys::Node,
    kind: pg_sys::NullTestType::Type,
) -> *mut pg_sys::Expr {
    // SAFETY: a new node in the planner's memory, with all fields set or zero.
    unsafe {
        let test = pg_sys::palloc0(size_of::<pg_sys::NullTest>()).cast::<pg_sys::NullTest>();
        (*test).xpr.type_ = pg_sys::NodeTag::T_NullTest;
        (*test).arg = expression.cast();
        (*test).nulltesttype = kind;
        (*test).location = -1;
        test.cast()
    }
}

/// `tenancy.<function>(text, …)` with the arguments copied, if there is such a function.
unsafe fn call(
    function: &'static std::ffi::CStr,
    arguments: &[*mut pg_sys::Node],
    result: pg_sys::Oid,
) -> Option<*mut pg_sys::FuncExpr> {
    // SAFETY: names and nodes are in the planner's memory and live as long as the plan.
    unsafe {
        let oid = own::function(function, arguments.len())?;
        let mut list = std::ptr::null_mut();
        for argument in arguments {
            list = pg_sys::lappend(list, pg_sys::copyObjectImpl(argument.cast()));
        }
        let collation = if result == pg_sys::TEXTOID || result == pg_sys::TEXTARRAYOID {
            pg_sys::DEFAULT_COLLATION_OID
        } else {
            pg_sys::Oid::INVALID
        };
        Some(pg_sys::makeFuncExpr(
            oid,
            result,
            list,
            collation,
            pg_sys::DEFAULT_COLLATION_OID,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        ))
    }
}

unsafe fn first(list: *mut pg_sys::List) -> *mut pg_sys::Node {
    // SAFETY: the list has an element 0: the call's permission.
    unsafe { (*(*list).elements).ptr_value.cast() }
}

unsafe fn second(list: *mut pg_sys::List) -> *mut pg_sys::Node {
    // SAFETY: the list has an element 1: the call's tenant.
    unsafe { (*(*list).elements.add(1)).ptr_value.cast() }
}
