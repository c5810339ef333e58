"""What is answered to a request that cannot be served: a status, and one sentence as JSON.

raise Refused(413, "the file is larger than 25 MB; send a smaller one.")
"""

from starlette.responses import JSONResponse


class Refused(Exception):  # noqa: N818
    """A request that is not served, and why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

    def response(self) -> JSONResponse:
        headers = {"Retry-After": "1"} if self.status == 503 else {}
        return JSONResponse({"detail": self.sentence}, self.status, headers)
