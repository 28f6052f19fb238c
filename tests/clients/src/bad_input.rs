//! Checks that every refusal of bad input shares.

use crate::{Failure, Session, World};

/// Each statement fails with its SQLSTATE, and leaves nothing.
#[track_caller]
pub fn each(session: &mut Session, world: &World, cases: &[(&str, &str)]) {
    let state = "SELECT md5(string_agg(x, '|' ORDER BY x)) FROM (SELECT to_jsonb(s)::text x FROM tenancy.scopes s UNION ALL \
                 SELECT to_jsonb(k)::text FROM tenancy_internal.api_key_secrets k UNION ALL SELECT id::text || coalesce(retires_at::text, '') FROM tenancy_internal.signing_keys \
                 UNION ALL SELECT id::text FROM tenancy.maintenance_log) a";
    let before = world.db.admin().text(state);
    let mut wrong = Vec::new();
    for (sql, code) in cases {
        session.run("BEGIN; SAVEPOINT s");
        match session.batch_execute(sql) {
            Ok(()) => wrong.push(format!("not refused: {sql}")),
            Err(error) => {
                let failure = Failure::from(&error);
                if failure.code != *code
                    || failure.message.is_empty()
                    || failure.all.contains("panicked")
                {
                    wrong.push(format!(
                        "{sql}\n    wanted {code}, got {} {}",
                        failure.code, failure.message
                    ));
                }
            }
        }
        // Inside a savepoint and outside: a failed call leaves nothing, even if the transaction continues.
        session.run("ROLLBACK TO s; COMMIT");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        world.db.admin().text(state),
        before,
        "something was left behind"
    );
}
