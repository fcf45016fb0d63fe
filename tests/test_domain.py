import pytest
import torch

from lit_xai.domain import check_batch, check_eps, check_pixels, check_share, project_l2, project_linf
from lit_xai.types import Batch


@pytest.fixture
def center():
    return torch.rand(5, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def outside(center):
    generator = torch.Generator().manual_seed(1)
    return center + 2 * torch.randn(center.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("project", [project_linf, project_l2])
def test_a_projection_leaves_what_it_returned(project, center, outside):
    once = project(outside, center, 0.3)
    torch.testing.assert_close(project(once, center, 0.3), once, rtol=0, atol=1e-14)


@pytest.mark.parametrize("project", [project_linf, project_l2])
def test_a_projection_leaves_what_is_inside(project, center):
    inside = (center + 0.01).clamp(0, 1)
    torch.testing.assert_close(project(inside, center, 0.1), inside, rtol=0, atol=1e-15)


def test_linf_stays_in_ball_and_box(center, outside):
    found = project_linf(outside, center, 0.3)
    assert ((found - center).abs() <= 0.3 + 1e-15).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_linf_is_nearest_among_all_feasible_values(center, outside):
    found = project_linf(outside, center, 0.3)
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)
    feasible = (grid - center[..., None]).abs() <= 0.3
    distance = (grid - outside[..., None]).abs().masked_fill(~feasible, torch.inf).amin(dim=-1)
    gain = (found - outside).abs() - distance
    assert gain.max() <= 1e-12
    assert gain.min() >= -1e-3


def test_linf_by_hand():
    image = torch.tensor([0.9, 0.9, -3.0, 0.52]).view(1, 1, 2, 2)
    center = torch.tensor([0.5, 1.0, 0.1, 0.5]).view(1, 1, 2, 2)
    expected = torch.tensor([0.75, 0.9, 0.0, 0.52]).view(1, 1, 2, 2)
    assert torch.equal(project_linf(image, center, 0.25), expected)


def test_l2_stays_in_ball_and_box(center, outside):
    found = project_l2(outside, center, 0.7)
    assert (found - center).flatten(1).norm(dim=1).max() <= 0.7 + 1e-14
    assert ((found >= 0) & (found <= 1)).all()


def test_l2_is_the_nearest_point_of_the_sphere_where_the_box_does_not_bind():
    center = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    outside = center.clone()
    outside[0, 0, 0] += torch.tensor([3.0, -4.0], dtype=torch.float64)
    outside[1, 0, 1, 1] += 0.1
    expected = center.clone()
    expected[0, 0, 0] += torch.tensor([0.12, -0.16], dtype=torch.float64)
    expected[1, 0, 1, 1] += 0.1
    torch.testing.assert_close(project_l2(outside, center, 0.2), expected, rtol=0, atol=1e-15)


def test_l2_of_the_center_is_the_center(center):
    assert torch.equal(project_l2(center, center, 0.1), center)


def test_pixels_on_the_borders_and_empty_batches_pass():
    check_pixels(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2))
    check_pixels(torch.zeros(0, 1, 2, 2))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (
            torch.zeros(1, 1, 2, 2, dtype=torch.uint8),
            TypeError,
            r"Expected floating pixels in \[0, 1\], but got torch\.uint8\. Divide 8-bit pixels by 255\.",
        ),
        (torch.zeros(1, 2, 2), ValueError, r"images of shape \(N, C, H, W\), but got \(1, 2, 2\)\."),
        (
            torch.tensor([-0.25, 2.0]).view(1, 1, 1, 2),
            ValueError,
            r"Expected pixels in \[0, 1\], but got values in \[-0\.25, 2\]\. Normalise inside the model",
        ),
        (torch.tensor([0.0, 1 + 1e-6]).view(1, 1, 1, 2), ValueError, r"Expected pixels in \[0, 1\]"),
        (torch.tensor([0.5, torch.nan]).view(1, 1, 1, 2), ValueError, r"but got values in \[nan, nan\]"),
        (torch.tensor([0.5, torch.inf]).view(1, 1, 1, 2), ValueError, r"but got values in \[0\.5, inf\]"),
    ],
)
def test_refuses_what_is_not_a_batch_of_pixels(image, error, message):
    with pytest.raises(error, match=message):
        check_pixels(image)


