"""What can be wrong with a store: one class for each thing that a caller may want to handle differently."""


class StoreError(Exception):
    """A store cannot be read or written; the message says which file, what is wrong and what to do."""


class SpecMismatchError(StoreError):
    """The store was produced by something else than what is being asked for."""


class MissingIdsError(StoreError):
    """Ids were asked for that the store does not hold; `ids` has all of them."""

    def __init__(self, message: str, ids: list[str]) -> None:
        super().__init__(message)
        self.ids = ids


def first_line(error: BaseException) -> str:
    """What a library says of its error, as a part of a sentence."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
