"""What a newcomer types in the first hour, with the habits of the libraries they know, and what they get.

A call either works, and then `_`, what it gave, satisfies an expression; or it is answered by an error whose
sentence says what to write here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One line as it is typed, and what a person must get."""

    habit: str
    """Which library taught it."""

    code: str

    holds: str = "True"
    """True of `_`, the value of the last line of `code`."""

    error: type[Exception] | None = None
    says: str = ""
    """Pattern in the error's sentence."""


def works(habit: str, code: str, holds: str) -> Call:
    """Return a call that gives what `holds` says of it."""
    return Call(habit, code, holds)


def answers(habit: str, code: str, error: type[Exception], says: str) -> Call:
    """Return a call that ends in a sentence with the way on."""
    return Call(habit, code, error=error, says=says)


ACTIVATIONS = [
    works("Python", "acts[0]", "len(_) == 1 and _.sample.tolist() == [0]"),
    works("Python", "acts[-1]", "_.sample.tolist() == acts.sample[-1:].tolist()"),
    works(
        "Python",
        "acts[:10]",
        "len(_) == 10 and _.tokens[3] == acts.tokens[3] and _.context is acts.context",
    ),
    works("numpy", "acts[::2]", "torch.equal(_.x, acts.x[::2])"),
    works("numpy", "acts[acts.sample == 2]", "set(_.sample.tolist()) == {2}"),
    works("numpy", "acts[np.asarray(acts.sample) == 2]", "set(_.sample.tolist()) == {2}"),
    works("numpy", "acts[[5, 1]]", "torch.equal(_.x, acts.x[[5, 1]])"),
    works("torch", "acts[torch.tensor([5, 1])]", "torch.equal(_.x, acts.x[[5, 1]])"),
    answers("Python", "acts[10**6]", IndexError, r"between .*0 and \d+.*got 1000000"),
    answers("Python", "acts['cls']", TypeError, "a number, a slice, a mask"),
    works("torch", "acts.shape", "tuple(_) == (len(acts), 64)"),
    works("torch", "acts.dtype, acts.device", "_ == (torch.float32, torch.device('cpu'))"),
    works("torch", "acts.to(torch.float64)", "_.x.dtype == torch.float64"),
    works("torch", "torch.as_tensor(np.asarray(acts))", "torch.equal(_, acts.x)"),
    works("torch", "torch.from_dlpack(acts)", "torch.equal(_, acts.x)"),
    works("numpy", "np.asarray(acts)", "_.dtype == np.float32 and _.shape == (len(acts), 64)"),
    works("numpy", "np.linalg.norm(acts, axis=1)", "_.shape == (len(acts),)"),
    answers("torch", "acts.mean(0)", AttributeError, r"acts\.x\.mean|\.x\b"),
    answers("numpy", "acts.std()", AttributeError, r"\.x\b"),
    works(
        "pandas",
        "acts.to_pandas()",
        "list(_.columns)[:3] == ['sample', 'position', 'token'] and len(_) == len(acts)",
    ),
    works("pandas", "acts.to_pandas(values=True)", "_.shape == (len(acts), 3 + 64)"),
    works(
        "pandas",
        "text_acts.to_pandas().token.head(3).tolist()",
        "all(isinstance(word, str) for word in _)",
    ),
    works("Python", "[row for row in acts[:3]]", "len(_) == 3"),
    works("scikit-learn", "PCA(2).fit_transform(acts)", "_.shape == (len(acts), 2)"),
    works(
        "scikit-learn",
        "LogisticRegression(max_iter=20).fit(acts, pictures.digit[acts.sample])",
        "_.predict(acts).shape == (len(acts),)",
    ),
    works("Python", "sn.concatenate([acts[:5], acts[5:]])", "torch.equal(_.x, acts.x)"),
]

