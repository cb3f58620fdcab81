//! What a Parquet reader gives, for every type that a column may have.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{
    Date32Array, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Schema;
use ieum_model::connector::Connector;
use ieum_model::dataset::{
    Basis, Control, Dataset, Encoding, Export, Format, Item, Key, Limits, ManifestRule, Sensitivity, Sheet,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field};
use ieum_model::connector::{KeyProbe, ReadCounts, Reject, RejectSink, ScanSpec, Strays};
use ieum_model::dataset::ItemType;
use ieum_model::error::Result;

#[derive(Default)]
struct Kept(Mutex<Vec<Reject>>);

impl RejectSink for Kept {
    fn reject(&self, reject: Reject) -> Result<()> {
        self.0.lock().unwrap().push(reject);
        Ok(())
    }
}

struct Keys(BTreeSet<Vec<u8>>);

impl KeyProbe for Keys {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        self.0.contains(raw_key)
    }
}

fn dataset(path: &str, items: &[(&str, ItemType, bool)]) -> Dataset {
    let item = |item_type, list| Item {
        name_ko: String::new(),
        std: None,
        item_type,
        sensitivity: Sensitivity::G,
        list,
        default: false,
    };
    Dataset {
        code: "d".into(),
        name_ko: String::new(),
        holder: "h".into(),
        institution_code: None,
        category: String::new(),
        basis: Basis::K,
        basis_note: None,
        key: Key { item: "key".into(), space: "patient".into() },
        other_keys: Vec::new(),
        maps: Vec::new(),
        record_order: Vec::new(),
        validity_days: None,
        transferable: true,
        items: items.iter().map(|(code, t, list)| ((*code).to_owned(), item(*t, *list))).collect(),
        views: BTreeMap::new(),
        export: Some(Export {
            format: Format::Parquet,
            encoding: Encoding::Utf8,
            header: true,
            delimiter: ',',
            list_separator: '|',
            path: path.into(),
            entries: None,
            rows: None,
            quote: true,
            escape: None,
            null: None,
            repair: Vec::new(),
            limits: Limits::default(),
            at: Default::default(),
            columns: BTreeMap::new(),
            order: Vec::new(),
            layout: Vec::new(),
            framing: None,
            record_bytes: None,
            sheet: Sheet::default(),
            deltas: None,
            max_reject_ratio: 0.0,
            max_shrink: 0.5,
            contract: Vec::new(),
            control: Control::default(),
        }),
    }
}

fn spec(dataset: &Dataset, key: &str, codes: &[&str], wanted: Option<&[&str]>) -> (ScanSpec, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let fields: Vec<Field> = codes.iter().map(|code| dataset.column_field(code)).collect();
    let keys = |keys: &[&str]| Keys(keys.iter().map(|key| key.as_bytes().to_vec()).collect());
    let spec = ScanSpec {
        schema: Arc::new(Schema::new(fields)),
        key_column: key.into(),
        probe: wanted.map(|wanted| Arc::new(keys(wanted)) as Arc<dyn KeyProbe>),
        rejects: Arc::clone(&kept) as Arc<dyn RejectSink>,
        batch_rows: 100,
    };
    (spec, kept)
}

fn read(connector: &dyn Connector, spec: &ScanSpec) -> (RecordBatch, ReadCounts) {
    let mut reader = connector.open(0, spec).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        assert_eq!(batch.schema(), spec.schema);
        assert!(batch.num_rows() <= spec.batch_rows);
        assert!(reader.counts().balances());
        batches.push(batch);
    }
    let all = concat_batches(&spec.schema, &batches).unwrap();
    assert!(reader.counts().balances());
    assert_eq!(reader.counts().kept, all.num_rows() as u64);
    (all, reader.counts())
}

