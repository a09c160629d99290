"""Runs where overcomplete is installed: loads each state dict, computes, saves it again; makes some itself."""

import json
import sys
from pathlib import Path

import torch
from overcomplete import sae as classes
from safetensors.torch import load_file, save_file

D_IN, N_ATOMS, N_POINTS = 8, 16, 24


def made(about: dict) -> torch.nn.Module:
    """An SAE of the class and size that `about` names."""
    numbers = {name: about[name] for name in ("top_k", "k", "delta") if name in about}
    if "normalization" in about:
        numbers["dictionary_params"] = {"normalization": about["normalization"]}
    if about["class"].startswith("RA"):
        numbers["points"] = torch.randn(N_POINTS, about["input_shape"])
    sae = getattr(classes, about["class"])(
        about["input_shape"], nb_concepts=about["nb_concepts"], **numbers
    )
    sae.running_threshold = about.get("running_threshold")
    return sae


def computed(sae: torch.nn.Module, x: torch.Tensor, center: torch.Tensor, to: Path) -> None:
    """Its codes and reconstructions, beside its own state dict."""
    with torch.no_grad():
        _, codes = sae.encode(x - center)
        x_hat = sae.decode(codes) + center
    save_file({"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, to / "found.safetensors")
    (to / "again").mkdir()
    torch.save(sae.state_dict(), to / "again" / "state_dict.pt")


files, own = Path(sys.argv[1]), sys.argv[2:]
for folder in sorted(files.iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    about = json.loads((folder / "ours" / "about.json").read_text())
    sae = made(about)
    sae.load_state_dict(torch.load(folder / "ours" / "state_dict.pt", weights_only=True))
    sae.eval()
    computed(sae, x, torch.tensor(about.get("center", 0.0)), folder)
    (folder / "again" / "about.json").write_text(json.dumps(about))

torch.manual_seed(0)
for name in own:
    about = {"class": name, "input_shape": D_IN, "nb_concepts": N_ATOMS}
    about |= {"k": 3} if name in ("MpSAE", "OMPSAE") else {}
    about |= {"top_k": 3} if name == "RATopKSAE" else {}
    about |= {"delta": 0.5} if name.startswith("RA") else {}
    sae = made(about)
    with torch.no_grad():
        for parameter in sae.parameters():  # away from where they start, so that none can be missed
            parameter.add_(0.3 * torch.randn_like(parameter))
    sae.get_dictionary()  # once in training mode: mixtures to the simplex, relaxations into their ball
    sae.eval()
    folder = files / name
    folder.mkdir()
    x = torch.randn(32, D_IN)
    save_file({"x": x}, folder / "x.safetensors")
    computed(sae, x, torch.tensor(0.0), folder)
    (folder / "again" / "about.json").write_text(json.dumps(about))
