#!/usr/bin/env python3
"""Writes connectors/src/records/ebcdic.bin, the tables from EBCDIC to Unicode that the connectors read.

Code pages 37 and 500 come from Python's codecs (the mapping tables of the Unicode Consortium), code page 933 from the
C library's `iconv -f IBM933` (the mapping that IBM registered). Layout, UTF-16 big endian, 0 where nothing is assigned:
256 units of cp037, of cp500, of the one-byte part of cp933; then 190 x 190 units of its two-byte part, both bytes from
0x41 to 0xFE.

    python3 tests/independent/ebcdic_tables.py connectors/src/records/ebcdic.bin
"""
import subprocess
import sys

SHIFT_OUT, SHIFT_IN = b"\x0e", b"\x0f"


def iconv(data):
    """Text of bytes in code page 933, `None` where they are none."""
    done = subprocess.run(["iconv", "-f", "IBM933", "-t", "UTF-16BE"], input=data, capture_output=True)
    return done.stdout.decode("utf-16-be") if done.returncode == 0 else None


def unit(text):
    if not text or len(text) != 1 or ord(text) > 0xFFFF or 0xE000 <= ord(text) <= 0xF8FF:
        return b"\0\0"
    return ord(text).to_bytes(2, "big")


def main(path):
    out = bytearray()
    for codec in ("cp037", "cp500"):
        out += b"".join(unit(bytes([byte]).decode(codec)) for byte in range(256))
    out += b"".join(unit(None if byte in (0x0E, 0x0F) else iconv(bytes([byte]))) for byte in range(256))
    for first in range(0x41, 0xFF):
        row = [bytes([first, second]) for second in range(0x41, 0xFF)]
        whole = iconv(SHIFT_OUT + b"".join(row) + SHIFT_IN)
        if whole is not None and len(whole) == len(row):
            out += b"".join(unit(character) for character in whole)
        else:
            out += b"".join(unit(iconv(SHIFT_OUT + pair + SHIFT_IN)) for pair in row)
    with open(path, "wb") as file:
        file.write(out)


main(sys.argv[1])
