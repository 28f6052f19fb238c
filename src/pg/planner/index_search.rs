//! Lets conditions that reveal nothing search indexes, although they are not marked LEAKPROOF.
//!
//! PostgreSQL makes no index path of such a condition on a table with row security. Here these paths are made in a second run, in
//! which the conditions count as leakproof, and are offered to the planner with the others. Afterwards the conditions are what
//! they were: filters and rechecks still begin with the policies (`policies`, `indexes`). Which conditions these are, core decides
//! in `index_search`.
//!
//! With `own`, a search with such a condition must search by tenant too, so that it reads the caller's entries. With `all`, it
//! may read entries of all tenants, and its time and the server's statistics depend on them.

use pgrx::pg_sys;
use tenancy_core::conditions::FIRST_OTHER;
use tenancy_core::index_search::{Argument, Called, Condition, Item, Value, operator};

use super::expression::{Reader, compares_safely};
use super::nodes::{elements, list, text};
use super::{extensions, policies};
use crate::pg::guc::{self, IndexSearch};

/// Adds the index paths of conditions that reveal nothing to a table with row security.
///
/// # Safety
/// `rel` is a relation of the query, whose paths are made and not chosen from yet; `entry` is its entry in the range table.
pub unsafe fn add_paths(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    entry: *mut pg_sys::RangeTblEntry,
) {
    let mode = guc::index_search();
    // SAFETY: the planner's own structures, as above. Each list has elements of its kind.
    unsafe {
        if matches!(mode, IndexSearch::Off)
            || (*entry).inh
            || !(*entry).tablesample.is_null()
            || (*rel).indexlist.is_null()
            || pg_sys::is_dummy_rel(rel)
        {
            return;
        }
        let mut candidates = Vec::new();
        let all = elements::<pg_sys::RestrictInfo>((*rel).baserestrictinfo);
        for condition in all.chain(elements((*rel).joininfo)) {
            candidate(rel, condition, &mut candidates);
        }
        if candidates.is_empty() {
            return;
        }
        let Some(tenants) = policies::tenants(root, rel) else {
            return;
        };
        let table = Table {
            rel,
            reader: Reader::new(root),
            tenants,
            own: matches!(mode, IndexSearch::Own),
        };
        let indexes: Vec<_> = elements((*rel).indexlist)
            .filter(|index| table.searches(*index))
            .collect();
        candidates.retain(|found| table.may_search(&indexes, found));
        if !candidates.is_empty() {
            let marked: Vec<_> = candidates.iter().map(|found| found.condition).collect();
            table.add(root, &marked, list(indexes));
        }
    }
}

/// A condition with a known operator.
struct Found {
    condition: *mut pg_sys::RestrictInfo,
    called: Called,
    any: bool,
    collation: pg_sys::Oid,
    sides: [*mut pg_sys::Node; 2],
}

/// Notes a condition whose operator is known; of an OR, those of its arms.
unsafe fn candidate(
    rel: *mut pg_sys::RelOptInfo,
    condition: *mut pg_sys::RestrictInfo,
    into: &mut Vec<Found>,
) {
    // SAFETY: a condition of the relation.
    unsafe {
        if !(*condition).orclause.is_null() {
            arms(rel, (*condition).orclause.cast(), into);
        } else if !(*condition).leakproof
            && !(*condition).pseudoconstant
            && (*condition).security_level > (*rel).baserestrict_min_security
        {
            into.extend(found(condition));
        }
    }
}

unsafe fn arms(rel: *mut pg_sys::RelOptInfo, node: *mut pg_sys::Node, into: &mut Vec<Found>) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the node; the arms of an OR are conditions, or ANDs and ORs of them.
    unsafe {
        match (*node).type_ {
            T_RestrictInfo => candidate(rel, node.cast(), into),
            T_BoolExpr => {
                for arm in elements((*node.cast::<pg_sys::BoolExpr>()).args) {
                    arms(rel, arm, into);
                }
            }
            _ => {}
        }
    }
}

