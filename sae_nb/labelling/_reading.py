"""labels: labels written by others, from their files. Whole, or not at all.

Neuronpedia's exports are JSON lines, gzipped, in batches per source; a feature of its API is one JSON object.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sae_nb.checks import check_path, checked
from sae_nb.files import SaeIdentity
from sae_nb.files._atomic import parsed_json
from sae_nb.files._fingerprints import identity_of
from sae_nb.labelling._keeping import FILE, KIND, read_kept
from sae_nb.labelling._records import AtomLabel, AtomLabels, clean
from sae_nb.models._checkpoint_files import is_offline

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

EXPORTS = (
    "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com/v1/{}/explanations/batch-{}.jsonl.gz"
)
FEATURE = "https://www.neuronpedia.org/api/feature/{}"
SECONDS = 60

_SOURCE = re.compile(r"[\w.\-]+/[\w.\-]+(/\d+)?")
_BATCH = re.compile(r"batch-(\d+)\.jsonl(\.gz)?")
MOST_BYTES = 128 << 20
"""Text of one packed file, at most: a hundred times a batch of Neuronpedia's exports. Ours."""

_FILES = (".json", ".jsonl", ".csv", ".tsv", ".gz")
_ATOM = ("index", "atom", "feature", "feature_index", "feature_id")
_TEXT = ("description", "label", "explanation", "text")
_METHOD, _AUTHOR = ("typeName", "method", "source"), ("explanationModelName", "author")


@checked
def labels(
    file_or_source: str | Path | Mapping[Any, Any], sae: SparseAutoencoder | None = None
) -> AtomLabels:
    """Read labels written by others: Neuronpedia's exports, single features of it, CSV, JSON.

    A file is read whole or refused: one that was cut, a batch that is missing, an atom beyond the SAE's
    leave nothing behind. Labels become one line of text without control signs; panels show them escaped.
    They say who wrote them, nothing of whether that is so: `sn.label(sae, acts, labels=…)` measures it.

    Parameters
    ----------
    file_or_source
        A file (.json, .jsonl, .csv, .tsv, each also .gz), a folder of batches as Neuronpedia exports
        them, an SAE's folder with labels in it, what a JSON file held, or the name of a source or of one
        feature on Neuronpedia ("gpt2-small/8-res-jb", "gpt2-small/8-res-jb/17"), which is fetched. Rows
        name an atom (`index`, `atom` or `feature`) and a text (`description`, `label` or `explanation`).
    sae
        Whose atoms these are: its width, and for a published one its source, must be the file's.

    Raises
    ------
    FileNotFoundError: If there is no such file, or no such source on Neuronpedia.
    ValueError: If a file is cut short, mixes sources, misses a batch, names no label at all, or is for
        another SAE.
    ConnectionError: If Neuronpedia is asked for and cannot be reached, or the network is switched off.

    Source
    ------
    docs.neuronpedia.org, "Exports"; the fields of an explanation: hijohnnylin/neuronpedia (prisma schema).

    Example
    -------
    >>> found = labels({"modelId": "gpt2-small", "layer": "8-res-jb", "index": "17",
    ...     "explanations": [{"description": "days of the week", "typeName": "oai_token-act-pair"}]})
    >>> found[17], found.place, found.entries[17].source
    ('days of the week', '8-res-jb', 'oai_token-act-pair')
    """
    if isinstance(file_or_source, Mapping):
        rows: Iterable[_Row] = _of_object(dict(file_or_source))
        return _checked(*_gathered(rows, "the mapping"), sae, "")
    name = str(file_or_source)
    path = check_path(file_or_source, name="file_or_source")
    if path.is_dir() and (path / FILE).is_file():
        path = path / FILE
    if path.is_file() and path.suffix == ".json" and (kept := _kept(path, sae)) is not None:
        return kept
    if path.is_dir():
        rows = _of_folder(path)
    elif path.is_file():
        rows = _of_file(path)
    elif name.endswith(_FILES) or not _SOURCE.fullmatch(name):
        raise FileNotFoundError(
            f"`file_or_source` must be a file, a folder of batches, or a source on Neuronpedia such as "
            f'"gpt2-small/8-res-jb", got {name!r}, which is none of them.'
        )
    else:
        rows = _fetched(name)
    return _checked(*_gathered(rows, repr(name)), sae, name)


class _Row(NamedTuple):
    """One label of a file."""

    atom: int
    text: str
    source: str
    author: str
    model: str
    place: str


# --- one object, of any of the shapes ------------------------------------------------------------------


