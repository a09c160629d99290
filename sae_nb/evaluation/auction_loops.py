"""The compiled loop of the auction: unassigned atoms bid for partners until each has one or gives up."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from sae_nb.kernels.threads import compiled


@compiled()
def bid(values, columns, beyond, prices, owner, match, waiting, n_waiting, epsilon, unresolved):
    """Let waiting atoms bid; return how many gave up, their numbers in `unresolved`.

    `beyond[i]` bounds what atom i gains from any partner that its list does not hold. An atom gives up
    where its list promises less, so that the list is made anew with the prices as they are.
    """
    n_unresolved = 0
    while n_waiting > 0:
        n_waiting -= 1
        i = waiting[n_waiting]
        best, second, chosen = -1e30, beyond[i], -1
        for place in range(columns.shape[1]):
            gain = values[i, place] - prices[columns[i, place]]
            if gain > best:
                second = max(second, best)
                best, chosen = gain, columns[i, place]
            elif gain > second:
                second = gain
        if best < beyond[i]:
            unresolved[n_unresolved] = i
            n_unresolved += 1
            continue
        prices[chosen] += best - second + epsilon
        if owner[chosen] >= 0:
            match[owner[chosen]] = -1
            waiting[n_waiting] = owner[chosen]
            n_waiting += 1
        owner[chosen] = i
        match[i] = chosen
    return n_unresolved
