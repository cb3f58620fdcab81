//! Asks the probe about the keys of a Parquet file, in whatever type they are.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, GenericByteArray, PrimitiveArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, ByteArrayType, DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use ieum_model::connector::KeyProbe;
use ieum_model::dataset::ItemType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use super::{cast as item_cast, keys};
use crate::spelling::digits;

/// The rows of one row group that the probe let pass.
#[derive(Default)]
pub(super) struct Passed {
    /// Rows of the row group probed so far.
    pub(super) seen: u64,
    /// Record number in the row group, from 0, of every row that passed.
    pub(super) ordinals: Vec<u64>,
}

/// A key column that [`keys::probe`] reads.
pub(super) struct KeyPages {
    pub(super) leaf: usize,
    pub(super) nullable: bool,
    /// The decoded columns but the key.
    pub(super) others: ProjectionMask,
    /// The decoded columns, the key as text.
    schema: SchemaRef,
    /// The key's position among them.
    position: usize,
}

impl KeyPages {
    pub(super) fn find(metadata: &ArrowReaderMetadata, root: usize, decoded: &[usize]) -> Option<Self> {
        let (descriptor, fields) = (metadata.parquet_schema(), metadata.schema().fields());
        let text = match fields[root].data_type() {
            DataType::Dictionary(_, value) => value,
            other => other,
        };
        if !matches!(text, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            return None;
        }
        let leaf = keys::text_leaf(descriptor, root)?;
        let others = decoded.iter().copied().filter(|other| *other != root);
        let field = |at: &usize| match *at == root {
            true => Arc::new(Field::new(fields[root].name(), DataType::Utf8, true)),
            false => Arc::clone(&fields[*at]),
        };
        Some(Self {
            leaf,
            nullable: descriptor.column(leaf).max_def_level() > 0,
            others: ProjectionMask::roots(descriptor, others),
            schema: Arc::new(Schema::new(decoded.iter().map(field).collect::<Vec<_>>())),
            position: decoded.partition_point(|other| *other < root),
        })
    }

    /// The decoded columns, to which the key is added.
    pub(super) fn with_key(&self, others: &RecordBatch, key: ArrayRef) -> Result<RecordBatch, ArrowError> {
        let mut columns = others.columns().to_vec();
        columns.insert(self.position, key);
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

/// Whether identifiers survive in a column of this type: the zeros that an integer has lost are known where the identifier
/// has a fixed length; a fraction or a day is none.
pub(super) fn may_be_key(data_type: &DataType, item_type: Option<ItemType>) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => may_be_key(value, item_type),
        number if number.is_integer() => !matches!(item_type, Some(ItemType::Ci | ItemType::Pno)),
        number if number.is_decimal() => digits(item_type).is_none(),
        other => !(other.is_floating() || other.is_temporal() || *other == DataType::Boolean),
    }
}

/// [`probe_column`] of keys as they will be read: integers with the zeros that they have lost.
pub(super) fn probe_keys(
    keys: &ArrayRef,
    item_type: Option<ItemType>,
    probe: &dyn KeyProbe,
    passed: &mut Passed,
) -> Result<BooleanArray, ArrowError> {
    if keys.data_type().is_integer() && digits(item_type).is_some() {
        return probe_column(&item_cast::cast(keys, &DataType::Utf8, item_type, '|')?.array, probe, passed);
    }
    probe_column(keys, probe, passed)
}

/// Wants nothing; for asking whether a type can be probed.
pub(super) struct NoKey;

impl KeyProbe for NoKey {
    fn may_match(&self, _: &[u8]) -> bool {
        false
    }
}

/// Asks the probe about every key; a key that is absent is never wanted.
pub(super) fn probe_column(
    keys: &ArrayRef,
    probe: &dyn KeyProbe,
    passed: &mut Passed,
) -> Result<BooleanArray, ArrowError> {
    let hits = match keys.data_type() {
        DataType::Utf8 => probe_bytes(keys.as_string::<i32>(), probe),
        DataType::LargeUtf8 => probe_bytes(keys.as_string::<i64>(), probe),
        DataType::Binary => probe_bytes(keys.as_binary::<i32>(), probe),
        DataType::LargeBinary => probe_bytes(keys.as_binary::<i64>(), probe),
        DataType::Utf8View => {
            let view = keys.as_string_view();
            collect(keys, |row| probe.may_match(view.value(row).as_bytes().trim_ascii()))
        }
        DataType::BinaryView => {
            let view = keys.as_binary_view();
            collect(keys, |row| probe.may_match(view.value(row).trim_ascii()))
        }
        DataType::FixedSizeBinary(_) => {
            let fixed = keys.as_fixed_size_binary();
            collect(keys, |row| probe.may_match(fixed.value(row).trim_ascii()))
        }
        DataType::Int32 => probe_int(keys.as_primitive::<Int32Type>(), probe),
        DataType::Int64 => probe_int(keys.as_primitive::<Int64Type>(), probe),
        DataType::Dictionary(_, value) => return probe_column(&cast(keys, value)?, probe, passed),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            return probe_column(&cast(keys, &DataType::Int64)?, probe, passed);
        }
        _ => return probe_column(&item_cast::cast(keys, &DataType::Utf8, None, '|')?.array, probe, passed),
    };
    let seen = passed.seen;
    passed.ordinals.extend(hits.set_indices().map(|row| seen + row as u64));
    passed.seen += keys.len() as u64;
    Ok(BooleanArray::new(hits, None))
}

fn collect(keys: &dyn Array, mut hit: impl FnMut(usize) -> bool) -> BooleanBuffer {
    match keys.nulls() {
        Some(nulls) => BooleanBuffer::collect_bool(keys.len(), |row| nulls.is_valid(row) && hit(row)),
        None => BooleanBuffer::collect_bool(keys.len(), hit),
    }
}

fn probe_bytes<T: ByteArrayType>(keys: &GenericByteArray<T>, probe: &dyn KeyProbe) -> BooleanBuffer {
    collect(keys, |row| {
        let raw: &[u8] = keys.value(row).as_ref();
        probe.may_match(raw.trim_ascii())
    })
}

fn probe_int<T: ArrowPrimitiveType>(keys: &PrimitiveArray<T>, probe: &dyn KeyProbe) -> BooleanBuffer
where
    T::Native: Into<i64>,
{
    let mut buffer = [0; 20];
    collect(keys, |row| probe.may_match(decimal(keys.value(row).into(), &mut buffer)))
}

/// `value` as decimal text, written at the end of `buffer`.
fn decimal(value: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}
