"""What a newcomer types in the first hour, with the habits of the libraries they know, and what they get."""

from __future__ import annotations

WORKS = r"""
acts[0]  # len(_) == 1 and _.sample.tolist() == [0]
acts[-1]  # _.sample.tolist() == acts.sample[-1:].tolist()
acts[:10]  # len(_) == 10 and _.tokens[3] == acts.tokens[3] and _.context is acts.context
acts[::2]  # torch.equal(_.x, acts.x[::2])
acts[acts.sample == 2]  # set(_.sample.tolist()) == {2}
acts[np.asarray(acts.sample) == 2]  # set(_.sample.tolist()) == {2}
acts[[5, 1]]  # torch.equal(_.x, acts.x[[5, 1]])
acts[torch.tensor([5, 1])]  # torch.equal(_.x, acts.x[[5, 1]])
acts.shape  # tuple(_) == (len(acts), 64)
acts.dtype, acts.device  # _ == (torch.float32, torch.device('cpu'))
acts.to(torch.float64)  # _.x.dtype == torch.float64
torch.as_tensor(np.asarray(acts))  # torch.equal(_, acts.x)
torch.from_dlpack(acts)  # torch.equal(_, acts.x)
np.asarray(acts)  # _.dtype == np.float32 and _.shape == (len(acts), 64)
np.linalg.norm(acts, axis=1)  # _.shape == (len(acts),)
acts.to_pandas()  # list(_.columns)[:3] == ['sample', 'position', 'token'] and len(_) == len(acts)
acts.to_pandas(values=True)  # _.shape == (len(acts), 3 + 64)
text_acts.to_pandas().token.head(3).tolist()  # all(isinstance(word, str) for word in _)
[row for row in acts[:3]]  # len(_) == 3
PCA(2).fit_transform(acts)  # _.shape == (len(acts), 2)
LogisticRegression(max_iter=20).fit(acts, pictures.digit[acts.sample])  # _.predict(acts).shape == (len(acts),)
sn.concatenate([acts[:5], acts[5:]])  # torch.equal(_.x, acts.x)
codes[0]  # _.n_atoms == 64 and _.nnz == int(codes.l0[0])
codes[:10]  # torch.equal(_.to_dense(), dense[:10])
codes[acts.sample == 1]  # torch.equal(_.to_dense(), dense[acts.sample == 1])
codes[np.array([3, 1])]  # torch.equal(_.to_dense(), dense[[3, 1]])
codes.shape  # tuple(_) == (len(acts), 64)
codes.sum()  # bool(torch.isclose(_, dense.sum()))
codes.mean(0)  # torch.allclose(_, dense.mean(0))
codes.max(0)  # _.shape == (64,) and torch.equal(_, dense.amax(0))
codes.sum(axis=1)  # torch.allclose(_, dense.sum(1))
codes @ sae.dictionary  # torch.allclose(_, dense @ sae.dictionary, atol=1e-5)
codes.to_pandas()  # list(_.columns)[:3] == ['row', 'atom', 'value'] and len(_) == codes.nnz
codes.top(3)  # list(_.columns)[:3] == ['row', 'atom', 'value']
np.asarray(codes)  # _.shape == (len(acts), 64)
codes.to_scipy().sum(axis=0)  # _.shape[-1] == 64
(codes.to_dense() > 0).float().mean(0)  # torch.allclose(_, codes.frequency)
repr(pretrained)  # 'd_in=64' in _ and 'resid_post.6 of tiny-vit' in _ and len(_.splitlines()) == 1
repr(sn.TopK(d_in=8, n_atoms=16, k=2))  # _.startswith('TopK(d_in=8, n_atoms=16, k=2')
pretrained._repr_html_()  # 'resid_post.6' in _ and '<' in _
sae.encode(acts)  # torch.equal(_.values, codes.values)
sae(acts)  # torch.equal(_, sae(acts.x))
sae.encode(acts.x.numpy())  # torch.equal(_.values, codes.values)
sae.encode(np.random.default_rng(0).normal(size=(5, 64)))  # _.leading_shape == (5,)
sae.encode(pd.DataFrame(acts.x.numpy()))  # torch.equal(_.atoms, codes.atoms)
sae.encode(acts.x[0])  # _.nnz <= 4
sae.to('cpu').eval()  # _ is sae
sum(p.numel() for p in sae.parameters())  # _ > 64 * 64
sae.load_state_dict(sae.state_dict())  # _.missing_keys == []
sae.save(folder / 'my sae'); sn.load_sae(folder / 'my sae')  # torch.equal(_.dictionary, sae.dictionary)
sae.save(str(folder / 'text path')); sn.load_sae(str(folder / 'text path'))  # _.n_atoms == 64
sn.pretrained_names()  # 'tiny-vit/resid_post.6' in _
sn.train(sn.TopK(64, 32, 4), acts, steps=5, learning_rate=1e-3)  # _.steps == 5
sn.train(sn.TopK(64, 32, 4), acts.x.numpy(), steps=5)  # _.steps == 5
sn.train(sn.TopK(64, 32, 4), acts.x, steps=5)  # _.steps == 5
sn.start_training(sn.TopK(64, 32, 4), acts, steps=5).wait()  # _.steps == 5
result.plot()  # type(_).__name__ in ('Figure', 'FigureWidget') and len(_.data) >= 1
result.to_pandas()  # len(_) == len(result.history) and 'loss' in _.columns
repr(result)  # len(_.splitlines()) <= 20 and 'steps=30' in _
report.r2  # _.value == report['r2'].value
float(report.l0)  # _ == report['l0'].value
report.to_pandas()  # len(_) == len(report) and 'value' in _.columns
report.table.loc['r2', 'value']  # _ == report.r2.value
print(report)  # len(printed().splitlines()) <= 20 and 'r2' in printed()
report  # len(repr(_).splitlines()) <= 20
report.all  # len(_) == len(report)
report.mse  # _.value > 0
sn.evaluate(sae, acts.x.numpy())  # 0 <= _.r2.value <= 1
gpt.config  # _ is not None and 'LiveModel' not in repr(_)
gpt.n_layers, vit.n_layers  # _ == (4, 12)
vit.width('resid_post.3')  # _ == 64
gpt.tokens('One day Emma went home.')  # len(_) > 3 and 'token' in _.columns
list(gpt.hook_points())[:3]  # all(isinstance(point, str) for point in _)
gpt.hook_points()._repr_html_()  # 'resid_post' in _ and '<' in _
gpt('One day Emma')  # _.shape[-1] == gpt.vocabulary_size
gpt(['One day Emma', 'The dog'])  # len(_) == 2
gpt.generate('One day', max_new_tokens=3)  # isinstance(_, str) and _.startswith('One day')
sn.capture(gpt, 'One day Emma', 'blocks.2.hook_resid_post')  # _.d_in == text_acts.d_in
sn.capture(gpt, 'One day Emma', 'resid_post.2')  # len(_) > 0
sn.capture(gpt, texts, ['resid_post.1', 'mlp_out.2'])  # set(_) == {'resid_post.1', 'mlp_out.2'}
sn.capture(vit, pictures.images, 'resid_post.6')  # torch.equal(_.x, acts.x)
sn.wrap(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))(torch.ones(2, 4))  # _.shape == (2, 3)
vit(pictures[:2]).argmax(-1)  # _.shape == (2,)
gpt.device, gpt.dtype  # str(_[0]) == 'cpu'
[p for p in sn.data.prose()][:2]  # all(isinstance(p, str) for p in _)
sn.data.prose()[:3]  # len(_) == 3 and isinstance(list(_)[0], str)
sn.data.prose()[0]  # isinstance(_, str)
[s for s in sn.data.stories(3)]  # len(_) == 3
sn.data.stories(5, seed=0)[1:3]  # len(_) == 2
sn.data.scenes(5, seed=0)[:2].digit  # _.shape == (2,)
len(list(sn.data.scenes(3)))  # _ == 3
sn.data.digits()[:4].images.shape  # _[0] == 4
random.Random(0).sample(sn.data.prose(), 2)  # len(_) == 2
sn.capture(gpt, sn.data.prose()[:2], 'resid_post.1')  # _.context.n_samples == 2
sn.capture(gpt, sn.data.stories(2), 'resid_post.1')  # _.context.n_samples == 2
sn.data.scenes(np.int64(3), seed=np.int64(1))  # len(_) == 3
sn.matching_pursuit(acts.x[:5].numpy(), sae.dictionary, 3)  # _.leading_shape == (5,)
sn.top_atoms(vit, sae, pictures.images[0])  # _.top(1)[0] < 64
report.r2 > 0.1  # _ is True
round(report.r2, 2)  # _ == round(report.r2.value, 2)
report.r2 + 0  # _ == report.r2.value and type(_) is float
sorted([report.l0, report.r2])[0]  # _ is report.r2 and _.floor is not None
f'{report.r2:.3f}'  # float(_) == round(report.r2.value, 3)
max(report.r2, -5)  # _ is report.r2
np.mean([report.r2, report.r2])  # _ == report.r2.value
torch.tensor([report.r2, report.l0])  # _.dtype == torch.float32
pd.DataFrame({'r2': [report.r2]})  # _.r2.dtype == float
{report.r2: 'a'}[report.r2.value]  # _ == 'a'
gpt('Once upon')['logits']  # _.shape[2] == 1024
acts.to_csv().splitlines()[0][:24]  # _ == 'sample,position,token,0,'
codes.to_csv().split()[0]  # _ == 'row,atom,value'
acts.to_pandas()['token']  # list(_) == list(acts.tokens)
codes.only(codes.atoms != 9)  # 9 not in _.atoms.tolist()
codes.to_pandas()['atom']  # len(_) == len(codes.values)
np.asarray(acts.tokens) == acts.tokens[0]  # _.sum() == (acts.tokens == acts.tokens[0]).sum()
(codes.to_dense() > 0).sum(0)  # torch.equal(_, codes.count(0))
codes.to_dense()[..., 17].shape  # _ == (len(codes),)
codes.count(1)  # torch.equal(_, codes.l0)
acts.to_pandas(values=True).drop(columns='token').groupby('sample').mean()  # len(_) == len(set(acts.sample.tolist()))
pd.DataFrame({'a': report.table['value'], 'b': report.table['value']}).loc['r2', 'a']  # _ == report.r2
sn.geometry.nearest_by_cosine(sae.dictionary, 5)  # _ is not None
codes[[1, 2], ...].shape  # _ == (2, codes.n_atoms)
codes.to_scipy()[:, 17].shape  # _ == (len(codes), 1)
acts.to_numpy(dtype='float64')  # _.dtype == np.float64
np.unique(acts.tokens)  # len(_) == len(set(acts.tokens))
codes.to_numpy(dtype=np.float64)  # _.dtype == np.float64
(acts.tokens != acts.tokens[0]).mean()  # 0 < _ < 1
pd.DataFrame({'a': dict(report), 'b': dict(report)})  # _.loc['r2', 'b'] == report.r2
acts.to_numpy(dtype=np.float16).dtype  # _ == np.float16
pd.DataFrame([report, report])  # pd.__version__ < '3' or _.r2.dtype == float
codes == codes, codes == None, codes in [codes]  # _ == (True, False, True)
acts == acts, acts != None, len({acts, codes})  # _ == (True, True, 2)
torch.cat([acts, acts])  # len(_) == 2 * len(acts) and _.hook_point == acts.hook_point
torch.cat([codes, codes])  # _.shape == (2 * len(codes), codes.n_atoms)
acts.sample_rows(5)  # len(_) == 5 and len(set(map(tuple, _.x.tolist()))) == 5
codes.sample_rows(5, seed=1)  # _.n_rows == 5
acts.to_numpy()  # (_ == acts.x.numpy()).all()
codes.to_numpy()  # (_ == dense.detach().numpy()).all()
result.history['loss']  # _.tolist() == [r.loss for r in result.history]
acts.split(0.5, group_by='image')  # len(_[0]) + len(_[1]) == len(acts)
len(sae)  # _ == 64
pretrained.to_saelens()['W_enc']  # _.shape == (64, 512)
sn.load_sae('tiny-vit', 'resid_post.6')  # _.n_atoms == 512
list(report.keys())[0]  # _ == 'r2'
gpt('Once upon a time').logits  # type(_) is torch.Tensor and _.shape[-1] == 1024
vit(pictures).logits.argmax(1)  # _.shape == (16,)
torch.nn.functional.softmax(vit(pictures), -1)  # type(_) is torch.Tensor
sn.capture(gpt, gpt.tokenizer(texts), 'resid_post.2', progress=False)  # torch.equal(_.x, text_acts.x)
sn.capture(gpt, pd.DataFrame({'text': texts}), 'resid_post.2', progress=False)  # torch.equal(_.x, text_acts.x)
gpt(pd.DataFrame({'text': texts[:2]})).shape  # _[0] == 2
gpt.generate(pd.DataFrame({'text': texts[:2]}), 2)  # len(_) == 2
sn.capture(vit, pictures, 'resid_post.2', positions='last')  # _.position.unique().tolist() == [68] and len(_) == len(pictures)
next(iter(sn.stream(vit, pictures, 'resid_post.6'))).shape  # _ == (1024, 64)
repr(sn.steer(vit, 'resid_post.6', pretrained, 1, 2.0))  # 'not in force: write `with' in _
"""
"""A line as it is typed, and what is true of `_`, which it gives."""

