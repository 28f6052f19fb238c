//! Plans what leaves: the order of the tables, and what stands in the way.

use pgrx::prelude::*;
use tenancy_core::lifecycle::{Edge, Facts, Link, Stage, Table, TenantKey, crossing, stages};

use super::facts;
use crate::error::Error;
use crate::policy;

/// What is to be deleted, in which order.
pub struct Plan {
    /// The tables.
    pub facts: Facts,
    /// The condition for the tenant's rows in each; `None` where it can have none.
    pub conditions: Vec<Option<String>>,
    /// The order.
    pub stages: Vec<Stage>,
}

impl Plan {
    /// Reads the catalogs as they are now, and plans.
    pub fn read(tenant: &TenantKey) -> Result<Self, Error> {
        let facts = facts::read()?;
        let condition = |table: &Table| tenant.condition(&table.tenant_column, table.key()?);
        let conditions = facts.tables.iter().map(condition).collect();
        Ok(Self::of(facts, conditions))
    }

    /// Plans for rows with these conditions, one for each table.
    pub fn of(facts: Facts, conditions: Vec<Option<String>>) -> Self {
        Self {
            conditions,
            stages: stages(facts.tables.len(), &facts.edges()),
            facts,
        }
    }

    /// Returns a table, and the condition for the tenant's rows in it, if it can have any.
    pub fn table(&self, place: usize) -> Option<(&Table, &str)> {
        let condition = self.conditions.get(place)?.as_deref()?;
        Some((self.facts.tables.get(place)?, condition))
    }

    /// Returns the tables that can have rows of the tenant, in their order.
    pub fn tables(&self) -> impl Iterator<Item = (&Table, &str)> {
        (self.stages.iter())
            .flat_map(|stage| &stage.tables)
            .filter_map(|place| self.table(*place))
    }

    /// Returns the order in which rows can be inserted: a table after those that it refers to, also by keys that give way.
    pub fn restoring(&self) -> Vec<Stage> {
        let edges: Vec<Edge> = (self.facts.edges().into_iter())
            .map(|edge| Edge {
                gives_way: false,
                ..edge
            })
            .collect();
        let mut stages = stages(self.facts.tables.len(), &edges);
        stages.reverse();
        stages
    }

    /// Returns why the tenant's rows cannot be deleted, a line for each reason.
    pub fn blocked(&self) -> Result<Vec<String>, Error> {
        let mut reasons = self.not_owned();
        // The rest reads rows, as the tables' owners.
        if reasons.is_empty() {
            for link in &self.facts.links {
                reasons.extend(self.crosses(link)?);
            }
        }
        Ok(reasons)
    }

    /// Returns why the caller's rights are not enough, a line for each reason.
    pub fn not_owned(&self) -> Vec<String> {
        self.owners(self.tables().map(|(table, _)| table))
    }

    /// Returns why statements on these tables cannot run as their owners, a line for each reason.
    pub fn owners<'a>(&self, tables: impl Iterator<Item = &'a Table>) -> Vec<String> {
        let mut reasons = tables.flat_map(Table::not_owned).collect();
        self.circles_of_several_owners(&mut reasons);
        reasons
    }

    /// Tables that refer to each other are emptied, or filled, by one statement, which runs as one role.
    fn circles_of_several_owners(&self, reasons: &mut Vec<String>) {
        for stage in self.stages.iter().filter(|stage| stage.tables.len() > 1) {
            let tables: Vec<&Table> = (stage.tables.iter())
                .filter_map(|place| self.facts.tables.get(*place))
                .collect();
            let owner = tables.first().map(|table| table.owner);
            if tables.iter().all(|table| Some(table.owner) == owner) {
                continue;
            }
            let among = |oid: Option<u32>| tables.iter().any(|table| Some(table.oid) == oid);
            for link in (self.facts.links.iter())
                .filter(|link| among(link.from_root) && among(Some(link.to_root)))
            {
                reasons.push(format!(
                    "{}: its foreign key {} is one of a circle of tables that belong to several roles. Give them one owner.",
                    link.from, link.name
                ));
            }
        }
    }

    /// Returns why a foreign key stands in the way: rows that are not the tenant's refer to rows that are.
    fn crosses(&self, link: &Link) -> Result<Option<String>, Error> {
        let protected = link.from_root.and_then(|root| self.facts.place(root));
        // What an application hangs on its rows without protecting it goes or stays as its keys say.
        if self.facts.carries_tenant(link)
            || (protected.is_none() && (link.cascades() || link.gives_way()))
        {
            return Ok(None);
        }
        let Some((to, referenced)) =
            (self.facts.place(link.to_root)).and_then(|place| self.table(place))
        else {
            return Ok(None);
        };
        let own = match protected {
            Some(place) => match self.table(place) {
                Some((_, own)) => Some(own),
                // The tenant can have none of its rows: all are others'.
                None => Some("false"),
            },
            None => None,
        };
        if link.from_owner != to.owner {
            return Ok(Some(format!(
                "{}: its foreign key {} refers to {}, which belongs to another role. Nobody can see whether rows of other tenants refer \
                 to the tenant's: give both tables one owner, or the key the tenant column.",
                link.from, link.name, link.to
            )));
        }
        let query = match own {
            Some("false") => crossing(link, None, referenced),
            own => crossing(link, own, referenced),
        };
        let found =
            policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(to.oid), || is_true(&query))?;
        Ok(found.then(|| match protected {
            Some(_) => format!(
                "{}: rows of other tenants refer to rows of this one by the foreign key {}. Delete or change them; fix_foreign_keys() prevents \
                 new ones.",
                link.from, link.name
            ),
            None => format!(
                "{}: its rows refer to the tenant's by the foreign key {}, and it is not protected. Protect it, delete these rows, or \
                 let the key say ON DELETE CASCADE or SET NULL.",
                link.from, link.name
            ),
        }))
    }
}

/// Returns what a query answers with the rights of the current role.
pub fn is_true(query: &str) -> Result<bool, Error> {
    Spi::connect_mut(|client| {
        let found = client.update(query, Some(1), &[])?.first();
        Ok(found.get_one::<bool>()?.unwrap_or(false))
    })
}
