//! From a row's tree to the values that a path finds in it.

use ieum_model::dataset::ItemType;
use ieum_model::path::{Path, Paths, Step};

use super::values::Values;
use crate::convert::Flaw;

/// The tree of a row. Node 0 is the row; arrays are no nodes of their own where members are asked for.
pub trait Tree {
    /// The values that are asked for next become items of this type; for a tree whose values are no text yet.
    fn becomes(&mut self, _item_type: Option<ItemType>) {}

    /// Appends the members of `node` that have this name, each array as what it holds.
    fn named(&self, node: usize, name: &str, out: &mut Vec<usize>);

    /// Appends the value of `node`.
    ///
    /// # Errors
    /// When it holds members, not a value, or is no text of the encoding.
    fn value(&self, node: usize, out: &mut Values) -> Result<(), Flaw>;
}

/// Room for what is found on the way.
#[derive(Debug, Default)]
pub struct Finder {
    found: Vec<usize>,
    next: Vec<usize>,
    compared: Values,
}

impl Finder {
    /// What the first of the paths that finds a value finds, in the order of the row.
    ///
    /// # Errors
    /// The flaw of a value that was found.
    pub fn find(&mut self, tree: &impl Tree, paths: &Paths, out: &mut Values) -> Result<(), Flaw> {
        for path in &paths.0 {
            out.clear();
            self.walk(tree, path)?;
            for node in &self.found {
                tree.value(*node, out)?;
            }
            out.end(&path.ending);
            if out.has_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a row has one of the members that the paths begin with.
    pub fn has_start(&mut self, tree: &impl Tree, paths: &Paths) -> bool {
        self.found.clear();
        paths.0.iter().filter_map(Path::first_name).for_each(|name| tree.named(0, name, &mut self.found));
        !self.found.is_empty()
    }

    fn walk(&mut self, tree: &impl Tree, path: &Path) -> Result<(), Flaw> {
        self.found.clear();
        self.found.push(0);
        for step in &path.steps {
            self.next.clear();
            match step {
                Step::Name(name) => self.found.iter().for_each(|node| tree.named(*node, name, &mut self.next)),
                Step::Index(index) => self.next.extend(self.found.get(*index)),
                Step::Where(names, value) => {
                    for node in &self.found {
                        if leads_to(tree, *node, names, value, &mut self.compared)? {
                            self.next.push(*node);
                        }
                    }
                }
            }
            std::mem::swap(&mut self.found, &mut self.next);
        }
        Ok(())
    }
}

/// Whether one of the values that `names` lead to from `node` is this one.
fn leads_to(tree: &impl Tree, node: usize, names: &[String], value: &str, room: &mut Values) -> Result<bool, Flaw> {
    let (mut found, mut next) = (vec![node], Vec::new());
    for name in names {
        next.clear();
        found.iter().for_each(|node| tree.named(*node, name, &mut next));
        std::mem::swap(&mut found, &mut next);
    }
    room.clear();
    for node in found {
        tree.value(node, room)?;
    }
    Ok(room.iter().any(|found| found == Some(value)))
}
