//! The steps for row security: flags and policies, on the table and its parts.

use super::super::access::{access, is_own_permissive};
use super::super::facts::Member;
use super::super::statements::{TO_ALL, TO_OWNER};
use super::super::undo::{DORMANT, UndoItem};
use super::super::{StepKind, statements};
use super::Builder;

impl<'a> Builder<'a> {
    pub(super) fn remember_flags(&mut self, i: usize, member: &Member) {
        let before = member.before();
        let rls = if before.rls { "ENABLE" } else { "DISABLE" };
        let force = if before.force { "FORCE" } else { "NO FORCE" };
        if !before.rls && member.policies.iter().any(is_own_permissive) {
            self.undo(i, UndoItem::new(DORMANT, ""));
        }
        self.undo(
            i,
            UndoItem::new("rls", format!("ALTER TABLE %1$s {rls} ROW LEVEL SECURITY")),
        );
        self.undo(
            i,
            UndoItem::new(
                "force",
                format!("ALTER TABLE %1$s {force} ROW LEVEL SECURITY"),
            ),
        );
    }

    /// Adds ENABLE, FORCE and the policies for one member.
    pub(super) fn isolate(&mut self, i: usize, tell: bool) {
        let Some(member) = self.facts.members.get(i) else {
            return;
        };
        let force = self.force.get(i).copied().unwrap_or_default();
        let table = &member.relation;
        self.remember_flags(i, member);
        for (so, verb, note) in [
            (member.rls, "ENABLE", "policies apply"),
            (force, "FORCE", "applies to the owner too"),
        ] {
            if tell || !so {
                self.ensure(
                    so,
                    format!("ALTER TABLE {table} {verb} ROW LEVEL SECURITY"),
                    note,
                );
            }
        }
        for wanted in self.policies.clone() {
            let there = member.policies.iter().find(|p| p.name == wanted.name);
            let so = there.is_some_and(|p| wanted.is(p));
            if there.is_some() && !so {
                self.push(
                    StepKind::Do,
                    format!("DROP POLICY {} ON {table}", wanted.name),
                    "it was altered",
                );
            }
            if tell || !so {
                self.ensure(so, wanted.create(table), wanted.note());
            }
        }
        self.let_through(i, tell);
    }

    /// Creates the permissive policy that one member needs for its guards to show rows, and drops one that it does not need.
    pub(super) fn let_through(&mut self, i: usize, tell: bool) {
        let Some(member) = self.facts.members.get(i) else {
            return;
        };
        let table = &member.relation;
        let needed = access(&member.policies, member.before()).policy();
        for name in [TO_ALL, TO_OWNER] {
            let wanted = statements::permissive(name, &member.owner);
            let there = member.policies.iter().find(|p| p.name == name);
            let so = there.is_some_and(|p| wanted.is(p));
            if needed != Some(name) {
                if there.is_some() {
                    self.push(
                        StepKind::Do,
                        format!("DROP POLICY {name} ON {table}"),
                        "the table's own policies decide",
                    );
                }
                continue;
            }
            if there.is_some() && !so {
                self.push(
                    StepKind::Do,
                    format!("DROP POLICY {name} ON {table}"),
                    "it was altered",
                );
            }
            if tell || !so {
                self.ensure(so, wanted.create(table), wanted.note());
            }
        }
    }
}
