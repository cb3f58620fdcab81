//! Files of blocks.

use std::io::BufReader;
use std::sync::Arc;

use ieum_model::connector::{FileColumn, ScanSpec};
use ieum_model::dataset::{Dataset, Encoding, Export, ItemType, Limits};
use ieum_model::error::{Result, nearest};
use ieum_model::path::{Path, Paths, Step};

use super::container::{self, Blocks, Header};
use super::schema::{Kind, Logical, Schema};
use super::tree;
use super::walk::{Stop, Walk};
use crate::columns as names;
use crate::export::{Decoding, ExportFiles, TextFormat};
use crate::files::Source;
use crate::nested::decoder::NestedDecoder;
use crate::nested::reader as nested;
use crate::text::{Cut, Cutter, Rows, Window};

/// What stands between the names of a path.
const SEPARATOR: char = '.';
/// Bytes asked of storage at a time.
const STORAGE_READ: usize = 256 * 1024;

/// Object container files.
pub(crate) struct Avro;

/// A file whose stream is that of its rows, and their schema.
fn opened(mut source: Source, limits: Limits) -> Result<(Source, Arc<Schema>)> {
    let mut file = BufReader::with_capacity(STORAGE_READ, source.take_stream());
    let header = Header::read(&mut file).map_err(|error| source.broken(&error))?;
    let schema = Arc::clone(&header.schema);
    let blocks = Blocks::new(file, header, limits, source.storage());
    source.put_stream(Box::new(blocks));
    Ok((source, schema))
}

/// The columns of a file and what they seem to be, for who describes it.
///
/// # Errors
/// When it is no Avro file.
pub(crate) fn columns(source: Source) -> Result<Vec<(String, ItemType)>> {
    let (_, schema) = opened(source, Limits::default())?;
    let column = |(name, id): &(String, usize)| {
        let mut leaves = Vec::new();
        schema.leaves(*id, &mut leaves);
        let of = leaves.first().map(|id| schema.of(*id));
        let item_type = of.map_or(ItemType::Str, |of| match (&of.kind, of.logical) {
            (_, Logical::Date) => ItemType::Date,
            (_, Logical::Timestamp { .. }) => ItemType::Dt,
            (_, Logical::Decimal { scale: 0 }) => ItemType::Int,
            (_, Logical::Decimal { .. }) | (Kind::Float | Kind::Double, _) => ItemType::Dec,
            (Kind::Int | Kind::Long, Logical::None) => ItemType::Int,
            (Kind::Boolean, _) => ItemType::Flag,
            (Kind::Enum(_), _) => ItemType::Code,
            _ => ItemType::Str,
        });
        (name.clone(), item_type)
    };
    Ok(schema.members().iter().map(column).collect())
}

impl Avro {
    fn rows(files: &ExportFiles, name: &str, chunk: usize) -> Result<(Rows<AvroCutter>, Arc<Schema>)> {
        let limits = files.export.limits;
        let (source, schema) = opened(Source::packed(&files.root, name, limits)?, limits)?;
        let cutter = AvroCutter { schema: Arc::clone(&schema), depth: limits.depth as usize, rows: 0, bytes: 0 };
        Ok((Rows::new(Window::new(source, chunk, limits), cutter, 1), schema))
    }
}

/// Whether a path leads to a value in rows of a schema.
enum Leads {
    ToValue,
    ToMembers,
    Nowhere,
}

fn leads(schema: &Schema, path: &Path) -> Leads {
    let mut found = vec![schema.root()];
    for step in &path.steps {
        let Step::Name(name) = step else { continue };
        let mut next = Vec::new();
        for id in found {
            match &schema.of(id).kind {
                Kind::Record(members) => {
                    let member = members.iter().find(|(member, _)| member == name);
                    member.into_iter().for_each(|(_, id)| schema.leaves(*id, &mut next));
                    // One that is always absent.
                    let is_null = member.is_some_and(|(_, id)| schema.is_empty(*id));
                    if is_null && next.is_empty() {
                        return Leads::ToValue;
                    }
                }
                Kind::Map(values) => schema.leaves(*values, &mut next),
                _ => {}
            }
        }
        next.sort_unstable();
        next.dedup();
        found = next;
    }
    let is_members = |id: &usize| matches!(schema.of(*id).kind, Kind::Record(_) | Kind::Map(_));
    match found.as_slice() {
        [] => Leads::Nowhere,
        found if found.iter().all(is_members) => Leads::ToMembers,
        _ => Leads::ToValue,
    }
}

