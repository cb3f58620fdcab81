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
            return digits.str.to_date("%Y%m%d").dt.to_string("%Y-%m-%d")
        return cell

    if is_list:
        cell = pl.col(item).str.strip_chars()
        return pl.when(cell != "").then(cell.str.split("|").list.eval(convert(pl.element()))).alias(item)
    return convert(pl.col(item)).alias(item)


class Night:
    def __init__(self, night, work):
        self.exports = f"{night}/exports"
        self.catalog = common.datasets(f"{night}/catalog")
        self.ways, self.bridges = common.entrances(self.catalog)
        self.lines = pl.read_parquet(f"{work}/lines.parquet")
        self.heads = pl.read_parquet(f"{work}/heads.parquet")

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

    def matched(self, dataset, key, wanted, items, decoded):
        """`line` and the items, typed, of the rows whose key is wanted. Reads the export once."""
        if dataset.export["format"] == "fixed_width":
            parts = []
            for path in dataset.files(self.exports):
                export = common.FixedWidth(dataset, path)
                keys = pl.DataFrame({"key": pl.from_arrow(export.keys(key))}).with_row_index("row")
                hit = keys.lazy().join(wanted.lazy(), on="key").select("line", "row").collect()
                rows = hit["row"].to_numpy()
                cells = [pl.Series(item, found, dtype=pl.String) for item, found in export.cells(items, rows).items()]
                parts.append(hit.select("line").with_columns(cells))
            frame = pl.concat(parts).lazy()
        else:
            key_name = "__key"
            frame = self.kept.get(dataset.code)
            frame = frame.lazy() if frame is not None else self.scan(dataset, decoded)
            frame = frame.select(pl.col(key).alias(key_name), *items)
            frame = frame.join(wanted.lazy(), left_on=key_name, right_on="key").drop(key_name)
        if dataset.export["format"] == "parquet":
            dates = [i for i in items if dataset.kind(i)[0] == "date"]
            columns = [pl.col(i).dt.to_string("%Y-%m-%d") if i in dates else pl.col(i) for i in items]
        else:
            columns = [typed(dataset, i) for i in items]
        return frame.select("line", *columns).collect(engine="streaming")

    def run(self, out):
        lines = self.lines
        wanted = lines.filter(pl.col("outcome").is_null())
        codes = sorted(wanted["dataset"].unique())
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
        people = wanted.select("rrno").unique()
        for code in sorted(bridged):  # read once, for itself and as the bridge
            frame = self.scan(self.catalog[code], decoded(code))
            key = self.ways[code][0]
            self.kept[code] = frame.join(people.lazy(), left_on=key, right_on="rrno", how="semi").collect(engine="streaming")
        keys = {}
        for space, (code, known, to) in bridges.items():
            pairs = self.kept[code].select(pl.col(known).alias("rrno"), pl.col(to).alias("key"))
            keys[space] = pairs.filter(pl.col("key") != "").unique()

        records, reached = [], [wanted.select("line").clear()]
        for code in codes:
            dataset, (key, space) = self.catalog[code], self.ways[code]
            mine = wanted.filter(pl.col("dataset") == code)
            if space == "person":
                by_key = mine.select("line", key="rrno")
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
                records.append(part.select("line", records=json).group_by("line").agg(pl.col("records").str.join(",")))
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
        reason = pl.when(pl.col("reason").is_not_null()).then(pl.format(',"reason":"{}"', "reason")).otherwise(say(""))
        document = pl.concat_str(
            say('"'), "dataset", say('":{"outcome":"'), "outcome", say('"'), reason, say(',"records":['),
            pl.col("records").fill_null(""), say("]}"),
        )  # fmt: skip
        texts = answered.sort("line").select("ord", text=document).group_by("ord").agg(pl.col("text").str.join(","))
        rows = self.heads.join(texts, on="ord").sort("ord").select("file", pl.concat_str("head", "text", say("}}")))
        common.write_bundles(out, rows.iter_rows())


if __name__ == "__main__":
    night, work, out = sys.argv[1:]
    Night(night, work).run(out)
