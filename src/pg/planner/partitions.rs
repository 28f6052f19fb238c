//! Tables partitioned by tenant: a plan for one tenant leaves out the partitions of others.
//!
//! While planning, the server leaves out partitions by constants only. So the tenant's key is added as a constant, beside the
//! policy. The planner compares the two once, before the plan reads anything: for another tenant the plan returns no rows.
//! It never runs for another tenant: it is marked, and cached plans with a mark are discarded when another tenant's context
//! begins. Where a plan is not the server's to discard, as in an open portal, it is refused when it starts.

use std::ffi::c_int;

use pgrx::pg_sys;

use super::keys::{Argument, KeyType};
use super::nodes::{constant_text, elements, list};
use super::own;
use crate::pg::cell::BackendCell;
use crate::pg::partition;

/// The only tenant of a context.
pub struct OnlyTenant {
    /// The number in the mark of its plans.
    pub number: u32,
    /// Its id.
    pub id: [u8; 16],
    /// Its external id as an integer.
    pub int: Option<i64>,
    /// Its external id.
    pub text: Option<String>,
}

/// Returns the only tenant in which a permission is held.
pub type Ask = fn(permission: &[u8]) -> Option<OnlyTenant>;

static ASK: BackendCell<Option<Ask>> = BackendCell::new(None);

/// The catalog cache of marks, one of the two of which the server compares the numbers of changes with its cached plans'. The other
/// is that of functions, of which a change also empties `answers`.
const CACHE: c_int = pg_sys::SysCacheIdentifier::TYPEOID as c_int;

/// The number of all marks; no type's hash by more than chance, which costs a plan.
const MARK: u32 = 0x7E4A_4C59;

/// Sets the function that returns the only tenant.
pub fn init(ask: Ask) {
    ASK.set(Some(ask));
}

/// Discards cached plans with a mark.
pub fn discard() {
    // SAFETY: the server's callbacks mark plans as invalid.
    unsafe { pg_sys::CallSyscacheCallbacks(CACHE, MARK) };
}

/// Adds the only tenant's key to the policies of each table that is partitioned by tenant. Returns that tenant's number, if there
/// is such a table.
///
/// # Safety
/// Tables with policies of a query that is not planned yet, the planner's to change, with locks on them.
pub unsafe fn add_key(tables: impl Iterator<Item = *mut pg_sys::RangeTblEntry>) -> Option<u32> {
    let mut tenant = None;
    for table in tables {
        // SAFETY: as above.
        unsafe {
            let partitioned = pg_sys::RELKIND_PARTITIONED_TABLE as std::ffi::c_char;
            if (*table).relkind == partitioned && (*table).inh {
                tenant = add_to(table).or(tenant);
            }
        }
    }
    tenant
}

unsafe fn add_to(table: *mut pg_sys::RangeTblEntry) -> Option<u32> {
    let ask = ASK.get()?;
    // SAFETY: a table with policies, each an expression.
    unsafe {
        let (call, place) = elements::<pg_sys::Node>((*table).securityQuals)
            .zip(0..)
            .find_map(|(policy, place)| Some((tenant_of(policy)?, place)))?;
        let (permission, column) = call;
        let argument = Argument::of(column).filter(|argument| !argument.lossy)?;
        if !partition::has_key_column((*table).relid, (*plain(argument.column)?).varattno) {
            return None;
        }
        let tenant = ask(permission)?;
        let key = argument.equals(value(argument.key, &tenant)?);
        let all = list(
            elements::<pg_sys::Node>((*table).securityQuals)
                .zip(0..)
                .map(|(policy, at)| {
                    if at == place {
                        pg_sys::make_andclause(list([key.cast(), policy])).cast()
                    } else {
                        policy
                    }
                }),
        );
        (*table).securityQuals = all;
        Some(tenant.number)
    }
}