/// Whether the file has a column that is wanted.
fn check(files: &ExportFiles, name: &str, schema: &Schema, code: &str, paths: &Paths) -> Result<()> {
    let mut is_members = false;
    for path in &paths.0 {
        match leads(schema, path) {
            Leads::ToValue => return Ok(()),
            Leads::ToMembers => is_members = true,
            Leads::Nowhere => {}
        }
    }
    let column = names::named(&files.export.columns, code);
    let error = |message: String, hint: String| Err(files.broken(name, message, hint).at("column", code));
    if is_members {
        let hint = "map the path of a value in it in `columns`, as in `address.city`";
        return error(format!("column {column} is a record or a map"), hint.into());
    }
    let members = || schema.members().iter().map(|(member, _)| member.as_str());
    let hint = match nearest(code, members()) {
        Some(near) => format!("did the holder mean it by `{near}`? Then map it in `columns`"),
        None => "if the holder renamed it, map its path in `columns`; else ask the holder to deliver it".into(),
    };
    error(format!("column {column} is missing"), hint)
}

impl TextFormat for Avro {
    type Cutter = AvroCutter;
    type Decoder = NestedDecoder<tree::Rows>;

    fn try_new(dataset: &Dataset, export: &Export) -> Result<Self> {
        if export.control.trailer.is_some() {
            return Err(ExportFiles::config(dataset, "an Avro file has no trailer"));
        }
        if export.encoding.is_utf16() || export.encoding.is_ebcdic() {
            return Err(ExportFiles::config(dataset, "text in an Avro file is UTF-8; `encoding` is that of `bytes`"));
        }
        Ok(Self)
    }

    fn columns(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<Option<Vec<FileColumn>>> {
        let (_, schema) = Self::rows(files, name, chunk)?;
        let column = |(name, id): &(String, usize)| FileColumn { name: name.clone(), kind: Some(schema.name(*id)) };
        Ok(Some(schema.members().iter().map(column).collect()))
    }

    fn decoding(
        &self,
        files: &ExportFiles,
        name: &str,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<Decoding<AvroCutter, Self::Decoder>> {
        let (rows, schema) = Self::rows(files, name, chunk)?;
        let paths = nested::paths(files, spec, SEPARATOR).map_err(|error| error.at("export", name))?;
        for (field, paths) in spec.schema.fields().iter().zip(&paths) {
            check(files, name, &schema, field.name(), paths)?;
        }
        let key = names::key(spec)?.map(|key| &paths[key]);
        let export = &files.export;
        let markup = tree::Rows::new(schema, export.encoding, export.limits.depth as usize, key);
        let (decoder, columns) = nested::decoder(files, spec, markup, paths, Encoding::Utf8)?;
        Ok(Decoding { rows, decoder, columns })
    }

    /// That every block holds the rows that it says.
    fn verify(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<()> {
        let (mut rows, _) = Self::rows(files, name, chunk)?;
        while rows.advance()?.is_some() {}
        Ok(())
    }
}

/// Cuts the rows of blocks.
pub(crate) struct AvroCutter {
    schema: Arc<Schema>,
    depth: usize,
    /// Rows of the block that are still to come, and the bytes that they take.
    rows: u64,
    bytes: u64,
}

const WRONG: Cut = Cut::Refused { message: "file is damaged: a block does not hold its rows", hint: container::AGAIN };
const DEEP: Cut = Cut::Refused {
    message: "a row is nested deeper than the limit",
    hint: "if the holder's file is meant to be so, raise `limits = { depth = … }` in the dataset's [export]",
};

impl Cutter for AvroCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        if self.rows == 0 {
            if self.bytes > 0 {
                return WRONG;
            }
            let Some(mark) = bytes.first_chunk::<{ container::MARK }>() else {
                return if at_end { WRONG } else { Cut::More };
            };
            let number =
                |at: usize| mark[at..at + 8].iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte));
            (self.rows, self.bytes) = (number(0), number(8));
            return Cut::Head { next: container::MARK };
        }
        let in_block = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let in_sight = bytes.len().min(in_block);
        let mut walk = Walk::new(&self.schema, &bytes[..in_sight]);
        match walk.value(self.schema.root(), self.depth, &mut ()) {
            Ok(()) => {
                let end = walk.at();
                self.rows -= 1;
                self.bytes -= end as u64;
                Cut::Row { end, next: end, lines: 1, quoted: false }
            }
            Err(Stop::More) if in_sight < in_block && !at_end => Cut::More,
            Err(Stop::Deep) => DEEP,
            Err(Stop::More | Stop::Wrong) => WRONG,
        }
    }

    fn missing(&self) -> Option<&'static str> {
        (self.rows > 0).then_some("the rows of its last block")
    }
}