CODES = [
    works("Python", "codes[0]", "_.n_atoms == 64 and _.nnz == int(codes.l0[0])"),
    works("Python", "codes[:10]", "torch.equal(_.to_dense(), dense[:10])"),
    works("numpy", "codes[acts.sample == 1]", "torch.equal(_.to_dense(), dense[acts.sample == 1])"),
    works("numpy", "codes[np.array([3, 1])]", "torch.equal(_.to_dense(), dense[[3, 1]])"),
    works("torch", "codes.shape", "tuple(_) == (len(acts), 64)"),
    works("torch", "codes.sum()", "bool(torch.isclose(_, dense.sum()))"),
    works("torch", "codes.mean(0)", "torch.allclose(_, dense.mean(0))"),
    works("torch", "codes.max(0)", "_.shape == (64,) and torch.equal(_, dense.amax(0))"),
    works("numpy", "codes.sum(axis=1)", "torch.allclose(_, dense.sum(1))"),
    works(
        "torch", "codes @ sae.dictionary", "torch.allclose(_, dense @ sae.dictionary, atol=1e-5)"
    ),
    works(
        "pandas",
        "codes.to_pandas()",
        "list(_.columns)[:3] == ['row', 'atom', 'value'] and len(_) == codes.nnz",
    ),
    works("pandas", "codes.top(3)", "list(_.columns)[:3] == ['row', 'atom', 'value']"),
    answers("torch", "codes.topk(3)", AttributeError, r"\.top\("),
    works("numpy", "np.asarray(codes)", "_.shape == (len(acts), 64)"),
    works("scipy", "codes.to_scipy().sum(axis=0)", "_.shape[-1] == 64"),
    works("torch", "(codes.to_dense() > 0).float().mean(0)", "torch.allclose(_, codes.frequency)"),
    answers("SAELens", "codes.feature_acts", AttributeError, r"values|to_dense"),
]

SAES = [
    works(
        "Jupyter",
        "repr(pretrained)",
        "'d_in=64' in _ and 'resid_post.6 of tiny-vit' in _ and len(_.splitlines()) == 1",
    ),
    works(
        "Jupyter",
        "repr(sn.TopK(d_in=8, n_atoms=16, k=2))",
        "_.startswith('TopK(d_in=8, n_atoms=16, k=2')",
    ),
    works("Jupyter", "pretrained._repr_html_()", "'resid_post.6' in _ and '<' in _"),
    works("sae_nb", "sae.encode(acts)", "torch.equal(_.values, codes.values)"),
    works("sae_nb", "sae(acts)", "torch.equal(_, sae(acts.x))"),
    works("numpy", "sae.encode(acts.x.numpy())", "torch.equal(_.values, codes.values)"),
    works(
        "numpy",
        "sae.encode(np.random.default_rng(0).normal(size=(5, 64)))",
        "_.leading_shape == (5,)",
    ),
    works(
        "pandas", "sae.encode(pd.DataFrame(acts.x.numpy()))", "torch.equal(_.atoms, codes.atoms)"
    ),
    works("torch", "sae.encode(acts.x[0])", "_.nnz <= 4"),
    works("torch", "sae.to('cpu').eval()", "_ is sae"),
    works("torch", "sum(p.numel() for p in sae.parameters())", "_ > 64 * 64"),
    works("torch", "sae.load_state_dict(sae.state_dict())", "_.missing_keys == []"),
    answers("SAELens", "sae.W_dec", AttributeError, r"`?dictionary`?"),
    answers("SAELens", "sae.b_dec", AttributeError, r"`?bias`?"),
    answers("SAELens", "sae.cfg", AttributeError, r"settings"),
    answers("SAELens", "sae.cfg.d_sae", AttributeError, r"settings|n_atoms"),
    answers("SAELens", "sae.d_sae", AttributeError, r"`?n_atoms`?"),
    answers("SAELens", "sn.SAE.from_pretrained('gpt2-small-res-jb')", AttributeError, r"load_sae"),
    answers("SAELens", "sn.SAE", AttributeError, r"load_sae.*TopK|TopK.*load_sae"),
    answers("SAELens", "sn.TopKSAE", AttributeError, r"TopK"),
    answers("SAELens", "sn.TopK(d_in=64, d_sae=512, k=8)", TypeError, r"n_atoms"),
    answers("sparsify", "sn.TopK(d_model=64, n_atoms=512, k=8)", TypeError, r"d_in"),
    answers(
        "dictionary_learning",
        "sn.TopK(activation_dim=64, dict_size=512, k=8)",
        TypeError,
        r"d_in|n_atoms",
    ),
    answers("overcomplete", "sn.TopK(64, nb_concepts=512, top_k=8)", TypeError, r"n_atoms|`k`"),
    answers("scikit-learn", "sae.fit(acts)", AttributeError, r"sn\.train"),
    answers("scikit-learn", "sae.transform(acts)", AttributeError, r"encode"),
    answers("scikit-learn", "sae.components_", AttributeError, r"dictionary"),
    answers("Python", "sn.TopK(64, 512, 1024)", ValueError, r"between 1 and n_atoms=512, got 1024"),
    answers("sae_nb", "sae.encode(text_acts)", ValueError, r"d_in=64"),
    answers("torch", "sae.encode('a text')", TypeError, r"capture|tensor"),
    works(
        "torch",
        "sae.save(folder / 'my sae'); sn.load_sae(folder / 'my sae')",
        "torch.equal(_.dictionary, sae.dictionary)",
    ),
    works(
        "pathlib",
        "sae.save(str(folder / 'text path')); sn.load_sae(str(folder / 'text path'))",
        "_.n_atoms == 64",
    ),
    works("Python", "sn.pretrained_names()", "'tiny-vit/resid_post.6' in _"),
    answers("Hugging Face", "sn.load_sae('tiny-vit/resid_post.7')", Exception, r"resid_post\.6"),
]

