//! The lines of an export, and what proves that none is missing or changed.
//!
//! Each line is JSON. The first is an object with the key `tenancy_export`, whose value is the version. An object with the key `table`
//! begins a table: its columns and their types. Each array after it is a row: the values as the server writes them, or null. The last line is an
//! object with the key `manifest`: for each table the number of its rows, and the SHA-256 over its lines, each with a line feed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The version of the format.
pub const VERSION: u32 = 1;

/// The longest line that is read, in bytes.
pub const LINE_BYTES_MAX: usize = 256 << 20;
/// The longest line that is no row.
const OTHER_LINE_BYTES_MAX: usize = 16 << 20;
/// The longest line that begins a table: it is kept.
const TABLE_LINE_BYTES_MAX: usize = 1 << 20;
/// How many columns a table may have, as in the server.
const COLUMNS_MAX: usize = 1600;
/// How many tables an export may have.
const TABLES_MAX: usize = 10_000;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub tenancy_export: u32,
    /// The id of the tenant.
    pub tenant: String,
    /// Its slug.
    pub slug: String,
    /// Its external id.
    pub external_id: Option<String>,
    /// When the export began, as microseconds since 1970.
    pub exported_at: i64,
}

/// The first line of the export of a user: its key is another one, so that nobody takes it for a tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserHeader {
    /// The version of the format.
    pub tenancy_user_export: u32,
    /// The id of the user.
    pub user: String,
    /// Its slug.
    pub slug: String,
    /// Its external id.
    pub external_id: Option<String>,
    /// When the export began, as microseconds since 1970.
    pub exported_at: i64,
}

/// The line that begins a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLine {
    /// Its name, with its schema, in quotes where it needs them.
    pub table: String,
    /// Its columns, without generated ones.
    pub columns: Vec<String>,
    /// Their types.
    pub types: Vec<String>,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The tables, in their order.
    pub manifest: Vec<Count>,
    /// The number of lines above this one.
    pub lines: u64,
    /// The SHA-256 over the first line, and for each table over a line of its name, the number of its rows and its hash, with a blank
    /// between two of these; each line with a line feed. In hexadecimal.
    pub sha256: String,
}

/// What the manifest says of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Its name.
    pub table: String,
    /// The number of its rows.
    pub rows: u64,
    /// The SHA-256 over its lines, each with a line feed, in hexadecimal.
    pub sha256: String,
}

/// Why lines are no export, or not all of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not the line of the format that belongs here.
    #[error("line {0} is not one of an export")]
    Line(u64),
    /// A line that is longer than any is read.
    #[error("line {0} is longer than 256 MiB, or than 16 MiB without being a row")]
    Long(u64),
    /// A line whose number is not above the one before it.
    #[error("line {0} has the number of another, or none")]
    Number(u64),
    /// A table that was there before.
    #[error("table {0} is in it twice")]
    Twice(String),
    /// More tables than an export has.
    #[error("it has more than 10000 tables")]
    Tables,
    /// A row with other values than its table has columns.
    #[error("a row of {0} is not an array of one text or null for each column")]
    Row(String),
    /// Another version.
    #[error("the export has version {0}")]
    Version(u32),
    /// The manifest says otherwise.
    #[error("the manifest has other numbers of rows or other hashes than the lines: {0}")]
    Manifest(String),
    /// There is no manifest at the end.
    #[error("the export ends without its manifest")]
    Cut,
    /// There are lines behind the manifest.
    #[error("there are lines after the manifest")]
    After,
}

/// Sums up lines, while they are written or read.
#[derive(Clone, Default)]
pub struct Sums {
    all: Sha256,
    lines: u64,
    table: Option<(String, u64, Sha256)>,
    done: Vec<Count>,
}

impl Sums {
    /// Adds the line that begins a table.
    pub fn begin(&mut self, table: &str, line: &str) {
        self.end_table();
        self.table = Some((table.to_owned(), 0, Sha256::new()));
        self.line(line);
    }

    /// Adds a row of the table that was begun last.
    pub fn row(&mut self, line: &str) {
        if let Some((_, rows, _)) = &mut self.table {
            *rows += 1;
        }
        self.line(line);
    }

    /// Adds any line: to the table that was begun last, if one was.
    pub fn line(&mut self, line: &str) {
        self.lines += 1;
        let sum = match &mut self.table {
            Some((_, _, sum)) => sum,
            None => &mut self.all,
        };
        sum.update(line.as_bytes());
        sum.update(b"\n");
    }

    fn end_table(&mut self) {
        if let Some((table, rows, sum)) = self.table.take() {
            let sha256 = hex(sum);
            (self.all).update(format!("{table} {rows} {sha256}\n").as_bytes());
            self.done.push(Count {
                table,
                rows,
                sha256,
            });
        }
    }

    /// Returns the manifest of all lines that were added.
    #[must_use]
    pub fn manifest(mut self) -> Manifest {
        self.end_table();
        Manifest {
            manifest: self.done,
            lines: self.lines,
            sha256: hex(self.all),
        }
    }
}

