"""Calls that once went wrong in silence, ended in a raw error, or were answered by a misleading one."""

from __future__ import annotations

from .calls import answers, works

NUMBERS = [
    works("Python", "report.r2 > 0.1", "_ is True"),
    works("Python", "round(report.r2, 2)", "_ == round(report.r2.value, 2)"),
    works("Python", "report.r2 + 0", "_ == report.r2.value and type(_) is float"),
    works("Python", "sorted([report.l0, report.r2])[0]", "_ is report.r2 and _.floor is not None"),
    works("Python", "f'{report.r2:.3f}'", "float(_) == round(report.r2.value, 3)"),
    works("Python", "max(report.r2, -5)", "_ is report.r2"),
    works("numpy", "np.mean([report.r2, report.r2])", "_ == report.r2.value"),
    works("torch", "torch.tensor([report.r2, report.l0])", "_.dtype == torch.float32"),
    works("pandas", "pd.DataFrame({'r2': [report.r2]})", "_.r2.dtype == float"),
    works(
        "Python", "import json\njson.loads(json.dumps({'r2': report.r2}))", "_['r2'] == report.r2"
    ),
    works("Python", "{report.r2: 'a'}[report.r2.value]", "_ == 'a'"),
]

ANSWERS = [
    works("Hugging Face", "gpt('Once upon')['logits']", "_.shape[2] == 1024"),
    works(
        "torch", "answer = gpt('Once upon')\nanswer[0], answer[0, -1].argmax()", "_[0].ndim == 2"
    ),
    answers("Hugging Face", "gpt('Once upon').loss", AttributeError, r"labels=input_ids\)\.loss"),
    answers("Hugging Face", "gpt('Once upon').hidden_states", AttributeError, r"sn\.capture\("),
    answers("Hugging Face", "gpt('Once upon').attentions", AttributeError, r"output_attentions"),
    answers("Hugging Face", "gpt('Once upon')['hidden_states']", KeyError, r"sn\.capture\("),
    answers("Hugging Face", "gpt('Once upon')['loss']", KeyError, r"labels=input_ids"),
]

TABLES = [
    works("pandas", "acts.to_csv().splitlines()[0][:24]", "_ == 'sample,position,token,0,'"),
    works("pandas", "codes.to_csv().split()[0]", "_ == 'row,atom,value'"),
    answers("pandas", "codes.sort_values('value')", AttributeError, r"to_pandas\(\)\.sort_values"),
    answers("pandas", "report.describe()", AttributeError, r"to_pandas\(\)\.describe"),
    answers("pandas", "acts.to_html()", AttributeError, r"to_pandas\(\)\.to_html"),
]

