//! Determines what the planner's expressions reveal, node by node, by the rules of `tenancy_core::conditions`.

use std::sync::atomic::{AtomicU8, Ordering};

use pgrx::pg_sys;
use tenancy_core::conditions::{
    FIRST_OTHER, Function, NearNow, Shows, has_no_collation, interval_is_small, is_unit,
};

use super::nodes::{constant_of, constant_text, elements};
use crate::pg::raise;

/// Reads expressions of one query.
#[derive(Clone, Copy)]
pub struct Reader(*mut pg_sys::PlannerInfo);

/// What an expression reveals, and whether it contains a column.
#[derive(Clone, Copy)]
pub struct Reading {
    /// What it reveals.
    pub shows: Shows,
    /// Whether it contains a column of any table.
    pub column: bool,
}

const NOTHING: Reading = Reading {
    shows: Shows::NOTHING,
    column: false,
};
const COLUMN: Reading = Reading {
    shows: Shows::NOTHING,
    column: true,
};
const ANYTHING: Reading = Reading {
    shows: Shows::ANYTHING,
    column: true,
};

impl Reading {
    fn or(self, other: Self) -> Self {
        Self {
            shows: self.shows.or(other.shows),
            column: self.column || other.column,
        }
    }
}

impl Reader {
    /// Creates a reader for the expressions of a query.
    ///
    /// # Safety
    /// `root` is the query's state, valid for as long as the reader.
    pub unsafe fn new(root: *mut pg_sys::PlannerInfo) -> Self {
        Self(root)
    }

    /// Returns what an expression reveals. Unknown kinds of expressions reveal everything.
    ///
    /// # Safety
    /// `node` is NULL, or an expression or a list of them as the planner has simplified it.
    pub unsafe fn read(&self, node: *mut pg_sys::Node) -> Reading {
        // SAFETY: as above.
        unsafe { self.read_into(node, &mut Vec::new()) }
    }

    /// The same, with the late values that it found.
    ///
    /// # Safety
    /// As `read`.
    pub unsafe fn read_into(
        &self,
        node: *mut pg_sys::Node,
        late: &mut Vec<*mut pg_sys::Param>,
    ) -> Reading {
        use pg_sys::NodeTag::*;
        if node.is_null() {
            return NOTHING;
        }
        // SAFETY: the tag identifies the node.
        unsafe {
            match (*node).type_ {
                T_Var => COLUMN,
                T_Const | T_CaseTestExpr | T_SQLValueFunction => NOTHING,
                T_Param => self.parameter(node.cast(), late),
                T_RestrictInfo => {
                    self.read_into((*node.cast::<pg_sys::RestrictInfo>()).clause.cast(), late)
                }
                T_List => self.all(node.cast(), late),
                T_RelabelType => {
                    self.read_into((*node.cast::<pg_sys::RelabelType>()).arg.cast(), late)
                }
                T_CollateExpr => {
                    self.read_into((*node.cast::<pg_sys::CollateExpr>()).arg.cast(), late)
                }
                T_BoolExpr => self.all((*node.cast::<pg_sys::BoolExpr>()).args, late),
                T_NullTest => self.read_into((*node.cast::<pg_sys::NullTest>()).arg.cast(), late),
                T_BooleanTest => {
                    self.read_into((*node.cast::<pg_sys::BooleanTest>()).arg.cast(), late)
                }
                T_ArrayExpr => self.all((*node.cast::<pg_sys::ArrayExpr>()).elements, late),
                T_CoalesceExpr => self.all((*node.cast::<pg_sys::CoalesceExpr>()).args, late),
                T_CaseExpr => {
                    let case = &*node.cast::<pg_sys::CaseExpr>();
                    self.read_into(case.arg.cast(), late)
                        .or(self.all(case.args, late))
                        .or(self.read_into(case.defresult.cast(), late))
                }
                T_CaseWhen => {
                    let when = &*node.cast::<pg_sys::CaseWhen>();
                    self.read_into(when.expr.cast(), late)
                        .or(self.read_into(when.result.cast(), late))
                }
                T_FuncExpr => {
                    let call = &*node.cast::<pg_sys::FuncExpr>();
                    if near_now(node) {
                        return NOTHING;
                    }
                    self.call(call.funcid, call.args, call.inputcollid, late)
                }
                // One struct under three tags.
                T_OpExpr | T_DistinctExpr | T_NullIfExpr => {
                    let operator = &*node.cast::<pg_sys::OpExpr>();
                    if near_now(node) {
                        return NOTHING;
                    }
                    self.call(
                        function_of(operator.opfuncid, operator.opno),
                        operator.args,
                        operator.inputcollid,
                        late,
                    )
                }
                T_ScalarArrayOpExpr => {
                    let operator = &*node.cast::<pg_sys::ScalarArrayOpExpr>();
                    self.call(
                        function_of(operator.opfuncid, operator.opno),
                        operator.args,
                        operator.inputcollid,
                        late,
                    )
                }
                _ => ANYTHING,
            }
        }
    }