fn write(folder: &Path, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(300))
        .set_data_page_row_count_limit(50)
        .set_write_batch_size(10)
        .build();
    let file = File::create(folder.join(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn connector(folder: &Path, dataset: &Dataset) -> Box<dyn crate::replay::Replay> {
    super::open(folder, dataset).unwrap()
}

fn filtered(all: &RecordBatch, key: usize, wanted: &[&str]) -> RecordBatch {
    let keys = all.column(key).as_string::<i32>();
    let hits: BooleanArray = keys.iter().map(|key| Some(key.is_some_and(|key| wanted.contains(&key)))).collect();
    filter_record_batch(all, &hits).unwrap()
}

#[test]
fn a_probe_gives_what_a_full_read_filtered_gives_for_every_kind_of_key() {
    let number = |row: i64| if row % 97 == 5 { None } else { Some(row % 40 - 3) };
    let texts: Vec<Option<String>> = (0..1000).map(|row| number(row).map(|n| n.to_string())).collect();
    let large = cast(&(Arc::new(StringArray::from(texts.clone())) as ArrayRef), &DataType::LargeUtf8).unwrap();
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let keys: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(texts.clone())),
        Arc::new(StringViewArray::from_iter(texts.iter().map(Option::as_deref))),
        cast(&large, &dictionary).unwrap(),
        cast(&large, &DataType::Binary).unwrap(),
        large,
        Arc::new((0..1000).map(number).collect::<Int64Array>()),
        Arc::new((0..1000).map(|row| number(row).map(|n| n as i32)).collect::<Int32Array>()),
        cast(&(Arc::new((0..1000).map(number).collect::<Int64Array>()) as ArrayRef), &DataType::Decimal128(13, 0))
            .unwrap(),
    ];
    let wanted = ["-3", "0", "17", "99"];
    for key in keys {
        let folder = tempfile::tempdir().unwrap();
        let about = key.data_type().clone();
        let row: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        write(folder.path(), "a.parquet", vec![("unwanted", Arc::clone(&row)), ("row", row), ("key", key)]);
        let dataset = dataset("*.parquet", &[("row", ItemType::Int, false)]);
        let connector = connector(folder.path(), &dataset);
        assert_eq!(connector.partitions(), ["a.parquet"]);
        let (all, full) = read(&*connector, &spec(&dataset, "key", &["key", "row"], None).0);
        let (hits, counts) = read(&*connector, &spec(&dataset, "key", &["key", "row"], Some(&wanted)).0);
        assert_eq!((full.read, full.kept, counts.read), (1000, 1000, 1000), "{about}");
        assert!(hits.num_rows() > 60, "{about}");
        assert_eq!(hits, filtered(&all, 0, &wanted), "{about}");
        assert_eq!(counts.filtered, 1000 - counts.kept, "{about}");
        let (none, counts) = read(&*connector, &spec(&dataset, "key", &["key", "row"], Some(&["x"])).0);
        assert_eq!((none.num_rows(), counts.filtered), (0, 1000), "{about}");
        assert!(counts.bytes < full.bytes, "{about}");
    }
}

#[test]
fn a_missing_column_is_told_with_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.parquet", vec![("incom", Arc::new(Int64Array::from(vec![1])))]);
    let mut dataset = dataset("*.parquet", &[("income", ItemType::Amt, false)]);
    let (spec, _) = spec(&dataset, "key", &["income"], None);
    let error = connector(folder.path(), &dataset).open(0, &spec).err().unwrap();
    assert!(error.message.contains("`income`"), "{error}");
    assert!(error.hint.unwrap().contains("`incom`"));
    dataset.export.as_mut().unwrap().columns.insert("incom".into(), "income".into());
    assert_eq!(read(&*connector(folder.path(), &dataset), &spec).0.num_rows(), 1);
    dataset.export.as_mut().unwrap().columns.clear();
    dataset.items.get_mut("income").unwrap().std = Some("incom".into());
    assert_eq!(read(&*connector(folder.path(), &dataset), &spec).0.num_rows(), 1);
}

