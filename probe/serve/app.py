"""The web application: its addresses, what they take and what they answer.

app = create_app(Index.open("photos.index"), Limits(), token=None, hosts=["localhost", "127.0.0.1"])
"""

import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from jinja2 import ChainableUndefined, Environment
from starlette.exceptions import HTTPException

from feature_cache import StoreError
from probe.errors import ProbeError, UsageError
from probe.index import Box, Index
from probe.serve import answers
from probe.serve.answers import About, Failures, Found, Health, Problem, Row, Rows, Why
from probe.serve.guard import Guard
from probe.serve.limits import Limits
from probe.serve.measures import Measures
from probe.serve.refusals import Refused
from probe.serve.searches import Search, Searches
from probe.serve.service import LARGEST, SMALLEST, Embedded, Service
from probe.serve.uploads import Uploads
from probe.serve.work import Work, answer

PAGE = ("page.html", "page.css", "page.js")
IMAGE_BODY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {"default": {"model": Problem, "description": "Refused, and why."}}
LONGEST = 4096  # characters of an id

log = logging.getLogger("probe.serve")

Id = Annotated[str, Query(max_length=LONGEST, description="Of a row of the index.")]
HitId = Annotated[str, Query(max_length=LONGEST, description="Of the hit.")]
BoxText = Annotated[str | None, Query(max_length=80, description="A part of the image, in its pixels: x,y,w,h.")]
Start = Annotated[int, Query(ge=0, le=1 << 40)]
Count = Annotated[int, Query(ge=0, le=200)]


@dataclass(frozen=True)
class Asked:
    """What all searches take."""

    k: int
    where: str | None
    box: Box | None


def create_app(
    index: Index,
    limits: Limits,
    token: str | None = None,
    hosts: Iterable[str] = ("localhost", "127.0.0.1", "::1"),
    false_match_rate: float | None = None,
) -> FastAPI:
    """`token`: what everybody has to show, where there is one; without one, only requests that ask for one of `hosts`
    are answered. `false_match_rate`: hits below the threshold for it are told to be no match."""
    service, searches, work = Service(index, limits), Searches(index, limits, false_match_rate), Work(limits)
    uploads, measures = Uploads(limits), Measures()
    measures.gauge("probe_rows", "Rows of the index.", lambda: len(index))
    measures.gauge("probe_searches_waiting", "Searches that wait for the next pass.", lambda: searches.waiting)
    measures.gauge("probe_work_under_way", "Requests in a thread, or waiting for one.", lambda: work.under_way)
    measures.gauge("probe_upload_bytes_held", "Of uploads in memory.", lambda: uploads.held)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        searches.close()
        work.close()

    app = FastAPI(
        title="probe serve",
        description="Searches an index of images.",
        docs_url=None,
        redoc_url=None,
        responses=PROBLEMS,
        lifespan=lifespan,
    )
    app.add_middleware(Guard, hosts=hosts, token=token, measures=measures)
    _refuse_in_sentences(app)
    _add_pages(app, measures)

    async def asked_for(
        k: Annotated[int, Query(ge=1, le=limits.hits, description="Hits.")] = 10,
        where: Annotated[
            str | None,
            Query(max_length=limits.condition, description="A condition on the columns, in SQL: label = 'shoe'."),
        ] = None,
        box: BoxText = None,
    ) -> Asked:
        return Asked(k, where or None, Box.parse(box) if box else None)

    async def found(name: str, query: Embedded | str, asked: Asked, exclude: frozenset[str], began: float) -> Response:
        search = Search(query, asked.k, asked.where, exclude)
        hits = await answer(searches.submit(search), limits.seconds)
        content = Found(query=name, seconds=time.perf_counter() - began, hits=hits).model_dump_json()
        return Response(content, media_type="application/json")  # FastAPI would check it, and write it, once more

    @app.get("/api/index", tags=["index"])
    async def about() -> About:
        """What the index is of."""
        manifest = index.manifest
        columns = {name: str(kind) for name, kind in index.state.schema.items()}
        return About(
            name=index.path.name,
            rows=manifest.rows,
            dim=manifest.dim,
            distance=manifest.distance,
            images=manifest.embedder is not None,
            columns=columns,
            promise=_promise(index, false_match_rate),
            upload_bytes=limits.upload_bytes,
        )

    @app.get("/api/rows", tags=["index"])
    async def rows(
        contains: Annotated[str, Query(max_length=LONGEST, description="Text in the ids.")] = "",
        start: Start = 0,
        count: Count = 24,
    ) -> Rows:
        """Rows of the index, ordered by id."""
        total, some = await work.run(service.rows, contains, start, count)
        return Rows(total=total, rows=[answers.row(row) for row in some.to_dicts()])

    @app.get("/api/row", tags=["index"])
    async def row(id: Id) -> Row:
        """One row."""
        return answers.row(await work.run(service.row, id))

    @app.get("/api/image", tags=["index"], response_class=Response, responses={200: {"content": {"image/webp": {}}}})
    async def image(
        id: Id, px: Annotated[int, Query(ge=SMALLEST, le=LARGEST, description="The longer side at most.")] = 320
    ) -> Response:
        """The image of a row, made smaller, as WebP."""
        content = await work.run(service.thumbnail, id, px)
        return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=60"})

    @app.get("/api/search", tags=["search"], response_model=Found)
    async def search_by_row(
        id: Id,
        asked: Annotated[Asked, Depends(asked_for)],
        exclude_self: Annotated[bool, Query(description="Leave out the row, and copies of its file.")] = True,
    ) -> Response:
        """The rows that are nearest to a row of the index, or to a part of its image."""
        began = time.perf_counter()
        exclude = await work.run(service.same_as_row, id) if exclude_self else frozenset()
        query = await work.run(service.embedded_part, id, asked.box) if asked.box else id
        return await found(id, query, asked, exclude, began)

    @app.post(
        "/api/search",
        tags=["search"],
        response_model=Found,
        openapi_extra={"requestBody": IMAGE_BODY | {"required": True}},
    )
    async def search_by_image(
        request: Request,
        asked: Annotated[Asked, Depends(asked_for)],
        exclude_self: Annotated[bool, Query(description="Leave out files of the same bytes.")] = False,
        name: Annotated[str, Query(max_length=LONGEST, description="What the answer calls the image.")] = "upload",
    ) -> Response:
        """The rows that are nearest to an image, whose file is the body of the request, or to a part of it."""
        began = time.perf_counter()
        async with uploads.received(request) as content:
            exclude = await work.run(service.same_as_upload, content) if exclude_self else frozenset()
            query = await work.run(service.embedded_upload, content, asked.box)
        return await found(name, query, asked, exclude, began)

    @app.get("/api/why", tags=["search"])
    async def why_row(id: Id, hit: HitId, box: BoxText = None) -> Why:
        """Which parts of a row of the index, and of a hit, make them similar."""
        return answers.why(*await work.run(service.why_row, id, Box.parse(box) if box else None, hit))

    @app.post("/api/why", tags=["search"], openapi_extra={"requestBody": IMAGE_BODY | {"required": True}})
    async def why_upload(request: Request, hit: HitId, box: BoxText = None) -> Why:
        """Which parts of an image, whose file is the body of the request, and of a hit make them similar."""
        part = Box.parse(box) if box else None
        async with uploads.received(request) as content:
            return answers.why(*await work.run(service.why_upload, content, part, hit))

    @app.get("/api/failures", tags=["search"])
    async def failures(start: Start = 0, count: Count = 24) -> Failures:
        """Labelled rows whose nearest other file has another label."""
        wrong = await work.run(service.failures)
        some = wrong.failures[start : start + count]
        return Failures(
            labelled=wrong.labelled,
            findable=wrong.findable,
            queries=wrong.queries,
            wrong=len(wrong.failures),
            failures=[answers.Failure(query=answers.row(query), hit=answers.hit(hit)) for query, hit in some],
        )

    return app