unsafe fn found(condition: *mut pg_sys::RestrictInfo) -> Option<Found> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the node.
    unsafe {
        let clause = (*condition).clause.cast::<pg_sys::Node>();
        let (function, args, collation, any) = match (*clause).type_ {
            T_OpExpr => {
                let op = clause.cast::<pg_sys::OpExpr>();
                pg_sys::set_opfuncid(op);
                ((*op).opfuncid, (*op).args, (*op).inputcollid, false)
            }
            T_ScalarArrayOpExpr if (*clause.cast::<pg_sys::ScalarArrayOpExpr>()).useOr => {
                let op = clause.cast::<pg_sys::ScalarArrayOpExpr>();
                pg_sys::set_sa_opfuncid(op);
                ((*op).opfuncid, (*op).args, (*op).inputcollid, true)
            }
            _ => return None,
        };
        let called = if function.to_u32() < FIRST_OTHER {
            Called::BuiltIn(operator(function.to_u32())?)
        } else if extensions::knows_function(function) {
            Called::OfExtension
        } else {
            return None;
        };
        let mut args = elements(args);
        Some(Found {
            condition,
            called,
            any,
            collation,
            sides: [args.next()?, args.next()?],
        })
    }
}

/// A table with row security, while its paths are made.
struct Table {
    rel: *mut pg_sys::RelOptInfo,
    reader: Reader,
    /// The conditions that keep a search to the caller's tenants.
    tenants: Vec<*mut pg_sys::RestrictInfo>,
    /// Whether each search must have one of them.
    own: bool,
}

impl Table {
    /// Returns whether an index may be searched by conditions that are not leakproof. Its access method and operator families must be
    /// known, and its expressions and predicate run no user's code: a recheck evaluates them. For a partial index on an expression,
    /// a recheck of a lossy page computes the expression of rows that are not in the index.
    unsafe fn searches(&self, index: *mut pg_sys::IndexOptInfo) -> bool {
        // SAFETY: an index of the table, with as many families as key columns.
        unsafe {
            let index = &*index;
            let calls = |nodes: *mut pg_sys::List| {
                let shows = self.reader.read(nodes.cast()).shows;
                shows.calls || shows.late
            };
            !index.hypothetical
                && index.relam.to_u32() < FIRST_OTHER
                && (index.indexprs.is_null() || index.indpred.is_null())
                && !calls(index.indexprs)
                && !calls(index.indpred)
                && (0..index.nkeycolumns as usize).all(|n| {
                    let family = *index.opfamily.add(n);
                    family.to_u32() < FIRST_OTHER || extensions::knows_family(family)
                })
                && (!self.own || self.is_by_tenant(index))
        }
    }

    /// Returns whether an index has the tenant as a key; a btree index as the first one. Otherwise the search reads all
    /// tenants' entries between two values of the first column.
    unsafe fn is_by_tenant(&self, index: &pg_sys::IndexOptInfo) -> bool {
        let keys = match index.relam {
            pg_sys::BTREE_AM_OID => 1,
            _ => index.nkeycolumns,
        };
        // SAFETY: an index of the table, and conditions of it.
        unsafe { (self.tenants.iter()).any(|tenant| has_key_of(index, keys, (**tenant).clause)) }
    }

    /// Returns whether one of the indexes may evaluate a condition on rows that the caller cannot see.
    unsafe fn may_search(&self, indexes: &[*mut pg_sys::IndexOptInfo], found: &Found) -> bool {
        let [left, right] = found.sides;
        // SAFETY: the sides of an operator are expressions; the indexes are the table's.
        unsafe {
            let is_key = |node| indexes.iter().any(|index| is_key(*index, node));
            let (key_left, value) = if is_key(left) {
                (true, right)
            } else if !found.any && is_key(right) {
                (false, left)
            } else {
                return false;
            };
            self.with_value(value, |value| {
                Condition {
                    called: found.called,
                    any: found.any,
                    types: [argument(left), argument(right)],
                    plain_collation: compares_safely(list([left, right]), found.collation),
                    key_left,
                    value,
                }
                .tells_nothing()
            })
        }
    }