#[test]
fn a_number_of_a_person_gets_the_zeros_back_that_it_lost_as_an_integer() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Int64Array::from(vec![Some(12_313_000_002), None, Some(9_912_313_000_002)]);
    let keys: [ArrayRef; 2] = [Arc::new(keys.clone()), cast(&keys, &DataType::UInt64).unwrap()];
    for key in keys {
        write(folder.path(), "a.parquet", vec![("key", key)]);
        let mut dataset = dataset("*.parquet", &[]);
        dataset.key.space = "person".into();
        let connector = connector(folder.path(), &dataset);
        let (spec, rejects) = spec(&dataset, "key", &["key"], Some(&["0012313000002", "9912313000002"]));
        let (rows, counts) = read(&*connector, &spec);
        let found: Vec<Option<&str>> = rows.column(0).as_string::<i32>().iter().collect();
        assert_eq!(found, [Some("0012313000002"), Some("9912313000002")]);
        assert_eq!((counts.read, counts.filtered, rejects.0.lock().unwrap().len()), (3, 1, 0));
    }
    let refused: [ArrayRef; 2] =
        [Arc::new(Float64Array::from(vec![9_912_313_000_002.0])), Arc::new(Date32Array::from(vec![1]))];
    for key in refused {
        write(folder.path(), "a.parquet", vec![("key", key)]);
        let dataset = dataset("*.parquet", &[]);
        let (spec, _) = spec(&dataset, "key", &["key"], Some(&["9912313000002"]));
        let opened = connector(folder.path(), &dataset).open(0, &spec);
        assert_eq!(opened.err().map(|error| error.kind), Some(ieum_model::error::ErrorKind::Contract));
    }
}

#[test]
fn a_value_of_another_type_rejects_its_row_and_names_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let key: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|row| (row % 10).to_string())));
    let bad = [3, 13, 413, 999];
    let day = |row| {
        if bad.contains(&row) { "2024-02-30" } else { ["20240229", "2024-2-29", "2024.02.29 10:00"][row % 3] }
    };
    let days: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(day)));
    let half: ArrayRef =
        Arc::new(Float64Array::from_iter_values((0..1000).map(|row| if row == 23 { 0.5 } else { 2.0 })));
    write(folder.path(), "a.parquet", vec![("key", key), ("day", days), ("amount", half)]);
    let dataset = dataset("*.parquet", &[("day", ItemType::Date, false), ("amount", ItemType::Amt, false)]);
    let connector = connector(folder.path(), &dataset);
    for (wanted, lines, kept) in [(None, vec![4, 14, 24, 414, 1000], 995), (Some(&["3"][..]), vec![4, 14, 24, 414], 96)]
    {
        let (spec, rejects) = spec(&dataset, "key", &["key", "day", "amount"], wanted);
        let (rows, counts) = read(&*connector, &spec);
        let rejects = rejects.0.lock().unwrap();
        assert_eq!(rejects.iter().map(|reject| reject.line).collect::<Vec<_>>(), lines);
        assert_eq!((counts.read, counts.kept, counts.rejected), (1000, kept, lines.len() as u64));
        assert_eq!(rejects[0].raw, b"key=3\tday=2024-02-30\tamount=2.0");
        assert_eq!(rejects[0].strays, Strays { keys: vec![b"3".to_vec()], is_anybodys: false });
        assert_eq!((rejects[0].rule, rejects[0].column.as_deref()), ("type", Some("day")));
        assert_eq!(rejects[2].column.as_deref(), Some("amount"));
        assert!(rows.column(1).as_primitive::<arrow::datatypes::Date32Type>().iter().all(|d| d == Some(19_782)));
    }
}

#[test]
fn lists_and_times_take_the_form_of_their_items() {
    let folder = tempfile::tempdir().unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a|b"), Some(""), None, Some("c")]));
    let numbers: ArrayRef = Arc::new(StringArray::from(vec![Some("1|x"), Some("2"), None, Some("3|4")]));
    let micros = TimestampMicrosecondArray::from(vec![Some(1_704_067_199_999_999), None, Some(0), Some(-1)]);
    let zoned: ArrayRef = Arc::new(micros.clone().with_timezone("UTC"));
    let file = vec![("text", text), ("numbers", numbers), ("at", Arc::new(micros) as ArrayRef), ("zoned", zoned)];
    write(folder.path(), "a.parquet", file);
    let items = [
        ("text", ItemType::Str, true),
        ("numbers", ItemType::Int, true),
        ("at", ItemType::Dt, false),
        ("zoned", ItemType::Date, false),
    ];
    let dataset = dataset("*.parquet", &items);
    let (spec, rejects) = spec(&dataset, "key", &["text", "numbers", "at", "zoned"], None);
    let (rows, counts) = read(&*connector(folder.path(), &dataset), &spec);
    assert_eq!((counts.kept, counts.rejected), (3, 1));
    assert_eq!(rejects.0.lock().unwrap()[0].column.as_deref(), Some("numbers"));
    let shown = |column: usize, row| arrow::util::display::array_value_to_string(rows.column(column), row).unwrap();
    assert_eq!([shown(0, 0), shown(0, 1), shown(0, 2)], ["", "", "[c]"]);
    assert!(rows.column(0).is_null(0));
    assert_eq!([shown(1, 0), shown(1, 2)], ["[2]", "[3, 4]"]);
    assert_eq!([shown(2, 1), shown(2, 2)], ["19700101000000", "19691231235959"]);
    assert_eq!([shown(3, 1), shown(3, 2)], ["1970-01-01", "1970-01-01"]);
}

