"""All plots of a report, in reading order."""

from lit_xai.reporting.plots.agreement import agreement
from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.curves import epoch_curves, radius_curves
from lit_xai.reporting.plots.distributions import distributions
from lit_xai.reporting.plots.pareto import pareto
from lit_xai.reporting.plots.surface import surfaces
from lit_xai.reporting.reading import Results

_SECTIONS = {
    "Accuracy and robustness": pareto,
    "Radius": radius_curves,
    "Epochs": epoch_curves,
    "Injection strength": surfaces,
    "Distributions": distributions,
    "Agreement of explanations": agreement,
}


def gallery(results: Results) -> dict[str, list[Plot]]:
    """Return the plots of each section; sections without plots are left out.

    Args:
        results: Of an evaluation.
    """
    found = {title: plots(results) for title, plots in _SECTIONS.items()}
    return {title: plots for title, plots in found.items() if plots}
