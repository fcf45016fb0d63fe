"""Make the embedded sample of Fashion-MNIST from the four original files.

    python scripts/make_embedded_fashion.py /usr/share/datasets/fashion-mnist

5,000 training and 500 validation images come from the original training file, 1,000 test images from the
original test file: as many of each class, drawn with the seed below, in an order in which every ten
neighbours hold the ten classes, so the first n images are balanced too.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from lit_xai.data.fashion_mnist import read_originals

SEED = 20190528
CLASSES = 10
SIZES = {"train": 5000, "val": 500, "test": 1000}
TARGET = Path(__file__).parents[1] / "lit_xai" / "data" / "embedded_fashion.npz"


def balanced(labels: np.ndarray, size: int, taken: set[int], generator: np.random.Generator) -> np.ndarray:
    """Return positions of `size` untaken samples, the classes in turn."""
    columns = []
    for label in range(CLASSES):
        free = np.array([i for i in np.flatnonzero(labels == label) if i not in taken])
        columns.append(generator.permutation(free)[: size // CLASSES])
    return np.stack(columns, axis=1).ravel()


def main(directory: Path) -> None:
    """Write the sample and print its checksum."""
    generator = np.random.default_rng(SEED)
    arrays = {}
    taken: set[int] = set()
    for split, size in SIZES.items():
        images, labels = read_originals(directory, "test" if split == "test" else "train")
        chosen = balanced(labels, size, set() if split == "test" else taken, generator)
        if split != "test":
            taken |= set(chosen.tolist())
        arrays[f"{split}_images"] = images[chosen]
        arrays[f"{split}_labels"] = labels[chosen]
        arrays[f"{split}_positions"] = chosen.astype(np.int32)
    # np.savez_compressed stamps the time of day; a fixed date keeps the bytes the same.
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (2017, 8, 28, 0, 0, 0)),
                buffer.getvalue(),
                zipfile.ZIP_DEFLATED,
            )
    digest = hashlib.sha256(TARGET.read_bytes()).hexdigest()
    sys.stdout.write(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes, sha256 {digest}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
