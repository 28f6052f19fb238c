//! The tree that receives the trace: partners, tenants, projects and users, the first of each with the most requests.

use postgres::Client;
use uuid::Uuid;

use crate::options::{APP, DATABASE, GATEWAY, Options};
use crate::trace::Request;
use crate::{Counts, Fault, METRICS, sum};

const PARTNERS: [&str; 3] = ["globex", "hooli", "initech"];
const TENANTS: [&str; 4] = ["acme", "umbrella", "soylent", "stark"];
const PROJECTS: [&str; 2] = ["chat", "search"];
const USERS: [&str; 4] = ["ada", "bob", "cyd", "dan"];

/// A node of the tree.
pub struct Scope {
    /// Its id.
    pub id: Uuid,
    /// platform, partner, tenant, project or user.
    pub level: &'static str,
    /// Its name in the tree.
    pub slug: String,
    /// The one above.
    pub parent: Option<usize>,
    /// The amount of each hard budget.
    pub budget: Counts,
}

/// Who asks.
pub struct User {
    /// Its scopes, from the platform down to itself.
    path: [usize; 4],
    /// The projects of its tenant.
    projects: Vec<usize>,
    /// Its id.
    pub id: Uuid,
    /// Its API key.
    pub key: String,
    /// Its ticket.
    pub ticket: String,
}

/// What there is.
pub struct World {
    /// All scopes, those above first.
    pub scopes: Vec<Scope>,
    /// All users.
    pub users: Vec<User>,
    /// The user of each request.
    pub by: Vec<usize>,
    /// The tokens reserved for an answer.
    pub estimate: i64,
}

impl World {
    /// Builds it, for a trace.
    pub fn build(options: &Options, requests: &[Request]) -> Result<Self, Fault> {
        Self::remove(options)?;
        let mut server = options.administer("postgres")?;
        server.batch_execute(&format!(
            "CREATE ROLE {APP} LOGIN; CREATE ROLE {GATEWAY} LOGIN"
        ))?;
        server.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
        let mut admin = options.administer(DATABASE)?;
        admin.batch_execute(&format!(
            "CREATE EXTENSION tenancy; GRANT tenancy_app TO {APP}, {GATEWAY}; GRANT tenancy_gateway TO {GATEWAY};
             SELECT tenancy.define_metric('requests', 'request', 'count'), tenancy.define_metric('context_tokens', 'token'),
                    tenancy.define_metric('generated_tokens', 'token')"
        ))?;
        let longest = requests.iter().map(|request| request.generated).max();
        let mut world = Self {
            scopes: Vec::new(),
            users: Vec::new(),
            by: Vec::new(),
            estimate: options.estimate.or(longest).unwrap_or_default(),
        };
        let platform = "SELECT id FROM tenancy.scopes WHERE level = 'platform'";
        let platform = admin.query_one(platform, &[])?.get(0);
        world.add(platform, "platform", "platform", None);
        let mut weights = Vec::new();
        for (p, partner) in PARTNERS.into_iter().enumerate() {
            let id = made(&mut admin, "create_partner($1)", &[&partner])?;
            let at_partner = world.add(id, "partner", partner, Some(0));
            for (t, tenant) in TENANTS.into_iter().enumerate() {
                let slug = format!("{tenant}-{}", p + 1);
                let tenant = made(
                    &mut admin,
                    "create_tenant($1, partner => $2::uuid)",
                    &[&slug, &id],
                )?;
                let at_tenant = world.add(tenant, "tenant", &slug, Some(at_partner));
                let mut projects = Vec::new();
                for slug in PROJECTS {
                    let id = made(
                        &mut admin,
                        "create_project($2::uuid, $1)",
                        &[&slug, &tenant],
                    )?;
                    projects.push(world.add(id, "project", slug, Some(at_tenant)));
                }
                for (u, slug) in USERS.into_iter().enumerate() {
                    let id = made(
                        &mut admin,
                        "create_user($2::uuid, $1, role => 'member')",
                        &[&slug, &tenant],
                    )?;
                    let at_user = world.add(id, "user", slug, Some(at_tenant));
                    let row = admin.query_one(
                        "SELECT tenancy.issue_api_key($1::uuid, 'replay'), tenancy.issue_ticket($1::uuid, '1 day')",
                        &[&id],
                    )?;
                    world.users.push(User {
                        path: [0, at_partner, at_tenant, at_user],
                        projects: projects.clone(),
                        id,
                        key: row.get(0),
                        ticket: row.get(1),
                    });
                    weights.push(1.0 / ((p + 1) * (t + 1) * (u + 1)) as f64);
                }
            }
        }
        world.by = spread(requests.len(), &weights);
        world.set_budgets(&mut admin, options, requests)?;
        admin.batch_execute("ANALYZE")?;
        Ok(world)
    }

