//! Advice about indexes of protected tables: which of them isolation makes useless or slow, and what to create instead.
//!
//! The advice holds for `tenancy.index_search = own`. A policy's condition and leakproof conditions search any index. The other
//! conditions that reveal nothing ([`index_search`](super::index_search)) search a btree index that begins with the tenant column,
//! and a GIN or GiST index that has it. Without it, an index finds entries of all tenants.

mod definition;

use super::index_search::{has_known_families, is_known, operator};
use definition::Definition;

/// An index of a protected table, or of a part of it, as the catalogs describe it. Names are quoted.
#[derive(Clone, Debug)]
pub struct Index {
    /// The table, with its schema.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The tenant column.
    pub tenant: String,
    /// Its access method.
    pub method: String,
    /// The end of `pg_get_indexdef`, from its first key on.
    pub definition: String,
    /// The condition of a partial index.
    pub predicate: Option<String>,
    /// Its tablespace, if it is not the database's.
    pub tablespace: Option<String>,
    /// Its keys, without included columns.
    pub keys: Vec<Key>,
    /// Whether a unique key or an exclusion constraint needs it.
    pub constraint: bool,
    /// Whether its table is partitioned.
    pub partitioned: bool,
    /// Whether it is a part of an index of a partitioned table.
    pub part: bool,
    /// Whether queries may use it.
    pub valid: bool,
    /// For a hash index: whether a btree index may have the same key.
    pub has_btree: bool,
    /// What the planner does not look into, in its expressions or its condition: functions that are neither built in nor C nor
    /// leakproof, casts by text, collations.
    pub calls: Vec<String>,
    /// Whether the planner may replace all of these by what is in them.
    pub inlined: bool,
}

/// A key of an index.
#[derive(Clone, Debug)]
pub struct Key {
    /// Whether it is the tenant column.
    pub is_tenant: bool,
    /// Whether it is an expression.
    pub is_expression: bool,
    /// Its operator family.
    pub family: Family,
}

/// An operator family.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Whether its comparisons are the server's, or those of a known extension.
    pub known: bool,
    /// Whether conditions with its operators are leakproof.
    pub leakproof: bool,
    /// An operator that is not leakproof but may search an index with the tenant column.
    pub listed: Option<String>,
    /// Whether it orders by distance.
    pub orders: bool,
}

/// An operator of a family.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its function.
    pub function: u32,
    /// The function's name.
    pub function_name: String,
    /// The function's extension.
    pub extension: Option<String>,
    /// Whether the function is leakproof.
    pub leakproof: bool,
    /// Whether it orders, by a distance that never fails.
    pub orders: bool,
}

impl Family {
    /// Reads a family: its name, its extension if it is not the server's own, and its operators.
    pub fn new(name: &str, built_in: bool, extension: Option<&str>, operators: &[Member]) -> Self {
        let is_listed = |member: &&Member| {
            operator(member.function).is_some()
                || (member.extension.as_deref())
                    .is_some_and(|extension| is_known(extension, &member.function_name))
        };
        let listed = || operators.iter().filter(is_listed);
        // The ones that people know best.
        let known = ["&&", "@>", "@@", "~~", "="];
        let known = (known.iter()).find_map(|name| listed().find(|member| member.name == *name));
        Self {
            name: name.to_owned(),
            known: built_in || extension.is_some_and(has_known_families),
            leakproof: operators.iter().any(|member| member.leakproof),
            listed: (known.or_else(|| listed().next())).map(|member| match member.name.as_str() {
                "~~" => "LIKE".to_owned(),
                name => name.to_owned(),
            }),
            orders: operators.iter().any(|member| member.orders),
        }
    }
}

/// What isolation does to an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Conditions do not search it.
    Unused,
    /// It finds entries of all tenants, of which the others' are dropped.
    Slow,
    /// No index: an extension that the statements need.
    Extension,
}

impl Kind {
    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Slow => "slow",
            Self::Extension => "extension",
        }
    }
}

