//! A statement's FROM clause: tables, views, derived tables, and their joins.

use super::conditions::{self, Spot, What};
use super::facts::{Relation, Shape};
use super::query::Maker;
use super::tables::{Kind, TABLES};

/// The columns that everything but a view of tenancy has.
pub const STANDARD: [&str; 7] = ["id", "ref", "k", "n", "mark", "secret", "flag"];

/// An item of FROM.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where conditions go.
    pub spot: Spot,
    /// Whether its rows can be locked.
    pub lockable: bool,
}

impl Item {
    /// Its columns, with its alias.
    pub fn columns(&self) -> Vec<String> {
        let a = &self.spot.alias;
        match &self.spot.what {
            What::Marks { .. } => STANDARD.iter().map(|c| format!("{a}.{c}")).collect(),
            What::Texts { column, other, .. } => {
                vec![format!("{a}.{column}"), format!("{a}.{other}")]
            }
        }
    }

    /// Whether it has the standard columns.
    pub fn is_standard(&self) -> bool {
        matches!(self.spot.what, What::Marks { .. })
    }

    /// A number that is small, and one that is a row's own.
    fn numbers(&self) -> (String, String) {
        let a = &self.spot.alias;
        match &self.spot.what {
            What::Marks { .. } => (format!("{a}.k"), format!("{a}.id")),
            What::Texts { column, .. } => (
                format!("length({a}.{column})"),
                format!("length({a}.{column})"),
            ),
        }
    }
}

