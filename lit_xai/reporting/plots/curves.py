"""Curves of robustness over the radius of an attack and over the epochs of training."""

from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.families import Family, swept
from lit_xai.reporting.plots.lines import Line, can_be_drawn, line_plot, told
from lit_xai.reporting.plots.logged import Grid, Series, grids, series
from lit_xai.reporting.plots.naming import Naming, isolated, naming
from lit_xai.reporting.plots.style import DASHES, INK, Entry, styled
from lit_xai.reporting.plots.telling import drawable, samples_told, sentences
from lit_xai.reporting.plots.units import Floats, Means, Unit, over_seeds, units
from lit_xai.reporting.plots.words import capital, printable, slug
from lit_xai.reporting.reading import Results

_ACCURACIES = {"val/accuracy": "accuracy", "val/pgd_accuracy": "accuracy under PGD"}
_RADIUS = "radius, in pixel units of [0, 1]"


class _Source(NamedTuple):
    """What curves over the radius are made of."""

    results: Results
    units: list[Unit]
    means: Means
    attacks: Sequence[Family]
    controls: Sequence[Family]


@styled()
def radius_curves(results: Results) -> list[Plot]:
    """Return one plot for each explanation: its robustness over the radius of the attacks.

    Each family of attacks that was swept over `eps` alone has a panel; the controls stand in all of them.

    Args:
        results: Of an evaluation.
    """
    families = [family for family in swept(results, 1) if "eps" in next(iter(family.attacks.values()))]
    attacks = [family for family in families if not family.is_control] or families
    controls = [family for family in families if family not in attacks]
    source = _Source(results, units(results), Means(results), attacks, controls)
    found = (_radius_plot(source, attribution) for attribution in results.attributions)
    return [plot for plot in found if plot is not None]


def _radius_plot(source: _Source, attribution: str) -> Plot | None:
    results, drawn, spoken = source.results, naming(source.results), naming(source.results, spoken=True)
    swept_lines = [_family_lines(source, attribution, family) for family in source.attacks]
    kept = [place for place, lines in enumerate(swept_lines) if any(map(_goes_on, lines))]
    if not kept:
        return None
    lines = [line._replace(panel=panel) for panel, place in enumerate(kept) for line in swept_lines[place]]
    shown = []
    for family, dashes in zip(source.controls, cycle(DASHES)):
        dashed = [line for line in _family_lines(source, attribution, family) if not line.is_seed]
        dashed = [line._replace(dashes=dashes, label=_under(line, spoken, family)) for line in dashed]
        lines += [line._replace(panel=panel) for panel in range(len(kept)) for line in dashed]
        if can_be_drawn(dashed):
            shown.append(Entry(f"{drawn.family(family.name)} (control)", INK, "", (0, dashes)))
    families = [source.attacks[place] for place in kept]
    titles = [drawn.family(family.name) for family in families]
    heading = drawn.heading(results.headline)
    figure = line_plot(source.units, titles, lines, heading=heading, below=_RADIUS, dashed=shown)
    said = [spoken.family(family.name) for family in families]
    metric = capital(spoken.metric(results.headline))
    title = f"{metric} over radius: {spoken.attribution(attribution)} under {' and '.join(said)}"
    gone = [
        line._replace(label=_under(line, spoken, family))
        for family, own in zip(source.attacks, swept_lines, strict=True)
        if family not in families
        for line in own
    ]
    samples = samples_told(_counts(source, attribution, families))
    alt = sentences(f"{title}.", told(said, lines, "at radius", gone), samples)
    return Plot(slug("radius", attribution), title, alt, figure)


def _goes_on(line: Line) -> bool:
    """Return whether there is more to draw than the clean image."""
    return bool(drawable(line.value[line.horizontal > 0]).any())


def _under(line: Line, spoken: Naming, family: Family) -> str:
    return f"{line.label} under {spoken.family(family.name)}"


def _counts(source: _Source, attribution: str, families: Sequence[Family]) -> list[int]:
    headline = source.results.headline
    return [
        count
        for family in families
        for attack in family.attacks
        for unit in source.units
        for count in source.means.samples(unit.members, attribution, attack, headline)
    ]


