//! Names of the context's tenant outside the database.

use pgrx::prelude::*;
use tenancy_core::outside;

use super::current::required;
use crate::error::{Error, ErrorReport};
use crate::pg::bounded;

/// Returns the tenant's key of a cache.
#[pg_extern(sql = false)]
fn cache_key(namespace: Option<&str>, key: Option<&str>) -> Result<String, ErrorReport> {
    let namespace = namespace.ok_or(Error::Null("namespace"))?;
    let key = key.ok_or(Error::Null("key"))?;
    let tenant = required()?.one_tenant()?;
    Ok(outside::cache_key(tenant, namespace, key))
}

/// Returns the tenant's subject, topic or routing key.
#[pg_extern(sql = false)]
fn subject(topic: Option<&str>, tokens: Option<bounded::Texts>) -> Result<String, ErrorReport> {
    let topic = topic.ok_or(Error::Null("topic"))?;
    let tokens = tokens.ok_or(Error::Null("tokens"))?.0;
    let tokens = tokens.iter().map(Option::as_deref);
    let parts: Option<Vec<&str>> = std::iter::once(Some(topic)).chain(tokens).collect();
    let parts = parts.ok_or(Error::Null("a token"))?;
    let tenant = required()?.one_tenant()?;
    Ok(outside::subject(tenant, &parts))
}
