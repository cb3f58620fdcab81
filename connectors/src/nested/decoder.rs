//! Decodes nested rows: a glance at the key first, the wanted items of hits after it.

use std::sync::Arc;

use ieum_model::connector::{KeyProbe, Strays};
use ieum_model::dataset::{Encoding, ItemType};
use ieum_model::error::Result;
use ieum_model::path::{Ending, Paths};
use memchr::memmem::Finder as Needle;

use super::find::{Finder, Tree};
use super::values::Values;
use crate::convert::{Columns, Flaw};
use crate::encoding;
use crate::text::{Decode, Passed, Verdict};

const MISSING: Flaw =
    Flaw { rule: "missing", reason: "expected the first name of the key's path among the row's members" };

/// One format of nested rows.
pub trait Markup: Send {
    /// Its trees.
    type Tree: Tree + Default + Send;

    /// Reads a row into `tree`, and says by which rule of `repair` where it had to be repaired.
    ///
    /// # Errors
    /// The flaw of a row that is none.
    fn parse(&self, row: &[u8], tree: &mut Self::Tree) -> Result<Option<&'static str>, Flaw>;

    /// What follows a place in `row` where `name` stands: its value where that is plain, that it is none, or neither.
    fn value_after<'r>(&self, row: &'r [u8], name: &Name, at: usize) -> Glimpse<'r>;

    /// Whether every name and value of `row` is spelled as it is, so that a glance can find it.
    fn is_plainly_spelled(&self, row: &[u8], name: &Name) -> bool;

    /// Whether this byte stands between values.
    fn is_between(&self, byte: u8) -> bool;

    /// The key of a row, where its format finds it without parsing the row.
    fn key<'r>(&self, _row: &'r [u8]) -> Glimpse<'r> {
        Glimpse::Unclear
    }
}

/// What stands after a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Glimpse<'r> {
    /// A plain value.
    Value(&'r [u8]),
    /// No value: the name is none, or its value is empty.
    Nothing,
    /// Something that only parsing tells.
    Unclear,
}

/// A name as it stands in rows.
pub struct Name {
    /// Its bytes.
    pub bytes: Vec<u8>,
    needle: Needle<'static>,
}

/// How rows are asked for their key before they are parsed.
struct Glance {
    names: Vec<(Name, Ending)>,
}

impl Glance {
    /// `None` where the paths must be walked to find the key.
    fn of(paths: &Paths, encoding: Encoding) -> Option<Self> {
        let name = |path: &ieum_model::path::Path| {
            let name = path.last_name().filter(|name| !name.starts_with('@'))?;
            let bytes = encoding::encode(encoding, name)?;
            let needle = Needle::new(&bytes).into_owned();
            let is_apart = !matches!(path.ending, Ending::Joined(_));
            is_apart.then(|| (Name { bytes, needle }, path.ending.clone()))
        };
        Some(Self { names: paths.0.iter().map(name).collect::<Option<_>>()? })
    }
}

/// Decodes rows of one format.
pub struct NestedDecoder<M: Markup> {
    markup: M,
    encoding: Encoding,
    /// Of each column of the schema.
    paths: Vec<Paths>,
    /// Of each column of the schema, where the catalog tells it.
    types: Vec<Option<ItemType>>,
    /// Columns that hold keys: one that a row does not even name is a flaw of it.
    keys: Vec<usize>,
    /// The probe of keys in UTF-8, and the key's column.
    probe: Option<(Arc<dyn KeyProbe>, usize)>,
    glance: Option<Glance>,
    tree: M::Tree,
    finder: Finder,
    values: Values,
    seen: Values,
}

impl<M: Markup> NestedDecoder<M> {
    /// A decoder of what `paths` find for each column of the schema; every row must name each of the columns `keys`.
    pub fn new(
        markup: M,
        encoding: Encoding,
        paths: Vec<Paths>,
        types: Vec<Option<ItemType>>,
        keys: Vec<usize>,
        probe: Option<(Arc<dyn KeyProbe>, usize)>,
    ) -> Self {
        let glance = probe.as_ref().and_then(|(_, key)| Glance::of(&paths[*key], encoding));
        let (tree, finder) = (M::Tree::default(), Finder::default());
        let (values, seen) = (Values::default(), Values::default());
        Self { markup, encoding, paths, types, keys, probe, glance, tree, finder, values, seen }
    }

