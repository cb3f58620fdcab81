//! scan: a connector as a DataFusion source. Identifiers live here: keys are made canonical and probed before a row is
//! decoded; the canonical key leaves as the column [`KEY`], which `link` drops.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use ieum_model::connector::{BatchReader, Connector, KeyProbe, ReadCounts, RejectSink, ScanSpec, Strays};
use ieum_model::digits;
use ieum_model::error::Error;
use ieum_privacy::normalize::{self, IdentifierKind};
use rustc_hash::FxHashSet;

use crate::session::BATCH_ROWS;
use crate::strays::{self, Forms};

/// Name of the canonical key column between scan and link.
pub const KEY: &str = "__key";

/// The wanted keys of one key space, canonical. Keys that are numbers of up to 19 digits are held as integers: most keys of
/// a register are, and a row that nobody asked for is then turned away without touching memory but the table's.
pub struct WantedKeys {
    kind: IdentifierKind,
    numbers: FxHashSet<u64>,
    sieve: Sieve,
    texts: FxHashSet<Box<[u8]>>,
    /// Made when the first row without its shape is met.
    forms: OnceLock<Forms>,
}

/// Digits that fit in 64 bits, whatever they are.
const DIGITS_OF_U64: usize = 19;

/// A number made of digits only, told apart by its count of digits: `007` is not `07`.
#[inline]
fn number(digits: &[u8]) -> Option<u64> {
    // The leading one keeps leading zeros apart.
    if let Some(number) = digits::number(digits) {
        return Some(digits::POWERS[8] * digits::POWERS[digits.len() - 8] + number);
    }
    if digits.len() > DIGITS_OF_U64 - 1 || digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(1u64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| number.wrapping_mul(10).wrapping_add(u64::from(digit)))
    })
}

/// As [`number`], of digits with hyphens between them: `990101-1000001`.
fn hyphenated(raw: &[u8]) -> Option<u64> {
    const MOST: usize = 24;
    let (mut digits, mut count) = ([0; MOST], 0);
    if raw.len() > MOST {
        return None;
    }
    for byte in raw.iter().copied().filter(|byte| *byte != b'-') {
        digits[count] = byte;
        count += 1;
    }
    number(&digits[..count])
}

/// The digits that [`number`] made `number` of.
fn spelled(number: u64) -> Box<[u8]> {
    let mut digits = number.to_string().into_bytes();
    digits.remove(0);
    digits.into()
}

/// Which numbers are surely not in a set, by one bit of a table that stays near the processor.
struct Sieve {
    bits: Box<[u64]>,
    shift: u32,
}

impl Sieve {
    /// Bits of the table for each number: seven of eight others are told apart.
    const BITS: usize = 8;
    /// Most bits: what a processor's second cache holds beside the rows.
    const MOST: usize = 1 << 21;

    fn of(numbers: &FxHashSet<u64>) -> Self {
        let bits = (numbers.len() * Self::BITS).next_power_of_two().clamp(64, Self::MOST);
        let mut sieve = Self { bits: vec![0; bits / 64].into(), shift: 64 - bits.trailing_zeros() };
        for number in numbers {
            let (word, bit) = sieve.place(*number);
            sieve.bits[word] |= bit;
        }
        sieve
    }

    /// Word and bit of a number: the upper bits of its product with 2^64 divided by the golden ratio (Knuth, TAOCP 6.4).
    #[inline]
    fn place(&self, number: u64) -> (usize, u64) {
        let at = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift;
        ((at / 64) as usize, 1 << (at % 64))
    }

    #[inline]
    fn may_hold(&self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        self.bits[word] & bit != 0
    }
}

impl WantedKeys {
    /// The set of `keys`, already canonical.
    pub fn new(kind: IdentifierKind, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let (mut numbers, mut texts) = (FxHashSet::default(), FxHashSet::default());
        for key in keys {
            let key = key.as_ref();
            match number(key) {
                Some(number) => numbers.insert(number),
                None => texts.insert(key.into()),
            };
        }
        Self { kind, sieve: Sieve::of(&numbers), numbers, texts, forms: OnceLock::new() }
    }

    #[inline]
    fn holds_number(&self, number: u64) -> bool {
        self.sieve.may_hold(number) && self.numbers.contains(&number)
    }

    fn holds(&self, canonical: &[u8]) -> bool {
        match number(canonical) {
            Some(number) => self.holds_number(number),
            None => self.texts.contains(canonical),
        }
    }
}

