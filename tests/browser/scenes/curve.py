"""CurvePanel: it is held to the grammar."""

from __future__ import annotations

CELLS = (
    """\
adder = sn.load_model("tiny-modular")
sums = [total for total in range(53) for _ in range(2)]
texts = [f"{a} + {(total - a) % 53} =" for total, a in zip(sums, 53 * [5, 20])]
at_equals = sn.capture(adder, texts, "resid_post.0", positions="last", drop_first=False, progress=False)
turned = sw.CurvePanel(
    adder, "resid_post.0", sn.geometry.curve(at_equals, sums, closed=True, period=53), "3 + 4 =", by=20
)
turned""",
)
