//! Changes that a statement makes to the definition of tables that it names.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use super::change::{Change, Reach, is_asked_about};
use super::objects::touch;
use super::planted::{
    conversion_may_tell, default_is_a_users, index_may_tell, is_a_users, is_a_users_type,
};
use super::tell;
use crate::pg::nodes::{Name, each};
use crate::pg::relation;

struct Changes {
    changes: Vec<Change>,
}

impl Changes {
    fn push(&mut self, table: Option<pg_sys::Oid>, command: &'static str, reach: Reach) {
        if let Some(table) = table {
            self.changes.push(Change {
                table,
                command,
                reach,
            });
        }
    }

    /// Adds the default partition of a table that gets another partition.
    fn push_default(&mut self, parent: Option<pg_sys::Oid>, command: &'static str) {
        let default = parent.and_then(relation::default_partition);
        self.push(default, command, Reach::Contents);
    }
}

/// Returns the columns of an index that are not expressions.
unsafe fn columns(elements: *mut pg_sys::List) -> Vec<String> {
    let mut found = Vec::new();
    // SAFETY: an index's elements, as the grammar makes them.
    unsafe {
        each(elements, |element| {
            let name = (*element.cast::<pg_sys::IndexElem>()).name;
            if !name.is_null() {
                found.push(text(name));
            }
        });
    }
    found
}

/// Checks each change that a statement makes to a table. Returns the relations whose definition it may change.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn check(node: *mut pg_sys::Node) -> Vec<pg_sys::Oid> {
    let mut found = Changes {
        changes: Vec::new(),
    };
    // SAFETY: the caller's.
    unsafe { find(node, &mut found) };
    for change in &found.changes {
        tell(|on| (on.change)(change));
        if !matches!(change.reach, Reach::Lock | Reach::Definition | Reach::Parts) {
            // The server does not report changes of the flags of row security.
            touch(change.table);
        }
    }
    let changes = found.changes.iter();
    let mut tables: Vec<pg_sys::Oid> = changes
        .filter(|change| !matches!(change.reach, Reach::Lock | Reach::Parts))
        .map(|change| change.table)
        .collect();
    tables.sort_unstable_by_key(|table| table.to_u32());
    tables.dedup();
    tables
}

unsafe fn table(range: *const pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    if range.is_null() {
        return None;
    }
    // SAFETY: a table's name in a statement.
    unsafe { Name::copy(range) }.oid()
}

unsafe fn text(name: *const c_char) -> String {
    if name.is_null() {
        return String::new();
    }
    // SAFETY: a name in a statement is a C string.
    unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned()
}

