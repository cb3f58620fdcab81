//! Tables of databases, read as if they were CSV files: UTF-8, a header row, only the wanted columns and, where the catalog
//! says that it may, only the rows of wanted keys.
//!
//! ```text
//!  table ─► SELECT wanted columns as text [WHERE key is wanted] ORDER BY them ─► rows of a cursor ─► CSV ─► csv
//! ```
//!
//! Every column comes as the database itself writes it as text: a decimal keeps its digits, a date is ISO. Rows come in an order
//! that depends on nothing but them, so that two readings are the same.
//!
//! # Privacy
//! Wanted keys go to the database as parameters of the statement, never in its text. Errors tell a database's code and
//! message, no row.

mod mariadb;
#[cfg(feature = "odbc")]
mod odbc;
#[cfg(not(feature = "odbc"))]
#[path = "without_odbc.rs"]
mod odbc;
mod postgres;

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, OnceLock};

use ieum_model::connector::ScanSpec;
use ieum_model::dataset::{Dataset, Export};
use ieum_model::error::{Error, ErrorKind, Result, without_secrets};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::folder::Found;
use crate::limits::Unreadable;
use crate::store::Access;
use crate::{columns, export_of};

/// More wanted keys than these are not asked for: the table is read.
pub const MOST_KEYS: usize = 10_000;
/// The same of a database behind ODBC: the longest list of values that every one of them takes (Oracle, ORA-01795).
pub const MOST_KEYS_BY_ODBC: usize = 1_000;

/// CSV bytes handed on at a time, and pieces of them that wait to be read.
const PIECE: usize = 64 << 10;
const AHEAD: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Postgres,
    MariaDb,
    Odbc,
}

/// A database, and what is asked of it.
#[derive(Clone)]
pub struct Database {
    kind: Kind,
    server: Server,
    told: String,
    select: Option<Select>,
    /// What quotes names, once a driver was asked.
    mark: Arc<OnceLock<char>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("place", &self.told).finish_non_exhaustive()
    }
}

/// Where a database answers.
#[derive(Clone)]
struct Server {
    host: String,
    port: u16,
    /// Its name; of ODBC the connection string without credentials.
    database: String,
    user: Option<String>,
    password: Option<String>,
    tls: bool,
    /// Who signs its certificate, where that is told.
    authorities: Vec<CertificateDer<'static>>,
    ca: Option<PathBuf>,
}

/// What is selected of a table.
#[derive(Clone)]
struct Select {
    /// A query in place of the table.
    query: Option<String>,
    /// Columns by their names in the database; all of them where none is named.
    columns: Vec<String>,
    /// The key's column, and the wanted keys.
    keys: Option<(String, Vec<String>)>,
}

/// What the URL of a data source of ODBC begins with.
const ODBC: &str = "odbc://";
/// What an attribute of a connection string is called that holds a credential, in part.
const CREDENTIALS: [&str; 5] = ["uid", "user", "pwd", "pass", "secret"];

/// Whether this is the URL of a database.
pub fn is_url(place: &str) -> bool {
    ["postgresql://", "postgres://", "mysql://", "mariadb://", ODBC].iter().any(|scheme| place.starts_with(scheme))
}

/// The database at a URL, `postgresql://host:port/database`, `mysql://host:port/database` or `odbc://data-source`. Nothing is asked
/// of it yet.
///
/// # Errors
/// [`ErrorKind::Config`] when the URL is none, or holds credentials.
pub fn open(access: &Access) -> Result<Database> {
    let told = without_secrets(&access.url);
    let wrong = |message: &str| Error::config(message).at("database", &told);
    if told != access.url {
        return Err(wrong("the URL of a database holds credentials or a query")
            .hint("give them as `user` and `secret` of the place, each from { env }, { file } or { command }"));
    }
    if let Some(source) = access.url.strip_prefix(ODBC) {
        let server = data_source(source, access).map_err(|error| error.at("database", &told))?;
        return Ok(Database { kind: Kind::Odbc, server, told, select: None, mark: Arc::default() });
    }
    let (scheme, rest) = access.url.split_once("://").unwrap_or_default();
    let (kind, default_port) = match scheme {
        "postgresql" | "postgres" => (Kind::Postgres, 5432),
        "mysql" | "mariadb" => (Kind::MariaDb, 3306),
        _ => {
            return Err(
                wrong("this kind of database is not known").hint("known are postgresql://, mysql:// and odbc://")
            );
        }
    };
    let (server, database) = rest.split_once('/').ok_or_else(|| wrong("the URL of a database lacks its name"))?;
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong("the port of a database is no number"))?),
        None => (server, default_port),
    };
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let server = Server {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        database: database.to_owned(),
        user: access.user.clone(),
        password: access.secret.clone(),
        tls: access.tls.unwrap_or(!is_here || access.ca.is_some()),
        authorities: access.authorities(|pem| CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>())?,
        ca: access.ca.clone(),
    };
    Ok(Database { kind, server, told, select: None, mark: Arc::default() })
}

