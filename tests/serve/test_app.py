"""The application in this process: what it answers, and what it refuses in a sentence."""

import re
import shutil
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from probe import Index
from probe.data import Manifest, read_manifest
from probe.serve import Limits, create_app
from tests.conftest import Shared
from tests.serve.conftest import HOSTILE


def files(index: Index) -> list[Path]:
    return sorted(file for file in (index.path.parent / "photos").rglob("*") if file.is_file())


def png(width: int, height: int) -> bytes:
    """An image of one colour, of which a file of any size in pixels is small."""
    content = BytesIO()
    Image.new("L", (width, height)).save(content, "PNG")
    return content.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width // 8 + 1) * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_an_uploaded_file_finds_itself_and_a_row_finds_what_the_index_finds(index: Index, client: TestClient):
    file = files(index)[0]
    found = client.post("/api/search", params={"k": 3, "name": "<b>mine"}, content=file.read_bytes()).json()
    assert found["query"] == "<b>mine"
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3]
    id = found["hits"][0]["id"]
    assert id == f"photos/{file.parent.name}/{file.name}"
    expected = index.search(file, 3).frame
    assert [(hit["id"], hit["similarity"]) for hit in found["hits"]] == expected.select("id", "similarity").rows()
    assert [hit["label"] for hit in found["hits"]] == expected["label"].to_list()
    by_row = client.get("/api/search", params={"id": id, "k": 2}).json()["hits"]
    assert [hit["id"] for hit in by_row] == expected["id"].to_list()[1:]
    without = client.post("/api/search", params={"k": 2, "exclude_self": True}, content=file.read_bytes()).json()
    assert [hit["id"] for hit in without["hits"]] == expected["id"].to_list()[1:]
    label = expected["label"][0].replace("'", "''")
    filtered = client.get("/api/search", params={"id": id, "k": 50, "where": f"label <> '{label}'"}).json()["hits"]
    assert len(filtered) == len(index) - (index.frame["label"] == expected["label"][0]).sum()
    part = client.get("/api/search", params={"id": id, "box": "3,4,50,40", "exclude_self": False, "k": 1}).json()
    whole = Image.open(file).convert("RGB")
    same = index.search(whole.crop((3, 4, 53, 44)), 1).frame
    assert part["hits"][0]["similarity"] == pytest.approx(same["similarity"][0], abs=1e-6)


def test_rows_images_and_pages_are_there_and_make_no_request_to_elsewhere(index: Index, client: TestClient):
    about = client.get("/api/index").json()
    assert about["rows"] == len(index)
    assert about["columns"]["label"] == "String"
    rows = client.get("/api/rows", params={"contains": "onerror", "count": 2}).json()
    assert rows["total"] == 3
    assert [row["label"] for row in rows["rows"]] == [HOSTILE] * 2
    image = client.get("/api/image", params={"id": rows["rows"][0]["id"], "px": 64})
    assert image.headers["content-type"] == "image/webp"
    assert max(Image.open(BytesIO(image.content)).size) == 64
    for page in ("/", "/page.css", "/page.js", "/api"):
        answer = client.get(page)
        assert answer.status_code == 200
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
        assert not re.search(r"https?://", answer.text), page
    documented = client.get("/openapi.json").json()["paths"]
    assert set(documented) == {
        *("/api/index", "/api/rows", "/api/row", "/api/image", "/api/search", "/api/failures", "/api/why"),
        *("/health", "/metrics"),
    }
    page = client.get("/api").text
    assert all(path in page for path in documented)
    assert client.get("/health").json() == {"status": "ok"}
    told = client.get("/metrics").text
    assert 'probe_requests_total{path="/api/rows",status="200"} 1.0' in told
    assert f"probe_rows {len(index)}.0" in told