PLACES = [
    answers("numpy", "codes[:, 9] = 0", TypeError, r"codes\.only"),
    answers("numpy", "acts[0] = 0", TypeError, r"acts\.x\.clone"),
    answers("pandas", "acts['token']", TypeError, r"to_pandas\(\)\['token'\]"),
    answers("plotly", "sw.ConceptMap(sae, color='density')", TypeError, r"panel\.color_by"),
    works("Python", "acts.to_pandas()['token']", "list(_) == list(acts.tokens)"),
    works("torch", "codes.only(codes.atoms != 9)", "9 not in _.atoms.tolist()"),
    works("pandas", "codes.to_pandas()['atom']", "len(_) == len(codes.values)"),
    works(
        "torch",
        "x = acts.x.clone()\nx[0] = 0\nsn.Activations.from_tensor(x)",
        "_.x[0].abs().sum() == 0",
    ),
    works(
        "numpy",
        "np.asarray(acts.tokens) == acts.tokens[0]",
        "_.sum() == (acts.tokens == acts.tokens[0]).sum()",
    ),
    works("torch", "(codes.to_dense() > 0).sum(0)", "torch.equal(_, codes.count(0))"),
    works("torch", "codes.to_dense()[..., 17].shape", "_ == (len(codes),)"),
    works("torch", "codes.count(1)", "torch.equal(_, codes.l0)"),
    works(
        "pandas",
        "acts.to_pandas(values=True).drop(columns='token').groupby('sample').mean()",
        "len(_) == len(set(acts.sample.tolist()))",
    ),
    works(
        "pandas",
        "pd.DataFrame({'a': report.table['value'], 'b': report.table['value']}).loc['r2', 'a']",
        "_ == report.r2",
    ),
    works(
        "TransformerLens",
        "with sn.splice(gpt, 'resid_post.2', lambda v: v * 0):\n    answer = gpt('Once')\nanswer.shape",
        "_[2] == 1024",
    ),
    works("torch", "sn.geometry.nearest_by_cosine(sae.dictionary, 5)", "_ is not None"),
    answers("numpy", "codes[..., 17]", IndexError, r"last axis.*to_scipy\(\)\[:, atom\]"),
    answers("numpy", "acts[..., 5]", IndexError, r"last axis"),
    works("scikit-learn", "codes[[1, 2], ...].shape", "_ == (2, codes.n_atoms)"),
    answers("Hugging Face", "gpt('Once', labels=1)", TypeError, r"labels=ids\)\.loss"),
    answers("Hugging Face", "gpt.loss", AttributeError, r"labels=ids\)\.loss"),
    answers("Hugging Face", "gpt('Once', output_hidden_states=True)", TypeError, r"sn\.capture\("),
    answers(
        "SAELens",
        "sn.load_sae('tiny-gpt/resid_post.3').encode(acts)",
        ValueError,
        r"rows are of tiny-vit, the SAE is of tiny-gpt",
    ),
    answers(
        "SAELens",
        "sn.evaluate(sn.load_sae('tiny-gpt/resid_post.3'), acts)",
        ValueError,
        r"rows are of tiny-vit",
    ),
    answers(
        "TransformerLens",
        "sn.splice(gpt, 'resid_post.2', lambda v, hook: v * 0)",
        TypeError,
        r"lambda x: …",
    ),
    answers(
        "pandas",
        "sn.compare([report, report])",
        AttributeError,
        r"pd\.DataFrame\(\[report, other\]\)",
    ),
    answers("sae_nb", "sn.AtomComparison", AttributeError, r"`sw\.AtomComparison`"),
    works("torch", "codes.to_scipy()[:, 17].shape", "_ == (len(codes), 1)"),
    works("numpy", "acts.to_numpy(dtype='float64')", "_.dtype == np.float64"),
    works("numpy", "np.unique(acts.tokens)", "len(_) == len(set(acts.tokens))"),
    works("numpy", "codes.to_numpy(dtype=np.float64)", "_.dtype == np.float64"),
    works("numpy", "(acts.tokens != acts.tokens[0]).mean()", "0 < _ < 1"),
    works(
        "pandas",
        "pd.DataFrame({'a': dict(report), 'b': dict(report)})",
        "_.loc['r2', 'b'] == report.r2",
    ),
    works(
        "pandas",
        "acts.tokens == acts.tokens[0]\nacts[acts.tokens == acts.tokens[0]]",
        "set(_.tokens) == {acts.tokens[0]}",
    ),
    answers(
        "pandas",
        "acts.groupby('sample').mean()",
        AttributeError,
        r"drop\(columns='token'\)\.groupby",
    ),
    answers("SAELens", "sn.align(sae, sae)", TypeError, r"stability\(\[sae, other\]\)"),
    answers("torch", "sn.geometry.nearest_by_cosine(sae, 5)", TypeError, r"pass sae\.dictionary"),
    answers("torch", "sae.encode(codes)", TypeError, r"codes\.to_dense\(\)"),
    answers(
        "Hugging Face",
        "sn.train(sae, acts, epochs=3, lr=1e-3)",
        TypeError,
        r"steps=.*`learning_rate`",
    ),
    answers("sae_nb", "sn.ablate(gpt, 'resid_post.2')", TypeError, r"^`ablate` needs `sae`"),
    answers(
        "Hugging Face",
        "sn.capture(gpt, ['a b'], 'resid_post.2', attention_mask=1)",
        TypeError,
        r"'attention_mask': mask",
    ),
    answers(
        "numpy", "sn.capture(gpt, ['a b'], 'resid_post.2', mask=1)", TypeError, r"acts\[mask\]"
    ),
    works("numpy", "acts.to_numpy(dtype=np.float16).dtype", "_ == np.float16"),
    answers(
        "torch", "acts.to_numpy(dtype='nope')", TypeError, r"`dtype` must be a type of numbers"
    ),
    answers(
        "SAELens",
        "sn.evaluate(gpt, sae, acts)",
        TypeError,
        r"got LiveModel\. The order is evaluate\(sae, acts, model, …\)",
    ),
    answers(
        "Python",
        "sw.AtomBrowser(vit, sae, acts)",
        TypeError,
        r"The order is AtomBrowser\(sae, acts, model, …\)",
    ),
    answers(
        "Python",
        "sw.SteeringPanel(vit, sae, acts)",
        TypeError,
        r"SteeringPanel\(model, hook_point, sae",
    ),
    answers(
        "Python",
        "sn.capture(vit, 'resid_post.6', pictures)",
        TypeError,
        r"capture\(model, inputs, hook_points, …\)",
    ),
    answers("Python", "sn.label(acts, sae)", TypeError, r"label\(sae, acts, …\)"),
    answers("Python", "sn.evaluate([sae, sae], acts)", TypeError, r"\[… for sae in saes\]"),
    answers("Python", "sae.encode('Once upon')", TypeError, r"sn\.capture\(model, text"),
    answers("SAELens", "sae.cfg.hook_name", AttributeError, r"sae\.hook_point"),
    answers("torch", "(codes > 0).sum(0)", TypeError, r"codes\.count\(0\)"),
    answers("pandas", "pd.DataFrame({'mine': report})", TypeError, r"dict\(report\)"),
    works("pandas", "pd.DataFrame([report, report])", "_.r2.dtype == float"),
    answers(
        "torch",
        "sn.geometry.cosine_similarity(sae.dictionary)",
        AttributeError,
        r"nearest_by_cosine",
    ),
]

