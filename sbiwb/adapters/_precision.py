"""Spreads that are lost in the last digits of their numbers, such as microseconds beside a date.

Statistics and transforms are float64, where numbers near 1e9 are 1e-7 apart; the network reads
float32, where they are 64 apart.
"""

from __future__ import annotations

import numpy as np

MIN_STEPS = 32  # of the last digit in a standard deviation; less is rounding
MIN_RANGE_STEPS = 8 * MIN_STEPS  # the same of a range, some 8 standard deviations
FAR = 1e-6  # sd over mean at which sums lose too many digits
EPS = float(np.finfo(np.float64).eps)


def standardizer(
    values: np.ndarray, mean: np.ndarray, sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of each channel to standardize by; the sd is 1 where it is rounding alone.

    Sums of numbers far from 0 lose the digits that tell them apart; there, both are computed again
    around the mean.

    Args:
        values: (rows, C) float64, NaN where one is missing.
        mean: As numpy has it, (C,).
        sd: As numpy has it, (C,).

    Returns:
        Mean and sd, (C,) each.

    Example:
        >>> values = np.array([[1.1e9, 0.3], [1.1e9 + 0.001, 0.3]])
        >>> mean, sd = standardizer(values, values.mean(0), values.std(0))
        >>> sd.round(6)
        array([5.e-04, 1.e+00])
    """
    far = sd <= FAR * np.abs(mean)
    if not far.any():
        return mean, sd
    around = values - mean
    near_mean, near_sd = mean + np.nanmean(around, 0), np.nanstd(around, 0)
    constant = near_sd <= MIN_STEPS * EPS * np.abs(mean)
    sd = np.where(constant, 1.0, np.where(far, near_sd, sd))
    return np.where(far & ~constant, near_mean, mean), sd


def lost_in_float32(name: str, values: np.ndarray, single: np.ndarray) -> list[str]:
    """A sentence on each channel of values (rows, C) that varies, but hardly so as float32."""
    span = np.ptp(values, axis=0)
    error = np.abs(values - single).max(axis=0)
    lost = np.flatnonzero(~_is_constant(values) & (2 * MIN_RANGE_STEPS * error > span))
    sentences = []
    for channel in lost.tolist():
        sentences.append(
            f"{_described(name, values, channel)}, which the network's float32 cannot tell apart: "
            "the network learns little or nothing of it. Add the transform standardize."
        )
    return sentences


def lost_in_own_digits(name: str, values: np.ndarray, dtype: np.dtype) -> list[str]:
    """A sentence on each channel that comes in a floating type too coarse for its spread.

    Args:
        name: Of the variable.
        values: What came, without missing values, as float64, (rows, C).
        dtype: The type it came in; integers are exact.
    """
    if dtype.kind != "f":
        return []
    span, largest = np.ptp(values, axis=0), np.abs(values).max(axis=0)
    step = np.spacing(largest.astype(dtype)).astype(np.float64)
    counts = (values == np.rint(values)).all(axis=0) & (step <= 1)
    steps = span / step
    lost = np.flatnonzero(~_is_constant(values) & (steps < MIN_RANGE_STEPS) & ~counts)
    sentences = []
    for channel in lost.tolist():
        sentences.append(
            f"{_described(name, values, channel)}, which is {steps[channel]:.0f} steps of {dtype}, "
            "the type it comes in: its information is rounded away. Subtract a constant in the "
            "simulator and in the data, or return float64."
        )
    return sentences


def _is_constant(values: np.ndarray) -> np.ndarray:
    """Whether each channel of (rows, C) varies by rounding alone, as shares do that sum to 1."""
    return np.ptp(values, axis=0) <= 8 * EPS * np.abs(values).max(axis=0)


def _described(name: str, values: np.ndarray, channel: int) -> str:
    """How much one channel of values (rows, C) varies, in words."""
    column, label = values[:, channel], name
    if values.shape[1] > 1:
        label = f"{name}[{channel}]"
    return f"{label} varies by {np.ptp(column):g} around {column.mean():g}"
