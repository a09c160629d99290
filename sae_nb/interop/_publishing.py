"""An SAE on the hub: its folder, the card with its measurements, and the upload."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from sae_nb.architectures import SparseAutoencoder
from sae_nb.architectures._base import upload
from sae_nb.architectures._describing import measured_words, one_line
from sae_nb.architectures._saving import Upload, save_sae
from sae_nb.checks import check_path, shown
from sae_nb.files._atomic import write_bytes
from sae_nb.files._fingerprints import dictionary_digest
from sae_nb.models._checkpoint_files import first_line, is_offline

if TYPE_CHECKING:
    from pandas import DataFrame

CARD = "README.md"
_NAME = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)*")


@upload.answer
def push_to_hub(
    sae: SparseAutoencoder,
    repo: str,
    report: object,
    *,
    dry_run: bool,
    folder: str | Path | None,
    private: bool,
    message: str | None,
    token: str | None,
) -> Upload:
    """Write an SAE's folder with its card and send it; a dry run sends nothing."""
    if not _NAME.fullmatch(repo) or ".." in repo.split("/"):
        raise ValueError(
            f'`repo` must look like "owner/name" or "owner/name/folder", got {repo!r}. Leave out "hf:".'
        )
    _check_report(sae, report)
    where = None if folder is None else check_path(folder, name="folder")
    if is_offline() and not dry_run:
        raise ConnectionError(
            "`push_to_hub` needs the hub, which is switched off by HF_HUB_OFFLINE. Unset it, or use "
            "dry_run=True."
        )
    owner, name, *rest = repo.split("/")
    to, inside = f"{owner}/{name}", "/".join(rest)
    text = card(sae, repo, report)
    written = _write(sae, where, text)
    try:
        url = None
        if not dry_run:
            url = _send(written, to, inside, private, message or one_line(sae), token)
        return Upload(
            repo=to, inside=inside, folder=written, files=_files(written), card=text, url=url
        )
    finally:
        if where is None and not dry_run:
            shutil.rmtree(written.parent, ignore_errors=True)


def _check_report(sae: SparseAutoencoder, report: object) -> None:
    if report is None:
        return
    facts = getattr(report, "provenance", None)
    if facts is None or not hasattr(report, "table"):
        raise TypeError(f"`report` must be what sn.evaluate(sae, …) returns, got {shown(report)}.")
    if facts.get("dictionary") not in (None, dictionary_digest(sae.dictionary)):
        raise ValueError(
            f"`report` must be of this {type(sae).__name__}, got one of another dictionary "
            f"({facts.get('sae')} with {facts.get('n_atoms')} atoms). Evaluate this one."
        )


def _write(sae: SparseAutoencoder, where: Path | None, text: str) -> Path:
    """Write the folder of an SAE with its card; the SAE keeps its own folder."""
    home = sae.folder
    folder = Path(mkdtemp(prefix="sae-for-hub-")) / "sae" if where is None else where
    try:
        save_sae(sae, folder)
    finally:
        sae.folder = home
    write_bytes(folder / CARD, text.encode())
    return folder


def _files(folder: Path) -> DataFrame:
    import pandas as pd

    # A name with a dot in front is a lock, or a file that somebody is writing.
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    rows = [(str(file.relative_to(folder)), file.stat().st_size) for file in files]
    return pd.DataFrame(rows, columns=["file", "bytes"])


def _send(
    folder: Path, repo: str, inside: str, private: bool, message: str, token: str | None
) -> str:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi(token=token)
    try:
        hub.create_repo(repo, private=private, exist_ok=True)
        sent = hub.upload_folder(
            repo_id=repo,
            folder_path=folder,
            path_in_repo=inside or None,
            commit_message=message,
            allow_patterns=_files(folder)["file"].tolist(),
        )
    except (OSError, HFValidationError, HfHubHTTPError, httpx.HTTPError) as error:
        raise ConnectionError(
            f"`repo` must be a repository of the hub that you may write, got {repo!r}: {first_line(error)} "
            "Log in with `hf auth login`, or look at what would be sent with dry_run=True."
        ) from error
    return str(sent.commit_url)


def card(sae: SparseAutoencoder, repo: str, report: object) -> str:
    """Return the model card in Markdown, with the header that the hub reads."""
    kind = type(sae).__name__
    place = " of ".join(str(part) for part in (sae.hook_point, sae.model_name) if part)
    parts = [
        _header(sae, kind),
        _flat(f"# {kind}{f' of {place}' if place else ''}"),
        _flat(f"`{one_line(sae)}`"),
        f'```python\nimport sae_nb as sn\n\nsae = sn.load_sae("hf:{repo}")\n```',
        _facts(sae),
        "## Measured",
        *_measured(sae, report),
    ]
    return "\n\n".join(parts) + "\n"


def _header(sae: SparseAutoencoder, kind: str) -> str:
    """YAML, of which JSON is a part."""
    entries = {"library_name": "sae_nb", "tags": ["sparse-autoencoder", kind.lower()]}
    # Only names with an owner are surely of the hub.
    if sae.model_name and re.fullmatch(r"[\w.-]+/[\w.-]+", sae.model_name):
        entries["base_model"] = sae.model_name
    lines = [f"{name}: {json.dumps(value)}" for name, value in entries.items()]
    return "\n".join(["---", *lines, "---"])


def _facts(sae: SparseAutoencoder) -> str:
    rows = {
        "reads": f"{sae.hook_point or 'not known'} (width {sae.d_in})",
        "writes": "" if sae.writes is None else str(sae.target_hook_point or "not known"),
        "model": sae.model_name or "not known",
        "atoms": str(sae.n_atoms),
        "weights": str(sae.dtype).removeprefix("torch."),
    }
    return _table(["", ""], [(name, text) for name, text in rows.items() if text])


def _measured(sae: SparseAutoencoder, report: Any) -> list[str]:
    if report is None:
        own = ", ".join(measured_words(sae))
        return [f"By its training: {own}." if own else "Nothing was measured."]
    facts, table = report.provenance, report.table
    on = " of ".join(str(facts[name]) for name in ("hook_point", "model") if facts.get(name))
    rows = [(name, *map(_number, row)) for name, *row in table.itertuples()]
    parts = [
        _flat(f"On {facts.get('n_rows', 'some')} rows{f' of {on}' if on else ''}.")
        + " Floor: what the trivial answer reaches; control: random atoms with the same L0; low and high: "
        "bootstrap 95 % interval.",
        _table(["metric", *table.columns], rows),
    ]
    return parts + [f"- {sentence}" for sentence in report.cautions]


def _number(value: object) -> str:
    if isinstance(value, str | Integral):
        return str(value)
    return "" if value is None or value != value else f"{value:.4g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; what would end a cell or the table is escaped."""

    def line(cells: Sequence[str]) -> str:
        plain = [_flat(str(cell)).replace("|", "\\|") for cell in cells]
        return f"| {' | '.join(plain)} |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def _flat(text: str) -> str:
    """One line, whatever names hold."""
    return " ".join(text.split())
