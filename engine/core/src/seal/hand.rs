//! What a third party does who was handed a bundle: it is held against its receipt, and that against the public key.
//! Nothing else is read, no output folder, no catalog, no network. And the receipt that is handed out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use ieum_model::error::{Error, Result};
use ieum_model::request::is_request_id;
use ieum_privacy::{PublicKey, envelope};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

use super::RECEIPTS;
use super::file::ReceiptFile;
use super::head::TreeHead;
use super::receipt::{BundleDigest, Form, Receipt, Statement, Terms, refused};
use crate::bundle::row;
use crate::verify::{broken, files_below};

/// How Parquet files begin.
const PARQUET: &[u8] = b"PAR1";

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Bundles, each with its receipt; of receipts of refusals, none.
    pub bundles: u64,
    /// Requests that were refused as a whole.
    pub refused: u64,
    /// The request of the first.
    pub request_id: String,
    /// What became of it, and why, where it was refused as a whole.
    pub refusal: Option<(String, Option<String>)>,
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

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| refused(format!("the file cannot be read: {error}")).at("file", path.display()))
}

/// Verifies a file of one bundle or of many, as a run wrote it or as it was cut from such a file line by line, against a
/// receipt or a file of receipts.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] with what disagrees: every bundle must have its receipt, and every receipt
/// must be as it was written and signed by this key.
pub fn verify_bundle(bundle: &Path, receipts: &Path, public: &PublicKey) -> Result<Verified> {
    let stated = Stated::read(&read(receipts)?, public).map_err(|error| error.at("file", receipts.display()))?;
    if bundle.is_dir() {
        return Err(refused("this is a folder: a receipt is of the bundle in it").at("folder", bundle.display()).hint(
            "verify `data/bundle.json` or `data/bundle.parquet` in it; its tables are held against the sums of the bag",
        ));
    }
    let bytes = read(bundle)?;
    if envelope::is_meant_by(&bytes) {
        return Err(refused("the bundle is encrypted: a receipt is of what it holds")
            .at("file", bundle.display())
            .hint("its recipient opens it with `ieum open` or stock `age -d`, then verifies what was in it"));
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Err(refused("this is the archive of a folder: a receipt is of the bundle in it")
            .at("file", bundle.display())
            .hint("unpack it with `tar -xf`, then verify `data/bundle.json` or `data/bundle.parquet`"));
    }
    let verified =
        if bytes.starts_with(PARQUET) { verify_parquet(bytes, &stated) } else { verify_json(&bytes, &stated) };
    let (bundles, said) = verified.map_err(|error| error.at("file", bundle.display()))?;
    Ok(stated.verified(bundles, 0, said))
}

/// Verifies a receipt of a request that was refused as a whole, or a file of such: there is no bundle to hold against it.
///
/// # Errors
/// As [`verify_bundle`]; [`ieum_model::error::ErrorKind::Config`] for a receipt of a bundle.
pub fn verify_refusal(receipts: &Path, public: &PublicKey) -> Result<Verified> {
    let stated = Stated::read(&read(receipts)?, public).map_err(|error| error.at("file", receipts.display()))?;
    match stated.by_request.values().next() {
        Some(said) if said.0.refusal.is_some() => Ok(stated.verified(0, stated.count, said)),
        _ => Err(Error::config("the receipt is for a bundle")
            .at("file", receipts.display())
            .hint("name the bundle too: `ieum verify BUNDLE --receipt …`")),
    }
}

/// The receipt of a request, from a finished output.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] for receipts that are not as they were written,
/// [`ieum_model::error::ErrorKind::Config`] where no bundle of the request was sealed.
pub fn receipt_of(output: &Path, request_id: &str) -> Result<Receipt> {
    let folder = output.join(RECEIPTS);
    if !folder.is_dir() {
        return Err(Error::config("the output is not sealed").at("folder", output.display()));
    }
    let mut paths = files_below(&folder)?;
    // A request that repeats the id of another is refused, and the other is meant.
    let refused = folder.join("refused.ndjson");
    paths.sort_by_key(|path| (*path == refused, path.clone()));
    let needle = format!("\"request_id\":\"{request_id}\"");
    for path in paths {
        let bytes = read(&path)?;
        // Most files are not the one, and reading one takes long.
        if !bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
            continue;
        }
        let file = ReceiptFile::read(&bytes).and_then(|file| file.is_covered().map(|()| file));
        let file = file.map_err(|error| broken(error.message, &path))?;
        if let Some(receipt) = file.receipt(request_id) {
            return Ok(receipt);
        }
    }
    Err(Error::config("the output has no bundle of this request, and no refusal").at("folder", output.display()))
}

