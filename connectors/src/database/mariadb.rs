//! MariaDB and MySQL, by their own protocol.

use ieum_model::error::{ErrorKind, Result};
use mysql::prelude::Queryable;
use mysql::{Conn, Error as MysqlError, OptsBuilder, Params, SslOpts, Value};

use super::{CsvOut, Server, failed};

/// What every connection begins with: text in UTF-8, times in the zone of Korea whatever the server's is, and nothing can be
/// changed.
const SETTINGS: [&str; 3] = ["SET NAMES utf8mb4", "SET time_zone = '+09:00'", "SET SESSION TRANSACTION READ ONLY"];
/// A server that says nothing for so long is gone.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// Classes of SQLSTATE of data that does not fit a cast or a rule of the query.
const OF_DATA: [&str; 2] = ["22", "23"];

/// Codes of the server: access denied to user, to database, to table, to column.
const DENIED: [u16; 4] = [1044, 1045, 1142, 1143];
/// No such column, a syntax error, no such database.
const WRONG: [u16; 3] = [1054, 1064, 1049];
/// No such table.
const NO_TABLE: u16 = 1146;

fn connect(server: &Server) -> Result<Conn> {
    let options = OptsBuilder::new()
        .ip_or_hostname(Some(server.host.clone()))
        .tcp_port(server.port)
        .db_name(Some(server.database.clone()))
        .user(server.user.clone())
        .pass(server.password.clone())
        .prefer_socket(false)
        .tcp_connect_timeout(Some(std::time::Duration::from_secs(10)))
        .tcp_keepalive_time_ms(Some(60_000))
        .read_timeout(Some(SILENCE))
        .init(SETTINGS.map(str::to_owned).to_vec())
        .ssl_opts(server.tls.then(|| SslOpts::default().with_root_cert_path(server.ca.clone())));
    Conn::new(options).map_err(|error| told(&error))
}

fn told(error: &MysqlError) -> ieum_model::error::Error {
    let MysqlError::MySqlError(state) = error else {
        return failed(ErrorKind::Temporary, error);
    };
    if OF_DATA.iter().any(|class| state.state.starts_with(class)) {
        return super::of_data(format!("error {}", state.code));
    }
    let kind = match state.code {
        code if DENIED.contains(&code) => ErrorKind::Key,
        code if WRONG.contains(&code) => ErrorKind::Config,
        NO_TABLE => ErrorKind::Temporary,
        // Its message may hold a value of a row.
        code => return failed(ErrorKind::Temporary, format!("error {code}")),
    };
    failed(kind, format!("{} (error {})", state.message, state.code))
}

pub(super) fn version(server: &Server) -> Result<String> {
    let version: Option<String> = connect(server)?.query_first("SELECT VERSION()").map_err(|error| told(&error))?;
    Ok(version.unwrap_or_default())
}

/// Whether a statement names a table that there is.
pub(super) fn is_there(server: &Server, statement: &str) -> Result<bool> {
    match connect(server)?.prep(statement) {
        Ok(_) => Ok(true),
        Err(MysqlError::MySqlError(state)) if state.code == NO_TABLE => Ok(false),
        Err(error) => Err(told(&error)),
    }
}

/// Names of the columns of a statement.
pub(super) fn columns(server: &Server, statement: &str) -> Result<Vec<String>> {
    let mut connection = connect(server)?;
    let result = connection.query_iter(statement).map_err(|error| told(&error))?;
    Ok(result.columns().as_ref().iter().map(|column| column.name_str().into_owned()).collect())
}

/// The rows of a statement, whose columns are text.
pub(super) fn rows(server: &Server, statement: &str, keys: Vec<String>, out: &mut CsvOut) -> Result<()> {
    let mut connection = connect(server)?;
    let keys = match keys.is_empty() {
        true => Params::Empty,
        false => Params::Positional(keys.into_iter().map(Value::from).collect()),
    };
    let result = connection.exec_iter(statement, keys).map_err(|error| told(&error))?;
    for row in result {
        let values = row.map_err(|error| told(&error))?.unwrap();
        let cell = |value: &'_ Value| match value {
            Value::NULL => Ok(None),
            Value::Bytes(bytes) => Ok(Some(bytes.clone())),
            _ => Err(failed(ErrorKind::Temporary, "a column did not come as text")),
        };
        let cells = values.iter().map(cell).collect::<Result<Vec<_>>>()?;
        if !out.row(cells.iter().map(Option::as_deref)) {
            return Ok(());
        }
    }
    Ok(())
}
