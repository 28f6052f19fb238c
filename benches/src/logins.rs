//! The cost of a login: a whole transaction that does nothing else, with each kind of
//! credential, compared with a transaction that sets a variable.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use postgres::Client;
use serde_json::json;

use crate::Fault;
use crate::cases::{AUTHENTICATE, TOP_10, TOP_10_SETTING, begin_as, pair, run};
use crate::config::{APP, Config, DATABASE, SETTING};
use crate::measure::{in_turns, timed};
use crate::report::{Report, Wanted};
use crate::setup::World;

const BATCH: usize = 500;

/// An identity provider that signs with one key.
struct Idp {
    issuer: &'static str,
    algorithm: Algorithm,
    name: &'static str,
    key: EncodingKey,
}

impl Idp {
    fn secret() -> Self {
        Self {
            issuer: "https://hs.example.com/",
            algorithm: Algorithm::HS256,
            name: "HS256",
            key: EncodingKey::from_secret(&[7; 32]),
        }
    }

    fn ed() -> Self {
        // PKCS #8 around 32 bytes.
        let head = [
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ];
        Self {
            issuer: "https://ed.example.com/",
            algorithm: Algorithm::EdDSA,
            name: "EdDSA",
            key: EncodingKey::from_ed_der(&[head.as_slice(), &[7; 32]].concat()),
        }
    }

    /// Adds the provider at the platform, for the users of all tenants.
    fn add(&self, admin: &mut Client) -> Result<(), Fault> {
        let (keys, secret) = match self.algorithm {
            Algorithm::HS256 => (None, Some(vec![7u8; 32])),
            _ => {
                let jwk = Jwk::from_encoding_key(&self.key, self.algorithm)?;
                (Some(json!({ "keys": [jwk] }).to_string()), None)
            }
        };
        admin.execute(
            "SELECT tenancy.add_identity_provider('platform', $1, '{bench}', keys => $2::text::jsonb, secret => $3,
                                                  tenant_claim => 'tenant', create_users => true)",
            &[&self.issuer, &keys, &secret],
        )?;
        admin.execute(
            "SELECT tenancy.map_group($1, '*', 'member')",
            &[&self.issuer],
        )?;
        Ok(())
    }

    /// Returns a token for this provider's user of a tenant; another token for each `n`.
    fn token(&self, tenant: &str, n: usize) -> Result<String, Fault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!(
            "{}.{}",
            part(json!({"typ": "JWT", "alg": self.name})),
            part(json!({
                "iss": self.issuer, "aud": "bench", "sub": format!("{}|0190f7a1", self.name),
                "tenant": tenant, "iat": now, "exp": now + 36_000, "jti": n.to_string(),
                "name": "A. Person", "groups": ["staff", "everybody"],
            }))
        );
        let signature = crypto::sign(signed.as_bytes(), &self.key, self.algorithm)?;
        Ok(format!("{signed}.{signature}"))
    }
}

/// Measures transactions that only authenticate, of many tenants over one connection.
pub fn logins(config: &Config, world: &World, report: &mut Report) -> Result<(), Fault> {
    let mut admin = config.administer(DATABASE)?;
    let (mut app, mut setting) = (config.connect(APP)?, config.connect(SETTING)?);
    let authenticate = app.prepare(AUTHENTICATE)?;
    let set = setting.prepare("SELECT set_config('app.tenant', $1, true)")?;
    let ids: Vec<String> = world
        .tenants
        .iter()
        .map(|tenant| tenant.id.to_string())
        .collect();

    let idps = [Idp::secret(), Idp::ed()];
    let mut kept = Vec::new();
    for idp in &idps {
        idp.add(&mut admin)?;
        let mut tokens = Vec::new();
        for tenant in &world.tenants {
            let slug: String = admin
                .query_one(
                    "SELECT slug FROM tenancy.scopes WHERE id = $1",
                    &[&tenant.id],
                )?
                .get(0);
            // The first login, which makes the user, is not what is measured.
            let token = idp.token(&slug, 0)?;
            app.query(&authenticate, &[&token])?;
            tokens.push((slug, token));
        }
        kept.push(tokens);
    }
    for table in [
        "tenancy.scopes",
        "tenancy_internal.identity_users",
        "tenancy_internal.role_assignments",
    ] {
        admin.batch_execute(&format!("VACUUM (ANALYZE) {table}"))?;
    }

    let key = |n: usize| Ok(world.tenants[n % world.tenants.len()].key.clone());
    let ticket = |n: usize| Ok(world.tenants[n % world.tenants.len()].ticket.clone());
    let again = |idp: usize| {
        let tokens = &kept[idp];
        move |n: usize| Ok(tokens[n % tokens.len()].1.clone())
    };
    let fresh = |idp: usize| {
        let (idp, tokens) = (&idps[idp], &kept[idp]);
        move |n: usize| idp.token(&tokens[n % tokens.len()].0, n + 1)
    };
    let (hs, ed, hs_fresh, ed_fresh) = (again(0), again(1), fresh(0), fresh(1));
    type Credential<'a> = &'a dyn Fn(usize) -> Result<String, Fault>;
    let cases: [(&str, Credential); 6] = [
        ("authenticate by key", &key),
        ("  by ticket", &ticket),
        ("  by HS256 JWT, seen before", &hs),
        ("  by EdDSA JWT, seen before", &ed),
        ("  by HS256 JWT, seen for the first time", &hs_fresh),
        ("  by EdDSA JWT, seen for the first time", &ed_fresh),
    ];
    let (top_10, top_10_setting) = (app.prepare(TOP_10)?, setting.prepare(TOP_10_SETTING)?);
    for (what, credential) in cases {
        let rounds = config.rounds(21);
        let credentials: Vec<String> = (0..(rounds + 2) * BATCH)
            .map(credential)
            .collect::<Result<_, _>>()?;
        // Alone, and as a request that reads something: what is seen for the first time is seen once.
        let reads: &[bool] = if what.contains("first") {
            &[false]
        } else {
            &[false, true]
        };
        for reads in reads {
            let times = in_turns(
                rounds,
                &mut [
                    &mut |round| {
                        timed(BATCH, |n| {
                            setting.batch_execute("BEGIN")?;
                            setting.query(&set, &[&ids[(round * BATCH + n) % ids.len()]])?;
                            let answer = if *reads {
                                run(&mut setting, &top_10_setting, &[])?
                            } else {
                                1
                            };
                            setting.batch_execute("COMMIT")?;
                            Ok(answer)
                        })
                    },
                    &mut |round| {
                        timed(BATCH, |n| {
                            let credential = &credentials[(round * BATCH + n) % credentials.len()];
                            begin_as(&mut app, &authenticate, credential)?;
                            let answer = if *reads {
                                run(&mut app, &top_10, &[])?
                            } else {
                                1
                            };
                            app.batch_execute("COMMIT")?;
                            Ok(answer)
                        })
                    },
                ],
            )?;
            let what = format!("{what}{}", if *reads { ", top-10" } else { "" });
            report.compare(&what, pair(&times), Wanted::Stated, None);
        }
    }
    Ok(())
}
