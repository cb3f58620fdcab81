"""peer_datafusion.py NIGHT WORK OUT [--layout packed|per_request] [--format json|parquet] [--threads N]: the night as one would write
it with plain DataFusion SQL.

Two statements for each export: one reads it (gz and zst too), only requested columns, with the wanted keys as the build side of the
join; one types, permits, orders and spells the rows found, apart from the first, as DataFusion would push its filter below the join.
Exports are read two at a time, each thread with its own context. What is one list for each line is cut from the ordered rows by
Arrow, because an ordered aggregate keeps a state for each group; CP949 is cut by Arrow, joined as bytes, decoded for the rows found."""

import json
import threading

import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datafusion import CsvReadOptions, SessionConfig, SessionContext, udf

import common
from exports import header, ragged, titles

TYPES = {"int": pa.int64(), "date": pa.date32(), "text": pa.string()}
NO_DATE = "('00000000', '99991231')"
LINE = ("line", "asked", "place")  # what is known of a found row: the line it is for
LAST = "last cell of row"  # no item has such a code


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def text(value):
    return "'" + value.replace("'", "''") + "'"


def listed(numbers):
    return "(" + ", ".join(map(str, numbers)) + ")"


def typed(dataset, item):
    """SQL of a text cell as its type; blank is null, `00000000` and 9999-12-31 are no date."""
    kind, is_list = dataset.kind(item)
    cell = f"nullif(btrim({quoted(item)}), '')"
    if is_list:
        cells = f"string_to_array({cell}, {text(dataset.list_separator)}, '')"
        return {"int": f"arrow_cast({cells}, 'List(Int64)')", "date": f"arrow_cast({cells}, 'List(Date32)')", "text": cells}[kind]
    if kind == "date":
        return f"CASE WHEN replace({cell}, '-', '') NOT IN {NO_DATE} THEN try_cast({cell} AS DATE) END"
    return f"CAST({cell} AS BIGINT)" if kind == "int" else cell


def unreadable(item):
    """SQL: the cell says something that is no date. Such a row is rejected."""
    cell = f"nullif(btrim({quoted(item)}), '')"
    return f"coalesce(replace({cell}, '-', '') NOT IN {NO_DATE} AND try_cast({cell} AS DATE) IS NULL, false)"


def as_json(dataset, item):
    """SQL of a typed cell as JSON."""
    kind, is_list = dataset.kind(item)
    cell = quoted(item)
    if is_list:
        cells = f"arrow_cast({cell}, 'List(Utf8)')"
        json_of = f"'[' || array_to_string({cells}, ',', 'null') || ']'" if kind == "int" else f"json_list({cells})"
    elif kind == "text":
        json_of = f"""'"' || escaped({cell}) || '"'"""
    else:
        json_of = f"CAST({cell} AS VARCHAR)" if kind == "int" else f"""'"' || CAST({cell} AS VARCHAR) || '"'"""
    return f"coalesce({json_of}, 'null')"


def json_of(dataset, items):
    """SQL of a record as JSON."""
    pairs = [f"""'{"," if at else "{"}"{item}":', {as_json(dataset, item)}""" for at, item in enumerate(items)]
    return f"concat({', '.join(pairs)}, '}}')"


def escaped(cells):
    """Text as it stands in JSON. One look at all its bytes tells that most of it needs no escape."""
    start, end = cells.offset, cells.offset + len(cells)
    offsets = numpy.frombuffer(cells.buffers()[1], numpy.int32)
    data = numpy.frombuffer(cells.buffers()[2] or b"", numpy.uint8)[offsets[start] : offsets[end]] if len(cells) else b""
    if not len(data) or not ((data < 0x20) | (data == ord('"')) | (data == ord("\\"))).any():
        return cells
    return pa.array([cell and json.dumps(cell, ensure_ascii=False)[1:-1] for cell in cells.to_pylist()], pa.string())


def json_list(lists):
    """Lists of text as JSON."""
    values = escaped(lists.flatten())
    values = pc.coalesce(pc.binary_join_element_wise('"', values, '"', ""), "null")
    offsets = numpy.concatenate(([0], numpy.cumsum(pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False))))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets.astype(numpy.int32), values), ",")
    return pc.if_else(lists.is_valid(), pc.binary_join_element_wise("[", joined, "]", ""), None)