def _of_object(content: object) -> Iterator[_Row]:
    """Labels of a JSON value: a feature, an explanation, a list of them, or atoms to texts."""
    if isinstance(content, list):
        for one in content:
            yield from _of_object(one)
        return
    if not isinstance(content, dict):
        raise ValueError(f"holds {type(content).__name__} where a label should be")
    if "explanations" in content:  # a feature: its explanations have no atom of their own
        if not isinstance(content["explanations"], list):
            raise ValueError("holds a feature whose `explanations` are not a list")
        shared = {key: content[key] for key in ("modelId", "layer", "index") if key in content}
        if not content["explanations"]:
            yield _row({**shared, "description": ""})
        for one in content["explanations"]:
            if not isinstance(one, dict):
                raise ValueError("holds a feature whose explanations are not objects")
            yield _row({**one, **shared})
    elif content and all(str(key).isdigit() for key in content):
        yield from (_row({"index": key, "label": text}) for key, text in content.items())
    else:
        yield _row(content)


def _row(given: Mapping[str, Any]) -> _Row:
    def first(names: tuple[str, ...]) -> object:
        return next((given[name] for name in names if given.get(name) is not None), None)

    atom, text = first(_ATOM), first(_TEXT)
    if atom is None or text is None:
        missing = (
            f"an atom ({', '.join(_ATOM)})" if atom is None else f"a text ({', '.join(_TEXT)})"
        )
        raise ValueError(f"has a row without {missing}: {_short(given)}")
    if not re.fullmatch(r"\d{1,9}", str(atom).strip()) or isinstance(atom, bool):
        raise ValueError(f"has a row whose atom is not a whole number from 0: {atom!r}")
    if not isinstance(text, str):
        raise ValueError(f"has a row whose label is not text: {_short(given)}")
    return _Row(
        int(str(atom)),
        clean(text),
        clean(first(_METHOD) or ""),
        clean(first(_AUTHOR) or ""),
        clean(given.get("modelId") or ""),
        clean(given.get("layer") or ""),
    )


def _short(given: Mapping[str, Any]) -> str:
    text = repr(dict(list(given.items())[:6]))
    return text if len(text) < 120 else f"{text[:119]}…"


# --- files ----------------------------------------------------------------------------------------


def _of_file(path: Path) -> Iterator[_Row]:
    try:
        content = path.read_bytes()
        try:
            text = _decoded(content, zipped=path.suffix == ".gz")
        except (EOFError, zlib.error, OSError) as error:
            raise ValueError(f"it was cut short or altered ({error})") from error
        yield from _of_text(path.name.removesuffix(".gz"), text)
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} must hold labels, and {error}. Nothing was read; write or download it again."
        ) from error


def _decoded(content: bytes, *, zipped: bool) -> str:
    try:
        return (_unpacked(content) if zipped else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8 ({error})") from error


def _unpacked(content: bytes) -> bytes:
    """Return what a gzip file holds; refuses one that would fill the memory before it does."""
    with gzip.open(io.BytesIO(content)) as packed:
        unpacked = packed.read(MOST_BYTES + 1)
    if len(unpacked) > MOST_BYTES:
        raise ValueError(
            f"it holds more than {MOST_BYTES >> 20} MiB of text; split it into batches"
        )
    return unpacked


def _of_text(name: str, text: str) -> Iterator[_Row]:
    if name.endswith((".csv", ".tsv")):
        yield from _of_table(text, "\t" if name.endswith(".tsv") else ",")
        return
    parts = [("it", text)]
    if name.endswith(".jsonl"):
        lines = enumerate(text.split("\n"), 1)
        parts = [(f"line {number}", line) for number, line in lines if line.strip()]
    for called, part in parts:
        try:
            content = parsed_json(part)
        except ValueError as error:
            raise ValueError(f"{called} is not JSON, or was cut short ({error})") from error
        yield from _of_object(content)


def _of_table(text: str, delimiter: str) -> Iterator[_Row]:
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in table:
            if None in row or None in row.values():
                raise ValueError(
                    f"line {table.line_num} has {len(row)} columns where the first line names "
                    f"{len(table.fieldnames or ())}, or was cut short"
                )
            yield _row({str(key).strip(): value for key, value in row.items()})
    except csv.Error as error:
        raise ValueError(f"line {table.line_num} is not a row of a table ({error})") from error


def _of_folder(folder: Path) -> Iterator[_Row]:
    """Batches of an export, in their order; none may be missing among them."""
    inside = folder / "explanations"
    folder = inside if inside.is_dir() else folder
    batches = {int(m[1]): path for path in folder.iterdir() if (m := _BATCH.fullmatch(path.name))}
    if not batches:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold batches of an export, batch-0.jsonl.gz and so on, or {FILE}, and "
            "holds neither."
        )
    missing = [number for number in range(max(batches)) if number not in batches]
    if missing:
        raise ValueError(
            f"{str(folder)!r} must hold every batch from 0 to {max(batches)}, and batch {missing[0]} is "
            "missing. Nothing was read; download it again."
        )
    for number in sorted(batches):
        yield from _of_file(batches[number])


