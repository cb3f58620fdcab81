//! Rows of a sheet to columns: the key's cell first, the wanted cells of hits after it. No files.

use std::sync::Arc;

use ieum_model::connector::{KeyProbe, Strays};
use ieum_model::dataset::{Encoding, ItemType};
use serde_json::{Value, json};

use super::book::Row;
use super::cell::Cell;
use crate::convert::{Columns, Flaw};
use crate::text::Verdict;

const NO_VALUE: Flaw = Flaw { rule: "type", reason: "expected a value, the cell holds an error or no day" };

/// A cell that outlives its row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owned {
    Text(String),
    Other(Cell<'static>),
}

impl Owned {
    pub(super) fn of(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Number(number) => Self::Other(Cell::Number(number)),
            Cell::Time { serial, from_1904 } => Self::Other(Cell::Time { serial, from_1904 }),
            Cell::Bool(yes) => Self::Other(Cell::Bool(yes)),
            Cell::Error => Self::Other(Cell::Error),
        }
    }

    pub(super) fn cell(&self) -> Cell<'_> {
        match self {
            Self::Text(text) => Cell::Text(text),
            Self::Other(cell) => *cell,
        }
    }
}

/// Where the cells of a row are found.
pub(super) trait Cells {
    /// The cell of a column of the file, by its place; blank where there is none.
    fn at(&self, place: usize) -> Cell<'_>;
    /// Every cell that is not blank, by its place.
    fn all(&self) -> Vec<(usize, Cell<'_>)>;
}

/// A row of a sheet, its blank cells filled down, and the name of its sheet after the last column.
pub(super) struct Filled<'r> {
    pub(super) row: &'r Row<'r>,
    pub(super) filled: &'r [(usize, Option<Owned>)],
    pub(super) sheet: Option<(usize, &'r str)>,
}

impl Cells for Filled<'_> {
    fn at(&self, place: usize) -> Cell<'_> {
        if let Some((_, name)) = self.sheet.filter(|(at, _)| *at == place) {
            return Cell::Text(name);
        }
        let own = u32::try_from(place).ok().and_then(|column| self.row.cell(column));
        let above = || self.filled.iter().find(|(at, _)| *at == place)?.1.as_ref().map(Owned::cell);
        own.or_else(above).unwrap_or(Cell::Text(""))
    }

    fn all(&self) -> Vec<(usize, Cell<'_>)> {
        let mut cells: Vec<(usize, Cell<'_>)> =
            self.row.cells().map(|(column, cell)| (column as usize, cell)).collect();
        for (at, above) in self.filled {
            if let Some(above) = above
                && !cells.iter().any(|(place, _)| place == at)
            {
                cells.push((*at, above.cell()));
            }
        }
        cells.extend(self.sheet.map(|(at, name)| (at, Cell::Text(name))));
        cells.sort_by_key(|(place, _)| *place);
        cells
    }
}

/// Decodes rows.
pub(super) struct RowDecoder {
    /// Place in the file and type of each column of the schema.
    pub(super) wanted: Vec<(usize, Option<ItemType>)>,
    /// The probe, and the position in the schema of the column that it is asked about.
    pub(super) probe: Option<(Arc<dyn KeyProbe>, usize)>,
    /// Position in the schema of the key.
    pub(super) key: Option<usize>,
    scratch: String,
}

impl RowDecoder {
    pub(super) fn new(
        wanted: Vec<(usize, Option<ItemType>)>,
        probe: Option<(Arc<dyn KeyProbe>, usize)>,
        key: Option<usize>,
    ) -> Self {
        Self { wanted, probe, key, scratch: String::new() }
    }

    /// Text of the cell in a column of the schema.
    fn text(&mut self, cells: &dyn Cells, column: usize) -> Option<&str> {
        let (place, item_type) = self.wanted[column];
        self.scratch.clear();
        cells.at(place).text(item_type, &mut self.scratch)?;
        Some(&self.scratch)
    }

