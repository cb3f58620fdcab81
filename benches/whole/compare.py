"""compare.py OURS PEER: the same files with the same bundles in the same order, equal down to the order of items and records;
indexes and digests of the peer are right; else exit code 1."""

import csv
import hashlib
import json
import sys
from pathlib import Path


def parsed(line):
    """Objects as lists of pairs, so that the order of items counts; lists of items and records are in order anyway."""
    return json.loads(line, object_pairs_hook=lambda pairs: ("object", pairs))


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in Path(root).glob("*/*")}


def indexed(found, name):
    """The lines of a packed file, as its index cuts it, by request."""
    data = found[name]
    index = csv.DictReader(found[name.removesuffix(".ndjson") + ".index.csv"].decode().splitlines())
    cuts = [(row["request_id"], int(row["offset"]), int(row["bytes"])) for row in index]
    lines = [(request, data[offset : offset + size]) for request, offset, size in cuts]
    assert b"".join(line for _, line in lines) == data, f"{name}: the index does not cover the file"
    return lines


def main(ours, peer):
    left, right = files(ours), files(peer)
    sums = dict(reversed(line.split("  ")) for line in (Path(peer) / "SHA256SUMS").read_text().splitlines())
    wrong = [(name, "digest") for name in right if sums.get(name) != hashlib.sha256(right[name]).hexdigest()]
    wrong += [(name, "in one output only") for name in left.keys() ^ right.keys()]
    bundles = documents = records = same_bytes = 0
    for name in sorted(left.keys() & right.keys()):
        if not name.endswith(".ndjson"):
            continue
        one, two = indexed(left, name), indexed(right, name)
        if [request for request, _ in one] != [request for request, _ in two]:
            wrong.append((name, "requests or their order"))
            continue
        for (request, a), (_, b) in zip(one, two):
            bundle = json.loads(a)
            assert bundle["request_id"] == request, (name, request)
            bundles, documents = bundles + 1, documents + len(bundle["documents"])
            records += sum(len(document["records"]) for document in bundle["documents"].values())
            same_bytes += a == b
            if a != b and parsed(a) != parsed(b):
                wrong.append((name, request, a.decode(), b.decode()))
    for row in wrong[:5]:
        print("DIFFERENT", *row, file=sys.stderr)
    verdict = f"DIFFERENT ({len(wrong):,})" if wrong else "equal"
    print(f"{verdict}: {bundles:,} bundles ({same_bytes:,} to the byte), {documents:,} documents, {records:,} records")
    return bool(wrong) or not bundles


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