fn hex(sum: Sha256) -> String {
    sum.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A line, as far as it must be known to sum it up.
enum Kind {
    Header(Header),
    Table(TableLine),
    Row,
    Manifest(Manifest),
}

fn kind(line: &str) -> Option<Kind> {
    if line.starts_with('[') {
        return Some(Kind::Row);
    }
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let has = |key: &str| value.get(key).is_some();
    if has("tenancy_export") {
        serde_json::from_value(value).ok().map(Kind::Header)
    } else if has("table") {
        serde_json::from_value(value).ok().map(Kind::Table)
    } else if has("manifest") {
        serde_json::from_value(value).ok().map(Kind::Manifest)
    } else {
        None
    }
}

/// Reads the lines of an export in their order, and verifies them.
#[derive(Default)]
pub struct Verify {
    sums: Sums,
    header: Option<Header>,
    tables: Vec<(TableLine, u64)>,
    names: BTreeSet<String>,
    /// How many bytes the lines of the tables have.
    kept: usize,
    manifest: Option<Manifest>,
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its first line.
    pub header: Header,
    /// Its tables, each with the number of the line that begins it, from 1, and the number of its rows.
    pub tables: Vec<(TableLine, u64, u64)>,
    /// The hash over all of it, in hexadecimal.
    pub sha256: String,
}

impl Verify {
    /// Reads a line. Returns the name of the table that it begins, if it begins one.
    ///
    /// # Errors
    /// It does not belong there.
    pub fn line(&mut self, line: &str) -> Result<Option<String>, Damage> {
        let at = self.sums.lines + 1;
        if self.manifest.is_some() {
            return Err(Damage::After);
        }
        let most = match line.starts_with('[') {
            true => LINE_BYTES_MAX,
            false => OTHER_LINE_BYTES_MAX,
        };
        if line.len() > most {
            return Err(Damage::Long(at));
        }
        match (kind(line), self.header.is_some()) {
            (Some(Kind::Header(header)), false) => {
                if header.tenancy_export != VERSION {
                    return Err(Damage::Version(header.tenancy_export));
                }
                self.header = Some(header);
                self.sums.line(line);
            }
            (Some(Kind::Table(table)), true) if table.columns.len() == table.types.len() => {
                if line.len() > TABLE_LINE_BYTES_MAX || table.columns.len() > COLUMNS_MAX {
                    return Err(Damage::Long(at));
                }
                self.kept += line.len();
                if self.kept > OTHER_LINE_BYTES_MAX {
                    return Err(Damage::Tables);
                }
                if self.tables.len() >= TABLES_MAX {
                    return Err(Damage::Tables);
                }
                if !self.names.insert(table.table.clone()) {
                    return Err(Damage::Twice(table.table));
                }
                self.sums.begin(&table.table, line);
                let name = table.table.clone();
                self.tables.push((table, at));
                return Ok(Some(name));
            }
            (Some(Kind::Row), true) if !self.tables.is_empty() => self.sums.row(line),
            (Some(Kind::Manifest(manifest)), true) => self.manifest = Some(manifest),
            _ => return Err(Damage::Line(at)),
        }
        Ok(None)
    }

    /// Returns what the export holds, after its last line.
    ///
    /// # Errors
    /// The manifest says otherwise, or is missing.
    pub fn finish(self) -> Result<Verified, Damage> {
        let (Some(header), Some(said)) = (self.header, self.manifest) else {
            return Err(Damage::Cut);
        };
        let found = self.sums.manifest();
        if found != said {
            let other =
                (found.manifest.iter().zip(&said.manifest)).find(|(found, said)| found != said);
            return Err(Damage::Manifest(other.map_or_else(
                || "of all lines".to_owned(),
                |(found, _)| found.table.clone(),
            )));
        }
        let tables = self.tables.into_iter().zip(found.manifest);
        Ok(Verified {
            header,
            sha256: found.sha256,
            tables: tables
                .map(|((table, at), count)| (table, at, count.rows))
                .collect(),
        })
    }
}

/// Returns the values of a row with so many columns.
#[must_use]
pub fn read_row(line: &str, columns: usize) -> Option<Vec<Option<String>>> {
    let values: Vec<Option<String>> = serde_json::from_str(line).ok()?;
    (values.len() == columns).then_some(values)
}

/// Appends a row as a line: the values as JSON strings, or null.
pub fn write_row<'a>(line: &mut String, values: impl Iterator<Item = Option<&'a str>>) {
    line.push('[');
    for (n, value) in values.enumerate() {
        if n > 0 {
            line.push(',');
        }
        match value {
            None => line.push_str("null"),
            Some(value) => write_text(line, value),
        }
    }
    line.push(']');
}