/// Advice about an index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advice {
    /// The table; None for an extension.
    pub table: Option<String>,
    /// The index; None for an extension.
    pub index: Option<String>,
    /// What isolation does to it.
    pub kind: Kind,
    /// Why, and what helps.
    pub advice: String,
    /// A statement that helps.
    pub statement: Option<String>,
}

/// Returns advice about indexes, which are sorted by table. Begins with the extensions that statements need and that are not among
/// the installed ones.
pub fn advise(indexes: &[Index], installed: &[String]) -> Vec<Advice> {
    let mut extensions = Vec::new();
    let mut found: Vec<Advice> = Vec::new();
    for table in indexes.chunk_by(|a, b| a.table == b.table) {
        let begin = found.len();
        for index in table.iter().filter(|index| index.valid && !index.part) {
            let Some((finding, remedy)) = about(index, table) else {
                continue;
            };
            let needed = finding.better.and_then(Method::extension);
            if let Some(needed) = needed
                && !installed.iter().any(|name| name == needed)
                && !extensions.contains(&needed)
            {
                extensions.push(needed);
            }
            let mut statement = remedy.map(|remedy| remedy.statement(index));
            let mut advice = finding.advice;
            // One index serves in place of several.
            let before = (found.iter().skip(begin))
                .find(|before| statement.is_some() && before.statement == statement);
            if let Some(name) = before.and_then(|before| before.index.as_ref()) {
                statement = None;
                advice = format!("{advice}; as for {name}");
            }
            found.push(Advice {
                table: Some(index.table.clone()),
                index: Some(index.name.clone()),
                kind: finding.kind,
                advice,
                statement,
            });
        }
    }
    let first = extensions.into_iter().map(|name| Advice {
        table: None,
        index: None,
        kind: Kind::Extension,
        advice: "the statements below need it".to_owned(),
        statement: Some(format!("CREATE EXTENSION {name}")),
    });
    first.chain(found).collect()
}

/// What is wrong with an index, and what serves better.
struct Finding {
    kind: Kind,
    advice: String,
    /// The access method of an index that serves better.
    better: Option<Method>,
    /// Whether that one has all rows, although this one is partial.
    whole: bool,
}

impl Finding {
    fn new(kind: Kind, better: impl Into<Option<Method>>, advice: impl Into<String>) -> Self {
        Self {
            kind,
            advice: advice.into(),
            better: better.into(),
            whole: false,
        }
    }

    fn whole(self) -> Self {
        Self {
            whole: true,
            ..self
        }
    }
}

/// An access method that has several keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Method {
    Btree,
    Gin,
    Gist,
}

impl Method {
    const fn name(self) -> &'static str {
        match self {
            Self::Btree => "btree",
            Self::Gin => "gin",
            Self::Gist => "gist",
        }
    }

    /// Returns the extension without which it cannot have the tenant column.
    const fn extension(self) -> Option<&'static str> {
        match self {
            Self::Btree => None,
            Self::Gin => Some("btree_gin"),
            Self::Gist => Some("btree_gist"),
        }
    }
}

/// The index to create.
struct Remedy<'a> {
    method: Method,
    /// Its keys after the tenant column.
    keys: Vec<String>,
    include: Vec<&'a str>,
    with: &'a str,
    predicate: Option<&'a str>,
}

/// Returns what is wrong with an index among those of its table, and what to create.
fn about<'a>(index: &'a Index, table: &[Index]) -> Option<(Finding, Option<Remedy<'a>>)> {
    let definition = Definition::read(&index.definition, index.predicate.as_deref())?;
    let mut finding = judge(index)?;
    let Some(method) = finding.better else {
        return (!index.constraint).then_some((finding, None));
    };
    let remedy = Remedy::new(index, definition, method, finding.whole);
    if table.iter().any(|other| remedy.is(other)) {
        return None;
    }
    if index.constraint {
        // Of a key, a condition finds one row of all tenants'.
        if finding.kind == Kind::Slow {
            return None;
        }
        finding.advice.push_str("; keep it for the key");
    }
    if index.partitioned {
        finding
            .advice
            .push_str("; writes wait while all partitions are indexed");
    }
    Some((finding, Some(remedy)))
}