/// Returns permission and tenant of the call of `tenancy.can` in a policy.
unsafe fn tenant_of<'a>(policy: *mut pg_sys::Node) -> Option<(&'a [u8], *mut pg_sys::Node)> {
    // SAFETY: the tag identifies the node; a function has the arguments of its declaration.
    unsafe {
        match (*policy).type_ {
            pg_sys::NodeTag::T_BoolExpr => {
                let all = &*policy.cast::<pg_sys::BoolExpr>();
                if all.boolop != pg_sys::BoolExprType::AND_EXPR {
                    return None;
                }
                elements::<pg_sys::Node>(all.args).find_map(|part| tenant_of(part))
            }
            pg_sys::NodeTag::T_FuncExpr => {
                let call = &*policy.cast::<pg_sys::FuncExpr>();
                let mut args = elements::<pg_sys::Node>(call.args);
                let (permission, tenant) = (args.next()?, args.next()?);
                let named = own::is(c"tenancy", c"can", call.funcid);
                Some((constant_text(permission).filter(|_| named)?, tenant))
            }
            _ => None,
        }
    }
}

/// Returns the column that an expression is.
unsafe fn plain(mut node: *mut pg_sys::Node) -> Option<*mut pg_sys::Var> {
    // SAFETY: the tag identifies the node.
    unsafe {
        while (*node).type_ == pg_sys::NodeTag::T_RelabelType {
            node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
        }
        ((*node).type_ == pg_sys::NodeTag::T_Var).then(|| node.cast())
    }
}

/// Returns the tenant's key as a constant.
unsafe fn value(kind: KeyType, tenant: &OnlyTenant) -> Option<*mut pg_sys::Expr> {
    const VARLENA: c_int = -1;
    // SAFETY: values of their types, in the planner's memory.
    unsafe {
        let key = kind.value(tenant.id, tenant.int, || tenant.text.clone())?;
        let (size, by_value) = match kind {
            KeyType::Uuid => (16, false),
            KeyType::Int8 => (8, true),
            KeyType::Int4 => (4, true),
            KeyType::Text | KeyType::Numeric => (VARLENA, false),
        };
        let collation = match kind {
            KeyType::Text => pg_sys::DEFAULT_COLLATION_OID,
            _ => pg_sys::Oid::INVALID,
        };
        let none = -1;
        let value = pg_sys::makeConst(
            kind.oid(),
            none,
            collation,
            size,
            key.datum(),
            false,
            by_value,
        );
        Some(value.cast())
    }
}

/// Marks a plan as one tenant's.
///
/// # Safety
/// `plan` is the caller's to change, in the current memory.
pub unsafe fn mark(plan: *mut pg_sys::PlannedStmt, tenant: u32) {
    for number in [MARK, tenant] {
        // SAFETY: new nodes with all fields set.
        unsafe {
            let item = pg_sys::palloc0(size_of::<pg_sys::PlanInvalItem>());
            let item = item.cast::<pg_sys::PlanInvalItem>();
            (*item).type_ = pg_sys::NodeTag::T_PlanInvalItem;
            (*item).cacheId = CACHE;
            (*item).hashValue = number;
            (*plan).invalItems = pg_sys::lappend((*plan).invalItems, item.cast());
        }
    }
}

/// Returns the number of the tenant that a plan is for, if it is one tenant's.
///
/// # Safety
/// `plan` is a plan.
pub unsafe fn marked(plan: *const pg_sys::PlannedStmt) -> Option<u32> {
    // SAFETY: a list of items; a mark is the last two.
    unsafe {
        let items = (*plan).invalItems;
        if items.is_null() || (*items).length < 2 {
            return None;
        }
        let item = |from_end: i32| {
            let at = (*(*items).elements.add(((*items).length - from_end) as usize)).ptr_value;
            &*at.cast::<pg_sys::PlanInvalItem>()
        };
        (item(2).cacheId == CACHE && item(2).hashValue == MARK).then(|| item(1).hashValue)
    }
}
