"""common.py NIGHT REFERENCE WORK: gives the peers what they need not find out, from a finished run of ieum over the night, before
the clock starts. The rest of the file is what all peers share inside the clock."""

import argparse
import csv
import gc
import glob
import json
import re
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bundles import Heads, Output, Request
from catalog import SPACES, Asked, Dataset, Plan, settings, tables
from exports import Exports

# --- before the clock: the checked lines --------------------------------------------------------------------------------

DECIDED = ("refused", "withdrawn", "no_consent")  # the legal checks; every other answer is the peer's own
CITED = re.compile(r"\s*([^;(@\s]+)\s*(?:\(([^)]*)\)|@([^;]+))?\s*(?:;|$)")  # dataset, dataset(item,item) or dataset@view
NAMES_SUBJECT = ("person", "ci", "patient", "business", "corporation")  # the first of these spaces names the subject


class Line(NamedTuple):
    """A document line of a request; no items where it is refused."""

    dataset: str
    items: tuple
    withheld: bool
    fallback_of: str | None


def canonical(space, text):
    if space in ("person", "business", "corporation", "parcel", "passport"):
        text = re.sub(r"[\s-]", "", text)
        return text.upper() if space == "passport" else text
    return text.strip()


def own_keys(request):
    """The keys that a request names: sorted (space, key)."""
    pairs = (pair.split(":", 1) for pair in request["subject_ids"].split(";") if pair.strip())
    keys = {(SPACES.get(kind.strip(), kind.strip()), value) for kind, value in pairs}
    return sorted({(space, canonical(space, value)) for space, value in keys if value.strip()})


def cited(request):
    """The documents that a request names itself, as document lines of a service."""
    for dataset, items, view in CITED.findall(request["documents"]):
        line = {"dataset": dataset}
        if items:
            line["items"] = [item.strip() for item in items.split(",")]
        if view:
            line["view"] = view.strip()
        yield line


def checked(catalog, request, line):
    """Which items the line may have; none of them where it is refused."""
    refused = Line(line["dataset"], (), False, line.get("fallback_of"))
    dataset = catalog.get(line["dataset"])
    if dataset is None or not dataset.transferable or line.get("view", "") not in {"", *dataset.views}:
        return refused
    third_person = lambda item: dataset.items[item]["sensitivity"] == "T"
    names = line.get("items", dataset.views.get(line.get("view")))
    if names is None:
        marked = [item for item in dataset.items if dataset.items[item].get("default")]
        names = marked or [item for item in dataset.items if not third_person(item)]
    asked, excluded = {dataset.item(name) for name in names}, {dataset.item(name) for name in line.get("exclude", ())}
    if None in asked | excluded:
        return refused
    asked -= excluded
    reason = request["third_person_reason"] or line.get("third_person_reason", "")
    items = {item for item in asked if reason.strip() or not third_person(item)}
    return refused._replace(items=tuple(sorted(items)), withheld=items != asked)


def document_lines(catalog, of_service, request):
    """The lines of a request; a document named twice is one line with the items of both."""
    lines = []
    listed = of_service.get(request["service"], {}).get("documents", ())
    applicant = request.get("applicant") or "person"
    for line in [line for line in listed if line.get("when", applicant) == applicant] + list(cited(request)):
        line = checked(catalog, request, line)
        same = lambda other: (other.dataset, other.fallback_of, not other.items) == (line.dataset, line.fallback_of, not line.items)
        at = next((at for at, other in enumerate(lines) if same(other)), None)
        if at is None:
            lines.append(line)
        else:
            items = tuple(sorted({*lines[at].items, *line.items}))
            lines[at] = line._replace(items=items, withheld=lines[at].withheld or line.withheld)
    return lines


def with_answers(lines, answers):
    """(line, what ieum answered); a fallback that ieum did not need has no answer, other lines without one were not due."""
    answers = list(answers)
    for line in lines:
        if answers and answers[0][0] == line.dataset:
            yield line, answers.pop(0)[1:]
        elif line.fallback_of:
            yield line, ("not_needed", None)
    if answers:
        raise ValueError("the answers of the reference are not those of its requests")


