"""peer_polars.py NIGHT WORK OUT [--layout packed|per_request] [--format json|parquet] [--threads N]: the night as one would write
it with Polars.

One lazy query for each export: the streaming engine scans it (gz and zst too), only requested columns, and joins the wanted keys on
the way; the few rows found are typed, sorted and made to JSON or structs by expressions. Queries run two at a time, because small
exports do not keep two threads busy. CP949, which its reader does not know, is cut by Arrow, joined as bytes and decoded for the
rows found."""

import os

import common

GIVEN = common.options(__doc__)
os.environ["POLARS_MAX_THREADS"] = str(GIVEN.threads)  # read when Polars is imported

import numpy  # noqa: E402
import polars as pl  # noqa: E402

from exports import header, ragged  # noqa: E402

TYPES = {"int": pl.Int64, "date": pl.Date, "text": pl.String}
NO_DATE = ["00000000", "99991231"]
LINE = ["line", "asked", "place"]  # what is known of a found row: the line it is for
KEY, LAST = "key of row", "last cell of row"  # no item has such a code


def digits(cell):
    return cell.str.strip_chars().str.replace_all("-", "", literal=True)


def typed(dataset, item):
    """A text cell as its type; blank is null, `00000000` and 9999-12-31 are no date."""
    kind, is_list = dataset.kind(item)

    def convert(cell):
        if kind == "date":
            found = digits(cell)
            return pl.when(~found.is_in(["", *NO_DATE])).then(found).str.to_date("%Y%m%d", strict=is_list)
        cell = cell.str.strip_chars()
        cell = pl.when(cell != "").then(cell)
        return cell.cast(pl.Int64) if kind == "int" else cell

    if is_list:
        cell = pl.col(item).str.strip_chars()
        parts = cell.str.split(dataset.list_separator).list.eval(convert(pl.element()))
        return pl.when(cell != "").then(parts).alias(item)
    return convert(pl.col(item)).alias(item)


def unreadable(item):
    """The cell says something that is no date. Such a row is rejected."""
    found = digits(pl.col(item))
    return found.is_not_null() & ~found.is_in(["", *NO_DATE]) & found.str.to_date("%Y%m%d", strict=False).is_null()


def as_json(dataset, item):
    """Dates as text: JSON has none."""
    kind, is_list = dataset.kind(item)
    if kind != "date":
        return pl.col(item)
    return pl.col(item).list.eval(pl.element().dt.to_string("%Y-%m-%d")) if is_list else pl.col(item).dt.to_string("%Y-%m-%d")


