"""One image of the store."""

from typing import TYPE_CHECKING

from pycontainer.client.connection import Pool
from pycontainer.errors import NotFound

if TYPE_CHECKING:
    from pycontainer.client.types import ImageDetails, ImageInfo


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

    def remove(self) -> None:
        """Delete it. Raises InvalidState while a container is made of it."""
        self._pool.request("image_rm", {"image": self.name})


def list_images(pool: Pool) -> "list[ImageInfo]":
    """Return what the store holds."""
    return pool.request("image_list", {})  # type: ignore[no-any-return]
