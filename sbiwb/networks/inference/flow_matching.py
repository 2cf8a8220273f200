r"""Flow matching: a vector field carries noise to the posterior, trained without solving equations.

The straight path of noise e to z is z_t = a e + t z with a = 1 - (1 - sigma_min) t, at constant
speed u = z - (1 - sigma_min) e, and the field v is fitted to it by E |v(t, z_t; h) - u|^2. Written
in polar form, with the radius s = sqrt(a^2 + t^2) and the angle p = atan2(t, a),

    y = z_t / s = e cos p + z sin p,   v = (ds/dt) y + w(p, y; h) / s,
    |v - u|^2 = |w - (z cos p - e sin p)|^2 / s^2,

so that a network for w sees inputs and targets of unit variance, and w = 0, which is the untrained
network, moves nothing: it is the prior, without an error of the solver. Draws solve dy/dp = w(p, y;
h) from p = 0 to atan2(1, sigma_min), and

    log q(z | h) = log N(y_0) - integral of trace(dw/dy) dp - D log s_1

solves it back, the trace exact. Before all that, z is standardized by a mean and a scale which a
small network gives for each h, fitted by maximum likelihood beside the field (`affine`): a
posterior much narrower than its prior would otherwise need a field too steep to learn.

Far out the field sees columns squashed to [-20, 20] and is bounded, hence so is the way a draw
goes, and densities stay finite.

References:
    Lipman, Chen, Ben-Hamu, Nickel & Le (2023), Flow Matching for Generative Modeling,
    https://arxiv.org/abs/2210.02747
    Wildberger et al. (2023), Flow Matching for Scalable Simulation-Based Inference,
    https://arxiv.org/abs/2305.17161
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sbiwb.contracts import InferencePart
from sbiwb.contracts.network_modules import InferenceModule
from sbiwb.networks.inference import _ode
from sbiwb.networks.inference._sizes import require_context
from sbiwb.networks.summary._layers import Width

FAR = 20.0  # the field sees |y| squashed below it
FREQUENCIES = 6  # of the angle
POINTS = 8  # times and noises of each pair in validation; a power of two, for Sobol points
LOG_SCALE = math.log(1e-3)  # the standardizing scale lies between 1e-3 and 1e3

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


class VectorField(nn.Module):
    """w(p, y; h): a residual perceptron whose layers the angle and the features scale and shift.

    Args:
        columns: D.
        context: H.
        hidden: Width of each hidden layer; neighbours of one width are joined by a residual.
        activation: Before each layer but the first.

    References:
        Perez, Strub, de Vries, Dumoulin & Courville (2018), FiLM, https://arxiv.org/abs/1709.07871
    """

    frequencies: Tensor

    def __init__(self, columns: int, context: int, hidden: list[int], activation: str) -> None:
        super().__init__()
        frequencies = 2.0 * torch.arange(1, FREQUENCIES + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        width = hidden[0]
        self.features = nn.Linear(context, width)
        self.columns = nn.Linear(2 * columns, width, bias=False)
        self.angle = nn.Linear(2 * FREQUENCIES, width, bias=False)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(hidden))
        self.films = nn.ModuleList(nn.Linear(width, 2 * after) for after in hidden[1:])
        self.last, self.activation = nn.Linear(hidden[-1], columns), _ACTIVATIONS[activation]()
        begin_at_zero(self.last)

    def forward(self, angle: Tensor, y: Tensor, given: Tensor) -> Tensor:
        """w (B, D) at angles (B, 1) and y (B, D), with what `given` makes."""
        size, waves = y.shape[1], angle * self.frequencies
        ends = [given.shape[1] - 2 * size, given.shape[1] - size]
        features, mean, log_scale = given.tensor_split(ends, 1)
        condition = features + self.angle(torch.cat([waves.cos(), waves.sin()], 1))
        places = [_squashed(y), _squashed(mean * angle.sin() + log_scale.exp() * y)]
        x = condition + self.columns(torch.cat(places, 1))
        return self.last(self.activation(self._through(x, self.activation(condition))))

    def _through(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, W) after all layers."""
        for layer, film in zip(self.layers, self.films, strict=True):
            scale, shift = film(condition).chunk(2, 1)
            after = layer(self.activation(x)) * (1 + scale) + shift
            x = x + after if after.shape == x.shape else after
        return x

    def given(self, features: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """What does not change along a path, side by side.

        That is the features (B, H) through a layer, mean and log-scale (B, D) of z. With the latter
        the field sees where y is before it was standardized, too: the shape of a posterior is often
        simplest there.
        """
        return torch.cat([self.features(features), mean, log_scale], 1)


def _squashed(y: Tensor) -> Tensor:
    return y * (1 + (y / FAR).square()).rsqrt()


def begin_at_zero(layer: nn.Linear) -> None:
    """Weights and biases 0, free to be trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class Standardizing(nn.Module):
    """Mean and log-scale (B, D) of z given the features (B, H), at first 0."""

    def __init__(self, columns: int, context: int, width: int, activation: str) -> None:
        super().__init__()
        first, last = nn.Linear(context, width), nn.Linear(width, 2 * columns)
        self.net = nn.Sequential(first, _ACTIVATIONS[activation](), last)
        begin_at_zero(last)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.net(features).chunk(2, -1)
        return mean, raw / (1 + (raw / LOG_SCALE).abs())


class FlowMatching(InferenceModule):
    """Density of z (B, D) given features (B, H).

    Args:
        field: w.
        standardizing: Mean and log-scale of z given the features, or None for 0.
        config: How it is trained and solved.
    """

    def __init__(
        self, field: VectorField, standardizing: Standardizing | None, config: Config
    ) -> None:
        super().__init__()
        self.field, self.standardizing, self.config = field, standardizing, config
        self.end = math.atan2(1, config.sigma_min)
        self.log_radius = 0.5 * math.log1p(config.sigma_min**2)

    @property
    def likelihood(self) -> bool:
        return False

    def loss(self, z: Tensor, features: Tensor) -> Tensor:
        """|v - u|^2 at a random time and noise, (B,).

        Where there is a standardizing normal its negative log-density is added. In evaluation mode
        the mean over `POINTS` times and noises of each pair that are the same at every call:
        scrambled Sobol points.

        Args:
            z: (B, D).
            features: (B, H).
        """
        mean, log_scale = self._standard(z, features)
        standard = (z - mean) * (-log_scale).exp()
        gaussian = 0.5 * standard.square().sum(-1) + log_scale.sum(-1)
        given = self.field.given(features, mean.detach(), log_scale.detach())
        mismatch = self._mismatch(standard.detach(), given)
        if self.standardizing is None:
            return mismatch
        return gaussian + mismatch

    def log_prob(self, z: Tensor, features: Tensor) -> Tensor:
        """log q(z | features), (B,), exact up to the solver's tolerance."""
        mean, log_scale = self._standard(z, features)
        y = (z - mean) * (-log_scale - self.log_radius).exp()
        given = self.field.given(features, mean, log_scale)

        def slope(angle: Tensor, state: Tensor, rows: Tensor) -> Tensor:
            return torch.cat(_with_trace(self.field, angle, state[:, :-1], given[rows]), 1)

        state = self._solve(slope, torch.cat([y, torch.zeros_like(y[:, :1])], 1), self.end, 0.0)
        log_det = state[:, -1]  # the integral of the trace from the end to the start
        normal = -0.5 * (state[:, :-1].square() + math.log(2 * math.pi)).sum(-1)
        return normal + log_det - (log_scale + self.log_radius).sum(-1)

    def transport(self, noise: Tensor, features: Tensor) -> Tensor:
        """z (N, S, D) of standard normal noise (N, S, D), given features (N, H)."""
        mean, log_scale = self._standard(noise, features)
        given, draws = self.field.given(features, mean, log_scale), noise.shape[1]

        def slope(angle: Tensor, y: Tensor, rows: Tensor) -> Tensor:
            return self.field(angle, y, given[rows.div(draws, rounding_mode="floor")])

        y = self._solve(slope, noise.flatten(0, 1), 0.0, self.end).view(noise.shape)
        return mean[:, None] + (log_scale + self.log_radius).exp()[:, None] * y

    def _standard(self, like: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        if self.standardizing:
            return self.standardizing(features)
        zero = like.new_zeros(len(features), like.shape[-1])
        return zero, zero

    def _mismatch(self, z: Tensor, given: Tensor) -> Tensor:
        """|v - u|^2 of each pair of z (B, D) and what is given with it, (B,)."""
        if self.training:
            return self._mismatch_at(*_random(z), z, given)
        z, given = z.repeat_interleave(POINTS, 0), given.repeat_interleave(POINTS, 0)
        return self._mismatch_at(*_fixed(z), z, given).view(-1, POINTS).mean(1)

    def _mismatch_at(self, uniform: Tensor, noise: Tensor, z: Tensor, given: Tensor) -> Tensor:
        """|v - u|^2 at times made of uniform numbers (B, 1) and at this noise (B, D), (B,)."""
        t = uniform ** (1 / (1 + self.config.time_power))
        a = 1 - (1 - self.config.sigma_min) * t
        angle = torch.atan2(t, a)
        wanted = z * angle.cos() - noise * angle.sin()
        wrong = self.field(angle, noise * angle.cos() + z * angle.sin(), given) - wanted
        return (wrong.square() / (a.square() + t.square())).sum(-1)

    def _solve(self, field: _ode.Field, y: Tensor, start: float, end: float) -> Tensor:
        options = self.config
        return _ode.solve(
            field,
            y,
            start,
            end,
            solver=options.solver,
            steps=options.steps,
            tolerance=options.tolerance,
        )


def _random(z: Tensor) -> tuple[Tensor, Tensor]:
    """Uniform numbers (B, 1) and noise (B, D) for z (B, D), from torch's global generator."""
    return torch.rand_like(z[:, :1]), torch.randn_like(z)


def _fixed(z: Tensor) -> tuple[Tensor, Tensor]:
    """The same without random numbers: Sobol points, so spread well over any run of rows."""
    engine = torch.quasirandom.SobolEngine(1 + z.shape[1], scramble=True, seed=0)
    points = engine.draw(len(z), dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return points[:, :1].to(z), torch.special.ndtri(points[:, 1:]).to(z)


def _with_trace(
    field: VectorField, angle: Tensor, y: Tensor, given: Tensor
) -> tuple[Tensor, Tensor]:
    """w (B, D) and the trace of its Jacobian by y, (B, 1).

    By a backward pass for each column: forward derivatives took twice the time.
    """
    again = torch.is_grad_enabled()
    diagonal = []
    with torch.enable_grad():
        y = y.clone().requires_grad_()
        w = field(angle, y, given)
        for place, column in enumerate(w.unbind(1)):
            (row,) = torch.autograd.grad(column.sum(), y, create_graph=again, retain_graph=True)
            diagonal.append(row[:, place])
    return w, torch.stack(diagonal).sum(0)[:, None]


class Config(InferencePart):
    """The field's network, its training and its solver."""

    hidden: Annotated[list[Width], Field(min_length=1, max_length=32)] = Field(
        [64, 64, 64],
        description=(
            "Width of each hidden layer of the field; neighbours of one width are joined by a "
            "residual."
        ),
    )
    activation: Literal["silu", "gelu", "elu", "tanh"] = Field(
        "silu", description="Before each layer; smooth ones need fewer solver steps."
    )
    affine: bool = Field(
        True,
        description=(
            "Whether a mean and a scale for each data set, learned beside the field, bring narrow "
            "posteriors to unit size."
        ),
    )
    solver: Literal["adaptive", "rk4", "midpoint", "euler"] = Field(
        "adaptive",
        description=(
            "How draws and densities are computed: Dormand-Prince with steps by tolerance, or "
            "equal steps."
        ),
    )
    steps: int = Field(32, ge=1, le=10_000, description="Equal steps of rk4, midpoint and euler.")
    tolerance: float = Field(
        1e-4,
        ge=1e-10,
        le=0.1,
        description=(
            "Error of one adaptive step, relative and absolute; single precision ends at 1e-6."
        ),
    )
    sigma_min: float = Field(
        1e-4,
        ge=0,
        le=0.1,
        description="Width of the noise left at the end of the path, for standardized theta.",
    )
    time_power: float = Field(
        0.0,
        gt=-1,
        le=20,
        description=(
            "Times are trained on with density proportional to t^time_power; above 0: late ones "
            "more."
        ),
    )

    @property
    def head_widths(self) -> list[int]:
        return self.hidden

    def build(self, features: int, context: int) -> FlowMatching:
        """The flow of D columns given H features.

        Args:
            features: D.
            context: H.

        Raises:
            ConfigError: If there is no context.
        """
        require_context(context)
        field = VectorField(features, context, self.hidden, self.activation)
        standardizing = None
        if self.affine:
            standardizing = Standardizing(features, context, self.hidden[0], self.activation)
        return FlowMatching(field, standardizing, self)
