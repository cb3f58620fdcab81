#!/usr/bin/env python3
"""Writes tests/exports/avro: files of another writer, and what that writer's reader finds in them.

    pip install fastavro cramjam backports.zstd
    python3 tests/independent/avro_files.py tests/exports/avro

`rows.<codec>.avro` hold the three rows of the contract of all readers. `types.avro` has every logical type; `types.json` is what
its values are as text, money and dates as a night has them: instants in Korean time.
"""
import datetime
import decimal
import json
import sys
import uuid
import zoneinfo

import fastavro

ROOT = sys.argv[1]
SEOUL = zoneinfo.ZoneInfo("Asia/Seoul")
UTC = datetime.timezone.utc
SYNC = b"0123456789abcdef"

rows_schema = fastavro.parse_schema({
    "type": "record", "name": "row", "namespace": "kr.go.holder", "fields": [
        {"name": "unwanted", "type": ["null", {"type": "map", "values": {"type": "array", "items": "bytes"}}]},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "person", "type": {"type": "record", "name": "person", "fields": [
            {"name": "rrno", "type": "string"},
            {"name": "NM", "type": ["string", "null"]},
        ]}},
        {"name": "amount", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}]},
    ]})
rows = [
    {"unwanted": {"a": [b"1", b"22"], "나": []}, "day": datetime.date(2024, 2, 29),
     "person": {"rrno": "800101", "NM": '뷁똠샾, "갑"'}, "amount": decimal.Decimal("-1234.00")},
    {"unwanted": None, "day": None, "person": {"rrno": "900202", "NM": "을"}, "amount": None},
    {"unwanted": {}, "day": None, "person": {"rrno": "700303", "NM": "병"}, "amount": decimal.Decimal("7")},
]
for codec in ["null", "deflate", "snappy", "zstandard"]:
    with open(f"{ROOT}/rows.{codec}.avro", "wb") as out:
        # A block for every row or two.
        fastavro.writer(out, rows_schema, rows, codec=codec, sync_interval=40, sync_marker=SYNC)

types_schema = fastavro.parse_schema({
    "type": "record", "name": "types", "fields": [
        {"name": "key", "type": "long"},
        {"name": "day", "type": [{"type": "int", "logicalType": "date"}, "null"]},
        {"name": "millis", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "micros", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "money", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
        {"name": "whole", "type": {"type": "fixed", "name": "nine", "size": 9, "logicalType": "decimal",
                                   "precision": 20, "scale": 0}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "open", "type": "boolean"},
        {"name": "ratio", "type": "double"},
        {"name": "share", "type": "float"},
        {"name": "kind", "type": {"type": "enum", "name": "kind", "symbols": ["A01", "B02"]}},
        {"name": "parts", "type": {"type": "array", "items": ["null", "long"]}},
        {"name": "homes", "type": {"type": "map", "values": {"type": "record", "name": "home", "fields": [
            {"name": "city", "type": "string"}]}}},
        {"name": "text", "type": "bytes"},
        {"name": "at", "type": {"type": "int", "logicalType": "time-millis"}},
    ]})


def row(key, day, millis, micros, local, money, whole, opened, ratio, share, kind, parts, homes, text, at):
    return {"key": key, "day": day, "millis": millis, "micros": micros, "local": local, "money": money, "whole": whole,
            "id": str(uuid.UUID(int=key)), "open": opened, "ratio": ratio, "share": share, "kind": kind,
            "parts": parts, "homes": homes, "text": text, "at": at}


time, date, D = datetime.datetime, datetime.date, decimal.Decimal
types = [
    row(12313000002, date(1969, 12, 31), time(2023, 12, 31, 15, 0, 0, 999000, UTC), time(1969, 12, 31, 14, 59, 59, 5, UTC),
        time(2024, 2, 29, 23, 59, 59, 999999), D("-0.05"), D("-12345678901234567"), True, 0.5, 0.25, "B02", [1, None, -3],
        {"old": {"city": "서울"}, "new": {"city": "부산"}}, "가나".encode(), datetime.time(23, 59, 58)),
    row(9912313000002, None, None, time(2024, 1, 1, tzinfo=UTC), time(1900, 1, 1), D("123456789012345678.90"), D(0), False,
        -2.0, 8.0, "A01", [], {}, b"", datetime.time(0, 0, 0)),
]
with open(f"{ROOT}/types.avro", "wb") as out:
    fastavro.writer(out, types_schema, types, sync_marker=SYNC)


def second(value):
    return None if value is None else f"{value:%Y%m%d%H%M%S}" if value.tzinfo is None else second(value.astimezone(SEOUL).replace(tzinfo=None))


found = []
with open(f"{ROOT}/types.avro", "rb") as read:
    for value in fastavro.reader(read):
        found.append([
            f"{value['key']:013}", value["day"] and value["day"].isoformat(), second(value["millis"]),
            second(value["micros"])[:6], second(value["local"]), f"{value['money']:f}", f"{value['whole']:f}",
            str(value["id"]), "Y" if value["open"] else "N", repr(value["ratio"]), repr(value["share"]), value["kind"],
            [None if part is None else str(part) for part in value["parts"]],
            value["homes"].get("new", {}).get("city"), value["text"].decode() or None, value["at"].strftime("%H:%M:%S"),
        ])
with open(f"{ROOT}/types.json", "w") as out:
    json.dump(found, out, ensure_ascii=False, indent=1)
    out.write("\n")
