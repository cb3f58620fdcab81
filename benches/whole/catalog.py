"""What the catalog says: datasets and how their holders write them, key spaces and the bridges between them, and the plan of a
night: what is read in which order."""

import datetime
import glob
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

PREFIX = 13  # bytes before the fields of a fixed-width data record: "22", ten digits, "I"
SPACES = {
    "rrno": "person", "frno": "person", "report_no": "person", "brno": "business", "crno": "corporation", "pnu": "parcel",
    "vhrno": "vehicle", "vin": "vehicle", "pno": "passport",
}  # fmt: skip


class Dataset:
    def __init__(self, table):
        self.code = table["code"]
        self.holder = table["holder"]
        self.transferable = table.get("transferable", True)
        self.items = table["items"]
        self.views = table.get("views", {})
        self.keys = [table["key"], *table.get("other_keys", [])]
        self.maps = table.get("maps", [])
        self.record_order = table.get("record_order", [])
        self.validity_days = table.get("validity_days")
        self.export = table.get("export")
        if self.export:
            self.format = self.export["format"]
            self.cp949 = self.format != "parquet" and self.export.get("encoding", "utf8") in ("cp949", "euc-kr")
            self.delimiter = self.export.get("delimiter", ",")
            self.list_separator = self.export.get("list_separator", "|")
            self.control = self.export.get("control", {})

    def item(self, name):
        """The item that a name means, its code or its official abbreviation; else `None`."""
        if name in self.items:
            return name
        return next((code for code, item in self.items.items() if item.get("std") == name), None)

    def column(self, name):
        """The item, or key that is no item, that a column of the export holds."""
        return self.export.get("columns", {}).get(name) or self.item(name) or name

    def kind(self, item):
        """`int`, `date` or `text`, and whether the cell is a list. A key that is no item is text."""
        found = self.items.get(item, {"type": "str"})
        kind = {"int": "int", "amt": "int", "date": "date"}.get(found["type"], "text")
        return kind, found.get("list", False)

    def dates(self, items):
        """The items that are a single date: a row in which one cannot be read is rejected."""
        return [item for item in items if self.kind(item) == ("date", False)]

    def order(self, items):
        """The items that records are sorted by: the declared order, then all others."""
        declared = [item for item in self.record_order if item in items]
        return declared + [item for item in sorted(items) if item not in declared]

    def files(self, exports, date):
        """The files of the export, and `E_STALE` if they are older than the dataset's days of validity."""
        if not self.export:
            return [], None
        pattern, stale = self.export["path"], None
        if "{date}" in pattern:
            newest = max(self._dates(exports, pattern, date), default=None)
            if newest is None:
                return [], None
            stale = "E_STALE" if self.validity_days is not None and (date - newest).days > self.validity_days else None
            pattern = pattern.replace("{date}", f"{newest:%Y%m%d}")
        found = glob.glob(pattern, root_dir=exports, recursive=True)
        return sorted(f"{exports}/{name}" for name in found if not name.endswith(".sha256")), stale

    def _dates(self, exports, pattern, date):
        """The dates, not after `date`, for which there are files."""
        for name in glob.glob(pattern.replace("{date}", "[0-9]" * 8), root_dir=exports, recursive=True):
            for digits in re.findall(r"(?=([0-9]{8}))", name):
                try:
                    found = datetime.date.fromisoformat(digits)
                except ValueError:
                    continue
                if found <= date and name in glob.glob(pattern.replace("{date}", digits), root_dir=exports, recursive=True):
                    yield found

    def slices(self):
        """Item -> (start, end) in bytes of a fixed-width record."""
        places, at = {}, PREFIX
        for field in self.export["layout"]:
            places[field["item"]] = (at, at + field["bytes"])
            at += field["bytes"]
        return places


def tables(pattern):
    """The TOML files that a pattern matches, by the code in them."""
    found = (tomllib.loads(Path(path).read_text()) for path in sorted(glob.glob(pattern)))
    return {table["code"]: table for table in found}


class Settings(NamedTuple):
    """The run definition of a night."""

    catalog: str
    exports: str
    requests: list
    keys: str
    date: datetime.date


def settings(night):
    table = tomllib.loads(Path(night, "nightly.toml").read_text())["run"]
    below = lambda name: str(Path(night, name))
    requests = [below(name) for name in table["requests"]]
    date = datetime.date.fromisoformat(str(table["date"]))
    return Settings(below(table["catalog"]), below(table["exports"]), requests, below(table["keys"]), date)


class Bridge(NamedTuple):
    """A dataset that knows two keys of one subject; where both are of one space, a register of changed numbers."""

    dataset: str
    known: str
    space: str
    to: str
    to_space: str


def bridges(catalog):
    for code, dataset in sorted(catalog.items()):
        spaces = {key["item"]: key["space"] for key in dataset.keys}
        for way in dataset.maps:
            yield Bridge(code, way["from"], spaces[way["from"]], way["to"], way["space"])


