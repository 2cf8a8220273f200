"""Closed SIR epidemic with over-dispersed counts: boys in bed, day by day.

    dS/dt = -beta S I / P,   dI/dt = beta S I / P - gamma I,   I(0) = 1, S(0) = P - 1
    in_bed(t) ~ NegativeBinomial(mean I(t), variance I(t) + phi_inv I(t)^2),   t = 1..days

Time in days, beta and gamma per day; S, I and in_bed in boys; phi_inv and R0 have no unit.

References:
    Kermack & McKendrick (1927), A contribution to the mathematical theory of epidemics,
    https://doi.org/10.1098/rspa.1927.0118
    Grinsztajn, Semenova, Margossian & Riou (2021), Bayesian workflow for disease transmission
    modeling in Stan,
    https://doi.org/10.1002/sim.9164
"""

import numpy as np

STEPS_PER_DAY = (
    20  # of RK4: relative error 3e-7 near the data, 2e-4 at beta 8; stable up to beta of about 55
)
MIN_MEAN = 1e-6  # boys: floor of the mean count
MIN_PHI_INV = 1e-8  # below it counts are Poisson to every digit
MAX_RATE = 1e12  # boys: numpy's Poisson refuses rates beyond 9e18


def simulate(beta, gamma, phi_inv, *, rng, population, days):
    """Simulates N outbreaks.

    beta, gamma, phi_inv: arrays (N,). Returns the boys in bed each day: {"in_bed": (N, days)}.
    """
    return {"in_bed": observe(prevalence(beta, gamma, population, days), phi_inv, rng)}


def prevalence(beta, gamma, population, days):
    """Infected boys at t = 1..days, (N, days)."""
    infected = np.full(beta.shape, 1 / population)
    susceptible = 1 - infected
    shares = np.empty((len(beta), days))
    for day in range(days):
        for _ in range(STEPS_PER_DAY):
            susceptible, infected = rk4_step(susceptible, infected, beta, gamma, 1 / STEPS_PER_DAY)
        shares[:, day] = infected
    return population * np.clip(shares, 0, 1)


def rk4_step(s, i, beta, gamma, h):
    """One Runge-Kutta step of the shares s and i of the population."""
    a_s, a_i = slopes(s, i, beta, gamma)
    b_s, b_i = slopes(s + h / 2 * a_s, i + h / 2 * a_i, beta, gamma)
    c_s, c_i = slopes(s + h / 2 * b_s, i + h / 2 * b_i, beta, gamma)
    d_s, d_i = slopes(s + h * c_s, i + h * c_i, beta, gamma)
    return s + h / 6 * (a_s + 2 * (b_s + c_s) + d_s), i + h / 6 * (a_i + 2 * (b_i + c_i) + d_i)


def slopes(s, i, beta, gamma):
    infection = beta * s * i
    return -infection, infection - gamma * i


def observe(mean, phi_inv, rng):
    """Negative-binomial counts (N, days) as Poisson counts with gamma-distributed rates."""
    dispersion = np.maximum(phi_inv, MIN_PHI_INV)[:, None]
    rate = np.maximum(mean, MIN_MEAN) * dispersion * rng.standard_gamma(1 / dispersion, mean.shape)
    return rng.poisson(np.minimum(rate, MAX_RATE))


def log_likelihood(x, *, beta, gamma, phi_inv, population, days):
    """log p(in_bed | beta, gamma, phi_inv) by torch: x {"in_bed": (days,)}, parameters (N,).

    Returns (N,).
    """
    import torch

    s, i = 0 * beta + (1 - 1 / population), 0 * beta + 1 / population
    shares = []
    for _ in range(days):
        for _ in range(STEPS_PER_DAY):
            s, i = rk4_step(s, i, beta, gamma, 1 / STEPS_PER_DAY)
        shares.append(i)
    mean = (population * torch.stack(shares, 1).clamp(0, 1)).clamp(min=MIN_MEAN)
    size = 1 / phi_inv.clamp(min=MIN_PHI_INV)[:, None]
    counts = x["in_bed"]
    ways = torch.lgamma(counts + size) - torch.lgamma(size) - torch.lgamma(counts + 1)
    return (
        ways - size * torch.log1p(mean / size) + counts * (mean.log() - torch.log(mean + size))
    ).sum(-1)


def derived(beta, gamma, phi_inv):
    """Basic reproduction number, and mean duration of the infection in days."""
    return {"R0": beta / gamma, "recovery_days": 1 / gamma}
