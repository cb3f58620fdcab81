"""What both peers share: the checked lines (made before the clock starts), file access, and writing the bundles."""

import csv
import glob
import gzip
import json
import os
import re
import sys
import tomllib
from pathlib import Path

PREFIX = 13  # bytes before the fields of a fixed-width data record: "22", ten digits, "I"


class Dataset:
    def __init__(self, path):
        table = tomllib.loads(Path(path).read_text())
        self.code = table["code"]
        self.items = table["items"]
        self.keys = [table["key"], *table.get("other_keys", [])]
        self.maps = table.get("maps", [])
        self.export = table.get("export", {})
        self.to_item = self.export.get("columns", {})

    def kind(self, item):
        """`int`, `date` or `text`, and whether the cell is a list."""
        kind = self.items[item]["type"]
        kind = {"int": "int", "amt": "int", "date": "date"}.get(kind, "text")
        return kind, self.items[item].get("list", False)

    def files(self, exports):
        return sorted(glob.glob(str(Path(exports) / self.export["path"])))

    def text_format(self):
        return self.export["format"], self.export.get("encoding", "utf8")

    def slices(self):
        """Item -> (start, end) in bytes of a fixed-width record."""
        places, at = {}, PREFIX
        for field in self.export["layout"]:
            places[field["item"]] = (at, at + field["bytes"])
            at += field["bytes"]
        return places


def datasets(catalog):
    found = (Dataset(path) for path in sorted(glob.glob(f"{catalog}/datasets/*/*.toml")))
    return {dataset.code: dataset for dataset in found}


def entrances(catalog):
    """Dataset -> (key column, space) with the fewest bridges from `person`; and the bridges (dataset, from, to) by space."""
    bridges = {}
    for code, dataset in sorted(catalog.items()):
        for way in dataset.maps:
            bridges.setdefault(way["space"], (code, way["from"], way["to"]))
    hops = {"person": 0} | {space: 1 for space in bridges}
    ways = {}
    for code, dataset in catalog.items():
        known = [key for key in dataset.keys if key["space"] in hops]
        if known:
            best = min(known, key=lambda key: hops[key["space"]])
            ways[code] = (best["item"], best["space"])
    return ways, bridges


# --- before the clock: the checked lines, given to the peers ------------------------------------------------------------


def asked(catalog, services, request, dataset):
    """Items a line may have, in code order, and whether some were withheld (third-person items without a reason)."""
    if request["service"]:
        line = next(d for d in services[request["service"]]["documents"] if d["dataset"] == dataset)
        items = line.get("items")
        if items is None and "view" in line:
            raise SystemExit(f"views are not in this benchmark: {dataset}")
        excluded = set(line.get("exclude", []))
    else:
        listed = re.search(rf"(?:^|;|\s){dataset}\(([^)]*)\)", request["documents"])
        items, excluded = (listed.group(1).replace(" ", "").split(",") if listed else None), set()
    known = catalog[dataset].items
    if items is None:
        items = [code for code, item in known.items() if item.get("default")]
        if not items:
            items = list(known)
    items = [code for code in items if code in known and code not in excluded]
    may = lambda code: known[code]["sensitivity"] != "T" or request["third_person_reason"]
    return sorted(code for code in items if may(code)), not all(map(may, items))