impl KeyProbe for WantedKeys {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        thread_local! { static CANONICAL: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) } }
        // Digits are canonical in every kind.
        if let Some(number) = number(raw_key) {
            return self.holds_number(number);
        }
        if self.kind.is_without_separators()
            && let Some(number) = hyphenated(raw_key)
        {
            return self.holds_number(number);
        }
        if std::str::from_utf8(raw_key).is_err() {
            return true;
        }
        CANONICAL.with_borrow_mut(|canonical| {
            normalize::spell(self.kind, raw_key, canonical);
            self.holds(canonical)
        })
    }

    fn sorted_keys(&self) -> Option<Vec<Box<[u8]>>> {
        let numbers = self.numbers.iter().map(|number| spelled(*number));
        let mut keys: Vec<Box<[u8]>> = numbers.chain(self.texts.iter().cloned()).collect();
        keys.sort_unstable();
        Some(keys)
    }

    fn strays(&self, pieces: &[&[u8]], row: &[u8]) -> Strays {
        let forms = self.forms.get_or_init(|| Forms::of(self.sorted_keys().iter().flatten().map(AsRef::as_ref)));
        strays::search(self.kind, forms, |key| self.holds(key), pieces, row)
    }
}

/// What one scan reads: columns, key and probe, and where it counts.
pub struct Scan {
    /// Dataset code.
    pub dataset: String,
    /// The export.
    pub connector: Arc<dyn Connector>,
    /// Columns handed on, without [`KEY`].
    pub columns: SchemaRef,
    /// The key column of the export.
    pub key_column: Field,
    /// How its values are made canonical.
    pub kind: IdentifierKind,
    /// The wanted keys.
    pub probe: Arc<dyn KeyProbe>,
    /// Where unreadable rows go.
    pub rejects: Arc<dyn RejectSink>,
    /// Counts of the partitions that were read to their end.
    pub counts: Arc<Mutex<ReadCounts>>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("dataset", &self.dataset).finish_non_exhaustive()
    }
}

impl Scan {
    fn schema(&self) -> SchemaRef {
        let mut fields = vec![Arc::new(Field::new(KEY, DataType::Utf8, true))];
        fields.extend(self.columns.fields().iter().cloned());
        Arc::new(Schema::new(fields))
    }

    fn spec(&self) -> ScanSpec {
        let mut fields: Vec<_> = self.columns.fields().iter().cloned().collect();
        if self.columns.field_with_name(self.key_column.name()).is_err() {
            fields.push(Arc::new(self.key_column.clone()));
        }
        ScanSpec {
            schema: Arc::new(Schema::new(fields)),
            key_column: self.key_column.name().clone(),
            probe: Some(Arc::clone(&self.probe)),
            rejects: Arc::clone(&self.rejects),
            batch_rows: BATCH_ROWS,
        }
    }

    /// Canonical key first, then the wanted columns.
    fn arrange(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let missing = || Error::internal("connector left out a column").at("dataset", &self.dataset);
        let raw = batch.column_by_name(self.key_column.name()).ok_or_else(missing)?;
        let mut columns: Vec<ArrayRef> = vec![canonical_keys(self.kind, raw)];
        for field in self.columns.fields() {
            columns.push(Arc::clone(batch.column_by_name(field.name()).ok_or_else(missing)?));
        }
        RecordBatch::try_new(self.schema(), columns).map_err(crate::from_arrow)
    }
}

/// Canonical form of a text column of raw keys; null and empty stay null.
fn canonical_keys(kind: IdentifierKind, raw: &ArrayRef) -> ArrayRef {
    let raw = raw.as_string::<i32>();
    let mut out = StringBuilder::with_capacity(raw.len(), raw.value_data().len());
    let mut canonical = Vec::new();
    for value in raw.iter() {
        let text = value.and_then(|value| {
            normalize::spell(kind, value.as_bytes(), &mut canonical);
            std::str::from_utf8(&canonical).ok().filter(|text| !text.is_empty())
        });
        out.append_option(text);
    }
    Arc::new(out.finish())
}

/// The scan as DataFusion sees it in a logical plan.
#[derive(Debug)]
pub struct ExportTable(pub Arc<Scan>);

#[async_trait]
impl TableProvider for ExportTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(ExportScanExec::try_new(Arc::clone(&self.0), projection.cloned())?))
    }
}

/// Reads the partitions of an export, one stream each.
#[derive(Debug)]
pub struct ExportScanExec {
    scan: Arc<Scan>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl ExportScanExec {
    fn try_new(scan: Arc<Scan>, projection: Option<Vec<usize>>) -> DfResult<Self> {
        let schema = match &projection {
            Some(indices) => Arc::new(scan.schema().project(indices)?),
            None => scan.schema(),
        };
        let partitions = Partitioning::UnknownPartitioning(scan.connector.partitions().len());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitions,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { scan, projection, properties: Arc::new(properties) })
    }
}

impl DisplayAs for ExportScanExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.scan.columns.fields().iter().map(|field| field.name().as_str()).collect();
        write!(
            f,
            "ExportScanExec: dataset={}, partitions={}, key={} (probed first), columns=[{}]",
            self.scan.dataset,
            self.scan.connector.partitions().len(),
            self.scan.key_column.name(),
            columns.join(", ")
        )
    }
}