def runs(ordered):
    """The distinct numbers of an ordered column, and where the run of each begins and ends."""
    numbers = ordered.to_numpy()
    starts = numpy.flatnonzero(numpy.diff(numbers, prepend=-1))
    return pa.array(numbers[starts]), pa.array(numpy.append(starts, len(numbers)).astype(numpy.int32))


def joined(table, number, column):
    """The texts of an ordered table, joined by commas where the number is the same."""
    numbers, offsets = runs(table[number])
    return numbers, pc.binary_join(pa.ListArray.from_arrays(offsets, whole(table[column])), ",")


def whole(column):
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


class DataFusion(common.Peer):
    def connected(self):
        config = SessionConfig().with_target_partitions(self.threads)
        for name, value in {
            "execution.parquet.schema_force_view_types": "false",
            "sql_parser.map_string_types_to_utf8view": "false",
            "optimizer.hash_join_single_partition_threshold": "100000000",  # the wanted keys are collected, the export streams
            "optimizer.hash_join_single_partition_threshold_rows": "10000000",
        }.items():
            config = config.set(f"datafusion.{name}", value)
        context = SessionContext(config)
        for function, kind in ((escaped, pa.string()), (json_list, pa.list_(pa.string()))):
            context.register_udf(udf(function, [kind], pa.string(), "immutable", function.__name__))
        return context

    @property
    def context(self):
        """This thread's context: tables have the same names in all of them."""
        if not hasattr(self.of_thread, "context"):
            self.of_thread.context = self.connected()
        return self.of_thread.context

    def load(self):
        self.of_thread = threading.local()
        for name in ("requests", "keys", "lines", "places"):
            self.put(name, pq.read_table(f"{self.work}/{name}.parquet"))
        self.docs = []  # line and record as JSON, in order
        self.walked = []
        self.records = {}  # items -> tables of line and record, in order

    def put(self, name, table):
        """Registers a table, in place of an earlier one of that name."""
        self.context.deregister_table(name)
        self.context.register_record_batches(name, [table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]])

    def sql(self, query):
        return self.context.sql(query).to_arrow_table()

    def close(self, closed):
        numbers = pa.array(list(closed), pa.int32())
        answers = [pa.array([answer[at] for answer in closed.values()], pa.string()) for at in range(2)]
        self.put("closed", pa.table([numbers, *answers], ["asked", "outcome", "reason"]))
        self.put("lines", self.sql("""
            SELECT line, ord, place, l.asked, withheld, fallback_of, depth,
                CASE WHEN l.outcome IS NULL THEN c.outcome ELSE l.outcome END AS outcome,
                CASE WHEN l.outcome IS NULL THEN c.reason ELSE l.reason END AS reason
            FROM lines l LEFT JOIN closed c ON l.asked = c.asked"""))  # fmt: skip
        self.open_lines = self.sql("SELECT ord, asked FROM lines WHERE outcome IS NULL")

    def rename(self, changed):
        self.put("changed", changed)
        self.put("searched", self.sql("""
            SELECT ord, space, key FROM keys  -- a subject is searched by its number and by what this was before or is now
            UNION SELECT ord, k.space, new FROM keys k JOIN changed c ON k.space = c.space AND old = key
            UNION SELECT ord, k.space, old FROM keys k JOIN changed c ON k.space = c.space AND new = key"""))  # fmt: skip
        self.put("present", self.sql("""
            SELECT ord, max(new) AS present FROM requests r JOIN changed c ON r.space = c.space AND old = key GROUP BY ord"""))

    def add_walked(self):
        """Makes the keys that bridges led to searched ones."""
        searched = self.sql("SELECT * FROM searched")
        self.put("searched", pa.concat_tables([searched, *(table.cast(searched.schema) for table in self.walked)]))
        self.walked = []

    def look(self, of_lines, of_walks):
        self.add_walked()
        # of a line that walks a bridge only, `line` is -1 - ord
        self.put("of_lines", of_lines)
        self.put("of_walks", of_walks)
        found = self.sql("""
            SELECT reading, CAST(line AS INT) AS line, l.asked, place, key
            FROM lines l JOIN of_lines o ON l.asked = o.asked JOIN searched s ON l.ord = s.ord AND o.space = s.space WHERE outcome IS NULL
            UNION ALL SELECT DISTINCT reading, CAST(-1 - l.ord AS INT), CAST(-1 AS INT), CAST(-1 AS INT), key
            FROM lines l JOIN of_walks o ON l.asked = o.asked JOIN searched s ON l.ord = s.ord AND o.space = s.space WHERE outcome IS NULL
            ORDER BY reading""")
        numbers, offsets = runs(found["reading"])
        parts = zip(numbers.to_pylist(), offsets.to_pylist(), offsets.to_pylist()[1:])
        self.wanted = {number: found.slice(start, end - start).drop_columns("reading") for number, start, end in parts}

    def hits(self, reading, source, columns, wanted):
        """The rows found in an opened CP949 export, columns as text."""
        self.put("wanted", wanted.set_column(3, "key", source.spelled(reading.key, wanted["key"])))
        keys = source.keys(reading.key)
        self.put("export", pa.table({"key": keys, "row": numpy.arange(len(keys))}))
        hit = self.sql("SELECT line, asked, place, row FROM wanted w JOIN export e ON w.key = e.key")
        return pa.table({**{name: hit[name] for name in LINE}, **source.cells(columns, hit["row"].to_numpy())})

    def register(self, dataset, path):
        """Registers an export as `export`; its columns by item code."""
        self.context.deregister_table("export")
        names = header(dataset, path)
        if dataset.format == "parquet":
            self.context.register_parquet("export", path)
            return dict(zip(names, titles(dataset, path)))
        schema = pa.schema([(name, pa.string()) for name in names])
        packed = {"gz": "gzip", "zst": "zstd"}.get(path.rsplit(".", 1)[-1], "")
        self.context.register_csv("export", path, options=CsvReadOptions(
            has_header=dataset.export.get("header", True), delimiter=dataset.delimiter, schema=schema, truncated_rows=True,
            file_compression_type=packed, file_extension=path[path.rindex("/"):].partition(".")[2],
        ))  # fmt: skip
        return dict(zip(names, names))

    def joined(self, reading, path, columns, wanted):
        """The rows found by DataFusion, columns of a CSV as text. Each export is read once."""
        dataset = self.catalog[reading.dataset]
        self.put("wanted", wanted)
        names = self.register(dataset, path)
        cells = [f"e.{quoted(names[item])} AS {quoted(item)}" for item in columns]
        if dataset.format == "csv":
            cells.append(f"e.{quoted(list(names)[-1])} AS {quoted(LAST)}")
        key = f"e.{quoted(names[reading.key])}"
        found = self.sql(f"SELECT {', '.join([*LINE, *cells])} FROM wanted w JOIN export e ON w.key = {key}")
        if dataset.format == "csv" and found[LAST].null_count:  # blank, or of a row of too few cells, which is rejected
            found = self.without_ragged(found, ragged(dataset, path, columns))
        return found

    def without_ragged(self, found, short):
        if not len(short):
            return found
        self.put("joined", found)
        self.put("short", short)
        same = " AND ".join(f"coalesce(j.{quoted(c)}, '') = coalesce(s.{quoted(c)}, '')" for c in short.column_names)
        return self.sql(f"SELECT * FROM joined j WHERE {quoted(LAST)} IS NOT NULL UNION ALL "
                        f"SELECT j.* FROM joined j LEFT ANTI JOIN short s ON {same} WHERE {quoted(LAST)} IS NULL")  # fmt: skip

    def read(self, reading, sources):
        dataset = self.catalog[reading.dataset]
        columns, items = self.columns(reading), reading.items(self.plan.asked)
        wanted = self.wanted.get(reading.number)
        if wanted is None:  # nobody is looked for
            return
        if sources:
            found = pa.concat_tables(self.hits(reading, source, columns, wanted) for source in sources.values())
        else:
            found = pa.concat_tables(self.joined(reading, path, columns, wanted) for path in self.exports.paths[reading.dataset])
        self.put("hits", found)  # apart: else DataFusion would look for rejected rows before it joins, among all rows
        found = "hits"
        if dataset.format != "parquet":
            cells = [f"{typed(dataset, item)} AS {quoted(item)}" for item in columns]
            dates = dataset.dates(items)
            readable = "WHERE NOT (" + " OR ".join(map(unreadable, dates)) + ")" if dates else ""
            found = f"(SELECT {', '.join([*LINE, *cells])} FROM hits {readable})"
        if reading.walks:
            self.put("walked", self.sql(f"SELECT * FROM {found}"))
            found = "walked"
        for bridge, numbers in reading.walks:
            self.walk(bridge, numbers)
        groups = self.groups_of_places(reading) if self.parquet else self.groups(reading)
        if groups:
            self.collect(found, dataset, reading, groups)

    def walk(self, bridge, numbers):
        pairs = self.sql(f"SELECT DISTINCT CAST(-1 - line AS INT) AS ord, {text(bridge.to_space)} AS space, {quoted(bridge.to)} AS key "
                         f"FROM walked WHERE line < 0 AND {quoted(bridge.to)} <> ''")  # fmt: skip
        needs = self.open_lines["ord"].filter(pc.is_in(self.open_lines["asked"], pa.array(numbers, pa.int32())))
        self.walked.append(pairs.filter(pc.is_in(pairs["ord"], needs)))

    def collect(self, found, dataset, reading, groups):
        """The permitted records of each line, sorted; an item that a line does not ask for does not change its order."""
        items, cells = reading.items(self.plan.asked), []
        for item in items:
            lacking = self.lacking(reading.asked, item)
            may = f"CASE WHEN asked NOT IN {listed(lacking)} THEN {quoted(item)} END" if lacking else quoted(item)
            cells.append(f"{may} AS {quoted(item)}")
        rows = f"(SELECT {', '.join([*LINE, *cells])} FROM {found} WHERE line >= 0)"
        order = ", ".join(f"{quoted(item)} NULLS FIRST" for item in dataset.order(items))
        if not self.parquet:
            record = json_of(dataset, groups[0].items)
            if len(groups) > 1:
                cases = (f"WHEN asked IN {listed(group.asked)} THEN {json_of(dataset, group.items)}" for group in groups)
                record = f"CASE {' '.join(cases)} END"
            self.docs.append(self.sql(f"SELECT line, {record} AS record FROM {rows} ORDER BY line, {order}"))
            return
        found = self.sql(f"SELECT * FROM {rows} ORDER BY line, {order}")
        for group in groups:
            among = lambda column, numbers: pc.is_in(found[column], pa.array(numbers, pa.int32()))
            here = pc.and_(among("asked", group.asked), among("place", group.places))
            mine = found.filter(here)
            record = pa.StructArray.from_arrays([whole(mine[item]) for item in group.items], fields=self.fields(dataset, group.items))
            self.records.setdefault((dataset.code, group.items), []).append((whole(mine["line"]), record))

    @staticmethod
    def fields(dataset, items):
        kinds = {item: dataset.kind(item) for item in items}
        return [pa.field(item, pa.list_(TYPES[kind]) if is_list else TYPES[kind]) for item, (kind, is_list) in kinds.items()]

    def answer(self, over):
        self.add_walked()
        lines = [whole(table["line"]) for table in self.docs]
        lines += [lines for parts in self.records.values() for lines, _ in parts]
        self.put("answers", pa.table({"found": pc.unique(pa.chunked_array(lines, pa.int32()))}))
        self.put("over", over)
        self.put("lines", self.sql("""
            WITH known AS (SELECT DISTINCT ord AS of, space FROM searched),
            weighed AS (SELECT l.*, outcome IS NULL AND o.space IS NOT NULL AND of IS NULL AS lost
                FROM lines l LEFT JOIN over o ON l.asked = o.asked LEFT JOIN known k ON ord = of AND k.space = o.space)
            SELECT line, ord, place, withheld, fallback_of, depth,
                CASE WHEN lost THEN 'not_reachable' ELSE outcome END AS outcome,
                CASE WHEN lost THEN 'E_NOT_REACHABLE' ELSE reason END AS reason
            FROM weighed"""))  # fmt: skip
        named = self.sql("SELECT DISTINCT fallback_of FROM lines WHERE fallback_of IS NOT NULL")["fallback_of"].to_pylist()
        self.stood_for = listed(map(text, named or [""]))
        self.put("answered", self.sql("""
            SELECT line, ord, l.place, document, fallback_of, depth, dataset,
                CASE WHEN outcome IS NOT NULL THEN outcome WHEN found IS NULL THEN 'not_found'
                     WHEN withheld THEN 'partial' ELSE 'provided' END AS outcome,
                CASE WHEN outcome IS NOT NULL THEN reason WHEN found IS NULL THEN 'E_NOT_FOUND' WHEN withheld THEN 'R03' END AS reason,
                true AS needed, true AS given
            FROM lines l JOIN places p ON l.place = p.place LEFT JOIN answers ON line = found"""))  # fmt: skip

    def weigh(self, depth):
        self.put("answered", self.sql(f"""
            WITH earlier AS (  -- what fallbacks stand in for: was it in vain, or may it still come
                SELECT ord, dataset, bool_and(needed AND outcome IN ('not_found', 'not_reachable')) AS vain,
                    max(reason) FILTER (WHERE needed AND outcome = 'delayed') AS waits
                FROM answered WHERE depth < {depth} AND dataset IN {self.stood_for} GROUP BY ord, dataset)
            SELECT line, a.ord, place, document, fallback_of, depth, a.dataset,
                CASE WHEN waits IS NULL THEN outcome ELSE 'delayed' END AS outcome, coalesce(waits, reason) AS reason,
                needed AND coalesce(vain OR waits IS NOT NULL, true) AS needed, given AND waits IS NULL AS given
            FROM answered a LEFT JOIN earlier e ON a.ord = e.ord AND a.fallback_of = e.dataset AND depth = {depth}"""))  # fmt: skip

    def requests(self):
        found = self.sql("""
            SELECT request_id, recipient, service, purpose, space, coalesce(present, key) AS key
            FROM requests r LEFT JOIN present p ON r.ord = p.ord ORDER BY r.ord""")
        return zip(*(column.to_pylist() for column in found.columns))

    def documents(self):
        found = self.sql("""
            SELECT ord, concat('"', document, '":{"outcome":"', outcome, '"', ',"reason":"' || reason || '"',
                ',"records":[', CASE WHEN given THEN records END, ']}') AS text
            FROM answered a LEFT JOIN docs d ON a.line = d.line WHERE needed ORDER BY a.line""")
        numbers, texts = joined(found, "ord", "text")
        given = self.sql("SELECT ord, request_id FROM requests ORDER BY ord")
        texts = pc.fill_null(texts.take(pc.index_in(whole(given["ord"]), numbers)), "")
        return zip(given["request_id"].to_pylist(), texts.to_pylist())

    def gather(self):
        if not self.parquet:
            empty = pa.table({"line": pa.array([], pa.int32()), "record": pa.array([], pa.string())})
            docs = pa.concat_tables([empty, *self.docs])
            self.put("docs", pa.table(joined(docs, "line", "record"), ["line", "records"]))
            return
        self.of_items, self.of_place = {}, {}  # items -> the lines that have such records, and these as lists; place -> its lines
        for items, parts in self.records.items():
            numbers, offsets = runs(pa.chunked_array([lines for lines, _ in parts], pa.int32()))
            self.of_items[items] = numbers, pa.ListArray.from_arrays(offsets, pa.concat_arrays([records for _, records in parts]))
        self.requested = self.sql("SELECT ord, file FROM requests ORDER BY ord").combine_chunks().to_batches()[0]
        lines = self.sql("SELECT * FROM answered WHERE needed ORDER BY place, line").combine_chunks()
        numbers, offsets = runs(lines["place"])
        ends = offsets.to_pylist()
        batch = lines.to_batches()[0] if len(lines) else pa.RecordBatch.from_pylist([], lines.schema)
        self.of_place = {n: batch.slice(a, b - a) for n, a, b in zip(numbers.to_pylist(), ends, ends[1:])} | {None: batch.slice(0, 0)}

    def write_parquet(self, file, places, heads, path):
        ords = self.requested["ord"].filter(pc.equal(self.requested["file"], file))
        columns = {name: self.document(*of, ords) for name, of in places.items()}
        if columns:
            heads = heads.append_column("documents", pa.StructArray.from_arrays(list(columns.values()), list(columns)))
        pq.write_table(heads, path, compression="zstd")

    def document(self, place, dataset, items, ords):
        """The column of a document: a struct for every request, null where the request has no such line."""
        mine = self.of_place.get(place, self.of_place[None])
        row = pc.index_in(ords, mine["ord"])  # of the document's lines, by request
        arrays = {column: mine[column].take(row) for column in ("outcome", "reason")}
        if items:
            kind = pa.list_(pa.struct(self.fields(self.catalog[dataset], items)))
            lines, records = self.of_items.get((dataset, items), (pa.array([], pa.int32()), pa.array([], kind)))
            wanted = pc.if_else(mine["given"], mine["line"], None)
            arrays["records"] = records.take(pc.index_in(wanted, lines)).take(row)
        return pa.StructArray.from_arrays(list(arrays.values()), list(arrays), mask=row.is_null())


if __name__ == "__main__":
    given = common.options(__doc__)
    common.guarded(lambda: DataFusion(given).run())
