//! The statement that an event trigger follows, read from its parse tree: what the catalogs do not say after it has run.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use crate::pg::nodes::{Name, each};

/// The statement that an event trigger follows.
pub struct Statement(*mut pg_sys::Node);

/// A GRANT.
#[derive(Default)]
pub struct Grant {
    /// Relations that it names.
    pub relations: Vec<pg_sys::Oid>,
    /// Schemas all of whose relations it means.
    pub relations_of: Vec<String>,
    /// Functions and procedures that it names.
    pub functions: Vec<pg_sys::Oid>,
    /// Schemas all of whose functions or procedures it means.
    pub functions_of: Vec<String>,
    /// The roles that it grants to; the invalid oid is PUBLIC.
    pub roles: Vec<pg_sys::Oid>,
}

/// What gets another name.
pub enum Renamed {
    /// A schema.
    Schema {
        /// Its name before.
        old: String,
        /// Its name now.
        new: String,
    },
    /// A relation, by the name that the statement has for it.
    Relation(String),
    /// A relation that goes into another schema, from this one if the statement names it.
    Moved {
        /// The schema before.
        schema: Option<String>,
        /// The relation's name.
        name: String,
    },
}

impl Statement {
    /// Takes the statement of an event trigger's data.
    ///
    /// # Safety
    /// The node is NULL or the parse tree of a statement, for as long as this lives.
    pub unsafe fn new(node: *mut pg_sys::Node) -> Self {
        Self(node)
    }

    /// Returns whether it creates a table from a query.
    pub fn copies(&self) -> bool {
        // SAFETY: the tag identifies the statement.
        unsafe {
            tag(self.0) == Some(pg_sys::NodeTag::T_CreateTableAsStmt)
                && (*self.0.cast::<pg_sys::CreateTableAsStmt>()).objtype
                    == pg_sys::ObjectType::OBJECT_TABLE
        }
    }

    /// Returns what it gives another name, if that is a schema or a relation with rows. ALTER INDEX renames tables, too.
    pub fn renamed(&self) -> Option<Renamed> {
        use pg_sys::ObjectType::*;
        let relations = [
            OBJECT_TABLE,
            OBJECT_VIEW,
            OBJECT_MATVIEW,
            OBJECT_FOREIGN_TABLE,
            OBJECT_INDEX,
        ];
        // SAFETY: the tag identifies the statement, and the kind of object what is set in it.
        unsafe {
            match tag(self.0)? {
                pg_sys::NodeTag::T_RenameStmt => {
                    let rename = &*self.0.cast::<pg_sys::RenameStmt>();
                    if rename.renameType == OBJECT_SCHEMA {
                        return Some(Renamed::Schema {
                            old: text(rename.subname)?,
                            new: text(rename.newname)?,
                        });
                    }
                    let named =
                        relations.contains(&rename.renameType) && !rename.relation.is_null();
                    (named.then(|| text((*rename.relation).relname)))
                        .flatten()
                        .map(Renamed::Relation)
                }
                pg_sys::NodeTag::T_AlterObjectSchemaStmt => {
                    let alter = &*self.0.cast::<pg_sys::AlterObjectSchemaStmt>();
                    if !relations.contains(&alter.objectType) || alter.relation.is_null() {
                        return None;
                    }
                    Some(Renamed::Moved {
                        schema: text((*alter.relation).schemaname),
                        name: text((*alter.relation).relname)?,
                    })
                }
                _ => None,
            }
        }
    }

    /// Returns what it grants on relations and functions, also within CREATE SCHEMA.
    pub fn grant(&self) -> Grant {
        let mut found = Grant::default();
        // SAFETY: the tag identifies the statement; a list of elements holds statements.
        unsafe {
            match tag(self.0) {
                Some(pg_sys::NodeTag::T_GrantStmt) => found.add(&*self.0.cast()),
                Some(pg_sys::NodeTag::T_CreateSchemaStmt) => {
                    let create = self.0.cast::<pg_sys::CreateSchemaStmt>();
                    each((*create).schemaElts, |element| {
                        if tag(element) == Some(pg_sys::NodeTag::T_GrantStmt) {
                            found.add(&*element.cast());
                        }
                    });
                }
                _ => {}
            }
        }
        found
    }
}

impl Grant {
    /// Adds what a statement grants; REVOKE nothing.
    unsafe fn add(&mut self, grant: &pg_sys::GrantStmt) {
        use pg_sys::GrantTargetType::{ACL_TARGET_ALL_IN_SCHEMA, ACL_TARGET_OBJECT};
        use pg_sys::ObjectType::{OBJECT_FUNCTION, OBJECT_PROCEDURE, OBJECT_ROUTINE, OBJECT_TABLE};
        let is_code = [OBJECT_FUNCTION, OBJECT_PROCEDURE, OBJECT_ROUTINE].contains(&grant.objtype);
        if !grant.is_grant || !is_code && grant.objtype != OBJECT_TABLE {
            return;
        }
        // SAFETY: lists hold the nodes that the grammar puts there for the kind of object; what is missing has the invalid oid.
        unsafe {
            each(grant.grantees, |role| {
                let role = role.cast::<pg_sys::RoleSpec>();
                self.roles.push(match (*role).roletype {
                    pg_sys::RoleSpecType::ROLESPEC_PUBLIC => pg_sys::Oid::INVALID,
                    _ => pg_sys::get_rolespec_oid(role, true),
                });
            });
            each(grant.objects, |object| match (grant.targtype, is_code) {
                (ACL_TARGET_OBJECT, false) => {
                    self.relations.extend(Name::copy(object.cast()).oid());
                }
                (ACL_TARGET_OBJECT, true) => self.functions.push(pg_sys::LookupFuncWithArgs(
                    grant.objtype,
                    object.cast(),
                    true,
                )),
                (ACL_TARGET_ALL_IN_SCHEMA, false) => self.relations_of.extend(string(object)),
                (ACL_TARGET_ALL_IN_SCHEMA, true) => self.functions_of.extend(string(object)),
                _ => {}
            });
        }
    }
}

unsafe fn tag(node: *mut pg_sys::Node) -> Option<pg_sys::NodeTag> {
    // SAFETY: the caller's: NULL or a node.
    (!node.is_null()).then(|| unsafe { (*node).type_ })
}

/// Returns a name in a list of names.
unsafe fn string(node: *mut pg_sys::Node) -> Option<String> {
    // SAFETY: the caller's: a node of a list of names.
    unsafe { text((*node.cast::<pg_sys::String>()).sval) }
}

unsafe fn text(name: *const c_char) -> Option<String> {
    if name.is_null() {
        return None;
    }
    // SAFETY: a name in a statement is a C string.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_string_lossy().into_owned())
}
