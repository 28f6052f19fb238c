//! COPY FROM a client into a protected table. The server refuses COPY FROM where row security applies. Here it becomes one INSERT of
//! what the client sends, by the caller: with its rights, the policies, defaults and triggers, every row checked.
//!
//! The rows are read by the server's own functions, with all formats and options but those that only its COPY itself implements,
//! and kept in a tuplestore, which writes to temporary files what exceeds work_mem. A trigger for each statement so runs once.

use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::change::is_asked_about;
use crate::error::Error;
use crate::pg::nodes::{Name, each};
use crate::pg::{quote, relation, role, xact};

/// The name of the rows in the INSERT.
const ROWS: &CStr = c"tenancy_copied_rows";

/// Options of which the server's COPY skips rows itself.
const SKIPPING: [&CStr; 2] = [c"on_error", c"reject_limit"];

/// What to copy, in memory of the statement.
#[derive(Clone, Copy)]
#[repr(C)]
struct Copied {
    /// The table, locked; NULL if the statement is left to the server.
    table: pg_sys::Relation,
    /// The statement.
    copy: *mut pg_sys::CopyStmt,
    /// The columns of the rows.
    columns: pg_sys::TupleDesc,
    /// Their numbers in the table, counted from 1.
    numbers: *mut pg_sys::List,
}

impl Copied {
    const NOTHING: Self = Self {
        table: std::ptr::null_mut(),
        copy: std::ptr::null_mut(),
        columns: std::ptr::null_mut(),
        numbers: std::ptr::null_mut(),
    };
}

/// Runs a statement if it copies into a protected table from the client. Returns whether it did.
///
/// Not guarded: an error of the server must pass unchanged, with its constraint and its context. So nothing here has a destructor.
///
/// # Safety
/// A utility statement, its text, and where its tag goes.
pub unsafe extern "C-unwind" fn run(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    completion: *mut pg_sys::QueryCompletion,
) -> bool {
    // SAFETY: `look` returns what these functions take; they are called as `COPY` and an SQL function call them.
    unsafe {
        if (*(*statement).utilityStmt).type_ != pg_sys::NodeTag::T_CopyStmt {
            return false;
        }
        let copied = look(statement);
        if copied.table.is_null() {
            return false;
        }
        let rows = read(&copied, text);
        let count = insert(&copied, rows);
        raw::table_close(copied.table, pg_sys::NoLock as i32);
        if !completion.is_null() {
            (*completion).commandTag = pg_sys::CommandTag::CMDTAG_COPY;
            (*completion).nprocessed = count;
        }
        true
    }
}

/// Decides, checks the caller's rights, and locks the table.
#[pg_guard]
unsafe extern "C-unwind" fn look(statement: *mut pg_sys::PlannedStmt) -> Copied {
    // SAFETY: a statement that copies; new nodes have all fields set or zero.
    unsafe {
        let copy = (*statement).utilityStmt.cast::<pg_sys::CopyStmt>();
        if !(*copy).is_from
            || (*copy).relation.is_null()
            || !(*copy).filename.is_null()
            || (*copy).is_program
            || !(*copy).whereClause.is_null()
            || skips((*copy).options)
            || !xact::running()
        {
            return Copied::NOTHING;
        }
        let Some(table) = Name::copy((*copy).relation).oid() else {
            return Copied::NOTHING;
        };
        if !is_asked_about(table) || !relation::filters(table, role::current()) {
            return Copied::NOTHING;
        }
        let open = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        let described = (*open).rd_att;
        let named = pg_sys::CopyGetAttnums(described, open, (*copy).attlist);
        // A table of generated columns; and one whose rules an INSERT would run, and COPY does not.
        if named.is_null() || has_insert_rules(open) {
            pg_sys::table_close(open, pg_sys::NoLock as i32);
            return Copied::NOTHING;
        }
        require_insert(open, named);
        if !(*open).rd_islocaltemp {
            pg_sys::PreventCommandIfReadOnly(c"COPY FROM".as_ptr());
        }
        pg_sys::PreventCommandIfParallelMode(c"COPY FROM".as_ptr());
        // Defaults are evaluated while rows are read. Who may insert only into some columns gets them from the INSERT.
        let whole = pg_sys::pg_class_aclcheck(
            table,
            role::current(),
            pg_sys::ACL_INSERT as pg_sys::AclMode,
        ) == pg_sys::AclResult::ACLCHECK_OK;
        let numbers = if whole {
            pg_sys::CopyGetAttnums(described, open, std::ptr::null_mut())
        } else {
            named
        };
        Copied {
            table: open,
            copy,
            columns: columns_of(table, numbers),
            numbers,
        }
    }
}

