"""peer_duckdb.py NIGHT WORK OUT [--layout packed|per_request] [--format json|parquet] [--threads N]: the night as one would write
it with DuckDB.

One statement for each export reads it with DuckDB's own reader (gz and zst too), joins the few wanted keys while it is read, types
only the rows found, and makes each line's sorted records to JSON; statements run on as many connections as there are threads,
because a single small export does not keep two of them busy. CP949, which its reader refuses, is cut by Arrow, joined as bytes and
decoded for the rows found. Packed Parquet is read by `from_json` from that same JSON: joining a struct for each document took four
times the CPU."""

import json
import threading

import duckdb
import numpy
import pyarrow as pa

import common
from exports import header, titles

TYPES = {"int": "BIGINT", "date": "DATE", "text": "VARCHAR"}
LINE = ("line", "asked")  # what is known of a found row: the line it is for


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def text(value):
    return "'" + value.replace("'", "''") + "'"


def listed(numbers):
    return "(" + ", ".join(map(str, numbers)) + ")"


# A cast is faster here than `strptime`. `00000000` and 9999-12-31 are no dates. As macros these are parsed once.
MACROS = """
    CREATE MACRO cell(t) AS nullif(trim(t), '');
    CREATE MACRO iso(t) AS CASE WHEN length(t) = 8 THEN t[1:4] || '-' || t[5:6] || '-' || t[7:8] ELSE t END;
    CREATE MACRO no_date(t) AS replace(t, '-', '') IN ('00000000', '99991231');
    CREATE MACRO as_date(t) AS CASE WHEN NOT no_date(t) THEN TRY_CAST(iso(t) AS DATE) END"""


def typed(dataset, item):
    """SQL of a trimmed text cell as its type."""
    kind, is_list = dataset.kind(item)

    def convert(cell):
        return {"int": f"CAST({cell} AS BIGINT)", "date": f"as_date({cell})", "text": cell}[kind]

    if is_list:
        return f"list_transform(string_split({quoted(item)}, {text(dataset.list_separator)}), lambda x: {convert('cell(x)')})"
    return convert(quoted(item))


def replaced(cells):
    return f"SELECT * REPLACE ({', '.join(cells)})" if cells else "SELECT *"


def packed(items):
    """SQL of a record."""
    return "struct_pack(" + ", ".join(f"{quoted(item)} := {quoted(item)}" for item in items) + ")"


def order(dataset, items):
    return ", ".join(f"{quoted(item)} NULLS FIRST" for item in dataset.order(items))


