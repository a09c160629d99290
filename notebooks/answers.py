"""Answers to the exercises, by number and what is asked: `notebooks/solve.py` puts them into the notebooks.

Each cell replaces what a student leaves blank above `exercise("01.2").check(…)`.
"""

# %% 00.2 check
read_off = 16


# %% 00.1 check
def rebuilt(values, atoms, dictionary, bias):
    return bias + values @ dictionary[atoms]


# %% 00.3 check
def pushed(model, hook_point, sae, inputs, atom):
    acts = sn.capture(model, inputs, hook_point, progress=False)
    before = model(inputs)
    with sn.steer(model, hook_point, sae, atom=atom, by=2.0, unit="p99", acts=acts):
        after = model(inputs)
    return (after.softmax(1) - before.softmax(1)).mean(dim=0)


# %% 01.2 check
share = 2 / 5

# %% 01.3 check
angle = 2 * torch.pi * torch.arange(5) / 5
directions = torch.stack((angle.cos(), angle.sin()), dim=1)

# %% 01.4 predict
guess = 0.5


# %% 01.5 check
def dimensionality(directions):
    lengths = directions.norm(dim=1)
    along = directions @ directions.T / lengths[:, None]
    return lengths**2 / (along**2).sum(dim=1)


# %% 01.1 check
read_off = 2

# %% 11.2 check
left = (5**2 - 4**2) ** 0.5

# %% 11.3 check
bait = torch.tensor([0.6, 0.8])

# %% 11.4 predict
guess = 0.4


# %% 11.5 check
def pursue(x, dictionary, k):
    z = torch.zeros(len(dictionary), dtype=x.dtype)
    for _step in range(k):
        c = dictionary @ (x - z @ dictionary)
        j = c.argmax()
        z[j] += c[j].clamp(min=0)
    return z


# %% 11.1 check
read_off = "MP"

# %% 12.1 check
cosine = 2**-0.5

# %% 12.3 predict
guess = 0.2


# %% 12.4 check
def babel_function(dictionary, r):
    cosines = (dictionary @ dictionary.T).abs().fill_diagonal_(0)
    return cosines.topk(r, dim=1).values.sum(dim=1).max()


# %% 12.2 check
read_off = 2

# %% 13.1 check
nearest = [0.7, 0.3, 0]

# %% 13.3 predict
guess = 0.67


# %% 13.2 check
def project(v):
    u = v.sort(descending=True).values
    theta = (u.cumsum(0) - 1) / torch.arange(1, len(v) + 1)
    kept = (u > theta).sum()
    return (v - theta[kept - 1]).clamp(min=0)


# %% 13.4 check
read_off = "ReLU"

# %% 14.1 check
stability = 1

# %% 14.4 predict
guess = 0.7


# %% 14.2 check
def stability_of(first, second):
    from scipy.optimize import linear_sum_assignment

    cosines = first @ second.T
    return cosines[linear_sum_assignment(cosines, maximize=True)].mean()


# %% 14.3 write
explanation = """Atoms of the archetypal SAE look like whole digits or mixtures of some. Those of TopK are strokes and
edges with both signs. R² is nearly the same for both. Twenty-four atoms are a look, no measurement."""

# %% 14.3 score
points = 4

# %% 15.1 check
cut_after = [4, 8]

# %% 15.2 predict
share_lost = 0.8


# %% 15.4 check
def best_cut(S):
    left = [(1 - S[:c, :c]).sum() + (1 - S[c:, c:]).sum() for c in range(1, len(S))]
    return 1 + min(range(len(left)), key=left.__getitem__)


# %% 15.3 write
explanation = """A push after layer 2 has faded at layer 8; one after layer 10 is still seen at the end. The Raptor's path
leaves the teacher's within the last phase. It is one image; a second one did the same."""

# %% 15.3 score
points = 4

# %% 16.1 check
corners = 6

# %% 16.2 predict
guess = 0.9


# %% 16.3 check
def my_off_support(corners, x):
    import torch

    away = torch.cdist(corners, x).min(dim=1).values.median()
    between = torch.cdist(x, x).fill_diagonal_(torch.inf).min(dim=1).values.median()
    return away / between


# %% 16.4 check
read_off = 0.39

# %% 17.1 check
length = 3.0


# %% 17.2 check
def lag_one_cosine(x):
    return torch.cosine_similarity(x[1:], x[:-1], dim=1).mean()


# %% 17.3 predict
guess = 0.2

# %% 17.4 predict
correlation = 0.0

# %% 17.5 write
explanation = """The predicted part was read from the verb and from the token before. In both sentences atoms for a past
tense are novel. The surprise differs by less than half a nat, within the error of six sentences."""

# %% 17.5 score
points = 4