    /// Calls `decide` with what a column is compared with. Returns false if it depends on a row of this table, or on a value that is
    /// computed when it is first needed.
    unsafe fn with_value(
        &self,
        node: *mut pg_sys::Node,
        decide: impl FnOnce(Value<'_>) -> bool,
    ) -> bool {
        use pg_sys::NodeTag::*;
        // SAFETY: the tag identifies the node; a constant's text lives as long as the constant.
        unsafe {
            match (*node).type_ {
                T_Const => {
                    let constant = &*node.cast::<pg_sys::Const>();
                    match constant.consttype {
                        _ if constant.constisnull => false,
                        pg_sys::TEXTOID => decide(Value::Text(text(constant.constvalue))),
                        pg_sys::TSQUERYOID => query(constant.constvalue)
                            .is_some_and(|items| decide(Value::Query(&items))),
                        _ => decide(Value::Early),
                    }
                }
                T_RelabelType => {
                    let arg = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
                    self.with_value(arg, decide)
                }
                T_Var => {
                    (*node.cast::<pg_sys::Var>()).varno as pg_sys::Index != (*self.rel).relid
                        && decide(Value::Joined)
                }
                _ => is_early(node) && decide(Value::Early),
            }
        }
    }

    /// Makes the index paths a second time, with the conditions counted as leakproof, and offers the planner those that may be used.
    unsafe fn add(
        &self,
        root: *mut pg_sys::PlannerInfo,
        marked: &[*mut pg_sys::RestrictInfo],
        indexes: *mut pg_sys::List,
    ) {
        let none = std::ptr::null_mut();
        // SAFETY: the relation's lists are the planner's, and are put back before any path is chosen. After an error nothing of them is
        // used again.
        unsafe {
            let rel = &mut *self.rel;
            let before = (rel.indexlist, rel.pathlist, rel.partial_pathlist);
            (rel.indexlist, rel.pathlist, rel.partial_pathlist) = (indexes, none, none);
            for condition in marked {
                (**condition).leakproof = true;
            }
            pg_sys::create_index_paths(root, self.rel);
            for condition in marked {
                (**condition).leakproof = false;
            }
            let made = (rel.pathlist, rel.partial_pathlist);
            (rel.indexlist, rel.pathlist, rel.partial_pathlist) = before;
            for path in elements(made.0) {
                if self.keeps(path, marked) {
                    pg_sys::add_path(self.rel, path);
                }
            }
            for path in elements(made.1) {
                if self.keeps(path, marked) {
                    pg_sys::add_partial_path(self.rel, path);
                }
            }
        }
    }

    /// Returns whether each search of a path that has a marked condition searches by tenant too, where it must.
    unsafe fn keeps(&self, path: *mut pg_sys::Path, marked: &[*mut pg_sys::RestrictInfo]) -> bool {
        use pg_sys::NodeTag::*;
        // SAFETY: a path has the tag of its kind.
        unsafe {
            match (*path).type_ {
                _ if !self.own => true,
                T_IndexPath => {
                    let clauses = (*path.cast::<pg_sys::IndexPath>()).indexclauses;
                    let has = |set: &[*mut pg_sys::RestrictInfo]| {
                        elements::<pg_sys::IndexClause>(clauses)
                            .any(|clause| set.contains(&(*clause).rinfo))
                    };
                    !has(marked) || has(&self.tenants)
                }
                T_BitmapHeapPath => {
                    self.keeps((*path.cast::<pg_sys::BitmapHeapPath>()).bitmapqual, marked)
                }
                T_BitmapAndPath => elements((*path.cast::<pg_sys::BitmapAndPath>()).bitmapquals)
                    .all(|arm| self.keeps(arm, marked)),
                T_BitmapOrPath => elements((*path.cast::<pg_sys::BitmapOrPath>()).bitmapquals)
                    .all(|arm| self.keeps(arm, marked)),
                _ => false,
            }
        }
    }
}

/// Returns whether one of the first keys of an index is named by a condition: as a side of an operator, or an argument of a call.
unsafe fn has_key_of(
    index: *const pg_sys::IndexOptInfo,
    keys: i32,
    clause: *mut pg_sys::Expr,
) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the node.
    unsafe {
        let args = match (*clause).type_ {
            T_OpExpr => (*clause.cast::<pg_sys::OpExpr>()).args,
            T_FuncExpr => (*clause.cast::<pg_sys::FuncExpr>()).args,
            _ => return false,
        };
        elements(args)
            .any(|arg| (0..keys).any(|n| pg_sys::match_index_to_operand(arg, n, index.cast_mut())))
    }
}

