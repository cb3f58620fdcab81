"""Judges folders of bundles with bagit and frictionless: python folders.py FOLDER…

Each must be a valid bag and a valid data package, whose tables hold the records of its bundle. Exits with 1 at the first
that is not, and says why.
"""

import datetime
import json
import os
import sys

import bagit
import frictionless


def plain(value):
    """A cell as the bundle has it."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    return None if value == "" else value


def judge(folder):
    bag = bagit.Bag(folder)
    bag.validate()
    # Paths in a package are safe only below the folder it is opened in.
    os.chdir(folder)
    package = frictionless.Package("datapackage.json")
    report = package.validate()
    if not report.valid:
        raise ValueError(report.flatten(["name", "type", "message"]))
    listed = {resource.path for resource in package.resources}
    if listed != set(bag.payload_files()):
        raise ValueError(f"the package lists {sorted(listed)}")
    tables = 0
    if os.path.exists("data/bundle.json"):
        with open("data/bundle.json", encoding="utf-8") as file:
            bundle = json.load(file)
        if bundle["request_id"] != os.path.basename(folder) or bag.info["External-Identifier"] != bundle["request_id"]:
            raise ValueError("the folder is of another request")
        for name, document in bundle["documents"].items():
            if not document["records"]:
                continue
            rows = package.get_resource(name.replace("#", "-")).read_rows()
            found = [{key: plain(value) for key, value in row.to_dict().items()} for row in rows]
            expected = [{key: plain(value) for key, value in record.items()} for record in document["records"]]
            if found != expected:
                raise ValueError(f"the table of {name} has other records than the bundle")
            tables += 1
    return len(package.resources), tables


if __name__ == "__main__":
    resources = tables = 0
    for folder in sys.argv[1:]:
        try:
            found = judge(os.path.abspath(folder))
        except Exception as error:  # whatever a judge says is the verdict
            sys.exit(f"{folder}: {type(error).__name__}: {error}")
        resources, tables = resources + found[0], tables + found[1]
    print(f"{len(sys.argv) - 1} folders, {resources} resources, {tables} tables")