class DuckDb(common.Peer):
    def connected(self):
        return duckdb.connect(config={"threads": self.threads, "preserve_insertion_order": False})

    @property
    def db(self):
        """This thread's connection to the database."""
        if not hasattr(self.of_thread, "db"):
            self.of_thread.db = self.main.cursor()
        return self.of_thread.db

    def load(self):
        self.main, self.of_thread = self.connected(), threading.local()
        self.db.execute(MACROS)
        for table in ("requests", "keys", "lines", "places"):
            self.db.execute(f"CREATE TABLE {table} AS FROM read_parquet({text(f'{self.work}/{table}.parquet')})")
        self.db.execute("CREATE TABLE docs (line INTEGER, records VARCHAR)")

    def close(self, closed):
        rows = [(number, *answer) for number, answer in closed.items()] or [(-1, "", "")]
        values = ", ".join(f"({number}, {text(outcome)}, {text(reason)})" for number, outcome, reason in rows)
        self.db.execute(
            f"UPDATE lines SET outcome = c.outcome, reason = c.reason FROM (VALUES {values}) c(asked, outcome, reason) "
            "WHERE lines.outcome IS NULL AND lines.asked = c.asked"
        )

    def rename(self, changed):
        self.db.register("changed", changed)
        self.db.execute("""
            CREATE TABLE searched AS  -- a subject is searched by its number and by what this was before or is now
            SELECT * FROM keys
            UNION SELECT ord, space, new FROM keys JOIN changed USING (space) WHERE old = key
            UNION SELECT ord, space, old FROM keys JOIN changed USING (space) WHERE new = key""")
        self.db.execute("""
            CREATE TABLE present AS SELECT ord, max(new) AS key FROM requests JOIN changed USING (space) WHERE old = key GROUP BY ord""")

    def look(self, of_lines, of_walks):
        # of a line that walks a bridge only, `line` is -1 - ord
        self.db.register("of_lines", of_lines)
        self.db.register("of_walks", of_walks)
        self.db.execute("""
            CREATE OR REPLACE TABLE wanted AS
            SELECT reading, line, asked, key
            FROM lines JOIN of_lines USING (asked) JOIN searched USING (ord, space) WHERE outcome IS NULL
            UNION ALL SELECT DISTINCT reading, -1 - ord, -1, key
            FROM lines JOIN of_walks USING (asked) JOIN searched USING (ord, space) WHERE outcome IS NULL
            ORDER BY reading""")

    def source(self, dataset):
        """SQL that reads an export; its columns are item codes."""
        paths = self.exports.paths[dataset.code]
        names = header(dataset, paths[0])
        if dataset.format == "parquet":
            columns = ", ".join(f"{quoted(title)} AS {quoted(name)}" for title, name in zip(titles(dataset, paths[0]), names))
            return f"(SELECT {columns} FROM read_parquet({paths}))"
        columns = ", ".join(f"{text(name)}: 'VARCHAR'" for name in names)
        first = str(dataset.export.get("header", True)).lower()
        return (
            f"read_csv({paths}, auto_detect=false, ignore_errors=true, header={first}, delim={text(dataset.delimiter)}, "
            f"quote='\"', escape='\"', columns={{{columns}}})"  # rows of too few or many cells are rejected
        )

    def hits(self, reading, source, columns):
        """The rows found in an opened CP949 export, columns as text."""
        wanted = self.db.sql(f"SELECT line, asked, key FROM wanted WHERE reading = {reading.number}").to_arrow_table()
        self.db.register("spelled", wanted.set_column(2, "key", source.spelled(reading.key, wanted["key"])))
        keys = source.keys(reading.key)
        self.db.register("keys_of", pa.table({"key": keys, "row": numpy.arange(len(keys))}))
        hit = self.db.sql("SELECT line, asked, row FROM keys_of JOIN spelled USING (key)").to_arrow_table()
        cells = source.cells(columns, hit["row"].to_numpy())
        return pa.table({**{name: hit[name] for name in LINE}, **cells})

    def joined(self, reading, dataset, columns):
        """SQL of the rows found by DuckDB."""
        return (
            f"SELECT {', '.join([*LINE, *map(quoted, columns)])} FROM {self.source(dataset)} e JOIN wanted w "
            f"ON e.{quoted(reading.key)} = w.key AND reading = {reading.number}"
        )

    def read(self, reading, sources):
        dataset = self.catalog[reading.dataset]
        columns, items = reading.columns(self.plan.asked), reading.items(self.plan.asked)
        if sources:
            self.db.register("opened", pa.concat_tables(self.hits(reading, source, columns) for source in sources.values()))
        hits = "FROM opened" if sources else self.joined(reading, dataset, columns)
        steps = f"WITH found AS ({hits})"
        if dataset.format != "parquet":
            # materialized: else the cells of all rows would be converted, not only of the found ones
            cells = [f"{typed(dataset, item)} AS {quoted(item)}" for item in columns if dataset.kind(item) != ("text", False)]
            dates = [quoted(item) for item in dataset.dates(items)]
            unread = " OR ".join(f"({item} IS NOT NULL AND as_date({item}) IS NULL AND NOT no_date({item}))" for item in dates)
            steps = (
                f"WITH hits AS MATERIALIZED ({hits}), "
                f"cells AS (SELECT {', '.join(LINE)}, cell(COLUMNS(* EXCLUDE ({', '.join(LINE)}))) FROM hits), "
                f"found AS ({replaced(cells)} FROM cells {f'WHERE NOT ({unread})' if unread else ''})"
            )
        if reading.walks:
            self.db.execute(f"CREATE OR REPLACE TEMP TABLE walked AS {steps} FROM found")
            steps = "WITH found AS (FROM walked)"
        for bridge, numbers in reading.walks:
            self.walk(bridge, numbers)
        groups = self.groups(reading)
        if groups:
            self.collect(steps, dataset, reading, groups)

    def walk(self, bridge, numbers):
        self.db.execute(
            f"INSERT INTO searched SELECT DISTINCT -1 - line, {text(bridge.to_space)}, {quoted(bridge.to)} FROM walked "
            f"WHERE line < 0 AND {quoted(bridge.to)} <> '' AND -1 - line IN "
            f"(SELECT ord FROM lines WHERE asked IN {listed(numbers)} AND outcome IS NULL)"
        )

    def collect(self, steps, dataset, reading, groups):
        """The sorted permitted records of each line as JSON; an item that a line does not ask for does not change its order."""
        items = reading.items(self.plan.asked)
        lacking = {item: self.lacking(reading.asked, item) for item in items}
        may = [f"CASE WHEN asked NOT IN {listed(lacking[item])} THEN {quoted(item)} END AS {quoted(item)}"
               for item in items if lacking[item]]  # fmt: skip
        cases = [f"WHEN asked IN {listed(group.asked)} THEN to_json({packed(group.items)})" for group in groups]
        record = f"CASE {' '.join(cases)} END" if len(groups) > 1 else f"to_json({packed(items)})"
        self.db.execute(
            f"INSERT INTO docs {steps} SELECT line, string_agg(CAST({record} AS VARCHAR), ',' ORDER BY {order(dataset, items)}) "
            f"FROM ({replaced(may)} FROM found WHERE line >= 0) GROUP BY line"
        )

    def answer(self, over):
        self.db.register("over", over)
        self.db.execute("""
            UPDATE lines SET outcome = 'not_reachable', reason = 'E_NOT_REACHABLE' FROM over
            WHERE lines.asked = over.asked AND outcome IS NULL
                AND NOT EXISTS (FROM searched WHERE searched.ord = lines.ord AND searched.space = over.space)""")
        self.db.execute("""
            CREATE TABLE answered AS
            SELECT l.* REPLACE (
                CASE WHEN outcome IS NOT NULL THEN outcome WHEN f.line IS NULL THEN 'not_found'
                     WHEN withheld THEN 'partial' ELSE 'provided' END AS outcome,
                CASE WHEN outcome IS NOT NULL THEN reason WHEN f.line IS NULL THEN 'E_NOT_FOUND'
                     WHEN withheld THEN 'R03' END AS reason),
                document, dataset, true AS needed, true AS given
            FROM lines l JOIN places USING (place) LEFT JOIN docs f USING (line)""")

    def weigh(self, depth):
        self.db.execute(f"""
            UPDATE answered SET needed = vain OR waits IS NOT NULL, given = waits IS NULL, reason = coalesce(waits, reason),
                outcome = CASE WHEN waits IS NULL THEN outcome ELSE 'delayed' END
            FROM (  -- what fallbacks stand in for: was it in vain, or may it still come
                SELECT ord, dataset, bool_and(needed AND outcome IN ('not_found', 'not_reachable')) AS vain,
                    max(reason) FILTER (needed AND outcome = 'delayed') AS waits
                FROM answered WHERE depth < {depth} AND dataset IN (SELECT DISTINCT fallback_of FROM lines) GROUP BY ALL) e
            WHERE depth = {depth} AND answered.ord = e.ord AND fallback_of = e.dataset""")

    def requests(self):
        return self.db.execute("""
            SELECT request_id, recipient, service, purpose, space, coalesce(p.key, r.key)
            FROM requests r LEFT JOIN present p USING (ord) ORDER BY ord""").fetchall()

    def gather(self):
        self.db.execute("""
            CREATE TABLE documents AS
            SELECT ord, string_agg('"' || document || '":{"outcome":"' || outcome || '"' || coalesce(',"reason":"' || reason || '"', '')
                || ',"records":[' || CASE WHEN given AND records IS NOT NULL THEN records ELSE '' END || ']}', ',' ORDER BY line) AS text
            FROM answered LEFT JOIN docs USING (line) WHERE needed GROUP BY ord""")

    def documents(self):
        return self.db.execute("""
            SELECT request_id, coalesce(text, '') FROM requests LEFT JOIN documents USING (ord) ORDER BY ord""").fetchall()

    def write_parquet(self, file, places, heads, path):
        # read from its JSON, as DuckDB does that at once: a join for each document of a file takes four times the CPU
        self.db.register("heads", heads)
        fields = {document: self.fields(*of) for document, (_, *of) in places.items()}
        documents = f", from_json('{{' || coalesce(text, '') || '}}', {text(json.dumps(fields))}) AS documents" if fields else ""
        self.db.execute(
            f"COPY (SELECT h.*{documents} FROM heads h JOIN requests USING (request_id) LEFT JOIN documents USING (ord) ORDER BY ord) "
            f"TO {text(path)} (FORMAT parquet, COMPRESSION zstd)"
        )

    def fields(self, dataset, items):
        """The fields of a document and their types, as `from_json` takes them."""
        kinds = {item: self.catalog[dataset].kind(item) for item in items}
        record = {item: [TYPES[kind]] if is_list else TYPES[kind] for item, (kind, is_list) in kinds.items()}
        return {"outcome": "VARCHAR", "reason": "VARCHAR"} | ({"records": [record]} if items else {})


if __name__ == "__main__":
    given = common.options(__doc__)
    common.guarded(lambda: DuckDb(given).run())
