//! Triggers in C.

use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use tenancy_core::quantity;
use tenancy_core::quota::changes::Value;
use tenancy_core::subject::half;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::fmgr::Call;
use crate::pg::statement::Statement;
use crate::pg::{guc, numeric, numeric_text, scan, secret_rows, types};

unsafe extern "C" {
    /// utils/datum.h: compares two values of a type byte by byte.
    fn datumIsEqual(a: pg_sys::Datum, b: pg_sys::Datum, by_value: bool, length: i32) -> bool;
}

/// Runs a body with the new row's columns as its arguments, and returns that row to the server.
///
/// # Safety
/// `fcinfo` is valid for the call.
pub unsafe fn row(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Call) -> Result<(), Error>,
) -> pg_sys::Datum {
    // SAFETY: the server calls triggers with their data as the context, which is checked; the row has
    // the columns of its relation, and is taken apart into a call with as many arguments.
    let (done, tuple) = unsafe {
        let Some(data) = data(fcinfo) else {
            Error::Internal("a trigger that is called as a function").raise();
        };
        let tuple = (*data).tg_trigtuple;
        let columns = (*(*data).tg_relation).rd_att;
        let count = usize::try_from((*columns).natts).unwrap_or(0);
        let (mut values, mut nulls) = (vec![pg_sys::Datum::from(0); count], vec![true; count]);
        pg_sys::heap_deform_tuple(tuple, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
        let size = size_of::<pg_sys::FunctionCallInfoBaseData>()
            + count * size_of::<pg_sys::NullableDatum>();
        let inner: pg_sys::FunctionCallInfo = pg_sys::palloc0(size).cast();
        (*inner).flinfo = (*fcinfo).flinfo;
        (*inner).nargs = (*columns).natts as i16;
        for (n, (value, isnull)) in values.into_iter().zip(nulls).enumerate() {
            *(*inner).args.as_mut_ptr().add(n) = pg_sys::NullableDatum { value, isnull };
        }
        (body(&Call::new(inner)), tuple)
    };
    if let Err(error) = done {
        error.raise();
    }
    pg_sys::Datum::from(tuple)
}

/// Runs a body once for a statement.
///
/// # Safety
/// As for [`row`].
pub unsafe fn statement(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce() -> Result<(), Error>,
) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    if unsafe { data(fcinfo) }.is_none() {
        Error::Internal("a trigger that is called as a function").raise();
    }
    if let Err(error) = body() {
        error.raise();
    }
    pg_sys::Datum::from(0)
}

/// The event of a trigger: a row before and after, or a statement.
pub struct Change(*mut pg_sys::TriggerData);

