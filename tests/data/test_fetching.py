import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets
from torchvision.datasets import utils

from lit_xai.data.cifar10 import CIFAR10
from lit_xai.data.fashion_mnist import FashionMNIST
from lit_xai.data.flowers102 import Flowers102
from lit_xai.data.gtsrb import GTSRB
from lit_xai.data.mnist import MNIST
from lit_xai.data.stored import StoredData

ALL = [CIFAR10, FashionMNIST, Flowers102, GTSRB, MNIST]


def harmful_archive(name: str) -> bytes:
    """Return an archive of the kind that a name ends in, holding one file."""
    stream = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("unpacked", "harm")
    elif name.endswith(("tar.gz", ".tgz")):
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo("unpacked"))
    else:
        stream.write(gzip.compress(b"harm"))
    return stream.getvalue()


@pytest.fixture
def served(monkeypatch):
    """Serve tampered archives in the place of the network, and return the list of what was asked for."""
    asked = []

    def retrieve(url, filename, chunk_size=0):
        asked.append(url)
        Path(filename).write_bytes(harmful_archive(str(filename)))

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops=3: url)
    monkeypatch.setattr(utils, "_urlretrieve", retrieve)
    return asked


def unpacked(directory) -> list[str]:
    """Return what lies there but for the archives themselves."""
    archives = (".zip", ".gz", ".tgz", ".mat")
    return [str(path) for path in directory.rglob("*") if path.is_file() and path.suffix not in archives]


@pytest.mark.parametrize("kind", ALL)
def test_a_tampered_download_is_refused_in_one_line_and_not_unpacked(
    tmp_path, served, kind: type[StoredData]
):
    with pytest.raises(
        ValueError, match=rf"^Expected {kind.__name__} as published in .*, but got .*"
    ) as error:
        kind(data_dir=tmp_path, download=True).prepare_data()
    assert "\n" not in str(error.value)
    assert "not unpacked." in str(error.value)
    assert served
    assert unpacked(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (CIFAR10, "cifar-10-python.tar.gz"),
        (FashionMNIST, "FashionMNIST/raw/train-images-idx3-ubyte.gz"),
        (MNIST, "MNIST/raw/train-images-idx3-ubyte.gz"),
        (GTSRB, "gtsrb/GTSRB-Training_fixed.zip"),
        (Flowers102, "flowers-102/102flowers.tgz"),
    ],
)
def test_a_tampered_archive_that_lies_there_is_not_unpacked(tmp_path, served, kind, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(harmful_archive(place))
    with pytest.raises(ValueError, match="as published"):
        kind(data_dir=tmp_path, download=True).prepare_data()
    assert any(url.endswith(path.name) for url in served)
    assert unpacked(tmp_path) == []


def test_an_archive_with_the_published_checksum_is_unpacked(tmp_path, served, monkeypatch):
    monkeypatch.setattr(
        datasets.MNIST,
        "resources",
        [(name, hashlib.md5(harmful_archive(name)).hexdigest()) for name, _ in datasets.MNIST.resources],
    )
    monkeypatch.setattr(datasets.MNIST, "_load_data", lambda _: (np.zeros(1), np.zeros(1)))
    MNIST(data_dir=tmp_path, download=True).prepare_data()
    assert len(served) == 4
    assert len(unpacked(tmp_path)) == 4


@pytest.mark.parametrize("kind", ALL)
def test_without_a_network_it_is_one_line(tmp_path, monkeypatch, kind):
    def fail(url, *_, **__):
        raise URLError("[Errno -2] Name or service\nnot known")

    monkeypatch.setattr(utils, "_get_redirect_url", fail)
    with pytest.raises(
        (OSError, ValueError), match=r"^Expected .*, but got .*Name or service not known"
    ) as error:
        kind(data_dir=tmp_path, download=True).prepare_data()
    assert "\n" not in str(error.value)


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "data").write_text("a file")
    message = r"^Expected to fetch CIFAR10 into .*data, but got .*\. Fetch it by hand, or try again\.$"
    with pytest.raises(OSError, match=message):
        CIFAR10(data_dir=tmp_path / "data", download=True).prepare_data()
