import math
import warnings
import weakref

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attacks import donors as donors_module
from lit_xai.attacks.donors import DonorPool, rank_donors
from lit_xai.types import Batch
from tests.attacks.test_exiaa import ranked_by_hand
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import Untouched


class Counted:
    """Donors that count how often they are read."""

    def __init__(self, donors: list[Batch]) -> None:
        self.donors, self.count = donors, 0

    def __call__(self) -> list[Batch]:
        self.count += 1
        return self.donors


class Certain(nn.Module):
    """Give class 0 a probability that rounds to one for any image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1000.0))

    def forward(self, image: Tensor) -> Tensor:
        score = self.scale * (1 + image.mean(dim=(1, 2, 3)))
        return torch.stack([score, -score], dim=1)


@pytest.mark.parametrize("pool", ["label", "predicted"])
def test_donors_are_ranked_by_the_probability_of_their_class(network, donors, pool):
    found = rank_donors(network, lambda: donors, 4, pool)
    assert list(found) == [0, 1, 2, 3]
    misled = 0
    for label, images in found.items():
        expected = ranked_by_hand(network, donors, label, pool)[:4]
        assert torch.equal(images, torch.stack(expected))
        misled += (network(images).argmax(dim=1) != label).sum().item()
    # A ranking by the largest probability of any class, or of correct images only, would look the same.
    assert (misled >= 1) == (pool == "label")


def test_the_two_pools_hold_different_images(network, donors):
    labelled, predicted = (rank_donors(network, lambda: donors, 40, pool) for pool in ("label", "predicted"))
    sizes = [[len(images) for images in ranking.values()] for ranking in (labelled, predicted)]
    assert sum(sizes[0]) == sum(sizes[1]) == 40
    assert sizes[0] != sizes[1]


def test_the_order_and_the_batches_of_donors_do_not_matter(network, donors):
    whole = Batch(*(torch.cat(parts) for parts in zip(*donors, strict=True)))
    turned = Batch(*(tensor.flip(0) for tensor in whole))
    first = rank_donors(network, lambda: donors, size=3)
    for other in ([whole], [turned]):
        second = rank_donors(network, lambda other=other: other, size=3)
        assert {label: images.tolist() for label, images in first.items()} == {
            label: images.tolist() for label, images in second.items()
        }


def test_copies_among_donors_of_equal_confidence_are_found():
    shades = torch.tensor([0.5, 0.6, 0.5, 0.7, 0.6]).view(-1, 1, 1, 1).expand(5, 1, 2, 2)
    pool = Batch(shades, torch.zeros(5).long(), torch.arange(5))
    found = rank_donors(Certain(), lambda: [pool], size=4)
    assert torch.equal(found[0], shades[[0, 1, 3]])
    assert found[1].shape == (0, 1, 2, 2)


def test_ranking_leaves_the_network_and_the_donors_alone(network, donors):
    with Untouched(network, *donors[0]):
        assert not any(images.requires_grad for images in rank_donors(network, lambda: donors, 2).values())


def test_the_network_ranks_in_evaluation_mode(donors):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.5), tiny_network())
    rankings = [rank_donors(mode(), lambda: donors, 3) for mode in (network.train, network.eval)]
    assert all(torch.equal(rankings[0][label], rankings[1][label]) for label in range(4))


def test_a_pool_yields_the_batches_and_is_its_own_pool(donors):
    pool = DonorPool(lambda: donors)
    assert pool() is donors
    assert DonorPool.of(pool) is pool
    assert DonorPool.of(pool.__call__)() is donors


def test_a_pool_ranks_once_for_each_network_and_kind(network, donors):
    source = Counted(donors)
    pool = DonorPool(source)
    first = pool.ranked(network, 3)
    assert pool.ranked(network, 4) is pool.ranked(network, 1) is first
    assert source.count == 1
    for label, images in first.items():
        assert torch.equal(images, torch.stack(ranked_by_hand(network, donors, label)[:4]))
    predicted = pool.ranked(network, 2, "predicted")
    assert pool.ranked(network, 4, "predicted") is predicted
    assert source.count == 2
    other = tiny_network(seed=3)
    assert any(not torch.equal(pool.ranked(other, 3)[label], first[label]) for label in range(4))
    assert pool.ranked(network, 3) is first
    assert source.count == 3


def test_many_ranks_cost_few_rankings(network):
    many = tiny_batch(samples=700, seed=4)
    source = Counted([many])
    pool = DonorPool(source)
    for size in (1, 2, 6, 8, 9, 40, 101, 128, 6):
        ranking = pool.ranked(network, size)
        for label, images in ranking.items():
            assert len(images) >= min(size, int((many.label == label).sum()))
    assert source.count == 5
    assert {len(images) for images in ranking.values()} == {128}


def test_a_pool_does_not_outlive_its_last_holder(network, donors):
    pool = DonorPool(lambda: donors)
    image = weakref.ref(pool.ranked(network, 3)[0])
    assert torch.equal(image(), torch.stack(ranked_by_hand(network, donors, 0)[:4]))
    del pool
    assert image() is None


def test_classes_without_donors_are_counted_once(network, donors):
    kept = [Batch(*(tensor[part.label > 1] for tensor in part)) for part in donors]
    pool = DonorPool(lambda: kept)
    message = r"got none for 2 of 4 classes\. Samples that need one stay as they are; an"
    with pytest.warns(UserWarning, match=message) as found:
        assert [pool.ranked(network, size)[3].shape[0] for size in (3, 5, 30)] == [
            4,
            8,
            len(ranked_by_hand(network, kept, 3)),
        ]
    assert len(found) == 1


def test_no_warning_where_each_class_has_donors(network, donors):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DonorPool(lambda: donors).ranked(network, 3)


def test_refuses_an_empty_split(network):
    with pytest.raises(ValueError, match=r"may be injected, but got none\. Name another `donor_split`\."):
        rank_donors(network, list, 3)


def test_probabilities_are_those_of_the_softmax(network, donors):
    images = rank_donors(network, lambda: donors, 40)[2]
    odds = [[math.exp(value) for value in row] for row in network(images).tolist()]
    shares = [row[2] / sum(row) for row in odds]
    assert shares == sorted(shares, reverse=True)
    logits = network(images)[:, 2].tolist()
    assert logits != sorted(logits, reverse=True)


def test_several_processes_share_a_ranking(network, donors, monkeypatch):
    """Two processes, one after the other: each passes every second batch, and gets what the other found."""
    expected = rank_donors(network, lambda: donors, 3)
    passed = []
    handle = network.register_forward_pre_hook(lambda _, given: passed.append(len(given[0])))
    shares = {}
    for rank in (0, 1):
        monkeypatch.setattr(donors_module, "_processes", lambda rank=rank: (2, rank))

        def gather(into, own, rank=rank):
            shares[rank] = own
            raise InterruptedError

        monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
        with pytest.raises(InterruptedError):
            rank_donors(network, lambda: donors, 3, shared=True)
    assert [sorted(share) for share in shares.values()] == [
        list(range(0, len(donors), 2)),
        list(range(1, len(donors), 2)),
    ]
    assert len(passed) == len(donors)

    def fill(into, own):
        into[:] = shares[0], shares[1]

    monkeypatch.setattr(torch.distributed, "all_gather_object", fill)
    found = DonorPool(lambda: donors, shared=True).ranked(network, 3)
    handle.remove()
    assert {label: images[:3].tolist() for label, images in found.items()} == {
        label: images.tolist() for label, images in expected.items()
    }


def test_a_ranking_is_shared_only_where_that_is_asked_for(network, donors, monkeypatch):
    monkeypatch.setattr(donors_module, "_processes", lambda: (2, 0))
    assert torch.equal(
        DonorPool(lambda: donors).ranked(network, 3)[0], rank_donors(network, lambda: donors, 4)[0]
    )
