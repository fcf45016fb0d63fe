import pytest

from lit_xai.domain import check_eps
from lit_xai.refusal import one_line_errors, refuse


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
        KeyboardInterrupt(),
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
