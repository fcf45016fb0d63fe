import pytest

from lit_xai.training.entry import trained


def test_an_unknown_subcommand_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        trained(["fti"])
    assert (
        capsys.readouterr().err
        == "error: Expected one of fit, validate, test, but got fti. Did you mean fit?\n"
    )


def test_every_option_can_be_shown(capsys):
    with pytest.raises(SystemExit, match="0"):
        trained(["fit", "--help_all"])
    assert "--trainer.gradient_clip_val" in capsys.readouterr().out
