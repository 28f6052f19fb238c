//! What the names of decisions mean.

use super::facts::{Choices, Decision};

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

impl Choices {
    /// Returns what is wrong with a decision and what to do, by what it names.
    #[must_use]
    pub fn fault(&self, name: &str, named: Named) -> Option<(String, &'static str)> {
        let decision = self.decisions.get(name);
        let (skips, leaves_alone) = (
            decision.is_some_and(|d| d.skip),
            decision.is_some_and(Decision::leaves_alone),
        );
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
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn choices(decisions: Value) -> Choices {
        serde_json::from_value(json!({ "partner": "", "decisions": decisions })).unwrap()
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
}