/// Something stated, and on which terms.
type Said = (Statement<'static>, Terms<'static>);

/// What receipts state, by request; covered and signed.
struct Stated {
    head: TreeHead,
    count: u64,
    by_request: BTreeMap<String, Said>,
}

impl Stated {
    fn read(bytes: &[u8], public: &PublicKey) -> Result<Self> {
        if !ReceiptFile::is_meant_by(bytes) {
            let receipt = Receipt::read(bytes)?;
            receipt.is_signed(public)?;
            let by_request =
                BTreeMap::from([(receipt.statement.request_id.to_string(), (receipt.statement, receipt.terms))]);
            return Ok(Self { head: receipt.file.head, count: 1, by_request });
        }
        let file = ReceiptFile::read(bytes)?;
        file.is_signed(public)?;
        let said = |(statement, terms): (&Statement<'static>, &Terms<'static>)| {
            (statement.request_id.to_string(), (statement.clone(), terms.clone()))
        };
        let count = file.proof.bundles;
        Ok(Self { by_request: file.stated().map(said).collect(), count, head: file.proof.head })
    }

    fn verified(&self, bundles: u64, refused: u64, (statement, terms): &Said) -> Verified {
        let head = &self.head;
        let refusal = statement.refusal.as_ref();
        Verified {
            bundles,
            refused,
            request_id: statement.request_id.to_string(),
            refusal: refusal.map(|given| (given.outcome.to_string(), given.reason.as_deref().map(str::to_owned))),
            recipient: terms.recipient.to_string(),
            run_id: head.run_id.clone(),
            as_of: head.as_of.clone(),
            signing_key: head.signing_key.clone(),
            public_key: head.public_key.clone(),
        }
    }

    /// What is stated of a bundle that says it is of this request.
    fn of(&self, request_id: &str) -> Result<&Said> {
        // What a bundle says is believed only where its digest holds; an id that cannot be one is not repeated.
        let told = if is_request_id(request_id) { request_id } else { "not a request id" };
        match (self.by_request.get(request_id), self.by_request.keys().next()) {
            (Some(said), _) => Ok(said),
            (None, Some(other)) if self.by_request.len() == 1 => {
                Err(refused("the receipt is for another request").at("bundle is for", told).at("receipt is for", other))
            }
            _ => Err(refused("there is no receipt for this request").at("request", told)),
        }
    }
}

fn verify_json<'a>(bytes: &[u8], stated: &'a Stated) -> Result<(u64, &'a Said)> {
    #[derive(Deserialize)]
    struct BundleId {
        request_id: String,
    }
    let (mut bundles, mut first) = (0, None);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let id: BundleId = serde_json::from_slice(line).map_err(|_| not_a_bundle().at("line", bundles + 1))?;
        let said = stated.of(&id.request_id)?;
        said.0.is_of(&BundleDigest::of(Form::Json, line))?;
        (bundles, first) = (bundles + 1, first.or(Some(said)));
    }
    first.map(|first| (bundles, first)).ok_or_else(not_a_bundle)
}

fn verify_parquet(bytes: Vec<u8>, stated: &Stated) -> Result<(u64, &Said)> {
    let whole = BundleDigest::of(Form::Parquet, &bytes);
    let (mut bundles, mut first) = (0, None);
    for batch in rows(bytes)? {
        for row in 0..batch.num_rows() {
            let said = stated.of(row::request_id(&batch, row).ok_or_else(not_a_bundle)?)?;
            let (statement, terms) = said;
            match statement.bundle.as_ref().map(|bundle| bundle.form) {
                Some(Form::ParquetRow) => {
                    statement.is_of(&digest_of_row(&batch, row, statement, terms)?)?;
                }
                _ => statement.is_of(&whole)?,
            }
            (bundles, first) = (bundles + 1, first.or(Some(said)));
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
pub(super) fn digest_of_row(
    batch: &RecordBatch,
    row: usize,
    statement: &Statement<'_>,
    terms: &Terms<'_>,
) -> Result<BundleDigest> {
    let answered = terms.documents.iter().zip(&statement.answers).filter(|(_, answer)| answer.is_some());
    let documents: Vec<(&str, &[String])> =
        answered.map(|(document, _)| (&*document.document, &*document.items)).collect();
    let line = row::json_line(batch, row, &documents).ok_or_else(|| {
        statement.refused("the bundle holds something that the receipt does not name, or was changed")
    })?;
    Ok(BundleDigest::of(Form::ParquetRow, &line))
}
