//! A night whose exports are in S3, PostgreSQL, MariaDB, behind HTTP and in a folder gives the bundles of the same data in
//! local Parquet files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use ieum_connectors::database;
use ieum_connectors::store::{self, Access};
use mysql::prelude::Queryable;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;

use super::servers::{Azurite, EMULATOR, Http, MariaDb, Postgres, SeaweedFs};
use super::{ends, ieum, one_at_a_time, told};

const PEOPLE: usize = 400;
/// The datasets, by where the mixed night has them.
const DATASETS: [&str; 7] = ["lake_parquet", "lake_csv", "tax", "welfare", "web", "plain", "blob"];

/// One row of a dataset.
struct Row {
    rrno: String,
    name: String,
    amount: i64,
    /// Of ten thousand.
    rate: i128,
    day: NaiveDate,
}

fn rrno(person: usize) -> String {
    format!("99{:02}{:02}3{:06}", 1 + person % 12, 1 + person % 28, person)
}

/// Rows of a dataset; some people have several, some none. 뷁 and 똠 stand in CP949 only.
fn rows(dataset: usize) -> Vec<Row> {
    let row = |number: usize| Row {
        rrno: rrno((number * if number.is_multiple_of(3) { 8 } else { 7 } + dataset) % PEOPLE),
        name: ["홍길동", "뷁똠, \"상사\"", "김 이음", "줄\n바꿈", "O'Neil"][(number + dataset) % 5].to_owned(),
        amount: (number as i64 - 50) * 1_000_003,
        rate: (number as i128 * 137) % 100_000_000,
        day: NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + chrono::TimeDelta::days(number as i64 % 300),
    };
    (0..PEOPLE).map(row).collect()
}

fn decimal(rate: i128) -> String {
    format!("{}.{:04}", rate / 10_000, rate % 10_000)
}

