//! The tenant of a context as a parameter of an execution.
//!
//! A plan for one tenant compares a column with `tenancy.tenant_id('…')`, or with `tenancy.user_id()`. At the start of each
//! execution, the server checks the right to call such a function, and looks it up: twice for an index scan, which has the
//! condition once for the index and once for a recheck. That costs more than the call. So in a finished plan, the calls in conditions of scans become
//! parameters, of the kind that the results of subqueries have. They get their values when an execution starts. It ends in the
//! same context (see `hooks::noted`).
//!
//! Not in plans for parallel workers, which do not get such parameters, and not for EXPLAIN, which shows the call. What
//! prunes partitions keeps its call: it is evaluated before parameters have values.
//!
//! The plan's list of parameters also says where the values come from, as it is the only list of plain numbers that the server
//! copies with a plan and does not interpret. Its last elements are, for `n` parameters: the types of the `n`, a number for
//! each (see `Source`), `n`, and `MARK`.

use std::cell::RefCell;

use pgrx::pg_sys;

use super::keys::{KeyType, KeyValue};
use super::nodes::{constant_text, elements, length};
use super::own;
use super::support::stands_for_predicate;
use crate::error::Error;
use crate::pg::cell::BackendCell;

/// Returns a value, None for NULL.
pub type Ask = fn(Wanted, permission: &[u8]) -> Result<Option<KeyValue>, Error>;

/// What a parameter stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The key of the only tenant in which a permission is held.
    Tenant(KeyType),
    /// The user; without a permission.
    User,
}

/// All, by number.
const WANTED: [Wanted; 6] = [
    Wanted::Tenant(KeyType::Uuid),
    Wanted::Tenant(KeyType::Int8),
    Wanted::Tenant(KeyType::Int4),
    Wanted::Tenant(KeyType::Text),
    Wanted::Tenant(KeyType::Numeric),
    Wanted::User,
];

impl Wanted {
    /// Returns what a call of a policy returns.
    unsafe fn of(call: &pg_sys::FuncExpr) -> Option<Self> {
        if !stands_for_predicate(call) {
            return None;
        }
        let (wanted, name) = if call.args.is_null() {
            (Self::User, c"user_id")
        } else {
            let key = KeyType::of(call.funcresulttype)?;
            (Self::Tenant(key), key.only_tenant_function())
        };
        // SAFETY: NULL or a list.
        let texts = unsafe { length(call.args) };
        (own::function(name, texts) == Some(call.funcid)).then_some(wanted)
    }

    fn oid(self) -> pg_sys::Oid {
        match self {
            Self::Tenant(key) => key.oid(),
            Self::User => pg_sys::UUIDOID,
        }
    }
}

static ASK: BackendCell<Option<Ask>> = BackendCell::new(None);

/// Not the number of a type.
const MARK: u32 = 0xFFFF_7E4A;

/// As many permissions as are numbered. Policies have few; a caller's own conditions could name any number.
const PERMISSIONS_MAX: usize = 64;

/// The longest permission that is numbered.
const PERMISSION_BYTES: usize = 64;

