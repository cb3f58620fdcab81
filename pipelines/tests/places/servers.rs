//! Servers on the loopback interface, started by the tests and stopped after them.
//!
//! `sh tests/independent/setup.sh` installs them, and from then on a server that is missing fails its tests. Before that they
//! are left out, with a word on stderr.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

/// How often it is asked whether a server answers.
const ASKED: usize = 1800;
const PAUSE: Duration = Duration::from_millis(100);

/// What the setup made for the tests.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/independent")
}

/// The program of a server; `None` where it is not installed and need not be.
pub fn program(name: &str, folders: &[&str]) -> Option<PathBuf> {
    const INSTALL: &str = "`sh tests/independent/setup.sh` installs it";
    let path = std::env::var("PATH").unwrap_or_default();
    let versions = |folder: &&str| -> Vec<PathBuf> { glob::glob(folder).into_iter().flatten().flatten().collect() };
    let known = ["bin", "node_modules/.bin"].iter().map(|folder| installed().join(folder));
    let known = known.chain(path.split(':').map(PathBuf::from)).chain(folders.iter().flat_map(versions));
    let found = known.map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        assert!(!installed().join("servers").exists(), "`{name}` is not installed: {INSTALL}");
        eprintln!("left out: `{name}` is not installed: {INSTALL}");
    }
    found
}

/// A port that nobody listens at, and so is the one 10,000 above it.
pub fn port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

pub fn answers(port: u16) -> bool {
    (0..ASKED).any(|_| {
        std::thread::sleep(PAUSE);
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
}

/// Sends one HTTP request; the status of the answer, 0 where there is none.
pub fn http(port: u16, request: &str, body: &[u8]) -> u16 {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return 0 };
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let mut answer = Vec::new();
    let asked = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    if asked.and_then(|()| stream.read_to_end(&mut answer)).is_err() && answer.is_empty() {
        return 0;
    }
    let answer = String::from_utf8_lossy(&answer);
    answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A folder that a server of another account can use.
fn folder(owner: Option<(u32, u32)>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    if let Some((user, group)) = owner {
        std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
    }
    folder
}

/// User and group of an account, if this process may act as it.
fn account(name: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with(&format!("{name}:")))?;
    let mut numbers = line.split(':').skip(2).map(|number| number.parse().unwrap());
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    is_root.then(|| (numbers.next().unwrap(), numbers.next().unwrap()))
}

fn command(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((user, group)) = owner {
        command.uid(user).gid(group).current_dir("/");
    }
    command
}

#[track_caller]
fn done(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A process that is ended with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SeaweedFS with its S3 door: bucket `lake`, key `K`, secret `S`.
pub struct SeaweedFs {
    folder: TempDir,
    program: PathBuf,
    pub port: u16,
    filer: u16,
    others: [u16; 2],
    running: Arc<Mutex<Option<Running>>>,
}

impl SeaweedFs {
    pub fn start() -> Option<Self> {
        let program = program("weed", &[])?;
        let (port, filer, others) = (port(), self::port(), [self::port(), self::port()]);
        let mut server = Self { folder: folder(None), program, port, filer, others, running: Arc::default() };
        fs::write(
            server.folder.path().join("s3.json"),
            r#"{"identities":[{"name":"t","credentials":[{"accessKey":"K","secretKey":"S"}],
               "actions":["Admin","Read","Write","List","Tagging"]}]}"#,
        )
        .unwrap();
        server.go();
        let made = (0..ASKED).any(|_| {
            std::thread::sleep(PAUSE);
            (200..300).contains(&http(server.filer, "POST /buckets/lake/", b""))
        });
        assert!(made, "SeaweedFS does not make a bucket");
        Some(server)
    }

    /// Starts it, or starts it again with what it had.
    pub fn go(&mut self) {
        let data = self.folder.path();
        let mut weed = command(&self.program, None);
        weed.arg("server").args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-volume.max=100"]);
        weed.arg(format!("-dir={}", data.display())).arg(format!("-s3.config={}", data.join("s3.json").display()));
        weed.arg(format!("-s3.port={}", self.port)).arg(format!("-filer.port={}", self.filer));
        weed.arg(format!("-master.port={}", self.others[0])).arg(format!("-volume.port={}", self.others[1]));
        weed.args(["-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false"]).current_dir(data);
        *self.running.lock().unwrap() = Some(Running(weed.spawn().unwrap()));
        // It answers an unsigned request when it is ready.
        let ready = (0..ASKED).any(|_| {
            std::thread::sleep(PAUSE);
            matches!(http(self.port, "GET /", b""), 403) && http(self.filer, "GET /", b"") == 200
        });
        assert!(ready, "SeaweedFS does not answer");
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.killer()();
    }

    /// What ends it by SIGKILL, from any thread.
    pub fn killer(&self) -> impl FnOnce() + Send + 'static {
        let running = Arc::clone(&self.running);
        move || drop(running.lock().unwrap().take())
    }

    /// Names of all objects of the bucket that begin so, in order, as the server's file system has them: of uploads that were
    /// not finished, too.
    pub fn objects(&self, prefix: &str) -> Vec<String> {
        let (mut found, mut open) = (Vec::new(), vec![String::new()]);
        while let Some(folder) = open.pop() {
            let request = format!("GET /buckets/lake/{folder}?limit=100000 HTTP/1.1");
            let mut stream = TcpStream::connect(("127.0.0.1", self.filer)).unwrap();
            let head = format!("{request}\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let (start, end) = (answer.find('{').unwrap(), answer.rfind('}').unwrap());
            let listed: serde_json::Value = serde_json::from_str(&answer[start..=end]).unwrap();
            for entry in listed["Entries"].as_array().into_iter().flatten() {
                let path = entry["FullPath"].as_str().unwrap().strip_prefix("/buckets/lake/").unwrap().to_owned();
                let is_folder = entry["Mode"].as_u64().unwrap() & (1 << 31) != 0;
                match is_folder {
                    true => open.push(format!("{path}/")),
                    false => found.push(path),
                }
            }
        }
        found.retain(|name| name.starts_with(prefix));
        found.sort();
        found
    }

    /// The place as a run definition has it.
    pub fn place(&self, name: &str, url: &str) -> String {
        s3_place(self.port, name, url)
    }
}

