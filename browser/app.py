"""The web application: its routes, and the version of the dataset that it shows."""

import threading
import zipfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp

from browser.body import pack_body
from browser.clips import Reader, UnknownItemError
from browser.index.build import build_index, index_path
from browser.index.catalog import Catalog, ListQuery, Mode
from browser.media import Media
from browser.reviews import Given, Reviews
from browser.safety import COOKIE, LOGIN, Access, Guard
from browser.sketch import sketch
from data.errors import ItemError
from data.remote.errors import RemoteError
from data.store.dataset import Dataset
from data.store.manifest import DatasetError, read_manifest
from data.store.reviews import UnfitReviewError

STATIC: Final = Path(__file__).with_name("static")
KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class _ClosedError(RuntimeError):
    """The server ends while the dataset is being indexed."""


class IndexingError(RuntimeError):
    """The index of the dataset is not ready yet; the message says what is being done."""


@dataclass(frozen=True, slots=True)
class BrowserConfig:
    """What the page shows.

    Attributes:
        dataset: folder of the dataset.
        cache: folder of the index and of pictures and videos.
        three: archive of three.js (``three`` of flows/assets.py).
        access: who may use the server.
        reviewer: name that is suggested to a reviewer.
        body: archive of the body (``body`` of flows/assets.py); None shows skeletons.
    """

    dataset: Path
    cache: Path
    three: Path
    access: Access
    reviewer: str = ""
    body: Path | None = None


@dataclass(slots=True)
class Opened:
    """One version of the dataset, open for reading."""

    dataset: Dataset
    catalog: Catalog
    reader: Reader


@dataclass
class Library:
    """The dataset in its newest version, which is indexed in the background.

    The version that is open stays open until the index of a newer one is ready.

    Attributes:
        root: folder of the dataset.
        cache: folder of the index.
    """

    root: Path
    cache: Path
    _opened: Opened | None = None
    _working: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _doing: str = "opening"
    _error: str = ""
    _failed: Path | None = None
    _closed: bool = False

    def opened(self) -> Opened:
        """Return the open version.

        Raises:
            IndexingError: the first index is not ready yet.
            DatasetError: the dataset cannot be read.
        """
        opened, error = self._opened, self._error
        if opened is None and error:
            raise DatasetError(error)
        if opened is None:
            self.refresh()
            raise IndexingError(self._doing)
        return opened

    def refresh(self) -> None:
        """Begin to index the newest version, unless it is open, being indexed, or damaged."""
        with self._lock:
            if self._working is not None and self._working.is_alive():
                return
            manifest = read_manifest(self.root)
            path = index_path(self.root, manifest, self.cache)
            if path == self._failed or (self._opened and self._opened.catalog.path == path):
                return
            self._error = ""
            self._working = threading.Thread(target=self._open, name="index")
            self._working.start()

    def _open(self) -> None:
        dataset = Dataset(self.root)
        path = index_path(self.root, dataset.manifest, self.cache)
        try:
            catalog = Catalog(build_index(dataset, path, self._say))
            self._opened = Opened(dataset, catalog, Reader(dataset, catalog))
        except _ClosedError:
            return
        except Exception as error:
            self._failed = path
            known = isinstance(error, DatasetError | OSError)
            self._error = str(error) if known else f"{self.root}: {error!r}. Remedy: see the log."
            if not known:
                raise

    def close(self) -> None:
        """Wait until the current step of indexing is done, which is the last."""
        self._closed = True
        if self._working is not None:
            self._working.join()

    def _say(self, doing: str) -> None:
        if self._closed:
            raise _ClosedError
        self._doing = doing


class Login(BaseModel):
    """A token that a user presents."""

    token: str


def create_app(config: BrowserConfig) -> ASGIApp:
    """Create the application.

    Args:
        config: what it shows, and to whom.

    Raises:
        DatasetError: the dataset cannot be opened.
    """
    library = Library(config.dataset, config.cache)
    media = Media(config.cache / "browser" / "media")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        library.refresh()
        with media:
            yield
        library.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    _add_errors(app)
    add_files(app, config.three, "index.html", config.body)
    add_login(app, config.access)
    reviews = Reviews(config.dataset)
    _add_dataset(app, config, library, reviews)
    _add_items(app, library, media)
    _add_reviews(app, library, reviews)
    return Guard(app, config.access)


def _add_errors(app: FastAPI) -> None:
    """Answer expected errors with their message."""

    def answer(status: HTTPStatus) -> Callable[[Request, Exception], Response]:
        return lambda _, error: JSONResponse({"detail": str(error)}, status)

    for kind, status in (
        (UnknownItemError, HTTPStatus.NOT_FOUND),
        (ItemError, HTTPStatus.NOT_FOUND),
        (DatasetError, HTTPStatus.CONFLICT),
        (ValidationError, HTTPStatus.UNPROCESSABLE_ENTITY),
        (IndexingError, HTTPStatus.SERVICE_UNAVAILABLE),
        (RemoteError, HTTPStatus.BAD_GATEWAY),
        (UnfitReviewError, HTTPStatus.UNPROCESSABLE_ENTITY),
    ):
        app.add_exception_handler(kind, answer(status))


