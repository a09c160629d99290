"""Encoder–decoders: both streams are captured, steered and generated from, and equal plain transformers."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.models import LiveModel
from sae_nb.models._attention import AttentionPlace, attentions, watching

NAMES = ("T5", "Bart", "Marian", "Whisper", "Moonshine")
START = 3


@cache
def made(name: str) -> LiveModel:
    """A model of two times three blocks of width 32, of 60 tokens."""
    import transformers

    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": START}
    heads = {f"{half}_attention_heads": 4 for half in ("encoder", "decoder")}
    usual = {"d_model": 32, **heads, "encoder_layers": 4, "decoder_layers": 3}
    usual |= {f"{half}_ffn_dim": 64 for half in ("encoder", "decoder")}
    more = {
        "T5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 4, "num_decoder_layers": 3, "num_heads": 4},
        "Bart": usual | {"max_position_embeddings": 40},
        "Marian": usual | {"max_position_embeddings": 40},
        "Whisper": usual | {"max_source_positions": 50, "max_target_positions": 30, "num_mel_bins": 16},
        "Moonshine": {
            "hidden_size": 32, "intermediate_size": 64, "encoder_num_hidden_layers": 4,
            "decoder_num_hidden_layers": 3, "encoder_num_attention_heads": 4, "decoder_num_attention_heads": 4,
        },
    }[name]  # fmt: skip
    head = "MTModel" if name == "Marian" else "ForConditionalGeneration"
    config = getattr(transformers, f"{name}Config")(vocab_size=60, **ids, **more)
    module = getattr(transformers, f"{name}{head}")(config).eval()
    module.generation_config.forced_eos_token_id = None  # plain loops know of no last place
    return sn.wrap(module)


def sources(name: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    if name in ("Whisper", "Moonshine"):
        lengths = (4_000, 8_000, 3_000, 8_000, 16_000, 2_500, 5_000)
        return [torch.randn(n, generator=generator) for n in lengths]
    return [torch.randint(4, 60, (n,), generator=generator) for n in (5, 9, 3, 9, 7, 4, 6)]


def targets() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(4, 60, (n,), generator=generator) for n in (3, 2, 6, 4, 1, 5, 2)]


def read(name: str, source: Tensor) -> dict[str, Any]:
    """The arguments that plain transformers take."""
    if name == "Whisper":
        extractor = made(name).preprocess.extractor
        return dict(extractor(source.numpy(), sampling_rate=16_000, return_tensors="pt"))
    return {"input_values" if name == "Moonshine" else "input_ids": source[None]}


def added(value: float) -> Any:
    return lambda _m, _a, out: (out[0] + value, *out[1:]) if isinstance(out, tuple) else out + value


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_both_streams_are_those_of_plain_transformers(name: str) -> None:
    """In batches of 1 and 7, of sources and targets of different length."""
    model = made(name)
    points = [
        "encoder.resid_post.0",
        "encoder.resid_post.2",
        "decoder.resid_post.1",
        "cross_attn_out.1",
    ]
    pairs = list(zip(sources(name), targets(), strict=True))
    both = [sn.capture(model, pairs, points, batch_size=n, progress=False) for n in (1, 7)]
    for i, (source, target) in enumerate(pairs):
        ids, seen = torch.cat([torch.tensor([START]), target])[None], []
        hook = model.get_module(model.hook_point(points[3]).path).register_forward_hook(
            lambda _m, _a, out, seen=seen: seen.append(out[0] if isinstance(out, tuple) else out)
        )
        with torch.no_grad():
            out = model.module(
                **read(name, source), decoder_input_ids=ids, output_hidden_states=True
            )
        hook.remove()
        states = (out.encoder_hidden_states[1], out.encoder_hidden_states[3])
        states += (out.decoder_hidden_states[2], seen[0])
        for acts in both:
            for point, state in zip(points, states, strict=True):
                rows = acts[point].x[acts[point].sample == i]
                if point in points[2:] or name != "Whisper":
                    assert len(rows) == state.shape[1]
                torch.testing.assert_close(rows, state[0, : len(rows)], atol=1e-5, rtol=0)


def test_each_stream_has_samples_of_its_own() -> None:
    """Frames of a sound in the encoder, tokens in the decoder."""
    model = made("Whisper")
    pairs = list(zip(sources("Whisper"), targets(), strict=True))
    acts = sn.capture(
        model, pairs, ["encoder.resid_post.1", "decoder.resid_post.1"], progress=False
    )
    heard, written = acts["encoder.resid_post.1"], acts["decoder.resid_post.1"]
    assert (heard.context.kind, written.context.kind) == ("audio", "language")
    assert heard.tokens[2] == "frame 0.04 s"
    assert written.tokens[0] == f"<id {START}>"
    assert int((heard.sample == 0).sum()) == 13  # of 0.25 s, 20 ms each: none of the filling
    assert heard.context.pictures is not None
    assert written.context.pictures is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_generated_under_steering_of_either_stream(name: str) -> None:
    """The same tokens as plain transformers with a hook, with and without a cache, by both ways in."""
    model, given = made(name), sources(name)
    given = [torch.cat([one] * 8)[:16_000] for one in given] if name == "Whisper" else given

    def plainly(i: int, point: str, by: float) -> Tensor:
        ids = torch.tensor([[START]])
        part = model.get_module(model.hook_point(point).path)
        hook = part.register_forward_hook(added(by))
        while ids.shape[1] < 6 and int(ids[0, -1]) != 2:
            with torch.no_grad():
                logits = model.module(
                    **read(name, given[i]), decoder_input_ids=ids, use_cache=False
                ).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
        hook.remove()
        return ids[0, 1:]

    clean = model.generate(given, 5, return_ids=True)
    for point in ("encoder.resid_post.1", "decoder.resid_post.1"):
        wanted = [plainly(i, point, 2.0) for i in range(len(given))]
        options = [("hooks", True), ("nnsight", True), ("hooks", False)]
        for backend, cached in options if name in ("Bart", "Moonshine") else options[:1]:
            with sn.steer(model, point, direction=torch.ones(32), by=2.0, backend=backend):
                found = model.generate(given, 5, return_ids=True, use_cache=cached)
            assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True)), (
                point,
                backend,
            )
    assert all(
        torch.equal(plainly(i, "decoder.resid_post.1", 0.0), one) for i, one in enumerate(clean)
    )


def test_an_edit_at_a_place_is_at_that_place_of_its_stream() -> None:
    """Position 1 of the encoder is the second token of the source, whatever the decoder reads."""
    model, source = made("Bart"), sources("Bart")[1]
    path = model.hook_point("encoder.resid_post.1").path

    def second(_m: Any, _a: Any, out: Any) -> Any:
        x = out[0] if isinstance(out, tuple) else out
        moved = x + 4 * (torch.arange(x.shape[1]) == 1)[:, None]
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    hook = model.get_module(path).register_forward_hook(second)
    ids = torch.tensor([[START, 9, 8]])
    with torch.no_grad():
        wanted = model.module(input_ids=source[None], decoder_input_ids=ids).logits
    hook.remove()
    with sn.steer(model, "encoder.resid_post.1", direction=torch.ones(32), by=4.0, positions=[1]):
        found = model([(source, ids[0, 1:])])
        called = model.module(input_ids=source[None], decoder_input_ids=ids).logits
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(called, wanted, atol=1e-5, rtol=0)


def test_a_name_without_a_stream_is_the_decoders() -> None:
    """What only the encoder has is refused, and named."""
    model = made("Bart")
    assert model.hook_point("resid_post.2") == "decoder.resid_post.2"
    assert model.n_layers == 3
    with pytest.raises(ValueError, match=r"No hook point .resid_post.3.*encoder.resid_post.3"):
        model.hook_point("resid_post.3")
    with pytest.raises(ValueError, match="encoder.cross_attn_out"):
        model.hook_point("encoder.cross_attn_out.1")


def test_ids_under_the_name_that_transformers_reads_are_read_as_they_are() -> None:
    """No start token is put before `decoder_input_ids`, and masked ones are no rows."""
    model, ids = made("T5"), torch.tensor([[9, 8, 7, 2], [6, 5, 0, 0]])
    inputs = {
        "input_ids": torch.stack(sources("T5")[:1] * 2),
        "decoder_input_ids": ids,
        "decoder_attention_mask": (ids != 0).long(),
    }
    acts = sn.capture(model, inputs, "decoder.resid_post.0", keep_special=True, progress=False)
    with torch.no_grad():
        states = model.module(**inputs, output_hidden_states=True).decoder_hidden_states[1]
    torch.testing.assert_close(acts.x, states[ids != 0])


def test_what_does_not_pair_is_refused(tmp_path: Any) -> None:
    model, given = made("T5"), sources("T5")
    with pytest.raises(ValueError, match="one target, got 2 for 3"):
        sn.capture(
            model, {"source": given[:3], "target": [[5, 6], [7]]}, "resid_post.0", progress=False
        )
    with pytest.raises(ValueError, match="`pack` must be False"):
        sn.capture(model, given, "resid_post.0", pack=True, progress=False)
    with pytest.raises(TypeError, match="has no tokenizer"):
        sn.capture(model, [(given[0], "a text")], "resid_post.0", progress=False)
    points = ["encoder.resid_post.0", "decoder.resid_post.0"]
    with pytest.raises(ValueError, match="of the encoder or of the decoder"):
        sn.capture(model, given, points, store=tmp_path / "acts", progress=False)


def test_a_folder_loads_with_both_halves(tmp_path: Any) -> None:
    """And its rows go to a store, of one stream each."""
    made("T5").module.save_pretrained(tmp_path / "model")
    model = sn.load_model(tmp_path / "model", device="cpu")
    pairs = {
        "input_ids": torch.stack([sources("T5")[1], sources("T5")[3]]),
        "labels": [[5, 6, 2], [7, 2, -100]],
    }
    acts = sn.capture(model, pairs, "encoder.resid_post.1", store=tmp_path / "acts", progress=False)
    plain = sn.capture(
        made("T5"), [sources("T5")[1], sources("T5")[3]], "encoder.resid_post.1", progress=False
    )
    assert torch.equal(acts.x, plain.x)
    written = sn.capture(model, pairs, "decoder.resid_post.1", progress=False)
    assert written.tokens.ids.tolist() == [START, 5, 6, START, 7]


@pytest.mark.parametrize("name", ["T5", "Bart", "Whisper"])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_gradients_of_both_streams_are_those_of_autograd(name: str, batch_size: int) -> None:
    """Of a loss on the decoder's answers, also at what only reaches them through cross-attention."""
    model = made(name)
    points = ["encoder.resid_post.0", "encoder.resid_post.2", "decoder.resid_post.1"]
    sounds = sources(name) if name == "Whisper" else [s for s in sources(name) if len(s) == 9]
    pairs = list(zip(sounds[:2], (torch.tensor([5, 6, 7]), torch.tensor([8, 9, 4]))))
    read_off = torch.randn(60, generator=torch.Generator().manual_seed(3))
    acts = sn.capture(
        model,
        pairs,
        points,
        gradient_of=lambda logits: (logits * read_off).sum(),
        batch_size=batch_size,
        progress=False,
    )
    for i, (source, target) in enumerate(pairs):
        kept: list[Tensor] = []
        hooks = [
            model.get_module(model.hook_point(point).path).register_forward_hook(keeping(kept))
            for point in points
        ]
        ids = torch.cat([torch.tensor([START]), target])[None]
        (
            model.module(**read(name, source), decoder_input_ids=ids).logits * read_off
        ).sum().backward()
        for hook in hooks:
            hook.remove()
        for point, state in zip(points, kept, strict=True):
            found = acts[point].gradient[acts[point].sample == i]
            assert float(found.abs().max()) > 0
            wanted = state.grad[0, : len(found)]
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    model.module.zero_grad(set_to_none=True)


def keeping(kept: list[Tensor]) -> Any:
    """A hook that keeps what a module gives, with its gradient."""

    def keep(_module: Any, _args: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        value.retain_grad()
        kept.append(value)

    return keep


@pytest.mark.parametrize("name", ["T5", "Whisper", "Bart"])
def test_all_three_kinds_of_attention_are_those_of_transformers(name: str) -> None:
    model = made(name)
    (batch,) = model.batches(sources(name)[:1])
    found: dict[AttentionPlace, torch.Tensor] = {}
    with watching(model, lambda place, seen: found.__setitem__(place, seen.pattern)):
        model.forward(batch)
    model.module.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            plain = model.module(*batch.args, **batch.kwargs, output_attentions=True)
    finally:
        model.module.set_attn_implementation("sdpa")
    kinds = {
        "encoder": "encoder_attentions",
        "decoder": "decoder_attentions",
        "cross": "cross_attentions",
    }
    assert list(found) == attentions(model)
    for place, pattern in found.items():
        torch.testing.assert_close(
            pattern, getattr(plain, kinds[place.stream])[place.layer], atol=1e-5, rtol=1e-5
        )