AS_NUMBERS = [
    works(
        "pickle", "import pickle\npickle.loads(pickle.dumps(report.r2)) == report.r2", "_ is True"
    ),
    works(
        "Python",
        "import dataclasses\nother = dataclasses.replace(report.r2, n=1)\n"
        "other == report.r2, other != report.r2, len({other, report.r2})",
        "_ == (True, False, 1)",
    ),
    answers("scipy", "report.r2.ci", AttributeError, r"report\['r2'\]\.interval"),
    answers("torch", "report.r2.item()", AttributeError, r"float\(report\['r2'\]\)"),
    answers("numpy", "codes != 0", TypeError, r"codes\.only"),
    answers("numpy", "codes == 0", TypeError, r"codes\.only"),
    works("Python", "codes == codes, codes == None, codes in [codes]", "_ == (True, False, True)"),
    answers("numpy", "acts == 0", TypeError, r"acts\.x"),
    works("Python", "acts == acts, acts != None, len({acts, codes})", "_ == (True, True, 2)"),
    works("Python", "import copy\ncopy.deepcopy(codes)", "torch.equal(_.to_dense(), dense)"),
    answers("torch", "codes.any(0)", AttributeError, r"codes\.count\(axis\)"),
    answers("torch", "codes.abs()", AttributeError, r"codes\.with_values"),
    answers("torch", "codes.clone()", AttributeError, r"copy\.deepcopy"),
    answers("torch", "codes.flatten()", AttributeError, r"codes\.rows"),
    answers("pandas", "codes.sample(5)", AttributeError, r"codes\.sample_rows\(n\)"),
    answers("numpy", "codes.tolist()", AttributeError, r"codes\.to_dense\(\)\.tolist"),
    answers("torch", "codes.min()", AttributeError, r"codes\.to_scipy\(\)\.min"),
]