REFUSED = {
    "text": (415, b"no image at all"),
    "empty": (400, b""),
    "torn": (415, png(50, 50)[:60]),
    "markup": (415, b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    "large": (413, bytes(200_001)),
    "bomb": (413, bomb(60_000, 60_000)),
    "more pixels than are taken": (413, png(1001, 1000)),
    "narrow": (422, png(1, 20_000)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_upload_is_refused_in_one_sentence(client: TestClient, kind: str):
    status, content = REFUSED[kind]
    answer = client.post("/api/search", content=content)
    assert answer.status_code == status
    sentence(answer.json())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/image?id=../../etc/passwd", 404),
        ("/api/image?id=/etc/passwd", 404),
        ("/api/image?id=photos/../photos.index/manifest.json", 404),
        ("/api/search?id=%00", 404),
        ("/api/search?id=%ff%fe", 404),
        ("/api/why?id=../../etc/passwd&hit=/etc/passwd", 404),
        ("/../../etc/passwd", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/api/search?id=x&k=1000", 422),
        ("/api/rows?start=-1", 422),
        ("/api/search", 422),
        ("/api/image?id=x&px=100000", 422),
    ],
)
def test_a_request_is_refused_in_one_sentence(client: TestClient, path: str, status: int):
    answer = client.get(path)
    assert answer.status_code == status
    sentence(answer.json())


@pytest.mark.parametrize(
    "where",
    [
        *("nothing = 1", "label =", "label", "1", "count(*) > 1", "SELECT 1", "label = 1; DROP TABLE x"),
        *("id IN (SELECT id FROM read_csv('/etc/passwd'))", "(" * 499, "NOT " * 120 + "true", "-" * 400 + "1 = 1"),
        *("id = '" + "x" * 600 + "'", "label = $1", "CAST(id AS INT) > 1", "id ~ '('", "\0", "1/0 > 'a'"),
    ],
)
def test_a_wrong_condition_is_refused_in_one_sentence_and_the_next_search_answered(
    index: Index, client: TestClient, where: str
):
    id = index.frame["id"][0]
    refused = client.get("/api/search", params={"id": id, "where": where})
    assert refused.status_code in (200, 422), refused.text
    if refused.status_code == 422:
        sentence(refused.json(), most=1500)
    assert client.get("/api/search", params={"id": id}).status_code == 200


@pytest.mark.parametrize("box", ["0,0,0,1", "a,b,c,d", "0,0,100000,10", "-1,0,5,5", "9" * 79, "0,0,1,1,1", "0,0,1,101"])
def test_a_wrong_part_is_refused(index: Index, client: TestClient, box: str):
    answer = client.get("/api/search", params={"id": index.frame["id"][0], "box": box})
    assert answer.status_code == 422
    sentence(answer.json())


def sentence(answer: dict, most: int = 400) -> None:
    assert set(answer) == {"detail"}
    text = answer["detail"]
    assert 10 < len(text) < most
    assert text.endswith(".")
    assert not re.search(r"Traceback|File \"|\.py|site-packages|/tmp/|photos\.index", text), text


def test_only_requests_for_this_machine_from_its_own_page_are_answered(client: TestClient):
    assert client.get("/api/index", headers={"Host": "127.0.0.1:8000"}).status_code == 200
    assert client.get("/api/index", headers={"Host": "[::1]:8000"}).status_code == 200
    assert client.get("/api/index", headers={"Host": "rebound.example"}).status_code == 403
    assert client.get("/api/index", headers={"Host": "[::1"}).status_code == 403
    assert client.post("/api/search", content=b"x", headers={"Origin": "http://other.example"}).status_code == 403
    assert client.post("/api/search", content=b"x", headers={"Origin": "http://localhost"}).status_code == 415


def test_with_a_token_only_those_who_show_it_are_answered(index: Index, limits: Limits):
    app = create_app(index, limits, token="right")
    with TestClient(app, base_url="http://somewhere") as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "probe_token=wrong"}, {"Cookie": "\x01=;"}):
            for path in ("/", "/api/index", "/metrics", "/openapi.json", "/?token=wrong", "/api/index?token=right"):
                assert client.get(path, headers=headers).status_code == 401, (path, headers)
        assert client.get("/health").status_code == 200
        assert client.get("/api/index", headers={"Authorization": "Bearer right"}).status_code == 200
        entered = client.get("/?token=right", follow_redirects=False)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=strict"} <= set(entered.headers["set-cookie"].split("; "))
        assert client.get("/api/index").status_code == 200