impl Maker<'_> {
    /// A protected table or a view on one.
    pub fn any_table(&mut self) -> Relation {
        // Only of the wide table a bitmap is lossy.
        if self.lossy && self.dice.chance(35) {
            return self.relations[TABLES.len() - 1];
        }
        loop {
            let relation = *self.dice.of(self.relations);
            if matches!(relation.shape, Shape::Table(_)) {
                return relation;
            }
        }
    }

    /// What there is to know of a table.
    pub fn marks(&self, relation: Relation, full: bool) -> What {
        let Shape::Table(table) = relation.shape else {
            unreachable!("a table");
        };
        let name = TABLES[table].name;
        let mut foreign = self.facts.foreign[name].clone();
        if foreign.is_empty() {
            foreign.push(999);
        }
        What::Marks {
            own: self.facts.own[name].clone(),
            foreign,
            suffixes: if full {
                self.facts.suffixes.clone()
            } else {
                vec![]
            },
            full,
            places: full && relation.name == name,
            uuid: TABLES[table].key == "uuid",
        }
    }

    fn texts(&self, name: &str, column: &'static str, other: &'static str) -> What {
        let mut foreign = self.facts.foreign_texts[name].clone();
        if foreign.is_empty() {
            foreign.push("nosuch".to_owned());
        }
        What::Texts {
            column,
            other,
            foreign,
        }
    }

    /// An item with its text.
    fn item(&mut self, depth: usize) -> (String, Item) {
        let alias = self.alias();
        let roll = self.dice.roll(if depth == 0 { 78 } else { 100 });
        if roll < 14 && self.reads_own_views {
            let relation = loop {
                let relation = *self.dice.of(self.relations);
                if let Shape::Own(..) = relation.shape {
                    break relation;
                }
            };
            let Shape::Own(column, other) = relation.shape else {
                unreachable!("a view of tenancy");
            };
            let what = self.texts(relation.name, column, other);
            let item = Item {
                spot: Spot { alias, what },
                lockable: false,
            };
            let text = format!("{} {}", relation.name, item.spot.alias);
            return (text, item);
        }
        if roll < 78 {
            let relation = self.any_table();
            let Shape::Table(table) = relation.shape else {
                unreachable!("a table");
            };
            let base = relation.name == TABLES[table].name;
            let what = self.marks(relation, true);
            let sample = base && self.dice.chance(3);
            let only = base && TABLES[table].kind == Kind::Parent && self.dice.chance(20);
            let text = format!(
                "{}{} {alias}{}",
                if only { "ONLY " } else { "" },
                relation.name,
                if sample {
                    " TABLESAMPLE BERNOULLI (100)"
                } else {
                    ""
                }
            );
            let lockable = base && !sample && self.facts.writes_all(table);
            return (
                text,
                Item {
                    spot: Spot { alias, what },
                    lockable,
                },
            );
        }
        let (sql, what) = self.derived(depth - 1);
        let item = Item {
            spot: Spot {
                alias: alias.clone(),
                what,
            },
            lockable: false,
        };
        if self.dice.chance(30) {
            let name = format!("c{}", self.ctes.len());
            let how = *self.dice.of(&["", "MATERIALIZED ", "NOT MATERIALIZED "]);
            self.ctes.push(format!("{name} AS {how}({sql})"));
            return (format!("{name} {alias}"), item);
        }
        (format!("({sql}) {alias}"), item)
    }

    /// FROM with one to three items; conditions may have been put into ON.
    pub fn from(&mut self, depth: usize) -> (String, Vec<Item>) {
        let (mut text, first) = self.item(depth);
        let mut items = vec![first];
        let more = *self.dice.of(&[0, 0, 0, 1, 1, 1, 2]);
        for _ in 0..more {
            if items[0].is_standard() && depth > 0 && self.dice.chance(15) {
                let (lateral, item) = self.lateral(&items[0].spot.alias.clone());
                text += &lateral;
                items.push(item);
                continue;
            }
            let (other, mut item) = self.item(depth);
            let left = self.dice.of(&items).clone();
            let mut on = self.on(&left, &item);
            let join = *self.dice.of(&[
                "JOIN",
                "JOIN",
                "JOIN",
                "LEFT JOIN",
                "LEFT JOIN",
                "RIGHT JOIN",
                "FULL JOIN",
            ]);
            if join != "FULL JOIN" && self.dice.chance(35) {
                let spot = if self.dice.chance(50) {
                    &left.spot
                } else {
                    &item.spot
                }
                .clone();
                on += &format!(" AND {}", self.leak(&spot));
            }
            if join != "JOIN" {
                item.lockable = false;
                for item in &mut items {
                    item.lockable = false;
                }
            }
            text += &format!(" {join} {other} ON {on}");
            items.push(item);
        }
        (text, items)
    }

    /// How two items are joined. Never by `n` or the mark: a condition on one item would then apply to the other too, and be evaluated
    /// there.
    fn on(&mut self, left: &Item, right: &Item) -> String {
        let ((k, id), (other_k, other_id)) = (left.numbers(), right.numbers());
        let (a, b) = (&left.spot.alias, &right.spot.alias);
        let standard = left.is_standard() && right.is_standard();
        match self.dice.roll(8) {
            0 | 1 if standard => format!("{a}.id = {b}.ref"),
            2 if standard => format!("{a}.ref = {b}.id"),
            3 if standard => format!("{a}.secret = {b}.secret AND {a}.id = {b}.id"),
            4 if standard => format!("{a}.id = {b}.id AND {a}.k >= {b}.k - 20"),
            5 if standard && left.has_uuid() && right.has_uuid() => {
                format!("{a}.tenant_id = {b}.tenant_id AND {a}.id = {b}.ref")
            }
            _ => format!("{id} = {other_id} AND {k} = {other_k}"),
        }
    }

    fn lateral(&mut self, outer: &str) -> (String, Item) {
        let relation = self.any_table();
        let (inner, alias) = (self.alias(), self.alias());
        let what = self.marks(relation, true);
        let spot = Spot {
            alias: inner.clone(),
            what,
        };
        let leak = self.leak(&spot);
        let columns: Vec<String> = STANDARD.iter().map(|c| format!("{inner}.{c}")).collect();
        let order = if self.dice.chance(50) {
            format!(" ORDER BY {inner}.id LIMIT 2")
        } else {
            String::new()
        };
        let join = *self.dice.of(&["CROSS JOIN LATERAL", "LEFT JOIN LATERAL"]);
        let on = if join.starts_with("LEFT") {
            " ON true"
        } else {
            ""
        };
        let text = format!(
            " {join} (SELECT {} FROM {} {inner} WHERE {inner}.ref = {outer}.id AND {leak}{order}) {alias}{on}",
            columns.join(", "),
            relation.name
        );
        let what = self.marks(relation, false);
        (
            text,
            Item {
                spot: Spot { alias, what },
                lockable: false,
            },
        )
    }

    /// A query with the standard columns: of one table, grouped, numbered, a union of two, recursive.
    fn derived(&mut self, depth: usize) -> (String, What) {
        let relation = self.any_table();
        let x = self.alias();
        let spot = Spot {
            alias: x.clone(),
            what: self.marks(relation, true),
        };
        let what = self.marks(relation, false);
        let condition = if self.dice.chance(50) {
            self.leak(&spot)
        } else {
            conditions::plain(&mut self.dice, &spot)
        };
        let list = |a: &str| -> String {
            let all: Vec<String> = STANDARD.iter().map(|c| format!("{a}.{c}")).collect();
            all.join(", ")
        };
        let simple = format!(
            "SELECT {} FROM {} {x} WHERE {condition}",
            list(&x),
            relation.name
        );
        match self.dice.roll(7) {
            0 => (
                format!(
                    "SELECT min({x}.id) AS id, max({x}.ref) AS ref, {x}.k, min({x}.n) AS n, {x}.mark, {x}.secret, bool_or({x}.flag) AS flag FROM {} {x} WHERE {condition} GROUP BY {x}.k, {x}.mark, {x}.secret",
                    relation.name
                ),
                what,
            ),
            1 => (
                format!(
                    "SELECT {}, row_number() OVER (PARTITION BY {x}.mark ORDER BY {x}.id) AS nr FROM {} {x} WHERE {condition}",
                    list(&x),
                    relation.name
                ),
                what,
            ),
            2 => {
                let (y, other) = (self.alias(), self.any_table());
                let how =
                    *self
                        .dice
                        .of(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT", "UNION ALL"]);
                let what = both(what, self.marks(other, false));
                (
                    format!("{simple} {how} SELECT {} FROM {} {y}", list(&y), other.name),
                    what,
                )
            }
            3 => (
                format!(
                    "SELECT DISTINCT {} FROM {} {x} WHERE {condition}",
                    list(&x),
                    relation.name
                ),
                what,
            ),
            4 if !self.recursive && depth > 0 => {
                self.recursive = true;
                let (y, name) = (self.alias(), format!("r{}", self.ctes.len()));
                self.ctes.push(format!(
                    "{name} AS ({simple} AND {x}.id < 60 UNION SELECT {} FROM {} {y} JOIN {name} z ON {y}.id = z.ref)",
                    list(&y),
                    relation.name
                ));
                (format!("SELECT {} FROM {name} {x}", list(&x)), what)
            }
            5 => (
                format!(
                    "SELECT {} FROM {} {x} WHERE {condition} ORDER BY {x}.id LIMIT 150",
                    list(&x),
                    relation.name
                ),
                what,
            ),
            _ => (simple, what),
        }
    }
}

impl Item {
    fn has_uuid(&self) -> bool {
        matches!(
            self.spot.what,
            What::Marks {
                full: true,
                uuid: true,
                ..
            }
        )
    }
}

/// What is known of rows of either.
fn both(one: What, other: What) -> What {
    let (
        What::Marks {
            mut own, foreign, ..
        },
        What::Marks {
            own: own2,
            foreign: foreign2,
            ..
        },
    ) = (one, other)
    else {
        unreachable!("tables");
    };
    own.extend(own2);
    own.sort_unstable();
    own.dedup();
    let mut common: Vec<i32> = foreign
        .into_iter()
        .chain(foreign2)
        .filter(|f| !own.contains(f))
        .collect();
    common.sort_unstable();
    common.dedup();
    if common.is_empty() {
        common.push(999);
    }
    What::Marks {
        own,
        foreign: common,
        suffixes: vec![],
        full: false,
        places: false,
        uuid: false,
    }
}