/// Returns what is wrong with an index.
fn judge(index: &Index) -> Option<Finding> {
    use Kind::{Slow, Unused};
    use Method::{Btree, Gin, Gist};
    let keys = || index.keys.iter().filter(|key| !key.is_tenant);
    let first = keys().next()?;
    let computed = keys().any(|key| key.is_expression);
    let leakproof = |key: &Key| key.family.leakproof && !key.is_expression;
    // A btree index is searched from its first key on.
    let leakproof = match index.method.as_str() {
        "btree" => leakproof(first),
        _ => keys().any(leakproof),
    };
    // An index holds the results of its expressions: to compare those is leakproof, if to compute them is not.
    let listed = keys().find_map(|key| match &key.family.listed {
        None if key.is_expression && key.family.leakproof => Some("="),
        listed => listed.as_deref(),
    });
    let listed = listed.filter(|_| index.keys.iter().all(|key| key.family.known));
    let on_rows = "its conditions are evaluated on the tenant's rows";

    if !index.calls.is_empty() && !index.inlined && (computed || !leakproof) {
        let calls = index.calls.join(", ");
        let advice = format!("depends on {calls}: index a generated column in its place");
        return Some(Finding::new(Unused, None, advice));
    }
    let (method, by_tenant) = match index.method.as_str() {
        "btree" => (Btree, index.keys.first().is_some_and(|key| key.is_tenant)),
        "gin" => (Gin, index.keys.iter().any(|key| key.is_tenant)),
        "gist" => (Gist, index.keys.iter().any(|key| key.is_tenant)),
        _ if index.keys.iter().any(|key| key.is_tenant) => return None,
        _ => return Some(judge_other(index, first, leakproof)),
    };
    if computed && index.predicate.is_some() && listed.is_some() && !leakproof {
        let advice = "conditions do not search a partial index on an expression";
        return Some(Finding::new(Unused, method, advice).whole());
    }
    if by_tenant {
        return None;
    }
    if let Some(predicate) = &index.predicate
        && definition::compares(predicate, &index.tenant)
    {
        let advice = "its WHERE names a tenant, and a policy does not";
        return Some(Finding::new(Unused, method, advice).whole());
    }
    let orders = keys().any(|key| key.family.orders);
    Some(match (method, listed) {
        (Btree, _) if leakproof => Finding::new(Slow, Btree, "finds entries of all tenants"),
        (Btree, Some(operator)) => Finding::new(
            Unused,
            Btree,
            format!("conditions with {operator} need the tenant column first"),
        ),
        (Btree, None) => Finding::new(Slow, Btree, format!("sorts rows of all tenants; {on_rows}")),
        (_, Some(operator)) => Finding::new(
            Unused,
            method,
            format!("conditions with {operator} need the tenant column in it"),
        ),
        _ if leakproof => Finding::new(Slow, method, "finds entries of all tenants"),
        _ if orders => Finding::new(Slow, method, "orders rows of all tenants by distance"),
        _ => Finding::new(Unused, None, format!("its operators may fail: {on_rows}")),
    })
}

