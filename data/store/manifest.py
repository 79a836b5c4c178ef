"""Read and validate the manifest and the journal of a dataset.

A dataset may be untrusted, and its manifest decides which files are read, moved and deleted.
Therefore every path must be that of a part of a known table, and no component of it may be a
symbolic link: opening a dataset never touches files outside its folder.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from data.schemas import READABLE_VERSIONS, SCHEMA_VERSION, SCHEMAS
from data.store.mirrors import refresh

MANIFEST: Final = "dataset.json"
STAGING: Final = ".staging"
MAX_JSON_BYTES: Final = 256 * 2**20
"""Maximum size of a manifest or journal; the entry of a part takes about 200 bytes."""

_PART: Final = re.compile(
    r"(?P<table>[a-z_]+)/(?P<part>part-[0-9]{6,9}(-[0-9]{4}){0,8})(-[0-9]{6,9})?"
    r"(-w[0-9a-f]{8})?\.parquet"
)
"""Publication that added the rows, pieces of it if they were divided, the publication that rewrote
them, and on S3 the commit. Parts of a table are in the order of their rows, for readers of the
folder, too."""

_FILE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


class DatasetError(ValueError):
    """The dataset cannot be used as requested; the message states the reason and the remedy."""


def _check_part_file(file: str) -> str:
    match = _PART.fullmatch(file)
    if match is None or match["table"] not in SCHEMAS:
        raise ValueError(f"expected TABLE/part-NUMBER.parquet of a known table, found {file!r}")
    return file


def _only_target(move: Any) -> Any:
    # Earlier versions also stored the absolute path that a part is moved from. That is always
    # `.staging/parts`, even if the dataset was moved since.
    return move[1] if isinstance(move, list | tuple) and len(move) == 2 else move


PartFile = Annotated[str, AfterValidator(_check_part_file)]
_Count = Annotated[int, Field(ge=0, le=2**53)]


class _Checked(BaseModel):
    # Fields of later versions are kept, because the manifest is used as it was read.
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class _Part(_Checked):
    file: PartFile
    rows: _Count
    bytes: _Count
    publication: _Count
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class _Table(_Checked):
    rows: _Count
    parts: list[_Part]


class _Skeleton(_Checked):
    name: str
    joint_names: list[str]


class _Manifest(_Checked):
    schema_version: int
    code_version: str
    created_at: str
    updated_at: str
    publications: Annotated[int, Field(ge=0, lt=10**9)]
    skeleton: _Skeleton
    fps: _Count
    units: str
    up_axis: str
    recipe: dict[str, Any]
    tables: dict[str, _Table]
    license: str = ""
    licenses: list[str] = []
    oldest_version: _Count = 0

    @model_validator(mode="after")
    def _check_tables(self) -> "_Manifest":
        seen: set[str] = set()
        for name, table in self.tables.items():
            if name not in SCHEMAS:
                raise ValueError(f"expected the tables {', '.join(SCHEMAS)}, found {name!r}")
            for part in table.parts:
                if not part.file.startswith(f"{name}/") or part.file in seen:
                    raise ValueError(f"expected each part once, in its table, found {part.file!r}")
                seen.add(part.file)
        return self


def _with_current_names(manifest: Any) -> Any:
    if isinstance(manifest, dict) and "licences" in manifest:  # as schema version 3 spells it
        manifest = dict(manifest)
        manifest["licenses"] = manifest.pop("licences")
    return manifest


class Journal(BaseModel):
    """The steps of a publication.

    Attributes:
        moves: parts to move from ``.staging/parts`` to their final location.
        retires: parts that are replaced, to move to where older versions find them.
        deletes: parts that are replaced, as earlier versions of the code journalled them.
        manifest: manifest to write after the moves.
        previous: manifest to keep for the older versions, if parts are replaced.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    moves: list[Annotated[PartFile, BeforeValidator(_only_target)]]
    retires: list[PartFile] = []
    deletes: list[PartFile] = []
    manifest: Annotated[dict[str, Any], BeforeValidator(_with_current_names)]
    previous: Annotated[dict[str, Any] | None, BeforeValidator(_with_current_names)] = None

    @model_validator(mode="after")
    def _check(self) -> "Journal":
        listed = _listed(self.manifest)
        before = set[str]() if self.previous is None else _listed(self.previous)
        for file in self.moves:
            if file not in listed:
                raise ValueError(f"expected to move parts of the manifest, found {file!r}")
        for file in (*self.deletes, *self.retires):
            if file in listed:
                raise ValueError(f"expected to delete no part of the manifest, found {file!r}")
        for file in self.retires:
            if file not in before:
                raise ValueError(f"expected to retire parts of the last manifest, found {file!r}")
        return self


def _listed(manifest: Any) -> set[str]:
    tables = _Manifest.model_validate(manifest).tables.values()
    return {part.file for table in tables for part in table.parts}


