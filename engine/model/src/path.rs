//! Where the value of an item stands in a row of JSON or XML: a path, as the catalog's `columns` declare it.
//!
//! | written | means |
//! |---|---|
//! | `code.text`, `address/city` | the member or element of this name, in the one before; JSON has `.`, XML `/` between names |
//! | `@id` | the attribute of this name (XML) |
//! | `` `a.b` `` | a name that holds characters of this grammar |
//! | `name[0]` | the first of what was found so far |
//! | `coding[system=http://loinc.org].code` | of what was found those whose `system` is this; `[type.code=MR]` looks deeper |
//! | `onsetDateTime\|onsetPeriod.start` | the first of several paths that finds a value |
//! | `subject.getReferenceKey(Patient)` | of a FHIR reference the id, if it is one of this type (SQL on FHIR v2, `getReferenceKey`) |
//! | `onsetDateTime.toDate()` | of a date and time the date that stands there (FHIRPath, `toDate`) |
//! | `name[0].given.join(' ')` | all values as one text (FHIRPath, `join`) |
//!
//! An array is what it holds, so a path goes through arrays without a word. What it finds is a list for an item with `list`,
//! else one value: several different ones are a fault of the row, which `[0]` or `join` take away.

/// The paths of one item, in order: the first that finds a value counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(pub Vec<Path>);

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// From the row to the value.
    pub steps: Vec<Step>,
    /// What is made of what was found.
    pub ending: Ending,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To the members, elements or (with `@`) attributes of this name.
    Name(String),
    /// To one of those found so far, from 0.
    Index(usize),
    /// To those found so far in which this path leads to this value.
    Where(Vec<String>, String),
}

/// What is made of the values at the end of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The values themselves.
    Value,
    /// The id of a FHIR reference; of this type only, where one is named.
    Key(Option<String>),
    /// The date of a date and time.
    Date,
    /// One text, with this between two values.
    Joined(String),
}

impl Path {
    /// Name of the first step.
    pub fn first_name(&self) -> Option<&str> {
        self.names().next()
    }

    /// Name of the last step that has one.
    pub fn last_name(&self) -> Option<&str> {
        self.names().last()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl Paths {
    /// Reads the paths of an item; `separator` stands between names.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence.
    pub fn parse(text: &str, separator: char) -> Result<Self, &'static str> {
        let mut rest = Reading { rest: text.trim(), separator };
        let mut paths = vec![rest.path()?];
        while rest.take('|') {
            paths.push(rest.path()?);
        }
        if rest.rest.is_empty() { Ok(Self(paths)) } else { Err("something follows a `]`, `)` or name") }
    }

    /// The path that is one name, whatever characters it holds.
    pub fn of_name(name: &str) -> Path {
        Path { steps: vec![Step::Name(name.to_owned())], ending: Ending::Value }
    }
}

struct Reading<'a> {
    rest: &'a str,
    separator: char,
}

impl Reading<'_> {
    fn take(&mut self, character: char) -> bool {
        match self.rest.trim_start().strip_prefix(character) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn path(&mut self) -> Result<Path, &'static str> {
        let mut steps = Vec::new();
        loop {
            if let Some(ending) = self.ending(&mut steps)? {
                return if steps.is_empty() {
                    Err("a function needs a path before it")
                } else {
                    Ok(Path { steps, ending })
                };
            }
            steps.push(Step::Name(self.name()?));
            while self.rest.starts_with('[') {
                steps.push(self.bracket()?);
            }
            if !self.take(self.separator) {
                return Ok(Path { steps, ending: Ending::Value });
            }
        }
    }

    /// The function that ends the path, if one stands here.
    fn ending(&mut self, steps: &mut Vec<Step>) -> Result<Option<Ending>, &'static str> {
        let Some((function, argument)) = FUNCTIONS.iter().find_map(|function| {
            let argument = self.rest.strip_prefix(function)?.strip_prefix('(')?;
            Some((*function, argument))
        }) else {
            return Ok(None);
        };
        let quoted = argument.starts_with('\'');
        let end = if quoted { argument[1..].find('\'').map(|at| at + 2) } else { argument.find(')') };
        let end = end.filter(|end| argument[*end..].starts_with(')')).ok_or("a function is not closed by `)`")?;
        self.rest = argument[end + 1..].trim_start();
        let argument = if quoted { &argument[1..end - 1] } else { argument[..end].trim() };
        let ending = match (function, argument) {
            ("getReferenceKey", "") => Ending::Key(None),
            ("getReferenceKey", resource) => Ending::Key(Some(resource.to_owned())),
            ("toDate", "") => Ending::Date,
            ("join", between) if quoted || between.is_empty() => Ending::Joined(between.to_owned()),
            _ => return Err("a function has an argument it does not know"),
        };
        if function == "getReferenceKey" {
            steps.push(Step::Name("reference".to_owned()));
        }
        Ok(Some(ending))
    }

    fn name(&mut self) -> Result<String, &'static str> {
        if let Some(quoted) = self.rest.strip_prefix('`') {
            let end = quoted.find('`').ok_or("a backtick is not closed")?;
            self.rest = quoted[end + 1..].trim_start();
            return Ok(quoted[..end].to_owned());
        }
        let ends = |character: char| character == self.separator || "[]|`".contains(character);
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let name = self.rest[..end].trim();
        self.rest = &self.rest[end..];
        if name.is_empty() { Err("a name is missing") } else { Ok(name.to_owned()) }
    }

    fn bracket(&mut self) -> Result<Step, &'static str> {
        let inside = &self.rest[1..];
        let quoted = inside.find('=').filter(|at| inside[at + 1..].starts_with('\''));
        let end = match quoted {
            Some(at) => inside[at + 2..].find("']").map(|end| at + 3 + end),
            None => inside.find(']'),
        };
        let end = end.ok_or("a bracket is not closed by `]`")?;
        let content = &inside[..end];
        self.rest = inside[end + 1..].trim_start();
        if !content.is_empty() && content.bytes().all(|byte| byte.is_ascii_digit()) {
            return content.parse().map(Step::Index).map_err(|_| "an index is too large");
        }
        let (names, value) = content.split_once('=').ok_or("a bracket holds neither an index nor `name=value`")?;
        let names: Vec<String> = names.split(self.separator).map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err("a name is missing in a bracket");
        }
        let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
        Ok(Step::Where(names, value.to_owned()))
    }
}

