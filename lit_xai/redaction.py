"""Settings without their secrets, as they are written down and sent."""

import re
from collections.abc import Sequence
from typing import Any

HIDDEN = "(secret, left out)"
_NAME = r"(?:[\w.]*[._-])?(?:(?:api|access|private)[_-]?key|token|password|passwd|secret|credentials?)"
_SECRET = re.compile(_NAME, re.IGNORECASE)
_OPTION = re.compile(rf"(--{_NAME})(?:=(.*))?", re.IGNORECASE | re.DOTALL)
# The password in scheme://user:password@host.
_ADDRESS = re.compile(r"(\w://[^/@:\s]*:)[^/@\s]+(?=@)")


def redacted(settings: Any) -> Any:
    """Return plain settings with every text left out whose name says that it is a secret.

    Names that end in `api_key`, `access_key`, `private_key`, `token`, `password`, `passwd`, `secret` or
    `credentials` say so, and so does the place of a password in an address. What is no text stays.

    Example:
        >>> redacted({"logger": [{"api_key": "ab12"}], "class_token": True})
        {'logger': [{'api_key': '(secret, left out)'}], 'class_token': True}
        >>> redacted("https://me:word@host")
        'https://me:(secret, left out)@host'
    """
    if isinstance(settings, dict):
        return {
            name: HIDDEN if _is_secret(name) and isinstance(value, str) and value else redacted(value)
            for name, value in settings.items()
        }
    if isinstance(settings, list):
        return [redacted(value) for value in settings]
    return _ADDRESS.sub(rf"\1{HIDDEN}", settings) if isinstance(settings, str) else settings


def check_command(arguments: Sequence[str]) -> None:
    """Refuse a secret on the command line, which every user of the machine sees, and which loggers send.

    Args:
        arguments: Of a command.

    Raises:
        ValueError: If one of them is a secret by `redacted`; it is not repeated.
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        option = _OPTION.fullmatch(argument)
        value = "" if option is None else following if option[2] is None else option[2]
        if (option and _is_text(value)) or _ADDRESS.search(argument):
            shown = option[1] if option else "a password in an address"
            raise ValueError(
                f"Expected no secret on the command line, but got {shown}. Every user of this machine sees "
                "it: give it in the environment or in a file."
            )


def _is_text(value: str) -> bool:
    """Return whether a value could be a secret, which a switch, a number or another option could not."""
    plain = value.lower() in ("", "true", "false", "null", "none") or value.startswith("--")
    return not plain and not value.lstrip("+-").replace(".", "", 1).isdecimal()


def _is_secret(name: Any) -> bool:
    return isinstance(name, str) and _SECRET.fullmatch(name) is not None