impl ExecutionPlan for ExportScanExec {
    fn name(&self) -> &'static str {
        "ExportScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    /// The only partition of an export is read where the stream is polled, on the thread that gathers it; several are read
    /// side by side on threads that may block.
    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        /// Batches that may wait between a blocking reader and the join.
        const WAITING_BATCHES: usize = 2;
        let (scan, projection) = (Arc::clone(&self.scan), self.projection.clone());
        let projected = move |batch: RecordBatch| match &projection {
            Some(indices) => batch.project(indices).map_err(DataFusionError::from),
            None => Ok(batch),
        };
        if self.scan.connector.partitions().len() == 1 {
            let batches = Batches { scan, partition, reader: None, ended: false };
            let stream = futures::stream::iter(batches.map(move |batch| batch.map_err(external).and_then(&projected)));
            return Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)));
        }
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema(), WAITING_BATCHES);
        let sender = builder.tx();
        builder.spawn_blocking(move || {
            for batch in (Batches { scan, partition, reader: None, ended: false }) {
                if sender.blocking_send(projected(batch.map_err(external)?)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The batches of one partition; counts are added when it has been read to its end.
struct Batches {
    scan: Arc<Scan>,
    partition: usize,
    reader: Option<Box<dyn BatchReader>>,
    ended: bool,
}

impl Batches {
    fn read(&mut self) -> Result<Option<RecordBatch>, Error> {
        if self.reader.is_none() {
            self.reader = Some(self.scan.connector.open(self.partition, &self.scan.spec())?);
        }
        let Some(reader) = &mut self.reader else { return Ok(None) };
        if let Some(batch) = reader.next_batch()? {
            return self.scan.arrange(&batch).map(Some);
        }
        let mut counts = self.scan.counts.lock().map_err(|_| Error::internal("a reader stopped while counting"))?;
        *counts += reader.counts();
        Ok(None)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(wanted: &str, raw: &str, expected: bool) {
        let keys = WantedKeys::new(IdentifierKind::Rrno, [wanted]);
        assert_eq!(keys.may_match(raw.as_bytes()), expected, "{wanted} {raw}");
    }

    #[test]
    fn keys_match_in_any_spelling_and_leading_zeros_count() {
        check("0012313000002", "001231-3000002", true);
        check("0012313000002", "0012313000002", true);
        check("0012313000002", "12313000002", false);
        check("0012313000002", " 001231 3000002 ", true);
        check("A12", "A12", true);
        check("12345678901234567890123", "1234567890123456789012-3", true);
        check("12345678901234567890123", "2345678901234567890123", false);
    }

    proptest! {
        #[test]
        fn a_wanted_key_is_never_lost(key in "[0-9A-Z]{1,24}", dash in 0usize..24) {
            let keys = WantedKeys::new(IdentifierKind::Brno, [&key]);
            let mut raw = key.clone();
            raw.insert(dash.min(key.len()), '-');
            prop_assert!(keys.may_match(key.as_bytes()));
            prop_assert!(keys.may_match(raw.as_bytes()));
        }

        #[test]
        fn the_wanted_keys_are_told_in_order(keys in proptest::collection::btree_set("[0-9]{1,20}|[0-9A-Z]{1,9}", 0..20)) {
            let boxed = || keys.iter().map(|key| Box::<[u8]>::from(key.as_bytes()));
            let wanted = WantedKeys::new(IdentifierKind::Other, boxed());
            prop_assert_eq!(wanted.sorted_keys(), Some(boxed().collect()));
        }

        #[test]
        fn numbers_differ_where_their_digits_do(a in "[0-9]{1,18}", b in "[0-9]{1,18}") {
            prop_assert_eq!(number(a.as_bytes()) == number(b.as_bytes()), a == b);
        }

        #[test]
        fn hyphens_between_digits_do_not_count(raw in "[0-9-]{1,26}") {
            let mut canonical = Vec::new();
            normalize::spell(IdentifierKind::Rrno, raw.as_bytes(), &mut canonical);
            let found = hyphenated(raw.as_bytes());
            prop_assert!(found == number(&canonical) || (found.is_none() && raw.len() > 24), "{}", raw);
        }

        #[test]
        fn a_number_is_its_digits_after_a_one(digits in "[0-9]{1,18}", at in 0usize..18, other in proptest::num::u8::ANY) {
            prop_assert_eq!(number(digits.as_bytes()), format!("1{digits}").parse().ok());
            let mut bytes = digits.into_bytes();
            let at = at.min(bytes.len() - 1);
            bytes[at] = other;
            prop_assert_eq!(number(&bytes).is_some(), other.is_ascii_digit());
        }
    }
}
