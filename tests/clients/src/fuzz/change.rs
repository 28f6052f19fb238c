//! A random statement that writes. It takes its rows from those that the caller may write: `«w:table»` names a table's writable rows.

use super::conditions::{self, Spot, What};
use super::facts::{Relation, Shape};
use super::from::Item;
use super::query::Maker;
use super::tables::{COLUMNS, TABLES};

/// A statement that writes, and the table that it writes to.
pub struct Change {
    /// The statement.
    pub sql: String,
    /// The table's name.
    pub target: &'static str,
    /// Whether it returns rows.
    pub returns: bool,
}

impl Maker<'_> {
    fn target(&mut self) -> (usize, Item) {
        let table = self.dice.index(TABLES.len());
        let relation = Relation {
            name: TABLES[table].name,
            shape: Shape::Table(table),
        };
        let alias = self.alias();
        let mut what = self.marks(relation, true);
        if let What::Marks { places, .. } = &mut what {
            // In a copy it may be a view.
            *places = false;
        }
        let spot = Spot { alias, what };
        (
            table,
            Item {
                spot,
                lockable: false,
            },
        )
    }

    fn returning(&mut self, alias: &str) -> (String, bool) {
        if !self.dice.chance(50) {
            return (String::new(), false);
        }
        let a = alias;
        (format!(" RETURNING {a}.id, {a}.n, {a}.mark"), true)
    }

    /// Any of them.
    pub fn change(&mut self) -> Change {
        let (table, item) = self.target();
        let all = self.facts.writes_all(table);
        let mut change = match self.dice.roll(10) {
            0..3 => self.update(table, &item),
            3 | 4 => self.delete(table, &item),
            5 | 6 if all => self.insert(table, &item),
            7 | 8 if all => self.merge(table, &item),
            9 if all => self.count_by_merge(table, &item),
            _ => self.update(table, &item),
        };
        if change.returns && self.ctes.is_empty() && self.dice.chance(25) {
            change.sql = format!(
                "WITH w AS ({}) SELECT count(*), sum(w.n), max(w.id) FROM w",
                change.sql
            );
        }
        change
    }

    fn other(&mut self, item: &Item) -> (String, String) {
        let (from, items) = self.from(1);
        let a = &item.spot.alias;
        let on = if items[0].is_standard() {
            let b = &items[0].spot.alias;
            (*self
                .dice
                .of(&["A.id = B.ref", "A.ref = B.id", "A.id = B.id"]))
            .replace('A', a)
            .replace('B', b)
        } else {
            format!("{a}.k = 7")
        };
        let more = self.conditions(&items);
        (from, format!("{on} AND {more}"))
    }

    fn update(&mut self, table: usize, item: &Item) -> Change {
        let target = TABLES[table].name;
        let a = item.spot.alias.clone();
        let (mut from, mut on) = (String::new(), String::new());
        if self.dice.chance(40) {
            let (text, condition) = self.other(item);
            from = format!(" FROM {text}");
            on = format!(" AND {condition}");
        }
        let set = match self.dice.roll(4) {
            0 => format!("n = {a}.n + 1, pad = 'changed'"),
            1 => {
                let condition = conditions::tell_in_expression(&mut self.dice, &item.spot);
                self.kinds.push(condition.kind);
                format!("flag = (({}) IS NOT NULL)", condition.sql)
            }
            2 => format!("n = (SELECT count(*) FROM {target} x WHERE x.k = {a}.k)"),
            _ => format!("n = {a}.n + 1"),
        };
        let conditions = self.conditions(std::slice::from_ref(item));
        let (returning, returns) = self.returning(&a);
        let with = self.with();
        Change {
            sql: format!(
                "{with}UPDATE «w:{target}» {a} SET {set}{from} WHERE {conditions}{on}{returning}"
            ),
            target,
            returns,
        }
    }

    fn delete(&mut self, table: usize, item: &Item) -> Change {
        let target = TABLES[table].name;
        let a = item.spot.alias.clone();
        let (mut from, mut on) = (String::new(), String::new());
        if self.dice.chance(40) {
            let (text, condition) = self.other(item);
            from = format!(" USING {text}");
            on = format!(" AND {condition}");
        }
        let conditions = self.conditions(std::slice::from_ref(item));
        let (returning, returns) = self.returning(&a);
        let with = self.with();
        Change {
            sql: format!(
                "{with}DELETE FROM «w:{target}» {a}{from} WHERE {conditions}{on}{returning}"
            ),
            target,
            returns,
        }
    }

    fn insert(&mut self, table: usize, item: &Item) -> Change {
        let target = TABLES[table].name;
        let a = item.spot.alias.clone();
        let again = TABLES[table].has_key() && self.dice.chance(60);
        let values: Vec<String> = COLUMNS
            .split(", ")
            .map(|c| match c {
                "id" if !again => format!("{a}.id + 1000000"),
                c => format!("{a}.{c}"),
            })
            .collect();
        let conditions = self.conditions(std::slice::from_ref(item));
        let mut into = item.clone();
        into.spot.alias = self.alias();
        let b = into.spot.alias.clone();
        let conflict = if again {
            if self.dice.chance(40) {
                " ON CONFLICT DO NOTHING".to_owned()
            } else {
                let leak = conditions::tell_in_expression(&mut self.dice, &into.spot);
                self.kinds.push(leak.kind);
                format!(
                    " ON CONFLICT (id) DO UPDATE SET n = excluded.n + 1, pad = 'again' WHERE {}",
                    leak.sql
                )
            }
        } else {
            String::new()
        };
        let (returning, returns) = self.returning(&b);
        let with = self.with();
        Change {
            sql: format!(
                "{with}INSERT INTO {target} AS {b} ({COLUMNS}) SELECT {} FROM {target} {a} WHERE {conditions}{conflict}{returning}",
                values.join(", ")
            ),
            target,
            returns,
        }
    }

    fn merge(&mut self, table: usize, item: &Item) -> Change {
        let target = TABLES[table].name;
        let a = item.spot.alias.clone();
        let relation = self.any_table();
        let b = self.alias();
        let source = Spot {
            alias: b.clone(),
            what: self.marks(relation, true),
        };
        let on = if self.dice.chance(50) {
            let spot = if self.dice.chance(50) {
                &item.spot
            } else {
                &source
            }
            .clone();
            format!(" AND {}", self.leak(&spot))
        } else {
            String::new()
        };
        let matched = conditions::tell_in_expression(&mut self.dice, &item.spot);
        let missing = conditions::tell_in_expression(&mut self.dice, &source);
        self.kinds.extend([matched.kind, missing.kind]);
        let first = *self
            .dice
            .of(&["UPDATE SET n = A.n + 1", "DELETE", "DO NOTHING"]);
        let second = *self
            .dice
            .of(&["UPDATE SET n = A.n + 2", "DELETE", "DO NOTHING"]);
        Change {
            sql: format!(
                "MERGE INTO {target} {a} USING {} {b} ON {a}.id = {b}.id{on} WHEN MATCHED AND {} AND {a}.k > 20 THEN {} WHEN MATCHED THEN {} WHEN NOT MATCHED AND {} THEN DO NOTHING",
                relation.name,
                matched.sql,
                first
                    .replace('A', &a)
                    .replace(&format!("UPD{a}TE"), "UPDATE"),
                second
                    .replace('A', &a)
                    .replace(&format!("UPD{a}TE"), "UPDATE"),
                missing.sql
            ),
            target,
            returns: false,
        }
    }

    /// Reads no column of its target, so that PostgreSQL applies no policy for SELECT, and counts its rows: it must be refused.
    fn count_by_merge(&mut self, table: usize, item: &Item) -> Change {
        let target = TABLES[table].name;
        let a = &item.spot.alias;
        self.kinds.push("MERGE that counts");
        Change {
            sql: format!(
                "MERGE INTO {target} {a} USING (SELECT 1 AS one) s ON true WHEN MATCHED AND nextval('evil.counter') < 0 THEN DELETE"
            ),
            target,
            returns: false,
        }
    }
}
