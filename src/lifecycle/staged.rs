//! The lines of an export in a table of the caller's. Whoever wrote them is not trusted: they are verified, and then read again at the
//! same snapshot.

use std::collections::VecDeque;
use std::ffi::CStr;

use pgrx::prelude::*;
use tenancy_core::lifecycle::{Damage, LINE_BYTES_MAX, Verified, Verify};
use tenancy_core::policy::Relation;

use crate::error::Error;
use crate::pg::rows::Rows;
use crate::pg::spi::{self, NotNull};

/// How many lines are read at once, if they are short.
const LINES: u32 = 1000;

/// A table with lines.
pub struct Staged {
    table: String,
}

/// What the lines of a table say, and where they are.
pub struct Contents {
    /// The header, and the tables.
    pub verified: Verified,
    /// For each table the numbers of its first and of its last line.
    pub spans: Vec<(i64, i64)>,
}

impl Staged {
    /// Locks a table, and makes sure that reading it runs no code: it is a plain one of the caller's.
    pub fn open(table: pg_sys::Oid) -> Result<Self, Error> {
        let name = spi::read_as_caller(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
            &[table.into()],
            |rows| match rows.into_iter().next() {
                Some(row) => Ok(Relation {
                    schema: row.not_null(1)?,
                    name: row.not_null(2)?,
                }
                .to_string()),
                None => Err(Error::NoSuch("the table")),
            },
        )?;
        Spi::connect_mut(|client| {
            client.update(
                &format!("LOCK TABLE ONLY {name} IN ACCESS SHARE MODE"),
                None,
                &[],
            )?;
            Ok::<_, Error>(())
        })?;
        // What holds under the lock stays until the transaction ends.
        let plain = spi::read_as_caller(
            "SELECT EXISTS ( \
                SELECT FROM pg_class c \
                 WHERE c.oid = $1 AND c.oid = to_regclass($2) AND c.relkind = 'r' AND NOT c.relispartition AND NOT c.relrowsecurity AND NOT c.relhasrules \
                   AND NOT c.relhassubclass AND pg_has_role(c.relowner, 'USAGE') \
                   AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) \
                   AND 2 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attgenerated = '' \
                               AND (a.attname, a.atttypid) IN (('n', 'int8'::regtype), ('line', 'text'::regtype))))",
            &[table.into(), name.clone().into()],
            |rows| rows.first().not_null::<bool>(1),
        )?;
        match plain {
            true => Ok(Self { table: name }),
            false => Err(Error::bad(
                format!(
                    "{name} is not a plain table of the caller with the columns n bigint and line text"
                ),
                "CREATE TEMP TABLE lines (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text); \\copy lines (line) FROM 'file'",
            )),
        }
    }

    /// Reads the lines with numbers above one and up to another, in their order.
    pub fn lines(&self, above: i64, to: i64) -> Result<Lines, Error> {
        let query = format!(
            "SELECT n, CASE WHEN octet_length(line) <= {LINE_BYTES_MAX} THEN line END, line IS NULL FROM ONLY {} \
             WHERE n > '{above}'::int8 AND n <= '{to}'::int8 ORDER BY n",
            self.table
        );
        Ok(Lines {
            rows: Rows::open(&query)?,
            read: VecDeque::new(),
            place: 0,
            last: above,
        })
    }

    /// Verifies all lines.
    pub fn verify(&self) -> Result<Contents, Error> {
        let mut lines = self.lines(i64::MIN, i64::MAX)?;
        let mut verify = Verify::default();
        let mut spans = Vec::new();
        while let Some((n, line)) = lines.next()? {
            let begins = verify.line(&line).map_err(damaged)?;
            if begins.is_some() {
                spans.push((n, n));
            } else if line.starts_with('[')
                && let Some((_, last)) = spans.last_mut()
            {
                *last = n;
            }
        }
        Ok(Contents {
            verified: verify.finish().map_err(damaged)?,
            spans,
        })
    }
}

/// Returns the error for lines that are no export.
#[allow(clippy::needless_pass_by_value)] // what errors are mapped by
pub fn damaged(damage: Damage) -> Error {
    Error::ExportDamaged(damage.to_string())
}

/// Lines that are being read.
pub struct Lines {
    rows: Rows,
    read: VecDeque<(i64, String)>,
    place: u64,
    last: i64,
}

impl Lines {
    /// Returns the next line with its number.
    pub fn next(&mut self) -> Result<Option<(i64, String)>, Error> {
        if self.read.is_empty() {
            pgrx::check_for_interrupts!();
            self.read_on()?;
        }
        Ok(self.read.pop_front())
    }

    fn read_on(&mut self) -> Result<(), Error> {
        let (read, place, last) = (&mut self.read, &mut self.place, &mut self.last);
        let mut damage = None;
        self.rows.read(LINES, |values| {
            *place += 1;
            let text = |n: usize| values.get(n).copied().flatten();
            let number = text(0)
                .and_then(|n| n.to_str().ok()?.parse::<i64>().ok())
                .filter(|n| n > last);
            let line = text(1).map(CStr::to_str);
            match (number, line) {
                (None, _) => {
                    damage.get_or_insert(Damage::Number(*place));
                }
                (Some(_), None) if text(2) == Some(c"f") => {
                    damage.get_or_insert(Damage::Long(*place));
                }
                (Some(n), Some(Ok(line))) => {
                    *last = n;
                    read.push_back((n, line.to_owned()));
                }
                (Some(_), _) => {
                    damage.get_or_insert(Damage::Line(*place));
                }
            }
        })?;
        damage.map_or(Ok(()), |damage| Err(damaged(damage)))
    }
}