/// A place behind an S3 door, as a run definition has it.
pub fn s3_place(port: u16, name: &str, url: &str) -> String {
    format!(
        "[places.{name}]\nurl = \"{url}\"\nendpoint = \"http://127.0.0.1:{port}\"\nregion = \"us-east-1\"\n\
         user = \"K\"\nsecret = {{ env = \"LAKE_SECRET\" }}\n"
    )
}

/// PostgreSQL with the database `tax`.
pub struct Postgres {
    folder: TempDir,
    pub port: u16,
    _running: Running,
}

/// Makes an authority and a certificate of `localhost` that it signed: `NAME.pem`, `server.pem` and `server.key`.
const CERTIFICATES: &str = r#"
set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.pem -subj /CN=ca
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout other.key -out other.pem -subj /CN=ca
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=localhost
printf 'subjectAltName=DNS:localhost\n' > server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem
"#;

impl Postgres {
    pub fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// One that speaks TLS only, by a certificate of `localhost` that the authority `ca.pem` signed; `other.pem` is another one.
    pub fn start_with_tls() -> Option<Self> {
        program("openssl", &[])?;
        Self::with(&["-c", "ssl=on", "-c", "ssl_cert_file=../server.pem", "-c", "ssl_key_file=../server.key"])
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with(settings: &[&str]) -> Option<Self> {
        let places = ["/usr/lib/postgresql/*/bin"];
        let (initdb, server) = (program("initdb", &places)?, program("postgres", &places)?);
        let (owner, port) = (account("postgres"), port());
        let folder = folder(owner);
        let data = folder.path().join("data");
        done(command(&initdb, owner).arg("-D").arg(&data).args([
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-A",
            "trust",
            "-U",
            "postgres",
        ]));
        let mut postgres = command(&server, owner);
        postgres.arg("-D").arg(&data).arg("-p").arg(port.to_string()).arg("-k").arg(folder.path());
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]).args(settings);
        if !settings.is_empty() {
            done(command(Path::new("sh"), owner).current_dir(folder.path()).args(["-c", CERTIFICATES]));
            fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
        }
        let running = Running(postgres.spawn().unwrap());
        assert!(answers(port), "PostgreSQL does not answer");
        Some(Self { folder, port, _running: running })
    }

    pub fn client(&self, database: &str) -> postgres::Client {
        let config = format!("host=127.0.0.1 port={} user=postgres dbname={database}", self.port);
        let connect = |_| {
            std::thread::sleep(PAUSE);
            postgres::Client::connect(&config, postgres::NoTls).ok()
        };
        (0..ASKED).find_map(connect).expect("PostgreSQL lets nobody in")
    }
}

/// MariaDB with the database `welfare`, whose tables are in `euckr`.
pub struct MariaDb {
    _folder: TempDir,
    pub port: u16,
    _running: Running,
}

