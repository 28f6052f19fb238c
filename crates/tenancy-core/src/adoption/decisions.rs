//! What a decision may name, and how decisions follow a table or a schema that is renamed.

use std::collections::BTreeMap;

use super::facts::{Choices, Decision, NullRows, names};
use crate::policy::{Relation, quote_ident};

/// What a decision names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A table of the schemas.
    Table,
    /// A view, a materialized view or a foreign table of theirs.
    View,
    /// Nothing that they have, maybe yet.
    Absent,
    /// Something else.
    Other,
}

impl Decision {
    /// Returns why it cannot be meant.
    fn contradiction(&self) -> Option<&'static str> {
        let parents = self.parents.as_ref();
        if parents.is_some_and(BTreeMap::is_empty) {
            return Some("names no parents");
        }
        if self.skip && self.share {
            return Some("both skips and shares it");
        }
        if self.rest == Some(NullRows::Fill) {
            return Some("fills what cannot be filled");
        }
        let ways = [
            self.parent_key.is_some(),
            parents.is_some(),
            self.by_referrers,
        ];
        let several = ways.iter().filter(|way| **way).count() > 1;
        // Of a column that is filled the parents are the rest of the way.
        let fills = self.null_rows == Some(NullRows::Fill) && !self.by_referrers;
        let with_column = self.tenant_column.is_some() && ways.contains(&true) && !fills;
        (several || with_column).then_some("names several ways to its tenant")
    }
}

impl Choices {
    /// Returns what is wrong with a decision and what to do, by what it names.
    #[must_use]
    pub fn fault(&self, name: &str, named: Named) -> Option<(String, &'static str)> {
        let decision = self.decisions.get(name);
        let (skips, leaves_alone) = (
            decision.is_some_and(|d| d.skip),
            decision.is_some_and(Decision::leaves_alone),
        );
        if let Some(reason) = decision.and_then(Decision::contradiction) {
            return Some((
                format!("the decision on {name} {reason}"),
                "A table has one way to its tenant: tenant_column, parent_key, parents or by_referrers; skip and share leave it as it is.",
            ));
        }
        match named {
            Named::Table => None,
            Named::View if skips => None,
            Named::View => Some((
                format!("decisions name {name}, which is no table"),
                "Of a view, a materialized view or a foreign table there is one decision: {\"skip\": true}.",
            )),
            Named::Absent if leaves_alone => None,
            Named::Absent | Named::Other => Some((
                format!("decisions name {name}, which is no table of the schemas"),
                "Write the table's name with its schema. Only {\"skip\": true} or {\"share\": true} may be decided before there is a table.",
            )),
        }
    }

    /// Returns which arguments of adopt() these change, with the tables of decisions that are not made any more.
    #[must_use]
    pub fn changed(&self, before: &Self) -> Vec<String> {
        let arguments = [
            ("grants", self.grants != before.grants),
            ("partner", self.partner != before.partner),
            ("named_keys", self.named_keys != before.named_keys),
            ("tenant_column", self.tenant_column != before.tenant_column),
            ("tenant_key", self.tenant_key != before.tenant_key),
            ("null_rows", self.null_rows != before.null_rows),
            ("decisions", self.decisions != before.decisions),
        ];
        let mut changed: Vec<String> = (arguments.iter())
            .filter(|(_, changes)| *changes)
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let mut gone: Vec<&str> = (before.decisions.keys())
            .filter(|name| !self.decisions.contains_key(*name))
            .map(String::as_str)
            .collect();
        gone.sort_unstable();
        if let Some(last) = changed.last_mut().filter(|_| !gone.is_empty()) {
            last.push_str(&format!(" (no more on {})", gone.join(", ")));
        }
        changed
    }

    /// Gives a decision the new name of its table. Returns whether there was one.
    pub fn rename(&mut self, old: &Relation, new: &Relation) -> bool {
        let renamed = |name: &String| names(old).contains(name).then(|| new.to_string());
        let parent_renamed = self.rename_parents(renamed);
        let mut found = None;
        for name in names(old) {
            found = found.or(self.decisions.remove(&name));
        }
        let Some(decision) = found else {
            return parent_renamed;
        };
        for name in names(new) {
            self.decisions.remove(&name);
        }
        self.decisions.insert(new.to_string(), decision);
        true
    }

