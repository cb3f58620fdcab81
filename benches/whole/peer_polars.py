"""peer_polars.py NIGHT WORK OUT: the night as one would write it with Polars."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

os.environ["POLARS_MAX_THREADS"] = "2"

import polars as pl  # noqa: E402

import common  # noqa: E402

THREADS = 2


def typed(dataset, item):
    """A text cell as its type; blank is null, `00000000` and 9999-12-31 are no date."""
    kind, is_list = dataset.kind(item)

    def convert(cell):
        cell = cell.str.strip_chars()
        cell = pl.when(cell != "").then(cell)
        if kind == "int":
            return cell.cast(pl.Int64)
        if kind == "date":
            digits = cell.str.replace_all("-", "", literal=True)
            digits = pl.when(~digits.is_in(["00000000", "99991231"])).then(digits)
            return digits.str.to_date("%Y%m%d", strict=is_list).dt.to_string("%Y-%m-%d")
        return cell

    if is_list:
        cell = pl.col(item).str.strip_chars()
        return pl.when(cell != "").then(cell.str.split("|").list.eval(convert(pl.element()))).alias(item)
    return convert(pl.col(item)).alias(item)


def unreadable(item):
    """The cell says something that is no date. Such a row is rejected."""
    digits = pl.col(item).str.strip_chars().str.replace_all("-", "", literal=True)
    said = digits.is_not_null() & ~digits.is_in(["", "00000000", "99991231"])
    return said & digits.str.to_date("%Y%m%d", strict=False).is_null()


class Night:
    def __init__(self, night, work):
        self.night, self.exports = night, f"{night}/exports"
        self.catalog = common.datasets(f"{night}/catalog")
        self.ways, self.bridges, self.registers = common.entrances(self.catalog)
        self.lines = pl.read_parquet(f"{work}/lines.parquet")
        self.requests = pl.read_parquet(f"{work}/requests.parquet")

    def scan(self, dataset, decoded):
        """A lazy frame of the export; its columns are item codes, text as text."""
        frames = []
        for path in dataset.files(self.exports):
            if dataset.export["format"] == "parquet":
                frame = pl.scan_parquet(path)
                frames.append(frame.rename({name: i for name, i in dataset.to_item.items() if i in dataset.items}))
                continue
            names = common.header(dataset, path)
            source = decoded.get(path, path)
            schema = {name: pl.String for name in names}
            frames.append(pl.scan_csv(source, has_header=False, skip_lines=1, schema=schema))
        return pl.concat(frames)

    def ragged(self, dataset, decoded):
        """Rows of too few cells, as Polars reads them: it fills them up with nulls and does not say so."""
        rows = []
        for path in dataset.files(self.exports):
            names, source = common.header(dataset, path), decoded.get(path, path)
            lines = pl.scan_csv(source, has_header=False, skip_lines=1, separator="\x01", quote_char=None, schema={"line": pl.String})
            commas = pl.col("line").str.replace_all('"[^"]*"', "").str.count_matches(",", literal=True)
            found = lines.filter(commas < len(names) - 1).collect(engine="streaming")["line"]
            if len(found):
                text = "\n".join([",".join(names), *found]).encode()
                rows.append(pl.read_csv(text, schema={name: pl.String for name in names}))
        return pl.concat(rows) if rows else None

    def matched(self, dataset, key, wanted, items, decoded):
        """`line` and the items, typed, of the rows whose key is wanted. Reads the export once."""
        if dataset.export["format"] == "fixed_width":
            parts = []
            for path in dataset.files(self.exports):
                export = self.opened[path]
                keys = pl.DataFrame({"key": pl.from_arrow(export.keys(key))}).with_row_index("row")
                hit = keys.lazy().join(wanted.lazy(), on="key").select("line", "row").collect()
                rows = hit["row"].to_numpy()
                cells = [pl.Series(item, found, dtype=pl.String) for item, found in export.cells(items, rows).items()]
                parts.append(hit.select("line").with_columns(cells))
            frame = pl.concat(parts).lazy()
        else:
            key_name = "__key"
            frame = self.kept.get(dataset.code)
            kept = frame is not None
            frame = frame.lazy() if kept else self.scan(dataset, decoded)
            columns = [pl.col(key).alias(key_name), *items]
            if dataset.export["format"] == "csv" and not kept:
                last = common.header(dataset, dataset.files(self.exports)[0])[-1]
                frame = frame.select(*columns, __last=last).join(wanted.lazy(), left_on=key_name, right_on="key", coalesce=False)
                found = frame.collect(engine="streaming")
                if found["__last"].null_count():  # blank, or a row of too few cells, which is rejected
                    ragged = self.ragged(dataset, decoded)
                    if ragged is not None:
                        ragged = ragged.select(*columns, __last=last)
                        found = found.join(ragged, on=ragged.columns, how="anti", nulls_equal=True)
                frame = found.lazy()
            else:
                frame = frame.select(columns).join(wanted.lazy(), left_on=key_name, right_on="key")
        if dataset.export["format"] == "parquet":
            dates = [i for i in items if dataset.kind(i)[0] == "date"]
            columns = [pl.col(i).dt.to_string("%Y-%m-%d") if i in dates else pl.col(i) for i in items]
        else:
            columns = [typed(dataset, i) for i in items]
            dates = [i for i in items if dataset.kind(i) == ("date", False)]
            if dates:
                frame = frame.filter(~pl.any_horizontal(unreadable(i) for i in dates))
        return frame.select("line", *columns).collect(engine="streaming")

    def run(self, out):
        lines = self.lines
        wanted = lines.filter(pl.col("outcome").is_null())
        codes = sorted(wanted["dataset"].unique())
        self.opened, delayed, changed = common.check_exports(
            self.catalog, self.ways, self.bridges, self.registers, codes, self.exports, THREADS
        )
        lost = [code for code in codes if code not in self.ways]
        here = pl.col("outcome").is_null() & pl.col("dataset").is_in([*delayed, *lost])
        reasons = delayed | dict.fromkeys(lost, "E_NOT_REACHABLE")
        lines = lines.with_columns(
            outcome=pl.when(here & pl.col("dataset").is_in(lost)).then(pl.lit("not_reachable")).when(here)
            .then(pl.lit("delayed")).otherwise("outcome"),
            reason=pl.when(here).then(pl.col("dataset").replace_strict(reasons, default=None, return_dtype=pl.String)).otherwise("reason"),
        )  # fmt: skip
        wanted = lines.filter(pl.col("outcome").is_null())
        codes = [code for code in codes if code not in reasons]
        bridges = {space: self.bridges[space] for space in sorted({self.ways[c][1] for c in codes} - {"person"})}
        bridged = {bridge[0] for bridge in bridges.values()}

        # two exports at a time are decoded ahead; their bytes are dropped when they are read
        pool = ThreadPoolExecutor(THREADS)
        ordered = sorted(bridged) + [c for c in codes if c not in bridged]
        cp949 = [p for c in ordered if self.catalog[c].text_format() == ("csv", "cp949") for p in self.catalog[c].files(self.exports)]
        ahead = iter(cp949)
        running = {}

        def start():
            path = next(ahead, None)
            if path is not None:
                running[path] = pool.submit(common.utf8_csv, path)

        for _ in range(THREADS):
            start()

        def decoded(code):
            ready = {}
            for path in self.catalog[code].files(self.exports):
                if path in running:
                    ready[path] = running.pop(path).result()
                    start()
            return ready

        self.kept = {}
        # the subject is searched by its number and by what this was before or is now
        people = wanted.select("rrno").unique()
        changed = pl.from_arrow(changed)
        now = people.join(changed, left_on="rrno", right_on="old").select("rrno", number="new")
        before = people.join(changed, left_on="rrno", right_on="new").select("rrno", number="old")
        numbers = pl.concat([people.select("rrno", number="rrno"), now, before]).unique()
        people = numbers.select("number").unique()
        current = self.requests.join(changed, left_on="rrno", right_on="old").group_by("ord").agg(number=pl.col("new").max())
        for code in sorted(bridged):  # read once, for itself and as the bridge
            frame = self.scan(self.catalog[code], decoded(code))
            key = self.ways[code][0]
            self.kept[code] = frame.join(people.lazy(), left_on=key, right_on="number", how="semi").collect(engine="streaming")
        keys = {}
        for space, (code, known, to) in bridges.items():
            pairs = self.kept[code].select(pl.col(known).alias("number"), pl.col(to).alias("key"))
            keys[space] = pairs.filter(pl.col("key") != "").join(numbers, on="number").select("rrno", "key").unique()

        records, reached = [], [wanted.select("line").clear()]
        for code in codes:
            dataset, (key, space) = self.catalog[code], self.ways[code]
            mine = wanted.filter(pl.col("dataset") == code)
            if space == "person":
                by_key = mine.join(numbers, on="rrno").select("line", key="number")
            else:
                by_key = mine.join(keys[space], on="rrno").select("line", "key")
                reached.append(by_key.select("line"))
            shapes = [shape for shape in mine["items"].unique() if shape]
            union = sorted({item for shape in shapes for item in shape.split(",")})
            ready = {} if code in self.kept else decoded(code)
            found = self.matched(dataset, key, by_key, union, ready)
            del ready
            found = found.join(mine.select("line", "items"), on="line").rename({"items": "__shape"})
            for shape in shapes:
                part = found.filter(pl.col("__shape") == shape)
                json = pl.struct(shape.split(",")).struct.json_encode()
                part = part.sort("line", *dataset.order(shape.split(",")), nulls_last=False)
                records.append(part.select("line", records=json).group_by("line", maintain_order=True).agg(pl.col("records").str.join(",")))
        docs = pl.concat(records)
        reached = pl.concat(reached).unique().with_columns(reached=True)
        over = [code for code in codes if self.ways[code][1] != "person"]
        answered = lines.join(docs, on="line", how="left").join(reached, on="line", how="left")
        missed = pl.col("records").is_null()
        lost = pl.col("dataset").is_in(over) & pl.col("reached").is_null()
        open_line = pl.col("outcome").is_null()
        say = pl.lit
        answered = answered.with_columns(
            outcome=pl.when(~open_line).then("outcome").when(lost).then(say("not_reachable")).when(missed)
            .then(say("not_found")).when("withheld").then(say("partial")).otherwise(say("provided")),
            reason=pl.when(~open_line).then("reason").when(lost).then(say("E_NOT_REACHABLE")).when(missed)
            .then(say("E_NOT_FOUND")).when("withheld").then(say("R03")),
        )  # fmt: skip
        # what fallbacks stand in for: was it in vain, or may it still come
        named = answered["fallback_of"].drop_nulls().unique()
        earlier = answered.filter(pl.col("dataset").is_in(named.implode())).group_by("ord", fallback_of="dataset").agg(
            vain=pl.col("outcome").is_in(["not_found", "not_reachable"]).all(),
            waits=pl.col("reason").filter(pl.col("outcome") == "delayed").max(),
        )  # fmt: skip
        waits = pl.col("waits").is_not_null()
        answered = answered.join(earlier, on=["ord", "fallback_of"], how="left")
        answered = answered.filter(pl.col("vain").is_null() | pl.col("vain") | waits).with_columns(
            outcome=pl.when(waits).then(say("delayed")).otherwise("outcome"),
            reason=pl.coalesce("waits", "reason"),
            records=pl.when(~waits).then("records"),
        )
        reason = pl.when(pl.col("reason").is_not_null()).then(pl.format(',"reason":"{}"', "reason")).otherwise(say(""))
        document = pl.concat_str(
            say('"'), "dataset", say('":{"outcome":"'), "outcome", say('"'), reason, say(',"records":['),
            pl.col("records").fill_null(""), say("]}"),
        )  # fmt: skip
        texts = answered.sort("line").select("ord", text=document).group_by("ord").agg(pl.col("text").str.join(","))
        requests = self.requests.sort("ord")
        rows = requests.join(texts, on="ord", maintain_order="left").select("request_id", "text").iter_rows()
        given = requests.join(current, on="ord", how="left", maintain_order="left")
        given = given.select("request_id", "recipient", "service", "purpose", pl.coalesce("number", "rrno")).iter_rows()
        common.write_bundles(out, common.heads(self.night, given), rows)


if __name__ == "__main__":
    night, work, out = sys.argv[1:]
    Night(night, work).run(out)
