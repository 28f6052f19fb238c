//! Compares the shapes of both sides' plans.

use postgres::{Client, SimpleQueryMessage};

use crate::Fault;

/// A plan as EXPLAIN prints it.
pub struct Plan(Vec<String>);

/// Returns the plan of a query as this connection would run it now.
pub fn explain(client: &mut Client, query: &str) -> Result<Plan, Fault> {
    let lines = client
        .simple_query(&format!("EXPLAIN {query}"))?
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(shortened),
            _ => None,
        })
        .collect();
    Ok(Plan(lines))
}

impl Plan {
    /// Returns the indented lines.
    pub fn text(&self) -> String {
        self.0.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Returns the types of its nodes, from the top.
    pub fn shape(&self) -> Vec<&str> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(n, line)| {
                let line = line.trim_start();
                let node = if n == 0 {
                    line
                } else {
                    line.strip_prefix("->")?
                };
                let end = [" using ", " on ", "  ("]
                    .iter()
                    .filter_map(|word| node.find(word))
                    .min();
                Some(node[..end.unwrap_or(node.len())].trim())
            })
            .collect()
    }
}

/// Cuts long lists of tenants.
fn shortened(line: &str) -> String {
    const MOST: usize = 160;
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
