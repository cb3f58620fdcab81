//! Bundles into files: a file or a folder for each request, or one per recipient and service with an index; encrypted where
//! the night says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use ieum_model::catalog::Catalog;
use ieum_model::check::CheckedRequest;
use ieum_model::error::Result;
use parquet::arrow::ArrowWriter;
use rayon::prelude::*;
use rustc_hash::FxHashSet;

use crate::bundle::folder;
use crate::bundle::parquet::{FileSchema, ROWS_AT_A_TIME, from_parquet};
use crate::bundle::{Bundle, RunHead, json, tar};
use crate::encrypt::{Encryption, without_ending};
use crate::from_arrow;
use crate::input::{BundleFormat, Layout, Night};
use crate::manifest::{BundleText, OutputFile, PlainText, sha256_hex};
use crate::seal::{BundleDigest, Form};
use crate::sink::{Output, OutputWriter, WholeFile};

/// Which packed file a bundle goes to: its recipient, and its service or what stands for none.
type Packed<'a> = (&'a str, &'a str);

/// The bundle files of a run, in the making.
pub struct BundleFiles<'a> {
    night: &'a Night,
    head: RunHead,
    ndjson: BTreeMap<Packed<'a>, (OutputWriter, Vec<u8>)>,
    parquet: BTreeMap<Packed<'a>, PackedParquet>,
}

fn packed(request: &CheckedRequest) -> Packed<'_> {
    (&request.recipient, request.service.as_deref().unwrap_or("documents"))
}

/// Path of a packed file; made from validated codes only.
fn packed_path((recipient, service): Packed<'_>, ending: &str) -> String {
    format!("bundles/packed/{recipient}/{service}.{ending}")
}

/// What stands beside the file at [`packed_path`].
const INDEX: &str = "index.csv";

/// Opens a packed file; one that is to be encrypted waits in the stage for its end.
fn create_packed(night: &Night, file: Packed<'_>, ending: &str, output: &Output) -> Result<OutputWriter> {
    let (recipient, service) = file;
    match &night.encryption {
        None => output.create(&packed_path(file, ending)),
        Some(encryption) => {
            output.create_plain(&format!("plain.{recipient}.{service}.{ending}"), encryption.draw(recipient)?)
        }
    }
}

/// A bundle's own file; encrypted, if it is to be.
fn own_file(encryption: Option<&Encryption>, bundle: &Bundle<'_>, ending: &str, bytes: Vec<u8>) -> Result<WholeFile> {
    let path = format!("{}.{ending}", per_request_path(bundle));
    let Some(encryption) = encryption else { return Ok((path, bytes).into()) };
    let (bytes, plain) = encryption.seal(&bundle.request.recipient, &bytes)?;
    Ok(WholeFile { path: path + encryption.ending(), bytes, plain: Some(plain) })
}

fn json_line(head: &RunHead, bundle: &Bundle<'_>) -> Vec<u8> {
    /// A bundle of a few documents; longer ones grow.
    const USUAL_BYTES: usize = 1024;
    let mut line = Vec::with_capacity(USUAL_BYTES);
    json::write(&mut line, head, bundle);
    line.push(b'\n');
    line
}

fn parquet_file(catalog: &Catalog, head: &RunHead, bundle: &Bundle<'_>) -> Result<Vec<u8>> {
    let schema = FileSchema::of(catalog, [bundle.request]);
    let mut writer = schema.writer(Vec::new())?;
    writer.write(&schema.batch(head, &[bundle])?).map_err(from_parquet)?;
    writer.into_inner().map_err(from_parquet)
}

/// Bundles by the packed file they go to, in their order, each with what goes along with it.
fn by_packed_file<'a, 'b, T>(
    bundles: impl Iterator<Item = (&'b Bundle<'a>, T)>,
) -> BTreeMap<Packed<'a>, Vec<(&'b Bundle<'a>, T)>> {
    let mut by_file: BTreeMap<Packed<'a>, Vec<_>> = BTreeMap::new();
    for (bundle, along) in bundles {
        by_file.entry(packed(bundle.request)).or_default().push((bundle, along));
    }
    by_file
}

