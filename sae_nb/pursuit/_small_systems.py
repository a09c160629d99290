"""The small system of one input: coefficients of the atoms chosen so far, from their Gram matrix.

Functions plain enough to be compiled for the CPU and for a GPU. With S = D_Γ D_Γᵀ, b = D_Γ x:
least squares solves S z = b by an incremental Cholesky factor; the non-negative variant is Lawson
and Hanson's active set; a gradient step moves along g = b − S z by ⟨g, g⟩ / ⟨g, S g⟩.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

LEAST_SQUARES, NON_NEGATIVE, GRADIENT, NON_NEGATIVE_GRADIENT = range(4)
"""Modes of `solve_small`."""


def solve_small(mode, S, b, z, L, passive, p, m, entering, threshold, floor, work):
    """Update the coefficients z[:m] after slot `entering` was added or chosen again."""
    # 1. a gradient step: exact line search, cut short where a coefficient would turn negative
    if mode >= GRADIENT:
        length, curvature = 0.0, 0.0
        for i in range(m):
            g = b[i]
            for j in range(m):
                g -= (S[i, j] if j <= i else S[j, i]) * z[j]
            if mode == NON_NEGATIVE_GRADIENT and z[i] <= 0.0 and g < 0.0:
                g = 0.0
            work[i] = g
            length += g * g
        for i in range(m):
            for j in range(i):
                curvature += 2.0 * work[i] * S[i, j] * work[j]
            curvature += work[i] * S[i, i] * work[i]
        if curvature <= 0.0:
            return -1
        step, blocking = length / curvature, -1
        if mode == NON_NEGATIVE_GRADIENT:
            for i in range(m):
                if work[i] < 0.0 and z[i] + step * work[i] <= 0.0:
                    step, blocking = -z[i] / work[i], i
        for i in range(m):
            z[i] += step * work[i]
        if blocking >= 0:
            z[blocking] = 0.0
        return p
    # 2. least squares, with the entering slot last
    passive[p] = entering
    first, p = p, p + 1
    for attempt in range(4 * m + 4):
        # 2a. factor the rows from `first` on
        for i in range(first, p):
            row = passive[i]
            for l in range(i + 1):
                column = passive[l]
                v = S[row, column] if column <= row else S[column, row]
                for e in range(l):
                    v -= L[i, e] * L[l, e]
                if l < i:
                    L[i, l] = v / L[l, l]
                elif v > threshold:
                    L[i, i] = v**0.5
                elif attempt == 0:
                    return -1
                else:
                    # An atom that came back during the active-set search: leave it out again.
                    return p - 1
        # 2b. solve L Lᵀ s = b
        for i in range(p):
            v = b[passive[i]]
            for e in range(i):
                v -= L[i, e] * work[e]
            work[i] = v / L[i, i]
        for i in range(p - 1, -1, -1):
            v = work[i]
            for e in range(i + 1, p):
                v -= L[e, i] * work[e]
            work[i] = v / L[i, i]
        if mode == LEAST_SQUARES:
            for i in range(p):
                z[passive[i]] = work[i]
            return p
        # 2c. go towards s until a coefficient reaches zero; that one leaves
        step, blocking = 1.0, -1
        for i in range(p):
            now = z[passive[i]]
            if work[i] <= 0.0:
                share = now / (now - work[i]) if now > work[i] else 0.0
                if blocking < 0 or share < step:
                    step, blocking = share, i
        for i in range(p):
            z[passive[i]] += step * (work[i] - z[passive[i]])
        if blocking >= 0:
            z[passive[blocking]] = 0.0
            if blocking == p - 1 and step == 0.0:
                # The newest atom would enter with a negative sign: rounding is all that is left.
                return p - 1
            for i in range(blocking, p - 1):
                passive[i] = passive[i + 1]
            first, p = blocking, p - 1
            continue
        # 2d. a slot that left may be wanted again
        steepest, entering = 0.0, -1
        for i in range(m):
            if z[i] == 0.0:
                g = b[i]
                for j in range(m):
                    g -= (S[i, j] if j <= i else S[j, i]) * z[j]
                if g > steepest:
                    steepest, entering = g, i
        if entering < 0 or steepest <= floor:
            return p
        passive[p] = entering
        first, p = p, p + 1
    return p


def refine_small(L, passive, p, z, positive, work):
    """Add S⁻¹ w to the coefficients, w = D_Γ r in `work` being what rounding left unexplained."""
    for i in range(p):
        v = work[i]
        for e in range(i):
            v -= L[i, e] * work[e]
        work[i] = v / L[i, i]
    for i in range(p - 1, -1, -1):
        v = work[i]
        for e in range(i + 1, p):
            v -= L[e, i] * work[e]
        work[i] = v / L[i, i]
    for i in range(p):
        value = z[passive[i]] + work[i]
        if value > 0.0 or not positive:
            z[passive[i]] = value