unsafe fn find(node: *mut pg_sys::Node, found: &mut Changes) {
    use Reach::*;
    use pg_sys::NodeTag::*;
    use pg_sys::ObjectType::*;
    // SAFETY: the tag identifies the statement; lists hold the nodes that the grammar puts there.
    unsafe {
        match (*node).type_ {
            T_AlterTableStmt => alter_table(node.cast(), found),
            T_IndexStmt => {
                let index = node.cast::<pg_sys::IndexStmt>();
                if let Some(table) = table((*index).relation) {
                    let reach = if !(*index).excludeOpNames.is_null()
                        || is_asked_about(table) && index_may_tell(table, index)
                    {
                        Rows
                    } else if (*index).unique {
                        Unique(columns((*index).indexParams))
                    } else {
                        Definition
                    };
                    found.push(Some(table), "CREATE INDEX", reach);
                }
            }
            T_CreateStatsStmt => {
                let statistics = node.cast::<pg_sys::CreateStatsStmt>();
                let mut plain = true;
                each((*statistics).exprs, |element| {
                    plain = plain && (*element.cast::<pg_sys::StatsElem>()).expr.is_null();
                });
                each((*statistics).relations, |relation| {
                    let reach = if plain { Definition } else { Rows };
                    found.push(table(relation.cast()), "CREATE STATISTICS", reach);
                });
            }
            T_CreatePolicyStmt => {
                let policy = node.cast::<pg_sys::CreatePolicyStmt>();
                found.push(table((*policy).table), "CREATE POLICY", Isolation);
            }
            T_AlterPolicyStmt => {
                let policy = node.cast::<pg_sys::AlterPolicyStmt>();
                found.push(table((*policy).table), "ALTER POLICY", Isolation);
            }
            T_CreateTrigStmt => {
                let trigger = node.cast::<pg_sys::CreateTrigStmt>();
                let function =
                    pg_sys::LookupFuncName((*trigger).funcname, 0, std::ptr::null(), true);
                let reach = if function == pg_sys::Oid::INVALID || is_a_users(function) {
                    Rows
                } else {
                    Definition
                };
                found.push(table((*trigger).relation), "CREATE TRIGGER", reach);
            }
            T_RuleStmt => {
                let rule = node.cast::<pg_sys::RuleStmt>();
                found.push(table((*rule).relation), "CREATE RULE", Rows);
            }
            T_CreateStmt | T_CreateForeignTableStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                each((*create).inhRelations, |parent| {
                    let parent = table(parent.cast());
                    found.push(parent, "CREATE TABLE", Parts);
                    if !(*create).partbound.is_null() {
                        found.push_default(parent, "CREATE TABLE PARTITION OF");
                    }
                });
            }
            T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                let reach = if (*rename).renameType == OBJECT_POLICY {
                    Isolation
                } else {
                    Definition
                };
                found.push(table((*rename).relation), "ALTER TABLE RENAME", reach);
            }
            T_AlterObjectSchemaStmt => {
                let alter = node.cast::<pg_sys::AlterObjectSchemaStmt>();
                found.push(
                    table((*alter).relation),
                    "ALTER TABLE SET SCHEMA",
                    Definition,
                );
            }
            T_DropStmt => drop_statement(node.cast(), found),
            T_GrantStmt => {
                let grant = node.cast::<pg_sys::GrantStmt>();
                if (*grant).targtype == pg_sys::GrantTargetType::ACL_TARGET_OBJECT
                    && (*grant).objtype == OBJECT_TABLE
                {
                    each((*grant).objects, |object| {
                        found.push(table(object.cast()), "GRANT", Definition);
                    });
                }
            }
            T_CreatePublicationStmt => {
                publish(
                    (*node.cast::<pg_sys::CreatePublicationStmt>()).pubobjects,
                    found,
                );
            }
            T_AlterPublicationStmt => {
                let alter = node.cast::<pg_sys::AlterPublicationStmt>();
                if (*alter).action != pg_sys::AlterPublicationAction::AP_DropObjects {
                    publish((*alter).pubobjects, found);
                }
            }
            T_AlterDomainStmt => {
                let alter = node.cast::<pg_sys::AlterDomainStmt>();
                // C adds a constraint, V validates one, O is SET NOT NULL, T changes the default.
                if matches!((*alter).subtype as u8, b'C' | b'V' | b'O')
                    || (*alter).subtype as u8 == b'T' && default_is_a_users((*alter).def)
                {
                    let name = pg_sys::makeTypeNameFromNameList((*alter).typeName);
                    let domain = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), name, true);
                    tell(|on| (on.domain)(domain));
                }
            }
            T_LockStmt => {
                let lock = node.cast::<pg_sys::LockStmt>();
                if (*lock).mode > pg_sys::RowExclusiveLock as i32 {
                    each((*lock).relations, |relation| {
                        found.push(table(relation.cast()), "LOCK TABLE", Lock);
                    });
                }
            }
            T_ClusterStmt => {
                let cluster = node.cast::<pg_sys::ClusterStmt>();
                found.push(table((*cluster).relation), "CLUSTER", Lock);
            }
            T_ReindexStmt => {
                let reindex = node.cast::<pg_sys::ReindexStmt>();
                found.push(table((*reindex).relation), "REINDEX", Lock);
            }
            T_VacuumStmt => {
                let vacuum = node.cast::<pg_sys::VacuumStmt>();
                let mut full = false;
                each((*vacuum).options, |option| {
                    let option = option.cast::<pg_sys::DefElem>();
                    full = full || CStr::from_ptr((*option).defname) == c"full";
                });
                if full {
                    each((*vacuum).rels, |relation| {
                        let relation = relation.cast::<pg_sys::VacuumRelation>();
                        found.push(table((*relation).relation), "VACUUM FULL", Lock);
                    });
                }
            }
            _ => {}
        }
    }
}

unsafe fn publish(objects: *mut pg_sys::List, found: &mut Changes) {
    // SAFETY: a publication's objects, of which tables have a name.
    unsafe {
        each(objects, |object| {
            let published = (*object.cast::<pg_sys::PublicationObjSpec>()).pubtable;
            if !published.is_null() {
                found.push(table((*published).relation), "PUBLICATION", Reach::Rows);
            }
        });
    }
}

unsafe fn drop_statement(drop: *mut pg_sys::DropStmt, found: &mut Changes) {
    use pg_sys::ObjectType::*;
    // SAFETY: what is dropped is named by lists of strings, of which the last names a table's policy, rule or trigger.
    unsafe {
        let kind = (*drop).removeType;
        let (command, reach): (_, fn() -> Reach) = match kind {
            OBJECT_TABLE => ("DROP TABLE", || Reach::Definition),
            OBJECT_POLICY => ("DROP POLICY", || Reach::Isolation),
            OBJECT_TRIGGER => ("DROP TRIGGER", || Reach::Definition),
            OBJECT_RULE => ("DROP RULE", || Reach::Definition),
            OBJECT_EXTENSION => {
                each((*drop).objects, |name| {
                    if CStr::from_ptr((*name.cast::<pg_sys::String>()).sval) == c"tenancy" {
                        let cascade = (*drop).behavior == pg_sys::DropBehavior::DROP_CASCADE;
                        if cascade {
                            tell(|on| (on.drop)());
                        }
                    }
                });
                return;
            }
            _ => return,
        };
        each((*drop).objects, |object| {
            let mut names = object.cast::<pg_sys::List>();
            if kind != OBJECT_TABLE {
                if (*names).length < 2 {
                    return;
                }
                names = pg_sys::list_truncate(pg_sys::list_copy(names), (*names).length - 1);
            }
            let name = pg_sys::makeRangeVarFromNameList(names);
            found.push(table(name), command, reach());
        });
    }
}

