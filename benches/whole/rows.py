"""rows.py EXPORTS CRITERION: the wanted rows of one file, by DuckDB and Polars on one thread, beside what criterion measured
of ieum's reader on the same files (benches/kernels, group `probe`).

EXPORTS is the folder that the kernels left (IEUM_BENCH_EXPORTS), CRITERION is `target/criterion`. Every tool gives key, year,
amount and payer of the rows whose key is wanted; the rows must be the same before a time is told. Neither tool reads CP949 by
itself: both are given what Python's codec decodes, inside the clock (DuckDB's own codec is an extension that has to be
downloaded). The median of nine rounds, the best in brackets; ieum's is criterion's median.
"""

import io
import json
import os
import sys
import time
from pathlib import Path
from statistics import median

os.environ["POLARS_MAX_THREADS"] = "1"

import duckdb
import polars as pl

ROUNDS = 9
COLUMNS = ["year", "amount", "payer"]
EVERY = ["year", "amount", "tax", "payer", "address", "office", "note"]
FILES = [  # file, key, whose keys are wanted, criterion's name, encoding
    ("csv_utf8.csv", "rrno", "csv_utf8", "hits_1_percent", "utf-8"),
    ("csv_cp949.csv", "rrno", "csv_utf8", "hits_1_percent", "cp949"),
    ("long_keys.parquet", "ci", "long_keys", "hits_10_percent", None),
]


def by_duckdb(path, key, encoding, wanted):
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.register("wanted", wanted)
    source = f"'{path}'"
    if encoding:
        if encoding != "utf-8":
            decoded = path.with_suffix(".decoded.csv")
            decoded.write_text(path.read_text(encoding), "utf-8")
            source = f"'{decoded}'"
        types = {name: "BIGINT" if name == "amount" else "VARCHAR" for name in [key, *EVERY]}
        source = f"read_csv({source}, header = true, delim = ',', quote = '\"', auto_detect = false, columns = {types})"
    columns = ", ".join([key, *COLUMNS])
    return connection.execute(f"SELECT {columns} FROM {source} SEMI JOIN wanted USING ({key})").to_arrow_table()


def by_polars(path, key, encoding, wanted):
    schema = {name: pl.Int64 if name == "amount" else pl.String for name in [key, *EVERY]}
    if encoding is None:
        rows = pl.scan_parquet(path)
    elif encoding == "utf-8":
        rows = pl.scan_csv(path, schema=schema)
    else:
        rows = pl.scan_csv(io.BytesIO(path.read_bytes().decode(encoding).encode()), schema=schema)
    wanted = pl.from_arrow(wanted).lazy()
    return rows.select([key, *COLUMNS]).join(wanted, on=key, how="semi").collect(engine="streaming").to_arrow()


def measured(tool, *arguments):
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        rows = tool(*arguments)
        seconds.append(time.perf_counter() - begun)
    return rows, seconds


def main():
    exports, criterion = Path(sys.argv[1]), Path(sys.argv[2])
    for name, key, wanted, bench, encoding in FILES:
        path = exports / name
        keys = (exports / f"{wanted}.wanted").read_text().split()
        estimates = criterion / f"probe_{path.stem}" / bench / "new" / "estimates.json"
        own = json.loads(estimates.read_text())["median"]["point_estimate"] / 1e9
        size = path.stat().st_size / 1e6
        print(f"{name}: {size:.1f} MB, {len(keys)} keys; ieum {own * 1e3:.1f} ms, {size / own:.0f} MB/s")
        found = {}
        for tool in (by_duckdb, by_polars):
            rows, seconds = measured(tool, path, key, encoding, pl.DataFrame({key: keys}).to_arrow())
            found[tool] = sorted(rows.to_pylist(), key=lambda row: row[key])
            best, middle = min(seconds), median(seconds)
            told = f"{middle * 1e3:7.1f} ms [best {best * 1e3:.1f}]  {middle / own:5.2f}x [best {best / own:.2f}x]"
            print(f"  {tool.__name__[3:]:7} {told}")
        if found[by_duckdb] != found[by_polars] or len(found[by_polars]) != len(keys):
            sys.exit(f"{name}: the tools do not give the same rows")


main()
