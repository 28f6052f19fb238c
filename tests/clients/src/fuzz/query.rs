//! A random SELECT.

use super::conditions::{self, Spot, What};
use super::facts::{Facts, Relation};
use super::from::Item;
use crate::dice::Dice;

/// Makes the parts of one statement.
pub struct Maker<'a> {
    /// Where choices come from.
    pub dice: Dice,
    /// The relations to read.
    pub relations: &'a [Relation],
    /// What the caller sees.
    pub facts: &'a Facts,
    /// Whether memory is so small that bitmaps become lossy.
    pub lossy: bool,
    /// Whether the caller may read tenancy's views.
    pub reads_own_views: bool,
    /// The common table expressions so far.
    pub ctes: Vec<String>,
    /// Whether one of them is recursive.
    pub recursive: bool,
    /// The kinds of conditions so far.
    pub kinds: Vec<&'static str>,
    aliases: usize,
}

impl<'a> Maker<'a> {
    /// For one statement of one caller.
    pub fn new(
        dice: Dice,
        relations: &'a [Relation],
        facts: &'a Facts,
        own_views: bool,
        lossy: bool,
    ) -> Self {
        Self {
            dice,
            relations,
            facts,
            lossy,
            reads_own_views: own_views,
            ctes: vec![],
            recursive: false,
            kinds: vec![],
            aliases: 0,
        }
    }

