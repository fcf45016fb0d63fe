from itertools import chain

import pytest
import torch

from lit_xai.data.samplers import evaluation_order, stratified, training_order


def orders(world_size: int, size: int = 21, epoch: int = 0, seed: int = 0) -> list[list[int]]:
    shares = []
    for rank in range(world_size):
        sampler = training_order(range(size), world_size, rank, seed)
        sampler.set_epoch(epoch)
        shares.append(list(sampler))
    return shares


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("size", [21, 20, 3, 2, 1])
def test_evaluation_covers_every_sample_once_without_padding(world_size, size):
    shares = [list(evaluation_order(range(size), world_size, rank)) for rank in range(world_size)]
    assert sorted(chain(*shares)) == list(range(size))
    assert all(share == sorted(share) for share in shares)
    assert [len(evaluation_order(range(size), world_size, rank)) for rank in range(world_size)] == [
        len(share) for share in shares
    ]


def test_a_mean_over_the_shares_is_the_mean():
    # torch's own sampler pads to 22 samples and gives 9.5455.
    values = torch.arange(21.0)
    shares = [values[list(evaluation_order(range(21), 2, rank))] for rank in range(2)]
    assert torch.cat(shares).mean().item() == 10


def test_training_in_one_process_shuffles_everything():
    (order,) = orders(1)
    assert sorted(order) == list(range(21))
    assert order != sorted(order)


@pytest.mark.parametrize("world_size", [2, 4])
def test_several_processes_deal_out_the_order_of_one(world_size):
    (order,), shares = orders(1), orders(world_size)
    each = 21 // world_size
    assert all(len(share) == each for share in shares)
    dealt = [sample for turn in zip(*shares, strict=True) for sample in turn]
    assert dealt == order[: each * world_size]


def test_no_sample_is_trained_on_twice_and_others_are_left_out_in_every_epoch():
    left_out = set()
    for epoch in range(10):
        trained = list(chain(*orders(4, epoch=epoch)))
        assert len(trained) == len(set(trained)) == 20
        left_out |= set(range(21)) - set(trained)
    assert len(left_out) >= 5


def test_every_epoch_and_every_seed_has_its_order():
    found = [orders(1, epoch=epoch, seed=seed)[0] for epoch, seed in ((0, 0), (1, 0), (2, 0), (0, 100))]
    assert len({tuple(order) for order in found}) == 4
    assert orders(1, epoch=1)[0] == found[1]


LABELS = torch.randint(7, (500,), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 7, 64, 210])
def test_a_stratified_subset_is_as_even_as_it_can_be(size):
    chosen = stratified(LABELS, size, seed=0)
    assert len(set(chosen)) == size
    assert chosen == sorted(chosen)
    counts = LABELS[chosen].bincount(minlength=7)
    assert counts.max() - counts.min() <= 1


def test_a_rare_class_is_taken_whole_and_the_others_share_the_rest():
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 50)
    assert labels[stratified(labels, 20, seed=0)].bincount().tolist() in ([9, 3, 8], [8, 3, 9])


@pytest.mark.parametrize("size", [500, 1000])
def test_a_subset_of_all_is_all(size):
    assert stratified(LABELS, size, seed=0) == list(range(500))


def test_the_seed_and_nothing_else_decides():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    chosen = stratified(LABELS, 64, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert stratified(LABELS, 64, seed=0) == chosen
    assert stratified(LABELS, 64, seed=1) != chosen


def test_every_sample_of_a_class_has_its_chance():
    labels = torch.tensor([0] * 5 + [1] * 5)
    chosen = [stratified(labels, 2, seed) for seed in range(60)]
    assert {first for first, _ in chosen} == set(range(5))
    assert {second for _, second in chosen} == set(range(5, 10))