fn parquet(rows: &[Row]) -> Vec<u8> {
    let day = |row: &Row| (row.day - NaiveDate::from_ymd_opt(1970, 1, 1).unwrap()).num_days() as i32;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("rrno", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.rrno)))),
        ("name", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.name)))),
        ("amount", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.amount)))),
        (
            "rate",
            Arc::new(
                Decimal128Array::from_iter_values(rows.iter().map(|row| row.rate))
                    .with_precision_and_scale(18, 4)
                    .unwrap(),
            ),
        ),
        ("day", Arc::new(Date32Array::from_iter_values(rows.iter().map(day)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn csv(rows: &[Row], encoding: &'static encoding_rs::Encoding) -> Vec<u8> {
    let mut text = "rrno,name,amount,rate,day\n".to_owned();
    for Row { rrno, name, amount, rate, day } in rows {
        let name = name.replace('"', "\"\"");
        text += &format!("{rrno},\"{name}\",{amount},{},{day}\n", decimal(*rate));
    }
    encoding.encode(&text).0.into_owned()
}

fn dataset(name: &str, export: &str) -> String {
    let item = |code: &str, kind: &str| {
        format!("[items.{code}]\nname_ko = \"{code}\"\ntype = \"{kind}\"\nsensitivity = \"G\"\ndefault = true\n")
    };
    format!(
        "code = \"{name}\"\nname_ko = \"{name}\"\nholder = \"nts\"\ncategory = \"2\"\nbasis = \"K\"\n\
         key = {{ item = \"rrno\", space = \"person\" }}\nrecord_order = [\"day\", \"amount\"]\n{}{}{}{}[export]\n{export}\n",
        item("name", "str"),
        item("amount", "amt"),
        item("rate", "dec"),
        item("day", "date"),
    )
}

/// Writes the catalog, whose exports are as `export` says of each dataset.
fn write_catalog(folder: &Path, export: &dyn Fn(&str) -> String) {
    fs::create_dir_all(folder.join("datasets/nts")).unwrap();
    fs::create_dir_all(folder.join("services")).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("holders.toml", "[holders.nts]\nname_ko = \"국세청\"\ninstitution_code = \"9910000\"\n");
    write("categories.toml", "[categories]\n\"2\" = \"법인\"\n");
    write(
        "recipient_types.toml",
        "[recipient_types.administrative_body]\nname_ko = \"행정기관\"\nname_en = \"administrative body\"\n",
    );
    write(
        "recipients.toml",
        "[recipients.semas]\nname_ko = \"소상공인시장진흥공단\"\nrecipient_type = \"administrative_body\"\n",
    );
    let documents: String = DATASETS.iter().map(|name| format!("[[documents]]\ndataset = \"{name}\"\n")).collect();
    write(
        "services/fund.toml",
        &format!(
            "code = \"fund\"\nname_ko = \"정책자금\"\nrecipient = \"semas\"\nbasis = \"P\"\npurpose = \"심사\"\n\
             legal_basis = \"전자정부법 43조의2\"\nretention_days = 30\n{documents}"
        ),
    );
    for name in DATASETS {
        write(&format!("datasets/nts/{name}.toml"), &dataset(name, &export(name)));
    }
}

fn definition(name: &str, more: &str) -> String {
    format!(
        "[run]\ncatalog = 'catalog-{name}'\nexports = 'exports-{name}'\nrequests = ['requests.csv']\nkeys = 'night.key'\n\
         date = '2026-11-22'\nout = 'out-{name}'\nlayout = 'packed'\nformat = 'json'\n{more}"
    )
}

fn bundles(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut open) = (BTreeMap::new(), vec![out.join("2026-11-22/bundles")]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.strip_prefix(out).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn fill(postgres: &Postgres, rows: &[Row]) {
    postgres.client("postgres").batch_execute("CREATE DATABASE tax").unwrap();
    let mut client = postgres.client("tax");
    client
        .batch_execute(
            "CREATE SCHEMA nts; CREATE TABLE nts.\"세금\" (unwanted bytea, rrno text, name text, amount numeric(18,0), \
             rate numeric(18,4), day date); CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA nts TO reader; \
             GRANT SELECT ON ALL TABLES IN SCHEMA nts TO reader",
        )
        .unwrap();
    for Row { rrno, name, amount, rate, day } in rows {
        let statement =
            "INSERT INTO nts.\"세금\" VALUES ('\\x00ff', $1, $2, $3::text::numeric, $4::text::numeric, $5::text::date)";
        client.execute(statement, &[rrno, name, &amount.to_string(), &decimal(*rate), &day.to_string()]).unwrap();
    }
}

fn fill_mariadb(mariadb: &MariaDb, rows: &[Row]) {
    let mut client = mariadb.client();
    for statement in [
        "CREATE DATABASE welfare CHARACTER SET euckr",
        "CREATE TABLE welfare.benefit (rrno CHAR(13), name VARCHAR(40), amount DECIMAL(18,0), rate DECIMAL(18,4), day DATE)",
        "CREATE USER 'reader'@'localhost' IDENTIFIED BY 'pass w0rd'",
        "GRANT SELECT ON welfare.* TO 'reader'@'localhost'",
    ] {
        client.query_drop(statement).unwrap();
    }
    for Row { rrno, name, amount, rate, day } in rows {
        let cells = (rrno, name, amount.to_string(), decimal(*rate), day.to_string());
        client.exec_drop("INSERT INTO welfare.benefit VALUES (?, ?, ?, ?, ?)", cells).unwrap();
    }
}

fn lake_access(lake: &SeaweedFs) -> Access {
    Access {
        url: "s3://lake/exports".into(),
        endpoint: Some(format!("http://127.0.0.1:{}", lake.port)),
        region: Some("us-east-1".into()),
        user: Some("K".into()),
        secret: Some("S".into()),
        ..Access::default()
    }
}

fn blob_access(azurite: &Azurite) -> Access {
    Access {
        url: "az://exports/in".into(),
        endpoint: Some(format!("http://127.0.0.1:{}/{}", azurite.port, EMULATOR.0)),
        user: Some(EMULATOR.0.into()),
        secret: Some(EMULATOR.1.into()),
        ..Access::default()
    }
}

fn put(access: Access, name: &str, bytes: Vec<u8>) {
    let place = store::open(&access).unwrap();
    let path = place.prefix.parts().chain(object_store::path::Path::from(name).parts()).collect();
    store::wait(async move { place.store.put(&path, bytes.into()).await }).unwrap().unwrap();
}

/// Places whose two databases are reached by their vendors' ODBC drivers, as Debian names them.
#[cfg(feature = "odbc")]
fn behind_odbc(places: &str, postgres: u16, mariadb: u16) -> String {
    let source = |driver: &str, port: u16, database: &str| {
        format!(
            "url = \"odbc://{database}\"\nendpoint = \"Driver={driver};Server=127.0.0.1;Port={port};Database={database}\""
        )
    };
    let replaced = places
        .replace(
            &format!("url = \"postgresql://127.0.0.1:{postgres}/tax\""),
            &source("PostgreSQL Unicode", postgres, "tax"),
        )
        .replace(
            &format!("url = \"mysql://127.0.0.1:{mariadb}/welfare\""),
            &source("MariaDB Unicode", mariadb, "welfare"),
        );
    assert_eq!(replaced.matches("odbc://").count(), 2);
    replaced
}

#[test]
fn exports_in_many_places_give_the_bundles_of_local_files() {
    let _one = one_at_a_time();
    let (Some(lake), Some(postgres), Some(mariadb), Some(azurite)) =
        (SeaweedFs::start(), Postgres::start(), MariaDb::start(), Azurite::start())
    else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let web = folder.join("web");
    fs::create_dir_all(web.join("files")).unwrap();
    let Some(http) = Http::over(&web) else { return };

    fs::create_dir_all(folder.join("exports-local")).unwrap();
    for (number, name) in DATASETS.into_iter().enumerate() {
        fs::write(folder.join(format!("exports-local/{name}.parquet")), parquet(&rows(number))).unwrap();
    }
    put(lake_access(&lake), "2026/lake_parquet.parquet", parquet(&rows(0)));
    put(lake_access(&lake), "2026/lake_csv.csv", csv(&rows(1), encoding_rs::EUC_KR));
    put(blob_access(&azurite), "blob-1.parquet", parquet(&rows(6)));
    fill(&postgres, &rows(2));
    fill_mariadb(&mariadb, &rows(3));
    fs::write(web.join("files/web.csv"), csv(&rows(4), encoding_rs::UTF_8)).unwrap();

    write_catalog(&folder.join("catalog-local"), &|name| format!("format = \"parquet\"\npath = \"{name}.parquet\""));
    let mixed = |keys: bool| {
        move |name: &str| match name {
            "lake_parquet" => "format = \"parquet\"\npath = \"*/lake_*.parquet\"\nat = { place = \"lake\" }".to_owned(),
            "lake_csv" => {
                "format = \"csv\"\nencoding = \"cp949\"\npath = \"2026/*.csv\"\nat = { place = \"lake\" }".to_owned()
            }
            "tax" => {
                format!("format = \"table\"\npath = \"nts.세금\"\nat = {{ place = \"tax\", canonical_keys = {keys} }}")
            }
            "welfare" => format!(
                "format = \"table\"\npath = \"benefit\"\nat = {{ place = \"welfare\", canonical_keys = {keys}, \
                 query = \"SELECT * FROM benefit WHERE rrno IS NOT NULL;\" }}"
            ),
            "blob" => "format = \"parquet\"\npath = \"blob-*.parquet\"\nat = { place = \"blob\" }".to_owned(),
            "web" => "format = \"csv\"\npath = \"web.csv\"\nat = { place = \"web\" }".to_owned(),
            _ => "format = \"csv\"\npath = \"plain.csv\"".to_owned(),
        }
    };
    for (name, keys) in [("mixed", false), ("keys", true), ("odbc", false), ("odbc-keys", true)] {
        write_catalog(&folder.join(format!("catalog-{name}")), &mixed(keys));
        fs::create_dir_all(folder.join(format!("exports-{name}"))).unwrap();
        fs::write(folder.join(format!("exports-{name}/plain.csv")), csv(&rows(5), encoding_rs::UTF_8)).unwrap();
    }

    let asked = (0..60).map(|number| {
        format!(
            "r{number},egov43-2,rrno:{},fund,semas,심사,2026-11-20,true,e-signature\n",
            rrno(number * 11 % (PEOPLE + 40))
        )
    });
    let head = "request_id,regime,subject_ids,service,recipient,purpose,requested_at,verified,auth_method\n";
    fs::write(folder.join("requests.csv"), format!("{head}{}", asked.collect::<String>())).unwrap();
    ends(&mut ieum(folder, &["keys", "new", "night.key", "--key-id", "night-2026"]), 0);
    fs::write(folder.join("mariadb.secret"), "pass w0rd\n").unwrap();
    fs::set_permissions(folder.join("mariadb.secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let places = format!(
        "{}[places.tax]\nurl = \"postgresql://127.0.0.1:{}/tax\"\nuser = \"reader\"\n\
         [places.welfare]\nurl = \"mysql://127.0.0.1:{}/welfare\"\nuser = \"reader\"\nsecret = {{ file = \"mariadb.secret\" }}\n\
         [places.web]\nurl = \"http://127.0.0.1:{}/files\"\n\
         [places.blob]\nurl = \"az://exports/in\"\nendpoint = \"http://127.0.0.1:{}/{}\"\nuser = \"{}\"\nsecret = {{ command = \"cat azure.secret\" }}\n",
        lake.place("lake", "s3://lake/exports"),
        postgres.port,
        mariadb.port,
        http.port,
        azurite.port,
        EMULATOR.0,
        EMULATOR.0,
    );
    fs::write(folder.join("azure.secret"), EMULATOR.1).unwrap();
    let nights = [
        ("local", String::new()),
        ("mixed", places.clone()),
        ("keys", places.clone()),
        #[cfg(feature = "odbc")]
        ("odbc", behind_odbc(&places, postgres.port, mariadb.port)),
        #[cfg(feature = "odbc")]
        ("odbc-keys", behind_odbc(&places, postgres.port, mariadb.port)),
    ];
    for (name, places) in &nights {
        fs::write(folder.join(format!("{name}.toml")), definition(name, places)).unwrap();
        let output = ends(&mut ieum(folder, &["run", &format!("{name}.toml"), "--output", "json"]), 0);
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&summary["rows_rejected"], &summary["requests"]), (&0.into(), &60.into()), "{}", told(&output));
        // Of the databases only the rows of wanted keys come where these may be asked for.
        let read = summary["rows_read"].as_u64().unwrap();
        let all = (DATASETS.len() * PEOPLE) as u64;
        assert!(
            if name.ends_with("keys") { read < all - PEOPLE as u64 } else { read == all },
            "{name}: {read} of {all} rows"
        );
    }
    let expected = bundles(&folder.join("out-local"));
    assert!(expected.values().any(|bytes| String::from_utf8_lossy(bytes).contains("뷁똠")));
    for (name, _) in &nights {
        assert!(bundles(&folder.join(format!("out-{name}"))) == expected, "bundles of `{name}` differ");
    }

    // To Azure Blob as well, by the same conditions.
    let text = fs::read_to_string(folder.join("mixed.toml")).unwrap();
    let delivered = text.replace("out = 'out-mixed'", "out = 'az://exports/in/out'\nwork = 'work'");
    fs::write(folder.join("delivered.toml"), delivered).unwrap();
    ends(&mut ieum(folder, &["doctor", "delivered.toml"]), 0);
    ends(&mut ieum(folder, &["run", "delivered.toml"]), 0);
    let url = "az://exports/in/out/2026-11-22";
    ends(&mut ieum(folder, &["verify", url, "--places", "delivered.toml"]), 0);
    assert!(bundles(&folder.join("work")) == expected);

    // A secret that is wrong is told as one, and by no other word.
    fs::write(folder.join("mariadb.secret"), "wrong").unwrap();
    let output = ends(&mut ieum(folder, &["check", "mixed.toml"]), 12);
    assert!(told(&output).contains("Access denied") && !told(&output).contains("wrong"), "{}", told(&output));
    // Nor does a driver tell it, whose messages may repeat what it was connected by.
    #[cfg(feature = "odbc")]
    {
        let output = ends(&mut ieum(folder, &["check", "odbc.toml"]), 12);
        assert!(told(&output).contains("SQLSTATE 28000") && !told(&output).contains("wrong"), "{}", told(&output));
    }
    // A place that the definition lacks, and a table that is not there.
    fs::write(folder.join("mixed.toml"), definition("mixed", "")).unwrap();
    let output = ends(&mut ieum(folder, &["check", "mixed.toml"]), 6);
    assert!(told(&output).contains("write `[places."), "{}", told(&output));
}

#[test]
fn a_database_over_tls_is_trusted_by_the_authority_that_its_place_names() {
    let _one = one_at_a_time();
    let Some(postgres) = Postgres::start_with_tls() else { return };
    let open = |ca: Option<&str>, tls| {
        let access = Access {
            url: format!("postgresql://localhost:{}/postgres", postgres.port),
            user: Some("postgres".into()),
            ca: ca.map(|name| postgres.file(name)),
            tls,
            ..Access::default()
        };
        database::open(&access).and_then(|database| database.version())
    };
    assert!(open(Some("ca.pem"), None).unwrap().starts_with("PostgreSQL"));
    for (ca, tls, said) in [
        (Some("other.pem"), None, "invalid peer certificate"),
        (None, Some(true), "invalid peer certificate"),
        (None, None, "28000"),
        (Some("server.csr"), None, "the file holds no certificate"),
        (Some("missing.pem"), None, "certificates cannot be read"),
    ] {
        let error = open(ca, tls).unwrap_err();
        assert!(error.message.contains(said), "{ca:?} {tls:?}: {error}");
    }
}
