//! The Merkle tree of RFC 9162, section 2.1, with SHA-256: a root over many leaves, and for each leaf the few hashes that
//! lead from it to the root.
//!
//! ```text
//!             root                 path of d2: d3's leaf hash, g, then l
//!            /    \
//!           k      l               a leaf's hash  = SHA-256(00 leaf)
//!          / \    / \              a node's hash  = SHA-256(01 left right)
//!         g   h  i   j
//!        /\  /\  /\   \
//!      d0 …       …    d6          a node without a sibling is handed up as it is
//! ```

use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// A hash of the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf: of `00` and its bytes.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new_with_prefix([0]).chain_update(leaf).finalize().into()
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The tree over leaves in a fixed order.
pub struct Tree {
    /// The leaves' hashes, then the nodes above them, up to the root alone.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over the leaves of these hashes, in their order; hashed in parallel on the rayon pool it is called in.
    pub fn new(leaves: Vec<Hash>) -> Self {
        /// Pairs that are worth a thread's while.
        const PAIRS_A_THREAD: usize = 1024;
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let above = below.par_chunks(2).with_min_len(PAIRS_A_THREAD).map(|pair| match pair {
                [left, right] => node_hash(left, right),
                alone => alone[0],
            });
            levels.push(above.collect());
        }
        Self { levels }
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.levels[0].len() as u64
    }

    /// The hash that stands for all leaves; of no leaves, that of nothing.
    pub fn root(&self) -> Hash {
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or_else(|| Sha256::digest([]).into())
    }

    /// The inclusion path of a leaf (section 2.1.3.1), from its sibling up; empty for a leaf that there is not.
    pub fn path(&self, leaf: u64) -> impl Iterator<Item = &Hash> {
        let mut place = usize::try_from(leaf).unwrap_or(usize::MAX);
        let levels = if leaf < self.size() { &self.levels[..] } else { &[] };
        levels.iter().filter_map(move |level| {
            let sibling = (place < level.len()).then(|| level.get(place ^ 1)).flatten();
            place /= 2;
            sibling
        })
    }
}

/// The root that a path leads to from a leaf's hash (section 2.1.3.2); `None` where a tree of `size` leaves has no such
/// leaf or its path another length.
pub fn root_by(path: &[Hash], leaf: &Hash, index: u64, size: u64) -> Option<Hash> {
    let (mut node, mut last) = (index, size.checked_sub(1)?);
    if index >= size {
        return None;
    }
    let mut root = *leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            root = node_hash(sibling, &root);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            root = node_hash(&root, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::manifest::hex;
    use proptest::prelude::*;

    /// The leaves that the implementations of Certificate Transparency (RFC 6962 and 9162) are tested with.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    /// The roots over the first leaf, the first two, …
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn tree(leaves: &[&[u8]]) -> Tree {
        Tree::new(leaves.iter().map(|leaf| leaf_hash(leaf)).collect())
    }

    #[test]
    fn roots_are_those_of_the_published_vectors() {
        assert_eq!(hex(&tree(&[]).root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (size, root) in (1..).zip(ROOTS) {
            assert_eq!(hex(&tree(&LEAVES[..size]).root()), root, "{size}");
        }
    }

    #[test]
    fn paths_are_those_of_rfc_9162_section_2_1_5() {
        let seven = tree(&LEAVES[..7]);
        let leaf = |at: usize| leaf_hash(LEAVES[at]);
        let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(leaf);
        let j = leaf(6);
        let (g, h, i) = (node_hash(&a, &b), node_hash(&c, &d), node_hash(&e, &f));
        let (k, l) = (node_hash(&g, &h), node_hash(&i, &j));
        let check = |index, expected: &[Hash]| {
            assert_eq!(seven.path(index).copied().collect::<Vec<_>>(), expected, "{index}");
        };
        check(0, &[b, h, l]);
        check(3, &[c, g, l]);
        check(4, &[f, j, k]);
        check(6, &[i, k]);
        check(7, &[]);
        assert_eq!(seven.root(), node_hash(&k, &l));
    }

    proptest! {
        #[test]
        fn a_path_leads_to_the_root_from_its_own_leaf_and_place_only(size in 1u64..70, index in 0u64..70, other in 0u64..70) {
            let tree = Tree::new((0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect());
            let (index, other) = (index % size, other % size);
            let path: Vec<Hash> = tree.path(index).copied().collect();
            let [leaf, another] = [index, other].map(|leaf| leaf_hash(&leaf.to_be_bytes()));
            prop_assert_eq!(root_by(&path, &leaf, index, size), Some(tree.root()));
            if other != index {
                prop_assert_ne!(root_by(&path, &leaf, other, size), Some(tree.root()));
                prop_assert_ne!(root_by(&path, &another, index, size), Some(tree.root()));
            }
            for length in 0..path.len() {
                prop_assert_ne!(root_by(&path[..length], &leaf, index, size), Some(tree.root()));
            }
            let longer = [&path[..], &[tree.root()]].concat();
            prop_assert_ne!(root_by(&longer, &leaf, index, size), Some(tree.root()));
            prop_assert_eq!(root_by(&path, &leaf, size, size), None);
            prop_assert_eq!(root_by(&path, &leaf, index, 0), None);
        }
    }
}
