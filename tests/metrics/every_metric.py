"""One or more of every metric, and what `test_every_metric.py` runs on each of two processes.

`python every_metric.py PROCESS STORE OUTPUT` adds up each metric on uneven shares and writes the summaries.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from lit_xai.attributions.saliency import Saliency
from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.budget import L2Norm, LinfNorm
from lit_xai.metrics.center_shift import CenterShift
from lit_xai.metrics.change import ExplanationChange
from lit_xai.metrics.diverse_count import DiverseCount
from lit_xai.metrics.fooling import FoolingSuccessRate, UntouchedFoolingRate
from lit_xai.metrics.infidelity import ConstantMapInfidelity, Infidelity, ZeroMapInfidelity
from lit_xai.metrics.insertion_deletion import Deletion, Insertion
from lit_xai.metrics.lens import LENSPrecision, LENSRecall
from lit_xai.metrics.lens_distance import CombinedLENSDistance, LENSDistance
from lit_xai.metrics.prediction import ConfidenceChange, PredictionKept
from lit_xai.metrics.rank import Kendall, Spearman
from lit_xai.metrics.similarity import Cosine, Pearson
from lit_xai.metrics.ssim import ImageSSIM, MapSSIM
from lit_xai.metrics.top_k import TopKIntersection
from lit_xai.noise import Noise
from lit_xai.types import AttackResult
from tests.contracts import rows_of

SHARES = {
    "5 and 1": (slice(0, 5), slice(5, 6)),
    "6 and 0": (slice(0, 6), slice(6, 6)),
    "6 and none": (slice(0, 6), None),
}


def fooling(kind, interval, classes=None):
    # The intervals are such that some samples pass and some do not.
    return lambda reference: FoolingSuccessRate(
        reference, kind, interval, attribution=Saliency(absolute=False), classes=classes
    )


def untouched(kind, interval):
    return lambda reference: UntouchedFoolingRate(
        reference, kind, interval, attribution=Saliency(absolute=False)
    )


def plain(metric, *arguments, **options):
    return lambda _: metric(*arguments, **options)


# From a reference network, for those that need one, to a metric.
METRICS = {
    "top_k": plain(TopKIntersection, 5),
    "lens_precision": plain(LENSPrecision, 5, 1),
    "lens_precision_diverse": plain(LENSPrecision, 4, 1, diverse=True, divide_by="found"),
    "lens_recall": plain(LENSRecall, 5, 1),
    "lens_distance": plain(LENSDistance, 5, 1),
    "combined_lens_distance": plain(CombinedLENSDistance, {3: 1.0, 5: 0.5}, {0: 1.0, 1: 0.5}),
    "diverse_count": plain(DiverseCount, 20, 1),
    "spearman": plain(Spearman),
    "lens_spearman": plain(Spearman, 1),
    "kendall": plain(Kendall),
    "lens_kendall": plain(Kendall, 1),
    "cosine": plain(Cosine),
    "pearson": plain(Pearson),
    "change": plain(ExplanationChange),
    "center_shift": plain(CenterShift),
    "image_ssim": plain(ImageSSIM),
    "map_ssim": plain(MapSSIM),
    "linf_norm": plain(LinfNorm),
    "l2_norm": plain(L2Norm),
    "prediction_kept": plain(PredictionKept),
    "confidence_change": plain(ConfidenceChange),
    "insertion": plain(Insertion, 1),
    "insertion_union": plain(Insertion, 1, reduce="union", substrate="mean"),
    "deletion": plain(Deletion, 1),
    "infidelity": plain(Infidelity, 4),
    "constant_map_infidelity": plain(ConstantMapInfidelity, 4),
    "zero_map_infidelity": plain(ZeroMapInfidelity, 4),
    "fooling_location": fooling("location", (0.0, 0.405)),
    "fooling_top_k": fooling("top_k", (0.0, 0.1)),
    "fooling_center_mass": fooling("center_mass", (0.075, 1.0)),
    "fooling_swap": fooling("swap", (0.0, 2.0), (0, 1)),
    "untouched_location": untouched("location", (0.0, 0.39)),
    "untouched_top_k": untouched("top_k", (0.0, 0.55)),
}


def network(seed: int) -> nn.Module:
    """Return a float64 network without kinks, for 128 values of any shape."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(128, 16), nn.SiLU(), nn.Linear(16, 4)).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return layers


def example() -> AttackResult:
    """Return six samples with 2 x 8 x 8 values, fractions of 512, so that single precision holds them.

    Values are equal or differ by 1 / 512 at least. The last clean map is all zero.
    """
    generator = torch.Generator().manual_seed(0)

    def steps(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator).double() / 256

    image, attribution = steps(20, 236, 6, 2, 8, 8), steps(-512, 513, 6, 2, 8, 8)
    reach = torch.tensor([2.0, 5.0, 8.0, 11.0, 14.0, 17.0], dtype=torch.float64).view(6, 1, 1, 1)
    image_adv = image + reach * steps(-1, 2, 6, 2, 8, 8)
    attribution_adv = attribution + reach / 4 * steps(-64, 65, 6, 2, 8, 8)
    attribution[5] = 0
    target = torch.tensor([0, 1, 1, 2, 0, 1])
    logits, logits_adv = steps(-512, 513, 6, 4), steps(-512, 513, 6, 4)
    return AttackResult(
        image=image,
        image_adv=image_adv,
        label=torch.tensor([0, 3, 1, 2, 2, 1]),
        target=target,
        sample_id=torch.tensor([41, 7, 12, 3, 58, 20]),
        logits=logits,
        logits_adv=logits_adv,
        attribution=attribution,
        attribution_adv=attribution_adv,
        applied=torch.ones(6, dtype=torch.bool),
        kept=torch.tensor([True, True, False, True, False, True]),
    )


def updated(metric: SampleMetric, result: AttackResult) -> SampleMetric:
    metric.update(network(0), result, Noise(0, result.sample_id))
    return metric


def main(process: int, store: Path, output: Path) -> None:
    """Add up every metric on this process's share and write the summary over both."""
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=process, world_size=2)
    summaries = {}
    for share, rows in SHARES.items():
        for name, build in METRICS.items():
            metric = build(network(1))
            if rows[process] is not None:
                updated(metric, rows_of(example(), rows[process]))
            summaries[f"{name}, {share}"] = [*metric.summary(), metric.compute().item()]
    output.write_text(json.dumps(summaries))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
