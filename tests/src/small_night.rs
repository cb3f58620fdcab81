//! A night small enough to check by hand: three datasets, one of them behind a bridge, plainly synthetic people.
//!
//! ```text
//!  person ──► income (rrno)      ──► items year, amount, payer
//!  person ──► registration (rep_rrno) ──► business ──► vat (brno) ──► items period, sales
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use chrono::NaiveDate;
use ieum_connectors::Found;
use ieum_core::encrypt::Encryption;
use ieum_core::night::{BundleFormat, ExportState, Layout, Night, Settings};
use ieum_model::catalog::{Catalog, CatalogSource};
use ieum_model::check::{self, IdGrade};
use ieum_model::error::{Error, Result};
use ieum_model::outcome::Reason;
use ieum_model::request::{Request, Withdrawal};
use ieum_privacy::{MasterKey, Profile, SigningKey};

const INCOME: &str = r#"
code = "income"
name_ko = "소득금액증명"
holder = "nts"
category = "6b"
basis = "K"
key = { item = "rrno", space = "person" }
record_order = ["year"]
[items.year]
name_ko = "과세연도"
type = "year"
sensitivity = "G"
default = true
[items.amount]
name_ko = "소득금액"
type = "amt"
sensitivity = "F"
default = true
[items.payer]
name_ko = "원천징수의무자명"
type = "str"
sensitivity = "Q"
[export]
format = "csv"
path = "income/*.csv"
max_reject_ratio = 0.5
columns = { "주민등록번호" = "rrno" }
"#;

const REGISTRATION: &str = r#"
code = "registration"
name_ko = "사업자등록증명"
holder = "nts"
category = "2"
basis = "K"
key = { item = "brno", space = "business" }
other_keys = [{ item = "rep_rrno", space = "person" }]
maps = [{ from = "rep_rrno", to = "brno", space = "business" }]
[items.brno]
name_ko = "사업자등록번호"
type = "brno"
sensitivity = "D"
default = true
[items.trade_name]
name_ko = "상호"
type = "str"
sensitivity = "Q"
default = true
[export]
format = "csv"
path = "registration/*.csv"
"#;

const VAT: &str = r#"
code = "vat"
name_ko = "부가가치세 과세표준증명"
holder = "nts"
category = "6b"
basis = "K"
key = { item = "brno", space = "business" }
record_order = ["period"]
[items.period]
name_ko = "과세기간"
type = "str"
sensitivity = "G"
default = true
[items.sales]
name_ko = "매출금액"
type = "amt"
sensitivity = "F"
default = true
[export]
format = "csv"
path = "vat/*.csv"
"#;

/// A register of changed numbers, which no service asks for.
const RENAMED: &str = r#"
code = "renamed"
name_ko = "주민등록번호 변경"
holder = "nts"
category = "2"
basis = "K"
key = { item = "old_rrno", space = "person" }
maps = [{ from = "old_rrno", to = "new_rrno", space = "person" }]
[items.changed_on]
name_ko = "변경일자"
type = "date"
sensitivity = "Q"
[export]
format = "csv"
path = "renamed/*.csv"
"#;

const SERVICE: &str = r#"
code = "fund"
name_ko = "정책자금 신청"
recipient = "semas"
basis = "P"
purpose = "정책자금 심사"
legal_basis = "전자정부법 43조의2"
retention_days = 30
[[documents]]
dataset = "income"
[[documents]]
dataset = "registration"
[[documents]]
dataset = "vat"
"#;

/// Catalog sources of the small night.
pub fn catalog_sources() -> Vec<CatalogSource> {
    let source = |path: &str, text: &str| CatalogSource { path: path.into(), text: text.into() };
    vec![
        source("holders.toml", "[holders.nts]\nname_ko = \"국세청\"\ninstitution_code = \"9910000\"\n"),
        source("categories.toml", "[categories]\n\"2\" = \"법인\"\n\"6b\" = \"납세\"\n"),
        source(
            "recipient_types.toml",
            "[recipient_types.administrative_body]\nname_ko = \"행정기관\"\nname_en = \"administrative body\"\n",
        ),
        source(
            "recipients.toml",
            "[recipients.semas]\nname_ko = \"소상공인시장진흥공단\"\nrecipient_type = \"administrative_body\"\n",
        ),
        source("datasets/nts/income.toml", INCOME),
        source("datasets/nts/registration.toml", REGISTRATION),
        source("datasets/nts/vat.toml", VAT),
        source("services/fund.toml", SERVICE),
    ]
}

/// As [`catalog_sources`], with a register of changed numbers: `old_rrno`, `new_rrno`, `changed_on` in `renamed/*.csv`.
pub fn catalog_sources_with_register() -> Vec<CatalogSource> {
    let mut sources = catalog_sources();
    sources.push(CatalogSource { path: "datasets/nts/renamed.toml".into(), text: RENAMED.into() });
    sources
}

/// People of the small night: born in 2099, so nobody alive has these numbers.
pub const FIRST: &str = "991231-3000002";
/// Owns two businesses.
pub const SECOND: &str = "990228-4123452";

