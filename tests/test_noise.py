import itertools
import math

import pytest
import scipy.stats
import torch

from lit_xai.noise import Noise

DRAWS = 100_000
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(bits: int) -> int:
    """Return the output function of SplitMix64 (Steele et al., 2014) in Python's own integers."""
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


def splitmix(state: int, draws: int) -> list[int]:
    return [mix((state + counter * GOLDEN) & MASK) for counter in range(1, draws + 1)]


def reference_bits(seed: int, sample_id: int, draws: int) -> list[int]:
    return splitmix(mix((mix((sample_id * GOLDEN) & MASK) + seed) & MASK), draws)


def samples(count: int = DRAWS, dtype: torch.dtype = torch.float64) -> tuple[Noise, torch.Tensor]:
    return Noise(0, torch.arange(count)), torch.zeros(count, dtype=dtype)


def inside_one_sample(dtype: torch.dtype = torch.float64) -> tuple[Noise, torch.Tensor]:
    return Noise(0, torch.tensor([12345])), torch.zeros(1, DRAWS, dtype=dtype)


KINDS = {
    "uniform": lambda noise, like: noise.uniform(like, -1, 2),
    "normal": lambda noise, like: noise.normal(like),
    "signs": lambda noise, like: noise.signs(like),
    "integers": lambda noise, like: noise.integers(1000, tuple(like.shape[1:])),
}


