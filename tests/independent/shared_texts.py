"""Counts and sums of the shared text files, without the engine.

    python tests/independent/shared_texts.py > tests/shared_data/expected.json

Reads every table of ../shared/data that is text, JSON or XML with Python's own csv, json and xml modules, and writes per table
the rows, the SHA-256 of a text column (its values trimmed, each with a line feed) and the sum of a number column. How a file
is read stands in the tables below; the catalog files in tests/shared_data are not looked at.
"""

import collections
import csv
import gzip
import hashlib
import json
import re
import sys
import xml.etree.ElementTree as tree
from decimal import Decimal
from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
UTILIZATION = "http://synthetichealth.github.io/synthea/utilization-encounters-extension"
LIFE_YEARS = "http://synthetichealth.github.io/synthea/disability-adjusted-life-years"

# code: file, encoding, delimiter, names (None: the first row), text column, number column
CSV = {
    **{
        f"synthea_{name}": (f"health/synthea-csv/{name}.csv.gz", "utf-8", ",", None, text, number)
        for name, text, number in [
            ("patients", "LAST", "ZIP"),
            ("conditions", "DESCRIPTION", "CODE"),
            ("careplans", "DESCRIPTION", "CODE"),
            ("immunizations", "DESCRIPTION", "CODE"),
            ("allergies", "DESCRIPTION", "CODE"),
            ("payers", "NAME", "COVERED_ENCOUNTERS"),
            ("payer_transitions", "PAYER", "START_YEAR"),
            ("organizations", "NAME", "UTILIZATION"),
            ("imaging_studies", "BODYSITE_DESCRIPTION", "BODYSITE_CODE"),
            ("devices", "DESCRIPTION", "CODE"),
        ]
    },
    **{f"febrl_{n}": (f"linkage/febrl/dataset{n}.csv", "ascii", ",", None, "surname", "soc_sec_id") for n in (1, 2, 3)},
    "splink_fake": ("linkage/splink/fake_1000.csv", "ascii", ",", None, "surname", "cluster"),
    "splink_labels": ("linkage/splink/fake_1000_labels.csv", "ascii", ",", None, "source_dataset_r", "unique_id_l"),
    "acm": ("linkage/dblp-acm/ACM.csv", "ascii", ",", None, "title", "year"),
    "dblp": ("linkage/dblp-acm/DBLP2.csv", "cp1252", ",", None, "authors", "year"),
    "dblp_acm": ("linkage/dblp-acm/DBLP-ACM_perfectMapping.csv", "ascii", ",", None, "idDBLP", "idACM"),
    "chicago": ("linkage/dedupe-chicago/csv_example_input_with_true_ids.csv", "utf-8", ",", None, "Site name", "True Id"),
    "rldata": ("linkage/rldata500.csv", "ascii", ",", None, "lname_c1", "by"),
    "legal_dong": ("korean/법정동코드_전체자료.txt", "cp949", "\t", None, "법정동명", "법정동코드"),
    "shelters": ("korean/제주시_무더위쉼터현황_20150931.csv", "cp949", ",", None, "쉼터명칭", "이용가능인원"),
    "residents": ("korean/주민등록_연령별인구_202107.csv.gz", "cp949", ",", None, "행정구역", "2021년07월_계_총인구수"),
    "old_zip": (
        "korean/zipcode_구우편번호.txt.gz", "cp949", "\t", ["zip", "sido", "gugun", "dong", "bunji", "seq"], "dong", "seq"
    ),
    "schools": ("korean/전국초중등학교위치표준데이터.csv.gz", "cp949", ",", None, "소재지도로명주소", "시도교육청코드"),
    "festivals": ("korean/전국문화축제표준데이터.csv.gz", "cp949", ",", None, "축제내용", "위도"),
    "crimes": ("korean/crime_in_Seoul.csv", "cp949", ",", None, "관서명", "폭력 발생"),
    "bus_stops": ("korean/인천_정류장별_이용승객_20250731.csv", "cp949", ",", None, "정류소명", "총승차건수"),
    "dong_codes": ("korean/읍면동코드_3단계_매핑_2017.csv", "cp949", ",", None, "읍면동명", "코드"),
    "road_addresses": ("korean/도로명주소_세종_제주.csv.gz", "utf-8", ",", None, "도로명주소", "우편번호"),
    "adult": ("disclosure/arx-adult/adult.csv", "ascii", ";", None, "occupation", "age"),
    **{
        f"adult_{name.replace('-', '_')}": (
            f"disclosure/arx-adult/adult_hierarchy_{name}.csv", "ascii", ";", [f"l{n}" for n in range(levels)], "l1", number
        )
        for name, levels, number in [
            ("age", 5, "l0"),
            ("education", 4, None),
            ("marital-status", 3, None),
            ("native-country", 3, None),
            ("occupation", 3, None),
            ("race", 2, None),
            ("salary-class", 2, None),
            ("sex", 2, None),
            ("workclass", 3, None),
        ]
    },
    "arx_test": ("disclosure/arx-small/test.csv", "ascii", ";", None, "gender", "age"),
    "arx_test_dirty": ("disclosure/arx-small/test_dirty.csv", "ascii", ";", None, "gender", "zipcode"),
    "arx_age": ("disclosure/arx-small/test_hierarchy_age.csv", "ascii", ";", ["l0", "l1", "l2"], "l1", "l0"),
    "arx_gender": ("disclosure/arx-small/test_hierarchy_gender.csv", "ascii", ";", ["l0", "l1"], "l0", None),
    "arx_zipcode": (
        "disclosure/arx-small/test_hierarchy_zipcode.csv.gz", "ascii", ";", [f"l{n}" for n in range(6)], "l1", "l0"
    ),
    "pycanon_3": ("disclosure/pycanon/adult_anonymized_3.csv.gz", "ascii", ",", None, "occupation", "age"),
    "pycanon_20": ("disclosure/pycanon/adult_anonymized_20.csv.gz", "ascii", ",", None, "occupation", "age"),
    "sdc_testdata": ("disclosure/sdcmicro/testdata.csv", "ascii", ",", None, "savings", "age"),
    "sdc_tarragona": ("disclosure/sdcmicro/Tarragona.csv", "ascii", ",", None, "TREASURY", "SALES"),
    "sdc_francdat": ("disclosure/sdcmicro/francdat.csv", "ascii", ",", None, "Key1", "Num1"),
    "cobrix_1_csv": (
        "fixedwidth/cobrix/test1_expected/test1.csv", "ascii", ",", None, "RECORD_COMPANY_SHORT_NAME", "RECORD_ID"
    ),
}