def test_radii_up_to_the_whole_range_pass():
    check_eps(1.0)
    check_eps(1e-6)


@pytest.mark.parametrize(
    ("eps", "shown"), [(0.0, "0"), (-0.1, r"-0\.1"), (8, "8"), (1.01, r"1\.01"), (float("nan"), "nan")]
)
def test_refuses_a_radius_out_of_range(eps, shown):
    with pytest.raises(
        ValueError, match=rf"Expected `eps` in \(0, 1\], but got {shown}\. Write 8/255 as 0\.0314"
    ):
        check_eps(eps)


def test_names_the_option():
    with pytest.raises(ValueError, match="Expected `step_size` in"):
        check_eps(2, "step_size")


def test_a_share_of_one_is_allowed():
    assert check_share("k", 1.0) is None
    with pytest.raises(ValueError, match=r"Expected `k` in \(0, 1\], but got 1\.0001\."):
        check_share("k", 1.0001)


def batch_of(**changes) -> Batch:
    parts = {"image": torch.rand(4, 2, 3, 3), "label": torch.arange(4), "sample_id": torch.arange(20, 24)}
    return Batch(**{**parts, **changes})


def with_pixel(value: float) -> torch.Tensor:
    image = torch.zeros(4, 2, 3, 3)
    image[2, 1, 0, 2] = value
    image[3] = 7
    return image


def test_a_batch_within_its_ranges_is_taken():
    check_batch(batch_of(), 4, "train")
    check_batch(batch_of(image=torch.rand(4, 2, 3, 3).half()), 4, "train")
    empty = torch.tensor([], dtype=torch.long)
    check_batch(Batch(torch.rand(0, 2, 3, 3), empty, empty), 4, "train")


@pytest.mark.parametrize(
    ("value", "words"),
    [(255, "255"), (-0.5, "-0.5"), (1 + 2**-20, "1.00000095"), (torch.nan, "nan"), (torch.inf, "inf")],
)
def test_the_first_pixel_out_of_range_is_named(value, words):
    with pytest.raises(ValueError, match=r"^Expected ") as found:
        check_batch(batch_of(image=with_pixel(value)), 4, "val")
    assert str(found.value) == (
        f"Expected pixels in [0, 1], but got {words} in sample 22 of the val split. "
        "Normalise inside the model, not in the data."
    )


@pytest.mark.parametrize("label", [-1, 4])
def test_the_first_label_out_of_range_is_named(label):
    with pytest.raises(ValueError, match=r"^Expected ") as found:
        check_batch(batch_of(label=torch.tensor([0, label, 1, 9])), 4, "test")
    assert str(found.value) == f"Expected labels in [0, 3], but got {label} in sample 21 of the test split."


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"label": torch.zeros(4)},
            TypeError,
            "labels of torch.int64 in the train split, but got torch.float32",
        ),
        (
            {"sample_id": torch.arange(4).int()},
            TypeError,
            "positions of torch.int64 in the train split, but got",
        ),
        ({"label": torch.zeros(4, 3).long()}, ValueError, r"labels of shape \(4,\) .*, but got \(4, 3\)"),
        ({"sample_id": torch.arange(3)}, ValueError, r"positions of shape \(4,\) .*, but got \(3,\)"),
        ({"image": torch.zeros(4, 2, 3, 3).byte()}, TypeError, "floating pixels in .*, but got torch.uint8"),
        ({"image": torch.zeros(4, 3, 3)}, ValueError, r"images of shape \(N, C, H, W\), but got \(4, 3, 3\)"),
    ],
)
def test_a_batch_of_another_kind_is_refused(changes, error, message):
    with pytest.raises(error, match=f"^Expected {message}"):
        check_batch(batch_of(**changes), 4, "train")
