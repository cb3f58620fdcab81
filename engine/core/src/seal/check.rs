//! Whether the seal of a finished output holds: head, signature, trees, every receipt and every bundle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ieum_model::error::{Error, Result};
use ieum_privacy::{PublicKey, signature_in};
use rayon::prelude::*;

use super::file::ReceiptFile;
use super::hand::{digest_of_row, rows};
use super::head::{SEAL, TreeHead, is_signature};
use super::merkle::{Hash, Tree};
use super::receipt::{BundleDigest, FileLeaf, Form, Statement, refused};
use super::{RECEIPTS, path_of};
use crate::bundle_files::own_bundle;
use crate::encrypt::without_ending;
use crate::manifest::{Manifest, OutputFile, hex};
use crate::verify::broken;
use crate::verify::counts::index_lines;

/// Checks a seal against the manifest and the files, whose digests agree already; with the public key, the signature too.
/// The number of receipts; `None` for an output that is not sealed.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] at the first thing that does not hold.
pub fn check(manifest: &Manifest, folder: &Path, public: Option<&PublicKey>) -> Result<Option<u64>> {
    let receipts = || manifest.files.iter().filter(|file| file.path.starts_with(&format!("{RECEIPTS}/")));
    if manifest.seal.is_none() {
        let sealed = manifest.files.iter().find(|file| file.path == SEAL || is_signature(&file.path));
        return match (sealed.or_else(|| receipts().next()), public) {
            (Some(file), _) => Err(broken("the manifest does not know of a seal", &folder.join(&file.path))),
            (None, Some(_)) => Err(broken("the output is not sealed: there is no signature to check", folder)),
            (None, None) => Ok(None),
        };
    }
    let seal = Seal::read(manifest, folder, public)?;
    let (mut leaves, mut bundles) = (BTreeMap::new(), Bundles::of(manifest));
    for file in receipts() {
        let (index, leaf) = seal.read_receipts(file, folder, &mut bundles)?;
        if leaves.insert(index, leaf).is_some() {
            return Err(broken("two files of receipts have the same place", &folder.join(&file.path)));
        }
    }
    if let Some(left) = bundles.left() {
        return Err(broken("a bundle has no receipt", &folder.join(left)));
    }
    let head = &seal.head;
    let met = (bundles.met, bundles.refused);
    if !leaves.keys().copied().eq(0..head.tree_size) || met != (head.bundles, head.refused) {
        let (bundles, refused, files) = (head.bundles, head.refused, head.tree_size);
        let message =
            format!("the receipts are not those of {bundles} bundles and {refused} refusals in {files} files");
        return Err(broken(message, &folder.join(SEAL)));
    }
    if head.bundles + head.refused != manifest.requests.requests {
        return Err(broken("a request has neither a bundle nor a refusal", &folder.join(SEAL)));
    }
    if hex(&Tree::new(leaves.into_values().collect()).root()) != head.root {
        return Err(broken("the root is not that of the receipts", &folder.join(SEAL)));
    }
    Ok(Some(head.bundles + head.refused))
}

struct Seal {
    head: TreeHead,
    signature: String,
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| broken(format!("file cannot be read: {error}"), path))
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| broken(format!("file cannot be read: {error}"), path))
}

impl Seal {
    fn read(manifest: &Manifest, folder: &Path, public: Option<&PublicKey>) -> Result<Self> {
        let path = folder.join(SEAL);
        let written = text(&path)?;
        let head: TreeHead =
            serde_json::from_str(&written).map_err(|_| broken("this is not the head of a tree", &path))?;
        if head.encode()? != written.as_bytes() {
            return Err(broken("the head is spelt otherwise than it was written", &path));
        }
        agrees(&head, manifest, &path)?;
        let mut signatures = manifest.files.iter().filter(|file| is_signature(&file.path));
        let (Some(listed), None) = (signatures.next(), signatures.next()) else {
            return Err(broken("the seal has not one signature", &path));
        };
        let path = folder.join(&listed.path);
        let file = bytes(&path)?;
        let signature = signature_in(&file).ok_or_else(|| broken("this is not a signature file", &path))?;
        let seal = Self { head, signature: hex(&signature) };
        if let Some(public) = public {
            seal.head.is_signed(&seal.signature, public).map_err(|error| error.at("path", path.display()))?;
            if !public.has_signed_comment(&file) {
                return Err(broken("the trusted comment is not the one that was signed", &path));
            }
        }
        Ok(seal)
    }

    /// The place and the leaf of one file of receipts, each of them held against its bundle.
    fn read_receipts(&self, file: &OutputFile, folder: &Path, bundles: &mut Bundles<'_>) -> Result<(u64, Hash)> {
        let path = folder.join(&file.path);
        let at = |error: Error| error.at("path", path.display());
        let receipts = ReceiptFile::read(&bytes(&path)?).map_err(at)?;
        let (recipient, service) = receipts.name();
        let proof = &receipts.proof;
        if proof.head != self.head || proof.signature != self.signature {
            return Err(broken("the receipts have another head or signature", &path));
        }
        if file.path != path_of((recipient, service)) {
            return Err(broken("the receipts stand in the file of another recipient or service", &path));
        }
        receipts.is_covered().map_err(at)?;
        if receipts.is_of_refusals() {
            bundles.refused += receipts.proof.bundles;
        } else {
            bundles.agree(&receipts, folder).map_err(at)?;
        }
        let leaf = FileLeaf { recipient, service, bundles: proof.bundles, root: hex(&receipts.root()) };
        Ok((proof.file_index, leaf.hash()?))
    }
}

