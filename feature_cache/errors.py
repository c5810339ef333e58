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
