"""Settings that come from environment variables."""

from __future__ import annotations

from walle.errors import ConfigurationError

__all__ = ["flag"]

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def flag(variable: str, text: str) -> bool:
    """Return the value of a Boolean environment variable.

    Parameters
    ----------
    variable : str
        The name of the variable, for the error.
    text : str
        1, true, yes, on, 0, false, no or off, in upper or lower case.

    Raises
    ------
    ConfigurationError
        For any other text.
    """
    if text.lower() not in _WORDS:
        raise ConfigurationError(f"{variable}={text!r} is neither true nor false. Allowed: {', '.join(_WORDS)}.")
    return _WORDS[text.lower()]
