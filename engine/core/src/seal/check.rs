//! Whether the seal of a finished output holds: head, signature, tree, every receipt and every bundle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ieum_model::error::{Error, Result};
use ieum_privacy::{PublicKey, signature_in};
use rayon::prelude::*;

use super::RECEIPTS;
use super::hand::{digest_of_row, rows};
use super::head::{SEAL, SIGNATURE, TreeHead};
use super::merkle::{Hash, Tree};
use super::receipt::{BundleDigest, Form, Receipt};
use crate::manifest::{Manifest, OutputFile, hex};
use crate::verify::broken;

/// Checks a seal against the manifest and the files, whose digests agree already; with the public key, the signature too.
/// The number of receipts; `None` for an output that is not sealed.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] at the first thing that does not hold.
pub fn check(manifest: &Manifest, folder: &Path, public: Option<&PublicKey>) -> Result<Option<u64>> {
    let receipts: Vec<&OutputFile> =
        manifest.files.iter().filter(|file| file.path.starts_with(&format!("{RECEIPTS}/"))).collect();
    if manifest.seal.is_none() {
        let sealed = manifest.files.iter().find(|file| [SEAL, SIGNATURE].contains(&&*file.path));
        return match (sealed.or(receipts.first().copied()), public) {
            (Some(file), _) => Err(broken("the manifest does not know of a seal", &folder.join(&file.path))),
            (None, Some(_)) => Err(broken("the output is not sealed: there is no signature to check", folder)),
            (None, None) => Ok(None),
        };
    }
    let seal = Seal::read(manifest, folder, public)?;
    let (mut leaves, mut bundles) = (Vec::new(), Bundles::of(manifest));
    for file in receipts {
        leaves.extend(seal.read_receipts(file, folder, &mut bundles)?);
    }
    if let Some(left) = bundles.left() {
        return Err(broken("a bundle has no receipt", &folder.join(left)));
    }
    seal.holds(leaves, &folder.join(SEAL))?;
    Ok(Some(seal.head.tree_size))
}

struct Seal {
    head: TreeHead,
    signature: String,
}

/// A statement's place and hash, its path, and the request, for messages.
struct Leaf {
    index: u64,
    hash: Hash,
    path: Vec<String>,
    request_id: String,
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| broken(format!("file cannot be read: {error}"), path))
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
        let seal = manifest.seal.as_ref().map(|seal| (seal.root.clone(), seal.tree_size.to_string()));
        let (root, size) = seal.unwrap_or_default();
        for (what, stated, expected) in [
            ("run_id", &head.run_id, &manifest.run_id),
            ("as_of", &head.as_of, &manifest.as_of),
            ("catalog_digest", &head.catalog_digest, &manifest.catalog_digest),
            ("requests_digest", &head.requests_digest, &manifest.requests_digest),
            ("key_id", &head.key_id, &manifest.key_id),
            ("key_epoch", &head.key_epoch.to_string(), &manifest.key_epoch.to_string()),
            ("tree_size", &head.tree_size.to_string(), &size),
            ("root", &head.root, &root),
        ] {
            if stated != expected {
                return Err(broken(format!("`{what}` of the head is not that of the manifest"), &path));
            }
        }
        let path = folder.join(SIGNATURE);
        let file = text(&path)?;
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

    /// The leaves of one file of receipts, each held against its bundle.
    fn read_receipts(&self, file: &OutputFile, folder: &Path, bundles: &mut Bundles<'_>) -> Result<Vec<Leaf>> {
        let path = folder.join(&file.path);
        let bytes = fs::read(&path).map_err(|error| broken(format!("file cannot be read: {error}"), &path))?;
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let read = |line: &&[u8]| -> Result<(Receipt, Hash)> {
            let receipt = Receipt::read(line)?;
            if receipt.head != self.head || receipt.signature != self.signature {
                return Err(Error::new(
                    ieum_model::error::ErrorKind::Integrity,
                    "the receipt has another head or signature",
                )
                .at("request", &receipt.statement.request_id));
            }
            let hash = receipt.leaf()?;
            Ok((receipt, hash))
        };
        let at = |error: Error| error.at("path", path.display());
        let receipts: Vec<(Receipt, Hash)> = lines.par_iter().map(read).collect::<Result<_>>().map_err(at)?;
        bundles.agree(file, folder, &receipts).map_err(at)?;
        let leaf = |(receipt, hash): (Receipt, Hash)| Leaf {
            index: receipt.leaf_index,
            hash,
            path: receipt.path,
            request_id: receipt.statement.request_id.into_owned(),
        };
        Ok(receipts.into_iter().map(leaf).collect())
    }

    /// Whether these are all the leaves, each in its place and with its path, under the root.
    fn holds(&self, mut leaves: Vec<Leaf>, path: &Path) -> Result<()> {
        leaves.sort_by_key(|leaf| leaf.index);
        let size = leaves.len() as u64;
        if size != self.head.tree_size || (0..).zip(&leaves).any(|(index, leaf)| leaf.index != index) {
            return Err(broken(
                format!("the receipts are not those of a tree of {} bundles", self.head.tree_size),
                path,
            ));
        }
        let tree = Tree::new(leaves.iter().map(|leaf| leaf.hash).collect());
        if hex(&tree.root()) != self.head.root {
            return Err(broken("the root is not that of the receipts", path));
        }
        let wrong = leaves
            .par_iter()
            .find_first(|leaf| !tree.path(leaf.index).map(|hash| hex(hash)).eq(leaf.path.iter().cloned()));
        match wrong {
            Some(leaf) => {
                Err(broken("the path of a receipt does not lead to the root", path).at("request", &leaf.request_id))
            }
            None => Ok(()),
        }
    }
}