const FUNCTIONS: [&str; 3] = ["getReferenceKey", "toDate", "join"];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(name: &str) -> Step {
        Step::Name(name.into())
    }

    fn check(text: &str, steps: Vec<Step>, ending: Ending) {
        assert_eq!(Paths::parse(text, '.'), Ok(Paths(vec![Path { steps, ending }])), "{text}");
    }

    #[test]
    fn a_path_is_read() {
        check("id", vec![name("id")], Ending::Value);
        check("code . text", vec![name("code"), name("text")], Ending::Value);
        let loinc = Step::Where(vec!["system".into()], "http://loinc.org".into());
        check(
            "code.coding[system=http://loinc.org].code",
            vec![name("code"), name("coding"), loinc.clone(), name("code")],
            Ending::Value,
        );
        check("coding[system='http://loinc.org'][0]", vec![name("coding"), loinc, Step::Index(0)], Ending::Value);
        let record = Step::Where(["type", "coding", "code"].map(String::from).into(), "MR".into());
        check("identifier[type.coding.code=MR].value", vec![name("identifier"), record, name("value")], Ending::Value);
        let key = Ending::Key(Some("Patient".into()));
        check("subject.getReferenceKey(Patient)", vec![name("subject"), name("reference")], key);
        check("subject.getReferenceKey()", vec![name("subject"), name("reference")], Ending::Key(None));
        check("onset.toDate()", vec![name("onset")], Ending::Date);
        check("given.join(', ')", vec![name("given")], Ending::Joined(", ".into()));
        check("`a.b`.c", vec![name("a.b"), name("c")], Ending::Value);
        check("자료수(도서)", vec![name("자료수(도서)")], Ending::Value);
        let either = Paths::parse("performedDateTime|performedPeriod.start", '.').unwrap();
        assert_eq!(either.0[1], Path { steps: vec![name("performedPeriod"), name("start")], ending: Ending::Value });
        let attribute = Paths::parse("a/b.c/@id", '/').unwrap();
        assert_eq!(attribute.0[0].steps, [name("a"), name("b.c"), name("@id")]);
        assert_eq!((attribute.0[0].first_name(), attribute.0[0].last_name()), (Some("a"), Some("@id")));
    }

    #[test]
    fn what_is_no_path_is_told() {
        for (text, message) in [
            ("", "a name is missing"),
            ("a..b", "a name is missing"),
            ("a|", "a name is missing"),
            ("a[x", "a bracket is not closed by `]`"),
            ("a[x]", "a bracket holds neither an index nor `name=value`"),
            ("a[=x]", "a name is missing in a bracket"),
            ("a[0]b", "something follows a `]`, `)` or name"),
            ("`a", "a backtick is not closed"),
            ("toDate()", "a function needs a path before it"),
            ("a.toDate(x)", "a function has an argument it does not know"),
            ("a.join(' '", "a function is not closed by `)`"),
        ] {
            assert_eq!(Paths::parse(text, '.'), Err(message), "{text}");
        }
    }
}
