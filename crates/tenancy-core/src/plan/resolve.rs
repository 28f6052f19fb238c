//! Which of several values counts: the nearest, and of an object the nearest at each path.

use serde_json::{Map, Value};

use super::definition::{Definition, Definitions, Fault, Type, find, fits, is_open};

/// A value that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The value; null for none.
    pub value: Value,
    /// The place of the layer that it is of; `None` for the default.
    pub layer: Option<usize>,
}

/// Returns the value of a name, which may go on below a definition with a path or an element; `None` if there is no such name.
/// Layers are objects with the values by their names, the nearest first. Values that no longer fit the definition do not count.
pub fn effective(all: &Definitions, name: &str, layers: &[&Value]) -> Option<Value> {
    let (known, definition, rest) = find(all, name)?;
    let whole = whole(known, definition, layers);
    if rest.is_empty() {
        return Some(whole.value);
    }
    if definition.kind == Type::List {
        let known =
            definition.choices.is_empty() || definition.choices.iter().any(|choice| choice == rest);
        let elements = whole.value.as_array().map_or(&[][..], Vec::as_slice);
        return known.then(|| Value::Bool(elements.iter().any(|element| element == rest)));
    }
    let mut at = &whole.value;
    for key in rest.split('.') {
        at = at.as_object()?.get(key)?;
    }
    Some(at.clone())
}

/// Returns every value of a definition with its path: one, or those of an object.
pub fn leaves(name: &str, definition: &Definition, layers: &[&Value]) -> Vec<(String, Effective)> {
    if definition.kind != Type::Json {
        return vec![(name.to_owned(), whole(name, definition, layers))];
    }
    let own: Vec<Option<&Value>> = layers.iter().map(|layer| layer.get(name)).collect();
    let mut found = Vec::new();
    collect(name, &definition.default, &own, &mut found);
    found
}

fn whole(name: &str, definition: &Definition, layers: &[&Value]) -> Effective {
    let own: Vec<Option<&Value>> = layers.iter().map(|layer| layer.get(name)).collect();
    if definition.kind == Type::Json {
        return merged(&definition.default, &own);
    }
    let holds = |value: &&Value| definition.check_value("", value).is_ok();
    let mut of = own.iter().enumerate();
    let found = of.find_map(|(n, value)| Some((n, (*value).filter(holds)?)));
    match found {
        Some((n, value)) => Effective {
            value: value.clone(),
            layer: Some(n),
        },
        None => Effective {
            value: definition.default.clone(),
            layer: None,
        },
    }
}

/// Returns the objects at a key of each layer.
fn below<'a>(own: &[Option<&'a Value>], key: &str) -> Vec<Option<&'a Value>> {
    own.iter()
        .map(|value| value.and_then(|value| value.get(key)))
        .collect()
}

fn leaf(shape: &Value, own: &[Option<&Value>]) -> Effective {
    let mut of = own.iter().enumerate();
    let found = of.find_map(|(n, value)| Some((n, (*value).filter(|value| fits(shape, value))?)));
    match found {
        Some((n, value)) => Effective {
            value: value.clone(),
            layer: Some(n),
        },
        None => Effective {
            value: shape.clone(),
            layer: None,
        },
    }
}

fn merged(shape: &Value, own: &[Option<&Value>]) -> Effective {
    match shape {
        Value::Object(members) if !is_open(shape) => {
            let members = members
                .iter()
                .map(|(key, shape)| (key.clone(), merged(shape, &below(own, key)).value));
            Effective {
                value: Value::Object(members.collect()),
                layer: None,
            }
        }
        _ => leaf(shape, own),
    }
}

fn collect(
    path: &str,
    shape: &Value,
    own: &[Option<&Value>],
    found: &mut Vec<(String, Effective)>,
) {
    match shape {
        Value::Object(members) if !is_open(shape) => {
            for (key, shape) in members {
                collect(&format!("{path}.{key}"), shape, &below(own, key), found);
            }
        }
        _ => found.push((path.to_owned(), leaf(shape, own))),
    }
}

/// Returns the values of a scope with one more under a name, or without it; an error if it is wrong. `None`: there is no such name.
pub fn placed(
    all: &Definitions,
    name: &str,
    value: Option<&Value>,
    own: &Map<String, Value>,
) -> Option<Result<Map<String, Value>, Fault>> {
    let (known, definition, rest) = find(all, name)?;
    if !rest.is_empty() && definition.kind != Type::Json {
        return Some(Err(Fault::new(
            known,
            "is set as a whole, with all of its elements",
        )));
    }
    let mut path: Vec<&str> = vec![known];
    path.extend(rest.split('.').filter(|_| !rest.is_empty()));
    // At a path, the object that a value makes there must fit as one of the whole.
    let mut shape = &definition.default;
    for key in path.iter().skip(1) {
        shape = shape.as_object()?.get(*key)?;
    }
    if let Some(value) = value {
        let nested = path.iter().skip(1).rev().fold(value.clone(), |inner, key| {
            Value::Object(Map::from_iter([((*key).to_owned(), inner)]))
        });
        if let Err(fault) = definition.check_value(known, &nested) {
            return Some(Err(fault));
        }
    }
    let mut own = own.clone();
    put(&mut own, &path, value);
    Some(Ok(own))
}

/// Puts a value at a path, or removes what is there and the objects that it leaves empty.
fn put(own: &mut Map<String, Value>, path: &[&str], value: Option<&Value>) {
    match (path, value) {
        ([], _) => {}
        ([last], Some(value)) => {
            own.insert((*last).to_owned(), value.clone());
        }
        ([last], None) => {
            own.remove(*last);
        }
        ([key, rest @ ..], value) => {
            let mut inner = match own.remove(*key) {
                Some(Value::Object(inner)) => inner,
                _ => Map::new(),
            };
            put(&mut inner, rest, value);
            if !inner.is_empty() {
                own.insert((*key).to_owned(), Value::Object(inner));
            }
        }
    }
}