class Polars(common.Peer):
    def load(self):
        read = lambda name: pl.read_parquet(f"{self.work}/{name}.parquet")
        self.lines, self.keys, self.given, self.at = read("lines"), read("keys"), read("requests").sort("ord"), read("places")
        self.walked = []  # keys that bridges lead to
        self.docs = []  # line and record as JSON, in order
        self.records = {}  # items -> frames of line and record, in order

    def _decide(self, here, outcome, reason):
        self.lines = self.lines.with_columns(
            outcome=pl.when(here).then(outcome).otherwise("outcome"), reason=pl.when(here).then(reason).otherwise("reason")
        )

    def close(self, closed):
        here = pl.col("outcome").is_null() & pl.col("asked").is_in(list(closed))
        of = [pl.col("asked").replace_strict({n: answer[at] for n, answer in closed.items()}, default=None, return_dtype=pl.String)
              for at in range(2)]  # fmt: skip
        self._decide(here, *of)

    def rename(self, changed):
        changed = pl.from_arrow(changed)
        # a subject is searched by its number and by what this was before or is now
        now = self.keys.join(changed, left_on=["space", "key"], right_on=["space", "old"]).select("ord", "space", key="new")
        before = self.keys.join(changed, left_on=["space", "key"], right_on=["space", "new"]).select("ord", "space", key="old")
        self.searched = pl.concat([self.keys, now, before]).unique()
        present = self.given.join(changed, left_on=["space", "key"], right_on=["space", "old"])
        self.present = present.group_by("ord").agg(present=pl.col("new").max())

    def look(self, of_lines, of_walks):
        self.searched, self.walked = pl.concat([self.searched, *self.walked]).unique(), []
        # of a line that walks a bridge only, `line` is -1 - ord
        frame = self.lines.lazy().filter(pl.col("outcome").is_null()).select("line", "ord", "asked", "place")
        here = lambda wanted: frame.join(pl.from_arrow(wanted).lazy(), on="asked").join(self.searched.lazy(), on=["ord", "space"])
        lines = here(of_lines).select("reading", *LINE, "key")
        nowhere = pl.lit(-1, pl.Int32)
        walks = here(of_walks).select("reading", line=-1 - pl.col("ord"), asked=nowhere, place=nowhere, key="key").unique()
        self.wanted = pl.concat([lines, walks]).collect().partition_by("reading", as_dict=True, include_key=False)

    def hits(self, reading, source, columns, wanted):
        """The rows found in an opened CP949 export, columns as text."""
        wanted = wanted.with_columns(key=pl.from_arrow(source.spelled(reading.key, wanted["key"].to_arrow().cast("string"))))
        keys = pl.DataFrame({"key": pl.from_arrow(source.keys(reading.key))}).with_row_index("row")
        hit = keys.lazy().join(wanted.lazy(), on="key").select(*LINE, "row").collect()
        cells = source.cells(columns, hit["row"].to_numpy())
        return hit.select(LINE).with_columns(pl.Series(item, pl.from_arrow(found)) for item, found in cells.items())

    def scan(self, dataset, path):
        """A lazy frame of an export file; its columns are item codes, of a CSV all text."""
        if dataset.format == "parquet":
            frame = pl.scan_parquet(path)
            return frame.rename({title: dataset.column(title) for title in frame.collect_schema().names()})
        skip = 1 if dataset.export.get("header", True) else 0
        schema = {name: pl.String for name in header(dataset, path)}
        return pl.scan_csv(path, has_header=False, skip_lines=skip, separator=dataset.delimiter, schema=schema)

    def joined(self, reading, path, columns, wanted):
        """The rows found by Polars, columns of a CSV as text. Each export is read once."""
        dataset = self.catalog[reading.dataset]
        columns = [pl.col(reading.key).alias(KEY), *columns]
        if dataset.format == "csv":
            columns.append(pl.col(header(dataset, path)[-1]).alias(LAST))
        found = self.scan(dataset, path).select(columns).join(wanted.lazy(), left_on=KEY, right_on="key", coalesce=False)
        found = found.collect(engine="streaming")
        if dataset.format == "csv" and found[LAST].null_count():  # blank, or of a row of too few cells, which is rejected
            short = pl.from_arrow(ragged(dataset, path, header(dataset, path)))
            if len(short):
                short = short.select(pl.when(pl.all() != "").then(pl.all())).select(columns)
                found = found.join(short, on=short.columns, how="anti", nulls_equal=True)
        return found

    def read(self, reading, sources):
        dataset = self.catalog[reading.dataset]
        columns, items = reading.columns(self.plan.asked), reading.items(self.plan.asked)
        wanted = self.wanted.get((reading.number,))
        if wanted is None:  # nobody is looked for
            return
        if sources:
            found = pl.concat(self.hits(reading, source, columns, wanted) for source in sources.values())
        else:
            found = pl.concat(self.joined(reading, path, columns, wanted) for path in self.exports.paths[reading.dataset])
        found = found.lazy()
        if dataset.format != "parquet":
            dates = dataset.dates(items)
            if dates:
                found = found.filter(~pl.any_horizontal(unreadable(item) for item in dates))
            found = found.select(*LINE, *(typed(dataset, item) for item in columns))
        if reading.walks:
            found = found.collect().lazy()
        for bridge, numbers in reading.walks:
            self.walk(bridge, numbers, found)
        self.collect(dataset, reading, found)

    def walk(self, bridge, numbers, found):
        pairs = found.filter(pl.col("line") < 0, pl.col(bridge.to) != "")
        pairs = pairs.select(ord=-1 - pl.col("line"), space=pl.lit(bridge.to_space), key=bridge.to).collect()
        lines = self.lines.filter(pl.col("outcome").is_null(), pl.col("asked").is_in(numbers))
        self.walked.append(pairs.join(lines, on="ord", how="semi"))

    def collect(self, dataset, reading, found):
        """The permitted records of each line, sorted; an item that a line does not ask for does not change its order."""
        items = reading.items(self.plan.asked)
        groups = self.groups_of_places(reading) if self.parquet else self.groups(reading)
        lacking = {item: self.lacking(reading.asked, item) for item in items}
        may = [pl.when(~pl.col("asked").is_in(numbers)).then(item).alias(item) for item, numbers in lacking.items() if numbers]
        rows = found.filter(pl.col("line") >= 0).with_columns(may).sort("line", *dataset.order(items), nulls_last=False)
        of_group = []
        for group in groups:
            here = rows.filter(pl.col("asked").is_in(group.asked)) if len(groups) > 1 else rows
            if self.parquet:
                here = here.filter(pl.col("place").is_in(group.places))
                of_group.append(here.select("line", record=pl.struct(group.items)))
            else:
                record = pl.struct(as_json(dataset, item) for item in group.items).struct.json_encode()
                of_group.append(here.select("line", record=record))
        for group, records in zip(groups, pl.collect_all(of_group)):
            self.records.setdefault((dataset.code, group.items), []).append(records) if self.parquet else self.docs.append(records)

    def answer(self, over):
        reached = pl.concat([self.searched, *self.walked]).select("ord", "space").unique()
        lost = self.lines.join(pl.from_arrow(over), on="asked").join(reached, on=["ord", "space"], how="anti")["line"]
        here = pl.col("outcome").is_null() & pl.col("line").is_in(lost.implode())
        self._decide(here, pl.lit("not_reachable"), pl.lit("E_NOT_REACHABLE"))
        frames = [*self.docs, *(frame for frames in self.records.values() for frame in frames)]
        found = pl.concat([self.lines.select("line").clear(), *(frame.select("line") for frame in frames)])["line"].unique()
        say, is_open, missed = pl.lit, pl.col("outcome").is_null(), ~pl.col("line").is_in(found.implode())
        self.answered = self.lines.join(self.at, on="place", maintain_order="left").with_columns(
            outcome=pl.when(~is_open).then("outcome").when(missed).then(say("not_found"))
            .when("withheld").then(say("partial")).otherwise(say("provided")),
            reason=pl.when(~is_open).then("reason").when(missed).then(say("E_NOT_FOUND")).when("withheld").then(say("R03")),
            needed=True, given=True,
        )  # fmt: skip

    def weigh(self, depth):
        # what fallbacks stand in for: was it in vain, or may it still come
        here, named = pl.col("depth") == depth, self.answered["fallback_of"].drop_nulls().unique()
        stands = self.answered.filter(pl.col("depth") < depth, pl.col("dataset").is_in(named.implode()))
        earlier = stands.group_by("ord", fallback_of="dataset").agg(
            vain=(pl.col("needed") & pl.col("outcome").is_in(["not_found", "not_reachable"])).all(),
            waits=pl.col("reason").filter("needed", pl.col("outcome") == "delayed").max(),
        )
        waits = here & pl.col("waits").is_not_null()
        self.answered = self.answered.join(earlier, on=["ord", "fallback_of"], how="left").with_columns(
            needed=pl.when(here & ~pl.col("vain")).then(waits).otherwise("needed"),
            given=pl.col("given") & ~waits,
            outcome=pl.when(waits).then(pl.lit("delayed")).otherwise("outcome"),
            reason=pl.when(waits).then("waits").otherwise("reason"),
        ).drop("vain", "waits")  # fmt: skip

    def requests(self):
        given = self.given.join(self.present, on="ord", how="left", maintain_order="left")
        return given.select("request_id", "recipient", "service", "purpose", "space", pl.coalesce("present", "key")).iter_rows()

    def gather(self):
        if self.parquet:
            self.records = {items: self.lists(frames, pl.col("record")) for items, frames in self.records.items()}
            self.of_place = self.answered.filter("needed").partition_by("place", as_dict=True)
            self.ords = self.given.partition_by("file", as_dict=True)
        else:
            empty = pl.DataFrame(schema={"line": pl.Int32, "record": pl.String})
            self.docs = self.lists([empty, *self.docs], pl.col("record").str.join(","))

    @staticmethod
    def lists(frames, records):
        """The records of each line as one."""
        return pl.concat(frames).group_by("line", maintain_order=True).agg(records=records)

    def documents(self):
        say = pl.lit
        reason = pl.when(pl.col("reason").is_not_null()).then(pl.format(',"reason":"{}"', "reason")).otherwise(say(""))
        document = pl.concat_str(
            say('"'), "document", say('":{"outcome":"'), "outcome", say('"'), reason, say(',"records":['),
            pl.when("given").then("records").fill_null(""), say("]}"),
        )  # fmt: skip
        lines = self.answered.filter("needed").join(self.docs, on="line", how="left").sort("line")
        texts = lines.select("ord", text=document).group_by("ord").agg(pl.col("text").str.join(","))
        rows = self.given.join(texts, on="ord", how="left", maintain_order="left")
        return rows.select("request_id", pl.col("text").fill_null("")).iter_rows()

    def write_parquet(self, file, places, heads, path):
        ords = self.ords.get((file,), self.given.clear())["ord"]
        columns = [self.document(document, *of, ords) for document, of in places.items()]
        heads = pl.from_arrow(heads)
        if columns:
            heads = heads.with_columns(pl.DataFrame(columns).to_struct("documents"))
        heads.write_parquet(path, compression="zstd", compression_level=1)

    def document(self, name, place, dataset, items, ords):
        """The column of a document: a struct for every request, null where the request has no such line."""
        mine = self.of_place.get((place,), self.answered.clear())
        fields = ["outcome", "reason"]
        if items:
            kinds = {item: self.catalog[dataset].kind(item) for item in items}
            types = {item: pl.List(TYPES[kind]) if is_list else TYPES[kind] for item, (kind, is_list) in kinds.items()}
            empty = pl.DataFrame(schema={"line": pl.Int32, "records": pl.List(pl.Struct(types))})
            found = self.records.get((dataset, items), empty)
            mine = mine.join(found, on="line", how="left", maintain_order="left")
            mine = mine.with_columns(records=pl.when("given").then("records").fill_null([]))
            fields.append("records")
        rows = numpy.full(len(ords), len(mine), numpy.uint32)
        rows[numpy.searchsorted(ords, mine["ord"])] = numpy.arange(len(mine))
        return mine.select(pl.struct(fields).alias(name)).to_series().extend_constant(None, 1).gather(rows)


if __name__ == "__main__":
    common.guarded(lambda: Polars(GIVEN).run())
