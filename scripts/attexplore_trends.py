"""Whether what AttEXplore's paper reports (Zhu et al., 2024, ICLR) holds in evaluations, sample by sample."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from lit_xai.evaluation.table import markdown
from scripts.attexplore_names import ATTACKS, RIVALS

# A mean difference within this is no difference. The paper's own two values for one setting differ by 0.007.
FLAT = 0.02
_N16, _T, _EPS = "eps_16_samples_{}_steps_10", "eps_16_samples_20_steps_{}", "eps_{}_samples_20_steps_10"


@dataclass(frozen=True)
class Trend:
    """A difference that the paper reports.

    Attributes:
        claim: In words.
        metric: Whose difference it is.
        first: The explanation whose mean is taken.
        second: The one whose mean is taken from it.
        sign: Of the difference; 0 for none.
    """

    claim: str
    metric: str
    first: str
    second: str
    sign: int


def _pairs(claim: str, metric: str, first: str, others: dict[str, str], sign: int) -> Iterator[Trend]:
    for name, label in others.items():
        yield Trend(claim.format(label), metric, first, name, sign)


_LOWER = {name: RIVALS[name] for name in ("smooth_grad", "guided_ig", "integrated_gradients")}
_CODED = {f"attexplore_{name}_as_coded": label for name, label in {**ATTACKS, "plain": "no attack"}.items()}
_IN, _OUT = "insertion_union", "deletion_union"
TRENDS = (
    *_pairs("insertion is higher than that of {}", _IN, "attexplore", RIVALS, 1),
    *_pairs("deletion is not as low as that of {}", _OUT, "attexplore", _LOWER, 1),
    Trend("insertion rises with the radius, 8/255 to 48/255", _IN, _EPS.format(48), _EPS.format(8), 1),
    Trend("deletion falls with the radius, 8/255 to 48/255", _OUT, _EPS.format(48), _EPS.format(8), -1),
    Trend("insertion rises with N, 1 to 10", _IN, _N16.format(10), _N16.format(1), 1),
    Trend("insertion hardly moves with N, 10 to 60", _IN, _N16.format(60), _N16.format(10), 0),
    Trend("insertion rises with T, 1 to 5", _IN, _T.format(5), _T.format(1), 1),
    Trend("insertion hardly moves with T, 5 to 30", _IN, _T.format(30), _T.format(5), 0),
    *_pairs("insertion is higher than with {}", _IN, "attexplore_16", _CODED, 1),
)


def measured(samples: pd.DataFrame) -> pd.DataFrame:
    """Return how large each reported difference is.

    Args:
        samples: The columns of `samples.parquet`, of one evaluation of one network.

    Returns:
        The trends whose explanations were measured, with `network`, `difference`, `low`, `high` and `count`.
        An interval covers the mean of the paired differences (Student's t), all of the evaluation together
        with 95 % (Bonferroni).
    """
    (network,) = samples["checkpoint"].unique()
    wide = samples.pivot_table(index="sample_id", columns=["metric", "attribution"], values="value")
    known = [
        trend for trend in TRENDS if {(trend.metric, trend.first), (trend.metric, trend.second)} <= {*wide}
    ]
    rows = []
    for trend in known:
        difference = (wide[trend.metric, trend.first] - wide[trend.metric, trend.second]).dropna()
        interval = stats.ttest_1samp(difference, 0.0).confidence_interval(1 - 0.05 / len(known))
        rows.append(
            {
                "network": network,
                **vars(trend),
                "difference": difference.mean(),
                "low": interval.low,
                "high": interval.high,
                "count": len(difference),
            }
        )
    return pd.DataFrame(rows)


def verdict(sign: int, low: float, high: float) -> str:
    """Return whether an interval agrees with the sign that is reported."""
    if sign == 0:
        inside, outside = low > -FLAT and high < FLAT, low > FLAT or high < -FLAT
        return "holds" if inside else "does not hold" if outside else "cannot be told"
    below, above = (low, high) if sign > 0 else (-high, -low)
    return "holds" if below > 0 else "the contrary" if above < 0 else "cannot be told"


def trends_table(trends: pd.DataFrame) -> str:
    """Render the differences as Markdown, with a verdict for each."""
    networks = list(dict.fromkeys(trends["network"]))
    cells = {
        (row.claim, row.network): (
            f"{verdict(row.sign, row.low, row.high)}: "
            f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}], n={row.count}"
        )
        for row in trends.itertuples()
    }
    order = dict.fromkeys(trend.claim for trend in TRENDS)
    lines = [
        [claim, *(cells.get((claim, name), "") for name in networks)]
        for claim in order
        if claim in set(trends["claim"])
    ]
    return markdown(["AttEXplore's", *networks], lines)
