//! Lets conditions that reveal nothing search indexes, although they are not marked LEAKPROOF.
//!
//! PostgreSQL makes no index path of such a condition on a table with row security. Here these paths are made in another run
//! (`index_paths`), in which the conditions count as leakproof, and are offered to the planner with the others. Afterwards the
//! conditions are what they were: filters and rechecks still begin with the policies (`policies`, `indexes`). Which conditions
//! these are, core decides in `index_search`.
//!
//! With `own`, a search with such a condition must search by tenant too, so that it reads the caller's entries. With `all`, it
//! may read entries of all tenants, and its time and the server's statistics depend on them.

use pgrx::pg_sys;
use tenancy_core::conditions::FIRST_OTHER;
use tenancy_core::index_search::{Argument, Called, Condition, Item, Value, operator};

use super::expression::{Reader, compares_safely};
use super::nodes::{elements, list, text};
use super::{extensions, keys};

/// Returns the conditions of a relation that have a known operator, and are not leakproof.
///
/// # Safety
/// `rel` is a relation of the query, whose conditions are a list of RestrictInfo.
pub unsafe fn candidates(rel: *mut pg_sys::RelOptInfo) -> Vec<Found> {
    let mut candidates = Vec::new();
    // SAFETY: as above.
    unsafe {
        let all = elements::<pg_sys::RestrictInfo>((*rel).baserestrictinfo);
        for condition in all.chain(elements((*rel).joininfo)) {
            candidate(rel, condition, false, &mut candidates);
        }
    }
    candidates
}

/// A condition with a known operator.
pub struct Found {
    condition: *mut pg_sys::RestrictInfo,
    /// Whether it is an arm of an OR.
    arm: bool,
    called: Called,
    any: bool,
    collation: pg_sys::Oid,
    sides: [*mut pg_sys::Node; 2],
}

/// Notes a condition whose operator is known; of an OR, those of its arms.
unsafe fn candidate(
    rel: *mut pg_sys::RelOptInfo,
    condition: *mut pg_sys::RestrictInfo,
    arm: bool,
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
            into.extend(found(condition, arm));
        }
    }
}

unsafe fn arms(rel: *mut pg_sys::RelOptInfo, node: *mut pg_sys::Node, into: &mut Vec<Found>) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the node; the arms of an OR are conditions, or ANDs and ORs of them.
    unsafe {
        match (*node).type_ {
            T_RestrictInfo => candidate(rel, node.cast(), true, into),
            T_BoolExpr => {
                for arm in elements((*node.cast::<pg_sys::BoolExpr>()).args) {
                    arms(rel, arm, into);
                }
            }
            _ => {}
        }
    }
}

unsafe fn found(condition: *mut pg_sys::RestrictInfo, arm: bool) -> Option<Found> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the node.
    unsafe {
        let clause = (*condition).clause.cast::<pg_sys::Node>();
        let (operator_oid, function, args, collation, any) = match (*clause).type_ {
            T_OpExpr => {
                let op = clause.cast::<pg_sys::OpExpr>();
                pg_sys::set_opfuncid(op);
                (
                    (*op).opno,
                    (*op).opfuncid,
                    (*op).args,
                    (*op).inputcollid,
                    false,
                )
            }
            T_ScalarArrayOpExpr if (*clause.cast::<pg_sys::ScalarArrayOpExpr>()).useOr => {
                let op = clause.cast::<pg_sys::ScalarArrayOpExpr>();
                pg_sys::set_sa_opfuncid(op);
                (
                    (*op).opno,
                    (*op).opfuncid,
                    (*op).args,
                    (*op).inputcollid,
                    true,
                )
            }
            _ => return None,
        };
        let called = if function.to_u32() < FIRST_OTHER {
            // A user's operator of a built-in function has its own estimator and negator, which the planner calls.
            if operator_oid.to_u32() >= FIRST_OTHER {
                return None;
            }
            match operator(function.to_u32()) {
                Some(known) => Called::BuiltIn(known),
                None if pg_sys::get_func_leakproof(function) => Called::Leakproof,
                None => return None,
            }
        } else if extensions::knows_function(function) {
            Called::OfExtension {
                estimated: extensions::estimates(operator_oid, function),
            }
        } else {
            return None;
        };
        let mut args = elements(args);
        Some(Found {
            condition,
            arm,
            called,
            any,
            collation,
            sides: [args.next()?, args.next()?],
        })
    }
}

/// What an index may be searched by.
pub struct Searchable {
    /// The indexes.
    pub indexes: *mut pg_sys::List,
    /// The conditions.
    pub marked: Vec<*mut pg_sys::RestrictInfo>,
    /// Those of them that may be estimated by the values of all tenants.
    pub estimated: Vec<*mut pg_sys::RestrictInfo>,
}