# %% 03.1 predict
guess = 0.9


# %% 03.3 check
def is_clear(value, low, high, control):
    return value > control and not low <= control <= high


# %% 03.4 check
r2 = 1 - 4 / 10

# %% 03.5 check
share = 8 / 128

# %% 03.6 predict
guess = 0.75


# %% 03.7 check
def best(r2, l0, wanted):
    near = (l0 - wanted).abs() <= wanted / 5
    return int(torch.where(near, r2, -torch.inf).argmax())


# %% 03.8 predict
guess = 0.05

# %% 03.2 check
read_off = "KL"

# %% 05.1 check
steering.target_kl = 0.25
steering.wait()
strength = steering.strength

# %% 05.2 predict
share = 0.0

# %% 05.3 check
import math

kl = 0.5 * (math.log(0.5 / 0.8808) + math.log(0.5 / 0.1192))

# %% 05.4 predict
guess = 2.0


# %% 05.5 check
def read_share(v, reader):
    _, s, vh = torch.linalg.svd(reader, full_matrices=False)
    return float((vh[s > 1e-6] @ v).square().sum() / v.square().sum())


# %% 19.2 check
recovered = (1.70 - 1.25) / (1.70 - 1.20)


# %% 19.1 check
def transcode(x, E, a, D, b, k):
    values, atoms = (x @ E.T + a).topk(k, dim=1)
    z = torch.zeros(len(x), len(E)).scatter(1, atoms, values.relu())
    return z @ D + b


# %% 19.3 check
read_off = float(reports[0]["ce_recovered_mean"].control)


# %% 20.1 check
def difference(first, second, first_unit, second_unit):
    a, b = first.norm(dim=1) / first_unit, second.norm(dim=1) / second_unit
    return b / (a + b)


# %% 20.3 predict
guess = 0.5

# %% 20.2 check
read_off = "BatchTopK"

# %% 21.1 check
expected = 20


# %% 21.2 check
def corrected(p):
    order = p.argsort(descending=True)
    ranks = p.new_tensor([*range(len(p), 0, -1)])
    q = p.clone()
    q[order] = (p[order] * len(p) / ranks).cummin(dim=0).values
    return q


# %% 21.4 predict
guess = 0.3