def coded(concept, system):
    """Codes of a CodeableConcept in one system."""
    return [coding.get("code") for coding in (concept or {}).get("coding", []) if coding.get("system") == system]


def extension(resource, url, value):
    return [found.get(value) for found in resource.get("extension", []) if found["url"] == url]


SNOMED, RXNORM = "http://snomed.info/sct", "http://www.nlm.nih.gov/research/umls/rxnorm"
FHIR = "health/fhir-bulk-10/{}.000.ndjson.gz"
# code: file, text values of a row, number values of a row
JSON_LINES = {
    "fhir_patient": (
        FHIR.format("Patient"),
        lambda r: [" ".join(r["name"][0]["given"])],
        lambda r: extension(r, LIFE_YEARS, "valueDecimal"),
    ),
    "fhir_condition": (
        FHIR.format("Condition"), lambda r: [r["onsetDateTime"][:10]], lambda r: coded(r["code"], SNOMED)
    ),
    "fhir_encounter": (
        FHIR.format("Encounter"),
        lambda r: [r["participant"][0]["individual"]["display"]] if r.get("participant") else [],
        lambda r: coded(r["type"][0], SNOMED),
    ),
    "fhir_immunization": (
        FHIR.format("Immunization"),
        lambda r: [r["vaccineCode"]["text"]],
        lambda r: coded(r["vaccineCode"], "http://hl7.org/fhir/sid/cvx"),
    ),
    "fhir_medication": (
        FHIR.format("MedicationRequest"),
        lambda r: [r["authoredOn"]],
        lambda r: coded(r.get("medicationCodeableConcept"), RXNORM),
    ),
    "fhir_procedure": (
        FHIR.format("Procedure"),
        lambda r: [r["performedDateTime"] if "performedDateTime" in r else r["performedPeriod"]["start"]],
        lambda r: coded(r["code"], SNOMED),
    ),
    "fhir_allergy": (
        FHIR.format("AllergyIntolerance"), lambda r: [r["code"]["text"]], lambda r: [r["code"]["coding"][0]["code"]]
    ),
    "fhir_organization": (
        FHIR.format("Organization"), lambda r: [r["name"]], lambda r: extension(r, UTILIZATION, "valueInteger")
    ),
    "fhir_location": (FHIR.format("Location"), lambda r: [r.get("name")], lambda r: [r.get("position", {}).get("latitude")]),
    "fhir_practitioner": (
        FHIR.format("Practitioner"),
        lambda r: [r["name"][0]["family"]],
        lambda r: extension(r, UTILIZATION, "valueInteger"),
    ),
    "fhir_practitioner_role": (
        FHIR.format("PractitionerRole"),
        lambda r: [r["organization"]["display"]],
        lambda r: [found["value"] for found in r["telecom"] if found["system"] == "phone"],
    ),
    "fhir_device": (FHIR.format("Device"), lambda r: [r["deviceName"][0]["name"]], lambda r: [r["distinctIdentifier"]]),
    "fhir_log": (
        "health/fhir-bulk-10/log.ndjson", lambda r: [r["eventId"]], lambda r: [r["eventDetail"].get("files")]
    ),
    "cobrix_1": (
        "fixedwidth/cobrix/test1_expected/test1.txt", lambda r: [r["COMPANY"]["SHORT_NAME"]], lambda r: [r["ID"]]
    ),
    "cobrix_3": ("fixedwidth/cobrix/test3_expected/test3.txt", lambda r: [r["COMPANY_NAME"]], lambda r: [r["AMOUNT"]]),
    "cobrix_3_untrimmed": (
        "fixedwidth/cobrix/test3_expected/test3_trim_none.txt",
        lambda r: [r["COMPANY_NAME"]],
        lambda r: [r["WEALTH_QFY"]],
    ),
    "cobrix_19": (
        "fixedwidth/cobrix/test19_display_num_expected/test19.txt",
        lambda r: [r["WS_NAME_ALPHABET"]],
        lambda r: [r.get("WS_AMOUNT_NUMERIC")],
    ),
}
DDI = "{ddi:codebook:2_5}"
LIBRARIES = "korean/전국도서관표준데이터"
LIBRARY_KEY = ["도서관명", "시도명", "시군구명", "도서관유형", "소재지도로명주소", "도서관전화번호", "데이터기준일자"]