def test_the_reference_gives_the_published_sequence():
    # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
    assert splitmix(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(("seed", "sample_id"), [(0, 0), (0, 1), (2**63 + 5, 0), (-3, 10**9), (7, -1)])
def test_draws_are_those_of_splitmix64(seed, sample_id):
    noise = Noise(seed, torch.tensor([sample_id]))
    bits = reference_bits(seed, sample_id, 5)
    like = torch.zeros(1, 5, dtype=torch.float64)
    assert noise.uniform(like)[0].tolist() == [(word >> 11) / 2**53 for word in bits]
    assert noise.uniform(like.float())[0].tolist() == [(word >> 40) / 2**24 for word in bits]
    assert noise.signs(like)[0].tolist() == [-1.0 if word >> 63 else 1.0 for word in bits]
    assert noise.integers(1000, (5,))[0].tolist() == [(word >> 1) % 1000 for word in bits]


def test_normal_draws_are_box_and_mullers():
    noise, like = Noise(5, torch.tensor([9])), torch.zeros(1, 4, dtype=torch.float64)
    radius, angle = noise.child("radius").uniform(like)[0], noise.child("angle").uniform(like)[0]
    expected = [
        math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v)
        for u, v in zip(radius.tolist(), angle.tolist(), strict=True)
    ]
    assert noise.normal(like)[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_published_numbers_do_not_drift():
    noise, like = Noise(0, torch.tensor([0, 7])), torch.zeros(2, 1, dtype=torch.float64)
    assert noise.uniform(like).squeeze(1).tolist() == [0.8833108082136426, 0.5116328165574611]
    assert noise.child("start").uniform(like).squeeze(1).tolist() == [0.6998040042873158, 0.8159850243013852]
    assert noise.child(3).uniform(like).squeeze(1).tolist() == [0.06807594761456315, 0.6251218969715118]
    assert noise.normal(like).squeeze(1).tolist() == pytest.approx(
        [0.8597634978446033, 1.0959011973159938], rel=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_draws_depend_on_the_sample_not_on_the_batch(kind):
    ids, like = torch.tensor([5, 0, 31, 2, 2**40]), torch.zeros(5, 3, 4, 4, dtype=torch.float64)
    whole = KINDS[kind](Noise(1, ids), like)
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.equal(KINDS[kind](Noise(1, ids[order]), like), whole[order])
    parts = [KINDS[kind](Noise(1, ids[rows]), like[rows]) for rows in (slice(0, 1), slice(1, 4), slice(4, 5))]
    assert torch.equal(torch.cat(parts), whole)
    assert len(whole.flatten(1).unique(dim=0)) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_pure_and_leave_the_global_generator_alone(kind):
    noise, like = samples(4)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = KINDS[kind](noise, like)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(KINDS[kind](noise, like), first)


@pytest.mark.parametrize("kind", ["uniform", "normal", "signs"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_have_the_type_and_shape_asked_for(kind, dtype):
    found = KINDS[kind](Noise(0, torch.arange(3)), torch.zeros(3, 2, 5, 1, dtype=dtype))
    assert found.dtype == dtype
    assert found.shape == (3, 2, 5, 1)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_single_precision_rounds_the_same_draws(kind):
    noise, like = samples(1000)
    double, single = KINDS[kind](noise, like), KINDS[kind](noise, like.float())
    assert (single.double() - double).abs().max() < 1e-5


def independent_streams() -> dict[str, torch.Tensor]:
    noise, like = samples()
    streams = {
        "itself": noise,
        "child start": noise.child("start"),
        "child 0": noise.child(0),
        "child '0'": noise.child("0"),
        "child 1": noise.child(1),
        "grandchild": noise.child(0).child(1),
        "other grandchild": noise.child(1).child(0),
        "seed 1": Noise(1, noise.sample_id),
        "next sample": Noise(0, noise.sample_id + 1),
    }
    draws = {name: stream.uniform(like) for name, stream in streams.items()}
    inner, row = inside_one_sample()
    draws["one sample"] = inner.uniform(row)[0]
    draws["one sample, next draw"] = draws["one sample"].roll(1)
    return draws


def test_streams_seeds_samples_and_draws_are_uncorrelated():
    draws = independent_streams()
    for (first, a), (second, b) in itertools.combinations(draws.items(), 2):
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 4 / DRAWS**0.5, (first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("source", [samples, inside_one_sample])
def test_uniform_draws_are_uniform(source, dtype):
    noise, like = source(dtype=dtype)
    draws = noise.uniform(like, -2, 3).flatten().double().numpy()
    assert scipy.stats.kstest(draws, scipy.stats.uniform(-2, 5).cdf).pvalue > 1e-3
    assert abs(draws.mean() - 0.5) < 4 * 5 / 12**0.5 / DRAWS**0.5
    assert abs(draws.var() - 25 / 12) < 4 * 25 / 180**0.5 / DRAWS**0.5
    assert draws.min() >= -2
    assert draws.max() < 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("source", [samples, inside_one_sample])
def test_normal_draws_are_normal(source, dtype):
    noise, like = source(dtype=dtype)
    draws = noise.normal(like).flatten().double().numpy()
    assert scipy.stats.kstest(draws, "norm").pvalue > 1e-3
    assert abs(draws.mean()) < 4 / DRAWS**0.5
    assert abs(draws.var() - 1) < 4 * (2 / DRAWS) ** 0.5
    assert abs(scipy.stats.skew(draws)) < 4 * (6 / DRAWS) ** 0.5
    assert abs(scipy.stats.kurtosis(draws)) < 4 * (24 / DRAWS) ** 0.5


@pytest.mark.parametrize("source", [samples, inside_one_sample])
def test_signs_are_balanced(source):
    noise, like = source()
    signs = noise.signs(like).flatten()
    assert signs.unique().tolist() == [-1, 1]
    assert abs(signs.mean()) < 4 / DRAWS**0.5


@pytest.mark.parametrize("high", [2, 10, 37])
def test_integers_are_uniform(high):
    found = Noise(0, torch.arange(DRAWS // 10)).integers(high, (10,))
    assert found.dtype == torch.int64
    assert found.shape == (DRAWS // 10, 10)
    counts = found.flatten().bincount()
    assert len(counts) == high
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_integers_have_a_row_for_each_sample():
    assert Noise(0, torch.arange(3)).integers(5).shape == (3,)
    assert Noise(0, torch.arange(3)).integers(5, (2, 4)).shape == (3, 2, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_draw_stays_below_one(dtype):
    # The seed whose first word for sample 0 is 64 ones: SplitMix64 inverted.
    seed = 13696288941778812732
    assert reference_bits(seed, 0, 1) == [MASK]
    found = Noise(seed, torch.tensor([0])).uniform(torch.zeros(1, dtype=dtype))
    assert 1 - found.item() == {torch.float32: 2.0**-24, torch.float64: 2.0**-53}[dtype]


@pytest.mark.parametrize("kind", ["uniform", "normal", "signs"])
@pytest.mark.parametrize("shape", [(2, 4), (4, 3), ()])
def test_refuses_a_wrong_number_of_rows(kind, shape):
    with pytest.raises(ValueError, match="Expected a row for each of 3 samples, but got shape"):
        KINDS[kind](Noise(0, torch.arange(3)), torch.zeros(shape))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [torch.tensor([3, 0]), torch.tensor([], dtype=torch.int64)])
def test_selected_samples_keep_their_draws(kind, rows):
    noise, like = Noise(4, torch.tensor([9, 2, 2**40, 5])), torch.zeros(4, 2, 3, dtype=torch.float64)
    assert torch.equal(KINDS[kind](noise.select(rows), like[rows]), KINDS[kind](noise, like)[rows])
    child = KINDS[kind](noise.select(rows).child("start"), like[rows])
    assert torch.equal(child, KINDS[kind](noise.child("start"), like)[rows])
