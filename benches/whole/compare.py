"""compare.py OURS PEER: the same files with the same bundles in the same order, indexes and digests of the peer right; else exit
code 1. JSON is equal down to the order of items and records, Parquet by value: a document that a bundle does not have, a null
and an empty list of records say the same there. Where ieum says that a row with the key of a line could not be read (E_CONTRACT),
which the peers do not look for, only the records of a line that has some must be equal; how many such lines there are is told."""

import csv
import hashlib
import json
import sys
from pathlib import Path

SHOWN, TOLD = 5, 1000  # differences, and characters of each


def parsed(line):
    """Objects as lists of pairs, so that the order of items counts; lists of items and records are in order anyway."""
    return json.loads(line, object_pairs_hook=lambda pairs: ("object", pairs))


def bundles_of(folder):
    """The folder of the bundles, in or below the given one."""
    for below in ("", "bundles"):
        for layout in ("packed", "per_request"):
            if (Path(folder) / below / layout).is_dir():
                return Path(folder) / below / layout
    return Path(folder)


def files(root):
    return {str(path.relative_to(root)): path for path in root.glob("*/*")}


def same(value):
    """A value of a Parquet file without what says nothing: nulls, and records of no row."""
    if isinstance(value, dict):
        found = ((name, same(part)) for name, part in value.items())
        return {name: part for name, part in found if part is not None and part != []}
    return [same(part) for part in value] if isinstance(value, list) else value


def difference(ours, theirs):
    """What differs of two bundles, document by document."""
    mine, other = (bundle.get("documents", {}) for bundle in (ours, theirs))
    heads = [{name: value for name, value in bundle.items() if name != "documents"} for bundle in (ours, theirs)]
    told = [f"head: {heads[0]} is {heads[1]}"] if heads[0] != heads[1] else []
    told += [f"{name}: {mine.get(name)} is {other.get(name)}" for name in {**mine, **other} if mine.get(name) != other.get(name)]
    return "; ".join(told)[:TOLD] or "the order of documents, items or records"


def unspoiled(ours, theirs):
    """What there is to compare of the documents of two bundles, and the number of lines that a row that cannot be read spoils."""
    mine, other, spoiled = dict(ours.get("documents", {})), dict(theirs.get("documents", {})), 0
    for name, document in list(mine.items()):
        if document.get("reason") == "E_CONTRACT":
            spoiled += 1
            one, same_line = mine.pop(name), other.pop(name, {})
            if one["outcome"] == "partial":
                mine[name], other[name] = one.get("records"), same_line.get("records")
    return {**ours, "documents": mine}, {**theirs, "documents": other}, spoiled


def index(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class Comparison:
    def __init__(self, ours, peer):
        self.ours, self.peer = bundles_of(ours), bundles_of(peer)
        self.left, self.right = files(self.ours), files(self.peer)
        self.wrong = [(name, "in one output only") for name in sorted(self.left.keys() ^ self.right.keys())]
        self.bundles = self.documents = self.records = self.same_bytes = self.spoiled = 0

    def digests(self, sums):
        """Every file of the peer is listed with its digest."""
        listed = dict(reversed(line.split("  ")) for line in Path(sums).read_text().splitlines())
        for path in self.right.values():
            with open(path, "rb") as file:
                if listed.get(str(path.relative_to(Path(sums).parent))) != hashlib.file_digest(file, "sha256").hexdigest():
                    self.wrong.append((str(path), "digest"))

    def run(self):
        for name in sorted(self.left.keys() & self.right.keys()):
            left, right = self.left[name], self.right[name]
            if name.endswith(".ndjson"):
                self.packed_json(name, self.lines(left), self.lines(right))
            elif name.endswith(".json"):
                self.json(name, left.stem, left.read_bytes(), right.read_bytes())
            elif name.endswith(".parquet"):
                self.packed_parquet(name, left, right)

    @staticmethod
    def lines(path):
        """The lines of a packed file, as its index cuts it, with their requests."""
        data = path.read_bytes()
        cuts = [(row["request_id"], int(row["offset"]), int(row["bytes"])) for row in index(path.with_suffix(".index.csv"))]
        lines = [(request, data[offset : offset + size]) for request, offset, size in cuts]
        if b"".join(line for _, line in lines) != data:
            raise ValueError(f"{path}: the index does not cover the file")
        return lines

    def packed_json(self, name, left, right):
        if [request for request, _ in left] != [request for request, _ in right]:
            self.wrong.append((name, "requests or their order"))
            return
        for (request, one), (_, other) in zip(left, right):
            self.json(name, request, one, other)

    def json(self, name, request, one, other):
        self.count(name, request, json.loads(one))
        self.same_bytes += one == other
        if one != other and parsed(one) != parsed(other):
            self.values(name, request, json.loads(one), json.loads(other))

    def values(self, name, request, mine, theirs):
        """Bundles that are not the same as they stand."""
        mine, theirs, spoiled = unspoiled(mine, theirs)
        self.spoiled += spoiled
        if not spoiled or mine != theirs:
            self.wrong.append((name, request, difference(mine, theirs)))

    def packed_parquet(self, name, left, right):
        import pyarrow.parquet as pq

        order = [row["request_id"] for row in index(right.with_suffix(".index.csv"))]
        one, other = pq.ParquetFile(left), pq.ParquetFile(right)
        if order != [row["request_id"] for row in index(left.with_suffix(".index.csv"))]:
            self.wrong.append((name, "requests or their order"))
            return
        if not len(order) == one.metadata.num_rows == other.metadata.num_rows:
            self.wrong.append((name, "number of rows"))
            return
        rows = zip(order, *(self.rows(file) for file in (one, other)))
        for request, mine, theirs in rows:
            mine, theirs = same(mine), same(theirs)
            self.count(name, request, mine)
            if mine != theirs or theirs["request_id"] != request:
                self.values(name, request, mine, theirs)

    @staticmethod
    def rows(file):
        for batch in file.iter_batches(1024):
            yield from batch.to_pylist()

    def count(self, name, request, bundle):
        if bundle["request_id"] != request:
            raise ValueError(f"{name}: the bundle of {request} is another's")
        documents = bundle.get("documents", {}).values()
        self.bundles, self.documents = self.bundles + 1, self.documents + len(documents)
        self.records += sum(len(document.get("records", ())) for document in documents)

    def verdict(self):
        told = f"DIFFERENT ({len(self.wrong):,})" if self.wrong or not self.bundles else "equal"
        to_the_byte = f" ({self.same_bytes:,} to the byte)" if self.same_bytes else ""
        spoiled = f", {self.spoiled:,} of them beside a row that cannot be read" if self.spoiled else ""
        return f"{told}: {self.bundles:,} bundles{to_the_byte}, {self.documents:,} documents{spoiled}, {self.records:,} records"


def main(ours, peer):
    comparison = Comparison(ours, peer)
    comparison.digests(next(path for path in (Path(peer), *Path(peer).parents) if (path / "SHA256SUMS").exists()) / "SHA256SUMS")
    comparison.run()
    for row in comparison.wrong[:SHOWN]:
        print("DIFFERENT", *row, file=sys.stderr)
    print(comparison.verdict())
    return bool(comparison.wrong) or not comparison.bundles


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: compare.py OURS PEER")
    try:
        sys.exit(main(*sys.argv[1:]))
    except (OSError, ValueError, KeyError, StopIteration) as error:
        sys.exit(f"compare.py: {type(error).__name__}: {error}")