    /// Whether no place of the row that the key may stand in holds a wanted one.
    fn is_missed(&mut self, row: &[u8]) -> bool {
        let Some((probe, _)) = &self.probe else { return false };
        match self.markup.key(row) {
            Glimpse::Value(key) => {
                let key = std::str::from_utf8(key).map_or(key, |text| text.trim().as_bytes());
                return !probe.may_match(key);
            }
            Glimpse::Nothing => return true,
            Glimpse::Unclear => {}
        }
        let Some(glance) = &self.glance else { return false };
        let mut stands = false;
        for (name, ending) in &glance.names {
            if !self.markup.is_plainly_spelled(row, name) {
                return false;
            }
            for at in name.needle.find_iter(row) {
                let key = match self.markup.value_after(row, name, at) {
                    Glimpse::Value(key) => key,
                    Glimpse::Nothing => continue,
                    Glimpse::Unclear => return false,
                };
                stands = true;
                if *ending == Ending::Value && key.is_ascii() {
                    if probe.may_match(key.trim_ascii()) {
                        return false;
                    }
                    continue;
                }
                let mut scratch = String::new();
                let Some(text) = encoding::decode(self.encoding, key, &mut scratch) else { return false };
                self.seen.clear();
                self.seen.push(text);
                self.seen.end(ending);
                if self.seen.iter().flatten().any(|key| probe.may_match(key.trim().as_bytes())) {
                    return false;
                }
            }
        }
        stands
    }

    /// Parses a row and appends it, or says what it lacks.
    fn read(&mut self, row: &[u8], columns: &mut Columns) -> Result<Verdict, (Option<usize>, Flaw)> {
        let repaired = self.markup.parse(row, &mut self.tree).map_err(|flaw| (None, flaw))?;
        for key in &self.keys {
            if !self.finder.has_start(&self.tree, &self.paths[*key]) {
                return Err((Some(*key), MISSING));
            }
        }
        if let Some((probe, key)) = &self.probe {
            self.tree.becomes(self.types[*key]);
            let found = self.finder.find(&self.tree, &self.paths[*key], &mut self.values);
            found.map_err(|flaw| (Some(*key), flaw))?;
            if !self.values.iter().flatten().any(|found| probe.may_match(found.trim().as_bytes())) {
                return Ok(Verdict::Filtered);
            }
        }
        for (column, paths) in self.paths.iter().enumerate() {
            self.tree.becomes(self.types[column]);
            let found = self.finder.find(&self.tree, paths, &mut self.values);
            let pushed = found.and_then(|()| columns.push_values(column, &self.values));
            if let Err(flaw) = pushed {
                columns.drop_row();
                return Err((Some(column), flaw));
            }
        }
        columns.keep_row();
        Ok(repaired.map_or(Verdict::Kept, |rule| Verdict::Repaired { rule }))
    }
}

impl<M: Markup> Decode for NestedDecoder<M> {
    fn decode(&mut self, row: &[u8], _quoted: bool, columns: &mut Columns) -> Verdict {
        if self.is_missed(row) {
            return Verdict::Filtered;
        }
        match self.read(row, columns) {
            Ok(verdict) => verdict,
            Err((column, flaw)) => Verdict::Rejected { rule: flaw.rule, column, reason: flaw.reason },
        }
    }

    fn pass_over(&mut self, _bytes: &[u8]) -> Passed {
        Passed::default()
    }

    fn note(&mut self, _row: &[u8]) {}

    fn close(&self, _name: &str, _trailer: Option<&[u8]>, _rows: u64) -> Result<()> {
        Ok(())
    }

    fn cell(&self, row: &[u8], _quoted: bool, column: usize) -> Option<Vec<u8>> {
        let (mut tree, mut values) = (M::Tree::default(), Values::default());
        self.markup.parse(row, &mut tree).ok()?;
        tree.becomes(*self.types.get(column)?);
        Finder::default().find(&tree, self.paths.get(column)?, &mut values).ok()?;
        let text = values.only().ok()?.unwrap_or_default().trim();
        encoding::encode(self.encoding, text)
    }

    fn strays(&self, row: &[u8]) -> Strays {
        let Some((probe, _)) = &self.probe else { return Strays::default() };
        let probe = encoding::probe(self.encoding, Arc::clone(probe));
        let pieces: Vec<&[u8]> = row
            .split(|byte| self.markup.is_between(*byte))
            .map(<[u8]>::trim_ascii)
            .filter(|piece| !piece.is_empty())
            .collect();
        probe.strays(&pieces, row)
    }
}
