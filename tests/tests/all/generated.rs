//! Random nights, answered by the engine and by the plain reference; `PROPTEST_CASES` asks for more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ieum_core::night::{self, Layout};
use ieum_core::reach;
use ieum_model::catalog::CatalogSource;
use ieum_model::request::Request;
use ieum_tests::reference::{self, Reference, Row};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// People who are not born yet, in several spellings; the blank and the last are nobody who asks.
const PEOPLE: [&str; 7] = [FIRST, "9912313000002", SECOND, "990228 4123452", "980101-3000015", " ", "970101-3000001"];
const BUSINESSES: [&str; 6] = ["999-99-00005", "9999900005", "9998100015", "124-81-00998", "", "9999900010"];

/// The small night with items of every kind, and a service with excluded, fallback and consented documents.
fn sources() -> Vec<CatalogSource> {
    let more = "[items.marks]\nname_ko = \"표시\"\ntype = \"int\"\nsensitivity = \"G\"\nlist = true\n\
                [items.tags]\nname_ko = \"꼬리표\"\ntype = \"str\"\nsensitivity = \"G\"\nlist = true\n\
                [items.paid]\nname_ko = \"지급일\"\ntype = \"date\"\nsensitivity = \"G\"\n\
                [items.kin]\nname_ko = \"부양가족\"\ntype = \"str\"\nsensitivity = \"T\"\n[export]";
    let grant = "code = \"grant\"\nname_ko = \"보조금 신청\"\nrecipient = \"semas\"\nbasis = \"P\"\n\
                 purpose = \"심사\"\nlegal_basis = \"전자정부법 43조의2\"\nretention_days = 30\n\
                 [[documents]]\ndataset = \"income\"\nitems = [\"year\", \"marks\", \"kin\", \"payer\"]\nexclude = [\"payer\"]\n\
                 [[documents]]\ndataset = \"registration\"\nfallback_of = \"income\"\n\
                 [[documents]]\ndataset = \"vat\"\nconsent = \"per_document\"\n";
    let mut sources = small_night::catalog_sources();
    let income = sources.iter_mut().find(|source| source.path.ends_with("income.toml")).unwrap();
    income.text = income.text.replace("[export]", more);
    let opened = "[items.opened]\nname_ko = \"개업일자\"\ntype = \"date\"\nsensitivity = \"Q\"\n\
                  [export]\nmax_reject_ratio = 0.5";
    let registration = sources.iter_mut().find(|source| source.path.ends_with("registration.toml")).unwrap();
    registration.text = registration.text.replace("[export]", opened);
    sources.push(CatalogSource { path: "services/grant.toml".into(), text: grant.into() });
    sources
}