    /// Asks the probe first; appends the wanted cells only for a hit.
    pub(super) fn decode(&mut self, cells: &dyn Cells, columns: &mut Columns) -> Verdict {
        if let Some((probe, key)) = self.probe.clone()
            // A key that is an error is for the row to be rejected.
            && self.text(cells, key).is_some_and(|text| !probe.may_match(text.as_bytes()))
        {
            return Verdict::Filtered;
        }
        for column in 0..self.wanted.len() {
            let pushed = match self.text(cells, column) {
                Some(text) => columns.push(column, text.as_bytes()),
                None => Err(NO_VALUE),
            };
            if let Err(flaw) = pushed {
                columns.drop_row();
                return Verdict::Rejected { rule: flaw.rule, column: Some(column), reason: flaw.reason };
            }
        }
        columns.keep_row();
        Verdict::Kept
    }

    /// Whose a row may be that `column` spoils.
    pub(super) fn strays(&mut self, cells: &dyn Cells, column: Option<usize>) -> Strays {
        if let Some(key) = self.key.filter(|key| column.is_some_and(|column| column != *key))
            && let Some(text) = self.text(cells, key)
        {
            return Strays { keys: vec![text.as_bytes().to_vec()], is_anybodys: false };
        }
        let Some((probe, _)) = &self.probe else { return Strays::default() };
        let texts: Vec<String> = cells.all().iter().map(|(_, cell)| plain(*cell)).collect();
        let pieces: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        probe.strays(&pieces, texts.join("\t").as_bytes())
    }
}

fn plain(cell: Cell<'_>) -> String {
    let mut text = String::new();
    let _ = cell.text(None, &mut text);
    text
}

/// What becomes of a rejected row: JSON, with the name of each cell's column, so that it can be decoded again without its file.
pub(super) fn raw(sheet: &str, number: u32, names: &[String], cells: &dyn Cells) -> Vec<u8> {
    let cell = |(place, cell): (usize, Cell<'_>)| {
        let value = match cell {
            Cell::Text(text) => json!(text),
            Cell::Number(number) => json!(number),
            Cell::Time { serial, from_1904 } => json!({ "day": serial, "from_1904": from_1904 }),
            Cell::Bool(yes) => json!(yes),
            Cell::Error => json!({ "error": true }),
        };
        json!([names.get(place).map_or("", String::as_str), value])
    };
    let cells: Vec<Value> = cells.all().into_iter().map(cell).collect();
    json!({ "sheet": sheet, "row": number, "cells": cells }).to_string().into_bytes()
}

/// A row that [`raw`] wrote.
pub(super) struct Kept {
    pub(super) names: Vec<String>,
    cells: Vec<Owned>,
}

impl Kept {
    pub(super) fn parse(raw: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(raw).ok()?;
        let (mut names, mut cells) = (Vec::new(), Vec::new());
        for pair in value.get("cells")?.as_array()? {
            names.push(pair.get(0)?.as_str()?.to_owned());
            cells.push(match pair.get(1)? {
                Value::String(text) => Owned::Text(text.clone()),
                Value::Number(number) => Owned::Other(Cell::Number(number.as_f64()?)),
                Value::Bool(yes) => Owned::Other(Cell::Bool(*yes)),
                other => Owned::Other(match other.get("day").and_then(Value::as_f64) {
                    Some(serial) => Cell::Time { serial, from_1904: other.get("from_1904").and_then(Value::as_bool)? },
                    None => Cell::Error,
                }),
            });
        }
        Some(Self { names, cells })
    }
}

impl Cells for Kept {
    fn at(&self, place: usize) -> Cell<'_> {
        self.cells.get(place).map_or(Cell::Text(""), Owned::cell)
    }

    fn all(&self) -> Vec<(usize, Cell<'_>)> {
        self.cells.iter().map(Owned::cell).enumerate().collect()
    }
}

/// Text of sheets is UTF-8 by the time it is decoded.
pub(super) const ENCODING: Encoding = Encoding::Utf8;