unsafe fn skips(options: *mut pg_sys::List) -> bool {
    let mut found = false;
    // SAFETY: a statement's options.
    unsafe {
        each(options, |option| {
            let name = CStr::from_ptr((*option.cast::<pg_sys::DefElem>()).defname);
            found = found || SKIPPING.contains(&name);
        });
    }
    found
}

unsafe fn has_insert_rules(table: pg_sys::Relation) -> bool {
    // SAFETY: an open table's rules, if it has any.
    unsafe {
        let Some(rules) = (*table).rd_rules.as_ref() else {
            return false;
        };
        (0..rules.numLocks as usize)
            .any(|n| (**rules.rules.add(n)).event == pg_sys::CmdType::CMD_INSERT)
    }
}

/// Checks the right to insert into columns, as the server's COPY does, before anything is read.
unsafe fn require_insert(table: pg_sys::Relation, columns: *mut pg_sys::List) {
    // SAFETY: new nodes with all fields set or zero; the list is one of numbers.
    unsafe {
        let mut inserted = std::ptr::null_mut();
        for number in each_number(columns) {
            inserted = pg_sys::bms_add_member(
                inserted,
                number - pg_sys::FirstLowInvalidHeapAttributeNumber,
            );
        }
        let entry = pg_sys::palloc0(size_of::<pg_sys::RangeTblEntry>());
        let entry = entry.cast::<pg_sys::RangeTblEntry>();
        (*entry).type_ = pg_sys::NodeTag::T_RangeTblEntry;
        (*entry).rtekind = pg_sys::RTEKind::RTE_RELATION;
        (*entry).relid = (*table).rd_id;
        (*entry).relkind = (*(*table).rd_rel).relkind;
        (*entry).rellockmode = pg_sys::RowExclusiveLock as i32;
        let entries = pg_sys::lappend(std::ptr::null_mut(), entry.cast());
        #[cfg(feature = "pg15")]
        {
            (*entry).requiredPerms = pg_sys::ACL_INSERT as pg_sys::AclMode;
            (*entry).insertedCols = inserted;
            pg_sys::ExecCheckRTPerms(entries, true);
        }
        #[cfg(not(feature = "pg15"))]
        {
            let rights = pg_sys::palloc0(size_of::<pg_sys::RTEPermissionInfo>());
            let rights = rights.cast::<pg_sys::RTEPermissionInfo>();
            (*rights).type_ = pg_sys::NodeTag::T_RTEPermissionInfo;
            (*rights).relid = (*table).rd_id;
            (*rights).requiredPerms = pg_sys::ACL_INSERT as pg_sys::AclMode;
            (*rights).insertedCols = inserted;
            (*entry).perminfoindex = 1;
            let all = pg_sys::lappend(std::ptr::null_mut(), rights.cast());
            pg_sys::ExecCheckPermissions(entries, all, true);
        }
    }
}

/// Returns the description of these columns.
unsafe fn columns_of(table: pg_sys::Oid, numbers: *mut pg_sys::List) -> pg_sys::TupleDesc {
    // SAFETY: a list of numbers of the table's columns; the description has an entry for each.
    unsafe {
        let columns = pg_sys::CreateTemplateTupleDesc((*numbers).length);
        for (at, number) in (1..).zip(each_number(numbers)) {
            let number = number as i16;
            let (mut kind, mut modifier) = (pg_sys::Oid::INVALID, 0);
            let mut collation = pg_sys::Oid::INVALID;
            pg_sys::get_atttypetypmodcoll(table, number, &mut kind, &mut modifier, &mut collation);
            let name = pg_sys::get_attname(table, number, false);
            pg_sys::TupleDescInitEntry(columns, at, name, kind, modifier, 0);
            pg_sys::TupleDescInitEntryCollation(columns, at, collation);
        }
        columns
    }
}

