import errno
import os

import pytest

from lit_xai.domain import check_eps
from lit_xai.refusal import SharedError, TerminatedError, one_line_errors, refuse, speaks


def ending(action, capsys) -> str:
    """Return what an action writes to standard error when it ends the process with status 2."""
    with pytest.raises(SystemExit) as end:
        action()
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.out == ""
    return captured.err


def raising(error: BaseException):
    def action():
        with one_line_errors():
            raise error

    return action


def test_a_refusal_has_one_line(capsys):
    assert ending(lambda: refuse("  No such file.  \n"), capsys) == "error: No such file.\n"


def test_a_refusal_has_three_lines_at_most(capsys):
    found = ending(lambda: refuse("one\n\n  two\n   \nthree\nfour\nfive"), capsys)
    assert found == "error: one\ntwo\nthree\n"


def test_a_line_is_cut(capsys):
    assert ending(lambda: refuse("x" * 5000), capsys) == "error: " + "x" * 400 + "\n"


def test_an_error_that_speaks_to_the_user_becomes_one_line(capsys):
    def action():
        with one_line_errors():
            check_eps(8)

    assert ending(action, capsys) == "error: Expected `eps` in (0, 1], but got 8. Write 8/255 as 0.0314.\n"


def test_the_words_are_found_through_the_causes(capsys):
    def action():
        with one_line_errors():
            try:
                try:
                    check_eps(8, "step_size")
                except ValueError as error:
                    raise TypeError("Problem with the class.") from error
            except TypeError as error:
                raise KeyError("key") from error

    assert ending(action, capsys).startswith("error: Expected `step_size` in (0, 1], but got 8.")


@pytest.mark.parametrize("prefix", ["", "  - ", "\n"])
def test_the_words_are_found_inside_a_longer_message(capsys, prefix):
    message = f"Parser key 'x':\n{prefix}Expected `k` in [1, 64], but got 65. Lower it.\nand a trace"
    found = ending(raising(ValueError(message)), capsys)
    assert found == "error: Expected `k` in [1, 64], but got 65. Lower it.\n"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Something else."),
        RuntimeError("CUDA error"),
        ValueError("We Expected one, but got two."),
        # torch's words, about a defect and not about what the user wrote.
        RuntimeError("Expected all tensors to be on the same device, but got weight is on cuda:0."),
        SystemExit(3),
        OSError(errno.ENOENT, "No such file or directory", "x"),
    ],
)
def test_other_errors_pass_through(error, capsys):
    with pytest.raises(type(error)) as found:
        raising(error)()
    assert found.value is error
    assert capsys.readouterr().err == ""


def test_nothing_happens_without_an_error():
    with one_line_errors():
        value = 3
    assert value == 3


def raised_from(error: BaseException | None) -> None:
    """Be interrupted, and end as libraries do that end the process from inside the handler."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as first:
        if error is None:
            raise
        error.__context__ = first
        raise error  # noqa: B904


def interrupted(error: BaseException | None, remedy, capsys) -> str:
    with pytest.raises(SystemExit) as end, one_line_errors(remedy):
        raised_from(error)
    assert end.value.code == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize("error", [None, SystemExit(1), KeyboardInterrupt()])
def test_an_interruption_has_one_line_and_its_own_status(error, capsys):
    found = interrupted(error, lambda: "Go on\nwith x.", capsys)
    assert found == "Interrupted. Go on with x.\n"


def test_a_termination_has_one_line_and_its_own_status(capsys):
    with pytest.raises(SystemExit) as end, one_line_errors(lambda: "Go on\nwith x."):
        raise TerminatedError
    assert end.value.code == 143
    assert capsys.readouterr() == ("", "Terminated. Go on with x.\n")


@pytest.mark.parametrize("place", ["LOCAL_RANK", "RANK", "SLURM_PROCID"])
def test_what_all_processes_find_the_first_says(place, capsys, monkeypatch):
    words = "Expected a finite loss, but got nan."
    monkeypatch.setenv(place, "0")
    assert ending(raising(SharedError(words)), capsys) == f"error: {words}\n"
    monkeypatch.setenv(place, "1")
    assert ending(raising(SharedError(words)), capsys) == ""
    assert ending(raising(ValueError(words)), capsys) == f"error: {words}\n"


def test_an_interruption_without_a_remedy(capsys):
    assert interrupted(None, None, capsys) == "Interrupted.\n"


@pytest.mark.parametrize("place", ["LOCAL_RANK", "RANK", "SLURM_PROCID"])
def test_one_process_of_several_says_that_it_was_interrupted(place, capsys, monkeypatch):
    monkeypatch.setenv(place, "0")
    assert interrupted(None, None, capsys) == "Interrupted.\n"
    monkeypatch.setenv(place, "1")
    assert interrupted(None, None, capsys) == ""


def test_an_error_after_an_interruption_is_not_hidden(capsys):
    with pytest.raises(RuntimeError, match="defect"), one_line_errors(lambda: "Go on."):
        raised_from(RuntimeError("defect"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("number", "filename", "expected"),
    [
        (
            errno.ENOSPC,
            None,
            "Expected room to write, but got: No space left on device. Free space on that disk",
        ),
        (errno.EFBIG, "a.ckpt", "Expected to use a.ckpt, but got: File too large. Raise the limit"),
        (errno.ENOTDIR, "runs/x", "Expected to use runs/x, but got: Not a directory. Choose another path"),
    ],
)
def test_what_the_machine_lacks_is_said_in_one_line(number, filename, expected, capsys):
    found = ending(raising(OSError(number, os.strerror(number), filename)), capsys)
    assert found.startswith(f"error: {expected}")
    assert found.count("\n") == 1


def test_words_of_a_worker_process_are_found(capsys):
    trace = (
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n    raise ValueError(\nValueError: Expected pixels, but got none.\n'
    )
    assert ending(raising(ValueError(trace)), capsys) == "error: Expected pixels, but got none.\n"


def test_which_errors_speak():
    words = ValueError("Expected one, but got two.")
    wrapped = RuntimeError("a failure of its own")
    wrapped.__cause__ = words
    assert all(map(speaks, (words, wrapped, OSError(errno.ENOSPC, "full"))))
    assert not any(
        map(speaks, (RuntimeError("Expected one, but got two."), KeyError("a"), KeyboardInterrupt()))
    )
