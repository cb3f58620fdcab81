"""What both peers share: the checked lines (made before the clock starts), control totals, pseudonyms, file access, output."""

import base64
import csv
import ctypes
import glob
import gzip
import hashlib
import hmac
import json
import os
import re
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PREFIX = 13  # bytes before the fields of a fixed-width data record: "22", ten digits, "I"


class Dataset:
    def __init__(self, path):
        table = tomllib.loads(Path(path).read_text())
        self.code = table["code"]
        self.holder = table["holder"]
        self.items = table["items"]
        self.keys = [table["key"], *table.get("other_keys", [])]
        self.maps = table.get("maps", [])
        self.export = table.get("export", {})
        self.to_item = self.export.get("columns", {})
        self.control = self.export.get("control", {})
        self.record_order = table.get("record_order", [])

    def kind(self, item):
        """`int`, `date` or `text`, and whether the cell is a list."""
        kind = self.items[item]["type"]
        kind = {"int": "int", "amt": "int", "date": "date"}.get(kind, "text")
        return kind, self.items[item].get("list", False)

    def order(self, items):
        """The items that records are sorted by: the declared order, then all others."""
        declared = [item for item in self.record_order if item in items]
        return declared + [item for item in sorted(items) if item not in declared]

    def files(self, exports):
        return sorted(glob.glob(str(Path(exports) / self.export["path"]))) if self.export else []

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
    """Dataset -> (key column, space) with the fewest bridges from `person`; the bridges (dataset, from, to) by space; and the
    registers of changed numbers (dataset, old, new), which lead from `person` to `person`."""
    bridges, registers = {}, []
    for code, dataset in sorted(catalog.items()):
        spaces = {key["item"]: key["space"] for key in dataset.keys}
        for way in dataset.maps:
            if way["space"] != spaces[way["from"]]:
                bridges.setdefault(way["space"], (code, way["from"], way["to"]))
            elif way["space"] == "person":
                registers.append((code, way["from"], way["to"]))
    hops = {"person": 0} | {space: 1 for space in bridges}
    ways = {}
    for code, dataset in catalog.items():
        known = [key for key in dataset.keys if key["space"] in hops]
        if known:
            best = min(known, key=lambda key: hops[key["space"]])
            ways[code] = (best["item"], best["space"])
    return ways, bridges, registers


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


DECIDED = ("refused", "withdrawn", "no_consent")  # the legal checks; every other answer is the peer's own