def _family_lines(source: _Source, attribution: str, family: Family) -> list[Line]:
    """Return the line of every unit and seed that has more than the clean image."""
    results = source.results
    radii = {"unattacked": 0.0} | {name: float(values["eps"]) for name, values in family.attacks.items()}
    radii = {attack: eps for attack, eps in radii.items() if drawable(eps)}
    lines = []
    for place, unit in enumerate(source.units):
        members = [(name, unit._replace(members=(name,), group=None)) for name in unit.members if unit.group]
        of = [(unit, "", False), *((alone, name, True) for name, alone in members)]
        for one, name, is_seed in of:
            cells = [
                (eps, source.means.of(one, attribution, attack, results.headline))
                for attack, eps in radii.items()
            ]
            found = sorted((eps, mean) for eps, mean in cells if mean is not None)
            if not any(eps > 0 for eps, _ in found):
                continue
            across = np.array([eps for eps, _ in found])
            value, low, high = np.array([mean[:3] for _, mean in found]).T
            if unit.group is not None:
                low = high = value
            seeds = max(mean.seeds for _, mean in found)
            label = isolated(printable(name)) if is_seed else unit.spoken(seeds)
            lines.append(Line(0, place, label, across, value, low, high, is_seed=is_seed))
    return lines


@styled()
def epoch_curves(results: Results) -> list[Plot]:
    """Return plots of what was logged while training: accuracies, and the robustness of each explanation.

    Args:
        results: Of an evaluation; without a log there are no plots.
    """
    found = [(title, series(results, key)) for key, title in _ACCURACIES.items()]
    accuracies = [(title, title, lines) for title, lines in found if lines]
    plots = []
    if accuracies:
        title = f"{capital(' and '.join(title for title, _, _ in accuracies))} over epochs"
        plots.append(_epoch_plot(results, "epochs", title, "share of the validation images", accuracies))
    plots += [_grid_plot(results, attribution, grid) for attribution, grid in grids(results).items()]
    return [plot for plot in plots if plot is not None]


def _grid_plot(results: Results, attribution: str, grid: Grid) -> Plot | None:
    drawn, spoken = naming(results), naming(results, spoken=True)
    panels = [(drawn.attack(name), spoken.attack(name), lines) for name, lines in grid.attacks.items()]
    title = f"{capital(spoken.metric(grid.metric))} over epochs: {spoken.attribution(attribution)}"
    heading = drawn.heading(grid.metric)
    plot = _epoch_plot(results, slug("epochs", attribution), title, heading, panels)
    return plot and plot._replace(alt=sentences(plot.alt, samples_told(grid.counts)))


def _epoch_plot(
    results: Results,
    name: str,
    title: str,
    heading: str,
    panels: Sequence[tuple[str, str, dict[str, Series]]],
) -> Plot | None:
    found, kept, gone = units(results), [], []
    for panel in panels:
        own = [line for place, unit in enumerate(found) for line in _epoch_lines(place, unit, panel[2])]
        if can_be_drawn(own):
            kept.append((panel, own))
        else:
            gone += [line._replace(label=f"{line.label}, {panel[1]},") for line in own]
    lines = [line._replace(panel=place) for place, (_, own) in enumerate(kept) for line in own]
    if not lines:
        return None
    titles = [panel[0] for panel, _ in kept]
    figure = line_plot(found, titles, lines, heading=heading, below="epoch", whole=True)
    said = [panel[1] for panel, _ in kept]
    return Plot(name, title, sentences(f"{title}.", told(said, lines, "in epoch", gone)), figure)


def _epoch_lines(place: int, unit: Unit, found: dict[str, Series]) -> list[Line]:
    own = {name: found[name] for name in unit.members if name in found}
    if unit.group is None:
        return [_line(place, unit.spoken(1), line) for line in own.values()]
    lines = [
        _line(place, isolated(printable(name)), line)._replace(is_seed=True) for name, line in own.items()
    ]
    if own:
        seeds = {str(seed) for name, seed in zip(unit.members, unit.seeds, strict=True) if name in own}
        lines.append(_line(place, unit.spoken(len(seeds)), _averaged(unit, own)))
    return lines


def _line(place: int, label: str, line: Series) -> Line:
    low, high = line.values - line.reach, line.values + line.reach
    return Line(0, place, label, line.epochs, line.values, low, high)


def _averaged(unit: Unit, found: dict[str, Series]) -> Series:
    """Return the mean over the epochs that all seeds have."""
    shared = sorted(set.intersection(*(set(line.epochs) for line in found.values())))
    epochs: Floats = np.array(shared, dtype=np.float64)
    values = {name: line.values[np.isin(line.epochs, epochs)] for name, line in found.items()}
    # The seeds are drawn beside it: an interval over images would say nothing of other ones.
    return Series(epochs, over_seeds(unit, values), np.full_like(epochs, np.nan))
