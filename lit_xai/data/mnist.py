"""The handwritten digits."""

from dataclasses import dataclass

from torchvision import datasets

from lit_xai.data.base import Split
from lit_xai.data.fashion_mnist import read_split
from lit_xai.data.fetching import fetching
from lit_xai.data.images import Images
from lit_xai.data.stored import StoredData


@dataclass(eq=False, repr=False)
class MNIST(StoredData):
    """All of MNIST (LeCun et al., 1998, doi 10.1109/5.726791).

    55,000 / 5,000 / 10,000 images of 28 x 28 pixels. The validation split is the first 5,000 images of the
    original training file. `sample_id` counts within the split. Fashion-MNIST's files have the same names:
    keep the two apart. Further options are those of `StoredData`.

    Args:
        data_dir: Directory of the four original files, plain or gzipped, or of torchvision's `MNIST/raw`;
            `data` if None.

    Raises:
        FileNotFoundError: If the files are missing, when the data is set up.
        ValueError: If an option is out of its range, or a file is damaged.
    """

    num_classes = 10

    def fetch(self) -> None:
        with fetching("MNIST", self.root):
            datasets.MNIST(self.root, download=True)

    def read(self, split: Split) -> Images:
        candidates = [self.root / "MNIST" / "raw", self.root]
        return read_split(candidates, split, "Set `data_dir`, or `download`.")