/// A table with row security, while its paths are made.
pub struct Table<'a> {
    /// The table.
    pub rel: *mut pg_sys::RelOptInfo,
    /// Reads its conditions, and expressions of its indexes.
    pub reader: Reader,
    /// The conditions that keep a search to the caller's tenants.
    pub tenants: &'a [*mut pg_sys::RestrictInfo],
    /// Whether each search must have one of them.
    pub own: bool,
}

impl Table<'_> {
    /// Returns the indexes that may be searched by some of the conditions, and these conditions.
    ///
    /// # Safety
    /// Conditions of the table, whose indexes and conditions are the planner's.
    pub unsafe fn searchable(&self, mut candidates: Vec<Found>) -> Searchable {
        // SAFETY: as above.
        unsafe {
            let mut indexes: Vec<_> = elements((*self.rel).indexlist)
                .filter(|index| self.searches(*index))
                .collect();
            let mut estimated = Vec::new();
            candidates.retain(|found| {
                self.may_search(&indexes, found, |condition| {
                    if condition.may_be_estimated() {
                        estimated.push(found.condition);
                    }
                    condition.tells_nothing()
                })
            });
            // Others would add a search by tenant alone to a search by tenant. Another arm of an OR may need them.
            if self.own && candidates.iter().all(|found| !found.arm) {
                indexes.retain(|index| {
                    let mut sides = candidates.iter().flat_map(|found| found.sides);
                    sides.any(|side| is_key(*index, side))
                });
            }
            Searchable {
                indexes: list(indexes),
                marked: candidates.iter().map(|found| found.condition).collect(),
                estimated,
            }
        }
    }

    /// Returns whether an index may be searched by conditions that are not leakproof. Its access method and operator families must be
    /// known, and its expressions and predicate run no user's code: a recheck evaluates them. For a partial index on an expression,
    /// a recheck of a lossy page computes the expression of rows that are not in the index. A recheck begins with the policy, but
    /// not if a partial index's predicate implies it.
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
                && (index.indpred.is_null()
                    || index.indexprs.is_null()
                        && elements::<pg_sys::RestrictInfo>(index.indrestrictinfo)
                            .any(|condition| self.tenants.contains(&condition)))
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
    /// tenants' entries between two values of the first column. For several tenants it is the first one too: the planner
    /// leaves an array on another column out.
    unsafe fn is_by_tenant(&self, index: &pg_sys::IndexOptInfo) -> bool {
        // SAFETY: an index of the table, and conditions of it; each clause has a tag.
        unsafe {
            self.tenants.iter().any(|tenant| {
                let clause = (**tenant).clause;
                let first = index.relam == pg_sys::BTREE_AM_OID
                    || (*clause).type_ == pg_sys::NodeTag::T_FuncExpr;
                has_key_of(index, if first { 1 } else { index.nkeycolumns }, clause)
            })
        }
    }

    /// Returns whether one of the indexes may evaluate a condition on rows that the caller cannot see, as `decide` says.
    unsafe fn may_search(
        &self,
        indexes: &[*mut pg_sys::IndexOptInfo],
        found: &Found,
        decide: impl FnOnce(&Condition<'_>) -> bool,
    ) -> bool {
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
                decide(&Condition {
                    called: found.called,
                    any: found.any,
                    types: [argument(left), argument(right)],
                    plain_collation: compares_safely(list([left, right]), found.collation),
                    key_left,
                    value,
                })
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
                        pg_sys::JSONBOID => decide(Value::Json {
                            flat: is_flat(constant.constvalue),
                        }),
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
}

/// Returns whether one of the first keys of an index is named by a condition: as a side of an operator, or an argument of a call.
///
/// # Safety
/// An index of a table, and a condition of that table.
pub unsafe fn has_key_of(
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
        elements(args).any(|arg| {
            let column = keys::without_cast(arg);
            (0..keys).any(|n| pg_sys::match_index_to_operand(column, n, index.cast_mut()))
        })
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

/// Returns whether a jsonb has no object or array inside another: a header with the number of entries, and the entries, two for
/// each pair of an object.
unsafe fn is_flat(datum: pg_sys::Datum) -> bool {
    const WORD: usize = 4;
    // SAFETY: the value is of type jsonb; it is copied if it was compressed or has a short header.
    let bytes = unsafe {
        let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
        let length = pgrx::varsize_any_exhdr(value);
        std::slice::from_raw_parts(pgrx::vardata_any(value).cast::<u8>(), length)
    };
    let mut words = bytes
        .chunks_exact(WORD)
        .map(|word| word.try_into().map_or(0, u32::from_ne_bytes));
    let header = words.next().unwrap_or(0);
    let pairs = header & pg_sys::JB_FOBJECT != 0;
    let entries = (header & pg_sys::JB_CMASK) as usize * if pairs { 2 } else { 1 };
    words
        .take(entries)
        .all(|entry| entry & pg_sys::JENTRY_TYPEMASK != pg_sys::JENTRY_ISCONTAINER)
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
