"""One image of the store."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pycontainer.client.connection import Pool
from pycontainer.errors import NotFound

if TYPE_CHECKING:
    from typing import Unpack

    from pycontainer.client.types import ImageDetails, ImageInfo, RegistryAccess


class Image:
    """A handle on the image `name`; made by `Client.image`, `images` and `import_image`."""

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self.name = name

    def __repr__(self) -> str:
        return f"Image({self.name!r})"

    @property
    def info(self) -> "ImageInfo":
        """What `image list` shows of it, asked for now."""
        for info in list_images(self._pool):
            if info["name"] == self.name:
                return info
        raise NotFound(f"no image '{self.name}'", hint="'pycontainer image list' shows what there is")

    @property
    def details(self) -> "ImageDetails":
        """What `image inspect` shows of it, asked for now."""
        return self._pool.request("image_inspect", {"image": self.name})  # type: ignore[no-any-return]

    def tag(self, name: str) -> "Image":
        """Give it one more name, which another image loses if it has it."""
        return Image(self._pool, self._pool.request("image_tag", {"image": self.name, "name": name})["name"])

    def push(
        self,
        destination: str | None = None,
        *,
        form: str = "oci",
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        **access: "Unpack[RegistryAccess]",
    ) -> str:
        """Bring it to a registry with skopeo, in this process; return the digest of its manifest there.

        `destination` is `registry/path[:tag]`, by default the image's name. `form` is "oci", or "v2s2" for Docker's kind of
        manifest; `access` and what is raised are as for `Client.pull_image`.
        """
        from pycontainer.client.push import push  # 8 ms that others need not wait for

        return push(self._pool, self.name, destination or self.name, access, form=form, on_progress=on_progress)

    def remove(self) -> None:
        """Delete it. Raises InvalidState while a container is made of it."""
        self._pool.request("image_rm", {"image": self.name})


def save_images(
    pool: Pool,
    images: Sequence[str],
    target_fd: int,
    form: str,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    *,
    links: bool = False,
) -> list[str]:
    """Write images to a descriptor, which the caller keeps; return their names, or ids where they have none.

    With `links` the blobs in a directory are the store's own files, not to be written to.
    """
    args = {"images": [*images], "format": form, "links": links}
    result = pool.request("image_save", args, [target_fd], on_event=on_progress)
    return list(result["images"])


def list_images(pool: Pool) -> "list[ImageInfo]":
    """Return what the store holds."""
    return pool.request("image_list", {})  # type: ignore[no-any-return]