def prepare(night, out, work):
    """Writes `lines.parquet` and `requests.parquet`; `out` is a finished run of ieum over the same night."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    night, out = Path(night), Path(out)
    catalog = datasets(night / "catalog")
    tables = (tomllib.loads(Path(p).read_text()) | {"code": Path(p).stem} for p in glob.glob(f"{night}/catalog/services/*.toml"))
    services = {table["code"]: table for table in tables}
    fallbacks = {code: {d["dataset"]: d["fallback_of"] for d in s["documents"] if "fallback_of" in d} for code, s in services.items()}
    delivered = {}  # request -> recipient, of requests that are not refused as a whole
    for index in glob.glob(f"{out}/bundles/packed/*/*.index.csv"):
        with open(index, newline="") as file:
            delivered |= {row["request_id"]: Path(index).parent.name for row in csv.DictReader(file)}
    requests, ordinals = {}, {}
    given = {"ord": [], "request_id": [], "recipient": [], "service": [], "purpose": [], "rrno": []}
    with open(night / "requests/requests.csv", newline="") as file:
        for row in csv.DictReader(file):
            name = row["request_id"]
            if name not in delivered or name in ordinals:
                continue
            requests[name], ordinals[name] = row, len(ordinals)
            rrno = row["subject_ids"].removeprefix("rrno:")
            values = (ordinals[name], name, delivered[name], row["service"] or None, row["purpose"], rrno)
            for column, value in zip(given, values):
                given[column].append(value)
    columns = ("line", "ord", "dataset", "items", "withheld", "outcome", "reason", "rrno", "fallback_of")
    lines = {column: [] for column in columns}
    answered = pq.read_table(out / "outcomes.parquet", columns=["request_id", "dataset", "outcome", "reason"]).to_pylist()
    answered = [row for row in answered if row["request_id"] in ordinals]
    # a fallback that ieum did not need is no answer of its: the line is given, the peers find out that nobody needs it
    known = {(row["request_id"], row["dataset"]) for row in answered}
    for name, row in requests.items():
        for dataset in fallbacks.get(row["service"], ()):
            if (name, dataset) not in known:
                answered.append({"request_id": name, "dataset": dataset, "outcome": "not_needed", "reason": None})
    for row in answered:
        request = requests[row["request_id"]]
        open_line = row["outcome"] not in DECIDED
        items, withheld = asked(catalog, services, request, row["dataset"]) if open_line else ([], False)
        values = (
            len(lines["line"]), ordinals[row["request_id"]], row["dataset"], ",".join(items), withheld,
            None if open_line else row["outcome"], None if open_line else row["reason"],
            request["subject_ids"].removeprefix("rrno:"), fallbacks.get(request["service"], {}).get(row["dataset"]),
        )  # fmt: skip
        for column, value in zip(lines, values):
            lines[column].append(value)
    Path(work).mkdir(parents=True, exist_ok=True)
    lines |= {column: pa.array(lines[column], pa.string()) for column in ("outcome", "reason", "fallback_of")}  # even if all null
    pq.write_table(pa.table(lines), f"{work}/lines.parquet")
    pq.write_table(pa.table(given), f"{work}/requests.parquet")
    undecided = lines["outcome"].null_count
    print(f"lines {len(lines['line']):,}, of which {undecided:,} need an export; bundles {len(ordinals):,}")


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
    """A fixed-width export, read once as a matrix of bytes: for its sums and its key columns. Other cells are read for found
    rows only. Plain reads, not a memory map, whose pages would count as the peer's memory."""

    ROWS = 16384  # records a read

    def __init__(self, dataset, path):
        self.file = open(path, "rb", buffering=0)
        self.width = len(open(path, "rb").readline())
        size = os.fstat(self.file.fileno()).st_size
        self.rows = size // self.width - 2  # without header and trailer
        self.whole = size % self.width == 0
        self.slices = dataset.slices()
        self.amounts = []
        if dataset.control.get("trailer") == "count_and_sums":
            self.amounts = [f["item"] for f in dataset.export["layout"] if dataset.items.get(f["item"], {}).get("type") == "amt"]

    def read(self, row, size):
        return os.pread(self.file.fileno(), size, (row + 1) * self.width)

    def scan(self, *keys):
        """Cuts the key columns. Whether the counts and sums of header and trailer agree with the records."""
        import numpy

        head, trailer = self.read(-1, self.width), self.read(self.rows, self.width)
        if not (self.whole and head[:2] == b"11" and trailer[:2] == b"33"):
            return False
        places = {key: self.slices[key] for key in keys}
        self.data = {key: numpy.empty((self.rows, end - start), numpy.uint8) for key, (start, end) in places.items()}
        sums = [0] * len(self.amounts)
        for row in range(0, self.rows, self.ROWS):
            some = min(self.ROWS, self.rows - row)
            records = numpy.frombuffer(self.read(row, some * self.width), numpy.uint8).reshape(some, self.width)
            for key, (start, end) in places.items():
                self.data[key][row : row + some] = records[:, start:end]
            for at, item in enumerate(self.amounts):
                a, b = self.slices[item]
                sums[at] += total(records[:, a:b])
        declared = [int(trailer[at : at + 19]) for at in range(12, 12 + 19 * len(sums), 19)]
        return int(head[66:76]) == int(trailer[2:12]) == self.rows and declared == sums

    def keys(self, key):
        """A key column as an Arrow string array."""
        import numpy
        import pyarrow as pa

        rows, size = self.data[key].shape
        offsets = numpy.arange(0, rows * size + 1, size, dtype=numpy.int32)
        return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(self.data[key]))

    def cells(self, items, rows):
        """The cells of the found rows, by item."""
        found = [self.read(row, self.width) for row in rows.tolist()]
        places = {item: self.slices[item] for item in items}
        return {i: [r[a:b].decode("cp949").strip() or None for r in found] for i, (a, b) in places.items()}


def total(cells):
    """Sum of a column of amounts: the sums of its places, weighted. Cells with a sign or blanks go one by one."""
    digits = cells - 48
    plain = (digits < 10).all(axis=1)
    odd = 0
    if not plain.all():
        texts = (row.tobytes().strip() for row in cells[~plain])
        odd = sum(int(text) for text in texts if re.fullmatch(rb"[+-]?[0-9]+", text))
        digits = digits[plain]
    places = digits.sum(axis=0, dtype="uint32").tolist()  # 16384 rows of 9 do not overflow
    return odd + sum(place * 10**power for power, place in enumerate(reversed(places)))


def manifest_agrees(path):
    """`<name>.sha256`, as sha256sum writes it."""
    try:
        expected, name = Path(f"{path}.sha256").read_text().split()
    except (OSError, ValueError):
        return False
    with open(path, "rb") as file:
        return name.lstrip("*") == Path(path).name and hashlib.file_digest(file, "sha256").hexdigest() == expected.lower()


