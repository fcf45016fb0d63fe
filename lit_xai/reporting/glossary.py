"""The words of a page with what they mean; the hints of its headings say the same."""

from lit_xai.reporting.isolation import isolated
from lit_xai.reporting.plots.words import metric_words
from lit_xai.reporting.reading import Results

TERMS = {
    "accuracy": "Share of images classified correctly; PGD accuracy: under an attack on the prediction.",
    "n": "Samples in the means of a row.",
    "n (accuracy)": "Images classified for the accuracies; only some of them are attacked.",
    "kept": "The prediction on the attacked image is that on the clean one.",
    "failed": "The attack changed nothing, or changed the prediction too. Its score stays in the means and "
    "is counted.",
    "kept only": "The mean of the first metric over the samples whose attack did not fail, without an "
    "interval.",
    "excluded": "Misclassified before the attack, or without a donor image. In no mean.",
    "strongest attack": "The one with the worst mean of the first metric, for each network and attribution. "
    "It is chosen on the samples it is then reported on, so its mean is a little too pessimistic, the more "
    "so the more attacks there are.",
    "control": "A perturbation that does not look at the explanation: random signs or Gaussian noise.",
    "95 % interval": "Where the mean of other such images would lie. Of scores that are 0 or 1, such as the "
    "accuracies, it is Wilson's; of all others a bootstrap over samples (BCa). A mean that is undefined, or "
    "of too few samples, has none.",
    "difference": "The mean of the second one minus that of the first one, with its 95 % interval, which is "
    "not corrected.",
    "effect": "The mean difference over the standard deviation of differences (Cohen's d_z); for regimes "
    "Hedges' g.",
    "p": "How likely so large a difference would be if there were none, after Holm's correction; in brackets "
    "before it. The accuracies and the first metric under attack are corrected together, all other metrics "
    "on their own.",
    "Holm": "A correction of p-values: a single false alarm among all that it covers has a chance of 5 % at "
    "most.",
    "better": "The one that the metric's direction prefers, where the corrected p is below 0.05.",
    "scored on one only": "Samples that the other network excludes or has no score for; they are in no "
    "difference.",
    "seeds": "How many trainings of a regime its mean is over; of two regimes, those of each.",
    "trained in": "The precision of the training. The evaluation's own, which is the same for all networks, "
    "stands beside; in lower precision explanations would differ as if they were attacked.",
    "radius": "The largest change of a pixel value in [0, 1] that an attack may make.",
    "gradient": "Whether the attack differentiates the network.",
    "varied": "What differs between the attacks of one sweep.",
}


def glossary(results: Results) -> list[tuple[str, str]]:
    """Return the metrics, then the words of the page, with what they mean."""
    described: list[tuple[str, str]] = []
    for name, entry in results.card["metrics"].items():
        path = f"{entry['class_path']}." if entry["class_path"] else ""
        text = f"{entry['description'] or path} {direction_words(results, name)}".strip()
        described.append((metric_words(name), isolated(text, results.metrics)))
    return described + list(TERMS.items())


def direction_words(results: Results, metric: str) -> str:
    """Return a sentence that says which way a metric is more robust; nothing if neither."""
    sentences = {1: "Higher is more robust.", -1: "Lower is more robust.", 0: ""}
    return sentences[results.direction(metric)]