impl Change {
    /// Returns the old and the new row, if they exist; neither for a statement.
    fn rows(&self) -> [pg_sys::HeapTuple; 2] {
        let none = std::ptr::null_mut();
        // SAFETY: the trigger's data, for as long as it runs.
        let (event, row, new) = unsafe {
            (
                (*self.0).tg_event,
                (*self.0).tg_trigtuple,
                (*self.0).tg_newtuple,
            )
        };
        if event & pg_sys::TRIGGER_EVENT_ROW == 0 {
            return [none, none];
        }
        match event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => [none, row],
            pg_sys::TRIGGER_EVENT_UPDATE => [row, new],
            _ => [row, none],
        }
    }

    /// Returns whether it is a row event.
    pub fn is_of_row(&self) -> bool {
        self.rows().iter().any(|row| !row.is_null())
    }

    /// Returns the arguments of CREATE TRIGGER.
    pub fn arguments(&self) -> Vec<&CStr> {
        // SAFETY: the trigger has as many arguments as it says, C strings that live while it runs.
        unsafe {
            let trigger = (*self.0).tg_trigger;
            let count = usize::try_from((*trigger).tgnargs).unwrap_or(0);
            (0..count)
                .map(|n| CStr::from_ptr(*(*trigger).tgargs.add(n)))
                .collect()
        }
    }

    /// Returns the trigger's table.
    pub fn table(&self) -> pg_sys::Oid {
        // SAFETY: the trigger's data, for as long as it runs.
        unsafe { (*(*self.0).tg_relation).rd_id }
    }

    /// Returns the trigger.
    pub fn trigger(&self) -> pg_sys::Oid {
        // SAFETY: the trigger's data, for as long as it runs.
        unsafe { (*(*self.0).tg_trigger).tgoid }
    }

    /// Returns the type of a column. An error if there is no such column.
    pub fn kind(&self, column: &CStr) -> Result<pg_sys::Oid, Error> {
        Ok(self.column(column).ok_or(MISSING)?.kind)
    }

    /// Returns the old and the new value of a column of oids. An error if there is no such column.
    pub fn oids(&self, column: &CStr) -> Result<[Option<pg_sys::Oid>; 2], Error> {
        let kinds = [pg_sys::OIDOID, pg_sys::REGCLASSOID];
        // SAFETY: an oid is in its datum.
        unsafe {
            self.values(column, kinds, |_, value| {
                pg_sys::Oid::from_u32(value.value() as u32)
            })
        }
    }

    /// Returns the old and the new value of a uuid column; of a bytea column the first half of a hash. An error if there is no
    /// such column.
    pub fn uuids(&self, column: &CStr) -> Result<[Option<Uuid>; 2], Error> {
        let kinds = [pg_sys::UUIDOID, pg_sys::BYTEAOID];
        // SAFETY: a uuid has 16 bytes, and a bytea is read before the row goes.
        unsafe {
            self.values(column, kinds, |kind, value| {
                if kind == pg_sys::BYTEAOID {
                    let bytes = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
                    half(pgrx::varlena::varlena_to_byte_slice(bytes))
                } else {
                    Uuid::from_bytes(*value.cast_mut_ptr::<[u8; 16]>())
                }
            })
        }
    }

    /// Returns whether it is an UPDATE of a row.
    pub fn is_update(&self) -> bool {
        self.rows().iter().all(|row| !row.is_null())
    }

    /// Returns whether there is a column of this name.
    pub fn has(&self, column: &CStr) -> bool {
        self.column(column).is_some()
    }

    /// Returns whether a column is of type uuid.
    pub fn is_uuid(&self, column: &CStr) -> bool {
        self.column(column)
            .is_some_and(|column| types::base(column.kind) == pg_sys::UUIDOID)
    }

    /// Returns the old and the new value of a column as texts, for the server's own types of keys, whose conversion runs no other
    /// code. `None` for another type, or if there is no such column.
    pub fn texts(&self, column: &CStr) -> Option<[Option<String>; 2]> {
        let column = self
            .column(column)
            .filter(|c| types::key(c.kind, c.modifier).is_some())?;
        Some(self.rows().map(|row| {
            let value = column.of(row)?;
            // SAFETY: a value of the column's type, in a row that lives as long as the trigger's data.
            unsafe { scan::key(value, false, column.kind) }.map(scan::Key::into_text)
        }))
    }

    /// Returns the new value of a column with its type. An error if there is no such column.
    pub fn value(&self, column: &CStr) -> Result<Option<DatumWithOid<'_>>, Error> {
        let [_, new] = self.rows();
        let column = self.column(column).ok_or(MISSING)?;
        // SAFETY: a value of the column's type, in a row that lives as long as the trigger's data.
        let typed = |value| unsafe { DatumWithOid::new(value, column.kind) };
        Ok(column.of(new).map(typed))
    }

    /// Returns whether an UPDATE leaves a column as it is, byte by byte.
    pub fn keeps(&self, column: &CStr) -> bool {
        let (Some(column), true) = (self.column(column), self.is_update()) else {
            return false;
        };
        let (mut length, mut by_value) = (0, false);
        // SAFETY: a look-up in the system cache; both values are of the column's type.
        unsafe {
            pg_sys::get_typlenbyval(column.kind, &mut length, &mut by_value);
            match self.rows().map(|row| column.of(row)) {
                [Some(was), Some(is)] => datumIsEqual(was, is, by_value, length.into()),
                [was, is] => was.is_none() && is.is_none(),
            }
        }
    }

    /// Returns where a column of keys or numbers is, for [`Self::keys`] and [`Self::amounts`] of this table's triggers. `None` if there is
    /// no such column.
    pub fn place(&self, column: &CStr) -> Option<Place> {
        let column = self.column(column)?;
        Some(Place {
            number: column.number,
            kind: types::base(column.kind),
        })
    }

    /// Returns the old and the new value of a column of keys, as they lie in the row.
    #[inline]
    pub fn keys(&self, place: Place) -> [Option<Value<'_>>; 2] {
        // SAFETY: a value of the column's type, in a row that lives as long as the trigger's data; what a numeric or a compressed text
        // is read into lives as long in the trigger's memory.
        self.rows().map(|row| unsafe {
            let value = self.at(row, place)?;
            match place.kind {
                pg_sys::UUIDOID => Some(Value::Uuid(*value.cast_mut_ptr::<[u8; 16]>())),
                pg_sys::INT8OID => Some(Value::Number(value.value() as i64)),
                pg_sys::INT4OID => Some(Value::Number((value.value() as i32).into())),
                pg_sys::INT2OID => Some(Value::Number((value.value() as i16).into())),
                pg_sys::NUMERICOID => Some(Value::Text(numeric_text::of(value))),
                kind => {
                    let text = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
                    let text = std::str::from_utf8(pgrx::varlena::varlena_to_byte_slice(text));
                    text.ok().map(|text| match kind {
                        // The blanks at its end are none of its own.
                        pg_sys::BPCHAROID => Value::Text(text.trim_end_matches(' ')),
                        _ => Value::Text(text),
                    })
                }
            }
        })
    }

    /// Returns the old and the new value of a column of numbers: integers as they are, numerics in millionths. NULL and what is negative
    /// is 0; a numeric that has no such number is an error.
    #[inline]
    pub fn amounts(&self, place: Place) -> Result<[i64; 2], Error> {
        let [old, new] = self.rows();
        Ok([self.amount(old, place)?, self.amount(new, place)?])
    }

    fn amount(&self, row: pg_sys::HeapTuple, place: Place) -> Result<i64, Error> {
        let Some(value) = self.at(row, place) else {
            return Ok(0);
        };
        let amount = match place.kind {
            pg_sys::INT8OID => value.value() as i64,
            pg_sys::INT4OID => (value.value() as i32).into(),
            pg_sys::INT2OID => (value.value() as i16).into(),
            // SAFETY: a numeric, in a row that lives as long as the trigger's data.
            _ => unsafe {
                let stored = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
                match numeric::to_millionths(pgrx::varlena::varlena_to_byte_slice(stored)) {
                    Some(millionths) => millionths,
                    None => quantity::stored(numeric_text::of(value))?,
                }
            },
        };
        Ok(amount.max(0))
    }

    /// Returns the value of a column in a row, if there is such a row and the value is not NULL.
    #[inline]
    fn at(&self, row: pg_sys::HeapTuple, place: Place) -> Option<pg_sys::Datum> {
        if row.is_null() {
            return None;
        }
        let mut null = false;
        // SAFETY: a row of the trigger's table, which has the column.
        let value = unsafe {
            let columns = (*(*self.0).tg_relation).rd_att;
            pg_sys::SPI_getbinval(row, columns, place.number, &mut null)
        };
        (!null).then_some(value)
    }

    /// Finds a column by its name.
    fn column(&self, name: &CStr) -> Option<Column> {
        // SAFETY: the trigger's data, for as long as it runs; the column is one of its table's.
        unsafe {
            let columns = (*(*self.0).tg_relation).rd_att;
            let number = pg_sys::SPI_fnumber(columns, name.as_ptr());
            if number <= 0 {
                return None;
            }
            let (mut kind, mut collation) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
            let mut modifier = -1;
            pg_sys::get_atttypetypmodcoll(
                (*(*self.0).tg_relation).rd_id,
                number as pg_sys::AttrNumber,
                &raw mut kind,
                &raw mut modifier,
                &raw mut collation,
            );
            Some(Column {
                columns,
                number,
                kind,
                modifier,
            })
        }
    }

    /// Reads the old and the new value of a column of one of these types. An error if there is no such column.
    ///
    /// # Safety
    /// `read` gets a type, one of `kinds`, and a value of it that lives as long as the call.
    unsafe fn values<T>(
        &self,
        column: &CStr,
        kinds: [pg_sys::Oid; 2],
        read: impl Fn(pg_sys::Oid, pg_sys::Datum) -> T,
    ) -> Result<[Option<T>; 2], Error> {
        let column = self.column(column).filter(|c| kinds.contains(&c.kind));
        let column = column.ok_or(MISSING)?;
        let read = |row| column.of(row).map(|value| read(column.kind, value));
        Ok(self.rows().map(read))
    }
}