    /// A new alias.
    pub fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}", self.aliases)
    }

    /// A condition that reveals its evaluation.
    pub fn leak(&mut self, spot: &Spot) -> String {
        let lossy = self.lossy && self.dice.chance(25);
        let condition = lossy
            .then(|| conditions::unpinned(&mut self.dice, spot))
            .flatten()
            .unwrap_or_else(|| conditions::tell(&mut self.dice, spot));
        self.kinds.push(condition.kind);
        condition.sql
    }

    /// As `leak`, for the place of a value.
    pub fn leak_in_expression(&mut self, spot: &Spot) -> String {
        let condition = conditions::tell_in_expression(&mut self.dice, spot);
        self.kinds.push(condition.kind);
        condition.sql
    }

    /// WHERE: plain conditions, such that tell, and subqueries, in any order.
    pub fn conditions(&mut self, items: &[Item]) -> String {
        let mut all = vec![];
        for _ in 0..*self.dice.of(&[0, 0, 1, 1, 2]) {
            let spot = &self.dice.of(items).spot;
            all.push(conditions::plain(&mut self.dice, spot));
        }
        for _ in 0..*self.dice.of(&[0, 1, 1, 1, 2]) {
            let spot = self.dice.of(items).spot.clone();
            let leak = self.leak(&spot);
            let place = self.dice.index(all.len() + 1);
            all.insert(place, leak);
        }
        if self.dice.chance(20) {
            let item = self.dice.of(items).clone();
            if let Some(exists) = self.exists(&item) {
                all.push(exists);
            }
        }
        if self.dice.chance(8) && !items.is_empty() {
            let spot = self.dice.of(items).spot.clone();
            let leak = self.leak_in_expression(&spot);
            let plain = conditions::plain(&mut self.dice, &spot);
            all.push(format!("({leak} OR {plain})"));
        }
        if all.is_empty() {
            "true".to_owned()
        } else {
            all.join(" AND ")
        }
    }

    /// A semi join, an anti join, or a subquery that stays one.
    fn exists(&mut self, item: &Item) -> Option<String> {
        if !item.is_standard() {
            return None;
        }
        let relation = self.any_table();
        let x = self.alias();
        let spot = Spot {
            alias: x.clone(),
            what: self.marks(relation, true),
        };
        let leak = self.leak(&spot);
        let (a, name) = (&item.spot.alias, relation.name);
        Some(match self.dice.roll(7) {
            0 => format!("EXISTS (SELECT FROM {name} {x} WHERE {x}.ref = {a}.id AND {leak})"),
            1 => format!("NOT EXISTS (SELECT FROM {name} {x} WHERE {x}.id = {a}.ref AND {leak})"),
            2 => format!("{a}.id IN (SELECT {x}.ref FROM {name} {x} WHERE {leak})"),
            3 => {
                format!("{a}.id NOT IN (SELECT {x}.id FROM {name} {x} WHERE {x}.k = 3 AND {leak})")
            }
            4 => format!("{a}.k > (SELECT min({x}.k) FROM {name} {x} WHERE {leak})"),
            5 => format!("({a}.flag OR {a}.id IN (SELECT {x}.ref FROM {name} {x} WHERE {leak}))"),
            _ => format!("(SELECT count(*) FROM {name} {x} WHERE {x}.ref = {a}.id AND {leak}) < 3"),
        })
    }

    /// WITH and what it holds.
    pub fn with(&self) -> String {
        match (self.ctes.is_empty(), self.recursive) {
            (true, _) => String::new(),
            (false, false) => format!("WITH {} ", self.ctes.join(", ")),
            (false, true) => format!("WITH RECURSIVE {} ", self.ctes.join(", ")),
        }
    }

    /// A whole query.
    pub fn query(&mut self) -> String {
        let (from, items) = self.from(2);
        let conditions = self.conditions(&items);
        let body = self.shape(&from, &items, &conditions);
        let body = if self.dice.chance(8) {
            self.set_operation(&items, &from)
        } else {
            body
        };
        self.with() + &body
    }

    fn set_operation(&mut self, items: &[Item], from: &str) -> String {
        let (other, more) = self.from(1);
        let (here, there) = (self.conditions(items), self.conditions(&more));
        let how = *self
            .dice
            .of(&["UNION ALL", "UNION", "EXCEPT ALL", "INTERSECT"]);
        let (one, two) = (Self::one_column(items), Self::one_column(&more));
        format!(
            "SELECT {one} FROM {from} WHERE {here} {how} SELECT {two} FROM {other} WHERE {there}"
        )
    }

    fn one_column(items: &[Item]) -> String {
        match &items[0].spot.what {
            What::Marks { .. } => format!("{}.secret", items[0].spot.alias),
            What::Texts { column, .. } => format!("{}.{column}::text", items[0].spot.alias),
        }
    }

    /// SELECT and all that follows FROM.
    fn shape(&mut self, from: &str, items: &[Item], conditions: &str) -> String {
        let first = &items[0];
        let a = first.spot.alias.clone();
        let all: Vec<String> = items.iter().flat_map(Item::columns).collect();
        let some: Vec<&str> = all.iter().take(9).map(String::as_str).collect();
        let tail = format!("FROM {from} WHERE {conditions}");
        let standard = first.is_standard();
        let text = Self::one_column(items);
        match self.dice.roll(18) {
            0 | 1 => format!("SELECT count(*) {tail}"),
            2 if standard => format!("SELECT min({a}.k), max({a}.id), max({a}.secret) {tail}"),
            3 if standard && items.len() == 1 => {
                let column = *self.dice.of(&["id", "k", "mark", "secret", "ref"]);
                let which = *self.dice.of(&["min", "max"]);
                format!("SELECT {which}({a}.{column}) {tail}")
            }
            4 => format!("SELECT DISTINCT {text} {tail}"),
            5 if standard => {
                format!("SELECT {a}.k, count(*), sum({a}.n), max({a}.secret) {tail} GROUP BY {a}.k")
            }
            6 if standard => {
                let leak = self.leak_in_expression(&first.spot.clone());
                format!(
                    "SELECT {a}.mark, {a}.secret, count(*) {tail} GROUP BY {a}.mark, {a}.secret HAVING {leak_ok}",
                    leak_ok = grouped(&leak, &a)
                )
            }
            7 if standard => {
                let sets = *self.dice.of(&[
                    "GROUPING SETS ((A.n), (A.n, A.flag), ())",
                    "CUBE (A.n, A.flag)",
                    "ROLLUP (A.flag, A.n)",
                ]);
                format!(
                    "SELECT {a}.n, {a}.flag, count(*), max({a}.id) {tail} GROUP BY {}",
                    sets.replace('A', &a)
                )
            }
            8 if standard => {
                let numbered =
                    format!("row_number() OVER (PARTITION BY {a}.mark ORDER BY {a}.id), ");
                // The order of a join's rows is not determined.
                let numbered = if items.len() == 1 { &numbered } else { "" };
                format!(
                    "SELECT {a}.id, {numbered}count(*) OVER (PARTITION BY {a}.k), sum({a}.n) OVER () {tail}"
                )
            }
            9 if standard => format!(
                "SELECT {a}.id, {a}.secret {tail} ORDER BY {a}.id, {a}.secret LIMIT {}",
                1 + self.dice.roll(20)
            ),
            10 if standard => format!(
                "SELECT {a}.k {tail} ORDER BY {a}.k DESC LIMIT {} OFFSET {}",
                1 + self.dice.roll(9),
                self.dice.roll(4)
            ),
            11 if standard => format!("SELECT DISTINCT ON ({a}.k) {a}.k {tail} ORDER BY {a}.k"),
            12 => {
                let spot = self.dice.of(items).spot.clone();
                let leak = self.leak_in_expression(&spot);
                format!("SELECT {}, {leak} {tail}", some.join(", "))
            }
            13 => {
                let spot = self.dice.of(items).spot.clone();
                let leak = self.leak_in_expression(&spot);
                format!("SELECT count(*) FILTER (WHERE {leak}) {tail}")
            }
            14 if standard => {
                let relation = self.any_table();
                let x = self.alias();
                let spot = Spot {
                    alias: x.clone(),
                    what: self.marks(relation, true),
                };
                let leak = self.leak(&spot);
                format!(
                    "SELECT {}, (SELECT max({x}.k) FROM {} {x} WHERE {x}.ref = {a}.id AND {leak}) {tail}",
                    some.join(", "),
                    relation.name
                )
            }
            15 | 16 if items.iter().any(|i| i.lockable) => {
                let lock = *self.dice.of(&[
                    "UPDATE OF A",
                    "NO KEY UPDATE OF A",
                    "SHARE OF A",
                    "KEY SHARE OF A",
                    "UPDATE OF A NOWAIT",
                    "UPDATE OF A SKIP LOCKED",
                ]);
                let one = items
                    .iter()
                    .find(|i| i.lockable)
                    .map_or(&a, |i| &i.spot.alias);
                format!(
                    "SELECT {} {tail} FOR {}",
                    some.join(", "),
                    lock.replace(" A", &format!(" {one}"))
                )
            }
            _ => format!("SELECT {} {tail}", some.join(", ")),
        }
    }
}

/// A condition on a group's own columns: others may not be named in HAVING.
fn grouped(condition: &str, alias: &str) -> String {
    let others = ["meta", "tags", "span", "k", "n", "id"];
    if others.iter().any(|c| {
        condition.contains(&format!("{alias}.{c} "))
            || condition.contains(&format!("{alias}.{c}["))
            || condition.contains(&format!("{alias}.{c})"))
    }) {
        format!("{alias}.mark IS NOT NULL")
    } else {
        condition.to_owned()
    }
}