ROWS = [
    works(
        "torch",
        "torch.cat([acts, acts])",
        "len(_) == 2 * len(acts) and _.hook_point == acts.hook_point",
    ),
    works("torch", "torch.cat([codes, codes])", "_.shape == (2 * len(codes), codes.n_atoms)"),
    answers("torch", "torch.mean(acts)", TypeError, r"acts\.x"),
    answers("torch", "torch.relu(codes)", TypeError, r"codes\.values"),
    answers("pandas", "acts.sample(5)", TypeError, r"acts\.sample_rows\(5\)"),
    works(
        "pandas", "acts.sample_rows(5)", "len(_) == 5 and len(set(map(tuple, _.x.tolist()))) == 5"
    ),
    works("pandas", "codes.sample_rows(5, seed=1)", "_.n_rows == 5"),
    works("numpy", "acts.to_numpy()", "(_ == acts.x.numpy()).all()"),
    works("numpy", "codes.to_numpy()", "(_ == dense.detach().numpy()).all()"),
    works(
        "pandas",
        "acts[:3].to_csv(folder / 'acts.csv')\npd.read_csv(folder / 'acts.csv')",
        "_.shape == (3, 3 + 64)",
    ),
    works(
        "pandas",
        "codes[:3].to_csv(folder / 'codes.csv')\npd.read_csv(folder / 'codes.csv')",
        "list(_.columns) == ['row', 'atom', 'value'] and len(_) == codes[:3].nnz",
    ),
    works("pandas", "result.history['loss']", "_.tolist() == [r.loss for r in result.history]"),
    answers("Keras", "result.history.loss", AttributeError, r"table\['loss'\]"),
    answers("pandas", "acts.groupby('sample')", AttributeError, r"to_pandas\(values=True\)"),
    answers("torch", "acts.shuffle()", AttributeError, r"randperm"),
    answers("torch", "sn.Activations(acts.x)", TypeError, r"from_tensor\(x\)"),
    answers("scikit-learn", "acts.split(test_size=0.2)", TypeError, r"`fraction`"),
    works(
        "scikit-learn",
        "twice = sn.capture(gpt, texts + texts, 'resid_post.2', progress=False)\n"
        "first, second = twice.split(0.5, group_by='text')\n"
        "[sorted({s % len(texts) for s in part.sample.tolist()}) for part in (first, second)]",
        "not set(_[0]) & set(_[1])",
    ),
    works("sae_nb", "acts.split(0.5, group_by='image')", "len(_[0]) + len(_[1]) == len(acts)"),
    answers("sae_nb", "acts.split(0.5, group_by='text')", ValueError, r"group_by"),
]

SAES = [
    works("Python", "len(sae)", "_ == 64"),
    answers("torch", "sae.to('xpu')", ValueError, r"device of this machine.*'cpu'"),
    answers("torch", "sae.to('cuda:99')", ValueError, r"device"),
    answers("torch", "sae.to('tpu')", ValueError, r"'cpu'"),
    answers("torch", "sae.train(acts)", TypeError, r"sn\.train\(sae, data\)"),
    answers("Hugging Face", "sn.TopK.from_pretrained('x')", AttributeError, r"sn\.load_sae"),
    answers("SAELens", "sae.fold_W_dec_norm()", AttributeError, r"nothing to fold.*to_saelens"),
    works("SAELens", "pretrained.to_saelens()['W_enc']", "_.shape == (64, 512)"),
    works("SAELens", "sn.load_sae('tiny-vit', 'resid_post.6')", "_.n_atoms == 512"),
    answers("SAELens", "sae.W_enc", AttributeError, r"to_saelens\(\)\['W_enc'\]"),
    answers("torch", "sn.train(sae, acts.x[:1], steps=2)", ValueError, r"at least two rows"),
    answers(
        "Hugging Face", "sn.train(sae, acts, lr_schedule='cosine')", TypeError, r"warmup_steps"
    ),
    answers("Keras", "sn.train(sae, acts, val_data=acts)", TypeError, r"sn\.evaluate"),
    answers("wandb", "sn.train(sae, acts, wandb=True)", TypeError, r"`callbacks`"),
    answers("torch", "sn.train(sae, acts, optimizer='adam')", TypeError, r"Adam"),
    answers("sae_nb", "result.encode(acts.x)", AttributeError, r"result\.sae\.encode"),
    answers("SAELens", "sn.ReLU(64, 128, l1=0.1)", TypeError, r"`sparsity`"),
    answers("sae_nb", "sn.sweep(acts, n_atoms=64, k=[2, 4])", TypeError, r"settings="),
    answers("sae_nb", "sn.label(sae, 5, 'x')", TypeError, r"sn\.labels\(\{5"),
    answers("scikit-learn", "sn.fit_classical(acts, 'pca', 8)", ValueError, r"Did you mean 'PCA'"),
    answers("sae_nb", "sn.evaluation.stability(sae, sae)", TypeError, r"\[sae, other\]"),
    answers("SAELens", "report.ce_loss_recovered", AttributeError, r"ce_recovered"),
    answers("Python", "report.r3", AttributeError, r"Did you mean `r2`"),
    answers("pandas", "report.to_html()", AttributeError, r"report\.table\.to_html"),
    answers("SAELens", "report.dead", AttributeError, r"dead_fraction"),
    works("Python", "list(report.keys())[0]", "_ == 'r2'"),
    answers("matplotlib", "report.plot()", AttributeError, r"ReportCard"),
]