    unsafe fn all(&self, list: *mut pg_sys::List, late: &mut Vec<*mut pg_sys::Param>) -> Reading {
        // SAFETY: a list of expressions.
        unsafe {
            elements::<pg_sys::Node>(list).fold(NOTHING, |reading, node| {
                reading.or(self.read_into(node, late))
            })
        }
    }

    unsafe fn call(
        &self,
        oid: pg_sys::Oid,
        args: *mut pg_sys::List,
        collation: pg_sys::Oid,
        late: &mut Vec<*mut pg_sys::Param>,
    ) -> Reading {
        // SAFETY: a call's arguments are a list of expressions.
        if !unsafe { compares_safely(args, collation) } {
            // SAFETY: as above; the late conditions in them are noted too.
            unsafe { self.all(args, late) };
            return ANYTHING;
        }
        // SAFETY: as above.
        let args = unsafe { self.all(args, late) };
        let shows = function(oid).map_or(Shows::ANYTHING, |function| function.shows(args.column));
        Reading {
            shows: args.shows.or(shows),
            column: args.column,
        }
    }

    /// A parameter from the client exists from the start. A field of a record variable may be missing, which shows only
    /// when it is needed. Results of uncorrelated subqueries are computed when they are first needed. Other internal
    /// parameters are values of another row.
    unsafe fn parameter(
        &self,
        param: *mut pg_sys::Param,
        into: &mut Vec<*mut pg_sys::Param>,
    ) -> Reading {
        use pg_sys::ParamKind::*;
        // SAFETY: the query's state and those of the queries around it are valid while it is planned.
        let lazy = unsafe {
            match (*param).paramkind {
                PARAM_EXTERN => !self.is_a_clients(),
                PARAM_EXEC => self.is_of_a_subquery((*param).paramid),
                _ => true,
            }
        };
        if lazy {
            into.push(param);
            Reading {
                shows: Shows::WHEN_FIRST_NEEDED,
                column: false,
            }
        } else {
            NOTHING
        }
    }

    /// Returns whether the statement comes from a client, and not from a function, where parameters are variables.
    fn is_a_clients(&self) -> bool {
        // SAFETY: reads the values that the statement is planned for.
        let fetched = unsafe {
            let params = (*(*self.0).glob).boundParams;
            !params.is_null() && (*params).paramFetch.is_some()
        };
        !fetched && !raise::is_inside_another()
    }

    unsafe fn is_of_a_subquery(&self, id: i32) -> bool {
        let mut root = self.0;
        // SAFETY: as above; each query's subqueries are listed with the parameters that they set.
        unsafe {
            while !root.is_null() {
                for plan in elements::<pg_sys::SubPlan>((*root).init_plans) {
                    let set = (*plan).setParam;
                    let count = if set.is_null() { 0 } else { (*set).length };
                    for n in 0..count as usize {
                        if (*(*set).elements.add(n)).int_value == id {
                            return true;
                        }
                    }
                }
                root = (*root).parent_root;
            }
        }
        false
    }
}

fn function_of(known: pg_sys::Oid, operator: pg_sys::Oid) -> pg_sys::Oid {
    if known == pg_sys::Oid::INVALID {
        // SAFETY: a look-up in the system cache.
        unsafe { pg_sys::get_opcode(operator) }
    } else {
        known
    }
}

