import io
import logging
import subprocess
import sys
import warnings

import lightning.pytorch as pl
import pytest
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lit_xai.streams import Lines, plain_streams

LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric")


def state():
    handlers = [logging.getLogger(name).handlers[:] for name in LOGGERS]
    return handlers, warnings.formatwarning, warnings.filters[:]


@pytest.fixture(autouse=True)
def shown():
    """Show warnings as a command does: pytest turns ours into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest records warnings; here they are to be written.
        warnings.showwarning = lambda message, category, filename, lineno, *_: sys.stderr.write(
            warnings.formatwarning(message, category, filename, lineno)
        )
        yield


def test_a_warning_is_one_line_and_is_written_once(capsys):
    with plain_streams():
        for _ in range(3):
            warnings.warn("first\n  and more", UserWarning, stacklevel=1)
            rank_zero_warn("second")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "warning: first and more\nwarning: second\n"


@pytest.mark.parametrize("advertised", ["logging and experiment tracking", "uploads and versioning"])
def test_information_goes_to_standard_output(advertised, capsys):
    with plain_streams():
        rank_zero_info("known")
        pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        logging.getLogger("lightning.pytorch").info(f"💡 Tip: For seamless cloud {advertised}, try")
        logging.getLogger("lightning.fabric").warning("worse\nstill")
    captured = capsys.readouterr()
    assert captured.out.startswith("known\nGPU available: ")
    assert "Tip" not in captured.out
    assert captured.err == "warning: worse still\n"


@pytest.mark.parametrize(
    "message",
    [
        "The 'train_dataloader' does not have many workers which may be a bottleneck.",
        "The number of training batches (2) is smaller than the logging interval Trainer(50).",
        "Checkpoint directory runs/x/1/checkpoints exists and is not empty.",
        "Experiment logs directory runs/x/1/csv exists and is not empty. Previous log files",
    ],
)
def test_what_nobody_can_do_anything_about_is_left_out(message, capsys):
    with plain_streams():
        warnings.warn(message, UserWarning, stacklevel=1)
        warnings.warn(f"Note: {message}", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == f"warning: Note: {message}\n"


@pytest.mark.parametrize("error", [None, ValueError, SystemExit])
def test_everything_is_as_before_in_the_end(error):
    before = state()
    if error is None:
        with plain_streams():
            assert state() != before
    else:
        with pytest.raises(error), plain_streams():
            raise error
    assert state() == before


def test_a_warning_can_be_caught_inside():
    with plain_streams(), pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_a_process_writes_plain_lines_wherever_lightning_is_imported():
    program = (
        "from lit_xai.streams import Lines, plain_streams\n"
        "assert not any(name in __import__('sys').modules for name in ('torch', 'lightning'))\n"
        "with plain_streams():\n"
        "    import lightning.pytorch as pl, warnings\n"
        "    warnings.warn('mine')\n"
        "    pl.Trainer(accelerator='cpu', logger=False)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert found.stderr == "warning: mine\n"
    assert found.stdout.startswith("GPU available: ")


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("a\nb\n", "a\nb\n"),
        ("\r 1%\r 50%\r100%\nafter\n", "100%\nafter\n"),
        ("\r 1%\r 50%\r    \rnext\n", "next\n"),
        ("\r 1%\r 50%", "50%\n"),
        ("question? ", "question? "),
    ],
)
def test_a_bar_in_a_file_is_its_last_state(written, seen):
    stream = io.StringIO()
    lines = Lines(stream)
    lines.write(written)
    lines.end()
    assert stream.getvalue() == seen


def test_a_long_bar_is_seen_from_time_to_time():
    stream = io.StringIO()
    lines = Lines(stream, seconds=0)
    lines.write("\r10%\r20%\r30%")
    assert stream.getvalue() == "10%\n20%\n"