MODELS = [
    works(
        "Hugging Face",
        "gpt('Once upon a time').logits",
        "type(_) is torch.Tensor and _.shape[-1] == 1024",
    ),
    works("Hugging Face", "vit(pictures).logits.argmax(1)", "_.shape == (16,)"),
    works("torch", "torch.nn.functional.softmax(vit(pictures), -1)", "type(_) is torch.Tensor"),
    works(
        "Hugging Face",
        "sn.capture(gpt, gpt.tokenizer(texts), 'resid_post.2', progress=False)",
        "torch.equal(_.x, text_acts.x)",
    ),
    works(
        "pandas",
        "sn.capture(gpt, pd.DataFrame({'text': texts}), 'resid_post.2', progress=False)",
        "torch.equal(_.x, text_acts.x)",
    ),
    works("pandas", "gpt(pd.DataFrame({'text': texts[:2]})).shape", "_[0] == 2"),
    works("pandas", "gpt.generate(pd.DataFrame({'text': texts[:2]}), 2)", "len(_) == 2"),
    answers(
        "pandas",
        "sn.capture(gpt, pd.DataFrame({'a': texts, 'b': texts}), 'resid_post.2')",
        ValueError,
        r"columns \['a', 'b'\].*frame\['a'\]",
    ),
    answers(
        "pandas",
        "sn.capture(gpt, pd.DataFrame({'text': [*texts, None]}), 'resid_post.2')",
        ValueError,
        r"row 4.*dropna",
    ),
    answers("pandas", "gpt(pd.DataFrame({'n': [1, 2]}))", ValueError, r"one column of texts"),
    answers(
        "Hugging Face",
        "gpt(torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]]))",
        ValueError,
        r"attention_mask",
    ),
    answers("Hugging Face", "gpt.generate([[0, 0, 5, 6]], 2)", ValueError, r"attention_mask"),
    answers(
        "Hugging Face",
        "gpt({'input_ids': torch.ones(1, 4).long(), 'attention_mask': torch.ones(1, 3)})",
        ValueError,
        r"shape of `input_ids`",
    ),
    answers("Hugging Face", "gpt([99999])", ValueError, r"between 0 and 1023"),
    answers("Python", "gpt('a\\ud800b')", ValueError, r"lone surrogate"),
    works(
        "sae_nb",
        "sn.capture(gpt, texts, 'resid_post.2', positions='last', progress=False)",
        "torch.equal(_.x, torch.stack([text_acts.x[text_acts.sample == i][-1] for i in range(len(texts))]))",
    ),
    works(
        "sae_nb",
        "sn.capture(vit, pictures, 'resid_post.2', positions='last')",
        "_.position.unique().tolist() == [68] and len(_) == len(pictures)",
    ),
    works("torch", "next(iter(sn.stream(vit, pictures, 'resid_post.6'))).shape", "_ == (1024, 64)"),
    answers("TransformerLens", "vit.blocks", AttributeError, r"hook_points"),
    answers("TransformerLens", "gpt.W_U", AttributeError, r"get_output_embeddings"),
    answers(
        "TransformerLens",
        "sn.load_model('gpt2-small')",
        FileNotFoundError,
        r"openai-community/gpt2",
    ),
    answers("Hugging Face", "sn.load_model('tiny-gpt', load_in_8bit=True)", TypeError, r"`bits`"),
    answers(
        "Hugging Face",
        "gpt.generate('Once', top_p=0.9)",
        TypeError,
        r"`temperature`.*model\.module\.generate",
    ),
    answers("Hugging Face", "gpt.generate('Once', stop='.')", TypeError, r"partition"),
    answers(
        "Hugging Face",
        "gpt.generate('Once', num_return_sequences=2)",
        TypeError,
        r"\[prompt\] \* 3",
    ),
    answers("torch", "gpt.forward('Once')", TypeError, r"model\(inputs\)"),
    answers(
        "Hugging Face",
        "gpt.save_pretrained('x')",
        AttributeError,
        r"model\.module\.save_pretrained",
    ),
    answers("scikit-learn", "pictures.labels", AttributeError, r"images\.digit"),
]

