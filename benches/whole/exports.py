"""Exports: whether each proves that it is complete, and CP949, which no peer's engine reads.

CP949 text is cut where it stands: no byte of a delimiter, a quote or a line end is ever part of a character. Key columns are
joined in the engine as bytes, and only the cells of found rows are decoded."""

import csv
import functools
import hashlib
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet


BLANK, NOTHING = pa.scalar(""), pa.scalar(None, pa.string())


def opened(path):
    """The bytes of a file, decompressed as its name says."""
    path = str(path)
    compression = "gzip" if path.endswith(".gz") else "zstd" if path.endswith(".zst") else None
    return pa.input_stream(path, compression=compression)


@functools.cache
def titles(dataset, path):
    """The column titles of an export, in file order."""
    if dataset.format == "parquet":
        return pa.parquet.read_schema(path).names
    if not dataset.export.get("header", True):
        return dataset.export["order"]
    encoding = "cp949" if dataset.cp949 else "utf-8-sig"
    with io.TextIOWrapper(opened(path), encoding=encoding, newline="") as file:
        return next(csv.reader(file, delimiter=dataset.delimiter))


def header(dataset, path):
    """Item code of every column, in file order."""
    return [dataset.column(title) for title in titles(dataset, path)]


def texts(cells):
    """Cells of CP949 bytes as trimmed text, decoded all at once; blank is null."""
    if not len(cells):
        return pa.array([], pa.string())
    found = pa.array(b"\0".join(cells).decode("cp949").split("\0"), pa.string())
    found = pc.utf8_trim_whitespace(found)
    return pc.if_else(pc.equal(found, BLANK), NOTHING, found)


class FixedWidth:
    """A fixed-width export, read once as a matrix of bytes: for its sums and its key columns. Other cells are read for found
    rows only. Plain reads, not a memory map, whose pages would count as the peer's memory."""

    ROWS = 4096  # records a read

    def __init__(self, dataset, path):
        self.file = open(path, "rb", buffering=0)
        self.width = len(open(path, "rb").readline())
        size = os.fstat(self.file.fileno()).st_size
        self.rows = size // self.width - 2  # without header and trailer
        self.whole = size % self.width == 0
        self.slices = dataset.slices()
        self.amounts = []
        self.trailer = dataset.control.get("trailer")
        if self.trailer == "count_and_sums":
            kinds = {item: dataset.items.get(item, {}) for item in self.slices}
            self.amounts = [item for item, kind in kinds.items() if kind.get("type") == "amt" and not kind.get("list")]

    def read(self, row, rows):
        """Some records, from a row on, as a matrix of bytes."""
        data = os.pread(self.file.fileno(), rows * self.width, (row + 1) * self.width)
        return numpy.frombuffer(data, numpy.uint8).reshape(-1, self.width)

    def blocks(self):
        for row in range(0, self.rows, self.ROWS):
            yield row, min(row + self.ROWS, self.rows)

    def scan(self, keys):
        """Cuts the key columns. Whether the counts and sums of header and trailer agree with the records."""
        head, trailer = self.read(-1, 1).tobytes(), self.read(self.rows, 1).tobytes()
        if not (self.whole and head[:2] == b"11" and trailer[:2] == b"33"):
            return False
        places = {key: self.slices[key] for key in keys}
        self.data = {key: numpy.empty((self.rows, end - start), numpy.uint8) for key, (start, end) in places.items()}
        sums = [0] * len(self.amounts)
        for row, end in self.blocks():
            records = self.read(row, end - row)
            for key, (a, b) in places.items():
                self.data[key][row:end] = records[:, a:b]
            for at, item in enumerate(self.amounts):
                a, b = self.slices[item]
                sums[at] += total(records[:, a:b])
        if not self.trailer:
            return True
        declared = [int(trailer[at : at + 19]) for at in range(12, 12 + 19 * len(sums), 19)]
        return int(head[66:76]) == int(trailer[2:12]) == self.rows and declared == sums

    def keys(self, key):
        """A key column as an Array of bytes, padded with blanks as in the file."""
        rows, size = self.data[key].shape
        offsets = numpy.arange(0, rows * size + 1, size, dtype=numpy.int64 if rows * size >= 1 << 31 else numpy.int32)
        kind = pa.large_binary() if offsets.dtype == numpy.int64 else pa.binary()
        return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(offsets), pa.py_buffer(self.data[key])])

    def spelled(self, key, wanted):
        """Wanted keys as they stand in a key column."""
        start, end = self.slices[key]
        size = end - start
        if pc.all(pc.and_(pc.string_is_ascii(wanted), pc.equal(pc.binary_length(wanted), size))).as_py() is not False:
            return wanted.cast(pa.binary())
        return pa.array([text.encode("cp949", "replace").ljust(size) for text in wanted.to_pylist()], pa.binary())

    def cells(self, items, rows):
        """The cells of the found rows, by item."""
        places = {item: self.slices[item] for item in items}
        order = numpy.argsort(rows, kind="stable")
        ordered = rows[order]
        found = {item: numpy.zeros((len(rows), end - start + 1), numpy.uint8) for item, (start, end) in places.items()}
        for row, end in self.blocks():
            some = slice(*numpy.searchsorted(ordered, (row, end)))
            if some.start == some.stop:
                continue
            first, last = int(ordered[some.start]), int(ordered[some.stop - 1])
            records = self.read(first, last + 1 - first)[ordered[some] - first]
            for item, (a, b) in places.items():
                found[item][order[some], :-1] = records[:, a:b]  # the last byte stays 0 and ends the cell
        return {item: self._texts(matrix) for item, matrix in found.items()}

    @staticmethod
    def _texts(matrix):
        if not len(matrix):
            return texts([])
        return texts([matrix.tobytes()[:-1]])

    def close(self):
        """Kept open: another key of it may be looked for."""