def test_a_newer_state_of_the_index_is_taken_over(tmp_path: Path):
    index = Index.create(tmp_path / "vectors.index", dim=3)
    index.add_vectors(["a", "b"], np.eye(3)[:2])
    served = Index.open(index.path)
    index.add_vectors(["c"], np.eye(3)[2:])
    served.refresh()
    assert served.search(np.array([0.0, 0, 1]), 1).frame["id"].to_list() == ["c"]


def test_searches_that_wait_are_answered_together_each_with_its_own_answer(index: Index, client: TestClient):
    ids = index.frame["id"].to_list()
    asked = [(ids[number % len(ids)], 1 + number % 3) for number in range(60)]
    alone = {each: client.get("/api/search", params={"id": each[0], "k": each[1]}).json()["hits"] for each in asked}
    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(lambda each: client.get("/api/search", params={"id": each[0], "k": each[1]}), asked))
    assert [answer.json()["hits"] for answer in together] == [alone[each] for each in asked]


def test_an_index_of_vectors_is_searched_by_its_rows(tmp_path: Path, limits: Limits):
    index = Index.create(tmp_path / "vectors.index", dim=4)
    index.add_vectors(["a", "b", "c"], np.eye(4)[:3] + 0.1)
    with TestClient(create_app(index, limits), base_url="http://localhost") as client:
        assert client.get("/api/index").json()["images"] is False
        assert [hit["id"] for hit in client.get("/api/search?id=a").json()["hits"]] == ["b", "c"]
        for answer in (client.post("/api/search", content=png(9, 9)), client.get("/api/search?id=a&box=0,0,1,1")):
            sentence(answer.json())
        assert client.get("/api/image?id=a").status_code == 404
        assert client.get("/api/failures").json()["labelled"] == 0


def test_hits_below_the_threshold_are_told_to_be_no_match(described: Path, shared: Shared, tmp_path: Path):
    whole = read_manifest(shared("data/pocket/manifest.csv"))
    val = whole.frame.filter(pl.col("split") == "val")
    queries = val.group_by("domain", "label", maintain_order=True).head(3).head(12).select(whole.frame.columns)
    home = tmp_path / "pocket"
    for image in queries["image"]:
        (home / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole.roots["pocket"] / image, home / image)
    Manifest(queries, {"pocket": home}, name="pocket").write(home / "manifest.csv")
    index = Index.open(shutil.copytree(described, tmp_path / "index"), device="cpu")
    id = index.frame["id"][0]
    index.calibrate(str(home))
    expected = index.search(index.vectors([id]), 50, exclude=[[id]], false_match_rate=0.25).frame
    with TestClient(create_app(index, Limits(), false_match_rate=0.25), base_url="http://localhost") as client:
        hits = client.get("/api/search", params={"id": id, "k": 50}).json()["hits"]
        assert [hit["no_match"] for hit in hits] == [not match for match in expected["match"]]
        assert "calibrated on 12 queries of 4 classes" in client.get("/api/index").json()["promise"]
        index.remove([hits[0]["id"]])  # it has to be calibrated again
        assert client.get("/api/index").json()["promise"] is None
        hits = client.get("/api/search", params={"id": id, "k": 50}).json()["hits"]
        assert {hit["no_match"] for hit in hits} == {None}


def test_too_many_requests_are_refused_and_the_rest_answered(index: Index):
    limits = Limits(threads=1, waiting=1, held_bytes=1_500_000, upload_bytes=1_000_000)
    with TestClient(create_app(index, limits), base_url="http://localhost") as client:
        content = files(index)[0].read_bytes()
        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(lambda _: client.post("/api/search", content=content), range(60)))
        assert {answer.status_code for answer in answers} == {200, 503}
        assert client.post("/api/search", content=content).status_code == 200
        assert "probe_upload_bytes_held 0.0" in client.get("/metrics").text