fn write_text(line: &mut String, text: &str) {
    /// Bytes that are looked at together: of most texts none is to be escaped.
    const TOGETHER: usize = 32;
    line.push('"');
    let (mut from, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        if let Some(some) = bytes.get(at..at + TOGETHER)
            && !some.iter().fold(false, |any, byte| any | is_escaped(*byte))
        {
            at += TOGETHER;
            continue;
        }
        if is_escaped(*byte) {
            line.push_str(text.get(from..at).unwrap_or_default());
            match byte {
                b'"' => line.push_str("\\\""),
                b'\\' => line.push_str("\\\\"),
                b'\n' => line.push_str("\\n"),
                b'\r' => line.push_str("\\r"),
                b'\t' => line.push_str("\\t"),
                byte => line.push_str(&format!("\\u{byte:04x}")),
            }
            from = at + 1;
        }
        at += 1;
    }
    line.push_str(text.get(from..).unwrap_or_default());
    line.push('"');
}

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines() -> Vec<String> {
        let mut sums = Sums::default();
        let header =
            r#"{"tenancy_export":1,"tenant":"t","slug":"acme","external_id":null,"exported_at":7}"#;
        let table = r#"{"table":"app.a","columns":["x"],"types":["text"]}"#;
        let mut lines = vec![header.to_owned(), table.to_owned()];
        sums.line(header);
        sums.begin("app.a", table);
        for row in [r#"["1"]"#, "[null]"] {
            sums.row(row);
            lines.push(row.to_owned());
        }
        lines.push(serde_json::to_string(&sums.manifest()).unwrap_or_default());
        lines
    }

    fn verified(lines: &[String]) -> Result<Verified, Damage> {
        let mut verify = Verify::default();
        for line in lines {
            verify.line(line)?;
        }
        verify.finish()
    }

    #[test]
    fn what_was_written_is_verified() {
        let found = verified(&lines()).map(|found| (found.header.slug, found.tables.len()));
        assert_eq!(found, Ok(("acme".to_owned(), 1)));
        let rows =
            verified(&lines()).map(|found| found.tables.first().map(|table| (table.1, table.2)));
        assert_eq!(rows, Ok(Some((2, 2))));
    }

    #[test]
    fn each_missing_moved_doubled_or_changed_line_is_found() {
        let whole = lines();
        for n in 0..whole.len() {
            let mut less = whole.clone();
            less.remove(n);
            assert!(verified(&less).is_err(), "without line {n}");
            let mut more = whole.clone();
            more.insert(n, whole[n].clone());
            assert!(verified(&more).is_err(), "line {n} twice");
            let mut other = whole.clone();
            other[n] = other[n].replace('1', "2").replace("null", "\"\"");
            assert!(
                other == whole || verified(&other).is_err(),
                "line {n} changed"
            );
        }
        let mut moved = whole.clone();
        moved.swap(2, 3);
        assert!(verified(&moved).is_err());
        assert_eq!(verified(&[]), Err(Damage::Cut));
        assert!(
            verified(&[whole[0].clone(), whole[1].clone(), whole[1].clone()])
                == Err(Damage::Twice("app.a".to_owned()))
        );
        let long = " ".repeat(OTHER_LINE_BYTES_MAX + 1);
        assert_eq!(verified(&[whole[0].clone(), long]), Err(Damage::Long(2)));
        let version = whole[0].replace("export\":1", "export\":2");
        assert_eq!(verified(&[version]), Err(Damage::Version(2)));
    }

    #[test]
    fn a_row_has_a_text_or_null_for_each_column() {
        let read = |line, columns| read_row(line, columns);
        assert_eq!(
            read(r#"["a",null]"#, 2),
            Some(vec![Some("a".to_owned()), None])
        );
        for (line, columns) in [
            ("[1]", 1),
            (r#"["a"]"#, 2),
            ("[]", 1),
            ("[null", 1),
            (r#"[["a"]]"#, 1),
            ("[]x", 0),
        ] {
            assert_eq!(read(line, columns), None, "{line}");
        }
    }

    #[test]
    fn the_export_of_a_user_is_none_of_a_tenant() {
        let header = UserHeader {
            tenancy_user_export: VERSION,
            user: "u".to_owned(),
            slug: "ann".to_owned(),
            external_id: None,
            exported_at: 7,
        };
        let mut of_user = lines();
        of_user[0] = serde_json::to_string(&header).unwrap_or_default();
        assert_eq!(verified(&of_user), Err(Damage::Line(1)));
    }

    proptest! {
        #[test]
        fn a_row_is_the_json_of_its_values(values in prop::collection::vec(prop::option::of(".{0,80}"), 0..5)) {
            let mut line = String::new();
            write_row(&mut line, values.iter().map(Option::as_deref));
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<Vec<Option<String>>>(&line).ok(), Some(values));
        }

        #[test]
        fn control_characters_are_escaped(byte in 1_u8..0x20) {
            let text = char::from(byte).to_string();
            let mut line = String::new();
            write_row(&mut line, std::iter::once(Some(text.as_str())));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&line).ok(), Some(vec![text]));
        }
    }
}