/// A data source that the driver manager knows by its name, or by the connection string in `endpoint`.
fn data_source(name: &str, access: &Access) -> Result<Server> {
    if !cfg!(feature = "odbc") {
        return Err(Error::config("this program was built without the feature `odbc`")
            .hint("build it with `cargo build --release --features odbc`; it needs unixODBC and the vendor's driver"));
    }
    if name.is_empty() || name.contains(['/', ';', '=', '{', '}']) {
        return Err(Error::config("the URL of a data source is odbc:// and its name, as odbc.ini has it"));
    }
    let holds_credentials = |attributes: &str| {
        let names = attributes.split(';').filter_map(|attribute| attribute.split_once('='));
        let mut names = names.map(|(name, _)| name.to_ascii_lowercase());
        names.any(|name| CREDENTIALS.iter().any(|credential| name.contains(credential)))
    };
    if access.endpoint.as_deref().is_some_and(holds_credentials) {
        return Err(Error::config("the connection string of a data source holds credentials")
            .hint("give them as `user` and `secret` of the place, each from { env }, { file } or { command }"));
    }
    if access.tls.is_some() || access.ca.is_some() {
        return Err(Error::config("whether a data source of ODBC is reached over TLS is for its driver to say")
            .hint("take `tls` and `ca` out of the place, and set it in odbc.ini or the connection string"));
    }
    let named = || format!("DSN={name}");
    let database =
        access.endpoint.as_ref().map_or_else(named, |attributes| attributes.trim_end_matches(';').to_owned());
    let (user, password) = (access.user.clone(), access.secret.clone());
    let (host, authorities) = (name.to_owned(), Vec::new());
    Ok(Server { host, port: 0, database, user, password, tls: false, authorities, ca: None })
}

impl Database {
    /// The place as it is told.
    pub fn told(&self) -> &str {
        &self.told
    }

    /// The database for one export: what is selected in place of its table, if anything is.
    pub(crate) fn of(&self, export: &Export) -> Arc<Self> {
        let query = export.at.query.clone();
        Arc::new(Self { select: Some(Select { query, columns: Vec::new(), keys: None }), ..self.clone() })
    }

    /// Asks the database for its version.
    ///
    /// # Errors
    /// [`ErrorKind::Key`] when it refuses the user, [`ErrorKind::Temporary`] when it cannot be reached.
    pub fn version(&self) -> Result<String> {
        apart(|| match self.kind {
            Kind::Postgres => postgres::version(&self.server),
            Kind::MariaDb => mariadb::version(&self.server),
            Kind::Odbc => odbc::version(&self.server),
        })
        .map_err(|error| self.at(error))
    }

    fn at(&self, error: Error) -> Error {
        error.at("database", &self.told)
    }

    /// The table, if the database has it.
    pub(crate) fn find(&self, table: &str) -> Result<Vec<Found>> {
        let statement = format!("SELECT 1 FROM {} WHERE 1 = 0", self.from(table)?);
        let found = apart(|| match self.kind {
            Kind::Postgres => postgres::is_there(&self.server, &statement),
            Kind::MariaDb => mariadb::is_there(&self.server, &statement),
            Kind::Odbc => odbc::is_there(&self.server, &statement),
        });
        let is_there = found.map_err(|error| self.at(error).at("table", table))?;
        Ok(if is_there { vec![(table.to_owned(), 0, 0)] } else { Vec::new() })
    }