#[test]
fn a_truncated_or_changed_file_breaks_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(folder.path(), "a.parquet", vec![("n", Arc::new(Int64Array::from_iter_values(0..500)))]);
    let mut dataset = dataset("*", &[]);
    connector(folder.path(), &dataset).verify_control().unwrap();
    dataset.export.as_mut().unwrap().control.manifest = Some(ManifestRule::Sha256);
    let missing = connector(folder.path(), &dataset).verify_control().unwrap_err();
    assert_eq!(missing.message, "manifest is missing");
    let digest = crate::control::digest(&folder.path().into(), "a.parquet").unwrap();
    std::fs::write(
        folder.path().join("a.parquet.sha256"),
        format!("{}  b.parquet\n{digest} *in/a.parquet\n", "0".repeat(64)),
    )
    .unwrap();
    let whole = connector(folder.path(), &dataset);
    assert_eq!(whole.partitions(), ["a.parquet"]);
    whole.verify_control().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
    let changed = connector(folder.path(), &dataset).verify_control().unwrap_err();
    assert_eq!(changed.message, "file does not agree with its manifest");
    dataset.export.as_mut().unwrap().control.manifest = None;
    let truncated = connector(folder.path(), &dataset).verify_control().unwrap_err();
    assert!(truncated.context.contains(&("file", "a.parquet".to_owned())), "{truncated}");
    assert_eq!(truncated.kind, ieum_model::error::ErrorKind::Contract);
}

#[test]
fn no_file_is_no_connector_and_files_come_in_name_order() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset("in/*.parquet", &[]);
    assert!(super::open(folder.path(), &dataset).is_err());
    std::fs::create_dir(folder.path().join("in")).unwrap();
    for name in ["in/b.parquet", "in/a.parquet"] {
        write(folder.path(), name, vec![("n", Arc::new(Int64Array::from(vec![1])))]);
    }
    assert_eq!(connector(folder.path(), &dataset).partitions(), ["in/a.parquet", "in/b.parquet"]);
}

#[test]
fn real_tables_are_read_whole_and_probed_rightly() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/health/omop-gibleed");
    if !folder.is_dir() {
        return;
    }
    for (table, rows, start) in [
        ("person", 2694, "birth_datetime"),
        ("condition_occurrence", 65_332, "condition_start_date"),
        ("drug_exposure", 67_707, "drug_exposure_start_date"),
    ] {
        let mut dataset = dataset(&format!("{table}.parquet"), &[(start, ItemType::Date, false)]);
        let source = format!("{}_source_value", table.split('_').next().unwrap());
        for code in ["person_id", start, &source] {
            dataset.export.as_mut().unwrap().columns.insert(code.to_uppercase(), code.to_owned());
        }
        let connector = connector(&folder, &dataset);
        let codes = ["person_id", start, &source];
        let wanted = ["6", "123", "5001"];
        let (all, counts) = read(&*connector, &spec(&dataset, "person_id", &codes, None).0);
        assert_eq!((counts.read, counts.kept), (rows, rows));
        let (hits, counts) = read(&*connector, &spec(&dataset, "person_id", &codes, Some(&wanted)).0);
        assert_eq!(counts.read, rows);
        assert!(hits.num_rows() > 0);
        assert_eq!(hits, filtered(&all, 0, &wanted), "{table}");
        connector.verify_control().unwrap();
    }
}