/// The same for an access method of one key, or an unknown one.
fn judge_other(index: &Index, key: &Key, leakproof: bool) -> Finding {
    use Method::{Btree, Gist};
    const ONE_KEY: &str = "an SP-GiST index cannot have the tenant column";
    let kind = if leakproof { Kind::Slow } else { Kind::Unused };
    let (better, advice) = match (index.method.as_str(), key.family.name.as_str()) {
        ("hash", _) => (
            index.has_btree.then_some(Btree),
            "a hash index cannot have the tenant column",
        ),
        ("spgist", "range_ops" | "network_ops") => (Some(Gist), ONE_KEY),
        ("spgist", "text_ops") => (Some(Btree), ONE_KEY),
        ("spgist", _) if key.family.known && key.family.orders => {
            let advice = "orders rows of all tenants by distance";
            return Finding::new(Kind::Slow, Gist, advice);
        }
        ("brin", _) => (
            None,
            "serves only scans of the whole table, as in maintenance()",
        ),
        ("hnsw" | "ivfflat", _) => {
            let advice =
                "finds neighbours of all tenants, and may leave too few: see the guide on vectors";
            return Finding::new(Kind::Slow, None, advice);
        }
        _ => (
            None,
            "conditions search an index of this method only if they are leakproof",
        ),
    };
    Finding::new(kind, better, advice)
}

impl<'a> Remedy<'a> {
    fn new(index: &'a Index, definition: Definition<'a>, method: Method, whole: bool) -> Self {
        let tenants = index.keys.iter().map(|key| key.is_tenant);
        let keys = definition.keys.iter().zip(tenants);
        let class = match (index.method.as_str(), method) {
            ("spgist", Method::Gist)
                if index.keys.iter().any(|k| k.family.name == "network_ops") =>
            {
                " inet_ops"
            }
            ("spgist", Method::Btree) => " text_pattern_ops",
            _ => "",
        };
        Self {
            method,
            keys: keys
                .filter(|(_, is_tenant)| !is_tenant)
                .map(|(key, _)| match key.strip_suffix(" kd_point_ops") {
                    Some(point) => point.to_owned(),
                    None => format!("{key}{class}"),
                })
                .collect(),
            include: (definition.include.into_iter())
                .filter(|column| *column != index.tenant)
                .collect(),
            with: definition.with,
            predicate: index.predicate.as_deref().filter(|_| !whole),
        }
    }

    /// Returns whether an index is as good as this one.
    fn is(&self, other: &Index) -> bool {
        let Some(definition) = Definition::read(&other.definition, other.predicate.as_deref())
        else {
            return false;
        };
        let has = |key: &String| definition.keys.contains(&key.as_str());
        let (first, others) = match (other.keys.split_first(), definition.keys.split_first()) {
            (Some((first, _)), Some((_, others))) => (first, others),
            _ => return false,
        };
        other.valid
            && other.method == self.method.name()
            && match self.method {
                Method::Btree => {
                    first.is_tenant
                        && others.len() >= self.keys.len()
                        && others.iter().zip(&self.keys).all(|(a, b)| a == b)
                }
                Method::Gin | Method::Gist => {
                    other.keys.iter().any(|key| key.is_tenant) && self.keys.iter().all(has)
                }
            }
            && (other.predicate.is_none() || other.predicate.as_deref() == self.predicate)
            && (self.include.iter())
                .all(|column| definition.include.contains(column) || has(&(*column).to_owned()))
    }

    fn statement(&self, index: &Index) -> String {
        // An index of a partitioned table cannot be created concurrently.
        let how = if index.partitioned {
            ""
        } else {
            "CONCURRENTLY "
        };
        let using = match self.method {
            Method::Btree => String::new(),
            method => format!("USING {} ", method.name()),
        };
        let mut keys = vec![index.tenant.clone()];
        keys.extend(self.keys.iter().cloned());
        let include = match self.include.as_slice() {
            [] => String::new(),
            columns => format!(" INCLUDE ({})", columns.join(", ")),
        };
        let tablespace = (index.tablespace.as_ref())
            .map_or_else(String::new, |name| format!(" TABLESPACE {name}"));
        let predicate =
            (self.predicate).map_or_else(String::new, |predicate| format!(" WHERE {predicate}"));
        format!(
            "CREATE INDEX {how}ON {} {using}({}){include}{}{tablespace}{predicate}",
            index.table,
            keys.join(", "),
            self.with
        )
    }
}

#[cfg(test)]
mod tests;
