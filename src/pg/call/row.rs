//! Result rows of functions with fixed columns. They are formed from values on the stack, so that only the row is
//! allocated.

use std::ffi::CStr;

use pgrx::pg_sys;
use tenancy_core::time::{Instant, Length};

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::fmgr::{Answer, Kept};
use crate::pg::numeric::PgNumeric;
use crate::pg::time;

/// The type of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// boolean
    Bool,
    /// text
    Text,
    /// uuid
    Uuid,
    /// numeric
    Numeric,
    /// timestamptz
    Instant,
    /// bigint
    Int8,
    /// interval
    Length,
}

impl Type {
    fn oid(self) -> pg_sys::Oid {
        match self {
            Self::Bool => pg_sys::BOOLOID,
            Self::Text => pg_sys::TEXTOID,
            Self::Uuid => pg_sys::UUIDOID,
            Self::Numeric => pg_sys::NUMERICOID,
            Self::Instant => pg_sys::TIMESTAMPTZOID,
            Self::Int8 => pg_sys::INT8OID,
            Self::Length => pg_sys::INTERVALOID,
        }
    }
}

/// The longest text in a row.
const TEXT_MAX: usize = 63;

/// A value after a byte with its length.
#[derive(Clone, Copy)]
pub struct Short([u8; 1 + TEXT_MAX]);

impl Short {
    fn of(value: &[u8]) -> Self {
        let mut bytes = [0; 1 + TEXT_MAX];
        let [head, rest @ ..] = &mut bytes;
        // Longer values do not occur, and are dropped.
        if let Some(place) = rest.get_mut(..value.len()) {
            place.copy_from_slice(value);
            // A varlena's short header counts itself.
            let length = value.len() as u8 + 1;
            *head = if cfg!(target_endian = "little") {
                length << 1 | 1
            } else {
                length | 0x80
            };
        } else {
            *head = if cfg!(target_endian = "little") {
                3
            } else {
                0x81
            };
        }
        Self(bytes)
    }
}

/// The value of a column.
#[derive(Clone, Copy)]
pub enum Field {
    /// SQL NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// A text.
    Text(Short),
    /// A uuid.
    Uuid([u8; 16]),
    /// A numeric.
    Numeric(Short),
    /// A timestamptz.
    Instant(Instant),
    /// A bigint.
    Int8(i64),
    /// An interval.
    Length(pg_sys::Interval),
}

impl Field {
    /// Creates a text from a constant.
    pub fn word(text: &'static str) -> Self {
        Self::Text(Short::of(text.as_bytes()))
    }

    /// A text of up to 63 bytes, as a name has.
    pub fn text(text: &str) -> Self {
        Self::Text(Short::of(text.as_bytes()))
    }

    /// Attos, as a decimal number.
    pub fn attos(number: i128) -> Self {
        Self::Numeric(Short::of(PgNumeric::from_attos(number).bytes()))
    }

    /// An interval without days and months.
    pub fn length(length: Length) -> Self {
        Self::Length(pg_sys::Interval {
            time: length.micros(),
            day: 0,
            month: 0,
        })
    }

    fn is(&self, of: Type) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(_) => of == Type::Bool,
            Self::Text(_) => of == Type::Text,
            Self::Uuid(_) => of == Type::Uuid,
            Self::Numeric(_) => of == Type::Numeric,
            Self::Instant(_) => of == Type::Instant,
            Self::Int8(_) => of == Type::Int8,
            Self::Length(_) => of == Type::Length,
        }
    }

    /// Returns the value, or its address in `self`.
    fn datum(&self) -> pg_sys::Datum {
        match self {
            Self::Null => pg_sys::Datum::from(0),
            Self::Bool(value) => pg_sys::Datum::from(*value),
            Self::Text(short) | Self::Numeric(short) => pg_sys::Datum::from(short.0.as_ptr()),
            Self::Uuid(bytes) => pg_sys::Datum::from(bytes.as_ptr()),
            Self::Instant(value) => pg_sys::Datum::from(time::to_server(*value)),
            Self::Int8(value) => pg_sys::Datum::from(*value),
            Self::Length(interval) => pg_sys::Datum::from(std::ptr::from_ref(interval)),
        }
    }
}

/// The columns of a row.
pub struct Shape<const N: usize> {
    columns: [(&'static CStr, Type); N],
    known: BackendCell<pg_sys::TupleDesc>,
}

impl<const N: usize> Shape<N> {
    /// Creates a shape with the columns that sql/ declares.
    pub const fn new(columns: [(&'static CStr, Type); N]) -> Self {
        Self {
            columns,
            known: BackendCell::new(std::ptr::null_mut()),
        }
    }

    /// Returns a row of these columns as the result.
    pub fn answer(&self, fields: &[Field; N]) -> Result<Answer, Error> {
        let fits = |(field, (_, of)): (&Field, &(_, Type))| field.is(*of);
        if !fields.iter().zip(&self.columns).all(fits) {
            return Err(Error::Internal("a row of another shape"));
        }
        let mut values = fields.each_ref().map(Field::datum);
        let mut nulls = fields.each_ref().map(|field| matches!(field, Field::Null));
        // SAFETY: as many values as the description has columns, of the types that it gives them;
        // addresses are of what `fields` holds, which is copied. The row has nothing that is stored
        // elsewhere, so that its address is its datum.
        let row = unsafe {
            let tuple = pg_sys::heap_form_tuple(
                self.description(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            pg_sys::Datum::from((*tuple).t_data)
        };
        Ok(Answer::Kept(Kept(row)))
    }

    fn description(&self) -> pg_sys::TupleDesc {
        if !self.known.get().is_null() {
            return self.known.get();
        }
        // SAFETY: inside a transaction. The description and its number among the backend's row types
        // live as long as the backend; it is known only when it is whole.
        let made = unsafe {
            let previous = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let made = pg_sys::CreateTemplateTupleDesc(N as i32);
            for (n, (name, of)) in self.columns.iter().enumerate() {
                pg_sys::TupleDescInitEntry(made, n as i16 + 1, name.as_ptr(), of.oid(), -1, 0);
            }
            pg_sys::MemoryContextSwitchTo(previous);
            pg_sys::BlessTupleDesc(made)
        };
        self.known.set(made);
        made
    }
}
