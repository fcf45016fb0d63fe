import pytest
import torch

from lit_xai.models.library import rebuilding
from lit_xai.models.zoo import TimmClassifier
from lit_xai.module import LitClassifier
from lit_xai.regimes.fooling import TopKFooling
from lit_xai.regimes.igr import IGR
from lit_xai.regimes.natural import Natural
from lit_xai.training.starting import read_starts


@pytest.fixture
def weights(tmp_path):
    """Weights that are all 0.5, in a file."""
    state = TimmClassifier("test_resnet").network.model.state_dict()
    path = tmp_path / "released.pth"
    torch.save({name: torch.full_like(value, 0.5) for name, value in state.items()}, path)
    return path


def build(regime, path=None, **options):
    """Return a classifier for a checkpoint that follows, and what it has not read."""
    with rebuilding() as unread:
        model = TimmClassifier("test_resnet", weights=path)
        return LitClassifier(model, regime, 1000, optimizer=torch.optim.Adam, **options), unread


def has_read(classifier):
    return bool((next(classifier.model.parameters()) == 0.5).all())


def test_a_run_that_goes_on_reads_what_its_regime_compares_with(weights):
    classifier, unread = build(TopKFooling(), weights)
    read_starts(classifier, unread, "fit", None)
    assert has_read(classifier)


@pytest.mark.parametrize(
    ("regime", "subcommand"), [(Natural(), "fit"), (IGR(), "fit"), (TopKFooling(), "test")]
)
@pytest.mark.parametrize("other", [None, "stranger.ckpt"])
def test_what_is_replaced_and_not_compared_with_is_not_read(weights, regime, subcommand, other):
    classifier, unread = build(regime, weights)
    read_starts(classifier, unread, subcommand, other)
    assert not has_read(classifier)


def test_the_file_of_another_does_not_decide_what_is_read(weights):
    classifier, unread = build(TopKFooling(), weights)
    with pytest.raises(
        ValueError,
        match=r"with `--resume`, since TopKFooling .* got stranger\.ckpt, which names `weights` .*"
        r"released\.pth .*`--model\.warm_start`",
    ):
        read_starts(classifier, unread, "fit", "stranger.ckpt")
    assert not has_read(classifier)


def test_nor_does_it_decide_what_is_fetched_or_warmly_started_from(weights, monkeypatch):
    classifier, unread = build(TopKFooling(), warm_start=weights)
    unread[0].pretrained = True
    monkeypatch.setattr(TimmClassifier, "fetched", lambda self: pytest.fail("fetched"))
    with pytest.raises(
        ValueError, match=r"names `pretrained` of test_resnet, `warm_start` .*released\.pth for it"
    ):
        read_starts(classifier, unread, "fit", "stranger.ckpt")


def test_a_file_of_another_without_a_start_is_taken(weights):
    classifier, unread = build(TopKFooling())
    read_starts(classifier, unread, "fit", "stranger.ckpt")
    assert not has_read(classifier)


@pytest.mark.parametrize("regime", [Natural(), TopKFooling()])
def test_networks_beside_the_trained_one_are_always_read(weights, regime):
    classifier, unread = build(regime)
    with rebuilding() as beside:
        teacher = TimmClassifier("test_resnet", weights=weights)
    read_starts(classifier, [*unread, *beside], "fit", "stranger.ckpt")
    assert bool((next(teacher.parameters()) == 0.5).all())