unsafe fn alter_table(alter: *mut pg_sys::AlterTableStmt, found: &mut Changes) {
    use Reach::*;
    use pg_sys::AlterTableType as Kind;
    // SAFETY: a statement's list holds commands, each of which has the definition that its kind asks for.
    unsafe {
        let Some(altered) = table((*alter).relation) else {
            return;
        };
        let protected = is_asked_about(altered);
        each((*alter).cmds, |command| {
            let command = command.cast::<pg_sys::AlterTableCmd>();
            let (name, def) = ((*command).name, (*command).def);
            match (*command).subtype {
                Kind::AT_AddInherit => found.push(table(def.cast()), "INHERIT", Definition),
                Kind::AT_AttachPartition => {
                    // The server compares its rows, and those of the default partition, with the bounds.
                    let partition = (*def.cast::<pg_sys::PartitionCmd>()).name;
                    found.push(table(partition), "ATTACH PARTITION", Contents);
                    found.push_default(Some(altered), "ATTACH PARTITION");
                }
                _ => {}
            }
            if !protected {
                if (*alter).objtype == pg_sys::ObjectType::OBJECT_TYPE {
                    found.push(Some(altered), "ALTER TYPE", Definition);
                }
                return;
            }
            let mut push = |command, reach| found.push(Some(altered), command, reach);
            match (*command).subtype {
                Kind::AT_DisableRowSecurity => push("DISABLE ROW LEVEL SECURITY", Isolation),
                Kind::AT_NoForceRowSecurity => push("NO FORCE ROW LEVEL SECURITY", Isolation),
                Kind::AT_DropColumn => push("DROP COLUMN", Column(text(name))),
                Kind::AT_AlterColumnType => {
                    let column = def.cast::<pg_sys::ColumnDef>();
                    push("ALTER COLUMN TYPE", Type(text(name)));
                    if !(*column).raw_default.is_null()
                        || conversion_may_tell(altered, name, (*column).typeName)
                    {
                        push("ALTER COLUMN TYPE", Rows);
                    }
                }
                Kind::AT_ColumnDefault if default_is_a_users(def) => push("SET DEFAULT", Rows),
                Kind::AT_ColumnDefault => push("ALTER COLUMN DEFAULT", Column(text(name))),
                Kind::AT_AddColumn => push("ADD COLUMN", added(def.cast())),
                Kind::AT_AddConstraint => {
                    let (command, reach) = constraint(def.cast());
                    push(command, reach);
                }
                Kind::AT_ValidateConstraint => push("VALIDATE CONSTRAINT", Rows),
                _ => push("ALTER TABLE", Definition),
            }
        });
    }
}

unsafe fn constraint(constraint: *mut pg_sys::Constraint) -> (&'static str, Reach) {
    use pg_sys::ConstrType::*;
    // SAFETY: the caller's.
    unsafe {
        match (*constraint).contype {
            CONSTR_CHECK => ("ADD CHECK", Reach::Rows),
            CONSTR_EXCLUSION => ("ADD EXCLUDE", Reach::Rows),
            CONSTR_UNIQUE | CONSTR_PRIMARY if (*constraint).indexname.is_null() => {
                let mut keys = Vec::new();
                each((*constraint).keys, |key| {
                    keys.push(text((*key.cast::<pg_sys::String>()).sval));
                });
                ("ADD CONSTRAINT", Reach::Unique(keys))
            }
            CONSTR_FOREIGN if !(*constraint).skip_validation => ("ADD FOREIGN KEY", Reach::Rows),
            _ => ("ADD CONSTRAINT", Reach::Definition),
        }
    }
}

/// A new column is filled for all rows. Its default may be a constant, or call only functions of the server.
unsafe fn added(column: *mut pg_sys::ColumnDef) -> Reach {
    use pg_sys::ConstrType::*;
    // SAFETY: a column's constraints, as the grammar makes them.
    unsafe {
        let (mut rows, mut has_default) = (false, false);
        each((*column).constraints, |of| {
            let of = of.cast::<pg_sys::Constraint>();
            match (*of).contype {
                CONSTR_DEFAULT => {
                    has_default = true;
                    rows = rows || default_is_a_users((*of).raw_expr);
                }
                CONSTR_GENERATED | CONSTR_CHECK => rows = true,
                _ => {}
            }
        });
        if has_default && !rows {
            let of = pg_sys::LookupTypeNameOid(std::ptr::null_mut(), (*column).typeName, true);
            rows = is_a_users_type(of);
        }
        if rows { Reach::Rows } else { Reach::Definition }
    }
}

/// Returns whether a relation is a view.
pub fn is_view(table: pg_sys::Oid) -> bool {
    relation::read(table, |class| class.relkind as u8 == pg_sys::RELKIND_VIEW).unwrap_or(false)
}