    /// Removes what an earlier run may have left.
    pub fn remove(options: &Options) -> Result<(), Fault> {
        let mut server = options.administer("postgres")?;
        server.batch_execute(&format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"))?;
        for role in [APP, GATEWAY] {
            server.batch_execute(&format!("DROP ROLE IF EXISTS {role}"))?;
        }
        Ok(())
    }

    fn add(&mut self, id: Uuid, level: &'static str, slug: &str, parent: Option<usize>) -> usize {
        self.scopes.push(Scope {
            id,
            level,
            slug: slug.to_owned(),
            parent,
            budget: [0; 3],
        });
        self.scopes.len() - 1
    }

    /// Sums requests up at each scope.
    pub fn totals(&self, requests: impl Iterator<Item = (usize, Counts)>) -> Vec<Counts> {
        let mut totals = vec![[0; 3]; self.scopes.len()];
        for (n, counts) in requests {
            for at in self.path(n) {
                totals[at] = sum([totals[at], counts].into_iter());
            }
        }
        totals
    }

    /// Returns the user of a request.
    pub fn user(&self, request: usize) -> &User {
        &self.users[self.by[request]]
    }

    /// Returns the project of a request: its user works in all of them, and in none, in turns.
    pub fn project(&self, request: usize) -> Option<usize> {
        let projects = &self.user(request).projects;
        projects.get(request % (projects.len() + 1)).copied()
    }

    /// Returns the scopes that a request counts for.
    pub fn path(&self, request: usize) -> impl Iterator<Item = usize> {
        let path = self.user(request).path.into_iter();
        path.chain(self.project(request))
    }

    /// Sets a hard budget of each metric at every scope: a part of the scope's requests, or more than all of them.
    fn set_budgets(
        &mut self,
        admin: &mut Client,
        options: &Options,
        requests: &[Request],
    ) -> Result<(), Fault> {
        let all = requests.iter().map(Request::counts).enumerate();
        let asked = self.totals(all);
        // Reserved tokens that are not used yet count too.
        let aside = self.estimate * i64::try_from(requests.len())?;
        let set = admin.prepare("SELECT tenancy.set_budget($1::uuid, $2, $3::bigint, 'total')")?;
        for (scope, asked) in self.scopes.iter_mut().zip(asked) {
            scope.budget = match options.budget {
                Some(percent) => asked.map(|asked| asked * percent / 100),
                None => asked.map(|asked| asked + aside),
            };
            for (metric, amount) in METRICS.iter().zip(scope.budget) {
                admin.execute(&set, &[&scope.id, metric, &amount])?;
            }
        }
        Ok(())
    }
}

fn made(
    admin: &mut Client,
    call: &str,
    arguments: &[&(dyn postgres::types::ToSql + Sync)],
) -> Result<Uuid, Fault> {
    Ok(admin
        .query_one(&format!("SELECT tenancy.{call}"), arguments)?
        .get(0))
}

/// Chooses the user of each request: at random by weight, and the same in every run.
fn spread(requests: usize, weights: &[f64]) -> Vec<usize> {
    let all: f64 = weights.iter().sum();
    let mut state = 2023_u64;
    (0..requests)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let mut left = (state >> 11) as f64 / (1_u64 << 53) as f64 * all;
            let chosen = weights.iter().position(|weight| {
                left -= weight;
                left < 0.0
            });
            chosen.unwrap_or_default()
        })
        .collect()
}
