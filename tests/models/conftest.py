"""Files of weights."""

import pytest
import torch


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves anything as a file of weights."""

    def save(content):
        torch.save(content, tmp_path / "weights.ckpt")
        return tmp_path / "weights.ckpt"

    return save
