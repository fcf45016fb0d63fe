"""What the tests of injecting attacks share."""

import pytest
from torch import nn

from lit_xai.types import Batch
from tests.attacks.test_base import undecided
from tests.conftest import tiny_batch
from tests.contracts import select


@pytest.fixture
def network(model: nn.Module, batch: Batch) -> nn.Module:
    return undecided(model, batch)


@pytest.fixture
def donors() -> list[Batch]:
    """40 labelled images in batches of 7."""
    pool = tiny_batch(samples=40, seed=9)
    return [select(pool, slice(first, first + 7)) for first in range(0, 40, 7)]
