"""Steering claims: what `steering_science` is held to, and what is shown beside it."""

from __future__ import annotations

from sae_nb.proofs.claims import Claim, Line, Shown

CLAIMS = (
    Claim(
        name="atoms steer",
        text=(
            "At equal KL an atom chosen by what it reads moves its digit further than random directions, "
            "and than the atom that the same choice finds in an SAE that was never trained"
        ),
        paper="arXiv 2501.17148 (AxBench), controls ours",
        notebook="11 §2",
        lines=(
            Line(
                number="digits, beyond random",
                label="share of digits beyond the random 95 % quantile",
                at_least=0.75,
            ),
            Line(
                number="digits, beyond untrained",
                label="share of digits whose interval lies above the untrained SAE's choice",
                at_least=0.75,
            ),
            Line(number="digits, success", label="Δ log-odds, mean over budgets", at_least=1.0),
        ),
        shown=(
            Shown(number="digits, nearest atom", label="Δ log-odds, nearest atom"),
            Shown(number="digits, strength at 0.25", label="norm that costs 0.25 nats"),
            Shown(number="digits, random at 0.25", label="norm, random directions"),
        ),
        floor=Shown(number="digits, untrained", label="Δ log-odds, untrained SAE's choice"),
        control=Shown(number="digits, random 95 %", label="Δ log-odds, random 95 %"),
    ),
    Claim(
        name="difference of means",
        text="The difference of means steers better than the atom",
        paper="arXiv 2501.17148 (AxBench)",
        notebook="11 §2",
        lines=(),
        shown=(
            Shown(number="digits, success", label="atom, digits"),
            Shown(number="digits, difference of means", label="difference of means, digits"),
            Shown(number="sentiments, success", label="atom, sentiments"),
            Shown(
                number="sentiments, difference of means", label="difference of means, sentiments"
            ),
        ),
    ),
    Claim(
        name="reading is not writing",
        text="An atom that reads a sentiment need not write it: success on text, next-token log-odds",
        paper="arXiv 2505.20063",
        notebook="11 §3",
        lines=(
            Line(
                number="sentiments, AUC of reading", label="AUC of reading, worse one", at_least=0.9
            ),
            Line(
                number="sentiments, beyond random",
                label="share of sentiments beyond random",
                at_most=0.5,
            ),
        ),
        shown=(
            Shown(number="sentiments, success", label="Δ log-odds, atom"),
            Shown(number="sentiments, nats written", label="nats written at KL 0.5"),
            Shown(number="sentiments, nats written, clean", label="nats written, clean"),
            Shown(number="sentiments, nats read", label="nats lost reading at KL 0.5"),
            Shown(number="sentiments, nats read, random", label="the same, random direction"),
            Shown(number="sentiments, sampled shift", label="share of texts with the word, change"),
        ),
        control=Shown(number="sentiments, random 95 %", label="Δ log-odds, random 95 %"),
    ),
    Claim(
        name="fragility",
        text="Effects depend on phrasing, position and strength",
        paper="arXiv 2601.03047",
        notebook="11 §4",
        lines=(
            Line(number="digits, robustness", label="cells beyond random, digits", at_most=0.9),
            Line(number="digits, effect spread", label="sd over variants / mean", at_least=0.3),
        ),
        shown=(
            Shown(number="digits, sign flips", label="sign flips, digits"),
            Shown(number="digits, first of near atoms", label="no near atom does more, digits"),
            Shown(number="digits, cls alone", label="Δ log-odds, added at cls alone"),
            Shown(number="digits, patches alone", label="added at patches alone"),
            Shown(number="sentiments, robustness", label="cells beyond random, sentiments"),
            Shown(number="sentiments, sign flips", label="sign flips, sentiments"),
        ),
    ),
    Claim(
        name="no illusion",
        text="Effects of digit atoms are not illusions of subspace patching: what is read keeps them",
        paper="arXiv 2311.17030",
        notebook="11 §5",
        lines=(
            Line(
                number="illusion, not red",
                label="share of digits not judged an illusion",
                at_least=1.0,
            ),
            Line(
                number="illusion, v_null",
                label="|FLDD| of the unread part",
                at_most=0.05,
                short=0.1,
            ),
        ),
        shown=(
            Shown(number="illusion, v", label="FLDD, atom"),
            Shown(number="illusion, v_row", label="FLDD, read part"),
            Shown(number="illusion, dormant index", label="dormant index"),
        ),
        control=Shown(number="illusion, random", label="FLDD, random 95 %"),
    ),
    Claim(
        name="attribution",
        text="Gradient × activation ranks atoms as exact splices do, and few nodes carry the answer",
        paper="arXiv 2403.19647",
        notebook="11 §5",
        lines=(
            Line(
                number="attribution agreement",
                label="rank correlation with exact splices, pictures",
                at_least=0.8,
                short=0.6,
            ),
            Line(
                number="text attribution agreement",
                label="the same, texts",
                at_least=0.8,
                short=0.6,
            ),
        ),
        shown=(
            Shown(number="attribution faithfulness", label="faithfulness, pictures"),
            Shown(number="text attribution faithfulness", label="faithfulness, texts"),
            Shown(number="attribution, error share", label="share on error nodes, pictures"),
            Shown(number="text attribution, error share", label="the same, texts"),
            Shown(number="ablation, effect", label="log-odds lost without the digit's atom"),
            Shown(number="ablation, random atoms", label="without random atoms, 95 %"),
        ),
        floor=Shown(
            number="attribution faithfulness, chance", label="faithfulness, order of chance"
        ),
        control=Shown(number="attribution agreement, chance", label="agreement, order of chance"),
    ),
)