    /// What an export's table is read by for `spec`.
    pub(crate) fn asked(&self, dataset: &Dataset, export: &Export, spec: &ScanSpec) -> Result<Arc<Self>> {
        let query = export.at.query.clone();
        let names = self.columns(&export.path)?;
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        let wanted = columns::locate(dataset, export, &borrowed, &spec.schema)?;
        let keys = match (export.at.canonical_keys, spec.probe.as_ref().and_then(|probe| probe.sorted_keys())) {
            (true, Some(keys)) if keys.len() <= self.most_keys() => {
                let text = |key: Box<[u8]>| String::from_utf8(key.into_vec()).ok();
                let at = columns::key(spec)?.map(|at| names[wanted[at]].clone());
                at.zip(keys.into_iter().map(text).collect())
            }
            _ => None,
        };
        let columns = wanted.into_iter().map(|at| names[at].clone()).collect();
        Ok(Arc::new(Self { select: Some(Select { query, columns, keys }), ..self.clone() }))
    }

    /// Names of the columns of a table.
    pub(crate) fn columns(&self, table: &str) -> Result<Vec<String>> {
        let statement = format!("SELECT * FROM {}", self.from(table)?);
        let columns = apart(|| match self.kind {
            Kind::Postgres => postgres::columns(&self.server, &statement),
            Kind::MariaDb => mariadb::columns(&self.server, &format!("{statement} LIMIT 0")),
            Kind::Odbc => odbc::columns(&self.server, &format!("{statement} WHERE 1 = 0")),
        });
        columns.map_err(|error| self.at(error).at("table", table))
    }

    /// The selected rows as CSV.
    pub(crate) fn stream(&self, table: &str) -> Result<Rows> {
        let mut select = self.select.clone().unwrap_or(Select { query: None, columns: Vec::new(), keys: None });
        if select.columns.is_empty() {
            select.columns = self.columns(table)?;
        }
        select.columns.sort();
        select.columns.dedup();
        let (kind, server) = (self.kind, self.server.clone());
        let mark = self.mark().map_err(|error| self.at(error))?;
        let quoted: Vec<String> = select.columns.iter().map(|name| quoted(name, mark)).collect();
        let text = |name: &String| match kind {
            Kind::Postgres => format!("{name}::text COLLATE \"C\""),
            Kind::MariaDb => format!("CAST({name} AS CHAR)"),
            // The driver writes it as text.
            Kind::Odbc => name.clone(),
        };
        let listed = quoted.iter().map(text).collect::<Vec<_>>().join(", ");
        // By bytes, not by a language: rows that differ have one order. Behind ODBC, as the database orders them.
        let by = |(at, name): (usize, &String)| match kind {
            Kind::Postgres => (at + 1).to_string(),
            Kind::MariaDb => format!("CAST({name} AS BINARY)"),
            Kind::Odbc => name.clone(),
        };
        let order = quoted.iter().enumerate().map(by).collect::<Vec<_>>().join(", ");
        let mut statement = format!("SELECT {listed} FROM {}", self.from(table)?);
        let mut keys = Vec::new();
        if let Some((column, wanted)) = select.keys {
            let column = self::quoted(&column, mark);
            statement += &match kind {
                Kind::Postgres => format!(" WHERE {column} = ANY($1)"),
                _ if wanted.is_empty() => " WHERE 1 = 0".to_owned(),
                Kind::MariaDb | Kind::Odbc => format!(" WHERE {column} IN ({})", vec!["?"; wanted.len()].join(", ")),
            };
            keys = wanted;
            if kind == Kind::Postgres {
                return Ok(Rows::of(select.columns, move |out| {
                    postgres::rows(&server, &ordered(statement, &order), Some(&keys), out)
                }));
            }
        }
        let statement = ordered(statement, &order);
        Ok(match kind {
            Kind::Postgres => Rows::of(select.columns, move |out| postgres::rows(&server, &statement, None, out)),
            Kind::MariaDb => Rows::of(select.columns, move |out| mariadb::rows(&server, &statement, keys, out)),
            Kind::Odbc => Rows::of(select.columns, move |out| odbc::rows(&server, &statement, &keys, out)),
        })
    }

    /// What is selected from: the table, quoted part by part, or the query.
    fn from(&self, table: &str) -> Result<String> {
        if let Some(query) = self.select.as_ref().and_then(|select| select.query.as_ref()) {
            // Oracle has no AS before the name of a subquery.
            return Ok(format!("({}) export", query.trim().trim_end_matches(';')));
        }
        if table.split('.').any(str::is_empty) || table.contains('\0') {
            return Err(Error::config("this is no name of a table").at("table", table));
        }
        let mark = self.mark()?;
        Ok(table.split('.').map(|part| quoted(part, mark)).collect::<Vec<_>>().join("."))
    }