/// The INSERT, and the names in it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Insert {
    statement: *const c_char,
    schema: *const c_char,
    table: *const c_char,
}

/// Returns the INSERT. Its names are those of the moment: the lock on a table does not keep its schema from being renamed.
#[pg_guard]
unsafe extern "C-unwind" fn insert_into(copied: *const Copied) -> Insert {
    // SAFETY: an open table, and numbers of its columns.
    unsafe {
        pg_sys::AcceptInvalidationMessages();
        let table = (*(*copied).table).rd_id;
        let columns: Vec<String> = each_number((*copied).numbers)
            .map(|number| quoted(pg_sys::get_attname(table, number as i16, false)))
            .collect();
        let columns = columns.join(", ");
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        let table = pg_sys::get_rel_name(table);
        let insert = format!(
            "INSERT INTO {}.{} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {}",
            quoted(schema),
            quoted(table),
            ROWS.to_string_lossy(),
        );
        let insert = CString::new(insert).unwrap_or_default();
        Insert {
            statement: pg_sys::pstrdup(insert.as_ptr()),
            schema,
            table,
        }
    }
}

/// Raises an error if the names mean another table by now, which has got the rows then.
#[pg_guard]
unsafe extern "C-unwind" fn require_same_table(copied: *const Copied, insert: Insert) {
    // SAFETY: an open table, and names.
    let found = unsafe {
        let schema = pg_sys::get_namespace_oid(insert.schema, true);
        pg_sys::get_relname_relid(insert.table, schema) == (*(*copied).table).rd_id
    };
    if !found {
        Error::Internal("the table was renamed while rows were copied into it").raise();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn require_success(result: i32) {
    if result < 0 {
        Error::Internal("the rows could not be inserted").raise();
    }
}

/// Returns the numbers in a list.
unsafe fn each_number(list: *mut pg_sys::List) -> impl Iterator<Item = i32> {
    // SAFETY: a list of numbers, which stays as it is while they are read.
    unsafe { (0..(*list).length as usize).map(move |n| (*(*list).elements.add(n)).int_value) }
}

unsafe fn quoted(name: *const c_char) -> String {
    // SAFETY: a name of a catalog.
    quote::identifier(&unsafe { CStr::from_ptr(name) }.to_string_lossy())
}

/// Reads all rows that the client sends.
unsafe fn read(copied: &Copied, text: *const c_char) -> *mut pg_sys::Tuplestorestate {
    // SAFETY: as file_fdw and COPY call them. The arrays have an element for each of the table's columns.
    unsafe {
        let source = raw::make_parsestate(std::ptr::null_mut());
        (*source).p_sourcetext = text;
        let from = raw::BeginCopyFrom(
            source,
            copied.table,
            std::ptr::null_mut(),
            std::ptr::null(),
            false,
            None,
            (*copied.copy).attlist,
            (*copied.copy).options,
        );
        let store = raw::tuplestore_begin_heap(false, false, pg_sys::work_mem);
        let state = raw::CreateExecutorState();
        let each_row = raw::MakePerTupleExprContext(state);
        let width = (*(*copied.table).rd_att).natts as usize;
        let values = raw::palloc0(width * size_of::<pg_sys::Datum>()).cast::<pg_sys::Datum>();
        let nulls = raw::palloc0(width).cast::<bool>();
        let count = (*copied.numbers).length as usize;
        let kept = raw::palloc0(count * size_of::<pg_sys::Datum>()).cast::<pg_sys::Datum>();
        let kept_nulls = raw::palloc0(count).cast::<bool>();
        let mut line = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(raw::CopyFromErrorCallback),
            arg: from.cast(),
        };
        pg_sys::error_context_stack = &raw mut line;
        let memory = pg_sys::CurrentMemoryContext;
        loop {
            if pg_sys::InterruptPending != 0 {
                raw::ProcessInterrupts();
            }
            raw::MemoryContextReset((*each_row).ecxt_per_tuple_memory);
            pg_sys::CurrentMemoryContext = (*each_row).ecxt_per_tuple_memory;
            let more = raw::NextCopyFrom(from, each_row, values, nulls);
            pg_sys::CurrentMemoryContext = memory;
            if !more {
                break;
            }
            for (n, number) in each_number(copied.numbers).enumerate() {
                let at = number as usize - 1;
                *kept.add(n) = *values.add(at);
                *kept_nulls.add(n) = *nulls.add(at);
            }
            raw::tuplestore_putvalues(store, copied.columns, kept, kept_nulls);
        }
        pg_sys::error_context_stack = line.previous;
        raw::FreeExecutorState(state);
        raw::EndCopyFrom(from);
        store
    }
}

/// Inserts the rows, and returns their number.
unsafe fn insert(copied: &Copied, rows: *mut pg_sys::Tuplestorestate) -> u64 {
    // SAFETY: as an SQL function with a transition table calls them.
    unsafe {
        let known = raw::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>());
        let known = known.cast::<pg_sys::EphemeralNamedRelationData>();
        (*known).md.name = ROWS.as_ptr().cast_mut();
        (*known).md.tupdesc = copied.columns;
        (*known).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
        (*known).md.enrtuples = raw::tuplestore_tuple_count(rows) as f64;
        (*known).reldata = rows.cast();
        let insert = insert_into(copied);
        require_success(raw::SPI_connect());
        require_success(raw::SPI_register_relation(known));
        require_success(raw::SPI_execute(insert.statement, false, 0));
        require_same_table(copied, insert);
        let count = pg_sys::SPI_processed;
        raw::SPI_finish();
        raw::tuplestore_end(rows);
        count
    }
}