    /// Gives the decisions on tables of a schema the schema's new name. Returns whether there was one.
    pub fn rename_schema(&mut self, old: &str, new: &str) -> bool {
        let prefixes = [
            (format!("{old}."), format!("{new}.")),
            (
                format!("{}.", quote_ident(old)),
                format!("{}.", quote_ident(new)),
            ),
        ];
        let renamed = |name: &String| {
            let mut prefixes = prefixes.iter();
            prefixes.find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)))
        };
        let all: Vec<(String, String)> = (self.decisions.keys())
            .filter_map(|name| Some((name.clone(), renamed(name)?)))
            .collect();
        let parent_renamed = self.rename_parents(renamed);
        for (old, new) in &all {
            if let Some(decision) = self.decisions.remove(old) {
                self.decisions.insert(new.clone(), decision);
            }
        }
        parent_renamed || !all.is_empty()
    }

    /// Gives the tables through which others belong to a tenant their new names. Returns whether there was one.
    fn rename_parents(&mut self, renamed: impl Fn(&String) -> Option<String>) -> bool {
        let decisions = self.decisions.values_mut();
        let parents = decisions.filter_map(|decision| decision.parents.as_mut());
        let mut any = false;
        for parent in parents.flat_map(|parents| parents.values_mut()) {
            if let Some(new) = renamed(parent) {
                *parent = new;
                any = true;
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn choices(decisions: Value) -> Choices {
        serde_json::from_value(json!({ "partner": "", "decisions": decisions })).unwrap()
    }

    fn relation(schema: &str, name: &str) -> Relation {
        Relation {
            schema: schema.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn only_what_stays_open_is_decided_beforehand() {
        let choices = choices(json!({
            "app.skipped": { "skip": true }, "app.shared": { "share": true }, "app.column": { "tenant_column": "a" },
        }));
        let wrong = |name, named| choices.fault(name, named).is_some();
        for name in ["app.skipped", "app.shared", "app.column"] {
            assert!(!wrong(name, Named::Table));
            assert!(wrong(name, Named::Other));
        }
        assert!(!wrong("app.skipped", Named::Absent) && !wrong("app.shared", Named::Absent));
        assert!(wrong("app.column", Named::Absent));
        assert!(!wrong("app.skipped", Named::View) && wrong("app.shared", Named::View));
    }

    #[test]
    fn a_decision_says_one_thing() {
        for (decision, wrong) in [
            (json!({"parents": {}}), true),
            (json!({"skip": true, "share": true}), true),
            (json!({"null_rows": "fill", "rest": "fill"}), true),
            (json!({"parent_key": "k", "parents": {"a": "app.b"}}), true),
            (json!({"by_referrers": true, "parent_key": "k"}), true),
            (
                json!({"by_referrers": true, "tenant_column": "t", "null_rows": "fill"}),
                true,
            ),
            (json!({"tenant_column": "t", "parent_key": "k"}), true),
            (
                json!({"tenant_column": "t", "parent_key": "k", "null_rows": "fill"}),
                false,
            ),
            (json!({"null_rows": "fill", "rest": "hide"}), false),
            (
                json!({"parents": {"a": "app.b"}, "null_rows": "hide"}),
                false,
            ),
        ] {
            let choices = choices(json!({ "app.a": decision }));
            assert_eq!(
                choices.fault("app.a", Named::Table).is_some(),
                wrong,
                "{choices:?}"
            );
        }
    }

    #[test]
    fn a_decision_follows_its_table() {
        for name in ["app.Notes", "app.\"Notes\""] {
            let mut choices = choices(json!({ name: { "skip": true } }));
            let (old, new) = (relation("app", "Notes"), relation("other", "My Notes"));
            assert!(!choices.rename(&new, &old));
            assert!(choices.rename(&old, &new));
            assert!(choices.of(&new).is_some_and(|d| d.skip));
            // Another table of the old name is not decided on.
            assert!(choices.of(&old).is_none());
        }
        let mut choices = choices(json!({ "app.a": { "share": true }, "app.b": { "skip": true } }));
        assert!(choices.rename(&relation("app", "a"), &relation("app", "b")));
        assert!(choices.of(&relation("app", "b")).is_some_and(|d| d.share));
        assert_eq!(choices.decisions.len(), 1);
    }

    #[test]
    fn decisions_follow_their_schema() {
        let mut choices = choices(json!({
            "My App.a": { "skip": true }, "\"My App\".b": { "skip": true }, "application.a": { "skip": true },
        }));
        assert!(!choices.rename_schema("My", "Your"));
        assert!(choices.rename_schema("My App", "Your App"));
        for (schema, name, known) in [
            ("Your App", "a", true),
            ("Your App", "b", true),
            ("My App", "a", false),
            ("application", "a", true),
        ] {
            assert_eq!(choices.of(&relation(schema, name)).is_some(), known);
        }
    }
}
