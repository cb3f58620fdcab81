//! The contract of formats whose cells have types: Parquet, Arrow IPC, Avro, workbooks.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroOcfFormat;
use ieum_model::error::ErrorKind;
use rust_xlsxwriter::{Format as ExcelFormat, Workbook, Worksheet};

use crate::avro::reader::Avro;
use crate::contract::{COLUMNS, EXPECTED, compress, dataset, folder, keeps_the_contract, read, strays_of};
use crate::export::TextExport;
use crate::folder::tests::store_of;
use crate::parquet;

/// The rows of [`crate::contract::EXPECTED`] as a batch: all text as holders write it, or typed.
fn as_batch(typed: bool) -> RecordBatch {
    let text = |cells: [&'static str; 3]| Arc::new(StringArray::from_iter_values(cells)) as ArrayRef;
    let (amount, day): (ArrayRef, ArrayRef) = if typed {
        let amounts = Int64Array::from(vec![Some(-1234), None, Some(7)]);
        (Arc::new(amounts), Arc::new(Date32Array::from(vec![Some(19_782), None, None])))
    } else {
        (text(["-1,234", "", "007"]), text(["2024-02-29", "00000000", "9999.12.31"]))
    };
    let columns = [
        ("unwanted", text(["", "", ""]), true),
        ("day", day, true),
        ("주민", text(["800101", "900202", "700303"]), true),
        ("NM", text(["뷁똠샾, \"갑\"", "을", "병"]), true),
        ("amount", amount, true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

pub(crate) fn as_parquet(typed: bool) -> Vec<u8> {
    let batch = as_batch(typed);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn arrow_keeps_the_contract() {
    let dataset = dataset("format='arrow'\npath='a.arrow*'\ncolumns={'주민'='rrno'}");
    for typed in [false, true] {
        let batch = as_batch(typed);
        let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        for piece in [batch.slice(0, 1), batch.slice(1, 0), batch.slice(1, 2)] {
            file.write(&piece).unwrap();
            stream.write(&piece).unwrap();
        }
        let (file, stream) = (file.into_inner().unwrap(), stream.into_inner().unwrap());
        for (name, bytes) in [("a.arrow", &file), ("a.arrow", &stream), ("a.arrow.zst", &stream)] {
            let (root, path) = folder(name, &compress(name, bytes));
            let connector = crate::arrow_ipc::open(root.path(), &dataset).unwrap();
            keeps_the_contract(connector.as_ref(), root.path(), &dataset);
            let stored = crate::arrow_ipc::open(store_of(name, &compress(name, bytes)), &dataset).unwrap();
            assert_eq!(read(stored.as_ref(), &dataset, &COLUMNS, None).unwrap().rows, EXPECTED, "out of a store");
            // A file that is cut off is no shorter export.
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            let error = read(connector.as_ref(), &dataset, &["rrno"], None).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Contract, "{error}");
        }
    }
    let batch = RecordBatch::try_from_iter([
        ("rrno", Arc::new(StringArray::from(vec!["1", "2", "3"])) as ArrayRef),
        ("amount", Arc::new(StringArray::from(vec!["5", "x", "7"])) as ArrayRef),
    ]);
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.as_ref().unwrap().schema()).unwrap();
    stream.write(&batch.unwrap()).unwrap();
    let (root, _path) = folder("a.arrow", &stream.into_inner().unwrap());
    let connector = crate::arrow_ipc::open(root.path(), &dataset).unwrap();
    let read = read(connector.as_ref(), &dataset, &["rrno", "amount"], None).unwrap();
    assert_eq!(read.rows, ["1|5", "3|7"]);
    let reject = &read.rejects[0];
    assert_eq!((reject.line, reject.rule, strays_of(reject).as_str()), (2, "type", "2"));
    assert_eq!(String::from_utf8_lossy(&reject.raw), "rrno=2\tamount=x");
}

#[test]
fn parquet_keeps_the_contract() {
    let dataset = dataset("format='parquet'\npath='a.parquet'\ncolumns={'주민'='rrno'}");
    for typed in [false, true] {
        let (root, _path) = folder("a.parquet", &as_parquet(typed));
        let connector = parquet::open(root.path(), &dataset).unwrap();
        keeps_the_contract(connector.as_ref(), root.path(), &dataset);
    }
}

/// The rows of [`crate::contract::EXPECTED`] as another writer of Avro writes them.
fn as_avro(typed: bool, codec: Option<CompressionCodec>) -> Vec<u8> {
    let batch = as_batch(typed);
    // Names of Avro are ASCII.
    let named = |field: &Arc<Field>| match field.name().as_str() {
        "주민" => Arc::new(field.as_ref().clone().with_name("resident")),
        _ => Arc::clone(field),
    };
    let schema = Schema::new(batch.schema().fields().iter().map(named).collect::<Vec<_>>());
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), batch.columns().to_vec()).unwrap();
    let writer = WriterBuilder::new(schema).with_compression(codec);
    let mut writer = writer.build::<_, AvroOcfFormat>(Vec::new()).unwrap();
    for piece in [batch.slice(0, 1), batch.slice(1, 2)] {
        writer.write(&piece).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner()
}

#[test]
fn avro_keeps_the_contract() {
    let dataset = dataset("format='avro'\npath='a.avro*'\ncolumns={'resident'='rrno'}");
    let codecs =
        [None, Some(CompressionCodec::Deflate), Some(CompressionCodec::Snappy), Some(CompressionCodec::ZStandard)];
    for (typed, name) in [(false, "a.avro"), (true, "a.avro"), (true, "a.avro.gz")] {
        for codec in codecs {
            let (root, path) = folder(name, &compress(name, &as_avro(typed, codec)));
            for chunk in [1, 7, 1 << 20] {
                let connector = TextExport::<Avro>::try_new(root.path(), &dataset, chunk).unwrap();
                keeps_the_contract(&connector, root.path(), &dataset);
            }
            let stored = crate::avro::open(store_of(name, &std::fs::read(&path).unwrap()), &dataset).unwrap();
            assert_eq!(read(stored.as_ref(), &dataset, &COLUMNS, None).unwrap().rows, EXPECTED, "out of a store");
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
            let connector = TextExport::<Avro>::try_new(root.path(), &dataset, 64).unwrap();
            let error = read(&connector, &dataset, &["rrno"], None).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Contract, "{error}");
        }
    }
}

/// The rows of [`crate::contract::EXPECTED`] as a workbook: all text as holders write it, or typed; `months` puts each row in a sheet of its own.
pub(crate) fn as_workbook(typed: bool, months: bool) -> Vec<u8> {
    let mut book = Workbook::new();
    let rows = [
        ("800101", "뷁똠샾, \"갑\"", Some(-1234), Some(45_351)),
        ("900202", "을", None, None),
        ("700303", "병", Some(7), None),
    ];
    let day = ExcelFormat::new().set_num_format("yyyy-mm-dd");
    let mut sheets: Vec<Worksheet> = Vec::new();
    for (at, (key, name, amount, serial)) in rows.into_iter().enumerate() {
        if months || sheets.is_empty() {
            let mut sheet = Worksheet::new();
            sheet.set_name(format!("{}월", sheets.len() + 1)).unwrap();
            sheet.write(0, 0, "2024년 명부").unwrap();
            for (column, title) in [(0, "주민"), (1, "구분"), (3, "NM")] {
                sheet.write(2, column, title).unwrap();
            }
            sheet.write(3, 1, "amount").unwrap().write(3, 2, "day").unwrap();
            sheets.push(sheet);
        }
        let row = if months { 5 } else { 4 + at as u32 };
        let sheet = sheets.last_mut().unwrap();
        sheet.write(row, 0, key).unwrap().write(row, 3, name).unwrap();
        match amount {
            Some(amount) if typed => sheet.write(row, 1, amount).unwrap(),
            Some(-1234) => sheet.write(row, 1, "-1,234").unwrap(),
            Some(_) => sheet.write(row, 1, "007").unwrap(),
            None => sheet.write(row, 1, " ").unwrap(),
        };
        match serial {
            Some(serial) if typed => sheet.write_with_format(row, 2, serial, &day).unwrap(),
            Some(_) => sheet.write(row, 2, "2024-02-29").unwrap(),
            None => sheet.write(row, 2, if at == 1 { "00000000" } else { "9999.12.31" }).unwrap(),
        };
    }
    let mut notes = Worksheet::new();
    notes.set_name("설명").unwrap().write(0, 0, "no table").unwrap();
    book.push_worksheet(notes);
    for sheet in sheets {
        book.push_worksheet(sheet);
    }
    book.save_to_buffer().unwrap()
}

#[test]
fn xlsx_keeps_the_contract() {
    let dataset = dataset(
        "format='xlsx'\npath='a.xlsx*'\ncolumns={'주민'='rrno','구분/amount'='amount','구분/day'='day'}\n\
         sheet={name='*월',header_row=3,header_rows=2}",
    );
    for (typed, months) in [(false, false), (true, false), (true, true)] {
        for name in ["a.xlsx", "a.xlsx.gz"] {
            let (root, _path) = folder(name, &compress(name, &as_workbook(typed, months)));
            let connector = crate::xlsx::open(root.path(), &dataset).unwrap();
            keeps_the_contract(connector.as_ref(), root.path(), &dataset);
        }
    }
}