thread_local! {
    /// The permissions of this backend's plans, by number.
    static PERMISSIONS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Sets the function that returns the key.
pub fn init(ask: Ask) {
    ASK.set(Some(ask));
}

/// Where a value comes from: a place in `WANTED`, and the number of a permission.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Source(u32);

impl Source {
    const BITS: u32 = 3;

    fn new(wanted: Wanted, permission: &[u8]) -> Option<Self> {
        if permission.len() > PERMISSION_BYTES {
            return None;
        }
        let place = WANTED.iter().position(|known| *known == wanted)?;
        let number = PERMISSIONS.with_borrow_mut(|known| {
            let found = known.iter().position(|known| **known == *permission);
            found.or_else(|| {
                (known.len() < PERMISSIONS_MAX).then(|| {
                    known.push(permission.into());
                    known.len() - 1
                })
            })
        })?;
        Some(Self((number << Self::BITS | place) as u32))
    }

    fn wanted(self) -> Option<Wanted> {
        WANTED
            .get(self.0 as usize & ((1 << Self::BITS) - 1))
            .copied()
    }

    fn ask(self, ask: Ask) -> Result<Option<KeyValue>, Error> {
        let number = (self.0 >> Self::BITS) as usize;
        let permission = PERMISSIONS.with_borrow(|known| known.get(number).cloned());
        match (self.wanted(), permission) {
            (Some(wanted), Some(permission)) => ask(wanted, &permission),
            _ => Err(Error::Internal("a parameter without a source")),
        }
    }
}

/// Makes parameters of the calls in a plan's conditions.
///
/// # Safety
/// `plan` is finished, and the caller's to change.
pub unsafe fn replace(plan: *mut pg_sys::PlannedStmt) {
    // SAFETY: as above; a plan's parts are plans, and its list of parameters one of numbers.
    unsafe {
        if (*plan).parallelModeNeeded {
            return;
        }
        let mut parameters = Parameters {
            first: length((*plan).paramExecTypes),
            sources: Vec::new(),
        };
        parameters.replace_in((*plan).planTree);
        for part in elements::<pg_sys::Plan>((*plan).subplans) {
            parameters.replace_in(part);
        }
        if parameters.sources.is_empty() {
            return;
        }
        let sources = || parameters.sources.iter();
        let types = sources().filter_map(|source| Some(source.wanted()?.oid().to_u32()));
        let numbers = sources().map(|source| source.0);
        let count = parameters.sources.len() as u32;
        for number in types.chain(numbers).chain([count, MARK]) {
            (*plan).paramExecTypes =
                pg_sys::lappend_oid((*plan).paramExecTypes, pg_sys::Oid::from(number));
        }
    }
}

/// A plan's parameters, numbered from `first`.
struct Parameters {
    first: usize,
    sources: Vec<Source>,
}

impl Parameters {
    /// Replaces the calls in a plan, and in the plans below it.
    unsafe fn replace_in(&mut self, plan: *mut pg_sys::Plan) {
        use pg_sys::NodeTag::*;
        if plan.is_null() {
            return;
        }
        // SAFETY: the tag identifies the node; conditions are lists of expressions, plans of plans.
        unsafe {
            self.replace_among((*plan).qual);
            for others in conditions(plan) {
                self.replace_among(others);
            }
            if (*plan).type_ == T_ModifyTable {
                let lists = (*plan.cast::<pg_sys::ModifyTable>()).withCheckOptionLists;
                for checks in elements::<pg_sys::List>(lists) {
                    for check in elements::<pg_sys::WithCheckOption>(checks) {
                        self.replace_among((*check).qual.cast());
                    }
                }
            }
            if (*plan).type_ == T_SubqueryScan {
                self.replace_in((*plan.cast::<pg_sys::SubqueryScan>()).subplan);
            }
            let parts = match (*plan).type_ {
                T_Append => (*plan.cast::<pg_sys::Append>()).appendplans,
                T_MergeAppend => (*plan.cast::<pg_sys::MergeAppend>()).mergeplans,
                T_BitmapAnd => (*plan.cast::<pg_sys::BitmapAnd>()).bitmapplans,
                T_BitmapOr => (*plan.cast::<pg_sys::BitmapOr>()).bitmapplans,
                _ => std::ptr::null_mut(),
            };
            for part in elements::<pg_sys::Plan>(parts) {
                self.replace_in(part);
            }
            self.replace_in((*plan).lefttree);
            self.replace_in((*plan).righttree);
        }
    }

    /// Replaces the calls on a side of an operator.
    unsafe fn replace_among(&mut self, conditions: *mut pg_sys::List) {
        // SAFETY: the tag identifies the node.
        unsafe {
            for condition in elements::<pg_sys::Node>(conditions) {
                if (*condition).type_ != pg_sys::NodeTag::T_OpExpr {
                    continue;
                }
                let sides = (*condition.cast::<pg_sys::OpExpr>()).args;
                for n in 0..length(sides) {
                    let side = (*sides).elements.add(n);
                    let node = (*side).ptr_value.cast::<pg_sys::Node>();
                    // A key that is taken as another type.
                    let relabeled = ((*node).type_ == pg_sys::NodeTag::T_RelabelType)
                        .then(|| node.cast::<pg_sys::RelabelType>());
                    let call = relabeled.map_or(node, |relabel| (*relabel).arg.cast());
                    match (self.parameter(call), relabeled) {
                        (Some(parameter), Some(relabel)) => (*relabel).arg = parameter.cast(),
                        (Some(parameter), None) => (*side).ptr_value = parameter.cast(),
                        (None, _) => {}
                    }
                }
            }
        }
    }

    /// Returns the parameter for a call.
    unsafe fn parameter(&mut self, node: *mut pg_sys::Node) -> Option<*mut pg_sys::Param> {
        // SAFETY: the tag identifies the node; the parameter is a new node with all fields set.
        unsafe {
            if (*node).type_ != pg_sys::NodeTag::T_FuncExpr {
                return None;
            }
            let call = &*node.cast::<pg_sys::FuncExpr>();
            let wanted = Wanted::of(call)?;
            let permission = match elements(call.args).next() {
                Some(permission) => constant_text(permission)?,
                None => &[],
            };
            let source = Source::new(wanted, permission)?;
            let known = self.sources.iter().position(|known| *known == source);
            let at = known.unwrap_or_else(|| {
                self.sources.push(source);
                self.sources.len() - 1
            });
            let parameter = pg_sys::palloc0(size_of::<pg_sys::Param>()).cast::<pg_sys::Param>();
            (*parameter).xpr.type_ = pg_sys::NodeTag::T_Param;
            (*parameter).paramkind = pg_sys::ParamKind::PARAM_EXEC;
            (*parameter).paramid = (self.first + at) as i32;
            (*parameter).paramtype = call.funcresulttype;
            (*parameter).paramtypmod = -1;
            (*parameter).paramcollid = call.funccollid;
            (*parameter).location = -1;
            Some(parameter)
        }
    }
}

/// Returns the conditions of a plan besides its filter: of its index, of a recheck, and that are evaluated once.
unsafe fn conditions(plan: *mut pg_sys::Plan) -> [*mut pg_sys::List; 2] {
    use pg_sys::NodeTag::*;
    let none = std::ptr::null_mut();
    // SAFETY: the tag identifies the node.
    unsafe {
        match (*plan).type_ {
            T_IndexScan => {
                let scan = &*plan.cast::<pg_sys::IndexScan>();
                [scan.indexqual, scan.indexqualorig]
            }
            T_IndexOnlyScan => {
                let scan = &*plan.cast::<pg_sys::IndexOnlyScan>();
                [scan.indexqual, scan.recheckqual]
            }
            T_BitmapIndexScan => {
                let scan = &*plan.cast::<pg_sys::BitmapIndexScan>();
                [scan.indexqual, scan.indexqualorig]
            }
            T_BitmapHeapScan => [
                (*plan.cast::<pg_sys::BitmapHeapScan>()).bitmapqualorig,
                none,
            ],
            T_Result => [
                (*plan.cast::<pg_sys::Result>()).resconstantqual.cast(),
                none,
            ],
            _ => [none; 2],
        }
    }
}

/// Gives the parameters of an execution their values: NULL if it is only explained.
///
/// # Safety
/// `query` has started.
pub unsafe fn fill(query: *mut pg_sys::QueryDesc, explained: bool) -> Result<(), Error> {
    // SAFETY: an execution has a slot for each element of the list.
    unsafe {
        let Some(list) = Filled::of(query) else {
            return Ok(());
        };
        for n in 0..list.count {
            (*list.slots.add(list.first + n)).isnull = true;
        }
        if explained {
            return Ok(());
        }
        for n in 0..list.count {
            if let Some(value) = list.ask(n)? {
                let previous = pg_sys::MemoryContextSwitchTo((*(*query).estate).es_query_cxt);
                let datum = value.datum();
                pg_sys::MemoryContextSwitchTo(previous);
                let slot = &mut *list.slots.add(list.first + n);
                (slot.value, slot.isnull) = (datum, false);
            }
        }
        Ok(())
    }
}

/// Returns whether the parameters of an execution would get the same values now.
///
/// # Safety
/// `query` has started.
pub unsafe fn are_same(query: *mut pg_sys::QueryDesc) -> Result<bool, Error> {
    // SAFETY: as above; a slot that is not NULL has a value of its parameter's type.
    unsafe {
        let Some(list) = Filled::of(query) else {
            return Ok(true);
        };
        for n in 0..list.count {
            let slot = &*list.slots.add(list.first + n);
            let same = match list.ask(n)? {
                Some(value) => !slot.isnull && value.is(slot.value),
                None => slot.isnull,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The parameters of an execution.
struct Filled {
    list: *mut pg_sys::List,
    slots: *mut pg_sys::ParamExecData,
    first: usize,
    count: usize,
}

impl Filled {
    unsafe fn of(query: *mut pg_sys::QueryDesc) -> Option<Self> {
        // SAFETY: the list is one of numbers; if marked, it ends as `replace` wrote it.
        unsafe {
            let list = (*(*query).plannedstmt).paramExecTypes;
            let length = length(list);
            let mut filled = Self {
                list,
                slots: (*(*query).estate).es_param_exec_vals,
                first: 0,
                count: 0,
            };
            if length == 0 || filled.number(length - 1) != MARK || filled.slots.is_null() {
                return None;
            }
            filled.count = filled.number(length - 2) as usize;
            filled.first = length - 2 - 2 * filled.count;
            Some(filled)
        }
    }

    unsafe fn number(&self, at: usize) -> u32 {
        // SAFETY: the caller's: the list has this element.
        unsafe { (*(*self.list).elements.add(at)).oid_value.to_u32() }
    }

    /// Returns the value of parameter `n`.
    unsafe fn ask(&self, n: usize) -> Result<Option<KeyValue>, Error> {
        let ask = ASK
            .get()
            .ok_or(Error::Internal("parameters without a source"))?;
        // SAFETY: the list has a source for each parameter.
        let source = unsafe { Source(self.number(self.first + self.count + n)) };
        source.ask(ask)
    }
}
