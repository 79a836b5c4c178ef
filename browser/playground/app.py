"""The web application of the playground: its routes, and answers that stream as they are made."""

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from annotators.pictures.motion_files import write_motion
from browser.app import add_files, add_login
from browser.clips import SKELETON, UnknownItemError
from browser.playground.studio import (
    MAX_SCENE_SECONDS,
    MAX_SECONDS,
    MAX_SEEDS,
    BetweenRequest,
    BusyError,
    Job,
    SceneRequest,
    Studio,
    TextRequest,
)
from browser.safety import Access, Guard
from data.motion.skeleton import FPS
from evaluation.chooser import load_judged_model
from training.inference.motion_model import MotionModel

POLL_S: Final = 0.05
"""How often an answer looks for what the model has made since."""
FileKind = Literal["bvh", "glb", "npy", "joints.npy", "gif", "mp4"]
_KINDS: Final[dict[FileKind, str]] = {
    "bvh": "text/plain; charset=utf-8",
    "glb": "model/gltf-binary",
    "npy": "application/octet-stream",
    "joints.npy": "application/octet-stream",
    "gif": "image/gif",
    "mp4": "video/mp4",
}


@dataclass(frozen=True, slots=True)
class PlayConfig:
    """What the page plays with.

    Attributes:
        model: folder of the model.
        three: archive of three.js (``three`` of flows/assets.py).
        access: who may use the server.
        body: archive of the body (``body`` of flows/assets.py); None shows skeletons.
    """

    model: Path
    three: Path
    access: Access
    body: Path | None = None


def create_play_app(
    config: PlayConfig,
    load: Callable[[Path], MotionModel] = load_judged_model,
) -> ASGIApp:
    """Create the application; the model is loaded in the background once it runs.

    Args:
        config: what the page plays with.
        load: loads the model of a folder.
    """
    studio = Studio(partial(load, config.model))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        with studio:
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    _add_errors(app)
    add_files(app, config.three, "play.html", config.body)
    add_login(app, config.access)
    _add_model(app, config, studio)
    _add_generation(app, studio)
    return Guard(app, config.access)


def _add_errors(app: FastAPI) -> None:
    """Answer expected errors with their message."""

    def answer(status: HTTPStatus, _: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    def unfit(_: Request, error: RequestValidationError) -> Response:
        found = [
            f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}, "
            f"found {str(one['input'])[:60]!r}."
            for one in error.errors()
        ]
        detail = f"{' '.join(found)} Remedy: correct the form."
        return JSONResponse({"detail": detail}, HTTPStatus.UNPROCESSABLE_ENTITY)

    del unfit
    for kind, status in (
        (UnknownItemError, HTTPStatus.NOT_FOUND),
        (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
        (ValueError, HTTPStatus.UNPROCESSABLE_ENTITY),
    ):
        app.add_exception_handler(kind, partial(answer, status))


def _add_model(app: FastAPI, config: PlayConfig, studio: Studio) -> None:
    """Tell about the model, and hand out what it made."""

    @app.get("/api/model")
    def model() -> dict[str, Any]:
        folder = config.model.resolve()
        return {
            "name": folder.name,
            "folder": str(config.model),
            "write_token": config.access.write_token,
            "state": studio.state,
            "problem": studio.problem,
            "fps": FPS,
            "parents": SKELETON["parents"],
            "limits": {
                "seeds": MAX_SEEDS,
                "seconds": MAX_SECONDS,
                "scene_seconds": MAX_SCENE_SECONDS,
            },
        }

    @app.get("/api/motions/{motion_id}/file")
    def download(motion_id: str, kind: FileKind) -> Response:
        made = studio.made(motion_id)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"motion.{kind}"
            write_motion(file, made.features_TD, made.title, made.steps)
            content = file.read_bytes()
        headers = {"Content-Disposition": f'attachment; filename="{motion_id}.{kind}"'}
        return Response(content, media_type=_KINDS[kind], headers=headers)

    del model, download


def _add_generation(app: FastAPI, studio: Studio) -> None:
    """Generate; every answer is a stream of JSON objects, one a line."""

    @app.post("/api/play/text")
    def text(request: Request, asked: TextRequest) -> Response:
        return _streamed(request, studio.motions_of(asked))

    @app.post("/api/play/scene")
    def scene(request: Request, asked: SceneRequest) -> Response:
        return _streamed(request, studio.motion_in(asked))

    @app.post("/api/play/between")
    def between(request: Request, asked: BetweenRequest) -> Response:
        return _streamed(request, studio.motion_between(asked))

    del text, scene, between


def _streamed(request: Request, job: Job) -> Response:
    """Send the events of a job; it is canceled when nobody listens any more."""

    async def lines() -> AsyncGenerator[str]:
        told = 0
        try:
            while True:
                ended = job.ended
                events = job.events[told:]
                told += len(events)
                for event in events:
                    yield json.dumps(event, ensure_ascii=False) + "\n"
                if ended or await request.is_disconnected():
                    return
                await asyncio.sleep(POLL_S)
        finally:
            job.cancel()

    return StreamingResponse(lines(), media_type="application/x-ndjson")