def read_manifest(root: Path) -> dict[str, Any]:
    """Read the manifest of a dataset.

    Raises:
        DatasetError: the manifest is missing or damaged, its schema version is not supported, or it
            names files that are not parts of the dataset.
        data.remote.errors.RemoteError: the dataset is on S3 and cannot be read.
    """
    refresh(root, MANIFEST)
    path = root / MANIFEST
    if not os.path.lexists(path):
        raise DatasetError(
            f"{root}: expected a dataset, found no {MANIFEST}. "
            "Remedy: make one with `avatargpt annotate PATH… --dataset DIR`."
        )
    return read_manifest_file(path)


def read_manifest_file(path: Path) -> dict[str, Any]:
    """Read a manifest: that of a dataset, or that of one of its older versions.

    Raises:
        DatasetError: as :func:`read_manifest`.
    """
    manifest = _with_current_names(_read_json(path))
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if isinstance(version, int) and version not in READABLE_VERSIONS:
        raise DatasetError(
            f"{path}: expected schema version {SCHEMA_VERSION}, found {version}. Remedy: use the "
            f"avatargpt version that wrote it ({manifest.get('code_version')}), or annotate into "
            "a new folder."
        )
    _validate(_Manifest, manifest, path)
    return manifest


def read_journal(path: Path) -> Journal:
    """Read the journal of an interrupted publication.

    Raises:
        DatasetError: it is damaged or names files that are not parts of the dataset.
    """
    return _validate(Journal, _read_json(path), path)


def part_name(table: str, publication: int, piece: int | None = None) -> str:
    """Return the name of a part that a publication adds.

    Args:
        table: name of the table.
        publication: number of the publication.
        piece: number of the part from 1, if the publication adds several; at most 9999.
    """
    return f"{table}/part-{publication:06d}{_suffix(piece)}.parquet"


def replaced_name(file: str, publication: int, piece: int | None = None) -> str:
    """Return the name of the part that holds rows of a part after a publication rewrote them.

    Parts are never overwritten, because a reader of the previous manifest may have them open.

    Args:
        file: name of the part whose rows were rewritten.
        publication: number of the publication.
        piece: number of the new part from 1, if the rows are divided; at most 9999.
    """
    match = _PART.fullmatch(file)
    if match is None:
        raise AssertionError(f"{file}: expected the name of a part")
    return f"{match['table']}/{match['part']}{_suffix(piece)}-{publication:06d}.parquet"


def committed_name(file: str, token: str) -> str:
    """Return the name of a new part on S3, where two writers may write at the same time.

    Args:
        file: name of the part.
        token: 8 hexadecimal digits that no other commit has.
    """
    return f"{file.removesuffix('.parquet')}-w{token}.parquet"


def _suffix(piece: int | None) -> str:
    if piece is None:
        return ""
    if not 0 < piece < 10_000:
        raise AssertionError(f"expected a piece from 1 to 9999, found {piece}")
    return f"-{piece:04d}"


def require_plain(path: Path, *, folder: bool = False) -> None:
    """Check that a path is a plain file or folder, not a symbolic link.

    Raises:
        DatasetError: the path is missing or something else.
    """
    expected = "folder" if folder else "file"
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path}: expected a {expected} of the dataset, found none. Remedy: if another run "
            "replaced rows meanwhile, start again; otherwise see `avatargpt check`."
        ) from error
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        found = "a link" if stat.S_ISLNK(mode) else "something else"
        raise DatasetError(
            f"{path}: expected a plain {expected}, found {found}: a dataset that points outside of "
            "its folder is not opened. Remedy: if you trust it, copy it with its links followed "
            "(cp -rL DATASET COPY) and open the copy."
        )


def require_plain_tree(folder: Path) -> None:
    """Check that a folder contains only plain files and folders. A missing folder passes.

    Raises:
        DatasetError: it contains something else.
    """
    if not os.path.lexists(folder):
        return
    require_plain(folder, folder=True)
    for parent, folders, files in os.walk(folder):
        for name in folders:
            require_plain(Path(parent, name), folder=True)
        for name in files:
            require_plain(Path(parent, name))


def require_file_id(item_id: str) -> str:
    """Check an id that is used as a file name; ids of an untrusted dataset may contain a path.

    Raises:
        DatasetError: the id has other characters than letters, digits, ``-`` and ``_``.
    """
    if not _FILE_ID.fullmatch(item_id):
        raise DatasetError(
            f"expected an id of letters, digits, '-' and '_', found {item_id!r}. "
            "Remedy: do not use this dataset: its rows were not made by avatargpt."
        )
    return item_id


def _read_json(path: Path) -> Any:
    require_plain(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise _damaged(path, f"{path.stat().st_size} bytes")
    try:
        return from_json(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _validate(kind: type[Any], value: Any, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from error


def _damaged(path: Path, found: str) -> DatasetError:
    return DatasetError(
        f"{path}: expected a file that avatargpt wrote, found {found}. The file is damaged or "
        "foreign. Remedy: restore it from a copy of the dataset; do not open datasets that you do "
        "not trust."
    )


def manifest_parts(manifest: Mapping[str, Any], table: str) -> list[Mapping[str, Any]]:
    """Return the entries of a table's parts; earlier versions lack newer tables."""
    return manifest["tables"].get(table, {"parts": []})["parts"]
