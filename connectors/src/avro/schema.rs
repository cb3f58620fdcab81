//! The schema of a file's rows, as its header holds it in JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// How deep types may hold each other; no table does by far.
const DEEPEST: usize = 256;

/// How a value stands in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    /// So many bytes.
    Fixed(usize),
    /// One of these words.
    Enum(Vec<String>),
    /// Values of a type.
    Array(usize),
    /// Values of a type, by names.
    Map(usize),
    /// A value of one of these types.
    Union(Vec<usize>),
    /// Members, in their order.
    Record(Vec<(String, usize)>),
}

/// What a value means beyond how it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    None,
    /// Days since 1970-01-01.
    Date,
    /// Parts of a second since midnight.
    Time {
        per_second: i64,
    },
    /// Parts of a second since 1970-01-01: an instant, or civil time as it stands.
    Timestamp {
        per_second: i64,
        is_instant: bool,
    },
    /// A whole number of units of the last of so many digits after the point.
    Decimal {
        scale: u32,
    },
    Uuid,
    /// Months, days and milliseconds.
    Duration,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) kind: Kind,
    pub(super) logical: Logical,
}

/// The types of a file. A type is named by its place.
#[derive(Debug)]
pub(super) struct Schema {
    types: Vec<Type>,
    root: usize,
    /// Types whose values take no byte: whatever they hold, nothing of it stands in a row.
    empty: Vec<bool>,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|_| "is not JSON".to_owned())?;
        let mut reading = Reading { types: Vec::new(), names: BTreeMap::new() };
        let root = reading.read(&value, "", 0)?;
        let types = reading.types;
        if !matches!(types[root].kind, Kind::Record(_)) {
            return Err("has rows that are no records".into());
        }
        let mut sizes = Sizes { types: &types, known: vec![Size::Unknown; types.len()] };
        for id in 0..types.len() {
            sizes.is_empty(id, 0)?;
        }
        let empty: Vec<bool> = sizes.known.iter().map(|size| *size == Size::Empty).collect();
        if empty[root] {
            return Err("has rows that hold nothing".into());
        }
        // So many values as a file likes could stand in no byte.
        if types.iter().any(|of| matches!(of.kind, Kind::Array(items) if empty[items])) {
            return Err("has an array of values that hold nothing".into());
        }
        Ok(Self { types, root, empty })
    }

    pub(super) fn root(&self) -> usize {
        self.root
    }

    pub(super) fn of(&self, id: usize) -> &Type {
        &self.types[id]
    }

    /// Whether a value of this type takes no byte.
    pub(super) fn is_empty(&self, id: usize) -> bool {
        self.empty[id]
    }

    /// The members of a row.
    pub(super) fn members(&self) -> &[(String, usize)] {
        match &self.types[self.root].kind {
            Kind::Record(members) => members,
            _ => &[],
        }
    }

    /// The types that a value of a type may be, itself or through unions and arrays, as paths take them.
    pub(super) fn leaves(&self, id: usize, out: &mut Vec<usize>) {
        match &self.types[id].kind {
            Kind::Union(branches) => branches.iter().for_each(|branch| self.leaves(*branch, out)),
            Kind::Array(items) => self.leaves(*items, out),
            Kind::Null => {}
            _ => out.push(id),
        }
    }

    /// The name of a type as a contract writes it down: that of the other branch where a value may be absent.
    pub(super) fn name(&self, id: usize) -> String {
        let of = &self.types[id];
        let plain = match &of.kind {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::Text => "string",
            Kind::Fixed(_) => "fixed",
            Kind::Enum(_) => "enum",
            Kind::Map(_) => "map",
            Kind::Record(_) => "record",
            Kind::Array(items) => return format!("array of {}", self.name(*items)),
            Kind::Union(branches) => {
                let some = branches.iter().filter(|branch| self.types[**branch].kind != Kind::Null);
                return some.map(|branch| self.name(*branch)).collect::<Vec<_>>().join(" or ");
            }
        };
        match of.logical {
            Logical::None => plain.to_owned(),
            logical => logical.to_string(),
        }
    }
}

impl fmt::Display for Logical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = |per_second: i64| match per_second {
            1_000 => "millis",
            1_000_000 => "micros",
            _ => "nanos",
        };
        match self {
            Self::None => Ok(()),
            Self::Date => f.write_str("date"),
            Self::Time { per_second } => write!(f, "time-{}", unit(*per_second)),
            Self::Timestamp { per_second, is_instant: true } => write!(f, "timestamp-{}", unit(*per_second)),
            Self::Timestamp { per_second, is_instant: false } => write!(f, "local-timestamp-{}", unit(*per_second)),
            Self::Decimal { scale } => write!(f, "decimal of {scale} digits after the point"),
            Self::Uuid => f.write_str("uuid"),
            Self::Duration => f.write_str("duration"),
        }
    }
}

