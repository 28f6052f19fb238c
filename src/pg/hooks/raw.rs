//! The server's own functions behind the hooks, called as C calls them. pgrx's wrappers would turn an error into a
//! panic and back, and lose its constraint, table and context.

use std::ffi::c_char;

use pgrx::pg_sys;

unsafe extern "C" {
    pub fn standard_planner(
        parse: *mut pg_sys::Query,
        text: *const c_char,
        options: i32,
        params: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
    pub fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: i32);
    pub fn standard_ExecutorRun(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
        #[cfg(not(feature = "pg18"))] execute_once: bool,
    );
    pub fn standard_ExecutorFinish(query: *mut pg_sys::QueryDesc);
    pub fn standard_ExecutorEnd(query: *mut pg_sys::QueryDesc);
    pub fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        dest: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}