const MISSING: Error = Error::Internal("a trigger's column is missing");

/// Where a column of a trigger's table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    number: i32,
    /// Its type, or the type below its domain.
    kind: pg_sys::Oid,
}

impl Place {
    /// Returns whether it is a numeric.
    pub fn is_numeric(self) -> bool {
        self.kind == pg_sys::NUMERICOID
    }
}

/// A column of a trigger's table.
struct Column {
    columns: pg_sys::TupleDesc,
    number: i32,
    kind: pg_sys::Oid,
    modifier: i32,
}

impl Column {
    /// Returns its value in a row of the table, if there is such a row and the value is not NULL.
    fn of(&self, row: pg_sys::HeapTuple) -> Option<pg_sys::Datum> {
        if row.is_null() {
            return None;
        }
        let mut null = false;
        // SAFETY: a row of the trigger's table, which has the column.
        let value = unsafe { pg_sys::SPI_getbinval(row, self.columns, self.number, &mut null) };
        (!null).then_some(value)
    }
}

/// Runs a body with the change.
///
/// # Safety
/// As for [`row`].
pub unsafe fn change(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Change) -> Result<(), Error>,
) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    let Some(data) = (unsafe { data(fcinfo) }) else {
        Error::Internal("a trigger that is called as a function").raise();
    };
    if let Err(error) = body(&Change(data)) {
        error.raise();
    }
    pg_sys::Datum::from(0)
}

