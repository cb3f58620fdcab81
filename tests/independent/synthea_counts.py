"""Counts what the health night must answer, without the engine.

    python tests/independent/synthea_counts.py                   write sample-data/synthea/expected_counts.csv
    python tests/independent/synthea_counts.py --run out/DATE    compare a run with it: every count, every value

Needs pyarrow. Knows the exports by the two tables below; takes only document lists and column names from the catalog.
"""

import argparse
import csv
import gzip
import json
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

SAMPLE = Path(__file__).resolve().parents[2] / "sample-data" / "synthea"
SYNTHEA = {  # table: column of the patient
    "patients": "Id",
    "conditions": "PATIENT",
    "careplans": "PATIENT",
    "immunizations": "PATIENT",
    "allergies": "PATIENT",
    "payer_transitions": "PATIENT",
    "imaging_studies": "PATIENT",
    "devices": "PATIENT",
}
GIBLEED = [
    "person",
    "condition_occurrence",
    "drug_exposure",
    "procedure_occurrence",
    "observation",
    "visit_occurrence",
    "observation_period",
]


def tables():
    """Rows of every table by (kind of identifier, identifier)."""
    found = {}
    for table, key in SYNTHEA.items():
        rows = found[table] = defaultdict(list)
        path = SAMPLE / "exports" / "synthea" / f"{table}.csv.gz"
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rows["patient", row[key]].append(row)
    for table in GIBLEED:
        rows = found[table] = defaultdict(list)
        for row in pq.read_table(SAMPLE / "exports" / "gibleed" / f"{table}.parquet").to_pylist():
            rows["omop_person", str(row["PERSON_ID"])].append(row)
    return found


def toml(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))


def requests():
    """(request_id, subject, [(dataset, items or None)]) of every request."""
    with open(SAMPLE / "requests" / "requests.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["service"]:
                service = toml(SAMPLE / "catalog" / "services" / f"{row['service']}.toml")
                documents = [(line["dataset"], line.get("items")) for line in service["documents"]]
            else:
                parts = [part.partition("(") for part in row["documents"].split(";")]
                documents = [(name, rest[:-1].split(",") if rest else None) for name, _, rest in parts]
            kind, _, value = row["subject_ids"].partition(":")
            yield row["request_id"], (kind, value), documents


def compare_counts(run, expected):
    outcomes = pq.read_table(run / "outcomes.parquet").to_pylist()
    answered = sorted((line["request_id"], line["dataset"], line["records"]) for line in outcomes)
    wrong = len(set(answered) ^ set(expected)) + (len(answered) != len(expected))
    wrong += sum(line["outcome"] != ("provided" if line["records"] else "not_found") for line in outcomes)
    return len(answered), wrong


def wanted_value(value, item_type):
    if value is None or value == "":
        return None
    return int(value) if item_type == "int" else str(value)


def compare_values(run, found):
    datasets = {path.stem: toml(path) for path in (SAMPLE / "catalog" / "datasets").rglob("*.toml")}
    bundles = {}
    for path in (run / "bundles").rglob("*.ndjson"):
        for line in path.read_text(encoding="utf-8").splitlines():
            bundle = json.loads(line)
            bundles[bundle["request_id"]] = bundle["documents"]
    compared = wrong = 0
    for request_id, subject, documents in requests():
        wrong += set(bundles[request_id]) != {dataset for dataset, _ in documents}
        for dataset, items in documents:
            description = datasets[dataset]
            known = description["items"]
            items = items or [i for i in known if known[i].get("default")] or list(known)
            columns = {item: column for column, item in description["export"]["columns"].items()}
            wanted = [
                {item: wanted_value(row[columns[item]], known[item]["type"]) for item in items}
                for row in found[dataset][subject]
            ]
            given = bundles[request_id][dataset].get("records") or []
            canonical = [sorted(json.dumps(r, sort_keys=True) for r in records) for records in (wanted, given)]
            compared += len(wanted) * len(items)
            if canonical[0] != canonical[1]:
                wrong += 1
                print(f"{request_id} {dataset}: values differ", file=sys.stderr)
    return compared, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="committed run to compare; nothing is written")
    run = parser.parse_args().run
    found = tables()
    expected = sorted(
        (request_id, dataset, len(found[dataset].get(subject, [])))
        for request_id, subject, documents in requests()
        for dataset, _ in documents
    )
    if run is None:
        with open(SAMPLE / "expected_counts.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["request_id", "dataset", "records"])
            writer.writerows(expected)
        return 0
    lines, wrong_lines = compare_counts(run, expected)
    values, wrong_values = compare_values(run, found)
    print(f"{lines} lines, {wrong_lines} wrong; {values} values, {wrong_values} documents wrong")
    return 1 if wrong_lines or wrong_values else 0


if __name__ == "__main__":
    sys.exit(main())
