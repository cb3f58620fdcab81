"""Bundles: their heads with the pseudonym of the subject, and the files they are written to, as ieum lays them out."""

import base64
import ctypes
import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa


class Request(NamedTuple):
    """What a head says of a request; the subject as key space and present key."""

    request_id: str
    recipient: str
    service: str | None
    purpose: str
    space: str
    key: str


class Heads:
    """Makes the heads of bundles."""

    def __init__(self, settings):
        lines = (line.strip() for line in Path(settings.keys).read_text().splitlines())
        (line,) = (line for line in lines if line and not line.startswith("#"))
        _, self.key_id, self.epoch, secret = line.split()
        self.master = hmac.digest(bytes(32), bytes.fromhex(secret), "sha256")  # HKDF-SHA-256, extract without salt
        self.as_of = str(settings.date)
        self.domains, self.quoted = {}, {}

    def _domain(self, recipient):
        if recipient not in self.domains:
            info = b"ieum/1 pseudonym\0recipient\0" + recipient.encode() + int(self.epoch).to_bytes(4, "big")
            self.domains[recipient] = hmac.digest(self.master, info + b"\1", "sha256")  # HKDF-SHA-256, expand
        return self.domains[recipient]

    def subject(self, request):
        """The pseudonym of the subject in the recipient's domain."""
        space, key = request.space.encode(), request.key.encode()
        message = len(space).to_bytes(8, "big") + space + len(key).to_bytes(8, "big") + key
        return base64.urlsafe_b64encode(hmac.digest(self._domain(request.recipient), message, "sha256"))[:43].decode()

    def _quoted(self, text):
        if text not in self.quoted:
            self.quoted[text] = json.dumps(text, ensure_ascii=False)
        return self.quoted[text]

    def text(self, request):
        """The head as JSON, up to the documents."""
        of = f'"service":"{request.service}",' if request.service else ""
        return (
            f'{{"bundle":"ieum/1","request_id":"{request.request_id}","recipient":"{request.recipient}",{of}'
            f'"purpose":{self._quoted(request.purpose)},"subject":"{self.subject(request)}","key_id":"{self.key_id}",'
            f'"key_epoch":{self.epoch},"as_of":"{self.as_of}","documents":{{'
        )

    def table(self, requests):
        """The heads as a table, a row each."""
        text = lambda values: pa.array(values, pa.string())
        same = lambda value: text([value] * len(requests))
        return pa.table({
            "bundle": same("ieum/1"),
            "request_id": text([r.request_id for r in requests]),
            "recipient": text([r.recipient for r in requests]),
            "service": text([r.service for r in requests]),
            "purpose": text([r.purpose for r in requests]),
            "subject": text([self.subject(r) for r in requests]),
            "key_id": same(self.key_id),
            "key_epoch": pa.array([int(self.epoch)] * len(requests), pa.uint32()),
            "as_of": same(self.as_of),
        })  # fmt: skip


class Packed:
    """A packed JSON file: written, digested and indexed line by line."""

    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "wb", buffering=1 << 18)
        self.digest, self.offset, self.index = hashlib.sha256(), 0, ["request_id,offset,bytes\n"]

    def add(self, request, line):
        self.file.write(line)
        self.digest.update(line)
        self.index.append(f"{request},{self.offset},{len(line)}\n")
        self.offset += len(line)

    def close(self):
        self.file.close()
        return self.digest.hexdigest()


class Output:
    """The bundle files below a folder, with the digest of each."""

    def __init__(self, folder):
        self.folder, self.sums = Path(folder), {}

    def path(self, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, name, data):
        """Writes a small file at once."""
        self.path(name).write_bytes(data)
        self.sums[name] = hashlib.sha256(data).hexdigest()

    def packed_json(self, bundles):
        """`bundles`: (file, request id, line). A file and its index for every recipient and service."""
        files = {}
        for name, request, line in bundles:
            packed = files.get(name)
            if packed is None:
                packed = files[name] = Packed(self.path(f"bundles/packed/{name}.ndjson"))
            packed.add(request, line)
        for name, packed in files.items():
            self.sums[f"bundles/packed/{name}.ndjson"] = packed.close()
            self.put(f"bundles/packed/{name}.index.csv", "".join(packed.index).encode())

    def per_request_json(self, bundles):
        """`bundles`: (recipient, request id, line). A file for every request."""
        made = set()
        for recipient, request, line in bundles:
            folder = f"{self.folder}/bundles/per_request/{recipient}"
            if folder not in made:
                os.makedirs(folder, exist_ok=True)
                made.add(folder)
            out = os.open(f"{folder}/{request}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(out, line)
            os.close(out)
            self.sums[f"bundles/per_request/{recipient}/{request}.json"] = hashlib.sha256(line).hexdigest()

    def packed_parquet(self, name, requests, write):
        """`write(path)` writes the Parquet file; its index gives each request's row."""
        file = f"bundles/packed/{name}.parquet"
        write(str(self.path(file)))
        index = "".join(f"{request},{row}\n" for row, request in enumerate(requests))
        self.put(f"bundles/packed/{name}.index.csv", f"request_id,row\n{index}".encode())
        with open(self.folder / file, "rb") as written:
            self.sums[file] = hashlib.file_digest(written, "sha256").hexdigest()

    def commit(self):
        """Lists the digests and syncs the file system once, as ieum does."""
        with open(self.folder / "SHA256SUMS", "w") as file:
            file.writelines(f"{self.sums[name]}  {name}\n" for name in sorted(self.sums))
            file.flush()
            if ctypes.CDLL(None, use_errno=True).syncfs(file.fileno()):
                raise OSError(ctypes.get_errno(), "syncfs")
