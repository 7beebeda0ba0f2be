"""Writes a safetensors file's own SHA-256 into its metadata, so that whoever reads it finds damage.

The digest is that of the whole file as it is with 64 zeros in the digest's place: it covers the header and all values,
and the file stays one that every reader of the format reads. What a value is and where it lies do not change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib

KEY = "sha256"
_ZEROS = "0" * 64
_LENGTH_BYTES = 8
_ALIGNMENT = 8  # of the first value, in bytes


def _split(file: bytes) -> tuple[dict, bytes]:
    """The header and the values."""
    size = int.from_bytes(file[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + size
    return json.loads(file[_LENGTH_BYTES:end]), file[end:]


def _join(header: dict, values: bytes) -> bytes:
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + values


def stamped(file: bytes) -> bytes:
    """A file's bytes with its digest in the metadata, in place of one that is there already."""
    header, values = _split(file)
    metadata = {**header.pop("__metadata__", {}), KEY: _ZEROS}
    blank = _join({"__metadata__": metadata, **header}, values)
    if blank[: len(blank) - len(values)].count(_ZEROS.encode()) != 1:
        raise ValueError("the header holds 64 zeros in another place than the digest's")
    return blank.replace(_ZEROS.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def stamp(path: pathlib.Path) -> None:
    """Stamps a file. Nobody sees half of it: it is written beside the old one, which it then replaces."""
    temporary = path.with_name(path.name + ".stamping")
    temporary.write_bytes(stamped(path.read_bytes()))
    temporary.chmod(path.stat().st_mode & 0o777)
    os.replace(temporary, path)


def main() -> None:
    """Stamps the files named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    for path in parser.parse_args().files:
        stamp(path)
        print(f"stamped {path}")


if __name__ == "__main__":
    main()
