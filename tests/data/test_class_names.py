import pytest

from lit_xai.data.class_names import read_class_names


@pytest.fixture
def listed(tmp_path):
    return tmp_path / "classes.txt"


def test_names_keep_their_order(listed):
    listed.write_text("d\n\n c \nb\n")
    assert read_class_names(listed) == ["d", "c", "b"]


def test_names_are_read_as_editors_save_them(listed):
    listed.write_bytes("caf\xe9\r\nd\r\n".encode("utf-8-sig"))
    assert read_class_names(listed) == ["caf\xe9", "d"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"d\nd\nb\n", r"^Expected each class once in \S*classes\.txt, but got d more than once\."),
        (
            b"caf\xe9\n",
            r"^Expected \S*classes\.txt in UTF-8, but got invalid continuation byte\. Save it so\.",
        ),
    ],
)
def test_other_files_are_refused(listed, content, message):
    listed.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_class_names(listed)


def test_a_missing_file_is_named(listed):
    with pytest.raises(
        FileNotFoundError, match=r"^Expected a file of class names for `classes`, but got \S*classes\.txt"
    ):
        read_class_names(listed)