struct Reading {
    types: Vec<Type>,
    /// Records, enums and fixed ones by their full names.
    names: BTreeMap<String, usize>,
}

impl Reading {
    fn add(&mut self, kind: Kind, logical: Logical) -> usize {
        self.types.push(Type { kind, logical });
        self.types.len() - 1
    }

    fn read(&mut self, value: &Value, namespace: &str, depth: usize) -> Result<usize, String> {
        if depth > DEEPEST {
            return Err("is nested too deep".into());
        }
        match value {
            Value::String(name) => self.named(name, namespace, Logical::None),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.read(branch, namespace, depth + 1));
                let branches = branches.collect::<Result<Vec<_>, _>>()?;
                if branches.is_empty() {
                    Err("has a union of nothing".into())
                } else {
                    Ok(self.add(Kind::Union(branches), Logical::None))
                }
            }
            Value::Object(told) => match told.get("type") {
                Some(Value::String(kind)) => self.declared(kind, value, namespace, depth),
                Some(inner) => self.read(inner, namespace, depth + 1),
                None => Err("has a type that does not say what it is".into()),
            },
            _ => Err("has a type that is none".into()),
        }
    }

    /// A primitive type, or one that was declared before.
    fn named(&mut self, name: &str, namespace: &str, logical: Logical) -> Result<usize, String> {
        let kind = match name {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::Text,
            name => {
                let known = self.names.get(&full(name, namespace)).or_else(|| self.names.get(name));
                return known.copied().ok_or_else(|| "names a type that it does not declare".into());
            }
        };
        Ok(self.add(kind, logical))
    }

    fn declared(&mut self, kind: &str, value: &Value, namespace: &str, depth: usize) -> Result<usize, String> {
        let part = |name: &str| value.get(name).ok_or_else(|| format!("has a type `{kind}` without `{name}`"));
        let logical = logical(value);
        match kind {
            "array" => {
                let items = self.read(part("items")?, namespace, depth + 1)?;
                Ok(self.add(Kind::Array(items), Logical::None))
            }
            "map" => {
                let values = self.read(part("values")?, namespace, depth + 1)?;
                Ok(self.add(Kind::Map(values), Logical::None))
            }
            "record" | "error" | "enum" | "fixed" => {
                let name = part("name")?.as_str().ok_or("has a name that is no text")?;
                let own = value.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
                let name = full(name, own);
                let inside = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
                // Known to what it holds before that is read.
                let id = self.add(Kind::Null, logical);
                if self.names.insert(name, id).is_some() {
                    return Err("declares a type twice".into());
                }
                self.types[id].kind = match kind {
                    "enum" => {
                        let symbols = part("symbols")?.as_array().ok_or("has symbols that are no list")?;
                        let symbols = symbols.iter().map(|symbol| symbol.as_str().map(str::to_owned));
                        Kind::Enum(symbols.collect::<Option<_>>().ok_or("has a symbol that is no text")?)
                    }
                    "fixed" => {
                        let size = part("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                        Kind::Fixed(size.ok_or("has a size that is no number")?)
                    }
                    _ => {
                        let fields = part("fields")?.as_array().ok_or("has fields that are no list")?;
                        let mut members = Vec::with_capacity(fields.len());
                        for field in fields {
                            let name = field.get("name").and_then(Value::as_str).ok_or("has a field without name")?;
                            let of = field.get("type").ok_or("has a field without type")?;
                            members.push((name.to_owned(), self.read(of, &inside, depth + 1)?));
                        }
                        Kind::Record(members)
                    }
                };
                Ok(id)
            }
            name => self.named(name, namespace, logical),
        }
    }
}