BLOCKS = r"""
with gpt.nnsight.trace('One day'):
    hidden = gpt.nnsight.model.layers[2].output.save()
hidden
# (_[0] if isinstance(_, tuple) else _).shape[-1] == text_acts.d_in

with sn.steer(vit, 'resid_post.6', sae, atom=3, by=4.0):
    out = vit(pictures)
out
# not torch.equal(_, vit(pictures))

with sn.steer(vit, 'resid_post.6', sae, atom=3, by=4.0, backend='hooks'):
    a = vit(pictures)
with sn.steer(vit, 'resid_post.6', sae, atom=3, by=4.0):
    b = vit(pictures)
(a - b).abs().max()
# float(_) < 1e-5

batch = next(iter(vit.batches(pictures)))
plain = vit.module(*batch.args, **batch.kwargs)
with sn.steer(vit, 'resid_post.6', sae, atom=3, by=40.0):
    steered = vit.module(*batch.args, **batch.kwargs)
plain, steered
# not torch.equal(_[0], _[1])

ids = gpt.tokenizer('One day', return_tensors='pt').input_ids
push = 100 * torch.ones(text_acts.d_in)
plain = gpt.module.generate(ids, max_new_tokens=3)
with sn.steer(gpt, 'resid_post.2', direction=push):
    steered = gpt.module.generate(ids, max_new_tokens=3)
plain, steered
# not torch.equal(_[0], _[1])

with sn.steer(gpt, 'resid_post.2', direction=100 * torch.ones(text_acts.d_in)):
    with gpt.nnsight.trace('One day'):
        steered = gpt.nnsight.output.save()
with gpt.nnsight.trace('One day'):
    plain = gpt.nnsight.output.save()
(steered.logits - plain.logits).abs().max()
# float(_) > 0.01

ids = gpt.tokenizer('One day', return_tensors='pt').input_ids
with sn.steer(gpt, 'resid_post.2', direction=100 * torch.ones(text_acts.d_in)):
    a = gpt.module(ids).logits
(a - gpt.module(ids).logits).abs().max()
# float(_) > 0.01

with sn.ablate(vit, 'resid_post.6', sae, atom=int(codes.atoms[0])):
    out = vit(pictures)
out
# _.shape == vit(pictures).shape

with sn.steer(vit, 'resid_post.6', sae, atom=np.int64(3), by=np.float32(4)):
    out = vit(pictures)
out
# _.shape[0] == len(pictures)

panel = sw.AtomBrowser(pretrained)
rows = panel.catalogue.n_rows
panel.close()
rows
# _ == len(sn.load_examples('tiny-vit/resid_post.6').acts)

panel = sw.AtomBrowser(sae, acts)
panel.atom = 5
atom = panel.atom
panel.close()
atom
# _ == 5

import json
json.loads(json.dumps({'r2': report.r2}))
# _['r2'] == report.r2

answer = gpt('Once upon')
answer[0], answer[0, -1].argmax()
# _[0].ndim == 2

x = acts.x.clone()
x[0] = 0
sn.Activations.from_tensor(x)
# _.x[0].abs().sum() == 0

with sn.splice(gpt, 'resid_post.2', lambda v: v * 0):
    answer = gpt('Once')
answer.shape
# _[2] == 1024

acts.tokens == acts.tokens[0]
acts[acts.tokens == acts.tokens[0]]
# set(_.tokens) == {acts.tokens[0]}

import pickle
pickle.loads(pickle.dumps(report.r2)) == report.r2
# _ is True

import dataclasses
other = dataclasses.replace(report.r2, n=1)
other == report.r2, other != report.r2, len({other, report.r2})
# _ == (True, False, 1)

import copy
copy.deepcopy(codes)
# torch.equal(_.to_dense(), dense)

acts[:3].to_csv(folder / 'acts.csv')
pd.read_csv(folder / 'acts.csv')
# _.shape == (3, 3 + 64)

codes[:3].to_csv(folder / 'codes.csv')
pd.read_csv(folder / 'codes.csv')
# list(_.columns) == ['row', 'atom', 'value'] and len(_) == codes[:3].nnz

twice = sn.capture(gpt, texts + texts, 'resid_post.2', progress=False)
first, second = twice.split(0.5, group_by='text')
[sorted({s % len(texts) for s in part.sample.tolist()}) for part in (first, second)]
# not set(_[0]) & set(_[1])

sn.capture(gpt, texts, 'resid_post.2', positions='last', progress=False)
# torch.equal(_.x, torch.stack([text_acts.x[text_acts.sample == i][-1] for i in range(len(texts))]))

edited = sn.steer(vit, 'resid_post.6', pretrained, 1, 40.0)(lambda: vit(pictures[:2]))
(edited() - vit(pictures[:2])).abs().max()
# _ > 0.01 and vit.interventions == []

edit = sn.steer(vit, 'resid_post.6', pretrained, 1, 2.0)
with edit:
    said = repr(edit)
said
# 'in force)' in _

panel = sw.SteeringPanel(vit, pretrained)
point = panel.hook_point
panel.close()
point
# _ == 'resid_post.6'

panel = sw.AtomBrowser(sae, acts)
seen = []
for atom in ('7', torch.tensor(5), np.int64(3), 4.0):
    panel.atom = atom
    seen.append(panel.atom)
panel.close()
seen
# _ == [7, 5, 3, 4]

panel = sw.ConceptMap(sae, acts)
seen = []
for chosen in ({2, 1}, range(2), np.array([4, 5]), torch.tensor([6]), [8]):
    panel.selected = chosen
    seen.append(panel.selected)
panel.close()
seen
# _ == [(1, 2), (0, 1), (4, 5), (6,), (8,)]

panel = sw.ConceptMap(sae, acts)
panel.selected = {'11', 2}
seen = panel.selected
panel.close()
seen
# _ == (2, 11)
"""
"""The same of several lines."""

