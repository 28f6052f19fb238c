//! Functions of the server that do little more than read a static, called as C calls them: they raise no error, and pgrx's
//! boundary, a sigsetjmp() for each call, costs ten times as much as they do.

use pgrx::pg_sys;

unsafe extern "C" {
    /// access/xact.h
    pub safe fn GetCurrentTransactionStartTimestamp() -> pg_sys::TimestampTz;
    /// access/xact.h
    pub safe fn GetCurrentStatementStartTimestamp() -> pg_sys::TimestampTz;
    /// access/xact.h
    pub safe fn GetCurrentSubTransactionId() -> pg_sys::SubTransactionId;
    /// access/xact.h
    pub safe fn IsTransactionState() -> bool;
    /// access/xact.h
    pub safe fn IsInParallelMode() -> bool;
    /// commands/trigger.h, utils/ri_triggers.c
    pub safe fn InNoForceRLSOperation() -> bool;
    /// miscadmin.h
    pub safe fn InSecurityRestrictedOperation() -> bool;
    /// miscadmin.h
    pub safe fn GetUserId() -> pg_sys::Oid;
    /// miscadmin.h
    pub safe fn GetOuterUserId() -> pg_sys::Oid;
    /// miscadmin.h
    pub safe fn GetSessionUserId() -> pg_sys::Oid;
    /// commands/sequence.h: forgets currval() and lastval(), and frees the backend's own cache of them.
    pub safe fn ResetSequenceCaches();
    /// utils/timestamp.h
    pub safe fn GetCurrentTimestamp() -> pg_sys::TimestampTz;
}
