//! The parts of an index's definition, as `pg_get_indexdef` writes it.

/// The parts after the access method.
pub(super) struct Definition<'a> {
    /// Its keys, each with collation, operator class and order.
    pub keys: Vec<&'a str>,
    /// Its included columns.
    pub include: Vec<&'a str>,
    /// Its storage parameters, with their keyword and the space before it.
    pub with: &'a str,
}

impl<'a> Definition<'a> {
    /// Reads `keys) INCLUDE (columns) WITH (parameters) WHERE predicate`. Returns None for what it does not understand.
    pub fn read(text: &'a str, predicate: Option<&str>) -> Option<Self> {
        let text = match predicate {
            Some(predicate) => text.strip_suffix(predicate)?.strip_suffix(" WHERE ")?,
            None => text,
        };
        let (keys, mut rest) = list(text)?;
        let mut include = Vec::new();
        if let Some(columns) = rest.strip_prefix(" INCLUDE (") {
            (include, rest) = list(columns)?;
        }
        let with = rest.strip_prefix(" NULLS NOT DISTINCT").unwrap_or(rest);
        (with.is_empty() || with.starts_with(" WITH (")).then_some(Self {
            keys,
            include,
            with,
        })
    }
}

/// Reads items between commas up to a closing parenthesis. Returns them, and what follows. Parentheses and quotes in them are
/// balanced; a doubled quote begins the next text.
fn list(text: &str) -> Option<(Vec<&str>, &str)> {
    let (mut items, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')') if depth == 0 => {
                items.push(text.get(begin..at)?.trim_start());
                return Some((items, text.get(at + 1..)?));
            }
            (None, ')' | ']') => depth = depth.checked_sub(1)?,
            (None, ',') if depth == 0 => {
                items.push(text.get(begin..at)?.trim_start());
                begin = at + 1;
            }
            (None, _) => {}
        }
    }
    None
}

/// Returns whether a predicate names one tenant.
pub(super) fn compares(predicate: &str, tenant: &str) -> bool {
    [format!("{tenant} = "), format!("({tenant})::text = ")]
        .iter()
        .any(|beginning| {
            (predicate.match_indices(beginning.as_str())).any(|(at, _)| {
                predicate
                    .get(..at)
                    .is_some_and(|before| before.ends_with('('))
            })
        })
}
