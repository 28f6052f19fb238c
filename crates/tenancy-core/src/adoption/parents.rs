//! The tables through which the rows of another one belong to a tenant.

use super::facts::{NullRows, Table};
use super::found::{Found, Kind, Parent};
use super::links::{Link, is_loose};
use super::referrers::have_different_keys;
use super::schema::Schema;
use crate::policy::{Relation, quote_ident};

impl<'a> Schema<'a> {
    /// Finds the next table that belongs to a tenant through another one that does.
    pub fn next_child(&self, found: &[Option<Found>]) -> Option<(usize, Found)> {
        let mut best: Option<(bool, bool, usize, usize, &Table, Link)> = None;
        for (n, table) in self.facts.tables.iter().enumerate() {
            if found.get(n).is_none_or(Option::is_some) {
                continue;
            }
            for link in self.links(table) {
                let Some(above) = self.holder(&link.to, found) else {
                    continue;
                };
                let loose = above.may_miss || !table.always_has(&link.columns);
                let (named, depth) = (link.key.is_none(), above.depth + 1);
                if best
                    .as_ref()
                    .is_none_or(|(l, n, d, ..)| (loose, named, depth) < (*l, *n, *d))
                {
                    best = Some((loose, named, depth, n, table, link));
                }
            }
        }
        let (.., n, table, link) = best?;
        let above = self.holder(&link.to, found)?;
        Some((n, self.child(table, &link, above)))
    }