TRAINING = [
    works(
        "sae_nb", "sn.train(sn.TopK(64, 32, 4), acts, steps=5, learning_rate=1e-3)", "_.steps == 5"
    ),
    works("numpy", "sn.train(sn.TopK(64, 32, 4), acts.x.numpy(), steps=5)", "_.steps == 5"),
    works("torch", "sn.train(sn.TopK(64, 32, 4), acts.x, steps=5)", "_.steps == 5"),
    works("sae_nb", "sn.start_training(sn.TopK(64, 32, 4), acts, steps=5).wait()", "_.steps == 5"),
    answers(
        "torch", "sn.train(sn.TopK(64, 32, 4), acts, steps=5, lr=1e-3)", TypeError, r"learning_rate"
    ),
    answers(
        "Keras", "sn.train(sn.TopK(64, 32, 4), acts, epochs=3)", TypeError, r"steps.*batch|steps"
    ),
    answers("Hugging Face", "sn.TrainConfig(lr=1e-3)", TypeError, r"learning_rate"),
    answers("scikit-learn", "sn.TrainConfig(max_iter=100)", TypeError, r"steps"),
    answers(
        "sae_nb", "sn.train(sae, acts, sn.TrainConfig(steps=5), steps=6)", TypeError, r"got both"
    ),
    answers("sae_nb", "sn.train(acts, sae)", TypeError, r"sae"),
    answers("Hugging Face", "sn.train(sn.TopK(64, 32, 4), ['a text'])", TypeError, r"capture"),
    works(
        "Keras",
        "result.plot()",
        "type(_).__name__ in ('Figure', 'FigureWidget') and len(_.data) >= 1",
    ),
    works("pandas", "result.to_pandas()", "len(_) == len(result.history) and 'loss' in _.columns"),
    works("Jupyter", "repr(result)", "len(_.splitlines()) <= 20 and 'steps=30' in _"),
]

