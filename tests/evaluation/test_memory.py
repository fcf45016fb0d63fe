import torch

from lit_xai.attributions.saliency import Saliency
from lit_xai.evaluation.memory import Memory
from lit_xai.evaluation.remembering import remembering


def test_maps_of_images_as_they_are_are_found_by_sample():
    memory = Memory()
    maps = torch.arange(24.0).view(3, 2, 2, 2)
    memory.keep_clean("saliency", torch.tensor([7, 3, 5]), maps)
    torch.testing.assert_close(memory.clean("saliency", torch.tensor([5, 7])), maps[[2, 0]])
    assert memory.clean("saliency", torch.tensor([5, 8])) is None
    assert memory.clean("integrated_gradients", torch.tensor([5])) is None
    assert memory.clean("saliency", torch.tensor([], dtype=torch.int64)) is None


def test_nobody_changes_what_is_kept():
    memory = Memory()
    maps = torch.ones(1, 1, 2, 2)
    memory.keep_clean("saliency", torch.tensor([0]), maps)
    maps.zero_()
    memory.clean("saliency", torch.tensor([0])).fill_(5)
    assert memory.clean("saliency", torch.tensor([0])).sum() == 4


def test_what_is_not_shared_is_not_kept():
    memory = Memory(share=False)
    memory.keep_clean("saliency", torch.tensor([0]), torch.ones(1, 1, 2, 2))
    assert memory.clean("saliency", torch.tensor([0])) is None
    method = Saliency()
    assert memory.method("saliency", method) is method


def test_clean_maps_go_with_their_attribution_if_nothing_compares_them():
    memory = Memory(all_clean=False)
    memory.method("saliency", Saliency())
    memory.keep_clean("saliency", torch.tensor([0]), torch.ones(1, 1, 2, 2))
    memory.method("saliency", Saliency())
    torch.testing.assert_close(memory.clean("saliency", torch.tensor([0])), torch.ones(1, 1, 2, 2))
    memory.method("other", Saliency())
    assert memory.clean("saliency", torch.tensor([0])) is None


def test_a_method_is_made_once_until_another_is_asked_for():
    memory = Memory()
    found = memory.method("saliency", Saliency())
    assert type(found) is type(remembering(Saliency()))
    assert memory.method("saliency", Saliency()) is found
    assert memory.method("other", Saliency()) is not found
    # What one attribution remembers is freed before the next one fills its own.
    assert memory.method("saliency", Saliency()) is not found
