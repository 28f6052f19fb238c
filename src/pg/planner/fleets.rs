//! Index conditions of policies that several tenants pass.
//!
//! With `tenancy.can('data:read', tenant_id)` an index is searched by `tenant_id = ANY (tenancy.tenant_ids('data:read'))`. The planner's
//! own request for such a condition is not answered, since it takes the answer for a plain comparison. It would expect rows in
//! order from an index that is searched once for each tenant. It would search by the array with access methods that cannot. And it
//! would estimate the array for each index.
//!
//! Instead, the policy is the array's condition while index paths are made again, with the policy's estimate. Afterwards it is the
//! call again, and only what the paths search by has the array.

use pgrx::pg_sys;

use super::nodes::{elements, list};
use super::{own, support};

/// The share of a table above which a sequential scan is cheaper than an index that is searched by tenant alone.
const WORTH_AN_INDEX: f64 = 0.2;

/// A policy that several tenants pass.
pub struct Fleet {
    /// The condition of the relation.
    pub policy: *mut pg_sys::RestrictInfo,
    /// Its call.
    pub call: *mut pg_sys::Expr,
    array: *mut pg_sys::RestrictInfo,
    /// Whether the policy is checked on what an index finds.
    lossy: bool,
}

/// Returns the conditions of a relation that an index may be searched for as an array: policies, and the same call in a query.
///
/// # Safety
/// `rel` is a relation of the query, whose conditions are a list of RestrictInfo.
pub unsafe fn of(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo) -> Vec<Fleet> {
    let mut fleets = Vec::new();
    // SAFETY: as above; the tag identifies the clause. The new condition has the relation and the level of the old one.
    unsafe {
        for policy in elements::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
            let call = (*policy).clause;
            if (*call).type_ != pg_sys::NodeTag::T_FuncExpr || (*policy).pseudoconstant {
                continue;
            }
            let Some(clause) = own::support_function((*call.cast::<pg_sys::FuncExpr>()).funcid)
                .and_then(|function| support::array_condition(root, call.cast(), function))
            else {
                continue;
            };
            let size = size_of::<pg_sys::RestrictInfo>();
            let array = pg_sys::palloc(size).cast::<pg_sys::RestrictInfo>();
            array.copy_from_nonoverlapping(policy, 1);
            (*array).clause = clause;
            fleets.push(Fleet {
                policy,
                call,
                array,
                lossy: support::is_lossy(call.cast()),
            });
        }
    }
    fleets
}

impl Fleet {
    /// Returns whether the tenants have so much of the table that an index must be searched by something else too.
    ///
    /// # Safety
    /// The policy is still a condition of its relation.
    pub unsafe fn is_large(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.policy).norm_selec > WORTH_AN_INDEX }
    }

    /// Makes the policy the array's condition.
    ///
    /// # Safety
    /// As above. `end` is called before anything but index paths is made.
    pub unsafe fn begin(&self) {
        // SAFETY: as above.
        unsafe { (*self.policy).clause = (*self.array).clause };
    }

    /// Makes the policy its call again.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn end(&self) {
        // SAFETY: as above.
        unsafe { (*self.policy).clause = self.call };
    }

    /// Leaves the array's condition in what an index is searched by for the policy.
    ///
    /// # Safety
    /// An index path that was made between `begin` and `end`.
    pub unsafe fn keep(&self, path: *mut pg_sys::IndexPath) {
        // SAFETY: an index path's conditions are a list of IndexClause.
        unsafe {
            for clause in elements::<pg_sys::IndexClause>((*path).indexclauses) {
                if (*clause).rinfo == self.policy {
                    (*clause).indexquals = list([self.array]);
                    // The array's operator may find more rows than the policy lets pass.
                    (*clause).lossy = self.lossy;
                }
            }
        }
    }
}