ANSWERS = r"""
codes.feature_acts  # AttributeError: values|to_dense
sae.W_dec  # AttributeError: `?dictionary`?
sae.b_dec  # AttributeError: `?bias`?
sae.cfg  # AttributeError: settings
sae.cfg.d_sae  # AttributeError: settings|n_atoms
sae.d_sae  # AttributeError: `?n_atoms`?
sn.SAE.from_pretrained('gpt2-small-res-jb')  # AttributeError: load_sae
sn.SAE  # AttributeError: load_sae.*TopK|TopK.*load_sae
sn.TopKSAE  # AttributeError: TopK
sn.TopK(d_in=64, d_sae=512, k=8)  # TypeError: n_atoms
gpt.run_with_cache('One day')  # AttributeError: capture
gpt.to_tokens('One day')  # AttributeError: tokens
gpt.cfg.n_layers  # AttributeError: config|n_layers
sn.HookedTransformer.from_pretrained('gpt2')  # AttributeError: load_model
sn.capture(gpt, texts, 3)  # TypeError: ^Hook points are names: 'resid_post\.3'
sn.ActivationsStore  # AttributeError: capture|stream
sn.load_sae('tiny-gpt/resid_post.3').encode(acts)  # ValueError: rows are of tiny-vit, the SAE is of tiny-gpt
sn.evaluate(sn.load_sae('tiny-gpt/resid_post.3'), acts)  # ValueError: rows are of tiny-vit
sn.splice(gpt, 'resid_post.2', lambda v, hook: v * 0)  # TypeError: lambda x: …
sn.evaluate(gpt, sae, acts)  # TypeError: got LiveModel\. The order is evaluate\(sae, acts, model, …\)
sae.cfg.hook_name  # AttributeError: sae\.hook_point
sae.fold_W_dec_norm()  # AttributeError: nothing to fold.*to_saelens
sae.W_enc  # AttributeError: to_saelens\(\)\['W_enc'\]
sn.ReLU(64, 128, l1=0.1)  # TypeError: `sparsity`
report.ce_loss_recovered  # AttributeError: ce_recovered
report.dead  # AttributeError: dead_fraction
vit.blocks  # AttributeError: hook_points
gpt.W_U  # AttributeError: get_output_embeddings
sn.load_model('gpt2-small')  # FileNotFoundError: openai-community/gpt2
sn.steer(vit, 'resid_post.6', pretrained, 1, coef=2)  # TypeError: `by`
"""
"""A name of SAELens or TransformerLens, and a pattern in the error that says what to write here."""
