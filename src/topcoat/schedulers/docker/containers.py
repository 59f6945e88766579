"""Operations of a container engine: images, the network, and single containers."""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from topcoat.engines.engine import engine_errors
from topcoat.engines.pull import pull
from topcoat.errors import DaemonError, ImageNotFound
from topcoat.foreign_text import escaped
from topcoat.images.tag import SNAPSHOT_LABEL
from topcoat.notices import notice
from topcoat.schedulers.docker.request import (
    CANCELLED_POLICY,
    ERROR_FILE,
    NETWORK,
    DockerContainer,
    container_state,
)
from topcoat.schedulers.logs import MAX_ERROR_FILE, error_text
from topcoat.schedulers.responses import Freeable
from topcoat.specs import is_terminal

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.images import Image

_STOP_TIMEOUT_S = 10
_HINTS = {
    "executable file not found": "the image has no such program: check the role's entrypoint",
    "no such file or directory": "the image has no such program: check the role's entrypoint",
    "permission denied": "the program is not executable in the image",
    "device driver": "the engine cannot give GPUs to containers: install the NVIDIA container toolkit",
}


def fetch(client: DockerClient, image: str) -> Image:
    """Return *image* from the engine, pulled unless the engine has it.

    Raises:
        ImageNotFound: the registry does not have it either, or *image* is an id, which cannot be pulled.
        DaemonError: the pull fails.
    """
    from docker.errors import ImageNotFound as ImageMissing
    from docker.errors import NotFound

    with engine_errors(f"pulling {image}"):
        try:
            return client.images.get(image)
        except ImageMissing:
            if image.startswith("sha256:"):
                raise ImageNotFound(f"the container engine has no image {image}") from None
        notice(f"pulling {image}")
        try:
            pull(client, image)
        except NotFound as error:
            why = escaped(str(error.explanation))
            raise ImageNotFound(
                f"neither the container engine nor the registry has the image {image}: {why}",
                hint="check the name, and `docker login` if the repository is private",
            ) from error
        return client.images.get(image)


def ensure_network(client: DockerClient) -> None:
    """Create the network of all jobs unless it exists."""
    from docker.errors import APIError

    def exists() -> bool:
        return any(network.name == NETWORK for network in client.networks.list(names=[NETWORK]))

    with engine_errors(f"creating the network {NETWORK}"):
        if not exists():
            try:
                client.networks.create(NETWORK, driver="bridge", check_duplicate=True)
            except APIError:
                # Another process may have created it meanwhile.
                if not exists():
                    raise


def create(client: DockerClient, request: DockerContainer, cpus: int) -> Container:
    """Create a container, limited to the number of *cpus* of the engine."""
    kwargs = dict(request.kwargs)
    name, max_nano_cpus = kwargs["name"], cpus * 10**9
    if kwargs.get("nano_cpus", 0) > max_nano_cpus:
        notice(f"{name} is limited to the {cpus} CPUs available")
        kwargs["nano_cpus"] = max_nano_cpus
    with engine_errors(f"creating the container {name}"):
        container: Container = client.containers.create(request.image, request.command, **kwargs)
    return container


def start(container: Container) -> None:
    """Start a container; on failure, the error has a hint where the cause is known."""
    try:
        with engine_errors(f"starting the container {container.name}"):
            container.start()
    except DaemonError as error:
        error.hint = next((hint for cause, hint in _HINTS.items() if cause in str(error)), error.hint)
        raise


def stop(container: Container) -> None:
    """Stop a container, and mark it as cancelled if the engine supports that."""
    from docker.errors import APIError, NotFound

    with engine_errors(f"stopping the container {container.name}"):
        # Podman 4 cannot: there a cancelled container looks failed.
        with contextlib.suppress(APIError):
            container.update(restart_policy={"Name": CANCELLED_POLICY})  # type: ignore[arg-type]
        with contextlib.suppress(NotFound):
            container.stop(timeout=_STOP_TIMEOUT_S)


def remove(container: Container) -> None:
    """Remove a container and its anonymous volumes, running or not."""
    from docker.errors import NotFound

    with engine_errors(f"removing the container {container.name}"), contextlib.suppress(NotFound):
        container.remove(force=True, v=True)


def unused_images(client: DockerClient) -> list[Freeable]:
    """Return topcoat's images that no container uses, running or not."""
    with engine_errors("listing images"):
        used = {container.attrs["ImageID"] for container in client.containers.list(all=True, sparse=True)}
        images = client.images.list(filters={"label": SNAPSHOT_LABEL})
    return [
        Freeable(f"image {(image.tags or [str(image.id)[:19]])[0]}", str(image.id), _own_size(image))
        for image in images
        if image.id not in used
    ]


