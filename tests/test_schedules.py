import pytest
import torch

from lit_xai.schedules import PiecewiseConstant


def rates(boundaries: list[int], factors: list[float], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    schedule = PiecewiseConstant(optimizer, boundaries, factors)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_a_boundary_is_the_last_step_of_its_piece():
    # Steps count from 0, as those of TensorFlow's piecewise_constant do.
    expected = [0.2] * 3 + [2.0] * 2 + [0.02]
    assert rates([2, 4], [0.1, 1.0, 0.01], 6) == pytest.approx(expected)


def test_one_piece_is_a_constant():
    assert rates([], [0.5], 3) == [1.0] * 3


@pytest.mark.parametrize(
    ("boundaries", "factors", "message"),
    [
        ([5], [1.0], r"Expected one more of `factors` than of `boundaries`, but got 1 and 1\."),
        ([5, 5], [1.0, 0.1, 0.01], r"Expected `boundaries` that rise, but got \[5, 5\]\."),
        ([5, 4], [1.0, 0.1, 0.01], r"Expected `boundaries` that rise, but got \[5, 4\]\."),
    ],
)
def test_refuses_pieces_that_do_not_fit(boundaries, factors, message):
    with pytest.raises(ValueError, match=message):
        rates(boundaries, factors, 1)
