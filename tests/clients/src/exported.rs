//! The lines of an export: reading them, changing them with a manifest that fits, and putting them into a table.

use serde_json::Value;
use tenancy_core::lifecycle::Sums;

use crate::Session;

/// A table of an export: the line that begins it, and its rows.
pub type Table = (Value, Vec<Vec<Option<String>>>);

/// An export that may be changed.
#[derive(Clone)]
pub struct Export {
    /// The first line.
    pub header: Value,
    /// The tables.
    pub tables: Vec<Table>,
}

impl Export {
    /// Reads the lines of an export.
    pub fn read(lines: &[String]) -> Self {
        let header = serde_json::from_str(&lines[0]).expect("a header");
        let mut tables: Vec<Table> = Vec::new();
        for line in &lines[1..lines.len() - 1] {
            match serde_json::from_str(line).expect("JSON") {
                row @ Value::Array(_) => {
                    let row = serde_json::from_value(row).expect("a row");
                    tables.last_mut().expect("a table").1.push(row);
                }
                begin => tables.push((begin, Vec::new())),
            }
        }
        Self { header, tables }
    }

    /// Returns its lines, with a manifest that fits.
    pub fn lines(&self) -> Vec<String> {
        let mut sums = Sums::default();
        let header = self.header.to_string();
        sums.line(&header);
        let mut lines = vec![header];
        for (begin, rows) in &self.tables {
            let line = begin.to_string();
            sums.begin(begin["table"].as_str().expect("a name"), &line);
            lines.push(line);
            for row in rows {
                let line = serde_json::to_string(row).expect("JSON");
                sums.row(&line);
                lines.push(line);
            }
        }
        lines.push(serde_json::to_string(&sums.manifest()).expect("JSON"));
        lines
    }

    /// The table of this name.
    pub fn table(&mut self, name: &str) -> &mut Table {
        let found = self
            .tables
            .iter_mut()
            .find(|(begin, _)| begin["table"] == name);
        found.unwrap_or_else(|| panic!("no table {name}"))
    }

    /// The place of a column in a table.
    pub fn column(&mut self, table: &str, column: &str) -> usize {
        let columns = self.table(table).0["columns"].as_array().expect("columns");
        let at = columns.iter().position(|name| name == column);
        at.unwrap_or_else(|| panic!("no column {column}"))
    }

    /// Sets a column of a row.
    pub fn set(&mut self, table: &str, row: usize, column: &str, value: Option<&str>) -> &mut Self {
        let at = self.column(table, column);
        self.table(table).1[row][at] = value.map(str::to_owned);
        self
    }

    /// The value of a column of a row.
    pub fn get(&mut self, table: &str, row: usize, column: &str) -> String {
        let at = self.column(table, column);
        self.table(table).1[row][at].clone().expect("a value")
    }

    /// The hashes of a manifest, by table, if its rows were sorted: a table has them in another order once the room of deleted ones
    /// is used again.
    pub fn hashes(&self) -> Vec<String> {
        let mut sorted = self.clone();
        for (_, rows) in &mut sorted.tables {
            rows.sort();
        }
        let lines = sorted.lines();
        let manifest: Value =
            serde_json::from_str(lines.last().expect("a manifest")).expect("JSON");
        (manifest["manifest"].as_array().expect("tables").iter())
            .map(|count| format!("{} {} {}", count["table"], count["rows"], count["sha256"]))
            .collect()
    }
}

/// Puts lines into the temporary table `lines`.
pub fn stage(session: &mut Session, lines: &[String]) {
    session.run("DROP TABLE IF EXISTS pg_temp.lines").run(
        "CREATE TEMP TABLE lines (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text)",
    );
    session
        .execute(
            "INSERT INTO lines (line) SELECT l FROM unnest($1::text[]) WITH ORDINALITY u(l, n) ORDER BY n",
            &[&lines],
        )
        .expect("lines");
}
