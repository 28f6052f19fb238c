//! The tests over real connections: one program, a folder for each topic.
//!
//! scripts/clients runs it once for each file: the tests of a file are threads of one process, and the files run one after another.
//! They share a server. Some count its backends, fill its ledger, stop its processes or measure: they are not written to run all at once.

mod access {
    mod assignments;
    mod elevation;
    mod escalation;
    mod privileges;
    mod property;
    mod same_answer;
}
mod adoption {
    mod adopt;
    mod again;
    mod alone;
    mod blocks;
    mod interrupted;
    mod keys;
    mod moves;
    mod parents;
    mod sign_up;
    mod unfix;
    mod views;
    mod watch;
}
mod attacks {
    mod adoption;
    mod conditions;
    mod context;
    mod credentials;
    mod ddl;
    mod equalities;
    mod holding;
    mod kept_state;
    mod lifetime;
    mod memory;
    mod metering;
    mod named_tables;
    mod objects;
    mod parts;
    mod plans;
    mod pool;
    mod power;
    mod projects;
    mod protection;
    mod provider_tokens;
    mod reach;
    mod record;
    mod revocation;
    mod roles;
    mod sealed_context;
    mod session;
    mod squatting;
    mod storms;
    mod switching;
    mod unrecorded;
    mod usage;
    mod waits;
    mod workers;
    mod writes;
}
mod audit {
    mod log;
    mod logins;
    mod worker;
}
mod bad_input {
    mod context;
    mod protect;
    mod tree;
}
mod budget {
    mod alerts;
    mod asking;
    mod budgets;
    mod clock;
    mod credits;
    mod exactness;
    mod extending;
    mod parts;
    mod periods;
    mod reservations;
    mod stored_numerics;
}
mod identity {
    mod login;
    mod networks;
    mod policies;
    mod providers;
    mod rights;
}
mod isolation {
    mod columns;
    mod fleets;
    mod fuzz;
    mod index_search;
    mod key_types;
    mod keys;
    mod new_parts;
    mod other_keys;
    mod parameters;
    mod partitions;
    mod plans;
    mod statements;
}
mod lifecycle {
    mod export;
    mod forged;
    mod import;
    mod interrupted;
    mod moving;
    mod purge;
    mod residency;
    mod users;
}
mod limit {
    mod amounts;
    mod raising;
    mod rates;
    mod slots;
}
mod metering {
    mod corrections;
    mod export;
    mod prices;
    mod report;
    mod together;
    mod usage;
}
mod plan {
    mod domains;
    mod onboarding;
    mod plans;
    mod resources;
}
mod protect {
    mod copy_from;
    mod foreign_keys;
    mod index_advice;
    mod maintenance_reason;
    mod null_tenant;
    mod own_ids;
    mod paths;
    mod session_settings;
    mod shared_null;
    mod shared_rows;
    mod takes_away;
    mod unprotected;
}
mod quota {
    mod counting;
    mod nested;
    mod race;
    mod restore;
    mod values;
}
mod secret {
    mod keys;
    mod logs;
    mod secrets;
}
mod server {
    mod crash_usage;
    mod dump_restore;
    mod error_kinds;
    mod errors_pass;
    mod kill;
    mod newer_servers;
    mod operations;
    mod pgbouncer;
    mod replication;
    mod server_errors;
    mod standby;
    mod stopped;
}