/// The bundles of an output for which no receipt was met yet.
struct Bundles<'a> {
    /// Bundles that have a file each, by path without ending.
    single: BTreeMap<&'a str, &'a OutputFile>,
    /// Packed files, by recipient and service.
    packed: BTreeMap<&'a str, &'a OutputFile>,
}

impl<'a> Bundles<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let below = |folder: &str, endings: &[&str]| -> BTreeMap<&'a str, &'a OutputFile> {
            let name = |file: &'a OutputFile| {
                let name = file.path.strip_prefix(folder)?;
                Some((endings.iter().find_map(|ending| name.strip_suffix(ending))?, file))
            };
            manifest.files.iter().filter_map(name).collect()
        };
        Self {
            single: below("bundles/per_request/", &[".json", ".parquet"]),
            packed: below("bundles/packed/", &[".ndjson", ".parquet"]),
        }
    }

    fn left(&self) -> Option<&'a str> {
        self.single.values().chain(self.packed.values()).next().map(|file| &*file.path)
    }

    /// Takes the bundles of the receipts of one file.
    fn agree(&mut self, file: &OutputFile, folder: &Path, receipts: &[(Receipt, Hash)]) -> Result<()> {
        let name =
            file.path.strip_prefix("receipts/").and_then(|name| name.strip_suffix(".ndjson")).unwrap_or_default();
        let elsewhere = receipts.iter().map(|(receipt, _)| &receipt.statement).find(|statement| {
            let service = statement.service.as_deref().unwrap_or("documents");
            name.split_once('/') != Some((&statement.recipient, service))
        });
        if let Some(statement) = elsewhere {
            return Err(super::receipt::refused("the receipt stands in the file of another recipient or service")
                .at("request", &statement.request_id));
        }
        match self.packed.remove(name) {
            Some(packed) if packed.path.ends_with(".parquet") => in_parquet(&folder.join(&packed.path), receipts),
            Some(packed) => in_json_lines(&folder.join(&packed.path), receipts),
            None => receipts.iter().try_for_each(|(receipt, _)| self.agree_single(receipt)),
        }
    }

    fn agree_single(&mut self, receipt: &Receipt) -> Result<()> {
        let (statement, form) = (&receipt.statement, receipt.statement.bundle.form);
        let name = format!("{}/{}", statement.recipient, statement.request_id);
        match self.single.remove(&*name) {
            Some(file) => receipt.is_for(&BundleDigest { form, bytes: file.bytes, sha256: file.sha256.clone() }),
            None => Err(super::receipt::refused("a receipt has no bundle").at("request", &statement.request_id)),
        }
    }
}

fn as_many(bundles: usize, receipts: &[(Receipt, Hash)], path: &Path) -> Result<()> {
    if bundles == receipts.len() {
        return Ok(());
    }
    Err(broken(format!("there are {bundles} bundles and {} receipts for them", receipts.len()), path))
}

fn in_json_lines(path: &Path, receipts: &[(Receipt, Hash)]) -> Result<()> {
    let bytes = fs::read(path).map_err(|error| broken(format!("file cannot be read: {error}"), path))?;
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    as_many(lines.len(), receipts, path)?;
    lines
        .par_iter()
        .zip(receipts)
        .try_for_each(|(line, (receipt, _))| receipt.is_for(&BundleDigest::of(Form::Json, line)))
}

fn in_parquet(path: &Path, receipts: &[(Receipt, Hash)]) -> Result<()> {
    let bytes = fs::read(path).map_err(|error| broken(format!("file cannot be read: {error}"), path))?;
    let batches = rows(bytes)?;
    let places: Vec<_> = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row))).collect();
    as_many(places.len(), receipts, path)?;
    let agree = |(&(batch, row), (receipt, _)): (&(&arrow::record_batch::RecordBatch, usize), &(Receipt, Hash))| {
        receipt.is_for(&digest_of_row(batch, row, receipt)?)
    };
    places.par_iter().zip(receipts).try_for_each(agree)
}
