//! PostgreSQL, by its own protocol.

use std::error::Error as _;
use std::sync::Arc;

use ieum_model::error::{ErrorKind, Result};
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, Config, Error as PostgresError, NoTls};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{CsvOut, Server, failed};

/// What every connection begins with: text in UTF-8, dates as ISO writes them, times with a zone in that of Korea whatever the
/// server's is, and nothing can be changed.
const SETTINGS: &str = "SET client_encoding = 'UTF8'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; \
                        SET TIME ZONE 'Asia/Seoul'; SET extra_float_digits = 3; SET default_transaction_read_only = on";

/// Classes of SQLSTATE whose messages hold no value of a row: connections, authorization, catalogs, schemas, syntax and
/// access, resources, operators.
const TOLD: [&str; 8] = ["08", "28", "3D", "3F", "42", "53", "57", "58"];
/// Data that does not fit a cast or a rule of the query.
const OF_DATA: [&str; 2] = ["22", "23"];

fn connect(server: &Server) -> Result<Client> {
    let mut config = Config::new();
    config.host(&server.host).port(server.port).dbname(&server.database).application_name("ieum");
    config.connect_timeout(std::time::Duration::from_secs(10));
    config.keepalives_idle(std::time::Duration::from_secs(60));
    if let Some(user) = &server.user {
        config.user(user);
    }
    if let Some(password) = &server.password {
        config.password(password);
    }
    let client = if server.tls {
        config.ssl_mode(postgres::config::SslMode::Require);
        config.connect(MakeRustlsConnect::new(tls(server)?))
    } else {
        config.connect(NoTls)
    };
    let mut client = client.map_err(|error| told(&error))?;
    client.batch_execute(SETTINGS).map_err(|error| told(&error))?;
    Ok(client)
}

/// TLS by the certificates that the place names, else by those that this machine trusts.
fn tls(server: &Server) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match server.authorities.is_empty() {
        true => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        false => roots.add_parsable_certificates(server.authorities.iter().cloned()),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| failed(ErrorKind::Config, error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn told(error: &PostgresError) -> ieum_model::error::Error {
    let Some(state) = error.as_db_error() else {
        let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
        return failed(ErrorKind::Temporary, format!("{error}{cause}"));
    };
    let code = state.code();
    let class = code.code().get(..2).unwrap_or_default();
    if OF_DATA.contains(&class) {
        return super::of_data(format!("SQLSTATE {}", code.code()));
    }
    let kind = match code {
        code if *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            || *code == SqlState::INSUFFICIENT_PRIVILEGE =>
        {
            ErrorKind::Key
        }
        code if *code == SqlState::UNDEFINED_COLUMN
            || *code == SqlState::SYNTAX_ERROR
            || *code == SqlState::INVALID_CATALOG_NAME =>
        {
            ErrorKind::Config
        }
        _ => ErrorKind::Temporary,
    };
    if TOLD.contains(&class) {
        return failed(kind, format!("{} (SQLSTATE {})", state.message(), code.code()));
    }
    failed(kind, format!("SQLSTATE {}", code.code()))
}

pub(super) fn version(server: &Server) -> Result<String> {
    let row = connect(server)?.query_one("SHOW server_version", &[]).map_err(|error| told(&error))?;
    Ok(format!("PostgreSQL {}", row.try_get::<_, &str>(0).unwrap_or_default()))
}

/// Whether a statement names a table that there is.
pub(super) fn is_there(server: &Server, statement: &str) -> Result<bool> {
    match connect(server)?.prepare(statement) {
        Ok(_) => Ok(true),
        Err(error)
            if error
                .code()
                .is_some_and(|code| *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME) =>
        {
            Ok(false)
        }
        Err(error) => Err(told(&error)),
    }
}

/// Names of the columns of a statement.
pub(super) fn columns(server: &Server, statement: &str) -> Result<Vec<String>> {
    let prepared = connect(server)?.prepare(statement).map_err(|error| told(&error))?;
    Ok(prepared.columns().iter().map(|column| column.name().to_owned()).collect())
}

/// The rows of a statement, whose columns are text.
pub(super) fn rows(server: &Server, statement: &str, keys: Option<&Vec<String>>, out: &mut CsvOut) -> Result<()> {
    let mut client = connect(server)?;
    let parameters: Vec<&(dyn ToSql + Sync)> = keys.iter().map(|keys| *keys as &(dyn ToSql + Sync)).collect();
    let mut rows = client.query_raw(statement, parameters).map_err(|error| told(&error))?;
    while let Some(row) = rows.next().map_err(|error| told(&error))? {
        let mut cells = Vec::with_capacity(row.len());
        for at in 0..row.len() {
            cells.push(row.try_get::<_, Option<&str>>(at).map_err(|error| told(&error))?.map(str::as_bytes));
        }
        if !out.row(cells.into_iter()) {
            return Ok(());
        }
    }
    Ok(())
}