    /// The character that quotes names.
    fn mark(&self) -> Result<char> {
        match self.kind {
            Kind::Postgres => Ok('"'),
            Kind::MariaDb => Ok('`'),
            Kind::Odbc => match self.mark.get() {
                Some(mark) => Ok(*mark),
                None => apart(|| odbc::mark(&self.server)).map(|mark| *self.mark.get_or_init(|| mark)),
            },
        }
    }

    fn most_keys(&self) -> usize {
        if self.kind == Kind::Odbc { MOST_KEYS_BY_ODBC } else { MOST_KEYS }
    }
}

/// A name between marks, those within it doubled.
fn quoted(name: &str, mark: char) -> String {
    format!("{mark}{}{mark}", name.replace(mark, &format!("{mark}{mark}")))
}

/// Does something on a thread of its own: a client of PostgreSQL waits as none of the threads of a runtime may.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| Err(Error::internal("a thread stopped while it asked a database")))
}

fn ordered(statement: String, order: &str) -> String {
    format!("{statement} ORDER BY {order}")
}

/// An export's table is a file of one partition without control totals.
pub(crate) fn check(dataset: &Dataset) -> Result<()> {
    let export = export_of(dataset)?;
    let is_plain = export.control.trailer.is_none() && export.control.manifest.is_none() && export.header;
    if is_plain && export.delimiter == ',' && export.encoding == ieum_model::dataset::Encoding::Utf8 {
        return Ok(());
    }
    Err(Error::config("a table of a database has no encoding, delimiter, header or control totals of a file")
        .at("dataset", &dataset.code)
        .hint("take them out of the export's section of the catalog"))
}

/// Rows of a table as CSV, written by a thread of its own.
pub(crate) struct Rows {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Rows {
    fn of(columns: Vec<String>, read: impl FnOnce(&mut CsvOut) -> Result<()> + Send + 'static) -> Self {
        let (sender, pieces) = mpsc::sync_channel(AHEAD);
        std::thread::spawn(move || {
            let mut out = CsvOut { sender, bytes: Vec::with_capacity(2 * PIECE) };
            let header = out.row(columns.iter().map(|name| Some(name.as_bytes())));
            let read = if header { read(&mut out) } else { Ok(()) };
            out.end(read);
        });
        Self { pieces, piece: io::Cursor::new(Vec::new()) }
    }
}

impl Read for Rows {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.piece.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                return Ok(bytes);
            }
            match self.pieces.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece?),
                Err(_) => return Ok(0),
            }
        }
    }
}

/// Takes rows and hands them on as CSV.
struct CsvOut {
    sender: SyncSender<io::Result<Vec<u8>>>,
    bytes: Vec<u8>,
}

impl CsvOut {
    /// Writes a row; an absent cell is an empty one. `false` when nobody reads any more.
    fn row<'a>(&mut self, cells: impl Iterator<Item = Option<&'a [u8]>>) -> bool {
        for (at, cell) in cells.enumerate() {
            if at > 0 {
                self.bytes.push(b',');
            }
            match cell {
                None => {}
                Some(cell)
                    if cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) || cell.is_empty() =>
                {
                    self.bytes.push(b'"');
                    for byte in cell {
                        self.bytes.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
                    }
                    self.bytes.push(b'"');
                }
                Some(cell) => self.bytes.extend_from_slice(cell),
            }
        }
        self.bytes.push(b'\n');
        self.bytes.len() < PIECE || self.sender.send(Ok(std::mem::take(&mut self.bytes))).is_ok()
    }

    fn end(mut self, read: Result<()>) {
        let rest = std::mem::take(&mut self.bytes);
        // Whoever asked may have gone.
        let _ = match read {
            Ok(()) => self.sender.send(Ok(rest)),
            Err(error) if error.kind == ErrorKind::Contract => {
                self.sender.send(Err(io::Error::other(Unreadable { message: error.message, hint: OF_DATA })))
            }
            Err(error) => self.sender.send(Err(io::Error::other(error.to_string()))),
        };
    }
}