impl<'a> BundleFiles<'a> {
    /// Files of which nobody has anything yet; every bundle will carry `head`.
    ///
    /// # Errors
    /// When the output does not take the heads of the files.
    pub fn begin(night: &'a Night, head: RunHead, output: &Output) -> Result<Self> {
        let mut files = Self { night, head, ndjson: BTreeMap::new(), parquet: BTreeMap::new() };
        match night.settings.layout {
            Layout::PerRequest | Layout::Folder => return Ok(files),
            Layout::Packed => {}
        }
        let asked = asked_by_packed_file(night);
        if night.settings.format == BundleFormat::Json {
            for file in asked.into_keys() {
                let writer = create_packed(night, file, "ndjson", output)?;
                files.ndjson.insert(file, (writer, b"request_id,offset,bytes\n".to_vec()));
            }
            return Ok(files);
        }
        let create = |(file, asked): (Packed<'a>, Vec<&CheckedRequest>)| {
            let writer = create_packed(night, file, "parquet", output)?;
            Ok((file, PackedParquet::create(night, writer, &asked)?))
        };
        files.parquet = asked.into_iter().collect::<Vec<_>>().into_par_iter().map(create).collect::<Result<_>>()?;
        Ok(files)
    }

    /// Writes the bundles of one shard, in their order; their digests, where the night is sealed.
    ///
    /// # Errors
    /// When the output does not take them.
    pub fn write(&mut self, bundles: &[Bundle<'_>], output: &mut Output) -> Result<Vec<BundleDigest>> {
        let sealed = self.night.signing.is_some();
        let written = |form, output: &Output| -> Vec<BundleDigest> {
            let files = if sealed { output.latest(bundles.len()) } else { Vec::new() };
            let digest = |file: &OutputFile| BundleDigest::of_file(form, file);
            files.iter().map(digest).collect()
        };
        match (self.night.settings.format, self.night.settings.layout) {
            (BundleFormat::Json, Layout::PerRequest) => {
                let encryption = self.night.encryption.as_ref();
                let head = &self.head;
                let line = |bundle| own_file(encryption, bundle, "json", json_line(head, bundle));
                output.put_all(bundles, line)?;
                Ok(written(Form::Json, output))
            }
            (BundleFormat::Parquet, Layout::PerRequest) => {
                self.write_parquet_files(bundles, output)?;
                Ok(written(Form::Parquet, output))
            }
            (format, Layout::Folder) => self.write_folders(bundles, format, output),
            (BundleFormat::Json, Layout::Packed) => self.write_packed_json(bundles, sealed),
            (BundleFormat::Parquet, Layout::Packed) => {
                self.write_packed_parquet(bundles)?;
                let row = |bundle| BundleDigest::of(Form::ParquetRow, &json_line(&self.head, bundle));
                Ok(if sealed { bundles.par_iter().map(row).collect() } else { Vec::new() })
            }
        }
    }

    fn write_packed_json(&mut self, bundles: &[Bundle<'_>], sealed: bool) -> Result<Vec<BundleDigest>> {
        let head = &self.head;
        let make = |bundle| {
            let line = json_line(head, bundle);
            let digest = sealed.then(|| BundleDigest::of(Form::Json, &line));
            (line, digest)
        };
        let (lines, digests): (Vec<Vec<u8>>, Vec<Option<BundleDigest>>) = bundles.par_iter().map(make).unzip();
        let by_file = by_packed_file(bundles.iter().zip(&lines));
        let append = |(file, (writer, index)): (&Packed<'_>, &mut (OutputWriter, Vec<u8>))| {
            by_file.get(file).into_iter().flatten().try_for_each(|(bundle, line)| {
                let offset = writer.append(line)?;
                let id = &bundle.request.request_id;
                index.extend_from_slice(format!("{id},{offset},{}\n", line.len()).as_bytes());
                Ok(())
            })
        };
        self.ndjson.par_iter_mut().try_for_each(append)?;
        Ok(digests.into_iter().flatten().collect())
    }

    fn write_folders(
        &self,
        bundles: &[Bundle<'_>],
        format: BundleFormat,
        output: &mut Output,
    ) -> Result<Vec<BundleDigest>> {
        let [in_json, in_parquet] = folder::BUNDLES;
        let (catalog, head, sealed) = (&self.night.catalog, &self.head, self.night.signing.is_some());
        let (encryption, on) = (self.night.encryption.as_ref(), self.night.as_of);
        let make = |bundle: &Bundle<'_>| -> Result<_> {
            let (path, form, bytes) = match format {
                BundleFormat::Json => (in_json, Form::Json, json_line(head, bundle)),
                BundleFormat::Parquet => (in_parquet, Form::Parquet, parquet_file(catalog, head, bundle)?),
            };
            let digest = sealed.then(|| BundleDigest::of(form, &bytes));
            let root = per_request_path(bundle);
            if let Some(encryption) = encryption {
                let stated = BundleText { bytes: bytes.len() as u64, sha256: sha256_hex(&bytes) };
                let files = folder::files(head, bundle, path, bytes)?;
                let archive = tar::archive(&bundle.request.request_id, files, on);
                let (bytes, plain) = encryption.seal(&bundle.request.recipient, &archive)?;
                let plain = Some(PlainText { bundle: Some(stated), ..plain });
                return Ok((vec![WholeFile { path: root + ARCHIVE + encryption.ending(), bytes, plain }], digest));
            }
            let files = folder::files(head, bundle, path, bytes)?.into_iter();
            Ok((files.map(|(path, bytes)| (format!("{root}/{path}"), bytes).into()).collect(), digest))
        };
        let made: Vec<(Vec<WholeFile>, Option<BundleDigest>)> = bundles.par_iter().map(make).collect::<Result<_>>()?;
        let (files, digests): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        output.put_all(files.into_par_iter().flatten_iter(), Ok)?;
        Ok(digests.into_iter().flatten().collect())
    }

    fn write_parquet_files(&self, bundles: &[Bundle<'_>], output: &mut Output) -> Result<()> {
        let (catalog, head, encryption) = (&self.night.catalog, &self.head, self.night.encryption.as_ref());
        output.put_all(bundles, |bundle| own_file(encryption, bundle, "parquet", parquet_file(catalog, head, bundle)?))
    }

    fn write_packed_parquet(&mut self, bundles: &[Bundle<'_>]) -> Result<()> {
        let (by_file, head) = (by_packed_file(bundles.iter().map(|bundle| (bundle, ()))), &self.head);
        self.parquet.par_iter_mut().try_for_each(|(name, file)| match by_file.get(name) {
            Some(bundles) => file.write(head, &bundles.iter().map(|(bundle, ())| *bundle).collect::<Vec<_>>()),
            None => Ok(()),
        })
    }

    /// Closes every file.
    ///
    /// # Errors
    /// When the output does not take the last bytes.
    pub fn finish(self, output: &mut Output) -> Result<()> {
        let night = self.night;
        let json = self.ndjson.into_iter().map(|(file, (writer, index))| (file, writer, index)).collect::<Vec<_>>();
        let parquet: Vec<(Packed<'_>, PackedParquet)> = self.parquet.into_iter().collect();
        let close = |(name, mut file): (Packed<'a>, PackedParquet)| {
            let index = std::mem::take(&mut file.index);
            Ok((name, file.close()?, index))
        };
        let parquet = parquet.into_par_iter().map(close).collect::<Result<Vec<_>>>()?;
        let mut closed: Vec<(Packed<'_>, OutputWriter, Vec<u8>)> = json.into_iter().chain(parquet).collect();
        if let Some(encryption) = &night.encryption {
            let out = &*output;
            let encrypt = |(file, plain, index): (Packed<'a>, OutputWriter, Vec<u8>)| {
                let path = packed_path(file, night.settings.format.packed_ending()) + encryption.ending();
                Ok((file, out.encrypted(plain, &path, encryption.to(file.0)?)?, index))
            };
            closed = closed.into_par_iter().map(encrypt).collect::<Result<_>>()?;
        }
        let mut indexes = Vec::with_capacity(closed.len());
        for (file, writer, index) in closed {
            output.keep(writer)?;
            indexes.push((packed_path(file, INDEX), index));
        }
        output.put_all(indexes, |index| Ok(index.into()))
    }
}

/// Of every packed file, one of the requests that ask the same; those that get no bundle are left out.
fn asked_by_packed_file(night: &Night) -> BTreeMap<Packed<'_>, Vec<&CheckedRequest>> {
    let mut by_file: BTreeMap<Packed<'_>, Vec<&CheckedRequest>> = BTreeMap::new();
    let mut met = FxHashSet::default();
    for request in night.checked.requests.iter().filter(|request| request.refusal.is_none()) {
        let file = packed(request);
        if met.insert((file, Arc::as_ptr(&request.lines).addr())) {
            by_file.entry(file).or_default().push(request);
        }
    }
    by_file
}

/// Path of what a request has alone, without ending; made from validated ids only.
fn per_request_path(bundle: &Bundle<'_>) -> String {
    format!("{PER_REQUEST}{}/{}", bundle.request.recipient, bundle.request.request_id)
}

const PER_REQUEST: &str = "bundles/per_request/";

/// What the name of a folder ends with that was archived to be encrypted.
pub(crate) const ARCHIVE: &str = ".tar";

/// Recipient and request, as `recipient/request`, of the bundle that stands at a path of its own; `None` for a packed one, and
/// for what stands beside the bundle in its folder.
pub(crate) fn own_bundle(path: &str) -> Option<&str> {
    let name = without_ending(path).0.strip_prefix(PER_REQUEST)?;
    match name.matches('/').count() {
        1 => [".json", ".parquet", ARCHIVE].iter().find_map(|ending| name.strip_suffix(ending)),
        _ => folder::BUNDLES.iter().find_map(|bundle| name.strip_suffix(bundle)?.strip_suffix('/')),
    }
}

/// A packed Parquet file; its index gives each request's row.
struct PackedParquet {
    schema: FileSchema,
    writer: ArrowWriter<OutputWriter>,
    waiting: Option<RecordBatch>,
    index: Vec<u8>,
    rows: u64,
}

impl PackedParquet {
    fn create(night: &Night, writer: OutputWriter, asked: &[&CheckedRequest]) -> Result<Self> {
        let schema = FileSchema::of(&night.catalog, asked.iter().copied());
        let writer = schema.writer(writer)?;
        Ok(Self { schema, writer, waiting: None, index: b"request_id,row\n".to_vec(), rows: 0 })
    }

    fn write(&mut self, head: &RunHead, bundles: &[&Bundle<'_>]) -> Result<()> {
        for bundle in bundles {
            self.index.extend_from_slice(format!("{},{}\n", bundle.request.request_id, self.rows).as_bytes());
            self.rows += 1;
        }
        let fresh = self.schema.batch(head, bundles)?;
        let mut rows = match self.waiting.take() {
            Some(waiting) => concat_batches(&fresh.schema(), [&waiting, &fresh]).map_err(from_arrow)?,
            None => fresh,
        };
        while rows.num_rows() >= ROWS_AT_A_TIME {
            self.writer.write(&rows.slice(0, ROWS_AT_A_TIME)).map_err(from_parquet)?;
            rows = rows.slice(ROWS_AT_A_TIME, rows.num_rows() - ROWS_AT_A_TIME);
        }
        self.waiting = Some(rows);
        Ok(())
    }

    fn close(mut self) -> Result<OutputWriter> {
        if let Some(rows) = self.waiting.take().filter(|rows| rows.num_rows() > 0) {
            self.writer.write(&rows).map_err(from_parquet)?;
        }
        self.writer.into_inner().map_err(from_parquet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_of_its_own_is_known_by_its_path() {
        for path in [
            "semas/r1.json",
            "semas/r1.parquet.age",
            "semas/r1.json.aria",
            "semas/r1.tar.age",
            "semas/r1/data/bundle.json",
        ] {
            assert_eq!(own_bundle(&format!("{PER_REQUEST}{path}")), Some("semas/r1"), "{path}");
        }
        for path in ["semas/r1/datapackage.json", "semas/r1/data/income.csv", "semas/r1/bagit.txt", "semas/r1.csv"] {
            assert_eq!(own_bundle(&format!("{PER_REQUEST}{path}")), None, "{path}");
        }
        assert_eq!(own_bundle("bundles/packed/semas/fund.ndjson"), None);
    }
}
