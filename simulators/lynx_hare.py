"""Predator and prey (Lotka 1925, Volterra 1926): hares u and lynxes v.

Thousands of pelts, time in years.

    du/dt = (alpha - beta v) u,   dv/dt = (-gamma + delta u) v,
    pelts of either ~ LogNormal(log of its population, its sigma)

Integrated as q = log u, p = log v, where both populations stay positive and the system is
Hamiltonian: Yoshida's fourth-order symplectic steps keep its orbits closed, so that a prior draw
with violent cycles stays bounded. Logarithms are kept within +-`LIMIT`.

References:
    Carpenter (2018), Predator-Prey Population Dynamics,
    https://mc-stan.org/users/documentation/case-studies/lotka-volterra-predator-prey.html
    Yoshida (1990), Physics Letters A 150:262
"""

import numpy as np

STEPS = 100  # a year
LIMIT = 30.0  # of the logarithm of a population
SHARES = np.array([1, -(2 ** (1 / 3)), 1]) / (
    2 - 2 ** (1 / 3)
)  # of a step, for the three leapfrogs in it


def simulate(alpha, beta, gamma, delta, hare0, lynx0, sigma_hare, sigma_lynx, *, rng, years):
    """Rates per year (beta, delta also per thousand), first populations in thousands, log noise:
    arrays (N,).

    Returns {"hare": (N, years), "lynx": (N, years)}, the first at time 0.
    """
    q, p = populations((alpha, beta, gamma, delta), np.log(hare0), np.log(lynx0), years)
    noise = rng.standard_normal((2, *q.shape))
    return {
        "hare": np.exp(q + sigma_hare[:, None] * noise[0]),
        "lynx": np.exp(p + sigma_lynx[:, None] * noise[1]),
    }


def populations(rates, q, p, years):
    """Logarithms of both populations at times 0, 1, ..., each (N, years)."""
    found = [(q, p)]
    for _ in range(years - 1):
        for _ in range(STEPS):
            for share in SHARES:
                q, p = leapfrog(rates, q, p, share / STEPS)
        found.append((q, p))
    return np.stack(found, axis=-1)


def leapfrog(rates, q, p, dt):
    """Half a step of p, one of q, half of p."""
    alpha, beta, gamma, delta = rates
    p = limited(p + 0.5 * dt * (delta * np.exp(q) - gamma))
    q = limited(q + dt * (alpha - beta * np.exp(p)))
    return q, limited(p + 0.5 * dt * (delta * np.exp(q) - gamma))


def limited(log_population):
    return np.clip(log_population, -LIMIT, LIMIT)


def energy(rates, q, p):
    """The invariant delta u - gamma log u + beta v - alpha log v, along the last axis of q, p."""
    alpha, beta, gamma, delta = (rate[..., None] for rate in rates)
    return delta * np.exp(q) - gamma * q + beta * np.exp(p) - alpha * p


def show(x, ax):
    """Draws both series."""
    ax.semilogy(x["hare"], "o-", ms=3, color="#0072B2", label="hare")
    ax.semilogy(x["lynx"], "o-", ms=3, color="#D55E00", label="lynx")
    ax.set(xlabel="year", ylabel="thousand pelts")
    ax.legend(frameon=False, fontsize=8)