unsafe fn is_key(index: *mut pg_sys::IndexOptInfo, node: *mut pg_sys::Node) -> bool {
    // SAFETY: an index of the table, and an expression.
    unsafe { (0..(*index).nkeycolumns).any(|n| pg_sys::match_index_to_operand(node, n, index)) }
}

unsafe fn argument(node: *mut pg_sys::Node) -> Argument {
    // SAFETY: an expression; catalog look-ups inside a transaction.
    unsafe {
        let of = pg_sys::exprType(node);
        let element = if of.to_u32() < FIRST_OTHER {
            pg_sys::Oid::INVALID
        } else {
            pg_sys::get_element_type(of)
        };
        Argument {
            of: of.to_u32(),
            of_enums: element != pg_sys::Oid::INVALID && pg_sys::type_is_enum(element),
        }
    }
}

/// Returns whether an expression is computed when the scan starts: of constants, parameters and built-in functions that are not volatile.
/// An error of it does not depend on a row.
unsafe fn is_early(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    let is_built_in = |oid: pg_sys::Oid| {
        // SAFETY: a look-up in the system cache inside a transaction.
        oid.to_u32() < FIRST_OTHER
            && unsafe { pg_sys::func_volatile(oid) } as u8 != pg_sys::PROVOLATILE_VOLATILE
    };
    // SAFETY: the tag identifies the node.
    unsafe {
        match (*node).type_ {
            T_Const | T_SQLValueFunction => true,
            T_Param => (*node.cast::<pg_sys::Param>()).paramkind == pg_sys::ParamKind::PARAM_EXTERN,
            T_RelabelType => is_early((*node.cast::<pg_sys::RelabelType>()).arg.cast()),
            T_ArrayExpr => {
                elements((*node.cast::<pg_sys::ArrayExpr>()).elements).all(|part| is_early(part))
            }
            T_FuncExpr => {
                let call = &*node.cast::<pg_sys::FuncExpr>();
                is_built_in(call.funcid) && elements(call.args).all(|arg| is_early(arg))
            }
            T_OpExpr => {
                let op = node.cast::<pg_sys::OpExpr>();
                pg_sys::set_opfuncid(op);
                is_built_in((*op).opfuncid) && elements((*op).args).all(|arg| is_early(arg))
            }
            _ => false,
        }
    }
}

/// Reads the query of a text search: a length word, the number of items, and the items, each of 12 bytes.
unsafe fn query(datum: pg_sys::Datum) -> Option<Vec<Item>> {
    const HEADER: usize = 4;
    const ITEM: usize = 12;
    const LEFT: usize = 4;
    // SAFETY: the value is of type tsquery; it is copied if it was compressed or has a short header.
    let bytes = unsafe {
        let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
        let length = pgrx::varsize_any_exhdr(value);
        std::slice::from_raw_parts(pgrx::vardata_any(value).cast::<u8>(), length)
    };
    let word = |at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(word)).ok()
    };
    let count = word(0)?;
    let mut items = Vec::new();
    for n in 0..count.min(tenancy_core::index_search::QUERY_ITEMS_MAX + 1) {
        let at = HEADER + n * ITEM;
        items.push(match (*bytes.get(at)? as u32, *bytes.get(at + 1)? as u32) {
            (pg_sys::QI_VAL, _) => Item::Word,
            (pg_sys::QI_OPR, pg_sys::OP_NOT) => Item::Not,
            (pg_sys::QI_OPR, pg_sys::OP_AND | pg_sys::OP_OR) => Item::Both(word(at + LEFT)?),
            (pg_sys::QI_OPR, pg_sys::OP_PHRASE) => Item::Phrase(word(at + LEFT)?),
            _ => return None,
        });
    }
    Some(items)
}