/// Rows with cells drawn column by column.
fn rows(columns: Vec<(&'static str, &'static [&'static str])>) -> impl Strategy<Value = Option<Vec<Row>>> {
    let cells: Vec<_> = columns
        .into_iter()
        .map(|(column, cells)| select(cells).prop_map(move |cell| (column.to_owned(), cell.to_owned())))
        .collect();
    let row = cells.prop_map(|cells| cells.into_iter().collect::<Row>());
    prop_oneof![1 => Just(None), 9 => proptest::collection::vec(row, 0..14).prop_map(Some)]
}

fn exports() -> impl Strategy<Value = BTreeMap<String, Vec<Row>>> {
    let income = rows(vec![
        ("rrno", &PEOPLE),
        ("year", &["2024", "2025", ""]),
        ("amount", &["1", "0001", "-5", "31,000,000", "", "20", "20", "x"]),
        ("payer", &["가게, 하나", "\"둘\"", " ", "a\nb", "Z", "a\\b"]),
        ("marks", &["3|1", "3", "", "|", "10|2", "3||1", "-1", "1|x"]),
        ("tags", &["가|나", "가", "", "나 | 다", "|a", "b|"]),
        ("paid", &["20260131", "2026-01-05", "", "00000000", "1969-12-31"]),
        ("kin", &["한 사람", ""]),
    ]);
    let registration = rows(vec![
        ("brno", &BUSINESSES),
        ("rep_rrno", &PEOPLE),
        ("trade_name", &["이음, 상사", "", "둘째"]),
        ("opened", &["20200229", "", "2020-01-05", "x"]),
    ]);
    let vat =
        rows(vec![("brno", &BUSINESSES), ("period", &["2025-1", "2025-2", ""]), ("sales", &["500", "", "7", "-7"])]);
    (income, registration, vat).prop_map(|(income, registration, vat)| {
        let given = [("income", income), ("registration", registration), ("vat", vat)];
        given.into_iter().filter_map(|(code, rows)| Some((code.to_owned(), rows?))).collect()
    })
}

/// What a request names of a dataset: the dataset alone, or some of its items; `nothing` is no item.
fn document() -> impl Strategy<Value = (&'static str, String)> {
    let items = |code: &'static str, items: &'static [&'static str]| {
        let some = subsequence(items, 0..=items.len());
        some.prop_map(move |some| {
            (code, if some.is_empty() { code.into() } else { format!("{code}({})", some.join(",")) })
        })
    };
    prop_oneof![
        4 => items("income", &["year", "amount", "payer", "marks", "tags", "paid", "kin"]),
        2 => items("registration", &["brno", "trade_name", "opened"]),
        3 => items("vat", &["sales", "period"]),
        1 => Just(("income", "income(nothing)".to_owned())),
    ]
}

type Fields = Vec<(&'static str, String)>;

fn asked() -> impl Strategy<Value = Fields> {
    let named = proptest::collection::vec(document(), 1..4).prop_map(|documents| {
        let once: BTreeMap<_, _> = documents.into_iter().collect();
        vec![("documents", once.into_values().collect::<Vec<_>>().join(";"))]
    });
    let service = select(vec!["fund", "grant"]).prop_map(|code| vec![("service", code.to_owned())]);
    prop_oneof![3 => named, 2 => service]
}

fn fields() -> impl Strategy<Value = Fields> {
    let person = select(&PEOPLE[..5]).prop_map(|number| format!("rrno:{number}"));
    let business = select(&BUSINESSES[..4]).prop_map(|number| format!("brno:{number}"));
    let subject = prop_oneof![6 => person, 3 => business, 1 => Just("ci:nobody".to_owned())];
    let subjects = proptest::collection::vec(subject, 1..3).prop_map(|ids| ids.join(";"));
    let consented = select(vec!["", "", "vat", "income;registration;vat"]);
    let flags = (prop::bool::weighted(0.85), prop::bool::weighted(0.3));
    (subjects, asked(), consented, flags).prop_map(|(subjects, asked, consented, (verified, reasoned))| {
        let mut fields = asked;
        fields.push(("subject_ids", subjects));
        fields.push(("consented_documents", consented.to_owned()));
        fields.push(("verified", verified.to_string()));
        fields.push(("third_person_reason", if reasoned { "상속" } else { "" }.to_owned()));
        fields
    })
}

fn request(number: usize, fields: &Fields) -> Request {
    let id = format!("r{number}");
    let mut given: Vec<(&str, &str)> = fields.iter().map(|(name, text)| (*name, text.as_str())).collect();
    given.push(("request_id", &id));
    small_night::request(&given).unwrap()
}

fn making() -> impl Strategy<Value = Making> {
    (1usize..4, select(vec![1u32, 2, 3, 1000])).prop_map(|(threads, shard_requests)| Making {
        threads,
        shard_requests,
        layout: Layout::PerRequest,
        ..Making::default()
    })
}

fn csv(columns: &[&str], rows: &[Row]) -> String {
    let quoted = |cell: &str| {
        let plain = cell.trim() == cell && !cell.contains([',', '"', '\n']);
        if plain { cell.to_owned() } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
    };
    let line = |row: &Row| columns.iter().map(|column| quoted(&row[*column])).collect::<Vec<_>>().join(",");
    std::iter::once(columns.join(",")).chain(rows.iter().map(line)).map(|line| line + "\n").collect()
}

/// Each export as two files: rows of one person may stand in both.
fn files(exports: &BTreeMap<String, Vec<Row>>) -> BTreeMap<&'static str, String> {
    let layouts: [(&str, [&'static str; 2], &[&str]); 3] = [
        (
            "income",
            ["income/1.csv", "income/2.csv"],
            &["rrno", "kin", "year", "amount", "payer", "marks", "tags", "paid"],
        ),
        ("registration", ["registration/1.csv", "registration/2.csv"], &["brno", "rep_rrno", "trade_name", "opened"]),
        ("vat", ["vat/1.csv", "vat/2.csv"], &["period", "brno", "sales"]),
    ];
    let mut files = BTreeMap::new();
    for (code, paths, columns) in layouts {
        if let Some(rows) = exports.get(code) {
            let (first, second) = rows.split_at(rows.len() / 2);
            files.extend(paths.into_iter().zip([csv(columns, first), csv(columns, second)]));
        }
    }
    files
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_answers_as_the_reference_does(
        exports in exports(),
        asked in proptest::collection::vec(fields(), 1..9),
        making in making(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        small_night::write_exports(&folder.path().join("exports"), &files(&exports)).unwrap();
        let requests = asked.iter().enumerate().map(|(number, fields)| request(number, fields)).collect();
        let mut night = small_night::night(folder.path(), &sources(), requests, &[], making).unwrap();
        night::run(&mut night, false).unwrap();
        let bridges = reach::bridges(&night.catalog);
        let reference =
            Reference { catalog: &night.catalog, checked: &night.checked, exports: &exports, bridges: &bridges };
        let bundles = night.out.join("bundles/per_request/semas");
        let mut expected = BTreeSet::new();
        for (request, lines) in night.checked.requests.iter().zip(reference.answers()) {
            let name = format!("{}.json", request.request_id);
            if request.refusal.is_some() {
                continue;
            }
            let bundle: serde_json::Value = serde_json::from_slice(&fs::read(bundles.join(&name)).unwrap()).unwrap();
            prop_assert_eq!(&bundle["documents"], &reference::documents(&lines), "{}", &name);
            expected.insert(name);
        }
        let entries = fs::read_dir(&bundles).into_iter().flatten();
        let written: BTreeSet<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        prop_assert_eq!(written, expected);
    }
}

#[test]
fn a_key_of_ones_own_and_a_key_over_a_bridge_read_the_same_dataset() {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let ask = |id: &str, subject: &str| {
        small_night::request(&[("request_id", id), ("subject_ids", subject), ("documents", "vat(sales)")]).unwrap()
    };
    let requests = vec![ask("r1", "brno:9999900005"), ask("r2", &format!("rrno:{SECOND}"))];
    let mut night = small_night::night(folder.path(), &sources(), requests, &[], Making::default()).unwrap();
    night::run(&mut night, false).unwrap();
    for (id, records) in [("r1", 2), ("r2", 3)] {
        let path = night.out.join(format!("bundles/per_request/semas/{id}.json"));
        let bundle: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(bundle["documents"]["vat"]["records"].as_array().unwrap().len(), records, "{id}");
    }
}