/// Exports by path.
pub fn exports() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (
            "income/2026.csv",
            "주민등록번호,year,amount,payer\n9912313000002,2025,\"31,000,000\",가게 하나\n9902284123452,2024,100,가게 둘\n\
             9902284123452,2025,200,가게 셋\n9801013000015,2025,999,가게 넷\n"
                .to_owned(),
        ),
        (
            "registration/2026.csv",
            "brno,rep_rrno,trade_name\n9999900005,990228-4123452,\"이음, 상사\"\n9998100015,9902284123452,둘째 상사\n"
                .to_owned(),
        ),
        (
            "vat/2026.csv",
            "brno,period,sales\n999-99-00005,2025-1,500\n999-81-00015,2025-1,700\n999-99-00005,2025-2,600\n1248100998,2025-1,1\n"
                .to_owned(),
        ),
    ])
}

/// Writes exports below `root`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_exports(root: &Path, exports: &BTreeMap<&'static str, String>) -> std::io::Result<()> {
    for (path, text) in exports {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// A request with the fields given; the rest is what a sound request has.
///
/// # Errors
/// When the fields do not make a request.
pub fn request(fields: &[(&str, &str)]) -> Result<Request> {
    let sound = [
        ("request_id", "r1"),
        ("regime", "egov43-2"),
        ("recipient", "semas"),
        ("purpose", "심사"),
        ("requested_at", "2026-11-20"),
        ("verified", "true"),
        ("auth_method", "e-signature"),
    ];
    let given: BTreeMap<&str, &str> = sound.into_iter().chain(fields.iter().copied()).collect();
    let get = |name: &str| given.get(name).map(|value| Cow::Borrowed(*value));
    Request::from_fields(&get, 1).map_err(|malformed| Error::config(format!("request is malformed: {malformed}")))
}

/// What a night is made with.
#[derive(Debug, Clone, Copy)]
pub struct Making {
    /// Worker threads.
    pub threads: usize,
    /// Requests per shard.
    pub shard_requests: u32,
    /// Layout.
    pub layout: Layout,
    /// Encoding of the bundles.
    pub format: BundleFormat,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether it is encrypted, to the key that the catalog has then.
    pub encrypted: bool,
    /// What signs and encrypts.
    pub profile: Profile,
}

impl Default for Making {
    fn default() -> Self {
        Self {
            threads: 2,
            shard_requests: 1000,
            layout: Layout::PerRequest,
            format: BundleFormat::Json,
            sealed: true,
            encrypted: false,
            profile: Profile::Default,
        }
    }
}

/// The key that seals the small night.
///
/// # Errors
/// Never: the key is well formed.
pub fn signing_key(profile: Profile) -> Result<SigningKey> {
    let format = match profile {
        Profile::Default => "ieum-signing-key/1",
        Profile::Kr => "ieum-signing-key-kr/1",
    };
    let text = format!("{format} small-agency {}", "7e".repeat(32));
    SigningKey::from_text(&text).map_err(|error| Error::internal(error.to_string()))
}

/// The catalog sources with the public key of the recipient.
pub fn catalog_sources_with_key(key: &str) -> Vec<CatalogSource> {
    let mut sources = catalog_sources();
    for source in sources.iter_mut().filter(|source| source.path == "recipients.toml") {
        source.text.push_str(&format!("encryption_key = \"{key}\"\n"));
    }
    sources
}

/// The night of `requests` on the exports below `root/exports`, to be written to `root/out`.
///
/// # Errors
/// When the small catalog or key does not parse.
pub fn night(
    root: &Path,
    sources: &[CatalogSource],
    requests: Vec<Request>,
    withdrawals: &[Withdrawal],
    making: Making,
) -> Result<Night> {
    let catalog = Catalog::parse(sources)
        .map_err(|problems| Error::config(problems.iter().map(|p| format!("{p}\n")).collect::<String>()))?;
    let as_of = NaiveDate::from_ymd_opt(2026, 11, 22).ok_or_else(|| Error::internal("no such date"))?;
    let checked = check::check(&catalog, requests, withdrawals, &[], as_of, &|_, _| IdGrade::Ok);
    let mut exports = BTreeMap::new();
    for (code, dataset) in &catalog.datasets {
        let state = match ieum_connectors::connect(&root.join("exports"), dataset, as_of)? {
            Found::Stale { .. } => ExportState::Delayed(Reason::Stale),
            Found::Missing | Found::Unfinished(_) => ExportState::Delayed(Reason::HolderMissing),
            Found::Drifted(_) => ExportState::Delayed(Reason::ContractBroken),
            Found::Export(connector) => ExportState::Ready(Arc::from(connector)),
        };
        exports.insert(code.clone(), state);
    }
    let key = format!("ieum-key/1 small-night 1 {}", "5a".repeat(32));
    let master = MasterKey::from_hex_file_text(&key).map_err(|error| Error::internal(error.to_string()))?;
    let encryption =
        making.encrypted.then(|| Encryption::of(&catalog, &checked, &master, making.profile)).transpose()?;
    Ok(Night {
        catalog: Arc::new(catalog),
        as_of,
        checked,
        withdrawals: None,
        protected: None,
        exports,
        master,
        signing: making.sealed.then(|| signing_key(making.profile)).transpose()?,
        encryption,
        settings: Settings {
            threads: making.threads,
            memory_bytes: 256 << 20,
            shard_requests: making.shard_requests,
            layout: making.layout,
            format: making.format,
        },
        out: root.join("out"),
        catalog_digest: "catalog".into(),
        requests_digest: "requests".into(),
        earlier_rows: BTreeMap::new(),
    })
}
