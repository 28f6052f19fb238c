//! `feature()`, `setting()` and the like: the value of a name for the context. They are called for each row.

use serde_json::Value;

use super::definitions::Of;
use super::values::{Found, of_context};
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call};
use std::rc::Rc;

crate::c_functions! {
    tenancy_feature => feature;
    tenancy_feature_value => feature_value;
    tenancy_setting => setting;
    tenancy_setting_value => setting_value;
}

fn found(call: &Call, of: Of) -> Result<Rc<Found>, Error> {
    of_context()?.find(of, call.str(0)?)
}

/// Returns whether the context has a feature.
fn feature(call: &Call) -> Result<Answer, Error> {
    let found = found(call, Of::Feature)?;
    match found.value {
        Value::Bool(has) => Ok(Answer::Bool(has)),
        _ => Err(Error::NotBoolean(call.str(0)?.to_owned())),
    }
}

/// Returns the value of a feature of any type.
fn feature_value(call: &Call) -> Result<Answer, Error> {
    let found = found(call, Of::Feature)?;
    Ok(json(&found))
}

/// Returns a setting as text.
fn setting(call: &Call) -> Result<Answer, Error> {
    let found = found(call, Of::Setting)?;
    Ok(found.text.as_deref().map_or(Answer::Null, Answer::text))
}

/// Returns a setting as JSON.
fn setting_value(call: &Call) -> Result<Answer, Error> {
    let found = found(call, Of::Setting)?;
    Ok(json(&found))
}

fn json(found: &Found) -> Answer {
    match &found.value {
        Value::Null => Answer::Null,
        value => Answer::json(value.clone()),
    }
}