def prepare(night, out, work):
    """Writes `lines.parquet` and `heads.parquet`; `out` is a finished run of ieum over the same night."""
    import base64
    import hashlib
    import hmac

    import pyarrow as pa
    import pyarrow.parquet as pq

    night, out = Path(night), Path(out)
    catalog = datasets(night / "catalog")
    ways, _ = entrances(catalog)
    tables = (tomllib.loads(Path(p).read_text()) | {"code": Path(p).stem} for p in glob.glob(f"{night}/catalog/services/*.toml"))
    services = {table["code"]: table for table in tables}
    with open(night / "requests/requests.csv", newline="") as file:
        requests = {}
        for row in csv.DictReader(file):
            requests.setdefault(row["request_id"], row)
    _, key_id, epoch, secret = (night / "keys/sample.key").read_text().split()
    secret = hmac.new(bytes(32), bytes.fromhex(secret), hashlib.sha256).digest()

    def pseudonym(recipient, rrno):
        info = b"ieum/1 pseudonym\0recipient\0" + recipient.encode() + int(epoch).to_bytes(4, "big")
        key = hmac.new(secret, info + b"\1", hashlib.sha256).digest()
        part = lambda text: len(text).to_bytes(8, "big") + text
        name = hmac.new(key, part(b"person") + part(rrno.encode()), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(name).decode().rstrip("=")

    as_of = out.name
    heads, ordinals = {"ord": [], "file": [], "head": [], "rrno": []}, {}
    for index in sorted(glob.glob(f"{out}/bundles/packed/*/*.index.csv")):
        file = f"{Path(index).parent.name}/{Path(index).name.removesuffix('.index.csv')}.ndjson"
        recipient = Path(index).parent.name
        for row in csv.DictReader(open(index)):
            request = requests[row["request_id"]]
            rrno = request["subject_ids"].removeprefix("rrno:")
            head = {"bundle": "ieum/1", "request_id": row["request_id"], "recipient": recipient}
            if request["service"]:
                head["service"] = request["service"]
            head |= {"purpose": request["purpose"], "subject": pseudonym(recipient, rrno), "key_id": key_id}
            head |= {"key_epoch": int(epoch), "as_of": as_of}
            ordinals[row["request_id"]] = len(heads["ord"])
            text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))[:-1] + ',"documents":{'
            for column, value in zip(heads, (len(heads["ord"]), file, text, rrno)):
                heads[column].append(value)
    lines = {"line": [], "ord": [], "dataset": [], "items": [], "withheld": [], "outcome": [], "reason": [], "rrno": []}
    answered = pq.read_table(out / "outcomes.parquet").to_pylist()
    for row in answered:
        if row["request_id"] not in ordinals:
            continue
        request = requests[row["request_id"]]
        open_line = row["outcome"] in ("provided", "partial", "not_found", "not_reachable") and row["dataset"] in ways
        items, withheld = asked(catalog, services, request, row["dataset"]) if open_line else ([], False)
        values = (
            len(lines["line"]), ordinals[row["request_id"]], row["dataset"], ",".join(items), withheld,
            None if open_line else row["outcome"], None if open_line else row["reason"],
            request["subject_ids"].removeprefix("rrno:"),
        )  # fmt: skip
        for column, value in zip(lines, values):
            lines[column].append(value)
    Path(work).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(lines), f"{work}/lines.parquet")
    pq.write_table(pa.table(heads), f"{work}/heads.parquet")
    undecided = sum(outcome is None for outcome in lines["outcome"])
    print(f"lines {len(lines['line']):,}, of which {undecided:,} need an export; bundles {len(heads['ord']):,}")


# --- inside the clock ---------------------------------------------------------------------------------------------------


def utf8_csv(path):
    """The UTF-8 bytes of a CP949 export, gzip or not; neither peer reads CP949."""
    raw = gzip.open(path).read() if path.endswith(".gz") else Path(path).read_bytes()
    return raw.decode("cp949").encode()


def header(dataset, path):
    """Item code of every column, in file order."""
    encoding = {"utf8": "utf-8-sig"}.get(dataset.text_format()[1], "cp949")
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding=encoding, newline="") as file:
        return [dataset.to_item.get(name, name) for name in next(csv.reader(file))]


class FixedWidth:
    """A fixed-width export: keys are a slice of a matrix of bytes; other cells are read for found rows only.

    Plain reads, not a memory map, whose pages would count as the peer's memory.
    """

    ROWS = 16384  # records a read

    def __init__(self, dataset, path):
        self.file = open(path, "rb", buffering=0)
        self.width = len(open(path, "rb").readline())
        size = os.fstat(self.file.fileno()).st_size
        assert size % self.width == 0, path
        self.rows = size // self.width - 2  # without header and trailer
        assert self.read(-1, 2) == b"11" and self.read(self.rows, 2) == b"33", path
        self.slices = dataset.slices()

    def read(self, row, size):
        return os.pread(self.file.fileno(), size, (row + 1) * self.width)

    def keys(self, item):
        """The key column as an Arrow string array."""
        import numpy
        import pyarrow as pa

        start, end = self.slices[item]
        data = numpy.empty((self.rows, end - start), numpy.uint8)
        for row in range(0, self.rows, self.ROWS):
            some = min(self.ROWS, self.rows - row)
            records = numpy.frombuffer(self.read(row, some * self.width), numpy.uint8).reshape(some, self.width)
            data[row : row + some] = records[:, start:end]
        offsets = numpy.arange(0, data.size + 1, end - start, dtype=numpy.int32)
        return pa.StringArray.from_buffers(len(data), pa.py_buffer(offsets), pa.py_buffer(data))

    def cells(self, items, rows):
        """The cells of the found rows, by item."""
        found = [self.read(row, self.width) for row in rows.tolist()]
        places = {item: self.slices[item] for item in items}
        return {i: [r[a:b].decode("cp949").strip() or None for r in found] for i, (a, b) in places.items()}


def write_bundles(out, rows):
    """`rows`: (file, line of JSON) in the order to be written."""
    files = {}
    for name, text in rows:
        file = files.get(name)
        if file is None:
            path = Path(out) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            file = files[name] = open(path, "w", encoding="utf-8", buffering=1 << 20)
        file.write(text)
        file.write("\n")
    for file in files.values():
        file.close()


if __name__ == "__main__":
    prepare(*sys.argv[1:])