REPORTS = [
    works("Python", "report.r2", "_.value == report['r2'].value"),
    works("Python", "float(report.l0)", "_ == report['l0'].value"),
    works("pandas", "report.to_pandas()", "len(_) == len(report) and 'value' in _.columns"),
    works("pandas", "report.table.loc['r2', 'value']", "_ == report.r2.value"),
    works("Jupyter", "print(report)", "len(printed().splitlines()) <= 20 and 'r2' in printed()"),
    works("Jupyter", "report", "len(repr(_).splitlines()) <= 20"),
    works("Python", "report.all", "len(_) == len(report)"),
    answers("Python", "report['r_squared']", KeyError, r"r2"),
    works("scikit-learn", "report.mse", "_.value > 0"),
    answers("scikit-learn", "report.explained_variance_ratio_", AttributeError, r"r2"),
    works("numpy", "sn.evaluate(sae, acts.x.numpy())", "0 <= _.r2.value <= 1"),
]

MODELS = [
    works("Hugging Face", "gpt.config", "_ is not None and 'LiveModel' not in repr(_)"),
    works("TransformerLens", "gpt.n_layers, vit.n_layers", "_ == (4, 12)"),
    works("sae_nb", "vit.width('resid_post.3')", "_ == 64"),
    works(
        "Hugging Face",
        "gpt.tokens('One day Emma went home.')",
        "len(_) > 3 and 'token' in _.columns",
    ),
    works(
        "TransformerLens",
        "list(gpt.hook_points())[:3]",
        "all(isinstance(point, str) for point in _)",
    ),
    works("Jupyter", "gpt.hook_points()._repr_html_()", "'resid_post' in _ and '<' in _"),
    works("torch", "gpt('One day Emma')", "_.shape[-1] == gpt.vocabulary_size"),
    works("torch", "gpt(['One day Emma', 'The dog'])", "len(_) == 2"),
    works(
        "Hugging Face",
        "gpt.generate('One day', max_new_tokens=3)",
        "isinstance(_, str) and _.startswith('One day')",
    ),
    works(
        "TransformerLens",
        "sn.capture(gpt, 'One day Emma', 'blocks.2.hook_resid_post')",
        "_.d_in == text_acts.d_in",
    ),
    works("Hugging Face", "sn.capture(gpt, 'One day Emma', 'resid_post.2')", "len(_) > 0"),
    works(
        "sae_nb",
        "sn.capture(gpt, texts, ['resid_post.1', 'mlp_out.2'])",
        "set(_) == {'resid_post.1', 'mlp_out.2'}",
    ),
    works("torch", "sn.capture(vit, pictures.images, 'resid_post.6')", "torch.equal(_.x, acts.x)"),
    works(
        "torch",
        "sn.wrap(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))(torch.ones(2, 4))",
        "_.shape == (2, 3)",
    ),
    works("torch", "vit(pictures[:2]).argmax(-1)", "_.shape == (2,)"),
    works("torch", "gpt.device, gpt.dtype", "str(_[0]) == 'cpu'"),
    answers("TransformerLens", "gpt.run_with_cache('One day')", AttributeError, r"capture"),
    answers("TransformerLens", "gpt.to_tokens('One day')", AttributeError, r"tokens"),
    answers("TransformerLens", "gpt.cfg.n_layers", AttributeError, r"config|n_layers"),
    answers(
        "TransformerLens",
        "sn.HookedTransformer.from_pretrained('gpt2')",
        AttributeError,
        r"load_model",
    ),
    answers(
        "TransformerLens",
        "sn.capture(gpt, texts, 3)",
        TypeError,
        r"^Hook points are names: 'resid_post\.3'",
    ),
    answers("Hugging Face", "sn.capture(gpt, texts, layer=3)", TypeError, r"hook_point"),
    answers(
        "Hugging Face", "sn.capture(gpt, texts, 'layer.3')", Exception, r"resid_post\.3|hook_points"
    ),
    answers("nnsight", "sn.capture(gpt, texts, gpt.nnsight)", TypeError, "^Hook points are names"),
    answers("sae_nb", "sn.capture(texts, gpt, 'resid_post.2')", TypeError, r"model"),
    answers("Hugging Face", "sn.load_model('gpt2')", Exception, r"offline|HF_HUB_OFFLINE|cache"),
    answers("Hugging Face", "sn.load_model('tiny-gpt2')", Exception, r"tiny-gpt"),
    answers("torch", "sn.load_model(torch.nn.Linear(2, 2))", TypeError, r"sn\.wrap"),
    works(
        "nnsight",
        "with gpt.nnsight.trace('One day'):\n"
        "    hidden = gpt.nnsight.model.layers[2].output.save()\nhidden",
        "(_[0] if isinstance(_, tuple) else _).shape[-1] == text_acts.d_in",
    ),
]