def check_exports(catalog, ways, bridges, registers, codes, exports, threads):
    """Opens every fixed-width export that is needed and checks what each proves its completeness by. Returns the opened
    exports by path, by dataset why it is delayed, and the changed numbers (old, new) of the registers."""
    import pyarrow as pa

    over = {code: [bridges[ways[code][1]][0]] if ways[code][1] != "person" else [] for code in codes if code in ways}
    cut = {code: {ways[code][0]: None} for way in over.values() for code in way} | {code: {ways[code][0]: None} for code in over}
    for code, old, new in registers:
        cut.setdefault(code, {}).update({old: None, new: None})
    needed = sorted(cut)
    files = {code: catalog[code].files(exports) for code in needed}
    opened = {}

    def agrees(code, path):
        dataset = catalog[code]
        if dataset.control.get("trailer") and dataset.export["format"] != "fixed_width":
            raise SystemExit(f"CSV trailers are not in this benchmark: {code}")
        if "manifest" in dataset.control and not manifest_agrees(path):
            return False
        if dataset.export["format"] != "fixed_width":
            return True
        opened[path] = FixedWidth(dataset, path)
        return opened[path].scan(*cut[code])

    checks = [(code, path) for code in needed if catalog[code].control for path in files[code]]
    checks.sort(key=lambda check: -os.path.getsize(check[1]))  # the longest first
    with ThreadPoolExecutor(threads) as pool:
        verdicts = list(pool.map(lambda check: agrees(*check), checks))
    broken = {catalog[code].holder for (code, _), fine in zip(checks, verdicts) if not fine}
    for (code, path), fine in zip(checks, verdicts):
        if not fine:
            print(f"{path}: control totals do not agree, holder {catalog[code].holder} is left out")
    delayed = {}
    for code, way in over.items():
        if not all(files[source] for source in [*way, code]):
            delayed[code] = "E_HOLDER_MISSING"
        elif any(catalog[source].holder in broken for source in [*way, code]):
            delayed[code] = "E_CONTROL_TOTALS"
    changed = [pa.table({"old": pa.array([], pa.string()), "new": pa.array([], pa.string())})]
    for code, old, new in registers:
        if catalog[code].export["format"] != "fixed_width":
            raise SystemExit(f"registers in other formats are not in this benchmark: {code}")
        if catalog[code].holder not in broken:
            read = [opened[path] for path in files[code]]
            changed += [pa.table({"old": export.keys(old), "new": export.keys(new)}) for export in read]
    return opened, delayed, pa.concat_tables(changed)


def heads(night, requests):
    """File name and head of every bundle; `requests`: (request id, recipient, service or None, purpose, rrno)."""
    settings = tomllib.loads(Path(night, "nightly.toml").read_text())["run"]
    lines = (line.strip() for line in Path(night, settings["keys"]).read_text().splitlines())
    (line,) = (line for line in lines if line and not line.startswith("#"))
    _, key_id, epoch, secret = line.split()
    master = hmac.digest(bytes(32), bytes.fromhex(secret), "sha256")  # HKDF-SHA-256, extract without salt
    as_of = str(settings["date"])
    tail = f'","key_id":"{key_id}","key_epoch":{epoch},"as_of":"{as_of}","documents":{{'
    space = (6).to_bytes(8, "big") + b"person"
    domains, quoted = {}, {}
    for name, recipient, service, purpose, rrno in requests:
        key = domains.get(recipient)
        if key is None:
            info = b"ieum/1 pseudonym\0recipient\0" + recipient.encode() + int(epoch).to_bytes(4, "big")
            key = domains[recipient] = hmac.digest(master, info + b"\1", "sha256")  # HKDF-SHA-256, expand
        text = quoted.get(purpose)
        if text is None:
            text = quoted[purpose] = json.dumps(purpose, ensure_ascii=False)
        subject = hmac.digest(key, space + len(rrno).to_bytes(8, "big") + rrno.encode(), "sha256")
        subject = base64.urlsafe_b64encode(subject)[:43].decode()
        of = f'"service":"{service}",' if service else ""
        head = f'{{"bundle":"ieum/1","request_id":"{name}","recipient":"{recipient}",{of}"purpose":{text},"subject":"{subject}{tail}'
        yield f"{recipient}/{service or 'documents'}", head


class Packed:
    """A packed file: written, digested and indexed line by line."""

    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "wb", buffering=1 << 18)
        self.digest, self.offset, self.index = hashlib.sha256(), 0, ["request_id,offset,bytes\n"]

    def add(self, request, line):
        self.file.write(line)
        self.digest.update(line)
        self.index.append(f"{request},{self.offset},{len(line)}\n")
        self.offset += len(line)

    def close(self):
        self.file.close()
        return self.digest.hexdigest()


def write_bundles(out, heads, rows):
    """`heads`: what `heads` gives; `rows`: (request id, documents as JSON); both in the order of the requests. Writes a file
    and its index for every recipient and service, the digest of each, and syncs the file system once, as ieum does."""
    files, sums = {}, []
    for (name, head), (request, text) in zip(heads, rows, strict=True):
        packed = files.get(name)
        if packed is None:
            packed = files[name] = Packed(Path(out) / f"{name}.ndjson")
        packed.add(request, f"{head}{text}}}}}\n".encode())
    for name, packed in files.items():
        index = "".join(packed.index).encode()
        Path(out, f"{name}.index.csv").write_bytes(index)
        sums += [f"{packed.close()}  {name}.ndjson\n", f"{hashlib.sha256(index).hexdigest()}  {name}.index.csv\n"]
    with open(Path(out) / "SHA256SUMS", "w") as file:
        file.writelines(sorted(sums, key=lambda line: line[66:]))
        file.flush()
        if ctypes.CDLL(None, use_errno=True).syncfs(file.fileno()):
            raise OSError(ctypes.get_errno(), "syncfs")


if __name__ == "__main__":
    prepare(*sys.argv[1:])
