//! permit alone: the expressions of a dataset's plan on batches that are linked already, 10 items, 32k rows. With one
//! shape every line may have everything and nothing is evaluated; with more, each item is a CASE over the line's shape.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, UInt32Array};
use arrow::record_batch::RecordBatch;
use criterion::{Criterion, Throughput};
use ieum_core::gather::{LINE, Permit, SHAPE, WantedBuilder};

const ROWS: u32 = 32_768;
const ITEMS: usize = 10;

fn item(number: usize) -> String {
    format!("item_{number}")
}

/// Linked rows whose lines take turns with the shapes; every other item is text.
fn linked(shapes: u32) -> RecordBatch {
    let numbers = |of: fn(u32, u32) -> u32| -> ArrayRef {
        Arc::new((0..ROWS).map(|row| of(row, shapes)).collect::<UInt32Array>())
    };
    let mut columns =
        vec![(LINE.to_owned(), numbers(|row, _| row)), (SHAPE.to_owned(), numbers(|row, shapes| row % shapes))];
    for number in 0..ITEMS {
        let values: ArrayRef = match number % 2 {
            0 => Arc::new((0..i64::from(ROWS)).collect::<Int64Array>()),
            _ => Arc::new((0..ROWS).map(|row| Some(format!("가게 {row}"))).collect::<StringArray>()),
        };
        columns.push((item(number), values));
    }
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

/// Every shape but the first lacks an item of its own.
fn permit(shapes: u32, rows: &RecordBatch) -> Permit {
    let mut wanted = WantedBuilder::default();
    let lists: Vec<Arc<[String]>> = (0..shapes as usize)
        .map(|shape| (0..ITEMS).filter(|number| shape == 0 || number + 1 != shape).map(item).collect())
        .collect();
    for (line, items) in (0u32..).zip(&lists) {
        wanted.add(line, items, ["9912313000002"].into_iter());
    }
    Permit::try_new(&rows.schema(), &wanted.finish().expect("wanted lines")).expect("expressions")
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permit");
    group.throughput(Throughput::Elements(u64::from(ROWS)));
    for (name, shapes) in [("one_shape", 1), ("two_shapes", 2), ("ten_shapes", 10)] {
        let rows = linked(shapes);
        let permit = permit(shapes, &rows);
        let blanked = |rows: &RecordBatch| rows.columns().iter().map(|column| column.null_count()).sum::<usize>();
        let permitted = permit.evaluate(&rows).expect("permitted rows");
        assert_eq!(blanked(&permitted) > 0, shapes > 1, "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| permit.evaluate(&rows).expect("permitted rows")));
    }
    group.finish();
}
