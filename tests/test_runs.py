import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import wandb
from filelock import FileLock
from jsonargparse import Namespace

from lit_xai.runs import (
    check_run,
    fill_in,
    hold,
    keep_wandb_inside,
    let_go,
    new_run_directory,
    record,
    recorded,
    requeued,
    take_out,
    wandb_name,
)

DIRECTORIES = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home directory and an environment without W&B, restored after the test."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    settings = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_SILENT", "NETRC")
    for name in (*DIRECTORIES, *settings):
        # Set first: what the code then sets is undone too.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return home


def write_netrc(path: Path, machine: str) -> Path:
    path.write_text(f"machine {machine}\n  login user\n  password {'0' * 40}\n")
    path.chmod(0o600)
    return path


def test_runs_are_numbered_from_one(tmp_path):
    made = [new_run_directory(tmp_path / "runs", "pgd") for _ in range(3)]
    assert made == [tmp_path / "runs" / "pgd" / str(number) for number in (1, 2, 3)]
    assert new_run_directory(tmp_path / "runs", "other") == tmp_path / "runs" / "other" / "1"


def test_a_gap_is_not_filled_and_other_names_are_no_runs(tmp_path):
    for name in ("2", "9", "best", "12a", "-30"):
        (tmp_path / "pgd" / name).mkdir(parents=True)
    assert new_run_directory(tmp_path, "pgd").name == "10"


def test_numbers_are_compared_as_numbers(tmp_path):
    for name in ("9", "10"):
        (tmp_path / "pgd" / name).mkdir(parents=True)
    assert new_run_directory(tmp_path, "pgd").name == "11"


def test_a_run_is_never_overwritten(tmp_path, monkeypatch):
    earlier = new_run_directory(tmp_path, "pgd")
    (earlier / "results.csv").write_text("kept")
    # Another process made the directory after this one had looked.
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(()))
    assert new_run_directory(tmp_path, "pgd").name == "2"
    assert (earlier / "results.csv").read_text() == "kept"


def test_runs_made_at_once_differ(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_run_directory(tmp_path, "pgd"), range(40)))
    assert sorted(int(path.name) for path in made) == list(range(1, 41))


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError, match="runs"):
        new_run_directory(tmp_path / "runs", "pgd")


def test_placeholders_are_filled_at_any_depth():
    config = Namespace(
        root="{run_dir}",
        callbacks=[Namespace(init_args=Namespace(dirpath="{run_dir}/a/{run_dir}")), ["{run_dir}/b", 3]],
        untouched=Namespace(number=1.5, nothing=None, flag=True, text="run_dir"),
    )
    expected = Namespace(
        root="/r/1",
        callbacks=[Namespace(init_args=Namespace(dirpath="/r/1/a//r/1")), ["/r/1/b", 3]],
        untouched=Namespace(number=1.5, nothing=None, flag=True, text="run_dir"),
    )
    assert fill_in(config, Path("/r/1")) == expected
    assert config.root == "{run_dir}"


def test_placeholders_are_filled_in_dicts():
    assert fill_in({"logger": {"dir": "{run_dir}/x"}}, Path("/r/1")) == {"logger": {"dir": "/r/1/x"}}


def test_a_copied_configuration_makes_its_own_directory():
    config = Namespace(root="{run_dir}", callbacks=[{"dirpath": "{run_dir}/a", "k": 3}], other="/r/2")
    filled = fill_in(config, Path("/r/1"))
    assert filled.callbacks == [{"dirpath": "/r/1/a", "k": 3}]
    assert take_out(filled, Path("/r/1")) == config


def test_every_file_of_wandb_lands_inside(home, tmp_path, monkeypatch):
    # W&B runs in a process of its own: the paths do not depend on the working directory.
    monkeypatch.chdir(tmp_path)
    keep_wandb_inside(Path("runs/pgd/1"))
    assert {os.environ[name] for name in DIRECTORIES} == {str(tmp_path / "runs" / "pgd" / "1")}


def test_wandb_is_offline_without_a_key(home, tmp_path):
    keep_wandb_inside(tmp_path)
    assert os.environ["WANDB_MODE"] == "offline"


def test_an_empty_key_is_no_key(home, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "")
    keep_wandb_inside(tmp_path)
    assert os.environ["WANDB_MODE"] == "offline"


