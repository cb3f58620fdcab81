//! The fences, read from `cargo metadata`.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

fn metadata() -> Metadata {
    // Only this platform's packages: a build has fetched these, and no others.
    let options = ["--locked", "--offline", "--filter-platform", "host-tuple"];
    MetadataCommand::new().other_options(options.map(String::from)).exec().expect("cargo metadata")
}

/// Names of everything `package` reaches over normal dependencies.
fn reaches(metadata: &Metadata, package: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let root = metadata.packages.iter().find(|p| p.name.as_str() == package).expect("the package exists");
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    let mut open = vec![&root.id];
    while let Some(id) = open.pop() {
        let node = resolve.nodes.iter().find(|node| node.id == *id).expect("a node for every package");
        let normal = node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal));
        open.extend(normal.map(|d| &d.pkg).filter(|id| seen.insert(id)));
    }
    metadata.packages.iter().filter(|p| seen.contains(&p.id)).map(|p| p.name.to_string()).collect()
}

#[test]
fn words_privacy_and_connectors_build_without_datafusion() {
    let metadata = metadata();
    let forbidden = |package: &str, forbidden: &dyn Fn(&str) -> bool| {
        let reached: Vec<String> = reaches(&metadata, package).into_iter().filter(|name| forbidden(name)).collect();
        assert!(reached.is_empty(), "{package} reaches {reached:?}");
    };
    // Only connectors talk to stores and databases.
    for package in ["ieum-model", "ieum-privacy"] {
        forbidden(package, &|name| name.starts_with("datafusion") || ["tokio", "object_store"].contains(&name));
    }
    forbidden("ieum-connectors", &|name| name.starts_with("datafusion"));
}

#[test]
fn one_library_does_all_tls() {
    let metadata = metadata();
    let names: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    assert!(names.contains("ring"));
    let others = ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls"];
    assert!(others.iter().all(|other| !names.contains(other)), "a second TLS library is in the tree");
}

#[test]
fn crates_know_each_other_in_one_direction() {
    let metadata = metadata();
    let ours = |package: &str| -> BTreeSet<String> {
        reaches(&metadata, package).into_iter().filter(|name| name == "ieum" || name.starts_with("ieum-")).collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(ours("ieum-model"), set(&[]));
    assert_eq!(ours("ieum-privacy"), set(&[]));
    assert_eq!(ours("ieum-connectors"), set(&["ieum-model"]));
    assert_eq!(ours("ieum-core"), set(&["ieum-model", "ieum-privacy"]));
    assert_eq!(ours("ieum"), set(&["ieum-connectors", "ieum-core", "ieum-model", "ieum-privacy"]));
}

#[test]
fn only_core_names_datafusion() {
    let metadata = metadata();
    let direct: BTreeSet<&str> = metadata
        .workspace_packages()
        .iter()
        .filter(|package| package.dependencies.iter().any(|d| d.name.starts_with("datafusion")))
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(direct, BTreeSet::from(["ieum-core"]));
}

#[test]
fn there_is_one_arrow_in_the_tree() {
    let metadata = metadata();
    for name in ["arrow", "parquet", "object_store"] {
        let versions = metadata.packages.iter().filter(|package| package.name.as_str() == name).count();
        assert_eq!(versions, 1, "{name}");
    }
}