/// A value of a column, in the form that its type reads.
pub struct NewValue {
    /// The column.
    pub column: CString,
    /// The value; `None` for NULL.
    pub text: Option<CString>,
}

/// Runs a body before a row is written, and returns the row, with another value of a column if the body says so.
///
/// # Safety
/// As for [`row`].
pub unsafe fn before(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Change) -> Result<Option<NewValue>, Error>,
) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    let Some(data) = (unsafe { data(fcinfo) }) else {
        Error::Internal("a trigger that is called as a function").raise();
    };
    let change = Change(data);
    let [_, row] = change.rows();
    if row.is_null() {
        Error::Internal("a trigger that is not for rows that are written").raise();
    }
    let value = match body(&change) {
        Ok(Some(value)) => value,
        Ok(None) => return pg_sys::Datum::from(row),
        Err(error) => error.raise(),
    };
    let Some(mut column) = change.column(&value.column) else {
        MISSING.raise();
    };
    let mut null = value.text.is_none();
    // SAFETY: the row has the columns of its relation; the type's own function reads the value.
    unsafe {
        let (mut input, mut parameter) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
        pg_sys::getTypeInputInfo(column.kind, &mut input, &mut parameter);
        let mut datum = value.text.map_or(pg_sys::Datum::from(0), |text| {
            pg_sys::OidInputFunctionCall(
                input,
                text.as_ptr().cast_mut(),
                parameter,
                column.modifier,
            )
        });
        let changed = pg_sys::heap_modify_tuple_by_cols(
            row,
            column.columns,
            1,
            &mut column.number,
            &mut datum,
            &mut null,
        );
        pg_sys::Datum::from(changed)
    }
}

/// Inserts a row of a table with secrets, so that no publication sends it, in place of the server, and runs a body as a trigger after
/// it would. With the setting `tenancy.publish_secrets` the server inserts it.
///
/// # Safety
/// As for [`row`], before an INSERT.
pub unsafe fn unpublished(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Change) -> Result<(), Error>,
) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    let Some(data) = (unsafe { data(fcinfo) }) else {
        Error::Internal("a trigger that is called as a function").raise();
    };
    let change = Change(data);
    let [None, Some(row)] = change.rows().map(std::ptr::NonNull::new) else {
        Error::Internal("a trigger that is not for new rows").raise();
    };
    if guc::publish_secrets() {
        return pg_sys::Datum::from(row.as_ptr());
    }
    // SAFETY: the server has opened and locked the trigger's table, and the row is one of it.
    unsafe { secret_rows::insert((*data).tg_relation, row.as_ptr()) };
    if let Err(error) = body(&change) {
        error.raise();
    }
    pg_sys::Datum::from(0)
}

/// Runs a body after a statement, for an event trigger.
///
/// # Safety
/// As for [`row`].
pub unsafe fn event(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Statement) -> Result<(), Error>,
) -> pg_sys::Datum {
    // SAFETY: the context of a call is NULL or a node; the trigger's data have the statement's parse tree while it runs.
    let statement = unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
            Error::Internal("an event trigger that is called as a function").raise();
        }
        Statement::new((*context.cast::<pg_sys::EventTriggerData>()).parsetree)
    };
    if let Err(error) = body(&statement) {
        error.raise();
    }
    pg_sys::Datum::from(0)
}

unsafe fn data(fcinfo: pg_sys::FunctionCallInfo) -> Option<*mut pg_sys::TriggerData> {
    // SAFETY: the context of a call is NULL or a node.
    unsafe {
        let context = (*fcinfo).context;
        (!context.is_null() && (*context).type_ == pg_sys::NodeTag::T_TriggerData)
            .then_some(context.cast())
    }
}

/// Declares triggers for hand-written `CREATE FUNCTION … LANGUAGE c`, each for rows, statements or either.
#[macro_export]
macro_rules! triggers {
    ($($symbol:ident => $kind:ident $body:path;)*) => {
        $($crate::c_symbol!(stringify!($symbol), $crate::pg::trigger::$kind, $body);)*
    };
}