/// A failure of a database: its code and message.
fn failed(kind: ErrorKind, message: impl fmt::Display) -> Error {
    let hint = match kind {
        ErrorKind::Key => "compare `user` and `secret` of the place, and what the user may read",
        ErrorKind::Config => "compare the export's section of the catalog",
        _ => "check that the database can be reached, then run again",
    };
    Error::new(kind, format!("the database failed: {message}")).hint(hint)
}

const OF_DATA: &str =
    "a row does not fit a cast or a rule of the table, view or query: ask the holder, or select it as it is";

/// A row that the database itself cannot give. Its message would tell the value: only the code is told.
fn of_data(code: impl fmt::Display) -> Error {
    Error::contract(format!("the database cannot give a row ({code})")).hint(OF_DATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(url: &str) -> Access {
        Access { url: url.into(), user: Some("u".into()), secret: Some("p4ss".into()), ..Access::default() }
    }

    #[test]
    fn a_database_is_known_by_its_url_and_tells_no_secret() {
        let database = open(&access("postgresql://db.go.kr:5433/tax")).unwrap();
        assert_eq!(
            (database.server.port, database.server.tls, database.server.host.as_str()),
            (5433, true, "db.go.kr")
        );
        assert!(!open(&access("mysql://127.0.0.1/tax")).unwrap().server.tls);
        assert!(!format!("{database:?}").contains("p4ss"));
        for wrong in
            ["postgresql://u:p4ss@h/d", "oracle://h/d", "mysql://h", "mysql://h:x/d", "postgresql://h/d?password=p4ss"]
        {
            let error = open(&access(wrong)).unwrap_err();
            assert!(error.kind == ErrorKind::Config && !error.told().contains("p4ss"), "{error}");
        }
    }

    #[test]
    #[cfg(not(feature = "odbc"))]
    fn a_program_without_odbc_says_how_to_get_it() {
        let error = open(&access("odbc://tibero")).unwrap_err();
        assert!(error.kind == ErrorKind::Config && error.message.contains("`odbc`"), "{error}");
        assert!(error.hint.unwrap().contains("--features odbc"));
    }

    #[test]
    #[cfg(feature = "odbc")]
    fn a_data_source_is_known_by_its_name_or_its_attributes_and_holds_no_credentials() {
        let named = open(&access("odbc://tibero")).unwrap();
        assert_eq!((named.told(), named.server.database.as_str()), ("odbc://tibero", "DSN=tibero"));
        let with = |attributes: &str| open(&Access { endpoint: Some(attributes.into()), ..access("odbc://t") });
        assert_eq!(with("Driver=T;Server=h;").unwrap().server.database, "Driver=T;Server=h");
        for wrong in ["Driver=T;PWD=p4ss", "driver=T; Password = {p4ss}", "Driver=T;UID=u", "Driver=T;User Id=p4ss"] {
            let error = with(wrong).unwrap_err();
            assert!(error.kind == ErrorKind::Config && !error.told().contains("p4ss"), "{error}");
        }
        assert!(open(&access("odbc://")).is_err() && open(&access("odbc://t;PWD=p4ss")).is_err());
        assert!(open(&Access { tls: Some(true), ..access("odbc://t") }).is_err());
    }

    #[test]
    fn names_are_quoted() {
        let postgres = open(&access("postgresql://h/d")).unwrap();
        assert_eq!(postgres.from("nts.in\"come").unwrap(), "\"nts\".\"in\"\"come\"");
        assert_eq!(open(&access("mysql://h/d")).unwrap().from("세금`").unwrap(), "`세금```");
        assert!(postgres.from("a..b").is_err());
    }

    #[test]
    fn rows_are_written_as_csv() {
        let rows = Rows::of(vec!["a".into(), "이름".into()], |out| {
            out.row([None, Some(&b""[..])].into_iter());
            out.row([Some(&b"1,2"[..]), Some("홍\"길\"동\n".as_bytes())].into_iter());
            Ok(())
        });
        let mut text = String::new();
        { rows }.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a,이름\n,\"\"\n\"1,2\",\"홍\"\"길\"\"동\n\"\n");
        let mut broken = Rows::of(vec!["a".into()], |_| Err(failed(ErrorKind::Temporary, "57P01")));
        assert!(broken.read_to_string(&mut String::new()).unwrap_err().to_string().contains("57P01"));
    }
}
