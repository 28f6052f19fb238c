//! The kinds, by sections of the reference. An entry is
//! `name: "SQLSTATE", Retry, "message", [detail "…",] [hint "…"];`

use super::Kind;

macro_rules! kinds {
    ($($section:literal {
        $($name:ident: $sqlstate:literal, $retry:ident, $message:literal $(, detail $detail:literal)? $(, hint $hint:literal)?;)*
    })*) => {
        /// Each kind by its name.
        pub mod kind {
            use crate::error::{Kind, Retry};

            $($(
                #[doc = $message]
                #[must_use]
                pub const fn $name() -> Kind {
                    Kind {
                        name: stringify!($name),
                        sqlstate: $sqlstate,
                        retry: Retry::$retry,
                        message: $message,
                        detail: concat!($($detail)?),
                        hint: concat!($($hint)?),
                    }
                }
            )*)*
        }

        /// All kinds, by sections.
        pub const SECTIONS: &[(&str, &[Kind])] = &[$(($section, &[$(kind::$name()),*])),*];
    };
}

kinds! {
    "The installation" {
        not_preloaded: "55000", AfterHint, "tenancy must be loaded when the server starts",
            hint "Add tenancy to shared_preload_libraries in postgresql.conf and restart the server.";
        not_installed: "55000", AfterHint, "the extension tenancy is not installed in this database",
            hint "Run CREATE EXTENSION tenancy.";
        database_not_utf8: "0A000", No, "tenancy needs a database in UTF8",
            detail "The encoding of this database is {encoding}.",
            hint "Create a database with ENCODING 'UTF8'.";
        owner_role_unfit: "42501", AfterHint, "role \"tenancy_owner\" exists and is not fit to own tenancy's objects",
            detail "{fault}",
            hint "Remove what DETAIL names with ALTER ROLE or REVOKE, or rename the role, and run CREATE EXTENSION tenancy again.";
        schema_not_owned: "42501", AfterHint, "schema \"tenancy\" exists and does not belong to a superuser or to tenancy_owner",
            hint "Look at what it holds, drop it, and run CREATE EXTENSION tenancy again.";
        owner_is_superuser: "55000", AfterHint, "the objects of tenancy belong to a superuser",
            hint "Give them back to tenancy_owner, and take SUPERUSER from that role if it has it.";
        owner_role_protected: "42501", No, "permission denied to grant or change role \"tenancy_owner\"",
            hint "A role that acts as tenancy_owner could read and change the access of every tenant. Only a superuser may grant or change it.";
        drop_opens_table: "2BP01", AfterHint, "cannot drop extension tenancy: {table} is protected and has permissive policies of its own",
            hint "Without tenancy's policies they would show the rows of all tenants. Run tenancy.unprotect() on each of tenancy.protected_tables first, or drop those policies.";
        worker_unavailable: "55000", Later, "the background worker of tenancy is not available",
            hint "A standby has none. Elsewhere raise max_worker_processes and restart the server.";
        worker_silent: "55000", Later, "the background worker of tenancy does not answer",
            hint "Another session may hold a lock on a table of tenancy. Otherwise read the server's log.";
        worker_failed: "55000", Later, "the background worker of tenancy failed: {reason}";
    }
    "Logging in, and the context" {
        invalid_credential: "42501", No, "invalid credential",
            hint "The credential is malformed, unknown, expired or revoked.";
        access_inactive: "42501", No, "access is not active",
            detail "The user, the tenant it selected or a scope above is suspended, archived, deleted, not ready, or has moved away.";
        address_not_allowed: "42501", No, "access is not allowed from this address",
            hint "tenancy.set_allowed_networks() sets the networks that users may come from.";
        login_policy_unmet: "42501", AfterLogin, "the token does not meet the login policy",
            detail "The policy of the {0} asks {1}.", hint "Log in again at the identity provider in the way that the policy asks for; tenancy.login_policies shows it to those who may see the scope.";
        human_api_key: "42501", AfterLogin, "API keys of persons are not accepted here",
            hint "Log in with a token of the identity provider. tenancy.set_login_policy() decides this; services keep their keys.";
        login_needs_write: "25006", NewTransaction, "this login has to write, and the transaction is read-only",
            hint "A user's first login, or a login with other groups than the last, needs a read-write transaction on the primary. The next logins do not.";
        context_required: "55000", AfterHint, "a tenancy context is required",
            hint "Call tenancy.authenticate(credential) in this transaction, or with session => true. With autocommit each statement is a transaction of its own. For a data migration, a role granted tenancy_admin calls tenancy.maintenance(reason), or connects with the setting tenancy.maintenance_reason.";
        context_expired: "42501", AfterLogin, "the tenancy context has expired",
            hint "Authenticate again.";
        second_principal: "42501", NewTransaction, "this transaction already has another principal",
            hint "One transaction holds one principal: end it first; a session context ends with tenancy.release().";
        context_and_ticket_differ: "42501", AfterHint, "the session has a context and a ticket of different users",
            hint "Call tenancy.release(), or RESET tenancy.ticket.";
        narrowed_context_cleared: "42501", NewTransaction, "the narrowed context was cleared in this transaction",
            hint "End the transaction.";
        not_behind_pool: "42501", AfterHint, "{what} allowed behind a pool",
            hint "tenancy.pooled is on for this role: the next client would inherit it. Authenticate, or SET LOCAL tenancy.ticket, in each transaction.";
        role_bypasses_row_security: "42501", No, "the current role bypasses row security",
            hint "Superusers and BYPASSRLS roles read every tenant's rows in any context. Connect as a role that is a member of tenancy_app, or have a superuser set tenancy.allow_bypassrls.";
        tenant_needed: "55000", AfterHint, "the context spans {tenants} tenants, and one is needed here",
            hint "Call tenancy.select_tenant(tenant) first. If a prepared statement said this, run it again: its plan was made for one tenant and has been discarded.";
        context_changed: "55000", AfterHint, "the context changed while a statement on protected tables was running",
            hint "A statement, and a cursor, runs in the context in which it started. Change the context between statements, and open cursors after that.";
        planned_for_another_tenant: "40001", NewTransaction, "the statement was planned for another tenant",
            hint "Run it again: the plan has been discarded.";
        project_needed: "55000", AfterHint, "the context spans {projects} projects, and one is needed here",
            hint "Call tenancy.select_project(project) first.";
        all_tenants: "55000", AfterHint, "the context spans all tenants",
            hint "Name the tenant in the statement. If a prepared statement said this, run it again: its plan was made for certain tenants and has been discarded.";
        statement_not_recorded: "55000", AfterHint, "this statement is not recorded, and the context is elevated",
            hint "Enter the context in an earlier statement: only statements that start in an elevated context are recorded.";
        elevation_ended: "55000", NewTransaction, "the elevation has ended",
            hint "Begin another transaction; tenancy.elevate() begins another elevation.";
    }
    "Permissions" {
        permission_missing: "42501", No, "permission denied: {permission}",
            hint "tenancy.context() shows what you hold; a role that has it can be assigned with tenancy.assign().";
        external_id_denied: "42501", No, "permission denied: tenants:manage in platform",
            detail "The external id of a partner or a tenant decides which rows are its own.",
            hint "Leave external_id out, and ask a role with tenants:manage at the platform, or tenancy_admin, to call tenancy.update_scope(tenant, external_id => …).";
        id_denied: "42501", No, "permission denied: tenants:manage in platform",
            detail "The id of a scope decides which rows are its own.",
            hint "Leave id out for a new one, or ask a role with tenants:manage at the platform, or tenancy_admin.";
        grant_outlasts_holder: "42501", AfterHint, "{what} would outlast your permission",
            detail "Your permission to give it ends at {until}.",
            hint "{hint}";
        imposed_time_zone: "42501", No, "an imposed budget depends on this time zone",
            detail "Its periods would begin at other times.",
            hint "A user who may set that budget may change the time zone.";
        built_in_role: "42501", No, "role \"{role}\" is built in and cannot be changed",
            hint "Define one of your own with tenancy.define_role().";
        append_only: "42501", No, "{command} on {table} is refused: it is append-only",
            hint "Only whole months are dropped, by the setting {setting}.";
    }
    "What a role that many tenants share may not do" {
        maintenance_not_direct: "42501", No, "maintenance is for a session whose own role is granted tenancy_admin",
            hint "Maintenance lasts for the transaction: a SECURITY DEFINER function would give all tenants' rows to its caller.";
        maintenance_needed: "55000", AfterHint, "{statement} on a protected table needs maintenance",
            hint "Run SELECT tenancy.maintenance('why') before it in the same transaction, as a role that is granted tenancy_admin; or connect with the setting tenancy.maintenance_reason; or take the protection off with tenancy.unprotect().";
        isolating_column_type: "0A000", AfterHint, "cannot change the type of column {column}, which isolates {table}",
            hint "In one transaction, take the protection off and put it on again with the same options: tenancy.unprotect(), ALTER TABLE, tenancy.protect().";
        protected_table_denied: "42501", No, "permission denied: {command} on a protected table",
            hint "It would reach every tenant's rows or sessions. A role that is granted tenancy_app serves many tenants, so it may not do this even as the table's owner. Let another role own the table.";
        blind_merge: "42501", No, "permission denied: MERGE that reads no column of a protected table",
            hint "Name a column of the table in the statement, as in ON target.id = source.id.";
        row_versions_denied: "42501", No, "permission denied for function currtid2: it ignores row security",
            hint "Select the row's ctid instead, as in SELECT ctid FROM t WHERE id = 1.";
        shared_objects_denied: "42501", No, "permission denied for {objects}: tenants share this role",
            hint "Every session of a role reaches what belongs to the role. A SECURITY DEFINER function of another role can return what belongs to one tenant.";
        shared_role_denied: "42501", No, "permission denied to alter the current role",
            hint "Sessions of many tenants share a role that is granted tenancy_app; only an administrator may alter it.";
        prepared_usage: "0A000", No, "cannot PREPARE a transaction that has recorded usage",
            hint "What is in flight belongs to this session. Record usage in a transaction of its own.";
        prepared_slots: "0A000", No, "cannot PREPARE a transaction that holds slots until its end",
            hint "A slot belongs to this session. Acquire it until its release, or COMMIT the transaction instead.";
        prepared_management: "0A000", No, "cannot PREPARE a transaction that has called a management function",
            hint "A prepared transaction's locks would block the administrators above its caller. COMMIT it instead.";
    }
    "The tree" {
        scope_not_found: "42704", No, "scope \"{scope}\" does not exist",
            hint "A scope is named by its id or its slug, and must be visible to you.";
        user_not_found: "42704", No, "user \"{user}\" does not exist",
            hint "A user is named by its id, or as in tenant/user.";
        slug_ambiguous: "22023", No, "slug \"{slug}\" is ambiguous",
            hint "Name the scope above it too, as in partner/tenant, or use the id.";
        scope_needed: "22023", No, "there are {scopes} scopes whose usage you may see",
            hint "Name one, or see them in tenancy.tree().";
        slug_taken: "42710", No, "slug \"{slug}\" is taken",
            hint "Slugs are unique among the children of one scope. Choose another, or give the other scope another with tenancy.update_scope().";
        id_taken: "42710", No, "id {id} is taken",
            hint "An id is unique in the database. Leave it out for a new one.";
        external_id_taken: "42710", No, "external id \"{external_id}\" is taken",
            hint "No two tenants have the same external id, and no two partners; of projects and users none within their parent. A partner and a tenant may, unless a table has shared rows with such keys.";
        level_mismatch: "23514", No, "a {parent} cannot hold a {child}",
            hint "Platform holds partners, partners hold tenants, tenants hold projects; users belong to a tenant, a partner or the platform.";
        move_denied: "23514", No, "a {level} cannot be moved under a {target}",
            hint "A tenant moves to another partner, with its projects and users.";
        platform_path: "23514", No, "the platform's path is itself";
        path_mismatch: "23514", No, "the path of scope {scope} is not its parent's path and itself",
            hint "Move a tenant with tenancy.move_tenant(tenant, partner).";
        paths_below_mismatch: "23514", No, "scopes below {scope} would keep their old path",
            hint "Move a tenant with tenancy.move_tenant(tenant, partner).";
    }
    "Roles, keys and identity providers" {
        role_not_found: "42704", No, "role \"{role}\" does not exist",
            hint "The view tenancy.roles shows the roles and where they are defined.";
        role_name_reserved: "42710", No, "role name \"{role}\" is taken",
            hint "A built-in role has this name.";
        role_name_taken: "42710", NewTransaction, "role name \"{role}\" is taken",
            hint "Another transaction has just defined it.";
        level_without_roles: "23514", No, "a {level} has no roles of its own",
            hint "Roles are defined at the platform, a partner or a tenant, for it and all below.";
        role_at_user: "23514", No, "a role is not assigned at a user",
            hint "It is assigned at the platform, a partner, a tenant or a project.";
        role_outside: "23514", No, "a user's roles lie within the scope that it belongs to",
            hint "A tenant's user has roles in the tenant and its projects; for several tenants make it a user of their partner.";
        assignment_not_found: "42704", No, "the user does not have role \"{role}\" there",
            hint "The view tenancy.assignments shows which role was assigned where.";
        api_key_not_found: "42704", No, "API key {id} does not exist",
            hint "The view tenancy.api_keys shows their ids.";
        provider_not_found: "42704", No, "identity provider \"{issuer}\" does not exist",
            hint "The view tenancy.identity_providers shows those that you may see.";
        provider_ambiguous: "22023", No, "identity provider \"{issuer}\" is ambiguous",
            hint "Several scopes have a provider of this issuer: name its scope too, as in provider_scope => 'globex'.";
        provider_exists: "42710", No, "identity provider \"{issuer}\" exists already",
            hint "The scope has a provider of this issuer: tenancy.set_identity_keys() replaces its keys.";
        tokens_claimed: "42710", No, "tokens of \"{issuer}\" for this audience belong to another provider",
            hint "{hint}";
        too_many_providers: "53400", No, "a partner has at most {most} providers of one issuer and audience",
            hint "A provider of the partner with a tenant claim serves all tenants below it; or pass another audience.";
        level_without_provider: "23514", No, "a {level} has no identity provider",
            hint "A provider belongs to the platform, a partner or a tenant.";
        group_not_mapped: "42704", No, "group \"{group}\" is not mapped to this role",
            hint "The view tenancy.identity_groups shows which groups are mapped.";
    }
    "Usage" {
        metric_not_found: "42704", No, "metric \"{metric}\" does not exist",
            hint "The view tenancy.metrics shows the metrics; tenancy.define_metric() adds one.";
        metric_fixed: "22023", No, "metric \"{metric}\" keeps its {property} {value}",
            detail "What was recorded would mean something else.",
            hint "Define another metric.";
        user_without_role: "55000", AfterHint, "the user has no role in its tenant",
            hint "Usage belongs to the tenant: give the user a role there with tenancy.assign().";
        user_in_several_projects: "55000", AfterHint, "the user has roles at {projects} projects of the tenant, and one is needed here",
            hint "Name the project in which it was used.";
        event_in_future: "22023", No, "at is in the future",
            hint "at may be up to one hour ahead.";
        event_too_old: "22023", No, "at is too long ago",
            hint "The setting tenancy.usage_late says how late usage can be recorded.";
        price_unknown: "22023", No, "metric \"{metric}\" has no price for {value}",
            detail "A budget counts its cost, or the metric refuses usage without a price.",
            hint "Name its cost, or add a price with tenancy.set_price().";
        price_not_found: "42704", No, "metric \"{metric}\" has no such price",
            hint "The view tenancy.prices shows the prices; name the same scope and dimensions.";
        price_fixed: "22023", No, "metric \"{metric}\" has a price with the same dimensions from that time on",
            detail "Usage may have been priced with it.",
            hint "Set another price from now on, without valid_from.";
        prices_imposed: "42501", No, "an imposed budget counts costs at these prices",
            detail "Other prices would leave more of it.",
            hint "A user who may set that budget may set the prices.";
        too_many_prices: "54000", No, "metric \"{metric}\" has as many prices in the scope as it may",
            detail "Those are 100000 of the platform, and 10000 of a partner or a tenant.",
            hint "Set prices for fewer values; price of tenancy.define_metric() is for all others.";
        idempotency_key_reused: "22023", No, "the idempotency key was used for another {what}",
            detail "It had another {fields}.",
            hint "A retry repeats the same values; another event or reservation has a key of its own.";
        event_not_found: "42704", No, "the event does not exist",
            hint "The view tenancy.recorded_usage shows the ids of events.";
        event_voided: "42710", No, "the event is voided",
            hint "An event is voided once. The view tenancy.usage_corrections shows what voided it.";
        event_not_voidable: "22023", No, "the event cannot be voided: {reason}",
            hint "Record the right usage as a new event.";
        closing_waits: "55000", Later, "reservations of that time are open",
            hint "Settle or cancel them, or wait until they expire; the view tenancy.reservations shows them.";
        period_closed: "22023", No, "the period is closed at that time",
            hint "tenancy.close_usage() closed it. Record it with a later time, or close with late_events => 'next'.";
        usage_on_standby: "25006", NewTransaction, "usage cannot be recorded on a standby",
            hint "Only the primary knows what is in flight. Here tenancy.check_budget() counts the usage that has been replayed.";
        usage_expired: "22023", No, "the events of that time were dropped",
            detail "Only 15-minute totals are kept for that time.",
            hint "Align since and until to 15-minute boundaries.";
        export_gap: "55000", No, "events after the cursor were dropped",
            detail "tenancy.usage_retention dropped months with events that the export has not returned.",
            hint "Report the gap, then begin with the oldest event that is kept: after => NULL. Export more often than tenancy.usage_retention.";
        export_ahead: "22023", No, "the cursor is ahead of this database",
            detail "It is of another database, or this one was restored to an earlier time.",
            hint "Begin with the oldest event, after => NULL, and leave out the ids that are stored.";
        period_unknown: "55000", AfterHint, "the period is not known in this time zone",
            hint "The server's time zones (tzdata) decide; tenancy.update_scope() sets another as the setting time_zone.";
    }
    "Budgets" {
        budget_exhausted: "53400", Later, "the {level}'s budget is exhausted",
            detail "{detail}",
            hint "tenancy.check_budget() checks without recording; tenancy.set_budget() changes the budget.";
        budget_not_found: "42704", No, "the budget does not exist",
            hint "The view tenancy.budgets shows the budgets. Only a caller with budgets:manage above the scope changes an imposed one.";
        budget_has_credits: "2BP01", AfterHint, "the budget has credits with something left",
            hint "tenancy.credits shows them; tenancy.revoke_credit() ends one.";
        too_many_budgets: "54000", AfterHint, "the scope has 200 budgets of parts of its usage or of days",
            hint "Each event is counted in all that it belongs to. Set one with per in place of many, or remove some: tenancy.remove_budget().";
        too_many_credits: "54000", AfterHint, "the budget has 100 credits that have something left",
            hint "Grant fewer and larger ones; tenancy.revoke_credit() ends one.";
        credit_not_found: "42704", No, "credit {id} does not exist",
            hint "The view tenancy.credits shows their ids. Only a caller with budgets:manage above the scope revokes a credit on an imposed budget.";
        reservation_not_found: "42704", No, "the reservation does not exist";
        reservation_closed: "55000", No, "the reservation is {state}",
            hint "A reservation is settled or cancelled once.";
        too_many_reservations: "53400", Later, "the {level} has {most} open reservations, the most that are allowed",
            hint "Settle or cancel reservations of finished work, or reserve with a shorter ttl. A superuser sets tenancy.reservations_per_user and tenancy.reservations_per_tenant.";
        ledger_full: "53000", Later, "the ledger of tenancy is full",
            hint "Each budget with transactions in flight takes one entry. Raise tenancy.ledger_entries and restart the server.";
    }
    "Limits" {
        limit_not_found: "42704", No, "limit \"{limit}\" does not exist",
            hint "The view tenancy.limit_names shows the names; tenancy.define_limit() adds one.";
        limit_fixed: "22023", No, "limit \"{limit}\" keeps its kind {kind}",
            hint "Define another limit.";
        limit_of_other_kind: "22023", No, "limit \"{limit}\" is of kind {kind}",
            hint "Use tenancy.{function}().";
        quota_exhausted: "53400", AfterHint, "the {level}'s quota \"{quota}\" of {table} is exhausted",
            detail "{detail}",
            hint "Delete rows, or raise the limit: tenancy.set_limit(). The view tenancy.quota_usage shows what is used.";
        quota_overflow: "22003", No, "quota \"{quota}\" of {table} has no room for the sum",
            hint "Sums are at most about 9.2 · 10¹⁸, of numeric columns 9.2 · 10¹².";
        quota_key_too_long: "54000", No, "a value of column {column} of {table} is too long for quota \"{quota}\" to count by",
            hint "It may have 2500 bytes, together with the tenant. Count by another column.";
        quota_not_found: "42704", No, "{table} has no quota \"{quota}\"",
            hint "The view tenancy.quotas shows the quotas; tenancy.set_quota() adds one.";
        quota_column_missing: "55000", AfterHint, "column {column} of {table}, which quota \"{quota}\" counts by, does not exist",
            hint "The table's owner ends the quota: tenancy.drop_quota().";
        rate_exhausted: "53400", Later, "the {level}'s rate limit \"{limit}\" is exhausted",
            detail "{detail}",
            hint "tenancy.try_take() answers without an error; tenancy.set_rate_limit() changes the limit.";
        rate_never_allows: "53400", No, "the {level}'s rate limit \"{limit}\" never allows {cost} at once",
            detail "It allows {rate}.",
            hint "Take less at once; tenancy.set_rate_limit() changes the limit and its burst.";
        rates_full: "53000", Later, "there is no room for another rate limit in use",
            hint "Idle ones make room by themselves, and a tenant takes half of what is free at most. Raise tenancy.rate_buckets and restart the server.";
        slots_exhausted: "53400", Later, "the {level} holds all slots of limit \"{limit}\"",
            detail "{held} of {most} are held.",
            hint "Retry when one is released. tenancy.try_acquire_slot() answers without an error; tenancy.set_slots() changes the limit.";
        slots_full: "53000", Later, "there is no room for another slot",
            hint "A tenant takes half of what is free at most. Raise tenancy.slots and restart the server.";
        session_slot_behind_pool: "42501", AfterHint, "slots until the end of the session are not allowed behind a pool",
            hint "tenancy.pooled is on for this role: the session goes on with other clients. Acquire the slot until its release, with a ttl.";
        limit_not_set: "42704", No, "the scope has no value of limit \"{limit}\" that the caller may remove",
            hint "The view tenancy.limit_settings shows the values; per and level must be as they were set. Only a caller with limits:manage above the tenant removes an imposed one.";
    }
    "Plans, features and settings" {
        feature_not_found: "42704", No, "feature \"{feature}\" does not exist",
            hint "The view tenancy.feature_names shows the names; tenancy.define_feature() adds one. Below a feature of type json go the paths of its default value.";
        setting_not_found: "42704", No, "setting \"{setting}\" does not exist",
            hint "The view tenancy.setting_names shows the names; tenancy.define_setting() adds one. Below a setting of type json go the paths of its default value.";
        feature_not_boolean: "22023", No, "feature \"{feature}\" is not a boolean",
            hint "Use tenancy.feature_value().";
        value_invalid: "22023", No, "{path} {fault}",
            hint "Nothing was changed. The views tenancy.feature_names, tenancy.setting_names and tenancy.limit_names show names, types and ranges.";
        tenant_busy: "53300", Later, "the tenant has as many transactions open as its plan allows",
            detail "It may have {most} at once.",
            hint "Wait until one of them ends, and keep transactions short. Another plan may allow more.";
        option_fixed: "22023", No, "{option} \"{name}\" keeps its type {type}",
            hint "Define another {option}.";
        setting_denied: "42501", No, "permission denied to set \"{setting}\" there",
            hint "It is set by callers who may manage the {level} above.";
        plan_not_found: "42704", No, "plan \"{plan}\" does not exist",
            hint "The view tenancy.plans shows the plans. A tenant may have those of its partner and of the platform.";
        template_not_found: "42704", No, "template \"{template}\" does not exist",
            hint "The view tenancy.templates shows the templates. A tenant may have those of its partner and of the platform.";
        domain_not_found: "42704", No, "domain \"{host}\" does not exist",
            hint "The view tenancy.domains shows the domains; tenancy.add_domain() claims one.";
        domain_taken: "42710", No, "domain \"{host}\" is verified for another scope",
            hint "tenancy.remove_domain() removes it there.";
        plan_denied: "42501", No, "permission denied to set what a tenant is granted",
            hint "Plans and features of a scope are set by callers who hold plans:manage above the tenant, at its partner.";
        plan_in_use: "2BP01", AfterHint, "plan \"{plan}\" is still given to tenants",
            detail "Tenants that have it now, or are to have it: {tenants}.",
            hint "The view tenancy.tenant_plans shows them. Give them another plan with tenancy.set_plan(), or tenancy.end_plan() first.";
    }
    "Secrets" {
        secret_not_found: "42704", No, "secret \"{secret}\" does not exist",
            hint "A secret of a partner or the platform is visible to tenants only if it was set with inherit => true. The view tenancy.secrets shows names.";
        secret_stored: "0A000", No, "tenancy.secret() cannot be called here",
            detail "The server would store the value, as in a materialized view.",
            hint "Call it in the statement that needs the value.";
        level_without_secrets: "23514", No, "a {level} has no secrets",
            hint "The platform, a partner, a tenant or a project has.";
        keyring_not_set: "55000", AfterHint, "no keyring is set",
            hint "A superuser sets tenancy.keyring_directory, and tenancy.master_key_file or tenancy.master_key_command, and reloads the server.";
        keyring_unusable: "55000", AfterHint, "the keyring cannot be used",
            detail "{fault}",
            hint "tenancy.keyring_directory, and tenancy.master_key_file or tenancy.master_key_command, say where it is.";
        secret_key_missing: "55000", AfterHint, "the key of this secret is not in the keyring",
            detail "It was erased, or the keyring of this server lacks it.",
            hint "Copy the keyring of the server that has it. After tenancy.erase_tenant_key(), no server has it.";
        too_many_sealing_keys: "54000", AfterHint, "the scope has 100 keys in the keyring",
            hint "tenancy.drop_old_tenant_keys() removes those that no secret needs.";
        secret_damaged: "XX001", No, "secret \"{secret}\" cannot be opened",
            detail "What is stored is not what tenancy has sealed for it.",
            hint "Set it again with tenancy.set_secret().";
    }
    "Arguments" {
        null_argument: "22023", No, "{argument} must not be null",
            hint "{hint}";
        invalid_argument: "22023", No, "{message}",
            hint "{hint}";
        object_not_found: "42704", No, "{object} does not exist";
        database_role_not_found: "42704", No, "role \"{role}\" does not exist";
    }
    "Isolated tables" {
        table_not_isolated: "55000", AfterHint, "protected table {table} is not isolated",
            detail "{fault}",
            hint "Its owner calls tenancy.protect() to isolate it again, or tenancy.unprotect() to give its protection up.";
        table_not_protected: "42704", No, "{table} is not protected",
            hint "The view tenancy.protected_tables shows the protected tables.";
        not_table_owner: "42501", No, "must be owner of table {table}";
        part_of_other_owner: "42501", No, "{member}, part of {table}, belongs to another role",
            detail "A part's triggers and expressions would run with the rights of the owner of the whole.",
            hint "Give them one owner: ALTER TABLE {member} OWNER TO that of {table}.";
        already_protected: "42710", No, "{table} is already protected with other options",
            detail "It is protected with {options}.",
            hint "Unprotect it first: SELECT * FROM tenancy.unprotect('{literal}').";
        isolated_by_parent: "22023", No, "{table} is isolated as a part of {root}",
            hint "Unprotect {root}, or detach this part of it first.";
        parent_not_protected: "22023", No, "{table} is protected, and its new parent is not",
            hint "Its rows would be read through the parent: protect the parent first.";
        part_of_unprotected: "22023", No, "{table} is a part of {root}, which is not protected",
            hint "Protect {root}: its parts are isolated with it.";
        table_is_view: "42809", No, "{table} is a view and cannot be isolated by itself",
            hint "Protect the tables it reads, and let it run with its caller's rights: ALTER VIEW {table} SET (security_invoker = true).";
        table_is_materialized_view: "42809", No, "{table} is a materialized view and cannot be isolated",
            detail "Row security does not apply to materialized views: they hold the rows of every tenant.",
            hint "Protect the tables it reads, and do not grant it to a role that serves a single tenant.";
        table_is_foreign: "42809", No, "{table} is a foreign table and cannot be isolated",
            detail "Row security does not apply to foreign tables.",
            hint "Protect the table on the server where it lives.";
        table_has_foreign_part: "42809", No, "{member}, part of {table}, is a foreign table and cannot be isolated",
            detail "Row security does not apply to foreign tables.",
            hint "Detach {member}, or protect the table on the server where it lives.";
        not_a_table: "42809", No, "{table} is {what}, not a table",
            hint "Name an ordinary or a partitioned table.";
        table_is_catalog: "42809", No, "{table} is a system catalog";
        table_is_tenancys: "42809", No, "{table} belongs to the extension tenancy";
        table_is_temporary: "42809", No, "{table} is a temporary table",
            detail "Temporary tables are seen by one session only.";
        tenant_column_missing: "22023", No, "column {column} of {table} does not exist",
            hint "Name the column that holds the tenant with tenant_column, or add one with add_column => true.";
        tenant_column_type: "22023", No, "tenant column {column} of {table} has type {type}",
            hint "Use uuid (the id of a scope), or bigint, integer, smallint, numeric(n,0), text, varchar, char or citext (its external id), or a domain over one of these.";
        tenant_column_collation: "22023", No, "tenant column {column} of {table} has a nondeterministic collation",
            detail "Two keys that differ in bytes would count as one tenant.",
            hint "Give the column a deterministic collation.";
        tenant_column_generated: "22023", No, "tenant column {column} of {table} is generated",
            hint "The tenant must be a column that is stored as it was written.";
        tenant_column_null: "22023", No, "tenant column {column} of {table} is NULL in {rows}",
            hint "Name their tenant: backfill => 'slug of a tenant'.";
        option_column_missing: "22023", No, "{option} {column} of {table} does not exist";
        option_column_type: "22023", No, "{option} {column} of {table} has type {type}",
            hint "It must hold the id of a scope, or its external id in a type of key: see the tenant column.";
        option_column_generated: "22023", No, "{option} {column} of {table} is generated",
            hint "Name a column that is stored as it was written.";
        backfill_needed: "22023", No, "{table} has rows, and the new column {column} needs a tenant for them",
            hint "Name their tenant: backfill => 'slug of a tenant'.";
        backfill_level: "22023", No, "rows cannot be given to a scope of level {level}",
            hint "{hint}";
        backfill_without_key: "22023", No, "the scope to backfill with has no external id that fits type {type}",
            hint "Give the scope the key that the application uses for it as its external id.";
        protect_options: "22023", No, "{message}",
            hint "{hint}";
        ambiguous_key: "55000", AfterHint, "external id \"{key}\" is that of two scopes, and {table} is to have rows that partners share",
            hint "A row with this key would be that of a partner and of a tenant. Give one of them another external id with update_scope(), or use a column of type uuid.";
        keys_meanwhile: "40001", NewTransaction, "external ids of partners were set while they become keys of rows",
            hint "Run the transaction again.";
        adoption_blocked: "55000", AfterHint, "the schema cannot be adopted yet",
            detail "{list}",
            hint "Correct the rows, or decide with the argument decisions of adopt(). The view tenancy.adoption shows the whole plan.";
        unadoption_blocked: "55000", AfterHint, "the adoption cannot be undone yet",
            detail "{list}",
            hint "Nothing was undone. Put back the foreign keys that fix_foreign_keys() has replaced: CALL tenancy.unfix_foreign_keys(). The view tenancy.adoption shows the whole plan.";
        adopt_in_transaction: "25001", AfterHint, "this procedure cannot run inside a transaction block",
            hint "Each of its steps is a transaction of its own. With dry_run => true it only plans, and may run anywhere.";
        runs_already: "55006", Later, "another session runs {what}",
            hint "It is the process {process} in pg_stat_activity. Call this again when that call has ended, or end it: pg_terminate_backend({process}).";
        adopt_waits: "55P03", Later, "the procedure waited too long for a lock on {table}",
            hint "What it has done stays. Call it again when the table is less busy, or with a longer lock_timeout.";
        left_open: "55000", AfterHint, "{table} would hold tenants' rows without isolation",
            detail "It {reasons}.",
            hint "adopt(watch => 'protect') watches this schema. Give the table a foreign key that is NOT NULL or the tenant column's usual name and type, run the statement as the owner of the tables with tenancy_admin, or decide on the table in adopt().";
        granted_open: "55000", AfterHint, "the grant would show tenants' rows in {table}, which is not isolated",
            detail "It {reasons}.",
            hint "adopt(watch => 'protect') watches this schema. Isolate it first: call adopt() again, or run the statement in tenancy.unprotected_tables; or decide on it in adopt().";
        watch_ends: "55000", AfterHint, "the table of tenants of schema {schema} would be gone, and its tables not watched any more",
            hint "adopt(watch => 'protect') watches this schema. Call tenancy.unadopt(), or adopt() with watch => 'off', before you drop the table.";
        parent_missing: "55000", AfterHint, "the row refers to a row of {table} that does not exist or is not visible",
            hint "Its tenant is that of the row it refers to. Insert that row first.";
        moves_alone: "55000", AfterHint, "a row of {table} would move to another tenant without rows of {child} that refer to it",
            hint "Move it in maintenance(), as a role to whom the table's policies show these rows.";
        moved_meanwhile: "40001", NewTransaction, "a row of {table} moves to another tenant, and others have added rows of {child} that refer to it",
            hint "Run the transaction again.";
        table_owner_unfit: "42501", AfterHint, "the owner of {table} may not create tenants any more",
            hint "Grant it tenancy_admin, or drop the trigger tenancy_follow.";
        protection_unreadable: "XX000", No, "the record of the protection of {table} cannot be read: {reason}";
    }
    "Leaving" {
        not_a_tenant: "22023", No, "scope \"{scope}\" is a {level}, not a tenant",
            hint "Name a tenant, as in partner/tenant.";
        purge_not_deleted: "55000", AfterHint, "tenant \"{tenant}\" is {status}, not deleted",
            hint "A purge cannot be undone. End the tenant's access first: SELECT tenancy.set_status(tenant, 'deleted').";
        purge_begun: "55000", No, "tenant \"{tenant}\" is being purged",
            hint "A part of its rows is gone already. Call purge_tenant() again to delete the rest.";
        purge_changed: "55000", AfterHint, "the external id of tenant \"{tenant}\" was changed while it is being purged",
            hint "Rows carry the former one. Set it again with tenancy.update_scope(), then call purge_tenant() again.";
        purge_blocked: "55000", AfterHint, "tenant \"{tenant}\" cannot be purged yet",
            detail "{reasons}",
            hint "Nothing was deleted by this call. Correct what DETAIL names, and call purge_tenant() again.";
        purge_rows_stay: "55000", AfterHint, "rows of {table} stay although they are deleted",
            hint "A trigger or a rule of the table keeps them, or others insert new ones in maintenance. What was deleted stays deleted: correct the table and call purge_tenant() again.";
        move_blocked: "55000", AfterHint, "tenant \"{tenant}\" cannot be moved yet",
            detail "{reasons}",
            hint "Correct what DETAIL names, and call the procedure again. The view tenancy.moves shows what is published.";
        move_deleted: "55000", AfterHint, "tenant \"{tenant}\" is deleted",
            hint "Give it another status before you move it, as in tenancy.set_status(tenant, 'suspended').";
        move_not_found: "42704", No, "tenant \"{tenant}\" is not being moved",
            hint "Begin with CALL tenancy.move_tenant_out(tenant). The view tenancy.moves shows all.";
        move_state: "55000", AfterHint, "the move of tenant \"{tenant}\" is {state}",
            hint "switch_over() and finish_move() go on with a move, cancel_move() undoes it. The view tenancy.moves shows its state.";
        move_open: "55000", AfterHint, "tenant \"{tenant}\" is being moved to another database",
            hint "Its subscriber would delete what is deleted here. Drop the subscription, then call finish_move() or cancel_move().";
        move_subscribed: "55006", AfterHint, "a subscriber is connected to replication slot \"{slot}\"",
            hint "Drop the subscription in its database first: DROP SUBSCRIPTION.";
        move_too_slow: "55000", AfterHint, "the subscriber has not got all rows of tenant \"{tenant}\" within {seconds} seconds",
            hint "The tenant works on, as before. Look for long transactions, and at lag_bytes in the view tenancy.moves; or call switch_over() with a longer timeout_seconds.";
        tenant_moved: "55000", No, "tenant \"{tenant}\" was moved to {destination}",
            hint "It works there. If it does not, cancel_move() lets it be activated here again.";
        export_damaged: "22P04", No, "the lines are not an export, or not all of one: {fault}",
            hint "Export the tenant again, or read the file again: each line once, in its order.";
        import_refused: "55000", AfterHint, "the export cannot be imported",
            detail "{reasons}",
            hint "Nothing was imported. Correct what DETAIL names, and call import_tenant() again. What is given from above a tenant: granted => 'leave_out', or 'restore' for a file that you trust.";
        forgetting_undecided: "55000", AfterHint, "it is undecided what becomes of rows that name user \"{user}\"",
            detail "{columns}",
            hint "Nothing was changed. Decide on each column with tenancy.set_forgetting(); the view tenancy.user_columns shows all.";
        forgetting_blocked: "55000", AfterHint, "user \"{user}\" cannot be forgotten yet",
            detail "{reasons}",
            hint "No row was changed by this call. Correct what DETAIL names, and call forget_user() again.";
        forgetting_changed: "55000", AfterHint, "the external id of user {user} was changed while it is being forgotten",
            hint "Rows carry the former one. Set it again with tenancy.update_scope(), then call forget_user() again.";
        forgotten_rows_stay: "55000", AfterHint, "{table} still has rows that name the user",
            hint "A trigger or a rule of the table keeps them, or others insert new ones in maintenance. Correct the table and call forget_user() again.";
        user_forgotten: "55000", No, "user {user} was forgotten, or is being forgotten",
            hint "It does not come back. Create a new user.";
        region_differs: "55000", AfterHint, "a row of a tenant of region {home} would lie in {table}, of region {region}",
            hint "The statement could write into that table. Name a table or a partition of the tenant's region; the view tenancy.residency lists them.";
        region_of_several: "55000", AfterHint, "{table} states a region, and the context has several tenants",
            hint "Call tenancy.select_tenant() before you write into it.";
        region_rows_stay: "55000", AfterHint, "rows below \"{scope}\" lie where another region is stated",
            detail "{reasons}",
            hint "Move or delete them first, in maintenance(), then call set_region() again.";
        region_moves: "55000", AfterHint, "tenant \"{tenant}\" would move from region {before} to {after}",
            hint "Give the tenant a region of its own first, with tenancy.set_region().";
        level_without_region: "23514", No, "a {level} has no region",
            hint "Set the region of a partner or a tenant.";
        legal_hold: "55000", AfterHint, "a legal hold on \"{scope}\" forbids this",
            detail "It was set for this reason: {reason}.",
            hint "A principal with legal:hold, or an administrator, releases it with tenancy.release_legal_hold().";
        legal_hold_from_above: "42501", No, "the legal hold on \"{scope}\" was set from above it",
            hint "Who holds legal:hold where it was set changes and releases it.";
        legal_hold_not_found: "42704", No, "there is no legal hold on \"{scope}\"",
            hint "The view tenancy.legal_holds shows the holds.";
    }
    "Faults" {
        out_of_memory: "53200", Later, "out of memory",
            detail "Failed on request of size {bytes}.";
        query_failed: "XX000", No, "query failed: {reason}";
        internal: "XX000", No, "tenancy: {fault}";
    }
}