def add_files(app: FastAPI, three: Path, page_name: str, body: Path | None = None) -> None:
    """Serve a page, what it loads, and three.js.

    Args:
        app: application.
        three: archive of three.js.
        page_name: file of the page in ``static``.
        body: archive of the body that stands for people; None: they are skeletons.
    """
    files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in KINDS}
    with zipfile.ZipFile(three) as archive:
        # The page has no import map, which would have to stand in its HTML.
        library = {
            name: archive.read(name).replace(b"from 'three'", b"from './three.module.js'")
            for name in archive.namelist()
        }

    def send(found: dict[str, bytes], name: str) -> Response:
        if name not in found:
            return JSONResponse({"detail": "There is no such file."}, HTTPStatus.NOT_FOUND)
        headers = {"Cache-Control": "no-cache"}
        return Response(found[name], media_type=KINDS[Path(name).suffix], headers=headers)

    @app.get("/")
    def page() -> Response:
        return send(files, page_name)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        return send(files, name)

    @app.get("/three/{name}")
    def three_js(name: str) -> Response:
        return send(library, name)

    packed = pack_body(body) if body else b""

    @app.get("/body")
    def shape() -> Response:
        if not packed:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return Response(packed, media_type="application/octet-stream", headers=_KEEP)

    del page, static, three_js, shape


def add_login(app: FastAPI, access: Access) -> None:
    """Take the token of a printed link, and keep it in a cookie."""

    @app.post(LOGIN)
    def login(given: Login) -> Response:
        if not access.accepts(given.token):
            return JSONResponse({"detail": "The token is wrong."}, HTTPStatus.UNAUTHORIZED)
        answer = JSONResponse({"ok": True})
        answer.set_cookie(COOKIE, given.token, httponly=True, samesite="strict")
        return answer

    del login


def _add_dataset(app: FastAPI, config: BrowserConfig, library: Library, reviews: Reviews) -> None:
    """Serve the dataset and its list."""

    @app.get("/api/dataset")
    def dataset() -> dict[str, Any]:
        library.refresh()
        about = {
            "name": config.dataset.resolve().name,
            "folder": str(config.dataset),
            "write_token": config.access.write_token,
            "reviewer": config.reviewer,
        }
        try:
            opened = library.opened()
        except IndexingError as indexing:
            return {**about, "indexing": str(indexing)}
        manifest = opened.dataset.manifest
        return {
            **about,
            "updated_at": manifest["updated_at"],
            "version": manifest["publications"],
            "rows": {name: table["rows"] for name, table in manifest["tables"].items()},
            "facets": opened.catalog.facets(reviews.done()),
        }

    @app.get("/api/entries")
    def entries(query: Annotated[ListQuery, Query()]) -> dict[str, Any]:
        page = library.opened().catalog.page(query, reviews.done())
        return {"entries": page.entries, "total": page.total, "next": page.next}

    del dataset, entries


def _add_items(app: FastAPI, library: Library, media: Media) -> None:
    """Serve single items with their pictures and videos."""

    @app.get("/api/clips/{clip_id}")
    def clip(clip_id: str) -> dict[str, Any]:
        return library.opened().reader.clip(clip_id)

    @app.get("/api/clips/{clip_id}/measure")
    def measure(
        clip_id: str,
        track_id: int,
        text: Annotated[str, Query(min_length=1, max_length=2000)],
        start_s: Annotated[float, Query(ge=0, le=1e6)],
        end_s: Annotated[float, Query(ge=0, le=1e6)],
    ) -> dict[str, Any]:
        return library.opened().reader.measure(clip_id, track_id, text, start_s, end_s)

    @app.get("/api/motions/{motion_id}")
    def motion(motion_id: str) -> dict[str, Any]:
        return library.opened().reader.motion(motion_id)

    @app.get("/api/rejections/{item_id:path}")
    def rejection(item_id: str) -> dict[str, Any]:
        return library.opened().reader.rejection(item_id)

    @app.get("/api/video")
    def video(kind: str, id: str) -> Response:  # noqa: A002 - the name in the address
        span = library.opened().reader.span(kind, id)
        return FileResponse(media.video(span), media_type="video/mp4", headers=_KEEP)

    @app.get("/api/thumbnail")
    def thumbnail(kind: str, id: str, track: int | None = None) -> Response:  # noqa: A002
        reader = library.opened().reader
        if kind != "motion":
            # Without its video an entry is sketched, if it has poses.
            with suppress(ItemError, UnknownItemError):
                made = media.thumbnail(reader.portrait(kind, id, track))
                return FileResponse(made, media_type="image/jpeg", headers=_KEEP)
        figures = reader.figures(kind, id, track)
        return Response(sketch(figures), media_type="image/svg+xml", headers=_KEEP)

    del clip, measure, motion, rejection, video, thumbnail


def _add_reviews(app: FastAPI, library: Library, reviews: Reviews) -> None:
    """Take reviews, and tell what they found."""

    @app.post("/api/reviews")
    def save(given: Given) -> dict[str, Any]:
        rows = library.opened().reader.rows("annotations", given.clip_id)
        for row in rows:
            if (row["track_id"], row["sample"]) == (given.track_id, given.sample):
                return reviews.save(given, row)
        raise UnknownItemError(given.clip_id)

    @app.get("/api/reviews/{clip_id}")
    def of_clip(clip_id: str, video_id: str = "") -> list[dict[str, Any]]:
        return reviews.of_clip(video_id, clip_id)

    @app.get("/api/review/next")
    def following(
        reviewer: str, mode: Mode = "worth", skip: Annotated[list[int] | None, Query()] = None
    ) -> dict[str, Any]:
        return reviews.next(library.opened().catalog, mode, reviewer, skip or [])

    @app.get("/api/review/summary")
    def summary() -> dict[str, Any]:
        return reviews.summary(library.opened().catalog)

    del save, of_clip, following, summary


_KEEP: Final = {"Cache-Control": "private, max-age=600"}
