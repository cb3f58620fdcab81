"""compare.py OURS PEER: the same files, requests, heads, documents, outcomes, and multisets of records; else exit code 1."""

import json
import sys
from collections import Counter
from pathlib import Path


def bundles(root):
    found = {}
    for path in sorted(Path(root).glob("*/*.ndjson")):
        name = f"{path.parent.name}/{path.stem}"
        with open(path, encoding="utf-8") as file:
            for line in file:
                bundle = json.loads(line)
                key = name, bundle["request_id"]
                assert key not in found, key
                found[key] = bundle
    return found


def normal(document):
    records = Counter(json.dumps(record, sort_keys=True, ensure_ascii=False) for record in document["records"])
    return {**document, "records": records}


def main(ours, peer):
    left, right = bundles(ours), bundles(peer)
    wrong, records, documents = [], 0, 0
    wrong += [(*key, "in one output only") for key in left.keys() ^ right.keys()]
    for key in left.keys() & right.keys():
        a, b = left[key], right[key]
        one, two = a.pop("documents"), b.pop("documents")
        if a != b:
            wrong.append((*key, "head", a, b))
        if list(one) != list(two):
            wrong.append((*key, "documents", list(one), list(two)))
        for code in one.keys() & two.keys():
            documents += 1
            records += len(one[code]["records"])
            if normal(one[code]) != normal(two[code]):
                wrong.append((*key, code, one[code], two[code]))
    kinds = Counter(row[2] for row in wrong)
    for row in wrong[:5]:
        print("DIFFERENT", *row, file=sys.stderr)
    print(f"{'equal' if not wrong else 'DIFFERENT'}: {len(left):,} bundles, {documents:,} documents, {records:,} records", *kinds.items())
    return bool(wrong) or not left


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