/// Returns whether an expression is a time near now: the clock, with conversions, units and small constant intervals. It
/// cannot fail.
unsafe fn near_now(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the node; a function has the arguments of its declaration.
    unsafe {
        let (oid, args) = match (*node).type_ {
            T_SQLValueFunction => return true,
            T_FuncExpr => {
                let call = &*node.cast::<pg_sys::FuncExpr>();
                (call.funcid, call.args)
            }
            T_OpExpr => {
                let operator = &*node.cast::<pg_sys::OpExpr>();
                (function_of(operator.opfuncid, operator.opno), operator.args)
            }
            _ => return false,
        };
        let Some(kind) = NearNow::of(oid.to_u32()) else {
            return false;
        };
        let mut args = elements::<pg_sys::Node>(args);
        match (kind, args.next(), args.next()) {
            (NearNow::Clock, _, _) => true,
            (NearNow::Converts, Some(time), None) => near_now(time),
            (NearNow::Shifts, Some(time), Some(interval)) => near_now(time) && small(interval),
            (NearNow::Truncates, Some(unit), Some(time)) => near_now(time) && known_unit(unit),
            _ => false,
        }
    }
}

unsafe fn small(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the tag and the type tell what the value is.
    unsafe {
        constant_of(node, pg_sys::INTERVALOID).is_some_and(|value| {
            let interval = &*value.cast_mut_ptr::<pg_sys::Interval>();
            interval_is_small(interval.month, interval.day, interval.time)
        })
    }
}

unsafe fn known_unit(node: *mut pg_sys::Node) -> bool {
    // SAFETY: as above.
    unsafe { constant_text(node).is_some_and(is_unit) }
}

/// The languages of native code, by oid.
const INTERNAL: u32 = 12;
pub const C: u32 = 13;

/// Reads a function's properties from the catalog.
fn function(oid: pg_sys::Oid) -> Option<Function> {
    let Some(known) = BUILT_IN.get(oid.to_u32() as usize) else {
        return look_up(oid);
    };
    let bits = known.load(Ordering::Relaxed);
    if bits & KNOWN != 0 {
        return Some(Function {
            oid: oid.to_u32(),
            leakproof: bits & LEAKPROOF != 0,
            immutable: bits & IMMUTABLE != 0,
            native: bits & NATIVE != 0,
        });
    }
    let function = look_up(oid)?;
    let bit = |on: bool, bit: u8| if on { bit } else { 0 };
    known.store(
        KNOWN
            | bit(function.leakproof, LEAKPROOF)
            | bit(function.immutable, IMMUTABLE)
            | bit(function.native, NATIVE),
        Ordering::Relaxed,
    );
    Some(function)
}

/// The cached properties of the server's own functions, by oid: system cache look-ups for each call in each condition would be
/// most of the cost of the hardening.
static BUILT_IN: [AtomicU8; FIRST_OTHER as usize] =
    [const { AtomicU8::new(0) }; FIRST_OTHER as usize];
const KNOWN: u8 = 1;
const LEAKPROOF: u8 = 2;
const IMMUTABLE: u8 = 4;
const NATIVE: u8 = 8;

fn look_up(oid: pg_sys::Oid) -> Option<Function> {
    // SAFETY: a look-up in the system cache inside a transaction; the tuple is released before returning.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::PROCOID as i32,
            pg_sys::Datum::from(oid),
        );
        if tuple.is_null() {
            return None;
        }
        let header = (*tuple).t_data;
        let row = header.cast::<u8>().add((*header).t_hoff.into());
        let row = &*row.cast::<pg_sys::FormData_pg_proc>();
        let function = Function {
            oid: oid.to_u32(),
            leakproof: row.proleakproof,
            immutable: row.provolatile as u8 == pg_sys::PROVOLATILE_IMMUTABLE,
            native: row.prolang == pg_sys::Oid::from(INTERNAL)
                || row.prolang == pg_sys::Oid::from(C),
        };
        pg_sys::ReleaseSysCache(tuple);
        Some(function)
    }
}

/// Returns whether a call cannot fail because of its collation: comparing texts needs one, and some functions refuse
/// nondeterministic ones.
///
/// # Safety
/// `args` is a list of expressions.
pub unsafe fn compares_safely(args: *mut pg_sys::List, collation: pg_sys::Oid) -> bool {
    /// pg_collation: default, C and POSIX.
    const PLAIN: [u32; 3] = [100, 950, 951];
    if collation != pg_sys::Oid::INVALID {
        return PLAIN.contains(&collation.to_u32());
    }
    // SAFETY: a list of expressions; catalog look-ups inside a transaction.
    unsafe {
        elements::<pg_sys::Node>(args).all(|arg| {
            let of = pg_sys::exprType(arg);
            has_no_collation(of.to_u32()) || !pg_sys::type_is_collatable(of)
        })
    }
}
