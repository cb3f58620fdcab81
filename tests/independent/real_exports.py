#!/usr/bin/env python3
"""Writes tests/exports/expected.json: what other readers find in the real files that tests/exports/*.toml describe.

    pip install openpyxl xlrd pyarrow
    python3 tests/independent/real_exports.py ../shared/data > tests/exports/expected.json

Of each file: how many rows it has, the SHA-256 of one text column (each value and a line feed, absent ones empty), and of one
number column the sum of the whole numbers, how many there are, and how many cells are neither blank nor a number. Decimal
numbers are summed as units of their last digit.
"""
import gzip
import hashlib
import json
import sys

import openpyxl
import pyarrow.parquet
import xlrd

ROOT = sys.argv[1]


def text(values):
    values = ["" if value is None else str(value).strip() for value in values]
    return hashlib.sha256("".join(value + "\n" for value in values).encode()).hexdigest()


def number(values):
    whole, other = [], 0
    for value in values:
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        try:
            whole.append(int(value.strip().replace(",", "")) if isinstance(value, str) else int(repr(value)))
        except ValueError:
            other += 1
    return {"sum": sum(whole), "count": len(whole), "other": other}


def found(rows, text_item, texts, number_item, numbers):
    out = {"rows": rows}
    if text_item:
        out["text"] = {"item": text_item, "sha256": text(texts)}
    if number_item:
        out["number"] = {"item": number_item, **number(numbers)}
    return out


def kosis():
    sheet = openpyxl.load_workbook(f"{ROOT}/korean/KOSIS_행정구역별_5세별_인구.xlsx", data_only=True).worksheets[0]
    rows = [list(row) for row in sheet.iter_rows(min_row=3, values_only=True)]
    above = [None, None]
    for row in rows:
        for at in (0, 1):
            if row[at]:
                above[at] = row[at]
                above[at + 1:] = [None] * len(above[at + 1:])
            row[at] = above[at]
    return found(len(rows), "sigungu", [row[1] for row in rows], "total", [row[3] for row in rows])


def seoul():
    sheet = xlrd.open_workbook(f"{ROOT}/korean/population_in_Seoul.xls").sheet_by_index(0)
    rows = [sheet.row_values(at) for at in range(3, sheet.nrows)]
    rows = [row for row in rows if any(cell != "" for cell in row)]
    return found(len(rows), "district", [row[1] for row in rows], "foreign_women", [row[11] for row in rows])


def libraries():
    sheet = xlrd.open_workbook(f"{ROOT}/korean/전국도서관표준데이터.xls").sheet_by_index(0)
    names = sheet.row_values(0)
    rows = [sheet.row_values(at) for at in range(1, sheet.nrows)]
    column = lambda name: [row[names.index(name)] for row in rows]
    return found(len(rows), "name", column("도서관명"), "loan_days", column("대출가능일수"))


def ipums():
    with gzip.open(f"{ROOT}/fixedwidth/ipums/cps_00157.dat.gz", "rt", encoding="ascii") as file:
        rows = [line.rstrip("\n") for line in file]
    return found(len(rows), "serial", [row[4:9] for row in rows], "inctot", [row[37:46] for row in rows])


def transactions():
    with open(f"{ROOT}/fixedwidth/cobrix/test3_TRAN2.AUG31.DATA.dat", "rb") as file:
        data = file.read()
    rows = [data[at:at + 45] for at in range(0, len(data), 45)]
    names = [row[11:26].decode("cp037").strip(" \0") for row in rows]
    return found(len(rows), "company_name", names, "amount", [int.from_bytes(row[37:45], "big", signed=True) for row in rows])


def parquet(file, text_item, number_item):
    table = pyarrow.parquet.read_table(f"{ROOT}/{file}")
    column = lambda name: table.column(name).to_pylist() if name else []
    return found(table.num_rows, text_item, column(text_item), number_item, column(number_item))


out = {"kosis_population": kosis(), "seoul_population": seoul(), "libraries": libraries(), "ipums_cps": ipums(),
       "transactions": transactions()}
for line in open(sys.argv[0].replace("independent/real_exports.py", "exports/parquet.csv"), encoding="utf-8").read().splitlines()[1:]:
    file, text_item, number_item = line.split(",")
    out[file] = parquet(file, text_item, number_item)
json.dump(out, sys.stdout, indent=1, sort_keys=True)
print()