    /// Returns what was found about a table whose rows are tenants'.
    pub fn holder<'f>(&self, relation: &Relation, found: &'f [Option<Found>]) -> Option<&'f Found> {
        let n = self.place(relation)?;
        found.get(n)?.as_ref().filter(|found| found.holds_tenants())
    }

    fn place(&self, relation: &Relation) -> Option<usize> {
        self.facts
            .tables
            .iter()
            .position(|t| t.relation == *relation)
    }

    fn child(&self, table: &Table, link: &Link, above: &Found) -> Found {
        let parent = link.parent(above);
        let mut found = self.added(table, &format!("refers to {}", parent.label()));
        found.depth = above.depth + 1;
        found.parents.push(parent);
        found.may_miss = self.may_miss(table, &found.parents);
        found
    }

    /// Returns what was found about a table that gets a tenant column.
    pub fn added(&self, table: &Table, reason: &str) -> Found {
        let column = match &table.filled {
            Some(filled) => filled.column().to_owned(),
            None => (self.names.first())
                .map_or("tenant_id", String::as_str)
                .to_owned(),
        };
        let mut found = Found::new(Kind::Child, 1, reason);
        self.check_owner(table, &mut found);
        if table.filled.is_none() && table.column(&column).is_some() {
            found.block(format!(
                "has a column {} that is not the tenant: choose another name with tenant_column",
                quote_ident(&column)
            ));
        }
        if table.has_heirs {
            found
                .block("tables inherit from it, whose rows no trigger would keep right".to_owned());
        }
        // Wide enough for each tenant's key.
        let own = table.column(&column).or(self.key);
        found.column_type = own
            .map(|column| column.full_type.clone())
            .unwrap_or_default();
        found.column = Some(column);
        found
    }

    /// Returns whether rows of a table may be without a tenant, if they have it from these parents.
    fn may_miss(&self, table: &Table, parents: &[Parent]) -> bool {
        let stays = self.may_stay(table);
        let is_unchecked = parents.iter().any(|parent| !parent.checked);
        stays && (is_loose(table, parents) || is_unchecked)
            || is_loose(table, parents) && parents.iter().any(|parent| parent.may_miss)
    }

    /// Adds the parents of rows that do not refer to the first one, or have no tenant in their own column.
    pub fn add_parents(&self, n: usize, found: &mut [Option<Found>]) {
        let (Some(table), Some(Some(own))) = (self.facts.tables.get(n), found.get(n)) else {
            return;
        };
        let column = own.column.as_ref();
        let fills = match own.kind {
            Kind::Child => true,
            Kind::TenantColumn => {
                let may_miss = (column.and_then(|c| table.column(c))).is_some_and(|c| !c.not_null);
                may_miss && (self.fills(table) || table.filled.is_some())
            }
            _ => false,
        };
        if !fills || table.protected_by.is_some() {
            return;
        }
        let mut links = self.links(table);
        let is_sure = |link: &Link| {
            let above = self.holder(&link.to, found);
            table.always_has(&link.columns) && above.is_some_and(|above| !above.may_miss)
        };
        // A trigger that exists has its order.
        if table.filled.is_none() {
            links.sort_by_key(|link| (!is_sure(link), link.key.is_none()));
        }
        let mut parents: Vec<Parent> = Vec::new();
        for link in links {
            if table.filled.is_none() && !parents.is_empty() && !is_loose(table, &parents) {
                break;
            }
            let known = parents.iter().any(|parent| parent.columns == link.columns);
            let is_tenant = column.is_some_and(|column| link.columns == [column.clone()]);
            if known || is_tenant || self.depends(&link.to, n, found) {
                continue;
            }
            if let Some(above) = self
                .holder(&link.to, found)
                .filter(|above| above.kind != Kind::TenantTable)
            {
                parents.push(link.parent(above));
            }
        }
        let labels: Vec<String> = parents.iter().map(Parent::label).collect();
        let may_miss = self.may_miss(table, &parents);
        if let Some(Some(own)) = found.get_mut(n)
            && !parents.is_empty()
        {
            match own.kind {
                Kind::Child => own.reason = format!("refers to {}", labels.join(", or else to ")),
                _ => {
                    own.reason = format!(
                        "{}; rows without it refer to {}",
                        own.reason,
                        labels.join(", or else to ")
                    )
                }
            }
            own.parents = parents;
            own.may_miss = may_miss;
            if own.kind == Kind::TenantColumn && table.has_heirs {
                own.block("tables inherit from it, whose rows no trigger would fill".to_owned());
            }
        }
    }

    /// Lets all know which parents may be without a tenant, now that all parents are known.
    pub fn refresh(&self, found: &mut [Option<Found>]) {
        for _ in 0..found.len() {
            let before: Vec<bool> = found
                .iter()
                .map(|own| own.as_ref().is_some_and(|own| own.may_miss))
                .collect();
            for (table, own) in self.facts.tables.iter().zip(found.iter_mut()) {
                let Some(own) = own.as_mut().filter(|own| !own.parents.is_empty()) else {
                    continue;
                };
                for parent in &mut own.parents {
                    let place = self.place(&parent.relation);
                    parent.may_miss |= place.and_then(|n| before.get(n).copied()).unwrap_or(false);
                }
                own.may_miss |= self.may_miss(table, &own.parents);
            }
            let after = found
                .iter()
                .map(|own| own.as_ref().is_some_and(|own| own.may_miss));
            if before.into_iter().eq(after) {
                return;
            }
        }
    }

    /// Finds all tables that refer to one which was decided to belong to who uses it.
    pub fn add_referrers(&self, n: usize, found: &mut [Option<Found>]) {
        let (Some(table), Some(Some(own))) = (self.facts.tables.get(n), found.get(n)) else {
            return;
        };
        if own.referrers.is_empty() {
            return;
        }
        let (below, referrers): (Vec<Parent>, Vec<Parent>) =
            (self.referrers(table, found).into_iter())
                .partition(|other| self.depends(&other.relation, n, found));
        let circle = below.iter().any(|other| {
            (self.holder(&other.relation, found)).is_some_and(|other| !other.referrers.is_empty())
        });
        if let Some(Some(own)) = found.get_mut(n) {
            if circle {
                own.block("another table that belongs to who uses it refers to it, and it to that: give one of them the tenant's column".to_owned());
            }
            if have_different_keys(&referrers) {
                own.block("different keys refer to it: give it the tenant's column".to_owned());
            }
            let names: Vec<String> = referrers.iter().map(|r| r.relation.to_string()).collect();
            own.reason = format!("is referred to by {}", names.join(", "));
            own.referrers = referrers;
        }
    }

    /// Returns whether the rows of a table have their tenant from another one, which may be the same.
    fn depends(&self, relation: &Relation, on: usize, found: &[Option<Found>]) -> bool {
        let mut open: Vec<usize> = self.place(relation).into_iter().collect();
        let mut seen = Vec::new();
        while let Some(n) = open.pop() {
            if n == on {
                return true;
            }
            if !seen.contains(&n) {
                seen.push(n);
                open.extend(self.sources(n, found));
            }
        }
        false
    }

    /// Returns the tables that the rows of one have their tenant from.
    fn sources(&self, n: usize, found: &[Option<Found>]) -> Vec<usize> {
        let own = found.get(n).and_then(Option::as_ref);
        let sources = own
            .into_iter()
            .flat_map(|own| own.parents.iter().chain(&own.referrers));
        sources
            .filter_map(|source| self.place(&source.relation))
            .collect()
    }

    /// Puts tables after their parents, and decides on the rows of each.
    pub fn check_all(&self, found: &mut [Option<Found>]) {
        let mut open: Vec<usize> = (0..found.len()).collect();
        // No table depends on itself, so that each round finds one; what is left has no parents to wait for.
        while !open.is_empty() {
            let waits = |n: &usize| {
                self.sources(*n, found)
                    .iter()
                    .any(|other| open.contains(other))
            };
            let (later, ready): (Vec<usize>, Vec<usize>) = open.iter().partition(|n| waits(n));
            if ready.is_empty() {
                break;
            }
            for n in ready {
                self.check(n, found);
            }
            open = later;
        }
    }

    fn check(&self, n: usize, found: &mut [Option<Found>]) {
        let (Some(table), Some(Some(own))) = (self.facts.tables.get(n), found.get(n)) else {
            return;
        };
        let mut own = own.clone();
        let depth = |n: &usize| {
            found
                .get(*n)
                .and_then(Option::as_ref)
                .map(|above| above.depth + 1)
        };
        own.depth = (self.sources(n, found).iter().filter_map(depth)).fold(own.depth, usize::max);
        if is_loose(table, &own.parents) {
            let parents = own.parents.clone();
            for above in parents
                .iter()
                .filter_map(|parent| self.holder(&parent.relation, found))
            {
                // What refers to a hidden row is hidden; what refers to a row of everybody is shared if that was decided.
                own.shares_null |= above.shares_null && self.null_rows(table).0 == NullRows::Share;
                own.hides_null |= above.hides_null;
            }
        }
        if matches!(own.kind, Kind::TenantColumn | Kind::Child) && table.protected_by.is_none() {
            self.check_trigger(table, &mut own, found);
            own.others = self.others(table, &own, found);
            self.check_rows(table, &mut own);
        }
        if let Some(place) = found.get_mut(n) {
            *place = Some(own);
        }
    }

    /// Returns the other tables of tenants' rows that the rows of one refer to.
    fn others(&self, table: &'a Table, own: &Found, found: &[Option<Found>]) -> Vec<Parent> {
        let is_known = |link: &Link| {
            own.parents
                .iter()
                .any(|parent| parent.columns == link.columns && parent.relation == link.to)
                || own
                    .column
                    .as_ref()
                    .is_some_and(|column| link.columns == [column.clone()])
        };
        let links = self
            .any_links(table)
            .into_iter()
            .filter(|link| !is_known(link));
        links
            .filter_map(|link| {
                let above = self.holder(&link.to, found)?;
                let counts = own.kind == Kind::Child || above.kind != Kind::TenantTable;
                counts.then(|| link.parent(above))
            })
            .collect()
    }
}
