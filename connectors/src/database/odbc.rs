//! Any database that a vendor's ODBC driver speaks to: Oracle, Tibero, Cubrid, Altibase. What is common to their dialects is
//! asked, and every column comes as the driver writes it as text in UTF-16: Korean text whatever the locale, decimals with all
//! their digits.
//!
//! What a driver says of a failure may repeat the connection string, password and all: only its codes are passed on.

use ieum_model::error::{Error, ErrorKind, Result};
use odbc_api::{
    Connection, ConnectionOptions, Cursor, Error as OdbcError, IntoParameter, ParameterCollectionRef,
    ResultSetMetadata, environment, escape_attribute_value,
};

use super::{CsvOut, Server, failed};

/// Seconds until a database that does not answer counts as unreachable.
const LOGIN: u32 = 10;

fn connect(server: &Server) -> Result<Connection<'static>> {
    let mut attributes = server.database.clone();
    for (name, value) in [("UID", &server.user), ("PWD", &server.password)] {
        if let Some(value) = value {
            attributes += &format!(";{name}={}", escape_attribute_value(value));
        }
    }
    let environment = environment().map_err(|error| told(&error))?;
    let options = ConnectionOptions { login_timeout_sec: Some(LOGIN), ..ConnectionOptions::default() };
    environment.connect_with_connection_string(&attributes, options).map_err(|error| told(&error))
}

/// The codes of a failure, and nothing of its message.
fn told(error: &OdbcError) -> Error {
    let record = match error {
        OdbcError::Diagnostics { record, .. } | OdbcError::UnsupportedOdbcApiVersion(record) => record,
        _ => return failed(ErrorKind::Temporary, "its ODBC driver tells no code"),
    };
    let state = String::from_utf8_lossy(&record.state.0).into_owned();
    let kind = match &state[..] {
        state if state.starts_with("28") || state == "42501" => ErrorKind::Key,
        state if ["42", "3D", "IM"].iter().any(|class| state.starts_with(class)) => ErrorKind::Config,
        _ => ErrorKind::Temporary,
    };
    let error = failed(kind, format!("SQLSTATE {state} (native error {}) of its ODBC driver", record.native_error));
    match &state[..] {
        "IM002" | "IM003" | "IM004" | "01000" => error.hint(
            "the driver manager finds no such data source, or cannot load its driver: compare odbc.ini and odbcinst.ini (`odbcinst -j`)",
        ),
        state if state.starts_with("08") => {
            error.hint("check that the database can be reached, and `user` and `secret` of the place; then run again")
        }
        _ => error,
    }
}

fn is_missing(error: &OdbcError) -> bool {
    let OdbcError::Diagnostics { record, .. } = error else { return false };
    // That of the standard for a missing table, and what PostgreSQL says instead, of a table and of a schema.
    [*b"42S02", *b"42P01", *b"3F000"].contains(&record.state.0)
}

pub(super) fn version(server: &Server) -> Result<String> {
    let name = connect(server)?.database_management_system_name().map_err(|error| told(&error))?;
    Ok(format!("{name}, by ODBC"))
}

/// The character that quotes names.
pub(super) fn mark(server: &Server) -> Result<char> {
    Ok(connect(server)?.identifier_quote_char().map_err(|error| told(&error))?.unwrap_or('"'))
}

/// Whether a statement names a table that there is.
pub(super) fn is_there(server: &Server, statement: &str) -> Result<bool> {
    let connection = connect(server)?;
    let executed = connection.execute(statement, (), None).map(drop);
    match executed {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(told(&error)),
    }
}

/// Names of the columns of a statement.
pub(super) fn columns(server: &Server, statement: &str) -> Result<Vec<String>> {
    let connection = connect(server)?;
    let cursor = connection.execute(statement, (), None).map_err(|error| told(&error))?;
    let mut cursor = cursor.ok_or_else(no_rows)?;
    let names = cursor.column_names().map_err(|error| told(&error))?;
    names.collect::<Result<_, _>>().map_err(|error| told(&error))
}

/// The rows of a statement.
pub(super) fn rows(server: &Server, statement: &str, keys: &[String], out: &mut CsvOut) -> Result<()> {
    let connection = connect(server)?;
    if keys.is_empty() {
        return written(&connection, statement, (), out);
    }
    let keys: Vec<_> = keys.iter().map(|key| key.as_str().into_parameter()).collect();
    written(&connection, statement, &keys[..], out)
}

fn written(
    connection: &Connection<'_>,
    statement: &str,
    keys: impl ParameterCollectionRef,
    out: &mut CsvOut,
) -> Result<()> {
    let cursor = connection.execute(statement, keys, None).map_err(|error| told(&error))?;
    let mut cursor = cursor.ok_or_else(no_rows)?;
    let width = cursor.num_result_cols().map_err(|error| told(&error))?;
    let width = u16::try_from(width).map_err(|_| no_rows())?;
    let mut units = Vec::with_capacity(256);
    while let Some(mut row) = cursor.next_row().map_err(|error| told(&error))? {
        let cells = (1..=width).map(|column| {
            let is_there = row.get_wide_text(column, &mut units).map_err(|error| told(&error))?;
            let text =
                || String::from_utf16(&units).map_err(|_| failed(ErrorKind::Temporary, "a cell came as no text"));
            is_there.then(text).transpose()
        });
        let cells = cells.collect::<Result<Vec<_>>>()?;
        if !out.row(cells.iter().map(|cell| cell.as_deref().map(str::as_bytes))) {
            return Ok(());
        }
    }
    Ok(())
}

fn no_rows() -> Error {
    failed(ErrorKind::Config, "the statement gives no rows")
}