def delivered(out):
    """Request -> recipient, of the requests that got a bundle."""
    found = {Path(path).stem: Path(path).parent.name for path in glob.glob(f"{out}/bundles/per_request/*/*")}
    for index in glob.glob(f"{out}/bundles/packed/*/*.index.csv"):
        with open(index, newline="") as file:
            found |= {row["request_id"]: Path(index).parent.name for row in csv.DictReader(file)}
    return found


def answers_of(out):
    """Request -> (dataset, outcome, reason) of its answered lines, in their order."""
    table = pq.read_table(f"{out}/outcomes.parquet", columns=["request_id", "dataset", "outcome", "reason"])
    found = {}
    for request, *answer in zip(*(column.to_pylist() for column in table.columns)):
        found.setdefault(request, []).append(tuple(answer))
    return found


def requests_of(night, recipients):
    """The requests that get a bundle, in the order of their bundles."""
    found = {}
    for path in settings(night).requests:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if row["request_id"] in recipients:
                    found.setdefault(row["request_id"], row)
    return [found[name] for name in sorted(found)]


class Table:
    """A table in the making."""

    def __init__(self, path, **kinds):
        self.path, self.schema, self.rows = path, pa.schema(list(kinds.items())), []

    def write(self):
        columns = list(zip(*self.rows)) or [()] * len(self.schema)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self.schema)]
        pq.write_table(pa.Table.from_arrays(arrays, schema=self.schema), self.path)


def prepare(night, out, work):
    """Writes the requests that get a bundle, their keys, their document lines, the places of these in bundles, and the distinct
    things that they ask for; and the catalog's datasets as JSON, for which Python has a fast reader."""
    text, number = pa.string(), pa.int32()
    requests = Table(
        f"{work}/requests.parquet", ord=number, request_id=text, recipient=text, service=text, file=text, purpose=text,
        space=text, key=text,
    )  # fmt: skip
    keys = Table(f"{work}/keys.parquet", ord=number, space=text, key=text)
    lines = Table(
        f"{work}/lines.parquet", line=number, ord=number, place=number, asked=number, withheld=pa.bool_(), outcome=text,
        reason=text, fallback_of=text, depth=number,
    )  # fmt: skip
    places = Table(f"{work}/places.parquet", place=number, file=text, document=text, dataset=text)
    asked = Table(f"{work}/asked.parquet", dataset=text, spaces=text, items=pa.list_(text))
    folder = settings(night).catalog
    datasets, of_service = tables(f"{folder}/datasets/*/*.toml"), tables(f"{folder}/services/*.toml")
    catalog = {code: Dataset(table) for code, table in datasets.items()}
    recipients, answers, numbers, place_of = delivered(out), answers_of(out), {}, {}
    for ordinal, row in enumerate(requests_of(night, recipients)):
        name, own = row["request_id"], own_keys(row)
        recipient, service = recipients[name], row["service"] or None
        file = f"{recipient}/{service or 'documents'}"
        purpose = row["purpose"] or of_service[service]["purpose"]
        subject = next((pair for space in NAMES_SUBJECT for pair in own if pair[0] == space), own[0])
        requests.rows.append((ordinal, name, recipient, service, file, purpose, *subject))
        keys.rows += [(ordinal, *pair) for pair in own]
        spaces = ",".join(sorted({space for space, _ in own}))
        named, depths = {}, {}
        for line, (outcome, reason) in with_answers(document_lines(catalog, of_service, row), answers.get(name, ())):
            named[line.dataset] = named.get(line.dataset, 0) + 1
            document = line.dataset if named[line.dataset] == 1 else f"{line.dataset}#{named[line.dataset]}"
            # 0: no fallback, or of nothing before it; 1: a fallback of such a line; 2: a fallback of a fallback
            depth = depths.get(line.fallback_of, -1) + 1
            depths[line.dataset] = max(depth, depths.get(line.dataset, 0))
            is_open = outcome not in DECIDED
            of = (line.dataset, spaces, line.items if is_open else ())
            place = place_of.setdefault((file, document, line.dataset), len(place_of))
            lines.rows.append((
                len(lines.rows), ordinal, place, numbers.setdefault(of, len(numbers)), line.withheld,
                *((None, None) if is_open else (outcome, reason)), line.fallback_of, depth,
            ))  # fmt: skip
    asked.rows = list(numbers)
    places.rows = [(number, *place) for place, number in place_of.items()]
    Path(work).mkdir(parents=True, exist_ok=True)
    for table in (requests, keys, lines, places, asked):
        table.write()
    Path(work, "catalog.json").write_text(json.dumps(datasets, ensure_ascii=False))
    undecided = sum(row[6] is None for row in lines.rows)
    read = len({dataset for dataset, _, items in numbers if items})
    print(f"lines {len(lines.rows):,}, of which {undecided:,} need one of {read} exports; bundles {len(requests.rows):,}")