STEERING = [
    works(
        "sae_nb",
        "with sn.steer(vit, 'resid_post.6', sae, atom=3, by=4.0):\n    out = vit(pictures)\nout",
        "not torch.equal(_, vit(pictures))",
    ),
    works(
        "sae_nb",
        "with sn.steer(vit, 'resid_post.6', sae, atom=3, by=4.0, backend='hooks'):\n"
        "    a = vit(pictures)\nwith sn.steer(vit, 'resid_post.6', sae, atom=3, by=4.0):\n"
        "    b = vit(pictures)\n(a - b).abs().max()",
        "float(_) < 1e-5",
    ),
    works(
        "torch",
        "batch = next(iter(vit.batches(pictures)))\nplain = vit.module(*batch.args, **batch.kwargs)\n"
        "with sn.steer(vit, 'resid_post.6', sae, atom=3, by=40.0):\n"
        "    steered = vit.module(*batch.args, **batch.kwargs)\nplain, steered",
        "not torch.equal(_[0], _[1])",
    ),
    works(
        "Hugging Face",
        "ids = gpt.tokenizer('One day', return_tensors='pt').input_ids\n"
        "push = 100 * torch.ones(text_acts.d_in)\nplain = gpt.module.generate(ids, max_new_tokens=3)\n"
        "with sn.steer(gpt, 'resid_post.2', direction=push):\n"
        "    steered = gpt.module.generate(ids, max_new_tokens=3)\nplain, steered",
        "not torch.equal(_[0], _[1])",
    ),
    works(
        "nnsight",
        "with sn.steer(gpt, 'resid_post.2', direction=100 * torch.ones(text_acts.d_in)):\n"
        "    with gpt.nnsight.trace('One day'):\n        steered = gpt.nnsight.output.save()\n"
        "with gpt.nnsight.trace('One day'):\n    plain = gpt.nnsight.output.save()\n"
        "(steered.logits - plain.logits).abs().max()",
        "float(_) > 0.01",
    ),
    works(
        "Hugging Face",
        "ids = gpt.tokenizer('One day', return_tensors='pt').input_ids\n"
        "with sn.steer(gpt, 'resid_post.2', direction=100 * torch.ones(text_acts.d_in)):\n"
        "    a = gpt.module(ids).logits\n(a - gpt.module(ids).logits).abs().max()",
        "float(_) > 0.01",
    ),
    answers(
        "repeng", "sn.steer(vit, 'resid_post.6', sae, atom=3, strength=4)", TypeError, r"`?by`?"
    ),
    answers("SAELens", "sn.steer(vit, 'resid_post.6', sae, feature=3, by=4)", TypeError, r"atom"),
    answers("sae_nb", "sn.steer(vit, 6, sae, atom=3, by=4)", TypeError, r"resid_post\.6"),
    answers(
        "sae_nb",
        "sn.steer(vit, 'resid_post.6', sae, atom=64, by=4)",
        IndexError,
        r"between 0 and 63",
    ),
    answers("sae_nb", "sn.steer(vit, 'resid_post.6', sae, 3)", Exception, r"`by`"),
    works(
        "sae_nb",
        "with sn.ablate(vit, 'resid_post.6', sae, atom=int(codes.atoms[0])):\n"
        "    out = vit(pictures)\nout",
        "_.shape == vit(pictures).shape",
    ),
    works(
        "sae_nb",
        "with sn.steer(vit, 'resid_post.6', sae, atom=np.int64(3), by=np.float32(4)):\n"
        "    out = vit(pictures)\nout",
        "_.shape[0] == len(pictures)",
    ),
]

