# %% [markdown]
# # Quick start without Lightning
#
# Everything up to the grid works on a bare `nn.Module` that maps pixels in [0, 1] to logits. This script
# trains a small network, explains it, attacks the explanation, measures the harm, and trains a second
# network robustly; it draws a robustness curve over the epochs of both. It takes less than a minute on a
# CPU and needs no internet. Run it as it is, `python docs/quickstart.py`, or cell by cell in an editor that
# knows `# %%`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.evaluation.grid import Grid
from lit_xai.metrics.lens import LENSPrecision
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.top_k import TopKIntersection, top_k_intersection
from lit_xai.models.small import SmallCNN
from lit_xai.noise import Noise
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.pgd import PGD
from lit_xai.types import Batch

output = Path("quickstart")
output.mkdir(exist_ok=True)

# %% [markdown]
# ## Data and network
#
# 1,000 of the embedded images to train on, 64 validation images to attack. A batch is images, labels, and
# the position of each image in its data set: the position keys all randomness, so no number depends on the
# batch.

# %%
data = EmbeddedFashion(max_train=1000)
attacked = Batch(*next(iter(data.evaluation_loader("val", max_samples=64))))
low, high = attacked.image.aminmax()
print(f"images {tuple(attacked.image.shape)}, pixels in [{low:.0f}, {high:.0f}]")

# %% [markdown]
# ## One loop for every regime
#
# A regime is a frozen dataclass whose `loss` takes the network, a batch and noise. `Natural` is plain
# cross-entropy; `PGD`, `IGNorm`, `Triplet` and the others take its place without another change. The noise
# is keyed by an integer and the positions; a new key in each epoch gives new random starts.
#
# After each epoch a grid, attributions x attacks x metrics, gives one point of the robustness curve.

# %%
explanation = IntegratedGradients(path_steps=8)
attack = TopK(eps=0.1, step_size=0.02, steps=10, k=100)


def new_grid():
    return Grid(
        attributions={"integrated_gradients": explanation},
        attacks={"random_sign": RandomSign(eps=0.1), "top_k": attack},
        metrics={"top_k": TopKIntersection(k=100), "lens_precision": LENSPrecision(k=100)},
    )


def measure(model):
    """Return the rows of a grid, by attack and metric; each has value, stderr, count, failed, excluded."""
    grid = new_grid()
    grid.prepare(model, data.donors)
    grid.update(model, attacked)
    return {(row.attack, row.metric): row for row in grid.rows()}


def train(regime, epochs=3):
    """Return a trained network and its robustness after each epoch."""
    torch.manual_seed(0)
    model = SmallCNN(width=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    curve = []
    for epoch in range(epochs):
        model.train()
        for image, label, position in data.train_dataloader():
            optimizer.zero_grad()
            loss = regime.loss(model, image, label, Noise(epoch, position))
            loss.total.backward()
            optimizer.step()
        model.eval()
        curve.append(measure(model))
    return model, curve


def accuracy(model):
    hits = [(model(image).argmax(dim=1) == label) for image, label, _ in data.val_dataloader()]
    return torch.cat(hits).float().mean().item()


natural, natural_curve = train(Natural())
print(f"natural: accuracy {accuracy(natural):.3f}")

# %% [markdown]
# ## Explain
#
# An attribution gives each value of an image a signed number. `pixel_map` makes one non-negative map of it.

# %%
with torch.no_grad():
    target = natural(attacked.image).argmax(dim=1)
    maps = explanation.attribute(natural, attacked.image, target, Noise(0, attacked.sample_id))
print(f"maps {tuple(pixel_map(maps).shape)}")

# %% [markdown]
# ## Attack
#
# `run_attack` makes the attacked images and measures everything itself: maps and predictions before and
# after. An attack *failed* if it changed nothing or changed the prediction; it is counted, not dropped.

# %%
result = run_attack(natural, explanation, attack, attacked, seed=0)
before, after = pixel_map(result.attribution), pixel_map(result.attribution_adv)
left = top_k_intersection(before, after, k=100)
radius = (result.image_adv - result.image).abs().max()
print(f"radius {radius:.3f}, failed {int(result.failed.sum())} of {len(left)}")
print(f"of the 100 most important pixels {left.mean():.2f} stay")

# %% [markdown]
# ## Train robustly
#
# The same loop with another regime. The curves compare both networks under the same attack on the same
# images. Samples that a network misclassifies are excluded and counted, so `count` differs between
# networks.

# %%
robust, robust_curve = train(PGD(eps=0.1, step_size=0.04, steps=4))
print(f"pgd: accuracy {accuracy(robust):.3f}")
for name, curve in {"natural": natural_curve, "pgd": robust_curve}.items():
    row = curve[-1]["top_k", "top_k"]
    mean = f"{row.value:.3f} +- {row.stderr:.3f}"
    print(f"{name}: top_k {mean}, n {row.count}, failed {row.failed}, excluded {row.excluded}")

# %% [markdown]
# ## Draw
#
# The curve over epochs, with that under random signs of the same radius dotted beside, and one image with its
# maps before and after. What an attack does beyond random signs is its own.

# %%
figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
for color, (name, curve) in enumerate({"natural": natural_curve, "PGD": robust_curve}.items()):
    for attacker, style in {"top_k": "-", "random_sign": ":"}.items():
        rows = [point[attacker, "top_k"] for point in curve]
        epochs = range(1, len(rows) + 1)
        means, errors = [row.value for row in rows], [row.stderr for row in rows]
        label = name if attacker == "top_k" else f"{name}, random signs"
        axis.errorbar(epochs, means, errors, linestyle=style, color=f"C{color}", label=label, capsize=3)
axis.set(xlabel="epoch", ylabel="share of the top 100 that stays", xticks=list(epochs), ylim=(0, 1))
axis.legend(title="TopK, eps 0.1")
figure.savefig(output / "curve.png", dpi=120)

worst = int(torch.where(result.failed, 2.0, left).argmin())
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
panels = {
    "image": result.image[worst, 0],
    "its map": before[worst],
    "attacked image": result.image_adv[worst, 0],
    "its map now": after[worst],
}
for axis, (title, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture, cmap="gray" if "image" in title else "inferno")
    axis.set(title=title, xticks=[], yticks=[])
figure.savefig(output / "maps.png", dpi=120)
print(f"figures in {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")