# %% 21.5 check
def choose(has, n):
    left, chosen = has.clone(), []
    for _ in range(n):
        gains = left.sum(dim=1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        left = left & ~has[chosen[-1]]
    return chosen


# %% 21.6 check
share = 1 - 0.9**10

# %% 21.3 check
read_off = "bad story"


# %% 22.1 check
def comes_again(tokens, n):
    seen, found = set(), []
    for end in range(1, len(tokens) + 1):
        gram = tuple(tokens[end - n : end]) if end >= n else None
        found.append(gram in seen)
        if gram:
            seen.add(gram)
    return found


# %% 22.3 predict
guess = 0.5

# %% 22.2 write
explanation = """At the last token the atom pinned below fires strongly. What moved its score was another atom, at the
token before, beyond what random directions reach. The atom that rises most is not among them."""

# %% 22.2 score
points = 4

# %% 25.1 check
index = 4 / (4 + 1)

# %% 25.3 predict
guess = 0.5


# %% 25.4 check
def auroc(clean, corrupted):
    higher = corrupted[:, None] - clean[None, :]
    return float(((higher > 0).double() + 0.5 * (higher == 0).double()).mean())


# %% 25.2 check
read_off = 0.0889

# %% 08.2 predict
guess = 0.5


# %% 08.3 check
def score(attention, period):
    now = torch.arange(period, len(attention))
    return float(attention[now, now - period + 1].mean())


# %% 08.4 predict
guess = 0.5

# %% 08.1 check
read_off = "very"

# %% 18.1 predict
guess = 0.65


# %% 18.3 check
def width(angles, strengths):
    share = strengths / strengths.sum()
    return 1 - torch.hypot((share * angles.cos()).sum(), (share * angles.sin()).sum())


# %% 18.4 predict
guess = 4

# %% 18.2 write
explanation = """Three atoms build it, and two of them are neighbours on the map. A small share is left, where random
directions leave much more. For a seven it is the same."""

# %% 18.2 score
points = 4

# %% 23.4 check
nine = known.match("digit 9").atom
two_atoms = panel.recipe() | {"strength": 1.25, "target_kl": None}
two_atoms["others"] = [[nine, 1.9 * float(known.p99[nine])]]

# %% 23.1 predict
guess = 10


# %% 23.2 check
def detection(said, fires):
    return (said[fires].float().mean() + (~said[~fires]).float().mean()) / 2


# %% 23.3 check
def edited(x, v, gain, constant):
    return x + (gain * (x @ v) / (v @ v) + constant)[:, None] * v


# %% 24.1 predict
guess = 4


# %% 24.2 check
def least_that_holds(control, n):
    return max(control, 0.5) + 1 / n**0.5


# %% 24.4 check
def strongest(chunk):
    return json.loads(chunk[chunk.index(",") + 1 : chunk.rindex(")")])["max"]


# %% 24.3 write
explanation = """I would call it a four with an open top. Typical firings are fours and some nines, weak ones are strokes
of other digits. It would have to be tested on images of nines."""

# %% 24.3 score
points = 4


# %% 28.4 check
def moment(z, columns, step):
    return (int(z[1:].argmax()) % columns + 0.5) * step


# %% 28.2 check
def says(z, clip, n, threshold):
    strongest = torch.zeros(n).scatter_reduce(0, clip, z, "amax")
    return strongest > threshold


# %% 28.3 predict
guess = 0.3

# %% 28.1 write
explanation = """Strong examples share the pitch A in two octaves. Timbre and loudness vary. Weak ones sound like other
tones with an overtone there. Chance detects nearly as much, so the F1 on new sounds decides."""

# %% 28.1 score
points = 4


# %% 07.1 check
def patch_map(module, blocks, clean, corrupted, measure):
    def measured(ids, hooks):
        handles = [block.register_forward_hook(hook) for block, hook in hooks.items()]
        number = measure(module(ids))
        for handle in handles:
            handle.remove()
        return number

    kept = {}

    def keep(block, inputs, output):
        kept[block] = output.clone()

    with torch.no_grad():
        end = measured(clean, dict.fromkeys(blocks, keep))
        start = measured(corrupted, {})
        shares = torch.zeros(len(blocks), clean.shape[1])
        for i, block in enumerate(blocks):
            for t in range(clean.shape[1]):

                def put(block, inputs, output, t=t):
                    output = output.clone()
                    output[:, t] = kept[block][:, t]
                    return output

                shares[i, t] = (measured(corrupted, {block: put}) - start) / (end - start)
    return shares


# %% 07.2 predict
guess = 0.5

# %% 07.3 predict
guess = 0.0

# %% 07.4 check
positions = [3, 7]


# %% 06.1 check
def logit_lens(states, gain, unembedding):
    size = states.square().mean(dim=-1, keepdim=True).sqrt()
    return (gain * states / size) @ unembedding.T


# %% 06.3 predict
guess = 0.3


# %% 06.4 check
def hits(foreseen, measured, k):
    both = set(foreseen.topk(k).indices.tolist()) & set(measured.topk(k).indices.tolist())
    return len(both) / k


# %% 06.2 check
read_off = int(lens.read_both(text)[1].settles[-3])


# %% 02.1 check
def encode(x, E, a, b, k):
    u = (x - b) @ E.T + a
    values, atoms = u.topk(k, dim=1)
    return torch.zeros_like(u).scatter(1, atoms, values.relu())


# %% 02.2 check
def loss_of(x, x_hat):
    return (x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum()


# %% 02.3 check
def unit_rows(D):
    return D / D.norm(dim=1, keepdim=True)


# %% 02.4 check
def replacements(x, x_hat, n):
    left = x - x_hat
    return unit_rows(left[left.norm(dim=1).topk(n).indices])


# %% 02.5 check
def fit(x, n_atoms, k, steps, seed):
    draws, d = torch.Generator().manual_seed(seed), x.shape[1]
    D = unit_rows(torch.randn(n_atoms, d, generator=draws)).requires_grad_()
    E = D.detach().clone().requires_grad_()
    a = torch.zeros(n_atoms, requires_grad=True)
    b = x.mean(dim=0).requires_grad_()
    optimiser = torch.optim.Adam([E, a, D, b], lr=0.08 / d**0.5)
    fired = torch.zeros(n_atoms)
    for step in range(steps):
        rows = x[torch.randint(len(x), (512,), generator=draws)]
        z = encode(rows, E, a, b, k)
        x_hat = z @ D + b
        optimiser.zero_grad()
        loss_of(rows, x_hat).backward()
        optimiser.step()
        with torch.no_grad():
            D.copy_(unit_rows(D))
            fired += (z > 0).sum(dim=0)
            if step % 100 == 99:
                dead = (fired == 0).nonzero()[:512, 0]
                if step < steps / 2 and len(dead):
                    D[dead] = E[dead] = replacements(rows, x_hat, len(dead))
                    a[dead] = 0.0
                fired.zero_()
    return E.detach(), a.detach(), D.detach(), b.detach()


# %% 02.6 check
dictionaries = [fit(rows, 64, 3, 600, seed)[2] for seed, rows in enumerate(hidden)]

# %% 02.7 check
mine = fit(x, 512, 20, 800, 0)

# %% 02.9 predict
guess = 0.5

# %% 02.10 write
explanation = """Under the penalty and without unit norm Σz is .83 instead of 1.51: only codes are charged for, so atoms
became longer, up to 2.0, and codes smaller (free lengths without a penalty: 1.28, up to 1.26). R² changed little, from
.880 to .875: their products rebuild nearly as much."""

# %% 02.10 score
points = 4

# %% 02.8 check
read_off = "the toolkit's"


# %% 04.1 check
def train_probe(x, y, penalty):
    p = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([p], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        s = x.float() @ p[:-1] + p[-1]
        value = torch.nn.functional.softplus(torch.where(y, -s, s)).mean()
        value = value + penalty / 2 * p[:-1].square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return p.detach()


# %% 04.2 predict
guess = 0.5


# %% 04.3 check
def apart(z, y, k):
    return (z[y].mean(dim=0) - z[~y].mean(dim=0)).abs().topk(k).indices


# %% 04.4 predict
guess = 0.6

# %% 04.5 write
explanation = """306 fires most on sixes, 393 on nines, 504 on zeros, 20 on twos. 495 fires on zeros, sixes and eights,
digits with a loop, but hardly on twos. Weak firings of 306 are fours. None fires on all even digits: a probe on the five
adds digits up, and a nine counts against."""

# %% 04.5 score
points = 4

# %% 09.1 check
line = 0.95


# %% 09.3 check
def run(seed):
    rows, draws = hidden_rows(seed), torch.Generator().manual_seed(seed)
    dictionaries = {
        "claim": own_sae(rows, 64, 3, 300, seed).D,
        "floor": torch.randn(64, 10, generator=draws),
        "control": own_sae(scrambled(rows, seed), 64, 3, 300, seed).D,
    }
    return {name: on_features(seed, one).mean() for name, one in dictionaries.items()}


# %% 09.4 check
claim = own_claim(
    "An SAE finds the features of a toy.",
    "mean cosine",
    at_least=line,
    floor="random directions",
    control="scrambled rows",
)
card = claim.test(run, range(5))

# %% 09.5 write
explanation = """On five toys of 32 features in 10 neurons learned atoms lie on the features with a mean cosine of .999,
random directions with .68, and after scrambling .70. That real models hold such features was not measured; labels of a
real model would be needed."""

# %% 09.5 score
points = 4

# %% 09.2 check
read_off = "rows"


# %% 27.1 check
def own_found(images, captions):
    rows, columns = (x / x.norm(dim=1, keepdim=True) for x in (images, captions))
    nearest = (rows @ columns.T).argmax(dim=1)
    return (nearest == torch.arange(len(images))).float().mean()


# %% 27.2 predict
guess = 0.1


# %% 27.3 check
def sides(z, w):
    of_images, of_captions = z.mean(dim=0), w.mean(dim=0)
    total = of_images + of_captions
    return torch.where(total > 0, of_images / total, 0.5)


# %% 27.4 check
def bridges(z, w, D):
    together = z.T @ w / len(z)
    return together * (D @ D.T)


# %% 27.5 check
def best_detector(z, is_so):
    fires = z > 0
    hits = (fires & is_so[:, None]).sum(dim=0)
    return (2 * hits / (fires.sum(dim=0) + is_so.sum())).argmax()


# %% 27.6 write
explanation = """Atom 12 has green ink on both sides, atom 40 shows discs and its captions name digits. I looked at nine
atoms until then. The bridge score measures it over all atoms."""

# %% 27.6 score
points = 4


# %% 10.1 check
def rows_of(model, block, ids):
    kept = []
    handle = block.register_forward_hook(lambda *given: kept.append(given[2][0]))
    try:
        model(ids)
    finally:
        handle.remove()
    return kept[0][0, 1:].detach()


# %% 10.2 check
def gigabytes(tokens, width, atoms):
    rows = tokens * width
    sae = 2 * atoms * width + atoms + width
    return (4 * rows + 20 * sae) / 1e9


# %% 10.3 check
def kept(clean, spliced, zero):
    return (zero - spliced) / (zero - clean) if zero != clean else float("nan")


# %% 10.4 predict
guess = 0.5

# %% 10.5 write
explanation = """Of atoms 3, 50, 97, 144 and 191, which I took at equal steps, two keep their meaning in weak firings.
Atom 97 breaks: its strongest firings are names, its weak ones any word that begins a sentence."""

# %% 10.5 score
points = 4


# %% 26.1 check
def occlusion(f, image, size, fill):
    rows, columns = image.shape[1] // size, image.shape[2] // size
    fall = torch.zeros(rows, columns)
    for r in range(rows):
        for c in range(columns):
            covered = image.clone()
            covered[:, r * size : (r + 1) * size, c * size : (c + 1) * size] = fill
            fall[r, c] = f(image[None])[0] - f(covered[None])[0]
    return fall


# %% 26.3 predict
guess = 0.3

# %% 26.2 check
read_off = 2.5


# %% 29.1 check
def moved(before, after):
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


# %% 29.2 predict
guess = 0.9

# %% 29.3 check
read_off = "was"


# %% 30.1 check
def induction_score(pattern, n):
    second = torch.arange(n + 1, 2 * n + 1)
    return pattern[:, second, second - (n - 1)].mean(dim=1)


# %% 30.2 predict
guess = 0.0

# %% 30.3 check
heard = "keys"

# %% 30.4 predict
guess = 0.0


# %% 31.1 check
def attention(x, W_Q, b_Q, W_K, b_K):
    q, k = x @ W_Q + b_Q, x @ W_K + b_K
    s = q @ k.T / q.shape[1] ** 0.5
    return s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf).softmax(dim=1)


# %% 31.2 check
def written(x, pattern, W_V, b_V, W_O):
    return pattern @ (x @ W_V + b_V) @ W_O


# %% 31.3 check
def qk_circuit(letters, W_V, W_O, W_Q, W_K):
    return (letters @ W_Q) @ (letters @ W_V @ W_O @ W_K).T / W_Q.shape[1] ** 0.5


# %% 31.4 predict
guess = 0.1


# %% 31.5 check
def copying(matrix):
    values = torch.linalg.eigvals(matrix)
    return values.real.sum() / values.abs().sum()


# %% 32.1 check
def straight(end, clean, corrupted, read, corrupted_answer):
    answer = read(end)
    return (read(end - clean + corrupted) - answer) / (corrupted_answer - answer)


# %% 32.2 check
def heard(x, change, W_Q, W_K, W_V, by):
    hears = {one: x + change if one == by else x for one in ("queries", "keys", "values")}
    q, k, v = hears["queries"] @ W_Q, hears["keys"] @ W_K, hears["values"] @ W_V
    s = q @ k.T / q.shape[1] ** 0.5
    return s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf).softmax(dim=1) @ v


# %% 32.3 predict
guess = 0.2

# %% 32.4 write
found = """On letters, four heads of tiny-induction's last layer act straight on the answer: exchanging what one of
them wrote brings a fifth to a quarter of the change, a random change of the same length less than a tenth. None works
against it. In SmolLM2 head 23.3 brings half of it and 29.1 a quarter, at controls below .04, while 29.0 and 24.4 work
against the answer. Head 0.2 has no straight path, and yet nothing is answered without it: later heads hear it by their
keys. I looked at one kind of text, and at paths of one or two steps; other sentences, paths through MLPs and other
models are open."""

# %% 32.4 score
points = 5


# %% 33.1 check
def frequency_shares(E):
    power = torch.fft.rfft(E, dim=0).abs().square().sum(dim=1)[1:]
    return power / power.sum()


# %% 33.2 check
def keep(E, frequencies):
    waves = torch.fft.rfft(E, dim=0)
    kept = torch.zeros_like(waves)
    kept[[0, *frequencies]] = waves[[0, *frequencies]]
    return torch.fft.irfft(kept, n=len(E), dim=0)


# %% 33.3 predict
guess = 0.3


# %% 33.4 check
def by_difference(logits):
    p = len(logits)
    i = torch.arange(p)
    d = (i[:, None, None] + i[None, :, None] - i) % p
    x = logits - logits.mean(dim=2, keepdim=True)
    mean = torch.stack([x[d == g].mean() for g in range(p)])
    return 1 - (x - mean[d]).square().sum() / x.square().sum()


# %% 33.5 check
missing = 5


# %% 34.1 check
def threshold(scores, rate):
    return scores.sort(descending=True).values[int(rate * len(scores))]


# %% 34.2 check
def scores(states, text, direction):
    along = states @ (direction / direction.norm())
    sums = torch.zeros(int(text.max()) + 1).index_add_(0, text, along)
    return sums / text.bincount()


# %% 34.3 predict
guess = 0.8


# %% 34.4 check
def at_most(n):
    return 1 - 0.05 ** (1 / n)


# %% 34.5 write
case = """Claim: at 5 % false alarms the monitor catches at least 95 % of the texts of a copy taught to say "So it was."
Argument: the phrase changes what the model prepares after each sentence, in any such copy, and the mean difference
points there. Evidence: it caught 60 of 60 texts of a copy that it was not built on, where at most 4.9 % can be missed;
harmless copies raised 6 %, random directions 19 %. Counting words does as well. It says nothing of moods or animals,
which it did not see. A third copy with fewer than 57 of 60 caught refutes it."""

# %% 34.5 score
points = 6


# %% 35.1 check
def agreement(x, y, half):
    one = x[half].mean(dim=0) - y[half].mean(dim=0)
    other = x[~half].mean(dim=0) - y[~half].mean(dim=0)
    return one @ other / (one.norm() * other.norm())


# %% 35.2 predict
guess = 0.8


# %% 35.3 check
def capped(x, v, most):
    unit = v / v.norm()
    over = (x @ unit - most).clamp(min=0)
    return x - over[:, None] * unit


# %% 35.4 predict
guess = 0.7

# %% 35.5 write
found = """Two halves of the texts agree on the direction a little better than shuffled groups do, and it puts all sixteen other
texts on the right side; but the best of 100 random directions has a high AUC on so few texts too. At equal effect the cap
costs neutral texts less than the push. While the model writes, the watch is higher for the glad text than for
the sad one, and the random direction is not. Other texts, layers and models are open."""

# %% 35.5 score
points = 5


# %% 36.1 check
def fitted(means, values, frequencies, period, at):
    def columns(u):
        turns = u[:, None] * torch.tensor(frequencies) * 2 * torch.pi / period
        return torch.cat([torch.ones(len(u), 1), turns.cos(), turns.sin()], dim=1).to(means)

    weights = torch.linalg.lstsq(columns(values), means).solution
    return columns(at) @ weights


# %% 36.2 predict
guess = 13


# %% 36.3 check
def moved(x, points, steps):
    here = torch.cdist(x, points).argmin(dim=1)
    there = (here + steps) % len(points)
    return x + points[there] - points[here]


# %% 36.4 predict
guess = 0.2

# %% 36.5 write
found = """The sums of tiny-modular lie on a curve: put on a curve through 27 sums, all 26 left-out ones are read right, on the
chord between their neighbours none, and none when the chord is moved as far out or the sums are shuffled. Days, months and
numbers of SmolLM2 do not: no left-out word is read right, though it is more probable on the curve in order (.10) than
shuffled (.04). Larger models, other layers and other states are open."""

# %% 36.5 score
points = 5


# %% 37.1 check
def contrast(later, earlier, temperature):
    scores = (
        torch.nn.functional.normalize(later, dim=1)
        @ torch.nn.functional.normalize(earlier, dim=1).T
    )
    scores = scores / temperature
    own = torch.arange(len(scores))
    choose = torch.nn.functional.cross_entropy
    return (choose(scores, own) + choose(scores.T, own)) / 2


# %% 37.2 predict
guess = 0.2


# %% 37.3 write
said = """High-level codes of T-SAE have a cosine of .50 at neighbouring tokens, a plain SAE's .17, and with strangers as partners
.18: the neighbours make them smooth. The smoothest fifth of the plain SAE comes to .39, but with a quarter of the atoms in
use. Ten atoms a topic read .40 of the topics, a plain SAE's .37, what Temporal predicts .39. It costs .02 of R². In pushing a
topic T-SAE is ahead on four of five seeds, which is not enough. Larger models are open."""


# %% 37.3 score
points = 4


# %% 38.1 check
def held(W, b, keep, mean):
    return torch.cat([keep[:, None] * W, (b + ((1 - keep) * mean) @ W)[None]])


# %% 38.2 predict
guess = 0.2


# %% 39.1 predict
guess = 0.7


# %% 39.2 predict
guess = 5


# %% 40.1 check
def strength(pattern, x, read):
    return pattern @ (x @ read)


# %% 40.2 predict
guess = 0.9


# %% 41.1 check
def floor(y, c):
    right = 0
    for one in c.unique():
        true, n = int(y[c == one].sum()), int((c == one).sum())
        right += max(true, n - true)
    return right / len(y)


# %% 41.2 predict
guess = 0.8


# %% 41.3 check
def over_cells(right, y, c):
    cells = [(y == a) & (c == b) for a in (True, False) for b in (True, False)]
    return sum(right[cell].float().mean() for cell in cells) / len(cells)


# %% 41.4 predict
guess = 0.8

# %% 41.5 check
read = "what belongs together"

# %% 41.6 write
found = """Held-out texts of the same kind share the confound, so I ask what else goes with the label: on tiny-gpt counting words
was always right where the writers were the same, and on SmolLM2 pairs of words were; shuffled labels gave about a half. Then I ask
for texts where both writers write both: there the probe of block 2 fell to a half, block 3 stayed. The probe of truth was
right on 85 % of mixed statements and on 30 % of denials, so it reads which city belongs to which country."""

# %% 41.6 score
points = 5


# %% 42.1 check
def looks(patterns, place, source):
    n = torch.arange(len(patterns))
    return patterns[n, :, :, place, source].mean(dim=0)


# %% 42.2 check
def exchanged(clean, corrupted, heads, n_heads):
    x = clean.reshape(len(clean), n_heads, -1).clone()
    x[:, heads] = corrupted.reshape(len(clean), n_heads, -1)[:, heads]
    return x.reshape(clean.shape)


# %% 42.3 predict
guess = 0.6

# %% 42.4 check
because = "the same in both runs"

# %% 42.5 predict
guess = 0.5

# %% 42.6 write
said = """SmolLM2 has heads that look where each of the five kinds looks. Exchanged together they bring the whole change,
other heads of the same layers next to nothing, and put into the other run they bring it back. But name movers bring little: the
heads that look at the name that comes again bring most. Duplicate-token heads are there and not needed. Previous-token heads
write the same in both runs, so that this exchange cannot see them. Paths between kinds and other sentences are open."""

# %% 42.6 score
points = 6


# %% 43.1 check
def readings(x, v, neutral):
    unit = v / v.norm()
    usual = neutral @ unit
    low, middle, high = usual.quantile(0.05), usual.quantile(0.5), usual.quantile(0.95)
    a = x @ unit - middle
    return torch.where(a > 0, a / (high - middle), a / (middle - low))


# %% 43.2 check
def log_odds(logits, up, down):
    return (logits[:, down].logsumexp(dim=1) - logits[:, up].logsumexp(dim=1)).mean()


# %% 43.3 check
def gated(x, v, by, over):
    unit = v / v.norm()
    step = (x @ unit > over)[:, None] * by
    return x - step * unit


# %% 43.4 check
def cost(clean, edited):
    log_p, log_q = clean.log_softmax(dim=-1), edited.log_softmax(dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)[1:].mean()


# %% 43.5 predict
guess = 0.3

# %% 43.6 check
because = "it moves a token by what is over"

# %% 43.7 write
found = """The push moved the log-odds of formal next words by several nats, random directions of the same length by next to
nothing: so the direction is about the manner. But ordinary prose paid for it, and it paid as much for random directions: the cost
is that of the length. At equal effect the gated push cost about a third and the cap about 4 % of it, so I would cap. The watch
reads informal beginnings above formal ones, a random direction does not. Open: other words, longer texts, other manners."""

# %% 43.7 score
points = 5


# %% 44.1 check
def stability(change):
    change = change - change.mean(dim=1, keepdim=True)
    unit = change / change.norm(dim=1, keepdim=True)
    n = len(unit)
    cosines = unit @ unit.T
    return (cosines.sum() - cosines.trace()) / (n * (n - 1))


# %% 44.2 check
def spread(clean, pushed):
    change = pushed.softmax(dim=1) - clean.softmax(dim=1)
    total, energy = change.abs().sum(dim=1), change.square().sum(dim=1)
    return (total**2 / energy).mean()


# %% 44.3 check
def amount(kl_at, target):
    low, high = 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        if kl_at(middle) < target:
            low = middle
        else:
            high = middle
    return middle


# %% 44.4 check
def held_out(fit, x, y, fold):
    told = y.clone()
    for i in set(fold.tolist()):
        own, others = fold == i, fold != i
        told[own] = fit(x[others], y[others])(x[own])
    return told


# %% 44.5 check
def beyond(foretell, rank, y, orders):
    found, chance = rank(foretell(y), y), -1.0
    for order in orders:
        shuffled = y[order]
        chance = max(chance, rank(foretell(shuffled), shuffled))
    return found - chance


# %% 44.6 check
because = "it knows how long the push is"

# %% 44.7 predict
guess = 0.6

# %% 44.8 write
found_out = """On held-out atoms of SmolLM2 the order of stability was predicted with a rank correlation of about .4, above the
largest of twenty shuffles, but density alone reached as much: what is known is how often the atom fires. Spread at equal KL was not
predicted at all. Stability was read at each atom's own p99. In the mean atoms are steadier than random directions, so I would push this atom
by its p99 in a dozen texts and look. Open: other blocks, longer texts, larger models."""

# %% 44.8 score
points = 5


# %% 45.1 check
def lift(fires):
    p = fires.mean(dim=0)
    return fires.T @ fires / len(fires) / torch.outer(p, p)


# %% 45.2 check
def tie(a, b, cause):
    found = []
    for on in (0, 1):
        x, y = a[cause == on], b[cause == on]
        both = (x * y).sum() + 0.5
        neither = ((1 - x) * (1 - y)).sum() + 0.5
        only_a = (x * (1 - y)).sum() + 0.5
        only_b = ((1 - x) * y).sum() + 0.5
        found.append((both * neither / (only_a * only_b)).log())
    return torch.stack(found)


# %% 45.3 check
because = "a common cause"


# %% 45.4 check
def drawn(z, dictionary, group):
    own = z[:, group]
    points = own[(own != 0).any(dim=1)] @ dictionary[group]
    return points - points.mean(dim=0)


# %% 45.5 check
def on_a_ring(y):
    out = (y - y.mean(dim=0)).norm(dim=1)
    return 1 - (out - out.mean()).square().sum() / out.square().sum()


# %% 45.6 predict
guess = 0.5

# %% 45.7 predict
share = 0.9

# %% 45.8 write
claim = """The search found all ten planted manifolds, six rings, two lines and two sheets, and nobody had told it of one. Groups drawn
at random, permuted firings and the SAE before training showed none of them, so the shapes are not made by the search. Couplings take off
what two atoms owe to a third; by correlations only about half of the groups came out. A shape in what the SAE writes need not be one that
a model uses. Open: real models, and circles that are tiled by many atoms."""

# %% 45.8 score
points = 5


# %% lab_01.1 check
def tied(z):
    shared = z.T @ z
    return shared - torch.diag(shared.diagonal())


# %% lab_01.2 check
sharpness = (1 + 2 * 0.5) / (2 * 4)

# %% lab_01.3 predict
guess = 0.8

# %% lab_01.4 check
read_off = "0"


# %% lab_02.1 check
def top_down(z, ridge):
    return torch.linalg.solve(z @ z.T + ridge * torch.eye(len(z)), z)


# %% lab_02.2 check
at_zero = 500 / 2

# %% lab_02.3 predict
guess = 0.0

# %% lab_02.4 check
read_off = 12


# %% lab_03.1 check
def step(h, v, m, dt):
    around = torch.nn.functional.pad(h, (1, 1, 1, 1))
    beside = around[1:-1, :-2] + around[1:-1, 2:]
    v = v + dt * (around[:-2, 1:-1] + around[2:, 1:-1] + beside - 4 * h) * m
    return torch.stack([(h + dt * v) * m, v])


# %% lab_03.2 check
side = math.pi / (2 * math.asin(0.4425 / math.sqrt(8))) - 1

# %% lab_03.3 predict
guess = 0.35

# %% lab_03.4 check
read_off = "15"


# %% lab_04.1 check
def step(z, x, h, b, size, weight):
    eta = torch.nn.functional.conv_transpose1d(z[None, None], h[None, None])[0, 0] + b
    left = x - eta.exp()
    slope = torch.nn.functional.conv1d(left[None, None], h[None, None])[0, 0]
    return torch.relu(z + size * slope - size * weight)


# %% lab_04.2 check
length = 1 / (0.6 + 0.8) ** 2

# %% lab_04.3 predict
guess = 0.4

# %% lab_04.4 check
read_off = "0.03"


# %% lab_05.1 check
def loss(f_reference, f_data, w):
    return w * f_reference.expm1().sum() - f_data.sum()


# %% lab_05.2 predict
guess = 0.15

# %% lab_05.3 check
n_toys = 999

# %% lab_05.4 check
read_off = 6

# %% lab_06.1 check
error_bar = (1 / 0.5**2 + 1) ** -0.5


# %% lab_06.2 check
def diagonal(solve, signs):
    return (signs * solve(signs)).mean(dim=0)


# %% lab_06.3 predict
guess = 0.8

# %% lab_06.4 check
read_off = "10%"


# %% lab_07.1 check
def changed(x, gamma):
    before = torch.cat([x[:1], x[:-1]])
    return x + gamma * (x - before)


# %% lab_07.2 check
gain = 1 + 2 * 2

# %% lab_07.3 predict
guess = 0.3

# %% lab_07.4 check
read_off = "1"


# %% lab_08.1 check
def orbit(b, A, G):
    rows = [b]
    for _ in range(G - 1):
        rows.append(A @ rows[-1])
    return torch.stack(rows)


# %% lab_08.2 check
order = 6

# %% lab_08.3 predict
guess = 20

# %% lab_08.4 check
read_off = 2


# %% lab_09.1 check
def apart(a, b):
    cosines = torch.linalg.svdvals(a.T @ b).clamp(-1, 1)
    return cosines.acos().square().sum().sqrt()


# %% lab_09.2 check
p = (1 + 4) / (1 + 99)

# %% lab_09.3 predict
guess = 0.6

# %% lab_09.4 check
read_off = "yes"


# %% lab_10.1 check
def guess(query, patches, centres, a, b):
    apart = (query - a * patches).square().sum(dim=1)
    return (-apart / (2 * b**2)).softmax(dim=0) @ centres


# %% lab_10.2 check
times = 4 * 4

# %% lab_10.3 predict
share = 0.15

# %% lab_10.4 check
read_off = "15"
