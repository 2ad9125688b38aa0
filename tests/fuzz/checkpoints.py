"""Checkpoints as nobody should write them: headers, metadata, archives and pickles, mutated."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.documents import Raw, pairs, trees, written

_INDEX = st.integers(0, 2**20)

JSON_SCALARS = [
    Raw(text)
    for text in (
        *(
            "null",
            "true",
            "false",
            "0",
            "-1",
            "1",
            "2",
            "1.5",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
        ),
        *(
            str(2**31),
            str(2**63),
            str(2**64 - 1),
            str(10**12),
            "-" + "9" * 400,
            "9" * 5000,
            "[]",
            "{}",
        ),
        *(
            '""',
            '"F32"',
            '"F64"',
            '"BF16"',
            '"I64"',
            '"gfnet"',
            '"gfnet-distil-dynn"',
            '"inf"',
            '"\\ud800"',
        ),
        *(
            '"\\u001b[31m"',
            '"../../x"',
            '"\\u0000"',
            '"x"',
            "[0, 4]",
            "[1, 1, 1]",
            "[65536, 65536]",
        ),
        *("[0, 0]", "[4, 0]", '{"a": 1}', '"bicubic"', '[""]', "65536", "1000", "[[]]"),
    )
]
_SIZES = (0, 1, 7, 8, 2**31, 2**32, 2**62, 2**63, 2**64 - 1)


def split(data: bytes) -> tuple[Any, bytes]:
    """The header of a safetensors file, as JSON, and what follows."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@st.composite
def safetensors_files(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """A valid file whose header, metadata, length, or bytes are changed."""
    data = files[draw(_INDEX) % len(files)]
    what = draw(st.integers(0, 5))
    if what == 5:
        return draw(damaged([data]))
    header, body = split(data)
    if what <= 2:
        inner = pairs(json.loads(header["__metadata__"]["gfnet"]))
        header["__metadata__"]["gfnet"] = written(draw(trees([inner], JSON_SCALARS)))
        text = json.dumps(header)
    else:
        text = written(draw(trees([pairs(header)], JSON_SCALARS)))
    encoded = text.encode("utf-8", "surrogatepass")
    length = len(encoded) if draw(st.integers(0, 9)) else draw(st.sampled_from(_SIZES))
    body = body if draw(st.integers(0, 9)) else body[: draw(_INDEX) % (len(body) + 1)]
    return struct.pack("<Q", length) + encoded + body


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """Bytes changed, taken out, put in, or cut off."""
    data = bytearray(files[draw(_INDEX) % len(files)])
    for _ in range(draw(st.integers(1, 6))):
        start = draw(_INDEX) % (len(data) + 1)
        change = draw(st.integers(0, 3))
        if change == 0:
            data[start : start + 1] = bytes([draw(st.integers(0, 255))])
        elif change == 1:
            del data[start : start + draw(st.integers(1, 64))]
        elif change == 2:
            data[start:start] = draw(st.binary(min_size=1, max_size=16))
        else:
            data[start : start + 8] = struct.pack("<Q", draw(st.sampled_from(_SIZES)))
    return bytes(data)


_PIECES = (
    *(
        bytes([code])
        for code in (*b"().0]}N)aeust", 0x85, 0x86, 0x87, 0x88, 0x89, 0x8F, 0x90, 0x94)
    ),
    *(
        b"K\x01",
        b"M\xff\xff",
        b"J\xff\xff\xff\x7f",
        b"h\x00",
        b"q\x00",
        b"r\xff\xff\xff\x7f",
        b"R",
        b"b",
        b"Q",
    ),
    *(
        b"cos\nsystem\n",
        b"ccollections\nOrderedDict\n",
        b"cbuiltins\nbytearray\n",
        b"ctorch\nTensor\n",
    ),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"cargparse\nNamespace\n"),
    *(
        b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n",
        b"cbuiltins\neval\n",
        b"\x8a\x08" + b"\x7f" * 8,
    ),
    *(
        b"X\x05\x00\x00\x00model",
        b"X\xff\xff\xff\x7f",
        b"U\x01a",
        b"G\x7f\xf0\x00\x00\x00\x00\x00\x00",
    ),
)


@st.composite
def torch_files(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """What torch.save wrote, with its pickle edited, its archive made anew, or its bytes changed."""
    what = draw(st.integers(0, 4))
    if what == 0:
        return draw(damaged(files))
    if what == 1:
        noise = draw(st.lists(st.sampled_from(_PIECES), max_size=12))
        return b"\x80\x02" + b"".join(noise) + b"."
    archives = [data for data in files if data[:2] == b"PK"]
    source = zipfile.ZipFile(io.BytesIO(archives[draw(_INDEX) % len(archives)]))
    target = io.BytesIO()
    method = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    with zipfile.ZipFile(target, "w", method) as archive:
        for name in source.namelist():
            content, called = source.read(name), name
            if name.endswith("data.pkl"):
                content = _edited(draw, content)
            elif not draw(st.integers(0, 7)):
                content = content[: draw(_INDEX) % (len(content) + 1)]
            if not draw(st.integers(0, 15)):
                called = draw(
                    st.sampled_from(("../../x", "/tmp/x", "a/b/c", "archive/data/99", "x" * 300))
                )
            archive.writestr(called, content)
        if not draw(st.integers(0, 15)):
            archive.writestr("archive/data/9", b"\0" * draw(st.sampled_from((10, 10**5, 10**7))))
    return target.getvalue()


def _edited(draw: st.DrawFn, content: bytes) -> bytes:
    """A pickle with some instructions put in or bytes taken out."""
    data = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(_INDEX) % (len(data) + 1)
        if draw(st.booleans()):
            data[start:start] = draw(st.sampled_from(_PIECES))
        else:
            del data[start : start + draw(st.integers(1, 4))]
    return bytes(data)


def plain_pickle(content: Any) -> bytes:
    """What is no torch.save, but a pickle."""
    return pickle.dumps(content, protocol=2)