def ways(known, leads):
    """Space -> the bridges to walk in order, for every space that can be reached from the known ones."""
    found = {space: [] for space in known}
    while True:
        step = next((b for b in leads if b.space in found and b.to_space not in found), None)
        if step is None:
            return found
        found[step.to_space] = [*found[step.space], step]


class Course(NamedTuple):
    """By which key column a dataset is entered, the space of that column, and the bridges that lead there."""

    key: str
    space: str
    way: list


class Asked(NamedTuple):
    """What any number of lines ask alike: a dataset, from requests that name keys of these spaces, for these items."""

    dataset: str
    spaces: str
    items: tuple


class Reading:
    """One read of an export: by a key column, for the lines that ask `asked`, and for the bridges that it walks."""

    def __init__(self, dataset, key, space):
        self.dataset, self.key, self.space, self.number = dataset, key, space, None
        self.asked, self.walks = [], []

    def items(self, asked):
        """The items of all its lines, sorted."""
        return sorted({item for number in self.asked for item in asked[number].items})

    def columns(self, asked):
        """The columns that it takes out of the export beside its key."""
        return sorted({*self.items(asked), *(bridge.to for bridge, _ in self.walks)})


class Plan:
    """What is read, decided from the catalog and the distinct things asked for."""

    def __init__(self, catalog, asked):
        self.catalog, self.asked = catalog, asked
        found = list(bridges(catalog))
        leads = [bridge for bridge in found if bridge.space != bridge.to_space]
        known = {space for of in asked for space in of.spaces.split(",")}
        self.registers = [bridge for bridge in found if bridge.space == bridge.to_space and bridge.space in known]
        self.maps = {bridge.dataset for bridge in found}
        reach = {spaces: ways(spaces.split(","), leads) for spaces in {of.spaces for of in asked}}
        self.courses = [self._course(of, reach[of.spaces]) if of.items else None for of in asked]
        self.closed = {}  # what is asked, by number -> outcome and reason, where no export can answer

    def _course(self, of, reach):
        keys = [key for key in self.catalog[of.dataset].keys if key["space"] in reach]
        if not keys:
            return None
        best = min(keys, key=lambda key: len(reach[key["space"]]))
        return Course(best["item"], best["space"], reach[best["space"]])

    def wanted(self):
        """Every dataset that is asked for or knows two keys: all of them must prove that they are complete."""
        return {of.dataset for of in self.asked if of.items} | self.maps

    def cuts(self):
        """Dataset -> the key columns that are needed, for every dataset that is read."""
        cut = {}
        for of, course in zip(self.asked, self.courses):
            if course:
                cut.setdefault(of.dataset, set()).add(course.key)
                for bridge in course.way:
                    cut.setdefault(bridge.dataset, set()).update((bridge.known, bridge.to))
        for bridge in self.registers:
            cut.setdefault(bridge.dataset, set()).update((bridge.known, bridge.to))
        return cut

    def close(self, delayed):
        """Closes what cannot be reached or is delayed; `delayed`: dataset -> reason. A register that is delayed is left out."""
        for number, (of, course) in enumerate(zip(self.asked, self.courses)):
            if not of.items:
                continue
            if course is None:
                self.closed[number] = ("not_reachable", "E_NOT_REACHABLE")
                continue
            late = [delayed[code] for code in [*(b.dataset for b in course.way), of.dataset] if code in delayed]
            if late:
                # what is known before the first byte is read comes before totals that do not agree
                self.closed[number] = ("delayed", next((reason for reason in late if reason != "E_CONTROL_TOTALS"), late[0]))
        self.registers = [bridge for bridge in self.registers if bridge.dataset not in delayed]

    def waves(self):
        """The readings, wave by wave: what the requests' own keys lead to, then what the keys of the wave before do."""
        open_courses = [(n, self.asked[n], c) for n, c in enumerate(self.courses) if c and n not in self.closed]
        last = {}  # (dataset, key) -> the wave in which it is read for lines: the latest of its lines
        for _, of, course in open_courses:
            source = (of.dataset, course.key)
            last[source] = max(last.get(source, 0), 1 + len(course.way))
        readings = {}
        for number, of, course in open_courses:
            place = (last[of.dataset, course.key], of.dataset, course.key)
            readings.setdefault(place, Reading(of.dataset, course.key, course.space)).asked.append(number)
        for (wave, bridge), needs in self._walks(open_courses).items():
            place = (wave, bridge.dataset, bridge.known)
            readings.setdefault(place, Reading(bridge.dataset, bridge.known, bridge.space)).walks.append((bridge, needs))
        grouped = {}
        for (wave, *_), reading in sorted(readings.items(), key=lambda entry: entry[0]):
            reading.number = sum(map(len, grouped.values()))
            grouped.setdefault(wave, []).append(reading)
        return list(grouped.values())

    def _walks(self, open_courses):
        """(wave, bridge) -> numbers of what is asked over it."""
        needs = {}
        for number, _, course in open_courses:
            for wave, bridge in enumerate(course.way, 1):
                needs.setdefault((wave, bridge), []).append(number)
        return needs