/// Called as C calls them: see `hooks::raw`.
mod raw {
    use super::{c_char, c_void, pg_sys};

    unsafe extern "C-unwind" {
        pub fn CopyFromErrorCallback(state: *mut c_void);
    }

    unsafe extern "C" {
        pub fn table_close(table: pg_sys::Relation, lock: i32);
        pub fn make_parsestate(parent: *mut pg_sys::ParseState) -> *mut pg_sys::ParseState;
        pub fn BeginCopyFrom(
            source: *mut pg_sys::ParseState,
            table: pg_sys::Relation,
            condition: *mut pg_sys::Node,
            file: *const c_char,
            is_program: bool,
            callback: pg_sys::copy_data_source_cb,
            columns: *mut pg_sys::List,
            options: *mut pg_sys::List,
        ) -> pg_sys::CopyFromState;
        pub fn NextCopyFrom(
            from: pg_sys::CopyFromState,
            context: *mut pg_sys::ExprContext,
            values: *mut pg_sys::Datum,
            nulls: *mut bool,
        ) -> bool;
        pub fn EndCopyFrom(from: pg_sys::CopyFromState);
        pub fn tuplestore_begin_heap(
            random: bool,
            across_transactions: bool,
            kilobytes: i32,
        ) -> *mut pg_sys::Tuplestorestate;
        pub fn tuplestore_putvalues(
            store: *mut pg_sys::Tuplestorestate,
            columns: pg_sys::TupleDesc,
            values: *mut pg_sys::Datum,
            nulls: *mut bool,
        );
        pub fn tuplestore_tuple_count(store: *mut pg_sys::Tuplestorestate) -> i64;
        pub fn tuplestore_end(store: *mut pg_sys::Tuplestorestate);
        pub fn CreateExecutorState() -> *mut pg_sys::EState;
        pub fn MakePerTupleExprContext(state: *mut pg_sys::EState) -> *mut pg_sys::ExprContext;
        pub fn FreeExecutorState(state: *mut pg_sys::EState);
        pub fn MemoryContextReset(memory: pg_sys::MemoryContext);
        pub fn ProcessInterrupts();
        pub fn palloc0(size: usize) -> *mut c_void;
        pub fn SPI_connect() -> i32;
        pub fn SPI_register_relation(known: pg_sys::EphemeralNamedRelation) -> i32;
        pub fn SPI_execute(sql: *const c_char, read_only: bool, count: i64) -> i32;
        pub fn SPI_finish() -> i32;
    }
}
