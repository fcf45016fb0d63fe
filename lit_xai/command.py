"""The parser that the training and the evaluation command share."""

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lit_xai.refusal import refuse


class Parser(LightningArgumentParser):
    """A parser that takes no abbreviations and refuses in a few lines, without a page of usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Otherwise `--trainer.max_epoch` would be taken for `--trainer.max_epochs`.
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the process with the message."""
        refuse(message)
