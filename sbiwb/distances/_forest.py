"""C2ST by a random forest: what papers since 2024 report, and no other number than `c2st` where two
samples differ little.

Needs scikit-learn, which `pip install "sbiwb[benchmark]"` brings.
"""

from __future__ import annotations

import numpy as np

from sbiwb.distances._c2st import Split, splits_of
from sbiwb.extras import imported


def c2st_forest(
    reference: np.ndarray, draws: np.ndarray, *, seed: int = 1, folds: int = 5
) -> float:
    """Accuracy of scikit-learn's random forest between two samples, on draws it was not trained on.

    As `sbi` has it, and with it NPE-PFN, Simformer and GenSBI: 100 trees grown to the end, columns
    z-scored by the reference, folds and trees of one seed. It is another number than `c2st`, with
    10,000 draws each: of two normals in the plane whose sds differ by 1.2, .527 where the
    perceptron says .565 and the best is .567; of two in ten dimensions whose sds differ by 1.1,
    .559 where the perceptron says .523 and the best is .583. It depends on the number of draws:
    compare at the same.

    Args:
        reference: Draws of the reference posterior, (S, D).
        draws: Draws of the posterior that is judged, (S, D).
        seed: Of the folds and of the forest, as scikit-learn's `random_state`.
        folds: Of the cross-validation.

    Returns:
        Mean accuracy over the folds: 0.5 to 1, up to chance.

    Raises:
        ConfigError: scikit-learn is not installed.
        ValueError: As `c2st`.

    References:
        Lopez-Paz & Oquab (2017), https://arxiv.org/abs/1610.06545
        Gloeckler et al. (2024), https://arxiv.org/abs/2404.09636
        Vetter et al. (2025), https://arxiv.org/abs/2504.17660
        Breiman (2001), https://doi.org/10.1023/A:1010933404324
    """
    splits = splits_of(reference, draws, seed, folds)
    return float(np.mean([_accuracy(split, seed) for split in splits]))


def _accuracy(split: Split, seed: int) -> float:
    """Of a forest of scikit-learn's defaults, on one core."""
    ensemble = imported("sklearn.ensemble", extra="benchmark", where="c2st_forest")
    forest = ensemble.RandomForestClassifier(random_state=seed)
    forest.fit(split.train.x, split.train.y)
    return float(forest.score(split.test.x, split.test.y))
