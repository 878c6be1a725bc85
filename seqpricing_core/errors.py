"""The one exception a user is meant to read."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: what is wrong, where, what was expected, what to do.

    Raised before anything is written, so that nothing is left half done.
    """

    def __init__(self, what: str, *, where: str, expected: str, remedy: str) -> None:
        self.what, self.where, self.expected, self.remedy = what, where, expected, remedy
        super().__init__(f"{what}\n  where:    {where}\n  expected: {expected}\n  what to do: {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments do not survive the trip back from a worker process.
        return (_rebuild, (self.what, self.where, self.expected, self.remedy))


def _rebuild(what: str, where: str, expected: str, remedy: str) -> InputError:
    return InputError(what, where=where, expected=expected, remedy=remedy)