DATA = [
    works("Python", "[p for p in sn.data.prose()][:2]", "all(isinstance(p, str) for p in _)"),
    works("Python", "sn.data.prose()[:3]", "len(_) == 3 and isinstance(list(_)[0], str)"),
    works("Python", "sn.data.prose()[0]", "isinstance(_, str)"),
    works("Python", "[s for s in sn.data.stories(3)]", "len(_) == 3"),
    works("Python", "sn.data.stories(5, seed=0)[1:3]", "len(_) == 2"),
    works("Python", "sn.data.scenes(5, seed=0)[:2].digit", "_.shape == (2,)"),
    works("Python", "len(list(sn.data.scenes(3)))", "_ == 3"),
    works("torch", "sn.data.digits()[:4].images.shape", "_[0] == 4"),
    works("Python", "random.Random(0).sample(sn.data.prose(), 2)", "len(_) == 2"),
    works(
        "Hugging Face",
        "sn.capture(gpt, sn.data.prose()[:2], 'resid_post.1')",
        "_.context.n_samples == 2",
    ),
    works(
        "Hugging Face",
        "sn.capture(gpt, sn.data.stories(2), 'resid_post.1')",
        "_.context.n_samples == 2",
    ),
    answers("numpy", "sn.data.scenes('ten')", TypeError, r"`n`"),
    works("numpy", "sn.data.scenes(np.int64(3), seed=np.int64(1))", "len(_) == 3"),
]

PANELS = [
    works(
        "sae_nb",
        "panel = sw.AtomBrowser(pretrained)\nrows = panel.catalogue.n_rows\npanel.close()\nrows",
        "_ == len(sn.load_examples('tiny-vit/resid_post.6').acts)",
    ),
    answers("sae_nb", "sw.AtomBrowser(sae)", Exception, r"capture|load_examples"),
    works(
        "Jupyter",
        "panel = sw.AtomBrowser(sae, acts)\npanel.atom = 5\natom = panel.atom\npanel.close()\natom",
        "_ == 5",
    ),
    answers("SAELens", "sw.AtomBrowser(sae, acts, feature=5)", TypeError, r"atom"),
    answers("Python", "sw.AtomBowser", AttributeError, r"AtomBrowser"),
]

NAMES = [
    answers("Python", "sn.Topk", AttributeError, r"TopK"),
    answers("dictionary_learning", "sn.AutoEncoder", AttributeError, r"ReLU|SparseAutoencoder"),
    answers("sae_nb", "sn.zzz", AttributeError, r"^(?!.*AbsTopK, Activations).*$"),
    answers("sae_nb", "sn.load_dataset('x')", AttributeError, r"sn\.data|data"),
    answers("SAELens", "sn.ActivationsStore", AttributeError, r"capture|stream"),
    works(
        "numpy",
        "sn.matching_pursuit(acts.x[:5].numpy(), sae.dictionary, 3)",
        "_.leading_shape == (5,)",
    ),
    works("sae_nb", "sn.top_atoms(vit, sae, pictures.images[0])", "_.top(1)[0] < 64"),
    answers("sae_nb", "sn.top_atoms(sae, acts[:5])", TypeError, "needs `input`"),
]

CALLS = ACTIVATIONS + CODES + SAES + TRAINING + REPORTS + MODELS + STEERING + DATA + PANELS + NAMES
