//! Login policies: what the scopes on a user's path ask of a token.

use tenancy_core::identity::login_policy::{LoginPolicy, Unmet};
use tenancy_core::jwt::Claims;
use tenancy_core::subject::Subject;
use tenancy_core::time::{Instant, Length};
use uuid::Uuid;

use crate::error::Error;
use crate::pg::sources::Reading;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;

/// Returns when a session must end that a token opens for a user below this scope: with the token, or earlier. An error if the policy of
/// a scope is not met.
pub fn session_end(
    parent: Uuid,
    claims: &Claims,
    now: Instant,
    reading: &mut Reading,
) -> Result<Instant, Error> {
    let mut end = claims.expires_at;
    spi::read(
        "SELECT scope_id, level, slug, amr, acr, seconds FROM tenancy_internal.login_policies_of($1)",
        &[pg_uuid(parent).into()],
        |rows| {
            for row in rows {
                reading.of(Subject::Networks(row.not_null_id(1)?));
                let Some(amr) = row.get(4)? else {
                    continue;
                };
                let policy = LoginPolicy {
                    amr,
                    acr: row.not_null(5)?,
                    longest_session: row.get(6)?.map(Length::from_seconds),
                };
                match policy.session_end(claims, now) {
                    Ok(earlier) => end = earlier.map_or(end, |earlier| end.min(earlier)),
                    Err(unmet) => {
                        let (level, slug): (String, String) = (row.not_null(2)?, row.not_null(3)?);
                        let of = format!("{level} {slug}");
                        return Err(Error::LoginPolicy(of, asks(unmet, &policy)));
                    }
                }
            }
            Ok(())
        },
    )?;
    Ok(end)
}

/// Says what a policy asks for.
fn asks(unmet: Unmet, policy: &LoginPolicy) -> String {
    match unmet {
        Unmet::Method => {
            let claims = [("amr", &policy.amr), ("acr", &policy.acr)];
            let claims = claims.iter().filter(|(_, values)| !values.is_empty());
            let claims = claims.map(|(claim, values)| format!("{claim} {}", values.join(", ")));
            let claims: Vec<String> = claims.collect();
            format!("for a login with {}", claims.join(" or "))
        }
        Unmet::NoTime => {
            "when the user logged in (auth_time), which the token does not tell".to_owned()
        }
        Unmet::Age => "for a login that is more recent".to_owned(),
    }
}