fn full(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// What a type means; one whose meaning is not known is what it stands there as, as the specification says.
fn logical(value: &Value) -> Logical {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    let name = value.get("logicalType").and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| value.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    let timestamp = |per_second, is_instant| Logical::Timestamp { per_second, is_instant };
    match (kind, name) {
        ("int", "date") => Logical::Date,
        ("int", "time-millis") => Logical::Time { per_second: 1_000 },
        ("long", "time-micros") => Logical::Time { per_second: 1_000_000 },
        ("long", "timestamp-millis") => timestamp(1_000, true),
        ("long", "timestamp-micros") => timestamp(1_000_000, true),
        ("long", "timestamp-nanos") => timestamp(1_000_000_000, true),
        ("long", "local-timestamp-millis") => timestamp(1_000, false),
        ("long", "local-timestamp-micros") => timestamp(1_000_000, false),
        ("long", "local-timestamp-nanos") => timestamp(1_000_000_000, false),
        ("bytes" | "fixed", "decimal") => {
            let (scale, precision) = (number("scale").unwrap_or(0), number("precision").unwrap_or(0));
            if scale <= precision { Logical::Decimal { scale } } else { Logical::None }
        }
        ("string", "uuid") => Logical::Uuid,
        ("fixed", "uuid") if number("size") == Some(16) => Logical::Uuid,
        ("fixed", "duration") if number("size") == Some(12) => Logical::Duration,
        _ => Logical::None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Unknown,
    /// Being looked at.
    Open,
    Empty,
    Some,
}

struct Sizes<'t> {
    types: &'t [Type],
    known: Vec<Size>,
}

impl Sizes<'_> {
    /// Whether values of a type take no byte.
    fn is_empty(&mut self, id: usize, depth: usize) -> Result<bool, String> {
        match self.known[id] {
            Size::Open => return Err("has a record that holds itself".into()),
            Size::Empty => return Ok(true),
            Size::Some => return Ok(false),
            Size::Unknown => {}
        }
        if depth > DEEPEST {
            return Err("is nested too deep".into());
        }
        self.known[id] = Size::Open;
        let types = self.types;
        let is_empty = match &types[id].kind {
            Kind::Null | Kind::Fixed(0) => true,
            Kind::Record(members) => {
                let mut is_empty = true;
                for (_, member) in members {
                    is_empty &= self.is_empty(*member, depth + 1)?;
                }
                is_empty
            }
            // They begin with a count or a number of a branch.
            _ => false,
        };
        self.known[id] = if is_empty { Size::Empty } else { Size::Some };
        Ok(is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expected: Result<&[(&str, &str)], &str>) {
        let read = Schema::parse(schema.as_bytes());
        let read = read.map(|schema| {
            let members = schema.members().iter();
            members.map(|(name, id)| (name.clone(), schema.name(*id))).collect::<Vec<_>>()
        });
        let owned = |members: &[(&str, &str)]| {
            members.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(read, expected.map(owned).map_err(str::to_owned), "{schema}");
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"r","namespace":"a.b","fields":[{fields}]}}"#)
    }

    #[test]
    fn types_are_named() {
        let fields = r#"{"name":"k","type":"string"},{"name":"u","type":["null","long"]},
            {"name":"d","type":[{"type":"int","logicalType":"date"},"null"]},
            {"name":"t","type":{"type":"long","logicalType":"local-timestamp-micros"}},
            {"name":"m","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
            {"name":"x","type":{"type":"bytes","logicalType":"decimal","precision":1,"scale":2}},
            {"name":"l","type":{"type":"array","items":["null","int"]}},
            {"name":"e","type":{"type":"enum","name":"kind","symbols":["A"]}},{"name":"again","type":"kind"},
            {"name":"far","type":"a.b.kind"},{"name":"more","type":["null",{"type":"array","items":"r"}]}"#;
        check(
            &record(fields),
            Ok(&[
                ("k", "string"),
                ("u", "long"),
                ("d", "date"),
                ("t", "local-timestamp-micros"),
                ("m", "decimal of 2 digits after the point"),
                ("x", "bytes"),
                ("l", "array of int"),
                ("e", "enum"),
                ("again", "enum"),
                ("far", "enum"),
                ("more", "array of record"),
            ]),
        );
    }

    #[test]
    fn what_could_hang_a_reader_is_refused() {
        check("{", Err("is not JSON"));
        check("\"string\"", Err("has rows that are no records"));
        check(&record(""), Err("has rows that hold nothing"));
        check(&record(r#"{"name":"n","type":"null"}"#), Err("has rows that hold nothing"));
        let fixed = r#"{"name":"n","type":{"type":"array","items":{"type":"fixed","name":"f","size":0}}}"#;
        check(&record(fixed), Err("has an array of values that hold nothing"));
        check(&record(r#"{"name":"n","type":"r"}"#), Err("has a record that holds itself"));
        check(&record(r#"{"name":"n","type":"other"}"#), Err("names a type that it does not declare"));
        check(&record(r#"{"name":"n","type":[]}"#), Err("has a union of nothing"));
        // Each record holds the one before twice: walked one by one they would be more than any machine can.
        let mut fields = vec![r#"{"name":"f0","type":{"type":"record","name":"r0","fields":[]}}"#.to_owned()];
        for at in 1..60 {
            let before = at - 1;
            fields.push(format!(
                r#"{{"name":"f{at}","type":{{"type":"record","name":"r{at}","fields":[{{"name":"a","type":"r{before}"}},{{"name":"b","type":"r{before}"}}]}}}}"#
            ));
        }
        check(&record(&fields.join(",")), Err("has rows that hold nothing"));
        let chain: Vec<String> = (0..600)
            .map(|at| {
                let inner = if at == 0 { "\"int\"".to_owned() } else { format!("\"r{}\"", at - 1) };
                format!(r#"{{"name":"f{at}","type":{{"type":"record","name":"r{at}","fields":[{{"name":"a","type":{inner}}}]}}}}"#)
            })
            .collect();
        assert!(Schema::parse(record(&chain.join(",")).as_bytes()).is_ok(), "each is known before the next asks");
    }
}