STEERING = [
    works(
        "torch",
        "repr(sn.steer(vit, 'resid_post.6', pretrained, 1, 2.0))",
        "'not in force: write `with' in _",
    ),
    works(
        "torch",
        "edited = sn.steer(vit, 'resid_post.6', pretrained, 1, 40.0)(lambda: vit(pictures[:2]))\n"
        "(edited() - vit(pictures[:2])).abs().max()",
        "_ > 0.01 and vit.interventions == []",
    ),
    works(
        "torch",
        "edit = sn.steer(vit, 'resid_post.6', pretrained, 1, 2.0)\nwith edit:\n    said = repr(edit)\nsaid",
        "'in force)' in _",
    ),
    answers(
        "TransformerLens",
        "sn.steer(vit, 'resid_post.6', pretrained, 1, coef=2)",
        TypeError,
        r"`by`",
    ),
    answers(
        "sae_nb",
        "sn.steer(vit, pretrained, 1, 2.0)",
        TypeError,
        r"comes before its SAE.*resid_post\.6",
    ),
    answers(
        "sae_nb",
        "sn.steer(vit, 'resid_post.6', pretrained, 1, 2.0).generate('x')",
        AttributeError,
        r"block",
    ),
    works(
        "sae_nb",
        "panel = sw.SteeringPanel(vit, pretrained)\npoint = panel.hook_point\npanel.close()\npoint",
        "_ == 'resid_post.6'",
    ),
]

PANELS = [
    works(
        "Jupyter",
        "panel = sw.AtomBrowser(sae, acts)\nseen = []\n"
        "for atom in ('7', torch.tensor(5), np.int64(3), 4.0):\n    panel.atom = atom\n    "
        "seen.append(panel.atom)\n"
        "panel.close()\nseen",
        "_ == [7, 5, 3, 4]",
    ),
    works(
        "Jupyter",
        "panel = sw.ConceptMap(sae, acts)\nseen = []\n"
        "for chosen in ({2, 1}, range(2), np.array([4, 5]), torch.tensor([6]), [8]):\n"
        "    panel.selected = chosen\n    seen.append(panel.selected)\npanel.close()\nseen",
        "_ == [(1, 2), (0, 1), (4, 5), (6,), (8,)]",
    ),
    answers(
        "Jupyter",
        "panel = sw.AtomBrowser(sae, acts)\npanel.close()\npanel.save('x.html')",
        AttributeError,
        r"to_html\(file\)",
    ),
    answers(
        "Jupyter",
        "panel = sw.AtomBrowser(sae, acts)\npanel.close()\npanel.updat()",
        AttributeError,
        r"AtomBrowser",
    ),
]

PANEL_VALUES = [
    answers(
        "numpy",
        "panel = sw.ConceptMap(sae)\npanel.selected = np.arange(64) < 3",
        Exception,
        r"a mask",
    ),
    answers(
        "Jupyter",
        "panel = sw.AtomBrowser(sae, acts)\npanel.close()\npanel.atom = 'seven'",
        Exception,
        r"`atom` must be a whole number, got 'seven'",
    ),
    answers(
        "Jupyter",
        "panel = sw.AtomBrowser(sae, acts)\npanel.close()\npanel.atom = None",
        Exception,
        r"`atom` must be a whole number, got None",
    ),
    works(
        "Jupyter",
        "panel = sw.ConceptMap(sae, acts)\npanel.selected = {'11', 2}\nseen = panel.selected\n"
        "panel.close()\nseen",
        "_ == (2, 11)",
    ),
    answers(
        "Jupyter",
        "panel = sw.ConceptMap(sae, acts)\npanel.close()\npanel.selected = 5",
        Exception,
        r"`selected` must be several.*got 5.*panel\.selected = \[5\]",
    ),
    answers(
        "torch",
        "panel = sw.ConceptMap(sae, acts)\npanel.close()\n"
        "panel.selected = torch.tensor([[1, 2], [3, 4]])",
        Exception,
        r"`atom` must be an integer, got list",
    ),
]

NAMES = [
    answers("Python", "sn.version", AttributeError, r"__version__"),
    answers("Python", "sn.evalaute", AttributeError, r"`evaluate`"),
    answers("Python", "acts.tokns", AttributeError, r"`tokens`"),
    answers("Python", "sn.capture(vit, pictures, 'resid_pst.6')", ValueError, r"resid_post\.6"),
]

SECOND_LOOK = (
    NUMBERS
    + ANSWERS
    + TABLES
    + PLACES
    + AS_NUMBERS
    + ROWS
    + SAES
    + MODELS
    + STEERING
    + PANELS
    + PANEL_VALUES
    + NAMES
)