def test_wandb_is_online_with_a_key_in_the_environment(home, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    keep_wandb_inside(tmp_path)
    assert "WANDB_MODE" not in os.environ


@pytest.mark.parametrize("machine", ["api.wandb.ai", urlsplit(wandb.Settings().base_url).netloc])
def test_wandb_is_online_with_a_key_in_the_home_directory(home, tmp_path, machine):
    # Since 0.31 wandb's own server has another name; keys of earlier logins stay under the first.
    write_netrc(home / ".netrc", machine)
    keep_wandb_inside(tmp_path)
    assert "WANDB_MODE" not in os.environ


def test_wandb_is_online_with_a_key_where_netrc_points(home, tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(write_netrc(tmp_path / "keys", "api.wandb.ai")))
    keep_wandb_inside(tmp_path)
    assert "WANDB_MODE" not in os.environ


def test_a_key_for_a_private_server_is_found_with_its_port(home, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example:8080")
    write_netrc(home / ".netrc", "wandb.example:8080")
    keep_wandb_inside(tmp_path)
    assert "WANDB_MODE" not in os.environ


@pytest.mark.parametrize("content", ["machine example.org\n  login user\n  password secret\n", "nonsense {"])
def test_a_netrc_without_a_key_for_wandb_is_no_key(home, tmp_path, content):
    (home / ".netrc").write_text(content)
    (home / ".netrc").chmod(0o600)
    keep_wandb_inside(tmp_path)
    assert os.environ["WANDB_MODE"] == "offline"


def test_a_mode_that_the_user_set_stays(home, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    keep_wandb_inside(tmp_path)
    assert os.environ["WANDB_MODE"] == "disabled"


def test_wandb_is_quiet_unless_the_user_wants_it_otherwise(home, tmp_path, monkeypatch):
    keep_wandb_inside(tmp_path)
    assert os.environ["WANDB_SILENT"] == "true"
    monkeypatch.setenv("WANDB_SILENT", "false")
    keep_wandb_inside(tmp_path)
    assert os.environ["WANDB_SILENT"] == "false"


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "", ".", ".."])
def test_an_experiment_stays_in_the_directory_of_runs(name, tmp_path):
    with pytest.raises(ValueError, match="Expected `experiment` as a name without separators"):
        new_run_directory(tmp_path / "runs", name)
    assert list(tmp_path.iterdir()) == []


def test_a_held_run_is_refused_to_others_and_an_empty_one_goes(tmp_path):
    run = new_run_directory(tmp_path, "x")
    lock = hold(run)
    record(run, ["fit"], "abc")
    assert FileLock(run / ".lock").lock_file == lock.lock_file
    let_go(run, lock)
    assert not run.exists()
    run = new_run_directory(tmp_path, "x")
    lock = hold(run)
    (run / "config.yaml").touch()
    let_go(run, lock)
    assert (run / "config.yaml").is_file()
    let_go(run, hold(run))


def test_a_run_that_cannot_go_on_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected the directory of a run, but got .*none, which"):
        check_run(tmp_path / "none")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"holds no config\.yaml and run\.json"):
        check_run(tmp_path)
    record(tmp_path, [], None)
    check_run(tmp_path)


def test_the_name_in_wandb_stays(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    first = wandb_name(tmp_path)
    assert len(first) == 8
    assert wandb_name(tmp_path) != first
    record(tmp_path, ["fit"], first)
    assert recorded(tmp_path)["wandb_id"] == wandb_name(tmp_path) == first
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    assert wandb_name(tmp_path) == first
    assert wandb_name(tmp_path / "other") == "mine"


def begun(parent: Path, number: int, arguments: list[str]) -> Path:
    run = parent / str(number)
    run.mkdir()
    (run / "config.yaml").touch()
    record(run, arguments, None)
    return run


def test_a_requeued_job_finds_its_run(tmp_path, monkeypatch):
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "6")
    begun(tmp_path, 1, ["fit"])
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    own, other = begun(tmp_path, 2, ["fit"]), begun(tmp_path, 10, ["fit", "--seed_everything=2"])
    assert requeued(tmp_path, ["fit"]) is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    assert requeued(tmp_path, ["fit"]) is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert requeued(tmp_path, ["fit"]) == own
    assert requeued(tmp_path, ["fit", "--seed_everything=2"]) == other
    assert requeued(tmp_path, ["fit", "--seed_everything=3"]) is None
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    assert requeued(tmp_path, ["fit"]) is None
    task = begun(tmp_path, 11, ["fit"])
    assert requeued(tmp_path, ["fit"]) == task
    (task / "config.yaml").unlink()
    assert requeued(tmp_path, ["fit"]) is None
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    assert requeued(tmp_path, ["fit"]) is None