def _kept(path: Path, sae: SparseAutoencoder | None) -> AtomLabels | None:
    """Labels in a file that `sn.label` wrote; None for any other file."""
    try:
        content = parsed_json(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        return None
    kept = read_kept(path)
    if sae is not None and not SaeIdentity.from_json(kept.sae).is_same(identity_of(sae)):
        raise ValueError(
            f"{str(path)!r} must hold labels of this SAE, {identity_of(sae)}, and holds those of another "
            f"one: {SaeIdentity.from_json(kept.sae)}."
        )
    return kept.labels


# --- the net --------------------------------------------------------------------------------------


def _fetched(name: str) -> Iterator[_Row]:
    if is_offline():
        raise ConnectionError(
            f"{name!r} is not a file here, and Neuronpedia is not asked while HF_HUB_OFFLINE is set. Unset it, "
            f"or download {EXPORTS.format('model/source', 'N')} and pass the folder."
        )
    if name.count("/") == 2:
        yield from _of_answer(name, _asked(FEATURE.format(name), name), ".json")
        return
    number = 0
    while (answer := _asked(EXPORTS.format(name, number), name, last=number > 0)) is not None:
        yield from _of_answer(name, answer, ".jsonl.gz")
        number += 1


def _of_answer(name: str, answer: bytes | None, suffix: str) -> Iterator[_Row]:
    try:
        text = _decoded(answer or b"", zipped=suffix.endswith(".gz"))
        yield from _of_text(suffix.removesuffix(".gz"), text)
    except (ValueError, EOFError, zlib.error, OSError) as error:
        raise ValueError(
            f"The file of Neuronpedia under {name!r} must hold labels, and does not ({error}). Nothing "
            "was read; try again."
        ) from error


def _asked(address: str, name: str, *, last: bool = False) -> bytes | None:
    """Fetch the content of an address; None if there is none and the batches before were the last ones."""
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 (https, ours)
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code not in (403, 404):  # a bucket says 403 of what it has not
            raise ConnectionError(
                f"Neuronpedia did not give {name!r}: {error}. Try again."
            ) from error
        if last:
            return None
        raise FileNotFoundError(
            f"`file_or_source` must be a file, or a source that Neuronpedia has labels of, got {name!r}. Look "
            "for it at neuronpedia.org; sn.published() has a column `neuronpedia`."
        ) from error
    except OSError as error:
        raise ConnectionError(
            f"Neuronpedia did not answer ({error}). Pass a file, or try again."
        ) from error


# --- whole, of one source, for this SAE -----------------------------------------------------------


def _gathered(rows: Iterable[_Row], where: str) -> tuple[dict[int, AtomLabel], str, str]:
    """Labels by atom, the first of each atom, the others as alternatives; their model and place."""
    entries: dict[int, AtomLabel] = {}
    places: dict[tuple[str, str], int] = {}
    try:
        for row in rows:
            places.setdefault((row.model, row.place), row.atom)
            known = entries.get(row.atom)
            if known is None or not known.text:
                why = "" if row.text else "The file has no label for it."
                entries[row.atom] = AtomLabel(
                    atom=row.atom,
                    text=row.text,
                    source=row.source or "file",
                    author=row.author,
                    why=why,
                )
            elif row.text and row.text not in (known.text, *known.also):
                entries[row.atom] = replace(known, also=(*known.also, row.text))
    except ValueError as error:
        if str(error).startswith(("'", "What", '"')):
            raise
        raise ValueError(f"{where} must hold labels, and {error}. Nothing was read.") from error
    if len(places) > 1:
        one, other = list(places)[:2]
        raise ValueError(
            f"{where} must hold labels of one source, got {'/'.join(one)!r} and {'/'.join(other)!r}. Read them "
            "one by one."
        )
    if not any(entry.text for entry in entries.values()):
        raise ValueError(f"{where} must hold labels, and names none. Nothing was read.")
    model, place = next(iter(places), ("", ""))
    return dict(sorted(entries.items())), model, place


def _checked(
    entries: dict[int, AtomLabel],
    model: str,
    place: str,
    sae: SparseAutoencoder | None,
    path: str,
) -> AtomLabels:
    """Refuse labels of another width or another source than the SAE's."""
    n_atoms = None if sae is None else int(sae.n_atoms)
    if n_atoms is not None and max(entries) >= n_atoms:
        raise ValueError(
            f"`file_or_source` must name atoms below {n_atoms}, the SAE's, got atom {max(entries)}: these are "
            "labels for another width. Nothing was read."
        )
    published = getattr(getattr(sae, "origin", None), "neuronpedia", None)
    if published and model and place and f"{model}/{place}" != published:
        raise ValueError(
            f"`file_or_source` must hold labels of {published!r}, which the SAE is on Neuronpedia, got those "
            f"of {f'{model}/{place}'!r}. Nothing was read."
        )
    return AtomLabels(entries=entries, n_atoms=n_atoms, model=model, place=place, path=path)