def _promise(index: Index, rate: float | None) -> str | None:
    record = index.manifest.no_match
    if rate is None or record is None or not index.manifest.is_calibrated:
        return None
    return f"No match: less similar than all but {rate:.2%} of queries that the index has nothing of; {record.promise}."


def _add_pages(app: FastAPI, measures: Measures) -> None:
    folder = files("probe.serve").joinpath("page")
    content = {name: folder.joinpath(name).read_bytes() for name in PAGE}
    environment = Environment(autoescape=True, undefined=ChainableUndefined, trim_blocks=True, lstrip_blocks=True)
    api_page = environment.from_string(folder.joinpath("api.html").read_text(encoding="utf-8"))

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(content["page.html"], media_type="text/html")

    @app.get("/page.css", include_in_schema=False)
    async def style() -> Response:
        return Response(content["page.css"], media_type="text/css")

    @app.get("/page.js", include_in_schema=False)
    async def script() -> Response:
        return Response(content["page.js"], media_type="text/javascript")

    @app.get("/api", include_in_schema=False)
    async def operations() -> Response:
        return Response(api_page.render(api=app.openapi()), media_type="text/html")

    @app.get("/health", tags=["server"])
    async def health() -> Health:
        """Whether the server answers."""
        return Health(status="ok")

    @app.get("/metrics", tags=["server"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counters and times, in Prometheus' text format."""
        return Response(measures.text(), media_type="text/plain; version=0.0.4")


def _refuse_in_sentences(app: FastAPI) -> None:
    """No answer has a traceback, or names a file of this machine."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return Refused(422, f"{first['loc'][-1]}: {first['msg'].removeprefix('Value error, ')}.").response()

    @app.exception_handler(UsageError)
    async def not_usable(_: Request, error: UsageError) -> Response:
        return Refused(422, str(error)).response()

    @app.exception_handler(ProbeError)
    @app.exception_handler(StoreError)
    async def failed(_: Request, error: Exception) -> Response:
        log.error("%s", error)
        return Refused(500, "the index cannot be read; whoever runs this server sees why.").response()

    @app.exception_handler(HTTPException)
    async def no_such_address(_: Request, error: HTTPException) -> Response:
        what = "nothing at this address" if error.status_code == 404 else f"no such request ({error.detail})"
        return Refused(error.status_code, f"there is {what}; /api lists what there is.").response()
