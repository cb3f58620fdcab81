//! What a third party does who was handed a bundle: it is held against its receipt, and that against the public key.
//! Nothing else is read, no output folder, no catalog, no network.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use ieum_model::error::{Error, Result};
use ieum_model::request::is_request_id;
use ieum_privacy::PublicKey;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

use super::receipt::{BundleDigest, Form, Receipt, refused};
use crate::bundle::row;

/// How Parquet files begin.
const PARQUET: &[u8] = b"PAR1";

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Bundles, each with its receipt.
    pub bundles: u64,
    /// The request of the first.
    pub request_id: String,
    /// Its recipient.
    pub recipient: String,
    /// The run.
    pub run_id: String,
    /// Its declared date.
    pub as_of: String,
    /// The key that signed, by the name that the agency gave it.
    pub signing_key: String,
    /// Its number.
    pub public_key: String,
}

/// Verifies a file of one bundle or of many, as a run wrote it or as it was cut from such a file line by line, against a
/// receipt or a file of receipts.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] with what disagrees: every bundle must have its receipt, and every receipt
/// must be as it was written.
pub fn verify_bundle(bundle: &Path, receipts: &Path, public: &PublicKey) -> Result<Verified> {
    let read = |path: &Path| fs::read(path).map_err(|error| refused(format!("the file cannot be read: {error}")));
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error: Error| error.at("file", path)
    };
    let receipts = read(receipts).and_then(|bytes| Receipts::read(&bytes)).map_err(at(receipts))?;
    let bytes = read(bundle).map_err(at(bundle))?;
    let verified = if bytes.starts_with(PARQUET) {
        verify_parquet(bytes, &receipts, public)
    } else {
        verify_json(&bytes, &receipts, public)
    };
    let (bundles, first) = verified.map_err(at(bundle))?;
    let (statement, head) = (&first.statement, &first.head);
    Ok(Verified {
        bundles,
        request_id: statement.request_id.to_string(),
        recipient: statement.recipient.to_string(),
        run_id: head.run_id.clone(),
        as_of: head.as_of.clone(),
        signing_key: head.signing_key.clone(),
        public_key: head.public_key.clone(),
    })
}

/// Receipts by their request.
struct Receipts(BTreeMap<String, Receipt>);

impl Receipts {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut receipts = BTreeMap::new();
        for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            let receipt = Receipt::read(line).map_err(|error| error.at("line", number))?;
            if let Some(twice) = receipts.insert(receipt.statement.request_id.to_string(), receipt) {
                return Err(refused("there are two receipts for a request").at("request", twice.statement.request_id));
            }
        }
        if receipts.is_empty() { Err(refused("the file holds no receipt")) } else { Ok(Self(receipts)) }
    }

    /// The receipt for a bundle that says it is of this request.
    fn of(&self, request_id: &str) -> Result<&Receipt> {
        // What a bundle says is believed only where its digest holds; an id that cannot be one is not repeated.
        let told = if is_request_id(request_id) { request_id } else { "not a request id" };
        match (self.0.get(request_id), self.0.values().next()) {
            (Some(receipt), _) => Ok(receipt),
            (None, Some(other)) if self.0.len() == 1 => Err(refused("the receipt is for another request")
                .at("bundle is for", told)
                .at("receipt is for", &other.statement.request_id)),
            _ => Err(refused("there is no receipt for this request").at("request", told)),
        }
    }
}

fn verify_json<'a>(bytes: &[u8], receipts: &'a Receipts, public: &PublicKey) -> Result<(u64, &'a Receipt)> {
    #[derive(Deserialize)]
    struct BundleId {
        request_id: String,
    }
    let (mut bundles, mut first) = (0, None);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let id: BundleId = serde_json::from_slice(line).map_err(|_| not_a_bundle().at("line", bundles + 1))?;
        let receipt = receipts.of(&id.request_id)?;
        receipt.verify(&BundleDigest::of(Form::Json, line), public)?;
        (bundles, first) = (bundles + 1, first.or(Some(receipt)));
    }
    first.map(|first| (bundles, first)).ok_or_else(not_a_bundle)
}

fn verify_parquet<'a>(bytes: Vec<u8>, receipts: &'a Receipts, public: &PublicKey) -> Result<(u64, &'a Receipt)> {
    let whole = BundleDigest::of(Form::Parquet, &bytes);
    let (mut bundles, mut first) = (0, None);
    for batch in rows(bytes)? {
        for row in 0..batch.num_rows() {
            let receipt = receipts.of(row::request_id(&batch, row).ok_or_else(not_a_bundle)?)?;
            match receipt.statement.bundle.form {
                Form::ParquetRow => receipt.verify(&digest_of_row(&batch, row, receipt)?, public)?,
                Form::Parquet | Form::Json => receipt.verify(&whole, public)?,
            }
            (bundles, first) = (bundles + 1, first.or(Some(receipt)));
        }
    }
    first.map(|first| (bundles, first)).ok_or_else(not_a_bundle)
}

fn not_a_bundle() -> Error {
    refused("this is not a bundle, or it was changed")
}

/// The rows of a Parquet file.
pub(super) fn rows(bytes: Vec<u8>) -> Result<Vec<RecordBatch>> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).and_then(|builder| builder.build());
    reader.map_err(|_| not_a_bundle())?.collect::<Result<_, _>>().map_err(|_| not_a_bundle())
}

/// The digest of a row of a packed Parquet file, with the documents and items that its receipt names.
pub(super) fn digest_of_row(batch: &RecordBatch, row: usize, receipt: &Receipt) -> Result<BundleDigest> {
    let documents: Vec<(&str, &[String])> =
        receipt.statement.documents.iter().map(|document| (&*document.document, &*document.items)).collect();
    let line = row::json_line(batch, row, &documents).ok_or_else(|| {
        refused("the bundle holds something that the receipt does not name, or was changed")
            .at("request", &receipt.statement.request_id)
    })?;
    Ok(BundleDigest::of(Form::ParquetRow, &line))
}