class Csv:
    """A CSV export, cut by Arrow: the wanted columns as bytes. Rows of too few or too many cells are left out."""

    def __init__(self, dataset, path, columns, invalid=lambda row: "skip"):
        names = header(dataset, path)
        skip = 1 if dataset.export.get("header", True) else 0
        self.table = pa.csv.read_csv(
            opened(path),
            pa.csv.ReadOptions(column_names=names, skip_rows=skip, use_threads=False),
            pa.csv.ParseOptions(delimiter=dataset.delimiter, invalid_row_handler=invalid),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), include_columns=list(columns), check_utf8=False),
        )

    def keys(self, key):
        return self.table[key]

    def spelled(self, key, wanted):
        if pc.all(pc.string_is_ascii(wanted)).as_py() is not False:
            return wanted.cast(pa.binary())
        return pa.array([text.encode("cp949", "replace") for text in wanted.to_pylist()], pa.binary())

    def cells(self, items, rows):
        found = self.table.select(items).take(pa.array(rows))
        return {item: texts(found[item].to_pylist()) for item in items}

    def close(self):
        self.table = None


def total(cells):
    """Sum of a column of amounts: the sums of its places, weighted. Cells with a sign or blanks go one by one."""
    digits = cells - 48
    plain = (digits < 10).all(axis=1)
    odd = 0
    if not plain.all():
        signed = (row.tobytes().strip() for row in cells[~plain])
        odd = sum(int(text) for text in signed if re.fullmatch(rb"[+-]?[0-9]+", text))
        digits = digits[plain]
    places = digits.sum(axis=0, dtype="uint32").tolist()  # 4096 rows of 9 do not overflow
    return odd + sum(place * 10**power for power, place in enumerate(reversed(places)))


def manifest_agrees(path):
    """`<name>.sha256`, as sha256sum writes it."""
    try:
        expected, name = Path(f"{path}.sha256").read_text().split()
    except (OSError, ValueError):
        return False
    with open(path, "rb") as file:
        return name.lstrip("*") == Path(path).name and hashlib.file_digest(file, "sha256").hexdigest() == expected.lower()


