//! Walks one row by its schema: where it ends, and every value in it.

use super::schema::{Kind, Schema};

/// Why a walk stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end before the row does.
    More,
    /// The bytes are none of the schema.
    Wrong,
    /// The row is nested deeper than the limit.
    Deep,
}

/// Is told of the values of a row, in their order.
pub(super) trait Visit {
    /// A value of a type begins at a place; unions are gone through without a word. Gives what [`Visit::ends`] is told.
    fn begins(&mut self, id: usize, at: usize) -> usize;
    /// The value that `begins` gave this for ends before a place.
    fn ends(&mut self, token: usize, at: usize);
    /// The name of the next value of a map stands in these places.
    fn name(&mut self, start: usize, end: usize);
}

/// Wants to know of nothing.
impl Visit for () {
    fn begins(&mut self, _id: usize, _at: usize) -> usize {
        0
    }

    fn ends(&mut self, _token: usize, _at: usize) {}

    fn name(&mut self, _start: usize, _end: usize) {}
}

/// A place in a row.
pub(super) struct Walk<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// At the start of `bytes`.
    pub(super) fn new(schema: &'a Schema, bytes: &'a [u8]) -> Self {
        Self { schema, bytes, at: 0 }
    }

    /// Where the walk has come to.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = *self.bytes.get(self.at).ok_or(Stop::More)?;
        self.at += 1;
        Ok(byte)
    }

    /// A number in groups of seven bits, the lowest first; negative ones by turns with positive ones.
    pub(super) fn long(&mut self) -> Result<i64, Stop> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(Stop::Wrong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Stop::Wrong)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Stop> {
        let end = self.at.checked_add(bytes).ok_or(Stop::Wrong)?;
        if end > self.bytes.len() {
            return Err(Stop::More);
        }
        self.at = end;
        Ok(())
    }

    /// Text or bytes behind their length: where they stand.
    pub(super) fn string(&mut self) -> Result<(usize, usize), Stop> {
        let length = usize::try_from(self.long()?).map_err(|_| Stop::Wrong)?;
        let start = self.at;
        self.skip(length)?;
        Ok((start, self.at))
    }

    /// The branch of a union that the next value is of.
    pub(super) fn branch(&mut self, branches: &[usize]) -> Result<usize, Stop> {
        let at = usize::try_from(self.long()?).map_err(|_| Stop::Wrong)?;
        branches.get(at).copied().ok_or(Stop::Wrong)
    }

    /// Goes over a value of a type that is nested no deeper than `depth`.
    pub(super) fn value(&mut self, id: usize, depth: usize, visit: &mut impl Visit) -> Result<(), Stop> {
        let schema = self.schema;
        if depth == 0 {
            return Err(Stop::Deep);
        }
        if let Kind::Union(branches) = &schema.of(id).kind {
            let branch = self.branch(branches)?;
            return self.value(branch, depth, visit);
        }
        let token = visit.begins(id, self.at);
        if !schema.is_empty(id) {
            match &schema.of(id).kind {
                Kind::Null | Kind::Union(_) => {}
                Kind::Boolean if self.byte()? > 1 => return Err(Stop::Wrong),
                Kind::Boolean => {}
                Kind::Int => {
                    i32::try_from(self.long()?).map_err(|_| Stop::Wrong)?;
                }
                Kind::Long => {
                    self.long()?;
                }
                Kind::Float => self.skip(4)?,
                Kind::Double => self.skip(8)?,
                Kind::Bytes | Kind::Text => {
                    self.string()?;
                }
                Kind::Fixed(bytes) => self.skip(*bytes)?,
                Kind::Enum(symbols) => {
                    let symbol = usize::try_from(self.long()?).map_err(|_| Stop::Wrong)?;
                    symbols.get(symbol).ok_or(Stop::Wrong)?;
                }
                Kind::Array(items) => self.blocks(|walk| walk.value(*items, depth - 1, visit))?,
                Kind::Map(values) => self.blocks(|walk| {
                    let (start, end) = walk.string()?;
                    visit.name(start, end);
                    walk.value(*values, depth - 1, visit)
                })?,
                Kind::Record(members) => {
                    for (_, member) in members {
                        self.value(*member, depth - 1, visit)?;
                    }
                }
            }
        }
        visit.ends(token, self.at);
        Ok(())
    }

    /// The blocks of an array or a map, each behind a count; a negative one is followed by the bytes that the block takes.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                count = count.checked_neg().ok_or(Stop::Wrong)?;
                self.long()?;
            }
            // Every item takes a byte, so the bytes end before an absurd count does.
            for _ in 0..count {
                item(self)?;
            }
        }
    }
}
