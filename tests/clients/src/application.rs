//! Applications that exist without tenancy: a schema `app` with tables of different shape, to be adopted.

use crate::Session;

/// The tables whose rows must stay with their organization, and how they are found without a tenant column.
pub const TRUTH: [(&str, &str); 6] = [
    ("projects", "organization_id"),
    ("memberships", "organization_id"),
    (
        "tasks",
        "(SELECT p.organization_id FROM app.projects p WHERE p.id = project_id)",
    ),
    (
        "comments",
        "(SELECT p.organization_id FROM app.tasks t JOIN app.projects p ON p.id = t.project_id WHERE t.id = task_id)",
    ),
    ("events", "organization_id"),
    (
        "event_notes",
        "(SELECT e.organization_id FROM app.events e WHERE e.id = event_id AND e.at = event_at)",
    ),
];

/// Creates one whose organizations have keys of a type, made from numbers by an expression with `%s`. Three organizations with
/// `size` projects each, children at two depths, a partitioned table, a lookup, and users that belong to no organization.
pub fn create(owner: &mut Session, key_type: &str, key: &str, size: u32) {
    let key = |number: &str| key.replace("%s", number);
    let (own, random) = (key("n"), key("n % 3 + 1"));
    owner.run(&format!(
        "CREATE TABLE app.currencies (code text PRIMARY KEY, label text);
         CREATE TABLE app.organizations (id {key_type} PRIMARY KEY, name text NOT NULL, currency text REFERENCES app.currencies);
         CREATE TABLE app.users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE);
         CREATE TABLE app.memberships (user_id bigint NOT NULL REFERENCES app.users,
             organization_id {key_type} NOT NULL REFERENCES app.organizations ON DELETE CASCADE, PRIMARY KEY (user_id, organization_id));
         CREATE TABLE app.projects (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             organization_id {key_type} NOT NULL REFERENCES app.organizations ON DELETE CASCADE, title text);
         CREATE TABLE app.tasks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             project_id bigint NOT NULL REFERENCES app.projects ON DELETE CASCADE, title text);
         CREATE TABLE app.comments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             task_id bigint NOT NULL REFERENCES app.tasks ON DELETE CASCADE, author_id bigint REFERENCES app.users, body text);
         CREATE TABLE app.events (id bigint, at timestamptz NOT NULL, organization_id {key_type} NOT NULL, PRIMARY KEY (id, at))
             PARTITION BY RANGE (at);
         CREATE TABLE app.events_2025 PARTITION OF app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
         CREATE TABLE app.events_later PARTITION OF app.events DEFAULT;
         CREATE TABLE app.event_notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id bigint NOT NULL,
             event_at timestamptz NOT NULL, note text, FOREIGN KEY (event_id, event_at) REFERENCES app.events);
         CREATE VIEW app.titles AS SELECT t.id, p.title AS project, t.title FROM app.tasks t JOIN app.projects p ON p.id = t.project_id;
         INSERT INTO app.currencies VALUES ('EUR', 'Euro');
         INSERT INTO app.organizations SELECT {own}, 'Org ' || n, 'EUR' FROM generate_series(1, 3) n;
         INSERT INTO app.users (email) SELECT n || '@example.org' FROM generate_series(1, 9) n;
         INSERT INTO app.memberships SELECT n, {random} FROM generate_series(1, 9) n;
         INSERT INTO app.projects (organization_id, title) SELECT {random}, 'p' || n FROM generate_series(1, 3 * {size}) n;
         INSERT INTO app.tasks (project_id, title) SELECT p.id, 't' || n FROM app.projects p, generate_series(1, 3) n;
         INSERT INTO app.comments (task_id, author_id, body) SELECT t.id, 1, 'c' || n FROM app.tasks t, generate_series(1, 4) n;
         INSERT INTO app.events SELECT n, '2025-12-31'::timestamptz + n * interval '1 hour', {random} FROM generate_series(1, 3 * {size}) n;
         INSERT INTO app.event_notes (event_id, event_at, note) SELECT id, at, 'n' FROM app.events"
    ));
}

/// Returns how many rows of a table each organization has, by what they refer to, as `key=rows` in order.
pub fn truth(session: &mut Session, table: &str, tenant: &str) -> Vec<String> {
    session.texts(&format!(
        "SELECT tenant || '=' || count(*) FROM (SELECT {tenant}::text AS tenant FROM app.{table}) r GROUP BY tenant ORDER BY tenant"
    ))
}
