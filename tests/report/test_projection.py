"""Principal components, against the covariance's eigenvectors."""

import numpy as np
import pytest

from metabridge.report.projection import project


def test_the_plane_of_most_variance() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6)) * np.array([5.0, 3.0, 1.0, 0.5, 0.2, 0.1]) + 7.0
    found = project(features.astype(np.float32))
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    np.testing.assert_allclose(found.explained, values[:2] / values.sum(), rtol=1e-5)
    spread = found.points.var(0, ddof=1)
    assert spread[0] / spread[1] == pytest.approx(values[0] / values[1], rel=1e-5)
    assert np.abs(found.points).max() == pytest.approx(1.0)
    np.testing.assert_allclose(found.points.mean(0), 0, atol=1e-6)


def test_the_same_features_give_the_same_picture() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(9, 4))
    turned = project(features[::-1]).points[::-1]
    np.testing.assert_allclose(project(features).points, turned, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 3), (5, 1), (2, 2)])
def test_few_of_them(shape: tuple[int, int]) -> None:
    features = np.arange(float(np.prod(shape))).reshape(shape)
    found = project(features)
    assert found.points.shape == (shape[0], 2)
    assert np.isfinite(found.points).all()
    assert sum(found.explained) == pytest.approx(1.0 if shape[0] > 1 else 0.0)


def test_infinite_features() -> None:
    with pytest.raises(ValueError, match="not finite"):
        project(np.array([[np.inf, 0.0]]))
