"""peer_duckdb.py NIGHT WORK OUT: the night as one would write it with DuckDB."""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy
import pyarrow as pa

import common

THREADS = 2


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def typed(dataset, item):
    """SQL of a text cell as its type; blank is null, `00000000` and 9999-12-31 are no date."""
    kind, is_list = dataset.kind(item)

    def convert(cell):
        if kind == "int":
            return f"CAST({cell} AS BIGINT)"
        if kind == "date":
            digits = f"replace({cell}, '-', '')"
            return f"CASE WHEN {digits} IN ('00000000', '99991231') THEN NULL ELSE CAST({'strptime' if is_list else 'try_strptime'}({digits}, '%Y%m%d') AS DATE) END"
        return cell

    cell = f"nullif(trim({quoted(item)}), '')"
    if is_list:
        part = convert("nullif(trim(x), '')")
        return f"list_transform(string_split({cell}, '|'), lambda x: {part})"
    return convert(cell)


def unreadable(item):
    """SQL: the cell says something that is no date. Such a row is rejected."""
    digits = f"replace(trim({quoted(item)}), '-', '')"
    return f"coalesce({digits} NOT IN ('', '00000000', '99991231') AND try_strptime({digits}, '%Y%m%d') IS NULL, false)"


class Night:
    def __init__(self, night, work, scratch):
        self.night, self.exports, self.scratch = night, f"{night}/exports", scratch
        self.catalog = common.datasets(f"{night}/catalog")
        self.ways, self.bridges, self.registers = common.entrances(self.catalog)
        self.db = duckdb.connect(config={"threads": THREADS, "preserve_insertion_order": False})
        self.db.execute(f"CREATE TABLE lines AS FROM read_parquet('{work}/lines.parquet')")
        self.db.execute(f"CREATE TABLE requests AS FROM read_parquet('{work}/requests.parquet')")
        self.db.execute("CREATE TABLE docs (line INTEGER, records VARCHAR)")

    def decode(self, codes):
        """CP949 CSV to UTF-8 files, two at a time."""
        self.decoded = {}

        def one(path):
            target = os.path.join(self.scratch, path.replace("/", "_").removesuffix(".gz"))
            Path(target).write_bytes(common.utf8_csv(path))
            return path, target

        cp949 = [c for c in codes if self.catalog[c].text_format() == ("csv", "cp949")]
        with ThreadPoolExecutor(THREADS) as pool:
            paths = [path for code in cp949 for path in self.catalog[code].files(self.exports)]
            self.decoded = dict(pool.map(one, paths))

    def source(self, dataset):
        """SQL that reads an export; its columns are item codes."""
        path = dataset.files(self.exports)
        if dataset.export["format"] == "parquet":
            rename = {item: name for name, item in dataset.to_item.items()}
            columns = ", ".join(f"{quoted(rename.get(i, i))} AS {quoted(i)}" for i in dataset.items)
            return f"(SELECT {columns} FROM read_parquet({path}))"
        columns = ", ".join(f"{quoted(item)}: 'VARCHAR'" for item in common.header(dataset, path[0]))
        path = [self.decoded.get(p, p) for p in path]
        ragged = "ignore_errors=true"  # rows of too few or many cells are rejected
        return f"read_csv({path}, auto_detect=false, {ragged}, header=true, delim=',', quote='\"', escape='\"', columns={{{columns}}})"

    def matched(self, dataset, key, wanted, items):
        """Creates `m`: line, and the items typed, of the rows whose key is wanted. Reads the export once."""
        self.db.execute("DROP TABLE IF EXISTS m")
        if dataset.export["format"] == "fixed_width":
            parts = []
            for path in dataset.files(self.exports):
                export = self.opened[path]
                keys = export.keys(key)
                self.db.register("keys", pa.table({"key": keys, "row": numpy.arange(len(keys))}))
                hit = self.db.execute(f"SELECT w.line, k.row FROM keys k JOIN ({wanted}) w ON k.key = w.key").fetchnumpy()
                cells = {item: pa.array(found, pa.string()) for item, found in export.cells(items, hit["row"]).items()}
                parts.append(pa.table({"line": hit["line"], **cells}))
            self.db.register("hits", pa.concat_tables(parts))
            source, join = "hits", ""
        else:
            source, join = f"{self.source(dataset)} e", f"JOIN ({wanted}) w ON e.{quoted(key)} = w.key"
        convert = dataset.export["format"] != "parquet"
        columns = [f"{typed(dataset, i) if convert else quoted(i)} AS {quoted(i)}" for i in items]
        dates = [i for i in items if convert and dataset.kind(i) == ("date", False)]
        readable = "WHERE NOT (" + " OR ".join(unreadable(i) for i in dates) + ")" if dates else ""
        self.db.execute(f"CREATE TEMP TABLE m AS SELECT {', '.join(['line', *columns])} FROM {source} {join} {readable}")

    def run(self, out):
        db = self.db
        codes = [c for (c,) in db.execute("SELECT DISTINCT dataset FROM lines WHERE outcome IS NULL ORDER BY 1").fetchall()]
        self.opened, delayed, changed = common.check_exports(
            self.catalog, self.ways, self.bridges, self.registers, codes, self.exports, THREADS
        )
        closed = {c: ("not_reachable", "E_NOT_REACHABLE") for c in codes if c not in self.ways}
        closed |= {code: ("delayed", reason) for code, reason in delayed.items()}
        for code, (outcome, reason) in closed.items():
            db.execute("UPDATE lines SET outcome = ?, reason = ? WHERE dataset = ? AND outcome IS NULL", [outcome, reason, code])
        codes = [code for code in codes if code not in closed]
        shapes = {}
        for code, items in db.execute("SELECT DISTINCT dataset, items FROM lines WHERE outcome IS NULL").fetchall():
            shapes.setdefault(code, []).append(items)
        bridges = {space: self.bridges[space] for space in sorted({self.ways[c][1] for c in codes} - {"person"})}
        self.decode(set(codes) | {bridge[0] for bridge in bridges.values()})
        db.register("changed", changed)
        db.execute("""
            CREATE TEMP TABLE numbers AS  -- the subject is searched by its number and by what this was before or is now
            WITH people AS MATERIALIZED (SELECT DISTINCT rrno FROM lines WHERE outcome IS NULL)
            SELECT rrno, rrno AS number FROM people
            UNION SELECT rrno, new FROM people JOIN changed ON old = rrno
            UNION SELECT rrno, old FROM people JOIN changed ON new = rrno""")
        db.execute("""
            CREATE TEMP TABLE current AS SELECT ord, max(new) AS number FROM requests JOIN changed ON old = rrno GROUP BY ord""")
        people = "SELECT DISTINCT number FROM numbers"
        for code in {bridge[0] for bridge in bridges.values()}:  # read once, for itself and as the bridge
            key = self.ways[code][0]
            columns = ", ".join(f"e.{quoted(i)}" for i in self.catalog[code].items)
            db.execute(f"CREATE TEMP TABLE {code} AS SELECT {columns} FROM {self.source(self.catalog[code])} e SEMI JOIN ({people}) p ON e.{quoted(key)} = p.number")
        for space, (code, known, to) in bridges.items():
            db.execute(f"CREATE TEMP TABLE keys_{space} AS SELECT DISTINCT n.rrno, {quoted(to)} AS key FROM {code} JOIN numbers n ON {quoted(known)} = n.number WHERE {quoted(to)} <> ''")
        kept = {bridge[0] for bridge in bridges.values()}
        read = self.source
        self.source = lambda dataset: dataset.code if dataset.code in kept else read(dataset)
        for code in codes:
            dataset, (key, space) = self.catalog[code], self.ways[code]
            lines = f"SELECT line, number AS key FROM lines JOIN numbers USING (rrno) WHERE dataset = '{code}' AND outcome IS NULL"
            if space != "person":
                lines = f"SELECT l.line, b.key FROM lines l JOIN keys_{space} b USING (rrno) WHERE dataset = '{code}' AND outcome IS NULL"
            union = sorted({item for items in shapes[code] for item in items.split(",") if item})
            self.matched(dataset, key, lines, union)
            for items in shapes[code]:
                record = ", ".join(f"{quoted(i)} := m.{quoted(i)}" for i in items.split(","))
                order = ", ".join(f"m.{quoted(i)} NULLS FIRST" for i in dataset.order(items.split(",")))
                db.execute(
                    f"INSERT INTO docs SELECT line, string_agg(CAST(to_json(struct_pack({record})) AS VARCHAR), ',' ORDER BY {order}) "
                    f"FROM m JOIN lines USING (line) WHERE items = '{items}' GROUP BY line"
                )
            if space != "person":
                db.execute(
                    f"UPDATE lines SET outcome = 'not_reachable', reason = 'E_NOT_REACHABLE' WHERE dataset = '{code}' "
                    f"AND outcome IS NULL AND rrno NOT IN (SELECT rrno FROM keys_{space})"
                )
        rows = db.execute("""
            WITH answered AS (
                SELECT ord, line, dataset, fallback_of, coalesce(records, '') AS records,
                    CASE WHEN outcome IS NOT NULL THEN outcome WHEN records IS NULL THEN 'not_found'
                         WHEN withheld THEN 'partial' ELSE 'provided' END AS outcome,
                    CASE WHEN outcome IS NOT NULL THEN reason WHEN records IS NULL THEN 'E_NOT_FOUND'
                         WHEN withheld THEN 'R03' END AS reason
                FROM lines LEFT JOIN docs USING (line)),
            earlier AS (  -- what fallbacks stand in for: was it in vain, or may it still come
                SELECT ord, dataset AS fallback_of, bool_and(outcome IN ('not_found', 'not_reachable')) AS vain,
                    max(reason) FILTER (outcome = 'delayed') AS waits
                FROM answered WHERE dataset IN (SELECT DISTINCT fallback_of FROM lines) GROUP BY ALL),
            needed AS (
                SELECT a.* REPLACE (CASE WHEN waits IS NULL THEN outcome ELSE 'delayed' END AS outcome,
                    coalesce(waits, reason) AS reason, CASE WHEN waits IS NULL THEN records ELSE '' END AS records)
                FROM answered a LEFT JOIN earlier e USING (ord, fallback_of) WHERE vain IS NULL OR vain OR waits IS NOT NULL),
            documents AS (
                SELECT ord, string_agg('"' || dataset || '":{"outcome":"' || outcome || '"'
                    || coalesce(',"reason":"' || reason || '"', '') || ',"records":[' || records || ']}', ',' ORDER BY line) AS text
                FROM needed GROUP BY ord)
            SELECT request_id, text FROM requests JOIN documents USING (ord) ORDER BY ord""").fetchall()
        requests = db.execute("""
            SELECT request_id, recipient, service, purpose, coalesce(number, rrno)
            FROM requests LEFT JOIN current USING (ord) ORDER BY ord""").fetchall()
        common.write_bundles(out, common.heads(self.night, requests), rows)


if __name__ == "__main__":
    night, work, out = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        Night(night, work, scratch).run(out)