def text_of(path, encoding):
    data = (DATA / path).read_bytes()
    return (gzip.decompress(data) if path.endswith(".gz") else data).decode(encoding)


def csv_rows(path, encoding, delimiter, names):
    text = text_of(path, encoding)
    # Files whose lines end with a bare CR have no LF at all; in the others a CR may stand in a cell.
    lines = re.findall(r"[^\n]*\n|[^\n]+", text) if "\n" in text else text.split("\r")
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    if names is None:
        names, rows = [name.strip() for name in rows[0]], rows[1:]
    assert all(len(row) == len(names) for row in rows), path
    return [dict(zip(names, row)) for row in rows]


def library_csv():
    """The rows of the libraries: cells in doubled quotes, in quotes, or plain. One that is then too wide is left out."""
    lines = text_of(f"{LIBRARIES}.csv", "cp949").split("\n")
    names, rows = lines[0].split(","), []
    cell = re.compile(r'""(?![,"]|$)(.*?)""(?=,|$)|"((?:[^"]|"")*)"(?=,|$)|([^,]*)(?=,|$)')
    for line in filter(None, lines[1:]):
        cells, at = [], 0
        while at <= len(line):
            found = cell.match(line, at)
            cells.append(next(group for group in found.groups() if group is not None))
            at = found.end() + 1
        if len(cells) == len(names):
            rows.append(dict(zip(names, cells)))
    return rows


def library_xml():
    """The records of the libraries: `<a><a/>` stands for an empty `a`; names with brackets are no names of XML."""
    rows = []
    for record in re.findall(r"<record>(.*?)</record>", text_of(f"{LIBRARIES}.xml", "utf-8"), re.S):
        record = re.sub(r"<([^<>/]+)><\1/>", r"<\1></\1>", record)
        rows.append({name: value.replace("&amp;", "&") for name, value in re.findall(r"<([^<>/]+)>([^<]*)</\1>", record)})
    return rows


def number_of(value):
    return Decimal(str(value).strip().replace(",", "")) if str(value or "").strip() or value == 0 else Decimal(0)


def summary(rows, text, number):
    """Of rows, by what gives a row's values."""
    digest, total = hashlib.sha256(), Decimal(0)
    for row in rows:
        values = [str(value).strip() for value in text(row) if value is not None]
        digest.update("\x1f".join(value for value in values if value).encode() + b"\n")
        total += sum((number_of(value) for value in number(row)), Decimal(0)) if number else 0
    found = {"rows": len(rows), "text_sha256": digest.hexdigest()}
    return found | ({"number_sum": str(total.normalize() + 0) if total % 1 else str(int(total))} if number else {})


def column(name):
    return lambda row: [row[name]]


def main():
    found = {}
    for code, (path, encoding, delimiter, names, text, number) in CSV.items():
        rows = csv_rows(path, encoding, delimiter, names)
        found[code] = summary(rows, column(text), number and column(number))
    for code, (path, text, number) in JSON_LINES.items():
        rows = [json.loads(line, parse_float=Decimal) for line in text_of(path, "utf-8").splitlines()]
        found[code] = summary(rows, text, number)
    libraries = {"csv": library_csv(), "xml": library_xml()}
    for kind, rows in libraries.items():
        found[f"libraries_{kind}"] = summary(rows, column("소재지도로명주소"), column("자료수(도서)"))
    keys = {
        kind: collections.Counter(tuple(row[name].strip() for name in LIBRARY_KEY) for row in rows)
        for kind, rows in libraries.items()
    }
    found["libraries_agreeing"] = {"rows": (keys["csv"] & keys["xml"]).total()}
    shelters = tree.parse(DATA / "korean/제주시_무더위쉼터현황_20150931.xml").getroot().findall("Row")
    found["shelters_xml"] = summary(
        shelters, lambda row: [row.findtext("쉼터명칭")], lambda row: [row.findtext("이용가능인원")]
    )
    variables = tree.parse(DATA / "fixedwidth/ipums/cps_00157.xml").getroot().iter(f"{DDI}var")
    found["cps_variables"] = summary(
        list(variables),
        lambda row: [row.findtext(f"{DDI}labl")],
        lambda row: [row.find(f"{DDI}location").get("width")],
    )
    json.dump(found, sys.stdout, ensure_ascii=False, indent=1, sort_keys=True)
    print()


main()