# --- inside the clock ---------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """Lines of a reading whose records have the same items: all that ask them, or, in Parquet, all of places with these columns."""

    items: tuple
    asked: list
    places: list


def options(title):
    parser = argparse.ArgumentParser(description=title)
    for name in ("night", "work", "out"):
        parser.add_argument(name)
    parser.add_argument("--layout", choices=("packed", "per_request"), default="packed")
    parser.add_argument("--format", choices=("json", "parquet"), default="json")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


class Peer:
    """A night, step by step; each peer says how in its engine.

    - `load()`: the tables of `prepare`;
    - `close(closed)`: outcome and reason of open lines, by what they ask;
    - `rename(changed)`: keys are searched by their changed numbers too; the present one names the subject;
    - `look(of_lines, of_walks)`: the keys that a wave looks for; both tables tell which reading, in which space, looks for what is
      asked: to answer it, or to walk a bridge for it;
    - `read(reading, sources)`: one read of an export; `sources`: its opened CP949 files by path. As many readings as there are
      threads run at a time, each in a thread;
    - `answer(over)`: outcome and reason of every line; `over`: what is asked over bridges, and the space they lead to;
    - `weigh(depth)`: which fallbacks of this depth are needed, now that all lines of lesser depth are answered;
    - `gather()`: what there is to write of each line;
    - `requests()`: for every bundle in order, what its head says of its request;
    - `documents()`: (request id, documents as JSON) of every bundle in order;
    - `write_parquet(file, places, heads, path)`: a packed file; `places`: document -> place, dataset and items.
    """

    def __init__(self, options):
        if (options.layout, options.format) == ("per_request", "parquet"):
            raise SystemExit("a Parquet file for each request is not in this benchmark")
        self.options, self.threads, self.work = options, options.threads, options.work
        self.settings = settings(options.night)
        found = json.loads(Path(self.work, "catalog.json").read_text())
        self.catalog = {code: Dataset(table) for code, table in found.items()}
        self.parquet = options.format == "parquet"
        self.asked_in = {}  # place -> what its lines ask, by number
        pa.set_cpu_count(options.threads)

    def run(self):
        self.load()
        asked = [Asked(dataset, spaces, tuple(items)) for dataset, spaces, items in self._rows("asked")]
        self.plan = Plan(self.catalog, asked)
        self.places = self._items_by_place() if self.parquet else {}
        self.exports = Exports(self.plan, self.settings, self.threads)
        self.plan.close(self.exports.delayed())
        self.close(self.plan.closed)
        self.rename(self.exports.changed(self.plan.registers))
        self._read_all()
        self.answer(self._targets(self._over_bridges()))
        for depth in range(1, self._deepest() + 1):
            self.weigh(depth)
        self.gather()
        self._write(Output(self.options.out))

    def _read_all(self):
        waves = [sorted(wave, key=self.exports.size, reverse=True) for wave in self.plan.waves()]  # the longest first
        with ThreadPoolExecutor(self.threads) as pool:
            for wave in waves:
                self._look(wave)
                list(pool.map(self._read, wave))

    def _read(self, reading):
        sources = self.exports.opened(reading.dataset, self.columns(reading))
        self.read(reading, sources)
        for source in sources.values():
            source.close()

    def _look(self, wave):
        of_lines = ((number, reading) for reading in wave for number in reading.asked)
        of_walks = ((number, reading) for reading in wave for number in {n for _, numbers in reading.walks for n in numbers})
        self.look(*(self._targets((n, r.space, r.number) for n, r in pairs) for pairs in (of_lines, of_walks)))

    @staticmethod
    def _targets(rows):
        """A table of what is asked, a key space, and a reading."""
        columns = list(zip(*rows)) or [(), (), ()]
        kinds = {"asked": pa.int32(), "space": pa.string(), "reading": pa.int32()}
        return pa.table({name: pa.array(values, kind) for (name, kind), values in zip(kinds.items(), columns)})

    def _deepest(self):
        return pc.max(pq.read_table(f"{self.work}/lines.parquet", columns=["depth"])["depth"]).as_py() or 0

    def _rows(self, name):
        return zip(*(column.to_pylist() for column in pq.read_table(f"{self.work}/{name}.parquet").columns))

    def columns(self, reading):
        """The columns a reading takes out of its export, the key first."""
        rest = reading.columns(self.plan.asked)
        return [reading.key, *(column for column in rest if column != reading.key)]

    def _over_bridges(self):
        for number, course in enumerate(self.plan.courses):
            if course and course.way and number not in self.plan.closed:
                yield number, course.space

    def _items_by_place(self):
        """Place -> the items that any of its lines may have."""
        lines = pq.read_table(f"{self.work}/lines.parquet", columns=["place", "asked"])
        items = {}
        for place, number in zip(*(column.to_pylist() for column in lines.group_by(lines.column_names).aggregate([]).columns)):
            items.setdefault(place, set()).update(self.plan.asked[number].items)
            self.asked_in.setdefault(place, set()).add(number)
        return {place: tuple(sorted(found)) for place, found in items.items()}

    def groups(self, reading):
        """The lines of a reading by what they ask."""
        alike = {}
        for number in reading.asked:
            alike.setdefault(self.plan.asked[number].items, []).append(number)
        return [Group(items, asked, []) for items, asked in alike.items()]

    def groups_of_places(self, reading):
        """The lines of a reading by the columns that their places have in Parquet."""
        alike = {}
        for place, items in self.places.items():
            for number in self.asked_in[place].intersection(reading.asked):
                asked, places = alike.setdefault(items, (set(), set()))
                asked.add(number)
                places.add(place)
        return [Group(items, sorted(asked), sorted(places)) for items, (asked, places) in alike.items()]

    def lacking(self, numbers, item):
        """What is asked without the item, by number."""
        return [number for number in numbers if item not in self.plan.asked[number].items]

    def _write(self, output):
        requests = [Request(*row) for row in self.requests()]
        heads = Heads(self.settings)
        if self.parquet:
            by_file, places = {}, {}
            for request in requests:
                by_file.setdefault(f"{request.recipient}/{request.service or 'documents'}", []).append(request)
            for place, file, document, dataset in sorted(self._rows("places"), key=lambda row: row[2]):
                places.setdefault(file, {})[document] = (place, dataset, self.places[place])

            def write(file):
                written = lambda path: self.write_parquet(file, places.get(file, {}), heads.table(by_file[file]), path)
                output.packed_parquet(file, [request.request_id for request in by_file[file]], written)

            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(write, sorted(by_file, key=lambda file: -len(by_file[file]))))
        elif self.options.layout == "packed":
            lines = self._lines(requests, heads)
            output.packed_json((f"{r.recipient}/{r.service or 'documents'}", r.request_id, line) for r, line in lines)
        else:
            lines = self._lines(requests, heads)
            output.per_request_json((request.recipient, request.request_id, line) for request, line in lines)
        output.commit()

    def _lines(self, requests, heads):
        for request, (name, text) in zip(requests, self.documents(), strict=True):
            if name != request.request_id:
                raise ValueError("bundles are not in the order of the requests")
            yield request, f"{heads.text(request)}{text}}}}}\n".encode()


def guarded(work):
    """Runs `work`; a failure ends the process with one line that says what and where."""
    gc.disable()  # a short process
    try:
        work()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = " ".join(str(error).split())
        sys.exit(f"{Path(sys.argv[0]).name}: {type(error).__name__}: {told[:500]} ({Path(place.filename).name}:{place.lineno})")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: common.py NIGHT REFERENCE WORK")
    guarded(lambda: prepare(*sys.argv[1:]))