class Exports:
    """The exports of a night: their files, whether they are complete, and the opened ones in CP949."""

    def __init__(self, plan, settings, threads):
        self.catalog, self.threads = plan.catalog, threads
        self.cuts = plan.cuts()
        found = {code: plan.catalog[code].files(settings.exports, settings.date) for code in plan.wanted()}
        self.paths = {code: paths for code, (paths, _) in found.items()}
        self.stale = {code: stale for code, (_, stale) in found.items() if stale}
        self.fixed = {}  # path -> opened fixed-width export

    def delayed(self):
        """Checks what each export proves its completeness by, two at a time; dataset -> why it is delayed."""
        checks = [(code, path) for code, paths in self.paths.items() if code not in self.stale for path in paths]
        checks = [check for check in checks if self._is_checked(check[0])]
        checks.sort(key=lambda check: -os.path.getsize(check[1]))  # the longest first
        with ThreadPoolExecutor(self.threads) as pool:
            verdicts = list(pool.map(lambda check: self._agrees(*check), checks))
        wrong = [check for check, fine in zip(checks, verdicts) if not fine]
        broken = {self.catalog[code].holder for code, _ in wrong}
        for code, path in wrong:
            print(f"{path}: control totals do not agree, holder {self.catalog[code].holder} is left out")
        delayed = {code: "E_CONTROL_TOTALS" for code in self.paths if self.catalog[code].holder in broken}
        delayed |= self.stale | {code: "E_HOLDER_MISSING" for code, paths in self.paths.items() if not paths}
        return delayed

    def _is_checked(self, code):
        dataset = self.catalog[code]
        is_fixed = dataset.format == "fixed_width"
        if "trailer" in dataset.control and not is_fixed:
            raise SystemExit(f"CSV trailers are not in this benchmark: {code}")
        return "manifest" in dataset.control or (is_fixed and code in self.cuts)

    def _agrees(self, code, path):
        """Also cuts the key columns of a fixed-width export that is read."""
        dataset = self.catalog[code]
        if "manifest" in dataset.control and not manifest_agrees(path):
            return False
        if dataset.format != "fixed_width" or code not in self.cuts:
            return True
        self.fixed[path] = FixedWidth(dataset, path)
        return self.fixed[path].scan(self.cuts[code])

    def size(self, reading):
        return sum(map(os.path.getsize, self.paths[reading.dataset]))

    def opened(self, code, columns):
        """The CP949 exports of a dataset by path, a CSV with these columns."""
        dataset = self.catalog[code]
        if dataset.format == "fixed_width":
            return {path: self.fixed[path] for path in self.paths[code]}
        return {path: Csv(dataset, path, columns) for path in self.paths[code]} if dataset.format == "csv" and dataset.cp949 else {}

    def changed(self, registers):
        """The changed numbers of the registers: space, old, new."""
        parts = [pa.table({name: pa.array([], pa.string()) for name in ("space", "old", "new")})]
        for bridge in registers:
            for path in self.paths[bridge.dataset]:
                pair = [pc.utf8_trim_whitespace(column) for column in self._pair(bridge, path)]
                space = pa.array([bridge.space] * len(pair[0]), pa.string())
                parts.append(pa.table({"space": space, "old": pair[0], "new": pair[1]}))
        return pa.concat_tables(parts)

    def _pair(self, bridge, path):
        """Two columns of a register as text."""
        dataset, columns = self.catalog[bridge.dataset], (bridge.known, bridge.to)
        if dataset.format == "fixed_width":
            return [self.fixed[path].keys(column).cast(pa.string()) for column in columns]
        if dataset.format == "csv":
            table = Csv(dataset, path, columns).table  # identifiers are ASCII in either encoding
        else:
            names = dict(zip(header(dataset, path), titles(dataset, path)))
            table = pa.parquet.read_table(path, columns=[names[column] for column in columns])
        return [table.column(at).cast(pa.string()) for at in range(2)]


def ragged(dataset, path, columns):
    """Rows of too few cells of a UTF-8 CSV, cut off cells blank, as a table of text; for engines that fill such rows up and
    do not say so."""
    names, rows = header(dataset, path), []

    def note(row):
        rows.append(row.text)
        return "skip"

    Csv(dataset, path, names[:1], note)
    cells = [(found + [""] * len(names))[: len(names)] for found in csv.reader(rows, delimiter=dataset.delimiter)]
    found = dict(zip(names, zip(*cells))) if cells else dict.fromkeys(names, ())
    return pa.table({name: pa.array(found[name], pa.string()) for name in columns})