def _own_size(image: Image) -> int | None:
    """Return the bytes of an image; ``None`` if the engine does not tell. Layers of the base are shared with it."""
    size = image.attrs.get("Size")
    return None if size is None else int(size)


def remove_image(client: DockerClient, image_id: str) -> None:
    """Remove an image with all of its names; do nothing if it is gone or a container uses it by now."""
    from docker.errors import APIError, ImageNotFound

    with engine_errors(f"removing the image {image_id}"), contextlib.suppress(ImageNotFound):
        for tag in client.images.get(image_id).tags or [image_id]:
            with contextlib.suppress(APIError):
                client.images.remove(tag)


def read_log(container: Container, options: dict[str, Any], *, follow: bool) -> Iterator[bytes]:
    """Yield the log of a container entry by entry; with *follow*, until the container has ended for good."""
    last, count = "", 0
    while True:
        # A followed stream ends with each run of the process, and may end before its last lines (Docker 20.10). So
        # reading is resumed after the last entry, and once more when the container has ended.
        has_ended = not follow or is_terminal(container_state(container.attrs))
        resumed_at, repeated = last, count
        with engine_errors(f"reading the log of {container.name}", shows_output=True):
            for entry in _entries(container, {**_after(last, options), "follow": not has_ended}):
                stamp, text = _split(entry)
                if stamp < resumed_at:
                    continue
                if stamp == resumed_at and repeated:
                    repeated -= 1
                    continue
                last, count = stamp, count + 1 if stamp == last else 1
                yield text
        if has_ended:
            return
        with engine_errors(f"inspecting the container {container.name}"):
            container.reload()
        if last == resumed_at:
            time.sleep(0.1)


def _entries(container: Container, options: dict[str, Any]) -> Iterator[bytes]:
    stream = container.logs(stream=True, timestamps=True, **options)
    try:
        yield from stream
    finally:
        # The stream's own close() leaves the socket to the garbage collector.
        stream._response.close()  # type: ignore[attr-defined]


def _split(entry: bytes) -> tuple[str, bytes]:
    """Split an entry of a log into its time, as the engine wrote it, and its text."""
    stamp, _, text = entry.partition(b" ")
    return stamp.decode("ascii", "replace"), text


def _after(last: str, options: dict[str, Any]) -> dict[str, Any]:
    # A float has no nanoseconds, so a millisecond is read twice.
    return {**options, "since": seconds(last) - 0.001} if last else options


def seconds(stamp: str) -> float:
    """Return an engine's time (RFC 3339, up to nanoseconds, UTC) as seconds since 1970."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction[:6] or 0}")


def _time(stamp: str) -> datetime | None:
    """Return an engine's time; ``None`` for the year 1, which means never."""
    return None if not stamp or stamp.startswith("0001") else datetime.fromtimestamp(seconds(stamp), timezone.utc)


def created(container: Container) -> datetime:
    """Return when a container was created."""
    return datetime.fromtimestamp(seconds(container.attrs["Created"]), timezone.utc)


def times(container: Container) -> tuple[datetime | None, datetime | None, int | None]:
    """Return when the last process of a container started and ended, and its exit code."""
    state = container.attrs["State"]
    if not is_terminal(container_state(container.attrs)):
        return _time(state.get("StartedAt", "")), None, None
    return _time(state.get("StartedAt", "")), _time(state.get("FinishedAt", "")), int(state.get("ExitCode", 0))


def ended(containers: Iterable[Container]) -> datetime | None:
    """Return when the last of *containers* ended; ``None`` if one of them has not."""
    ends = [times(container)[1] for container in containers]
    return max((end for end in ends if end), default=None) if all(ends) else None


def error_file(container: Container) -> str:
    """Return the text of a container's error file, empty without one, or if it is a link or no file."""
    from docker.errors import APIError

    with contextlib.suppress(APIError, tarfile.TarError):
        chunks, _ = container.get_archive(ERROR_FILE)
        data = b""
        for chunk in chunks:
            data += chunk
            if len(data) > tarfile.RECORDSIZE + MAX_ERROR_FILE:
                break
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            member = archive.next()
            file = archive.extractfile(member) if member and member.isreg() else None
            return error_text(file.read(MAX_ERROR_FILE + 1)) if file else ""
    return ""
