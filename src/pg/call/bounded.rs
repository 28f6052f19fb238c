//! Arguments whose size is checked before they are converted, so that a client can take only limited memory.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::nullable::Nullable;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable,
};
use pgrx::prelude::*;
use serde_json::Value;

use crate::error::Error;

/// The maximum size of a stored jsonb, in bytes. As a tree in memory it takes about thirty times as much.
pub const JSON_BYTES_MAX: usize = 1024 * 1024;
/// The maximum number of elements of an array of texts.
pub const TEXTS_MAX: usize = 1000;
/// The maximum size of a stored array of texts, in bytes.
pub const TEXTS_BYTES_MAX: usize = 256 * 1024;

/// A jsonb of at most [`JSON_BYTES_MAX`].
pub struct Json(pub Value);

/// An array of texts of at most [`TEXTS_MAX`] elements and [`TEXTS_BYTES_MAX`].
pub struct Texts(pub Vec<Option<String>>);

/// Raises an error if a varlena has more bytes than allowed, without unpacking it.
fn check_size(datum: pg_sys::Datum, max: usize) {
    // SAFETY: the datum of a jsonb or an array is the address of a varlena, of any form.
    let bytes = unsafe { pg_sys::toast_raw_datum_size(datum) };
    if bytes > max {
        Error::bad(
            format!("an argument has {bytes} bytes; at most {max} are allowed"),
            "Pass less, in several calls if need be.",
        )
        .raise();
    }
}

impl FromDatum for Json {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _typoid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        check_size(datum, JSON_BYTES_MAX);
        let value = crate::pg::heap_insert::Json(datum).value();
        Some(Self(value.unwrap_or_else(|error| error.raise())))
    }
}

impl FromDatum for Texts {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        typoid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        check_size(datum, TEXTS_BYTES_MAX);
        // SAFETY: the datum is a text[], as the caller promises.
        let array =
            unsafe { pgrx::Array::<String>::from_polymorphic_datum(datum, is_null, typoid) }?;
        if array.len() > TEXTS_MAX {
            Error::bad(
                format!(
                    "an array has {} elements; at most {TEXTS_MAX} are allowed",
                    array.len()
                ),
                "Pass less, in several calls if need be.",
            )
            .raise();
        }
        Some(Self(array.iter().collect()))
    }
}

/// Does what pgrx does for its own types that implement `FromDatum`.
macro_rules! argument {
    ($($type:ty as $like:ty;)*) => {$(
        // SAFETY: the argument is of the SQL type below, which FromDatum reads.
        unsafe impl<'fcx> ArgAbi<'fcx> for $type {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                let index = arg.index();
                // SAFETY: as the caller promises.
                match unsafe { arg.unbox_arg_using_from_datum() } {
                    Some(value) => value,
                    // Only if SQL declares a function as not STRICT by mistake.
                    None => Error::bad(format!("argument {index} must not be NULL"), "Pass a value.").raise(),
                }
            }

            unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
                // SAFETY: as the caller promises.
                unsafe { arg.unbox_arg_using_from_datum() }.into()
            }
        }

        // SAFETY: it stands for the same SQL type.
        unsafe impl SqlTranslatable for $type {
            const TYPE_IDENT: &'static str = <$like as SqlTranslatable>::TYPE_IDENT;
            const TYPE_ORIGIN: pgrx::pgrx_sql_entity_graph::metadata::TypeOrigin =
                <$like as SqlTranslatable>::TYPE_ORIGIN;
            const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = <$like as SqlTranslatable>::ARGUMENT_SQL;
            const RETURN_SQL: Result<ReturnsRef, ReturnsError> = <$like as SqlTranslatable>::RETURN_SQL;
        }
    )*};
}

argument! {
    Json as pgrx::JsonB;
    Texts as Vec<Option<String>>;
}
