import hashlib

from lit_xai.evaluation import code
from lit_xai.evaluation.code import package_digest, source_digests


def test_a_users_own_module_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_fade.py").write_text("eps = 0.1")
    found = source_digests(["own_fade", "own_fade", "lit_xai.noise", "torch.nn", "builtins"])
    assert found == {"own_fade": hashlib.sha256(b"eps = 0.1").hexdigest()}


def test_what_has_no_source_is_left_out():
    assert source_digests(["no_such_module_anywhere", "no.such.module", "", "__main__", "../data"]) == {}


def test_the_package_is_known_by_every_source(tmp_path, monkeypatch):
    for folder in ("inner", "reporting"):
        (tmp_path / folder).mkdir()
    for name in ("a.py", "inner/b.py"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(code, "_PACKAGE", tmp_path)
    found = []
    for change in (
        lambda: None,
        lambda: (tmp_path / "reporting/page.py").write_text("changes no score"),
        lambda: (tmp_path / "inner/b.py").write_text("new"),
    ):
        change()
        package_digest.cache_clear()
        found.append(package_digest())
    (tmp_path / "inner/b.py").rename(tmp_path / "inner/c.py")
    package_digest.cache_clear()
    assert found[0] == found[1]
    assert len({*found, package_digest()}) == 3
    monkeypatch.undo()
    package_digest.cache_clear()