/// Whether head and manifest say the same.
fn agrees(head: &TreeHead, manifest: &Manifest, path: &Path) -> Result<()> {
    let seal = manifest.seal.as_ref();
    let texts = [
        ("run_id", &head.run_id, &manifest.run_id),
        ("as_of", &head.as_of, &manifest.as_of),
        ("catalog_digest", &head.catalog_digest, &manifest.catalog_digest),
        ("requests_digest", &head.requests_digest, &manifest.requests_digest),
        ("key_id", &head.key_id, &manifest.key_id),
    ];
    let numbers = [
        ("key_epoch", u64::from(head.key_epoch), Some(u64::from(manifest.key_epoch))),
        ("bundles", head.bundles, seal.map(|seal| seal.bundles)),
        ("refused", head.refused, seal.map(|seal| seal.refused)),
        ("tree_size", head.tree_size, seal.map(|seal| seal.tree_size)),
    ];
    let text = texts.iter().find(|(_, stated, expected)| stated != expected).map(|(what, ..)| *what);
    let number = numbers.iter().find(|(_, stated, expected)| Some(*stated) != *expected).map(|(what, ..)| *what);
    let root = (Some(&head.root) != seal.map(|seal| &seal.root)).then_some("root");
    match text.or(number).or(root) {
        Some(what) => Err(broken(format!("`{what}` of the head is not that of the manifest"), path)),
        None => Ok(()),
    }
}

/// The bundles of an output for which no receipt was met yet.
struct Bundles<'a> {
    /// Bundles that have a file each, by path without ending.
    single: BTreeMap<&'a str, &'a OutputFile>,
    /// Packed files, by recipient and service.
    packed: BTreeMap<&'a str, &'a OutputFile>,
    /// Bundles met so far.
    met: u64,
    /// Refusals met so far.
    refused: u64,
}

impl<'a> Bundles<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let packed = |path: &'a str| {
            let name = without_ending(path).0.strip_prefix("bundles/packed/")?;
            [".ndjson", ".parquet"].iter().find_map(|ending| name.strip_suffix(ending))
        };
        let files = manifest.files.iter();
        Self {
            single: files.clone().filter_map(|file| Some((own_bundle(&file.path)?, file))).collect(),
            packed: files.filter_map(|file| Some((packed(&file.path)?, file))).collect(),
            met: 0,
            refused: 0,
        }
    }

    fn left(&self) -> Option<&'a str> {
        self.single.values().chain(self.packed.values()).next().map(|file| &*file.path)
    }

    /// Takes the bundles of the receipts of one file.
    fn agree(&mut self, receipts: &ReceiptFile, folder: &Path) -> Result<()> {
        let (recipient, service) = receipts.name();
        self.met += receipts.proof.bundles;
        match self.packed.remove(&*format!("{recipient}/{service}")) {
            Some(packed) if packed.plain.is_some() => {
                in_index(&folder.join(format!("bundles/packed/{recipient}/{service}.index.csv")), receipts)
            }
            Some(packed) if packed.path.ends_with(".parquet") => in_parquet(&folder.join(&packed.path), receipts),
            Some(packed) => in_json_lines(&folder.join(&packed.path), receipts),
            None => receipts.stated().try_for_each(|(statement, _)| self.agree_single(recipient, statement)),
        }
    }

    fn agree_single(&mut self, recipient: &str, statement: &Statement<'_>) -> Result<()> {
        let Some(form) = statement.bundle.as_ref().map(|bundle| bundle.form) else {
            return Err(statement.refused("a receipt has no bundle"));
        };
        match self.single.remove(&*format!("{recipient}/{}", statement.request_id)) {
            Some(file) => statement.is_of(&BundleDigest::of_file(form, file)),
            None => Err(statement.refused("a receipt has no bundle")),
        }
    }
}

fn as_many(bundles: usize, receipts: &ReceiptFile) -> Result<()> {
    let receipts = receipts.statements.len();
    if bundles == receipts {
        return Ok(());
    }
    Err(refused(format!("there are {bundles} bundles and {receipts} receipts for them")))
}

/// Of bundles that only their recipient can read: whose they are, and how long.
fn in_index(path: &Path, receipts: &ReceiptFile) -> Result<()> {
    let listed = index_lines(path)?;
    as_many(listed.len(), receipts)?;
    for ((request, bytes), (statement, _)) in listed.iter().zip(&receipts.statements) {
        let stated = statement.bundle.as_ref().map(|bundle| bundle.bytes);
        if *request != statement.request_id || bytes.is_some() && *bytes != stated {
            return Err(statement.refused("the index of the bundles does not agree with the receipt"));
        }
    }
    Ok(())
}

fn in_json_lines(path: &Path, receipts: &ReceiptFile) -> Result<()> {
    let bytes = bytes(path)?;
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    as_many(lines.len(), receipts)?;
    let pairs = lines.par_iter().zip(&receipts.statements);
    pairs.try_for_each(|(line, (statement, _))| statement.is_of(&BundleDigest::of(Form::Json, line)))
}

fn in_parquet(path: &Path, receipts: &ReceiptFile) -> Result<()> {
    let batches = rows(bytes(path)?)?;
    let places: Vec<_> = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row))).collect();
    as_many(places.len(), receipts)?;
    places.iter().zip(receipts.stated()).try_for_each(|((batch, row), (statement, terms))| {
        statement.is_of(&digest_of_row(batch, *row, statement, terms)?)
    })
}
