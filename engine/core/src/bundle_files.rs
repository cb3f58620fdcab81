//! Bundles into files: a file for each request, or one per recipient and service with an index.

use std::collections::BTreeMap;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use ieum_model::check::CheckedRequest;
use ieum_model::error::Result;
use parquet::arrow::ArrowWriter;
use rayon::prelude::*;

use crate::bundle::parquet::{FileSchema, ROWS_AT_A_TIME, from_parquet};
use crate::bundle::{Bundle, RunHead, json};
use crate::from_arrow;
use crate::input::{BundleFormat, Layout, Night};
use crate::sink::{Output, OutputWriter};

/// The bundle files of a run, in the making.
pub struct BundleFiles<'a> {
    night: &'a Night,
    head: RunHead,
    ndjson: BTreeMap<String, (OutputWriter, Vec<u8>)>,
    parquet: BTreeMap<String, PackedParquet>,
}

/// Path of a packed file without its ending; made from validated codes only.
fn packed_name(request: &CheckedRequest) -> String {
    let service = request.service.as_deref().unwrap_or("documents");
    format!("bundles/packed/{}/{service}", request.recipient)
}

fn json_line(head: &RunHead, bundle: &Bundle<'_>) -> Vec<u8> {
    /// A bundle of a few documents; longer ones grow.
    const USUAL_BYTES: usize = 1024;
    let mut line = Vec::with_capacity(USUAL_BYTES);
    json::write(&mut line, head, bundle);
    line.push(b'\n');
    line
}

/// Bundles by the packed file they go to, in their order.
fn by_packed_file<'b, B: std::borrow::Borrow<Bundle<'b>>>(
    bundles: impl Iterator<Item = B>,
) -> BTreeMap<String, Vec<B>> {
    let mut by_file: BTreeMap<String, Vec<B>> = BTreeMap::new();
    for bundle in bundles {
        by_file.entry(packed_name(bundle.borrow().request)).or_default().push(bundle);
    }
    by_file
}

impl<'a> BundleFiles<'a> {
    /// No file yet; every bundle will carry `head`.
    pub fn new(night: &'a Night, head: RunHead) -> Self {
        Self { night, head, ndjson: BTreeMap::new(), parquet: BTreeMap::new() }
    }

    /// Writes the bundles of one shard, in their order.
    ///
    /// # Errors
    /// When the output does not take them.
    pub fn write(&mut self, bundles: Vec<Bundle<'_>>, output: &mut Output) -> Result<()> {
        match (self.night.settings.format, self.night.settings.layout) {
            (BundleFormat::Json, layout) => self.write_json(layout, &bundles, output),
            (BundleFormat::Parquet, Layout::PerRequest) => self.write_parquet_files(&bundles, output),
            (BundleFormat::Parquet, Layout::Packed) => self.write_packed_parquet(bundles, output),
        }
    }

    fn write_json(&mut self, layout: Layout, bundles: &[Bundle<'_>], output: &mut Output) -> Result<()> {
        match layout {
            Layout::PerRequest => {
                output.put_all(bundles, |bundle| Ok((per_request_name(bundle, "json"), json_line(&self.head, bundle))))
            }
            Layout::Packed => self.write_packed_json(bundles, output),
        }
    }

    fn write_packed_json(&mut self, bundles: &[Bundle<'_>], output: &Output) -> Result<()> {
        let by_file = by_packed_file(bundles.iter());
        for name in by_file.keys() {
            if !self.ndjson.contains_key(name) {
                let writer = output.create(&format!("{name}.ndjson"))?;
                self.ndjson.insert(name.clone(), (writer, b"request_id,offset,bytes\n".to_vec()));
            }
        }
        let head = &self.head;
        let append = |(name, (writer, index)): (&String, &mut (OutputWriter, Vec<u8>))| {
            let bundles = by_file.get(name).map(Vec::as_slice).unwrap_or_default();
            let lines: Vec<Vec<u8>> = bundles.par_iter().map(|bundle| json_line(head, bundle)).collect();
            bundles.iter().zip(lines).try_for_each(|(bundle, line)| {
                let offset = writer.append(&line)?;
                let id = &bundle.request.request_id;
                index.extend_from_slice(format!("{id},{offset},{}\n", line.len()).as_bytes());
                Ok(())
            })
        };
        self.ndjson.par_iter_mut().try_for_each(append)
    }

    fn write_parquet_files(&self, bundles: &[Bundle<'_>], output: &mut Output) -> Result<()> {
        let (catalog, head) = (&self.night.catalog, &self.head);
        output.put_all(bundles, |bundle| {
            let schema = FileSchema::of(catalog, [bundle.request]);
            let mut writer = schema.writer(Vec::new())?;
            writer.write(&schema.batch(head, std::slice::from_ref(bundle))?).map_err(from_parquet)?;
            Ok((per_request_name(bundle, "parquet"), writer.into_inner().map_err(from_parquet)?))
        })
    }

    fn write_packed_parquet(&mut self, bundles: Vec<Bundle<'_>>, output: &Output) -> Result<()> {
        let by_file = by_packed_file(bundles.into_iter());
        for name in by_file.keys() {
            if !self.parquet.contains_key(name) {
                let file = PackedParquet::create(self.night, name, output)?;
                self.parquet.insert(name.clone(), file);
            }
        }
        let head = &self.head;
        self.parquet.par_iter_mut().try_for_each(|(name, file)| match by_file.get(name) {
            Some(bundles) => file.write(head, bundles),
            None => Ok(()),
        })
    }

    /// Closes every file.
    ///
    /// # Errors
    /// When the output does not take the last bytes.
    pub fn finish(self, output: &mut Output) -> Result<()> {
        for (name, (writer, index)) in self.ndjson {
            output.keep(writer)?;
            output.put(&format!("{name}.index.csv"), &index)?;
        }
        for (name, file) in self.parquet {
            let index = file.index.clone();
            output.keep(file.close()?)?;
            output.put(&format!("{name}.index.csv"), &index)?;
        }
        Ok(())
    }
}

fn per_request_name(bundle: &Bundle<'_>, ending: &str) -> String {
    format!("bundles/per_request/{}/{}.{ending}", bundle.request.recipient, bundle.request.request_id)
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
    fn create(night: &Night, name: &str, output: &Output) -> Result<Self> {
        let requests = night.checked.requests.iter();
        let delivered = requests.filter(|request| request.refusal.is_none() && packed_name(request) == name);
        let schema = FileSchema::of(&night.catalog, delivered);
        let writer = schema.writer(output.create(&format!("{name}.parquet"))?)?;
        Ok(Self { schema, writer, waiting: None, index: b"request_id,row\n".to_vec(), rows: 0 })
    }

    fn write(&mut self, head: &RunHead, bundles: &[Bundle<'_>]) -> Result<()> {
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
