"""Compile the Triton kernels for sm_90 and print their registers; run by `test_triton.py` in its own process."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sae_nb.pursuit import _triton as kernels, _triton_refits as refits

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
HALVES = dict.fromkeys(("halves", "r16", "a", "b"), "*fp16")
INDEX = dict.fromkeys(
    ("key1", "key2", "picks", "steps", "sizes", "atoms", "places", "passive", "chosen"), "*i32"
)
LONG = dict.fromkeys(("order", "offsets"), "*i64")
EXACT = dict.fromkeys(("z", "inverse", "work", "right", "before", "slopes"), "*fp64")
COUNTS = dict.fromkeys(("n", "d", "k", "M", "N", "KD", "total", "t", "first", "last"), "i32")
OTHERS = {"state": "*i8", "start_error": "fp32", "window": "fp32", "threshold": "fp64"}
KINDS = HALVES | INDEX | LONG | EXACT | COUNTS | OTHERS
"""Types of arguments; the others are pointers to fp32."""

WHOLE = ("round_gram", "matching_steps", "matching_steps_wide")
"""Kernels whose Gram matrix has 16 bits."""

RULES = {"SIGNED": False, "WATCH": False, "TRACE": False}
PICK = {"NB": 512, "KC": 8, "W": 1024}
SYSTEM = {"K": 32, "RC": 32, "GRAM": False}


def registers(name: str, warps: int, constants: dict[str, Any], **more: Any) -> int:
    """Registers that ptxas gives a thread of a kernel."""
    function = getattr(kernels, name, None) or getattr(refits, name)
    kinds, values, aligned = {}, {}, {}
    types = KINDS | ({"gram": "*i16"} if name in WHOLE else {})
    for place, argument in enumerate(function.arg_names):
        if argument in constants:
            kinds[argument], values[(place,)] = "constexpr", constants[argument]
            continue
        kinds[argument] = types.get(argument, "*fp32")
        if kinds[argument].startswith("*") or argument in ("n", "d", "M", "N", "KD"):
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(function, kinds, values, aligned)
    made = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps} | more
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        asked = [str(TOOLS / "cuobjdump"), "-res-usage", file.name]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return int(re.findall(r"REG:(\d+)", said)[0])


if __name__ == "__main__":
    row, tile = {"W": 1024}, {"BM": 128, "BN": 256, "BK": 64, "GM": 8}
    asked: list[tuple[str, int, dict[str, Any]]] = [
        ("split_rows", 4, {"ATOMS": False} | row),
        ("round_gram", 4, {"SIZE": 1024}),
        ("start_rows", 4, {"TRACE": False} | row),
        ("product_best", 8, {"SIGNED": False, "EVEN": True} | tile),
        ("matching_steps", 8, RULES | {"RESELECT": True, "N": 16384, "KC": 8} | row),
        (
            "matching_steps_wide",
            8,
            RULES | {"RESELECT": False, "N": 8192, "CHUNKS": 8, "KC": 8} | row,
        ),
        ("matching_update", 4, RULES | {"RESELECT": True} | PICK),
        ("merge_steps", 1, {"K": 32}),
        ("least_squares_update", 4, RULES | PICK | SYSTEM),
        ("non_negative_update", 4, {"WATCH": False, "TRACE": False} | PICK | SYSTEM),
        ("refine_rows", 4, {"POSITIVE": True, "K": 32, "RC": 32, "KC": 8} | row),
        ("gradient_update", 4, RULES | {"RESELECT": True, "K": 32} | PICK),
        ("matching_adjoint", 4, {"TERMS": False} | row),
        ("add_terms", 4, {"KC": 8} | row),
        ("least_squares_adjoint", 4, {"TERMS": False, "K": 32, "RC": 32, "KC": 8} | row),
        ("gradient_adjoint", 4, {"SIGNED": False, "K": 32, "KC": 8} | row),
    ]
    for name, warps, constants in asked:
        room = {"maxnreg": 128} if name == "matching_steps" else {}
        print(name, registers(name, warps, constants, **room))