impl MariaDb {
    pub fn start() -> Option<Self> {
        let places = ["/usr/sbin", "/usr/bin"];
        let (install, server) = (program("mariadb-install-db", &places)?, program("mariadbd", &places)?);
        let (owner, port) = (account("mysql"), port());
        let folder = folder(owner);
        let data = format!("--datadir={}", folder.path().join("data").display());
        done(command(&install, owner).args(["--no-defaults", "--auth-root-authentication-method=normal", &data]));
        let mut mariadb = command(&server, owner);
        mariadb.args(["--no-defaults", &data, &format!("--port={port}"), "--bind-address=127.0.0.1"]);
        mariadb.arg(format!("--socket={}", folder.path().join("s").display()));
        mariadb.arg(format!("--pid-file={}", folder.path().join("pid").display()));
        let running = Running(mariadb.spawn().unwrap());
        assert!(answers(port), "MariaDB does not answer");
        Some(Self { _folder: folder, port, _running: running })
    }

    pub fn client(&self) -> mysql::Conn {
        let options = || {
            mysql::OptsBuilder::new()
                .ip_or_hostname(Some("127.0.0.1"))
                .tcp_port(self.port)
                .user(Some("root"))
                .prefer_socket(false)
                .init(vec!["SET NAMES utf8mb4"])
        };
        let connect = |_| {
            std::thread::sleep(PAUSE);
            mysql::Conn::new(options()).ok()
        };
        (0..ASKED).find_map(connect).expect("MariaDB lets nobody in")
    }
}

/// Azurite, the emulator of Azure Blob: container `exports`, the account and key that every emulator has.
pub struct Azurite {
    _folder: TempDir,
    pub port: u16,
    _running: Running,
}

/// The documented key of the emulator; it protects nothing.
pub const EMULATOR: (&str, &str) =
    ("devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==");

/// Makes a container by a request that is signed as the service wants it.
const CONTAINER: &str = r#"
import base64, hashlib, hmac, sys, urllib.request
from email.utils import formatdate
port, account, key, name = sys.argv[1:]
date, version = formatdate(usegmt=True), "2021-08-06"
signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n/{account}/{account}/{name}\nrestype:container"
mac = base64.b64encode(hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()).decode()
request = urllib.request.Request(f"http://127.0.0.1:{port}/{account}/{name}?restype=container", data=b"", method="PUT")
for header, value in {"x-ms-date": date, "x-ms-version": version, "Content-Type": "",
                      "Authorization": f"SharedKey {account}:{mac}"}.items():
    request.add_header(header, value)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
assert opener.open(request, timeout=30).status == 201
"#;

impl Azurite {
    pub fn start() -> Option<Self> {
        let (program, python) = (program("azurite-blob", &[])?, self::program("python3", &[])?);
        let (folder, port) = (folder(None), port());
        let mut azurite = command(&program, None);
        azurite.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--skipApiVersionCheck", "--silent"]);
        azurite.arg("-l").arg(folder.path());
        let running = Running(azurite.spawn().unwrap());
        assert!(answers(port), "Azurite does not answer");
        done(command(&python, None).args(["-c", CONTAINER, &port.to_string(), EMULATOR.0, EMULATOR.1, "exports"]));
        Some(Self { _folder: folder, port, _running: running })
    }
}

/// `rclone serve s3` over a folder with the bucket `lake`: a store that ignores conditions of writes.
pub struct Rclone {
    _folder: TempDir,
    pub port: u16,
    _running: Running,
}

impl Rclone {
    pub fn start() -> Option<Self> {
        let (program, folder, port) = (program("rclone", &[])?, folder(None), port());
        fs::create_dir(folder.path().join("lake")).unwrap();
        let mut rclone = command(&program, None);
        rclone.args(["serve", "s3", "--addr", &format!("127.0.0.1:{port}")]).arg(folder.path());
        let running = Running(rclone.spawn().unwrap());
        assert!(answers(port), "rclone does not answer");
        Some(Self { _folder: folder, port, _running: running })
    }
}

/// A plain HTTP server over a folder.
pub struct Http {
    pub port: u16,
    _running: Running,
}

impl Http {
    pub fn over(folder: &Path) -> Option<Self> {
        let (python, port) = (program("python3", &[])?, port());
        let mut server = command(&python, None);
        server.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(folder);
        let running = Running(server.spawn().unwrap());
        assert!(answers(port), "the HTTP server does not answer");
        Some(Self { port, _running: running })
    }
}
